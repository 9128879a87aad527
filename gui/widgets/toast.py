"""Toasts: bottom left over the page, one at a time, six seconds, with one action. Never for errors."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import (
    QEasingCurve,
    QEvent,
    QObject,
    QPoint,
    QPropertyAnimation,
    QRect,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtGui import QAccessible, QAccessibleEvent, QCursor, QKeyEvent
from PySide6.QtWidgets import QApplication, QFrame, QHBoxLayout, QPushButton, QWidget

from gui.theme.theme import set_property, theme
from gui.widgets.error_card import IconMark
from gui.widgets.labels import plain_label

LIFETIME_MS = 6000
_SLIDE_PX = 8


class Toast(QFrame):
    """One message, 40 px high. It stays while the pointer or the keyboard focus is on it."""

    closed = Signal()

    def __init__(
        self,
        text: str,
        action_label: str | None,
        callback: Callable[[], object] | None,
        icon: str,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        set_property(self, popover=True)
        self.setAccessibleName(text)
        self.text = text
        self._row = QHBoxLayout(self)
        if icon:
            self._row.addWidget(
                IconMark(icon, "ok_text" if icon == "check-circle-fill" else "text2", 16, self)
            )
        label = plain_label(text, self)
        set_property(label, role="body")
        self._row.addWidget(label)
        self.button: QPushButton | None = None
        if action_label:
            self.button = QPushButton(action_label, self)
            self.button.setAutoDefault(False)
            set_property(self.button, flat=True, tiny=True, strong=True, role="small", weight=600)
            self._row.addWidget(self.button)
            self.button.clicked.connect(self.close_now)
            if callback is not None:
                self.button.clicked.connect(lambda: callback())
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(LIFETIME_MS)
        self._timer.timeout.connect(self.close_now)
        focus = QApplication.instance()
        if isinstance(focus, QApplication):
            focus.focusChanged.connect(self._on_focus)
        theme().changed.connect(self._respace)
        self._respace()
        self._timer.start()

    @property
    def paused(self) -> bool:
        """True while the time stands still."""
        return not self._timer.isActive()

    def close_now(self) -> None:
        self._timer.stop()
        self.hide()
        self.closed.emit()
        self.deleteLater()

    def _respace(self) -> None:
        px = theme().px
        self._row.setContentsMargins(px(13), 0, px(8), 0)
        self._row.setSpacing(px(8))
        self.setFixedHeight(px(40))

    def _holds_focus(self) -> bool:
        return self.button is not None and self.button.hasFocus()

    def _on_focus(self) -> None:
        self._rest() if self._holds_focus() else self._resume()

    def _rest(self) -> None:
        self._timer.stop()

    def _resume(self) -> None:
        if self.isVisible() and not self._timer.isActive() and not self._holds_focus():
            pointer = self.mapFromGlobal(QCursor.pos())
            if not self.rect().contains(pointer) or not self.underMouse():
                self._timer.start()

    def enterEvent(self, event: object) -> None:
        self._rest()

    def leaveEvent(self, event: object) -> None:
        if not self._holds_focus():
            self._timer.start()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.close_now()
        else:
            super().keyPressEvent(event)


class ToastHost(QObject):
    """Shows toasts over ``parent``; a new one replaces the old, whose action is then gone.

    ``clear_of`` names the widget that is never covered while it can be seen: a toast that would stands above it.
    """

    def __init__(self, parent: QWidget, *, clear_of: Callable[[], QWidget | None] = lambda: None) -> None:
        super().__init__(parent)
        self._clear_of = clear_of
        self._over = parent
        self._toast: Toast | None = None
        self._slide: QPropertyAnimation | None = None
        parent.installEventFilter(self)

    @property
    def current(self) -> Toast | None:
        return self._toast

    def show(
        self,
        text: str,
        action_label: str | None = None,
        callback: Callable[[], object] | None = None,
        icon: str = "",
    ) -> Toast:
        """Show ``text`` with at most one action; ``callback`` is called when it is pressed."""
        if self._toast is not None:
            self._toast.close_now()
        toast = self._toast = Toast(text, action_label, callback, icon, self._over)
        toast.closed.connect(self._forget)
        toast.adjustSize()
        self._place()  # before it shows: it would flash at the top left, and rest under a pointer there
        toast.show()
        toast.raise_()
        self._place(slide=True)
        QAccessible.updateAccessibility(QAccessibleEvent(toast, QAccessible.Event.Alert))
        return toast

    def _forget(self) -> None:
        if self._toast is self.sender():
            self._toast = None

    def _place(self, *, slide: bool = False) -> None:
        if self._toast is None:
            return
        margin = theme().px(16)
        end = QPoint(margin, self._over.height() - self._toast.height() - margin)
        kept = self._clear_of()
        if kept is not None and kept.isVisible():
            area = QRect(kept.mapTo(self._over, QPoint(0, 0)), kept.size())
            if area.intersects(QRect(end, self._toast.size())):
                end.setY(area.top() - self._toast.height() - theme().px(8))
        duration_ms = theme().animation_ms
        if not slide or duration_ms == 0:
            self._toast.move(end)
            return
        self._slide = QPropertyAnimation(self._toast, b"pos", self._toast)
        self._slide.setDuration(duration_ms)
        self._slide.setEasingCurve(QEasingCurve.Type.OutCubic)
        self._slide.setStartValue(end + QPoint(0, theme().px(_SLIDE_PX)))
        self._slide.setEndValue(end)
        self._slide.start()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self._place()
        return False
