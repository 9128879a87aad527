"""The API's state in words: a phase with a short fact for a pill, and the problem that somebody should know of."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from core.base.text import sentence
from core.routing.api_condition import ApiTrouble
from core.services.status import ApiStatus, Problem, ProblemKind

if TYPE_CHECKING:
    from core.routing.api_condition import TroubleKind
    from core.routing.backends import ApiBackend

_KINDS: dict[TroubleKind, ProblemKind] = {
    "key_refused": "api_key",
    "no_credit": "api_credit",
    "not_permitted": "api_model",
    "model_unknown": "api_model",
    "rate_limited": "api_pause",
    "overloaded": "api_pause",
    "unreachable": "api_unreachable",
}
_MEANWHILE = "Auto sends to Local where it can."


def heard_status(api: ApiBackend, model: str) -> ApiStatus:
    """Return the state of an API that may be asked: what it said last."""
    trouble = api.condition.trouble(model)
    breaker = api.breaker(model)
    if trouble is None and breaker.allows:
        return ApiStatus(phase="reachable" if api.condition.answered else "key_set", model=model)
    phase = "unreachable" if trouble is None else trouble.kind
    return ApiStatus(phase=phase, model=model, detail=_detail(api, model, trouble))


def heard_problem(api: ApiBackend, model: str) -> Problem | None:
    """Return what somebody should know of it; ``None``: nothing stands in the way of ``model``."""
    trouble = api.condition.trouble(model)
    if trouble is None:
        return None
    return Problem(
        kind=_KINDS[trouble.kind],
        title=_title(trouble, model),
        message=_message(trouble),
        hint="" if trouble.kind == "rate_limited" else trouble.hint,  # its seconds were counted from then
    )


def local_time(moment: datetime) -> str:
    """Return the minute by which ``moment`` is over: ``14:32``, or ``4 Dec, 14:32`` where that is another day."""
    moment += timedelta(seconds=59)
    day = "" if moment.date() == datetime.now().astimezone().date() else f"{moment.day} {moment:%b}, "
    return f"{day}{moment:%H:%M}"


def _detail(api: ApiBackend, model: str, trouble: ApiTrouble | None) -> str:
    if trouble is not None and trouble.kind == "rate_limited" and trouble.until is not None:
        return f"until {local_time(trouble.until)}"
    if trouble is not None and trouble.kind in ("key_refused", "no_credit"):
        return "replace it" if trouble.kind == "key_refused" else "add some"
    breaker = api.breaker(model)
    if not breaker.allows:
        return f"retry in {breaker.retry_in_s:.0f} s" if breaker.retry_in_s else "trying again"
    return ""


def _title(trouble: ApiTrouble, model: str) -> str:
    match trouble.kind:
        case "key_refused":
            return "The API refused the key"
        case "no_credit":
            return "The API account has no credit"
        case "not_permitted":
            return f"The API key may not use {model}"
        case "model_unknown":
            return f"The API has no model {model}"
        case "rate_limited":
            until = "" if trouble.until is None else f" until {local_time(trouble.until)}"
            return f"The API wants a pause{until}"
        case "overloaded":
            return "The API is overloaded"
        case "unreachable":
            return "The API doesn't answer"


def _message(trouble: ApiTrouble) -> str:
    match trouble.kind:
        case "key_refused":
            return f"Until it is replaced, or taken again, {_MEANWHILE}"
        case "no_credit":
            again = f"after {local_time(trouble.until)}" if trouble.until is not None else "after a while"
            return f"Add some at the provider. It is tried again {again}; until then {_MEANWHILE}"
        case "not_permitted":
            return f"Another key may. Until then {_MEANWHILE}"
        case "model_unknown":
            return f"Its name may be misspelt, or the model retired. Until another is chosen, {_MEANWHILE}"
        case "rate_limited" | "overloaded" | "unreachable":
            return sentence(trouble.message)
