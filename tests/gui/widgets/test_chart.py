"""Charts: ticks, gaps, the cursor by keys and mouse, linked charts, the table twin, a screen reader's words."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QImage, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from gui.theme.theme import theme
from gui.widgets.chart import Chart
from gui.widgets.chart_data import Band, Bars, ChartData, ChartEvent, Line, Threshold, value_at
from gui.widgets.chart_plot import Plot, decimate
from gui.widgets.chart_scale import time_text, time_ticks, x_ticks, y_ticks

Show = Callable[[Any], Any]
NOON = datetime(2026, 6, 18, 12, 0).timestamp()
TIMES = [NOON + 60 * minute for minute in range(10)]


@pytest.fixture
def chart(show: Show) -> Chart:
    made = Chart("Temperature", "°C", y_range=(0, 100))
    made.resize(500, 240)
    made.set_data([Line(name="GPU", x=TIMES, y=[50, 52, None, None, 61, 62, 63, 64, 65, 66], token="local")])
    return show(made)


def drawn(chart: Chart) -> QImage:
    assert chart.plot is not None
    return chart.plot.grab().toImage()


def has_colour(picture: QImage, token: str, x: range, y: range) -> bool:
    """Whether a pixel there is nearer to the token's colour than to the ground and the grid."""

    def far(colour: QColor, other: QColor) -> int:
        parts = (
            colour.red() - other.red(),
            colour.green() - other.green(),
            colour.blue() - other.blue(),
        )
        return sum(abs(part) for part in parts)

    wanted, others = theme().color(token), [theme().color(one) for one in ("surface", "grid") if one != token]
    pixels = [picture.pixelColor(at, over) for at in x for over in y]
    return any(all(far(pixel, wanted) < far(pixel, other) for other in others) for pixel in pixels)


# -- ticks


@given(st.floats(0, 1e12), st.floats(0, 1e12))
def test_y_has_three_or_four_even_ticks_around_everything(below: float, above: float) -> None:
    ticks = y_ticks(-below, above)
    assert 3 <= len(ticks) <= 4
    if above + below > 1e-9:
        hair = (above + below) * 1e-8
        assert ticks[0] <= -below + hair
        assert ticks[-1] >= above - hair
    steps = [b - a for a, b in pairwise(ticks)]
    assert all(math.isclose(step, steps[0], rel_tol=1e-6) for step in steps)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 10))
def test_x_ticks_stand_inside_and_are_no_more_than_asked(low: float, span: float, most: int) -> None:
    ticks = x_ticks(low, low + span, most)
    assert 1 <= len(ticks) <= most
    assert all(low - span * 1e-3 <= tick <= low + span * 1.001 for tick in ticks)


@given(st.integers(0, 2_000_000_000), st.integers(2, 3 * 366 * 86_400), st.integers(2, 10))
def test_time_ticks_are_round_local_times_inside(low: int, span: int, most: int) -> None:
    ticks, step_s = time_ticks(low, low + span, most)
    assert len(ticks) <= most + 1
    assert all(low <= tick <= low + span for tick in ticks)
    texts = [time_text(tick, step_s) for tick in ticks]
    assert len(set(texts)) == len(texts) or step_s < 86_400


@pytest.mark.parametrize(
    ("span_s", "text"),
    [(30, "12:00:00"), (900, "12:00"), (20 * 86_400, "22 June"), (400 * 86_400, "July 2026")],
)
def test_the_finer_the_time_the_finer_its_words(span_s: int, text: str) -> None:
    ticks, step_s = time_ticks(NOON, NOON + span_s, 5)
    assert text in [time_text(tick, step_s) for tick in ticks] or step_s == 7 * 86_400


# -- thinning


@given(
    st.lists(st.one_of(st.floats(-100, 100), st.just(math.nan)), min_size=1, max_size=600), st.integers(1, 40)
)
def test_a_thinned_line_keeps_its_extremes_its_ends_and_its_gaps(values: list[float], buckets: int) -> None:
    y = np.array(values)
    x = np.arange(len(y), dtype=float)
    thin_x, thin_y = decimate(x, y, buckets)
    assert len(thin_x) <= max(len(y), 3 * buckets + 1)
    assert list(thin_x) == sorted(thin_x)
    assert (thin_x[0], thin_x[-1]) == (x[0], x[-1])
    assert np.array_equal(thin_y[-1:], y[-1:], equal_nan=True)  # in a live chart that is the newest value
    assert np.isnan(thin_y).any() == np.isnan(y).any()
    if not np.isnan(y).all():
        assert (np.nanmin(thin_y), np.nanmax(thin_y)) == (np.nanmin(y), np.nanmax(y))


# -- what is shown


def test_pyqtgraph_is_loaded_with_the_first_numbers_only() -> None:
    code = (
        "import sys, gui.widgets.chart, gui.app, gui.shell.window\n"
        "from PySide6.QtWidgets import QApplication\n"
        "app = QApplication([])\n"
        "gui.widgets.chart.Chart('Power', 'W').show()\n"
        "assert not {'pyqtgraph', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_an_unknown_value_is_a_gap_and_not_a_zero(chart: Chart) -> None:
    assert chart.plot is not None
    picture = drawn(chart)
    area = chart.plot.area()
    known = chart.plot.to_px(TIMES[5], 62)
    gap = chart.plot.to_px(TIMES[2] + 30, 50)
    around_known = range(round(known.x()) - 2, round(known.x()) + 3)
    around_gap = range(round(gap.x()) - 10, round(gap.x()) + 10)
    down = range(round(area.top()), round(area.bottom()))
    assert has_colour(picture, "local", around_known, down)
    assert not has_colour(picture, "local", around_gap, down)


def test_without_a_known_value_it_says_so_instead_of_drawing_axes(show: Show) -> None:
    chart = Chart("Power", "W")
    chart.set_empty(
        "No NVIDIA GPU found", "The driver library isn’t installed.", "Looked for libnvidia-ml.so.1"
    )
    chart.set_data([Line(name="GPU", x=TIMES, y=[None] * 10)])
    show(chart)
    assert chart.plot is None
    assert "No NVIDIA GPU found. The driver library isn’t installed." in chart.accessibleDescription()
    assert not chart.table_button.isEnabled()
    chart.set_data([Line(name="GPU", x=TIMES, y=[1.0] * 10)])
    assert chart.plot is not None
    assert chart.plot.isVisible()
    chart.set_data()
    assert not chart.plot.isVisible()


def test_it_states_its_present_numbers(chart: Chart) -> None:
    assert chart.accessibleName() == "Temperature, chart, in °C"
    assert chart.accessibleDescription() == "GPU 66 °C. From 12:00:00 to 12:09:00."
    assert chart.value_label.text() == "66"
    chart.set_data(
        [Line(name="GPU", x=TIMES, y=[*[50.0] * 9, None])],
        thresholds=[Threshold(value=83, label="slows down")],
        events=[ChartEvent(x=TIMES[3], label="Start")],
    )
    assert chart.accessibleDescription() == (
        "GPU not available, line slows down at 83 °C, Start at 12:03:00. From 12:00:00 to 12:09:00."
    )
    assert chart.value_label.text() == ""
    chart.set_live("53", "°C · slows down at 83")
    assert chart.accessibleDescription().startswith("53 °C · slows down at 83, ")


def test_the_keys_move_a_cursor_that_reads_the_values_out(chart: Chart, qtbot: QtBot) -> None:
    chart.setFocus()
    assert chart.plot is not None
    with qtbot.waitSignal(chart.hovered) as moved:
        QTest.keyClick(chart, Qt.Key.Key_Left)
    assert moved.args == [TIMES[9]]
    QTest.keyClick(chart, Qt.Key.Key_Left)
    assert chart.accessibleDescription() == "At 12:08:00: GPU 65 °C."
    assert chart.plot.readout.isVisible()
    assert chart.plot.readout.words == ["12:08:00", "GPU 65 °C"]
    QTest.keyClick(chart, Qt.Key.Key_Home)
    QTest.keyClick(chart, Qt.Key.Key_Right)
    QTest.keyClick(chart, Qt.Key.Key_Right)
    assert chart.accessibleDescription() == "At 12:02:00: GPU not available."
    QTest.keyClick(chart, Qt.Key.Key_PageDown)
    assert chart.cursor_x == TIMES[9]
    QTest.keyClick(chart, Qt.Key.Key_Escape)
    assert chart.cursor_x is None
    assert not chart.plot.readout.isVisible()


def test_the_pointer_reads_out_the_nearest_value_and_leaves_nothing_behind(
    chart: Chart, qtbot: QtBot
) -> None:
    assert chart.plot is not None
    spot = chart.plot.to_px(TIMES[6] + 10, 30).toPoint()
    qtbot.mouseMove(chart.plot, spot)
    assert chart.cursor_x == TIMES[6]
    assert chart.plot.readout.words == ["12:06:00", "GPU 63 °C"]
    qtbot.mouseMove(chart.plot, QPoint(5, 100))  # over the axis
    assert chart.cursor_x is None


def test_new_numbers_under_the_cursor_are_read_out_anew(chart: Chart) -> None:
    chart.set_cursor_x(TIMES[9])
    chart.set_data([Line(name="GPU", x=TIMES, y=[70.0] * 10)])
    assert chart.plot is not None
    assert chart.plot.readout.words == ["12:09:00", "GPU 70 °C"]


def test_linked_charts_share_x_the_cursor_and_the_axis(chart: Chart, show: Show) -> None:
    below = Chart("Power", "W")
    below.resize(500, 240)
    below.set_x_link(chart)
    later = [at + 600 for at in TIMES]
    below.set_data([Line(name="GPU", x=later, y=[120_000.0] * 10)])
    show(below)
    assert chart.x_range == below.x_range == (TIMES[0], later[-1])
    assert chart.plot is not None
    assert below.plot is not None
    assert chart.plot.area().left() == below.plot.area().left()
    below.set_cursor_x(later[3])
    assert chart.cursor_x == later[3]
    assert not chart.plot.readout.isVisible()
    below.set_x_range(TIMES[0], TIMES[4])
    assert chart.x_range == (TIMES[0], TIMES[4])


def test_stacked_bars_have_a_gap_and_a_missing_one_takes_no_room(show: Show) -> None:
    chart = Chart("Spend", x="number", value_text=lambda value: f"${value:.2f}")
    chart.resize(400, 300)
    chart.set_data(
        bars=[
            Bars(name="Local", x=[1, 2, 3], y=[2.0, None, 2.0], token="local"),
            Bars(name="API", x=[1, 2, 3], y=[4.0, 4.0, None], token="api"),
        ]
    )
    show(chart)
    assert chart.plot is not None
    picture = drawn(chart)
    joint = chart.plot.to_px(1, 2)
    column = [picture.pixelColor(round(joint.x()), round(joint.y()) + by) for by in (-3, -1, 2)]
    assert column[0] == theme().color("api")
    assert column[1] == theme().color("surface")
    assert column[2] == theme().color("local")
    low = chart.plot.to_px(2, 0.5)
    assert picture.pixelColor(low.toPoint()) == theme().color("api")
    high = chart.plot.to_px(3, 3)
    assert picture.pixelColor(high.toPoint()) == theme().color("surface")
    slot = chart.plot.to_px(2, 0).x() - chart.plot.to_px(1, 0).x()
    y = round(low.y())
    reach = range(round(low.x() - slot / 2), round(low.x() + slot / 2))
    width = sum(picture.pixelColor(x, y) == theme().color("api") for x in reach)
    assert width == pytest.approx(0.58 * slot, abs=1)
    assert chart.readings(3) == [("Local", "$2.00", "local"), ("API", "not available", "api")]


def test_limits_bands_and_projections_are_drawn_and_count_for_the_scale(show: Show) -> None:
    chart = Chart("API cash", x="number")
    chart.resize(500, 300)
    chart.set_data(
        [Line(name="Pace", x=[0, 10], y=[100, 300], token="api", style="projection", label="$300 pace")],
        bands=[Band(name="Range", x=[0, 10], low=[100, 250], high=[100, 380])],
        thresholds=[Threshold(value=500, label="Limit $500")],
    )
    show(chart)
    assert chart.plot is not None
    assert [text for _, text in chart.plot.y_labels()] == ["0", "200", "400", "600"]
    picture = drawn(chart)
    limit = chart.plot.to_px(0, 500)
    across = range(round(limit.x()), round(limit.x()) + 40)
    assert has_colour(picture, "danger", across, range(round(limit.y()) - 1, round(limit.y()) + 2))
    in_band = picture.pixelColor(chart.plot.to_px(9, 262).toPoint())
    assert in_band != theme().color("surface")


def test_the_table_twin_has_the_same_numbers_and_follows_new_ones(chart: Chart, qtbot: QtBot) -> None:
    QTest.mouseClick(chart.table_button, Qt.MouseButton.LeftButton)
    assert chart.table is not None
    assert chart.table.isVisible()
    assert chart.table_button.accessibleName() == "Show Temperature as a chart"
    model = chart.table.table_model

    def cells() -> list[tuple[str, str]]:
        return [
            (model.data(model.index(row, 0)), model.data(model.index(row, 1)))
            for row in range(model.rowCount())
        ]

    assert cells()[1:3] == [("12:01:00", "52 °C"), ("12:02:00", "–")]
    chart.set_data([Line(name="GPU", x=TIMES[:2], y=[1.5, 2.5])])
    assert cells() == [("12:00:00", "1.50 °C"), ("12:01:00", "2.50 °C")]
    QTest.keyClick(chart.table_button, Qt.Key.Key_Space)
    assert chart.plot is not None
    assert chart.plot.isVisible()
    assert chart.table_button.accessibleName() == "Show Temperature as a table"


def test_series_with_other_x_share_the_rows_of_the_twin(show: Show) -> None:
    chart = Chart("Both", x="number")
    chart.set_data([Line(name="A", x=[1, 2], y=[10, 20]), Line(name="B", x=[2, 3], y=[200, 300])])
    show(chart)
    chart.show_table(True)
    assert chart.table is not None
    model = chart.table.table_model
    rows = [[model.data(model.index(row, column)) for column in range(3)] for row in range(3)]
    assert rows == [["1", "10", "–"], ["2", "20", "200"], ["3", "–", "300"]]


def test_it_follows_the_theme_while_it_is_shown(chart: Chart, qtbot: QtBot) -> None:
    chart.setFocus()
    theme().set_scheme("dark")
    picture = drawn(chart)
    assert chart.plot is not None
    assert picture.pixelColor(chart.plot.to_px(TIMES[8], 10).toPoint()) == theme().color("surface")
    grid = chart.plot.to_px(TIMES[8], 50)
    assert has_colour(
        picture,
        "grid",
        range(round(grid.x()), round(grid.x()) + 3),
        range(round(grid.y()) - 1, round(grid.y()) + 2),
    )
    theme().set_zoom(1.5)
    assert chart.plot.area().left() >= theme().px(34)
    assert picture.pixelColor(1, picture.height() // 2) == theme().color("focus")


def test_wide_jumpy_lines_are_drawn_in_segments_and_never_more_than_the_pixels_show(show: Show) -> None:
    rng = np.random.default_rng(1)
    x = np.arange(100_000, dtype=float)
    chart = Chart("Many", x="number")
    chart.resize(620, 200)
    chart.set_data([Line(name="n", x=x, y=rng.random(100_000), style="curve")])
    show(chart)
    assert chart.plot is not None
    [curve] = chart.plot._curves  # pyright: ignore[reportPrivateUsage]
    assert curve.opts["segmentedLineMode"] == "on"
    assert len(curve.getData()[0]) <= 2 * chart.plot.area().width() + 1
    assert value_at(chart.data.lines[0], 70_000.2) is not None


def test_the_wheel_is_left_to_the_page_and_a_drag_moves_nothing(chart: Chart) -> None:
    assert chart.plot is not None
    middle = QPointF(chart.plot.rect().center())
    wheel = QWheelEvent(
        middle,
        QPointF(chart.plot.mapToGlobal(middle.toPoint())),
        QPoint(0, -120),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    before = chart.x_range
    QApplication.sendEvent(chart.plot, wheel)
    assert not wheel.isAccepted()
    assert chart.plot.childAt(chart.plot.rect().center()) is None  # nothing of pyqtgraph is in the way
    QTest.mousePress(chart.plot, Qt.MouseButton.LeftButton, pos=QPoint(200, 80))
    QTest.mouseMove(chart.plot, QPoint(100, 80))
    QTest.mouseRelease(chart.plot, Qt.MouseButton.LeftButton, pos=QPoint(100, 80))
    assert chart.x_range == before


def test_linked_charts_are_drawn_once_each_when_all_get_other_numbers(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    charts = [show(Chart(name, y_range=(0, 100))) for name in ("VRAM", "Temperature", "Power")]
    for chart in charts[1:]:
        chart.set_x_link(charts[0])
    data = ChartData(lines=[Line(name="GPU", x=TIMES, y=[50.0] * len(TIMES))])
    Chart.set_linked([(chart, data) for chart in charts], (TIMES[0], TIMES[-1]))
    drawn_plots: list[object] = []
    real = Plot.draw

    def draw(plot: Plot, *given: Any) -> None:
        drawn_plots.append(plot)
        real(plot, *given)

    monkeypatch.setattr(Plot, "draw", draw)
    Chart.set_linked([(chart, data) for chart in charts], (TIMES[2], TIMES[-1]))
    assert drawn_plots == [chart.plot for chart in charts]
    assert {chart.x_range for chart in charts} == {(TIMES[2], TIMES[-1])}


def test_linked_charts_can_be_drawn_in_frames_of_their_own(
    show: Show, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    charts = [show(Chart(name, y_range=(0, 100))) for name in ("VRAM", "Temperature", "Power")]
    for chart in charts[1:]:
        chart.set_x_link(charts[0])
    turns: list[object] = []
    real = Plot.draw

    def draw(plot: Plot, *given: Any) -> None:
        turns.append(plot)
        real(plot, *given)

    monkeypatch.setattr(Plot, "draw", draw)
    data = ChartData(lines=[Line(name="GPU", x=TIMES, y=[50.0] * len(TIMES))])
    Chart.set_linked([(chart, data) for chart in charts], (TIMES[0], TIMES[-1]), apart_ms=10)
    assert turns == []
    assert all(
        chart.data is data for chart in charts
    )  # what a screen reader and the cursor get is there at once
    qtbot.waitUntil(lambda: len(turns) == 3)
    assert turns == [chart.plot for chart in charts]
