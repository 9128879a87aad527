"""Regular expressions of a caller's schema, matched in linear time.

Python's ``re`` can take years for a text of fifty letters (``^(a+)+$``), and holds the interpreter's lock all the
while: a thread with a time limit would freeze the whole process. Pydantic brings Rust's ``regex``, whose time is
bounded by the text's length (https://docs.rs/regex/latest/regex/#untrusted-input). It has no look-around and no
back-references; what it cannot take, or would read otherwise than ``re``, is left to a process that can be ended
(``core.structured.schema_child``).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

MAX_TEXT_CHARS = 10_000
"""Longest text matched here: 100,000 characters took 1.1 s with a pattern of 1,500 states (measured)."""

MAX_PATTERN_CHARS = 1_000

_READ_OTHERWISE = re.compile(r"\[\^?\]?[^\]]*\[|&&|--|~~|\\[<>]|\\b\{")
"""Classes inside classes, set operations and word-edge escapes: Rust's own, plain characters in ``re``."""


class NotLinear(Exception):
    """The pattern cannot be matched in linear time here."""


def matches(pattern: str, text: str) -> bool:
    """Whether ``pattern`` is found anywhere in ``text``, as JSON Schema has it.

    Raises:
        NotLinear: the pattern, or the text's length, is not for this engine.
    """
    if len(pattern) > MAX_PATTERN_CHARS or len(text) > MAX_TEXT_CHARS:
        raise NotLinear
    matcher = _matcher(pattern)
    if matcher is None:
        raise NotLinear
    # Rust's texts are UTF-8, which has no half of a surrogate pair.
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return bool(matcher.isinstance_python(whole))


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> Any:
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    if _READ_OTHERWISE.search(pattern):
        return None
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except (SchemaError, UnicodeEncodeError):
        return None
