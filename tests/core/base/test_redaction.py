"""Planted secrets never reach the log's file, whatever way they are logged."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.base.redaction import redact_lines
from core.telemetry.logs import redact, redacted_traceback, remember_secret, setup_logging
from tests.core.telemetry.reading import BODY, logged

PLANTED = [
    f"sk-ant-api03-{BODY}",
    f"sk-proj-{BODY}",
    f"hf_{BODY}",
    f"Authorization: Bearer {BODY}",
    f"authorization: {BODY}",
    f"Bearer {BODY}",
    f"Basic {BODY}==",
    f"x-api-key: {BODY}",
    f"X-API-Key={BODY}",
    f"{{'x-api-key': '{BODY}'}}",
    f"[(b'x-api-key', b'{BODY}'), (b'host', b'h')]",
    f'{{"api_key": "{BODY}"}}',
    f'{{"api_key":"a\\"{BODY}"}}',
    json.dumps(json.dumps({"api_key": BODY})),
    repr(repr({"x-api-key": BODY, "it's": '"'})),
    f"api_key='{BODY}'",
    f"AsyncOpenAI(api_key={BODY!r})",
    f"https://h/v1?api_key={BODY}&x=1",
    f"ANTHROPIC_API_KEY={BODY}",
    f"HF_TOKEN={BODY}",
    f"--password {BODY}".replace(" ", "="),
    f"postgresql://me:{BODY}@db:5432/x",
    f"postgresql+psycopg://me:p@{BODY}/@db/x",
    f"client_secret={BODY}",
    f"PGPASSWORD={BODY}",
]


INNOCENT = [
    "max_tokens=1024 input_tokens: 12 tokens, 3 left",
    "the disk-usage of task-force ask-me",
    "http://127.0.0.1:8000/v1/models answered 200",
    "claude-sonnet-4-6-20260501 took 1 204 ms",
    "a bearer of news, a basic idea",
    "2026-11-23T21:00:00 mail me@example.org",
]


@pytest.mark.parametrize("text", PLANTED)
def test_a_planted_secret_is_hidden_in_every_place_of_a_record(
    home: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for handler in list(logging.getLogger().handlers):
        logging.getLogger().removeHandler(handler)  # pytest's own raises where arguments do not fit
    setup_logging(home, debug=True)
    log = logging.getLogger("somewhere.else")
    log.info(text)
    log.info("%s", text)
    log.info("%(it)s", {"it": text})
    log.info("does not fit %d", text)
    log.info("an object: %s", ValueError(text), stack_info=True)
    try:
        try:
            raise ValueError(text)
        except ValueError as inner:
            raise RuntimeError("outer") from inner
    except RuntimeError as error:
        log.exception("failed")
        printed = redacted_traceback(error)
    written, shown = logged(home), capsys.readouterr().err
    assert BODY not in printed
    for output in (written, shown):
        assert BODY not in output
        assert output.count("•••") >= 4
        assert "\nRuntimeError\n" in output
        assert "somewhere.else" in output


@pytest.mark.parametrize("text", INNOCENT)
def test_innocent_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


def test_what_surrounds_a_secret_stays_readable() -> None:
    assert redact(f"POST https://me:{BODY}@h/v1 401") == "POST https://me:•••@h/v1 401"
    assert redact(f'{{"api_key": "{BODY}", "n": 1}}') == '{"api_key": •••, "n": 1}'
    assert redact(f"key sk-ant-api03-{BODY}, again") == "key sk-ant-•••, again"


def test_a_key_of_any_shape_is_hidden_once_remembered() -> None:
    odd = "plain words/as key"
    remember_secret(odd)
    assert odd not in redact(f"sent {odd} to the server")
    assert "plain%20words" not in redact("GET /?k=plain%20words%2Fas%20key")
    remember_secret("abc")
    assert redact("abc") == "abc", "too short to tell from a word"


def test_the_keys_of_the_settings_are_remembered(home: Path) -> None:
    from core.settings import SettingsStore

    SettingsStore(home=home, env={"VLLM_API_KEY": "correct.horse.battery"})
    assert redact("refused: correct.horse.battery") == "refused: •••"


@given(
    before=st.text(max_size=30),
    key=st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=12, max_size=90),
    prefix=st.sampled_from(["sk-ant-", "sk-", "hf_", "Bearer ", "api_key=", '"x-api-key": "', "token: "]),
    after=st.text(max_size=30),
)
def test_no_surrounding_text_lets_a_key_through(before: str, key: str, prefix: str, after: str) -> None:
    hidden = redact(f"{before} {prefix}{key} {after}")
    assert key not in hidden.replace(before, "", 1).replace(after, "") or key in before + after


@given(
    st.text(max_size=200) | st.sampled_from(PLANTED).flatmap(lambda text: st.text().map(lambda x: x + text))
)
def test_redacting_twice_changes_nothing(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@given(
    st.lists(
        st.text(max_size=60)
        | st.sampled_from(PLANTED + INNOCENT).flatmap(lambda text: st.text().map(lambda x: x + text)),
        max_size=6,
    )
)
def test_lines_are_redacted_as_each_of_them(lines: list[str]) -> None:
    remember_secret("correct.horse.battery")
    lines.append("refused: correct.horse.battery")
    assert redact_lines(lines) == [redact(line) for line in lines]


def test_redaction_of_hostile_text_is_linear() -> None:
    """A megabyte of near misses each; a pattern that backtracks would run into the test's time limit."""
    for piece in ("a:", "://a:", "token", "sk-", "api_key ", '"\\', "bearer ", "token=bearer ", "a.-"):
        redact(piece * (1_000_000 // len(piece)))
