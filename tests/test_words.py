"""Words of the machine room stay there: what is shown says it in the user's own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = re.compile(
    r"\b(capabilit(?:y|ies)|breakers?|(?:un)?armed|nano-?dollars?|sums? (?:(?:is|are) )?(?:not )?checked"
    # "warm up" is what a server does before it is ready
    r"|warm(?:ed|s)?(?! up\b)|bounds what|tolls?|drain(?:ed|s)?|adopt(?:ed|s)?|shelf|surveys?)\b",
    re.IGNORECASE,
)
"""Ours, or the trade's. They may stand in code, in JSON and in a log; the glossary says what they mean."""
NOT_SHOWN = {
    "core/telemetry/metrics.py",  # Prometheus' own help texts, for who runs it
    "core/structured/probe.py",  # what a model is asked
    "core/providers/errors.py",  # what servers say
}


def shown_strings(source: str) -> Iterator[tuple[int, str]]:
    """The literals that a user may read: no docstrings, and no lone lower-case word, which is an identifier."""
    tree = ast.parse(source)
    documents = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in node.body
        if isinstance(statement, ast.Expr)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in documents:
            continue
        text = node.value
        if " " in text.strip() or re.fullmatch(r"[A-Z][a-z]+", text):
            yield node.lineno, text


def jargon(source: str) -> list[tuple[int, str]]:
    return [(line, text) for line, text in shown_strings(source) if OURS.search(text)]


@pytest.mark.parametrize("package", ["gui", "core"])
def test_nothing_that_is_shown_speaks_of_the_machine_room(package: str) -> None:
    found = [
        f"{name}:{line}: {text!r}"
        for file in sorted((ROOT / package).rglob("*.py"))
        if (name := file.relative_to(ROOT).as_posix()) not in NOT_SHOWN
        for line, text in jargon(file.read_text(encoding="utf-8"))
        if text != "Capabilities"  # a class that a package's __all__ names
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "is_found"),
    [
        ('label("Breaker open")', True),
        ('label("Armed")', True),
        ('say("Ready, drained")', True),
        ('button("Look at the shelf")', True),
        ('f"{n} tokens are warm on {side}"', True),
        ('say("one nano-dollar more was refused")', True),
        ('say("The longest answer; it bounds what is held")', True),
        ('"""The breaker is open."""', False),
        ('kind == "capability"', False),
        ('row["nanodollars"]', False),
    ],
)
def test_the_search_tells_what_is_shown_from_what_is_code(source: str, is_found: bool) -> None:
    assert bool(jargon(source)) is is_found
