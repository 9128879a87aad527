"""The chat that was shown last comes back at its place, also after a kill: nothing is written at the end."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from gui.chat.storage.models import Place
from gui.chat.storage.store import FILE_NAME, ConversationStore
from gui.chat.thread_place import place_in
from tests.gui.chat.builders import make_long_conversation
from tests.gui.chat.looking import shown
from tests.gui.chat.panel import WAIT_S, ChatPanel


def as_if_killed(panel: ChatPanel, tmp_path: Path) -> Path:
    """Return a copy of the conversations' file as a kill at this moment would leave it."""
    copy = tmp_path / "killed"
    copy.mkdir()
    for file in panel.home.glob(f"{FILE_NAME}*"):
        shutil.copy(file, copy / file.name)
    return copy


async def until_kept(panel: ChatPanel, place: Place) -> None:
    """Return when the file says that its reader was at ``place``."""
    store = panel.page.controller.store
    async with asyncio.timeout(WAIT_S):
        while await store.read(ConversationStore.place) != place:  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.01)


async def after_the_kill(panel: ChatPanel, killed: Path) -> None:
    await panel.close_page()
    for file in panel.home.glob(f"{FILE_NAME}*"):
        file.unlink()
    for file in killed.iterdir():
        shutil.copy(file, panel.home / file.name)
    await panel.open()


def test_after_a_kill_the_chat_that_was_shown_comes_back_not_the_newest(
    panel: ChatPanel, tmp_path: Path
) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.ask("First")
        first = page.controller.session.id
        page.controller.new_chat()
        await panel.ask("Second")
        page.controller.open(first)
        await panel.until(lambda: page.controller.session.id == first)
        await panel.idle()
        await after_the_kill(panel, as_if_killed(panel, tmp_path))
        assert panel.page.controller.session.id == first
        await panel.idle()
        assert shown(panel)[:1] == ["First"]
        panel.page.restore("elsewhere")  # the window's own note, of the last run that ended well
        await panel.idle()
        assert panel.page.controller.session.id == first

    panel.run(body)


def test_a_chat_comes_back_where_its_reader_was_also_above_what_is_laid_out_at_first(
    panel: ChatPanel, tmp_path: Path
) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.open_chat(make_long_conversation(24, "Answer {}\n\nwith a second line."))
        thread = page.view.thread_view
        assert await thread.reveal(page.controller.session.tree.path()[0].id) is not None
        await panel.idle()
        thread.lay_out()
        third = thread.views()[4]
        thread.verticalScrollBar().setValue(third.y() + 7)
        place = place_in(thread)
        assert place == (third.message_id, 7)
        chat_id = page.controller.session.id
        await until_kept(panel, Place(conversation_id=chat_id, message_id=place[0], offset_px=place[1]))
        await after_the_kill(panel, as_if_killed(panel, tmp_path))
        await panel.close_page()  # before that place is reached: it stays the one to come back to
        await panel.open()
        await panel.idle()
        await panel.until(lambda: place_in(panel.page.view.thread_view) == place)

    panel.run(body)


def test_a_new_chat_that_was_shown_comes_back_as_a_new_chat(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.ask("First")
        page.controller.new_chat()
        await panel.idle()
        page = await panel.again()
        assert page.controller.session.is_blank

    panel.run(body)
