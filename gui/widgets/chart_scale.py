"""Where a chart's ticks stand and what they say: three or four even numbers, or times that a clock shows."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from itertools import pairwise

MOST_Y_TICKS = 4
_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)
_DAY_S = 86_400
_LEAST = 1e-12
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200)
_STEPS_DAYS = (1, 2, 3, 7, 14)
_STEPS_MONTHS = (1, 3, 6, 12, 24, 60, 120)


def y_ticks(low: float, high: float) -> list[float]:
    """Return three or four even ticks that take in everything from ``low`` to ``high``."""
    if high - low < _LEAST:
        low, high = (0.0, 1.0) if abs(low) < _LEAST else (min(low, 0.0), max(low, 0.0))
    power = 10.0 ** math.floor(math.log10((high - low) / MOST_Y_TICKS))
    for scale in (power, power * 10):
        for nice in _NICE:
            step = nice * scale
            first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
            if last - first < MOST_Y_TICKS:
                if last - first < 2:
                    last = first + 2
                return [number * step for number in range(first, last + 1)]
    raise ValueError(f"no ticks from {low} to {high}")  # math: ten powers of the width always hold it


def even_ticks(low: float, high: float) -> list[float]:
    """Return the ends and the middle of a range that was given."""
    return [low, (low + high) / 2, high]


def x_ticks(low: float, high: float, most: int) -> list[float]:
    """Return nice numbers within ``low`` to ``high``, at most ``most`` and at least one where there is one."""
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / max(1, most)))
    for nice in (*_NICE, 20.0, 50.0, 100.0):
        step = nice * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [number * step for number in range(first, last + 1)]
    return [low]


def tick_decimals(ticks: list[float]) -> int:
    """Return how many decimals tell the ticks apart."""
    step = min((b - a for a, b in pairwise(ticks)), default=0.0)
    for decimals in range(8):
        if step and abs(round(step, decimals) - step) < step * 1e-6:
            return decimals
    return 0


def time_ticks(low_s: float, high_s: float, most: int) -> tuple[list[float], float]:
    """Return round local times within the range (seconds since 1970), and the step in seconds."""
    span = high_s - low_s
    if not span > 0:
        return [low_s], 1.0
    for step in _STEPS_S:
        if span / step <= most:
            offset = _local(low_s).utcoffset()
            shift = 0.0 if offset is None else offset.total_seconds()
            first = math.ceil((low_s + shift) / step) * step - shift
            return [first + n * step for n in range(int((high_s - first) // step) + 1)], step
    for days in _STEPS_DAYS:
        if span / (days * _DAY_S) <= most:
            return _days(low_s, high_s, days), days * _DAY_S
    months = next((m for m in _STEPS_MONTHS if span / (m * 30.4 * _DAY_S) <= most), 120)
    return _months(low_s, high_s, months), months * 30.4 * _DAY_S


def time_text(at_s: float, step_s: float) -> str:
    """Return a tick's local time, as fine as the step asks for."""
    at = _local(at_s)
    if step_s < 60:
        return f"{at:%H:%M:%S}"
    if step_s < _DAY_S:
        return f"{at:%H:%M}"
    return f"{at.day} {at:%B}" if step_s < 28 * _DAY_S else f"{at:%B %Y}"


def _local(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s).astimezone()


def _midnight(day: datetime) -> datetime:
    """The day's beginning on this machine's clock: a day has 23 or 25 hours where the clock is set."""
    return datetime(day.year, day.month, day.day).astimezone()


def _days(low_s: float, high_s: float, step: int) -> list[float]:
    day = _local(low_s)
    found: list[float] = []
    while (at := _midnight(day).timestamp()) <= high_s:
        if at >= low_s and day.toordinal() % step == 0:
            found.append(at)
        day = datetime(day.year, day.month, day.day) + timedelta(days=1)
    return found


def _months(low_s: float, high_s: float, step: int) -> list[float]:
    day = _local(low_s)
    month = day.year * 12 + day.month - 1
    found: list[float] = []
    while (at := datetime(month // 12, month % 12 + 1, 1).astimezone().timestamp()) <= high_s:
        if at >= low_s and month % step == 0:
            found.append(at)
        month += 1
    return found
