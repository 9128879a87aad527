"""What the API last said: of the key, the account, a model, and its own health. Status and routing read it.

What a person has to mend (a refused key, no credit, a model that isn't there) stands until that was changed, a
check went well or a request was answered; no credit is tried again after ``CREDIT_RETRY_S``, and what is then heard
of a model is told first. What passes by itself (a rate limit, an overload, no connection) stands until its time is
over or, where none was named, ``PASSING_S``.
Nothing is kept over the end of the process: the next one hears it anew.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from core.errors import (
    AuthenticationFailed,
    ContentRefused,
    CreditExhausted,
    KeyHeldBack,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    SignalboxError,
    TransientFailure,
)
from core.routing.circuit_breaker import new_generation

TroubleKind = Literal[
    "key_refused", "no_credit", "not_permitted", "model_unknown", "rate_limited", "overloaded", "unreachable"
]
LASTING: frozenset[TroubleKind] = frozenset({"key_refused", "no_credit", "not_permitted", "model_unknown"})
"""What somebody has to mend. The rest is the circuit breaker's business as far as routing goes."""
OF_THE_ACCOUNT: frozenset[TroubleKind] = frozenset({"key_refused", "no_credit"})
"""What holds for every model."""
OF_ONE_MODEL: frozenset[TroubleKind] = LASTING - OF_THE_ACCOUNT

CREDIT_RETRY_S = 600.0
"""How long an account without credit is left alone: topping it up is told to nobody here."""
PASSING_S = 120.0
"""How long a failure that named no time is told after it was last seen, while nobody asks again."""
MOST_MODELS = 64
"""A caller may name any model, so what is known of models is bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiTrouble:
    """``message`` and ``hint`` are the error's, without what a server worded. ``model`` is ``None`` for all models.

    ``until_s``, in monotonic seconds, is when it is over by itself (of credit: when it is tried again), ``None``
    where nothing but a change ends it. ``until`` is the same moment as a local time, where it is worth telling: the
    API's own, or when an account is asked again.
    """

    kind: TroubleKind
    message: str
    hint: str
    model: str | None
    until_s: float | None = None
    until: datetime | None = None


class ApiCondition:
    """``clock`` returns monotonic seconds, ``now`` the local time of day.

    After ``forget`` and ``try_again`` all breakers have to be reset: what their earlier tickets say is not heard.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
    ) -> None:
        self._clock, self._now = clock, now
        self._of_account: ApiTrouble | None = None
        self._of_models: OrderedDict[str, ApiTrouble] = OrderedDict()
        self._answered = False
        self._since = 0

    @property
    def era(self) -> int:
        """A number for the moment at which a request is sent; what comes of it is heard with it.

        A breaker's ticket has one too: its ``generation``.
        """
        return new_generation()

    @property
    def answered(self) -> bool:
        """Whether the API has answered with the key in use."""
        return self._answered

    def trouble(self, model: str) -> ApiTrouble | None:
        """Return what the API last said that stands in the way of ``model``; ``None``: nothing."""
        return self._found(model)

    def closes(self, model: str) -> ApiTrouble | None:
        """Return what keeps prompts away that may as well go elsewhere; one that is forced is sent all the same."""
        found = self._found(model)
        return None if found is None or found.kind not in LASTING or self._is_over(found) else found

    def changes_in_s(self, model: str) -> float | None:
        """Return in how many seconds ``trouble`` or ``closes`` change by themselves; ``None``: not by time."""
        found = self._found(model)
        if found is None or found.until_s is None:
            return None
        left_s = found.until_s - self._clock()
        return left_s if left_s > 0 else None

    def heard(self, model: str, error: SignalboxError | None, *, era: int) -> None:
        """Take note of how a request to ``model`` ended, or (``None``) that its answer has begun.

        What was sent with an earlier key or to an earlier address says nothing of those in use.
        """
        if era < self._since:
            return
        kind = None if error is None else kind_of(error)
        if error is None or isinstance(error, ContentRefused):
            self._well(model)
        elif kind is not None:
            self._note(kind, model, error)

    def checked(self, models: Iterable[str], *, era: int) -> None:
        """Take note of a list of models that came: the key is good. Of the account's credit it says nothing."""
        if era < self._since:
            return
        self._answered = True
        listed = frozenset(models)
        if self._of_account is not None and self._of_account.kind == "key_refused":
            self._of_account = None
        for name, found in [*self._of_models.items()]:
            is_there = found.kind in OF_ONE_MODEL and name in listed
            if is_there or found.kind == "unreachable":
                del self._of_models[name]

    def forget(self) -> None:
        """The key or the address is another: begin anew."""
        self._of_account, self._answered = None, False
        self._of_models.clear()
        self._since = new_generation()

    def forget_model(self, model: str) -> None:
        """``model`` was chosen (again), so it is to be tried."""
        self._of_models.pop(model, None)

    def try_again(self) -> None:
        """Somebody says that it is mended, or wants to know: let the next request find out."""
        answered = self._answered
        self.forget()
        self._answered = answered

    def _found(self, model: str) -> ApiTrouble | None:
        """Return the account's trouble before the model's; one that is due to be asked again comes after it.

        What a prompt then hears of its model (that it isn't there, a rate limit) says nothing of credit, so this
        is told again once the other has passed.
        """
        account, own = self._of_account, self._of_models.get(model)
        if own is not None and own.kind not in LASTING and self._is_over(own):
            own = None
        if account is None or (own is not None and self._is_over(account)):
            return own
        return account

    def _is_over(self, trouble: ApiTrouble) -> bool:
        return trouble.until_s is not None and self._clock() >= trouble.until_s

    def _well(self, model: str) -> None:
        self._answered = True
        self._of_account = None
        self._of_models.pop(model, None)
        for name, found in [*self._of_models.items()]:
            if found.kind == "unreachable":
                del self._of_models[name]

    def _note(self, kind: TroubleKind, model: str, error: SignalboxError) -> None:
        wait_s = _lasts_s(kind, error)
        is_told = wait_s is not None and (kind in LASTING or bool(getattr(error, "retry_after_s", None)))
        found = ApiTrouble(
            kind=kind,
            message=error.own_message,
            hint=error.hint,
            model=None if kind in OF_THE_ACCOUNT else model,
            until_s=None if wait_s is None else self._clock() + wait_s,
            until=self._now() + timedelta(seconds=wait_s or 0.0) if is_told else None,
        )
        if found.model is None:
            self._of_account = found
            return
        if kind in OF_ONE_MODEL and self._refuses_key():
            self._of_account = None  # whoever looks for the model has taken the key
        self._of_models[model] = found
        self._of_models.move_to_end(model)
        while len(self._of_models) > MOST_MODELS:
            self._of_models.popitem(last=False)

    def _refuses_key(self) -> bool:
        return self._of_account is not None and self._of_account.kind == "key_refused"


def kind_of(error: SignalboxError) -> TroubleKind | None:
    """Return what ``error`` says of the API; ``None``: nothing, it is about the request or made on this side."""
    match error:
        case KeyHeldBack():
            return None  # it was not sent
        case PermissionDenied():
            return "not_permitted"
        case AuthenticationFailed(missing=False):
            return "key_refused"
        case CreditExhausted():
            return "no_credit"
        case ModelNotFound():
            return "model_unknown"
        case RateLimited():
            return "rate_limited"
        case Overloaded():
            return "overloaded"
        case TransientFailure():
            return "unreachable"
        case _:
            return None


def last_said_words(trouble: ApiTrouble | None, model: str) -> str:
    """Finish "API unavailable: ..." with what keeps prompts away from it; empty for nothing."""
    match trouble.kind if trouble is not None else None:
        case "key_refused":
            return "it refused the key"
        case "no_credit":
            return "the account has no credit"
        case "not_permitted":
            return f"the key may not use {model}"
        case "model_unknown":
            return f"it has no model {model}"
        case _:
            return ""


def _lasts_s(kind: TroubleKind, error: SignalboxError) -> float | None:
    if kind == "no_credit":
        return CREDIT_RETRY_S
    if kind in LASTING:
        return None
    asked_s: float | None = getattr(error, "retry_after_s", None)
    return asked_s or PASSING_S
