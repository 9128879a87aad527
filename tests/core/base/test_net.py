"""Which addresses are the same server's, go past a proxy, and may get a key unencrypted."""

from __future__ import annotations

import ssl

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.base.net import is_near, is_private, is_readable_on_the_way, open_client, origin_of
from core.providers.http import open_http_client


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com"),
        ("HTTPS://API.Anthropic.com:443/v1/", "https://api.anthropic.com"),
        ("http://gpubox:8000/v1?x#y", "http://gpubox:8000"),
        ("http://gpubox:80", "http://gpubox"),
        ("https://me:pass@gateway.example/v1", "https://gateway.example"),
        ("http://127.0.0.1@evil.example", "http://evil.example"),
        ("http://evil.example#@127.0.0.1", "http://evil.example"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
        ("http://[0:0::1]:8000", "http://[::1]:8000"),
        ("http://[::ffff:8.8.8.8]", "http://8.8.8.8"),
        ("http://127.0.0.1\\@evil.example", None),
        ("http://127.0.0.1\t.evil.example", None),
        ("http://a%2eb", None),
        ("https://\u0430pi.anthropic.com", "https://xn--pi-6kc.anthropic.com"),  # a Cyrillic a
        ("https://stra\u00dfe.example", "https://xn--strae-oqa.example"),
        ("https://\u24d0pi.anthropic.com", None),
        ("http://host:99999", None),
        ("ftp://host", None),
        ("127.0.0.1:8000", None),
        ("", None),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: str | None) -> None:
    assert origin_of(url) == origin


PRIVATE = (
    "localhost",
    "LOCALHOST:8000",
    "127.0.0.1:8000",
    "127.1.2.3",
    "0.0.0.0:8000",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.40:8000",
    "169.254.7.7",
    "[::1]:8000",
    "[fd12::7]",
    "[fe80::1%25eth0]",
    "[::ffff:10.0.0.1]",
)
NEAR_ONLY = (
    "100.64.0.1",
    "100.101.102.103:8000",
    "100.127.255.255",
    "gpubox:8000",
    "gpu_box",
    "localhost.",
    "box.localhost",
    "gpu.local:8000",
    "GPU.LOCAL",
    "gpu.lan",
    "llm.corp.internal",
    "nas.home.arpa",
    "box.tail1234.ts.net",
    "user:pass@gpubox",
)
FAR = (
    "api.anthropic.com",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "127.0.0.1@evil.example",
    "gpubox@evil.example",
    "local",  # the name of the suffix alone is a single word: see below
    "evil.example/.local",
    "evil.example#.local",
    "evil.example?x=.local",
    "notlocal.example",
    "evillocal.example",
    "2130706433",  # 127.0.0.1 to most, yet such a spelling is nobody's honest address
    "134744072",  # 8.8.8.8
    "0x08080808",
    "0X8",
    "127.1",
    "0177.0.0.1",
    "8.8.0x808",
    "[::ffff:8.8.8.8]",
    "[2606:4700::1]",
    "[64:ff9b::a00:1]",
    "１２７.0.0.1",
    "ⅼocalhost",
    "a..local",
    "-x.local",
)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", [*PRIVATE, *NEAR_ONLY])
def test_what_is_near_goes_past_a_proxy(scheme: str, host: str) -> None:
    assert is_near(f"{scheme}://{host}/v1")


@pytest.mark.parametrize("host", [host for host in FAR if host != "local"])
def test_what_only_looks_near_is_not(host: str) -> None:
    assert not is_near(f"http://{host}/v1")
    assert not is_private(f"http://{host}/v1")


@pytest.mark.parametrize("host", PRIVATE)
def test_a_key_may_go_unencrypted_where_the_address_itself_is_private(host: str) -> None:
    assert is_private(f"http://{host}/v1")
    assert not is_readable_on_the_way(f"http://{host}/v1")


@pytest.mark.parametrize("host", [*NEAR_ONLY, *FAR])
def test_a_name_may_lead_anywhere_so_a_key_goes_there_by_tls_only(host: str) -> None:
    assert is_readable_on_the_way(f"http://{host}/v1")
    assert not is_readable_on_the_way(f"HTTPS://{host}/v1")


HOSTS = (
    "127.0.0.1",
    "localhost",
    "gpubox",
    "evil.example",
    "[::1]",
    "::ffff:",
    "0x7f",
    ".local",
    "user",
    "８",
)
MARKS = ("@", ":", ":80", "/", "//", "\\", "#", "?", "%2e", ".", "[", "]", " ", "\t", "http:")
PIECES = st.sampled_from(HOSTS + MARKS)


@given(st.sampled_from(["http://", "https://", "HTTP://"]), st.lists(PIECES, max_size=8).map("".join))
def test_the_http_client_goes_to_the_host_that_was_judged(scheme: str, rest: str) -> None:
    """An address that two readers take for two hosts would be judged by one and called by the other."""
    url = scheme + rest
    origin = origin_of(url)
    if origin is None:
        assert not is_near(url)
        assert not is_private(url)
        return
    try:
        called = httpx2.URL(url)
    except httpx2.InvalidURL:
        return
    host = f"[{called.host}]" if ":" in called.host else called.host
    port = "" if called.port is None else f":{called.port}"
    assert origin_of(f"{called.scheme}://{host}{port}") == origin


@pytest.mark.parametrize("host", ["100.101.102.103:8000", "gpubox:8000", "gpu.local:8000", "box.x.ts.net"])
async def test_no_client_asks_the_proxy_for_a_near_host(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://proxy.example:3128")
        monkeypatch.setenv(name.lower(), "http://proxy.example:3128")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    for url, proxied in ((f"http://{host}/v1", False), ("http://gpu.example/v1", True)):
        for client in (
            open_client(url, "key-of-the-server", 1.0),
            open_http_client(url, timeout_s=1.0, keepalive_s=1.0),
            open_http_client(url, timeout_s=1.0, keepalive_s=1.0, bills=False),
        ):
            async with client:
                assert bool(client._mounts) is proxied
                assert not client.follow_redirects


async def test_a_far_host_in_no_proxy_is_called_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "gpu.example")
    async with open_client("http://gpu.example/v1", None, 1.0) as client:
        assert client._transport_for_url(httpx2.URL("http://gpu.example/v1")) is client._transport
        assert client._transport_for_url(httpx2.URL("http://other.example")) is not client._transport


@pytest.mark.parametrize(
    "url", ["HTTPS://127.0.0.1:1/v1", "https://127.0.0.1:1/v1", "Https://gpu.example/v1"]
)
def test_a_scheme_in_capitals_is_checked_like_any_other(url: str) -> None:
    client = open_client(url, "key-of-the-server", 1.0)
    assert client._transport._pool._ssl_context.verify_mode is ssl.CERT_REQUIRED  # type: ignore[attr-defined]
