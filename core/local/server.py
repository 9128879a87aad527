"""The local server's states, and the protocol that whatever runs behind them follows.

``stopped -> starting -> ready -> stopping -> stopped``, and ``failed(reason)`` from any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from core.base.text import exact_duration
from core.local.server_log import LogPage
from core.model_list import ListedModel

HOW_TO_START = "Start it on the Machine page, or with: signalbox local start."
"""Of a container: no request starts one, since that takes minutes, gigabytes and a GPU."""
ServerPhase = Literal["stopped", "starting", "ready", "stopping", "failed"]
ServerCause = Literal["", "key", "model"]
"""What a failure is about, where somebody has to mend just that: the key it refuses, the model it does not have."""
ServerKind = Literal["embedded", "compose", "external", "none"]
ServerVerb = Literal["start", "stop", "restart"]
StartStepName = Literal["pull", "create", "load", "warm_up"]
STEP_DOING: Mapping[StartStepName, str] = {
    "pull": "pulling the image",
    "create": "creating the container",
    "load": "loading weights",
    "warm_up": "warming up",
}
"""What is done in each step, in their order."""
StepStatus = Literal["waiting", "running", "done", "skipped", "failed"]
FailureKind = Literal[
    "docker_missing",
    "daemon_down",
    "compose_missing",
    "compose_file",
    "image_missing",
    "pull_failed",
    "port_taken",
    "no_nvidia_toolkit",
    "gpu_out_of_memory",
    "host_out_of_memory",
    "gated_model",
    "model_not_found",
    "disk_full",
    "wrong_quantization",
    "length_too_large",
    "not_compiled",
    "bad_settings",
    "killed",
    "unhealthy",
    "timed_out",
    "exited",
]
"""Why a start failed, or a server that ran ended; ``exited`` where nothing more is known."""


@dataclass(frozen=True, slots=True)
class Crash:
    """The server ended by itself: how (``was ended by signal 9 (SIGKILL)``), and when (UTC)."""

    how: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StartStep:
    """One step of a start. ``detail`` is a short fact (``already here``, ``shard 5 of 8``).

    ``progress`` is 0 to 1. Bytes are what is pulled; all of it is ``None`` where not known.
    """

    name: StartStepName
    status: StepStatus = "waiting"
    detail: str = ""
    progress: float | None = None
    done_bytes: int | None = None
    total_bytes: int | None = None
    bytes_per_s: float | None = None
    elapsed_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFailure:
    """Why it does not run: a sentence, what to do, the last lines of its log (at most 50), and how it ended.

    ``commands`` are shell commands that the user may copy to mend it. ``at`` (UTC) is when it was seen: what was in
    the way of a start then (a port, a full disk) may be gone by now.
    """

    kind: FailureKind
    what: str
    fix: str = ""
    log: tuple[str, ...] = ()
    exit_code: int | None = None
    oom_killed: bool = False
    commands: tuple[str, ...] = ()
    at: datetime | None = field(default=None, compare=False)


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

    While starting: ``steps`` in their order, ``started_at`` (UTC), ``learnt_from`` the number of starts that the
    estimate is learnt from, ``deadline_s`` the seconds from ``started_at`` after which it is given up, and the
    ``last_line`` of its log. ``failure`` says more of ``detail`` and ``hint``.

    ``found_running``: it ran already at the first look, and nobody has asked it yet how far it is.

    ``docker_context`` is where the container runs, ``version`` the server's own (``vLLM 0.32.0``).
    ``restart_needed`` names the settings that a running server has not taken yet. ``verbs`` are those that it
    honours: nobody stops somebody else's server.
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
    steps: tuple[StartStep, ...] = ()
    started_at: datetime | None = None
    learnt_from: int | None = None
    deadline_s: float | None = None
    last_line: str = ""
    failure: ServerFailure | None = None
    found_running: bool = False
    docker_context: str = ""
    version: str = ""
    restart_needed: tuple[str, ...] = ()
    verbs: frozenset[ServerVerb] = frozenset({"start", "stop", "restart"})

    def find(self, model: str) -> ListedModel | None:
        """Return what is known of a model that it can be asked for, ``None`` where it does not have it."""
        found = next((listed for listed in self.models if listed.id == model), None)
        if found is None and model == self.model:
            return ListedModel(id=model, context_tokens=self.context_tokens)
        return found

    @property
    def unready_words(self) -> str:
        """Why it can't be asked now, as that goes on after a colon; empty where it is ready."""
        match self.phase:
            case "ready":
                return ""
            case "starting":
                left = "" if self.eta_s is None else f", {exact_duration(max(1.0, self.eta_s))} left"
                return f"it is starting{left}"
            case "stopping":
                return "it is stopping"
            case "failed":
                detail = self.detail.rstrip(".")
                if detail.startswith("It "):
                    return f"it {detail[3:]}"
                return f"it failed: {detail}" if detail else "it failed"
            case "stopped":
                return self.detail if self.kind == "none" and self.detail else "it is stopped"

    @property
    def remedy(self) -> str:
        """What to do so that it can be asked: its ``hint``, and of a container that nobody started, how to."""
        if self.kind == "compose" and self.phase == "stopped":
            return HOW_TO_START
        return self.hint


class LocalServer(Protocol):
    """One owner task serialises start, stop and restart; a start can be cancelled by ``stop``."""

    @property
    def state(self) -> ServerState: ...

    async def start(self) -> None:
        """Start and return when ready. A failure is a state, not an exception."""
        ...

    async def stop(self) -> None: ...

    async def restart(self) -> None: ...

    async def observe(self) -> None:
        """Look what runs, now, and go on looking, without starting anything; returns when it has looked."""
        ...

    async def detach(self) -> None:
        """Stop looking. What only this process uses ends; what others may use goes on."""
        ...

    def log_tail(self, lines: int = 200) -> list[str]:
        """Return the last lines of the server's own log, oldest first."""
        ...

    def log_page(self, cursor: int, most: int) -> LogPage:
        """Return the log after ``cursor``, at most ``most`` lines. Any thread may call it."""
        ...

    def on_change(self, listener: Callable[[ServerState], None]) -> Callable[[], None]:
        """Call ``listener`` on every new state, on the core's loop; returns the unsubscriber."""
        ...
