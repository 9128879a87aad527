"""The home folder that the window takes before the settings are loaded is the one the settings say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.base.home import default_home, plain_home
from core.settings import SettingsStore


def settled(env: dict[str, str], dotenv_path: Path) -> Path:
    return SettingsStore(env=env, dotenv_path=dotenv_path).current.home


@pytest.mark.parametrize(
    "value", [None, "", "  ", "relative/folder", "~/signalbox", "{folder}", "{folder}/new"]
)
def test_it_is_the_settings_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    env = {} if value is None else {"SIGNALBOX_HOME": value.format(folder=tmp_path)}
    missing = tmp_path / "missing.env"
    assert plain_home(env, missing) == settled(env, missing)
    if not (value or "").strip():
        assert plain_home(env, missing) == default_home()


@example("0\x1f")
@given(value=st.text(max_size=20).filter(lambda text: "\0" not in text))
def test_whatever_is_named_the_two_agree_or_the_settings_decide(value: str) -> None:
    env, missing = {"SIGNALBOX_HOME": value}, Path("/nonexistent/.env")
    assert plain_home(env, missing) in (None, settled(env, missing))


@pytest.mark.parametrize("value", ["{file}", "~nobody-of-that-name/x", "a\nb"])
def test_what_is_not_allowed_is_for_the_settings_to_decide(tmp_path: Path, value: str) -> None:
    file = tmp_path / "file"
    file.touch()
    assert plain_home({"SIGNALBOX_HOME": value.format(file=file)}, tmp_path / "missing.env") is None


def test_so_is_a_file_of_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"SIGNALBOX_HOME={tmp_path / 'other'}\n", encoding="utf-8")
    assert plain_home({}, dotenv) is None
    assert settled({}, dotenv) == default_home()
    store = SettingsStore(env={}, dotenv_path=dotenv)
    store.trust(store.untrusted[0])
    assert settled({}, dotenv) == tmp_path / "other"
