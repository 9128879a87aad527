"""The OpenAI wire of vLLM and llama.cpp, on the way back: the chunks of an answer as provider events."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from core.chat import (
    AnswerEnded,
    FinishReason,
    OutputProgress,
    PromptProgress,
    ProviderEvent,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from core.providers.errors import Endpoint, broken_off
from core.providers.sse import ErrorEvent, ServerSentEvent, decode_anything, decode_error, decode_json
from core.providers.usage import OpenAIReports, token_count
from core.providers.wire_text import TextJoiner, plain_name

_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "refusal",
}
_BROKEN_FINISH = ("abort", "error")  # vLLM's words for an answer the engine gave up
_DONE = b"[DONE]"
_TEXT_PARTS = ("text", "output_text", "refusal")
USAGE_EVERY_CHUNKS = 16
"""vLLM can report usage with every chunk; passing on each 16th keeps a stopped answer's count within 16 tokens."""


class _Delta(msgspec.Struct):
    """What a chunk adds. Servers differ in types, so each is looked at where it is used."""

    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None


class _Choice(msgspec.Struct):
    """``message`` stands in a whole answer, where a chunk has ``delta``."""

    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: Any = None


class _Chunk(msgspec.Struct):
    object: Any = None
    model: Any = None
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    prompt_progress: Any = None


_DECODER = msgspec.json.Decoder(_Chunk)


@dataclass(slots=True)
class _Call:
    """A tool call as far as it has come."""

    number: int
    id: str
    name: str
    pieces: list[str] = field(default_factory=list[str])
    joiner: TextJoiner = field(default_factory=TextJoiner)
    _read: int = 0
    """How many pieces ``is_whole`` has looked at: asked at each piece, it must not begin anew."""
    _depth: int = 0
    _in_text: bool = False
    _escaped: bool = False
    _begun: bool = False

    def is_whole(self) -> bool:
        """Whether its arguments are a whole JSON value, by its brackets."""
        for piece in self.pieces[self._read :]:
            self._look_at(piece)
        self._read = len(self.pieces)
        return self._begun and self._depth <= 0 and not self._in_text

    def _look_at(self, piece: str) -> None:
        """Look at a piece, not at each character: one may have megabytes."""
        if self._escaped and piece:
            piece, self._escaped = piece[1:], False
        piece = piece.replace("\\\\", "")
        self._escaped = self._escaped or piece.endswith("\\")
        parts = piece.replace('\\"', "").split('"')
        outside = "".join(parts[int(self._in_text) :: 2])
        self._in_text ^= len(parts) % 2 == 0
        self._begun = self._begun or len(parts) > 1 or bool(outside.strip())
        self._depth += sum(outside.count(bracket) for bracket in "{[") - sum(map(outside.count, "}]"))


class OpenAIReader:
    """Turns chunks into provider events. Reasoning is no part of the text: only its size is told."""

    def __init__(self, model: str, endpoint: Endpoint) -> None:
        self._model = model
        self._endpoint = endpoint
        self.is_ending = False
        self.is_complete = False
        self._finish: str | None = None
        self._refused = False
        self._reports = OpenAIReports()
        """With each chunk there may be one, and few of them are told."""
        self._reported: UsageReported | None = None
        self._chunks = 0
        self._text = TextJoiner()
        self._calls: list[_Call] = []
        self._call_by_id: dict[str, _Call] = {}
        self._call_at: dict[int, _Call] = {}
        """The call that an index of the wire means now."""

    def read(self, event: ServerSentEvent) -> list[ProviderEvent]:
        """Return what one chunk means."""
        if event.data.startswith(_DONE):
            self.is_complete = True
            return []
        if event.name == b"error":
            raise decode_error(event.data)
        chunk = decode_json(event.data, _DECODER)
        if chunk.error or chunk.object == "error":
            raise decode_error(event.data)
        return self._read_chunk(chunk)

    def read_whole(self, body: bytes) -> list[ProviderEvent]:
        """Return what a whole answer means that came instead of a stream."""
        value = decode_anything(body)
        if not isinstance(value, dict) or not cast("dict[str, Any]", value).get("choices"):
            raise ErrorEvent(cast("Any", value))
        chunk = msgspec.convert(value, _Chunk)
        if chunk.error or chunk.object == "error":
            raise ErrorEvent(cast("Any", value))
        return self._read_chunk(chunk)

    def last_events(self) -> list[ProviderEvent]:
        """Return the newest usage, if it has not been reported yet, and text that waited for its other half."""
        events: list[ProviderEvent] = []
        if rest := self._text.rest():
            events.append(TextDelta(rest))
        for call in self._calls:
            if rest := call.joiner.rest():
                events.append(ToolCallDelta(call.number, None, None, rest))
        self._report(events)
        return events

    def end(self, dropped: tuple[str, ...]) -> AnswerEnded:
        """Return the last event.

        Raises:
            Unavailable: the stream ended before the answer did.
        """
        if self._finish is None:
            raise broken_off(self._endpoint, "the answer has no end")
        if self._finish in _BROKEN_FINISH:
            raise broken_off(self._endpoint, "the server gave this answer up")
        finish = "refusal" if self._refused else _FINISH.get(self._finish, "unknown")
        return AnswerEnded(self._model, finish, dropped)

    def _read_chunk(self, chunk: _Chunk) -> list[ProviderEvent]:
        events: list[ProviderEvent] = []
        if isinstance(chunk.model, str) and chunk.model:
            self._model = plain_name(chunk.model)
        if chunk.prompt_progress is not None:
            _read_progress(chunk.prompt_progress, events)
        choices = chunk.choices or ()
        for choice in choices:
            delta = choice.delta or choice.message
            if delta is not None:
                self._read_delta(delta, events)
            if isinstance(choice.finish_reason, str) and choice.finish_reason:
                self._finish = choice.finish_reason
                self.is_ending = True
        if chunk.usage is not None and self._reports.add(chunk.usage):
            if not choices or self._reported is None or self._chunks % USAGE_EVERY_CHUNKS == 0:
                self._report(events)
            # vLLM and llama.cpp send the whole count last, in its own chunk.
            self.is_complete = self.is_complete or (self.is_ending and not choices)
        self._chunks += 1
        return events

    def _report(self, events: list[ProviderEvent]) -> None:
        usage = self._reports.usage
        told = None if usage is None else UsageReported(usage, doubtful=self._reports.is_doubtful)
        if told is not None and told != self._reported:
            self._reported = told
            events.append(told)

    def _read_delta(self, delta: _Delta, events: list[ProviderEvent]) -> None:
        content = delta.content
        if isinstance(content, str):
            self._say(content, events)
        elif isinstance(content, list):
            self._read_parts(cast("list[Any]", content), events)
        if isinstance(delta.refusal, str) and delta.refusal:
            self._refused = True
            self._say(delta.refusal, events)
        # vLLM has called it both, and some versions send both with the same text.
        reasoning = delta.reasoning_content or delta.reasoning
        if isinstance(reasoning, str) and reasoning:
            events.append(OutputProgress(len(reasoning.encode("utf-8", "surrogatepass"))))
        calls = delta.tool_calls
        if isinstance(calls, list):
            for position, call in enumerate(cast("list[Any]", calls)):
                if isinstance(call, dict):
                    self._read_call(position, cast("dict[str, Any]", call), events)

    def _say(self, text: str, events: list[ProviderEvent]) -> None:
        if text and (text := self._text.add(text)):
            events.append(TextDelta(text))

    def _read_parts(self, parts: list[Any], events: list[ProviderEvent]) -> None:
        """Read content that is a list: its text is the answer, the rest (thinking, mostly) is told by its size."""
        for part in parts:
            fields: dict[str, Any] = (
                cast("dict[str, Any]", part) if isinstance(part, dict) else {"text": part}
            )
            kind = fields.get("type", "text")
            if kind in _TEXT_PARTS:
                text = fields.get("refusal" if kind == "refusal" else "text")
                self._refused = self._refused or kind == "refusal"
                if isinstance(text, str):
                    self._say(text, events)
                continue
            hidden = sum(len(piece.encode("utf-8", "surrogatepass")) for piece in _strings(fields))
            if hidden:
                events.append(OutputProgress(hidden))

    def _read_call(self, position: int, piece: dict[str, Any], events: list[ProviderEvent]) -> None:
        function: Any = piece.get("function")
        named: dict[str, Any] = cast("dict[str, Any]", function) if isinstance(function, dict) else {}
        call_id, name = _word(piece.get("id")), _word(named.get("name"))
        arguments = _arguments(named.get("arguments"))
        index: Any = piece.get("index")
        if isinstance(index, int):
            call = self._call_at.get(index)
        elif call_id:
            call = self._call_by_id.get(call_id)
            call = call or (self._calls[-1] if self._calls and not name else None)
        else:  # neither index nor id: what goes on is the newest call
            call = self._calls[-1] if self._calls else None
        if call is None or _is_another(call, call_id, name, arguments):
            number = len(self._calls)
            call = _Call(number, call_id or f"call_{number}", name)
            self._calls.append(call)
            self._call_by_id.setdefault(call.id, call)
            self._call_at[index if isinstance(index, int) else position] = call
            call.pieces.append(arguments)
            events.append(ToolCallDelta(number, call.id, name, call.joiner.add(arguments)))
        elif arguments:
            call.pieces.append(arguments)
            if arguments := call.joiner.add(arguments):
                events.append(ToolCallDelta(call.number, None, None, arguments))


def _is_another(call: _Call, call_id: str, name: str, arguments: str) -> bool:
    """Whether a piece begins a call although its index is ``call``'s: some servers give each call index 0, or none.

    An id alone says nothing (old vLLM gives each piece a new one), and neither does a name that is said again.
    """
    if not name:
        return False
    if call_id and call_id != call.id:
        return True
    return not call_id and bool(arguments or name != call.name) and call.is_whole()


def _read_progress(told: Any, events: list[ProviderEvent]) -> None:
    """Read llama.cpp's ``prompt_progress``; what makes no sense is no progress."""
    if not isinstance(told, dict):
        return
    fields = cast("dict[str, Any]", told)
    total, read = token_count(fields.get("total")), token_count(fields.get("processed"))
    if total is not None and read is not None:
        cached = token_count(fields.get("cache")) or 0
        events.append(PromptProgress(max(0, read - cached), max(0, total - cached)))


def _word(value: Any) -> str:
    return plain_name(value) if isinstance(value, str) else ""


def _arguments(value: Any) -> str:
    """Return a piece of the arguments' JSON; some servers send them as an object."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return value if isinstance(value, str) else ""


def _strings(value: Any) -> Iterator[str]:
    """The texts in a part of a content list, but for the words that name its kind."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            if key not in ("type", "id"):
                yield from _strings(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from _strings(inner)
