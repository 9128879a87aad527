"""Checks a model's JSON answer and its tool calls against what was asked for; mends only what loses nothing.

Safe is what changes no data: a Markdown fence, prose around one whole value, a trailing comma, quotes, Python's
own words, comments, line breaks inside a text, and brackets missing at the end of an answer that was sent whole. A
number in quotes, a cut-off text, a field given twice or a second value is a problem, never mended. All of it is
pure: the router asks again and falls back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.chat import FinishReason, JsonObject, Tool, ToolCall
from core.structured.json_in_text import NotFound, find_json, strict_json
from core.structured.lenient_json import Unreadable, read_value
from core.structured.reask import reask_messages
from core.structured.schema_check import MAX_PROBLEMS, check_value, reference_problems
from core.structured.schema_words import kind_of, shortened

__all__ = ["AnswerCheck", "check_answer", "check_tool_calls", "reask_messages", "reference_problems"]

CUT_OFF: frozenset[FinishReason] = frozenset({"length", "stopped_by_user", "refusal"})
"""Ends after which more was to come: what is missing at the end is not known to be only a bracket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerCheck:
    """What a check found.

    ``text`` is the JSON text, mended where ``repaired`` says so (each entry a few words for a person), and the
    answer as it came where it is not ``valid``. ``problems`` say where and why it breaks the schema.
    ``schema_at_fault``: the schema itself cannot be checked, so asking again would not help.
    """

    valid: bool
    text: str
    repaired: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    schema_at_fault: bool = False


def check_answer(text: str, schema: JsonObject, *, finish_reason: FinishReason = "stop") -> AnswerCheck:
    """Check that ``text`` is JSON that matches ``schema``, after mending what is safe to mend.

    Never raises. It may block: milliseconds for most answers, a second or more for one of 2 MB, and up to
    ``schema_check.LIMIT_S`` for a hostile schema. Call it by ``asyncio.to_thread``.
    """
    found = find_json(text, whole=finish_reason not in CUT_OFF)
    if isinstance(found, NotFound):
        return AnswerCheck(valid=False, text=text, problems=(found.problem,))
    checked = check_value(found.value, schema)
    if checked.problems:
        return AnswerCheck(
            valid=False, text=text, problems=checked.problems, schema_at_fault=checked.schema_at_fault
        )
    return AnswerCheck(valid=True, text=found.json, repaired=found.repaired)


def check_tool_calls(calls: Sequence[ToolCall], tools: Sequence[Tool]) -> tuple[str, ...]:
    """Return what is wrong with ``calls``, nothing where each can be run. They are never mended: a tool acts.

    Empty arguments are an empty object: both wires send nothing for a call that has none. Blocks like
    ``check_answer``, so call it by ``asyncio.to_thread`` too.
    """
    known = {tool.name: tool for tool in tools}
    problems: list[str] = []
    ids: set[str] = set()
    for number, call in enumerate(calls, 1):
        who = f"call {number} ({shortened(call.name, 60) or 'no name'})"
        if not call.id:
            problems.append(f"{who}: it has no id")
        elif call.id in ids:
            problems.append(f"{who}: its id is that of another call")
        ids.add(call.id)
        tool = known.get(call.name)
        if tool is None:
            problems.append(f"{who}: there is no such tool")
        else:
            problems += (f"{who} {problem}" for problem in _argument_problems(call, tool))
        if len(problems) >= MAX_PROBLEMS:
            break
    return tuple(problems[:MAX_PROBLEMS])


def _argument_problems(call: ToolCall, tool: Tool) -> tuple[str, ...]:
    text = call.arguments_json.strip(" \t\r\n") or "{}"
    try:
        arguments = strict_json(text)
    except (ValueError, RecursionError):
        read = read_value(text, may_close=False)
        if isinstance(read, Unreadable):
            return (f"at {read.pointer}: {read.what}",)
        return ("at /: the arguments are not JSON as they stand",)
    if not isinstance(arguments, dict):
        return (f"at /: the arguments must be an object, and are {kind_of(arguments)}",)
    return check_value(arguments, tool.parameters).problems
