"""Keeps the window on its screen, its frame counted: when it is first shown, comes back, or the screen changes."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QMargins, QObject, QPoint, QRect, QSize, QTimer
from PySide6.QtGui import QScreen
from PySide6.QtWidgets import QWidget

LIKELY_FRAME = QMargins(1, 38, 1, 1)
"""Of a window manager's frame before it has told how wide it is: title bars are 20 to 37 px high."""
SETTLING_MS = 1_500
"""So long after the window is shown may its frame come. Later, where it stands is the user's doing."""


def first_rect(available: QRect, wanted: QSize, frame: QMargins = LIKELY_FRAME) -> QRect:
    """Return where a window begins that was never shown: as large as it wants and the screen has, in the middle."""
    room = available.marginsRemoved(frame)
    size = wanted.boundedTo(room.size())
    corner = room.topLeft() + QPoint((room.width() - size.width()) // 2, (room.height() - size.height()) // 2)
    return QRect(corner, size)


def fitted(frame: QRect, geometry: QRect, available: QRect, minimum: QSize) -> QRect:
    """Return ``geometry`` so that its ``frame`` lies on the screen: smaller where it must be, then moved.

    A window whose ``minimum`` is larger than the screen shows its upper left corner, with the title bar.
    """
    left, top = geometry.left() - frame.left(), geometry.top() - frame.top()
    around = QSize(frame.width() - geometry.width(), frame.height() - geometry.height())
    size = geometry.size().boundedTo(available.size() - around).expandedTo(minimum)
    whole = size + around
    x = max(available.left(), min(frame.left(), available.right() + 1 - whole.width()))
    y = max(available.top(), min(frame.top(), available.bottom() + 1 - whole.height()))
    return QRect(QPoint(x + left, y + top), size)


class Placement(QObject):
    """Belongs to ``window``. A window manager tells of the frame only after the window is shown."""

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._screen: QScreen | None = None
        self._settling = QTimer(self)
        self._settling.setSingleShot(True)
        self._settling.setInterval(SETTLING_MS)
        self._fit_due = QTimer(self)
        self._fit_due.setSingleShot(True)
        self._fit_due.setInterval(0)
        self._fit_due.timeout.connect(self.fit)
        window.installEventFilter(self)

    def begin(self, wanted: QSize) -> None:
        """Place a window that was never shown."""
        self._window.setGeometry(first_rect(self._window.screen().availableGeometry(), wanted))

    def fit(self) -> None:
        """Bring the window onto its screen. One that fills the screen is the window manager's business."""
        window = self._window
        if window.isMaximized() or window.isFullScreen() or window.isMinimized() or not window.isVisible():
            return
        geometry = window.geometry()
        available = window.screen().availableGeometry()
        wanted = fitted(window.frameGeometry(), geometry, available, window.minimumSize())
        if wanted != geometry:
            window.setGeometry(wanted)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kind = event.type()
        if kind == QEvent.Type.Show:
            self._settling.start()
            self._follow_screen()
            self._fit_due.start()
        elif kind in (QEvent.Type.Move, QEvent.Type.Resize) and self._settling.isActive():
            self._fit_due.start()
        return False

    def _follow_screen(self) -> None:
        """A screen that goes leaves its windows to another; one that becomes smaller leaves them where they are."""
        handle = self._window.windowHandle()
        if self._screen is None:
            handle.screenChanged.connect(self._on_screen)
        self._on_screen(handle.screen())

    def _on_screen(self, screen: QScreen) -> None:
        if screen is self._screen:
            return
        was, self._screen = self._screen, screen
        if was is not None:
            was.availableGeometryChanged.disconnect(self._screen_changed)
            self._fit_due.start()
        screen.availableGeometryChanged.connect(self._screen_changed)

    def _screen_changed(self, _available: QRect) -> None:
        self._fit_due.start()
