"""Notifications of the desktop, for when no window of ours is in front: by the tray, else by the portal."""

from __future__ import annotations

import sys
from collections.abc import Callable

from PySide6.QtWidgets import QSystemTrayIcon

SERVICE, PATH = "org.freedesktop.portal.Desktop", "/org/freedesktop/portal/desktop"
INTERFACE = "org.freedesktop.portal.Notification"
"""Where there is no tray, as on GNOME. The older ``Notifications`` interface wants an unsigned number, which
PySide6 has no way to send."""


def tell_by_portal(key: str, title: str, text: str) -> bool:
    """Ask the desktop's portal to show a notification; ``False`` where there is nobody to ask. Returns at once."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        from PySide6.QtDBus import QDBusConnection, QDBusMessage
    except ImportError:  # a distribution's Qt without it
        return False
    bus = QDBusConnection.sessionBus()
    if not bus.isConnected():
        return False
    message = QDBusMessage.createMethodCall(SERVICE, PATH, INTERFACE, "AddNotification")
    message.setArguments([key, {"title": title, "body": text, "priority": "high"}])
    bus.asyncCall(message)
    return True


class DesktopNotes:
    """``icon`` returns the tray's icon where it stands there."""

    def __init__(self, icon: Callable[[], QSystemTrayIcon | None]) -> None:
        self._icon = icon

    def tell(self, key: str, title: str, text: str) -> None:
        """Show a notification; ``key`` is the same for the same matter, so that it is replaced."""
        icon = self._icon()
        if icon is not None and icon.isVisible() and QSystemTrayIcon.supportsMessages():
            icon.showMessage(title, text, icon.icon())
        else:
            tell_by_portal(key, title, text)
