"""One line, one object; one request, one id."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat import ChatRequest
from core.routing.request_stream import RequestStream, StopSwitch
from core.telemetry.logs import correlation_id, request_context, setup_logging, traceparent
from tests.core.telemetry.reading import BODY, logged, objects, request


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
    assert third["exception"].endswith("\nValueError")
    assert "Stack (most recent call last)" in third["stack"]
    assert BODY not in logged(home)


@given(st.text(max_size=100), st.text(max_size=40))
def test_any_message_is_one_json_line(message: str, argument: str) -> None:
    from core.telemetry.logs import RedactingFilter, _JsonLines  # pyright: ignore[reportPrivateUsage]

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


def in_request(request: ChatRequest, events: AsyncGenerator[Any]) -> RequestStream:
    return RequestStream(events, StopSwitch(), request.correlation_id, lambda: "00-a-b-01")


async def steps(log: logging.Logger, name: str, count: int) -> AsyncIterator[int]:
    try:
        for number in range(count):
            log.info("step of %s", name)
            await asyncio.sleep(0)
            yield number
    finally:
        log.info("end of %s", name)


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
    stream = in_request(one, generator(steps(log, "one", 9)))
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
