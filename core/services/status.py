"""Snapshots of the core's state for the panel and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from core.chat import RoutingMode
from core.ledger.limits import Budget, LimitUsage
from core.ledger.models import PausedConversation
from core.local.server import ServerState
from core.routing.local_queue import QueueState

if TYPE_CHECKING:
    from core.settings import UntrustedFile

ApiPhase = Literal[
    "checking",
    "no_key",
    "key_held_back",
    "closed",
    "key_set",
    "reachable",
    "key_refused",
    "no_credit",
    "not_permitted",
    "model_unknown",
    "rate_limited",
    "overloaded",
    "unreachable",
]
"""``closed``: a setting in which a limit or the address stands, or a price of the user's own, can't be read.
``key_set``: nothing was heard of the API yet. From ``reachable`` on it is what the API last said
(``not_permitted``: that the key may not use the model)."""
ProblemKind = Literal[
    "ledger",
    "ledger_unsaved",
    "ledger_check",
    "answers",
    "local",
    "local_restarted",
    "limit",
    "settings_file",
    "setting",
    "key",
    "trust",
    "recovered",
    "alert",
    "prices",
    "set_aside",
    "templates",
    "telemetry",
    "local_model",
    "local_key_refused",
    "local_model_unknown",
    "api_key",
    "api_credit",
    "api_model",
    "api_pause",
    "api_unreachable",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiStatus:
    """``detail`` is a short fact beside the state ("until 14:32")."""

    phase: ApiPhase
    model: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something the user should know: what happened, what was kept, and (``hint``) what to do.

    ``file`` is the one that waits for the user's trust, ``setting`` the name of the one that mends it.
    """

    kind: ProblemKind
    title: str
    message: str
    hint: str
    file: UntrustedFile | None = None
    setting: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCheck:
    """When the ledger's rows were last added up and compared with its sums, and what differed."""

    at: datetime
    attempts: int
    differences: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.differences


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreStatus:
    """Both sides, today's local count and the month's money. ``None``: the ledger can't be read.

    ``month`` is the current month's name. ``limits`` are all that are set, ``paused`` the conversations that sent
    like a loop and wait for a person, ``queue`` the local server's line. ``local_drained``: the user sent
    everything to the API.
    """

    local: ServerState
    api: ApiStatus
    local_requests_today: int | None
    routing_threshold: int
    routing_mode: RoutingMode
    month: str
    budget: Budget | None
    problems: tuple[Problem, ...] = ()
    limits: tuple[LimitUsage, ...] = ()
    paused: tuple[PausedConversation, ...] = ()
    queue: QueueState | None = None
    checked: LedgerCheck | None = None
    local_drained: bool = False

    @property
    def spent_nanodollars(self) -> int | None:
        return self.budget.spent_nanodollars if self.budget else None

    @property
    def held_nanodollars(self) -> int | None:
        return self.budget.held_nanodollars if self.budget else None

    @property
    def held_count(self) -> int:
        return self.budget.held_count if self.budget else 0

    @property
    def unpriced_count(self) -> int:
        return self.budget.unpriced_count if self.budget else 0
