"""What a chart is given to draw: lines, bars, bands, limits and events, with gaps where a value is not known."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = Sequence[float | None] | NDArray[np.float64]

LineStyle = Literal["live", "curve", "loaded", "projection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """``live`` is 1 px with a dot at its end; ``curve`` 2 px; ``loaded`` and ``projection`` are dashed.

    ``x`` rises. ``step`` keeps each value until the next. ``label`` stands at the line's end, instead of a legend.
    """

    name: str
    x: Values
    y: Values
    token: str = "ink"
    style: LineStyle = "live"
    step: bool = False
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """One part of a stack: the first of a chart's ``Bars`` is at the bottom. ``hatched`` is held money."""

    name: str
    x: Values
    y: Values
    token: str = "local"
    hatched: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """What lies between two lines, at 20 %: a range of what may come."""

    name: str
    x: Values
    low: Values
    high: Values
    token: str = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    value: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartEvent:
    """Something that happened at ``x``, drawn through all charts of a column and named on the first."""

    x: float
    label: str
    token: str = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartData:
    """All that is drawn."""

    lines: Sequence[Line] = ()
    bars: Sequence[Bars] = ()
    bands: Sequence[Band] = ()
    thresholds: Sequence[Threshold] = ()
    events: Sequence[ChartEvent] = ()

    @property
    def series(self) -> tuple[Line | Bars, ...]:
        return (*self.bars, *self.lines)

    @property
    def is_empty(self) -> bool:
        """Whether no value is known at all."""
        return not any(is_known(value) for one in self.series for value in one.y)


class Drawable(Protocol):
    """The chart, as what draws it sees it."""

    data: ChartData
    cursor_x: float | None
    unit: str
    x_kind: Literal["time", "number"]
    x_title: str
    tick_text: Callable[[float], str] | None
    y_range: tuple[float, float] | None
    show_x: bool
    name_events: bool
    unit_on_tick: bool

    def hasFocus(self) -> bool: ...

    def x_text(self, x: float) -> str: ...

    def readings(self, x: float) -> list[tuple[str, str, str]]: ...


def is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def known_or_none(value: float | None) -> float | None:
    return float(value) if value is not None and is_known(value) else None


def default_text(value: float) -> str:
    """Return a number with as many decimals as its size deserves."""
    size = abs(value)
    decimals = 0 if size >= 100 or value == int(value) else 1 if size >= 10 else 2
    return f"{value:,.{decimals}f}"


def sample_at(one: Line | Bars, x: float) -> int | None:
    """Return the place of the sample nearest to ``x``, ``None`` where none is near."""
    count = len(one.x)
    if not count:
        return None
    after = bisect_left(one.x, x)  # type: ignore[type-var]
    near = min(
        (place for place in (after - 1, after) if 0 <= place < count),
        key=lambda place: abs(_x(one, place) - x),
    )
    reach = (_x(one, -1) - _x(one, 0)) / max(1, count - 1)
    return None if abs(_x(one, near) - x) > reach + 1e-9 else near


def value_at(one: Line | Bars, x: float) -> float | None:
    """Return the value of that sample, ``None`` where it is not known or there is none."""
    place = sample_at(one, x)
    return None if place is None else known_or_none(one.y[place])


def _x(one: Line | Bars, place: int) -> float:
    found = one.x[place]
    assert found is not None
    return float(found)
