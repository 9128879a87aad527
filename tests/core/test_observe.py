"""The log: planted secrets never reach the file, whatever way they are logged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import redaction
from core.chat import ChatRequest, TextDelta
from core.observe import (
    MAX_LINE_CHARS,
    MAX_TEXT_CHARS,
    correlation_id,
    in_request,
    log_path,
    redact,
    redacted_traceback,
    remember_secret,
    request_context,
    setup_logging,
    traceparent,
    with_traceparent,
)
from core.request_text import forget_requests

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
    forget_requests()
    yield
    forget_requests()
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


# -- one line, one object; one request, one id -----------------------------------------------------------


def objects(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged(home).splitlines()]


def test_json_lines_are_whole_objects_whatever_is_logged(home: Path) -> None:
    setup_logging(home, log_format="json")
    log = logging.getLogger("core.x")
    log.info("two\nlines and a \u2028 and \x00 and \ud800 and é")
    log.warning('a quote " and a \\ and {"api_key": "%s"}', BODY)
    try:
        raise ValueError(f"Bearer {BODY}")
    except ValueError:
        log.exception("failed", stack_info=True)
    first, second, third = objects(home)
    assert set(first) == {"time", "level", "logger", "message", "correlation_id", "process"}
    assert first["message"] == "two\nlines and a \u2028 and \x00 and \ud800 and é"
    assert (first["level"], first["logger"], first["correlation_id"]) == ("INFO", "core.x", None)
    written = datetime.fromisoformat(first["time"])
    assert written.utcoffset() == timedelta(0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first["time"])
    assert "•••" in second["message"]
    assert third["exception"].endswith("ValueError: Bearer •••")
    assert "Stack (most recent call last)" in third["stack"]
    assert BODY not in logged(home)


@given(st.text(max_size=100), st.text(max_size=40))
def test_any_message_is_one_json_line(message: str, argument: str) -> None:
    from core.observe import RedactingFilter, _JsonLines  # pyright: ignore[reportPrivateUsage]

    record = logging.LogRecord(
        "x", logging.INFO, __file__, 1, message.replace("%", "") + "%s", (argument,), None
    )
    assert RedactingFilter().filter(record)
    line = _JsonLines().format(record)
    assert len(line.splitlines()) == 1
    assert json.loads(line)["logger"] == "x"
    assert line.isascii()


def test_debug_on_the_terminal_stays_text_where_the_file_is_json(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging(home, debug=True, log_format="json")
    with request_context("0190-abc"):
        logging.getLogger("core.x").info("said")
    assert objects(home)[0]["correlation_id"] == "0190-abc"
    shown = capsys.readouterr().err
    assert " 0190-abc core.x: said" in shown
    assert "{" not in shown


def test_every_line_of_a_request_carries_its_id_and_no_other_line_does(home: Path) -> None:
    setup_logging(home)
    log = logging.getLogger("core.x")
    log.info("before")
    with request_context("0190-outer"):
        log.info("during")
        with request_context("0190-inner"):
            log.info("inside")
        log.info("again")
    log.info("after")
    found = re.findall(r" (\S+) core\.x: (\w+)$", logged(home), re.MULTILINE)
    assert found == [
        ("-", "before"),
        ("0190-outer", "during"),
        ("0190-inner", "inside"),
        ("0190-outer", "again"),
        ("-", "after"),
    ]


async def steps(log: logging.Logger, name: str, count: int) -> AsyncIterator[int]:
    try:
        for number in range(count):
            log.info("step of %s", name)
            await asyncio.sleep(0)
            yield number
    finally:
        log.info("end of %s", name)


def request(prompt: str = "hi") -> ChatRequest:
    return ChatRequest.from_prompt(prompt)


async def test_streams_read_in_turns_keep_their_own_ids(home: Path) -> None:
    """In one task, so that what one stream leaves behind would show in the other and in its reader."""
    setup_logging(home)
    log = logging.getLogger("core.x")
    one, two = request(), request()
    first = in_request(one, generator(steps(log, "one", 3)))
    second = in_request(two, generator(steps(log, "two", 3)))
    for _ in range(3):
        await anext(first)
        assert correlation_id.get() is None
        await anext(second)
        log.info("step of the reader")
    await first.aclose()
    with contextlib.suppress(StopAsyncIteration):
        await anext(second)
    found = set(re.findall(r" (\S+) core\.x: (?:step|end) of (.+)$", logged(home), re.MULTILINE))
    assert found == {(one.correlation_id, "one"), (two.correlation_id, "two"), ("-", "the reader")}


async def generator(events: AsyncIterator[Any]) -> AsyncGenerator[Any]:
    try:
        async for event in events:
            yield event
    finally:
        await events.aclose()  # type: ignore[attr-defined]


async def test_requests_at_once_and_their_tasks_keep_their_own_ids(home: Path) -> None:
    setup_logging(home)
    log = logging.getLogger("core.x")

    async def helper(name: str) -> None:
        await asyncio.sleep(0)
        await asyncio.to_thread(log.info, "helps %s", name)

    async def events(name: str) -> AsyncGenerator[str]:
        for _ in range(3):
            await asyncio.create_task(helper(name))
            yield name

    async def run(one: ChatRequest) -> None:
        async with aclosing(in_request(one, events(one.correlation_id))) as stream:
            async for _ in stream:
                await asyncio.sleep(0)

    await asyncio.gather(*(run(request()) for _ in range(20)))
    found = re.findall(r" (\S+) core\.x: helps (\S+)$", logged(home), re.MULTILINE)
    assert len(found) == 60
    assert all(carried == name for carried, name in found)


async def test_closing_from_another_task_ends_the_stream_once(home: Path) -> None:
    """What the core does when it stops: the reader is busy elsewhere, or gone."""
    setup_logging(home)
    log = logging.getLogger("core.x")
    one = request()
    stream = in_request(one, with_traceparent("00-a-b-01", generator(steps(log, "one", 9))))
    await asyncio.create_task(anext(stream))  # type: ignore[arg-type]
    await asyncio.create_task(stream.aclose())  # type: ignore[arg-type]
    assert logged(home).count(f"{one.correlation_id} core.x: end of one") == 1
    assert correlation_id.get() is None
    assert traceparent.get() is None


async def test_a_cancelled_request_closes_what_it_read(home: Path) -> None:
    setup_logging(home)
    log = logging.getLogger("core.x")
    waits = asyncio.Event()

    async def events() -> AsyncGenerator[int]:
        try:
            yield 1
            waits.set()
            await asyncio.Event().wait()
        finally:
            log.info("closed")

    one = request()

    async def read() -> None:
        async with aclosing(in_request(one, events())) as stream:
            async for _ in stream:
                pass

    reader = asyncio.create_task(read())
    await waits.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert f"{one.correlation_id} core.x: closed" in logged(home)


# -- what an exception quotes -----------------------------------------------------------------------------

DIARY = "Dear diary, on Tuesday the magistrate accepted the envelope behind the old bakery."
ANSWER = "The envelope held four thousand guilders and a photograph of the lighthouse keeper."


async def test_a_prompt_and_an_answer_that_exceptions_quote_are_hidden(home: Path) -> None:
    setup_logging(home)
    log = logging.getLogger("core.x")

    async def events() -> AsyncGenerator[TextDelta]:
        for word in ANSWER.split(" "):
            yield TextDelta(word + " ")
        body = {"messages": [{"role": "user", "content": f'He said: "{DIARY}"\nÜber alles.'}]}
        for quoted in (
            DIARY,
            repr(DIARY.encode()),
            json.dumps(body),
            json.dumps(json.dumps(body)),
            repr(body),
            f"input_value={DIARY[:40]}...{DIARY[-30:]}",
            f"got {ANSWER[5:60]!r}",
        ):
            try:
                raise RuntimeError(f"the server said: {quoted}, code 17")
            except RuntimeError:
                log.exception("it failed: %s", quoted)
            log.warning("no traceback: %s and more", quoted)

    async def sent() -> AsyncGenerator[TextDelta]:
        """As the router sends it: the text that a provider makes is known although nobody is shown it."""
        async with aclosing(with_traceparent(None, events())) as answer:
            async for event in answer:
                del event
        return
        yield TextDelta("")

    prompt = f'He said: "{DIARY}"\nÜber alles.'
    async with aclosing(in_request(request(prompt), sent())) as stream:
        async for _ in stream:
            pass
    written = logged(home)
    for words in ("magistrate", "envelope behind", "old bakery", "guilders", "photograph"):
        assert words not in written
    assert written.count("[request text]") >= 14
    assert "the server said: " in written
    assert ", code 17" in written
    assert "and more" in written
    assert "Traceback (most recent call last)" in written


async def test_a_traceback_printed_just_after_the_end_hides_the_prompt_too(home: Path) -> None:
    setup_logging(home)

    async def events() -> AsyncGenerator[int]:
        yield 1

    async for _ in in_request(request(DIARY), events()):
        pass
    assert "magistrate" not in redacted_traceback(ValueError(f"late: {DIARY}"))


def pydantic_error() -> Exception:
    import pydantic

    class Answer(pydantic.BaseModel):
        number: int

    with pytest.raises(pydantic.ValidationError) as caught:
        Answer.model_validate({"number": ANSWER})
    return caught.value


def schema_error() -> Exception:
    import jsonschema

    with pytest.raises(jsonschema.ValidationError) as caught:
        jsonschema.validate({"a": [ANSWER]}, {"type": "array"})
    return caught.value


def sdk_error() -> Exception:
    import httpx2
    import openai

    response = httpx2.Response(400, request=httpx2.Request("POST", "http://h/v1"), json={})
    return openai.BadRequestError(
        f"Error code: 400 - {{'you_said': '{ANSWER}'}}", response=response, body=None
    )


@pytest.mark.parametrize("make", [pydantic_error, schema_error, sdk_error])
@pytest.mark.parametrize("how", ["alone", "cause", "context", "group"])
def test_what_a_library_quotes_of_an_answer_nobody_saw_is_hidden(make: Any, how: str) -> None:
    """The text never passed through the router: a stream that could not be read, a body of an error."""
    error: BaseException = make()
    if how == "cause":
        outer = RuntimeError("outer")
        outer.__cause__ = error
        error = outer
    elif how == "context":
        outer = RuntimeError("outer")
        outer.__context__ = error
        error = outer
    elif how == "group":
        error = ExceptionGroup("several", [ValueError("x"), error])  # type: ignore[list-item]
    text = redacted_traceback(error)
    assert "guilders" not in text
    assert type(make()).__name__ in text
    if make is sdk_error:
        assert "Error code: 400 - " in text


def test_a_traceback_of_megabytes_is_cut() -> None:
    text = redacted_traceback(ValueError("x" * 3_000_000 + "\n" + "short\n" * 100_000))
    assert len(text) < MAX_TEXT_CHARS + 200
    assert max(map(len, text.splitlines())) < MAX_LINE_CHARS + 200
