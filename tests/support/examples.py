"""Decisions, results and states as the panel gets them, for its widgets' tests and their gallery."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from core.chat import (
    CacheMarks,
    CachePlan,
    CacheSwitchCost,
    ChatResult,
    ContextEconomy,
    Estimate,
    RequestStep,
    RouteDecision,
    Signals,
    Usage,
)
from core.ledger.limits import Budget
from core.local.server import ServerState
from core.services.status import ApiStatus, CoreStatus

NANO = 1_000_000_000


def a_decision(**changes: object) -> RouteDecision:
    base = RouteDecision(
        side="local",
        provider="vllm-local",
        model="qwen2.5-coder-14b",
        rule="simple",
        reason="Simple: score 0.31 is under 0.60",
        mode="hybrid",
        signals=Signals(input_tokens=412, input_tokens_bound=600, max_output_tokens=1024, complexity=0.31),
        local_estimate=Estimate(model="qwen2.5-coder-14b", cost_nanodollars=600_000, hold_nanodollars=0),
        api_estimate=Estimate(
            model="claude-sonnet-4-6", cost_nanodollars=4_700_000, hold_nanodollars=16_700_000
        ),
        complexity_threshold=0.6,
        local_requests_today=847,
        routing_threshold=3000,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


COMPLEX = a_decision(
    side="api", rule="complex", reason="Complex: asks for a JSON schema", model="claude-sonnet-4-6"
)


STARTING = a_decision(side="api", rule="unavailable", reason="Local unavailable: it is starting")


REFUSED = a_decision(
    side=None,
    provider=None,
    rule="budget",
    reason="Budget: $2.71 at worst and $2.48 is free",
    refusal="budget",
)


def a_result(**changes: object) -> ChatResult:
    base = ChatResult(
        text="",
        tool_calls=(),
        usage=Usage(fresh_input_tokens=412, output_tokens=186),
        provider="vllm-local",
        side="local",
        model="qwen2.5-coder-14b",
        finish_reason="stop",
        decision=a_decision(),
        cost_nanodollars=0,
        loaded_nanodollars=1_900_000,
        price_version=None,
        latency_ms=210 + 185 * 1000 / 61,
        ttft_ms=210,
        correlation_id="0197a3c2-7d41-7c55-9b1e-2f6f0a3f9e10",
        started_at=datetime(2026, 6, 18, 14, 32, 8, tzinfo=UTC),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


API_RESULT = a_result(
    side="api",
    provider="anthropic",
    model="claude-sonnet-4-6-20260501",
    decision=COMPLEX,
    usage=Usage(fresh_input_tokens=320, cache_read_tokens=1820, output_tokens=512),
    cost_nanodollars=14_700_000,
    loaded_nanodollars=14_700_000,
    price_version="genai-prices 0.2.3",
    latency_ms=910 + 511 * 1000 / 74,
    ttft_ms=910,
)


EVENTFUL = replace(
    API_RESULT,
    decision=replace(
        COMPLEX,
        rule="unavailable",
        reason="Local unavailable: the connection was cut",
        fell_back_from="local",
        template="claude",
        signals=replace(COMPLEX.signals, has_schema=True, conversation_side="api"),
        cache=CachePlan(
            marks=CacheMarks(system=True),
            reason="seen 4 times in the last 9 minutes",
            prefix_tokens=4_120,
            saving_nanodollars=9_400_000,
        ),
        switching_cost=CacheSwitchCost(
            side="api", cached_tokens=9_000, nanodollars=20_000_000, expires_in_s=200
        ),
        economy=ContextEconomy(trimmed_tokens=2_400, dropped_turns=6, saved_nanodollars=7_200_000),
    ),
    steps=(
        RequestStep(kind="waited", detail="Waited its turn", side="local", took_ms=8_140),
        RequestStep(
            kind="fell_back", detail="Local failed: the connection was cut", side="api", cost_nanodollars=0
        ),
        RequestStep(
            kind="retried",
            detail="API turned it away: the API is overloaded",
            side="api",
            took_ms=480,
            cost_nanodollars=None,
        ),
        RequestStep(kind="invalid", detail="'city' is a required property", side="api"),
        RequestStep(
            kind="asked_again",
            detail="Asked API again: 'city' is a required property",
            side="api",
            cost_nanodollars=1_300_000,
        ),
        RequestStep(kind="repaired", detail="Repaired: a trailing comma", side="api"),
    ),
    queued_ms=8_620,
    unresolved_nanodollars=16_700_000,
    schema_valid=True,
)


METERED = a_result(
    steps=(RequestStep(kind="waited", detail="Waited its turn", side="local", took_ms=8_140),),
    queued_ms=8_140,
    marginal_nanodollars=190_000,
    decision=a_decision(template="llama"),
)


REPLAYED = a_result(
    steps=(RequestStep(kind="replayed", detail="The answer of an earlier request with the same key"),),
    replayed=True,
    loaded_nanodollars=0,
)


UNPRICED = a_result(
    side="api",
    decision=STARTING,
    usage=Usage(fresh_input_tokens=1204, output_tokens=288),
    cost_nanodollars=None,
    loaded_nanodollars=None,
    ttft_ms=880,
    latency_ms=880,
)


def a_status(
    local: ServerState | None = None,
    api: ApiStatus | None = None,
    today: int = 847,
    spent: int = 187_420_000_000,
    held: int = 1_860_000_000,
    budget: bool = True,
) -> CoreStatus:
    return CoreStatus(
        local=local or ServerState(phase="ready", kind="external", model="qwen2.5-coder-14b"),
        api=api or ApiStatus(phase="key_set", model="claude-sonnet-4-6-20260501"),
        local_requests_today=today,
        routing_threshold=3000,
        routing_mode="hybrid",
        month="June",
        budget=a_budget(spent, held) if budget else None,
    )


def a_budget(spent: int, held: int) -> Budget:
    return Budget(
        limit_nanodollars=500 * NANO,
        spent_nanodollars=spent,
        held_nanodollars=held,
        held_count=3,
        unresolved_nanodollars=0,
        unresolved_count=0,
        unpriced_count=0,
        window_label="2026-06",
    )
