"""Decisions, results and errors as JSON and back, so that a badge reads the same after a restart.

Reading is forgiving: a value that an older or newer Signalbox wrote in another shape reads as ``None``,
since a badge without its details is better than a conversation that does not open.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from typing import Any, TypeVar, cast

from core.chat import (
    CacheMarks,
    CachePlan,
    CacheToll,
    ChatResult,
    ContextEconomy,
    Estimate,
    Feature,
    RequestStep,
    RouteDecision,
    Savings,
    Signals,
    ToolCall,
    Usage,
)
from gui.chat.records import StoredError

T = TypeVar("T")


def decision_to_json(decision: RouteDecision) -> str:
    return json.dumps(dataclasses.asdict(decision), separators=(",", ":"))


def decision_from_json(text: str | None) -> RouteDecision | None:
    return None if text is None else _decision(_object(text))


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _known(kind: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """Drop what this version's ``kind`` has no field for."""
    names = {item.name for item in dataclasses.fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def _decision(values: dict[str, Any] | None) -> RouteDecision | None:
    if values is None:
        return None
    try:
        signals = dict(values["signals"])
        signals["features"] = tuple(Feature(**_known(Feature, item)) for item in signals.get("features", ()))
        fields = _known(RouteDecision, values)
        fields["signals"] = Signals(**_known(Signals, signals))
        fields["local_estimate"] = Estimate(**_known(Estimate, values["local_estimate"]))
        fields["api_estimate"] = Estimate(**_known(Estimate, values["api_estimate"]))
        fields["cache"] = _cache(values.get("cache"))
        fields["toll"] = _maybe(CacheToll, values.get("toll"))
        fields["economy"] = _maybe(ContextEconomy, values.get("economy"))
        return RouteDecision(**fields)
    except (KeyError, TypeError, ValueError):
        return None


def _maybe(kind: type[T], values: object) -> T | None:
    """Read a part that a decision can do without; what can't be read is left out."""
    if not isinstance(values, dict):
        return None
    try:
        return kind(**_known(kind, cast("dict[str, Any]", values)))
    except TypeError:
        return None


def _cache(values: object) -> CachePlan | None:
    plan = _maybe(CachePlan, values)
    if plan is None or plan.marks is None:
        return plan
    marks = _maybe(CacheMarks, plan.marks)
    if marks is not None:
        marks = dataclasses.replace(marks, messages=tuple(marks.messages))
    return dataclasses.replace(plan, marks=marks)


def usage_to_json(usage: Usage) -> str:
    return json.dumps(dataclasses.asdict(usage), separators=(",", ":"))


def result_to_json(result: ChatResult) -> str:
    """Everything but the text, which the message holds once."""
    values = dataclasses.asdict(dataclasses.replace(result, text=""))
    values["started_at"] = result.started_at.isoformat()
    return json.dumps(values, separators=(",", ":"))


def result_from_json(text: str | None, answer: str) -> ChatResult | None:
    values = None if text is None else _object(text)
    if values is None:
        return None
    decision = _decision(values.get("decision"))
    if decision is None:
        return None
    try:
        fields = _known(ChatResult, values)
        usage = values["usage"]
        fields["text"] = answer
        fields["decision"] = decision
        fields["usage"] = None if usage is None else Usage(**_known(Usage, usage))
        fields["tool_calls"] = tuple(ToolCall(**_known(ToolCall, item)) for item in values["tool_calls"])
        fields["dropped"] = tuple(values.get("dropped", ()))
        fields["steps"] = tuple(
            step for item in values.get("steps", ()) if (step := _maybe(RequestStep, item)) is not None
        )
        fields["savings"] = _maybe(Savings, values.get("savings"))
        fields["started_at"] = datetime.fromisoformat(values["started_at"])
        return ChatResult(**fields)
    except (KeyError, TypeError, ValueError):
        return None


def error_to_json(error: StoredError) -> str:
    return json.dumps(dataclasses.asdict(error), separators=(",", ":"))


def error_from_json(text: str | None) -> StoredError | None:
    values = None if text is None else _object(text)
    if values is None:
        return None
    try:
        fields = _known(StoredError, values)
        fields["problems"] = tuple(fields.get("problems", ()))
        return StoredError(**fields)
    except TypeError:
        return None
