"""Where a chart's words go: nothing is drawn over another thing."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QRectF, QSizeF

from gui.widgets.chart_data import ChartEvent
from gui.widgets.chart_places import limit_label_place, name_places, set_apart

AREA = QRectF(40, 18, 500, 100)
SIZE = QSizeF(30, 14)


def event(x: float, label: str, token: str = "text") -> ChartEvent:
    return ChartEvent(x=x, label=label, token=token)


def test_of_events_that_would_be_one_line_the_gravest_stays_else_the_last() -> None:
    close = [event(10, "Stop"), event(11, "Start"), event(12, "Ready")]
    close += [event(60, "Out of memory", "danger"), event(63, "Stop")]
    shown = [one.label for one in set_apart(close, lambda at: at, 6)]
    assert shown == ["Ready", "Out of memory"]
    crowd = set_apart([event(at, "Stop") for at in range(0, 40, 3)], lambda at: at, 6)
    assert [one.x for one in crowd] == [0, 6, 12, 18, 24, 30, 36]
    assert len(set_apart(close, lambda at: at * 10, 6)) == 5  # a shorter time has room for all


def test_of_two_names_without_room_the_graver_is_written_else_the_later() -> None:
    stop, start = event(0, "Stop"), event(0, "Start")
    assert name_places([(stop, 100.0, 30.0), (start, 110.0, 30.0)], 40, 540) == [None, 95.0]
    assert name_places([(stop, 100.0, 30.0), (start, 200.0, 30.0)], 40, 540) == [85.0, 185.0]
    crash = event(0, "Crash", "danger")
    assert name_places([(crash, 100.0, 30.0), (start, 110.0, 30.0)], 40, 540) == [85.0, None]
    assert name_places([(stop, 535.0, 30.0)], 40, 540) == [508.0]


def test_a_limits_label_stands_at_the_right_over_its_line() -> None:
    place = limit_label_place(SIZE, 60.5, AREA, [100.0], [], [])
    assert (place.right(), place.bottom()) == (538, 59.5)


def test_a_limits_label_is_crossed_by_no_event_name_or_curve() -> None:
    name = QRectF(480, 0, 60, 28)
    under = limit_label_place(SIZE, 30.5, AREA, [], [name], [])
    assert (under.top(), under.right()) == (32.5, 538)
    beside = limit_label_place(SIZE, 60.5, AREA, [530.0], [], [])
    assert beside.right() == 526.0
    x = np.linspace(40, 540, 900)
    over_it = limit_label_place(SIZE, 60.5, AREA, [], [], [(x, np.full_like(x, 50.0))])
    assert over_it.top() == 62.5
    just_begun = limit_label_place(SIZE, 60.5, AREA, [520.0], [], [(x[890:], np.full(10, 50.0))])
    assert (just_begun.right(), just_begun.bottom()) == (516.0, 59.5)


def test_where_no_place_is_free_the_label_is_at_its_usual_one() -> None:
    x = np.linspace(40, 540, 900)
    curves = [(x, np.full_like(x, 50.0)), (x, np.full_like(x, 70.0))]
    assert limit_label_place(SIZE, 60.5, AREA, [], [], curves).bottom() == 59.5
