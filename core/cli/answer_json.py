"""Decisions, results and failures as ``ask --json`` and ``decide`` print them.

Amounts are dollars as exact decimal strings; null is not known, which is never 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.errors import BudgetExceeded
from core.pricing.money import exact_dollars

if TYPE_CHECKING:
    from core.chat import (
        CachePlan,
        CacheSwitchCost,
        ChatResult,
        ContextEconomy,
        RequestStep,
        RouteDecision,
        Savings,
        Signals,
        Usage,
    )
    from core.errors import SignalboxError


def decision_json(decision: RouteDecision) -> dict[str, Any]:
    """The decision as the command line prints it."""
    return {
        "side": decision.side,
        "provider": decision.provider,
        "model": decision.model,
        "rule": decision.rule,
        "reason": decision.reason,
        "mode": decision.mode,
        "refusal": decision.refusal,
        "refusal_hint": decision.refusal_hint,
        "fell_back_from": decision.fell_back_from,
        "complexity": round(decision.signals.complexity, 4),
        "signals": _signals(decision, decision.signals),
        "estimates": {
            side: {
                "model": estimate.model,
                "cost": exact_dollars(estimate.cost_nanodollars),
                "hold": exact_dollars(estimate.hold_nanodollars),
            }
            for side, estimate in (("local", decision.local_estimate), ("api", decision.api_estimate))
        },
        "template": decision.template,
        "cache": _cache(decision.cache),
        "toll": _switching_cost(decision.switching_cost),
        "economy": _economy(decision.economy),
    }


def _signals(decision: RouteDecision, signals: Signals) -> dict[str, Any]:
    return {
        "input_tokens": signals.input_tokens,
        "max_output_tokens": signals.max_output_tokens,
        "complexity": round(signals.complexity, 4),
        "complexity_threshold": decision.complexity_threshold,
        "features": {feature.name: round(feature.contribution, 4) for feature in signals.features},
        "messages": signals.message_count,
        "tools": signals.has_tools,
        "schema": signals.has_schema,
        "images": signals.has_images,
        "high_stakes": signals.high_stakes,
        "batch": signals.batch,
        "in_tool_loop": signals.in_tool_loop,
        "conversation_side": signals.conversation_side,
        "local_requests_today": decision.local_requests_today,
        "routing_threshold": decision.routing_threshold,
    }


def _cache(plan: CachePlan | None) -> dict[str, Any] | None:
    if plan is None:
        return None
    return {
        "marked": plan.marks is not None,
        "lifetime": plan.marks.lifetime if plan.marks is not None else None,
        "reason": plan.reason,
        "prefix_tokens": plan.prefix_tokens,
        "saving": exact_dollars(plan.saving_nanodollars),
    }


def _switching_cost(lost: CacheSwitchCost | None) -> dict[str, Any] | None:
    if lost is None:
        return None
    return {
        "side": lost.side,
        "cached_tokens": lost.cached_tokens,
        "cost": exact_dollars(lost.nanodollars),
        "expires_in_s": round(lost.expires_in_s, 1),
    }


def _economy(economy: ContextEconomy | None) -> dict[str, Any] | None:
    if economy is None:
        return None
    return {
        "saved_tokens": economy.saved_tokens,
        "trimmed_tokens": economy.trimmed_tokens,
        "compressed_tokens": economy.compressed_tokens,
        "dropped_turns": economy.dropped_turns,
        "summarised_turns": economy.summarised_turns,
        "saved": exact_dollars(economy.saved_nanodollars),
    }


def failure_json(
    error: SignalboxError, partial: ChatResult | None, correlation_id: str | None = None
) -> dict[str, Any]:
    """A request without a whole answer; ``partial`` is the result as far as it came, or null.

    What the error knows besides (when to try again, which limit, what does not match) is in it under its own name.
    """
    found: dict[str, Any] = {
        "error": error.kind,
        "message": error.message,
        "hint": error.hint,
        "correlation_id": error.correlation_id or correlation_id,
    }
    tokens = isinstance(error, BudgetExceeded) and error.unit == "tokens"
    for name, value in error.details().items():
        if name.endswith("_nanodollars"):
            found[name.removesuffix("_nanodollars")] = value if tokens else exact_dollars(value)
        else:
            found[name] = value
    return {**found, "partial": None if partial is None else result_json(partial)}


def stopped_json(result: ChatResult | None, correlation_id: str) -> dict[str, Any]:
    """A request that was stopped, with what had come of it and what that costs; ``None``: it was not sent."""
    return {
        "error": "stopped",
        "message": "Stopped before the answer was whole.",
        "hint": "signalbox ask --continue asks for the rest." if result is not None and result.text else "",
        "correlation_id": correlation_id,
        "partial": None if result is None else result_json(result),
    }


def result_json(result: ChatResult) -> dict[str, Any]:
    """The result as ``ask --json`` prints it. ``cost`` is cash; ``loaded_cost`` the machine's own, and
    ``marginal_cost`` the electricity in it."""
    return {
        "text": result.text,
        "provider": result.provider,
        "side": result.side,
        "model": result.model,
        "finish_reason": result.finish_reason,
        "empty_because": result.empty_because or None,
        "tool_calls": [
            {"id": call.id, "name": call.name, "arguments": call.arguments_json} for call in result.tool_calls
        ],
        "decision": decision_json(result.decision),
        "steps": [_step(step) for step in result.steps],
        "usage": None if result.usage is None else _usage(result.usage),
        "usage_estimated": result.usage_estimated,
        "cost": exact_dollars(result.cost_nanodollars),
        "unresolved": exact_dollars(result.unresolved_nanodollars),
        "loaded_cost": exact_dollars(result.loaded_nanodollars),
        "marginal_cost": exact_dollars(result.marginal_nanodollars),
        "savings": _savings(result.savings),
        "price_version": result.price_version,
        "latency_ms": round(result.latency_ms, 1),
        "ttft_ms": None if result.ttft_ms is None else round(result.ttft_ms, 1),
        "queued_ms": round(result.queued_ms, 1),
        "schema_valid": result.schema_valid,
        "replayed": result.replayed,
        "replay_of": result.replay_of,
        "first_cost": exact_dollars(result.first_cost_nanodollars),
        "dropped": list(result.dropped),
        "correlation_id": result.correlation_id,
    }


def _savings(savings: Savings | None) -> dict[str, Any] | None:
    if savings is None:
        return None
    return {
        "trimmed_tokens": savings.trimmed_tokens,
        "compressed_tokens": savings.compressed_tokens,
        "trimming": exact_dollars(savings.trimming_nanodollars),
        "compression": exact_dollars(savings.compression_nanodollars),
        "cache": exact_dollars(savings.cache_nanodollars),
    }


def _step(step: RequestStep) -> dict[str, Any]:
    return {
        "kind": step.kind,
        "detail": step.detail,
        "side": step.side,
        "took_ms": round(step.took_ms, 1),
        "cost": exact_dollars(step.cost_nanodollars),
    }


def _usage(usage: Usage) -> dict[str, Any]:
    from core.price_modifiers import modifiers_text

    return {
        "fresh_input_tokens": usage.fresh_input_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_5m_tokens": usage.cache_write_5m_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "output_tokens": usage.output_tokens,
        "thinking_tokens": usage.thinking_tokens,
        "service_tier": modifiers_text(usage),
        "input_tokens": usage.input_tokens,
        "total_tokens": usage.total_tokens,
    }
