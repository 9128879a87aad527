"""Which turns of a conversation stay when it must fit into a window.

Policy: the oldest exchanges go first (an exchange is a user's turn and all that answers it); the system prompt,
pinned turns and the last user's turn stay; a tool call stays with its results; what remains begins with a user's
turn. Inside the last exchange, which may be a long tool loop, the oldest finished calls go when nothing else can.

The cut moves in steps, not turn by turn. A cut that moved with every request would give each one a beginning of
its own, and neither side's prompt cache would ever be used again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.chat import ChatRequest, Message
from core.context.estimate import CountTokens, estimate_tokens

CUT_STEP_SHARE = 4
"""The cut moves in steps of a quarter of the window: at worst so much of it stays unused."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Which turns of ``sizes`` (tokens each) stay; ``fixed_tokens`` are those of system, tools and schema."""

    keep: tuple[bool, ...]
    sizes: tuple[int, ...]
    fixed_tokens: int

    @property
    def kept_tokens(self) -> int:
        return self.fixed_tokens + sum(size for size, kept in zip(self.sizes, self.keep, strict=True) if kept)

    @property
    def dropped_tokens(self) -> int:
        return sum(size for size, kept in zip(self.sizes, self.keep, strict=True) if not kept)

    @property
    def dropped(self) -> tuple[int, ...]:
        return tuple(index for index, kept in enumerate(self.keep) if not kept)


def plan_cut(
    request: ChatRequest,
    window_tokens: int,
    count: CountTokens = estimate_tokens,
    *,
    fixed_tokens: int | None = None,
    step_tokens: int | None = None,
) -> Cut:
    """Choose what ``trim`` leaves out; see there."""
    messages = request.messages
    sizes = tuple(count(message) for message in messages)
    fixed = fixed_tokens_of(request, count) if fixed_tokens is None else fixed_tokens
    keep = [True] * len(messages)
    excess = fixed + sum(sizes) - window_tokens
    if excess <= 0:
        return Cut(tuple(keep), sizes, fixed)
    step = window_tokens // CUT_STEP_SHARE if step_tokens is None else step_tokens
    goal = -(-excess // step) * step if step > 0 else excess
    dropped_tokens = 0
    for chunk in _droppable(messages):
        if chunk.running and dropped_tokens >= excess:
            goal = excess  # a whole step is not worth turns of the running exchange while the rest fits
        if dropped_tokens >= goal:
            break
        excess = goal if chunk.running else excess  # once they go, they go by whole steps too
        for index in chunk.indexes:
            keep[index] = False
            dropped_tokens += sizes[index]
    return Cut(tuple(keep), sizes, fixed)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Turns that go together. ``running``: they belong to the last exchange."""

    indexes: tuple[int, ...]
    running: bool


def _droppable(messages: Sequence[Message]) -> Iterable[_Chunk]:
    """Yield what may be left out, in the order in which it goes."""
    exchanges = _exchanges(messages)
    for exchange in exchanges[:-1]:
        keep = _kept_for_pins(messages, exchange)
        indexes = tuple(index for group in exchange for index in group if index not in keep)
        if indexes:
            yield _Chunk(indexes, running=False)
    last = exchanges[-1] if exchanges else []
    for group in last[1:-1]:
        if not any(messages[index].pinned or messages[index].role == "user" for index in group):
            yield _Chunk(tuple(group), running=True)


def _kept_for_pins(messages: Sequence[Message], exchange: list[list[int]]) -> set[int]:
    """Return what stays of an exchange that has a pinned turn.

    Besides the pinned group its question and its last answer stay, since some chat templates refuse two user
    turns in a row, and none takes an answer to nothing.
    """
    kept: set[int] = set()
    for group in exchange:
        if any(messages[index].pinned for index in group):
            kept.update(group)
    if kept:
        kept.update(exchange[0])
        kept.update(exchange[-1])
    return kept


def _exchanges(messages: Sequence[Message]) -> list[list[list[int]]]:
    """Split a conversation into exchanges, and each exchange into groups that must not be torn apart.

    A group is one turn, or a turn with tool calls and everything up to the last of its results. An exchange
    begins with a user's turn; turns before the first one are an exchange of their own.
    """
    exchanges: list[list[list[int]]] = []
    bound_until = _bound_until(messages)
    reaches = -1  # the last index that belongs to a call seen so far
    for index, message in enumerate(messages):
        inside = index <= reaches
        if not exchanges or (message.role == "user" and not inside):
            exchanges.append([[index]])
        elif inside or message.role == "tool":
            exchanges[-1][-1].append(index)  # a result nobody asked for stays with the turn before it
        else:
            exchanges[-1].append([index])
        reaches = max(reaches, bound_until[index])
    return exchanges


def _bound_until(messages: Sequence[Message]) -> list[int]:
    """Return for each turn the index of the last result of its calls (its own index where it has none).

    Local servers count their call ids anew in every answer, so a result belongs to the nearest call before it.
    """
    until = list(range(len(messages)))
    asked: dict[str, int] = {}
    for index, message in enumerate(messages):
        for call in message.tool_calls:
            asked[call.id] = index
        if message.role == "tool" and message.tool_call_id in asked:
            until[asked[message.tool_call_id]] = index
    return until


def fixed_tokens_of(request: ChatRequest, count: CountTokens) -> int:
    """Return what stays whatever is left out: system prompt, tools and schema, counted as text."""
    texts = [request.system or ""]
    texts += [json.dumps([tool.name, tool.description, dict(tool.parameters)]) for tool in request.tools]
    if request.response_format is not None:
        texts.append(json.dumps(dict(request.response_format.schema)))
    text = "\n".join(filter(None, texts))
    return count(Message(role="user", text=text)) if text else 0
