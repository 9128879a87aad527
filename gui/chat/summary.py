"""A conversation that is too long, sent with its beginning summarised: how short, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.chat import ChatRequest, ChatResult, ContextEconomy, RouteDecision
from core.context.estimate import estimate_tokens
from core.context.trimming import plan_summary

UNKNOWN_WINDOW_TOKENS = 8_000
"""Where nobody says how much a model takes: what every current one does."""


def window_for(local_context_tokens: int | None, limit_tokens: int | None) -> int:
    """Return how many input tokens to send: three quarters of what is known, so that the answer has room.

    Where the local context and the limit that the error told are both known, the smaller one holds.
    """
    known = [tokens for tokens in (local_context_tokens, limit_tokens) if tokens]
    return min(known) * 3 // 4 if known else UNKNOWN_WINDOW_TOKENS


def has_beginning(request: ChatRequest, window_tokens: int) -> bool:
    """Return whether there are old turns whose summary would make the request shorter."""
    return plan_summary(request, window_tokens) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What a summary stands for: ``turns`` in full, and about how many input ``tokens`` fewer were sent."""

    turns: int
    tokens: int

    @staticmethod
    def between(whole: ChatRequest, sent: ChatRequest) -> LeftOut:
        tokens = sum(map(estimate_tokens, whole.messages)) - sum(map(estimate_tokens, sent.messages))
        return LeftOut(turns=len(whole.messages) - len(sent.messages), tokens=max(0, tokens))

    def on_decision(self, decision: RouteDecision) -> RouteDecision:
        """Return ``decision`` so that its card tells of the summary: the router saw only the shorter request."""
        if not self.turns:
            return decision
        routed = decision.economy or ContextEconomy()
        economy = replace(
            routed,
            summarised_turns=routed.summarised_turns + self.turns,
            trimmed_tokens=routed.trimmed_tokens + self.tokens,
            saved_nanodollars=None,  # the summary had its price too
        )
        return replace(decision, economy=economy)

    def on_result(self, result: ChatResult) -> ChatResult:
        return replace(result, decision=self.on_decision(result.decision))
