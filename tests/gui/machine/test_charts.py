"""The charts of the Machine page: what they draw, what they say, and that they rest when nobody looks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QComboBox, QScrollArea

from core import GpuProcess, History, MachineSample, Series, ServerFigures
from gui.machine.charts_pane import ChartsPane
from gui.machine.controller import MachineController
from gui.machine.timeline import MOST_POINTS, Timeline, Track
from gui.shell.pages import Target
from gui.widgets.chart import Chart
from gui.widgets.segmented import SegmentedSwitch
from tests.support.fake_shell import FakeShell
from tests.support.fake_watch import GIB, NOW, a_day_of_trouble, gpu, machine_sample
from tests.support.panel_loop import Panel, panel_on_qt

NOW_S = NOW.timestamp()


@pytest.fixture
def panel(qapp: QApplication, home: Path) -> Iterator[Panel]:
    with panel_on_qt(qapp, home) as panel:
        panel.core.machine.past = a_day_of_trouble()
        panel.core.machine.sample(machine_sample(gpu(), machine_nanodollars_per_hour=310_000_000))
        yield panel


class Shown:
    """The pane in a window, with what it needs."""

    def __init__(self, panel: Panel, home: Path, width: int = 640, height: int = 700) -> None:
        self.panel = panel
        self.shell = FakeShell(panel.bridge, home)
        self.controller = MachineController(panel.bridge)
        self.pane = panel.show(ChartsPane(self.shell, self.controller), width, height)

    async def drawn(self) -> ChartsPane:
        await self.panel.until(lambda: any(not chart.data.is_empty for chart in self.charts.values()))
        await self.panel.settle()
        return self.pane

    @property
    def charts(self) -> dict[str, Chart]:
        return self.pane.column.charts

    def says(self, title: str) -> str:
        return self.charts[title].accessibleDescription()

    def sample(self, after_s: float, *gpus: object, **changes: object) -> MachineSample:
        """Let the machine be looked at so long after the first time."""
        given = gpus or (gpu(vram_used_bytes=12 * GIB),)
        made = machine_sample(*given, at=NOW + timedelta(seconds=after_s), **changes)  # type: ignore[arg-type]
        self.panel.core.machine.sample(made)
        return made


def test_five_charts_share_the_time_and_say_their_present_values(panel: Panel, home: Path) -> None:
    async def body() -> None:
        await panel.start()
        shown = Shown(panel, home)
        pane = await shown.drawn()
        assert list(shown.charts) == ["VRAM", "Temperature", "Utilisation", "Power", "Dollars an hour"]
        assert shown.says("VRAM").startswith("9.8 GB of 24.0, line 85 % at 20.4 GB, VRAM over 85 % at")
        assert shown.says("Temperature").startswith("53 °C · slows down at 83, line 83 °C at 83 °C")
        assert shown.says("Power").startswith("96 W of 450")
        assert shown.says("Dollars an hour").startswith("$0.4200 API · $0.3100 machine")
        assert {chart.x_range for chart in shown.charts.values()} == {(NOW_S - 900, NOW_S)}
        assert [chart.show_x for chart in shown.charts.values()] == [False] * 4 + [True]
        named = [event.label for event in shown.charts["VRAM"].data.events]
        assert named == ["VRAM over 85 %", "Out of memory", "Start"]
        lines = {line.name: line.token for line in shown.charts["Dollars an hour"].data.lines}
        assert lines == {"API": "api", "Machine": "local"}
        assert pane.card_name.toolTip() == "NVIDIA RTX 4090 · 24 GB · driver 570.86"
        heights = [chart.height() for chart in shown.charts.values()]
        assert max(heights) - min(heights) <= 1
        assert not any(area.verticalScrollBar().isVisible() for area in pane.findChildren(QScrollArea))

    panel.run(body())


def test_the_history_is_asked_once_a_range_and_samples_are_appended(panel: Panel, home: Path) -> None:
    async def body() -> None:
        await panel.start()
        shown = Shown(panel, home)
        await shown.drawn()
        for second in range(2, 8, 2):  # a pixel of the time each
            shown.sample(second)
            await panel.settle()
        line = shown.charts["VRAM"].data.lines[0]
        assert (line.x[-1], line.y[-1]) == (NOW_S + 6, 12.0)
        assert shown.says("VRAM").startswith("12.0 GB of 24.0")
        assert panel.core.machine.asked == [900.0]
        QTest.keyClick(shown.pane.range.segment("900"), Qt.Key.Key_Right)
        await panel.until(lambda: panel.core.machine.asked == [900.0, 3600.0])
        await panel.until(lambda: shown.charts["VRAM"].x_range == (NOW_S - 3600, NOW_S))
        again = Shown(panel, home)
        assert again.pane.range.value == "3600"  # also for the next start

    panel.run(body())


def test_another_card_of_the_same_number_has_its_own_past(panel: Panel, home: Path) -> None:
    async def body() -> None:
        await panel.start()
        shown = Shown(panel, home)
        await shown.drawn()
        panel.core.machine.past = History(from_s=NOW_S - 900, to_s=NOW_S, series=())
        shown.sample(9, gpu(uuid="another", vram_used_bytes=3 * GIB))
        await panel.until(lambda: panel.core.machine.asked == [900.0, 900.0])
        await panel.until(lambda: list(shown.charts["VRAM"].data.lines[0].y) == [3.0])

    panel.run(body())


def test_the_dollars_say_how_they_are_computed_and_have_ticks_when_nothing_is_spent(
    panel: Panel, home: Path
) -> None:
    async def body() -> None:
        panel.core.machine.past = History(from_s=NOW_S - 900, to_s=NOW_S, series=())
        await panel.start()
        shown = Shown(panel, home)
        for second in range(4):
            shown.sample(5 * second, api_nanodollars_per_hour=0, machine_nanodollars_per_hour=0)
            await panel.settle()
        chart = shown.charts["Dollars an hour"]
        await panel.until(lambda: chart.plot is not None)
        assert chart.plot is not None
        assert [words for _, words in chart.plot.y_labels()] == ["$0", "$0.005", "$0.01"]
        assert "Machine: Rent or wear and power, used or not." in chart.value_label.toolTip()
        assert "last five minutes" in shown.says("Dollars an hour")

    panel.run(body())


def test_hidden_and_paused_charts_do_not_move_and_pausing_does_not_lose_what_came(
    panel: Panel, home: Path
) -> None:
    async def body() -> None:
        await panel.start()
        shown = Shown(panel, home)
        pane = await shown.drawn()
        pane.pause.click()
        assert "Paused at" in pane.note.text
        before = shown.charts["VRAM"].data
        shown.sample(5)
        await panel.settle()
        assert shown.charts["VRAM"].data is before
        assert shown.says("VRAM").startswith("9.8 GB")
        pane.pause.click()
        await panel.until(lambda: shown.charts["VRAM"].data.lines[0].x[-1] == NOW_S + 5)
        pane.hide()
        before = shown.charts["VRAM"].data
        shown.sample(6)
        await panel.settle()
        assert shown.charts["VRAM"].data is before
        assert len(panel.core.machine.asked) == 2
        pane.show()
        await panel.until(lambda: len(panel.core.machine.asked) == 3)

    panel.run(body())


def test_without_a_gpu_the_pane_says_why_and_shows_the_machine(panel: Panel, home: Path) -> None:
    async def body() -> None:
        panel.core.machine.sample(machine_sample(gpu_problem="libnvidia-ml.so.1 was not found."))
        await panel.start()
        shown = Shown(panel, home)
        pane = await shown.drawn()
        assert pane.note.text == "No GPU to watch. libnvidia-ml.so.1 was not found."
        assert list(shown.charts) == ["Processor", "Memory", "Answers", "Dollars an hour"]
        assert shown.says("Processor").startswith("21 %")
        assert shown.says("Answers").startswith("42 tok/s")
        panel.core.machine.sample(machine_sample(at=NOW + timedelta(seconds=1), server=ServerFigures()))
        await panel.settle()
        assert shown.says("Answers").startswith("Not available: the local server reports nothing now")
        assert pane.details.isHidden()
        pane.watch_other.click()
        pane.cost_hint.click()
        assert shown.shell.opened == [
            Target("preferences", "local", "gpu_metrics_url"),
            Target("preferences", "spend", "local_dollars_per_hour"),
        ]

    panel.run(body())


def test_what_a_card_does_not_tell_is_not_available_with_the_reason_and_never_zero(
    panel: Panel, home: Path
) -> None:
    async def body() -> None:
        past = a_day_of_trouble()
        panel.core.machine.past = replace(
            past, series=tuple(one for one in past.series if one.metric != "power_w")
        )
        card = gpu(
            power_w=None,
            fan_percent=None,
            why=(("power_w", "not supported"),),
            throttle_reasons=("power cap",),
        )
        panel.core.machine.sample(machine_sample(card, api_nanodollars_per_hour=None))
        await panel.start()
        shown = Shown(panel, home)
        pane = await shown.drawn()
        assert shown.says("Power") == "Not available. Not supported."
        assert "API not available · machine not known" in shown.says("Dollars an hour")
        QTest.keyClick(pane.details.button, Qt.Key.Key_Space)
        await panel.until(lambda: not pane.details.body.visibleRegion().isEmpty())  # it is scrolled to
        told = dict(pane.details.rows)
        assert told["Fan"] == "Not available: this card does not report it"
        assert told["Throttled"] == "power cap"
        assert told["Processes"].startswith("Not available")
        shown.sample(
            1,
            gpu(
                processes=(
                    GpuProcess(pid=9, name="Xorg", vram_used_bytes=None),
                    GpuProcess(pid=7, name="python3", vram_used_bytes=9 * GIB, is_local_server=True),
                )
            ),
        )
        await panel.settle()
        names = [name for name, _ in pane.details.rows[-2:]]
        assert names == ["python3 (7)", "Xorg (9)"]
        assert dict(pane.details.rows)["python3 (7)"] == "the local server · 9.0 GB"

    panel.run(body())


def test_a_lost_gpu_is_named_and_its_line_has_a_gap(panel: Panel, home: Path) -> None:
    async def body() -> None:
        await panel.start()
        shown = Shown(panel, home)
        pane = await shown.drawn()
        shown.sample(
            2, gpu(lost=True, vram_used_bytes=None, vram_total_bytes=None, slowdown_temperature_c=None)
        )
        await panel.settle()
        assert shown.charts["VRAM"].y_range == (0.0, 24.0)  # it still had its size and its limits
        tick_text = shown.charts["VRAM"].tick_text
        assert tick_text is not None
        assert [tick_text(at) for at in (0.0, 11.77008, 12.0, 23.54016)] == ["0", "11.8", "12", "23.5"]
        assert [len(shown.charts[title].data.thresholds) for title in ("VRAM", "Temperature")] == [1, 1]
        assert pane.note.text.startswith("GPU 0 lost. It was there and does not answer.")
        assert pane.note.tone == "danger"
        assert shown.charts["VRAM"].data.lines[0].y[-1] is None
        assert shown.says("VRAM").startswith("Not available: the GPU does not answer")
        shown.sample(4)
        await panel.settle()
        assert pane.note.isHidden()

    panel.run(body())


def test_the_axis_of_memory_ends_at_what_the_card_has_in_plain_numbers(panel: Panel, home: Path) -> None:
    async def body() -> None:
        await panel.start()
        shown = Shown(panel, home)
        await shown.drawn()
        shown.sample(2, gpu(vram_used_bytes=41_487 << 20, vram_total_bytes=46_068 << 20))
        await panel.settle()
        plot = shown.charts["VRAM"].plot
        assert plot is not None
        assert [text for _, text in plot.y_labels()] == ["0", "22.5", "45"]

    panel.run(body())


def test_several_gpus_are_chosen_by_a_switch_and_nine_by_a_list(panel: Panel, home: Path) -> None:
    async def body() -> None:
        panel.core.machine.past = a_day_of_trouble(gpus=9)
        panel.core.machine.sample(machine_sample(gpu(0), gpu(1, name="NVIDIA L4")))
        await panel.start()
        shown = Shown(panel, home)
        pane = await shown.drawn()
        switch = pane.chooser.focusProxy()
        assert isinstance(switch, SegmentedSwitch)
        switch.segment("GPU-1").click()
        assert pane.card_name.toolTip().startswith("NVIDIA L4")
        shown.sample(1, *(gpu(index) for index in range(9)))
        await panel.settle()
        box = pane.chooser.focusProxy()
        assert isinstance(box, QComboBox)
        assert (box.count(), box.currentText()) == (9, "GPU 1")
        QTest.keyClick(box, Qt.Key.Key_End)
        await panel.settle()
        assert pane.title.isHidden()
        assert box.currentText() == "GPU 8"

    panel.run(body())


def test_a_remote_card_names_where_it_is_told_of(panel: Panel, home: Path) -> None:
    async def body() -> None:
        panel.core.settings.set("gpu_metrics_url", "http://gpu.example:9400/metrics")
        panel.core.machine.sample(machine_sample(gpu(source="prometheus")))
        await panel.start()
        pane = await Shown(panel, home).drawn()
        assert pane.card_name.toolTip() == "NVIDIA RTX 4090 · 24 GB · from gpu.example:9400"

    panel.run(body())


def test_the_pointer_reads_all_charts_at_once_and_the_servers_figures_have_a_line(
    panel: Panel, home: Path
) -> None:
    async def body() -> None:
        await panel.start()
        shown = Shown(panel, home)
        pane = await shown.drawn()
        QTest.keyClick(shown.charts["Temperature"], Qt.Key.Key_Home)
        words = [f"{one.value_label.text()} {one.x_text(NOW_S - 900)}" for one in shown.charts.values()]
        assert words[0].startswith("19.4 GB 14:02") or words[0].startswith("19.4 GB")
        assert words[1].startswith("75 °C") or words[1].startswith("76 °C")
        QTest.keyClick(shown.charts["Temperature"], Qt.Key.Key_Escape)
        assert shown.charts["VRAM"].value_label.text() == "9.8"
        figures = ServerFigures(running_requests=6, waiting_requests=11, kv_cache_percent=97.4, ttft_ms=212.0)
        shown.sample(1, server=figures)
        await panel.settle()
        assert pane.server_line.text().endswith("6 running · 11 waiting · KV cache 97 % · first token 212 ms")
        shown.sample(2, server=ServerFigures())
        await panel.settle()
        assert pane.server_line.text().endswith("not available, it is not running")

    panel.run(body())


def test_the_table_has_the_same_numbers_and_is_copied(panel: Panel, home: Path) -> None:
    async def body() -> None:
        await panel.start()
        shown = Shown(panel, home)
        pane = await shown.drawn()
        QTest.keyClick(pane.table_button, Qt.Key.Key_Space)
        assert pane.table is not None
        assert pane.table.table_model.row_count() == 59  # the 15 s that have just begun have nothing yet
        pane.copy.click()
        lines = QGuiApplication.clipboard().text().splitlines()
        assert lines[0].split("\t")[:3] == ["Time", "VRAM (GB)", "Temperature (°C)"]
        assert len(lines) == 60
        assert max(float(line.split("\t")[1]) for line in lines[1:]) > 21  # the peak before it died
        assert lines[1].split("\t")[0].startswith("2026-06-18")

    panel.run(body())


def test_the_charts_stand_in_two_columns_where_there_is_room(panel: Panel, home: Path) -> None:
    async def body() -> None:
        await panel.start()
        shown = Shown(panel, home, width=1200)
        await shown.drawn()
        tops = {title: chart.y() for title, chart in shown.charts.items()}
        assert tops["VRAM"] == tops["Temperature"] < tops["Utilisation"] == tops["Power"]
        assert shown.charts["Dollars an hour"].width() > 1000
        assert [chart.show_x for chart in shown.charts.values()] == [False, False, True, True, True]

    panel.run(body())


# The lines


def test_a_line_is_thinned_to_its_peaks_and_forgets_what_is_older_than_its_time() -> None:
    line = Timeline(86_400.0)
    line.load(History(from_s=0.0, to_s=0.0, series=()))
    for second in range(600):
        line.add(
            machine_sample(
                gpu(temperature_c=99.0 if second == 300 else 50.0), at=NOW + timedelta(seconds=second)
            )
        )
    track = line.track("temperature_c", 0)
    assert len(track.times) < 600 / 4
    assert max(value or 0 for value in track.values) == 99.0
    assert (track.times[-1], track.values[-1]) == (NOW_S + 599, 50.0)
    line.add(machine_sample(gpu(), at=NOW + timedelta(days=2)))
    assert len(line.track("temperature_c", 0).times) <= 3


def test_a_sleep_leaves_a_gap_and_a_clock_set_back_takes_the_future_along() -> None:
    track = Track(1.0)
    for at_s in (0.0, 1.0, 2.0, 100.0):
        track.add(at_s, 5.0)
    assert track.values == [5.0, 5.0, 5.0, None, 5.0]
    track.add(1.5, 7.0)
    assert (track.times, track.values) == ([0.0, 1.0, 1.5], [5.0, 5.0, 7.0])


def test_samples_that_came_while_the_history_was_read_stay() -> None:
    line = Timeline(60.0)
    line.add(machine_sample(gpu(temperature_c=61.0), at=NOW + timedelta(seconds=1)))
    series = Series(metric="temperature_c", gpu=0, times_s=(NOW_S - 1, NOW_S), values=(59.0, 60.0))
    line.load(History(from_s=NOW_S - 60, to_s=NOW_S, series=(series,)))
    assert line.track("temperature_c", 0).values == [59.0, 60.0, 61.0]
    assert MOST_POINTS >= 600
