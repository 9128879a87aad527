"""Remembers what llama.cpp was asked to follow when it died, and refuses that for the rest of this process.

A JSON schema, of an answer or of a tool's parameters, becomes a grammar, and some grammars kill llama.cpp. Asked
again after the restart, such a request would kill it again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from core.chat import ChatRequest
from core.errors import InvalidRequest

BROKEN_WITHIN_S = 5.0
"""So long after a request broke off may llama.cpp's end be noticed and still be its doing."""
STUCK_WITHIN_S = 300.0
"""The same where it had got stuck: who asked has long given up by the time that is sure."""

_MOST_REFUSED = 1000
REFUSED = "ended unexpectedly while it worked on this JSON schema, and isn't given it again"


@dataclass(slots=True)
class _Work:
    schemas: tuple[str, ...]
    answered: bool = False
    broke_s: float | None = None


class CrashSuspects:
    """Belongs to one event loop. ``clock`` returns seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running: dict[int, _Work] = {}
        self._broken: list[_Work] = []
        self._refused: dict[str, None] = {}

    def began(self, attempt_id: int, request: ChatRequest) -> None:
        """Note that the local server gets ``request`` now.

        Raises:
            InvalidRequest: one of its schemas has killed llama.cpp before.
        """
        schemas = _schemas(request)
        if not schemas:
            return
        if self.refuses(request):
            raise InvalidRequest(
                f"The local server {REFUSED}.",
                hint="Make the schema smaller or flatter, or send it to the API. A new start forgets this.",
            )
        self._running[attempt_id] = _Work(schemas)

    def ended(self, attempt_id: int, *, answered: bool, broken: bool) -> None:
        """Note the end of that work: ``answered`` once a token has come, ``broken`` where it failed."""
        work = self._running.pop(attempt_id, None)
        if work is None or not broken:
            return
        work.answered, work.broke_s = answered, self._clock()
        self._broken = [*self._lately_broken(STUCK_WITHIN_S), work]

    def crashed(self, is_stuck: bool = False) -> bool:
        """Refuse from now on what it worked on, and say whether there was anything.

        ``is_stuck``: it did not crash, but was ended because it had got stuck.

        Grammars are made before the first token: where something waited for that, the rest is not suspected.
        """
        within_s = STUCK_WITHIN_S if is_stuck else BROKEN_WITHIN_S
        works = [*self._running.values(), *self._lately_broken(within_s)]
        waiting = [work for work in works if not work.answered]
        for work in waiting or works:
            self._refused.update(dict.fromkeys(work.schemas))
        while len(self._refused) > _MOST_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._broken = []
        return bool(works)

    def refuses(self, request: ChatRequest) -> bool:
        """Say whether a schema of ``request`` has killed llama.cpp before."""
        return bool(self._refused) and any(schema in self._refused for schema in _schemas(request))

    def _lately_broken(self, within_s: float) -> list[_Work]:
        since_s = self._clock() - within_s
        return [work for work in self._broken if work.broke_s is not None and work.broke_s >= since_s]


def _schemas(request: ChatRequest) -> tuple[str, ...]:
    """Return a hash of each schema that is to be followed."""
    named = [tool.parameters for tool in request.tools]
    if request.response_format is not None:
        named.append(request.response_format.schema)
    return tuple(_hash(schema) for schema in named)


def _hash(schema: object) -> str:
    return hashlib.sha256(json.dumps(schema, sort_keys=True, default=repr).encode()).hexdigest()
