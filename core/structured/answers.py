"""Checks a model's JSON answer and its tool calls against what was asked for; mends only what loses nothing."""

from __future__ import annotations

from dataclasses import dataclass


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
