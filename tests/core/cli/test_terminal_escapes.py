"""What somebody else wrote never acts on the terminal, nor on a spreadsheet: answers, errors, names, tables."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.base.text import escaped_in_json, marked, spreadsheet_cell
from tests.support.field_case import CASES
from tests.support.openai_server import OpenAIServer, Refuses, Streams

ROOT = Path(__file__).parents[3]
BODY = (CASES / "11-escapes" / "body.sse").read_text(encoding="utf-8").splitlines()
HOSTILE: str = "".join(
    json.loads(line[6:])["choices"][0]["delta"].get("content", "")
    for line in BODY
    if line.startswith("data: {") and json.loads(line[6:])["choices"]
)
FORMULA: str = json.loads((CASES / "28-csv-model" / "opts.json").read_text())["models"][0]
MODEL = "=tiny"
PROJECT = "=si\x1b]0;owned\x07te\u202e\r\n2"


def acted_on(text: str, allowed: str = "\n\t") -> list[str]:
    return [
        one for one in text if (unicodedata.category(one) == "Cc" and one not in allowed) or one == "\u202e"
    ]


@given(st.text())
def test_nothing_marked_is_acted_on(text: str) -> None:
    assert acted_on(marked(text), "") == []
    assert acted_on(marked(text, lines=True)) == []
    assert marked(marked(text)) == marked(text)


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cf", "Zl", "Zp"])))
def test_what_is_harmless_stays(text: str) -> None:
    assert marked(text) == text == marked(text, lines=True)


@given(st.dictionaries(st.text(), st.text()))
def test_json_means_the_same_escaped(value: Any) -> None:
    written = escaped_in_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(written) == value
    assert acted_on(written, "") == []


@pytest.mark.parametrize("text", ["-5", "+1.50", "1e3", "-0.25", "plain", "a=b", "", "1,240"])
def test_a_cell_that_is_no_formula_stays(text: str) -> None:
    assert spreadsheet_cell(text) == text


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|x", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "\x00=1", "--1", FORMULA]
)
def test_a_formula_becomes_a_text(text: str) -> None:
    assert spreadsheet_cell(text) == f"'{text}"


async def signalbox(server: OpenAIServer, home: Path, *words: str, terminal: bool = False) -> tuple[str, str]:
    """Run the command line; on a terminal, both streams are one."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONUTF8": "1",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "SIGNALBOX_HOME": str(home),
        "VLLM_BASE_URL": server.base_url,
        "MAX_RETRIES": "0",
    }
    ours, theirs = os.openpty() if terminal else (-1, subprocess.PIPE)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gui",
        *words,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    )
    if not terminal:
        out, err = await process.communicate()
        return out.decode(), err.decode()
    os.close(theirs)
    shown = await asyncio.to_thread(_all_of, ours)
    await process.wait()
    return shown.replace("\r\n", "\n"), ""


def _all_of(terminal: int) -> str:
    read = b""
    while True:
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # the other end is closed
            piece = b""
        if not piece:
            os.close(terminal)
            return read.decode()
        read += piece


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
async def test_an_answer_never_acts_on_the_terminal(home: Path) -> None:
    async with OpenAIServer(models=(MODEL,)) as server:
        server.default = Streams("Be", HOSTILE, "\x1b", "[2J end")
        ask = ("ask", "--force", "local", "--project", PROJECT, "hi")
        (shown, _), (piped, about), (written, _) = await asyncio.gather(
            signalbox(server, home, *ask, terminal=True),
            signalbox(server, home, *ask),
            signalbox(server, home, *ask, "--json"),
        )
        assert "␛]0;OWNED TITLE␇" in shown
        assert "<U+009B>31m C1 ␈␈␈ end␍ overwritten" in shown
        assert acted_on(shown.replace("\r", ""), "\n\t") == []
        assert HOSTILE in piped  # a pipe gets the answer as it is
        assert acted_on(about) == []
        assert HOSTILE in json.loads(written)["text"]
        assert acted_on(written) == []

        server.default = Refuses(status=400, body={"error": {"message": f"bad {HOSTILE}", "code": 400}})
        (refused, _), (report, _), (cells, _), (models, _) = await asyncio.gather(
            signalbox(server, home, *ask, terminal=True),
            signalbox(server, home, "report", "--by", "project"),
            signalbox(server, home, "report", "--by", "project", "--csv"),
            signalbox(server, home, "report", "--by", "model", "--csv"),
        )
        assert "OWNED TITLE" in refused
        assert acted_on(refused.replace("\r", "")) == []
        assert len(report.splitlines()) <= 5  # a line end in a name begins no line of the table
        assert "si␛]0;owned␇te<U+202E>" in report
        assert acted_on(report) == []
        assert next(csv.DictReader(io.StringIO(cells)))["project"].startswith("'=si")
        assert next(csv.DictReader(io.StringIO(models)))["model"] == "'=tiny"
    log = (home / "logs" / "signalbox.log").read_text(encoding="utf-8")
    assert acted_on(log) == []
