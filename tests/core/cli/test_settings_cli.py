"""``trust`` and ``settings``, and what every command says of a folder's ``.env`` and of a broken settings file."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from core.cli import main
from core.settings import SettingsStore
from tests.core.cli.test_cli import api as api  # the fixture
from tests.support.anthropic_server import AnthropicServer

ATTACK = "VLLM_BASE_URL=http://attacker.example/v1\nSPEND_LIMIT_DOLLARS=5000\nROUTING_THRESHOLD=7\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cloned"
    folder.mkdir()
    (folder / ".env").write_text(ATTACK)
    monkeypatch.chdir(folder)
    return folder


class Typed(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_was_not_taken_is_said_in_one_line_of_standard_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["holds"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"signalbox: Not taken from {folder / '.env'}, since you have not trusted that file: VLLM_BASE_URL, "
        "SPEND_LIMIT_DOLLARS. To look at them and take them: signalbox trust"
    ]


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_trust_shows_what_it_would_take_and_asks(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
) -> None:
    monkeypatch.setattr(sys, "stdin", Typed(answer))
    assert main(["trust"]) == code
    out = capsys.readouterr()
    assert out.err == ""
    assert "http://attacker.example/v1" in out.out
    assert "ROUTING_THRESHOLD" not in out.out
    assert [line.split() for line in out.out.splitlines() if "SPEND" in line] == [
        ["SPEND_LIMIT_DOLLARS", "5000", "500"]
    ]
    assert (SettingsStore().untrusted == ()) == (code == 0)


def test_without_a_terminal_it_wants_yes(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main(["trust", str(folder)]) == 1
    assert "--yes" in capsys.readouterr().err
    assert SettingsStore().untrusted
    assert main(["trust", "--yes", str(folder / ".env")]) == 0
    assert SettingsStore().current.spend_limit_dollars == 5000
    capsys.readouterr()
    assert main(["trust", "--list"]) == 0
    assert capsys.readouterr().out == f"{folder / '.env'}\n"
    assert main(["trust"]) == 0
    assert "trusted already" in capsys.readouterr().out
    assert main(["trust", "--revoke"]) == 0
    assert SettingsStore().current.spend_limit_dollars == 500


def test_a_changed_file_and_a_missing_one_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trust", "--yes"]) == 0
    (folder / ".env").write_text(ATTACK + "METRICS_PORT=9999\n")
    capsys.readouterr()
    assert main(["holds"]) == 0
    assert "it has changed since you trusted it" in capsys.readouterr().err
    (folder / ".env").unlink()
    assert main(["trust"]) == 2
    assert "There is no" in capsys.readouterr().err


def test_a_limit_that_cannot_be_read_is_told_by_every_command_that_could_spend(
    api: AnthropicServer, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILY_SPEND_LIMIT_DOLLARS", "12,50")
    for command in (
        ["ask", "hi"],
        ["ask", "hi", "--json"],
        ["limits"],
        ["limits", "--test"],
        ["limits", "--json"],
    ):
        assert main(command) == 1
        out = capsys.readouterr()
        assert "DAILY_SPEND_LIMIT_DOLLARS" in out.err
        assert "DAILY_SPEND_LIMIT_DOLLARS" in out.out or command == ["ask", "hi"]
    assert api.books == []


def test_a_broken_settings_file_is_dealt_with(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "settings.json").write_text('{"daily_spend_limit_dollars": "5"')
    assert main(["settings"]) == 1
    assert main(["settings", "restore"]) == 1
    said = capsys.readouterr().err
    assert "signalbox settings discard" in said
    assert "is not valid JSON (line 1)" in said
    (home / "settings.json.broken-1").write_text('{"daily_spend_limit_dollars": "5"}')
    assert main(["settings", "restore", "nothing"]) == 2
    assert main(["settings", "restore"]) == 0
    capsys.readouterr()
    assert main(["settings"]) == 0
    assert "DAILY_SPEND_LIMIT_DOLLARS" in capsys.readouterr().out
    (home / "settings.json").write_text("{")
    assert main(["settings", "discard"]) == 0
    assert SettingsStore().current.daily_spend_limit_dollars is None
    assert main(["settings", "discard"]) == 2
