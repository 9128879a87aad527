"""The local server's states, and the protocol that whatever runs behind them follows.

``stopped -> starting -> ready -> stopping -> stopped``, and ``failed(reason)`` from any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from core.model_list import ListedModel

ServerPhase = Literal["stopped", "starting", "ready", "stopping", "failed"]
ServerCause = Literal["", "key", "model"]
"""What a failure is about, where somebody has to mend just that: the key it refuses, the model it does not have."""
ServerKind = Literal["embedded", "compose", "external", "none"]


@dataclass(frozen=True, slots=True)
class Crash:
    """The server ended by itself: how (``was ended by signal 9 (SIGKILL)``), and when (UTC)."""

    how: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """A snapshot for the router and the panel.

    ``detail`` is a short fact for a person (``loading weights``, ``exited with code 1``). ``progress`` is 0
    to 1 and ``eta_s`` the seconds left by the learnt load time, both ``None`` where not known.
    ``base_url`` ends in ``/v1`` and is set only while ready. ``context_tokens`` is what one request may use,
    input plus output. ``hint`` says what to do next about a failure (may be empty). ``models`` are all that it can
    be asked for, where it lists more than ``model`` or says more of it; a server that is away has those it had.
    ``crash`` is the last one, from when it happened until somebody starts or stops the server, or it has run calmly
    for a while.
    """

    phase: ServerPhase
    kind: ServerKind
    detail: str = ""
    hint: str = ""
    model: str | None = None
    base_url: str | None = None
    context_tokens: int | None = None
    progress: float | None = None
    eta_s: float | None = None
    pid: int | None = None
    cause: ServerCause = ""
    crash: Crash | None = None
    models: tuple[ListedModel, ...] = ()

    def find(self, model: str) -> ListedModel | None:
        """Return what is known of a model that it can be asked for, ``None`` where it does not have it."""
        found = next((listed for listed in self.models if listed.id == model), None)
        if found is None and model == self.model:
            return ListedModel(id=model, context_tokens=self.context_tokens)
        return found


class LocalServer(Protocol):
    """One owner task serialises start, stop and restart; a start can be cancelled by ``stop``."""

    @property
    def state(self) -> ServerState: ...

    async def start(self) -> None:
        """Start and return when ready. A failure is a state, not an exception."""
        ...

    async def stop(self) -> None: ...

    async def restart(self) -> None: ...

    def log_tail(self, lines: int = 200) -> list[str]:
        """Return the last lines of the server's own log, oldest first."""
        ...

    def on_change(self, listener: Callable[[ServerState], None]) -> Callable[[], None]:
        """Call ``listener`` on every new state, on the core's loop; returns the unsubscriber."""
        ...
