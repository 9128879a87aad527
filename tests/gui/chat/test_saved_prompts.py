"""Saved system prompts: kept by name, picked in the drawer, one of them for new chats; chats keep their text."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QMenu

from gui.chat.storage.models import SavedPrompt
from gui.chat.storage.prompts_json import prompts_to_json
from tests.gui.chat.looking import click
from tests.gui.chat.panel import ChatPanel


def actions(menu: QMenu) -> dict[str, QAction]:
    """Every action of a menu and its submenus by its words."""
    found: dict[str, QAction] = {}
    for action in menu.actions():
        inner = action.menu()
        if isinstance(inner, QMenu):
            found |= {f"{action.text()} > {words}": each for words, each in actions(inner).items()}
        elif action.text():
            found[action.text()] = action
    return found


def do(panel: ChatPanel, words: str) -> None:
    """Open the menu at the drawer and choose ``words``."""
    prompts = panel.page.controller.prompts
    if not panel.page.view.drawer.isVisible():
        panel.page.controller.toggle_options()
    click(panel.page.view.drawer.prompts_button)
    assert prompts.menu is not None
    found = actions(prompts.menu)
    assert words in found, list(found)
    prompts.menu.close()
    found[words].trigger()


def offered(panel: ChatPanel) -> list[str]:
    click(panel.page.view.drawer.prompts_button)
    menu = panel.page.controller.prompts.menu
    assert menu is not None
    words = [text for text, action in actions(menu).items() if action.isEnabled()]
    menu.close()
    return words


def save(panel: ChatPanel, text: str, name: str) -> None:
    panel.page.view.drawer.system.setPlainText(text)
    do(panel, "Save as…")
    naming = panel.page.controller.prompts.naming
    assert naming is not None
    QTest.keyClicks(naming.edit, name)
    QTest.keyClick(naming.edit, Qt.Key.Key_Return)


def test_a_prompt_is_saved_by_name_and_picked_in_another_chat_also_after_a_restart(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.until(page.view.isActiveWindow)
        save(panel, "Answer as a pirate.", "Pirate")
        assert page.view.drawer.prompts_button.text() == "Pirate"
        await panel.ask("Hello")
        page = await panel.again()
        page.controller.new_chat()
        assert page.controller.session.options.system == ""
        do(panel, "Pirate")
        assert page.view.drawer.system.toPlainText() == "Answer as a pirate."
        await panel.ask("Hello")
        assert panel.core.requests[-1].system == "Answer as a pirate."

    panel.run(body)


def test_new_chats_begin_with_the_default_and_old_ones_keep_their_text(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.until(page.view.isActiveWindow)
        save(panel, "Be brief.", "Brief")
        await panel.ask("Hello")
        first = page.controller.session.id
        do(panel, "Manage “Brief” > New chats begin with it")
        page.controller.new_chat()
        assert page.controller.session.options.system == "Be brief."
        page = await panel.again()
        assert page.controller.session.options.system == "Be brief.", "also after a restart"
        save(panel, "Be very brief.", "brief")
        assert [prompt.text for prompt in page.controller.prompts.prompts] == ["Be very brief."]
        page.controller.open(first)
        await panel.until(lambda: page.controller.session.id == first)
        assert page.controller.session.options.system == "Be brief."

    panel.run(body)


def test_it_is_updated_renamed_and_deleted_and_each_can_be_undone(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.until(page.view.isActiveWindow)
        prompts, toasts = page.controller.prompts, page.view.toasts
        save(panel, "Be brief.", "Brief")
        page.view.drawer.system.setPlainText("Be very brief.")
        assert page.view.drawer.prompts_button.text() == "Brief (changed)"
        do(panel, "Update “Brief”")
        assert prompts.prompts[0].text == "Be very brief."
        do(panel, "Manage “Brief” > Rename…")
        assert prompts.naming is not None
        QTest.keyClicks(prompts.naming.edit, "Terse")  # the old name is selected
        QTest.keyClick(prompts.naming.edit, Qt.Key.Key_Return)
        assert [prompt.name for prompt in prompts.prompts] == ["Terse"]
        do(panel, "Manage “Terse” > Delete")
        assert prompts.prompts == ()
        assert page.controller.session.options.system == "Be very brief.", "the chat keeps its text"
        assert offered(panel) == ["Save as…"]
        assert toasts.current is not None
        assert toasts.current.button is not None
        click(toasts.current.button)
        assert [prompt.name for prompt in prompts.prompts] == ["Terse"]
        await panel.idle()
        page = await panel.again()
        assert [prompt.name for prompt in page.controller.prompts.prompts] == ["Terse"]

    panel.run(body)


def test_picking_one_over_what_was_typed_can_be_undone(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.until(page.view.isActiveWindow)
        save(panel, "Be brief.", "Brief")
        page.view.drawer.system.setPlainText("Something long that was typed")
        do(panel, "Brief")
        toast = page.view.toasts.current
        assert toast is not None
        assert toast.button is not None
        click(toast.button)
        assert page.view.drawer.system.toPlainText() == "Something long that was typed"

    panel.run(body)


def test_a_prompt_that_an_import_brings_is_offered_at_once(panel: ChatPanel, tmp_path: Path) -> None:
    async def body() -> None:
        page = await panel.open()
        prompts = SavedPrompt(name="Brief", text="Be brief."), SavedPrompt(name="Kind", text="Be kind.")
        file = tmp_path / "all.json"
        file.write_text(f"[{prompts_to_json(prompts)}]")
        page.controller.transfer.import_from(file)
        await panel.until(lambda: page.view.transfer.is_done and page.view.transfer.isVisible())
        assert page.view.transfer.lines == ["No chat was imported.", "2 saved prompts imported."]
        do(panel, "Kind")
        assert page.controller.session.options.system == "Be kind."

    panel.run(body)
