"""The metrics: every request counted once, exact money, bounded labels, and a scrape on this computer only."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from core.chat import Usage
from core.errors import Unavailable
from core.telemetry.metrics import MOST_MODELS, Metrics
from core.telemetry.metrics_server import MOST_CONNECTIONS
from core.telemetry.records import LimitGauge, MoneyGauges, QueueGauges, RequestRecord

USAGE = Usage(
    fresh_input_tokens=100,
    cache_read_tokens=2000,
    cache_write_5m_tokens=30,
    cache_write_1h_tokens=4,
    output_tokens=51,
)
GEN_AI = {
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "anthropic",
    "gen_ai_request_model": "claude-sonnet-4-6",
    "gen_ai_response_model": "claude-sonnet-4-6-20260501",
}
BY_MODEL = {"gen_ai_provider_name": "anthropic", "gen_ai_request_model": "claude-sonnet-4-6"}


def record(**changes: object) -> RequestRecord:
    values: dict[str, object] = {
        "correlation_id": "0190",
        "status": "done",
        "source": "cli",
        "side": "api",
        "provider": "anthropic",
        "model": "claude-sonnet-4-6",
        "served_model": "claude-sonnet-4-6-20260501",
        "rule": "complex",
        "finish_reason": "stop",
        "usage": USAGE,
        "cost_nanodollars": 1_234_567,
        "latency_ms": 1500.0,
        "ttft_ms": 500.0,
        "output_tokens_per_s": 50.0,
    }
    return RequestRecord(**(values | changes))  # type: ignore[arg-type]


def read(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.text())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, labels: Mapping[str, str] | None = None) -> float | None:
    return read(metrics).get((name, frozenset((labels or {}).items())))


def test_a_good_request_is_in_every_metric_of_the_conventions() -> None:
    metrics = Metrics()
    metrics.request_finished(record())
    assert value(metrics, "gen_ai_client_operation_duration_seconds_count", GEN_AI | {"error_type": ""}) == 1
    assert value(metrics, "gen_ai_client_operation_duration_seconds_sum", GEN_AI | {"error_type": ""}) == 1.5
    for le, expected in (("1.28", 0), ("2.56", 1), ("+Inf", 1)):
        labels = GEN_AI | {"error_type": "", "le": le}
        assert value(metrics, "gen_ai_client_operation_duration_seconds_bucket", labels) == expected
    for kind, tokens in (("input", 2134), ("output", 51)):
        labels = GEN_AI | {"gen_ai_token_type": kind}
        assert value(metrics, "gen_ai_client_token_usage_sum", labels) == tokens
        assert value(metrics, "gen_ai_client_token_usage_count", labels) == 1
    assert value(metrics, "gen_ai_server_time_to_first_token_seconds_sum", GEN_AI) == 0.5
    assert value(metrics, "gen_ai_server_time_per_output_token_seconds_sum", GEN_AI) == pytest.approx(0.02)


def test_tokens_by_class_are_disjoint_and_cost_is_exact_to_the_nanodollar() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.request_finished(record())
    found = {
        kind: value(metrics, "signalbox_tokens_total", BY_MODEL | {"token_class": kind})
        for kind in ("fresh_input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
    }
    assert found == {
        "fresh_input": 300,
        "cache_read": 6000,
        "cache_write_5m": 90,
        "cache_write_1h": 12,
        "output": 153,
    }
    assert value(metrics, "signalbox_cost_dollars_total", BY_MODEL) == 3_703_701 / 1e9


@given(st.lists(st.integers(0, 10**12), max_size=30))
def test_the_cost_shown_is_the_sum_of_the_costs(costs: list[int]) -> None:
    metrics = Metrics()
    for cost in costs:
        metrics.request_finished(record(cost_nanodollars=cost))
    assert (value(metrics, "signalbox_cost_dollars_total", BY_MODEL) or 0) == sum(costs) / 1e9


def test_an_unknown_price_is_counted_and_never_shown_as_zero() -> None:
    metrics = Metrics()
    metrics.request_finished(record(cost_nanodollars=None))
    assert value(metrics, "signalbox_unpriced_requests_total", BY_MODEL) == 1
    assert value(metrics, "signalbox_cost_dollars_total", BY_MODEL) is None


def test_a_failure_a_fallback_retries_waits_and_repairs_are_counted() -> None:
    metrics = Metrics()
    metrics.request_finished(
        record(
            status="failed",
            error_kind="timed_out",
            fell_back_from="local",
            retries=2,
            repairs=1,
            queued_ms=250.0,
            wait_reasons=("rate", "retry"),
            unresolved_nanodollars=5_000_000,
            saved_tokens=70,
            saved_nanodollars=210_000,
            usage=None,
            ttft_ms=None,
            output_tokens_per_s=None,
        )
    )
    outcome = {"status": "failed", "error_type": "timed_out"}
    assert value(metrics, "signalbox_requests_total", BY_MODEL | outcome) == 1
    labels = GEN_AI | {"error_type": "timed_out"}
    assert value(metrics, "gen_ai_client_operation_duration_seconds_count", labels) == 1
    assert value(metrics, "signalbox_fallbacks_total", {"from_side": "local", "to_side": "api"}) == 1
    assert value(metrics, "signalbox_retries_total", BY_MODEL) == 2
    assert value(metrics, "signalbox_repairs_total", BY_MODEL) == 1
    assert value(metrics, "signalbox_waits_total", {"reason": "rate"}) == 1
    assert value(metrics, "signalbox_waits_total", {"reason": "retry"}) == 1
    assert value(metrics, "signalbox_wait_seconds_sum") == 0.25
    assert value(metrics, "signalbox_unresolved_dollars_total", BY_MODEL) == 0.005
    assert value(metrics, "signalbox_saved_tokens_total") == 70
    assert value(metrics, "signalbox_saved_dollars_total") == 0.00021
    assert value(metrics, "gen_ai_server_time_to_first_token_seconds_count", GEN_AI) is None


def test_a_refused_request_is_counted_as_refused_and_nowhere_else() -> None:
    metrics = Metrics()
    metrics.request_finished(
        record(
            status="refused",
            error_kind="budget_exceeded",
            provider=None,
            side=None,
            model=None,
            served_model=None,
            rule="budget",
            usage=None,
            cost_nanodollars=0,
            latency_ms=None,
            ttft_ms=None,
        )
    )
    assert value(metrics, "signalbox_refused_requests_total", {"error_type": "budget_exceeded"}) == 1
    decided = {"rule": "budget", "side": "", "source": "cli"}
    assert value(metrics, "signalbox_decisions_total", decided) == 1
    assert not any(name == "signalbox_requests_total" for name, _ in read(metrics))


def test_a_replayed_answer_counts_no_tokens_and_no_money_again() -> None:
    metrics = Metrics()
    metrics.request_finished(record())
    metrics.request_finished(record(replayed=True))
    assert value(metrics, "signalbox_replayed_requests_total") == 1
    assert value(metrics, "signalbox_cost_dollars_total", BY_MODEL) == 1_234_567 / 1e9
    assert value(metrics, "signalbox_tokens_total", BY_MODEL | {"token_class": "output"}) == 51
    good = {"status": "done", "error_type": ""}
    assert value(metrics, "signalbox_requests_total", BY_MODEL | good) == 2


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=300))
def test_any_number_of_model_names_makes_a_bounded_number_of_series(names: list[str]) -> None:
    metrics = Metrics()
    for name in names:
        metrics.request_finished(record(model=name, served_model=f"{name}-served"))
    series = read(metrics)
    requests = {
        labels: count for (name, labels), count in series.items() if name == "signalbox_requests_total"
    }
    assert sum(requests.values()) == len(names), "none is lost, the rest are 'other'"
    assert len(requests) <= MOST_MODELS + 1


def test_a_flood_of_names_stays_under_a_bound_and_every_request_is_counted() -> None:
    metrics = Metrics()
    for number in range(3000):
        metrics.request_finished(
            record(
                model=f"m{number}", served_model=f"s{number}", error_kind=f"k{number}", provider=f"p{number}"
            )
        )
    series = read(metrics)
    assert len(series) < 25_000
    counted = [count for (name, _), count in series.items() if name == "signalbox_requests_total"]
    assert sum(counted) == 3000
    timed = [count for (name, _), count in series.items() if name.endswith("duration_seconds_count")]
    assert sum(timed) == 3000


def test_labels_may_hold_anything() -> None:
    metrics = Metrics()
    odd = 'a"b\\c\nd\u2028é' + "x" * 500
    metrics.request_finished(record(model=odd))
    found = {
        dict(labels)["gen_ai_request_model"]
        for name, labels in read(metrics)
        if name.endswith("duration_seconds_count")
    }
    assert found == {odd[:200]}


def test_gauges_say_how_things_stand_now() -> None:
    metrics = Metrics()
    limit = LimitGauge(
        name="SPEND_LIMIT_DOLLARS", window="2026-11", used=2_000_000_000, held=500_000_000, limit=500 * 10**9
    )
    tokens = LimitGauge(
        name="DAILY_TOKEN_BUDGET", window="2026-11-23", used=900, held=50, limit=1000, unit="tokens"
    )
    money = MoneyGauges(
        held_count=2,
        held_nanodollars=500_000_000,
        spent_nanodollars=2_000_000_000,
        unresolved_count=1,
        unresolved_nanodollars=7_000_000,
        unpriced_count=3,
        limits=(limit, tokens),
    )
    metrics.set_money(money)
    metrics.set_breakers({("anthropic", None): "closed", ("vllm-local", "llama"): "half_open"})
    metrics.set_local_queue(QueueGauges(running=4, waiting=2, max_concurrent=4, expected_wait_s=1.5))
    assert value(metrics, "signalbox_holds") == 2
    assert value(metrics, "signalbox_held_dollars") == 0.5
    assert value(metrics, "signalbox_month_spent_dollars") == 2
    assert value(metrics, "signalbox_month_unresolved_requests") == 1
    assert value(metrics, "signalbox_month_unpriced_requests") == 3
    of = {"limit": "SPEND_LIMIT_DOLLARS", "window": "2026-11", "project": ""}
    assert value(metrics, "signalbox_limit_dollars", of) == 500
    assert value(metrics, "signalbox_limit_held_dollars", of) == 0.5
    of = {"limit": "DAILY_TOKEN_BUDGET", "window": "2026-11-23", "project": ""}
    assert value(metrics, "signalbox_limit_tokens", of) == 1000
    assert value(metrics, "signalbox_limit_used_tokens", of) == 900
    breaker = {"gen_ai_provider_name": "vllm-local", "gen_ai_request_model": "llama"}
    for state, expected in (("closed", 0), ("half_open", 1), ("open", 0)):
        assert value(metrics, "signalbox_breaker_state", breaker | {"state": state}) == expected
    assert value(metrics, "signalbox_local_requests_waiting") == 2
    assert value(metrics, "signalbox_local_expected_wait_seconds") == 1.5

    metrics.set_money(None)
    metrics.set_breakers({})
    metrics.set_local_queue(QueueGauges(running=0, waiting=0))
    assert value(metrics, "signalbox_holds") is None, "unknown is absent, not 0"
    assert value(metrics, "signalbox_breaker_state", breaker | {"state": "open"}) is None
    assert value(metrics, "signalbox_local_requests_running") == 0
    assert value(metrics, "signalbox_local_expected_wait_seconds") is None


def test_threads_lose_no_count() -> None:
    metrics = Metrics()
    workers = [
        threading.Thread(target=lambda: [metrics.request_finished(record()) for _ in range(500)])
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        metrics.text()
    good = {"status": "done", "error_type": ""}
    assert value(metrics, "signalbox_requests_total", BY_MODEL | good) == 2000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_scrape_gets_the_text_and_the_end_frees_the_port() -> None:
    metrics = Metrics()
    metrics.request_finished(record())
    port = free_port()
    for _ in range(2):
        stop = metrics.serve(port)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
                assert answer.headers["Content-Type"].startswith("text/plain")
            assert "gen_ai_client_operation_duration_seconds_count" in text
            assert "python_info" not in text, "only what is ours"
        finally:
            stop()


def test_only_this_computer_is_listened_to() -> None:
    metrics = Metrics()
    port = free_port()
    stop = metrics.serve(port)
    try:
        with socket.socket() as other:
            # Another address of this machine is free: the server took the loopback only.
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.2", port))
    finally:
        stop()


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    stop = Metrics().serve(port)
    yield port
    stop()


def asked(port: int, method: str, path: str, host: str | None, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    for name, text in {"Host": host, **headers}.items():
        if text is not None:
            connection.putheader(name, text)
    connection.endheaders()
    return connection.getresponse()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9464", "localhost", "LOCALHOST:1", "[::1]:9464"])
def test_who_asks_for_this_computer_is_answered(port: int, host: str) -> None:
    answer = asked(port, "GET", "/metrics", host, Origin="http://evil.example")
    assert (answer.status, b"signalbox_requests" in answer.read()) == (200, True)
    assert not [name for name, _ in answer.getheaders() if name.lower().startswith("access-control")]
    head = asked(port, "HEAD", "/metrics", host)
    assert (head.status, head.read()) == (200, b"")


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "evil.example:9464",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example#127.0.0.1",
        "user@127.0.0.1",
        "127.0.0.1:9464:1",
        "0.0.0.0",
        "10.0.0.1",
    ],
)
def test_a_rebound_name_gets_nothing(port: int, host: str | None) -> None:
    answer = asked(port, "GET", "/metrics", host)
    assert answer.status == 403
    assert b"signalbox_requests" not in answer.read()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_only_reading_is_allowed(port: int, method: str) -> None:
    assert asked(port, method, "/metrics", "localhost").status == 405


def test_there_is_nothing_else(port: int) -> None:
    assert asked(port, "GET", "/", "localhost").status == 404


def test_those_who_say_nothing_keep_nobody_out(port: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(3 * MOST_CONNECTIONS)]
    try:
        for one in silent:
            with contextlib.suppress(OSError):  # the oldest are cut off by then
                one.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        assert asked(port, "GET", "/metrics", "localhost").status == 200
        assert silent[0].recv(1) == b""
    finally:
        for one in silent:
            one.close()


def test_a_port_in_use_is_an_error_that_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"port {port}: Address already in use") as caught:
            Metrics().serve(port)
    assert "METRICS_PORT" in caught.value.hint


def test_counting_imports_nothing() -> None:
    """Importing prometheus_client takes as long as thousands of requests; only a reader pays for it."""
    code = (
        "import sys\n"
        "from core.telemetry.metrics import Metrics\n"
        "from core.telemetry.records import RequestRecord\n"
        "from core.telemetry.traces import Tracer\n"
        "Metrics().request_finished(RequestRecord(correlation_id='x', status='done'))\n"
        "Tracer().request(correlation_id='x', model=None)\n"
        "print([name for name in sys.modules if name.startswith(('prometheus', 'opentelemetry'))])\n"
    )
    root = Path(__file__).parents[3]
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout.strip() == "[]"
