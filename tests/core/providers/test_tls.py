"""A server whose TLS is wrong is named as that, with the way out: on both wires, in the probes, by the doctor."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cache
from pathlib import Path

import pytest
import trustme

from core.chat import ChatRequest
from core.errors import SignalboxError, Unavailable
from core.local.external import ExternalServer
from core.providers import AnthropicProvider, VLLMProvider, complete
from core.router_core import RouterCore
from core.settings import SettingsStore

MODELS = b'{"object": "list", "has_more": false, "data": [{"id": "tiny", "object": "model"}]}'


@cache
def authority() -> trustme.CA:
    return trustme.CA()


def issued(*names: str, since: int = 2020, until: int = 2090) -> ssl.SSLContext:
    """A server's side of TLS with a certificate for ``names`` that is good from one year to another."""
    certificate = authority().issue_cert(
        *names, not_before=datetime(since, 1, 1), not_after=datetime(until, 1, 1)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def self_signed() -> ssl.SSLContext:
    """With the authority's own certificate, which it signed itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with authority().private_key_pem.tempfile() as key, authority().cert_pem.tempfile() as certificate:
        context.load_cert_chain(certificate, key)
    return context


@asynccontextmanager
async def serving(context: ssl.SSLContext | None, answer: bytes | None = None) -> AsyncIterator[str]:
    """Yield ``127.0.0.1:port`` of a server that answers everything alike."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(2**16)
        length = f"content-length: {len(MODELS)}\r\nconnection: close\r\n\r\n".encode()
        writer.write(answer or b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + length + MODELS)
        await writer.drain()
        writer.close()

    asyncio.get_running_loop().set_exception_handler(
        lambda *_: None
    )  # a client that refuses is no fault here
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def check_vllm(url: str) -> None:
    provider = VLLMProvider(f"{url}/v1", "tiny", api_key="key-of-the-server")
    try:
        await provider.check()
    finally:
        await provider.close()


async def stream_vllm(url: str) -> None:
    provider = VLLMProvider(f"{url}/v1", "tiny", api_key="key-of-the-server")
    try:
        await complete(provider, ChatRequest.from_prompt("hi"))
    finally:
        await provider.close()


async def check_anthropic(url: str) -> None:
    provider = AnthropicProvider("sk-ant-test-0123456789", url, "claude-sonnet-4-6")
    try:
        await provider.check()
    finally:
        await provider.close()


async def stream_anthropic(url: str) -> None:
    provider = AnthropicProvider("sk-ant-test-0123456789", url, "claude-sonnet-4-6")
    try:
        await complete(provider, ChatRequest.from_prompt("hi"))
    finally:
        await provider.close()


async def probe(url: str) -> None:
    server = ExternalServer(f"{url}/v1")
    await server.start()
    state = server.state
    await server.stop()
    if state.phase == "failed":
        raise Unavailable(state.detail, hint=state.hint)


Surface = Callable[[str], Coroutine[None, None, None]]
SURFACES: list[Surface] = [check_vllm, stream_vllm, check_anthropic, stream_anthropic, probe]
TRUSTED = "trusted"
TROUBLES: dict[str, tuple[Callable[[], ssl.SSLContext | None], str, str, str]] = {
    "unknown authority": (
        lambda: issued("127.0.0.1"),
        "",
        "authority that this computer doesn't",
        "SSL_CERT_FILE",
    ),
    "self-signed": (self_signed, "", "is self-signed", "SSL_CERT_FILE"),
    "other host": (lambda: issued("gpu.example"), TRUSTED, "is for another host", "the name that its"),
    "expired": (lambda: issued("127.0.0.1", until=2021), TRUSTED, "has expired", "Renew it"),
    "too early": (lambda: issued("127.0.0.1", since=2089), TRUSTED, "is not valid yet", "clock"),
    "no TLS there": (lambda: None, "", "doesn't speak TLS", "http://"),
    "no such file": (
        lambda: issued("127.0.0.1"),
        "no-such.pem",
        "SSL_CERT_FILE names can't be read",
        "unset it",
    ),
    "no certificates in the file": (
        lambda: issued("127.0.0.1"),
        "empty.pem",
        "can't be read",
        "SSL_CERT_FILE",
    ),
}


@pytest.fixture
def trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes SSL_CERT_FILE name the authority, or another file; empty: unset."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)

    def set_file(which: str) -> None:
        (tmp_path / "empty.pem").write_text("no certificate here")
        authority().cert_pem.write_to_path(str(tmp_path / TRUSTED))
        if which:
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / which))

    return set_file


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.__name__)
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_what_is_wrong_with_tls_is_said_and_what_to_do(
    trouble: str, surface: Surface, trust: Callable[[str], None]
) -> None:
    context, trusted, said, way_out = TROUBLES[trouble]
    trust(trusted)
    async with serving(context()) as place:
        with pytest.raises(Unavailable) as failed:
            await surface(f"https://{place}")
    assert said in failed.value.message
    assert way_out in failed.value.hint
    assert not failed.value.may_be_billed


@pytest.mark.parametrize(
    "surface", [check_vllm, check_anthropic, probe], ids=lambda surface: surface.__name__
)
async def test_a_certificate_in_ssl_cert_file_is_trusted(
    surface: Surface, trust: Callable[[str], None]
) -> None:
    trust(TRUSTED)
    async with serving(issued("127.0.0.1")) as place:
        await surface(f"https://{place}")


REFUSED = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/%s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
)
NGINX = b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"
GO = b"Client sent an HTTP request to an HTTPS server.\n"


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.__name__)
@pytest.mark.parametrize(("kind", "words"), [(b"html", NGINX), (b"plain", GO)], ids=["nginx", "Go"])
async def test_http_on_a_port_of_tls_is_told_by_servers_that_say_so(
    surface: Surface, kind: bytes, words: bytes
) -> None:
    async with serving(None, REFUSED % (kind, len(words), words)) as place:
        with pytest.raises(SignalboxError) as failed:
            await surface(f"http://{place}")
    assert "speaks TLS only" in failed.value.message
    assert "https://" in failed.value.hint


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.__name__)
async def test_a_port_of_tls_that_hangs_up_on_http_is_a_guess(surface: Surface) -> None:
    async with serving(issued("127.0.0.1")) as place:
        with pytest.raises(Unavailable) as failed:
            await surface(f"http://{place}")
    assert "If it speaks TLS, write https://" in failed.value.hint


async def test_the_doctor_and_a_test_of_the_key_name_the_certificate(home: Path) -> None:
    async with serving(issued("127.0.0.1")) as place:
        env = {
            "SIGNALBOX_HOME": str(home),
            "ANTHROPIC_BASE_URL": f"https://{place}",
            "ANTHROPIC_API_KEY": "sk-ant-test-0123456789",
            "VLLM_BASE_URL": f"https://{place}/v1",
        }
        async with RouterCore(SettingsStore(env=env)) as core:
            findings = {finding.component: finding for finding in await core.doctor()}
            with pytest.raises(Unavailable, match="authority that this computer doesn't know"):
                await core.test_key("vllm")
            with pytest.raises(Unavailable, match="authority that this computer doesn't know"):
                await core.ask("hi", force="local")
    for component in ("Anthropic API", "Local server"):
        assert "authority that this computer doesn't know" in findings[component].detail
        assert "SSL_CERT_FILE" in findings[component].hint
