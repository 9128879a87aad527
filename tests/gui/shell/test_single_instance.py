"""Another start can raise the window, and no more than that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication, QLockFile
from PySide6.QtNetwork import QLocalServer, QLocalSocket
from PySide6.QtTest import QSignalSpy, QTest
from PySide6.QtWidgets import QApplication

from gui.shell.single_instance import SingleInstance


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def test_a_second_start_raises_the_first(qapp: QApplication, home: Path) -> None:
    first, second = SingleInstance(home), SingleInstance(home)
    raised = QSignalSpy(first.raise_requested)
    assert first.acquire()
    assert not second.acquire()
    assert second.ask_to_raise()
    assert raised.count() or raised.wait(5000)
    first.release()


def test_a_lock_in_a_home_that_cannot_be_written_is_not_told_as_another_panel(
    qapp: QApplication, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_behind = QLockFile(str(home / "panel.lock"))
    assert left_behind.tryLock(0)
    instance = SingleInstance(home)
    assert not instance.acquire()
    assert not instance.ask_to_raise()

    def refused(path: Path, mode: int) -> bool:  # root may write anywhere
        return (path, mode) != (home, os.W_OK)

    monkeypatch.setattr(os, "access", refused)
    with pytest.raises(PermissionError, match="can't be written"):
        instance.ask_to_raise()
    left_behind.unlock()


def test_the_socket_is_the_users_alone_and_keeps_nothing_of_what_is_written(
    qapp: QApplication, home: Path
) -> None:
    first = SingleInstance(home)
    assert first.acquire()
    path = home / "panel.socket"
    if path.exists():
        assert path.stat().st_mode & 0o077 == 0
    [server] = first.findChildren(QLocalServer)
    raised = QSignalSpy(first.raise_requested)
    stranger = QLocalSocket()
    stranger.connectToServer(server.serverName())
    assert stranger.waitForConnected(5000)
    stranger.write(b"open /etc/passwd\n" * 10_000)
    assert raised.count() or raised.wait(5000)
    taken = server.findChildren(QLocalSocket)
    for _ in range(20):
        QCoreApplication.processEvents()
    assert all(socket.bytesAvailable() <= 64 for socket in taken)
    gone = QSignalSpy(stranger.disconnected)
    assert gone.count() or gone.wait(5000)  # it is not held open
    assert raised.count() == 1
    first.release()
    QTest.qWait(0)
