"""``signalbox decide``: JSON lines in, the decision for each out, in order. No call is made."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import aclosing
from typing import Any, cast

from core.base.text import escaped_in_json
from core.chat import ChatRequest, JsonSchemaFormat, Message, Tool
from core.cli.answer_json import decision_json
from core.cli.terminal import read_lines
from core.errors import InvalidRequest, SignalboxError


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "decide",
        parents=[common],
        description="Reads JSON lines with prompt and optionally tools, schema, system, max_tokens, force, model, "
        "batch and high_stakes from standard input; prints one JSON line for each, in order.",
    )
    parser.set_defaults(command=decide)


async def decide(arguments: argparse.Namespace) -> int:
    from core.router_core import RouterCore

    failed = False
    async with RouterCore() as core:
        decider = await core.decider()
        number = 0
        async with aclosing(read_lines()) as batches:
            async for lines in batches:
                for line in lines:
                    number += 1
                    if not line.strip():
                        continue
                    try:
                        answer = decision_json(decider(request_from_line(line)))
                    except SignalboxError as error:
                        failed = True
                        answer = {"error": error.message, "hint": error.hint, "line": number}
                    written = json.dumps(answer, ensure_ascii=False)
                    sys.stdout.write(escaped_in_json(written) + "\n")
                sys.stdout.flush()  # once for all that has arrived: a person and a batch both get theirs at once
    return 1 if failed else 0


def request_from_line(line: str) -> ChatRequest:
    """Read one JSON line.

    Raises:
        InvalidRequest: not a JSON object, no prompt, or a field of the wrong type.
    """
    try:
        read = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The line isn't valid JSON: {error}.") from error
    if not isinstance(read, dict):
        raise InvalidRequest("The line isn't a JSON object.", hint='Write {"prompt": "..."}.')
    fields = cast("dict[str, Any]", read)
    schema = _typed(fields, "schema", dict)
    force = _typed(fields, "force", str)
    if force not in (None, "local", "api"):
        raise InvalidRequest(f"force is {force!r}.", hint="Use local or api.")
    prompt = _typed(fields, "prompt", str)
    if prompt is None:
        raise InvalidRequest("The line has no prompt.", hint='Write {"prompt": "..."}.')
    return ChatRequest(
        messages=(Message(role="user", text=prompt),),
        system=_typed(fields, "system", str),
        tools=tuple(map(_tool, _typed(fields, "tools", list) or [])),
        response_format=JsonSchemaFormat(schema=schema) if schema is not None else None,
        max_tokens=_typed(fields, "max_tokens", int),
        force=force,
        model=_typed(fields, "model", str),
        batch=_typed(fields, "batch", bool) or False,
        high_stakes=_typed(fields, "high_stakes", bool) or False,
        source="cli",
    )


def _typed(fields: dict[str, Any], name: str, kind: type) -> Any:
    value = fields.get(name)
    if value is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return value
    words = {str: "text", dict: "an object", list: "a list", int: "a whole number", bool: "true or false"}
    raise InvalidRequest(f"{name} isn't {words[kind]}.")


def _tool(given: object) -> Tool:
    """Take a tool as OpenAI or as Anthropic writes it, or with a name only."""
    if not isinstance(given, dict):
        raise InvalidRequest("A tool isn't an object.", hint='Write {"name": ..., "parameters": {...}}.')
    fields = cast("dict[str, Any]", given)
    if isinstance(fields.get("function"), dict):
        fields = cast("dict[str, Any]", fields["function"])
    name = fields.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequest("A tool has no name.")
    parameters = fields.get("parameters", fields.get("input_schema", {"type": "object"}))
    if not isinstance(parameters, dict):
        raise InvalidRequest(f"The parameters of tool {name!r} aren't an object.")
    return Tool(
        name=name,
        description=str(fields.get("description", "")),
        parameters=cast("dict[str, Any]", parameters),
    )
