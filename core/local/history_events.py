"""What happened to the local server, in words for the history's time axis: read off two states in a row."""

from __future__ import annotations

from core.base.text import sentence
from core.local.history import EventKind, MachineEvent
from core.local.server import ServerState

_OUT_OF_MEMORY = ("gpu_out_of_memory", "host_out_of_memory")


def server_event(before: ServerState, after: ServerState, at_s: float) -> MachineEvent | None:
    """Return what the change from ``before`` to ``after`` is on the time axis; ``None`` for what is no event.

    Nobody here starts or stops somebody else's server: looking for it is no event, its coming and going is.
    """
    found = _crash(before, after) or _turn(before, after)
    if found is None:
        return None
    kind, words = found
    return MachineEvent(at_s=at_s, kind=kind, words=sentence(words))


def _crash(before: ServerState, after: ServerState) -> tuple[EventKind, str] | None:
    if after.crash is not None and after.crash != before.crash:
        return "crash", f"The local server {after.crash.how}"
    return None


def _turn(before: ServerState, after: ServerState) -> tuple[EventKind, str] | None:
    if after.phase == before.phase and after.kind == before.kind:
        return None
    is_theirs = after.kind == "external"
    name = after.model or "the local server"
    match after.phase:
        case "starting" if after.found_running:
            return None  # who started it, and when, was not seen
        case "starting" if not is_theirs:
            return "start", f"Starting {name}"
        case "ready" if before.found_running:
            return None
        case "ready":
            return "ready", f"{name} is ready"
        case "stopped" if before.phase in ("ready", "stopping") or (
            before.phase == "starting" and not is_theirs
        ):
            return "stop", f"{before.model or 'The local server'} is not used any more" if is_theirs else (
                f"{before.model or 'The local server'} was stopped"
            )
        case "failed" if before.phase == "ready" or (before.phase != "stopped" and not is_theirs):
            # Of a server that was stopped nothing ended then: Docker is not here, or it failed long ago.
            failure = after.failure
            if failure is not None and (failure.oom_killed or failure.kind in _OUT_OF_MEMORY):
                return "oom", failure.what
            if failure is not None:
                return "crash", failure.what
            return "crash", after.detail or "The local server failed"
        case _:
            return None
