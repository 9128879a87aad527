"""The scoreboard: Wilson's interval, the window, the verdicts, and where tools may go."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.scores import ScoreEntry, ScoreKind, ScoreRow
from core.structured.probe import probe_prompts
from core.structured.scoreboard import (
    ENOUGH_TRIED,
    GOOD_SHARE,
    MAX_MODELS,
    MAX_PENDING,
    MIN_TRIED,
    WINDOW_DAYS,
    Scoreboard,
    verdict_of,
    wilson_interval,
)

TODAY = date(2026, 11, 23)


@dataclass
class Calendar:
    day: date = TODAY

    def __call__(self) -> date:
        return self.day


def entry(passed: bool = True, *, model: str = "m", kind: ScoreKind = "tools", **more: object) -> ScoreEntry:
    return ScoreEntry(provider="vllm-local", model=model, kind=kind, passed=passed, **more)


def row(
    passed: int, tried: int, *, days_ago: int = 0, model: str = "m", kind: ScoreKind = "tools"
) -> ScoreRow:
    return ScoreRow(
        provider="vllm-local",
        model=model,
        kind=kind,
        day=(TODAY - timedelta(days=days_ago)).isoformat(),
        tried=tried,
        passed=passed,
        repaired=0,
        cost_nanodollars=7,
    )


def board(*rows: ScoreRow, calendar: Calendar | None = None) -> Scoreboard:
    scores = Scoreboard(calendar or Calendar())
    scores.load(rows)
    return scores


# -- the interval ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passed", "tried", "low", "high"),
    [
        # R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons(passed: int, tried: int, low: float, high: float) -> None:
    assert wilson_interval(passed, tried) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 2_000).flatmap(lambda tried: st.tuples(st.integers(0, tried), st.just(tried))))
def test_each_end_is_a_share_that_is_just_not_refuted(counts: tuple[int, int]) -> None:
    """What defines Wilson's interval: the ends solve (p - t)^2 = z^2 t(1 - t) / n."""
    passed, tried = counts
    for end in wilson_interval(passed, tried):
        assert (passed / tried - end) ** 2 == pytest.approx(
            1.959963985**2 * end * (1 - end) / tried, abs=1e-9
        )


@given(st.integers(1, 10_000).flatmap(lambda tried: st.tuples(st.integers(0, tried), st.just(tried))))
def test_the_share_lies_in_its_interval(counts: tuple[int, int]) -> None:
    passed, tried = counts
    low, high = wilson_interval(passed, tried)
    assert 0 <= low <= passed / tried <= high <= 1
    mirrored = wilson_interval(tried - passed, tried)
    assert mirrored == pytest.approx((1 - high, 1 - low))


def test_before_the_first_try_anything_is_possible() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    score = board().of("vllm-local", "m", "tools")
    assert (score.tried, score.share, score.low, score.high, score.verdict) == (0, None, 0.0, 1.0, "unknown")


# -- the verdict ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passed", "tried", "verdict"),
    [
        (0, 0, "unknown"),
        (0, 1, "unknown"),
        (0, 4, "unknown"),
        (0, 5, "fails"),
        (2, 5, "fails"),
        (3, 5, "unknown"),
        (19, 19, "unknown"),
        (20, 20, "works"),
        (19, 20, "unknown"),
        (24, 25, "works"),
        (12, 20, "fails"),
        (13, 20, "unknown"),
        (80, 100, "unknown"),
        (88, 100, "works"),
        (72, 100, "fails"),
        (870, 1000, "works"),
    ],
)
def test_verdicts(passed: int, tried: int, verdict: str) -> None:
    assert verdict_of(passed, tried) == verdict


@given(st.integers(0, 500).flatmap(lambda tried: st.tuples(st.integers(0, tried), st.just(tried))))
def test_a_verdict_never_gets_worse_by_a_right_answer(counts: tuple[int, int]) -> None:
    order = ["fails", "unknown", "works"]
    passed, tried = counts
    assert order.index(verdict_of(passed + 1, tried + 1)) >= order.index(verdict_of(passed, tried)) or (
        tried < MIN_TRIED
    )
    if passed < tried:
        assert order.index(verdict_of(passed + 1, tried)) >= order.index(verdict_of(passed, tried))
    if verdict_of(passed, tried) == "works":
        assert passed / tried > GOOD_SHARE


def test_one_flawless_probe_can_decide() -> None:
    tools = sum(prompt.kind == "tools" for prompt in probe_prompts())
    assert verdict_of(tools, tools) == "works"


# -- the window -----------------------------------------------------------------------------------------------


def test_days_beyond_the_window_do_not_count() -> None:
    scores = board(row(0, 20, days_ago=WINDOW_DAYS), row(3, 4, days_ago=WINDOW_DAYS - 1), row(1, 1))
    score = scores.of("vllm-local", "m", "tools")
    assert (score.passed, score.tried, score.repair_cost_nanodollars) == (4, 5, 14)
    assert scores.since_day == "2026-10-25"


def test_old_days_drop_out_once_newer_ones_are_enough() -> None:
    mended = board(row(0, 500, days_ago=3), row(60, 60, days_ago=2), row(ENOUGH_TRIED, ENOUGH_TRIED))
    assert mended.of("vllm-local", "m", "tools").tried == ENOUGH_TRIED
    not_enough = board(row(0, 500, days_ago=3), row(60, 60, days_ago=2), row(20, 20))
    assert not_enough.of("vllm-local", "m", "tools").tried == 580


def test_the_window_moves_with_the_calendar() -> None:
    calendar = Calendar()
    scores = Scoreboard(calendar)
    for _ in range(25):
        scores.record(entry())
    assert scores.of("vllm-local", "m", "tools").verdict == "works"
    calendar.day += timedelta(days=WINDOW_DAYS)
    assert scores.of("vllm-local", "m", "tools").tried == 0
    assert scores.scores() == ()


def test_kinds_models_and_providers_are_scored_apart() -> None:
    scores = board(row(1, 2), row(5, 5, kind="schema"), row(0, 3, model="other"))
    assert [(score.model, score.kind, score.passed, score.tried) for score in scores.scores()] == [
        ("m", "schema", 5, 5),
        ("m", "tools", 1, 2),
        ("other", "tools", 0, 3),
    ]
    assert scores.of("embedded", "m", "tools").tried == 0


# -- with the ledger ------------------------------------------------------------------------------------------


def test_entries_wait_for_the_ledger_and_are_counted_once() -> None:
    scores = board(row(5, 5))
    scores.record(entry(repaired=True))
    scores.record(entry(False, cost_nanodollars=900))
    assert [each.passed for each in scores.pending()] == [True, False]
    scores.written(1)
    scores.load([row(6, 6)])  # what the ledger has by now; the second entry is still on its way
    score = scores.of("vllm-local", "m", "tools")
    assert (score.passed, score.tried) == (6, 7)
    assert score.repair_cost_nanodollars == 907
    scores.written(1)
    assert scores.pending() == ()


def test_a_kind_of_a_later_version_is_passed_over() -> None:
    assert board(row(1, 1, kind="images")).scores() == ()  # pyright: ignore[reportArgumentType]


def test_memory_is_bounded() -> None:
    scores = Scoreboard(Calendar())
    for number in range(MAX_PENDING + 500):
        scores.record(entry(model=f"model-{number}"))
    assert len(scores.pending()) == MAX_PENDING
    assert len(scores.scores()) == MAX_MODELS
    assert scores.of("vllm-local", f"model-{MAX_PENDING + 499}", "tools").tried == 1


# -- tools ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passed", "tried", "local", "api"),
    [
        (0, 0, False, True),
        (19, 20, False, True),
        (20, 20, True, True),
        (2, 5, False, False),
        (12, 20, False, False),
    ],
)
def test_tools_go_only_where_they_have_been_seen_to_work(
    passed: int, tried: int, local: bool, api: bool
) -> None:
    scores = board(row(passed, tried))
    assert bool(scores.tools_doubt("vllm-local", "m", "local")) is not local
    assert bool(scores.tools_doubt("vllm-local", "m", "api")) is not api


def test_json_that_works_says_nothing_about_tools() -> None:
    assert board(row(50, 50, kind="schema")).tools_doubt("vllm-local", "m", "local")


def test_the_packaged_model_never_gets_tools() -> None:
    scores = board(row(50, 50, model="SmolLM2-135M-Instruct"))
    assert scores.tools_doubt("vllm-local", "SmolLM2-135M-Instruct", "local")


def test_a_doubt_finishes_a_sentence() -> None:
    assert board().tools_doubt("vllm-local", "m", "local") == "has not been seen to call tools yet"
    assert board().tools_doubt("vllm-local", None, "local") == "has no model yet that was seen to call tools"
    assert board().tools_doubt("anthropic", None, "api") == ""
    assert board(row(1, 6)).tools_doubt("vllm-local", "m", "local") == (
        "got 1 of 6 tool calls right, too few to rely on"
    )
    assert board(row(6, 6)).tools_doubt("vllm-local", "m", "local") == (
        "got 6 of 6 tool calls right, too few to be sure"
    )
