"""The panel without its window in front: the icon in the tray, the desktop's notifications, closing to the tray."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer
from PySide6.QtWidgets import QSystemTrayIcon

from gui.shell import tray
from gui.shell.desktop_notes import DesktopNotes
from gui.theme.appearance import panel_file

if TYPE_CHECKING:
    from gui.shell.bridge import Bridge
    from gui.shell.window import Window

LOOK_EVERY_MS, LOOKS = 5_000, 12
"""A tray that begins after us, as at the start of a session, is found within a minute."""
_TOLD_KEY = "tray/told"


class Background(QObject):
    """Belongs to ``window``. Where there is no tray, closing the window ends the panel whatever was chosen."""

    def __init__(self, bridge: Bridge, window: Window, home: Path) -> None:
        super().__init__(window)
        self._bridge, self._window, self._home = bridge, window, home
        self.tray: tray.Tray | None = None
        self.notes = DesktopNotes(self._icon)
        window.alert_notices.tell = self.notes.tell
        window.stays_in_tray = self._stays
        window.hidden_in_tray.connect(self._on_hidden)
        self._left = LOOKS
        self._look = QTimer(self)
        self._look.setInterval(LOOK_EVERY_MS)
        self._look.timeout.connect(self._look_for_tray)

    def begin(self) -> None:
        """Stand in the tray, now or once there is one."""
        self._look.start()
        self._look_for_tray()

    def end(self) -> None:
        """Leave the tray, before the bridge stops."""
        self._look.stop()
        if self.tray is not None:
            self.tray.hide()

    def show_window(self) -> None:
        """Show the window as the user chose: in front, or, once Welcome was seen, out of the way."""
        seen = panel_file(self._home).value("welcome/seen", False, type=bool)
        if not seen or not tray.starts_minimised(self._home):
            self._window.show()
        elif tray.tray_is_there():
            self.begin()
        else:
            self._window.showMinimized()

    def _look_for_tray(self) -> None:
        self._left -= 1
        if self.tray is None and tray.tray_is_there():
            self.tray = tray.Tray(self._bridge, self)
            self.tray.open_asked.connect(self._window.bring_to_front)
            self.tray.quit_asked.connect(self._window.quit)
            self.tray.refused.connect(self._on_refused)
            self.tray.show()
        if self.tray is not None or self._left <= 0:
            self._look.stop()

    def _icon(self) -> QSystemTrayIcon | None:
        return None if self.tray is None else self.tray.icon

    def _stays(self) -> bool:
        """A tray that went meanwhile would leave a panel that nobody can reach."""
        return self.tray is not None and tray.tray_is_there() and tray.closes_to_tray(self._home)

    def _on_hidden(self) -> None:
        kept = panel_file(self._home)
        if not kept.value(_TOLD_KEY, False, type=bool):
            kept.setValue(_TOLD_KEY, True)
            self.notes.tell(
                "closed", "Signalbox is still running", "Its tray icon opens it again or quits it."
            )

    def _on_refused(self, words: str) -> None:
        if self._window.isVisible():
            self._window.notices.say(words)
        else:
            self.notes.tell("refused", "Signalbox", words)
