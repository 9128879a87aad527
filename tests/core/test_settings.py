"""Settings: where each value comes from, what a bad one does, and that settings.json survives everything."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.base.redaction import redact
from core.errors import InvalidRequest
from core.settings import NAMES, SECRETS, InvalidSetting, Settings, SettingsFileError, SettingsStore, env_name
from core.settings.model import facts, validate

DATA = Path(__file__).parents[1] / "data"
EVERY_PLACE = ("environment", ".env", "panel", "default")  # tests/core/settings has the home folder's .env
KEY = "sk-ant-api03-ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def store(home: Path, **env: str) -> SettingsStore:
    return SettingsStore(home=home, env=env)


def write_panel(home: Path, content: object) -> None:
    (home / "settings.json").write_text(json.dumps(content), encoding="utf-8")


def test_defaults_are_those_of_the_documentation(home: Path) -> None:
    current = store(home).current
    assert current.anthropic_model == "claude-sonnet-4-6-20260501"
    assert current.routing_mode == "hybrid"
    assert current.routing_threshold == 3000
    assert current.enable_fallback is True
    assert current.max_tokens_per_request == 1024
    assert current.spend_limit_dollars == Decimal(500)
    assert current.local_server == "auto"
    assert current.anthropic_api_key is None
    assert current.local_dollars_per_hour is None
    assert current.home == home


def test_what_is_allowed_reads_as_it_always_did() -> None:
    """The texts are written from the bounds; people and scripts know them."""
    before = json.loads((DATA / "settings_texts.json").read_text(encoding="utf-8"))
    assert {name: facts(name) for name in NAMES} == before


@pytest.mark.parametrize("name", NAMES)
def test_the_text_and_the_check_agree_on_the_bounds(name: str) -> None:
    text = facts(name)["allowed"]
    said = re.match(r"(?:a whole number|a number|an amount) from (\S+) to (\d+)", text)
    if said is None:
        return
    low, high = map(Decimal, said.groups())
    step = Decimal(1) if text.startswith("a whole") else Decimal("0.01")
    for value in (low, high):
        validate(name, str(value))
    for value in (low - step, high + step):
        with pytest.raises(ValueError, match=name):
            validate(name, str(value))


def test_a_hugging_face_token_of_the_container_is_no_setting_and_stays_hidden(home: Path) -> None:
    (home / ".env").write_text("HF_TOKEN=plainlookingToken1\n")
    write_panel(home, {"hf_token": "plainlookingToken3"})
    read = store(home, HF_TOKEN="plainlookingToken2")
    assert read.problems == ()
    assert not hasattr(read.current, "hf_token")
    assert "plainlooking" not in redact("plainlookingToken1 and plainlookingToken2")


def test_env_example_lists_every_setting_with_its_default() -> None:
    """Copied to ``.env`` as it stands, with each commented value put in force, the example changes nothing."""
    text = (Path(__file__).parents[2] / ".env.example").read_text(encoding="utf-8")
    named = {line.lstrip("# ").partition("=")[0]: line for line in text.splitlines() if "=" in line}
    assert set(map(env_name, NAMES)) <= set(named)
    in_force = {name: line.partition("=")[2] for name, line in named.items() if name in map(env_name, NAMES)}
    with tempfile.TemporaryDirectory() as folder:
        read = SettingsStore(home=Path(folder), env=in_force)
        assert read.problems == ()
        assert read.current == SettingsStore(home=Path(folder), env={}).current


@pytest.mark.parametrize("winner", EVERY_PLACE)
def test_precedence_is_environment_then_dotenv_then_panel_then_default(home: Path, winner: str) -> None:
    env: dict[str, str] = {}
    levels = EVERY_PLACE[EVERY_PLACE.index(winner) :]
    if "environment" in levels:
        env["ROUTING_THRESHOLD"] = "1"
    if ".env" in levels:
        (home / ".env").write_text("ROUTING_THRESHOLD=2\n")
    if "panel" in levels:
        write_panel(home, {"routing_threshold": 3})
    read = store(home, **env)
    expected = {"environment": 1, ".env": 2, "panel": 3, "default": 3000}
    assert read.current.routing_threshold == expected[winner]
    assert read.origin("routing_threshold") == winner
    locked = {info.name: info.locked for info in read.describe()}
    assert locked["routing_threshold"] == (winner in ("environment", ".env"))


def test_an_empty_variable_counts_as_not_set(home: Path) -> None:
    (home / ".env").write_text("ROUTING_MODE=local-only\nVLLM_MODEL=\n")
    read = store(home, ROUTING_MODE="", VLLM_MODEL="  ")
    assert read.current.routing_mode == "local-only"
    assert read.current.vllm_model is None
    assert read.problems == ()


BAD = [
    ("ROUTING_THRESHOLD", "abc"),
    ("ROUTING_THRESHOLD", "-1"),
    ("ROUTING_THRESHOLD", "3.5"),
    ("ROUTING_THRESHOLD", "9" * 5000),
    ("COMPLEXITY_THRESHOLD", "1.01"),
    ("COMPLEXITY_THRESHOLD", "nan"),
    ("MAX_TOKENS_PER_REQUEST", "0"),
    ("MAX_TOKENS_PER_REQUEST", "1000001"),
    ("SPEND_LIMIT_DOLLARS", "-0.01"),
    ("SPEND_LIMIT_DOLLARS", "Infinity"),
    ("SPEND_LIMIT_DOLLARS", "1e999999"),
    ("SPEND_LIMIT_DOLLARS", "0.0000000001"),
    ("SPEND_LIMIT_DOLLARS", "1e2"),
    ("ROUTING_MODE", "fastest"),
    ("LOCAL_SERVER", "docker"),
    ("ENABLE_FALLBACK", "perhaps"),
    ("VLLM_BASE_URL", "gpu.example.com:8000"),
    ("VLLM_BASE_URL", "http://:80"),
    ("VLLM_BASE_URL", "http://h:99999/v1"),
    ("VLLM_BASE_URL", "http://[::1/v1"),
    ("VLLM_BASE_URL", "http://a b/v1"),
    ("ANTHROPIC_BASE_URL", "file:///etc/passwd"),
    ("LEDGER_URL", "mysql://h/x"),
    ("ANTHROPIC_MODEL", "a\x07b"),
    ("LOCAL_MODEL_PATH", "~no-such-user-here/x.gguf"),
    ("LOCAL_DOLLARS_PER_HOUR", "-1"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_names_itself_and_the_default_is_used(home: Path, name: str, value: str) -> None:
    read = store(home, **{name: value})
    attribute = name.lower()
    assert getattr(read.current, attribute) == getattr(store(home).current, attribute)
    assert read.origin(attribute) == "default"
    (problem,) = read.problems
    assert (problem.name, problem.origin) == (attribute, "environment")
    assert problem.value is not None
    assert problem.value[0] == value[0]
    assert problem.allowed
    assert name in problem.message
    assert problem.value in problem.message
    assert problem.allowed in problem.message
    assert len(problem.message) < 600


def test_a_bad_value_falls_to_the_next_place_not_to_the_default(home: Path) -> None:
    (home / ".env").write_text("ROUTING_THRESHOLD=lots\n")
    write_panel(home, {"routing_threshold": 77})
    read = store(home, ROUTING_THRESHOLD="many")
    assert read.current.routing_threshold == 77
    assert read.origin("routing_threshold") == "panel"
    assert [(problem.value, problem.origin) for problem in read.problems] == [
        ("many", "environment"),
        ("lots", ".env"),
    ]


@pytest.mark.parametrize("name", sorted(SECRETS))
@pytest.mark.parametrize("value", ["sk-ant-top secret", "clé-secrète", "two\nlines-secret"])
def test_a_bad_key_is_reported_without_its_value(home: Path, name: str, value: str) -> None:
    read = store(home, **{env_name(name): value})
    assert getattr(read.current, name) is None
    (problem,) = read.problems
    assert problem.value is None
    assert env_name(name) in problem.message
    assert "secr" not in problem.message


def test_a_key_pasted_into_the_wrong_setting_is_not_shown(home: Path) -> None:
    (problem,) = store(home, ROUTING_MODE=KEY).problems
    assert KEY[7:] not in problem.message + str(problem.value)


def test_keys_and_passwords_are_masked_wherever_they_are_shown(home: Path) -> None:
    read = store(home, ANTHROPIC_API_KEY=f" {KEY}\n", LEDGER_URL="postgresql://me:hunter22@db/ledger")
    assert read.current.anthropic_api_key is not None
    assert read.current.anthropic_api_key.get_secret_value() == KEY
    shown = {info.name: info.value for info in read.describe()}
    assert shown["anthropic_api_key"] == "sk-ant-••••••WXYZ"
    assert "hunter22" not in repr(shown) + repr(read.current) + str(read.current)
    assert KEY not in repr(shown) + repr(read.current)
    assert read.current.ledger_url == "postgresql://me:hunter22@db/ledger"


def test_set_takes_effect_at_once_and_survives_a_restart(home: Path) -> None:
    first = store(home)
    before = first.current
    first.set("spend_limit_dollars", "12.50")
    first.set("local_model_path", Path("/models/x.gguf"))
    first.set("enable_fallback", False)
    assert before.spend_limit_dollars == Decimal(500), "a snapshot in use does not change"
    again = store(home)
    for read in (first, again):
        assert read.current.spend_limit_dollars == Decimal("12.50")
        assert read.current.local_model_path == Path("/models/x.gguf").absolute()
        assert read.current.enable_fallback is False
        assert read.origin("enable_fallback") == "panel"
    again.reset("enable_fallback")
    assert again.current.enable_fallback is True
    assert store(home).origin("enable_fallback") == "default"


def test_set_while_the_environment_wins_is_kept_for_later(home: Path) -> None:
    read = store(home, ROUTING_THRESHOLD="9")
    read.set("routing_threshold", 5)
    assert read.current.routing_threshold == 9
    assert store(home).current.routing_threshold == 5


@pytest.mark.parametrize(("name", "value"), BAD)
def test_set_refuses_what_is_not_allowed_and_changes_nothing(home: Path, name: str, value: str) -> None:
    read = store(home)
    with pytest.raises(InvalidSetting) as caught:
        read.set(name.lower(), value)
    assert isinstance(caught.value, InvalidRequest)
    assert name in str(caught.value)
    assert caught.value.allowed in str(caught.value)
    assert not (home / "settings.json").exists()


@pytest.mark.parametrize(
    "value",
    [
        True,
        None,
        [],
        object(),
        pytest.param(10**9000, id="huge"),
        float("nan"),
        pytest.param("\ud800", id="surrogate"),
        b"\xff",
    ],
)
def test_set_refuses_values_of_any_other_kind(home: Path, value: object) -> None:
    with pytest.raises(InvalidSetting, match="MAX_TOKENS_PER_REQUEST"):
        store(home).set("max_tokens_per_request", value)


def test_secrets_never_reach_settings_json(home: Path) -> None:
    read = store(home)
    for name in SECRETS:
        with pytest.raises(InvalidSetting, match="keyring") as caught:
            read.set(name, KEY)
        assert KEY not in str(caught.value)
    with pytest.raises(InvalidSetting, match="password") as caught:
        read.set("ledger_url", "postgresql://me:hunter22@db/ledger")
    assert "hunter22" not in str(caught.value)
    with pytest.raises(InvalidSetting, match="SIGNALBOX_HOME"):
        read.set("home", "/elsewhere")
    with pytest.raises(InvalidSetting, match="colour"):
        read.set("colour", "blue")
    with pytest.raises(InvalidSetting):
        read.reset("colour")
    assert not (home / "settings.json").exists()


def test_a_key_written_into_settings_json_by_hand_is_not_used(home: Path) -> None:
    write_panel(home, {"anthropic_api_key": KEY, "routing_threshold": 8})
    read = store(home)
    assert read.current.anthropic_api_key is None
    assert read.current.routing_threshold == 8
    (problem,) = read.problems
    assert "keys set anthropic" in problem.message
    assert KEY not in problem.message


def test_names_of_a_newer_version_are_kept(home: Path) -> None:
    write_panel(home, {"from_the_future": [1, 2], "routing_threshold": 8})
    store(home).set("routing_threshold", 9)
    kept = json.loads((home / "settings.json").read_text())
    assert kept == {"from_the_future": [1, 2], "routing_threshold": 9}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe\x00", b'"x"', b"[" * 200_000, b'{"a": ' + b"9" * 9000 + b"}"]
)
def test_a_broken_settings_json_is_kept_aside(home: Path, content: bytes) -> None:
    (home / "settings.json.broken-1").write_text("an older one")
    (home / "settings.json").write_bytes(content)
    read = store(home)
    assert read.current.routing_threshold == 3000
    (problem,) = read.problems
    assert problem.name == "settings.json"
    assert "settings.json.broken-2" in problem.message
    assert (home / "settings.json.broken-2").read_bytes() == content
    assert (home / "settings.json.broken-1").read_text() == "an older one"
    read.set("routing_threshold", 4)
    again = store(home)
    assert again.current.routing_threshold == 4
    assert read.problems == again.problems == (problem,), (
        "still said after the next change, and at each start"
    )


def test_set_over_a_file_that_broke_meanwhile_loses_nothing(home: Path) -> None:
    read = store(home)
    (home / "settings.json").write_bytes(b"{half")
    read.set("routing_threshold", 4)
    assert (home / "settings.json.broken-1").read_bytes() == b"{half"
    assert json.loads((home / "settings.json").read_text()) == {"routing_threshold": 4}


def test_a_folder_in_the_place_of_settings_json_is_a_problem_not_a_crash(home: Path) -> None:
    (home / "settings.json").mkdir()
    read = store(home)
    assert read.problems[0].name == "settings.json"
    with pytest.raises(SettingsFileError, match=r"settings\.json"):
        read.set("routing_threshold", 4)
    assert read.current.routing_threshold == 3000


def test_a_failing_write_leaves_the_old_file_and_no_litter(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = store(home)
    read.set("routing_threshold", 4)

    def disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(SettingsFileError, match="No space left") as caught:
        read.set("routing_threshold", 5)
    assert "kept" in caught.value.hint
    assert store(home).current.routing_threshold == 4
    assert sorted(path.name for path in home.iterdir()) == ["settings.json", "settings.json.lock"]


def test_home_comes_from_the_environment_then_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"SIGNALBOX_HOME={tmp_path / 'from-dotenv'}\n")
    read = SettingsStore(env={}, dotenv_path=dotenv)
    read.trust(read.untrusted[0])
    read = SettingsStore(env={}, dotenv_path=dotenv)
    assert read.current.home == tmp_path / "from-dotenv"
    assert read.origin("home") == ".env"
    read = SettingsStore(env={"SIGNALBOX_HOME": str(tmp_path / "env")}, dotenv_path=dotenv)
    assert read.current.home == tmp_path / "env"
    assert not (tmp_path / "env").exists(), "reading settings makes no folder"
    read.set("routing_threshold", 1)
    assert (tmp_path / "env" / "settings.json").exists()


def test_a_file_where_home_should_be_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    read = SettingsStore(env={"SIGNALBOX_HOME": str(tmp_path / "file")})
    assert read.origin("home") == "default"
    assert read.problems[0].name == "home"


def test_dotenv_understands_quotes_comments_export_and_a_byte_order_mark(home: Path) -> None:
    lines = "# a comment\nexport ROUTING_MODE=\"api-only\"\r\nVLLM_MODEL='a # b' # c\nROUTING_THRESHOLD = 7\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (home / ".env").write_text(lines, encoding=encoding)
        current = store(home).current
        assert (current.routing_mode, current.vllm_model, current.routing_threshold) == (
            "api-only",
            "a # b",
            7,
        )


def test_a_line_of_dotenv_that_makes_no_sense_is_named_without_its_text(home: Path) -> None:
    (home / ".env").write_text(f"ROUTING_THRESHOLD=7\n'{KEY}\nROUTING_MODE=api-only\n")
    read = store(home)
    assert read.current.routing_threshold == 7
    assert read.current.routing_mode == "api-only"
    (problem,) = read.problems
    assert "Line 2" in problem.message
    assert KEY not in problem.message


def test_a_folder_named_dotenv_is_ignored(home: Path) -> None:
    (home / ".env").mkdir()
    assert store(home).problems == ()


def test_listeners_hear_of_changes_only_and_not_after_unsubscribing(home: Path) -> None:
    read = store(home)
    heard: list[int] = []
    unsubscribe = read.on_change(lambda snapshot: heard.append(snapshot.routing_threshold))

    def broken(snapshot: Settings) -> None:
        raise RuntimeError("a listener's own fault")

    read.on_change(broken)
    read.set("routing_threshold", 4)
    read.set("routing_threshold", 4)
    read.reload()
    assert heard == [4]
    unsubscribe()
    read.set("routing_threshold", 5)
    assert heard == [4]


def test_a_listener_may_wait_for_another_thread_that_uses_the_store(home: Path) -> None:
    read = store(home)
    seen: list[str] = []

    def listener(snapshot: Settings) -> None:
        thread = threading.Thread(target=lambda: seen.append(read.describe()[0].name))
        thread.start()
        thread.join(10)

    read.on_change(listener)
    read.set("routing_threshold", 4)
    assert seen == ["anthropic_api_key"]


def test_another_copy_s_change_is_seen_on_reload(home: Path) -> None:
    one, other = store(home), store(home)
    other.set("routing_threshold", 4)
    assert one.current.routing_threshold == 3000
    assert one.reload_if_changed()
    assert one.current.routing_threshold == 4
    assert not one.reload_if_changed()
    (home / ".env").write_text("ROUTING_THRESHOLD=6\n")
    assert one.reload_if_changed()
    assert one.current.routing_threshold == 6


WRITER = """
import sys
from pathlib import Path
from core.settings import SettingsStore
store = SettingsStore(home=Path(sys.argv[1]), env={}, dotenv_path=Path(sys.argv[1]) / "none")
name, count = sys.argv[2], int(sys.argv[3])
for number in range(1, count + 1):
    store.set(name, number)
    store.reload()
    assert getattr(store.current, name) == number, "another copy wrote over this one's change"
"""


def test_two_copies_writing_at_once_lose_nothing(home: Path) -> None:
    """Each process writes its own setting many times, while this one reads: never broken, none lost."""
    root = Path(__file__).parents[2]
    names = ("routing_threshold", "max_tokens_per_request", "spend_limit_dollars")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(home), name, "60"], cwd=root) for name in names
    ]
    while any(writer.poll() is None for writer in writers):
        assert store(home).problems == ()
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    current = store(home).current
    assert [int(getattr(current, name)) for name in names] == [60, 60, 60]
    assert list(home.glob("*.broken-*")) == []


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(content=st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_garbage_in_either_file_never_stops_a_start(scratch: Path, content: bytes) -> None:
    (scratch / "settings.json").write_bytes(content)
    (scratch / ".env").write_bytes(content)
    SettingsStore(home=scratch, env={}, dotenv_path=scratch / ".env").describe()
    for kept in scratch.glob("*.broken-*"):
        assert kept.read_bytes() == content
        kept.unlink()


@given(values=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_json_value_is_used_or_reported(scratch: Path, values: dict[str, Any]) -> None:
    (scratch / "settings.json").write_text(json.dumps(values))
    (scratch / ".env").unlink(missing_ok=True)
    read = SettingsStore(home=scratch, env={}, dotenv_path=scratch / "none")
    reported = {problem.name for problem in read.problems}
    for name in values:
        if name != "home":
            assert (read.origin(name) == "panel") != (name in reported)
    for problem in read.problems:
        problem.message.encode()  # fit for any screen or log


@given(
    threshold=st.integers(0, 1_000_000_000),
    share=st.floats(0, 1),
    limit=st.decimals(0, 1_000_000_000, places=9),
    model=st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=40),
    fallback=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_what_the_panel_sets_comes_back_the_same(
    scratch: Path, threshold: int, share: float, limit: Decimal, model: str, fallback: bool
) -> None:
    values = {
        "routing_threshold": threshold,
        "complexity_threshold": share,
        "spend_limit_dollars": limit,
        "vllm_model": model,
        "enable_fallback": fallback,
    }
    (scratch / "settings.json").unlink(missing_ok=True)
    (scratch / ".env").unlink(missing_ok=True)
    first = SettingsStore(home=scratch, env={}, dotenv_path=scratch / "none")
    for name, value in values.items():
        first.set(name, value)
    again = SettingsStore(home=scratch, env={}, dotenv_path=scratch / "none")
    assert {name: getattr(again.current, name) for name in values} == values
    assert again.current == first.current
    assert again.problems == ()


def test_importing_settings_brings_no_heavy_package() -> None:
    heavy = {"anthropic", "openai", "sqlalchemy", "genai_prices", "keyring", "PySide6", "dotenv", "asyncio"}
    code = "import sys, core.settings; print(' '.join(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert heavy & set(output.split()) <= {"asyncio"}


def test_a_working_folder_that_is_gone_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(SettingsFileError, match="folder you are in no longer exists") as told:
        SettingsStore(tmp_path / "home", env={})
    assert "Errno" not in str(told.value)
    assert told.value.hint
    assert SettingsStore(tmp_path / "home", env={}, dotenv_path=tmp_path / ".env").problems == ()


def test_the_folders_env_is_read_once_at_the_start_unless_it_changes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.settings import store

    dotenv = tmp_path / ".env"
    dotenv.write_text("ROUTING_THRESHOLD=5\n")
    read: list[Path] = []
    whole_read = store.read_dotenv

    def counted(path: Path, *, then: str = "") -> object:
        read.append(path)
        found = whole_read(path)
        if then:
            dotenv.write_text(then)
        return found

    monkeypatch.setattr(store, "read_dotenv", counted)
    env = {"SIGNALBOX_HOME": str(tmp_path / "home")}
    assert SettingsStore(env=env, dotenv_path=dotenv).current.routing_threshold == 5
    assert read.count(dotenv) == 1

    def changes_it(path: Path) -> object:
        first = path == dotenv and not changed
        changed.append(path)
        return counted(path, then="ROUTING_THRESHOLD=777\n" if first else "")

    changed: list[Path] = []
    monkeypatch.setattr(store, "read_dotenv", changes_it)
    assert SettingsStore(env=env, dotenv_path=dotenv).current.routing_threshold == 777
