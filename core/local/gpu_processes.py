"""Names of the processes that use a GPU, and which of them belong to the local server."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.local.server import ServerState

KEEP_S = 10.0
"""How long a name counts: vLLM's engine takes its title some time after it has begun."""

_SERVERS = re.compile(r"\bvllm\b|VLLM::|\bllama-server\b|\bllama_cpp\b|\bsglang\b|\bollama\b", re.ASCII)
"""Programs that serve a model, in a title or a command line."""

_PARENTS = 8


class ProcessNames:
    """``state`` is the local server's; it may be asked from any thread."""

    def __init__(
        self,
        state: Callable[[], ServerState | None] = lambda: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._clock = clock
        self._found: dict[int, tuple[float, str, bool]] = {}
        self._asked: set[int] = set()

    def of(self, pid: int, driver_name: Callable[[], str]) -> tuple[str, bool]:
        """Return a name for ``pid``, and whether it is the local server's. ``driver_name`` is the driver's own."""
        self._asked.add(pid)
        found = self._found.get(pid)
        if found is None or self._clock() - found[0] > KEEP_S:
            found = self._found[pid] = (self._clock(), *self._look(pid, driver_name()))
        return found[1], found[2]

    def forget_others(self) -> None:
        """Forget the processes that were not asked for since the last time: their numbers are given anew."""
        self._found = {pid: found for pid, found in self._found.items() if pid in self._asked}
        self._asked = set()

    def _look(self, pid: int, driver_name: str) -> tuple[str, bool]:
        import psutil  # not on the way to the first window

        words, parents = driver_name, [pid]
        try:
            process = psutil.Process(pid)
            words = " ".join(process.cmdline()) or driver_name or process.name()
            parents += [parent.pid for parent in process.parents()[:_PARENTS]]
        except (psutil.Error, OSError):
            pass  # another user's, or it has ended
        return _short(driver_name or words) or f"process {pid}", self._is_server(words, parents)

    def _is_server(self, words: str, parents: list[int]) -> bool:
        state = self._state()
        if state is None or state.phase not in ("starting", "ready", "stopping"):
            return False
        if state.pid is not None and state.pid in parents:
            return True
        return state.kind in ("compose", "external") and _SERVERS.search(words) is not None


def _short(words: str) -> str:
    """Return the program's name of a path or a command line; a title such as ``VLLM::EngineCore`` as it is."""
    first = words.strip().split(" ")[0]
    return re.split(r"[/\\]", first)[-1][:80]
