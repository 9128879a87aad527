"""Cards for what the router itself ends: rates, lines, time-outs, deadlines, invalid answers, paused loops."""

from __future__ import annotations

from gui.chat.plan import Action, Facts, Plan, elsewhere
from gui.chat.records import StoredError

MADE_BY_THE_CORE = frozenset(
    {
        "rate_exceeded",
        "queue_full",
        "timed_out",
        "deadline_exceeded",
        "answer_invalid",
        "runaway_paused",
        "duplicate_request",
    }
)
SHOWN_PROBLEMS = 5
PHASES = {
    "connect": ("No connection in time", "Connecting took longer than it may."),
    "first_token": ("No first token in time", "Nothing came for longer than it may."),
    "between_tokens": ("The answer stood still", "The silence between two tokens was longer than it may be."),
}
MAY_BE_BILLED = "What it may have cost stays counted until it is known."


def plan_of_the_core(error: StoredError, facts: Facts, kept: str) -> Plan:
    """Return the card for a failure of one of ``MADE_BY_THE_CORE``; ``kept`` says where the prompt is."""
    plans = {
        "rate_exceeded": _rate,
        "queue_full": _queue,
        "timed_out": _timed_out,
        "deadline_exceeded": _deadline,
        "answer_invalid": _invalid,
        "runaway_paused": _paused,
    }
    return plans.get(error.kind, _duplicate)(error, facts, kept)


def _rate(error: StoredError, facts: Facts, kept: str) -> Plan:
    of_api = error.limit_name == "MAX_API_REQUESTS_PER_MINUTE"
    local = [item for item in elsewhere(facts) if item[2] == "send_local" and of_api]
    return Plan(
        short=False,
        title="Too many API requests this minute" if of_api else "Too many requests this minute",
        sentence=error.message,
        tone="held",
        icon="hourglass-medium",
        fix=("Try again", "retry"),
        actions=(*local, ("Change the rate", "", "change_rates")),
        kept=f"{kept} Nothing was sent or charged.",
        facts=facts,
        retry_at_ms=error.retry_at_ms,
    )


def _queue(error: StoredError, facts: Facts, kept: str) -> Plan:
    api = tuple(item for item in elsewhere(facts) if item[2] == "send_api")
    return Plan(
        short=False,
        title="The line for Local is full",
        sentence=_sentences(error),
        tone="held",
        icon="hourglass-medium",
        fix=("Try again", "retry"),
        actions=(*api, ("Let more wait", "", "change_rates")),
        kept=f"{kept} Nothing was sent or charged.",
        facts=facts,
        retry_at_ms=error.retry_at_ms,
    )


def _timed_out(error: StoredError, facts: Facts, kept: str) -> Plan:
    title, why = PHASES.get(error.phase, ("No answer in time", ""))
    return Plan(
        short=False,
        title=title,
        sentence=error.message or why,
        tone="held",
        icon="timer",
        fix=("Try again", "retry"),
        actions=(*elsewhere(facts)[:1], ("Change the time-outs", "", "change_times")),
        kept=f"{kept} {MAY_BE_BILLED}" if error.may_be_billed else f"{kept} Nothing was charged.",
        facts=facts,
    )


def _deadline(error: StoredError, facts: Facts, kept: str) -> Plan:
    return Plan(
        short=False,
        title="The request’s time was over",
        sentence=_sentences(error),
        tone="held",
        icon="timer",
        fix=("Try again", "retry"),
        actions=(("Change the deadline", "", "change_times"),),
        kept=f"{kept} {MAY_BE_BILLED}" if error.may_be_billed else kept,
        facts=facts,
    )


def _invalid(error: StoredError, facts: Facts, kept: str) -> Plan:
    left = len(error.problems) - SHOWN_PROBLEMS
    more = (f"and {left} more",) if left > 0 else ()
    again: tuple[str, Action] = ("Try again", "retry")
    api: tuple[str, Action] = ("Try the API", "send_api")
    return Plan(
        short=False,
        title="The answer doesn’t match the schema",
        sentence=error.hint
        or "It was repaired where that is safe, and asked for again. It still doesn’t match.",
        tone="danger",
        icon="brackets-curly",
        fix=api if facts.can_send_api else again,
        actions=((again[0], "arrow-clockwise", again[1]),) if facts.can_send_api else (),
        kept=f"{kept} What was answered has been paid for.",
        log=(*error.problems[:SHOWN_PROBLEMS], *more),
        facts=facts,
    )


def _paused(error: StoredError, facts: Facts, kept: str) -> Plan:
    return Plan(
        short=False,
        title="This conversation is paused",
        sentence=paused_sentence(error.per_minute),
        tone="held",
        icon="pause-circle-fill",
        fix=("Let it go on", "resume"),
        actions=(("Keep it paused", "", "keep_paused"), ("Change the brake", "", "change_rates")),
        kept=f"{kept} Nothing was sent or charged.",
        facts=facts,
        conversation=error.conversation,
    )


def _duplicate(error: StoredError, facts: Facts, kept: str) -> Plan:
    return Plan(
        short=False,
        title="This request was sent before",
        sentence=_sentences(error),
        tone="held",
        icon="copy",
        fix=("Send it again", "retry"),
        kept=f"{kept} Nothing was sent or charged.",
        facts=facts,
    )


def paused_sentence(per_minute: int | None) -> str:
    """Say why a conversation is paused, and that it waits for a person."""
    sent = (
        "more requests in a minute than it may"
        if per_minute is None
        else f"{per_minute:,} requests in a minute"
    )
    return f"It sent {sent}, as a loop does. Nothing more of it is sent until you decide."


def _sentences(error: StoredError) -> str:
    message = error.message
    end = "" if message.endswith((".", "!", "?")) else "."
    return f"{message}{end} {error.hint}".strip()
