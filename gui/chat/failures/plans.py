"""What a failed answer says and offers: the error and a few facts in, words and actions out. No widgets here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from core import format_amount, format_cost, format_limit, sentence, sentence_case
from gui.chat.failures.api_plans import TURNED_AWAY, plan_of_turned_away
from gui.chat.failures.plan import Action, Facts, Plan, Tone, elsewhere
from gui.chat.storage.models import StoredError, StoredMessage
from gui.widgets.panel_words import named

if TYPE_CHECKING:
    from core import CoreStatus


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
        sentence=named(error.message),
        tone="held",
        icon="hourglass-medium",
        fix=("Try again", "retry"),
        actions=(*local, ("Change the rate", "", "change_rates")),
        kept=f"{kept} Nothing was sent or charged.",
        facts=facts,
        retry_at_ms=error.retry_at_ms,
        setting=error.limit_name.lower(),
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
        setting="max_waiting_requests",
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
        setting=f"{error.phase}_timeout_s" if error.phase in PHASES else "",
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
        setting="request_deadline_s",
    )


def _invalid(error: StoredError, facts: Facts, kept: str) -> Plan:
    left = len(error.problems) - SHOWN_PROBLEMS
    more = (f"and {left:,} more",) if left > 0 else ()
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
        actions=(("Keep it paused", "", "keep_paused"), ("Change when it pauses", "", "change_rates")),
        kept=f"{kept} Nothing was sent or charged.",
        facts=facts,
        conversation=error.conversation,
        setting="runaway_requests_per_minute",
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
    return f"{sentence(error.message)} {error.hint}".strip()


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
    if error.kind in TURNED_AWAY:
        return plan_of_turned_away(error, facts, kept)
    if error.kind == "budget_exceeded":
        return _over_budget(error, facts, kept)
    if error.kind == "context_too_long":
        return _too_long(error, facts, kept)
    if error.kind == "ledger_unavailable":
        return _no_ledger(error, facts, kept)
    if error.kind == "key_held_back" or facts.key_held_back is not None:
        return _held_back(facts.key_held_back or error.message, facts, kept)
    if error.kind in ("unavailable", "overloaded", "rate_limited", "transient"):
        return _unavailable(error, facts, kept)
    if error.kind == "home_refused":
        return _home_refused(error, facts, kept)
    if error.kind in MADE_BY_THE_CORE:
        return plan_of_the_core(error, facts, kept)
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


_PHASES = {
    "authentication_failed": "key_refused",
    "permission_denied": "not_permitted",
    "credit_exhausted": "no_credit",
    "model_not_found": "model_unknown",
}
"""The state that the API is in as long as such a failure's cause stands."""


def cause_holds(plan: Plan, error: StoredError, status: CoreStatus) -> bool | None:
    """Return whether a failure's cause still stands; ``None`` where the status doesn't tell."""
    if error.kind == "authentication_failed" and error.key_missing:
        return None if status.api.phase == "checking" else status.api.phase == "no_key"
    if error.kind in _PHASES and plan.facts.side != "local":
        return None if status.api.phase == "checking" else status.api.phase == _PHASES[error.kind]
    if error.kind == "budget_exceeded" and error.asked_nanodollars is not None:
        free = [standing.free for standing in status.limits if standing.limit.name == error.limit_name]
        return bool(free) and min(free) < error.asked_nanodollars
    if error.kind == "ledger_unavailable":
        return any(problem.kind in ("ledger", "ledger_unsaved") for problem in status.problems)
    if error.kind == "runaway_paused":
        return any(paused.conversation == error.conversation for paused in status.paused)
    if error.kind == "queue_full":
        return None if status.queue is None else status.queue.full
    if error.kind == "key_held_back" or plan.facts.key_held_back is not None:
        return any(problem.kind == "key" for problem in status.problems)
    if plan.facts.local_failed is not None:
        return status.local.phase != "ready"
    if error.kind in ("unavailable", "overloaded", "rate_limited", "transient"):
        return status.api.phase in ("rate_limited", "overloaded", "unreachable", "closed")
    return None


def plan_break_off(message: StoredMessage) -> Plan | None:
    """Return the card under an answer that has text but no proper end, ``None`` for one that has."""
    tokens = _tokens(message)
    cost = _cost(message)
    if message.status == "interrupted":
        return _short(
            "The answer was cut off when Signalbox ended",
            f"The text is kept{cost}.",
            ("Continue", "continue"),
            "danger",
            "link-break",
        )
    if message.status == "failed" and message.error is not None:
        return _short(
            f"The answer broke off{tokens}",
            f"{sentence(message.error.message)} The text is kept{cost}.",
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
    actions: list[tuple[str, str, Action]] = [("Show what is held", "", "show_spend")]
    if facts.lower_to is not None:
        actions.append((f"Lower max tokens to {facts.lower_to:,}", "", "lower_max_tokens"))
    if facts.can_send_local:
        actions.append(("Send to Local", "cpu", "send_local"))
    sentence, are = named(error.message), "are" if error.unit == "tokens" else "is"
    if error.asked_nanodollars is not None and free is not None:
        worst, room = _amount(error, error.asked_nanodollars), f"{_amount(error, free)} {are} free"
        sentence = (
            f"Its worst case is {worst} as it is now, and {room}."
            if facts.changed
            else f"Its worst case is {worst}, and {room}, so it was not sent."
        )
    return Plan(
        short=False,
        title=f"This prompt doesn’t fit {_limit_words(error, facts)}",
        sentence=sentence,
        tone="danger",
        icon="prohibit-fill",
        fix=("Raise the limit", "raise_limit"),
        actions=tuple(actions),
        kept=f"{kept} Nothing was charged.",
        amounts=error if error.limit_nanodollars is not None else None,
        facts=facts,
        setting=error.limit_name.lower() or "spend_limit_dollars",
    )


def _amount(error: StoredError, amount: int) -> str:
    return format_amount(amount, "tokens" if error.unit == "tokens" else "nanodollars")


def _limit_words(error: StoredError, facts: Facts) -> str:
    """Return ``under June’s $500 limit``, by the limit that holds."""
    if error.limit_nanodollars is None:
        limit = "spend limit"
    elif error.unit == "tokens":
        return f"into today’s budget of {error.limit_nanodollars:,} tokens"
    else:
        limit = f"{format_limit(error.limit_nanodollars)} limit"
    of = {"DAILY_SPEND_LIMIT_DOLLARS": "today’s", "PROJECT_SPEND_LIMITS": "the project’s"}
    return f"under {of.get(error.limit_name, f'{facts.month}’s')} {limit}"


def _too_long(error: StoredError, facts: Facts, kept: str) -> Plan:
    counts = ""
    if error.input_tokens is not None and error.limit_tokens is not None:
        counts = f"{error.input_tokens:,} tokens, and the model takes {error.limit_tokens:,}. "
    if facts.changed:
        counts = f"It has changed since. As it was sent: {counts or error.message + ' '}"
    if facts.can_send_api:
        price = f", {format_cost(facts.api_cost_nanodollars)}" if facts.api_cost_nanodollars else ""
        fix: tuple[str, Action] = (f"Send to API{price}", "send_api")
        title = "Too long for Local"
    else:
        fix = ("Shorten", "shorten")
        title = "Too long for the model"
    icon = "arrows-out-line-horizontal"
    if facts.summary_window_tokens is None:
        return _short(title, f"{counts or error.message + ' '}{kept}", fix, "held", icon)
    return Plan(
        short=False,
        title=title,
        sentence=(counts or error.message).rstrip(),
        tone="held",
        icon=icon,
        fix=fix,
        actions=(("Summarise the beginning", "", "summarise"),),
        kept=f"{kept} A summary only shortens what is sent: the conversation keeps all its turns.",
        facts=facts,
    )


def _held_back(reason: str, facts: Facts, kept: str) -> Plan:
    return Plan(
        short=False,
        title="The key is held back",
        sentence=f"{sentence(reason)} A key goes to no address that you didn’t name.",
        tone="held",
        icon="key-fill",
        fix=("Say where it may go", "allow_key"),
        actions=(("Try again", "arrow-clockwise", "retry"), *elsewhere(facts)[:1]),
        kept=f"{kept} Nothing was sent or charged.",
        facts=facts,
    )


def _home_refused(error: StoredError, facts: Facts, kept: str) -> Plan:
    return Plan(
        short=False,
        title="The home folder can’t be trusted",
        sentence=f"{sentence(error.message)} Make it yours alone, then start Signalbox again.",
        tone="danger",
        icon="warning-octagon-fill",
        fix=("Try again", "retry"),
        kept=f"{kept} Nothing was sent or charged.",
        facts=facts,
    )


_LOCAL_NOW = {"starting": "The local server is starting now.", "ready": "The local server is ready now."}

_LOCAL_FAILURES: dict[str, tuple[str, tuple[str, Action]]] = {
    "": ("The local server failed", ("Restart", "restart_local")),
    "key": ("The local server refuses the key", ("Replace the key", "add_local_key")),
    "model": ("The local server has no such model", ("Choose a model", "choose_local_model")),
}


def _unavailable(error: StoredError, facts: Facts, kept: str) -> Plan:
    actions: list[tuple[str, str, Action]] = []
    if facts.local_failed is not None:
        actions.append(("Show log", "terminal-window", "show_log"))
        if facts.can_send_api:
            actions.append(("Send to API", "cloud", "send_api"))
        title, fix = _LOCAL_FAILURES.get(facts.local_cause, _LOCAL_FAILURES[""])
        if fix[1] == "restart_local" and facts.local_elsewhere:
            fix = ("Check now", "look_at_local")
        detail = facts.local_failed
        return Plan(
            short=False,
            title=title,
            sentence=sentence(sentence_case(detail)) if detail else error.message,
            tone="danger",
            icon="warning-octagon-fill",
            fix=fix,
            actions=tuple(actions),
            kept=f"{kept} Nothing was charged.",
            log=facts.log,
            facts=facts,
        )
    who = "Local" if facts.side == "local" else "The API"
    if error.kind in ("rate_limited", "unavailable") and error.retry_at_ms is not None:
        # The wait that an unavailable side's message names is as old as the card; the button counts it down.
        asked = error.kind == "rate_limited"
        titles = {"rate_limited": f"{who} wants a pause", "overloaded": f"{who} is overloaded"}
        return Plan(
            short=False,
            title=titles.get("rate_limited" if asked else facts.api_phase, f"{who} isn’t answering"),
            sentence=sentence(error.message) if asked else "Until it is tried again, nothing is sent to it.",
            tone="held",
            icon="hourglass-medium",
            fix=("Try again", "retry"),
            actions=tuple(elsewhere(facts)[:1]),
            kept=f"{kept} Nothing was charged.",
            facts=facts,
            retry_at_ms=error.retry_at_ms,
        )
    titles = {"rate_limited": f"{who} wants a pause", "overloaded": f"{who} is overloaded"}
    actions.append(("Try again", "arrow-clockwise", "retry"))
    # Local again is what "Try again" does.
    actions += [item for item in elsewhere(facts) if item[2] != f"send_{facts.side}"]
    # The error says how it was then, and stays under the answer while the server comes back.
    now = _LOCAL_NOW.get(facts.local_phase) if facts.side == "local" else None
    return Plan(
        short=False,
        title=titles.get(error.kind, "No answer"),
        sentence=" ".join(part for part in (error.message, error.hint, now) if part),
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
    if usage is None or not usage.output_tokens or message.result is None:
        return ""
    mark = "~" if message.result.usage_estimated else ""
    return f" after {mark}{usage.output_tokens:,} tokens"


def _cost(message: StoredMessage) -> str:
    spending = replace(message.spending, loaded_nanodollars=0)
    return f", {spending.words}" if spending.parts else ""


def _no_ledger(error: StoredError, facts: Facts, kept: str) -> Plan:
    """Only what is beyond use is set aside: on a full disk a new ledger would be no help, and know of no limit."""
    message, kept = (
        f"{error.message} Nothing is sent without a record of what it costs.",
        f"{kept} Nothing was sent.",
    )
    plan = Plan(
        short=False,
        title="The ledger can’t be used",
        sentence=message if error.is_beyond_use else f"{message} {error.hint}".strip(),
        tone="danger",
        icon="warning-octagon-fill",
        fix=("Try again", "retry"),
        kept=kept,
        facts=facts,
    )
    if not error.is_beyond_use:
        return plan
    return replace(
        plan,
        fix=("Set it aside and start a new one", "set_ledger_aside"),
        actions=(("Try again", "arrow-clockwise", "retry"),),
        kept=f"{kept} The old ledger is kept as a file.",
    )


PLAN_CUT_EARLY = _short(
    "Signalbox ended before the first word",
    "Your prompt is kept above.",
    ("Try again", "retry"),
    "danger",
    "link-break",
)
"""The card of an answer that was cut off before it had any text."""
