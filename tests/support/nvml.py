"""A stand-in ``libnvidia-ml.so.1`` for the real bindings: its values are read from a file at every call.

Its keys, sensors and faults, are in ``nvml_stub.c``: ``count 2``, ``gpu0.power_mw 350000``, ``gpu0.no_power 1``,
``gpu0.err 15`` (lost), ``init_err 9`` (no driver), ``hang_ms 3000`` (a stuck driver).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml_stub.c")
PROGRAM = "cc"


def compiler() -> str | None:
    return shutil.which(PROGRAM)


def build(folder: Path) -> Path:
    """Compile the library into ``folder``; returns the folder."""
    command = compiler()
    assert command is not None
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(
        [command, "-shared", "-fPIC", "-O1", "-Wl,-soname,libnvidia-ml.so.1", "-o", library, SOURCE],
        check=True,
        capture_output=True,
    )
    return folder


def run(library: Path, values: Path, code: str) -> str:
    """Run Python ``code`` in a process whose loader finds the library in that folder; returns its output.

    A process of its own: one that has loaded a library cannot unload it for the next test.
    """
    environment = {**os.environ, "NVML_STUB_FILE": str(values), "LD_LIBRARY_PATH": str(library)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
