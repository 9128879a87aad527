"""A newcomer's path on a virtual screen, by real keys and clicks: welcome, a prompt, an answer, a clean end."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.ledger.ledger import Ledger, LedgerRow
from tests.support import screen
from tests.support.screen import PanelOnScreen, until, virtual_screen

pytestmark = [
    pytest.mark.real,
    pytest.mark.xdist_group("llama"),
    pytest.mark.timeout(240),
    pytest.mark.skipif(screen.missing() is not None, reason=str(screen.missing())),
]


@pytest.fixture
def display() -> Iterator[str]:
    with virtual_screen() as display:
        yield display


@pytest.fixture
def panel(display: str, home: Path) -> Iterator[PanelOnScreen]:
    panel = PanelOnScreen(display, home)
    yield panel
    panel.kill()


def rows(home: Path) -> list[LedgerRow]:
    """Read the ledger as another process does, while the panel runs."""

    async def read() -> list[LedgerRow]:
        ledger = Ledger(None, home)
        await ledger.open()
        try:
            return await ledger.recent()
        finally:
            await ledger.close()

    return asyncio.run(read()) if (home / "ledger.sqlite3").exists() else []


def answers(home: Path) -> list[Any]:
    """Return the texts of the answers in the conversations' file."""
    file = home / "conversations.sqlite3"
    if not file.exists():
        return []
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
        return [row[0] for row in connection.execute("SELECT text FROM messages WHERE role = 'assistant'")]


def used_by_name(display: str, home: Path, *steps: str) -> PanelOnScreen:
    """The panel, with a screen reader's steps: ``press NAME`` and ``read WORDS``, see ``accessible_panel``."""
    reader = Path(screen.__file__).with_name("accessible_panel.py")
    return PanelOnScreen(display, home, command=[sys.executable, str(reader), str(home / "steps"), *steps])


def open_chat(panel: PanelOnScreen) -> None:
    """Take the first row of the welcome page with the keyboard: its button has the focus.

    Enter starts the small model, and once it is ready, Enter on the same button opens the chat.
    """
    panel.wait_for_window()

    def chat_is_open() -> bool:
        kept = panel.home / "panel.ini"
        if kept.exists() and "seen=true" in kept.read_text():
            return True
        panel.key("Return")
        return False

    until(chat_is_open, "the way from welcome to the chat")


def test_from_welcome_to_an_answer_and_a_clean_end(panel: PanelOnScreen, home: Path) -> None:
    open_chat(panel)
    panel.type("Write one sentence about a railway signal.")
    panel.key("Return")
    until(lambda: [row for row in rows(home) if row.status == "done"], "an answer")
    (row,) = rows(home)
    assert (row.side, row.provider, row.source) == ("local", "embedded", "chat")
    assert row.usage is not None
    until(lambda: any(answers(home)), "a kept conversation")

    assert panel.start_again() == 0, "a second start raises the first window and ends"
    server = panel.children()
    assert server
    panel.key("ctrl+q")
    assert panel.ended() == (0, "")
    until(lambda: not any(child.is_running() for child in server), "the server's end")
    assert "Traceback" not in (home / "logs" / "signalbox.log").read_text()


def test_killed_while_streaming_nothing_is_lost_and_the_next_start_says_so(
    panel: PanelOnScreen, display: str, home: Path
) -> None:
    open_chat(panel)
    panel.type("Write a very long story about a railway, with many chapters.")
    panel.key("Return")
    until(lambda: [row for row in rows(home) if row.status == "open"], "a request under way")
    until(lambda: any(answers(home)), "a part of the answer on the disk")
    server = panel.children()
    panel.process.send_signal(signal.SIGKILL)
    panel.process.wait()
    until(lambda: not any(child.is_running() for child in server), "the orphaned server's end")

    again = PanelOnScreen(display, home)
    try:
        again.wait_for_window()
        until(
            lambda: not [row for row in rows(home) if row.status == "open"], "the resolution of what was open"
        )
        assert any(answers(home)), "the part of the answer that had arrived"
        again.key("ctrl+q")
        assert again.ended()[0] == 0
    finally:
        again.kill()


def test_by_names_alone_the_server_is_stopped_and_started(display: str, home: Path) -> None:
    """What someone who hears the panel does: controls are pressed and states are read by their accessible names."""
    steps = (
        "press Skip, and open the chat",
        "press Machine",
        "press Stop the local server",
        "read Stopped",
        "press Start the local server",
        "read Ready",
        "press Restart the local server",
        "miss Ready",
        "read Ready",
    )
    panel = used_by_name(display, home, *steps)
    try:
        panel.wait_for_window()
        done = home / "steps"
        until(lambda: done.exists() and done.read_text().splitlines() == list(steps), "the last step")
        panel.key("ctrl+q")
        assert panel.ended() == (0, "")
    finally:
        panel.kill()
    assert "Traceback" not in (home / "logs" / "signalbox.log").read_text()


def test_a_polite_kill_ends_as_closing_the_window_does(panel: PanelOnScreen) -> None:
    panel.wait_for_window()
    until(panel.children, "the server's start")
    server = panel.children()
    panel.process.terminate()
    assert panel.ended() == (0, "")
    until(lambda: not any(child.is_running() for child in server), "the server's end")
