"""Prometheus metrics of the running core: what was asked, answered, waited for and paid.

Names and labels of the OpenTelemetry GenAI semantic conventions (development status, as of semconv 1.42) where
they define one, in Prometheus form: ``gen_ai.client.operation.duration`` in seconds is
``gen_ai_client_operation_duration_seconds``. Everything else begins with ``signalbox_``. Buckets are those the
conventions ask for.

Counters, gauges and histograms as plain numbers, and how they become Prometheus families when read.

Counting is a few dictionary steps and imports nothing; ``prometheus_client`` is needed at the first reading only.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from core.errors import Unavailable
from core.telemetry.records import MoneyGauges, QueueGauges, RequestRecord

if TYPE_CHECKING:
    from prometheus_client.core import Metric


OTHER = "other"
Labels = tuple[str, ...]


class Names:
    """At most ``most`` different label values; each further one is ``other``.

    Model names come from callers and servers: without a bound each typing error would be a time series.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[str, str] = {"": ""}

    def of(self, name: str | None) -> str:
        if not name:
            return ""
        known = self._known.get(name)
        if known is None:
            if len(self._known) > self._most:
                return OTHER
            known = self._known[name] = name[:200]
        return known


class Counts:
    """A counter or a gauge. ``divisor`` turns what is counted (nano-dollars) into the unit shown (dollars).

    A family never holds more than ``most`` label sets: what comes then goes where every label is ``other``.
    """

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str] = (),
        *,
        kind: Literal["counter", "gauge"] = "counter",
        divisor: int = 1,
        most: int = 1000,
    ) -> None:
        self.name, self.help_text, self.labels, self.kind = name, help_text, tuple(labels), kind
        self._divisor = divisor
        self._most = most
        self._values: dict[Labels, float] = {}

    def add(self, labels: Labels = (), amount: float = 1) -> None:
        values = self._values
        if labels in values:
            values[labels] += amount
            return
        labels = self._room_for(labels)
        values[labels] = values.get(labels, 0) + amount

    def set(self, labels: Labels, value: float) -> None:
        self._values[self._room_for(labels)] = value

    def clear(self) -> None:
        self._values.clear()

    def _room_for(self, labels: Labels) -> Labels:
        full = len(self._values) >= self._most and labels not in self._values
        return (OTHER,) * len(labels) if full else labels

    def family(self) -> Metric:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        make = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        family = make(self.name, self.help_text, labels=self.labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value / self._divisor if self._divisor != 1 else value)
        return family


class Histogram:
    """Observations in buckets with the upper ``bounds``; the last bucket takes the rest."""

    def __init__(
        self, name: str, help_text: str, labels: Sequence[str], bounds: Sequence[float], *, most: int = 250
    ) -> None:
        self.name, self.help_text, self.labels = name, help_text, tuple(labels)
        self._bounds = tuple(bounds)
        self._shown_bounds = [f"{bound:g}" if bound < 1e6 else f"{bound:.1f}" for bound in bounds] + ["+Inf"]
        self._most = most
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, labels: Labels, value: float) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            if len(self._counts) >= self._most:
                labels = (OTHER,) * len(labels)
            counts = self._counts.setdefault(labels, [0] * (len(self._bounds) + 1))
            self._sums.setdefault(labels, 0.0)
        # A bucket holds what is less than or equal to its bound.
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] += value

    def family(self) -> Metric:
        from prometheus_client.core import HistogramMetricFamily

        family = HistogramMetricFamily(self.name, self.help_text, labels=self.labels)
        for labels, counts in self._counts.items():
            buckets: list[tuple[str, float]] = []
            so_far = 0
            for bound, count in zip(self._shown_bounds, counts, strict=True):
                so_far += count
                buckets.append((bound, so_far))
            family.add_metric(labels, buckets, self._sums[labels])
        return family


def exposition(families: Iterator[Metric] | Sequence[Metric]) -> str:
    """Return ``families`` in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    kept = list(families)

    class Given:
        def collect(self) -> list[Metric]:
            return kept

    registry.register(Given())
    return generate_latest(registry).decode("utf-8")


def family_of(
    name: str,
    help_text: str,
    labels: Sequence[str],
    values: Mapping[Labels, float],
    *,
    kind: Literal["counter", "gauge"] = "counter",
) -> Metric:
    """Return one family of known ``values``, for text that is made from a table at once."""
    counts = Counts(name, help_text, labels, kind=kind, most=10_000)
    for label_values, value in values.items():
        counts.set(label_values, value)
    return counts.family()


MOST_MODELS = 32
"""Different model names that get their own time series; the rest is counted as ``other``."""

NANO = 1_000_000_000

DURATION_BOUNDS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TTFT_BOUNDS_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
TPOT_BOUNDS_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
TOKEN_BOUNDS = tuple(4.0**power for power in range(14))

_OPERATION = "chat"
_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_response_model")
_MODEL = ("gen_ai_provider_name", "gen_ai_request_model")

BreakerState = Literal["closed", "open", "half_open"]
_BREAKER_STATES: tuple[BreakerState, ...] = ("closed", "half_open", "open")


class Metrics:
    """Counts what happens from now on; ``text`` or a scrape of ``serve`` reads it. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models = Names(MOST_MODELS)
        self._providers = Names(16)
        self._kinds = Names(64)

        self._duration = Histogram(
            "gen_ai_client_operation_duration_seconds",
            "GenAI operation duration.",
            (*_GEN_AI, "error_type"),
            DURATION_BOUNDS_S,
        )
        self._token_usage = Histogram(
            "gen_ai_client_token_usage",
            "Number of input and output tokens used.",
            (*_GEN_AI, "gen_ai_token_type"),
            TOKEN_BOUNDS,
        )
        self._ttft = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "Time to generate first token for successful responses, as seen by the router.",
            _GEN_AI,
            TTFT_BOUNDS_S,
        )
        self._tpot = Histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Time per output token generated after the first token for successful responses.",
            _GEN_AI,
            TPOT_BOUNDS_S,
        )
        self._requests = Counts(
            "signalbox_requests",
            "Requests that ended, at the provider that ended them; error_type is empty for the good ones.",
            (*_MODEL, "status", "error_type"),
        )
        self._decisions = Counts(
            "signalbox_decisions",
            "Requests by the rule that decided, the side and who asked.",
            ("rule", "side", "source"),
        )
        self._refused = Counts(
            "signalbox_refused_requests",
            "Requests that were refused before they were sent anywhere.",
            ("error_type",),
        )
        self._tokens = Counts(
            "signalbox_tokens", "Tokens by class; the five classes are disjoint.", (*_MODEL, "token_class")
        )
        self._cost = Counts(
            "signalbox_cost_dollars", "Cash paid to the API, all attempts.", _MODEL, divisor=NANO
        )
        self._loaded = Counts(
            "signalbox_local_cost_dollars",
            "The local machine's own cost of its answers.",
            _MODEL,
            divisor=NANO,
        )
        self._unpriced = Counts(
            "signalbox_unpriced_requests", "Requests whose tokens have no known price.", _MODEL
        )
        self._unresolved = Counts(
            "signalbox_unresolved_dollars",
            "Counted at their hold because the true cost never arrived.",
            _MODEL,
            divisor=NANO,
        )
        self._fallbacks = Counts(
            "signalbox_fallbacks", "Requests that changed side after a failure.", ("from_side", "to_side")
        )
        self._retries = Counts("signalbox_retries", "Requests sent again to the same side.", _MODEL)
        self._repairs = Counts(
            "signalbox_repairs", "Answers that were mended or asked for again to match their schema.", _MODEL
        )
        self._waits = Counts("signalbox_waits", "Times that a request waited, by reason.", ("reason",))
        self._wait_s = Histogram(
            "signalbox_wait_seconds",
            "What a request waited before it was sent, for those that waited.",
            (),
            DURATION_BOUNDS_S,
        )
        self._replayed = Counts(
            "signalbox_replayed_requests", "Requests that got an earlier answer and were not paid again."
        )
        self._saved_tokens = Counts(
            "signalbox_saved_tokens", "Input tokens that trimming and compression left out (estimate)."
        )
        self._saved = Counts(
            "signalbox_saved_dollars", "What those would have cost at the API's price.", divisor=NANO
        )

        def gauge(name: str, help_text: str, *labels: str, divisor: int = 1, most: int = 100) -> Counts:
            return Counts(name, help_text, labels, kind="gauge", divisor=divisor, most=most)

        self._breakers = gauge(
            "signalbox_breaker_state",
            "1 for the state a provider's breaker is in.",
            *_MODEL,
            "state",
            most=3 * MOST_MODELS,
        )
        self._holds = gauge("signalbox_holds", "Requests under way that hold money.")
        self._held = gauge("signalbox_held_dollars", "Cash set aside for requests under way.", divisor=NANO)
        self._spent = gauge(
            "signalbox_month_spent_dollars",
            "What counts as spent this calendar month, unresolved and unpriced requests at their holds.",
            divisor=NANO,
        )
        self._unresolved_now = gauge(
            "signalbox_month_unresolved_requests", "Requests of this month whose true cost never arrived."
        )
        self._unresolved_held = gauge(
            "signalbox_month_unresolved_dollars", "What those are counted for.", divisor=NANO
        )
        self._unpriced_now = gauge(
            "signalbox_month_unpriced_requests", "Requests of this month whose price is not known."
        )
        limit_labels = ("limit", "window", "project")
        self._limit = gauge("signalbox_limit_dollars", "A spend limit.", *limit_labels, divisor=NANO)
        self._limit_used = gauge(
            "signalbox_limit_used_dollars", "Spent under a limit.", *limit_labels, divisor=NANO
        )
        self._limit_held = gauge(
            "signalbox_limit_held_dollars", "Held under a limit.", *limit_labels, divisor=NANO
        )
        self._token_limit = gauge("signalbox_limit_tokens", "A token budget.", *limit_labels)
        self._token_used = gauge("signalbox_limit_used_tokens", "Used of a token budget.", *limit_labels)
        self._token_held = gauge("signalbox_limit_held_tokens", "Held of a token budget.", *limit_labels)
        self._running = gauge("signalbox_local_requests_running", "Requests the local server works on.")
        self._waiting = gauge("signalbox_local_requests_waiting", "Requests that wait for the local server.")
        self._slots = gauge("signalbox_local_slots", "Requests the local server is given at once.")
        self._local_wait = gauge(
            "signalbox_local_expected_wait_seconds", "What a new request would wait for the local server."
        )

    # -- what happened --------------------------------------------------------------------------------------

    def request_finished(self, record: RequestRecord) -> None:
        """Count a request at its end: every request exactly once, the refused ones too."""
        with self._lock:
            provider = self._providers.of(record.provider)
            model = self._models.of(record.model)
            error = self._kinds.of(record.error_kind)
            self._decisions.add((record.rule or "", record.side or "", record.source))
            if record.status == "refused":
                self._refused.add((error,))
                return
            by_model = (provider, model)
            self._requests.add((provider, model, record.status, error))
            if record.replayed:
                self._replayed.add()
                return  # the first request was counted with its tokens and its time
            gen_ai = (_OPERATION, provider, model, self._models.of(record.served_model or record.model))
            self._count_time(record, gen_ai, error)
            self._count_tokens(record, gen_ai, by_model)
            self._count_money(record, by_model)
            self._count_steps(record, by_model)

    def _count_time(self, record: RequestRecord, gen_ai: tuple[str, str, str, str], error: str) -> None:
        if record.latency_ms is None:
            return
        self._duration.observe((*gen_ai, error), record.latency_ms / 1000)
        if record.status != "done" or record.ttft_ms is None or not record.streamed:
            return
        self._ttft.observe(gen_ai, record.ttft_ms / 1000)
        if record.output_tokens_per_s is not None:
            self._tpot.observe(gen_ai, 1 / record.output_tokens_per_s)

    def _count_tokens(
        self, record: RequestRecord, gen_ai: tuple[str, str, str, str], by_model: tuple[str, str]
    ) -> None:
        usage = record.usage
        if usage is None:
            return
        self._token_usage.observe((*gen_ai, "input"), usage.input_tokens)
        self._token_usage.observe((*gen_ai, "output"), usage.output_tokens)
        for token_class, count in (
            ("fresh_input", usage.fresh_input_tokens),
            ("cache_read", usage.cache_read_tokens),
            ("cache_write_5m", usage.cache_write_5m_tokens),
            ("cache_write_1h", usage.cache_write_1h_tokens),
            ("output", usage.output_tokens),
        ):
            if count:
                self._tokens.add((*by_model, token_class), count)

    def _count_money(self, record: RequestRecord, by_model: tuple[str, str]) -> None:
        if record.cost_nanodollars:
            self._cost.add(by_model, record.cost_nanodollars)
        if record.is_unpriced:
            self._unpriced.add(by_model)
        if record.side == "local" and record.loaded_nanodollars:
            self._loaded.add(by_model, record.loaded_nanodollars)
        if record.unresolved_nanodollars:
            self._unresolved.add(by_model, record.unresolved_nanodollars)

    def _count_steps(self, record: RequestRecord, by_model: tuple[str, str]) -> None:
        if record.fell_back_from is not None:
            self._fallbacks.add((record.fell_back_from, record.side or ""))
        if record.retries:
            self._retries.add(by_model, record.retries)
        if record.repairs:
            self._repairs.add(by_model, record.repairs)
        for reason in record.wait_reasons:
            self._waits.add((self._kinds.of(reason),))
        if record.queued_ms > 0:
            self._wait_s.observe((), record.queued_ms / 1000)
        if record.saved_tokens:
            self._saved_tokens.add((), record.saved_tokens)
        if record.saved_nanodollars:
            self._saved.add((), record.saved_nanodollars)

    # -- how things stand -----------------------------------------------------------------------------------

    def set_breakers(self, states: Mapping[tuple[str, str | None], BreakerState]) -> None:
        """Replace what was said about breakers; keys are provider and model (``None``: the provider's own)."""
        with self._lock:
            self._breakers.clear()
            for (provider, model), state in states.items():
                of = (self._providers.of(provider), self._models.of(model))
                for each in _BREAKER_STATES:
                    self._breakers.set((*of, each), 1 if each == state else 0)

    def set_money(self, money: MoneyGauges | None) -> None:
        """Replace holds, spending and limits; ``None`` (the ledger can't be read) shows none of them."""
        gauges = (self._holds, self._held, self._spent, self._unresolved_now, self._unresolved_held)
        limits = (self._limit, self._limit_used, self._limit_held)
        tokens = (self._token_limit, self._token_used, self._token_held)
        with self._lock:
            for family in (*gauges, self._unpriced_now, *limits, *tokens):
                family.clear()
            if money is None:
                return
            self._holds.set((), money.held_count)
            self._held.set((), money.held_nanodollars)
            self._spent.set((), money.spent_nanodollars)
            self._unresolved_now.set((), money.unresolved_count)
            self._unresolved_held.set((), money.unresolved_nanodollars)
            self._unpriced_now.set((), money.unpriced_count)
            for limit in money.limits:
                of = (limit.name, limit.window, limit.project or "")
                most, used, held = limits if limit.unit == "dollars" else tokens
                if limit.limit is not None:
                    most.set(of, limit.limit)
                used.set(of, limit.used)
                held.set(of, limit.held)

    def set_local_queue(self, queue: QueueGauges | None) -> None:
        """Replace the local queue's figures; ``None`` shows none."""
        with self._lock:
            for family in (self._running, self._waiting, self._slots, self._local_wait):
                family.clear()
            if queue is None:
                return
            self._running.set((), queue.running)
            self._waiting.set((), queue.waiting)
            if queue.max_concurrent is not None:
                self._slots.set((), queue.max_concurrent)
            if queue.expected_wait_s is not None:
                self._local_wait.set((), queue.expected_wait_s)

    # -- reading --------------------------------------------------------------------------------------------

    def text(self) -> str:
        """Return everything in Prometheus' text format."""
        return exposition(self.collect())

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families as they are now; what a ``prometheus_client`` registry calls."""
        with self._lock:
            families = [
                family.family() for family in vars(self).values() if isinstance(family, Counts | Histogram)
            ]
        yield from families

    def serve(self, port: int) -> Callable[[], None]:
        """Answer scrapes on ``http://127.0.0.1:port/metrics`` from a separate thread; returns what ends it.

        Only this computer is listened to, and only who asks for it by that name. The thread never keeps the
        process alive.

        Raises:
            Unavailable: the port can't be used.
        """
        from prometheus_client import CollectorRegistry

        from core.telemetry import metrics_server

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        try:
            return metrics_server.serve(registry, port)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise Unavailable(
                f"The metrics can't be offered on port {port}: {reason}.",
                hint="Set METRICS_PORT to another port, or end the program that uses it.",
            ) from error
