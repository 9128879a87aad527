"""What ``ask`` says beside the answer, for a person: what it waits for, and then where it went and what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.base.text import measured_duration, rough_duration, sentence
from core.pricing.money import format_cost
from core.pricing.spending import NO_CHARGE, Spending, likely_nanodollars

if TYPE_CHECKING:
    from core.chat import ChatResult, PromptProgress, StepKind, Waiting, WaitReason
    from core.services.status import Problem

ENDS: dict[str, str] = {
    "length": "cut off at the limit of tokens",
    "refusal": "the model declined to go on",
    "tool_calls": "asks for tools",
}
FELL_BACK: dict[str | None, str] = {"local": "fell back from Local", "api": "fell back from the API"}
SIDES = {"local": "Local", "api": "API"}
SETTLE_IT = "settle it: signalbox holds"
WORTH_TELLING_MS = 100.0
_WAITS: dict[WaitReason, str] = {
    "local_queue": "Waiting for Local",
    "first_answer": "Waiting for the first request with this key",
}
_STEPS: tuple[tuple[StepKind, str], ...] = (
    ("retried", "tried again"),
    ("asked_again", "asked again"),
    ("fell_back", ""),  # told before the reason; its cost is told here
)


def waiting_line(waiting: Waiting) -> str:
    """Say in one line what a request waits for: ``Waiting for Local, 2 ahead, about 8 s``."""
    if waiting.reason == "retry":
        soon = f" in about {rough_duration(waiting.expected_s)}" if waiting.expected_s is not None else ""
        return f"{sentence(waiting.detail)} Trying again{soon}"
    facts = [_WAITS.get(waiting.reason) or waiting.detail.rstrip(".")]
    if waiting.position:
        facts.append(f"{waiting.position:,} ahead")
    if waiting.expected_s is not None:
        facts.append(f"about {rough_duration(waiting.expected_s)}")
    return ", ".join(facts)


def first_token_line(progress: PromptProgress | None, elapsed_s: float) -> str:
    """Say what a sent request waits for: ``Reading the prompt, 42 %``, or for how long nothing has come."""
    if progress is not None and progress.share < 1:
        return f"Reading the prompt, {progress.share * 100:.0f} %"
    return f"Waiting for the first token, {elapsed_s:.0f} s"


def footer(result: ChatResult) -> str:
    """Say in one line where it went, why, what happened on the way, and what it cost."""
    decision = result.decision
    # A schema that the wire could not take was asked for in words; whether the answer matches it is said.
    dropped = [name for name in result.dropped if name != "response_format" or not result.schema_valid]
    facts = (
        SIDES[result.side],
        result.model,
        FELL_BACK.get(decision.fell_back_from, ""),
        decision.reason,
        _tokens(result),
        _cost(result),
        *_way(result),
        *_context(result),
        f"template {decision.template}" if (decision.template or "").endswith("(yours)") else "",
        "matches the schema" if result.schema_valid else "",
        ENDS.get(result.finish_reason, ""),
        f"not used: {', '.join(dropped)}" if dropped else "",
    )
    return f"[{' · '.join(fact for fact in facts if fact)}]"


def failure_footer(partial: ChatResult) -> str:
    """Say in one line where a request failed, what it costs all the same, and which it is in the ledger."""
    facts = (
        SIDES[partial.side],
        partial.model,
        _cost(partial),
        SETTLE_IT if partial.unresolved_nanodollars else "",
        *_way(partial),
        f"request {partial.correlation_id}",
    )
    return f"[{' · '.join(fact for fact in facts if fact)}]"


def stopped_line(result: ChatResult | None) -> str:
    """Say what a stopped request costs; ``None``: it was not sent."""
    if result is None:
        return "[Stopped. Nothing was sent]"
    settle = SETTLE_IT if result.unresolved_nanodollars else ""
    facts = ("Stopped", SIDES[result.side], _cost(result), settle, f"request {result.correlation_id}")
    return f"[{' · '.join(fact for fact in facts if fact)}]"


def notice_line(notice: Problem) -> str:
    """Return what the user should know, in one line."""
    parts = (notice.title, notice.message, notice.hint)
    return " ".join(sentence(part) for part in parts if part)


def _tokens(result: ChatResult) -> str:
    usage = result.usage
    if usage is None:
        return "usage not reported"
    cached = f" ({usage.cache_read_tokens:,} cached)" if usage.cache_read_tokens else ""
    mark = "~" if result.usage_estimated else ""
    return f"{usage.input_tokens:,} in{cached}, {mark}{usage.output_tokens:,} out"


def _cost(result: ChatResult) -> str:
    if result.replayed:
        paid = result.first_cost_nanodollars
        return "an earlier answer, not paid again" + (f" (it cost {format_cost(paid)})" if paid else "")
    words = Spending.of(result).brief
    likely = likely_nanodollars(result)
    if likely is not None:
        words += f" (likely {format_cost(likely, estimate=True)})"
    if words == NO_CHARGE and result.marginal_nanodollars:
        words += f", {format_cost(result.marginal_nanodollars)} of power"
    return words


def _way(result: ChatResult) -> list[str]:
    """Say what happened before the answer came."""
    facts = (
        [f"waited {measured_duration(result.queued_ms / 1000)}"]
        if result.queued_ms >= WORTH_TELLING_MS
        else []
    )
    for kind, words in _STEPS:
        steps = [step for step in result.steps if step.kind == kind]
        paid = sum(step.cost_nanodollars or 0 for step in steps)
        if not steps:
            continue
        times = f"{words} {len(steps):,} times" if len(steps) > 1 else words
        if paid:
            facts.append(f"{times or 'the failed attempt'}: {format_cost(paid)} of it")
        elif words:
            facts.append(times)
    if any(step.kind == "repaired" for step in result.steps):
        facts.append("JSON repaired")
    return facts


def _context(result: ChatResult) -> list[str]:
    economy, lost = result.decision.economy, result.decision.switching_cost
    facts: list[str] = []
    if economy is not None and economy.saved_tokens:
        saved = f" ({format_cost(economy.saved_nanodollars)})" if economy.saved_nanodollars else ""
        facts.append(f"~{economy.saved_tokens:,} tokens saved{saved}")
    cache = result.savings.cache_nanodollars if result.savings is not None else None
    if cache and not result.replayed:
        facts.append(
            f"cache saved {format_cost(cache)}" if cache > 0 else f"cache cost {format_cost(-cache)} more"
        )
    if lost is not None and lost.side != result.side:
        cost = f" ({format_cost(lost.nanodollars)})" if lost.nanodollars is not None else ""
        facts.append(f"left {lost.cached_tokens:,} cached tokens at {SIDES[lost.side]}{cost}")
    return facts
