"""The pure parts: waits, addresses, families of models, and what importing costs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.base.net import is_near
from core.errors import TimedOut, TransientFailure, Unavailable
from core.providers.anthropic_wire import FAMILIES, claude_family
from core.providers.errors import Endpoint, provider_failure, retry_after_s

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
ENDPOINT = Endpoint(
    who="Anthropic",
    side="api",
    base_url="https://user:pass@proxy.example:8443/anthropic?token=x",
    key_setting="ANTHROPIC_API_KEY",
    url_setting="ANTHROPIC_BASE_URL",
    timeout_s=120,
    secret="sk-ant-secret",
)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Mon, 23 Nov 2026 12:01:30 GMT"}, 90),
        ({"retry-after": "Mon, 23 Nov 2026 12:01:30 -0000"}, 90),  # a date without a zone is UTC
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOW) == seconds


@given(st.text(max_size=40))
def test_retry_after_never_raises(value: str) -> None:
    seconds = retry_after_s({"retry-after": value, "retry-after-ms": value}, NOW)
    assert seconds is None or seconds >= 0


def test_an_address_is_shown_without_its_credentials() -> None:
    assert ENDPOINT.shown_url == "https://proxy.example:8443/anthropic"
    assert "sk-ant-secret" not in repr(ENDPOINT)


class Reply(Exception):
    """An SDK's status error: what its server answered with."""

    def __init__(self, status_code: int, body: object) -> None:
        super().__init__(status_code)
        self.status_code = status_code
        self.body = body
        self.response = httpx2.Response(status_code)


def own(kind: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": "No."}}


@pytest.mark.parametrize(
    ("status", "body", "billed"),
    [
        (429, own("rate_limit_error"), False),
        (500, own("api_error"), False),
        (503, own("overloaded_error"), False),
        (529, own("overloaded_error"), False),
        (529, "", False),
        (409, own("conflict"), False),
        (408, own("timeout"), True),
        (499, None, True),
        (502, own("api_error"), True),
        (504, own("timeout_error"), True),
        (524, "<html>A timeout occurred</html>", True),
        (500, "<html>nginx</html>", True),
        (500, {"message": "Internal server error"}, True),
        (500, {"type": "about:blank", "title": "Internal Server Error"}, True),
        (503, "upstream connect error or disconnect/reset before headers", True),
        (520, None, True),
        (200, own("timeout_error"), True),  # an error event after HTTP 200
        (200, own("overloaded_error"), False),
        (200, own("a_later_invention"), True),
    ],
)
def test_a_gateways_failure_may_be_billed_and_the_apis_own_refusal_is_not(
    status: int, body: object, billed: bool
) -> None:
    failure = provider_failure(Reply(status, body), ENDPOINT)
    assert isinstance(failure, TransientFailure)
    assert failure.may_be_billed is billed
    at_home = provider_failure(Reply(status, body), replace(ENDPOINT, side="local"))
    assert isinstance(at_home, TransientFailure)
    assert not at_home.may_be_billed, "nobody bills the local side"


@pytest.mark.parametrize(
    ("error", "billed"),
    [
        (httpx2.ConnectError("refused"), False),
        (httpx2.ConnectTimeout("slow"), False),
        (httpx2.WriteTimeout("slow"), False),
        (httpx2.PoolTimeout("full"), False),
        (httpx2.ReadTimeout("silent"), True),
        (httpx2.ReadError("reset"), True),
        (httpx2.RemoteProtocolError("Server disconnected without sending a response."), True),
        (httpx2.RemoteProtocolError("peer closed connection"), True),
    ],
)
def test_a_request_that_was_sent_may_be_billed(error: Exception, billed: bool) -> None:
    failure = provider_failure(error, ENDPOINT)
    assert isinstance(failure, Unavailable)
    assert failure.may_be_billed is billed


@pytest.mark.parametrize(
    ("error", "begun", "phase"),
    [
        (httpx2.ConnectTimeout("slow"), False, "connect"),
        (httpx2.WriteTimeout("slow"), False, "connect"),
        (httpx2.ReadTimeout("silent"), False, "first_token"),
        (httpx2.ReadTimeout("silent"), True, "between_tokens"),
        (TimeoutError(), True, "between_tokens"),
    ],
)
def test_each_time_out_tells_its_phase(error: Exception, begun: bool, phase: str) -> None:
    failure = provider_failure(error, ENDPOINT, begun=begun)
    assert isinstance(failure, TimedOut)
    assert failure.phase == phase


@pytest.mark.parametrize(
    ("status", "message", "booting"),
    [
        (503, "Loading model", True),  # llama.cpp
        (503, "The model is loading, please wait", True),
        (503, "Model org/name is currently loading", True),
        (503, "The server is still starting", True),
        (503, "No model slot is free", False),
        (503, "Service Unavailable", False),
        (503, "", False),
        (500, "Loading model failed", False),
        (429, "Loading model", False),
    ],
)
def test_a_server_says_that_it_is_starting(status: int, message: str, booting: bool) -> None:
    body = {"error": {"code": status, "message": message, "type": "unavailable_error"}}
    failure = provider_failure(Reply(status, body), replace(ENDPOINT, side="local"))
    assert isinstance(failure, TransientFailure)
    assert failure.booting is booting


def test_an_unknown_exception_is_unavailable_and_says_its_kind() -> None:
    failure = provider_failure(KeyError("sk-ant-secret"), ENDPOINT)
    assert type(failure) is Unavailable
    assert "KeyError" in failure.message
    assert "secret" not in str(failure)


@pytest.mark.parametrize(
    ("model", "prefix", "sampling"),
    [
        ("claude-sonnet-4-6-20260501", "claude-sonnet-4-6", True),
        ("claude-opus-4-20250514", "claude-opus-4", True),
        ("claude-opus-4-7", "claude-opus-4-7", False),
        ("claude-haiku-5-5", "claude-haiku-5", False),
        ("gpt-9", "", False),
    ],
)
def test_the_longest_prefix_names_the_family(model: str, prefix: str, sampling: bool) -> None:
    family = claude_family(model)
    assert (family.prefix, family.takes_sampling) == (prefix, sampling)


def test_no_family_stands_twice() -> None:
    assert len({family.prefix for family in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://localhost:8000", True),
        ("http://[::1]:8000", True),
        ("http://192.168.1.20:8000", True),
        ("https://api.anthropic.com", False),
        ("http://8.8.8.8", False),
        ("http://[::1", False),
        ("", False),
    ],
)
def test_no_proxy_stands_before_a_near_address(url: str, near: bool) -> None:
    assert is_near(url) is near


def test_importing_the_providers_imports_no_sdk() -> None:
    script = (
        "import sys, core.providers, core.providers.anthropic, core.providers.openai;"
        "heavy = {'anthropic', 'openai', 'httpx2', 'pydantic', 'aiohttp', 'msgspec'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_proxy_that_fails_is_not_taken_for_the_server() -> None:
    error = provider_failure(httpx2.ProxyError("502 Bad Gateway"), ENDPOINT)
    assert isinstance(error, Unavailable)
    assert error.own_message.startswith("The proxy on the way to https://proxy.example:8443/anthropic failed")
    assert "proxy settings" in error.hint
