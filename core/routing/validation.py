"""What every request must be before a rule reads it; anything else is the caller's fault and costs nothing."""

from __future__ import annotations

import json
from typing import Any, cast

from core.chat import ChatRequest
from core.errors import InvalidRequest

MAX_PROMPT_BYTES = 20_000_000
"""Anthropic takes 32 MB a request; with JSON escaping this stays under it."""

MAX_SCHEMA_DEPTH = 100
"""Objects and lists inside each other; far below what Python, an SDK or a grammar compiler can take."""

_MAX_SHOWN_CHARS = 160


def validated(request: ChatRequest) -> ChatRequest:
    """Return ``request`` if it can be sent somewhere.

    Raises:
        InvalidRequest: no message, an empty or oversized prompt, max_tokens or temperature out of range, a
            malformed JSON schema or tool. Nothing was sent.
    """
    if not request.messages:
        raise InvalidRequest("There is no message to send.", hint="Type a prompt.")
    last = request.messages[-1]
    if not last.text.strip() and not last.images and not last.tool_calls and last.role != "tool":
        raise InvalidRequest("The prompt is empty.", hint="Type something to send; nothing was sent.")
    if sum(len(message.text) for message in request.messages) > MAX_PROMPT_BYTES:
        raise InvalidRequest(
            f"The prompt has more than {MAX_PROMPT_BYTES:,} characters.", hint="Shorten it; nothing was sent."
        )
    if request.max_tokens is not None and request.max_tokens < 1:
        raise InvalidRequest(f"max_tokens is {request.max_tokens}.", hint="Give at least 1.")
    if request.temperature is not None and not 0 <= request.temperature <= 2:
        raise InvalidRequest(f"temperature is {request.temperature}.", hint="Give a number from 0 to 2.")
    if request.response_format is not None:
        check_schema(request.response_format.schema, "The JSON schema")
    for tool in request.tools:
        check_schema(tool.parameters, f"The parameters of tool {tool.name!r}")
    return request


def check_schema(schema: object, what: str) -> None:
    """Check that ``schema`` is JSON and a valid JSON schema (draft 2020-12 unless it names another).

    Raises:
        InvalidRequest: it is not, or it is nested too deeply; the message says where and why.
    """

    if not isinstance(schema, dict):
        raise InvalidRequest(
            f"{what} isn't an object.", hint='Start with {"type": "object", ...}; nothing was sent.'
        )
    problem = _schema_problem(_as_json(cast("dict[Any, Any]", schema), what))
    if problem:
        raise InvalidRequest(f"{what} is malformed{problem}.", hint="Mend the schema; nothing was sent.")


def _as_json(schema: dict[Any, Any], what: str) -> dict[str, Any]:
    """Return ``schema`` as a server will read it. :raises InvalidRequest: it cannot be written as JSON."""
    too_deep = InvalidRequest(
        f"{what} has more than {MAX_SCHEMA_DEPTH} levels.", hint="Make it flatter; nothing was sent."
    )
    try:
        read: dict[str, Any] = json.loads(json.dumps(schema, allow_nan=False))
    except RecursionError:
        raise too_deep from None
    except (TypeError, ValueError) as error:
        raise InvalidRequest(
            f"{what} isn't JSON: {_shortened(str(error))}.",
            hint="Use text, numbers, true, false, null, lists and objects only; nothing was sent.",
        ) from error
    level: list[Any] = [read]
    for _ in range(MAX_SCHEMA_DEPTH):
        level = [inner for value in level for inner in _inside(value)]
    if level:
        raise too_deep
    return read


def _inside(value: Any) -> list[Any]:
    """Return the objects and lists directly in ``value``."""
    items = list(cast("dict[str, Any]", value).values()) if isinstance(value, dict) else value
    return [item for item in cast("list[Any]", items) if isinstance(item, dict | list)]


def _schema_problem(schema: dict[str, Any]) -> str:
    """Say what is wrong with ``schema`` and where, in words that follow "is malformed"; empty if nothing is."""
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.validators import validator_for

    if not isinstance(schema.get("$schema", ""), str):
        return " at $schema: it is the address of a draft, as text"
    validator: Any = validator_for(schema, default=Draft202012Validator)
    try:
        validator.check_schema(schema)
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "its top level"
        return f" at {_shortened(where)}: {_shortened(error.message)}"
    except RecursionError:
        return ": its levels are too many"
    except (ArithmeticError, ValueError) as error:
        # The checker of patterns lets through what the regular expression's compiler stumbles over.
        return f": {_shortened(str(error))}"
    return ""


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN_CHARS else text[: _MAX_SHOWN_CHARS - 1] + "…"
