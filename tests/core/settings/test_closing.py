"""What keeps money from being spent and can't be read closes the API side, and says so until it is mended."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path

import pytest

from core.base.text import with_thousands
from core.settings import SettingsFileError, SettingsStore, env_name
from core.settings.model import GUARDS, facts, trust_of

UNREADABLE = {
    "spend_limit_dollars": (
        "$5",
        "12,50",
        "5 USD",
        "0,0001",
        "1e2",
        "12_50",
        "five",
        "-1",
        "nan",
        "true",
        "0x10",
    ),
    "daily_spend_limit_dollars": ("$5", "5/day", "1e2"),
    "project_spend_limits": ("web: 5", "web=$5", "web=1e2", "web=12_50", "web=5,web=6", "{'web': 5}"),
    "daily_token_budget": ("1e6", "1 million", "1.5", "10k"),
    "max_requests_per_minute": ("60/min", "0", "1e1"),
    "max_api_requests_per_minute": ("a few",),
    "runaway_requests_per_minute": ("never",),
    "ledger_url": ("mysql://h/x", "/var/ledger.sqlite3"),
    "anthropic_base_url": ("api.example.com", "ftp://x"),
    "routing_mode": ("local_only", "loacl-only"),
    "home": ("\x1b",),
}
CASES = [(name, value) for name, values in UNREADABLE.items() for value in values]


def store(home: Path, **env: str) -> SettingsStore:
    return SettingsStore(env={"SIGNALBOX_HOME": str(home), **env})


def test_each_guard_is_known_here() -> None:
    assert set(UNREADABLE) == GUARDS
    assert {name for name in UNREADABLE if trust_of(name) == "lower"} < GUARDS


@pytest.mark.parametrize(("name", "value"), CASES)
def test_one_that_cannot_be_read_closes_wherever_it_stands(home: Path, name: str, value: str) -> None:
    if value.isprintable():
        (home / ".env").write_text(f'{env_name(name)}="{value}"\n', encoding="utf-8")
        (problem,) = store(home).closing_problems
        assert (problem.name, problem.origin, problem.closes) == (name, ".env", True)
        (home / ".env").unlink()
    if name != "home":
        (home / "settings.json").write_text(json.dumps({name: value}))
        assert [each.origin for each in store(home).closing_problems] == ["panel"]
        (home / "settings.json").unlink()
    (problem,) = store(home, **{env_name(name): value}).closing_problems
    assert (problem.name, problem.origin) == (name, "environment")
    assert env_name(name) in problem.message
    assert with_thousands(facts(name)["allowed"]) in problem.message
    assert "nothing is sent to the API" in problem.message
    assert env_name(name) in problem.title
    assert store(home).closing_problems == ()


def test_a_good_value_below_does_not_open_it_and_one_above_does(home: Path) -> None:
    (home / ".env").write_text("SPEND_LIMIT_DOLLARS=$5\n")
    store(home).set("spend_limit_dollars", "7")
    assert len(store(home).closing_problems) == 1
    assert store(home, SPEND_LIMIT_DOLLARS="9").closing_problems == ()


def test_what_is_no_guard_closes_nothing(home: Path) -> None:
    read = store(home, ROUTING_THRESHOLD="many", LOCAL_SERVER="docker", CONNECT_TIMEOUT_S="-1")
    assert len(read.problems) == 3
    assert read.closing_problems == ()


def test_a_folders_unreadable_limit_closes_trusted_or_not(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could have been meant as a lower one; an address that is not trusted has no say at all."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(
        "DAILY_SPEND_LIMIT_DOLLARS=$5\nANTHROPIC_BASE_URL=nonsense\nLEDGER_URL=x\n"
    )
    assert [each.name for each in store(home).closing_problems] == ["daily_spend_limit_dollars"]


@pytest.mark.parametrize(
    "text",
    [
        "DAILY_SPEND_LIMIT_DOLLARS 5\n",
        "DAILY_SPEND_LIMIT_DOLLARS: 5\n",
        "  export DAILY_SPEND_LIMIT_DOLLARS 5",
        "DAILY_SPEND_LIMIT_DOLLARS\n",
        'A="never closed\nDAILY_SPEND_LIMIT_DOLLARS=5\nB="\n',
        "A='x\nDAILY_SPEND_LIMIT_DOLLARS=5\nB=y'\n",
    ],
)
def test_a_line_that_may_have_held_a_limit_closes(home: Path, text: str) -> None:
    (home / ".env").write_text(text)
    read = store(home)
    if read.current.daily_spend_limit_dollars is None:
        (problem,) = read.closing_problems
        assert (problem.name, "Line" in problem.message) == ("daily_spend_limit_dollars", True)


def test_a_commented_or_mentioned_limit_closes_nothing(home: Path) -> None:
    (home / ".env").write_text(
        "# SPEND_LIMIT_DOLLARS five\nA=SPEND_LIMIT_DOLLARS\nDAILY_SPEND_LIMIT_DOLLARS=\n"
    )
    assert store(home).problems == ()


@pytest.mark.parametrize("content", [b"#" * ((1 << 20) + 1), None])
def test_a_file_that_cannot_be_read_closes(
    home: Path, content: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".env").write_bytes(content or b"SPEND_LIMIT_DOLLARS=5\n")
    if content is None:
        opened = os.open

        def refuse(path: Path, flags: int, *rest: int) -> int:
            if Path(path).name == ".env":
                raise PermissionError(13, "Permission denied")
            return opened(path, flags, *rest)

        monkeypatch.setattr(os, "open", refuse)
    (problem,) = store(home).closing_problems
    assert problem.name == ".env"
    assert "A limit may stand in it" in problem.message


def test_it_closes_and_opens_while_the_program_runs_and_says_so(home: Path) -> None:
    read = store(home)
    heard: list[int] = []
    read.on_change(lambda _: heard.append(len(read.closing_problems)))
    (home / ".env").write_text("DAILY_SPEND_LIMIT_DOLLARS=$5\n")
    assert read.reload_if_changed()
    (home / ".env").write_text("DAILY_SPEND_LIMIT_DOLLARS=5\n")
    assert read.reload_if_changed()
    assert heard == [1, 0]
    assert read.current.daily_spend_limit_dollars == 5


# A broken settings.json


CUT_OFF = b'{\n  "daily_spend_limit_dollars": "5",\n  "rou'


def test_a_cut_off_settings_file_closes_at_every_start_until_it_is_left_out(home: Path) -> None:
    (home / "settings.json").write_bytes(CUT_OFF)
    read = store(home)
    for _ in range(3):
        (problem,) = store(home).closing_problems
        assert problem.name == "settings.json"
        assert "signalbox settings restore" in problem.message
        assert "signalbox settings discard" in problem.message
    read.set("routing_threshold", 4)  # a new settings.json does not open it
    assert len(store(home).closing_problems) == 1
    running = store(home)
    running.reload_if_changed()
    (copy,) = read.broken_copies
    kept = read.discard(copy)
    assert kept.read_bytes() == CUT_OFF
    assert read.closing_problems == store(home).closing_problems == ()
    assert running.reload_if_changed()
    assert running.closing_problems == ()


def test_a_mended_copy_is_taken_back_and_what_was_set_since_stays(home: Path) -> None:
    (home / "settings.json").write_bytes(CUT_OFF)
    read = store(home)
    (copy,) = read.broken_copies
    with pytest.raises(SettingsFileError, match="line 3"):
        read.restore(copy)
    assert read.broken_copies == (copy,)
    read.set("routing_threshold", 4)
    copy.write_text('{"daily_spend_limit_dollars": "5", "routing_threshold": 9}')
    read.restore(copy)
    assert read.current.daily_spend_limit_dollars == Decimal(5)
    assert read.current.routing_threshold == 4
    assert store(home).problems == ()
    assert not copy.exists()


def test_several_copies_are_one_problem_and_a_later_one_never_takes_an_older_ones_place(home: Path) -> None:
    for number in (2, 10, 1):
        (home / f"settings.json.broken-{number}").write_text("{")
    (home / "settings.json.broken-x").write_text("not ours")
    read = store(home)
    assert [copy.name for copy in read.broken_copies] == [
        f"settings.json.broken-{number}" for number in (1, 2, 10)
    ]
    (problem,) = read.problems
    assert "and 2 more" in problem.message
    for copy in read.broken_copies:
        read.discard(copy)
    assert read.problems == ()
    assert (home / "settings.json.broken-x").exists()


def test_a_settings_file_that_cannot_be_read_closes(home: Path) -> None:
    (home / "settings.json").mkdir()
    (problem,) = store(home).closing_problems
    assert problem.name == "settings.json"


def test_an_amount_that_was_set_comes_back_in_plain_digits(home: Path) -> None:
    read = store(home)
    read.set("spend_limit_dollars", Decimal("1E+2"))
    read.set("daily_spend_limit_dollars", Decimal("0E-9"))
    again = store(home)
    assert again.problems == ()
    assert (again.current.spend_limit_dollars, again.current.daily_spend_limit_dollars) == (100, 0)


# Near misses


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("DAILY_SPEND_LIMIT_DOLARS", "DAILY_SPEND_LIMIT_DOLLARS"),
        ("DAILY_SPEND_LIMIT", "DAILY_SPEND_LIMIT_DOLLARS"),
        ("SPEND_LIMIT_DOLLAR", "SPEND_LIMIT_DOLLARS"),
        ("PROJECT_SPEND_LIMIT", "PROJECT_SPEND_LIMITS"),
        ("VLLM_BASEURL", "VLLM_BASE_URL"),
    ],
)
def test_a_near_miss_of_a_name_is_hinted_at_once(home: Path, key: str, meant: str) -> None:
    (home / ".env").write_text(f"{key}=5\n")
    (problem,) = store(home).problems
    assert problem.message.endswith(f"Did you mean {meant}?")
    assert problem.title == f"{key} is no setting"
    assert not problem.closes
    (home / ".env").unlink()
    assert len(store(home, **{key: "5"}).problems) == (key != "DAILY_SPEND_LIMIT")


def test_a_limit_in_the_wrong_capitals_is_meant_and_closes(home: Path) -> None:
    (home / ".env").write_text("daily_spend_limit_dollars=5\n")
    (home / "settings.json").write_text(
        '{"PROJECT_SPEND_LIMITS": "web=5", "ROUTING_MODE": "local-only", "ANTHROPIC_MODEL": "m"}'
    )
    problems = store(home).closing_problems
    assert [(each.name, each.origin) for each in problems] == [
        ("daily_spend_limit_dollars", ".env"),
        ("project_spend_limits", "panel"),
        ("routing_mode", "panel"),
    ]
    assert "Did you mean DAILY_SPEND_LIMIT_DOLLARS? Until it is mended" in problems[0].message


@pytest.mark.parametrize(
    "line",
    [
        "set DAILY_SPEND_LIMIT_DOLLARS=5",
        "setx DAILY_SPEND_LIMIT_DOLLARS 5",
        "$env:DAILY_SPEND_LIMIT_DOLLARS=5",
        "- DAILY_SPEND_LIMIT_DOLLARS=5",
        "DAILY_SPEND_LIMIT_DOLL",
        "export DAILY_",
    ],
)
def test_a_limit_as_another_shell_writes_it_or_cut_off_closes(home: Path, line: str) -> None:
    (home / ".env").write_text(f"ROUTING_THRESHOLD=5\n{line}")
    (problem,) = store(home).closing_problems
    assert problem.name == "daily_spend_limit_dollars"
    assert "Line 2" in problem.message


@pytest.mark.parametrize(
    "line",
    [
        "# set DAILY_SPEND_LIMIT_DOLLARS=5",
        "MY_DAILY_SPEND_LIMIT_DOLLARS=5",
        "X=DAILY_SPEND_LIMIT_DOLLARS",
        "DAIL",
    ],
)
def test_a_line_that_sets_no_limit_closes_nothing(home: Path, line: str) -> None:
    (home / ".env").write_text(f"{line}\n")
    assert store(home).closing_problems == ()


@pytest.mark.parametrize(
    "key",
    [
        "VLLM_PORT",
        "VLLM_MAX_MODEL_LEN",
        "ANTHROPIC_SMALL_FAST_MODEL",
        "ANTHROPIC_AUTH_TOKEN",
        "OPENAI_API_KEY",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "DATABASE_URL",
        "LOG_LEVEL",
        "MODEL",
        "HOME",
    ],
)
def test_other_programs_names_are_left_alone(home: Path, key: str) -> None:
    (home / ".env").write_text(f"{key}=5\n")
    assert store(home, **{key: "5"}).problems == ()


# Addresses without a scheme


@pytest.mark.parametrize("name", ["vllm_base_url", "anthropic_base_url", "otel_exporter_otlp_endpoint"])
def test_a_near_address_without_a_scheme_gets_one_and_a_far_one_is_refused(home: Path, name: str) -> None:
    read = store(home, **{name.upper(): "127.0.0.1:8000/v1"})
    assert (getattr(read.current, name), read.problems) == ("http://127.0.0.1:8000/v1", ())
    read = store(home, **{name.upper(): "api.example.com/v1"})
    (problem,) = read.problems
    assert problem.name == name
    assert read.named_at(name) == "environment"
    assert read.unreadable(name) == problem
    assert read.origin(name) == "default"
