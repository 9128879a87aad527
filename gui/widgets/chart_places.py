"""Where a chart's marks and words go, so that none is drawn over another: events, and the labels of limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRectF, QSizeF

from gui.widgets.chart_data import ChartEvent

Floats = NDArray[np.float64]
_GRAVITY = {"danger": 2, "held": 1}
_MOST_PLACES = 5


def set_apart(
    events: Sequence[ChartEvent], to_px: Callable[[float], float], least_px: float
) -> list[ChartEvent]:
    """Return the events that get a line: of those within ``least_px`` the gravest, else the last: it still holds.

    A server that is ready two seconds after its start is one line in a quarter of an hour, and two in a minute.
    """
    shown: list[ChartEvent] = []
    for event in sorted(events, key=lambda one: one.x):
        if not shown or to_px(event.x) - to_px(shown[-1].x) >= least_px:
            shown.append(event)
        elif _gravity(event) >= _gravity(shown[-1]):
            shown[-1] = replace(event, x=shown[-1].x)  # where the first was, so that lines never crowd
    return shown


def name_places(
    events: Sequence[tuple[ChartEvent, float, float]], left: float, right: float
) -> list[float | None]:
    """Return where the name of each event begins, ``None`` without room; ``events`` has line and width in pixels.

    A name may move aside, but not from its line. Of two that are too close the graver one is named, else the later:
    after a restart ``Start`` still holds and ``Stop`` does not.
    """
    places: list[float | None] = []
    for number, (event, x, width) in enumerate(events):
        wanted = min(max(left, x - width / 2), right - width - 2)
        while True:
            before = next((n for n in reversed(range(number)) if places[n] is not None), None)
            start = wanted
            if before is not None:
                start = max(wanted, (places[before] or 0.0) + events[before][2] + 8)
            if start <= x + 4 and start + width <= right:
                places.append(start)
                break
            if before is None or _gravity(event) < _gravity(events[before][0]):
                places.append(None)
                break
            places[before] = None
    return places


def _gravity(event: ChartEvent) -> int:
    return _GRAVITY.get(event.token, 0)


def limit_label_place(
    size: QSizeF,
    y: float,
    area: QRectF,
    uprights: Sequence[float],
    taken: Sequence[QRectF],
    curves: Sequence[tuple[Floats, Floats]],
) -> QRectF:
    """Return where the label of a limit at ``y`` is in nobody's way: at the right end, over its line or under it.

    Where an upright line, a ``taken`` place or a curve (pixels, x in order) is there, it stands left of an upright.
    """
    ends = [
        x - 4 for x in sorted(uprights, reverse=True) if area.left() + size.width() + 4 < x <= area.right()
    ]
    places = [
        QRectF(right - size.width(), top, size.width(), size.height())
        for right in [area.right() - 2, *ends][:_MOST_PLACES]
        for top in (y - size.height() - 1, y + 2)
        if top >= 0 and top + size.height() <= area.bottom()
    ]
    for place in places:
        is_crossed = any(place.left() - 2 <= x <= place.right() + 2 for x in uprights)
        if is_crossed or any(place.intersects(other) for other in taken):
            continue
        if not any(_crosses(curve, place) for curve in curves):
            return place
    return (
        places[0] if places else QRectF(area.right() - 2 - size.width(), y + 2, size.width(), size.height())
    )


def _crosses(curve: tuple[Floats, Floats], place: QRectF) -> bool:
    x, y = curve
    first, last = int(np.searchsorted(x, place.left())) - 1, int(np.searchsorted(x, place.right()))
    if last == 0 or first == len(x) - 1:
        return False  # it begins beyond, or ended before
    near = y[max(0, first) : last + 1]
    near = near[np.isfinite(near)]
    return bool(len(near)) and bool(near.min() <= place.bottom() and near.max() >= place.top())
