"""What ``ask --json`` prints keeps its keys: programs read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.chat import ChatResult
from core.cli.answer_json import failure_json, result_json
from tests.support.full_values import FULL_RESULT, PLAIN_RESULT, full_errors

WRITTEN = Path(__file__).parents[2] / "data" / "serialization"


def printed(name: str) -> Any:
    """Return what was printed before errors had ``details``, as its reader gets it."""
    return json.loads((WRITTEN / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "result"), [("ask_result_full", FULL_RESULT), ("ask_result_plain", PLAIN_RESULT)]
)
def test_a_result_prints_as_before(name: str, result: ChatResult) -> None:
    assert json.loads(json.dumps(result_json(result))) == printed(name)


def test_failures_print_at_least_what_they_did() -> None:
    before_all = printed("ask_failures")
    for number, (error, before) in enumerate(zip(full_errors()[: len(before_all)], before_all, strict=True)):
        found = failure_json(error, FULL_RESULT if number == 0 else None, "fallback-id")
        now = json.loads(json.dumps(found))
        assert {name: now[name] for name in before} == before
        assert now.keys() - before.keys() <= {"missing", "held_count", "unsettled", "is_beyond_use"}
