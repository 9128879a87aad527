"""Values the chat's tests are made of: decisions, results and messages with every field filled."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from core.chat import ChatResult, Estimate, Feature, RouteDecision, Side, Signals, Usage
from gui.chat.storage.models import ChatOptions, Conversation, StoredMessage, new_id

NOW = datetime(2026, 6, 12, 14, 32, tzinfo=UTC)


def make_decision(side: Side | None = "local", **changes: Any) -> RouteDecision:
    values: dict[str, Any] = {
        "side": side,
        "provider": {"local": "embedded", "api": "anthropic", None: None}[side],
        "model": {"local": "SmolLM2-135M-Instruct", "api": "claude-sonnet-4-6", None: None}[side],
        "rule": "complex" if side == "api" else "simple",
        "reason": "Complex: score 0.71 reached 0.60" if side == "api" else "Simple: score 0.31 is under 0.60",
        "mode": "hybrid",
        "signals": Signals(
            input_tokens=412,
            input_tokens_bound=700,
            max_output_tokens=1024,
            complexity=0.71 if side == "api" else 0.31,
            features=(Feature(name="length", value=412.0, contribution=0.2),),
        ),
        "local_estimate": Estimate(
            model="SmolLM2-135M-Instruct", cost_nanodollars=600_000, hold_nanodollars=0
        ),
        "api_estimate": Estimate(
            model="claude-sonnet-4-6", cost_nanodollars=4_700_000, hold_nanodollars=16_700_000
        ),
        "complexity_threshold": 0.6,
        "local_requests_today": 847,
        "routing_threshold": 3000,
    }
    return RouteDecision(**{**values, **changes})


def make_result(text: str = "Paris.", side: Side = "local", **changes: Any) -> ChatResult:
    decision = make_decision(side)
    values: dict[str, Any] = {
        "text": text,
        "tool_calls": (),
        "usage": Usage(fresh_input_tokens=400, cache_read_tokens=12, output_tokens=186),
        "provider": decision.provider,
        "side": side,
        "model": decision.model,
        "finish_reason": "stop",
        "decision": decision,
        "cost_nanodollars": 0 if side == "local" else 16_700_000,
        "loaded_nanodollars": 1_900_000 if side == "local" else 16_700_000,
        "price_version": "genai-prices 0.2.3",
        "latency_ms": 3243.0,
        "ttft_ms": 210.0,
        "correlation_id": "0197-test",
        "started_at": NOW,
    }
    return ChatResult(**{**values, **changes})


def make_conversation(title: str = "A chat", **changes: Any) -> Conversation:
    values: dict[str, Any] = {
        "id": new_id(),
        "title": title,
        "titled_by_user": False,
        "created_at": NOW,
        "updated_at": NOW,
        "head_id": None,
        "options": ChatOptions(),
        "draft": "",
        "messages": (),
    }
    return Conversation(**{**values, **changes})


def make_message(conversation: Conversation, role: str, text: str, **changes: Any) -> StoredMessage:
    values: dict[str, Any] = {
        "id": new_id(),
        "conversation_id": conversation.id,
        "parent_id": None,
        "role": role,
        "text": text,
        "created_at": NOW,
    }
    return StoredMessage(**{**values, **changes})


def make_long_conversation(turns: int, answer: str) -> Conversation:
    """``Question 0`` and so on, each with its answer, in which ``{}`` is the number."""
    conversation = make_conversation("Long")
    messages: list[StoredMessage] = []
    head: str | None = None
    for number in range(turns):
        asked = make_message(conversation, "user", f"Question {number}", parent_id=head)
        answered = make_message(conversation, "assistant", answer.format(number), parent_id=asked.id)
        messages += [asked, answered]
        head = answered.id
    return replace(conversation, messages=tuple(messages), head_id=head)
