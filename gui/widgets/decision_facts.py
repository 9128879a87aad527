"""What a decision card says, as words: steps, signals, prompt, money and times. No widgets here.

A row is there only where it has something to say; what is not known is said as such, never as zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from core import (
    format_cost,
    likely_nanodollars,
    sentence_case,
    two_decimals,  # cut as in the reason, lest one score read as two
)
from core.chat import (
    CachePlan,
    CacheSwitchCost,
    ChatResult,
    ContextEconomy,
    RequestStep,
    RouteDecision,
    Savings,
    Usage,
)
from gui.widgets.formatting import SIDE_WORDS, count, duration, side_word, speed

FactTone = Literal["", "ok", "held", "danger"]
TEMPLATE_WORDS = {"claude": "Claude", "llama": "Llama", "default": "No model family of its own"}
STEP_ICONS: dict[str, str] = {
    "waited": "hourglass-medium",
    "retried": "arrow-clockwise",
    "fell_back": "arrows-left-right",
    "repaired": "wrench",
    "asked_again": "chat-circle-dots",
    "invalid": "warning",
    "replayed": "copy",
}


@dataclass(frozen=True, slots=True)
class SignalRow:
    """One signal: its name, what was read, and the threshold it was held against (empty where none)."""

    name: str
    value: str
    threshold: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One thing that happened on the way. ``took`` and ``cost`` are empty where there was nothing of it."""

    icon: str
    words: str
    took: str = ""
    cost: str = ""
    cost_known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A name and what there is to say about it."""

    name: str
    value: str
    tone: FactTone = ""


def signal_rows(decision: RouteDecision) -> list[SignalRow]:
    """Return what the router read, each with the threshold it was compared with."""
    signals = decision.signals
    wants = [
        word
        for word, present in (
            ("tools", signals.has_tools),
            ("a JSON schema", signals.has_schema),
            ("images", signals.has_images),
            ("high stakes", signals.high_stakes),
            ("batch", signals.batch),
        )
        if present
    ]
    rows = [
        SignalRow(
            "Complexity",
            two_decimals(signals.complexity),
            f"threshold {two_decimals(decision.complexity_threshold)}",
        ),
        SignalRow(
            "Local today",
            count(decision.local_requests_today),
            f"threshold {count(decision.routing_threshold)}",
        ),
        SignalRow("Input", f"about {count(signals.input_tokens)} tokens", ""),
        SignalRow("Output", f"at most {count(signals.max_output_tokens)} tokens", ""),
        SignalRow("Asks for", ", ".join(wants) or "text only", ""),
        SignalRow("Mode", decision.mode.replace("-", " ").capitalize().replace("Api", "API"), ""),
    ]
    if signals.conversation_side is not None:
        loop = ", inside a tool loop" if signals.in_tool_loop else ""
        rows.append(SignalRow("Last answer", f"{side_word(signals.conversation_side)}{loop}", ""))
    return rows


def step_rows(result: ChatResult) -> list[StepRow]:
    """Return what happened on the request's way, in order."""
    return [_step_row(step) for step in result.steps]


def _step_row(step: RequestStep) -> StepRow:
    side = side_word(step.side) if step.side is not None else ""
    detail = step.detail.rstrip(".")
    words = {
        "waited": f"Waited its turn for {side}" if side else "Waited its turn",
        "retried": f"Sent to {side} again. {detail}",
        "fell_back": f"Fell back to {side}. {detail}",
        "invalid": f"{side}’s answer doesn’t match: {detail}",
        "replayed": f"Replayed, not paid again. {detail}",
    }.get(step.kind, detail)
    cost = "" if step.cost_nanodollars == 0 else format_cost(step.cost_nanodollars)
    return StepRow(
        icon=STEP_ICONS[step.kind],
        words=words,
        took=duration(step.took_ms) if step.took_ms >= 1 else "",
        cost="Cost not known" if step.cost_nanodollars is None else cost,
        cost_known=step.cost_nanodollars is not None,
    )


def steps_summary(result: ChatResult) -> str:
    """Return the steps in a few words for a badge: ``waited 8 s, 2 retries, repaired``; empty without any."""
    kinds = [step.kind for step in result.steps]
    parts: list[str] = []
    if result.queued_ms >= 500:
        parts.append(f"waited {duration(result.queued_ms)}")
    retries = kinds.count("retried")
    if retries:
        parts.append("retried" if retries == 1 else f"{retries} retries")
    if "repaired" in kinds:
        parts.append("repaired")
    if "asked_again" in kinds:
        parts.append("asked again")
    return ", ".join(parts)


_OPTION_WORDS = {"top_p": "top p", "stop": "stop sequences", "response_format": "JSON schema"}


def prompt_facts(
    decision: RouteDecision, result: ChatResult | None = None, *, now: datetime | None = None
) -> list[Fact]:
    """Return how the prompt was phrased, shortened and cached, and what leaving the side would have cost."""
    facts: list[Fact] = []
    if decision.template:
        words = TEMPLATE_WORDS.get(decision.template, decision.template)
        facts.append(Fact(name="Phrased for", value=words))
    savings = result.savings if result is not None else None
    if decision.economy is not None and (words := _economy_words(decision.economy, savings)):
        facts.append(Fact(name="Left out", value=words))
    if decision.cache is not None:
        facts.append(Fact(name="Cache", value=_cache_words(decision.cache)))
    if decision.switching_cost is not None:
        at = result.started_at if result is not None else None
        facts.append(
            Fact(
                name="Switching sides",
                value=switching_cost_words(decision.switching_cost, at, now or datetime.now(UTC)),
            )
        )
    schema = _schema_fact(decision, result)
    if schema is not None:
        facts.append(schema)
    if result is not None and result.dropped:
        words = ", ".join(_OPTION_WORDS.get(name, name) for name in result.dropped)
        what = "it" if len(result.dropped) == 1 else "them"
        facts.append(Fact(name="Not sent", value=f"{words}: {result.model} doesn’t take {what}"))
    return facts


def _economy_words(economy: ContextEconomy, savings: Savings | None) -> str:
    what: list[str] = []
    if economy.dropped_turns:
        what.append(f"{count(economy.dropped_turns)} old turn{'s'[: economy.dropped_turns != 1]}")
    if economy.summarised_turns:
        what.append(
            f"{count(economy.summarised_turns)} turn{'s'[: economy.summarised_turns != 1]} for a summary"
        )
    if economy.compressed_tokens:
        what.append("what repeats")
    if not what and not economy.saved_tokens:
        return ""
    saved = "" if economy.saved_nanodollars is None else f", saves {format_cost(economy.saved_nanodollars)}"
    if savings is not None and not economy.summarised_turns:
        settled = _saved_of_the_bill(savings)
        saved = f", saved {format_cost(settled)}" if settled else ""
    words = ", ".join(what) or "some of it"
    return f"{sentence_case(words)}: about {count(economy.saved_tokens)} tokens{saved}"


def _saved_of_the_bill(savings: Savings) -> int | None:
    """Return what leaving out has saved in cash: ``None`` not known, 0 for a local answer."""
    if savings.trimming_nanodollars is None or savings.compression_nanodollars is None:
        return None
    return savings.trimming_nanodollars + savings.compression_nanodollars


def _cache_words(plan: CachePlan) -> str:
    if plan.marks is None:
        return f"Not asked for: {plan.reason}"
    lifetime = "an hour" if plan.marks.lifetime == "1h" else "5 minutes"
    saving = (
        "price not known"
        if plan.saving_nanodollars is None
        else f"expected to save {format_cost(plan.saving_nanodollars)}"
    )
    return f"{count(plan.prefix_tokens)} tokens for {lifetime}, {saving}; {plan.reason}"


def switching_cost_words(lost: CacheSwitchCost, at: datetime | None, now: datetime) -> str:
    """Return what leaving a warm side costs; ``at`` is when that was so, ``None`` for now."""
    where = "the API" if lost.side == "api" else SIDE_WORDS[lost.side]
    tokens = count(lost.cached_tokens)
    left_s = lost.expires_in_s
    if at is not None:
        left_s -= max(0.0, (now - at) / timedelta(seconds=1))
    minutes, seconds = divmod(round(max(0.0, left_s)), 60)
    if lost.nanodollars is None:
        warm = "were cached" if left_s <= 0 else f"cached for {minutes}:{seconds:02}"
        return f"{tokens} tokens {warm} on {where}; what leaving costs is not known"
    cost = format_cost(lost.nanodollars)
    if left_s <= 0:
        return f"{tokens} tokens were cached on {where}; leaving would have cost {cost}"
    return f"{tokens} tokens cached on {where}; leaving costs {cost}, free in {minutes}:{seconds:02}"


def _schema_fact(decision: RouteDecision, result: ChatResult | None) -> Fact | None:
    if result is None or (result.schema_valid is None and not decision.signals.has_schema):
        return None
    if result.schema_valid is None:
        return Fact(name="Schema", value="Not checked")
    if result.schema_valid:
        return Fact(name="Schema", value="The answer matches it", tone="ok")
    return Fact(name="Schema", value="The answer doesn’t match it", tone="danger")


def money_facts(result: ChatResult) -> list[Fact]:
    """Return what stands beside the cost: earlier attempts, what is only likely, electricity."""
    facts: list[Fact] = []
    earlier = sum(step.cost_nanodollars or 0 for step in result.steps)
    if earlier:
        facts.append(Fact(name="Of it earlier attempts", value=format_cost(earlier)))
    likely = likely_nanodollars(result)
    if likely is not None:
        value = format_cost(likely, estimate=True)
        facts.append(Fact(name="Likely, by what arrived", value=value, tone="held"))
    cache = result.savings.cache_nanodollars if result.savings is not None else None
    if cache and not result.replayed:
        name = "Saved by the cache" if cache > 0 else "The cache cost more, so far"
        facts.append(Fact(name=name, value=format_cost(abs(cache)), tone="ok" if cache > 0 else ""))
    if result.replayed:
        facts.append(Fact(name="Replayed, not paid again", value="$0", tone="ok"))
        if result.first_cost_nanodollars:
            facts.append(
                Fact(name="Paid for the first answer", value=format_cost(result.first_cost_nanodollars))
            )
    elif result.side == "local" and (
        result.loaded_nanodollars is not None or result.marginal_nanodollars is not None
    ):
        marginal = result.marginal_nanodollars
        facts.append(
            Fact(
                name="Electricity of this answer",
                value="Not known" if marginal is None else format_cost(marginal),
            )
        )
    return facts


def usage_words(usage: Usage) -> str:
    """Return the disjoint token counts, ``320 fresh, 1,820 cached, 512 out``, without those that are 0."""
    parts = [f"{count(usage.fresh_input_tokens)} fresh"]
    if usage.cache_read_tokens:
        parts.append(f"{count(usage.cache_read_tokens)} cached")
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    if written:
        parts.append(f"{count(written)} written to cache")
    return ", ".join([*parts, f"{count(usage.output_tokens)} out"])


def time_facts(result: ChatResult) -> list[Fact]:
    """Return when the request did what."""
    started = result.started_at.astimezone()
    first = "Not available" if result.ttft_ms is None else f"after {duration(result.ttft_ms)}"
    rate = result.output_tokens_per_s
    facts = [Fact(name="Sent", value=f"{started:%H:%M:%S}")]
    if result.queued_ms >= 1:
        facts.append(Fact(name="Waited before", value=duration(result.queued_ms)))
    facts.append(Fact(name="First token", value=first))
    facts.append(Fact(name="Last token", value=f"after {duration(result.latency_ms)}"))
    facts.append(Fact(name="Speed", value="Not available" if rate is None else speed(rate)))
    if result.usage is not None:
        facts.append(Fact(name="Tokens", value=usage_words(result.usage)))
    return facts


def time_summary(result: ChatResult) -> str:
    """Return the times in a few words, for the folded section."""
    return f"{result.started_at.astimezone():%H:%M:%S}, {duration(result.latency_ms)}"


def signal_summary(decision: RouteDecision) -> str:
    """Return the signals in a few words, for the folded section."""
    score = two_decimals(decision.signals.complexity)
    return f"score {score}, about {count(decision.signals.input_tokens)} tokens"
