"""Checks a model's JSON answer and its tool calls against what was asked for; mends only what loses nothing.

Safe is what changes no data: a Markdown fence, prose around one whole value, a trailing comma, quotes, Python's
own words, comments, line breaks inside a text, and brackets missing at the end of an answer that was sent whole. A
number in quotes, a cut-off text, a field given twice or a second value is a problem, never mended. Asking
again sends the same request, the bad answer and a short correction, in words any model family follows. All of it
is pure: the router asks again and falls back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.chat import ChatRequest, FinishReason, JsonObject, Message, Tool, ToolCall
from core.structured.json_repair import NotFound, Unreadable, find_json, read_value, strict_json
from core.structured.schema import MAX_PROBLEMS, check_value
from core.structured.schema_words import kind_of, shortened

__all__ = [
    "MAX_ECHO_CHARS",
    "AnswerCheck",
    "check_answer",
    "check_tool_calls",
    "reask_messages",
]

CUT_OFF: frozenset[FinishReason] = frozenset({"length", "stopped_by_user", "refusal"})
"""Ends after which more was to come: what is missing at the end is not known to be only a bracket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerCheck:
    """What a check found.

    ``text`` is the JSON text, mended where ``repaired`` says so (each entry a few words for a person), and the
    answer as it came where it is not ``valid``. ``problems`` say where and why it breaks the schema.
    ``unchecked``: the schema itself cannot be checked, so asking again would not help.
    """

    valid: bool
    text: str
    repaired: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    unchecked: bool = False


def check_answer(text: str, schema: JsonObject, *, finish_reason: FinishReason = "stop") -> AnswerCheck:
    """Check that ``text`` is JSON that matches ``schema``, after mending what is safe to mend.

    Never raises. It may block: milliseconds for most answers, 0.1 s for one of 2 MB, and up to
    ``schema.LIMIT_S`` for a hostile schema. Call it by ``asyncio.to_thread``.
    """
    found = find_json(text, whole=finish_reason not in CUT_OFF)
    if isinstance(found, NotFound):
        return AnswerCheck(valid=False, text=text, problems=(found.problem,))
    checked = check_value(found.value, schema)
    if checked.problems:
        return AnswerCheck(valid=False, text=text, problems=checked.problems, unchecked=checked.unchecked)
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


MAX_ECHO_CHARS = 12_000
"""Most of a bad answer that is sent back: it is paid for again. Its beginning and its end are kept."""

_MAX_PROBLEMS = 10
_MAX_PROBLEM_CHARS = 300
_OPENING = "That answer can't be used:"
_JSON_ONLY = (
    "Answer the same request again. Send only the corrected JSON value, the whole of it: "
    "no explanation, no Markdown, nothing before or after it."
)
_CALL_AGAIN = (
    "The tool was not run. Call it again with corrected arguments: only one JSON object that matches "
    "the tool's parameters."
)
_NO_ANSWER = "(no answer)"


def reask_messages(
    request: ChatRequest, answer_text: str, problems: Sequence[str], *, calls: Sequence[ToolCall] = ()
) -> ChatRequest:
    """Return ``request`` with its bad answer (a text, and tool calls if it made any) and one correction after it.

    System prompt, tools, schema and everything else stay. A request that was asked again already gets the new
    correction instead of the old one, so there is never more than one.
    """
    messages = _without_correction(request.messages)
    if not calls:
        turns = (_assistant(_bounded(answer_text)), _correction(problems, _JSON_ONLY))
    elif _can_be_echoed(calls, request):
        turns = (_assistant(_bounded(answer_text), calls), *(_not_run(call, problems) for call in calls))
    else:
        # A wire refuses a conversation with such a call, so it is told instead of shown.
        told = "\n".join(f"(a call of the tool {call.name}: {call.arguments_json})" for call in calls)
        told = f"{answer_text}\n{told}"
        turns = (_assistant(_bounded(told)), _correction(problems, _CALL_AGAIN))
    first, *others = turns
    if messages and messages[-1].role == "assistant" and not messages[-1].tool_calls and not first.tool_calls:
        # The answer's beginning was given with the request; two turns of one role in a row are refused by some.
        first = replace(messages[-1], text=messages[-1].text + first.text)
        messages = messages[:-1]
    return replace(request, messages=(*messages, first, *others))


def _without_correction(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    end = len(messages)
    while end and messages[end - 1].text.startswith(_OPENING) and messages[end - 1].role != "assistant":
        end -= 1
    if end < len(messages) and end and messages[end - 1].role == "assistant":
        end -= 1
    return messages[:end]


def _assistant(text: str, calls: Sequence[ToolCall] = ()) -> Message:
    text = text.strip() or ("" if calls else _NO_ANSWER)
    return Message(role="assistant", text=text, tool_calls=tuple(calls))


def _correction(problems: Sequence[str], request: str) -> Message:
    return Message(role="user", text=_words(problems, request))


def _not_run(call: ToolCall, problems: Sequence[str]) -> Message:
    return Message(role="tool", text=_words(problems, _CALL_AGAIN), tool_call_id=call.id)


def _words(problems: Sequence[str], request: str) -> str:
    listed = "\n".join(f"- {shortened(problem, _MAX_PROBLEM_CHARS)}" for problem in problems[:_MAX_PROBLEMS])
    return f"{_OPENING}\n{listed}\n\n{request}"


def _can_be_echoed(calls: Sequence[ToolCall], request: ChatRequest) -> bool:
    """Whether both wires take the calls back as calls: known tools, an id each, an object as arguments."""
    known = {tool.name for tool in request.tools}
    ids = {call.id for call in calls if call.id}
    if not calls or len(ids) < len(calls) or any(call.name not in known for call in calls):
        return False
    if sum(len(call.arguments_json) for call in calls) > MAX_ECHO_CHARS:
        return False
    return all(_is_object(call.arguments_json or "{}") for call in calls)


def _is_object(text: str) -> bool:
    try:
        return isinstance(strict_json(text), dict)
    except (ValueError, RecursionError):
        return False


def _bounded(text: str) -> str:
    if len(text) <= MAX_ECHO_CHARS:
        return text
    head, tail = MAX_ECHO_CHARS * 2 // 3, MAX_ECHO_CHARS // 3
    return f"{text[:head]}\n({len(text) - head - tail:,} characters left out)\n{text[-tail:]}"
