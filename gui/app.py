"""Starts the panel: one process, one window, Qt's loop for it and the core's loop behind the bridge."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, QObject, QTimer

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from core import RouterCore
    from gui.shell.faults import FaultReporter
    from gui.shell.single_instance import SingleInstance


log = logging.getLogger(__name__)

NO_SCREEN = (
    "signalbox: the panel needs a screen, and neither DISPLAY nor WAYLAND_DISPLAY is set. "
    "On a machine without one use the command line (signalbox --help), or a virtual screen: xvfb-run signalbox"
)

NO_WINDOWS = ("offscreen", "minimal")
"""Qt's platforms that draw where nobody sees it."""


def main() -> int:
    """Open the panel and return its exit code; a second start raises the first window and returns 0."""
    if not _has_screen():
        sys.stderr.write(NO_SCREEN + "\n")
        return 1
    os.environ.setdefault("QT_API", "pyside6")
    os.umask(0o077)  # conversations, ledger and logs are the user's own
    gc.disable()  # nothing is garbage while modules load; PanelThreadCollector takes over after the first paint
    try:
        from PySide6.QtWidgets import QApplication
    except ImportError as error:
        sys.stderr.write(
            f"signalbox: Qt can't be loaded: {error}. "
            "On Debian and Ubuntu `make setup` names the packages that are missing.\n"
        )
        return 1
    from core import plain_home
    from core.errors import SignalboxError

    home = plain_home(os.environ, Path(".env"))
    if home is None:
        from core.settings import SettingsStore

        try:
            home = SettingsStore().current.home
        except SignalboxError as error:
            _refuse(QApplication(sys.argv[:1]), str(error))
            return 1
    application = QApplication(sys.argv[:1])
    application.setApplicationName("Signalbox")
    application.setDesktopFileName("signalbox")
    application.setQuitOnLastWindowClosed(False)

    from core import log_path, redact, secure_home
    from gui.shell.single_instance import SingleInstance

    try:
        secure_home(home)
        instance = SingleInstance(home)
        if not instance.acquire():
            if instance.ask_to_raise():
                return 0
            _refuse(
                application,
                f"Another Signalbox uses {home} and doesn't answer. End it, then start this one again.",
            )
            return 1
    except OSError as error:
        _refuse(
            application,
            f"The home folder {home} can't be used: {_why(error, home)}. "
            "Mend that, or set SIGNALBOX_HOME to another folder.",
        )
        return 1
    try:
        return _run(application, instance, home)
    except SignalboxError as error:
        log.exception("the panel could not start")
        _refuse(application, str(error))
        return 1
    except Exception as error:
        # The last line of defence: whatever it is, the user is told where to read of it.
        log.exception("the panel could not start")
        sys.stderr.write(
            f"signalbox: the panel could not start: {type(error).__name__}: {redact(str(error))}. "
            f"The details are in {log_path(home)}\n"
        )
        return 1
    finally:
        instance.release()


def _why(error: OSError, home: Path) -> str:
    reason = error.strerror or str(error)
    return reason if error.filename in (None, str(home)) else f"{error.filename}: {reason}"


def _refuse(application: QApplication, reason: str) -> None:
    """Say why there is no panel: on standard error, and in a window, since a desktop shows nobody the former."""
    sys.stderr.write(f"signalbox: {reason}\n")
    if application.platformName() in NO_WINDOWS:
        return
    from PySide6.QtCore import Qt
    from PySide6.QtWidgets import QMessageBox

    box = QMessageBox()
    box.setIcon(QMessageBox.Icon.Critical)
    box.setWindowTitle("Signalbox")
    box.setTextFormat(Qt.TextFormat.PlainText)  # first: a text that is given with the box is read at once
    box.setText(reason)
    box.setTextInteractionFlags(
        Qt.TextInteractionFlag.TextSelectableByMouse
    )  # the command in it is to be copied
    box.exec()  # there is no loop yet that it could stop


def _has_screen() -> bool:
    if not sys.platform.startswith("linux") or os.environ.get("QT_QPA_PLATFORM"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _run(application: QApplication, instance: SingleInstance, home: Path) -> int:
    from qasync import QEventLoop

    from core import setup_logging
    from gui.shell.faults import FaultReporter

    setup_logging(home)
    faults = FaultReporter()
    faults.install()
    loop: Any = QEventLoop(application)
    asyncio.set_event_loop(loop)
    faults.install_on(loop)
    with loop:
        loop.run_until_complete(_live(application, instance, home, faults))
    return 0


async def _live(
    application: QApplication, instance: SingleInstance, home: Path, faults: FaultReporter
) -> None:
    """Show the window first, then start the core; end when the window is closed or the session ends."""
    from gui.pages import PAGES
    from gui.shell.background import Background
    from gui.shell.bridge import Bridge
    from gui.shell.window import Window
    from gui.theme.appearance import restore_appearance
    from gui.theme.theme import theme

    restore_appearance(home)
    theme().install(application, with_sheet=False)

    def make_core() -> RouterCore:
        """On the core's thread, once the window is painted: the settings' models take 0.1 s to load."""
        from core import RouterCore, setup_logging
        from core.settings import SettingsStore

        settings = SettingsStore()
        if settings.current.log_format != "text":
            setup_logging(home, log_format=settings.current.log_format)
        return RouterCore(settings, local_start="eager")

    bridge = Bridge(make_core)
    window = Window(bridge, home, PAGES)
    theme().apply_sheet()
    faults.parent_widget = window
    background = Background(bridge, window, home)
    ended = asyncio.Event()
    window.closed.connect(ended.set)
    quit_filter = QuitFilter(ended.set)
    application.installEventFilter(quit_filter)
    instance.raise_requested.connect(window.bring_to_front)
    with _ended_by_signals(ended.set):
        background.show_window()
        await asyncio.sleep(0)  # the first paint comes before everything else
        collector = PanelThreadCollector()
        try:
            await bridge.start()
            await window.start()
            background.begin()
            await ended.wait()
        finally:
            background.end()
            try:
                await window.stop()
            finally:
                await bridge.stop()
                collector.stop()


@contextlib.contextmanager
def _ended_by_signals(end: Callable[[], None]) -> Generator[None]:
    """Let Ctrl+C and a polite kill end the panel as closing the window does.

    Python runs signal handlers between bytecodes, and Qt's loop may execute none for a long time: the wake-up
    socket makes it run some at once (https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd).
    """
    from PySide6.QtCore import QSocketNotifier

    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    notifier = QSocketNotifier(reader.fileno(), QSocketNotifier.Type.Read)
    notifier.activated.connect(lambda: reader.recv(64))

    def handle(number: int, frame: object) -> None:
        del number, frame
        end()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    previous = signal.set_wakeup_fd(writer.fileno())
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        for number, handler in before.items():
            signal.signal(number, handler)
        notifier.setEnabled(False)
        reader.close()
        writer.close()


class QuitFilter(QObject):
    """Turns the system's wish to quit (Cmd+Q, the end of the session) into an orderly end.

    Installed on the application; ``end`` begins the same end as closing the window does. ``QApplication.quit``
    would stop the loop at once, and what has to be settled and written would not be.
    """

    def __init__(self, end: Callable[[], object], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._end = end

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Quit:
            event.ignore()
            self._end()
            return True
        return super().eventFilter(watched, event)


INTERVAL_MS = 1_000


class PanelThreadCollector(QObject):
    """Runs Python's garbage collector on the panel's thread only, while it lives; ``stop`` gives it back.

    The automatic collector runs on whichever thread allocates. On the core's thread it would destroy widgets and
    timers that happened to be in a reference cycle, and Qt objects must die on their thread: seen as a crash in
    ``QTimerInfoList::activateTimers``. calibre does the same (``calibre/gui2/__init__.py``).

    It collects by the same thresholds, looked at once a second. What exists at its start (modules, classes) is
    frozen, so that a full collection stays within a frame.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thresholds = gc.get_threshold()
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self._look)
        gc.disable()
        gc.collect()
        gc.freeze()
        self._timer.start()

    def stop(self) -> None:
        self._timer.stop()
        gc.unfreeze()
        gc.enable()

    def _look(self) -> None:
        counts = gc.get_count()
        for generation in (2, 1, 0):
            if counts[generation] > self._thresholds[generation]:
                gc.collect(generation)
                return
