"""What an exception quotes of a prompt or an answer is hidden."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from core.chat import TextDelta
from core.telemetry.logs import (
    MAX_LINE_CHARS,
    MAX_TEXT_CHARS,
    in_request,
    redacted_traceback,
    setup_logging,
    with_traceparent,
)
from tests.core.telemetry.reading import logged, request

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
