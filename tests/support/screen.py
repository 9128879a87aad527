"""A virtual screen with the real panel on it, driven by real key and mouse events."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

PROGRAMS = ("Xvfb", "xdotool")
WAIT_S = 60.0
POLL_S = 0.05


def missing() -> str | None:
    """Return why no virtual screen can be had here, ``None`` when one can."""
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"{', '.join(lacking)} not installed (make setup-tests installs it as root)" if lacking else None


def until(condition: Callable[[], object], what: str) -> None:
    """Poll until ``condition`` holds: another process has no event to wait for."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {WAIT_S:.0f} s")
        time.sleep(POLL_S)


@contextmanager
def virtual_screen() -> Iterator[str]:
    """Start an X server on a free display and yield its name, such as ``:3``."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x800x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        with os.fdopen(reading) as numbers:
            yield f":{numbers.readline().strip()}"
    finally:
        server.terminate()
        server.wait()


class PanelOnScreen:
    """One run of ``signalbox``, or of a ``command``, on ``display``; ``environment`` adds settings."""

    def __init__(
        self, display: str, home: Path, *, command: Sequence[str] | None = None, **environment: str
    ) -> None:
        inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.environment = inherited | {
            "DISPLAY": display,
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "SIGNALBOX_HOME": str(home),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
            **environment,
        }
        self.home = home
        self.command = command or [str(Path(sys.executable).with_name("signalbox"))]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command,
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.home,
        )

    def start_again(self) -> int:
        """Start a second copy, and return its exit code."""
        second = self._start()
        _, errors = second.communicate(timeout=WAIT_S)
        assert errors == ""
        return second.returncode

    def xdotool(self, *arguments: str) -> str:
        done = subprocess.run(
            ["xdotool", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=True,
        )
        return done.stdout.strip()

    def wait_for_window(self) -> str:
        """Return the id of the window once it is there, with the keyboard on it."""
        window = self.xdotool("search", "--sync", "--onlyvisible", "--name", "^Signalbox$").splitlines()[-1]
        self.xdotool("windowfocus", "--sync", window)
        return window

    def type(self, text: str) -> None:
        self.xdotool("type", "--delay", "15", text)

    def key(self, *keys: str) -> None:
        self.xdotool("key", "--delay", "60", *keys)

    def click(self, x: int, y: int) -> None:
        self.xdotool("mousemove", str(x), str(y), "click", "1")

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def ended(self) -> tuple[int, str]:
        """Wait for the end; returns the exit code and what was said on standard error."""
        _, errors = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, errors

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()
