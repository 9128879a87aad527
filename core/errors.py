"""The errors Signalbox acts on. Each message says what happened, and ``hint`` says what to do next.

::

    SignalboxError
      InvalidRequest         the caller's fault: never retried, never falls back
        ContextTooLong       more input than the model takes
        DuplicateRequest     an idempotency key that was used for another request, or whose answer is gone
      AuthenticationFailed   no key, or one the provider refuses
      ContentRefused         the provider declined to answer
      BudgetExceeded         a spend limit or the token budget holds
      RateExceeded           a request rate holds, and the wait for it would be too long
      RunawayPaused          a conversation sends like a loop; it waits for a person
      DeadlineExceeded       the request's own time is over
      AnswerInvalid          the answer does not match the schema, after a repair and asking again
      TransientFailure       may work elsewhere or later: the router falls back
        RateLimited
        Overloaded
        Unavailable          connection, 5xx, crash
          TimedOut           no connection, no first token, or silence for too long
        QueueFull            the local server's waiting line is full
      LedgerUnavailable      the ledger cannot be read or written; nothing runs unrecorded

They stand below every other room because providers, spend and routing all raise them and the panel
shows them.
"""

from __future__ import annotations

from core.base.text import sentence


class SignalboxError(Exception):
    """Base of all. ``hint`` is one sentence that says what to do next (may be empty).

    ``correlation_id`` is the request's, once it has left the router.
    """

    kind = "error"
    correlation_id: str | None = None

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        # Servers end their messages as they like; two sentences must not run into each other.
        return f"{sentence(self.message)} {self.hint}".strip()


class InvalidRequest(SignalboxError):
    kind = "invalid_request"


class ContextTooLong(InvalidRequest):
    """``input_tokens`` and ``limit_tokens`` are ``None`` where the server did not say."""

    kind = "context_too_long"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        input_tokens: int | None = None,
        limit_tokens: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.input_tokens = input_tokens
        self.limit_tokens = limit_tokens


class DuplicateRequest(InvalidRequest):
    kind = "duplicate_request"


class AuthenticationFailed(SignalboxError):
    """``missing`` is true when there is no key at all, false when the provider refused it."""

    kind = "authentication_failed"

    def __init__(self, message: str, *, hint: str = "", missing: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.missing = missing


class ContentRefused(SignalboxError):
    kind = "content_refused"


class BudgetExceeded(SignalboxError):
    """All amounts in nano-dollars; ``limit_name`` is the setting, such as ``SPEND_LIMIT_DOLLARS``.

    ``unit`` is ``tokens`` where a token budget holds: then the amounts are tokens.
    """

    kind = "budget_exceeded"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        limit_name: str,
        limit_nanodollars: int,
        spent_nanodollars: int,
        held_nanodollars: int,
        asked_nanodollars: int | None,
        held_count: int = 0,
        unit: str = "nanodollars",
    ) -> None:
        super().__init__(message, hint=hint)
        self.unit = unit
        self.limit_name = limit_name
        self.limit_nanodollars = limit_nanodollars
        self.spent_nanodollars = spent_nanodollars
        self.held_nanodollars = held_nanodollars
        self.asked_nanodollars = asked_nanodollars
        self.held_count = held_count

    @property
    def free_nanodollars(self) -> int:
        return max(0, self.limit_nanodollars - self.spent_nanodollars - self.held_nanodollars)


class TransientFailure(SignalboxError):
    """``retry_after_s`` is the server's own wish in seconds, ``None`` where it named none.

    ``may_be_billed`` is true when the request reached the server and its end is not known: a cut
    connection or a time-out, but not a refusal such as 429 or 529. ``booting`` is true when the server says
    that it is still starting: that is no failure of its health.
    """

    kind = "transient"
    booting: bool = False

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retry_after_s: float | None = None,
        may_be_billed: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s
        self.may_be_billed = may_be_billed


class RateLimited(TransientFailure):
    kind = "rate_limited"


class Overloaded(TransientFailure):
    kind = "overloaded"


class Unavailable(TransientFailure):
    kind = "unavailable"


class TimedOut(Unavailable):
    """``phase`` is ``connect``, ``first_token`` or ``between_tokens``."""

    kind = "timed_out"

    def __init__(
        self, message: str, *, hint: str = "", phase: str = "first_token", may_be_billed: bool = True
    ) -> None:
        super().__init__(message, hint=hint, may_be_billed=may_be_billed)
        self.phase = phase


class QueueFull(TransientFailure):
    kind = "queue_full"


class RateExceeded(SignalboxError):
    """``retry_after_s``: when the next request fits under ``limit_name``, in seconds.

    ``turns`` says for a line of them in how many seconds how many may begin; after the last one it begins anew,
    a minute later. Empty: only the next one's is known.
    """

    kind = "rate_exceeded"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        limit_name: str,
        retry_after_s: float,
        turns: tuple[tuple[float, int], ...] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.limit_name = limit_name
        self.retry_after_s = retry_after_s
        self.turns = turns


class RunawayPaused(SignalboxError):
    """``conversation`` is what to resume: ``RouterCore.ledger.resume(conversation)`` or ``signalbox resume``."""

    kind = "runaway_paused"

    def __init__(self, message: str, *, hint: str = "", conversation: str, per_minute: int) -> None:
        super().__init__(message, hint=hint)
        self.conversation = conversation
        self.per_minute = per_minute


class DeadlineExceeded(SignalboxError):
    """What was sent before it passed may have been billed."""

    kind = "deadline_exceeded"
    may_be_billed: bool = True


class AnswerInvalid(SignalboxError):
    """``problems`` say where the answer (or a tool call's arguments) breaks the schema."""

    kind = "answer_invalid"

    def __init__(self, message: str, *, hint: str = "", problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class LedgerUnavailable(SignalboxError):
    kind = "ledger_unavailable"
