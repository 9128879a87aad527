"""The navigation rail: 80 px, an icon over a label for each page, the application's mark on top."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence, QPainter, QPaintEvent, QShortcut
from PySide6.QtWidgets import QButtonGroup, QSizePolicy, QVBoxLayout, QWidget

from gui.theme.icons import paint_icon
from gui.theme.theme import theme
from gui.widgets.marks import BusyTurn, LampState, paint_focus_ring, paint_lamp, paint_points, text_baseline
from gui.widgets.painted_button import PaintedButton, paint_box

_WIDTH = 80
_ITEM = 56
_SHORT_ITEM = 32
_TOP = 56


class _RailItem(PaintedButton):
    """Signals: ``stepped`` by an arrow key, -1 or 1."""

    stepped = Signal(int)

    def __init__(self, label: str, icon: str, parent: QWidget) -> None:
        super().__init__(parent)
        self._label, self._icon = label, icon
        self._lamp: LampState | None = None
        self._turn = BusyTurn(self)
        self.setCheckable(True)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Maximum)
        self.describe(label)

    def set_lamp(self, state: LampState | None, words: str) -> None:
        self._lamp = state
        self._turn.set_busy(state == "busy")
        self.describe(self._label, words)
        self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows only go: Qt's own would press each item on the way, and open its page."""
        if event.key() in (Qt.Key.Key_Up, Qt.Key.Key_Down):
            self.stepped.emit(1 if event.key() == Qt.Key.Key_Down else -1)
        else:
            super().keyPressEvent(event)

    def sizeHint(self) -> QSize:
        return QSize(theme().px(_WIDTH) - 1, theme().px(_ITEM))

    def minimumSizeHint(self) -> QSize:
        """Below the label's height only the icon is drawn; the tooltip still says the label."""
        return QSize(theme().px(_WIDTH) - 1, theme().px(_SHORT_ITEM))

    def paintEvent(self, event: QPaintEvent) -> None:
        unit = theme()
        px = unit.px
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(px(5), px(2), self.width() - 2 * px(5), self.height() - 2 * px(2))
        chosen = self.isChecked()
        if chosen:
            paint_box(painter, box, px(6), line="border", ground="surface")
            bar = QRectF(0, (self.height() - px(24)) / 2, px(3), px(24))
            painter.fillRect(bar, unit.color("ink"))
        elif self.underMouse() or self.isDown():
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(unit.color("select" if self.isDown() else "hover"))
            painter.drawRoundedRect(box, px(6), px(6))
        token = "text" if chosen or self.underMouse() else "text2"
        side = px(22)
        labelled = self.height() >= px(_ITEM - 6)
        icon_y = px(8) if labelled else round((self.height() - side) / 2)
        icon_box = QRectF(round((self.width() - side) / 2), icon_y, side, side)
        paint_icon(painter, icon_box, f"{self._icon}-fill" if chosen else self._icon, unit.color(token))
        if labelled:
            self._paint_label(painter, token)
        if self._lamp is not None:
            lamp = QRectF(icon_box.right() + px(1), icon_box.top() - px(2), px(10), px(10))
            paint_lamp(painter, lamp, self._lamp, self._turn.phase)
        if self.hasFocus():
            paint_focus_ring(painter, box, px(6))
        painter.end()

    def _paint_label(self, painter: QPainter, token: str) -> None:
        unit = theme()
        px = unit.px
        font = unit.font("caption", 600 if self.isChecked() else 400)
        painter.setFont(font)
        painter.setPen(unit.color(token))
        metrics = painter.fontMetrics()
        line = QRectF(0, px(32), self.width(), px(16))
        baseline = int(text_baseline(line, metrics.ascent(), metrics.descent()))
        text = metrics.elidedText(self._label, Qt.TextElideMode.ElideRight, self.width() - 2)
        painter.drawText(round((self.width() - metrics.horizontalAdvance(text)) / 2), baseline, text)


class Rail(QWidget):
    """``(id, label, icon)`` of each page: ``pages`` from the top, ``last`` at the bottom.

    Ctrl+1 to Ctrl+9 choose in order, within the rail's window.
    """

    page_chosen = Signal(str)

    def __init__(
        self,
        pages: Sequence[tuple[str, str, str]],
        last: Sequence[tuple[str, str, str]] = (),
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setAccessibleName("Pages")
        self._items: dict[str, _RailItem] = {}
        self._group = QButtonGroup(self)
        self._column = QVBoxLayout(self)
        self._column.setSpacing(0)
        for page_id, label, icon in pages:
            self._add(page_id, label, icon)
        self._column.addStretch(1)
        for page_id, label, icon in last:
            self._add(page_id, label, icon)
        if self._items:
            next(iter(self._items.values())).setChecked(True)
        self._lead_tab()
        theme().changed.connect(self._restyle)
        self._restyle()

    def set_page(self, page_id: str) -> None:
        """Show a page as the chosen one, without a signal."""
        self._items[page_id].setChecked(True)
        self._lead_tab()

    def _lead_tab(self) -> None:
        """Tab comes to the chosen page's item, and arrows go on from there; Qt sees to that for clicks only."""
        for item in self._items.values():
            item.setFocusPolicy(Qt.FocusPolicy.StrongFocus if item.isChecked() else Qt.FocusPolicy.ClickFocus)

    def set_lamp(self, page_id: str, state: LampState | None, words: str = "") -> None:
        """Put a lamp at a page's icon when it needs attention; ``words`` say why, for screen readers."""
        self._items[page_id].set_lamp(state, words)

    @property
    def items(self) -> list[QWidget]:
        """The pages' items, from the top."""
        return list(self._items.values())

    @property
    def current_item(self) -> QWidget:
        """The item of the page in front."""
        return next(item for item in self._items.values() if item.isChecked())

    def _add(self, page_id: str, label: str, icon: str) -> None:
        item = _RailItem(label, icon, self)
        self._items[page_id] = item
        self._group.addButton(item)
        self._column.addWidget(item)
        item.stepped.connect(partial(self._go_from, item))
        item.clicked.connect(lambda _checked=False, chosen=page_id: self.page_chosen.emit(chosen))
        number = len(self._items)
        if number <= 9:
            keys = QKeySequence(f"Ctrl+{number}")
            shortcut = QShortcut(keys, self)
            shortcut.activated.connect(item.click)
            item.setToolTip(f"{label} ({keys.toString(QKeySequence.SequenceFormat.NativeText)})")

    def _go_from(self, item: _RailItem, by: int) -> None:
        items = list(self._items.values())
        place = items.index(item) + by
        if 0 <= place < len(items):
            items[place].setFocus(Qt.FocusReason.TabFocusReason)

    def _restyle(self) -> None:
        px = theme().px
        self.setFixedWidth(px(_WIDTH))
        self._column.setContentsMargins(0, px(_TOP), 1, px(8))
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        unit = theme()
        px = unit.px
        painter = QPainter(self)
        painter.fillRect(self.rect(), unit.color("sunken"))
        painter.fillRect(self.width() - 1, 0, 1, self.height(), unit.color("border"))
        mark = QRectF(round((self.width() - 1 - px(26)) / 2) + px(1), px(16), px(26), px(18))
        paint_points(painter, mark, None, ground="sunken", lead=0.22, line_px=px(3), both=True)
        painter.end()
