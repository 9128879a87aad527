"""The vocabulary every room of the core speaks: requests, results, usage, decisions and events.

Nothing here does I/O or imports another room, so every other module may import it. Money is always an
integer of nano-dollars (10^-9 USD); ``None`` means *not known* and never zero.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, Protocol, get_args

import uuid_utils

from core.errors import SignalboxError

Side = Literal["local", "api"]
Source = Literal["chat", "gateway", "cli", "loadtest", "library"]
Role = Literal["user", "assistant", "tool"]
RoutingMode = Literal["hybrid", "local-first", "break-even", "api-primary", "local-only", "api-only"]
Rule = Literal["forced", "capability", "unavailable", "budget", "affinity", "complex", "volume", "simple"]
RULES: tuple[Rule, ...] = get_args(Rule)
CacheLifetime = Literal["5m", "1h"]
FinishReason = Literal["stop", "length", "tool_calls", "refusal", "stopped_by_user", "unknown"]
JsonObject = Mapping[str, Any]


def new_correlation_id() -> str:
    """Return a UUIDv7 (RFC 9562): unique, and sortable by the time it was made."""
    return str(uuid_utils.uuid7())


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An inline image: ``media_type`` such as ``image/png`` and its bytes in base64."""

    media_type: str
    data_base64: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the model asks for. ``arguments_json`` is exactly what it sent; it may be invalid JSON."""

    id: str
    name: str
    arguments_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn. ``tool_call_id`` names the call that a ``tool`` message answers.

    A ``pinned`` turn is kept when a conversation is trimmed.
    """

    role: Role
    text: str
    images: tuple[ImagePart, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    pinned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function the model may call; ``parameters`` is a JSON schema of an object."""

    name: str
    description: str
    parameters: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonSchemaFormat:
    """Asks for an answer that is JSON and matches ``schema``."""

    schema: JsonObject
    name: str = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMarks:
    """Where the provider is asked to cache the prompt: the router sets this, callers leave it alone.

    ``system`` marks the end of tools and system prompt together; ``messages`` are indexes into
    ``ChatRequest.messages`` whose last block is marked. Anthropic takes four marks in all.
    """

    system: bool = False
    messages: tuple[int, ...] = ()
    lifetime: CacheLifetime = "5m"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What a caller asks for.

    ``max_tokens`` of ``None`` takes ``MAX_TOKENS_PER_REQUEST``; ``temperature``, ``top_p`` and ``seed`` of ``None``
    take the model's own default. An answer ends before the first of ``stop`` that it would say. What the served
    model does not take of these is told in ``ChatResult.dropped``.
    ``model`` is a hint: naming a model only one side serves decides the side.
    ``force`` overrides the routing rules but never the spend limit. A ``batch`` request counts as simple,
    a ``high_stakes`` one as complex.

    ``conversation_id`` ties the requests of one conversation together (without it, they are recognised by how
    they begin). ``idempotency_key``: a second request with the same key gets the first one's answer instead of
    paying twice, also in another process (for ``IDEMPOTENCY_KEEP_HOURS``). ``deadline_s`` is how many seconds the
    whole request may take, waiting and retries included (``None``: ``REQUEST_DEADLINE_S``). ``window_tokens`` trims
    the conversation to so many input tokens (``None``: ``CONTEXT_WINDOW_TOKENS``); ``compress`` leaves out repeated
    context and needless whitespace (``None``: ``COMPRESS_PROMPTS``).
    """

    messages: tuple[Message, ...]
    system: str | None = None
    tools: tuple[Tool, ...] = ()
    response_format: JsonSchemaFormat | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    model: str | None = None
    force: Side | None = None
    batch: bool = False
    high_stakes: bool = False
    source: Source = "library"
    project: str | None = None
    conversation_id: str | None = None
    idempotency_key: str | None = None
    deadline_s: float | None = None
    window_tokens: int | None = None
    compress: bool | None = None
    cache_marks: CacheMarks | None = None
    correlation_id: str = field(default_factory=new_correlation_id)

    @staticmethod
    def from_prompt(prompt: str, **options: Any) -> ChatRequest:
        """Build a request of one user message; ``options`` are the other fields of this class."""
        return ChatRequest(messages=(Message(role="user", text=prompt),), **options)


CONTINUE_PROMPT = "Your last answer broke off. Continue exactly where it stopped, without repeating anything."
"""What asks for the rest of an answer: the turn that follows its beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Disjoint token counts: a token is in exactly one of the five, and their sum is what was billed.

    ``thinking_tokens`` is informational (already inside ``output_tokens``), ``None`` where not reported.

    The rest changes the price, in the provider's own words. ``service_tier`` is ``standard``, ``batch``,
    ``priority`` or whatever it is called; ``speed`` is ``None`` at the standard one, ``region`` where a place has
    no separate price. ``call_kinds`` names the calls to models behind one answer, where that was not a single
    one of the model itself. ``unpriced_extras`` are ``name=value`` of what else was billed and has no price that
    is known here, such as ``tool_code_execution=1``: with one of them a usage is unpriced.
    """

    fresh_input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    thinking_tokens: int | None = None
    service_tier: str | None = None
    speed: str | None = None
    region: str | None = None
    web_searches: int = 0
    call_kinds: tuple[str, ...] = ()
    unpriced_extras: tuple[str, ...] = ()

    def __add__(self, later: Usage) -> Usage:
        """Return the counts of both: for what a request took in all, not for a price. Words are the later one's.

        Thinking that one of the two did not report is not known of both.
        """
        thinking = None
        if self.thinking_tokens is not None and later.thinking_tokens is not None:
            thinking = self.thinking_tokens + later.thinking_tokens
        return replace(
            later,
            fresh_input_tokens=self.fresh_input_tokens + later.fresh_input_tokens,
            cache_read_tokens=self.cache_read_tokens + later.cache_read_tokens,
            cache_write_5m_tokens=self.cache_write_5m_tokens + later.cache_write_5m_tokens,
            cache_write_1h_tokens=self.cache_write_1h_tokens + later.cache_write_1h_tokens,
            output_tokens=self.output_tokens + later.output_tokens,
            thinking_tokens=thinking,
            web_searches=self.web_searches + later.web_searches,
        )

    @property
    def input_tokens(self) -> int:
        """All input tokens, cached or not."""
        return (
            self.fresh_input_tokens
            + self.cache_read_tokens
            + self.cache_write_5m_tokens
            + self.cache_write_1h_tokens
        )

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One row of the complexity score: what was read, and how much it added to the score (0 to 1)."""

    name: str
    value: float
    contribution: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Everything the router reads from a request, and nothing else of it (no prompt text).

    ``complexity`` is 0 (trivial) to 1 (hard). ``input_tokens`` is an estimate made without a tokenizer and
    ``input_tokens_bound`` an upper bound of the true count, for holds; both are the provider's own count
    once that was asked for. ``max_output_named`` is false where the request named no limit and the default
    stands in. ``in_tool_loop``: the last turn answers a tool call. ``conversation_side`` is where the
    conversation's last answer came from, ``None`` for its first request.
    """

    input_tokens: int
    input_tokens_bound: int
    max_output_tokens: int
    complexity: float
    max_output_named: bool = True
    features: tuple[Feature, ...] = ()
    message_count: int = 1
    has_tools: bool = False
    has_schema: bool = False
    has_images: bool = False
    high_stakes: bool = False
    batch: bool = False
    force: Side | None = None
    model: str | None = None
    in_tool_loop: bool = False
    conversation_side: Side | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSwitchCost:
    """What leaving ``side`` would throw away: a prompt prefix of ``cached_tokens`` that is warm there.

    ``nanodollars`` is what building it up again costs (cash on the API side, machine time on the local one),
    ``None`` where that price is not known. It is free again in ``expires_in_s`` seconds.
    """

    side: Side
    cached_tokens: int
    nanodollars: int | None
    expires_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePlan:
    """Why a prefix of ``prefix_tokens`` (estimated) is or is not marked for the provider's cache.

    ``saving_nanodollars`` is the expected saving of the next use less the surcharge of the write, at the model's
    prices; ``None`` is unpriced. ``marks`` of ``None``: it does not pay, and ``reason`` says why.
    """

    marks: CacheMarks | None
    reason: str
    prefix_tokens: int
    saving_nanodollars: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextEconomy:
    """What shaping took out of a request. Tokens are estimates of the input left out; dollars at the API's price.

    ``dropped_turns`` were left out by trimming, ``summarised_turns`` replaced by a summary.
    """

    trimmed_tokens: int = 0
    compressed_tokens: int = 0
    dropped_turns: int = 0
    summarised_turns: int = 0
    saved_nanodollars: int | None = None

    @property
    def saved_tokens(self) -> int:
        return self.trimmed_tokens + self.compressed_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """What shaping and the provider's cache saved of one attempt: of its true usage, at the prices that settled it.

    Tokens are estimates of the input that was left out. Amounts are cash: 0 on the local side, ``None`` where the
    price is not known. ``cache_nanodollars`` is what the reads saved against fresh input, less what the writes cost
    beyond it: below 0 where a write has not paid for itself (yet).
    """

    trimmed_tokens: int = 0
    compressed_tokens: int = 0
    trimming_nanodollars: int | None = 0
    compression_nanodollars: int | None = 0
    cache_nanodollars: int | None = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a request would cost on one side, before it runs, in nano-dollars.

    ``cost_nanodollars`` is the likely cost and ``hold_nanodollars`` the worst case; ``None`` is
    unpriced. On the local side the cost is the machine's own (``loaded``), ``None`` while no hourly
    price is set, and the hold is 0 because no cash can leave.
    """

    model: str | None
    cost_nanodollars: int | None
    hold_nanodollars: int | None


RefusalKind = Literal["budget", "unavailable", "no_key", "context_too_long", "capability", "unpriced", "busy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDecision:
    """Where a request goes and why. ``side`` and ``provider`` are ``None`` exactly when it is refused.

    ``rule`` is a stable identifier; ``reason`` is a sentence for a person. ``fell_back_from`` names the
    side that failed first. ``template`` names the prompt template that phrased it (``claude``, ``llama``).
    ``switching_cost`` is the warm cache that going elsewhere would lose. ``local_refuses`` and ``api_refuses`` say
    why a side can't take this request, whatever chose the other one; empty where it can.
    """

    side: Side | None
    provider: str | None
    model: str | None
    rule: Rule
    reason: str
    mode: RoutingMode
    signals: Signals
    local_estimate: Estimate
    api_estimate: Estimate
    complexity_threshold: float
    local_requests_today: int
    routing_threshold: int
    local_available: bool = True
    api_available: bool = True
    local_refuses: str = ""
    api_refuses: str = ""
    local_context_tokens: int | None = None
    refusal: RefusalKind | None = None
    refusal_hint: str = ""
    fell_back_from: Side | None = None
    template: str | None = None
    cache: CachePlan | None = None
    switching_cost: CacheSwitchCost | None = None
    economy: ContextEconomy | None = None

    def estimate(self, side: Side) -> Estimate:
        return self.local_estimate if side == "local" else self.api_estimate


StepKind = Literal["waited", "retried", "fell_back", "repaired", "asked_again", "invalid", "replayed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStep:
    """One thing that happened on a request's way, in order.

    ``detail`` is a sentence for a person; ``took_ms`` is the waiting time. ``cost_nanodollars`` is the cash of the
    attempt that this step closed: 0 for none, ``None`` where it is not known (it is then counted at its hold).
    """

    kind: StepKind
    detail: str
    side: Side | None = None
    took_ms: float = 0.0
    cost_nanodollars: int | None = 0


LEAST_GENERATION_MS = 20.0
"""Output that came within less than this came at once: its speed is that of a buffer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatResult:
    """A finished, stopped or broken-off answer.

    ``usage`` is ``None`` when the server sent none, or none that can be right (a prompt of 0 tokens).
    ``cost_nanodollars`` is the cash paid: 0 for the local side, ``None`` for an unpriced model or unknown usage.
    ``loaded_nanodollars`` is the local machine's own cost (``None`` while no hourly price is set; equal to the
    cash on the API side). ``usage_estimated`` is true when the answer ended early, or a count of it can't be
    right, and its output was counted from the text that arrived. A stopped one is settled so, with what may have
    been generated until the provider noticed: at most that was billed. Of any other the cost is only shown, and
    the ledger keeps the hold as *unresolved*.
    ``dropped`` names parameters the served model does not take. Times are milliseconds from the moment the
    last attempt was sent; ``queued_ms`` is what it waited before (rate limits, local queue, backoff).

    ``cost_nanodollars`` is the cash of the whole request: attempts that were billed and then retried, repaired
    or asked again are in it, and ``unresolved_nanodollars`` are the holds of the attempts whose true cost never
    came. ``marginal_nanodollars`` is what a local answer cost in electricity. ``replayed``: the answer of an
    earlier request with the same idempotency key, which was not paid again: ``replay_of`` names that request and
    ``first_cost_nanodollars`` is what it paid (``None``: not known); decision, usage and times are its own.
    ``schema_valid`` is whether the answer matches the schema asked for, ``None`` where none was. ``savings`` is of
    the attempt that answered, ``None`` without usage. ``generation_ms`` is the time between the first and the last
    piece of its output, thinking included.
    """

    text: str
    tool_calls: tuple[ToolCall, ...]
    usage: Usage | None
    provider: str
    side: Side
    model: str
    finish_reason: FinishReason
    decision: RouteDecision
    cost_nanodollars: int | None
    loaded_nanodollars: int | None
    price_version: str | None
    latency_ms: float
    ttft_ms: float | None
    correlation_id: str
    started_at: datetime
    dropped: tuple[str, ...] = ()
    usage_estimated: bool = False
    steps: tuple[RequestStep, ...] = ()
    queued_ms: float = 0.0
    unresolved_nanodollars: int = 0
    marginal_nanodollars: int | None = None
    replayed: bool = False
    schema_valid: bool | None = None
    savings: Savings | None = None
    replay_of: str | None = None
    first_cost_nanodollars: int | None = None
    generation_ms: float | None = None

    @property
    def output_tokens_per_s(self) -> float | None:
        """Measured speed after the first token: what the server counted over the time it came in.

        ``None`` where that is not known: the output was counted by us (an answer that ended early), or it came at
        once, as from a server that does not stream.
        """
        usage = self.usage
        if usage is None or self.usage_estimated or usage.output_tokens < 2:
            return None
        took_ms = self.generation_ms
        if took_ms is None and self.ttft_ms is not None and not usage.thinking_tokens:
            took_ms = self.latency_ms - self.ttft_ms  # of a result that was kept before this was measured
        if took_ms is None or took_ms < LEAST_GENERATION_MS:
            return None
        return (usage.output_tokens - 1) * 1000 / took_ms

    @property
    def empty_because(self) -> str:
        """Say in a sentence why an answer that came to its end has neither text nor a call; empty where it has."""
        ended = self.finish_reason in ("stop", "length", "tool_calls")
        if self.text.strip() or self.tool_calls or not ended:
            return ""
        tokens = self.usage.output_tokens if self.usage is not None else 0
        if not tokens:
            return "The model ended its answer without a word."
        spent = "its only token" if tokens == 1 else f"all {tokens:,} tokens"
        if self.finish_reason == "length":
            return f"The model spent {spent} on thinking and came to no answer: allow more (max tokens)."
        return f"The model spent {spent} on thinking, or on what is not shown, and gave no answer."


@dataclass(frozen=True, slots=True)
class Started:
    """The request left for ``decision.provider``; sent again, with a new decision, after a fallback."""

    decision: RouteDecision
    correlation_id: str
    hold_nanodollars: int = 0


WaitReason = Literal["rate", "local_queue", "retry", "local_start", "first_answer"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """The request waits its turn. ``expected_s`` is an estimate in seconds, ``None`` where there is none;
    ``position`` counts those ahead of it, ``doing`` is what is under way meanwhile (``loading weights``)."""

    reason: WaitReason
    detail: str
    expected_s: float | None = None
    position: int = 0
    doing: str = ""


@dataclass(frozen=True, slots=True)
class PromptProgress:
    """The server reads the prompt: it has read ``read_tokens`` of the ``total_tokens`` that it has to read.

    What it had in its cache counts in neither. Told by servers that tell it (llama.cpp), before the first token.
    """

    read_tokens: int
    total_tokens: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(1.0, self.read_tokens / self.total_tokens) if self.total_tokens > 0 else 1.0


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call: ``id`` and ``name`` come with the first piece of ``index`` only."""

    index: int
    id: str | None
    name: str | None
    arguments_json: str


@dataclass(frozen=True, slots=True)
class OutputProgress:
    """The provider generated ``hidden_bytes`` of output that is neither text nor a tool call, such as thinking.

    It is billed like text, so an answer that breaks off is priced with it. It goes no further than the router.
    Zero bytes are a sign of life (a ping). ``uncounted``: a part has begun whose size is not known (yet).
    """

    hidden_bytes: int
    uncounted: bool = False


@dataclass(frozen=True, slots=True)
class UsageReported:
    """The usage so far; a later one replaces it. ``final``: the provider's last word, which is what it bills.

    ``doubtful``: a count of it could not be read, or contradicts another. It is shown, and settles nothing.
    """

    usage: Usage
    final: bool = False
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class AnswerEnded:
    """A provider's last event. ``dropped`` names parameters that the model does not take."""

    model: str
    finish_reason: FinishReason
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    result: ChatResult


@dataclass(frozen=True, slots=True)
class Failed:
    """The typed end of a request that has no whole answer. ``partial`` keeps the text that arrived."""

    error: SignalboxError
    partial: ChatResult | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """The end of a request that its reader stopped: what had arrived, settled. ``None``: nothing was sent."""

    result: ChatResult | None


ProviderEvent = PromptProgress | TextDelta | ToolCallDelta | OutputProgress | UsageReported | AnswerEnded
StreamEnd = Finished | Stopped | Failed
StreamEvent = Waiting | Started | PromptProgress | TextDelta | ToolCallDelta | UsageReported | StreamEnd
"""What a request's stream yields. It ends in exactly one ``Finished``, ``Stopped`` or ``Failed``."""


class EventStream(Protocol):
    """The events of one request, as they are read. Everything here belongs to the core's loop."""

    @property
    def end(self) -> StreamEnd | None:
        """The last event, also where nobody was left to read it; ``None`` while the request runs."""
        ...

    def __aiter__(self) -> AsyncIterator[StreamEvent]: ...

    async def __anext__(self) -> StreamEvent: ...

    def stop(self) -> None:
        """End the request now. Its reader goes on reading, and gets ``Stopped`` with what had arrived."""
        ...

    async def aclose(self) -> None:
        """End the request and return when its connection is closed and it is settled."""
        ...
