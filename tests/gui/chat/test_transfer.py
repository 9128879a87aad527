"""Importing and exporting all chats on the page: the dialog, the progress, the report."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from PySide6.QtWidgets import QApplication, QFileDialog, QMenu

from gui.chat.answer_message import AnswerMessage
from tests.gui.chat.looking import shown
from tests.gui.chat.panel import ChatPanel
from tests.gui.chat.scripted_core import Script
from tests.gui.chat.storage.imports.exports import chatgpt_chat, claude_chat
from tests.gui.chat.test_list import choose, rows


def choose_file(panel: ChatPanel, path: Path, *words: str) -> None:
    """Open the list's menu, and name a file in Qt's own dialog as a user types it."""
    panel.page.view.list.more_button.click()
    menu = QApplication.activePopupWidget()
    assert isinstance(menu, QMenu)
    choose(menu, *words)
    dialog = panel.page.view.findChildren(QFileDialog)[-1]
    dialog.selectFile(str(path))
    dialog.accept()
    assert not dialog.isVisible()


def test_a_chatgpt_export_is_imported_by_the_menu_and_its_answers_cost_nobody_knows_what(
    panel: ChatPanel, tmp_path: Path
) -> None:
    async def body() -> None:
        page = await panel.open()
        file = tmp_path / "conversations.json"
        file.write_text(json.dumps([chatgpt_chat(), claude_chat(), 7]))
        choose_file(panel, file, "Import chats…")
        await panel.until(lambda: page.view.transfer.is_done and page.view.transfer.isVisible())
        assert page.view.transfer.lines[:2] == [
            "2 chats from ChatGPT and Claude imported, with 7 messages.",
            "Left out: 1 chat, since it is no chat.",
        ]
        await panel.until(lambda: "Lever frames" in rows(panel))
        summary = next(
            item
            for each in page.view.list.model.ids()
            if (item := page.view.list.model.summary(each)) and item.title == "Lever frames"
        )
        assert summary.answered_elsewhere
        page.controller.open(summary.id)
        await panel.until(lambda: page.controller.session.id == summary.id)
        await panel.idle()
        assert shown(panel)[:2] == ["Who pulls the levers?", "The signaller."]
        assert page.view.header.cost.text() == "–"
        answer = page.view.thread_view.views()[1]
        assert isinstance(answer, AnswerMessage)
        assert answer.note == "From ChatGPT, gpt-4o"
        assert not answer.badge.isVisible()
        panel.core.say(Script(text="Go on."))
        await panel.ask("And then?")
        assert [item.text for item in panel.core.requests[-1].messages][-1] == "And then?"
        assert page.controller.session.totals.answers == 1
        page.view.transfer.close_button.click()
        assert not page.view.transfer.isVisible()

    panel.run(body)


def test_all_chats_are_exported_and_read_again_without_loss(panel: ChatPanel, tmp_path: Path) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.say(Script(text="One", side="api"), Script(text="Two", side="api"))
        await panel.ask("Same title")
        first = page.controller.session
        page.controller.new_chat()
        await panel.ask("Same title")
        page.controller.list.move(first.id, "Work/2")
        page.controller.new_chat()
        await panel.ask("Deleted")
        page.controller.list.delete(page.controller.session.id)
        await panel.idle()
        choose_file(panel, tmp_path / "all.zip", "Export all as Markdown, in a zip…")
        await panel.until(lambda: page.view.transfer.is_done and (tmp_path / "all.zip").exists())
        with zipfile.ZipFile(tmp_path / "all.zip") as archive:
            assert sorted(archive.namelist()) == ["Same-title.md", "Work2/Same-title.md"]
            assert archive.read("Work2/Same-title.md").decode().startswith("# Same title\n")
        choose_file(panel, tmp_path / "all.json", "Export all as JSON…")
        await panel.until(lambda: page.view.transfer.is_done and (tmp_path / "all.json").exists())
        assert page.view.transfer.lines[0] == "2 chats, without what is recently deleted."

        before = await page.controller.conversations.whole(first.id)
        assert before is not None
        for conversation_id in page.view.list.model.ids():
            page.controller.list.delete(conversation_id)
        await panel.idle()
        for conversation_id in [first.id]:
            page.controller.conversations.remove(conversation_id)
        await panel.idle()
        choose_file(panel, tmp_path / "all.json", "Import chats…")
        await panel.until(lambda: any("imported, with" in line for line in page.view.transfer.lines))
        assert page.view.transfer.lines == [
            "1 chat from Signalbox imported, with 2 messages.",
            "1 chat is under “Recently deleted”: restore from there.",
        ]
        await panel.until(lambda: rows(panel)[:2] == ["Work/2 1", "Same title"])
        (back,) = page.view.list.model.ids()
        after = await page.controller.conversations.whole(back)
        assert after is not None
        assert [(item.text, item.result, item.decision) for item in after.messages] == [
            (item.text, item.result, item.decision) for item in before.messages
        ]

        choose_file(panel, tmp_path / "no" / "all.json", "Export all as JSON…")
        await panel.until(lambda: "can’t be written" in " ".join(page.view.transfer.lines))

    panel.run(body)


def test_closing_the_page_ends_an_import_and_keeps_what_it_has(panel: ChatPanel, tmp_path: Path) -> None:
    async def body() -> None:
        page = await panel.open()
        file = tmp_path / "conversations.json"
        file.write_text(json.dumps([chatgpt_chat(chat_id=str(number)) for number in range(3000)]))
        page.controller.transfer.import_from(file)
        await panel.until(lambda: page.view.transfer.isVisible() and not page.view.transfer.is_done)
        page.controller.transfer.import_from(file)
        assert page.view.toasts.current is not None
        page = await panel.again()
        count = len(page.view.list.model.ids())
        assert count < 3000
        assert len({summary for summary in page.view.list.model.titles()}) == count

    panel.run(body)
