"""The icon in the desktop's tray: the state at a glance, today's money, and the few verbs that are needed there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QRectF, Qt, Signal
from PySide6.QtGui import QAction, QIcon, QPainter, QPixmap
from PySide6.QtWidgets import QMenu, QSystemTrayIcon

from core import format_cost, format_limit
from core.errors import SignalboxError
from gui.shell.header import api_words
from gui.shell.local_words import local_words, pressing_alerts
from gui.shell.tasks import Tasks
from gui.theme.appearance import panel_file
from gui.theme.theme import theme
from gui.widgets.marks import LampState, paint_lamp, paint_points

if TYPE_CHECKING:
    from core import Alert, CoreStatus
    from gui.shell.bridge import Bridge

ICON_PX = 22
CLOSE_KEY, MINIMISED_KEY = "tray/close_to_tray", "tray/start_minimised"


def tray_is_there() -> bool:
    """Whether the desktop has a tray now; some get theirs after the session has begun."""
    return QSystemTrayIcon.isSystemTrayAvailable()


def closes_to_tray(home: Path) -> bool:
    """Whether closing the window leaves Signalbox in the tray: off until the user chose it."""
    return bool(panel_file(home).value(CLOSE_KEY, False, type=bool))


def starts_minimised(home: Path) -> bool:
    """Whether a start shows no window: off until the user chose it."""
    return bool(panel_file(home).value(MINIMISED_KEY, False, type=bool))


class Tray(QObject):
    """Shown from ``show`` on. What it does goes over the bridge; opening and quitting are the application's.

    Signals:
        open_asked: the icon, or the menu's first verb, was clicked.
        quit_asked: the menu's last.
        refused: what was asked for could not be done, and why.
    """

    open_asked = Signal()
    quit_asked = Signal()
    refused = Signal(str)

    def __init__(self, bridge: Bridge, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._bridge = bridge
        self._tasks = Tasks(self)
        self._mark: tuple[LampState | None, bool] | None = None
        self._spent: int | None = None
        self.icon = QSystemTrayIcon(self)
        self.menu = QMenu()
        self.destroyed.connect(self.menu.deleteLater)
        self.local_line, self.api_line = self._line(), self._line()
        self.menu.addSeparator()
        self.today_line, self.month_line = self._line(), self._line()
        self.menu.addSeparator()
        self.open = self._verb("Open Signalbox", self.open_asked.emit)
        self.server = self._verb("Start the local server", self._start_or_stop)
        self.drain = self._verb("Send everything to the API", self._drain)
        self.drain.setCheckable(True)
        self.menu.addSeparator()
        self._verb("Quit", self.quit_asked.emit)
        self.menu.aboutToShow.connect(self._read_today)
        self.icon.setContextMenu(self.menu)
        self.icon.activated.connect(self._on_activated)
        self.icon.messageClicked.connect(self.open_asked)
        bridge.status_changed.connect(self._on_status)
        bridge.alerts_changed.connect(self._on_alerts)
        theme().changed.connect(self._restyle)
        self._show()

    def show(self) -> None:
        """Stand in the tray."""
        self.icon.show()

    def hide(self) -> None:
        self.icon.hide()

    def tell(self, title: str, text: str) -> None:
        """Show a desktop notification."""
        self.icon.showMessage(title, text, self.icon.icon())

    def _line(self) -> QAction:
        action = self.menu.addAction("")
        action.setEnabled(False)
        return action

    def _verb(self, words: str, act: Callable[[], object]) -> QAction:
        action = self.menu.addAction(words)
        action.triggered.connect(lambda: act())
        return action

    # What comes

    def _on_status(self, status: CoreStatus) -> None:
        if self._spent != status.spent_nanodollars:
            self._spent = status.spent_nanodollars
            self._read_today()
        self._show()

    def _on_alerts(self, alerts: tuple[Alert, ...]) -> None:
        del alerts
        self._show()

    def _read_today(self) -> None:
        if self._bridge.status is not None:
            self._tasks.start(self._show_today(), key="today")

    async def _show_today(self) -> None:
        midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
        try:
            rows = await self._bridge.call(self._bridge.core.ledger.report(midnight))
        except SignalboxError:
            self.today_line.setText("Spent today: not available")
            return
        spent, open_count = sum(row.cost_nanodollars for row in rows), sum(row.unresolved for row in rows)
        more = f" + {open_count:,} not settled" if open_count else ""
        self.today_line.setText(f"Spent today: {format_cost(spent)}{more}")

    # What is asked for

    def _on_activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason in (QSystemTrayIcon.ActivationReason.Trigger, QSystemTrayIcon.ActivationReason.DoubleClick):
            self.open_asked.emit()

    def _start_or_stop(self) -> None:
        core = self._bridge.core
        work = core.stop_local if self._runs() else core.start_local
        self._tasks.start(self._do(work))

    def _drain(self) -> None:
        self._tasks.start(self._do(partial(self._bridge.core.drain_local, self.drain.isChecked())))

    async def _do(self, work: Callable[[], object]) -> None:
        try:
            await self._bridge.call(work())  # type: ignore[arg-type]
        except SignalboxError as error:
            self.refused.emit(str(error))
            self._show()  # what was ticked is not so

    # What is shown

    def _runs(self) -> bool:
        status = self._bridge.status
        return status is not None and status.local.phase in ("starting", "ready")

    def _show(self) -> None:
        status = self._bridge.status
        self.server.setEnabled(status is not None)
        self.drain.setEnabled(status is not None)
        if status is None:
            self.local_line.setText("Local: starting with the panel")
            self.api_line.setText("API: starting with the panel")
            self.today_line.setText("Spent today: not read yet")
            self.month_line.setText("This month: not read yet")
            self._paint("busy", faint=False)
            self.icon.setToolTip("Signalbox")
            return
        drained = status.local_drained
        alerts = self._bridge.alerts
        told = local_words(status.local, alerts=alerts, sample=self._bridge.sample, drained=drained)
        lamp, word, detail, _ = told
        self.local_line.setText(" · ".join(part for part in (f"Local: {word.lower()}", detail) if part))
        _, api_word, api_detail, _ = api_words(status.api)
        self.api_line.setText(" · ".join(part for part in (f"API: {api_word.lower()}", api_detail) if part))
        self.month_line.setText(_month_words(status))
        can = "stop" if self._runs() else "start"
        self.server.setText(f"{can.capitalize()} the local server")
        self.server.setEnabled(status.local.kind != "none" and can in status.local.verbs)
        self.drain.setChecked(drained)
        wants = pressing_alerts(alerts)
        mark: LampState | None = lamp if lamp in ("busy", "failed") else "alert" if wants or drained else None
        self._paint(mark, faint=lamp == "stopped" and mark is None)
        pressing = f" · {wants[0].title}" if wants else ""
        self.icon.setToolTip(f"Signalbox · Local {word.lower()}{pressing} · {_month_words(status)}")

    def _restyle(self) -> None:
        self._mark = None
        self._show()

    def _paint(self, mark: LampState | None, *, faint: bool) -> None:
        if (mark, faint) != self._mark:
            self._mark = (mark, faint)
            self.icon.setIcon(tray_icon(mark, faint=faint))


def _month_words(status: CoreStatus) -> str:
    spent = status.spent_nanodollars
    if spent is None or status.budget is None:
        return f"{status.month}: not available"
    limit = status.budget.limit_nanodollars
    return f"{status.month}: {format_cost(spent)}" + (
        f" of {format_limit(limit)}" if limit is not None else ""
    )


def tray_icon(mark: LampState | None, *, faint: bool = False) -> QIcon:
    """Return the set of points in one colour, with a lamp at its upper right where there is something to say.

    Around it lies a rim of the ground's colour: a tray may be dark while windows are light.
    """
    icon = QIcon()
    for ratio in (1, 2, 3):
        picture = QPixmap(ICON_PX * ratio, ICON_PX * ratio)
        picture.fill(Qt.GlobalColor.transparent)
        painter = QPainter(picture)
        rim = _points(ratio, "surface")
        for x, y in ((-1, -1), (-1, 1), (1, -1), (1, 1), (0, 1), (1, 0), (0, -1), (-1, 0)):
            painter.drawPixmap(x * ratio, y * ratio, rim)
        painter.drawPixmap(0, 0, _points(ratio, "control" if faint else "ink"))
        if mark is not None:
            paint_lamp(painter, QRectF(12 * ratio, 0, 10 * ratio, 10 * ratio), mark)
        painter.end()
        icon.addPixmap(picture)
    return icon


def _points(ratio: int, token: str) -> QPixmap:
    picture = QPixmap(ICON_PX * ratio, ICON_PX * ratio)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    box = QRectF(1.5 * ratio, 6 * ratio, 19 * ratio, 14 * ratio)
    paint_points(painter, box, None, line_px=2.4 * ratio, lead=0.26, only=token)
    painter.end()
    return picture
