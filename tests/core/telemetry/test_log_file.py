"""The log's file: who may write and read it, what stays out of it, and how it turns over."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from core.telemetry.logs import log_path, setup_logging
from tests.core.telemetry.reading import logged


def test_nothing_reaches_standard_error_without_debug(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    setup_logging(home)
    logging.getLogger("a").error("something failed")
    logging.getLogger("anthropic._base_client").debug("Request options: the prompt")
    logging.getLogger("httpx2").info("HTTP Request: POST")
    assert capfd.readouterr().err == ""
    assert "something failed" in logged(home)
    assert "HTTP Request" not in logged(home)


def test_request_bodies_stay_out_of_the_log_even_with_debug(home: Path) -> None:
    setup_logging(home, debug=True)
    logging.getLogger("openai._base_client").debug("Request options: %s", {"messages": "my diary"})
    logging.getLogger("core.x").debug("ours")
    assert "diary" not in logged(home)
    assert "ours" in logged(home)


def test_setting_up_twice_writes_each_line_once(home: Path) -> None:
    setup_logging(home)
    setup_logging(home)
    logging.getLogger("a").warning("only once")
    assert logged(home).count("only once") == 1


def test_odd_characters_do_not_break_the_log(home: Path) -> None:
    setup_logging(home)
    logging.getLogger("a").warning("lone \ud800 and \x00")
    assert "lone \\ud800" in logged(home)


def test_a_home_that_cannot_be_written_is_said_once_and_does_not_stop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    setup_logging(tmp_path / "file")
    logging.getLogger("a").info("unseen")
    error = capsys.readouterr().err
    assert "cannot be written" in error
    assert "unseen" not in error


def test_a_deleted_log_folder_comes_back_or_is_said_once(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging(home)
    logging.getLogger("a").warning("before")
    log_path(home).unlink()
    log_path(home).parent.rename(home / "moved")
    logging.getLogger("a").warning("lost")
    logging.getLogger("a").warning("lost too")
    assert capsys.readouterr().err.count("log lines are lost") == 1
    log_path(home).parent.mkdir()
    logging.getLogger("a").warning("after")
    assert "after" in logged(home)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_the_log_is_for_its_owner_only(home: Path) -> None:
    setup_logging(home)
    assert log_path(home).stat().st_mode & 0o077 == 0


CHATTER = """
import logging, sys
from pathlib import Path
from core.telemetry import logs
logs.MAX_LOG_BYTES, logs.KEPT_LOGS = 4000, 400
logs.setup_logging(Path(sys.argv[1]))
for number in range(800):
    logging.getLogger(sys.argv[2]).info("line %05d %s", number, "x" * 300)
"""


def test_two_copies_share_a_log_that_turns_over(home: Path) -> None:
    """Both write more than one file's worth; every line is whole and none is lost."""
    root = Path(__file__).parents[3]
    copies = [
        subprocess.Popen([sys.executable, "-c", CHATTER, str(home), name], cwd=root, stderr=subprocess.PIPE)
        for name in ("one", "two")
    ]
    assert [copy.communicate()[1] for copy in copies] == [b"", b""]
    files = sorted(log_path(home).parent.glob("signalbox.log*"))
    lines = [line for file in files if file.suffix != ".lock" for line in file.read_text().splitlines()]
    assert len(files) >= 100
    assert all(file.stat().st_size < 5000 for file in files)
    for name in ("one", "two"):
        numbers = [line.split(" line ")[1][:5] for line in lines if f" {name}: line " in line]
        assert sorted(map(int, numbers)) == list(range(800))
