"""Every paused conversation is asked about: those of this panel by their title, and those of other programs."""

from __future__ import annotations

from datetime import UTC, datetime

from PySide6.QtWidgets import QPushButton

from core.errors import LedgerUnavailable, RunawayPaused
from core.ledger.models import PausedConversation
from gui.chat.failures.cards import chat_hash
from tests.gui.chat.panel import ChatPanel
from tests.gui.chat.scripted_core import Script

SINCE = datetime(2026, 6, 18, 14, 32, tzinfo=UTC)


def paused(conversation: str) -> PausedConversation:
    return PausedConversation(conversation=conversation, since=SINCE, per_minute=60)


def press(panel: ChatPanel, conversation: str, words: str) -> None:
    card = panel.page.view.paused.cards[conversation]
    next(button for button in card.findChildren(QPushButton) if button.text() == words).click()


def test_a_loop_of_another_program_is_asked_about_and_goes_on(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.publish(paused=(paused("ab12"),))
        await panel.until(lambda: "ab12" in page.view.paused.cards)
        card = page.view.paused.cards["ab12"]
        assert card.isVisible()
        assert card.accessibleName() == "A conversation of another program is paused"
        assert "60 requests in a minute" in card.accessibleDescription()
        press(panel, "ab12", "Let it go on")
        await panel.until(lambda: not page.view.paused.isVisible())
        assert ("resume", "ab12") in panel.core.calls

    panel.run(body)


def test_a_chat_of_this_panel_is_named_by_its_title(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.ask("Count to ten")
        name = chat_hash(page.controller.session.id)
        page.controller.new_chat()
        panel.core.publish(paused=(paused(name),))
        await panel.until(lambda: name in page.view.paused.cards)
        assert page.view.paused.cards[name].accessibleName() == "“Count to ten” is paused"

    panel.run(body)


def test_keep_it_paused_takes_the_card_away_until_it_is_paused_anew(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.publish(paused=(paused("ab12"), paused("cd34")))
        await panel.until(lambda: len(page.view.paused.cards) == 2)
        press(panel, "ab12", "Keep it paused")
        await panel.until(lambda: list(page.view.paused.cards) == ["cd34"])
        assert not [call for call in panel.core.calls if call[0] == "resume"]
        panel.core.publish(paused=())
        await panel.until(lambda: not page.view.paused.isVisible())
        panel.core.publish(paused=(paused("ab12"),))
        await panel.until(lambda: "ab12" in page.view.paused.cards)

    panel.run(body)


def test_the_conversation_that_just_failed_is_asked_about_once(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        name = chat_hash(page.controller.session.id)
        panel.core.say(Script(error=RunawayPaused("Paused.", conversation=name, per_minute=60)))
        panel.core.publish(paused=(paused(name),))
        await panel.until(lambda: name in page.view.paused.cards)
        await panel.ask("Again")
        await panel.until(lambda: page.view.thread_view.loose_card is not None)
        assert page.view.paused.cards == {}
        assert not page.view.paused.isVisible()
        panel.core.publish(paused=())  # somebody let it go on elsewhere
        await panel.until(lambda: page.view.thread_view.loose_card is None)

    panel.run(body)


def test_a_ledger_that_can_t_be_written_is_said(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()

        async def fail(conversation: str) -> bool:
            raise LedgerUnavailable("The ledger is busy.", hint="Try again.")

        panel.core.ledger.resume = fail  # type: ignore[method-assign]
        panel.core.publish(paused=(paused("ab12"),))
        await panel.until(lambda: "ab12" in page.view.paused.cards)
        press(panel, "ab12", "Let it go on")
        await panel.until(lambda: page.view.trouble.isVisible())
        assert page.view.paused.isVisible()

    panel.run(body)
