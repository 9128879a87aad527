"""What a failed answer says and offers: the error and a few facts in, words and actions out. No widgets here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from core.spend.money import format_cost
from gui.chat.records import StoredError, StoredMessage

if TYPE_CHECKING:
    from core.status import CoreStatus

Action = Literal[
    "add_key",
    "raise_limit",
    "show_spend",
    "lower_max_tokens",
    "send_local",
    "send_api",
    "shorten",
    "restart_local",
    "show_log",
    "retry",
    "set_ledger_aside",
    "continue",
]
Tone = Literal["held", "danger"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the page found out around a failure; ``None`` where it did not.

    ``api_cost_nanodollars`` is the estimate on the API side; ``lower_to`` the most max tokens that would fit
    under the limit. ``in_box`` says that the prompt went back to the composer.
    """

    in_box: bool = False
    local_failed: str | None = None
    log: tuple[str, ...] = ()
    month: str = "this month"
    lower_to: int | None = None
    can_send_local: bool = False
    can_send_api: bool = False
    api_cost_nanodollars: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One card. A ``short`` one has at most one action; amounts are for the budget's bar."""

    short: bool
    title: str
    sentence: str
    tone: Tone
    icon: str
    fix: tuple[str, Action] | None = None
    actions: tuple[tuple[str, str, Action], ...] = ()
    kept: str = ""
    log: tuple[str, ...] = ()
    amounts: StoredError | None = None
    facts: Facts = field(default_factory=Facts)


def plan_failure(error: StoredError, facts: Facts) -> Plan:
    """Return the card for a request that failed before any text came."""
    kept = "Your prompt is still in the box." if facts.in_box else "Your prompt is kept above."
    if error.kind == "authentication_failed" and error.key_missing:
        return _short(
            "No Anthropic key yet",
            f"{'This prompt wants the API.' if facts.can_send_local else error.message} "
            f"{'It is kept in the box.' if facts.in_box else kept}",
            ("Add a key", "add_key"),
            icon="key-fill",
        )
    if error.kind == "authentication_failed":
        return _short(
            "The API refused the key",
            f"{error.message} {kept}",
            ("Change the key", "add_key"),
            "danger",
            "key-fill",
        )
    if error.kind == "budget_exceeded":
        return _over_budget(error, facts, kept)
    if error.kind == "context_too_long":
        return _too_long(error, facts, kept)
    if error.kind == "ledger_unavailable":
        return Plan(
            short=False,
            title="The ledger can’t be used",
            sentence=f"{error.message} Nothing is sent without a record of what it costs.",
            tone="danger",
            icon="warning-octagon-fill",
            fix=("Set it aside and start a new one", "set_ledger_aside"),
            actions=(("Try again", "arrow-clockwise", "retry"),),
            kept=f"{kept} Nothing was sent. The old ledger is kept as a file.",
            facts=facts,
        )
    if error.kind in ("unavailable", "overloaded", "rate_limited", "transient"):
        return _unavailable(error, facts, kept)
    if error.kind == "content_refused":
        return _short(
            "The model declined to answer",
            f"{error.message} {kept}",
            ("Try again", "retry"),
            "held",
            "prohibit",
        )
    return _short(
        "The request could not be made",
        f"{error.message} {error.hint or kept}",
        ("Try again", "retry"),
        "danger",
        "warning-fill",
    )


def cause_holds(plan: Plan, error: StoredError, status: CoreStatus) -> bool | None:
    """Return whether a failure's cause still stands; ``None`` where the status doesn't tell."""
    if error.kind == "authentication_failed" and error.key_missing:
        return None if status.api.phase == "checking" else status.api.phase == "no_key"
    if error.kind == "ledger_unavailable":
        return any(problem.kind in ("ledger", "ledger_unsaved") for problem in status.problems)
    if plan.facts.local_failed is not None:
        return status.local.phase != "ready"
    if error.kind in ("unavailable", "overloaded", "rate_limited", "transient"):
        return status.api.phase == "breaker_open"
    return None


def plan_break_off(message: StoredMessage) -> Plan | None:
    """Return the card under an answer that has text but no proper end, ``None`` for one that has."""
    tokens = _tokens(message)
    settled = _settled(message)
    if message.status == "interrupted":
        return _short(
            "The answer was cut off when Signalbox ended",
            f"The text is kept{settled}.",
            ("Continue", "continue"),
            "danger",
            "link-break",
        )
    if message.status == "failed" and message.error is not None:
        return _short(
            f"The answer broke off{tokens}",
            f"{message.error.message.rstrip('.')}. The text is kept{settled}.",
            ("Continue", "continue"),
            "danger",
            "link-break",
        )
    if message.result is not None and message.result.finish_reason == "length":
        return _short(
            f"The answer reached its max tokens{tokens}",
            "It may go on from here.",
            ("Continue", "continue"),
            "held",
            "arrows-out-line-horizontal",
        )
    return None


def _over_budget(error: StoredError, facts: Facts, kept: str) -> Plan:
    free = None
    if error.limit_nanodollars is not None:
        free = max(
            0, error.limit_nanodollars - (error.spent_nanodollars or 0) - (error.held_nanodollars or 0)
        )
    limit = format_cost(error.limit_nanodollars).removesuffix(".00") if error.limit_nanodollars else "spend"
    actions: list[tuple[str, str, Action]] = [("Show what is held", "", "show_spend")]
    if facts.lower_to is not None:
        actions.append((f"Lower max tokens to {facts.lower_to:,}", "", "lower_max_tokens"))
    if facts.can_send_local:
        actions.append(("Send to Local", "cpu", "send_local"))
    sentence = error.message
    if error.asked_nanodollars is not None and free is not None:
        sentence = (
            f"Its worst case is {format_cost(error.asked_nanodollars)} and {format_cost(free)} is free, "
            "so it was not sent."
        )
    return Plan(
        short=False,
        title=f"This prompt doesn’t fit under {facts.month}’s {limit} limit",
        sentence=sentence,
        tone="danger",
        icon="prohibit-fill",
        fix=("Raise the limit", "raise_limit"),
        actions=tuple(actions),
        kept=f"{kept} Nothing was charged.",
        amounts=error if error.limit_nanodollars is not None else None,
        facts=facts,
    )


def _too_long(error: StoredError, facts: Facts, kept: str) -> Plan:
    counts = ""
    if error.input_tokens is not None and error.limit_tokens is not None:
        counts = f"{error.input_tokens:,} tokens, and the model takes {error.limit_tokens:,}. "
    if facts.can_send_api:
        price = f", {format_cost(facts.api_cost_nanodollars)}" if facts.api_cost_nanodollars else ""
        fix: tuple[str, Action] = (f"Send to API{price}", "send_api")
        title = "Too long for Local"
    else:
        fix = ("Shorten", "shorten")
        title = "Too long for the model"
    return _short(title, f"{counts or error.message + ' '}{kept}", fix, "held", "arrows-out-line-horizontal")


def _unavailable(error: StoredError, facts: Facts, kept: str) -> Plan:
    actions: list[tuple[str, str, Action]] = []
    if facts.local_failed is not None:
        actions.append(("Show log", "terminal-window", "show_log"))
        if facts.can_send_api:
            actions.append(("Send to API", "cloud", "send_api"))
        detail = facts.local_failed
        return Plan(
            short=False,
            title="The local server failed",
            sentence=f"{detail[:1].upper()}{detail[1:].rstrip('.')}." if detail else error.message,
            tone="danger",
            icon="warning-octagon-fill",
            fix=("Restart", "restart_local"),
            actions=tuple(actions),
            kept=f"{kept} Nothing was charged.",
            log=facts.log,
            facts=facts,
        )
    titles = {
        "rate_limited": "The API wants a pause",
        "overloaded": "The API is overloaded",
    }
    actions.append(("Try again", "arrow-clockwise", "retry"))
    if facts.can_send_api:
        actions.append(("Send to API", "cloud", "send_api"))
    if facts.can_send_local:
        actions.append(("Send to Local", "cpu", "send_local"))
    return Plan(
        short=False,
        title=titles.get(error.kind, "No answer"),
        sentence=" ".join(part for part in (error.message, error.hint) if part),
        tone="held",
        icon="warning-fill",
        actions=tuple(actions[:2]),
        kept=kept,
        facts=facts,
    )


def _short(
    title: str, sentence: str, fix: tuple[str, Action], tone: Tone = "held", icon: str = "key-fill"
) -> Plan:
    return Plan(short=True, title=title, sentence=sentence, tone=tone, icon=icon, fix=fix)


def _tokens(message: StoredMessage) -> str:
    usage = message.result.usage if message.result else None
    return f" after {usage.output_tokens:,} tokens" if usage is not None and usage.output_tokens else ""


def _settled(message: StoredMessage) -> str:
    result = message.result
    if result is None or result.side != "api" or not result.cost_nanodollars:
        return ""
    return f", {format_cost(result.cost_nanodollars)} settled"
