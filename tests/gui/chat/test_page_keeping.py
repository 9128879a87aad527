"""What the chat page writes: exports, what streams, and what a full or broken disk does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtGui import QGuiApplication

from tests.gui.chat.looking import last_answer, shown
from tests.gui.chat.panel import ChatPanel
from tests.gui.chat.scripted_core import Gate, Script


def test_copy_export_and_its_failure(panel: ChatPanel, tmp_path: Path) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.say(Script(text="An **answer**", side="api"))
        await panel.ask("A question")
        last_answer(panel).copy_button.click()
        assert QGuiApplication.clipboard().text() == "An **answer**"

        conversation = page.controller.session.whole()
        await page.controller.list.write_export(conversation, "markdown", tmp_path / "out.md")
        text = (tmp_path / "out.md").read_text()
        assert text.startswith("# A question\n\n## You\n\nA question\n\n## Answer\n\nAn **answer**\n")
        assert (
            "API · Complex: score 0.71 reached 0.60 · claude-sonnet-4-6 · 412 in, 186 out · $0.0167" in text
        )
        await page.controller.list.write_export(conversation, "json", tmp_path / "out.json")
        value: Any = json.loads((tmp_path / "out.json").read_text())
        assert value["messages"][1]["result"]["cost_dollars"] == "0.016700000"
        assert value["messages"][1]["decision"]["rule"] == "complex"

        await page.controller.list.write_export(conversation, "json", tmp_path / "no" / "out.json")
        assert "can’t be written" in page.view.trouble.words
        assert sorted(path.name for path in tmp_path.glob("*out*")) == ["out.json", "out.md"]

    panel.run(body)


def test_closing_while_streaming_stops_and_keeps_what_came(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.say(Script(text="abcdef", pieces=6, before=3, gate=Gate()))
        page.view.composer.set_content("Go")
        page.controller.send()
        await panel.until(lambda: page.controller.session.tokens == 3)
        page = await panel.again()
        assert len(panel.core.closed) == 1
        page.controller.open(page.view.list.model.ids()[0])
        await panel.until(lambda: len(page.view.thread_view.views()) == 2)
        assert shown(panel) == ["Go", "abc"]
        assert page.controller.session.tree.path()[-1].status == "stopped"

    panel.run(body)


def test_what_streams_is_on_disk_before_it_ends(panel: ChatPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a kill -9 loses a second of text at most."""
    import sqlite3

    from gui.chat import session as session_module

    monkeypatch.setattr(session_module, "SAVE_EVERY_S", 0.0)

    async def body() -> None:
        page = await panel.open()
        gate = Gate()
        panel.core.say(Script(text="abcdef", pieces=6, before=3, gate=gate))
        page.view.composer.set_content("Go")
        page.controller.send()
        await panel.until(lambda: page.controller.session.tokens == 3)
        await page.controller.store.flush()
        with sqlite3.connect(panel.home / "conversations.sqlite3") as connection:
            rows = connection.execute(
                "SELECT role, text, status FROM messages ORDER BY created_at_ms"
            ).fetchall()
        connection.close()
        assert rows == [("user", "Go", "done"), ("assistant", "abc", "streaming")]
        gate.open()
        await panel.idle()

    panel.run(body)


def test_a_disk_that_is_full_is_said_and_nothing_on_screen_is_lost(
    panel: ChatPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    from gui.chat.storage import store as store_module

    async def body() -> None:
        page = await panel.open()
        await panel.ask("Saved")
        real = store_module.transaction

        def full(connection: sqlite3.Connection) -> Any:
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(store_module, "transaction", full)
        panel.core.say(Script(text="Still here"))
        await panel.ask("While full")
        await panel.until(lambda: "disk is full" in page.view.trouble.words)
        assert shown(panel)[-2:] == ["While full", "Still here"]
        monkeypatch.setattr(store_module, "transaction", real)
        page.controller.store.retry()
        await panel.until(lambda: page.controller.store.trouble is None)
        assert page.view.trouble.words == ""
        page = await panel.again()
        page.controller.open(page.view.list.model.ids()[0])
        await panel.until(lambda: len(page.view.thread_view.views()) == 4)
        assert shown(panel)[-1] == "Still here"

    panel.run(body)


def test_a_broken_file_is_said_and_kept(panel: ChatPanel) -> None:
    async def body() -> None:
        (panel.home / "conversations.sqlite3").write_bytes(b"not a database at all" * 100)
        page = await panel.open()
        assert "conversations.broken-1.sqlite3" in page.view.trouble.words
        await panel.ask("Works")
        assert (panel.home / "conversations.broken-1.sqlite3").exists()

    panel.run(body)
