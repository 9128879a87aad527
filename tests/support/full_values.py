"""Values of the vocabulary with every field set, and an error of each kind: for what is written as JSON."""

from __future__ import annotations

from datetime import UTC, datetime

from core.chat import (
    CacheMarks,
    CachePlan,
    CacheSwitchCost,
    ChatResult,
    ContextEconomy,
    Estimate,
    Feature,
    RequestStep,
    RouteDecision,
    Savings,
    Signals,
    ToolCall,
    Usage,
)
from core.errors import (
    AnswerInvalid,
    AuthenticationFailed,
    BudgetExceeded,
    ContentRefused,
    ContextTooLong,
    DeadlineExceeded,
    DuplicateRequest,
    HomeRefused,
    InvalidRequest,
    KeyHeldBack,
    LedgerUnavailable,
    Overloaded,
    QueueFull,
    RateExceeded,
    RateLimited,
    RunawayPaused,
    SignalboxError,
    TimedOut,
    Unavailable,
)

FULL_USAGE = Usage(
    fresh_input_tokens=320,
    cache_read_tokens=1820,
    cache_write_5m_tokens=64,
    cache_write_1h_tokens=128,
    output_tokens=512,
    thinking_tokens=200,
    service_tier="standard",
)

FULL_DECISION = RouteDecision(
    side="api",
    provider="anthropic",
    model="claude-sonnet-4-6",
    rule="unavailable",
    reason="Local unavailable: „größer“ 模型 is down",
    mode="break-even",
    signals=Signals(
        input_tokens=412,
        input_tokens_bound=600,
        max_output_tokens=2048,
        complexity=0.1 + 0.2,
        max_output_named=False,
        features=(
            Feature(name="code", value=1.0, contribution=0.25),
            Feature(name="words", value=1234.5, contribution=0.0625),
        ),
        message_count=7,
        has_tools=True,
        has_schema=True,
        has_images=True,
        high_stakes=True,
        batch=True,
        force="api",
        model="claude",
        in_tool_loop=True,
        conversation_side="local",
    ),
    local_estimate=Estimate(model=None, cost_nanodollars=None, hold_nanodollars=0),
    api_estimate=Estimate(model="claude-sonnet-4-6", cost_nanodollars=2**60, hold_nanodollars=2**61),
    complexity_threshold=0.6,
    local_requests_today=847,
    routing_threshold=3000,
    local_available=False,
    api_available=False,
    local_context_tokens=8192,
    refusal="busy",
    refusal_hint="Wait a moment.",
    fell_back_from="local",
    template="claude",
    cache=CachePlan(
        marks=CacheMarks(system=True, messages=(0, 2), lifetime="1h"),
        reason="seen 4 times in the last 9 minutes",
        prefix_tokens=4_120,
        saving_nanodollars=9_400_000,
    ),
    switching_cost=CacheSwitchCost(
        side="api", cached_tokens=9_000, nanodollars=20_000_000, expires_in_s=187.25
    ),
    economy=ContextEconomy(
        trimmed_tokens=2_400,
        compressed_tokens=31,
        dropped_turns=6,
        summarised_turns=2,
        saved_nanodollars=7_200_000,
    ),
)

PLAIN_DECISION = RouteDecision(
    side=None,
    provider=None,
    model=None,
    rule="budget",
    reason="Budget: $2.71 at worst and $2.48 is free",
    mode="hybrid",
    signals=Signals(input_tokens=1, input_tokens_bound=2, max_output_tokens=3, complexity=0.0),
    local_estimate=Estimate(model="small", cost_nanodollars=600_000, hold_nanodollars=0),
    api_estimate=Estimate(model="claude-sonnet-4-6", cost_nanodollars=None, hold_nanodollars=None),
    complexity_threshold=0.6,
    local_requests_today=0,
    routing_threshold=3000,
)

FULL_RESULT = ChatResult(
    text="größer \x00 'quoted' 🙂",
    tool_calls=(ToolCall("id", "name", '{"broken'), ToolCall("2", "n", "{}")),
    usage=FULL_USAGE,
    provider="anthropic",
    side="api",
    model="claude-sonnet-4-6-20260501",
    finish_reason="tool_calls",
    decision=FULL_DECISION,
    cost_nanodollars=14_700_000,
    loaded_nanodollars=14_700_001,
    price_version="genai-prices 0.2.3",
    latency_ms=1234.5678,
    ttft_ms=210.25,
    correlation_id="0197a3c2-7d41-7c55-9b1e-2f6f0a3f9e10",
    started_at=datetime(2026, 11, 24, 1, 2, 3, 456789, tzinfo=UTC),
    dropped=("temperature",),
    usage_estimated=True,
    steps=(
        RequestStep(kind="waited", detail="Waited its turn", side="local", took_ms=8_140.5),
        RequestStep(kind="retried", detail="d", side="api", took_ms=2.0, cost_nanodollars=None),
    ),
    queued_ms=8_620.125,
    unresolved_nanodollars=4,
    marginal_nanodollars=190_000,
    replayed=True,
    schema_valid=False,
    savings=Savings(
        trimmed_tokens=2_400,
        compressed_tokens=31,
        trimming_nanodollars=7_200_000,
        compression_nanodollars=None,
        cache_nanodollars=-5,
    ),
    replay_of="0197a3c2-7d41-7c55-9b1e-2f6f0a3f9e0f",
    first_cost_nanodollars=3,
)

PLAIN_RESULT = ChatResult(
    text="Paris",
    tool_calls=(),
    usage=None,
    provider="vllm-local",
    side="local",
    model="small",
    finish_reason="stop",
    decision=PLAIN_DECISION,
    cost_nanodollars=None,
    loaded_nanodollars=None,
    price_version=None,
    latency_ms=12.0,
    ttft_ms=None,
    correlation_id="0197",
    started_at=datetime(2026, 6, 18, 14, 32, 8, tzinfo=UTC),
)


def full_errors() -> tuple[SignalboxError, ...]:
    """One error of each kind, with all that it can tell."""
    found: tuple[SignalboxError, ...] = (
        InvalidRequest("No messages.", hint="Send one."),
        ContextTooLong("Too long.", hint="Shorten it.", input_tokens=9000, limit_tokens=8192),
        DuplicateRequest("Used before.", hint="Use a new key."),
        AuthenticationFailed("No key.", hint="Add one.", missing=True),
        ContentRefused("Declined."),
        BudgetExceeded(
            "The limit holds.",
            hint="Raise it.",
            limit_name="SPEND_LIMIT_DOLLARS",
            limit_nanodollars=500_000_000_000,
            spent_nanodollars=187_420_000_000,
            held_nanodollars=1_860_000_000,
            asked_nanodollars=400_000_000_000,
            held_count=3,
        ),
        BudgetExceeded(
            "The token budget holds.",
            limit_name="DAILY_TOKEN_BUDGET",
            limit_nanodollars=1000,
            spent_nanodollars=800,
            held_nanodollars=300,
            asked_nanodollars=None,
            unit="tokens",
        ),
        RateLimited("Slow down.", hint="Wait.", retry_after_s=12.5),
        Overloaded("Busy.", may_be_billed=True),
        Unavailable("Down.", may_be_billed=True),
        TimedOut("Late.", phase="connect", may_be_billed=False),
        QueueFull("The line is full.", retry_after_s=3.0),
        RateExceeded(
            "A rate holds.",
            limit_name="MAX_API_REQUESTS_PER_MINUTE",
            retry_after_s=7.5,
            turns=((7.5, 2), (20.0, 1)),
        ),
        RunawayPaused("A loop.", conversation="ab12", per_minute=60),
        DeadlineExceeded("Over.", hint="Give it longer."),
        AnswerInvalid("No match.", problems=("a: is missing", "b: is no number")),
        LedgerUnavailable("The ledger can't be read."),
        HomeRefused("/home/a/signalbox", "others may write it"),
        KeyHeldBack(
            "The key belongs elsewhere.",
            hint="Allow it.",
            key_name="anthropic",
            belongs_to="https://api.anthropic.com",
            address="http://gateway.example:8080",
            unencrypted=True,
        ),
    )
    for number, error in enumerate(found):
        if number % 2:
            error.correlation_id = f"0197-{number}"
    return found
