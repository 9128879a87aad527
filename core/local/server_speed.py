"""How fast a local server works: what its counters rose by between two looks at its metrics."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from core.local import vllm_metrics as names
from core.local.gpu_sample import ServerFigures
from core.local.metrics_page import Labels, MetricsPage

WINDOW_S = 60.0
"""So long counts what only finished requests tell: the time to their first token, how much was in the cache."""

LONGEST_GAP_S = 15.0
"""Two looks that are further apart say nothing about the speed now."""

_COUNTERS = (
    names.PROMPT_TOKENS,
    names.GENERATED_TOKENS,
    names.PREFIX_HITS,
    names.PREFIX_QUERIES,
    names.TTFT_SUM,
    names.TTFT_COUNT,
    names.PROMPT_SECONDS,
    names.GENERATED_SECONDS,
    names.CACHED_TOKENS,
    names.DECODES,
)


@dataclass(frozen=True, slots=True)
class _Step:
    at_s: float
    rise: dict[tuple[str, ...], float]


class SpeedMeter:
    """``clock`` counts seconds. Each page that is ``seen`` makes the figures new."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before: tuple[float, MetricsPage] | None = None
        self._steps: deque[_Step] = deque()
        self.figures = ServerFigures()
        """The newest; nothing is known where the server did not answer."""

    def seen(self, page: MetricsPage | None) -> None:
        """Take the next look at the server; ``None``: it has no metrics, or did not answer."""
        now = self._clock()
        before, self._before = self._before, None if page is None else (now, page)
        while self._steps and now - self._steps[0].at_s > WINDOW_S:
            self._steps.popleft()
        if page is None:
            self.figures = ServerFigures()
            return
        step, took_s = None, 0.0
        if before is not None:
            took_s = now - before[0]
            step = _Step(now, _rises(before[1], page))
            self._steps.append(step)
        load = names.parse_load(page)
        usage = None if load is None else load.kv_cache_usage
        waited_s, firsts = self._lately(names.TTFT_SUM), self._lately(names.TTFT_COUNT)
        rise = step.rise if step is not None and 0 < took_s <= LONGEST_GAP_S else {}
        running = 0 if load is None else load.running
        self.figures = ServerFigures(
            running_requests=None if load is None else load.running,
            waiting_requests=None if load is None else load.waiting,
            kv_cache_percent=None if usage is None else 100 * usage,
            generation_tokens_per_s=_generation_speed(rise, took_s, running),
            prompt_tokens_per_s=_prompt_speed(rise, took_s, running),
            prefix_cache_hit_percent=self._hit_percent(),
            ttft_ms=1000 * waited_s / firsts if waited_s is not None and firsts else None,
        )

    def _hit_percent(self) -> float | None:
        hits, queries = self._lately(names.PREFIX_HITS), self._lately(names.PREFIX_QUERIES)
        if hits is None or queries is None:
            hits, read = self._lately(names.CACHED_TOKENS), self._lately(names.PROMPT_TOKENS)
            queries = None if hits is None or read is None else hits + read
        return min(100.0, 100 * hits / queries) if hits is not None and queries else None

    def _lately(self, name: tuple[str, ...]) -> float | None:
        rises = [step.rise[name] for step in self._steps if name in step.rise]
        return sum(rises) if rises else None


def _rises(before: MetricsPage, after: MetricsPage) -> dict[tuple[str, ...], float]:
    """Return by how much each counter rose; one that is lower than before began anew at 0.

    A series that was not there before is passed over: what it had counted by then is older than this look.
    """
    found: dict[tuple[str, ...], float] = {}
    for name in _COUNTERS:
        old, new = before.first(name), after.first(name)
        if old is not None and new is not None:
            found[name] = sum(_rise(old, labels, value) for labels, value in new.items())
    return found


def _rise(old: dict[Labels, float], labels: Labels, value: float) -> float:
    was = old.get(labels)
    if was is None:
        return 0.0
    return value - was if value >= was else value


def _generation_speed(rise: dict[tuple[str, ...], float], took_s: float, running: int) -> float | None:
    """Return tokens a second; ``None``: not known.

    A server that counts an answer when it ends has the speed of those that ended, and until then that of its steps.
    """
    tokens, seconds = rise.get(names.GENERATED_TOKENS), rise.get(names.GENERATED_SECONDS)
    if tokens is None:
        return None
    if seconds is None:
        return tokens / took_s
    if tokens and seconds:
        return tokens / seconds
    if not running:
        return 0.0
    decodes = rise.get(names.DECODES)
    return None if decodes is None else decodes * running / took_s


def _prompt_speed(rise: dict[tuple[str, ...], float], took_s: float, running: int) -> float | None:
    """Return tokens of prompts a second; ``None``: not known, as while llama.cpp may be reading one."""
    tokens, seconds = rise.get(names.PROMPT_TOKENS), rise.get(names.PROMPT_SECONDS)
    if tokens is None:
        return None
    if seconds is None:
        return tokens / took_s
    if tokens and seconds:
        return tokens / seconds
    return None if running else 0.0
