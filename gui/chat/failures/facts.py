"""Finds out, around a failure, what the user could do about it: which side would take it, what would fit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from core import sentence
from core.chat import ChatRequest, RouteDecision, Side
from core.errors import SignalboxError
from gui.chat.failures.plan import Facts
from gui.chat.request_builder import has_beginning, window_for
from gui.chat.storage.models import StoredError
from gui.shell.api_notices import billing_page

if TYPE_CHECKING:
    from core import RouterCore
    from gui.shell.bridge import Bridge

LOG_LINES = 4
LEAST_TOKENS = 16


async def find_facts(
    bridge: Bridge,
    error: StoredError,
    request: ChatRequest,
    *,
    in_box: bool,
    side: Side | None = None,
    changed: bool = False,
) -> Facts:
    """Ask the core; nothing is sent, held or charged. What can't be found out is left out.

    ``request`` is what the buttons would send: the one that failed on ``side``, or what it has ``changed`` into.
    """
    core = bridge.core
    local = await _would_go(core, bridge, request, "local")
    api = await _would_go(core, bridge, request, "api")
    status = bridge.status
    failed = status is not None and status.local.phase == "failed"
    facts = Facts(
        in_box=in_box,
        side=side,
        changed=changed,
        billing_page=billing_page(core.settings.current) or "",
        local_phase=status.local.phase if status is not None else "",
        api_phase=status.api.phase if status is not None else "",
        estimated=any(
            standing.estimated or standing.unpriced  # which a refusal has in what is spent
            for standing in (status.limits if status is not None else ())
            if standing.limit.name == error.limit_name
        ),
        month=status.month if status is not None else "this month",
        can_send_local=local is not None and request.force != "local",
        can_send_api=api is not None and request.force != "api",
        api_cost_nanodollars=api.api_estimate.cost_nanodollars if api is not None else None,
    )
    if failed and status is not None and error.kind in ("unavailable", "transient"):
        log = await bridge.run_blocking(core.local_log, LOG_LINES)
        told = " ".join(part for part in (sentence(status.local.detail), status.local.hint) if part)
        facts = replace(
            facts,
            local_failed=told,
            local_cause=status.local.cause,
            local_elsewhere=status.local.kind == "external",
            log=tuple(log),
        )
    if status is not None and error.kind in ("unavailable", "transient", "key_held_back"):
        held_back = [problem for problem in status.problems if problem.kind == "key"]
        reason = error.message.lower()
        named = (item for item in held_back if item.message.rstrip(".").lower() in reason)
        facts = replace(facts, key_held_back=next((item.message for item in named), None))
    if error.kind == "budget_exceeded":
        facts = replace(facts, lower_to=await _fitting_tokens(bridge, error, request))
    if error.kind == "context_too_long":
        facts = replace(facts, summary_window_tokens=await _summary_window(bridge, error, request))
    return facts


async def refused_now(bridge: Bridge, error: StoredError, request: ChatRequest) -> StoredError | None:
    """Return ``error``, a spend limit's, as it is for ``request``; ``None`` where that fits under the limit."""
    try:
        decision = await bridge.call(bridge.core.decide(request))
    except SignalboxError:
        return error
    if decision.refusal != "budget":
        return None
    asked = decision.api_estimate.hold_nanodollars
    if error.unit == "tokens":
        asked = decision.signals.input_tokens_bound + decision.signals.max_output_tokens
    return replace(error, asked_nanodollars=asked)


async def _would_go(
    core: RouterCore, bridge: Bridge, request: ChatRequest, side: Side
) -> RouteDecision | None:
    """Return the decision for ``side`` if it would take the request now, with its own model if need be."""
    models = (request.model, None) if request.model is not None else (None,)
    for model in models:
        try:
            decision = await bridge.call(core.decide(replace(request, force=side, model=model)))
        except SignalboxError:
            return None
        if decision.side == side:
            return decision
    return None


async def _summary_window(bridge: Bridge, error: StoredError, request: ChatRequest) -> int | None:
    """Return the input tokens to sum the request up to; ``None`` where no old turns could be summed up."""
    local_context_tokens = None
    with suppress(SignalboxError):  # then the error's own limit has to do
        local_context_tokens = (await bridge.call(bridge.core.decide(request))).local_context_tokens
    window_tokens = window_for(local_context_tokens, error.limit_tokens)
    return window_tokens if await bridge.run_blocking(has_beginning, request, window_tokens) else None


async def _fitting_tokens(bridge: Bridge, error: StoredError, request: ChatRequest) -> int | None:
    """Return the most max tokens whose worst case fits into what is free, rounded down; ``None`` if none does."""
    if error.limit_nanodollars is None:
        return None
    free = error.limit_nanodollars - (error.spent_nanodollars or 0) - (error.held_nanodollars or 0)
    try:
        decision = await bridge.call(bridge.core.decide(replace(request, force="api")))
    except SignalboxError:
        return None
    model = decision.api_estimate.model
    if model is None or free <= 0:
        return None
    signals = decision.signals
    if error.unit == "tokens":
        fitting = free - signals.input_tokens_bound
        return fitting if LEAST_TOKENS <= fitting < signals.max_output_tokens else None
    return await bridge.run_blocking(
        largest_fit,
        partial(bridge.core.prices.worst_case_nanodollars, model, signals.input_tokens_bound),
        signals.max_output_tokens,
        free,
    )


def largest_fit(
    worst_case_nanodollars: Callable[[int], int | None], below: int, free_nanodollars: int
) -> int | None:
    """Search the largest output bound under ``below`` whose worst case is at most ``free_nanodollars``."""

    def fits(tokens: int) -> bool:
        worst = worst_case_nanodollars(tokens)
        return worst is not None and worst <= free_nanodollars

    low, high = LEAST_TOKENS, below - 1
    if high < low or not fits(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    step = 10 ** max(0, len(str(low)) - 2)
    return low // step * step
