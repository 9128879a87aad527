"""The eight rules and six modes of ``decide``, as tables and as properties."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat import RULES, CacheSwitchCost, Estimate, RoutingMode, Side, Signals
from core.providers.base import Capabilities
from core.routing.policy import Policy, RouterState, SideState, decide

DOLLAR = 1_000_000_000
EVERYTHING = Capabilities(tools=True, json_schema=True, images=True, context_tokens=200_000)
SMALL = Capabilities(tools=False, json_schema=True, images=False, context_tokens=8_192)


def signals(**changes: Any) -> Signals:
    fields: dict[str, Any] = {
        "input_tokens": 100,
        "input_tokens_bound": 400,
        "max_output_tokens": 1024,
        "complexity": 0.2,
    }
    return Signals(**(fields | changes))


def local(**changes: Any) -> SideState:
    fields: dict[str, Any] = {
        "provider": "embedded",
        "model": "small",
        "health": "up",
        "capabilities": EVERYTHING,
        "estimate": Estimate(model="small", cost_nanodollars=None, hold_nanodollars=0),
    }
    return SideState(**(fields | changes))


def api(**changes: Any) -> SideState:
    fields: dict[str, Any] = {
        "provider": "anthropic",
        "model": "claude",
        "health": "up",
        "capabilities": EVERYTHING,
        "estimate": Estimate(model="claude", cost_nanodollars=DOLLAR // 100, hold_nanodollars=DOLLAR // 50),
    }
    return SideState(**(fields | changes))


def state(**changes: Any) -> RouterState:
    fields: dict[str, Any] = {
        "local": local(),
        "api": api(),
        "local_requests_today": 0,
        "daily_requests": 0.0,
        "free_nanodollars": 100 * DOLLAR,
        "limit_label": "June's $500 limit",
    }
    return RouterState(**(fields | changes))


def outcome(s: Signals, at: RouterState, policy: Policy) -> tuple[str | None, str]:
    decision = decide(s, at, policy)
    return decision.side, decision.rule


@pytest.mark.parametrize(
    ("mode", "complexity", "used", "daily", "expected"),
    [
        ("hybrid", 0.2, 0, 0, ("local", "simple")),
        ("hybrid", 0.6, 0, 0, ("api", "complex")),
        ("hybrid", 0.2, 3000, 0, ("api", "volume")),
        ("local-first", 0.9, 0, 0, ("local", "volume")),
        ("local-first", 0.9, 2999, 0, ("local", "volume")),
        ("local-first", 0.2, 3000, 0, ("api", "volume")),
        ("break-even", 0.2, 0, 2999, ("api", "volume")),
        ("break-even", 0.2, 0, 3000, ("local", "simple")),
        ("break-even", 0.7, 0, 3000, ("api", "complex")),
        ("api-primary", 0.1, 0, 0, ("api", "volume")),
        ("local-only", 0.9, 9999, 0, ("local", "volume")),
        ("api-only", 0.1, 0, 0, ("api", "volume")),
    ],
)
def test_modes(
    mode: RoutingMode, complexity: float, used: int, daily: float, expected: tuple[str, str]
) -> None:
    at = state(local_requests_today=used, daily_requests=float(daily))
    assert outcome(signals(complexity=complexity), at, Policy(mode=mode)) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"has_tools": True}, "has tools"),
        ({"has_schema": True}, "asks for a JSON schema"),
        ({"high_stakes": True}, "is marked high-stakes"),
    ],
)
def test_complex_by_kind(change: dict[str, bool], words: str) -> None:
    decision = decide(signals(**change), state(), Policy())
    assert (decision.side, decision.rule, decision.reason) == ("api", "complex", f"Complex: {words}")


def test_batch_counts_as_simple() -> None:
    assert outcome(signals(has_tools=True, complexity=1.0, batch=True), state(), Policy()) == (
        "local",
        "simple",
    )


def test_reason_names_both_numbers_and_never_rounds_across_the_threshold() -> None:
    assert decide(signals(complexity=0.5999), state(), Policy()).reason == "Simple: score 0.59 is under 0.60"
    assert decide(signals(complexity=0.6), state(), Policy()).reason == "Complex: score 0.60 reached 0.60"


def test_forced_wins_over_the_mode_but_not_over_the_budget() -> None:
    forced = signals(force="api")
    assert outcome(forced, state(), Policy(mode="local-only")) == ("api", "forced")
    refused = decide(forced, state(free_nanodollars=0), Policy())
    assert (refused.side, refused.rule, refused.refusal) == (None, "budget", "budget")


def test_budget_sends_to_local_and_refuses_when_local_cannot() -> None:
    assert outcome(signals(complexity=0.9), state(free_nanodollars=1), Policy()) == ("local", "budget")
    stuck = state(free_nanodollars=1, local=local(health="down", detail="it is stopped"))
    assert decide(signals(), stuck, Policy()).refusal == "budget"


def test_capability_comes_before_availability() -> None:
    at = state(local=local(capabilities=SMALL), api=api(health="no_key", detail="no key is set"))
    decision = decide(signals(has_images=True), at, Policy())
    assert (decision.side, decision.rule, decision.refusal) == (None, "unavailable", "no_key")
    assert outcome(signals(has_images=True), state(local=local(capabilities=SMALL)), Policy()) == (
        "api",
        "capability",
    )
    long = decide(signals(input_tokens=41_208), state(local=local(capabilities=SMALL)), Policy())
    assert long.reason == "Can't serve: 42,232 tokens with the answer, and Local takes 8,192"


def test_a_decision_says_why_the_side_that_was_not_chosen_could_not_take_it() -> None:
    at = state(local=local(capabilities=SMALL))
    decision = decide(signals(has_images=True, force="api"), at, Policy())
    assert (decision.side, decision.rule, decision.api_refuses) == ("api", "forced", "")
    assert decision.local_refuses == "Can't serve: Local doesn't take images"
    assert decide(signals(), at, Policy()).local_refuses == ""


def test_a_named_model_decides_the_side() -> None:
    at = state(api=api(serves_named_model=True))
    assert outcome(signals(model="claude-x"), at, Policy(mode="local-first")) == ("api", "capability")
    assert (
        decide(signals(model="claude-x"), at, Policy()).reason
        == "Chosen: you chose claude-x, which the API serves"
    )
    refused = decide(signals(model="claude-x", force="local"), at, Policy())
    assert (refused.side, refused.reason) == (None, "Can't serve: Local doesn't have claude-x, API does")
    unknown = decide(signals(model="nobody-serves-this"), state(), Policy())
    assert (unknown.side, unknown.refusal) == (None, "capability")
    assert unknown.reason == "Can't serve: neither side serves nobody-serves-this"


def test_unpriced_goes_through_while_anything_is_free() -> None:
    unpriced = api(estimate=Estimate(model="x", cost_nanodollars=None, hold_nanodollars=None))
    assert outcome(signals(complexity=1.0), state(api=unpriced), Policy()) == ("api", "complex")
    assert outcome(signals(complexity=1.0), state(api=unpriced, free_nanodollars=0), Policy()) == (
        "local",
        "budget",
    )


healths = st.sampled_from(["up", "starting", "down", "no_key"])
any_signals = st.builds(
    signals,
    input_tokens=st.integers(0, 300_000),
    complexity=st.floats(0, 1),
    has_tools=st.booleans(),
    has_schema=st.booleans(),
    has_images=st.booleans(),
    high_stakes=st.booleans(),
    batch=st.booleans(),
    force=st.sampled_from([None, "local", "api"]),
    model=st.sampled_from([None, "named"]),
)
any_capabilities = st.sampled_from([EVERYTHING, SMALL])
any_state = st.builds(
    state,
    local=st.builds(local, health=healths, capabilities=any_capabilities, serves_named_model=st.booleans()),
    api=st.builds(api, health=healths, capabilities=any_capabilities, serves_named_model=st.booleans()),
    local_requests_today=st.integers(0, 6000),
    daily_requests=st.floats(0, 6000),
    free_nanodollars=st.integers(0, DOLLAR),
)
any_policy = st.builds(
    Policy,
    mode=st.sampled_from(get_args(RoutingMode)),
    routing_threshold=st.integers(0, 5000),
    complexity_threshold=st.floats(0, 1),
)


@given(any_signals, any_state, any_policy)
def test_a_chosen_side_is_always_open(s: Signals, at: RouterState, policy: Policy) -> None:
    decision = decide(s, at, policy)
    assert decision.rule in RULES
    assert decision.reason
    assert (decision.side is None) == (decision.refusal is not None) == (decision.provider is None)
    if decision.side is None:
        return
    chosen = at.side(decision.side)
    assert chosen.health == "up"
    assert not (s.has_tools and not chosen.capabilities.tools)
    if decision.side == "api":
        assert (chosen.estimate.hold_nanodollars or 0) <= at.free_nanodollars
    if s.force is not None:
        assert decision.side == s.force
    elif policy.mode in ("local-only", "api-only"):
        assert decision.side == policy.mode.removesuffix("-only")


@given(any_signals, any_state, any_policy, st.floats(0, 1))
def test_a_higher_threshold_never_moves_a_prompt_to_the_api(
    s: Signals, at: RouterState, policy: Policy, higher: float
) -> None:
    raised = dataclasses.replace(policy, complexity_threshold=max(higher, policy.complexity_threshold))
    if decide(s, at, policy).side == "local":
        assert decide(s, at, raised).side == "local"


def toll(nanodollars: int | None, side: Side = "api") -> CacheSwitchCost:
    return CacheSwitchCost(side=side, cached_tokens=9_000, nanodollars=nanodollars, expires_in_s=200)


def test_a_tool_loop_stays_on_the_side_that_began_it() -> None:
    looping = signals(has_tools=True, in_tool_loop=True, conversation_side="local", complexity=0.9)
    assert outcome(looping, state(), Policy()) == ("local", "affinity")


def test_a_tool_loop_leaves_a_side_that_is_down() -> None:
    looping = signals(has_tools=True, in_tool_loop=True, conversation_side="local")
    down = local(health="down", detail="it failed")
    assert outcome(looping, state(local=down), Policy()) == ("api", "unavailable")


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        (DOLLAR // 50, ("api", "affinity")),  # leaving costs $0.02 and saves $0.01
        (DOLLAR // 200, ("local", "simple")),
        (None, ("local", "simple")),  # what is not known keeps nothing
    ],
)
def test_a_conversation_leaves_a_warm_cache_only_where_that_is_cheaper(
    lost: int | None, expected: tuple[str, str]
) -> None:
    free = local(estimate=Estimate(model="small", cost_nanodollars=0, hold_nanodollars=0))
    said = signals(conversation_side="api")
    assert outcome(said, state(local=free, switching_cost=toll(lost)), Policy()) == expected


def test_a_hard_prompt_leaves_the_local_cache_whatever_it_costs() -> None:
    said = signals(conversation_side="local", complexity=0.9)
    assert outcome(said, state(switching_cost=toll(DOLLAR, "local")), Policy()) == ("api", "complex")


def test_a_busy_local_server_spills_over_and_says_why() -> None:
    busy = state(local=local(busy="3 are ahead, about 40 s"))
    decision = decide(signals(), busy, Policy())
    assert (decision.side, decision.rule) == ("api", "unavailable")
    assert decision.reason == "Local busy: 3 are ahead, about 40 s"


@pytest.mark.parametrize("mode", ["local-only", "hybrid"])
def test_a_busy_local_server_is_waited_for_where_the_api_is_no_choice(mode: RoutingMode) -> None:
    api_side = api(health="no_key", detail="no key is set") if mode == "hybrid" else api()
    busy = state(local=local(busy="3 are ahead"), api=api_side)
    assert outcome(signals(), busy, Policy(mode=mode))[0] == "local"


def test_tools_go_where_they_have_been_seen_to_work() -> None:
    unproven = local(tools_doubt="hasn't been seen to get tools right")
    tools = signals(has_tools=True, batch=True)
    assert outcome(tools, state(local=unproven), Policy()) == ("api", "capability")
    assert outcome(tools, state(local=unproven), Policy(mode="local-only"))[0] == "local"
    assert outcome(tools, state(), Policy()) == ("local", "simple")


def test_the_token_budget_closes_the_api_like_money_does() -> None:
    hard = signals(complexity=0.9)
    assert outcome(hard, state(free_tokens=1_424), Policy()) == ("api", "complex")
    assert outcome(hard, state(free_tokens=1_423), Policy()) == ("local", "budget")


def test_with_both_sides_down_the_user_hears_first_how_to_mend_the_local_one() -> None:
    at = state(
        local=local(health="down", detail="no model is there", hint="Download one."),
        api=api(health="down", detail="no answer"),
    )
    decision = decide(signals(), at, Policy())
    assert (decision.side, decision.rule, decision.refusal) == (None, "unavailable", "unavailable")
    assert decision.refusal_hint == "Download one."
    assert decision.reason.index("no model is there") < decision.reason.index("no answer")


def test_a_busy_local_side_is_no_reason_for_what_goes_to_the_api_anyway() -> None:
    at = state(local=local(busy="2 requests wait"))
    assert decide(signals(), at, Policy()).reason == "Local busy: 2 requests wait"
    decision = decide(signals(complexity=0.9), at, Policy())
    assert (decision.side, decision.rule) == ("api", "complex")


def test_a_side_that_takes_no_schema_is_not_asked_for_one() -> None:
    at = state(api=api(capabilities=dataclasses.replace(EVERYTHING, json_schema=False)))
    decision = decide(signals(complexity=0.9, has_schema=True), at, Policy())
    assert (decision.side, decision.rule) == ("local", "capability")
    assert decision.reason.endswith("doesn't take a JSON schema")
