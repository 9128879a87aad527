"""Files and standard input as Windows writes them are text; what is no file is refused at once."""

from __future__ import annotations

import io
import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from core.cli import main
from core.cli.terminal import read_text_file
from tests.support.odd_files import ODD_FILES, make_odd

CASE = Path(__file__).parents[2] / "data" / "field" / "09-bom"
PROMPT = "What is the capital of Finland?"


class Slowly(io.RawIOBase):
    """Gives ``step`` bytes at a time, as a slow pipe does."""

    def __init__(self, content: bytes, step: int) -> None:
        super().__init__()
        self._rest, self._step = io.BytesIO(content), step

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._rest.read(min(self._step, len(buffer)))
        buffer[: len(chunk)] = chunk
        return len(chunk)


def standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes, step: int = 65_536) -> None:
    text = io.TextIOWrapper(io.BufferedReader(Slowly(content, step)), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", text)


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_SERVER", "none")


@pytest.mark.parametrize(
    ("encoding", "step"),
    [("utf-8", 65_536), ("utf-8-sig", 1), ("utf-16", 1), ("utf-16", 65_536), ("utf-32", 3)],
)
def test_decide_reads_each_line_whatever_wrote_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], encoding: str, step: int
) -> None:
    text = (CASE / "decide-bom.jsonl").read_text("utf-8-sig").replace("\n", "\r\n")
    standard_input(monkeypatch, text.encode(encoding), step)
    assert main(["decide"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == text.count("\r\n")
    assert all("reason" in answer for answer in answers)


@pytest.mark.parametrize("content", [b"", b"\xef\xbb", b"\xff\xfe"])
def test_a_mark_and_nothing_more_is_an_empty_prompt_or_no_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    standard_input(monkeypatch, content)
    assert main(["ask", "-"]) in (1, 2)
    assert capsys.readouterr().err.startswith("signalbox: ")


def test_nul_characters_are_never_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    standard_input(monkeypatch, PROMPT.encode("utf-16-le"))
    assert main(["ask", "-"]) == 2
    assert "NUL characters" in capsys.readouterr().err


def test_the_field_s_files_are_read() -> None:
    assert PROMPT.split()[0] in read_text_file(CASE / "prompt-utf16.txt")
    assert json.loads(read_text_file(CASE / "schema-bom.json"))
    assert json.loads(read_text_file(CASE / "part-bom.json"))["partial"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")
@pytest.mark.parametrize("kind", ODD_FILES)
@pytest.mark.parametrize("option", ["--schema", "--continue"])
def test_what_is_no_file_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, kind: str
) -> None:
    assert main(["ask", "hi", option, str(make_odd(tmp_path / "odd", kind))]) == 2
    assert "not a file" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_home_that_others_may_write_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.chmod(0o777)
    assert main(["limits"]) == 1
    err = capsys.readouterr().err
    assert f"chmod go-w {home}" in err
    assert list(home.iterdir()) == []
    home.chmod(0o755)
    assert main(["limits"]) == 0
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@pytest.mark.parametrize(("name", "content"), [("prices.json", "{broken"), ("load_times.json", "[]")])
def test_a_broken_file_is_set_aside_and_told_at_every_start(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str,
) -> None:
    monkeypatch.setenv("LOCAL_SERVER", "embedded")
    (home / name).write_text(content)
    aside = home / f"{name}.broken-1"
    for _ in range(3):
        assert main(["limits"]) == 0
        assert capsys.readouterr().err.count(str(aside)) == 1
    assert aside.read_text() == content
    aside.unlink()
    assert main(["limits"]) == 0
    assert capsys.readouterr().err == ""
