"""The errors Signalbox acts on. Each message says what happened, and ``hint`` says what to do next.

::

    SignalboxError           500
      InvalidRequest         400  the caller's fault: never retried, never falls back
        ContextTooLong       400  more input than the model takes; both wires say it so
        DuplicateRequest     422  an idempotency key that was used for another request, or whose answer is gone
        ModelNotFound        404  the server has no model of that name
      AuthenticationFailed   401  no key, or one the provider refuses
        KeyHeldBack          401  the keyring's key belongs to another address, and was not sent
        PermissionDenied     403  the key is good, but not for this model
      CreditExhausted        402  the account at the provider has nothing left to pay with
      ContentRefused         400  the provider declined to answer
      BudgetExceeded         402  a spend limit or the token budget holds
      RateExceeded           429  a request rate holds, and the wait for it would be too long
      RunawayPaused          403  a conversation sends like a loop; it waits for a person, so no client may retry
      DeadlineExceeded       504  the request's own time is over
      AnswerInvalid          502  the answer does not match the schema, after a repair and asking again
      TransientFailure       503  may work elsewhere or later: the router falls back
        RateLimited          429
        Overloaded           529
        Unavailable          503  connection, 5xx, crash; or it is still starting
          TimedOut           504  no connection, no first token, or silence for too long
        QueueFull            503  the local server's waiting line is full
      HomeRefused            500  the home folder is somebody else's, or others may write it: nothing runs
      LedgerUnavailable      503  the ledger cannot be read or written; nothing runs unrecorded

The number is ``http_status``: what an HTTP answer of this error says, so that a client's SDK does the right thing
(it retries 408, 409, 429 and 5xx by itself). With ``retry_after_s`` goes a ``Retry-After`` header; where the
request has been paid for or may be billed, an HTTP answer has to forbid the retry (``x-should-retry: false``).
``details()`` are the facts of an error by name, for JSON and for the panel's cards.

They stand below every other room because providers, ledger and routing all raise them and the panel
shows them.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from core.base.text import sentence


class SignalboxError(Exception):
    """Base of all. ``hint`` is one sentence that says what to do next (may be empty).

    ``correlation_id`` is the request's, once it has left the router. ``facts`` name the attributes that ``details``
    has, a subclass's after its base's. ``quote`` is the end of a sentence of the message that a server or a model
    worded: it may quote the request, so it is for the caller only.
    """

    kind = "error"
    http_status: ClassVar[int] = 500
    facts: ClassVar[tuple[str, ...]] = ()
    correlation_id: str | None = None
    quote: str = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def details(self) -> dict[str, Any]:
        """Return what is known besides kind, message and hint, by name; ``None`` is not known."""
        return {fact: getattr(self, fact) for fact in self.facts}

    @property
    def own_message(self) -> str:
        """The message without ``quote``, as logs and the ledger keep it."""
        return self.message.replace(self.quote, ".") if self.quote else self.message

    def quoting(self, quote: str) -> Self:
        """Return this error, whose message has ``quote`` (with the full stop after it) from somebody else."""
        self.quote = quote
        return self

    def __str__(self) -> str:
        # Servers end their messages as they like; two sentences must not run into each other.
        return f"{sentence(self.message)} {self.hint}".strip()


class InvalidRequest(SignalboxError):
    """``unasked``: the router refused it, so it says nothing of the model; else a server did."""

    kind = "invalid_request"
    http_status = 400
    unasked = False


class ContextTooLong(InvalidRequest):
    """``input_tokens`` and ``limit_tokens`` are ``None`` where the server did not say."""

    kind = "context_too_long"
    facts = ("input_tokens", "limit_tokens")

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
    http_status = 422


class ModelNotFound(InvalidRequest):
    """A model of that name was never there, was retired, or is not for this account: servers tell these as one."""

    kind = "model_not_found"
    http_status = 404


class AuthenticationFailed(SignalboxError):
    """``missing`` is true when there is no key at all, false when the provider refused it."""

    kind = "authentication_failed"
    http_status = 401
    facts = ("missing",)

    def __init__(self, message: str, *, hint: str = "", missing: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.missing = missing


class KeyHeldBack(AuthenticationFailed):
    """A key of the keyring was not sent, since nobody said that it may go to ``address``.

    ``key_name`` is ``anthropic`` or ``vllm``. ``belongs_to`` is the origin it was stored for, ``None`` where an
    earlier version kept none. ``address`` is the origin that would have got it, without user name and path.
    ``unencrypted`` is true where strangers could read the key on its way there.
    """

    kind = "key_held_back"
    facts = (*AuthenticationFailed.facts, "key_name", "belongs_to", "address", "unencrypted")

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        key_name: str,
        belongs_to: str | None,
        address: str,
        unencrypted: bool,
    ) -> None:
        super().__init__(message, hint=hint)
        self.key_name = key_name
        self.belongs_to = belongs_to
        self.address = address
        self.unencrypted = unencrypted

    def again(self) -> KeyHeldBack:
        """Return an equal error to raise: one that is kept and raised twice would collect tracebacks."""
        return KeyHeldBack(
            self.message,
            hint=self.hint,
            key_name=self.key_name,
            belongs_to=self.belongs_to,
            address=self.address,
            unencrypted=self.unencrypted,
        )


class PermissionDenied(AuthenticationFailed):
    kind = "permission_denied"
    http_status = 403


class CreditExhausted(SignalboxError):
    """The provider's own limit, not one of ours: prepaid credit, a monthly quota, or a payment that failed."""

    kind = "credit_exhausted"
    http_status = 402


class ContentRefused(SignalboxError):
    kind = "content_refused"
    http_status = 400


class BudgetExceeded(SignalboxError):
    """All amounts in nano-dollars; ``limit_name`` is the setting, such as ``SPEND_LIMIT_DOLLARS``.

    ``unsettled_nanodollars`` is the part of ``spent_nanodollars`` whose true cost never came. ``unit`` is
    ``tokens`` where a token budget holds: then the amounts are tokens.
    """

    kind = "budget_exceeded"
    http_status = 402
    facts = (
        "limit_name",
        "unit",
        "limit_nanodollars",
        "spent_nanodollars",
        "held_nanodollars",
        "unsettled_nanodollars",
        "asked_nanodollars",
        "free_nanodollars",
        "held_count",
    )

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
        unsettled_nanodollars: int = 0,
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
        self.unsettled_nanodollars = unsettled_nanodollars

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
    http_status = 503
    facts = ("retry_after_s", "may_be_billed")
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
    http_status = 429


class Overloaded(TransientFailure):
    kind = "overloaded"
    http_status = 529


class Unavailable(TransientFailure):
    kind = "unavailable"


class TimedOut(Unavailable):
    """``phase`` is ``connect``, ``first_token`` or ``between_tokens``."""

    kind = "timed_out"
    http_status = 504
    facts = (*Unavailable.facts, "phase")

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
    http_status = 429
    facts = ("retry_after_s", "limit_name")

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
    http_status = 403
    facts = ("conversation", "per_minute")

    def __init__(self, message: str, *, hint: str = "", conversation: str, per_minute: int) -> None:
        super().__init__(message, hint=hint)
        self.conversation = conversation
        self.per_minute = per_minute


class DeadlineExceeded(SignalboxError):
    """What was sent before it passed may have been billed."""

    kind = "deadline_exceeded"
    http_status = 504
    facts = ("may_be_billed",)
    may_be_billed: bool = True


class AnswerInvalid(SignalboxError):
    """``problems`` say where the answer (or a tool call's arguments) breaks the schema."""

    kind = "answer_invalid"
    http_status = 502
    facts = ("problems",)

    def __init__(self, message: str, *, hint: str = "", problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class HomeRefused(SignalboxError):
    """Somebody else may have written what decides where prompts, keys and money go; nothing was sent."""

    kind = "home_refused"

    def __init__(self, home: object, why: str) -> None:
        super().__init__(f"The home folder {home} is not used: {why}.", hint="Nothing was sent.")


class LedgerUnavailable(SignalboxError):
    """``is_beyond_use``: the file is damaged or no ledger, so that a new one in its place is what helps."""

    kind = "ledger_unavailable"
    http_status = 503
    facts = ("is_beyond_use",)

    def __init__(self, message: str, *, hint: str = "", is_beyond_use: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.is_beyond_use = is_beyond_use
