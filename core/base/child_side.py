"""What a child process of ours does for its parent: it tells events, one JSON object a line, and ends with it."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any, TextIO

_one_line_at_a_time = threading.Lock()


def take_standard_output() -> TextIO:
    """Return standard output for events; what a library prints goes to standard error from now on."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events


def send(events: TextIO, **event: Any) -> None:
    """Tell the parent, from any thread; the process ends where the parent is gone."""
    try:
        with _one_line_at_a_time:
            events.write(json.dumps(event) + "\n")
            events.flush()
    except BrokenPipeError:
        os._exit(0)  # the parent is gone


def read_line() -> Any:
    """Return the parent's next JSON line on standard input; an empty table where it is gone."""
    return json.loads(sys.stdin.buffer.readline() or b"{}")


def wait_for_parents_end() -> None:
    """Return at the end of standard input: the parent is gone, or wants this process to go."""
    while os.read(0, 4096):
        pass


def die_with_parent() -> None:
    """Ask Linux to end this process with its parent, also while it does not look at standard input."""
    if sys.platform != "linux":
        return
    import ctypes
    import signal

    set_parent_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
    ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)
