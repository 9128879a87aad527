"""``settings.json`` that somebody else may have written, and ``.env`` files of every shape."""

from __future__ import annotations

import os
import stat
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from core.settings import SettingsStore
from tests.support.odd_files import give_away

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes and owners")


def store(home: Path, dotenv: Path | None = None) -> SettingsStore:
    return SettingsStore(env={"SIGNALBOX_HOME": str(home)}, dotenv_path=dotenv or home.parent / ".env")


@posix_only
@pytest.mark.parametrize("kind", ["group", "others", "stranger", "strangers_through_a_link"])
def test_a_settings_file_that_others_may_write_raises_no_limit_and_closes_the_api(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    path = home / "settings.json"
    path.write_text('{"spend_limit_dollars": "9000", "anthropic_base_url": "http://attacker.example"}')
    path.chmod({"group": 0o660, "others": 0o606}.get(kind, 0o600))
    if kind == "strangers_through_a_link":
        path.rename(tmp_path / "theirs")
        path.symlink_to(tmp_path / "theirs")
    if kind.startswith("stranger"):
        give_away(path, monkeypatch)
    read = store(home)
    assert read.current.spend_limit_dollars == Decimal(500)
    assert read.current.anthropic_base_url is None
    (closing,) = read.closing_problems
    assert ("chmod go-w" if kind in ("group", "others") else "sudo chown") in closing.message
    assert path.exists()


@posix_only
def test_a_settings_file_counts_as_soon_as_only_the_user_may_write_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    path = home / "settings.json"
    path.write_text('{"spend_limit_dollars": "9"}')
    path.chmod(0o666)
    read = store(home)
    assert read.closing_problems
    path.chmod(0o600)
    assert read.reload_if_changed()
    assert (read.current.spend_limit_dollars, read.closing_problems) == (Decimal(9), ())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_settings_file_in_a_windows_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / "settings.json").write_text('{"spend_limit_dollars": "9"}', encoding=encoding)
    assert store(tmp_path / "home").current.spend_limit_dollars == Decimal(9)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_a_limit_in_any_unicode_encoding_holds(tmp_path: Path, encoding: str) -> None:
    (tmp_path / ".env").write_text("DAILY_SPEND_LIMIT_DOLLARS=5\n", encoding=encoding)
    read = store(tmp_path / "home")
    assert (read.current.daily_spend_limit_dollars, read.problems) == (Decimal(5), ())


@pytest.mark.parametrize(
    "line",
    [
        b"set DAILY_SPEND_LIMIT_DOLLARS=5",
        b"- DAILY_SPEND_LIMIT_DOLLARS=5",
        b"DAILY_SPEND_LIMIT_DOLLARS: 5",
        b"A=1\rDAILY_SPEND_LIMIT_DOLLARS 5",
        b"D\0AILY_SPEND_LIMIT_DOLLARS=5",
    ],
)
def test_a_line_that_holds_a_limit_and_makes_no_sense_closes_the_api(tmp_path: Path, line: bytes) -> None:
    (tmp_path / ".env").write_bytes(line + b"\n")
    assert store(tmp_path / "home").closing_problems


@pytest.mark.parametrize(
    "text",
    [
        "a b\n" * 4_000,
        "".join(f"SPEND_LIMIT_DOLLARZ{n}=1\n" for n in range(3_000)),
        "\n" * 200_000,
        "A=b" + " " * 200_000 + "c\n",
    ],
    ids=["no_assignments", "near_misses", "empty_lines", "blanks"],
)
@pytest.mark.timeout(60)
def test_a_strangers_file_of_thousands_of_lines_is_told_of_in_a_few(tmp_path: Path, text: str) -> None:
    """Each of these took a minute, or as many lines of its own, of every command in that folder."""
    (tmp_path / ".env").write_text(text)
    assert len(store(tmp_path / "home").problems) <= 6


def test_a_home_that_cannot_be_looked_at_is_named_and_closes_the_api(tmp_path: Path) -> None:
    """One without permission to look raises the same kind of error as one whose name is too long."""
    read = store(tmp_path / ("a" * 300))
    (problem,) = read.closing_problems
    assert (problem.name, problem.origin) == ("home", "environment")


@posix_only
def test_a_home_that_a_setting_makes_is_the_users_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        SettingsStore(tmp_path / "new" / "home", env={}).set("routing_threshold", 10)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "home").stat().st_mode) == 0o700
