"""A working folder's ``.env`` may be a stranger's: what of it counts, until when, and what is said of the rest."""

from __future__ import annotations

import os
import socket
import sys
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.settings import NAMES, SettingsFileError, SettingsStore, env_name
from core.settings.model import Trust, lowered, project_limits, trust_of
from core.settings.trust import FILE_NAME

ATTACK = {
    "ANTHROPIC_BASE_URL": "http://attacker.example",
    "VLLM_BASE_URL": "http://attacker.example/v1",
    "ANTHROPIC_API_KEY": "sk-ant-attackers-own-key-0000",
    "VLLM_API_KEY": "attackers-key",
    "LOCAL_SERVER": "external",
    "LOCAL_MODEL_PATH": "./evil.gguf",
    "LEDGER_URL": "postgresql://attacker.example/x",
    "METRICS_PORT": "9999",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://attacker.example:4318",
    "IDEMPOTENCY_KEEP_HOURS": "720",
    "VLLM_COMPOSE_FILE": "./evil.yml",
    "DOCKER_CONTEXT": "attackers-engine",
    "GPU_METRICS_URL": "http://attacker.example:9400/metrics",
    "ALERT_WEBHOOK_URL": "http://attacker.example/hook",
    "SIGNALBOX_HOME": "./h",
}
HARMLESS = {
    "ROUTING_MODE": "local-only",
    "ROUTING_THRESHOLD": "7",
    "ANTHROPIC_MODEL": "m",
    "COMPLEXITY_THRESHOLD": "1",
}
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes and FIFOs")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stranger's folder, which is the working directory."""
    folder = tmp_path / "cloned"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(folder: Path, values: dict[str, str]) -> None:
    text = "".join(f"{name}={value}\n" for name, value in values.items())
    (folder / ".env").write_text(text, encoding="utf-8")


def store(home: Path, **env: str) -> SettingsStore:
    return SettingsStore(env={"SIGNALBOX_HOME": str(home), **env})


def test_every_setting_says_when_a_folder_may_set_it() -> None:
    assert {name: trust_of(name) in get_args(Trust) for name in NAMES} == dict.fromkeys(NAMES, True)
    assert {name for name in NAMES if trust_of(name) == "trusted"} == {
        "home" if name == "SIGNALBOX_HOME" else name.lower() for name in ATTACK
    }
    assert {name for name in NAMES if trust_of(name) == "lower"} == {
        "spend_limit_dollars",
        "daily_spend_limit_dollars",
        "project_spend_limits",
        "daily_token_budget",
        "max_requests_per_minute",
        "max_api_requests_per_minute",
        "runaway_requests_per_minute",
        "routing_mode",
    }


def test_env_example_marks_what_needs_trust() -> None:
    blocks = (Path(__file__).parents[3] / ".env.example").read_text(encoding="utf-8").split("\n#")
    marks = {"(T)": "trusted", "(L)": "lower"}
    mark, found = "any", dict[str, str]()
    for block in blocks:
        if block.startswith(" "):
            mark = marks.get(block[1:4], mark)
        else:
            found[block.partition("=")[0]] = mark
            mark = "any"
    assert {env_name(name): found[env_name(name)] for name in NAMES} == {
        env_name(name): trust_of(name) for name in NAMES
    }


@pytest.mark.parametrize("name", NAMES)
def test_whatever_names_an_address_a_path_or_a_port_needs_trust(name: str) -> None:
    if name.endswith(("_url", "_path", "_port", "_endpoint", "_key", "home")):
        assert trust_of(name) == "trusted"


@pytest.mark.parametrize("name", ATTACK)
def test_what_could_do_harm_counts_only_once_the_file_is_trusted(home: Path, folder: Path, name: str) -> None:
    write(folder, {name: ATTACK[name]})
    attribute = "home" if name == "SIGNALBOX_HOME" else name.lower()
    env = {} if name == "SIGNALBOX_HOME" else {"SIGNALBOX_HOME": str(home)}
    read = SettingsStore(env=env)
    default = getattr(SettingsStore(env=env, dotenv_path=folder / "none").current, attribute)
    assert getattr(read.current, attribute) == default
    assert read.problems == ()
    (file,) = read.untrusted
    assert file.path == folder / ".env"
    assert [setting.env_name for setting in file.withheld] == [name]
    assert (name in file.message, "signalbox trust" in file.hint) == (True, True)
    assert "\n" not in file.message
    if name == "SIGNALBOX_HOME":
        return  # trusted below: the list of trusted files would be the real home's
    read.trust(file)
    assert read.origin(attribute) == ".env"
    assert (read.untrusted, store(home).untrusted) == ((), ())
    assert store(home).origin(attribute) == ".env"


def test_what_can_do_no_harm_needs_no_trust(home: Path, folder: Path) -> None:
    write(folder, HARMLESS)
    read = store(home)
    assert read.untrusted == ()
    assert {read.origin(name.lower()) for name in HARMLESS} == {".env"}
    assert read.current.routing_threshold == 7


def test_a_changed_file_is_asked_about_again_and_trust_can_be_taken_back(home: Path, folder: Path) -> None:
    write(folder, {"VLLM_BASE_URL": "http://10.0.0.5:8000/v1"})
    read = store(home)
    read.trust(read.untrusted[0])
    assert read.current.vllm_base_url == "http://10.0.0.5:8000/v1"
    write(folder, {"VLLM_BASE_URL": "http://attacker.example/v1"})
    assert read.reload_if_changed()
    assert read.current.vllm_base_url == "http://127.0.0.1:8000/v1"
    (file,) = read.untrusted
    assert file.changed
    assert "changed" in file.message
    read.trust(file)
    assert read.current.vllm_base_url == "http://attacker.example/v1"
    assert read.revoke(folder / ".env")
    assert not read.revoke(folder / ".env")
    assert read.current.vllm_base_url == "http://127.0.0.1:8000/v1"


def test_trust_is_for_what_was_shown_not_for_what_stands_there_by_then(home: Path, folder: Path) -> None:
    write(folder, {"VLLM_BASE_URL": "http://10.0.0.5:8000/v1"})
    read = store(home)
    shown = read.untrusted[0]
    write(folder, {"VLLM_BASE_URL": "http://attacker.example/v1"})
    read.trust(shown)
    assert read.current.vllm_base_url == "http://127.0.0.1:8000/v1"
    assert read.untrusted[0].changed


def test_trust_is_for_the_path_too(home: Path, folder: Path, tmp_path: Path) -> None:
    """A copy of a trusted file elsewhere is not trusted: a relative path in it would mean another place."""
    write(folder, {"LOCAL_MODEL_PATH": "./x.gguf"})
    read = store(home)
    read.trust(read.untrusted[0])
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/.env").write_bytes((folder / ".env").read_bytes())
    copied = SettingsStore(env={"SIGNALBOX_HOME": str(home)}, dotenv_path=tmp_path / "copy/.env")
    assert copied.current.local_model_path is None


def test_another_process_trusting_the_file_is_noticed(home: Path, folder: Path) -> None:
    write(folder, {"METRICS_PORT": "9464"})
    running, other = store(home), store(home)
    running.reload_if_changed()
    other.trust(other.untrusted[0])
    assert running.reload_if_changed()
    assert running.current.metrics_port == 9464


def test_a_folder_cannot_bring_its_own_list_of_trusted_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil, real = folder / "h", folder.parent / "data"
    monkeypatch.setenv("XDG_DATA_HOME", str(real))
    write(folder, {"SIGNALBOX_HOME": str(evil), "VLLM_BASE_URL": "http://attacker.example/v1"})
    forged = SettingsStore(home=evil, env={})
    forged.trust(forged.untrusted[0])
    assert (evil / FILE_NAME).exists()
    read = SettingsStore(env={})
    assert read.current.home != evil
    assert read.current.vllm_base_url == "http://127.0.0.1:8000/v1"


def test_a_home_of_a_trusted_file_counts_from_the_next_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = folder.parent / "data"
    monkeypatch.setenv("XDG_DATA_HOME", str(real))
    write(folder, {"SIGNALBOX_HOME": str(folder / "h")})
    read = SettingsStore(env={})
    before = read.current.home
    read.trust(read.untrusted[0])
    assert read.current.home == before
    assert SettingsStore(env={}).current.home == folder / "h"
    SettingsStore(env={}).revoke(folder / ".env")


@pytest.mark.parametrize("content", ["{", "[]", '{"x": 1}', ""])
def test_a_broken_list_trusts_nothing(home: Path, folder: Path, content: str) -> None:
    write(folder, {"METRICS_PORT": "9464"})
    (home / FILE_NAME).write_text(content)
    read = store(home)
    assert read.current.metrics_port is None
    read.trust(read.untrusted[0])
    assert read.current.metrics_port == 9464
    if sys.platform != "win32":
        assert (home / FILE_NAME).stat().st_mode & 0o777 == 0o600


@posix_only
@pytest.mark.parametrize("kind", ["writable", "link"])
def test_a_list_that_others_may_write_trusts_nothing(home: Path, folder: Path, kind: str) -> None:
    write(folder, {"METRICS_PORT": "9464"})
    read = store(home)
    read.trust(read.untrusted[0])
    listed = home / FILE_NAME
    if kind == "writable":
        listed.chmod(0o666)
    else:
        listed.rename(home.parent / "forged")
        listed.symlink_to(home.parent / "forged")
    again = store(home)
    assert again.current.metrics_port is None
    with pytest.raises(SettingsFileError):  # it would count for nothing, which is said
        again.trust(again.untrusted[0])


# Limits


LIMITS = [
    # setting, the folder's value, the user's own (None: not set), in effect, whether something is withheld
    ("spend_limit_dollars", "5000", None, Decimal(500), True),
    ("spend_limit_dollars", "5000", "20", Decimal(20), True),
    ("spend_limit_dollars", "5", "20", Decimal(5), False),
    ("spend_limit_dollars", "500.00", None, Decimal(500), False),
    ("daily_spend_limit_dollars", "5", None, Decimal(5), False),
    ("daily_spend_limit_dollars", "5", "2", Decimal(2), True),
    ("daily_spend_limit_dollars", "", "2", Decimal(2), False),
    ("daily_token_budget", "1000", "10", 10, True),
    ("daily_token_budget", "10", "1000", 10, False),
    ("max_requests_per_minute", "9", None, 9, False),
    ("max_api_requests_per_minute", "9", "3", 3, True),
    ("runaway_requests_per_minute", "0", None, 60, True),
    ("runaway_requests_per_minute", "100", "0", 100, False),
    ("project_spend_limits", "web=50", None, "web=50", False),
    ("project_spend_limits", "web=50", "web=20, lab=5", "web=20, lab=5", True),
    ("project_spend_limits", "web=5, x=1", "web=20, lab=5", "web=5, lab=5, x=1", True),
    ("routing_mode", "api-only", "local-only", "local-only", True),
    ("routing_mode", "hybrid", "local-only", "local-only", True),
    ("routing_mode", "local-only", "api-only", "local-only", False),
    ("routing_mode", "api-only", None, "api-only", False),
]


@pytest.mark.parametrize(("name", "there", "own", "in_effect", "withheld"), LIMITS)
def test_a_folder_may_lower_a_limit_and_never_lift_one(
    home: Path, folder: Path, name: str, there: str, own: str | None, in_effect: object, withheld: bool
) -> None:
    write(folder, {env_name(name): there})
    if own is not None:
        store(home).set(name, own)
    read = store(home)
    assert getattr(read.current, name) == in_effect
    assert [setting.env_name for file in read.untrusted for setting in file.missed] == [
        env_name(name)
    ] * withheld
    if withheld:
        read.trust(read.untrusted[0])
        assert str(getattr(read.current, name)) == there


def test_what_the_environment_sets_is_no_news_but_is_shown_before_it_is_trusted(
    home: Path, folder: Path
) -> None:
    write(folder, {"VLLM_BASE_URL": "http://attacker.example/v1"})
    read = store(home, VLLM_BASE_URL="http://10.0.0.5:8000/v1")
    assert read.untrusted == ()
    assert read.folder_file is not None
    assert [(each.env_name, each.overruled) for each in read.folder_file.withheld] == [
        ("VLLM_BASE_URL", True)
    ]


AMOUNTS = st.none() | st.decimals(0, 1000, places=2)
PROJECTS = st.dictionaries(st.sampled_from(["web", "lab", "x"]), st.decimals(0, 1000, places=2))


@given(there=AMOUNTS, own=AMOUNTS)
def test_the_stricter_of_two_amounts_counts(there: Decimal | None, own: Decimal | None) -> None:
    found = lowered("daily_spend_limit_dollars", there, own)
    limits = [amount for amount in (there, own) if amount is not None]
    assert found == (min(limits) if limits else None)


@given(there=PROJECTS, own=PROJECTS)
def test_no_project_gets_more_by_a_folder(there: dict[str, Decimal], own: dict[str, Decimal]) -> None:
    def text(limits: dict[str, Decimal]) -> str:
        return ", ".join(f"{name}={amount}" for name, amount in limits.items())

    found = project_limits(lowered("project_spend_limits", text(there), text(own)))
    assert set(found) == {*there, *own}
    for name, amount in found.items():
        assert amount == min(limits[name] for limits in (there, own) if name in limits)


# What is shown


def test_the_end_of_a_long_address_is_seen_before_it_is_trusted(home: Path, folder: Path) -> None:
    long = f"https://api.anthropic.com.{'a' * 200}.attacker.example"
    write(folder, {"ANTHROPIC_BASE_URL": long, "VLLM_BASE_URL": f"http://h/{'b' * 4000}/c"})
    (file,) = store(home).untrusted
    (api, local) = file.withheld
    assert api.value == long
    assert local.value.startswith("http://h/b")
    assert local.value.endswith("b/c")
    assert len(local.value) < 1010


def test_secrets_and_passwords_are_masked_and_a_path_can_play_no_tricks(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a\x1b[2J\nb"
    folder.mkdir()
    values = {"ANTHROPIC_API_KEY": ATTACK["ANTHROPIC_API_KEY"], "LEDGER_URL": "postgresql://me:hunter22@h/x"}
    write(folder, values)
    read = SettingsStore(env={"SIGNALBOX_HOME": str(home)}, dotenv_path=folder / ".env")
    (file,) = read.untrusted
    said = f"{file.message} {file.hint} {'; '.join(map(str, file.withheld))}"
    assert "hunter22" not in said
    assert "attackers-own" not in said
    assert said.isprintable()


# Which files


@posix_only
@pytest.mark.parametrize("kind", ["link", "fifo", "socket", "device"])
def test_what_is_no_plain_file_is_not_trusted_and_not_waited_for(home: Path, folder: Path, kind: str) -> None:
    path = folder / ".env"
    match kind:
        case "link":
            write(folder.parent, {"METRICS_PORT": "9464"})
            path.symlink_to(folder.parent / ".env")
        case "fifo":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(os.path.relpath(path))
        case _:
            path.symlink_to("/dev/zero")
    read = store(home)
    assert read.current.metrics_port is None
    if kind == "link":
        (file,) = read.untrusted
        assert file.obstacle == "it is a link"
        with pytest.raises(SettingsFileError, match="link"):
            read.trust(file)
    else:
        (problem,) = read.problems
        assert problem.closes


@posix_only
def test_somebody_elses_file_is_not_trusted(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, {"METRICS_PORT": "9464"})
    read = store(home)
    read.trust(read.untrusted[0])
    os.chown(folder / ".env", 12345, -1) if os.geteuid() == 0 else monkeypatch.setattr(
        os, "geteuid", lambda: 12345
    )
    (file,) = store(home).untrusted
    assert file.obstacle == "it belongs to another user"


def test_the_home_folders_own_file_is_the_users_own_wherever_one_stands(home: Path, folder: Path) -> None:
    write(
        home,
        {"VLLM_BASE_URL": "http://10.0.0.5:8000/v1", "ROUTING_THRESHOLD": "5", "SPEND_LIMIT_DOLLARS": "900"},
    )
    write(folder, {"ROUTING_THRESHOLD": "7", "SPEND_LIMIT_DOLLARS": "1000"})
    read = store(home)
    read.set("routing_threshold", 3)
    assert (read.current.vllm_base_url, read.origin("vllm_base_url")) == (
        "http://10.0.0.5:8000/v1",
        "home .env",
    )
    assert (read.current.routing_threshold, read.origin("routing_threshold")) == (7, ".env")
    assert read.current.spend_limit_dollars == 900
    (folder / ".env").unlink()
    read.reload_if_changed()
    assert (read.current.routing_threshold, read.origin("routing_threshold")) == (5, "home .env")
    assert {info.name: info.locked for info in read.describe()}["routing_threshold"]
    write(home, {"ROUTING_THRESHOLD": "6"})
    assert read.reload_if_changed()
    assert read.current.routing_threshold == 6


def test_in_the_home_folder_itself_the_file_is_the_users_own(home: Path) -> None:
    write(home, {"VLLM_BASE_URL": "http://10.0.0.5:8000/v1"})
    read = store(home)  # which is the working directory
    assert (read.current.vllm_base_url, read.origin("vllm_base_url")) == ("http://10.0.0.5:8000/v1", ".env")
    assert read.untrusted == ()


@posix_only
def test_a_file_at_home_that_others_may_write_is_not_believed(home: Path, folder: Path) -> None:
    write(home, {"VLLM_BASE_URL": "http://attacker.example/v1"})
    (home / ".env").chmod(0o666)
    read = store(home)
    assert read.current.vllm_base_url == "http://127.0.0.1:8000/v1"
    (file,) = read.untrusted
    assert (file.path, "chmod go-w" in file.hint) == (home / ".env", True)
    (home / ".env").chmod(0o644)
    assert store(home).untrusted == ()


def test_a_home_named_in_the_home_is_said_to_have_no_effect(home: Path, folder: Path) -> None:
    write(home, {"SIGNALBOX_HOME": "/elsewhere"})
    (problem,) = store(home).problems
    assert problem.name == "home"
    assert "no effect" in problem.message
    assert not problem.closes


# Interpolation


@pytest.mark.parametrize(
    "name", ["VLLM_BASE_URL", "LOCAL_MODEL_PATH", "SPEND_LIMIT_DOLLARS", "ANTHROPIC_MODEL"]
)
def test_nothing_of_the_environment_gets_into_a_value(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "TOPSECRET")
    for text in ("http://x/${AWS_SECRET_ACCESS_KEY}/v1", '"http://x/${AWS_SECRET_ACCESS_KEY:-a}/v1"'):
        (home / ".env").write_text(f"AWS_SECRET_ACCESS_KEY=own\n{name}={text}\n")
        read = store(home)
        assert getattr(read.current, name.lower()) == getattr(store(home / "none").current, name.lower())
        (problem,) = read.problems
        assert "TOPSECRET" not in repr((read.current, problem))
        assert "replaces no ${...}" in problem.message


@given(
    values=st.dictionaries(st.sampled_from(sorted(map(env_name, NAMES))), st.text(max_size=20), max_size=5)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_whatever_a_folder_says_no_harm_is_done(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, str]
) -> None:
    """No value of the class that needs trust counts, and no limit is above the user's."""
    base = tmp_path_factory.getbasetemp()
    (base / ".env").write_text(
        "".join(f"{key}={value!r}\n" for key, value in values.items()), "utf-8", "replace"
    )
    env = {"SIGNALBOX_HOME": str(base / "home")}
    read = SettingsStore(env=env, dotenv_path=base / ".env")
    own = SettingsStore(env=env, dotenv_path=base / "none")
    for name in NAMES:
        there, here = getattr(read.current, name), getattr(own.current, name)
        if trust_of(name) == "trusted":
            assert there == here
        elif trust_of(name) == "lower":
            assert lowered(name, there, here) == there


def _written_by_others(path: Path, how: str) -> None:
    if how == "group":
        path.chmod(0o660)
    elif os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        pytest.skip("only root can give a file away")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps permissions in another way")
@pytest.mark.parametrize("how", ["group", "owner"])
def test_settings_that_others_may_have_written_are_not_used_and_close_the_api(home: Path, how: str) -> None:
    store(home).set("spend_limit_dollars", 9000)
    store(home).set("vllm_base_url", "http://10.0.0.9:8000/v1")
    path = home / "settings.json"
    _written_by_others(path, how)
    read = store(home)
    assert read.current == store(home / "none").current.model_copy(update={"home": home})
    (problem,) = read.closing_problems
    assert str(path) in problem.message
    assert ("chmod go-w" if how == "group" else "sudo chown") in problem.message
    before = path.read_bytes()
    with pytest.raises(SettingsFileError, match="chmod go-w" if how == "group" else "sudo chown"):
        read.set("spend_limit_dollars", 10)
    assert path.read_bytes() == before
    path.chmod(0o600)
    if how == "owner":
        os.chown(path, os.geteuid(), -1)
    assert read.reload_if_changed()  # nobody has to start again
    assert (read.current.spend_limit_dollars, read.closing_problems) == (9000, ())


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs there")
@pytest.mark.parametrize("name", ["settings.json", ".env", "trusted.json"])
def test_a_fifo_in_the_home_is_not_waited_for(home: Path, name: str) -> None:
    home.mkdir(exist_ok=True)
    os.mkfifo(home / name)
    read = store(home)
    assert [problem.name for problem in read.closing_problems] == [name] * (name != "trusted.json")
    assert read.trusted() == {}
