"""Live figures of the GPUs and the machine, with the money beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, Qt, QTimer
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QSizePolicy, QStackedWidget, QVBoxLayout, QWidget

from gui.machine import figures
from gui.machine.chart_column import ChartColumn
from gui.machine.controller import MachineController
from gui.machine.figures_table import FiguresTable
from gui.machine.gpu_chooser import GpuChooser
from gui.machine.gpu_details import GpuDetails
from gui.machine.timeline import MOST_POINTS, Timeline
from gui.shell.pages import Shell, Target
from gui.theme.appearance import panel_file
from gui.theme.theme import set_property, theme
from gui.widgets.card import Card
from gui.widgets.empty_state import EmptyState
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import ResultLine, label
from gui.widgets.scrolling import scrolled
from gui.widgets.segmented import SegmentedSwitch

if TYPE_CHECKING:
    from core import Alert, CoreStatus, GpuReading, MachineSample

RANGES = {"60": "1 min", "900": "15 min", "3600": "1 h", "86400": "24 h"}
FIRST_RANGE = "900"
SLOWEST_DRAWING_S = 10.0
"""A chart is drawn when it has moved by a pixel. A day's takes minutes to; its newest value is drawn after this."""
EVENT_DELAY_MS = 1_000
"""What happened is read from the history so long after it: both sides of it are there then."""
TABLE_EVERY_S = 5.0


class ChartsPane(Card):
    """Reads the history when it is shown or shows another time, and appends each sample; hidden it does nothing."""

    def __init__(self, shell: Shell, controller: MachineController) -> None:
        super().__init__()
        self.setAccessibleName("GPU and machine")
        self._shell, self._controller, self._bridge = shell, controller, shell.bridge
        self._kept = panel_file(shell.home)
        kept = str(self._kept.value("machine/range", FIRST_RANGE))
        self._timeline = Timeline(float(kept if kept in RANGES else FIRST_RANGE))
        self._sample: MachineSample | None = None
        self._cards: dict[int, str] = {}
        self._drawn_s = self._filled_s = 0.0
        self._phase: tuple[object, ...] | None = None
        self._build()
        self._happened = QTimer(self)
        self._happened.setSingleShot(True)
        self._happened.setInterval(EVENT_DELAY_MS)
        self._happened.timeout.connect(self._load)
        self._bridge.machine_sampled.connect(self._on_sample)
        self._bridge.status_changed.connect(self._on_status)
        self._bridge.alerts_changed.connect(self._on_alerts)
        theme().changed.connect(self._restyle)
        self._restyle()

    def _build(self) -> None:
        self.chooser = GpuChooser(str(self._kept.value("machine/gpu", "")))
        self.chooser.chosen.connect(self._choose_gpu)
        self.title = label("", weight=600)
        self.card_name = label("", "small", level="2")
        self.card_name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.card_name.installEventFilter(self)
        self.range = SegmentedSwitch(
            [(value, words, None) for value, words in RANGES.items()], accessible_name="Time range"
        )
        self.range.set_value(f"{self._timeline.seconds:.0f}")
        self.range.value_changed.connect(self._choose_range)
        self.copy = IconButton("copy", "Copy the table")
        self.copy.clicked.connect(lambda: self._table and self._table.copy_all())
        self.copy.hide()
        self.pause = IconButton("pause", "Pause the charts")
        self.pause.setCheckable(True)
        self.pause.toggled.connect(self._on_pause)
        self.table_button = IconButton("table", "Show the figures as a table")
        self.table_button.setCheckable(True)
        self.table_button.toggled.connect(self._show_page)
        head = self._head = QHBoxLayout()
        for widget in (self.title, self.chooser):
            head.addWidget(widget)
        head.addWidget(self.card_name, 1)
        for button in (self.range, self.copy, self.pause, self.table_button):
            head.addWidget(button)
        self.note = ResultLine()
        self.watch_other = QPushButton("Watch another machine’s GPU")
        set_property(self.watch_other, tiny=True)
        self.watch_other.clicked.connect(
            lambda: self._shell.open(Target("preferences", "local", "gpu_metrics_url"))
        )
        self.watch_other.hide()
        self.column = ChartColumn()
        self.server_line = label("", "small", level="2")
        # Not as wide as its words, and not wrapped: a page that is as high as it is wide would scroll the charts.
        self.server_line.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.cost_hint = QPushButton("Set what this machine costs")
        set_property(self.cost_hint, tiny=True)
        self.cost_hint.clicked.connect(
            lambda: self._shell.open(Target("preferences", "spend", "local_dollars_per_hour"))
        )
        self.details = GpuDetails(self)
        inside = QWidget()
        self._inside = QVBoxLayout(inside)
        self._inside.setContentsMargins(0, 0, 0, 0)
        self._inside.addWidget(self.column, 1)
        foot = self._foot = QHBoxLayout()
        foot.addWidget(self.server_line, 1)
        foot.addWidget(self.cost_hint)
        self._inside.addLayout(foot)
        self._inside.addWidget(self.details)
        self._looking = EmptyState("Reading the machine", "The first figures come in a moment.")
        self._table: FiguresTable | None = None
        self._pages = QStackedWidget()
        self._charts = scrolled(inside)
        self.details.toggled.connect(lambda: QTimer.singleShot(0, self, self._show_details))
        for ground in (inside, self._charts.viewport()):
            ground.setAutoFillBackground(False)  # the card's own shows
        self._pages.addWidget(self._looking)
        self._pages.addWidget(self._charts)
        said = QHBoxLayout()
        said.addWidget(self.note, 1)
        said.addWidget(self.watch_other)
        self.body.addLayout(head)
        self.body.addLayout(said)
        self.body.addWidget(self._pages, 1)

    @property
    def is_paused(self) -> bool:
        return self.pause.isChecked()

    @property
    def table(self) -> FiguresTable | None:
        """The figures as a table, once it was shown."""
        return self._table

    # What comes

    def _on_sample(self, sample: MachineSample) -> None:
        if not self.isVisible():
            return
        is_first, self._sample = self._sample is None, sample
        if self._has_other_cards(sample):  # their numbers are the same: each has its own past
            self._timeline = Timeline(self._timeline.seconds)
            self._load()
        elif is_first:
            self._load()
        self._timeline.add(sample)
        if self.is_paused or self.window().isMinimized():
            return
        self._show_sample()
        px_s = self._timeline.seconds / self.column.plot_px
        if self._timeline.now_s - self._drawn_s >= min(SLOWEST_DRAWING_S, px_s):
            self._draw()

    def _has_other_cards(self, sample: MachineSample) -> bool:
        cards = {gpu.index: gpu.uuid for gpu in sample.gpus if gpu.uuid and not gpu.lost}
        is_other = any(self._cards.get(index, uuid) != uuid for index, uuid in cards.items())
        self._cards |= cards
        return is_other

    def _on_status(self, status: CoreStatus) -> None:
        phase = (status.local.phase, status.local.crash)
        if phase != self._phase:
            if self._phase is not None:
                self._load_soon()
            self._phase = phase
            if self._sample is not None and self.isVisible() and not self.is_paused:
                self._show_server(self._sample)

    def _on_alerts(self, alerts: tuple[Alert, ...]) -> None:
        del alerts
        self._load_soon()

    def _load_soon(self) -> None:
        if self.isVisible():  # else it is read when it is shown
            self._happened.start()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._bridge.sample is not None and not self.is_paused:
            self._sample = self._bridge.sample
            if self._has_other_cards(self._sample):
                self._timeline = Timeline(self._timeline.seconds)
            self._show_sample()
            self._load()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._happened.stop()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self.card_name and event.type() == QEvent.Type.Resize:
            self._elide()
        return super().eventFilter(watched, event)

    def _load(self) -> None:
        if self._sample is not None and self.isVisible():
            self._controller.tasks.start(self._load_history(), key="history of the charts")

    async def _load_history(self) -> None:
        timeline = self._timeline
        watch = self._bridge.core.machine
        history = await self._bridge.call(watch.history(timeline.seconds, most_points=MOST_POINTS))
        timeline.load(history)
        if timeline is self._timeline and not self.is_paused:
            self._draw()

    # What is chosen

    def _choose_range(self, value: str) -> None:
        self._kept.setValue("machine/range", value)
        self._timeline = Timeline(float(value))
        if self.is_paused:
            self.pause.setChecked(False)
        self._load()

    def _choose_gpu(self, uuid: str) -> None:
        self._kept.setValue("machine/gpu", uuid)
        if self._sample is not None:
            self._show_sample()
            self._draw()

    def _on_pause(self, paused: bool) -> None:
        self.pause.set_icon("play" if paused else "pause")
        self.pause.set_name("Resume the charts" if paused else "Pause the charts")
        if self._sample is not None:
            self._show_note(self._sample, self._gpu())
            if not paused:
                self._show_sample()
                self._load()

    def _show_page(self) -> None:
        as_table = self.table_button.isChecked()
        self.table_button.set_icon("chart-line" if as_table else "table")
        self.table_button.set_name(f"Show the figures as {'charts' if as_table else 'a table'}")
        self.copy.setVisible(as_table)
        if self._sample is None:
            self._pages.setCurrentWidget(self._looking)
        elif not as_table:
            self._pages.setCurrentWidget(self._charts)
        else:
            self._pages.setCurrentWidget(self._filled_table())

    def _filled_table(self) -> FiguresTable:
        gpu = self._gpu()
        if self._table is None or self._table.with_gpu != (gpu is not None):
            if self._table is not None:
                self._pages.removeWidget(self._table)
                self._table.deleteLater()
            self._table = FiguresTable(with_gpu=gpu is not None)
            self._pages.addWidget(self._table)
        self._table.fill(self._timeline, None if gpu is None else gpu.index)
        self._filled_s = self._timeline.now_s
        return self._table

    def _show_details(self) -> None:
        """Bring what was opened into view, once it has its place."""
        if self.details.is_open:
            self._inside.activate()
            self._charts.ensureWidgetVisible(self.details)

    # What is shown

    def _gpu(self) -> GpuReading | None:
        sample = self._sample
        return None if sample is None else self.chooser.of(sample.gpus)

    def _draw(self) -> None:
        if not self.isVisible() or self._sample is None:
            return
        self._drawn_s = self._timeline.now_s
        if not self.table_button.isChecked():
            self.column.draw(self._timeline, self._bridge.core.settings.current)
            return
        assert self._table is not None
        if self._timeline.now_s - self._filled_s >= TABLE_EVERY_S and not self._table.is_touched:
            self._filled_table()

    def _show_sample(self) -> None:
        sample = self._sample
        if sample is None or (not sample.gpus and not sample.gpu_problem and sample.host.cpu_percent is None):
            return  # nobody has looked yet
        self.chooser.offer(sample.gpus)
        gpu = self._gpu()
        self.column.set_mode("host" if gpu is None else "gpu")
        self.column.show_live(sample, gpu)
        self.column.explain_money(self._bridge.core.machine.machine_rate_words)
        several = len(sample.gpus) > 1
        self.chooser.setVisible(several)
        self.title.setVisible(not several)
        self.title.setText("This machine" if gpu is None else f"GPU {gpu.index}")
        self._show_name(sample, gpu)
        self._show_note(sample, gpu)
        self._show_server(sample)
        self.cost_hint.setVisible(sample.machine_nanodollars_per_hour is None)
        self.details.show_gpu(gpu, sample)
        if self._pages.currentWidget() is self._looking:
            self._show_page()

    def _show_name(self, sample: MachineSample, gpu: GpuReading | None) -> None:
        url = self._bridge.core.settings.current.gpu_metrics_url
        words = (
            "no GPU" if gpu is None else figures.card_words(gpu, sample, None if url is None else str(url))
        )
        if words != self.card_name.toolTip():
            self.card_name.setToolTip(words)
            self.card_name.setAccessibleName(words)
            self._elide()

    def _show_note(self, sample: MachineSample, gpu: GpuReading | None) -> None:
        lost = figures.lost_gpus(sample.gpus)
        self.watch_other.setVisible(gpu is None and not self.is_paused)
        if self.is_paused:
            at = sample.at.astimezone()
            self.note.tell("quiet", f"Paused at {at:%H:%M:%S}.", "The machine is still watched.")
        elif lost:
            names = ", ".join(f"GPU {index}" for index in lost)
            self.note.tell(
                "danger",
                f"{names} lost.",
                "It was there and does not answer. A reboot often brings it back."
                if len(lost) == 1
                else "They were there and do not answer. A reboot often brings them back.",
            )
        elif gpu is None:
            self.note.tell("quiet", "No GPU to watch.", sample.gpu_problem)
        elif sample.gpu_problem:
            self.note.tell("held", "", sample.gpu_problem)
        elif not self.note.isHidden():
            self.note.clear()

    def _show_server(self, sample: MachineSample) -> None:
        local = self._bridge.status.local if self._bridge.status else None
        name = (local.version if local else "").partition(" ")[0] or "Local server"
        told = figures.server_words(sample.server)
        if not told:
            phase = local.phase if local else "stopped"
            why = {
                "ready": "it reports no figures",
                "starting": "it is starting",
                "stopping": "it is stopping",
            }
            told = f"not available, {why.get(phase, 'it is not running')}"
        words = f"{name}: {told}"
        if words != self.server_line.text():
            self.server_line.setText(words)
            self.server_line.setToolTip(words)

    def _elide(self) -> None:
        words, room = self.card_name.toolTip(), self.card_name.width()
        metrics = self.card_name.fontMetrics()
        shown = words
        while metrics.horizontalAdvance(shown) > room and " · " in shown:
            shown = shown.rpartition(" · ")[0]  # the driver goes first, then the size
        self.card_name.setText(metrics.elidedText(shown, Qt.TextElideMode.ElideRight, room))

    def _restyle(self) -> None:
        px = theme().px
        self.body.setContentsMargins(px(14), px(10), px(14), px(10))
        self.body.setSpacing(px(6))
        self._head.setSpacing(px(8))
        self._inside.setSpacing(px(6))
        self._elide()
