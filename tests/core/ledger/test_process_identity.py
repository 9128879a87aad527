"""A process is told apart from a later one of the same number, on each system by what that system tells."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from core.ledger import process_identity
from core.ledger.process_identity import ProcessIdentity, current_process, is_alive

PROGRAM = "ps"
needs_ps = pytest.mark.skipif(shutil.which(PROGRAM) is None, reason="no ps (Debian: apt install procps)")
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(autouse=True)
def forgotten() -> Generator[None]:
    """What is remembered of this process is asked anew by each test, and by whoever comes after it."""
    forget = process_identity._current.cache_clear  # pyright: ignore[reportPrivateUsage]
    forget()
    yield
    forget()


@contextmanager
def another() -> Generator[ProcessIdentity]:
    """Another process of this machine, as the ledger would have noted it."""
    here = current_process()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = process_identity._started(process.pid)  # pyright: ignore[reportPrivateUsage]
        assert started is not None
        try:
            yield ProcessIdentity(here.host, process.pid, started)
        finally:
            process.kill()


def check_life_and_death() -> None:
    assert is_alive(current_process()) is True
    with another() as process:
        assert is_alive(process) is True
        # A later process that got its number.
        assert is_alive(ProcessIdentity(process.host, process.pid, "at another time")) is False
        assert is_alive(ProcessIdentity("another-host", process.pid, process.started)) is None
        assert is_alive(ProcessIdentity(process.host, process.pid, "")) is None
    assert is_alive(process) is False


def test_this_system_tells_a_living_process_from_a_dead_one() -> None:
    check_life_and_death()


@needs_proc
def test_a_process_that_was_killed_and_that_nobody_has_waited_for_is_dead() -> None:
    """Its number still stands in the table; a hold of its own must not wait for its parent."""
    with another() as process:
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is left in the table
        assert is_alive(process) is False


@needs_ps
def test_a_system_without_proc_tells_them_apart_by_ps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_identity, "sys", SimpleNamespace(platform="darwin"))
    assert "/" not in current_process().host  # namespaces are Linux's
    check_life_and_death()


@needs_ps
def test_by_ps_a_process_is_the_same_one_in_every_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_identity, "sys", SimpleNamespace(platform="darwin"))
    found: list[bool | None] = []
    with another() as process:
        for zone in ("Asia/Kolkata", "America/New_York"):
            monkeypatch.setenv("TZ", zone)
            found.append(is_alive(process))
    assert found == [True, True]


@needs_proc
def test_where_the_namespace_cannot_be_read_the_host_alone_names_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_a_namespace = current_process().host

    def refused(_: str) -> str:
        raise PermissionError(13, "Permission denied")

    process_identity._current.cache_clear()  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(os, "readlink", refused)
    assert in_a_namespace.startswith(current_process().host + "/")
