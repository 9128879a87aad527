"""Of an exception that is not ours the log has type and frames, never what it says."""

from __future__ import annotations

import asyncio
import gc
import logging
import sqlite3
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.errors import Unavailable
from core.telemetry.logs import (
    MAX_FRAMES,
    MAX_SAID_CHARS,
    MAX_TEXT_CHARS,
    described,
    printable,
    redacted_traceback,
    setup_logging,
)
from tests.core.telemetry.reading import BODY, logged

DIARY = "Dear diary, on Tuesday the magistrate accepted the envelope behind the old bakery."


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001  whatever it is
        return caught


def pydantic_error() -> Exception:
    import pydantic

    class Answer(pydantic.BaseModel):
        number: int

    with pytest.raises(pydantic.ValidationError) as caught:
        Answer.model_validate({"number": DIARY})
    return caught.value


def sdk_error() -> Exception:
    import httpx2
    import openai

    response = httpx2.Response(400, request=httpx2.Request("POST", "http://h/v1"), json={})
    return openai.BadRequestError(
        f"Error code: 400 - {{'you_said': '{DIARY}'}}", response=response, body=None
    )


def noted() -> Exception:
    error = KeyError(DIARY)
    error.add_note(DIARY)
    return error


@pytest.mark.parametrize("make", [pydantic_error, sdk_error, noted, lambda: ValueError(DIARY)])
@pytest.mark.parametrize("how", ["alone", "cause", "context", "group", "group_in_cause"])
def test_what_a_library_quotes_is_in_no_traceback(make: Any, how: str) -> None:
    quoting = raised(make())
    outer: BaseException = Unavailable("The server failed.", hint="Try again.")
    match how:
        case "alone":
            outer = quoting
        case "cause":
            outer.__cause__ = quoting
        case "context":
            outer.__context__ = quoting
        case "group":
            outer = BaseExceptionGroup(DIARY, [RuntimeError(DIARY), quoting])
        case _:
            outer.__cause__ = BaseExceptionGroup(DIARY, [BaseExceptionGroup(DIARY, [quoting])])
    text = redacted_traceback(raised(outer))
    assert "magistrate" not in text
    assert type(quoting).__qualname__ in text
    assert f'File "{__file__}", line ' in text
    assert ", in raised\n" in text
    if how in ("cause", "context"):
        assert text.rstrip().endswith("Unavailable: The server failed.")


def test_our_own_words_stay_and_a_servers_do_not() -> None:
    quote = f": You sent {DIARY}."
    error = Unavailable(f"Anthropic failed (HTTP 500){quote}", hint="Try again.").quoting(quote)
    assert DIARY in str(error), "the caller is told all of it"
    assert redacted_traceback(raised(error)).rstrip().endswith("Unavailable: Anthropic failed (HTTP 500).")


def test_an_exception_among_the_arguments_is_described(home: Path) -> None:
    setup_logging(home)
    log = logging.getLogger("core.x")
    log.warning("it failed: %s", ValueError(DIARY))
    log.warning("it failed: %r", KeyError(DIARY))
    log.warning(ValueError(DIARY))
    log.warning("ours: %s", Unavailable("Nothing answers at http://h."))
    log.error("with its trace", exc_info=raised(RuntimeError(DIARY)))  # type: ignore[arg-type]
    written = logged(home)
    assert "magistrate" not in written
    assert "core.x: it failed: ValueError\n" in written
    assert "core.x: it failed: 'KeyError'\n" in written
    assert "core.x: ValueError\n" in written
    assert "ours: Unavailable: Nothing answers at http://h.\n" in written
    assert "with its trace\nTraceback (most recent call last):\n" in written


@pytest.mark.parametrize(
    "argument",
    [[ValueError(DIARY)], (ValueError(DIARY), 1), {ValueError(DIARY)}, [1, (2, [ValueError(DIARY)])]],
    ids=["list", "tuple", "set", "nested"],
)
def test_an_exception_inside_of_an_argument_is_described(home: Path, argument: object) -> None:
    setup_logging(home)
    logging.getLogger("core.x").warning("these failed: %s", argument)
    written = logged(home)
    assert "magistrate" not in written
    assert "ValueError" in written


def test_arguments_without_an_exception_stay_as_they_are(home: Path) -> None:
    setup_logging(home)
    logging.getLogger("core.x").warning("left: %s %s", (1, "a"), ["b"])
    assert "core.x: left: (1, 'a') ['b']\n" in logged(home)


async def test_a_callback_that_fails_tells_neither_its_words_nor_its_arguments(home: Path) -> None:
    setup_logging(home)
    ran = asyncio.Event()

    def fails(prompt: str) -> None:
        ran.set()
        raise ValueError(prompt)

    loop = asyncio.get_running_loop()
    word = "magistrate"  # short: of a long argument, asyncio tells the beginning and the end only
    loop.call_soon(fails, word)
    await ran.wait()
    ran.clear()
    loop.call_soon(partial(fails, prompt=word))
    await ran.wait()
    written = logged(home)
    assert written.count("Exception in callback ") == 2
    assert "fails" in written
    assert "ValueError" in written
    assert word not in written


def test_a_code_is_told_where_there_is_one() -> None:
    full = OSError(28, "No space left on device", DIARY)
    assert described(full) == "OSError: No space left on device"
    with pytest.raises(sqlite3.OperationalError) as caught:
        sqlite3.connect(":memory:").execute("nonsense")
    assert described(caught.value) == "OperationalError: SQLITE_ERROR"
    assert described(sdk_error()) == "BadRequestError: 400"


def test_a_warning_says_its_category_and_place_only(home: Path) -> None:
    setup_logging(home)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"input_value={DIARY!r}", UserWarning, stacklevel=1)
    written = logged(home)
    assert "magistrate" not in written
    assert f"{__file__}:" in written
    assert "UserWarning" in written


async def test_a_task_that_nobody_asked_does_not_tell(home: Path) -> None:
    setup_logging(home)

    async def fails() -> None:
        raise ValueError(DIARY)

    task = asyncio.ensure_future(fails())
    await asyncio.wait([task])
    del task
    gc.collect()
    written = logged(home)
    assert "Task exception was never retrieved" in written
    assert "ValueError" in written
    assert "magistrate" not in written


def test_a_traceback_is_bounded_and_a_circle_ends() -> None:
    def deeper(left: int) -> None:
        if left:
            deeper(left - 1)
        raise ValueError

    with pytest.raises(ValueError) as caught:  # noqa: PT011
        deeper(500)
    text = redacted_traceback(caught.value)
    assert text.count("\n  File") <= MAX_FRAMES
    assert " frames …]" in text
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__context__ = second, first
    assert redacted_traceback(first).count("ValueError") == 2
    assert len(redacted_traceback(Unavailable("x" * 3_000_000))) < MAX_TEXT_CHARS + 200


def test_a_key_in_our_own_words_is_hidden_all_the_same() -> None:
    assert BODY not in redacted_traceback(Unavailable(f"The server said Bearer {BODY}."))


def test_what_a_server_calls_its_model_cannot_write_a_line_of_its_own() -> None:
    assert printable("tiny\n2026-01-01 ERROR forged\x1b[31m") == "tiny 2026-01-01 ERROR forged [31m"
    assert len(printable("x" * 10_000)) == MAX_SAID_CHARS
