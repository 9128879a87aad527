"""Asks once more: the same request, the bad answer and a short correction, in words any model family follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.chat import ChatRequest, Message, ToolCall
from core.structured.json_in_text import strict_json
from core.structured.schema_words import shortened

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
