"""llama.cpp's own words, and what a person is told."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.local.llama_log import KEPT_LOGS, describe_exit, explain, read_tail, rotate

DAMAGED = """\
0.00.025.868 E common_fit_params: encountered an error while trying to fit params: failed to load model
0.00.042.306 E llama_model_load: error loading model: tensor 'x' data is not within the file bounds, \
model is corrupted or incomplete
0.00.042.388 I srv    operator(): operator(): cleaning up before exit..."""


def test_a_damaged_file() -> None:
    reason = explain(DAMAGED.splitlines())
    assert reason is not None
    assert "damaged" in reason.text
    assert "again" in reason.hint


def test_an_architecture_is_named() -> None:
    reason = explain(["E llama_model_load: error loading model: unknown model architecture: 'mamba9'"])
    assert reason is not None
    assert "mamba9" in reason.text


def test_an_error_nobody_foresaw_is_quoted() -> None:
    reason = explain(["0.00.1 I srv  init: fine", "0.00.2 E srv    load_model: the moon is in the way"])
    assert reason is not None
    assert reason.text == "llama.cpp: the moon is in the way"


@given(st.lists(st.text()))
def test_any_log_can_be_read(lines: list[str]) -> None:
    explain(lines)


def test_no_error_no_reason() -> None:
    assert explain(["0.00.1 I srv  init: listening", ""]) is None


@pytest.mark.parametrize(
    ("returncode", "said"),
    [
        (1, "exited with code 1"),
        (-signal.SIGKILL, "signal 9 (SIGKILL)"),
        (-signal.SIGSEGV, "signal 11 (SIGSEGV)"),
        (-1000, "signal 1000 (unknown)"),
        (0xC0000005, "0xc0000005 (an access violation)"),
    ],
)
def test_exits(returncode: int, said: str) -> None:
    reason = describe_exit(returncode)
    assert said in reason.text
    assert reason.hint


def test_old_logs_are_kept_and_the_oldest_forgotten(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "embedded.log"
    for run in range(KEPT_LOGS + 3):
        rotate(log)
        assert not log.exists()
        log.write_text(f"run {run}\n")
    kept = [log, *(log.with_name(f"embedded.log.{n}") for n in range(1, KEPT_LOGS + 1))]
    assert [path.read_text() for path in kept] == [f"run {n}\n" for n in (5, 4, 3, 2)]
    assert len(list(log.parent.iterdir())) == len(kept)


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert read_tail(log, 5) == []
    log.write_bytes(b"\xff\n" + b"".join(b"%d\n" % n for n in range(100_000)))
    assert read_tail(log, 2) == ["99998", "99999"]
    assert read_tail(log, 0) == []
