"""A real Secret Service for one test: gnome-keyring, a D-Bus and a home of its own, without a screen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAMS = ("dbus-run-session", "gnome-keyring-daemon", "secret-tool")
PACKAGES = "gnome-keyring dbus libsecret-tools"
CHECKOUT = Path(__file__).resolve().parents[2]

UNLOCK = (
    'eval "$(printf %s "$KEYRING_PASSWORD" | gnome-keyring-daemon --unlock --components=secrets 2>/dev/null)"'
)
LOCKED = 'eval "$(gnome-keyring-daemon --start --components=secrets 2>/dev/null)"'


def missing() -> str | None:
    """Return why there can be no session here, ``None`` when there can."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"{', '.join(absent)} not installed (apt-get install {PACKAGES})" if absent else None


@dataclass(frozen=True)
class KeyringSession:
    """``home`` keeps the keyring's files from one run to the next."""

    home: Path
    password: str = "horse battery"

    def run(self, script: str, *, unlocked: bool = True, timeout_s: float = 60) -> Any:
        """Run Python code that prints one JSON value last, in a new session; returns that value."""
        return json.loads(self.shell([sys.executable, "-c", script], unlocked, timeout_s).splitlines()[-1])

    def secret_tool(self, *arguments: str, unlocked: bool = True) -> str:
        """What the keyring holds by libsecret's own program, which knows nothing of ours."""
        return self.shell(["secret-tool", *arguments], unlocked, 60)

    def shell(self, command: list[str], unlocked: bool, timeout_s: float) -> str:
        runtime = self.home / "run"
        (self.home / ".local/share/keyrings").mkdir(
            parents=True, exist_ok=True
        )  # else gnome-keyring may hang
        runtime.mkdir(mode=0o700, exist_ok=True)
        environment = {
            **{
                k: v
                for k, v in os.environ.items()
                if not k.startswith(("DBUS_", "GNOME_", "DISPLAY", "WAYLAND_"))
            },
            "HOME": str(self.home),
            "XDG_DATA_HOME": str(self.home / ".local/share"),
            "XDG_RUNTIME_DIR": str(runtime),
            "KEYRING_PASSWORD": self.password,
            "PYTHONPATH": str(CHECKOUT),
        }
        # Into files: a daemon that outlives its session would hold a pipe open, and its reader up, for ever.
        with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as complained:
            done = subprocess.run(
                [
                    "dbus-run-session",
                    "--",
                    "bash",
                    "-c",
                    f'{UNLOCK if unlocked else LOCKED}; "$@"',
                    "_",
                    *command,
                ],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=complained,
                timeout=timeout_s,
                check=False,
            )
            told.seek(0)
            complained.seek(0)
            stdout, stderr = told.read(), complained.read()
        if done.returncode not in (0, 1):
            raise AssertionError(f"{command[0]} ended with {done.returncode}: {stdout}{stderr}")
        if done.returncode == 1 and command[0] == sys.executable:
            raise AssertionError(stderr)
        return stdout
