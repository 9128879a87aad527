"""The one pure function that decides where a request goes: no I/O, no clock, no globals.

Eight rules, first match wins: ``forced``, ``capability``, ``unavailable``, ``budget``, ``affinity``, ``complex``,
``volume``, ``simple``. Modes say which of the last three are asked and how. ``affinity`` keeps a conversation
where it is: inside a tool loop always, otherwise where leaving a warm prompt cache costs more than the other side
saves. A side that a rule picks and a later gate forbids is a refusal, which names the gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.base.text import two_decimals
from core.chat import (
    CachePlan,
    CacheSwitchCost,
    ContextEconomy,
    Estimate,
    RefusalKind,
    RouteDecision,
    RoutingMode,
    Rule,
    Side,
    Signals,
)
from core.pricing.money import format_cost
from core.providers.base import Capabilities

LEAST_ANSWER_TOKENS = 256
"""Room that an answer of no named length has to find in a side's context."""

Health = Literal["up", "starting", "down", "no_key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SideState:
    """What is known of one side when a request arrives.

    ``detail`` finishes the sentence "Local unavailable: ..." and ``hint`` says what to do about it.
    ``model`` is the one it would use; ``serves_named_model`` is whether it serves the model the request names.
    ``refuses`` finishes "Local ..." where the side takes no request like this one, whatever it is capable of.
    ``busy`` finishes "Local busy: ..." while its line is longer than ``LOCAL_MAX_WAIT_S``: then the other side is
    taken if it is open, and the line if not. ``drained`` finishes "Local unavailable: ..." where the user sent
    everything to the API: it is taken where it is open, except for a tool loop that Local began. ``tools_doubt``
    finishes "Local ..." where the server takes tools but its model has not been seen to get them right: then they
    go to the other side if that is open. ``last_said`` finishes "API unavailable: ..." where its server turned the
    last request away for what somebody has to mend (the key, the credit, the model): then the other side is taken
    if it is open. What may only go here is sent all the same: that is how it is found out that it was mended.
    """

    provider: str
    model: str | None
    health: Health
    capabilities: Capabilities
    estimate: Estimate
    detail: str = ""
    hint: str = ""
    serves_named_model: bool = False
    refuses: str = ""
    busy: str = ""
    drained: str = ""
    tools_doubt: str = ""
    last_said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterState:
    """Both sides, today's counts and the money that is free.

    ``free_nanodollars`` is what spent and held leave under the tightest limit; ``limit_label`` names it
    ("November's $500 limit"). ``free_tokens`` is the same of the day's token budget, ``None`` without one.
    ``daily_requests`` is the larger of today's count of all requests and its 7-day mean.
    ``switching_cost`` is what leaving the conversation's side would throw away, ``None`` for nothing. What shaping
    did goes into the decision as it is: each side's template, the plan for the API's cache, and what was left out.
    """

    local: SideState
    api: SideState
    local_requests_today: int
    daily_requests: float
    free_nanodollars: int
    limit_label: str
    free_tokens: int | None = None
    switching_cost: CacheSwitchCost | None = None
    local_template: str | None = None
    api_template: str | None = None
    cache: CachePlan | None = None
    economy: ContextEconomy | None = None

    def side(self, side: Side) -> SideState:
        return self.local if side == "local" else self.api


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The settings that the rules read."""

    mode: RoutingMode = "hybrid"
    routing_threshold: int = 3000
    complexity_threshold: float = 0.6


@dataclass(frozen=True, slots=True)
class _Gate:
    """Why a side is closed to this request: the rule that closes it, and words for a person.

    ``sends`` are the words where it sends the request to the other side, if they are others than of a refusal.
    """

    rule: Rule
    refusal: RefusalKind
    reason: str
    hint: str = ""
    sends: str = ""


@dataclass(frozen=True, slots=True)
class _Choice:
    side: Side | None
    rule: Rule
    reason: str
    refusal: RefusalKind | None = None
    hint: str = ""


NAMES: dict[Side, str] = {"local": "Local", "api": "API"}
_SERVER: dict[Side, str] = {"local": "the local server", "api": "the API"}
_ONLY: dict[RoutingMode, Side] = {"local-only": "local", "api-only": "api"}


def decide(signals: Signals, state: RouterState, policy: Policy) -> RouteDecision:
    """Return where the request goes, by which rule and why; a refusal has ``side`` ``None``."""
    choice = _choose(signals, state, policy)
    chosen = state.side(choice.side) if choice.side is not None else None
    on_api = choice.side == "api"
    return RouteDecision(
        side=choice.side,
        provider=chosen.provider if chosen else None,
        model=chosen.model if chosen else None,
        rule=choice.rule,
        reason=choice.reason,
        mode=policy.mode,
        signals=signals,
        local_estimate=state.local.estimate,
        api_estimate=state.api.estimate,
        complexity_threshold=policy.complexity_threshold,
        local_requests_today=state.local_requests_today,
        routing_threshold=policy.routing_threshold,
        local_available=state.local.health == "up",
        api_available=state.api.health == "up" and not state.api.last_said,
        local_refuses=_refuses("local", signals, state),
        api_refuses=_refuses("api", signals, state),
        local_context_tokens=state.local.capabilities.context_tokens,
        template=None if chosen is None else state.api_template if on_api else state.local_template,
        cache=state.cache if on_api else None,
        economy=state.economy if chosen is not None else None,
        switching_cost=state.switching_cost,
        refusal=choice.refusal,
        refusal_hint=choice.hint,
    )


def _choose(signals: Signals, state: RouterState, policy: Policy) -> _Choice:
    gates: dict[Side, _Gate | None] = {side: _gate(side, signals, state) for side in ("local", "api")}
    if signals.force is not None:
        return _take(signals.force, gates, "forced", f"Forced: you chose {NAMES[signals.force]}")
    only = _ONLY.get(policy.mode)
    if only is not None:
        return _take(only, gates, "volume", f"Volume: the mode sends everything to {NAMES[only]}")
    local_gate, api_gate = gates["local"], gates["api"]
    if local_gate and api_gate and local_gate.rule == api_gate.rule == "unavailable" and local_gate.hint:
        # Both are down, and the local server says how to mend it: that is what the user should hear of first.
        return _Choice(
            None, "unavailable", f"{local_gate.reason}. {api_gate.reason}", "unavailable", local_gate.hint
        )
    if state.api.last_said and local_gate is None and (api_gate is None or api_gate.rule == "budget"):
        return _Choice("local", "unavailable", f"API unavailable: {state.api.last_said}")
    closed = _closed_side(gates)
    if closed is not None:
        side, gate = closed
        return _take(_other(side), gates, gate.rule, gate.sends or gate.reason)
    in_own_loop = signals.in_tool_loop and signals.conversation_side == "local"
    if state.local.drained and not in_own_loop:
        return _Choice("api", "unavailable", f"Local unavailable: {state.local.drained}")
    doubted = _doubted_side(signals, state)
    if doubted is not None:
        reason = f"Can't serve: {NAMES[doubted]} {state.side(doubted).tools_doubt}"
        return _Choice(_other(doubted), "capability", reason)
    if state.local.busy and not in_own_loop:
        by_rules = _stay(_by_mode(signals, state, policy), signals, state)
        if by_rules.side == "local":
            return _Choice("api", "unavailable", f"Local busy: {state.local.busy}")
        return by_rules
    return _stay(_by_mode(signals, state, policy), signals, state)


def _doubted_side(signals: Signals, state: RouterState) -> Side | None:
    """Return the side whose model has not been seen to get tools right, where the other one's has.

    Only asked while both are open: tool calls are checked wherever they come from, so doubt alone refuses nothing.
    """
    if not signals.has_tools or (signals.in_tool_loop and signals.conversation_side is not None):
        return None
    doubts: list[Side] = [side for side in ("local", "api") if state.side(side).tools_doubt]
    return doubts[0] if len(doubts) == 1 else None


def _stay(choice: _Choice, signals: Signals, state: RouterState) -> _Choice:
    """Keep a conversation on the side that answered last, where switching now would cost more than it saves."""
    last = signals.conversation_side
    if last is None or choice.side is None or choice.side == last:
        return choice
    if signals.in_tool_loop:
        return _Choice(last, "affinity", f"Affinity: a tool loop stays on {NAMES[last]}, which began it")
    lost = state.switching_cost
    if lost is None or lost.side != last or not lost.nanodollars or choice.rule == "complex":
        return choice
    saving = _saving(choice.side, last, state)
    if saving is None or lost.nanodollars <= saving:
        return choice
    return _Choice(
        last,
        "affinity",
        f"Affinity: {lost.cached_tokens:,} tokens are cached on {NAMES[last]}; leaving costs "
        f"{format_cost(lost.nanodollars)} and saves {format_cost(saving)}",
    )


def _saving(chosen: Side, last: Side, state: RouterState) -> int | None:
    """Return what this request costs less on ``chosen`` than on ``last``, ``None`` where either is not known."""
    here, there = state.side(chosen).estimate.cost_nanodollars, state.side(last).estimate.cost_nanodollars
    return None if here is None or there is None else max(0, there - here)


def _gate(side: Side, signals: Signals, state: RouterState) -> _Gate | None:
    """Return the first of the rules capability, unavailable and budget that closes ``side``."""
    return (
        _capability_gate(side, signals, state)
        or _availability_gate(side, state)
        or (_budget_gate(signals, state) if side == "api" else None)
    )


def _capability_gate(side: Side, signals: Signals, state: RouterState) -> _Gate | None:
    here = state.side(side)
    name, can = NAMES[side], here.capabilities
    if signals.model is not None and not here.serves_named_model:
        other = state.side(_other(side))
        if not other.serves_named_model:
            return _Gate("capability", "capability", f"Can't serve: neither side serves {signals.model}")
        return _Gate(
            "capability",
            "capability",
            f"Can't serve: {name} doesn't have {signals.model}, {NAMES[_other(side)]} does",
            sends=f"Chosen: you chose {signals.model}, which {_SERVER[_other(side)]} serves",
        )
    needed = room_needed(signals, signals.input_tokens)
    if can.context_tokens is not None and needed > can.context_tokens:
        return _Gate(
            "capability",
            "context_too_long",
            f"Can't serve: {needed:,} tokens with the answer, and {name} takes {can.context_tokens:,}",
        )
    if here.refuses:
        return _Gate("capability", "capability", f"Can't serve: {name} {here.refuses}")
    if signals.has_images and not can.images:
        lacking = "images"
    elif signals.has_tools and not can.tools:
        lacking = "tools"
    elif signals.has_schema and not can.json_schema:
        lacking = "a JSON schema"
    else:
        return None
    return _Gate("capability", "capability", f"Can't serve: {name} doesn't take {lacking}")


def _refuses(side: Side, signals: Signals, state: RouterState) -> str:
    gate = _capability_gate(side, signals, state)
    return "" if gate is None else gate.reason


def room_needed(signals: Signals, input_tokens: int) -> int:
    """Return the context that so much input takes with its answer.

    A default is no requirement: without its own limit, a request takes what the context leaves.
    """
    answer_tokens = signals.max_output_tokens if signals.max_output_named else LEAST_ANSWER_TOKENS
    return input_tokens + min(answer_tokens, signals.max_output_tokens)


def _availability_gate(side: Side, state: RouterState) -> _Gate | None:
    here = state.side(side)
    if here.health == "up":
        return None
    refusal: RefusalKind = "no_key" if here.health == "no_key" else "unavailable"
    return _Gate("unavailable", refusal, f"{NAMES[side]} unavailable: {here.detail}", here.hint)


def _budget_gate(signals: Signals, state: RouterState) -> _Gate | None:
    tokens = signals.input_tokens_bound + signals.max_output_tokens
    if state.free_tokens is not None and tokens > state.free_tokens:
        return _Gate(
            "budget",
            "budget",
            f"Budget: up to {tokens:,} tokens and {state.free_tokens:,} are free under today's token budget",
        )
    hold = state.api.estimate.hold_nanodollars
    if hold is None:
        # An unpriced model can't be held for; it is let through while anything is free, and counted.
        hold = 1
    if hold <= state.free_nanodollars:
        return None
    return _Gate(
        "budget",
        "budget",
        f"Budget: worst case {format_cost(hold)} and {format_cost(state.free_nanodollars)} is free "
        f"under {state.limit_label}",
    )


def _take(side: Side, gates: dict[Side, _Gate | None], rule: Rule, reason: str) -> _Choice:
    gate = gates[side]
    if gate is None:
        return _Choice(side, rule, reason)
    return _Choice(None, gate.rule, gate.reason, gate.refusal, gate.hint)


_GATE_ORDER: tuple[Rule, ...] = ("capability", "unavailable", "budget")


def _closed_side(gates: dict[Side, _Gate | None]) -> tuple[Side, _Gate] | None:
    """Return the side that the earliest rule closes, so that first match wins across both sides."""
    closed: list[tuple[Side, _Gate]] = [(side, gate) for side, gate in gates.items() if gate is not None]
    if not closed:
        return None
    return min(closed, key=lambda entry: _GATE_ORDER.index(entry[1].rule))


def _by_mode(signals: Signals, state: RouterState, policy: Policy) -> _Choice:
    used, threshold = state.local_requests_today, policy.routing_threshold
    match policy.mode:
        case "api-primary":
            return _Choice("api", "volume", "Volume: the mode sends everything to the API first")
        case "local-first":
            if used >= threshold:
                return _Choice("api", "volume", _used_up(used, threshold))
            return _Choice("local", "volume", f"Volume: {used:,} of {threshold:,} used today, local first")
        case "break-even" if state.daily_requests < threshold:
            return _Choice(
                "api",
                "volume",
                f"Volume: {state.daily_requests:,.0f} requests a day is under {threshold:,}, "
                "too few for a GPU to pay",
            )
        case _:
            pass
    why_complex = _complex_reason(signals, policy)
    if why_complex is not None:
        return _Choice("api", "complex", why_complex)
    if policy.mode == "hybrid" and used >= threshold:
        return _Choice("api", "volume", _used_up(used, threshold))
    return _Choice("local", "simple", _simple_reason(signals, policy))


def _used_up(used: int, threshold: int) -> str:
    return f"Volume: {used:,} of {threshold:,} local requests used today"


def _complex_reason(signals: Signals, policy: Policy) -> str | None:
    if signals.batch:
        return None
    if signals.has_tools:
        return "Complex: has tools"
    if signals.has_schema:
        return "Complex: asks for a JSON schema"
    if signals.high_stakes:
        return "Complex: is marked high-stakes"
    if signals.complexity >= policy.complexity_threshold:
        score, threshold = two_decimals(signals.complexity), two_decimals(policy.complexity_threshold)
        return f"Complex: score {score} reached {threshold}"
    return None


def _simple_reason(signals: Signals, policy: Policy) -> str:
    if signals.batch:
        return "Simple: marked as batch"
    return f"Simple: score {two_decimals(signals.complexity)} is under {two_decimals(policy.complexity_threshold)}"


def _other(side: Side) -> Side:
    return "api" if side == "local" else "local"
