"""The model of a chat: chosen from the lists by keyboard or mouse, kept with the chat, missed before sending."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QPushButton

from core.errors import Unavailable
from core.model_list import KeyTrouble, ListedModel
from gui.shell.pages import Target
from gui.widgets.model_picker import ModelPicker
from tests.gui.chat.looking import click, press
from tests.gui.chat.panel import ChatPanel
from tests.gui.chat.scripted_core import Script


def rows(picker: ModelPicker) -> list[str]:
    model = picker.list.model()
    return [
        str(model.index(number, 0).data(Qt.ItemDataRole.AccessibleTextRole))
        for number in range(model.rowCount())
    ]


async def in_front(panel: ChatPanel) -> None:
    """A window that comes to the front only now would close what is open over it."""
    panel.page.view.activateWindow()
    await panel.until(panel.page.view.isActiveWindow)


async def opened(panel: ChatPanel) -> ModelPicker:
    """Open the choice from the head, and return it once both lists have come."""
    models = panel.page.controller.models
    await in_front(panel)
    click(panel.page.view.header.model_pill)
    picker = models.picker
    assert picker is not None
    await panel.until(lambda: not any(models.lists.is_reading(side) for side in ("local", "api")))
    return picker


def test_each_model_stands_under_its_side_with_its_price_and_context(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        assert page.view.header.model_pill.accessibleName() == "Model: Auto"
        picker = await opened(panel)
        auto, local, tiny, api, sonnet, zebra = rows(picker)
        assert auto.startswith("Auto: Signalbox decides")
        assert auto.endswith("chosen")
        assert (local.split(",")[0], api.split(",")[0]) == ("Local", "API")
        assert tiny == "SmolLM2-135M-Instruct, Local, No charge, 4,096 tokens · default"
        assert sonnet.startswith(
            "Claude Sonnet 4.6, API, $3 in · $15 out, claude-sonnet-4-6 · 1,000,000 tokens"
        )
        assert zebra == "Claude Zebra 9, API, Unpriced, claude-zebra-9 · context not known"

    panel.run(body)


def test_it_is_found_by_typing_and_taken_by_enter_and_the_prompt_goes_there(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await in_front(panel)
        press(panel, Qt.Key.Key_L, Qt.KeyboardModifier.ControlModifier)
        picker = page.controller.models.picker
        assert picker is not None
        await panel.until(lambda: len(rows(picker)) == 6)
        QTest.keyClicks(picker.search, "zebra")
        assert len(rows(picker)) == 2, "its side, and itself"
        QTest.keyClick(picker.search, Qt.Key.Key_Return)
        assert page.controller.session.options.model == "claude-zebra-9"
        assert page.controller.session.options.force is None
        assert page.view.header.model_pill.accessibleName() == "Model: Claude Zebra 9"
        assert page.view.drawer.model_button.text() == "Claude Zebra 9"
        assert page.view.composer.edit.hasFocus()
        await panel.ask("Hello")
        assert panel.core.requests[-1].model == "claude-zebra-9"

    panel.run(body)


def test_arrows_pass_the_captions_and_esc_leaves_all_as_it_was(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        picker = await opened(panel)
        seen = [str(picker.list.currentIndex().data())]
        for _ in range(4):
            QTest.keyClick(picker.search, Qt.Key.Key_Down)
            seen.append(str(picker.list.currentIndex().data()))
        assert seen[1:] == ["SmolLM2-135M-Instruct", "Claude Sonnet 4.6", "Claude Zebra 9", "Claude Zebra 9"]
        QTest.keyClick(picker.search, Qt.Key.Key_Up)
        assert picker.list.currentIndex().data() == "Claude Sonnet 4.6"
        QTest.keyClick(picker.search, Qt.Key.Key_Escape)
        assert page.controller.session.options.model is None

    panel.run(body)


def test_a_click_takes_it_and_it_is_there_after_a_restart(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.ask("Hello")
        picker = await opened(panel)
        index = picker.list.model().index(4, 0)
        QTest.mouseClick(
            picker.list.viewport(), Qt.MouseButton.LeftButton, pos=picker.list.visualRect(index).center()
        )
        assert page.controller.session.options.model == "claude-sonnet-4-6"
        await panel.idle()
        chat = page.controller.session.id
        page = await panel.again()
        page.controller.new_chat()
        assert page.controller.session.options.model is None, "a new chat begins with Auto"
        page.controller.open(chat)
        await panel.until(lambda: page.controller.session.id == chat)
        assert page.controller.session.options.model == "claude-sonnet-4-6"
        assert page.view.header.model_pill.accessibleName() == "Model: Claude Sonnet 4.6"

    panel.run(body)


def test_new_chats_begin_with_it_only_where_that_was_asked_for(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.ask("Hello")
        picker = await opened(panel)
        QTest.mouseClick(
            picker.for_new, Qt.MouseButton.LeftButton, pos=QPoint(8, picker.for_new.height() // 2)
        )
        QTest.keyClicks(picker.search, "sonnet")
        QTest.keyClick(picker.search, Qt.Key.Key_Return)
        page.controller.new_chat()
        assert page.controller.session.options.model == "claude-sonnet-4-6"
        page = await panel.again()
        assert page.controller.session.options.model == "claude-sonnet-4-6", "also after a restart"
        picker = await opened(panel)
        assert picker.for_new.isChecked()
        QTest.keyClicks(picker.search, "auto")
        QTest.keyClick(picker.search, Qt.Key.Key_Return)
        assert page.controller.session.options.model is None
        assert page.controller.conversations.fresh_options().model is None

    panel.run(body)


def test_the_switch_and_the_model_never_disagree(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        picker = await opened(panel)
        click(page.view.composer.switch.segment("local"))
        QTest.keyClicks(picker.search, "sonnet")
        QTest.keyClick(picker.search, Qt.Key.Key_Return)
        assert page.controller.session.options.force is None
        assert page.view.composer.chosen_side() is None, "named, it goes to the API by itself"
        click(page.view.composer.switch.segment("api"))
        assert page.controller.session.options.model == "claude-sonnet-4-6", "that is its side"
        click(page.view.composer.switch.segment("local"))
        assert page.controller.session.options.model is None
        assert page.view.header.model_pill.accessibleName() == "Model: Local"
        assert page.view.drawer.model_note.text().startswith(
            "You chose Local, which answers with its own model"
        )
        picker = await opened(panel)
        auto = rows(picker)[0]
        assert auto.startswith("Auto: Signalbox decides")
        assert "chosen" not in auto, "a side is chosen, so Signalbox does not decide"
        QTest.keyClicks(picker.search, "auto")
        QTest.keyClick(picker.search, Qt.Key.Key_Return)
        assert page.controller.session.options.force is None
        assert page.view.composer.chosen_side() is None
        assert page.view.header.model_pill.accessibleName() == "Model: Auto"

    panel.run(body)


def test_a_model_that_is_gone_is_missed_before_anything_is_sent(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        picker = await opened(panel)
        QTest.keyClicks(picker.search, "zebra")
        QTest.keyClick(picker.search, Qt.Key.Key_Return)
        assert page.view.composer.model_note == ""
        listed = panel.core.models.lists["api"]
        panel.core.models.lists["api"] = replace(listed, models=listed.models[:1])
        picker = await opened(panel)
        assert "does not list claude-zebra-9 any more" in page.view.composer.model_note
        assert page.view.header.model_pill.tone == "danger"
        assert not panel.core.requests
        # A list that can't be read says nothing of it.
        panel.core.models.lists["api"] = replace(
            listed, models=(), problem="It is overloaded.", hint="Try again."
        )
        click(picker.refresh)
        await panel.until(lambda: any("It is overloaded" in row for row in rows(picker)))
        assert page.view.composer.model_note == ""

    panel.run(body)


def test_of_a_catalogue_of_thousands_so_many_are_shown_as_can_be_and_the_rest_is_found(
    panel: ChatPanel,
) -> None:
    async def body() -> None:
        await panel.open()
        many = tuple(ListedModel(id=f"claude-number-{number}") for number in range(5000))
        panel.core.models.lists["api"] = replace(panel.core.models.lists["api"], models=many)
        picker = await opened(panel)
        assert len(rows(picker)) < 100
        assert rows(picker)[-1] == "4,940 more: type a part of their names"
        QTest.keyClicks(picker.search, "number-4999")
        assert [row.split(",")[0] for row in rows(picker)[1:]] == ["claude-number-4999"]

    panel.run(body)


def test_a_chat_that_is_opened_again_misses_its_model_by_itself(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        session = page.controller.session
        session.set_options(replace(session.options, model="claude-zebra-9"))
        await panel.ask("Hello")
        listed = panel.core.models.lists["api"]
        panel.core.models.lists["api"] = replace(listed, models=listed.models[:1])
        page = await panel.again()
        assert page.view.composer.model_note == ""
        page.controller.open(session.id)
        await panel.until(lambda: "does not list claude-zebra-9" in page.view.composer.model_note)
        page.controller.new_chat()
        assert page.view.composer.model_note == ""

    panel.run(body)


def test_a_list_that_could_not_be_read_says_why_and_is_read_again(panel: ChatPanel) -> None:
    async def body() -> None:
        await panel.open()
        listed = panel.core.models.lists["api"]
        panel.core.models.lists["api"] = replace(listed, problem="The API is away.", hint="Wait.")
        picker = await opened(panel)
        trouble = next(number for number, row in enumerate(rows(picker)) if "The API is away" in row)
        assert "Claude Sonnet 4.6" in "".join(rows(picker)), "what was known stays"
        panel.core.models.lists["api"] = listed
        index = picker.list.model().index(trouble, 0)
        QTest.mouseClick(
            picker.list.viewport(), Qt.MouseButton.LeftButton, pos=picker.list.visualRect(index).center()
        )
        lists = panel.page.controller.models.lists
        await panel.until(
            lambda: ("read models", "api", True) in panel.core.calls and not lists.is_reading("api")
        )
        assert not any("The API is away" in row for row in rows(picker))
        assert picker.isVisible()

    panel.run(body)


@pytest.mark.parametrize(
    ("trouble", "offer"),
    [("missing", "Add a key"), ("refused", "Replace the key"), ("held_back", "Say where it may go")],
)
def test_a_list_that_only_the_key_can_mend_leads_to_the_key(
    panel: ChatPanel, trouble: KeyTrouble, offer: str
) -> None:
    async def body() -> None:
        await panel.open()
        listed = panel.core.models.lists["api"]
        panel.core.models.lists["api"] = replace(listed, problem="No.", key_trouble=trouble)
        picker = await opened(panel)
        number = next(number for number, row in enumerate(rows(picker)) if row.startswith("No."))
        assert rows(picker)[number] == f"No. Press Enter: {offer}."
        picker.list.setCurrentIndex(picker.list.model().index(number, 0))
        QTest.keyClick(picker.search, Qt.Key.Key_Return)
        assert panel.shell.opened[-1] == Target("preferences", "providers", "anthropic")
        assert not picker.isVisible()
        assert ("read models", "api", True) not in panel.core.calls

    panel.run(body)


def test_a_prompt_whose_model_fails_can_go_to_the_other_sides_own(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        picker = await opened(panel)
        QTest.keyClicks(picker.search, "smol")
        QTest.keyClick(picker.search, Qt.Key.Key_Return)
        panel.core.say(Script(error=Unavailable("The server is away.")))
        page.view.composer.set_content("Hello")
        page.controller.send()
        await panel.until(lambda: page.view.thread_view.loose_card is not None)
        card = page.view.thread_view.loose_card
        assert card is not None
        buttons = {button.text(): button for button in card.findChildren(QPushButton)}
        assert "Send to API" in buttons, list(buttons)
        click(buttons["Send to API"])
        await panel.idle()
        assert (panel.core.requests[-1].force, panel.core.requests[-1].model) == ("api", None)
        assert page.controller.session.options.model == "SmolLM2-135M-Instruct", "for this one only"

    panel.run(body)
