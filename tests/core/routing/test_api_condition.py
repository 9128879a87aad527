"""What the API last said: each state, what ends it, and, by Hypothesis, what holds in whatever order it is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import (
    AuthenticationFailed,
    ContentRefused,
    CreditExhausted,
    InvalidRequest,
    KeyHeldBack,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    SignalboxError,
    Unavailable,
)
from core.routing.api_condition import CREDIT_RETRY_S, PASSING_S, ApiCondition, TroubleKind

NOON = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
MODEL, OTHER = "claude-a", "claude-b"
SAID: dict[TroubleKind, SignalboxError] = {
    "key_refused": AuthenticationFailed("Refused."),
    "no_credit": CreditExhausted("Empty."),
    "not_permitted": PermissionDenied("No."),
    "model_unknown": ModelNotFound("No model."),
    "rate_limited": RateLimited("Slow.", retry_after_s=90.0),
    "overloaded": Overloaded("Busy."),
    "unreachable": Unavailable("Nobody."),
}
LASTING = ("key_refused", "no_credit", "not_permitted", "model_unknown")


class Clock:
    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.s - 1000.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def condition(clock: Clock) -> ApiCondition:
    return ApiCondition(clock, clock.now)


def told(condition: ApiCondition, model: str = MODEL) -> TroubleKind | None:
    found = condition.trouble(model)
    return None if found is None else found.kind


@pytest.mark.parametrize("kind", SAID)
def test_each_thing_it_says_is_its_state_and_an_answer_ends_it(
    condition: ApiCondition, kind: TroubleKind
) -> None:
    assert not condition.answered
    condition.heard(MODEL, SAID[kind], era=condition.era)
    assert told(condition) == kind
    assert (condition.closes(MODEL) is not None) == (kind in LASTING)
    assert (told(condition, OTHER) == kind) == (kind in ("key_refused", "no_credit"))
    condition.heard(MODEL, None, era=condition.era)
    assert told(condition) is None
    assert condition.answered


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("Bad."),
        AuthenticationFailed("None.", missing=True),
        KeyHeldBack("Not sent.", key_name="anthropic", belongs_to=None, address="a", unencrypted=False),
    ],
)
def test_what_is_about_the_request_or_never_left_says_nothing(
    condition: ApiCondition, error: SignalboxError
) -> None:
    condition.heard(MODEL, error, era=condition.era)
    assert told(condition) is None
    assert not condition.answered


def test_a_declined_answer_is_an_answer(condition: ApiCondition) -> None:
    condition.heard(MODEL, SAID["no_credit"], era=condition.era)
    condition.heard(MODEL, ContentRefused("No."), era=condition.era)
    assert told(condition) is None


def test_a_rate_limit_lifts_at_its_time(condition: ApiCondition, clock: Clock) -> None:
    condition.heard(MODEL, SAID["rate_limited"], era=condition.era)
    found = condition.trouble(MODEL)
    assert found is not None
    assert found.until == NOON + timedelta(seconds=90)
    assert condition.changes_in_s(MODEL) == 90
    clock.s += 90
    assert told(condition) is None
    assert condition.changes_in_s(MODEL) is None


def test_no_time_is_told_that_the_api_did_not_name(condition: ApiCondition, clock: Clock) -> None:
    condition.heard(MODEL, SAID["unreachable"], era=condition.era)
    found = condition.trouble(MODEL)
    assert found is not None
    assert found.until is None
    clock.s += PASSING_S
    assert told(condition) is None


def test_an_account_without_credit_is_tried_again_after_a_while_and_still_told(
    condition: ApiCondition, clock: Clock
) -> None:
    condition.heard(MODEL, SAID["no_credit"], era=condition.era)
    clock.s += CREDIT_RETRY_S
    assert condition.closes(OTHER) is None
    assert told(condition, OTHER) == "no_credit"
    condition.heard(OTHER, SAID["no_credit"], era=condition.era)
    assert condition.closes(MODEL) is not None


def test_a_model_that_is_not_there_keeps_prompts_away_though_credit_is_due_to_be_tried(
    condition: ApiCondition, clock: Clock
) -> None:
    condition.heard(MODEL, SAID["no_credit"], era=condition.era)
    condition.heard(MODEL, SAID["model_unknown"], era=condition.era)
    assert told(condition) == "no_credit"
    clock.s += CREDIT_RETRY_S
    found = condition.closes(MODEL)
    assert found is not None
    assert (found.kind, told(condition)) == ("model_unknown", "model_unknown")
    assert (condition.closes(OTHER), told(condition, OTHER)) == (None, "no_credit")


@pytest.mark.parametrize("kind", ["rate_limited", "overloaded", "unreachable"])
def test_what_passes_is_told_while_credit_is_due_to_be_tried_and_says_nothing_of_it(
    condition: ApiCondition, clock: Clock, kind: TroubleKind
) -> None:
    condition.heard(MODEL, SAID["no_credit"], era=condition.era)
    clock.s += CREDIT_RETRY_S
    condition.heard(MODEL, SAID[kind], era=condition.era)
    assert (told(condition), condition.closes(MODEL)) == (kind, None)
    left_s = condition.changes_in_s(MODEL)
    assert left_s is not None
    clock.s += left_s
    assert told(condition) == "no_credit"


def test_what_was_sent_with_another_key_says_nothing_of_this_one(condition: ApiCondition) -> None:
    before = condition.era
    condition.forget()
    condition.heard(MODEL, SAID["key_refused"], era=before)
    assert told(condition) is None
    condition.heard(MODEL, None, era=before)
    assert not condition.answered


def test_a_list_of_models_shows_a_good_key_and_says_nothing_of_credit(condition: ApiCondition) -> None:
    condition.heard(MODEL, SAID["key_refused"], era=condition.era)
    condition.heard(OTHER, SAID["model_unknown"], era=condition.era)
    condition.checked([MODEL], era=condition.era)
    assert (told(condition), told(condition, OTHER)) == (None, "model_unknown")
    condition.heard(MODEL, SAID["no_credit"], era=condition.era)
    condition.checked([MODEL, OTHER], era=condition.era)
    assert told(condition) == "no_credit"
    condition.try_again()
    assert (told(condition), told(condition, OTHER)) == (None, None)
    assert condition.answered


def test_models_that_are_named_by_the_thousand_are_not_all_kept(condition: ApiCondition) -> None:
    for number in range(1000):
        condition.heard(f"m{number}", SAID["model_unknown"], era=condition.era)
    assert sum(told(condition, f"m{number}") is not None for number in range(1000)) == 64
    assert told(condition, "m999") == "model_unknown"


WORDS = st.one_of(
    st.tuples(st.just("heard"), st.sampled_from([MODEL, OTHER]), st.sampled_from([None, *SAID])),
    st.tuples(st.just("old"), st.sampled_from([MODEL, OTHER]), st.sampled_from([None, *SAID])),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 89.0, PASSING_S, CREDIT_RETRY_S])),
    st.tuples(st.sampled_from(["forget", "again", "list"])),
    st.tuples(st.just("choose"), st.sampled_from([MODEL, OTHER])),
)


@given(st.lists(WORDS, max_size=14))
@settings(max_examples=120, deadline=None)
def test_in_whatever_order_things_are_said(script: list[tuple[str, ...]]) -> None:
    clock = Clock()
    condition = ApiCondition(clock, clock.now)
    old = condition.era
    condition.forget()
    for step in script:
        before = {model: told(condition, model) for model in (MODEL, OTHER)}
        match step:
            case ("heard", model, kind):
                condition.heard(model, None if kind is None else SAID[kind], era=condition.era)
                if kind is None:
                    assert told(condition, model) is None
                    assert condition.answered
                elif (
                    told(condition, model) != kind
                ):  # a matter of the whole account stands before one of a model
                    assert told(condition, model) in ("key_refused", "no_credit")
            case ("old", model, kind):
                condition.heard(model, None if kind is None else SAID[kind], era=old)
                assert {each: told(condition, each) for each in before} == before
            case ("wait", seconds):
                clock.s += float(seconds)
            case ("forget",):
                condition.forget()
                assert not condition.answered
                assert condition.trouble(MODEL) is condition.trouble(OTHER) is None
            case ("again",):
                condition.try_again()
                assert condition.trouble(MODEL) is condition.trouble(OTHER) is None
            case ("list",):
                condition.checked([MODEL, OTHER], era=condition.era)
                assert condition.answered
                assert "key_refused" not in (told(condition, MODEL), told(condition, OTHER))
            case ("choose", model):
                condition.forget_model(model)
                assert told(condition, model) in (None, "key_refused", "no_credit")
            case _:
                raise AssertionError(step)
        for model in (MODEL, OTHER):
            closed, trouble = condition.closes(model), condition.trouble(model)
            assert closed is None or closed is trouble, "nothing is closed for what is not told"
            left_s = condition.changes_in_s(model)
            assert left_s is None or left_s > 0
