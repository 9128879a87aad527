"""The list as a user orders it: pins, folders, duplicates, what was deleted, by the menu and by keys."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAction
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit, QMenu

from core.errors import Unavailable
from gui.chat.chat_menu import ChatMenu
from gui.chat.conversation_model import Caption, Group
from gui.chat.folder_dialog import FolderDialog
from gui.chat.storage.models import COPIED, ConversationSummary, DeletedConversation
from gui.widgets.question import Question
from tests.gui.chat.looking import shown, texts
from tests.gui.chat.panel import ChatPanel
from tests.gui.chat.scripted_core import Script


def rows(panel: ChatPanel) -> list[str]:
    """What stands in the list, captions in brackets and groups with their count."""
    model = panel.page.view.list.model
    found: list[str] = []
    for number in range(model.rowCount()):
        row = model.row_at(model.index(number))
        if isinstance(row, Caption):
            found.append(f"[{row.text}]")
        elif isinstance(row, Group):
            found.append(f"{row.text} {row.count}")
        elif isinstance(row, ConversationSummary | DeletedConversation):
            found.append(row.title)
    return found


async def chats(panel: ChatPanel, *titles: str) -> list[str]:
    """Ask one question in a chat each; returns the chats' ids, the last is shown."""
    ids: list[str] = []
    for title in titles:
        panel.page.controller.new_chat()
        await panel.ask(title)
        ids.append(panel.page.controller.session.id)
    await panel.until(lambda: len(panel.page.view.list.model.ids()) == len(titles))
    return ids


def choose(menu: QMenu, *words: str) -> None:
    """Trigger the action that the words lead to, through submenus."""
    for word in words:
        action = next(each for each in menu.actions() if each.text().split("\t")[0] == word)
        inner = action.menu()
        if isinstance(inner, QMenu):
            menu = inner
        else:
            assert action.isEnabled()
            action.trigger()
    top = QApplication.activePopupWidget()
    if top is not None:
        top.close()


def words_of(actions: list[QAction]) -> list[str]:
    return [action.text() for action in actions if action.text()]


def open_menu(panel: ChatPanel, conversation_id: str) -> ChatMenu:
    """As with the right button on a row."""
    chats = panel.page.view.list
    place = chats.view.visualRect(chats.model.index_of(conversation_id)).center()
    chats.view.customContextMenuRequested.emit(place)
    menu = QApplication.activePopupWidget()
    assert isinstance(menu, ChatMenu)
    return menu


def test_the_row_and_the_head_open_the_same_menu_and_nothing_can_be_done_with_an_empty_chat(
    panel: ChatPanel,
) -> None:
    async def body() -> None:
        page = await panel.open()
        page.view.header.menu_button.click()
        menu = QApplication.activePopupWidget()
        assert isinstance(menu, ChatMenu)
        assert not any(action.isEnabled() for action in menu.actions())
        menu.close()
        (fruit,) = await chats(panel, "Fruit")
        at_row = open_menu(panel, fruit)
        in_list = words_of(at_row.actions())
        at_row.close()
        page.view.header.menu_button.click()
        menu = QApplication.activePopupWidget()
        assert isinstance(menu, ChatMenu)
        assert words_of(menu.actions()) == in_list
        assert [word.split("\t")[0] for word in in_list] == [
            "Rename",
            "Pin",
            "Move to folder",
            "Duplicate",
            "Copy as Markdown",
            "Export",
            "Delete",
        ]
        choose(menu, "Copy as Markdown")
        await panel.until(lambda: "Fruit" in QApplication.clipboard().text())

    panel.run(body)


def test_pins_and_folders_order_the_list_and_are_there_after_a_restart(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        old, work, last = await chats(panel, "Old", "Work", "Last")
        choose(open_menu(panel, old), "Pin")
        await panel.until(lambda: rows(panel)[:2] == ["[Pinned]", "Old"])
        choose(open_menu(panel, work), "Move to folder", "New folder…")
        dialog = page.view.findChild(FolderDialog)
        assert dialog is not None
        QTest.keyClicks(dialog.field, "Invoices")
        QTest.keyClick(dialog.field, Qt.Key.Key_Return)
        await panel.until(lambda: rows(panel) == ["[Pinned]", "Old", "Invoices 1", "Work", "[Today]", "Last"])

        page.controller.open(last)
        view = page.view.list.view
        view.setFocus()
        view.setCurrentIndex(page.view.list.model.index_of(work))
        QTest.keyClick(view, Qt.Key.Key_Left)  # to the header
        QTest.keyClick(view, Qt.Key.Key_Left)  # closes it
        assert rows(panel) == ["[Pinned]", "Old", "Invoices 1", "[Today]", "Last"]
        page.view.list.search.setText("work")
        await panel.until(lambda: rows(panel) == ["[Today]", "Work"])

        page = await panel.again()
        assert rows(panel) == ["[Pinned]", "Old", "Invoices 1", "[Today]", "Last"]
        group = page.view.list.model.index_of_group("folder:Invoices")
        page.view.list.view.setCurrentIndex(group)
        QTest.keyClick(page.view.list.view, Qt.Key.Key_F2)
        editor = page.view.list.view.findChild(QLineEdit)
        assert editor is not None
        editor.setText("Bills")
        QTest.keyClick(editor, Qt.Key.Key_Return)
        await panel.until(lambda: "Bills 1" in rows(panel))
        choose(open_menu(panel, old), "Unpin")
        choose(open_menu(panel, last), "Move to folder", "Bills")
        await panel.until(lambda: rows(panel)[:1] == ["Bills 2"])
        assert page.controller.conversations.titles() == {
            page.controller.session.id: page.controller.session.title
        }

    panel.run(body)


def test_a_duplicate_has_every_branch_and_costs_nothing_again(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.say(Script(text="One", side="api"), Script(text="Two", side="api"))
        (fruit,) = await chats(panel, "Fruit")
        answer = page.controller.session.tree.path()[-1]
        page.controller.regenerate(answer.id)
        await panel.idle()
        choose(open_menu(panel, fruit), "Duplicate")
        await panel.until(lambda: page.controller.session.id != fruit)
        await panel.until(lambda: rows(panel) == ["[Today]", "Fruit (copy)", "Fruit"])
        copy = page.controller.session
        assert texts(panel) == ["Fruit", "Two"]
        assert sorted(item.text for item in copy.tree.all()) == ["Fruit", "One", "Two"]
        assert copy.totals.answers == 0
        summary = page.view.list.model.summary(copy.id)
        assert summary is not None
        assert summary.totals.spending.parts == ()
        await panel.ask("And now?")
        assert copy.totals.answers == 1
        page = await panel.again()
        whole = await page.controller.conversations.whole(copy.id)
        assert whole is not None
        assert [item.origin for item in whole.messages] == [COPIED] * 3 + [""] * 2

    panel.run(body)


def test_a_prompt_that_came_back_moves_no_chat_in_the_list(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        first, _last = await chats(panel, "First", "Last")
        page.controller.open(first)
        await panel.until(lambda: page.controller.session.id == first)
        before = page.view.list.model.summary(first)
        panel.core.say(Script(error=Unavailable("The server is away.")))
        await panel.ask("And now?")
        assert page.view.composer.text == "And now?"
        await panel.until(lambda: rows(panel) == ["[Today]", "Last", "First"])
        after = page.view.list.model.summary(first)
        assert before is not None
        assert after is not None
        assert after.updated_at == before.updated_at
        page = await panel.again()
        assert rows(panel) == ["[Today]", "Last", "First"]
        page.controller.open(first)
        await panel.until(lambda: page.controller.session.id == first)
        await panel.ask("And now?")
        await panel.until(lambda: rows(panel) == ["[Today]", "First", "Last"])

    panel.run(body)


def test_deleting_goes_to_the_next_chat_and_what_is_deleted_can_be_restored_from_the_list(
    panel: ChatPanel,
) -> None:
    async def body() -> None:
        page = await panel.open()
        first, middle, last = await chats(panel, "First", "Middle", "Last")
        page.controller.open(middle)
        await panel.until(lambda: page.controller.session.id == middle)
        page.view.list.view.setFocus()
        QTest.keyClick(page.view.list.view, Qt.Key.Key_Delete)
        await panel.until(lambda: page.controller.session.id == first)
        await panel.until(lambda: rows(panel) == ["[Today]", "Last", "First", "Recently deleted 1"])
        QTest.keyClick(page.view.list.view, Qt.Key.Key_Delete)  # the last row: the one above it
        await panel.until(lambda: page.controller.session.id == last)
        QTest.keyClick(page.view.list.view, Qt.Key.Key_Delete)
        await panel.until(lambda: page.controller.session.is_blank)

        page = await panel.again()
        assert rows(panel) == ["Recently deleted 3"]
        view, model = page.view.list.view, page.view.list.model
        QTest.mouseClick(
            view.viewport(), Qt.MouseButton.LeftButton, pos=view.visualRect(model.index(0)).center()
        )
        assert rows(panel)[:2] == ["Recently deleted 3", "[Kept for 30 days, then gone for good]"]
        assert rows(panel)[2:] == ["Last", "First", "Middle"]
        assert "30 days left" in str(model.index(2).data(Qt.ItemDataRole.AccessibleTextRole))
        view.setCurrentIndex(model.index(3))
        QTest.keyClick(view, Qt.Key.Key_Return)
        await panel.until(lambda: page.controller.session.id == first)
        await panel.until(lambda: shown(panel)[:1] == ["First"])

        view.setFocus()
        view.setCurrentIndex(model.index(rows(panel).index("Middle")))
        QTest.keyClick(view, Qt.Key.Key_Delete)
        question = page.view.findChild(Question)
        assert question is not None
        question.do.click()
        await panel.until(lambda: "Middle" not in rows(panel))
        assert rows(panel)[-1] == "Last"
        page = await panel.again()
        page.controller.list.restore(middle)
        await panel.idle()
        assert await page.controller.conversations.whole(middle) is None

    panel.run(body)


def test_the_menu_key_opens_the_menu_of_the_row(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await chats(panel, "Fruit")
        page.view.list.view.customContextMenuRequested.emit(QPoint(-5, -5))
        menu = QApplication.activePopupWidget()
        assert isinstance(menu, ChatMenu)
        menu.close()

    panel.run(body)


@pytest.mark.parametrize("has_chats", [False, True])
def test_a_list_without_a_current_row_shows_that_it_has_the_focus(panel: ChatPanel, has_chats: bool) -> None:
    async def body() -> None:
        page = await panel.open()
        if has_chats:
            await chats(panel, "Fruit")
            page.controller.new_chat()
            await panel.until(lambda: not page.view.list.view.currentIndex().isValid())
        view = page.view.list.view
        before = view.grab().toImage()
        for _ in range(40):
            if view.hasFocus():
                break
            focus = QApplication.focusWidget()
            assert focus is not None
            QTest.keyClick(focus, Qt.Key.Key_Tab)
        assert view.hasFocus()
        ring = view.grab().toImage()
        at = QPoint(view.width() // 2, 1)
        assert ring.pixelColor(at) != before.pixelColor(at)

    panel.run(body)
