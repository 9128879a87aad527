"""The computer's own figures."""

from __future__ import annotations

import time
from collections import namedtuple

import psutil
import pytest

from core.local.host_figures import HostFigures

Times = namedtuple("Times", ["user", "system", "idle", "iowait", "guest", "guest_nice"])
MacTimes = namedtuple("MacTimes", ["user", "nice", "system", "idle"])


def test_this_machine() -> None:
    host = HostFigures()
    first = host.read()
    assert first.cpu_percent is None, "there is no time before it"
    assert first.memory_used_bytes is not None
    assert first.memory_total_bytes is not None
    assert 0 < first.memory_used_bytes < first.memory_total_bytes
    ends = time.process_time() + 0.05
    while time.process_time() < ends:
        pass
    second = host.read()
    assert second.cpu_percent is not None
    assert 0 < second.cpu_percent <= 100


@pytest.mark.parametrize(
    ("before", "after", "percent"),
    [
        (Times(10, 5, 100, 0, 8, 0), Times(13, 6, 106, 0, 11, 0), 40),  # a guest's time is the user's too
        (Times(10, 5, 100, 0, 0, 0), Times(11, 5, 106, 3, 0, 0), 10),  # waiting for a disk is idle
        (MacTimes(10, 0, 5, 100), MacTimes(15, 0, 5, 105), 50),
        (Times(10, 5, 100, 0, 0, 0), Times(10, 5, 100, 0, 0, 0), None),  # no time went by
        (Times(10, 5, 100, 0, 0, 0), Times(1, 5, 10, 0, 0, 0), None),  # it was begun anew
    ],
)
def test_the_share_of_time_that_was_not_idle(
    monkeypatch: pytest.MonkeyPatch, before: object, after: object, percent: float | None
) -> None:
    times = iter([before, after])
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(times))
    host = HostFigures()
    host.read()
    assert host.read().cpu_percent == (None if percent is None else pytest.approx(percent))


def test_what_the_system_does_not_tell_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses() -> None:
        raise PermissionError("/proc/meminfo")

    monkeypatch.setattr(psutil, "virtual_memory", refuses)
    monkeypatch.setattr(psutil, "cpu_times", refuses)
    reading = HostFigures().read()
    assert (reading.cpu_percent, reading.memory_used_bytes, reading.memory_total_bytes) == (None, None, None)
