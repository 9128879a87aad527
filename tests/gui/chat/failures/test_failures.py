"""A failed answer: the prompt is never lost, the card says what happened, and its button is the way on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from PySide6.QtWidgets import QPushButton

from core.chat import ChatRequest, RouteDecision
from core.errors import (
    AnswerInvalid,
    AuthenticationFailed,
    BudgetExceeded,
    ContentRefused,
    ContextTooLong,
    CreditExhausted,
    DeadlineExceeded,
    DuplicateRequest,
    HomeRefused,
    InvalidRequest,
    LedgerUnavailable,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    QueueFull,
    RateExceeded,
    RateLimited,
    RunawayPaused,
    SignalboxError,
    TimedOut,
    Unavailable,
)
from core.ledger.limits import LimitUsage, SpendLimit
from core.local.server import ServerCause, ServerState
from core.pricing.prices import PriceTable
from core.services.status import ApiStatus, Problem
from gui.chat.answer_message import AnswerMessage
from gui.chat.failures.cards import FailureCard, LogPopover
from gui.chat.failures.facts import largest_fit
from gui.chat.failures.plan import Facts, Plan
from gui.chat.failures.plans import plan_failure
from gui.chat.markdown.text_pane import TextPane
from gui.chat.storage.models import StoredError
from gui.shell.pages import Target
from gui.theme.theme import theme
from gui.widgets.budget_bar import BudgetBar
from gui.widgets.sentence import Sentence
from tests.gui.chat.builders import make_decision
from tests.gui.chat.looking import last_answer
from tests.gui.chat.panel import ChatPanel
from tests.gui.chat.scripted_core import Script
from tests.support.examples import NANO
from tests.support.fake_core import ledger_problem

NO_KEY = AuthenticationFailed("This prompt needs the API, and no Anthropic key is set.", missing=True)
OVER = BudgetExceeded(
    "This prompt doesn't fit under June's $500 limit.",
    limit_name="SPEND_LIMIT_DOLLARS",
    limit_nanodollars=500_000_000_000,
    spent_nanodollars=494_100_000_000,
    held_nanodollars=3_420_000_000,
    asked_nanodollars=2_710_000_000,
    held_count=5,
)
BUTTONS = {
    "no key": (NO_KEY, "Add a key"),
    "wrong key": (AuthenticationFailed("Anthropic refused the key."), "Replace the key"),
    "no permission": (PermissionDenied("Not with this key."), "Choose a model"),
    "no credit": (CreditExhausted("Your credit is used up."), "Open the billing page"),
    "no model": (ModelNotFound("Anthropic has no model claude-nope."), "Choose a model"),
    "home": (HomeRefused("/home/a", "others may write it"), "Try again"),
    "too long": (
        ContextTooLong("Too long.", input_tokens=41_208, limit_tokens=32_768),
        "Send to API, $0.0047",
    ),
    "budget": (OVER, "Raise the limit"),
    "ledger": (
        LedgerUnavailable("ledger.sqlite3 is not a ledger.", is_beyond_use=True),
        "Set it aside and start a new one",
    ),
    "full disk": (LedgerUnavailable("The ledger cannot be used.", hint="Free some disk space."), "Try again"),
    "unavailable": (Unavailable("Nothing answers at 127.0.0.1."), "Try again"),
    "rate": (RateLimited("Too many requests."), "Try again"),
    "overloaded": (Overloaded("Overloaded."), "Try again"),
    "refused": (ContentRefused("It declined."), "Try again"),
    "rate of ours": (
        RateExceeded(
            "MAX_REQUESTS_PER_MINUTE is reached.", limit_name="MAX_REQUESTS_PER_MINUTE", retry_after_s=0.0
        ),
        "Try again",
    ),
    "queue": (QueueFull("64 requests wait for it already."), "Let more wait"),
    "timed out": (
        TimedOut("Local sent no first token in 300 s.", phase="first_token"),
        "Change the time-outs",
    ),
    "deadline": (DeadlineExceeded("The time was over after 20 s."), "Change the deadline"),
    "schema": (AnswerInvalid("It doesn't match.", problems=("'city' is missing",)), "Try the API"),
    "paused": (RunawayPaused("Paused.", conversation="ab12", per_minute=60), "Let it go on"),
    "duplicate": (DuplicateRequest("The key was used."), "Send it again"),
    "invalid": (InvalidRequest("max_tokens is 0.", hint="Give at least 1."), "Try again"),
}


def card_of(panel: ChatPanel) -> FailureCard:
    card = panel.page.view.thread_view.loose_card
    assert card is not None
    return card


def button(card: FailureCard, text: str) -> QPushButton:
    found = [item for item in card.findChildren(QPushButton) if item.text() == text]
    assert found, [item.text() for item in card.findChildren(QPushButton)]
    return found[0]


async def fail(panel: ChatPanel, error: SignalboxError, prompt: str = "My long prompt") -> FailureCard:
    panel.core.say(Script(error=error))
    await panel.ask(prompt)
    await panel.until(lambda: panel.page.view.thread_view.loose_card is not None)
    return card_of(panel)


@pytest.mark.parametrize("name", list(BUTTONS))
def test_the_prompt_goes_back_to_the_box_and_survives_a_restart(panel: ChatPanel, name: str) -> None:
    error, label = BUTTONS[name]

    async def body() -> None:
        page = await panel.open()
        card = await fail(panel, error)
        assert page.view.composer.text == "My long prompt"
        assert len(page.controller.session.tree) == 0
        assert card.isVisible()
        assert button(card, label).isVisible()
        words = f"{card.plan.sentence} {card.plan.kept}"
        assert "box" in words or name == "invalid"
        page = await panel.again()
        await panel.until(lambda: page.view.composer.text == "My long prompt")

    panel.run(body)


def test_a_box_that_is_in_use_keeps_its_text_and_the_prompt_stays_above(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.say(Script(error=Unavailable("Nothing answers.")), Script(text="Now it works"))
        page.view.composer.set_content("First prompt")
        page.controller.send()
        page.view.composer.set_content("Already typing the next")
        await panel.idle()
        await panel.until(lambda: len(page.view.thread_view.views()) == 2)
        assert page.view.composer.text == "Already typing the next"
        view = page.view.thread_view.views()[1]
        assert isinstance(view, AnswerMessage)
        assert view.card is not None
        assert view.card.plan.kept == "Your prompt is kept above."
        button(view.card, "Try again").click()
        await panel.idle()
        assert [message.text for message in page.controller.session.tree.path()] == [
            "First prompt",
            "Now it works",
        ]
        assert page.view.composer.text == "Already typing the next"

    panel.run(body)


def test_a_failed_answer_shows_its_card_again_after_a_restart(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.ask("Works")
        panel.core.say(Script(error=OVER))
        view = page.view.thread_view.views()[1]
        assert isinstance(view, AnswerMessage)
        view.again_button.click()
        await panel.idle()
        page = await panel.again()
        page.controller.open(page.view.list.model.ids()[0])
        await panel.until(lambda: len(page.view.thread_view.views()) == 2)
        view = page.view.thread_view.views()[1]
        assert isinstance(view, AnswerMessage)
        assert view.card is not None
        assert "$500 limit" in view.card.plan.title
        await panel.until(lambda: view.versions.words == "2/2")

    panel.run(body)


def test_no_key_leads_to_the_keys(panel: ChatPanel) -> None:
    async def body() -> None:
        await panel.open()
        button(await fail(panel, NO_KEY), "Add a key").click()
        assert panel.shell.opened == [Target("preferences", "providers", "anthropic")]

    panel.run(body)


@pytest.mark.parametrize(
    ("kind", "words", "setting"),
    [
        ("budget", "Raise the limit", OVER.limit_name.lower()),
        ("rate of ours", "Change the rate", "max_requests_per_minute"),
        ("queue", "Let more wait", "max_waiting_requests"),
        ("timed out", "Change the time-outs", "first_token_timeout_s"),
        ("deadline", "Change the deadline", "request_deadline_s"),
        ("paused", "Change when it pauses", "runaway_requests_per_minute"),
    ],
)
def test_what_a_card_leads_to_is_the_row_it_is_about(
    panel: ChatPanel, kind: str, words: str, setting: str
) -> None:
    async def body() -> None:
        await panel.open()
        button(await fail(panel, BUTTONS[kind][0]), words).click()
        (target,) = panel.shell.opened
        assert (target.page, target.detail) == ("preferences", setting)
        assert setting in panel.core.settings.current.model_dump()

    panel.run(body)


def test_a_key_that_was_held_back_leads_to_its_question(panel: ChatPanel) -> None:
    async def body() -> None:
        await panel.open()
        reason = (
            "The stored Anthropic key belongs to https://api.anthropic.com, so it was not sent to http://h:1."
        )
        held_back = Problem(kind="key", title="The Anthropic key is held back", message=reason, hint="")
        panel.core.publish(problems=(held_back,))
        await panel.until(lambda: panel.bridge.status is panel.core.now)
        told = f"API unavailable: {reason[:1].lower()}{reason[1:]}"
        card = await fail(panel, Unavailable(told, hint="Allow it."))
        assert card.plan.title == "The key is held back"
        assert reason in card.plan.sentence
        button(card, "Say where it may go").click()
        assert panel.shell.opened == [Target("preferences", "providers", "anthropic")]

    panel.run(body)


def test_over_the_limit_offers_what_would_fit_and_sends_it(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()

        def decide(request: ChatRequest) -> RouteDecision:
            signals = replace(make_decision().signals, max_output_tokens=200_000)
            return make_decision(request.force or "api", signals=signals)

        panel.core.decide_with = decide
        card = await fail(panel, OVER)
        assert card.plan.title == "This prompt doesn’t fit under June’s $500 limit"
        assert card.plan.sentence == "Its worst case is $2.71, and $2.48 is free, so it was not sent."
        lower = next(item for item in card.findChildren(QPushButton) if item.text().startswith("Lower"))
        tokens = int(lower.text().rsplit(" ", 1)[1].replace(",", ""))
        free = 500_000_000_000 - 494_100_000_000 - 3_420_000_000
        worst = panel.core.prices.worst_case_nanodollars("claude-sonnet-4-6", 700, tokens)
        assert worst is not None
        assert worst <= free
        panel.core.say(Script(text="Short answer"))
        lower.click()
        await panel.idle()
        assert panel.core.requests[-1].max_tokens == tokens
        assert page.controller.session.tree.path()[-1].text == "Short answer"
        assert page.view.thread_view.loose_card is None

    panel.run(body)


@pytest.mark.parametrize("free", [0, 1_000, 2_600_000, 40_000_000, 10**12])
def test_the_largest_fit_really_fits_and_is_no_waste(free: int) -> None:
    worst_case = partial(PriceTable().worst_case_nanodollars, "claude-sonnet-4-6", 700)
    tokens = largest_fit(worst_case, 4096, free)
    if tokens is None:
        worst = worst_case(16)
        assert worst is not None
        assert worst > free
        return
    worst, above = worst_case(tokens), worst_case(int(tokens * 1.12) + 1)
    assert worst is not None
    assert above is not None
    assert worst <= free
    assert above > free or tokens > 4096 * 0.88


def test_too_long_for_local_is_sent_to_the_api_once(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        card = await fail(panel, BUTTONS["too long"][0])
        assert card.plan.sentence.startswith("41,208 tokens, and the model takes 32,768.")
        button(card, "Send to API, $0.0047").click()
        await panel.idle()
        assert panel.core.requests[-1].force == "api"
        assert page.controller.session.options.force is None
        assert page.view.composer.switch.value == "auto"

    panel.run(body)


def test_a_failed_local_server_shows_its_log_and_restarts(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.publish(local=ServerState(phase="failed", kind="embedded", detail="exited with code 137"))
        panel.core.log = [f"line {number}" for number in range(50)]
        await panel.until(lambda: panel.bridge.status and panel.bridge.status.local.phase == "failed")
        card = await fail(panel, Unavailable("Local isn't available: exited with code 137."))
        assert card.plan.sentence == "Exited with code 137."
        assert card.plan.log == ("line 46", "line 47", "line 48", "line 49")
        button(card, "Show log").click()
        await panel.until(lambda: page.view.findChild(LogPopover) is not None)
        popover = page.view.findChild(LogPopover)
        assert popover is not None
        popover.close()
        button(card, "Restart").click()
        await panel.until(lambda: ("restart_local",) in panel.core.calls)
        assert page.view.composer.text == "My long prompt"

    panel.run(body)


def test_somebody_elses_failed_server_is_looked_at_and_not_restarted(panel: ChatPanel) -> None:
    async def body() -> None:
        await panel.open()
        panel.core.publish(
            local=ServerState(phase="failed", kind="external", detail="no server is reachable")
        )
        await panel.until(lambda: panel.bridge.status and panel.bridge.status.local.phase == "failed")
        card = await fail(panel, Unavailable("Local isn't available: no server is reachable."))
        button(card, "Check now").click()
        await panel.until(lambda: "start_local" in [call[0] for call in panel.core.calls])

    panel.run(body)


def test_the_card_of_a_local_server_that_is_back_says_so_and_offers_one_way(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.publish(local=ServerState(phase="failed", kind="embedded", detail="ended by signal 9"))
        await panel.until(lambda: panel.bridge.status and panel.bridge.status.local.phase == "failed")
        panel.core.say(
            Script(error=Unavailable("The local server wasn't ready: it failed."), after_start=True)
        )
        page.view.composer.set_content("First prompt")
        page.controller.send()
        page.view.composer.set_content("Already typing the next")
        await panel.idle()
        await panel.until(lambda: len(page.view.thread_view.views()) == 2)
        view = page.view.thread_view.views()[1]
        assert isinstance(view, AnswerMessage)

        def card() -> tuple[str, list[str]]:
            if view.card is None:
                return "", []
            return view.card.plan.sentence, [item.text() for item in view.card.buttons]

        await panel.until(lambda: card()[1][:1] == ["Restart"])
        for phase in ("starting", "ready"):
            panel.core.publish(local=ServerState(phase=phase, kind="embedded"))  # pyright: ignore
            await panel.until(lambda phase=phase: card()[0].endswith(f"The local server is {phase} now."))
        assert card()[1] == ["Try again", "Send to API"]

    panel.run(body)


@pytest.mark.parametrize(("cause", "words"), [("key", "Replace the key"), ("model", "Choose a model")])
def test_a_local_server_that_lacks_a_key_or_a_model_is_not_restarted(
    panel: ChatPanel, cause: ServerCause, words: str
) -> None:
    async def body() -> None:
        await panel.open()
        failed = ServerState(phase="failed", kind="external", detail="It says no.", cause=cause)
        panel.core.publish(local=failed)
        await panel.until(lambda: panel.bridge.status and panel.bridge.status.local.phase == "failed")
        card = await fail(panel, Unavailable("Local isn't available: it says no."))
        button(card, words).click()
        assert panel.shell.opened[-1].page == "preferences"

    panel.run(body)


def test_a_broken_ledger_is_set_aside_from_the_card(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        card = await fail(panel, BUTTONS["ledger"][0])
        assert "Nothing was sent" in card.plan.kept
        button(card, "Set it aside and start a new one").click()
        await panel.until(lambda: page.view.thread_view.loose_card is None)
        assert ("set_ledger_aside",) in panel.core.calls
        assert page.view.composer.text == "My long prompt"

    panel.run(body)


def test_a_ledger_that_is_only_out_of_room_is_not_set_aside(panel: ChatPanel) -> None:
    async def body() -> None:
        await panel.open()
        card = await fail(panel, BUTTONS["full disk"][0])
        assert "Free some disk space." in card.plan.sentence
        assert [item.text() for item in card.findChildren(QPushButton) if "aside" in item.text()] == []

    panel.run(body)


def test_attachments_go_back_with_the_prompt(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        page.view.composer.edit.insert_pasted("line\n" * 20_000)
        panel.core.say(Script(error=Unavailable("Nothing answers.")))
        page.controller.send()
        await panel.idle()
        await panel.until(lambda: page.view.thread_view.loose_card is not None)
        assert [item.size_bytes for item in page.view.composer.attachments] == [100_000]
        page = await panel.again()
        await panel.until(lambda: page.view.composer.attachments)
        assert page.view.composer.attachments[0].size_bytes == 100_000

    panel.run(body)


@pytest.mark.parametrize("kind", [*(error.kind for error, _ in BUTTONS.values()), "something_new"])
@pytest.mark.parametrize("in_box", [True, False])
def test_every_failure_has_words_a_way_on_and_says_what_was_kept(kind: str, in_box: bool) -> None:
    error = StoredError(kind=kind, message="What happened.")
    plan: Plan = plan_failure(error, Facts(in_box=in_box))
    assert plan.title
    assert plan.fix or plan.actions
    assert not plan.title.endswith(".")
    assert ("box" if in_box else "above") in f"{plan.sentence} {plan.kept}"


def test_after_a_kill_the_cut_answer_offers_to_go_on(panel: ChatPanel, tmp_path: Path) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.ask("Question")
        message = page.controller.session.tree.path()[-1]
        await page.controller.store.read(
            lambda store: store.save_message(replace(message, status="streaming", result=None, text="Half"))
        )
        page = await panel.again()
        page.controller.open(page.view.list.model.ids()[0])
        await panel.until(lambda: len(page.view.thread_view.views()) == 2)
        view = page.view.thread_view.views()[1]
        assert isinstance(view, AnswerMessage)
        assert view.card is not None
        assert view.card.plan.title == "The answer was cut off when Signalbox ended"
        button(view.card, "Continue").click()
        await panel.idle()
        assert len(page.controller.session.tree.path()) == 3

    panel.run(body)


def test_after_a_kill_an_answer_without_a_word_can_be_asked_for_again(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.ask("Question")
        message = page.controller.session.tree.path()[-1]
        await page.controller.store.read(
            lambda store: store.save_message(replace(message, status="streaming", result=None, text=""))
        )
        page = await panel.again()
        page.controller.open(page.view.list.model.ids()[0])
        await panel.until(lambda: len(page.view.thread_view.views()) == 2)
        view = page.view.thread_view.views()[1]
        assert isinstance(view, AnswerMessage)
        assert view.card is not None
        button(view.card, "Try again").click()
        await panel.idle()
        assert page.controller.session.tree.path()[-1].text == "Paris is the capital of France."

    panel.run(body)


def month_with(limit_dollars: int) -> LimitUsage:
    """June's limit with what OVER has spent and held."""
    limit = SpendLimit(name="SPEND_LIMIT_DOLLARS", nanodollars=limit_dollars * NANO)
    return LimitUsage(
        limit=limit, window_label="2026-06", used=494_100_000_000, held=3_420_000_000, held_count=5
    )


def test_a_side_that_is_left_alone_counts_down_until_it_is_asked_again(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.publish(api=ApiStatus(phase="rate_limited", model="claude"))
        await panel.until(lambda: panel.bridge.status is panel.core.now)
        await fail(panel, Unavailable("API unavailable: it is tried again in 47 s.", retry_after_s=47))
        card = page.view.thread_view.loose_card
        assert isinstance(card, FailureCard)
        assert card.plan.title == "The API wants a pause"
        assert "47 s" not in card.plan.sentence, "that would stand still"
        assert card.buttons[0].text().startswith("Try again in 4")
        assert not card.buttons[0].isEnabled()

    panel.run(body)


@pytest.mark.parametrize("changes", [{"estimated": True}, {"unpriced": 4_000_000}])
def test_a_card_about_a_limit_has_the_tilde_where_not_all_of_it_is_known_to_be_spent(
    panel: ChatPanel, changes: dict[str, bool | int]
) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.publish(limits=(replace(month_with(500), **changes),))
        await panel.until(lambda: panel.bridge.status is panel.core.now)
        await fail(panel, OVER)
        card = page.view.thread_view.loose_card
        assert card is not None
        (summary,) = card.findChildren(BudgetBar)
        assert summary.accessibleDescription().startswith("~$494.10 spent")

    panel.run(body)


OVER_AND_BACK: dict[str, tuple[SignalboxError, dict[str, object], dict[str, object]]] = {
    "no key": (
        NO_KEY,
        {"api": ApiStatus(phase="no_key", model="claude")},
        {"api": ApiStatus(phase="key_set", model="claude")},
    ),
    "local": (
        Unavailable("Nothing answers."),
        {"local": ServerState(phase="failed", kind="embedded", detail="exited with code 137")},
        {"local": ServerState(phase="ready", kind="embedded")},
    ),
    "limit": (OVER, {"limits": (month_with(500),)}, {"limits": (month_with(600),)}),
    "ledger": (LedgerUnavailable("Not a ledger."), {"problems": (ledger_problem(),)}, {"problems": ()}),
    "breaker": (
        Unavailable("The API is paused.", hint="Retry in 22 s."),
        {"api": ApiStatus(phase="unreachable", model="claude")},
        {"api": ApiStatus(phase="key_set", model="claude")},
    ),
}


@pytest.mark.parametrize("name", list(OVER_AND_BACK))
def test_a_card_goes_when_its_cause_is_over(panel: ChatPanel, name: str) -> None:
    error, broken, mended = OVER_AND_BACK[name]

    async def body() -> None:
        page = await panel.open()
        panel.core.publish(**broken)
        await panel.until(lambda: panel.bridge.status is panel.core.now)
        await fail(panel, error)
        panel.core.publish(local_requests_today=7)
        await panel.until(lambda: panel.bridge.status is panel.core.now)
        assert page.view.thread_view.loose_card is not None
        panel.core.publish(**mended)
        await panel.until(lambda: page.view.thread_view.loose_card is None)
        assert page.view.composer.text == "My long prompt"
        assert page.view.composer.button.isEnabled()

    panel.run(body)


def test_a_card_whose_cause_no_status_tells_stays(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await fail(panel, AuthenticationFailed("Anthropic refused the key."))
        panel.core.publish(api=ApiStatus(phase="key_set", model="claude"))
        await panel.until(lambda: panel.bridge.status is panel.core.now)
        assert page.view.thread_view.loose_card is not None

    panel.run(body)


def test_a_rate_lets_try_again_only_when_it_is_time(
    panel: ChatPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr("gui.chat.failures.cards.time.time", lambda: now)

    async def body() -> None:
        nonlocal now
        await panel.open()
        error = RateExceeded("Full.", limit_name="MAX_API_REQUESTS_PER_MINUTE", retry_after_s=72.0)
        card = await fail(panel, error)
        assert card.plan.title == "Too many API requests this minute"
        first = next(
            item for item in card.findChildren(QPushButton) if item.text().startswith("Try again in 1 min")
        )
        assert not first.isEnabled()
        now += 73
        await panel.until(lambda: first.isEnabled())
        assert first.text() == "Try again"
        first.click()
        await panel.until(lambda: len(panel.core.requests) == 2)
        await panel.idle()

    panel.run(body)


def test_an_invalid_answer_shows_its_problems_and_the_api_can_be_tried(panel: ChatPanel) -> None:
    async def body() -> None:
        await panel.open()
        problems = tuple(f"problem {number}" for number in range(7))
        card = await fail(panel, AnswerInvalid("It doesn't match.", problems=problems))
        assert card.plan.log == (*problems[:5], "and 2 more")
        button(card, "Try the API").click()
        await panel.until(lambda: len(panel.core.requests) == 2)
        assert panel.core.requests[-1].force == "api"
        await panel.idle()

    panel.run(body)


def test_a_paused_conversation_goes_on_when_the_user_says_so(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        card = await fail(panel, RunawayPaused("Paused.", conversation="ab12", per_minute=60))
        assert "60 requests in a minute" in card.plan.sentence
        button(card, "Let it go on").click()
        await panel.until(lambda: len(panel.core.requests) == 2)
        assert ("resume", "ab12") in panel.core.calls
        await panel.idle()
        assert page.view.thread_view.loose_card is None
        assert page.view.composer.text == ""

    panel.run(body)


def test_a_paused_conversation_can_stay_paused(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        card = await fail(panel, RunawayPaused("Paused.", conversation="ab12", per_minute=60))
        button(card, "Keep it paused").click()
        await panel.until(lambda: page.view.thread_view.loose_card is None)
        assert page.view.composer.text == "My long prompt"
        assert not [call for call in panel.core.calls if call[0] == "resume"]

    panel.run(body)


@pytest.mark.parametrize(
    ("name", "unit", "limit", "title"),
    [
        ("DAILY_SPEND_LIMIT_DOLLARS", "nanodollars", 20_000_000_000, "under today’s $20 limit"),
        ("PROJECT_SPEND_LIMITS", "nanodollars", 50_000_000_000, "under the project’s $50 limit"),
        ("DAILY_TOKEN_BUDGET", "tokens", 100_000, "into today’s budget of 100,000 tokens"),
    ],
)
def test_the_card_names_the_limit_that_holds(name: str, unit: str, limit: int, title: str) -> None:
    error = StoredError(
        kind="budget_exceeded",
        message="m",
        unit=unit,
        limit_name=name,
        limit_nanodollars=limit,
        spent_nanodollars=limit - 900,
        held_nanodollars=0,
        asked_nanodollars=5_000,
    )
    plan = plan_failure(error, Facts(in_box=True))
    assert plan.title == f"This prompt doesn’t fit {title}"
    if unit == "tokens":
        assert "5,000 tokens, and 900 tokens are free" in plan.sentence


@pytest.mark.parametrize("width", [700, 860, 944, 1200])
@pytest.mark.parametrize("zoom", [1.0, 1.5])
def test_a_broken_off_answer_and_its_card_are_whole(panel: ChatPanel, width: int, zoom: float) -> None:
    async def body() -> None:
        theme().set_zoom(zoom)
        await panel.open(width, 650)
        panel.core.say(
            Script(
                text="Signals stand beside the track and tell the driver whether the line is free. " * 6,
                pieces=12,
                before=10,
                error=Unavailable(
                    "Anthropic stopped answering before the end (the connection was lost).",
                ),
            )
        )
        await panel.ask("Go on?")
        answer = last_answer(panel)
        assert answer.card is not None
        await panel.until(lambda: answer.card is not None and answer.card.height() > 40)
        for _ in range(10):
            await asyncio.sleep(0.01)
        for label in answer.findChildren(Sentence):
            assert label.height() >= label.heightForWidth(label.width()), label.words
        for pane in answer.view.findChildren(TextPane):
            assert pane.height() >= pane.content_height()
            assert pane.mapTo(answer, pane.rect().bottomLeft()).y() < answer.badge.y()

    panel.run(body)


TURNED_AWAY: dict[str, tuple[SignalboxError, str, Target | None]] = {
    "key": (
        AuthenticationFailed("Anthropic refused the key."),
        "Replace the key",
        Target("preferences", "providers", "anthropic"),
    ),
    "model": (
        ModelNotFound("Anthropic has no model claude-nope."),
        "Choose a model",
        Target("preferences", "providers", "anthropic_model"),
    ),
    "credit": (CreditExhausted("No credit is left."), "Open the billing page", None),
}


@pytest.mark.parametrize("name", list(TURNED_AWAY))
def test_what_the_api_turned_away_is_mended_or_sent_to_local(panel: ChatPanel, name: str) -> None:
    error, words, leads_to = TURNED_AWAY[name]

    async def body() -> None:
        await panel.open()
        panel.core.decide_with = lambda request: make_decision(request.force or "api")
        panel.core.say(Script(error=error, side="api"))
        await panel.ask("My long prompt")
        await panel.until(lambda: panel.page.view.thread_view.loose_card is not None)
        card = card_of(panel)
        assert button(card, words).isVisible()
        if leads_to is not None:
            button(card, words).click()
            assert panel.shell.opened == [leads_to]
        button(card, "Send to Local").click()
        await panel.idle()
        assert panel.core.requests[-1].force == "local"

    panel.run(body)


def test_a_local_server_that_refuses_is_not_told_as_the_api(panel: ChatPanel) -> None:
    async def body() -> None:
        await panel.open()
        refused = AuthenticationFailed("The local server refused the key.")
        panel.core.say(Script(error=refused, side="local", after_start=True))
        await panel.ask("My long prompt")
        await panel.until(lambda: panel.page.view.thread_view.loose_card is not None)
        card = card_of(panel)
        assert card.plan.title == "The local server refused the key"
        button(card, "Replace the key").click()
        assert panel.shell.opened == [Target("preferences", "providers", "vllm")]

    panel.run(body)


def priced(request: ChatRequest) -> RouteDecision:
    """A decision that costs a cent a letter on the API, of which 20 cents are free."""
    cents = len(request.messages[-1].text)
    estimate = replace(
        make_decision().api_estimate, cost_nanodollars=cents * 10**7, hold_nanodollars=cents * 10**7
    )
    over = cents > 20 and request.force is None
    decision = make_decision(request.force or "api", api_estimate=estimate)
    return replace(decision, side=None, rule="budget", refusal="budget") if over else decision


def test_a_card_offers_the_price_of_the_prompt_that_is_in_the_box_now(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.decide_with = priced
        too_long = ContextTooLong("Too long.", input_tokens=41_208, limit_tokens=32_768)
        card = await fail(panel, too_long, "x" * 13)
        assert button(card, "Send to API, $0.1300").isEnabled()
        page.view.composer.set_content("x" * 5)
        await panel.until(lambda: card_of(panel) is not card)
        card = card_of(panel)
        assert card.plan.sentence.startswith("It has changed since. As it was sent: 41,208 tokens")
        page.view.composer.set_content("")
        api = button(card, "Send to API, $0.0500")
        await panel.until(lambda: not api.isEnabled())
        page.view.composer.set_content("x" * 5)
        await panel.until(api.isEnabled)
        api.click()
        await panel.idle()
        assert panel.core.requests[-1].messages[-1].text == "x" * 5

    panel.run(body)


def test_a_prompt_that_fits_under_the_limit_by_now_needs_no_card(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.decide_with = priced
        card = await fail(panel, OVER, "x" * 40)
        assert "$2.71" in card.plan.sentence
        page.view.composer.set_content("x" * 30)
        await panel.until(lambda: card_of(panel) is not card)
        assert card_of(panel).plan.sentence.startswith("Its worst case is $0.3000 as it is now")
        page.view.composer.set_content("x" * 20)
        await panel.until(lambda: page.view.thread_view.loose_card is None)
        assert page.view.composer.text == "x" * 20

    panel.run(body)


def test_a_card_in_the_thread_goes_by_the_options_of_the_chat(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()

        def by_max_tokens(request: ChatRequest) -> RouteDecision:
            estimate = replace(
                make_decision().api_estimate, cost_nanodollars=(request.max_tokens or 1000) * 10**7
            )
            return make_decision(request.force or "api", api_estimate=estimate)

        panel.core.decide_with = by_max_tokens
        panel.core.say(Script(error=ContextTooLong("Too long.")))
        page.view.composer.set_content("First prompt")
        page.controller.send()
        page.view.composer.set_content("Already typing the next")
        await panel.idle()
        await panel.until(lambda: len(page.view.thread_view.views()) == 2)
        view = page.view.thread_view.views()[1]
        assert isinstance(view, AnswerMessage)

        def words() -> list[str]:
            return [] if view.card is None else [item.text() for item in view.card.buttons]

        await panel.until(lambda: words()[:1] == ["Send to API, $10.00"])
        page.controller.set_options(replace(page.controller.session.options, max_tokens=100))
        await panel.until(lambda: words()[:1] == ["Send to API, $1.00"])

    panel.run(body)


@pytest.mark.parametrize("width", [944, 1280])
def test_no_empty_room_is_left_under_a_card_with_long_sentences(panel: ChatPanel, width: int) -> None:
    async def body() -> None:
        page = await panel.open(width, 420)
        why = "It failed, llama.cpp was ended by signal 9 (SIGKILL), for the second time within 5 min. " * 3
        panel.core.say(Script(text="Long. " * 400), Script(error=Unavailable(why)))
        await panel.ask("First")
        page.view.composer.set_content("Second")
        page.controller.send()
        page.view.composer.set_content("Already typing the next")
        await panel.idle()
        await panel.until(lambda: last_answer(panel).card is not None)
        thread, answer = page.view.thread_view, last_answer(panel)
        inside = thread.widget()
        assert inside is not None
        bar = thread.verticalScrollBar()
        await panel.until(lambda: answer.height() > 100 and bar.maximum() > 0)
        await panel.until(lambda: inside.height() - answer.geometry().bottom() < theme().px(40))
        card = answer.card
        assert card is not None
        assert card.geometry().bottom() <= answer.height()
        assert card.height() >= card.heightForWidth(card.width())

    panel.run(body)
