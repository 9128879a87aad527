"""A pinned message says so, is sent as pinned, and is pinned after a restart."""

from __future__ import annotations

import pytest

from gui.chat.answer_message import AnswerMessage
from gui.chat.message_view import MessageView
from gui.chat.user_message import UserMessage
from tests.gui.chat.panel import ChatPanel


def message(panel: ChatPanel, index: int) -> UserMessage | AnswerMessage:
    view: MessageView = panel.page.view.thread_view.views()[index]
    assert isinstance(view, UserMessage | AnswerMessage)
    return view


@pytest.mark.parametrize("index", [0, 1])
def test_a_pin_is_shown_sent_and_kept(panel: ChatPanel, index: int) -> None:
    async def body() -> None:
        panel.core.settings.set("context_window_tokens", 4000)
        page = await panel.open()
        await panel.ask("Remember the number 7")
        view = message(panel, index)
        assert view.pin_button.accessibleName().startswith("Pin")
        view.pin_button.click()
        assert view.pinned
        assert view.pin_button.accessibleName() == "Unpin"
        await panel.ask("Which number?")
        assert [item.pinned for item in panel.core.requests[-1].messages] == [index == 0, index == 1, False]
        conversation = page.controller.session.id
        page = await panel.again()
        page.controller.open(conversation)
        await panel.until(lambda: len(page.view.thread_view.views()) == 4)
        view = message(panel, index)
        assert view.pinned
        view.pin_button.click()
        await panel.ask("And now?")
        assert not any(item.pinned for item in panel.core.requests[-1].messages)

    panel.run(body)


def test_a_pinned_prompt_shows_its_pin_without_the_pointer(panel: ChatPanel) -> None:
    async def body() -> None:
        panel.core.settings.set("context_window_tokens", 4000)
        await panel.open()
        await panel.ask("Hello")
        view = message(panel, 0)
        assert isinstance(view, UserMessage)
        view.pin_button.click()
        view.pin_button.clearFocus()
        assert view.pin_button.is_shown  # type: ignore[attr-defined]
        assert not view.copy_button.is_shown

    panel.run(body)


def test_where_nothing_is_trimmed_only_a_pin_that_is_set_is_shown(panel: ChatPanel) -> None:
    async def body() -> None:
        settings = panel.core.settings
        settings.set("context_window_tokens", 4000)
        page = await panel.open()
        await panel.ask("Hello")
        pinned, other = message(panel, 0), message(panel, 1)
        pinned.pin_button.click()
        settings.set("context_window_tokens", None)
        panel.core.publish()
        await panel.until(lambda: not other.pin_button.isVisible())
        assert pinned.pin_button.isVisibleTo(pinned)
        await panel.ask("Again")
        assert not message(panel, 2).pin_button.isVisibleTo(page.view)
        assert not message(panel, 3).pin_button.isVisibleTo(page.view)
        pinned.pin_button.click()
        assert not pinned.pin_button.isVisibleTo(pinned)
        settings.set("context_window_tokens", 4000)
        panel.core.publish()
        await panel.until(lambda: other.pin_button.isVisible())

    panel.run(body)
