"""Turns what arrived of an attempt into a result for the caller and an outcome for the ledger."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.chat import ChatResult, FinishReason, Savings, Usage
from core.errors import SignalboxError
from core.ledger.limits import Resolution, resolve
from core.ledger.models import Outcome, OutcomeStatus
from core.ledger.savings import savings_of
from core.routing.request_run import Attempt, RequestRun, ResponseBuffer

if TYPE_CHECKING:
    from core.pricing.prices import Priced, PriceTable

BYTES_PER_ARRIVED_TOKEN = 3
"""Output of a broken-off answer is shown as its text at this rate: rather too many tokens than too few."""

LEAST_BYTES_PER_TOKEN = 2
"""Text with less than this on the average is not seen: dense code has about 2.5 bytes a token, prose 3 to 4.5. A
stopped answer is settled at this rate: what is settled must not be below the bill."""

UNSEEN_TOKENS_PER_S = 200
"""What may have been generated, and billed, in a time of which nothing was seen. An assumption that errs upwards:
no model of Anthropic's is known to write faster."""

MOST_BYTES_PER_TOKEN = 256
"""No token of a vocabulary known here is longer (the longest are runs of 128 blanks): a count of the output under
this rate is not of this answer."""

STOP_NOTICED_S = 1.0
"""How long a provider may go on generating after its connection was closed: assumed, as it is published nowhere."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """Prices attempts. One pricing function settles streamed and unstreamed answers alike."""

    prices: PriceTable

    def result(self, run: RequestRun, attempt: Attempt, status: OutcomeStatus) -> ChatResult:
        """Return what the caller gets: the whole request's cash, with what earlier attempts cost."""
        decision, answer = attempt.decision, attempt.answer
        assert decision.provider is not None
        latency_ms = (time.perf_counter() - answer.started) * 1000
        model = answer.ended.model if answer.ended else decision.model or decision.provider
        usage, estimated = answer.usage, False
        at_most = _is_at_most(attempt, status)
        believed = (
            usage is not None and not answer.usage_doubtful and not _is_below_what_arrived(answer, usage)
        )
        if attempt.side == "local":
            usage = usage if believed else None
        elif usage is not None and not (answer.usage_final and believed):
            estimated = True
            output_tokens = _most_output(attempt) if at_most else _arrived_tokens(answer)
            output_tokens = min(output_tokens, decision.signals.max_output_tokens)
            usage = dataclasses.replace(usage, output_tokens=max(usage.output_tokens, output_tokens))
        cost: int | None = 0
        loaded: int | None = None
        marginal: int | None = None
        version: str | None = None
        priced: Priced | None = None
        if attempt.side == "api":
            if usage is not None:
                # At the moment of the hold: a price that changes meanwhile must not settle above it.
                priced = self.prices.price(usage, model, decision.model, at=attempt.opened_at)
            version = priced.version if priced is not None else self.prices.version
            cost = loaded = priced.nanodollars if priced is not None else None
            if loaded is not None:
                loaded += run.earlier_nanodollars
        else:
            if attempt.machine_time is not None:
                own = attempt.machine_time.cost
                loaded, marginal = own.loaded_nanodollars, own.marginal_nanodollars
        ended_early: FinishReason = "stopped_by_user" if status == "stopped" else "unknown"
        return ChatResult(
            text=answer.text if attempt.text is None else attempt.text,
            tool_calls=answer.tool_calls,
            usage=usage,
            provider=decision.provider,
            side=attempt.side,
            model=model,
            finish_reason=answer.ended.finish_reason if answer.ended else ended_early,
            decision=decision,
            cost_nanodollars=None if cost is None else cost + run.earlier_nanodollars,
            loaded_nanodollars=loaded,
            price_version=version,
            latency_ms=latency_ms,
            ttft_ms=None if answer.first is None else (answer.first - answer.started) * 1000,
            correlation_id=run.correlation_id,
            started_at=run.started_at,
            dropped=answer.ended.dropped if answer.ended else (),
            usage_estimated=estimated,
            steps=tuple(run.steps),
            queued_ms=sum(step.took_ms for step in run.steps),
            unresolved_nanodollars=run.unresolved_nanodollars
            + (attempt.hold_nanodollars if estimated and not at_most else 0),
            marginal_nanodollars=marginal,
            schema_valid=attempt.schema_valid,
            savings=None if usage is None else self._savings(attempt, usage, priced),
            generation_ms=None if answer.generation_s is None else answer.generation_s * 1000,
        )

    def _savings(self, attempt: Attempt, usage: Usage, priced: Priced | None) -> Savings:
        """Return what the context's economy and the cache saved, at the very prices that settle the attempt."""

        def price(usage: Usage) -> int | None:
            if attempt.side == "local":
                return 0
            if priced is None:
                return None
            return self.prices.cost_nanodollars(priced.model, usage, at=attempt.opened_at)

        economy = attempt.decision.economy
        return savings_of(
            usage,
            trimmed_tokens=economy.trimmed_tokens if economy is not None else 0,
            compressed_tokens=economy.compressed_tokens if economy is not None else 0,
            price=price,
        )

    def outcome(
        self,
        run: RequestRun,
        result: ChatResult,
        attempt: Attempt,
        status: OutcomeStatus,
        error: SignalboxError | None,
    ) -> Outcome:
        """Return what the ledger is told of this attempt alone."""
        nothing_came = not attempt.answer.begun
        surely_unbilled = error is not None and not getattr(error, "may_be_billed", False)
        cost = result.cost_nanodollars
        # What broke off by itself is shown, not settled: only the hold is sure to cover what was generated since.
        known = not result.usage_estimated or _is_at_most(attempt, status)
        return Outcome(
            status=status,
            usage=result.usage if known else None,
            cost_nanodollars=None if cost is None or not known else cost - run.earlier_nanodollars,
            may_have_billed=not (nothing_came and (surely_unbilled or not attempt.answer.sent)),
            latency_ms=result.latency_ms,
            ttft_ms=result.ttft_ms,
            error_kind=error.kind if error is not None else None,
            model=result.model,
            price_version=result.price_version,
            loaded_nanodollars=result.loaded_nanodollars if result.side == "local" else None,
            marginal_nanodollars=result.marginal_nanodollars,
            savings=result.savings if known else None,
        )

    @staticmethod
    def with_counted(run: RequestRun, result: ChatResult, attempt: Attempt, outcome: Outcome) -> ChatResult:
        """Return ``result`` with what the ledger counts where an attempt's cost is not known, or surely none."""
        resolution = _resolution(attempt, outcome)
        if resolution.state == "released":
            cost = run.earlier_nanodollars
            return dataclasses.replace(result, cost_nanodollars=cost, loaded_nanodollars=cost)
        if resolution.state != "unresolved":
            return result
        counted = run.unresolved_nanodollars + resolution.counted_nanodollars
        return dataclasses.replace(result, unresolved_nanodollars=counted)

    @staticmethod
    def carry_over(run: RequestRun, attempt: Attempt, outcome: Outcome) -> int | None:
        """Add a closed attempt's cash to the run and return it; ``None``: not known, and counted at its hold."""
        resolution = _resolution(attempt, outcome)
        if outcome.usage is not None:
            run.earlier_usage = (
                outcome.usage if run.earlier_usage is None else run.earlier_usage + outcome.usage
            )
        if resolution.cost_nanodollars is None:
            run.unresolved_nanodollars += resolution.counted_nanodollars
        else:
            run.earlier_nanodollars += resolution.cost_nanodollars
        return resolution.cost_nanodollars


def _resolution(attempt: Attempt, outcome: Outcome) -> Resolution:
    return resolve(
        attempt.side,
        hold_nanodollars=attempt.hold_nanodollars,
        hold_tokens=attempt.hold_tokens,
        cost_nanodollars=outcome.cost_nanodollars,
        used_tokens=outcome.usage.total_tokens if outcome.usage is not None else None,
        may_have_billed=outcome.may_have_billed,
    )


def _is_at_most(attempt: Attempt, status: OutcomeStatus) -> bool:
    """Say whether a count of what arrived, and of what may have come since, is sure to cover the bill.

    It is where this program closed a connection that worked, which the provider notices; one that broke, or fell
    silent, may leave it generating to the end.
    """
    answer = attempt.answer
    began = answer.usage is not None and not answer.usage_final and not answer.usage_doubtful
    return began and status == "stopped" and attempt.failure is None and not answer.output_uncounted


def _is_below_what_arrived(answer: ResponseBuffer, usage: Usage) -> bool:
    """Whether an answer has more text, at least, than its count of the output can be: text is never 0 tokens."""
    chars = len(answer.text) + sum(len(call.arguments_json) for call in answer.tool_calls)
    return usage.output_tokens * MOST_BYTES_PER_TOKEN < chars


def _most_output(attempt: Attempt) -> int:
    """Return the most tokens that a stopped answer may be billed for: what arrived and what may have come since."""
    unseen_tokens = math.ceil((STOP_NOTICED_S + attempt.answer.unseen_s) * UNSEEN_TOKENS_PER_S)
    return _arrived_tokens(attempt.answer, LEAST_BYTES_PER_TOKEN) + unseen_tokens


def _arrived_tokens(answer: ResponseBuffer, bytes_per_token: int = BYTES_PER_ARRIVED_TOKEN) -> int:
    """Count an answer's output from what arrived, thinking included. A provider says it at the end only."""
    arrived = answer.hidden_output_bytes + len(answer.text.encode("utf-8", "replace"))
    arrived += sum(len(call.arguments_json.encode("utf-8", "replace")) for call in answer.tool_calls)
    return -(-arrived // bytes_per_token)
