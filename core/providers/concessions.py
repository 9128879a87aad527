"""What a strict server refuses of a request, learnt from its own words, and the request put so that it takes it.

Some servers refuse a request for a field that others need or pass over, and some models' chat templates know no
system prompt, or want turns that alternate. Such a refusal costs nothing, so the request is sent again without what
was refused; ``ServerManners`` remembers it for the model once the server has taken that. What can't be left out
without changing what is asked (messages, tools, the model) is never conceded.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar, cast

from core.providers.errors import AnswerRoom, answer_room, refusal_of

log = logging.getLogger(__name__)
T = TypeVar("T")

Concession = Literal[
    "return_progress",
    "continuous_usage_stats",
    "stream_options",
    "max_tokens",
    "strict",
    "temperature",
    "top_p",
    "stop",
    "seed",
    "response_format",
    "ttl",
    "cache_control",
    "turns",
    "system",
    "call_ids",
]
TOLD: tuple[Concession, ...] = ("temperature", "top_p", "stop", "seed", "response_format")
"""What the caller had asked for, and is told that it was left out."""
LEAST_WORTHWHILE_TOKENS = 256
"""A limit of output is lowered by itself down to here, or to what was asked for; below, a person decides."""
_MOST_REMEMBERED = 64

_REFUSES = (
    r"(?:extra[_ ]forbidden|extra (?:inputs|fields|keys)|not permitted|unrecogni[sz]ed|unsupported|unknown"
    r"|unexpected|(?:not|n't) support|not allowed|not implemented|not available|additional propert|deprecated)"
)


def _refused(field: str, more: str = "") -> str:
    """A pattern of a field's name near a word that refuses it."""
    words = rf"(?:{_REFUSES}{more})"
    return rf"{words}.{{0,80}}?\b{field}\b|\b{field}\b.{{0,80}}?{words}"


def _quoted_refused(field: str) -> str:
    """As ``_refused``, of a name in quotes, for one that is also a plain word in other messages."""
    quoted = rf"['\"`]{field}['\"`]"
    return rf"{_REFUSES}.{{0,80}}?{quoted}|{quoted}.{{0,80}}?{_REFUSES}"


_WORDS: tuple[tuple[Concession, str], ...] = (
    ("return_progress", _refused("return_progress")),
    # The inner field first: where it is named, the outer one may stay.
    ("continuous_usage_stats", _refused("continuous_usage_stats")),
    ("stream_options", _refused("stream_options")),
    (
        "max_tokens",
        r"use\W{1,3}max_completion_tokens|max_completion_tokens.{0,20}instead"
        rf"|\bmax_tokens\b.{{0,30}}?{_REFUSES}|{_REFUSES}.{{0,30}}?\bmax_tokens\b",
    ),
    ("strict", _refused("strict")),
    # Before the temperature: a refusal of both together names both.
    ("top_p", rf"{_refused('top_p')}|\btop_p\b.{{0,40}}?cannot both|cannot both.{{0,60}}?\btop_p\b"),
    ("temperature", _refused("temperature")),
    ("stop", _quoted_refused("stop")),
    ("seed", _quoted_refused("seed")),
    ("response_format", _refused("(?:response_format|json_schema)", "|must be|should be|invalid")),
    ("ttl", _refused("ttl")),
    ("cache_control", _refused("cache_control")),
    (
        "turns",
        r"must alternate|alternat\w+ (?:between )?user|first message must be|start with a user"
        r"|roles? .{0,40}alternat",
    ),
    (
        "system",
        r"system (?:role|message|prompt|instruction)s?\b.{0,40}(?:not|n't) (?:be )?(?:support|allow|enabled)"
        r"|(?:not|n't) support.{0,40}\bsystem\b|only user(?:,| and) assistant"
        r"|(?:unexpected|invalid) role\W+system",
    ),
    ("call_ids", r"tool.?call.?ids?\b.{0,200}length of 9"),
)
_TEMPLATE: tuple[Concession, ...] = ("turns", "system", "call_ids")
"""Refused by a model's chat template; llama.cpp tells a template's refusal with HTTP 500."""
OF_ANTHROPIC: frozenset[Concession] = frozenset({"temperature", "top_p", "ttl", "cache_control"})
OF_OPENAI: frozenset[Concession] = frozenset(
    name for name, _ in _WORDS if name != "ttl" and name != "cache_control"
)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern when a server first refuses something: it takes longer than importing this module."""
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


class ServerManners:
    """What each model of one server was found to refuse, as long as this program runs."""

    def __init__(self) -> None:
        self._known: dict[str, frozenset[Concession]] = {}

    def of(self, model: str) -> frozenset[Concession]:
        return self._known.get(model, frozenset())

    def learn(self, model: str, concessions: frozenset[Concession]) -> None:
        """Remember what a request was taken with."""
        if concessions and (model in self._known or len(self._known) < _MOST_REMEMBERED):
            self._known[model] = concessions


@dataclass(slots=True)
class Negotiation:
    """One request's way to a server that may refuse parts of it.

    ``body`` is what is wanted, ``may`` what its wire may concede, ``concessions`` what the server is known to
    refuse.
    """

    body: dict[str, Any]
    may: frozenset[Concession]
    concessions: frozenset[Concession]
    _lowered_to: int | None = None

    async def taken(self, send: Callable[..., Awaitable[T]]) -> T:
        """Send the body with ``send(body=...)``, and again without what was refused, until it is taken.

        Each time it has less that could be refused. Whatever ``send`` raises beyond that is raised.
        """
        while True:
            try:
                return await send(body=self._adapted())
            except Exception as error:
                if not self._concedes(error):
                    raise
                log.info(
                    "the server refused a part of the request, which is sent again: %s",
                    sorted(self.concessions),
                )

    def _adapted(self) -> dict[str, Any]:
        """Return the body with what has been conceded so far."""
        body = self.body
        if self._lowered_to is not None:
            body = {**body, "max_tokens": self._lowered_to}
        for concession, adapt in _ADAPT.items():
            if concession in self.concessions:
                body = adapt(body)
        return body

    def _concedes(self, error: Exception) -> bool:
        """Whether ``error`` refused what can be conceded; then ``_adapted`` is without it."""
        refusal = refusal_of(error)
        if refusal is None:
            return False
        status, words = refusal
        room = answer_room(words)
        if room is not None:
            return status < 500 and self._lower(room)
        present = _parts(self._adapted())
        for concession, pattern in _WORDS:
            if concession not in self.may or concession not in present or concession in self.concessions:
                continue
            if status >= 500 and concession not in _TEMPLATE:
                continue
            if _compiled(pattern).search(words):
                self.concessions = self.concessions.union((concession,))
                return True
        return False

    def dropped(self) -> tuple[str, ...]:
        """Return what the caller asked for and does not get."""
        told = [name for name in TOLD if name in self.concessions and name in self.body]
        if self._lowered_to is not None:
            told.append(f"max_tokens above {self._lowered_to}")
        return tuple(told)

    def _lower(self, room: AnswerRoom) -> bool:
        wanted = self.body["max_tokens"]
        if (
            self._lowered_to is not None
            or not min(wanted, LEAST_WORTHWHILE_TOKENS) <= room.most_tokens < wanted
        ):
            return False
        self._lowered_to = room.most_tokens
        return True


def _parts(body: Mapping[str, Any]) -> frozenset[str]:
    """Return what of a body could be conceded."""
    parts = {
        name
        for name in (
            "return_progress",
            "stream_options",
            "max_tokens",
            "temperature",
            "top_p",
            "stop",
            "seed",
            "response_format",
        )
        if name in body
    }
    if "continuous_usage_stats" in body.get("stream_options", {}):
        parts.add("continuous_usage_stats")
    text = json.dumps({name: body.get(name) for name in ("tools", "response_format")})
    if '"strict": true' in text:
        parts.add("strict")
    if "cache_control" in json.dumps([body.get("system"), body.get("tools"), body.get("messages")]):
        parts |= {"cache_control", "ttl"}
    messages: list[dict[str, Any]] = body["messages"]
    if messages[0]["role"] == "system":
        parts.add("system")
    return frozenset(parts | {"turns", "call_ids"})


def adapted_messages(
    messages: list[dict[str, Any]], concessions: frozenset[Concession]
) -> list[dict[str, Any]]:
    """Return the OpenAI wire's messages as a model's chat template takes them."""
    body: dict[str, Any] = {"messages": messages}
    for concession, adapt in _ADAPT.items():
        if concession in concessions and concession in _TEMPLATE:
            body = adapt(body)
    return body["messages"]


def _without_continuous_usage(body: dict[str, Any]) -> dict[str, Any]:
    options = {
        key: on for key, on in body.get("stream_options", {}).items() if key != "continuous_usage_stats"
    }
    return {**body, "stream_options": options}


def _without_strict(body: dict[str, Any]) -> dict[str, Any]:
    adapted = dict(body)
    if "tools" in body:
        adapted["tools"] = [{**tool, "function": _less(tool["function"], "strict")} for tool in body["tools"]]
    wanted = body.get("response_format")
    if wanted is not None:
        adapted["response_format"] = {**wanted, "json_schema": _less(wanted["json_schema"], "strict")}
    return adapted


def _renamed_limit(body: dict[str, Any]) -> dict[str, Any]:
    return {**_less(body, "max_tokens"), "max_completion_tokens": body["max_tokens"]}


def _schema_in_words(body: dict[str, Any]) -> dict[str, Any]:
    """Ask for the schema in the system prompt; the answer is checked against it in any case."""
    wanted = body.get("response_format")
    if wanted is None:
        return body
    schema = json.dumps(wanted["json_schema"]["schema"], ensure_ascii=False)
    ask = f"Answer with one JSON value that matches this JSON schema, and with nothing else:\n{schema}"
    messages: list[dict[str, Any]] = body["messages"]
    if messages[0]["role"] == "system":
        first, rest = f"{messages[0]['content']}\n\n{ask}", messages[1:]
    else:
        first, rest = ask, messages
    return {**_less(body, "response_format"), "messages": [{"role": "system", "content": first}, *rest]}


def _without_marks(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def adapt(body: dict[str, Any]) -> dict[str, Any]:
        marked = {part: _strip(body[part], name) for part in ("system", "tools", "messages") if part in body}
        return {**body, **marked}

    return adapt


def _strip(value: Any, name: str) -> Any:
    """Return blocks without their cache marks (``cache_control``), or with plain ones (``ttl``)."""
    if not isinstance(value, list):
        return value
    blocks: list[Any] = []
    for block in cast("list[Any]", value):
        if not isinstance(block, dict):
            blocks.append(block)
            continue
        fields = cast("dict[str, Any]", block)
        kept = {key: _strip(inner, name) if key == "content" else inner for key, inner in fields.items()}
        mark = kept.pop("cache_control", None)
        if mark is not None and name == "ttl":
            kept["cache_control"] = _less(mark, "ttl")
        blocks.append(kept)
    return blocks


def _folded_system(body: dict[str, Any]) -> dict[str, Any]:
    """Say the system prompt at the beginning of the first thing the user says."""
    messages: list[dict[str, Any]] = body["messages"]
    if messages[0]["role"] != "system":
        return body
    first, *rest = messages
    as_user = {"role": "user", "content": first["content"]}
    if rest and rest[0]["role"] == "user":
        return {**body, "messages": [_joined(as_user, rest[0]), *rest[1:]]}
    return {**body, "messages": [as_user, *rest]}


def _alternating(body: dict[str, Any]) -> dict[str, Any]:
    """Merge neighbours of one role, leave empty turns out, and let the user begin."""
    turns: list[dict[str, Any]] = []
    for message in body["messages"]:
        role = message["role"]
        if role != "tool" and not message["content"] and not message.get("tool_calls"):
            continue  # an answer that was stopped before its first word
        if turns and role == turns[-1]["role"] and role in ("user", "assistant"):
            turns[-1] = _joined(turns[-1], message)
            continue
        if role == "assistant" and not any(turn["role"] == "user" for turn in turns):
            turns.append({"role": "user", "content": "(The conversation begins with your words.)"})
        turns.append(message)
    return {**body, "messages": turns}


def _joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    joined = {**one, **other}
    contents: list[Any] = [message["content"] for message in (one, other) if message["content"]]
    if all(isinstance(content, str) for content in contents):
        joined["content"] = "\n\n".join(contents)
    else:
        joined["content"] = [
            part
            for content in contents
            for part in ([{"type": "text", "text": content}] if isinstance(content, str) else content)
        ]
    calls = [*one.get("tool_calls", ()), *other.get("tool_calls", ())]
    return {**joined, "tool_calls": calls} if calls else joined


def _short_call_ids(body: dict[str, Any]) -> dict[str, Any]:
    """Give tool calls the ids that Mistral's templates take: nine letters and digits."""
    short: dict[str, str] = {}

    def of(call_id: str) -> str:
        return short.setdefault(call_id, f"{len(short):09d}")

    messages: list[dict[str, Any]] = []
    for message in body["messages"]:
        adapted = dict(message)
        if "tool_calls" in message:
            adapted["tool_calls"] = [{**call, "id": of(call["id"])} for call in message["tool_calls"]]
        if "tool_call_id" in message:
            adapted["tool_call_id"] = of(message["tool_call_id"])
        messages.append(adapted)
    return {**body, "messages": messages}


def _less(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


_ADAPT: Mapping[Concession, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "return_progress": lambda body: _less(body, "return_progress"),
    "continuous_usage_stats": _without_continuous_usage,
    "stream_options": lambda body: _less(body, "stream_options"),
    "max_tokens": _renamed_limit,
    "strict": _without_strict,
    "temperature": lambda body: _less(body, "temperature"),
    "top_p": lambda body: _less(body, "top_p"),
    "stop": lambda body: _less(body, "stop"),
    "seed": lambda body: _less(body, "seed"),
    "response_format": _schema_in_words,
    "ttl": _without_marks("ttl"),
    "cache_control": _without_marks("cache_control"),
    "system": _folded_system,  # before the turns: what it folds may have to be merged
    "turns": _alternating,
    "call_ids": _short_call_ids,
}
