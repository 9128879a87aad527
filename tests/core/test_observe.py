"""The log: planted secrets never reach the file, whatever way they are logged."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import redaction
from core.observe import (
    log_path,
    redact,
    redacted_traceback,
    remember_secret,
    setup_logging,
)

BODY = "Q7xA9f3kLm0PzRtB"

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


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Give back the root logger, and forget what a test remembered."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    known = dict(redaction._known)  # pyright: ignore[reportPrivateUsage]
    yield
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.captureWarnings(False)
    redaction._known.clear()  # pyright: ignore[reportPrivateUsage]
    redaction._known.update(known)  # pyright: ignore[reportPrivateUsage]


def logged(home: Path) -> str:
    for handler in logging.getLogger().handlers:
        handler.flush()
    return log_path(home).read_text(encoding="utf-8")


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
        assert output.count("•••") >= 6
        assert "RuntimeError: outer" in output
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


def test_redaction_of_hostile_text_is_linear() -> None:
    """A megabyte of near misses each; a pattern that backtracks would run into the test's time limit."""
    for piece in ("a:", "://a:", "token", "sk-", "api_key ", '"\\', "bearer ", "token=bearer ", "a.-"):
        redact(piece * (1_000_000 // len(piece)))


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
from core import observe
observe.MAX_LOG_BYTES, observe.KEPT_LOGS = 4000, 400
observe.setup_logging(Path(sys.argv[1]))
for number in range(800):
    logging.getLogger(sys.argv[2]).info("line %05d %s", number, "x" * 300)
"""


def test_two_copies_share_a_log_that_turns_over(home: Path) -> None:
    """Both write more than one file's worth; every line is whole and none is lost."""
    root = Path(__file__).parents[2]
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
