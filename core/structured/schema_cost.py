"""Says before a check how much work it can be at most, from the schema's shape and the value's; itself in no time.

A schema is a graph: a part has others checked at the same place (``allOf``, ``$ref``, ...) or one level below
(``properties``, ``items``, ...). Level by level of the value, this counts how often each part can be applied to one
place. A schema that branches in a reference to itself multiplies that at each level, which is what takes for ever.
The bound is loose where it costs nothing: two fields with different names count as if both were at one place.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote

UNBOUNDED = sys.maxsize

_MAX_VISITS = 5_000
"""Parts looked at for one level of the value; more is a schema whose parts refer to each other again and again."""

_COPIED_CHARS_A_STEP = 64
_MATCHED_CHARS_A_STEP = 1
"""Letters of a text that an error copies, and that a pattern is matched with at worst, in the time of a step."""

_HERE_ONE = ("not", "if", "then", "else")
_HERE_LIST = ("allOf", "anyOf", "oneOf")
_HERE_NAMED = ("dependentSchemas", "dependencies")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_BELOW_ONE = (
    "additionalProperties",
    "propertyNames",
    "unevaluatedProperties",
    "items",
    "additionalItems",
    "contains",
    "unevaluatedItems",
)
_BELOW_LIST = ("prefixItems", "items")
_BELOW_NAMED = ("properties", "patternProperties")

_Part = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Bounds on a check: each is never too small.

    ``steps`` are parts of the schema applied to a place, each weighed by the value at that place, as an error
    copies it and a pattern is matched with it. ``chain`` is how many are inside each other. ``text_chars`` are the
    letters of all texts and field names.
    """

    steps: int
    chain: int
    text_chars: int


def cost_of(schema: _Part, value: Any) -> Cost:
    """Return what checking ``value`` against ``schema`` can cost at most."""
    graph = _Graph(schema)
    weights, text_chars = _weights(
        value, _MATCHED_CHARS_A_STEP if graph.has_patterns else _COPIED_CHARS_A_STEP
    )
    if graph.has_addresses:
        return Cost(steps=UNBOUNDED, chain=UNBOUNDED, text_chars=text_chars)
    steps = chain = 0
    waiting: dict[int, tuple[_Part, int]] = {id(schema): (schema, 1)}
    for weight in weights:
        applied: dict[int, tuple[_Part, int]] = {}
        deepest = visits = 0
        stack = [(part, times, 1) for part, times in waiting.values()]
        while stack:
            part, times, depth = stack.pop()
            visits += 1
            if visits > _MAX_VISITS:
                return Cost(steps=UNBOUNDED, chain=UNBOUNDED, text_chars=text_chars)
            deepest = max(deepest, depth)
            _add(applied, part, times)
            stack += [(inner, times, depth + 1) for inner in graph.here(part)]
        steps += weight * sum(times for _, times in applied.values())
        chain += deepest
        waiting = {}
        for part, times in applied.values():
            for inner in graph.below(part):
                _add(waiting, inner, times)
        if not waiting:
            break
    return Cost(steps=steps, chain=chain, text_chars=text_chars)


def _add(counts: dict[int, tuple[_Part, int]], part: _Part, times: int) -> None:
    counts[id(part)] = (part, times + counts.get(id(part), (part, 0))[1])


def _weights(value: Any, chars_a_step: int) -> tuple[list[int], int]:
    """Return how much of ``value`` stands at each level and below it, and the letters of all its texts."""
    weights: list[int] = []
    text_chars = 0
    level = [value]
    while level:
        below: list[Any] = []
        chars = sum([len(item) for item in level if isinstance(item, str)])
        for item in level:
            if isinstance(item, dict):
                fields = cast("dict[str, Any]", item)
                text_chars += sum(map(len, fields))
                below += fields.values()
            elif isinstance(item, list):
                below += cast("list[Any]", item)
        weights.append(len(level) + chars // chars_a_step)
        text_chars += chars
        level = below
    for index in range(len(weights) - 2, -1, -1):
        weights[index] += weights[index + 1]
    return weights, text_chars


class _Graph:
    """Which parts of a schema are applied beside and below which."""

    def __init__(self, schema: _Part) -> None:
        self._root = schema
        self._here: dict[int, list[_Part]] = {}
        self._below: dict[int, list[_Part]] = {}
        self._anchors: dict[str, list[_Part]] = {}
        self.has_patterns = False
        self.has_addresses = False
        """Whether a reference leads to an address, which only the library resolves."""
        references: list[str] = []
        for part in dictionaries(schema):
            self.has_patterns = self.has_patterns or "pattern" in part or "patternProperties" in part
            references += [part[name] for name in _REFERENCES if isinstance(part.get(name), str)]
            for name in ("$anchor", "$dynamicAnchor"):
                if isinstance(part.get(name), str):
                    self._anchors.setdefault(part[name], []).append(part)
            for name in ("$id", "id"):
                address = part.get(name)
                if isinstance(address, str) and address.startswith("#"):
                    self._anchors.setdefault(address[1:], []).append(part)
                elif isinstance(address, str) and part is not schema:
                    self.has_addresses = True
        self.has_addresses = bool(references) and (
            self.has_addresses or not all(reference.startswith("#") for reference in references)
        )

    def here(self, part: _Part) -> list[_Part]:
        """Return the parts that are applied where ``part`` is."""
        found = self._here.get(id(part))
        if found is None:
            found = [*_parts(part, _HERE_ONE, _HERE_LIST, _HERE_NAMED)]
            for name in _REFERENCES:
                if isinstance(part.get(name), str):
                    found += self._targets(part[name])
            self._here[id(part)] = found
        return found

    def below(self, part: _Part) -> list[_Part]:
        """Return the parts that are applied to what is directly inside the place of ``part``."""
        found = self._below.get(id(part))
        if found is None:
            found = self._below[id(part)] = [*_parts(part, _BELOW_ONE, _BELOW_LIST, _BELOW_NAMED)]
        return found

    def _targets(self, reference: str) -> list[_Part]:
        fragment = unquote(reference[1:])
        if fragment and not fragment.startswith("/"):
            return self._anchors.get(fragment, [])
        target: Any = self._root
        for step in fragment.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict):
                target = cast("_Part", target).get(name)
            elif isinstance(target, list) and name.isdecimal() and int(name) < len(cast("list[Any]", target)):
                target = cast("list[Any]", target)[int(name)]
            else:
                return []
        return [cast("_Part", target)] if isinstance(target, dict) else []


def dictionaries(part: Any) -> Iterator[_Part]:
    """Yield every object in ``part``, itself included."""
    waiting = [part]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            found = cast("_Part", part)
            yield found
            waiting += found.values()
        elif isinstance(part, list):
            waiting += cast("list[Any]", part)


def _parts(
    part: _Part, one: tuple[str, ...], several: tuple[str, ...], named: tuple[str, ...]
) -> Iterator[_Part]:
    inner: Any
    for name in one:
        inner = part.get(name)
        if isinstance(inner, dict):
            yield inner
    for name in several:
        inner = part.get(name)
        if isinstance(inner, list):
            yield from (each for each in cast("list[Any]", inner) if isinstance(each, dict))
    for name in named:
        inner = part.get(name)
        if isinstance(inner, dict):
            yield from (each for each in cast("_Part", inner).values() if isinstance(each, dict))
