"""The widgets of the Machine page and their places.

At the left the server, what its start needs and its log; at the right one of the panes, by the switch above them.
Where the page is too narrow for both, the right stands under the left and the page scrolls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from PySide6.QtCore import QEvent, QObject, QSize, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from gui.machine.controller import MachineController
from gui.machine.log_card import LogCard
from gui.machine.preflight_card import PreflightCard
from gui.machine.state_card import StateCard
from gui.shell.pages import FocusArea, Shell
from gui.theme.theme import theme
from gui.widgets.scrolling import scrolled
from gui.widgets.segmented import SegmentedSwitch

LEFT_PX, LEAST_LEFT_PX, LEAST_RIGHT_PX = 520, 400, 440
LEAST_LOG_PX, STACKED_LOG_PX, STACKED_PANE_PX = 130, 220, 480
_SIDE, _TOP, _GAP = 16, 12, 12
PANES = ("gpu", "models", "settings", "alerts")
_LABELS = {"gpu": "GPU", "models": "Models", "settings": "Settings", "alerts": "Alerts"}


class MachineView(QWidget):
    """The left column shows the server whatever is shown at the right. A pane is made when it is first shown.

    A pane gets the height that the page has; one that needs more scrolls by itself.

    Signals:
        pane_chosen: the pane that the user, or a target, brought to the front.
    """

    pane_chosen = Signal(str)

    def __init__(self, shell: Shell, controller: MachineController) -> None:
        super().__init__()
        self.setAccessibleName("Machine")
        self._shell, self._controller = shell, controller
        self.state = StateCard(shell, controller)
        self.preflight = PreflightCard(shell, controller)
        self.log = LogCard(shell, controller)
        self._panes: dict[str, QWidget] = {}
        self._column = _Column()
        self._left = QVBoxLayout(self._column)
        self._left.setContentsMargins(0, 0, 0, 0)
        self._left.addWidget(self.state)
        self._left.addWidget(self.preflight)
        self._rest = _Rest(self.log)
        self._left.addWidget(self._rest, 1)
        self.preflight.asks.connect(lambda: self._bring_into_view(self.preflight.ask))
        self.log.search_opened.connect(lambda: self._bring_into_view(self.log))
        self._column.installEventFilter(self)
        self._left_area = scrolled(self._column)
        self.switch = SegmentedSwitch(
            [(name, _LABELS[name], None) for name in PANES], accessible_name="What is shown at the right"
        )
        self.switch.value_changed.connect(self.show_pane)
        self._stack = QStackedWidget()
        self._right = QWidget()
        right = QVBoxLayout(self._right)
        right.setContentsMargins(0, 0, 0, 0)
        right.addWidget(self.switch)
        right.addWidget(self._stack, 1)
        self._right_column = right
        self._inside = QWidget()
        self._row = QBoxLayout(QBoxLayout.Direction.LeftToRight, self._inside)
        self._row.addWidget(self._left_area)
        self._row.addWidget(self._right, 1)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        self._whole_area = scrolled(self._inside)
        whole.addWidget(self._whole_area)
        self._is_stacked = False
        theme().changed.connect(self._restyle)
        self._restyle()
        self.show_pane(PANES[0])

    @property
    def areas(self) -> Sequence[FocusArea]:
        return (FocusArea(self._column), FocusArea(self._right, self.switch))

    @property
    def pane_in_front(self) -> str:
        return self.switch.value

    @property
    def is_stacked(self) -> bool:
        """Whether the right stands under the left."""
        return self._is_stacked

    def pane(self, name: str) -> QWidget:
        """Return a pane: ``gpu``, ``models``, ``settings`` or ``alerts``; it is made where it is not there yet."""
        pane = self._panes.get(name)
        if pane is None:
            pane = self._panes[name] = _MAKE[name](self._shell, self._controller)
            self._stack.addWidget(pane)
        return pane

    def show_pane(self, name: str) -> None:
        """Bring a pane to the front."""
        if self.switch.value != name:
            self.switch.set_value(name)
        self._stack.setCurrentWidget(self.pane(name))
        self.pane_chosen.emit(name)

    def show_section(self, section: str, detail: str = "") -> None:
        """Show a pane, or bring a card of the left column into view; ``detail`` is the pane's to know."""
        if section in PANES:
            self.show_pane(section)
            if self._is_stacked:
                self._row.activate()
                self._whole_area.verticalScrollBar().setValue(self._right.y())
            pane = self.pane(section)
            if detail and isinstance(pane, ShowsDetail):
                pane.show_detail(detail)
        card = {"server": self.state, "preflight": self.preflight, "log": self.log}.get(section)
        if card is not None:
            self._bring_into_view(card)
            stop = _first_control(card)
            if stop is not None:
                stop.setFocus()

    def _bring_into_view(self, widget: QWidget) -> None:
        """Scroll there, once what was shown just now has its place."""
        for layout, area in ((self._left, self._left_area), (self._row, self._whole_area)):
            layout.activate()
            area.ensureWidgetVisible(widget)

    def set_alert_count(self, count: int) -> None:
        """Say on the switch how many alerts need somebody."""
        self.switch.set_label("alerts", f"Alerts {count}" if count else "Alerts")

    # Places

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._place()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self._column and event.type() == QEvent.Type.LayoutRequest and self._is_stacked:
            self._fit_stacked()
        return super().eventFilter(watched, event)

    def _place(self) -> None:
        px = theme().px
        room = self.width() - 2 * px(_SIDE) - px(_GAP)
        self._is_stacked = room < px(LEAST_LEFT_PX) + px(LEAST_RIGHT_PX)
        if self._is_stacked:
            self._row.setDirection(QBoxLayout.Direction.TopToBottom)
            self._left_area.setMinimumWidth(0)
            self._left_area.setMaximumWidth(16777215)
            self._right.setMinimumHeight(px(STACKED_PANE_PX))
            self._rest.setMinimumHeight(px(STACKED_LOG_PX))
            self._fit_stacked()
            return
        self._row.setDirection(QBoxLayout.Direction.LeftToRight)
        self._left_area.setFixedWidth(min(px(LEFT_PX), room - px(LEAST_RIGHT_PX)))
        self._left_area.setMinimumHeight(0)
        self._right.setMinimumHeight(0)
        self._rest.setMinimumHeight(px(LEAST_LOG_PX))

    def _fit_stacked(self) -> None:
        """The left is as high as it wants to be: the page scrolls, not the column in it."""
        wanted = self._left.minimumHeightForWidth(self.width() - 2 * theme().px(_SIDE))
        self._left_area.setMinimumHeight(max(wanted, self._column.minimumSizeHint().height()))

    def _restyle(self) -> None:
        px = theme().px
        self._row.setContentsMargins(px(_SIDE), px(_TOP), px(_SIDE), px(_TOP))
        self._row.setSpacing(px(_GAP))
        self._left.setSpacing(px(_GAP))
        self._right_column.setSpacing(px(8))
        self._place()


class _Column(QWidget):
    """As high, at least, as its cards are at its width; Qt's own answer is that of a narrower one."""

    def minimumSizeHint(self) -> QSize:
        layout, usual = self.layout(), super().minimumSizeHint()
        if layout is None or not layout.hasHeightForWidth() or self.width() < usual.width():  # pyright: ignore[reportUnnecessaryComparison]
            return usual
        return QSize(usual.width(), layout.minimumHeightForWidth(self.width()))

    def heightForWidth(self, arg__1: int) -> int:
        """What a scroll area takes for the least height: without what the log would like to have."""
        layout = self.layout()
        return -1 if layout is None else layout.minimumHeightForWidth(arg__1)  # pyright: ignore[reportUnnecessaryComparison]

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.updateGeometry()


class _Rest(QWidget):
    """What the other cards leave goes to ``inside``: its words may wrap, and still it asks for no height."""

    def __init__(self, inside: QWidget) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(inside)

    def hasHeightForWidth(self) -> bool:
        return False


@runtime_checkable
class ShowsDetail(Protocol):
    """A pane that can go to a part of itself: a setting's name, a model's id, an alert's id."""

    def show_detail(self, detail: str) -> None:
        """Bring that part into view."""


def _gpu(shell: Shell, controller: MachineController) -> QWidget:
    from gui.machine.charts_pane import ChartsPane

    return ChartsPane(shell, controller)


def _models(shell: Shell, controller: MachineController) -> QWidget:
    from gui.machine.models_pane import ModelsPane

    return ModelsPane(shell, controller)


def _settings(shell: Shell, controller: MachineController) -> QWidget:
    from gui.machine.settings_pane import SettingsPane

    return SettingsPane(shell, controller)


def _alerts(shell: Shell, controller: MachineController) -> QWidget:
    from gui.machine.alerts_pane import AlertsPane

    return AlertsPane(shell, controller)


_MAKE: dict[str, Callable[[Shell, MachineController], QWidget]] = {
    "gpu": _gpu,
    "models": _models,
    "settings": _settings,
    "alerts": _alerts,
}


def _first_control(card: QWidget) -> QWidget | None:
    return next(
        (
            one
            for one in card.findChildren(QWidget)
            if one.isVisibleTo(card) and one.isEnabled() and one.focusPolicy() & Qt.FocusPolicy.TabFocus
        ),
        None,
    )
