"""Anthropic's wire, on the way back: the events of a streamed message as provider events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from core.chat import (
    AnswerEnded,
    FinishReason,
    OutputProgress,
    ProviderEvent,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from core.errors import ContentRefused
from core.providers.errors import Endpoint, broken_off, what_it_said
from core.providers.sse import ErrorEvent, ServerSentEvent, decode_anything, decode_error, decode_json
from core.providers.usage import AnthropicReports, as_mapping
from core.providers.wire_text import TextJoiner, plain_name, valid_text

_FINISH: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}


class _Delta(msgspec.Struct):
    """What an event adds. Servers and bridges differ in types, so each is looked at where it is used."""

    type: Any = None
    text: Any = None
    partial_json: Any = None
    thinking: Any = None
    signature: Any = None
    stop_reason: Any = None
    stop_details: Any = None


class _Event(msgspec.Struct):
    type: Any = None
    index: Any = 0
    delta: _Delta | None = None
    content_block: dict[str, Any] | None = None
    message: dict[str, Any] | None = None
    usage: Any = None


_DECODER = msgspec.json.Decoder(_Event)


class _Kind(msgspec.Struct):
    type: Any = None


_KIND_DECODER = msgspec.json.Decoder(_Kind)
_KINDS = frozenset(
    {
        "content_block_delta",
        "content_block_start",
        "content_block_stop",
        "error",
        "message_delta",
        "message_start",
        "message_stop",
        "ping",
    }
)


def _decoded(event: ServerSentEvent) -> _Event:
    """Return an event; of a kind that is not known, whose fields may be anything, its kind only."""
    try:
        return decode_json(event.data, _DECODER)
    except msgspec.ValidationError:
        kind = decode_json(event.data, _KIND_DECODER).type or event.name.decode("utf-8", "replace")
        if not kind or kind in _KINDS:
            raise
        return _Event(type=kind)


class AnthropicReader:
    """Turns stream events into provider events. Thinking is no part of the text: only its size is told."""

    def __init__(self, model: str, endpoint: Endpoint) -> None:
        self._model = model
        self._endpoint = endpoint
        self.is_ending = False
        self.is_complete = False
        self._reports = AnthropicReports()
        self._reported: UsageReported | None = None
        self._stop_reason: str | None = None
        self._explanation = ""
        self._answered = False
        self._begun = False
        self._text = TextJoiner()
        self._calls: dict[int, int] = {}
        self._arguments: dict[int, TextJoiner] = {}
        """Of each call that had arguments."""
        self._thought_bytes: dict[int, int] = {}
        self._uncounted: set[int] = set()
        """Blocks of output whose size can't be told from what arrived."""

    def read(self, event: ServerSentEvent) -> list[ProviderEvent]:
        """Return what one event means; unknown kinds mean nothing (the wire may grow)."""
        if event.name == b"error":
            raise decode_error(event.data)
        told = _decoded(event)
        kind = told.type or event.name.decode("utf-8", "replace")  # its name is said twice, mostly
        if kind == "content_block_delta":
            return [] if told.delta is None else self._delta(told.index, told.delta)
        if kind == "content_block_start":
            return self._block(told.index, told.content_block or {})
        if kind == "content_block_stop":
            return self._block_end(told.index)
        if kind == "message_start":
            message = told.message or {}
            self._name_model(message)
            return self._report(message.get("usage"))
        if kind == "message_delta":
            if told.delta is not None:
                self._end_of_message(told.delta.stop_reason, told.delta.stop_details)
            # With the reason of its end comes the whole count; before, output is only what was known at the start.
            return self._report(told.usage, ended=self._stop_reason is not None)
        if kind == "ping":
            return [self._progress(0)]
        if kind == "message_stop":
            self.is_complete = True
        elif kind == "error":
            raise decode_error(event.data)
        return []

    def read_whole(self, body: bytes) -> list[ProviderEvent]:
        """Return what a whole message means that came instead of a stream."""
        value = decode_anything(body)
        message = as_mapping(value) or {}
        content: Any = message.get("content")
        if message.get("type") == "error" or not isinstance(content, list):
            raise ErrorEvent(value)
        self._name_model(message)
        events: list[ProviderEvent] = []
        for index, block in enumerate(cast("list[Any]", content)):
            events.extend(self._block(index, as_mapping(block) or {}))
            events.extend(self._block_end(index))
        self._end_of_message(message.get("stop_reason"), message.get("stop_details"))
        events.extend(self._report(message.get("usage"), ended=True))
        self.is_complete = True
        return events

    def last_events(self) -> list[ProviderEvent]:
        rest = self._text.rest()
        return [TextDelta(rest)] if rest else []

    def end(self, dropped: tuple[str, ...]) -> AnswerEnded:
        """Return the last event.

        Raises:
            Unavailable: the stream ended before the message did.
            ContentRefused: the model declined before it had said anything.
        """
        if not self.is_ending and not self.is_complete:
            raise broken_off(self._endpoint, "the message has no end")
        finish = _FINISH.get(self._stop_reason or "", "unknown")
        if finish == "refusal" and not self._answered:
            why = f": {self._explanation}" if self._explanation else "."
            refused = ContentRefused(
                f"{self._endpoint.who} declined to answer{why}",
                hint="Rephrase the prompt, or send it locally.",
            )
            raise refused.quoting(why)
        return AnswerEnded(self._model, finish, dropped)

    def _name_model(self, message: Mapping[str, Any]) -> None:
        model = message.get("model")
        if isinstance(model, str) and model:
            self._model = plain_name(model)

    def _delta(self, index: int, delta: _Delta) -> list[ProviderEvent]:
        kind = delta.type
        if kind == "text_delta":
            return self._say(delta.text)
        if kind == "input_json_delta":
            piece = delta.partial_json
            if not isinstance(piece, str) or not piece or index not in self._calls:
                return []
            piece = self._arguments.setdefault(index, TextJoiner()).add(piece)
            return [ToolCallDelta(self._calls[index], None, None, piece)] if piece else []
        if kind in ("thinking_delta", "signature_delta"):
            return self._thinking(index, delta.thinking, delta.signature)
        return []

    def _say(self, text: Any) -> list[ProviderEvent]:
        if not isinstance(text, str) or not text:
            return []
        self._answered = True
        text = self._text.add(text)
        return [TextDelta(text)] if text else []

    def _thinking(self, index: int, shown: Any, sealed: Any) -> list[ProviderEvent]:
        """Tell the size of a piece of thinking; it is billed as output, shown or not.

        A model may show a summary of its thinking, or none of it. The encrypted whole comes as the block's
        ``signature`` (or as ``data`` of a redacted block), in base64, so the larger of the two is told. Until
        that has come, nobody knows how much there is.
        """
        so_far = self._thought_bytes.get(index, 0)
        shown_bytes = len(str(shown or "").encode("utf-8", "surrogatepass"))
        thought = max(so_far + shown_bytes, len(str(sealed or "")) * 3 // 4)
        self._thought_bytes[index] = thought
        was_uncounted = index in self._uncounted
        if sealed:
            self._uncounted.discard(index)
        else:
            self._uncounted.add(index)
        changed = thought > so_far or was_uncounted == bool(sealed)
        return [self._progress(thought - so_far)] if changed else []

    def _progress(self, hidden_bytes: int) -> OutputProgress:
        return OutputProgress(hidden_bytes, uncounted=bool(self._uncounted))

    def _begin(self) -> list[ProviderEvent]:
        """Tell once of an answer that begins without a readable usage: it is billed, whatever comes of it."""
        if self._begun or self._reported is not None:
            return []
        self._begun = True
        return [OutputProgress(0, uncounted=True)]

    def _block(self, index: int, block: Mapping[str, Any]) -> list[ProviderEvent]:
        kind = block.get("type")
        if kind == "text":
            return self._say(block.get("text")) or self._begin()
        if kind in ("thinking", "redacted_thinking"):
            return self._thinking(index, block.get("thinking"), block.get("signature") or block.get("data"))
        if kind != "tool_use":
            # A kind this program doesn't know (a tool of the server's own): billed, and its pieces are not read.
            self._uncounted.add(index)
            return [self._progress(0)]
        self._answered = True
        number = self._calls.setdefault(index, len(self._calls))
        arguments = as_mapping(block.get("input"))
        if arguments:
            self._arguments.setdefault(index, TextJoiner())
        text = valid_text(json.dumps(dict(arguments), ensure_ascii=False)) if arguments else ""
        call_id, name = plain_name(str(block.get("id") or "")), plain_name(str(block.get("name") or ""))
        return [ToolCallDelta(number, call_id, name, text)]

    def _block_end(self, index: int) -> list[ProviderEvent]:
        if index not in self._calls:
            return []
        arguments = self._arguments.get(index)
        # A tool without arguments sends no JSON at all; an empty object is what it means.
        rest = "{}" if arguments is None else arguments.rest()
        return [ToolCallDelta(self._calls[index], None, None, rest)] if rest else []

    def _report(self, raw: Any, *, ended: bool = False) -> list[ProviderEvent]:
        """Tell what is known now. A report is the last word only if it counts the output and no doubt is left."""
        output_tokens = self._reports.add(raw)
        is_silent = not self._answered and not any(self._thought_bytes.values())
        has_output = output_tokens is not None and (output_tokens > 0 or is_silent)
        usage, doubtful = self._reports.usage, self._reports.is_doubtful
        if usage is None:
            return self._begin()
        was_final = self._reported is not None and self._reported.final
        told = UsageReported(
            usage, final=not doubtful and (was_final or (ended and has_output)), doubtful=doubtful
        )
        if told == self._reported:
            return []
        self._reported = told
        return [told]

    def _end_of_message(self, reason: Any, details: Any) -> None:
        if isinstance(reason, str) and reason:
            self._stop_reason = reason
            self.is_ending = True
        explanation = (as_mapping(details) or {}).get("explanation")
        self._explanation = what_it_said(str(explanation or ""), self._endpoint)
