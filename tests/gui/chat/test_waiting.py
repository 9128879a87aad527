"""A request that waits its turn says so where its badge will be, counts down, and can be stopped."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from core.chat import PromptProgress, Usage, UsageReported, Waiting, WaitReason
from gui.chat.answer_message import AnswerMessage
from gui.chat.waits import FirstToken, Wait
from gui.theme.theme import theme
from gui.widgets.inline_row import InlineRun
from tests.gui.chat.builders import make_decision
from tests.gui.chat.panel import ChatPanel
from tests.gui.chat.scripted_core import Gate, Script


def answer_of(panel: ChatPanel) -> AnswerMessage:
    view = panel.page.view.thread_view.views()[-1]
    assert isinstance(view, AnswerMessage)
    return view


def badge_words(panel: ChatPanel) -> str:
    runs: list[InlineRun] = answer_of(panel).badge._body  # pyright: ignore[reportPrivateUsage]
    return " ".join(run.text for run in runs if run.text)


def shows(panel: ChatPanel, words: str) -> bool:
    views = panel.page.view.thread_view.views()
    return bool(views) and isinstance(views[-1], AnswerMessage) and words in badge_words(panel)


@pytest.mark.parametrize(
    ("reason", "position", "expected_s", "words"),
    [
        ("local_queue", 2, 8.2, "for Local, 2 ahead, about 9 s"),
        ("rate", 0, 200.0, "for its turn, about 4 min"),
        ("local_start", 0, None, "for Local to start"),
        ("retry", 0, 0.2, "to try again, any moment"),
        ("first_answer", 0, None, "for the first request with its key"),
    ],
)
def test_the_words_have_place_and_time_where_they_are_known(
    reason: WaitReason, position: int, expected_s: float | None, words: str
) -> None:
    assert Wait.begun(Waiting(reason, "Why.", expected_s, position)).words == words


def test_the_time_runs_down_to_any_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("gui.chat.waits.time.monotonic", lambda: now)
    wait = Wait.begun(Waiting("local_queue", "Busy.", 8.0, 1))
    now = 103.0
    assert wait.words == "for Local, 1 ahead, about 5 s"
    now = 200.0
    assert wait.words == "for Local, 1 ahead, any moment"


def test_a_waiting_request_says_where_and_how_long_and_then_streams(panel: ChatPanel) -> None:
    async def body() -> None:
        gate = Gate()
        page = await panel.open()
        panel.core.say(
            Script(waits=(Waiting("local_queue", "2 ahead at the local server.", 8.4, 2),), wait_gate=gate)
        )
        page.view.composer.set_content("Hello")
        page.controller.send()
        await panel.until(lambda: shows(panel, "for Local, 2 ahead, about 9 s"))
        badge = answer_of(panel).badge
        assert badge.isVisible()
        assert badge.accessibleName() == "Waiting for Local"  # the same until it is over
        assert badge.toolTip() == "2 ahead at the local server."
        assert page.view.composer.state == "streaming"
        gate.open()
        await panel.idle()
        assert badge.accessibleName().startswith("Local: Simple")

    panel.run(body)


def test_a_place_in_line_that_changes_is_shown(panel: ChatPanel) -> None:
    async def body() -> None:
        gate = Gate()
        page = await panel.open()
        places = ((5, 20.4), (2, 8.4), (1, None))
        waits = tuple(Waiting("local_queue", f"{n} ahead.", expected_s, n) for n, expected_s in places)
        panel.core.say(Script(waits=waits, wait_gate=gate))
        page.view.composer.set_content("Hello")
        page.controller.send()
        await panel.until(lambda: shows(panel, "for Local, 1 ahead"))
        assert "about" not in badge_words(panel)
        assert answer_of(panel).badge.toolTip() == "1 ahead."
        gate.open()
        await panel.idle()

    panel.run(body)


def test_stop_ends_the_wait_and_says_that_nothing_was_sent(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.say(Script(waits=(Waiting("rate", "MAX is reached.", 30.0, 4),), wait_gate=Gate()))
        page.view.composer.set_content("Hello")
        page.controller.send()
        await panel.until(lambda: shows(panel, "4 ahead"))
        QTest.keyClick(page.view.composer.edit, Qt.Key.Key_Escape)
        await panel.idle()
        assert answer_of(panel).note == "Stopped before it was sent"
        assert not answer_of(panel).badge.isVisible()
        assert len(panel.core.closed) == 1

    panel.run(body)


def test_a_wait_between_attempts_keeps_the_reason_in_the_badge(panel: ChatPanel) -> None:
    async def body() -> None:
        gate = Gate()
        page = await panel.open()
        panel.core.say(
            Script(
                decision=make_decision("api"),
                waits=(Waiting("retry", "API turned it away: overloaded", 3.0),),
                after_start=True,
                wait_gate=gate,
            )
        )
        page.view.composer.set_content("Hello")
        page.controller.send()
        await panel.until(lambda: shows(panel, "Waiting to try again, about 3 s"))
        assert "Complex: score 0.71" in badge_words(panel)
        gate.open()
        await panel.idle()

    panel.run(body)


def test_the_ring_stands_still_with_reduced_motion(panel: ChatPanel) -> None:
    async def body() -> None:
        theme().set_reduced_motion(True)
        page = await panel.open()
        panel.core.say(Script(waits=(Waiting("local_start", "It starts."),), wait_gate=Gate()))
        page.view.composer.set_content("Hello")
        page.controller.send()
        await panel.until(lambda: shows(panel, "for Local to start"))
        turn = answer_of(panel).badge._turn  # pyright: ignore[reportPrivateUsage]
        assert not turn.turning
        page.controller.stop()
        await panel.idle()

    try:
        panel.run(body)
    finally:
        theme().set_reduced_motion(False)


def test_how_far_the_prompt_is_read_is_shown_and_told_once(
    panel: ChatPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        gate = Gate()
        page = await panel.open()
        told: list[str] = []
        page.view.thread_view.progress.told.connect(told.append)
        reading = (PromptProgress(0, 100), PromptProgress(20, 100), PromptProgress(42, 100))
        panel.core.say(Script(waits=reading, after_start=True, wait_gate=gate))
        page.view.composer.set_content("A long story")
        page.controller.send()
        await panel.until(lambda: shows(panel, "Reading the prompt, 42 %"))
        assert told == ["Reading the prompt"]
        gate.open()
        await panel.idle()
        assert "Reading" not in badge_words(panel)

    panel.run(body)


def test_a_prompt_that_is_read_in_one_step_has_no_0_percent() -> None:
    assert FirstToken(progress=PromptProgress(0, 30)).words == "Reading the prompt"
    assert FirstToken(progress=PromptProgress(12, 30)).words == "Reading the prompt, 40 %"


def test_the_first_words_stand_beside_nothing_that_waits_for_them(
    panel: ChatPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gui.chat.answer_progress.PROGRESS_MS", 3_600_000)

    async def body() -> None:
        before, after = Gate(), Gate()
        page = await panel.open()
        panel.core.say(
            Script(waits=(PromptProgress(0, 30),), after_start=True, wait_gate=before, before=1, gate=after)
        )
        page.view.composer.set_content("Hello")
        page.controller.send()
        await panel.until(lambda: shows(panel, "Waiting for the first token"))
        before.open()
        await panel.until(lambda: bool(answer_of(panel).view.source))
        assert "Streaming" in badge_words(panel)
        after.open()
        await panel.idle()

    panel.run(body)


def test_a_first_token_that_takes_long_is_counted_in_seconds(
    panel: ChatPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0

    async def body() -> None:
        nonlocal now
        gate = Gate()
        page = await panel.open()
        told: list[str] = []
        page.view.thread_view.progress.told.connect(told.append)
        monkeypatch.setattr("gui.chat.waits._now_s", lambda: now)
        begun = UsageReported(Usage(fresh_input_tokens=3, output_tokens=1))  # as Anthropic's messages begin
        panel.core.say(Script(waits=(PromptProgress(100, 100), begun), after_start=True, wait_gate=gate))
        page.view.composer.set_content("Hello")
        page.controller.send()
        await panel.until(lambda: shows(panel, "Waiting for the first token"))
        assert told == [], "who is answered at once is told of no wait"
        now = 106.0
        await panel.until(lambda: shows(panel, "Waiting for the first token, 6 s"))
        assert told == ["Waiting for the first token"]
        gate.open()
        await panel.idle()

    panel.run(body)


def test_a_start_says_its_phase_and_how_long_it_has_been_where_nobody_knows_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("gui.chat.waits._now_s", lambda: now)
    wait = Wait.begun(Waiting("local_start", "It starts."))
    assert wait.words == "for Local to start"
    now = 112.0
    wait = Wait.begun(Waiting("local_start", "It starts: loading weights.", doing="loading weights"), wait)
    assert wait.words == "for Local to start: loading weights, 12 s"
    assert Wait.begun(Waiting("rate", "MAX is reached."), wait).words == "for its turn", (
        "another wait begins anew"
    )
