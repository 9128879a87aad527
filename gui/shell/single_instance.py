"""One window for one home: a second start asks the first to come to the front, and ends."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
from pathlib import Path

from PySide6.QtCore import QLockFile, QObject, QTimer, Signal
from PySide6.QtNetwork import QLocalServer, QLocalSocket

from core import check_regular

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_MS = 1_000
MAX_SOCKET_PATH_BYTES = 100  # sun_path holds 104 to 108
RAISE = b"raise\n"


class SingleInstance(QObject):
    """Holds ``<home>/panel.lock`` while the panel runs.

    A lock whose owner was killed is taken over (QLockFile looks whether the process lives). Signals:
        raise_requested: a second start wants this window in front.
    """

    raise_requested = Signal()

    def __init__(self, home: Path, parent: QObject | None = None) -> None:
        """Name the lock in ``home``, which is there.

        Raises:
            OSError: something else than a file stands in the lock's place.
        """
        super().__init__(parent)
        self._home, self._name = home, _socket_name(home)
        lock = home / "panel.lock"
        with contextlib.suppress(FileNotFoundError):
            check_regular(lock, lock.lstat())  # Qt would wait for somebody to write to a FIFO
        self._lock = QLockFile(str(lock))
        self._lock.setStaleLockTime(0)
        self._server: QLocalServer | None = None

    def acquire(self) -> bool:
        """Return whether this process is the one for its home.

        Raises:
            PermissionError: the home can't be written.
        """
        if not self._lock.tryLock(0):
            if self._lock.error() == QLockFile.LockError.PermissionError:
                raise PermissionError("the lock file in it can't be written")
            return False
        QLocalServer.removeServer(self._name)
        server = QLocalServer(self)
        server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        server.newConnection.connect(self._connected)
        if not server.listen(self._name):
            log.warning("a second start will not find this window: %s", server.errorString())
        self._server = server
        return True

    def ask_to_raise(self) -> bool:
        """Ask the panel that is running to come to the front; returns whether it answered.

        Raises:
            PermissionError: there may be none: the home can't be written, so a killed one's lock stays.
        """
        socket = QLocalSocket()
        socket.connectToServer(self._name)
        if not socket.waitForConnected(CONNECT_TIMEOUT_MS):
            if not os.access(self._home, os.W_OK):
                raise PermissionError("it can't be written")
            return False
        socket.write(RAISE)
        answered = socket.waitForBytesWritten(CONNECT_TIMEOUT_MS)
        socket.disconnectFromServer()
        return answered

    def release(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._lock.unlock()

    def _connected(self) -> None:
        assert self._server is not None
        socket = self._server.nextPendingConnection()
        socket.setReadBufferSize(len(RAISE))  # nothing else is ever asked, whatever is written
        socket.disconnected.connect(socket.deleteLater)
        QTimer.singleShot(CONNECT_TIMEOUT_MS, socket, socket.abort)
        self.raise_requested.emit()


def _socket_name(home: Path) -> str:
    """A file in the home, so that it is found whatever TMPDIR says; a short name where a path can't be one."""
    inside = str(home.resolve() / "panel.socket")
    if sys.platform != "win32" and len(inside.encode()) < MAX_SOCKET_PATH_BYTES:
        return inside
    return f"signalbox-{hashlib.sha256(inside.encode()).hexdigest()[:16]}"
