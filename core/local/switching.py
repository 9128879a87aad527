"""From one model of the embedded server to another: whether both have room, and what is shown meanwhile."""

from __future__ import annotations

from dataclasses import replace

from core.errors import SignalboxError, Unavailable
from core.local import machine_memory
from core.local.embedded import EmbeddedServer
from core.local.model_files import COMPUTE_BYTES
from core.local.server import LocalServer, ServerState

RESERVE_BYTES = 1_000_000_000
"""Left to everybody else while two models are in memory."""


def beside_bytes(size_bytes: int, context_tokens: int) -> int:
    """Return about what a model needs beside another: its file, a cache for the context, and some to spare."""
    cache_bytes = int(0.3 * size_bytes * context_tokens / 8192)
    return size_bytes + cache_bytes + COMPUTE_BYTES + RESERVE_BYTES


def with_next(state: ServerState, following: ServerState) -> ServerState:
    """Return the state of a server that answers while the one that follows it is loaded."""
    if state.phase != "ready":
        return state
    share = "" if following.progress is None else f", {following.progress:.0%}"
    return replace(
        state,
        detail=f"loading {following.model}{share}; {state.model} answers until it is ready",
        progress=following.progress,
        eta_s=following.eta_s,
        steps=following.steps,
        started_at=following.started_at,
        learnt_from=following.learnt_from,
        last_line=following.last_line,
    )


def not_loaded(state: ServerState, before: ServerState) -> SignalboxError:
    """Return why the next one is not taken, while the one before goes on."""
    return Unavailable(
        f"{state.model} can’t be loaded: {state.detail.rstrip('.')}. {before.model} goes on.", hint=state.hint
    )


def loads_beside(before: LocalServer | None, server: EmbeddedServer, context_tokens: int) -> bool:
    """Whether ``server`` can load while ``before`` goes on; where only memory is against it, its start says so.

    Where free memory can't be read, it can't.
    """
    if not isinstance(before, EmbeddedServer) or before.state.phase != "ready":
        return False
    model, available = server.model_path, machine_memory.available_bytes()
    try:
        size_bytes = model.stat().st_size if model is not None else 0
    except OSError:
        return False
    if available is not None and beside_bytes(size_bytes, context_tokens) <= available:
        return True
    server.say_at_start(f" (there is no memory to keep {before.state.model} meanwhile)")
    return False
