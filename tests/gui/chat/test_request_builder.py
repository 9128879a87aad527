"""A conversation that is too long goes on with its beginning summed up; what is kept stays whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QPushButton

from core.chat import ContextEconomy
from core.errors import ContextTooLong, SignalboxError, Unavailable
from core.routing import validation
from gui.chat import options
from gui.chat.answer_message import AnswerMessage
from gui.chat.failures.cards import FailureCard
from gui.chat.page import ChatPage
from gui.chat.request_builder import LeftOut, window_for
from gui.widgets.decision_card import prompt_facts
from tests.gui.chat.builders import make_decision
from tests.gui.chat.panel import ChatPanel
from tests.gui.chat.scripted_core import Gate, Script

SUMMARISE = "Summarise the beginning"
LONG = "A town by the river. " * 60
TOO_LONG = ContextTooLong("Too long.", input_tokens=1_400, limit_tokens=1_000)


def buttons(card: FailureCard) -> dict[str, QPushButton]:
    return {item.text(): item for item in card.findChildren(QPushButton)}


async def too_long(panel: ChatPanel, error: SignalboxError = TOO_LONG) -> FailureCard:
    """Two long turns are answered; the third prompt is too long. Returns its card."""
    page = await panel.open()
    panel.core.say(Script(text=LONG), Script(text=LONG), Script(error=error))
    await panel.ask(f"First: {LONG}")
    await panel.ask("Second")
    await panel.ask("Third")
    await panel.until(lambda: page.view.thread_view.loose_card is not None)
    assert page.view.thread_view.loose_card is not None
    return page.view.thread_view.loose_card


def texts(page: ChatPage) -> list[str]:
    return [message.text for message in page.controller.session.tree.path()]


def last_answer(page: ChatPage) -> AnswerMessage:
    view = page.view.thread_view.views()[-1]
    assert isinstance(view, AnswerMessage)
    return view


@pytest.mark.parametrize(
    ("local", "limit", "window"),
    [(32_768, None, 24_576), (None, 1_000, 750), (None, None, 8_000), (32_768, 4_096, 3_072), (0, 0, 8_000)],
)
def test_the_window_leaves_a_quarter_of_what_is_known(
    local: int | None, limit: int | None, window: int
) -> None:
    assert window_for(local, limit) == window


def test_the_beginning_is_summed_up_in_what_is_sent_and_kept_in_what_is_stored(panel: ChatPanel) -> None:
    async def body() -> None:
        card = await too_long(panel)
        page = panel.page
        assert "keeps all its turns" in card.plan.kept
        panel.core.say(Script(text="It has three bridges."))
        buttons(card)[SUMMARISE].click()
        await panel.idle()
        assert panel.core.windows == [750]
        whole, sent = panel.core.requests[-2:]
        assert len(whole.messages) == 5
        left_out = 5 - len(sent.messages)
        assert left_out in range(1, 5)
        assert "They spoke of towns." in sent.messages[0].text
        assert sent.messages[-1].text.endswith("Third")
        stored = [f"First: {LONG}", LONG, "Second", LONG, "Third", "It has three bridges."]
        assert texts(page) == stored
        assert page.view.thread_view.loose_card is None

        head = page.controller.session.tree.head_id
        assert head is not None
        result = page.controller.session.tree[head].result
        assert result is not None
        economy = result.decision.economy
        assert economy is not None
        assert economy.summarised_turns == left_out
        assert economy.trimmed_tokens > 0
        facts = {fact.name: fact.value for fact in prompt_facts(result.decision, result)}
        assert "for a summary" in facts["Left out"]
        await panel.ask("Fourth")  # only the one request was shortened
        assert panel.core.windows == [750]
        assert len(panel.core.requests[-1].messages) == 7
        fourth = page.controller.session.tree.path()[-1].result
        assert fourth is not None
        assert fourth.decision.economy is None

        chat = page.controller.session.id
        page = await panel.again()
        page.controller.open(chat)
        await panel.until(lambda: page.controller.session.id == chat)
        assert texts(page)[:6] == stored

    panel.run(body)


def test_the_local_context_decides_how_short_where_the_error_says_nothing(panel: ChatPanel) -> None:
    async def body() -> None:
        panel.core.decide_with = lambda request: make_decision(
            None, refusal="context_too_long", local_context_tokens=800
        )
        card = await too_long(panel, ContextTooLong("Too long for both."))
        assert card.plan.facts.summary_window_tokens == 600
        buttons(card)[SUMMARISE].click()
        await panel.idle()
        assert panel.core.windows == [600]

    panel.run(body)


def test_while_the_summary_is_made_the_answer_says_so_and_stop_ends_it(panel: ChatPanel) -> None:
    async def body() -> None:
        card = await too_long(panel)
        page = panel.page
        asked = len(panel.core.requests)
        panel.core.summary_gate = Gate()
        buttons(card)[SUMMARISE].click()
        await panel.until(lambda: len(page.view.thread_view.views()) == 6)
        await panel.until(
            lambda: last_answer(page).badge.accessibleName() == "Waiting for a summary of the beginning"
        )
        await panel.until(lambda: panel.core.windows)
        await panel.until(lambda: last_answer(page).badge.isVisible())
        assert page.view.composer.state == "streaming"
        QTest.keyClick(page.view.composer.edit, Qt.Key.Key_Escape)
        await panel.idle()
        await panel.until(lambda: panel.core.summaries_ended == 1)
        await panel.until(lambda: last_answer(page).note == "Stopped before it was sent")
        await panel.until(lambda: not last_answer(page).badge.isVisible())
        assert len(panel.core.requests) == asked
        assert texts(page)[:5] == [f"First: {LONG}", LONG, "Second", LONG, "Third"]
        assert page.view.composer.state == "idle"

    panel.run(body)


def test_no_summary_is_an_ordinary_failure_and_the_conversation_is_as_it_was(panel: ChatPanel) -> None:
    async def body() -> None:
        card = await too_long(panel)
        page = panel.page
        before, asked = page.controller.session.tree.all(), len(panel.core.requests)
        panel.core.summary_error = Unavailable("Nothing answers at 127.0.0.1.")
        buttons(card)[SUMMARISE].click()
        await panel.idle()
        await panel.until(lambda: page.view.thread_view.loose_card not in (None, card))
        told = page.view.thread_view.loose_card
        assert told is not None
        assert "Nothing answers" in told.plan.sentence
        assert "Try again" in buttons(told)
        assert page.controller.session.tree.all() == before
        assert page.view.composer.text == "Third"
        assert len(panel.core.requests) == asked

    panel.run(body)


def test_a_failed_answer_in_the_thread_is_asked_again_with_a_summary(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.say(Script(text=LONG), Script(error=TOO_LONG), Script(text="Now it fits."))
        await panel.ask(f"First: {LONG} {LONG}")
        page.view.composer.set_content("Second")
        page.controller.send()
        page.view.composer.set_content("Typing on")
        await panel.idle()
        await panel.until(lambda: last_answer(page).card and last_answer(page).card.plan.actions)  # type: ignore[union-attr]
        card = last_answer(page).card
        assert card is not None
        buttons(card)[SUMMARISE].click()
        await panel.idle()
        assert panel.core.windows == [750]
        assert texts(page)[-1] == "Now it fits."
        assert page.view.composer.text == "Typing on"

    panel.run(body)


def test_a_lone_long_prompt_has_no_beginning_to_sum_up(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.say(Script(error=TOO_LONG))
        await panel.ask(LONG * 5)
        await panel.until(lambda: page.view.thread_view.loose_card is not None)
        assert page.view.thread_view.loose_card is not None
        assert SUMMARISE not in buttons(page.view.thread_view.loose_card)

    panel.run(body)


def test_what_the_router_left_out_is_told_together_with_the_summary() -> None:
    routed = make_decision(economy=ContextEconomy(compressed_tokens=20, saved_nanodollars=5))
    told = LeftOut(turns=3, tokens=400).on_decision(routed)
    assert told.economy == ContextEconomy(compressed_tokens=20, trimmed_tokens=400, summarised_turns=3)
    assert replace(told, economy=routed.economy) == routed
    assert LeftOut(turns=0, tokens=0).on_decision(routed) is routed


def test_the_drawer_takes_as_much_as_the_core() -> None:
    assert (options.MAX_STOPS, options.MAX_SEED) == (validation.MAX_STOPS, validation.MAX_SEED)
