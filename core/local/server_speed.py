"""How fast a local server works: what its counters rose by between two looks at its metrics.

What it does not count itself is taken from the answers that came from here.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

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
    """``clock`` counts seconds. Each page that is ``seen`` makes the figures new, as does each answer."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before: tuple[float, MetricsPage] | None = None
        self._steps: deque[_Step] = deque()
        self._answers: deque[tuple[float, float | None, float | None]] = deque()
        self._counted = ServerFigures()

    @property
    def figures(self) -> ServerFigures:
        """The newest figures; what the server does not count is the mean of the last minute's answers."""
        self._forget_old_answers()
        counted = self._counted
        speed, ttft_ms = counted.generation_tokens_per_s, counted.ttft_ms
        if self._before is None:
            speed = _mean([speed for _, speed, _ in self._answers])
        if ttft_ms is None:
            ttft_ms = _mean([ttft_ms for _, _, ttft_ms in self._answers])
        return replace(counted, generation_tokens_per_s=speed, ttft_ms=ttft_ms)

    def answered(self, tokens_per_s: float | None, ttft_ms: float | None) -> None:
        """Take what an answer that came from here took."""
        self._forget_old_answers()  # in a library nobody may ever ask for the figures
        self._answers.append((self._clock(), tokens_per_s, ttft_ms))

    def _forget_old_answers(self) -> None:
        while self._answers and self._clock() - self._answers[0][0] > WINDOW_S:
            self._answers.popleft()

    def forget(self) -> None:
        """Begin anew: it is another server."""
        self._before = None
        self._steps.clear()
        self._answers.clear()
        self._counted = ServerFigures()

    def seen(self, page: MetricsPage | None) -> None:
        """Take the next look at the server; ``None``: it has no metrics, or did not answer."""
        now = self._clock()
        before, self._before = self._before, None if page is None else (now, page)
        while self._steps and now - self._steps[0].at_s > WINDOW_S:
            self._steps.popleft()
        if page is None:
            self._counted = ServerFigures()
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
        self._counted = ServerFigures(
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


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


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
