"""The base of what opens over the page beside a button or at a point: placed on the screen, closed by Esc."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import shiboken6
from PySide6.QtCore import QPoint, QRect, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QGuiApplication,
    QHideEvent,
    QKeyEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QRegion,
    QResizeEvent,
)
from PySide6.QtWidgets import QApplication, QFrame, QScrollArea, QVBoxLayout, QWidget

from gui.theme.theme import theme
from gui.widgets.painted_button import paint_box, settle_hover

EDGE_PX = 8
"""What stays free between a popover and the screen's end, above and below."""
_GAP_PX = 4
_POINT_GAP_PX = 12
_BORDER_PX = 1
_UNBOUND_PX = 1 << 20
_SCROLL_STEP_PX = 40


class _Contents(QScrollArea):
    """As high as its words need at a width, and scrolled only where there is no more room.

    A resizable scroll area would give wrapped text the height that it needs at its narrowest.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.inside = QWidget()
        self.inside.setObjectName("popoverInside")
        self.column = QVBoxLayout(self.inside)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setStyleSheet("QScrollArea, #popoverInside { background: transparent; }")
        self.setWidget(self.inside)

    def natural_width(self) -> int:
        self.column.activate()
        return self.column.sizeHint().width()

    def height_at(self, width: int) -> int:
        """Return the height in pixels that everything needs at ``width``."""
        self.column.activate()
        if self.column.hasHeightForWidth():
            return self.column.totalHeightForWidth(width)
        return self.column.sizeHint().height()

    def fit(self, width: int, most_px: int, fixed_px: int | None) -> int:
        """Lay everything out at ``width``, and return the height that is shown of it, at most ``most_px``."""
        if fixed_px is not None:  # what is inside scrolls by itself
            height = min(fixed_px, most_px)
            self.inside.setFixedSize(width, height)
            return height
        height = self.height_at(width)
        if height > most_px:
            width -= self.verticalScrollBar().sizeHint().width()
            height = self.height_at(width)
        self.inside.setFixedSize(width, height)
        return min(height, most_px)


class Popover(QFrame):
    """``column`` takes the widgets; ``popup_at`` or ``popup_at_point`` opens it; closing deletes it.

    It closes by Esc and by a click elsewhere, and the keyboard goes back to where it was. The arrow keys go from
    one control to the next, and scroll where there is more than the screen shows. Call ``fit_soon`` when what is
    inside became larger or smaller.

    ``width_px`` and ``height_px`` are before zoom; without a width it is as wide as its contents. Beside an anchor
    it stays on one side of it and scrolls; ``may_cover`` lets it cover the anchor before it has to scroll.

    Signals: ``closed`` when it is gone from the screen.
    """

    closed = Signal()

    def __init__(
        self,
        name: str,
        parent: QWidget | None = None,
        *,
        width_px: int | None = None,
        height_px: int | None = None,
        may_cover: bool = False,
    ) -> None:
        super().__init__(parent, Qt.WindowType.Popup | Qt.WindowType.FramelessWindowHint)
        self.setAttribute(Qt.WidgetAttribute.WA_TranslucentBackground)
        self.setAccessibleName(name)
        self._width_px, self._height_px, self._may_cover = width_px, height_px, may_cover
        self._anchor: QWidget | None = None
        self._align: Literal["left", "right"] = "left"
        self._point: QPoint | None = None
        self._focused_before: QWidget | None = None
        self._contents = _Contents(self)
        self.inside, self.column = self._contents.inside, self._contents.column
        outer = QVBoxLayout(self)
        outer.setContentsMargins(_BORDER_PX, _BORDER_PX, _BORDER_PX, _BORDER_PX)
        outer.addWidget(self._contents)
        theme().changed.connect(self.fit)

    # -- opening ---------------------------------------------------------------------------------

    def popup_at(
        self,
        anchor: QWidget,
        *,
        align: Literal["left", "right"] = "left",
        focus: QWidget | None = None,
    ) -> None:
        """Open under ``anchor``, or above it where there is more room, with the keyboard on ``focus``."""
        self._anchor, self._align, self._point = anchor, align, None
        self._show_placed(focus)

    def popup_at_point(
        self, place: QPoint, *, gap_px: int = _POINT_GAP_PX, focus: QWidget | None = None
    ) -> None:
        """Open a little below ``place``, a point of the screen."""
        self._anchor, self._point = None, QPoint(place.x(), place.y() + theme().px(gap_px))
        self._show_placed(focus)

    def _show_placed(self, focus: QWidget | None) -> None:
        self._focused_before = QApplication.focusWidget()
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.fit()
        self.show()
        self.fit()  # wrapped text knows its height only now
        (focus or self).setFocus(Qt.FocusReason.PopupFocusReason)

    def fit_soon(self) -> None:
        """Fit it again after the loop has shown what is new: until then it has no size."""
        QTimer.singleShot(0, self, self.fit)

    def fit(self) -> None:
        """Give it the size of its contents, and its place."""
        if self._anchor is None and self._point is None:
            if self._width_px is not None:
                self.setFixedWidth(theme().px(self._width_px))
            return
        if self._anchor is not None and not shiboken6.isValid(self._anchor):
            return
        area = self._area()
        width = self._width()
        tops, most = self._room(area, width)
        height = self._contents.fit(width - 2 * _BORDER_PX, most - 2 * _BORDER_PX, self._fixed_height())
        height += 2 * _BORDER_PX
        self.setFixedSize(width, height)
        self.move(self._left(area, width), tops(height))

    def _area(self) -> QRect:
        if self._anchor is not None:
            return self._anchor.screen().availableGeometry()
        assert self._point is not None
        screen = QGuiApplication.screenAt(self._point) or QGuiApplication.primaryScreen()
        return screen.availableGeometry()

    def _width(self) -> int:
        if self._width_px is not None:
            return theme().px(self._width_px)
        return self._contents.natural_width() + 2 * _BORDER_PX

    def _fixed_height(self) -> int | None:
        return None if self._height_px is None else theme().px(self._height_px) - 2 * _BORDER_PX

    def _room(self, area: QRect, width: int) -> tuple[Callable[[int], int], int]:
        """Return how the top follows from the height, and the most height there is."""
        px = theme().px
        edge, gap = px(EDGE_PX), px(_GAP_PX)
        whole = area.height() - 2 * edge
        if self._anchor is None:
            assert self._point is not None
            y = self._point.y()
            return (lambda height: max(area.top(), min(y, area.bottom() - height))), whole
        under = self._anchor.mapToGlobal(QPoint(0, self._anchor.height() + gap)).y()
        over = self._anchor.mapToGlobal(QPoint(0, 0)).y() - gap
        below, above = area.bottom() - under - edge, over - area.top() - edge

        def top(height: int) -> int:
            wanted = (
                under if height <= below + edge or (not self._may_cover and below >= above) else over - height
            )
            return max(area.top() + edge, min(wanted, area.bottom() - height))

        return top, whole if self._may_cover else max(below, above)

    def _left(self, area: QRect, width: int) -> int:
        if self._anchor is None:
            assert self._point is not None
            x = self._point.x()
        else:
            x = self._anchor.mapToGlobal(QPoint(0, 0)).x()
            if self._align == "right":
                x += self._anchor.width() - width
        return max(area.left(), min(x, area.right() - width))

    # -- what Qt calls ---------------------------------------------------------------------------

    def sizeHint(self) -> QSize:
        """All of it, without scrolling."""
        width = self._width()
        fixed = self._fixed_height()
        inner = self._contents.fit(width - 2 * _BORDER_PX, _UNBOUND_PX, fixed)
        return QSize(width, inner + 2 * _BORDER_PX)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Without a compositor the corners outside the outline would be black."""
        super().resizeEvent(event)
        outline = QPainterPath()
        outline.addRoundedRect(QRectF(self.rect()), theme().px(6), theme().px(6))
        self.setMask(QRegion(outline.toFillPolygon().toPolygon()))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        # The mask lets pixels stay that the round outline covers in part: without a compositor they would be black.
        painter.setClipRegion(self.mask())
        painter.fillRect(self.rect(), theme().color("control"))
        painter.setClipping(False)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        paint_box(painter, QRectF(self.rect()), theme().px(6), line="control", ground="raised")
        painter.end()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        # Both are let go of: a popover that keeps a widget alive would delete it while it goes itself.
        anchor, before = self._anchor, self._focused_before
        self._anchor = self._focused_before = None
        if anchor is not None and shiboken6.isValid(anchor):
            settle_hover(anchor)
        if before is not None and shiboken6.isValid(before) and before.isVisible() and self._has_keyboard():
            before.setFocus(Qt.FocusReason.PopupFocusReason)
        self.closed.emit()

    def _has_keyboard(self) -> bool:
        """What a button inside did may have put the keyboard elsewhere, and there it stays."""
        focused = QApplication.focusWidget()
        return focused is None or focused is self or self.isAncestorOf(focused)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = event.key()
        bar = self._contents.verticalScrollBar()
        if key == Qt.Key.Key_Escape:
            self.close()
        elif key in (Qt.Key.Key_PageDown, Qt.Key.Key_PageUp):
            bar.setValue(bar.value() + (bar.pageStep() if key == Qt.Key.Key_PageDown else -bar.pageStep()))
        elif key in (Qt.Key.Key_Home, Qt.Key.Key_End):
            bar.setValue(bar.minimum() if key == Qt.Key.Key_Home else bar.maximum())
        elif key in (Qt.Key.Key_Down, Qt.Key.Key_Up) and bar.maximum() and self.hasFocus():
            step = theme().px(_SCROLL_STEP_PX)
            bar.setValue(bar.value() + (step if key == Qt.Key.Key_Down else -step))
        elif key in (Qt.Key.Key_Down, Qt.Key.Key_Right):
            self._go(forward=True)
        elif key in (Qt.Key.Key_Up, Qt.Key.Key_Left):
            self._go(forward=False)
        else:
            super().keyPressEvent(event)

    def _go(self, *, forward: bool) -> None:
        if self.focusNextPrevChild(forward):
            focused = QApplication.focusWidget()
            if focused is not None and self.inside.isAncestorOf(focused):
                self._contents.ensureWidgetVisible(focused)
