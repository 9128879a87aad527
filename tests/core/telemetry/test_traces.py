"""Traces through the real SDK and exporter, against a collector on loopback that decodes what it is sent."""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.base.redaction import redact
from core.chat import Estimate, RouteDecision, Signals, Usage
from core.routing.request_stream import RequestStream, StopSwitch
from core.telemetry.logs import traceparent
from core.telemetry.otlp import shown_address, traces_address
from core.telemetry.records import RequestRecord
from core.telemetry.traces import MISSING_EXTRA, Tracer
from tests.support.collector import Collector, Span, collector

ROOT = Path(__file__).parents[3]
NOTHING = Estimate(model=None, cost_nanodollars=None, hold_nanodollars=None)
CLIENT, INTERNAL = 3, 1


def decision(side: str = "api", **changes: object) -> RouteDecision:
    values: dict[str, object] = {
        "side": side,
        "provider": "anthropic" if side == "api" else "vllm-local",
        "model": "claude-sonnet-4-6" if side == "api" else "llama",
        "rule": "complex",
        "reason": "because the prompt says CANARY",
        "mode": "hybrid",
        "signals": Signals(input_tokens=10, input_tokens_bound=20, max_output_tokens=64, complexity=0.7),
        "local_estimate": NOTHING,
        "api_estimate": NOTHING,
        "complexity_threshold": 0.6,
        "local_requests_today": 0,
        "routing_threshold": 3000,
    }
    return RouteDecision(**(values | changes))  # type: ignore[arg-type]


def record(**changes: object) -> RequestRecord:
    values: dict[str, object] = {
        "correlation_id": "0190-id",
        "status": "done",
        "source": "library",
        "project": "website",
        "side": "api",
        "provider": "anthropic",
        "model": "claude-sonnet-4-6",
        "served_model": "claude-sonnet-4-6-20260501",
        "rule": "complex",
        "finish_reason": "stop",
        "usage": Usage(
            fresh_input_tokens=100, cache_read_tokens=50, cache_write_5m_tokens=7, output_tokens=9
        ),
        "cost_nanodollars": 1_234_567,
        "latency_ms": 900.0,
        "ttft_ms": 250.0,
    }
    return RequestRecord(**(values | changes))  # type: ignore[arg-type]


@asynccontextmanager
async def tracing(endpoint: str) -> AsyncIterator[Tracer]:
    tracer = Tracer()
    tracer.configure(endpoint)
    await tracer.settled()
    try:
        yield tracer
    finally:
        await tracer.close()


async def one_request(tracer: Tracer, **changes: object) -> str | None:
    trace = tracer.request(correlation_id="0190-id", model=None)
    attempt = trace.attempt(decision())
    attempt.end(served_model="claude-sonnet-4-6-20260501", ttft_ms=250.0)
    trace.finish(record(**changes))
    return attempt.traceparent


def by_name(collected: Collector) -> dict[str, Span]:
    return {span.name: span for span in collected.spans}


async def test_a_request_is_a_span_and_its_attempts_are_children() -> None:
    with collector() as collected:
        async with tracing(collected.url) as tracer:
            assert tracer.is_on
            assert tracer.problem is None
            trace = tracer.request(correlation_id="0190-id", model=None)
            first = trace.attempt(decision("local"), 1)
            first.end(status="failed", error_kind="overloaded")
            second = trace.attempt(decision("api", rule="unavailable"), 2)
            second.end(served_model="claude-sonnet-4-6-20260501", ttft_ms=250.0)
            trace.finish(record(fell_back_from="local", rule="unavailable"))
            trace.finish(record())  # only the first counts
        spans = by_name(collected)
        assert set(spans) == {"chat claude-sonnet-4-6", "attempt vllm-local", "attempt anthropic"}
        request, failed, good = (
            spans["chat claude-sonnet-4-6"],
            spans["attempt vllm-local"],
            spans["attempt anthropic"],
        )
    assert collected.paths[0] == "/v1/traces"
    assert request.parent_id == ""
    assert {failed.parent_id, good.parent_id} == {request.span_id}
    assert {failed.trace_id, good.trace_id} == {request.trace_id}
    assert (request.kind, good.kind) == (INTERNAL, CLIENT)
    assert request.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-6",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "claude-sonnet-4-6-20260501",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 157,
        "gen_ai.usage.output_tokens": 9,
        "gen_ai.usage.cache_read.input_tokens": 50,
        "gen_ai.usage.cache_creation.input_tokens": 7,
        "signalbox.correlation_id": "0190-id",
        "signalbox.status": "done",
        "signalbox.source": "library",
        "signalbox.project": "website",
        "signalbox.side": "api",
        "signalbox.rule": "unavailable",
        "signalbox.fell_back_from": "local",
        "signalbox.retries": 0,
        "signalbox.queued_ms": 0.0,
        "signalbox.replayed": False,
        "signalbox.cost_nanodollars": 1_234_567,
        "signalbox.cost_dollars": 0.001234567,
        "signalbox.unresolved_nanodollars": 0,
    }
    assert failed.failed
    assert failed.attributes["error.type"] == "overloaded"
    assert not good.failed
    assert good.attributes["signalbox.attempt"] == 2
    assert not [name for name in good.attributes if "usage" in name], "tokens stand on one span only"
    assert request.resource["service.name"] == "signalbox"
    assert b"CANARY" not in b"".join(collected.raw)


async def test_a_failure_is_named_by_its_kind_only() -> None:
    with collector() as collected:
        async with tracing(collected.url) as tracer:
            trace = tracer.request(correlation_id="x", model="claude-sonnet-4-6")
            trace.finish(record(status="refused", error_kind="budget_exceeded", provider=None, usage=None))
        (span,) = collected.spans
    assert span.failed
    assert span.attributes["error.type"] == "budget_exceeded"
    assert "gen_ai.usage.input_tokens" not in span.attributes, "unknown is absent, not 0"


async def test_the_traceparent_names_the_attempt_and_reaches_only_who_makes_the_events() -> None:
    seen: list[str | None] = []

    async def events():  # type: ignore[no-untyped-def]
        for number in range(2):
            seen.append(traceparent.get())
            yield number

    with collector() as collected:
        async with tracing(collected.url) as tracer:
            trace = tracer.request(correlation_id="x", model=None)
            attempt = trace.attempt(decision())
            async for _ in RequestStream(events(), StopSwitch(), "x", lambda: attempt.traceparent):
                assert traceparent.get() is None
            attempt.end()
            trace.finish(record())
        span = by_name(collected)["attempt anthropic"]
    assert len(seen) == 2
    for header in seen:
        # The last bit is "sampled"; the one before it (level 2 of the standard) "the id is random".
        assert re.fullmatch(rf"00-{span.trace_id}-{span.span_id}-0[13]", header or "")


async def test_the_callers_own_span_is_the_parent() -> None:
    """A program that traces itself with its own provider sees our request inside its span."""
    from opentelemetry import trace as api
    from opentelemetry.sdk.trace import TracerProvider

    own = TracerProvider(shutdown_on_exit=False).get_tracer("app")
    with collector() as collected:
        async with tracing(collected.url) as tracer:
            with own.start_as_current_span("handler") as handler:
                await one_request(tracer)
            assert not isinstance(api.get_tracer_provider(), TracerProvider), "the global one is left alone"
        request = by_name(collected)["chat claude-sonnet-4-6"]
    assert request.parent_id == f"{handler.get_span_context().span_id:016x}"
    assert request.trace_id == f"{handler.get_span_context().trace_id:032x}"


async def test_without_an_endpoint_nothing_happens() -> None:
    tracer = Tracer()
    assert await one_request(tracer) is None
    assert tracer.problem is None
    assert not tracer.is_on
    await tracer.close()


async def test_a_fault_of_the_sdk_is_said_and_harms_no_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from opentelemetry.sdk.trace import Tracer as SdkTracer

    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("no room for api_key=Q7xA9f3kLm0P")

    with collector() as collected:
        async with tracing(collected.url) as tracer:
            half = tracer.request(correlation_id="x", model=None)
            monkeypatch.setattr(SdkTracer, "start_span", breaks)
            assert half.attempt(decision()).traceparent is None
            assert await one_request(tracer) is None
            half.finish(record())
    assert "a span is lost" in caplog.text
    assert "Q7xA9f3kLm0P" not in caplog.text
    assert len(collected.spans) == 1


async def test_the_endpoint_may_change_and_go_while_requests_run() -> None:
    with collector() as one, collector() as two:
        async with tracing(one.url) as tracer:
            under_way = tracer.request(correlation_id="x", model="claude-sonnet-4-6")
            tracer.configure(two.url)
            await tracer.settled()
            await one_request(tracer)
            under_way.attempt(decision()).end()
            under_way.finish(record())
            tracer.configure(None)
            await tracer.settled()
            assert await one_request(tracer) is None
        assert len(two.spans) == 2


def test_a_missing_extra_is_a_problem_that_says_what_to_install() -> None:
    code = """
import asyncio, sys
for name in ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter"):
    sys.modules[name] = None
from core.telemetry.traces import Tracer
async def main():
    tracer = Tracer()
    tracer.configure("http://127.0.0.1:9")
    await tracer.settled()
    trace = tracer.request(correlation_id="x", model=None)
    print(tracer.problem, tracer.is_on)
    await tracer.close()
asyncio.run(main())
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout.strip() == f"{MISSING_EXTRA} False"


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_dead_collector_is_said_once_and_slows_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    begun = time.monotonic()
    tracer = Tracer()
    tracer.configure("http://me:s3cret-word@127.0.0.1:1")
    await tracer.settled()
    for _ in range(1500):  # more than a batch, so several exports fail
        await one_request(tracer)
    await tracer.close()
    assert time.monotonic() - begun < 60
    said = warnings_of(caplog)
    assert len(said) == 1, said
    assert "traces don't reach http://127.0.0.1:1/v1/traces" in said[0]
    assert "refused" in said[0].lower() or "connection" in said[0].lower()
    assert "s3cret-word" not in "\n".join(said)


async def test_a_collector_that_hangs_is_left_after_two_seconds_and_the_loop_is_free() -> None:
    with collector() as collected:
        collected.stalls = threading.Event()
        async with tracing(collected.url) as tracer:
            await one_request(tracer)
            begun = time.monotonic()
            closing = asyncio.create_task(tracer.close())
            turns = 0
            while not closing.done():
                await asyncio.sleep(0.01)
                turns += 1
            await closing
            took_s = time.monotonic() - begun
        collected.stalls.set()
    assert took_s < 10, "two seconds, and what a busy machine adds"
    assert turns > 10


async def test_a_refusing_collector_is_said_once_and_its_return_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with collector() as collected:
        collected.status, collected.says = 400, b"no\x1b[2J\nINFO a line of mine " + b"x" * 100_000
        async with tracing(collected.url) as tracer:
            await one_request(tracer)
            await asyncio.to_thread(collected.wait, 1)
            await one_request(tracer)
            await asyncio.to_thread(collected.wait, 2)
            collected.status, collected.says = 200, b""
            await one_request(tracer)
            await asyncio.to_thread(collected.wait, 3)
    (said,) = warnings_of(caplog)
    assert "don't reach" in said
    assert said.isprintable()
    assert len(said) < 300
    assert "traces reach" in caplog.text


async def test_the_collectors_key_is_sent_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "dd-api-key=plainlookingkey123")
    caplog.set_level(logging.DEBUG)
    with collector() as collected:
        async with tracing(collected.url) as tracer:
            await one_request(tracer)
        assert collected.headers[0]["dd-api-key"] == "plainlookingkey123"
    assert redact("it was plainlookingkey123") == "it was •••"
    assert "plainlookingkey123" not in caplog.text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://h/otlp", "https://h/otlp/v1/traces"),
        ("https://h/otlp/v1/traces", "https://h/otlp/v1/traces"),
        ("https://me:pw@h:1/x", "https://me:pw@h:1/x/v1/traces"),
    ],
)
def test_the_address_of_traces(given: str, expected: str) -> None:
    assert traces_address(given) == expected
    assert "pw" not in shown_address(given)
