"""A key of the keyring belongs to an address, and is sent to no other one that nobody named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import keyring
import pytest
from aiohttp import web

from core.errors import InvalidRequest, KeyHeldBack, SignalboxError, Unavailable
from core.keys import KeyName, KeyStore, held_back_typed
from core.router_core import RouterCore
from core.settings import SettingsStore
from tests.support.anthropic_server import AnthropicServer
from tests.support.fake_core import MemoryKeyring
from tests.support.openai_server import Metrics, OpenAIServer
from tests.support.wire_server import Refuses, WireServer

API_KEY = "sk-ant-api03-abcdefghijklmnopq7XA"
VLLM_KEY = "key-of-the-house-server"
OWN = "https://api.anthropic.com"
GATEWAY = "https://gateway.example:8443"
FAR = "http://gpu.example:8000/v1"


@pytest.fixture
def memory() -> MemoryKeyring:
    """Installed for this test; conftest puts the previous one back."""
    backend = MemoryKeyring()
    keyring.set_keyring(backend)
    return backend


@asynccontextmanager
async def core_of(home: Path, **environment: str) -> AsyncIterator[RouterCore]:
    env = {"SIGNALBOX_HOME": str(home), "LOCAL_SERVER": "none", "MAX_RETRIES": "0"} | environment
    async with RouterCore(SettingsStore(env=env)) as core:
        yield core


def secrets_in(server: WireServer) -> list[str]:
    """Every header of every request that holds one of the keys."""
    return [
        value
        for request in server.received
        for value in request.headers.values()
        if API_KEY in value or VLLM_KEY in value
    ]


# -- what is kept ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["anthropic", "vllm"])
async def test_a_key_goes_where_it_was_stored_for_and_nowhere_else(
    memory: MemoryKeyring, name: KeyName
) -> None:
    await KeyStore().set(name, API_KEY, f"{GATEWAY}/v1")
    key = await KeyStore().read(name)
    assert key is not None
    assert key.held_back_from(GATEWAY) is None
    for other in (
        "https://gateway.example",
        "http://gateway.example:8443",
        OWN,
        "http://127.0.0.1:8443",
        "??",
    ):
        held_back = key.held_back_from(other)
        assert held_back is not None
        assert GATEWAY in held_back.message
        assert API_KEY not in f"{held_back!r} {held_back.details()} {key!r}"
    assert memory.kept[("signalbox", name)] == API_KEY


async def test_a_key_for_anthropic_itself_needs_no_second_entry(memory: MemoryKeyring) -> None:
    await KeyStore().set("anthropic", API_KEY, f"{GATEWAY}/v1")
    await KeyStore().set("anthropic", API_KEY, OWN)
    assert memory.kept == {("signalbox", "anthropic"): API_KEY}


async def test_a_key_of_an_earlier_version_belongs_to_anthropic(memory: MemoryKeyring) -> None:
    memory.set_password("signalbox", "anthropic", API_KEY)
    key = await KeyStore().read("anthropic")
    assert key is not None
    assert key.held_back_from(OWN) is None
    assert key.held_back_from("https://api.anthropic.com.evil.example") is not None
    assert key.held_back_from("http://api.anthropic.com") is not None
    assert key.held_back_from("http://127.0.0.1:8080") is not None


async def test_a_vllm_key_of_an_earlier_version_asks_before_it_leaves_the_house(
    memory: MemoryKeyring,
) -> None:
    memory.set_password("signalbox", "vllm", VLLM_KEY)
    key = await KeyStore().read("vllm")
    assert key is not None
    assert key.held_back_from("http://192.168.1.40:8000/v1") is None
    for far in (FAR, "https://gpu.example/v1", "http://gpubox:8000/v1"):
        held_back = key.held_back_from(far)
        assert held_back is not None
        assert held_back.belongs_to is None
        assert "was stored without an address" in held_back.message
    await KeyStore().allow("vllm", "https://gpu.example/v1")
    allowed = await KeyStore().read("vllm")
    assert allowed is not None
    assert allowed.held_back_from("https://gpu.example/v1") is None


async def test_unencrypted_only_to_this_machine_and_private_networks_until_confirmed(
    memory: MemoryKeyring,
) -> None:
    keys = KeyStore()
    status = await keys.set("vllm", VLLM_KEY, FAR)
    assert status.stored_in == "keyring"
    assert status.held_back is not None
    assert status.held_back.unencrypted
    assert "not encrypted" in status.held_back.message
    assert "signalbox keys allow vllm http://gpu.example:8000" in status.held_back.hint
    assert held_back_typed("vllm", VLLM_KEY, FAR) is not None
    assert held_back_typed("vllm", VLLM_KEY, "http://10.0.0.7:8000/v1") is None
    assert (await keys.allow("vllm", FAR)).held_back is None
    key = await KeyStore().read("vllm")
    assert key is not None
    assert key.held_back_from(FAR) is None
    assert key.held_back_from("http://gpu.example:8001/v1") is not None


async def test_a_new_key_forgets_what_the_old_one_was_allowed(memory: MemoryKeyring) -> None:
    keys = KeyStore()
    await keys.set("vllm", VLLM_KEY, GATEWAY)
    await keys.allow("vllm", FAR)
    await keys.set("vllm", "another-key-of-the-house", GATEWAY)
    key = await keys.read("vllm")
    assert key is not None
    assert key.allowed == ()
    await keys.allow("vllm", FAR)
    memory.set_password("signalbox", "vllm", "written-by-another-program")
    key = await keys.read("vllm")
    assert key is not None
    assert (key.belongs_to, key.allowed) == (None, ())
    assert key.held_back_from(FAR) is not None


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", "null", '{"key": 1}'])
async def test_where_a_damaged_entry_says_a_key_belongs_it_goes_nowhere(
    memory: MemoryKeyring, damage: str
) -> None:
    keys = KeyStore()
    await keys.set("vllm", VLLM_KEY, GATEWAY)
    memory.kept["signalbox", "vllm address"] = damage
    key = await keys.read("vllm")
    assert key is not None
    for address in (GATEWAY, "http://127.0.0.1:8000/v1", OWN):
        assert key.held_back_from(address) is not None
    await keys.allow("vllm", GATEWAY)
    mended = await keys.read("vllm")
    assert mended is not None
    assert mended.held_back_from(GATEWAY) is None
    assert mended.held_back_from("http://127.0.0.1:8000/v1") is not None


@pytest.mark.parametrize(
    "note", [{"belongs_to": 7, "allowed": []}, {"belongs_to": GATEWAY, "allowed": GATEWAY}]
)
async def test_a_note_of_the_wrong_shape_is_damage(memory: MemoryKeyring, note: dict[str, object]) -> None:
    keys = KeyStore()
    await keys.set("vllm", VLLM_KEY, GATEWAY)
    kept = json.loads(memory.kept["signalbox", "vllm address"])
    memory.kept["signalbox", "vllm address"] = json.dumps(kept | note)
    key = await keys.read("vllm")
    assert key is not None
    assert key.held_back_from(GATEWAY) is not None


async def test_a_key_of_this_run_belongs_to_its_address_too() -> None:
    keys = KeyStore()
    status = await keys.set("anthropic", API_KEY, GATEWAY)
    assert (status.stored_in, status.belongs_to) == ("session", GATEWAY)
    assert (await keys.status("anthropic", OWN)).held_back is not None
    assert (await keys.allow("anthropic", OWN)).held_back is None
    assert (await keys.status("anthropic", OWN)).held_back is None


async def test_what_can_not_be_allowed_is_said(memory: MemoryKeyring) -> None:
    with pytest.raises(InvalidRequest, match="no stored vllm key"):
        await KeyStore().allow("vllm", FAR)
    for address in ("gpu.example", "", "http://a\\@b"):
        with pytest.raises(InvalidRequest, match="address"):
            await KeyStore().allow("vllm", address)
        with pytest.raises(InvalidRequest, match="address"):
            await KeyStore().set("vllm", VLLM_KEY, address)
    assert memory.kept == {}


async def test_deleting_a_key_deletes_where_it_belonged(memory: MemoryKeyring) -> None:
    await KeyStore().set("vllm", VLLM_KEY, GATEWAY)
    await KeyStore().delete("vllm")
    assert memory.kept == {}


# -- what is sent ---------------------------------------------------------------------------------------------


async def test_no_part_of_the_core_sends_a_key_elsewhere(memory: MemoryKeyring, home: Path) -> None:
    memory.set_password("signalbox", "anthropic", API_KEY)
    await KeyStore().set("vllm", VLLM_KEY, "http://192.168.1.40:8000/v1")
    async with AnthropicServer() as api, OpenAIServer() as local:
        local.metrics = Metrics()
        async with core_of(
            home, ANTHROPIC_BASE_URL=api.url, VLLM_BASE_URL=local.base_url, LOCAL_SERVER="external"
        ) as core:
            for prompt_to in (None, "api", "local"):
                with pytest.raises(Unavailable) as refused:
                    await core.ask("hi", force=prompt_to)
                if prompt_to != "local":
                    assert f"belongs to {OWN}, so it was not sent to {api.url}" in refused.value.message
                if prompt_to != "api":
                    assert "belongs to http://192.168.1.40:8000" in refused.value.message
                assert "signalbox keys allow" in refused.value.hint
                assert "Preferences, Providers" in refused.value.hint
            names: tuple[KeyName, ...] = ("anthropic", "vllm")
            for name in names:
                with pytest.raises(KeyHeldBack):
                    await core.test_key(name)
            with pytest.raises(KeyHeldBack):
                await core.vllm_key_for(local.base_url)
            findings = {finding.component: finding for finding in await core.doctor()}
            assert findings["Anthropic API"].state == "broken"
            assert api.url in findings["Anthropic API"].detail
            assert findings["Local server (external)"].state == "broken"
            status = await core.status()
            assert status.api.phase == "key_held_back"
            assert [problem.title for problem in status.problems if problem.kind == "key"] == [
                "The Anthropic key is held back",
                "The vLLM key is held back",
            ]
        assert api.received == []
        assert [request.path for request in (*local.received, *local.metrics_asked)] == []


async def test_what_was_allowed_is_used_at_once_and_by_the_next_process(
    memory: MemoryKeyring, home: Path
) -> None:
    memory.set_password("signalbox", "anthropic", API_KEY)
    async with AnthropicServer(api_key=API_KEY) as api:
        async with core_of(home, ANTHROPIC_BASE_URL=api.url) as core:
            with pytest.raises(SignalboxError):
                await core.ask("hi")
            status = await core.allow_key("anthropic", api.url)
            assert (status.held_back, status.allowed) == (None, (api.url,))
            assert (await core.ask("hi")).side == "api"
        async with core_of(home, ANTHROPIC_BASE_URL=api.url) as core:
            assert (await core.ask("hi")).side == "api"
            assert not [problem for problem in (await core.status()).problems if problem.kind == "key"]


async def test_a_changed_address_does_not_take_the_key_along(memory: MemoryKeyring, home: Path) -> None:
    """Also not for the moment until the keyring has been asked again."""
    async with OpenAIServer(api_key=VLLM_KEY) as house, OpenAIServer() as other:
        await KeyStore().set("vllm", VLLM_KEY, house.base_url)
        settings = SettingsStore(home, env={"MAX_RETRIES": "0"})
        settings.set("vllm_base_url", house.base_url)
        settings.set("local_server", "external")
        async with RouterCore(settings) as core:
            assert (await core.ask("hi", force="local")).side == "local"
            assert secrets_in(house)
            settings.set("vllm_base_url", other.base_url)
            await asyncio.sleep(0)  # the core hears of it on its loop
            with pytest.raises(Unavailable, match=f"belongs to {house.base_url.removesuffix('/v1')}"):
                await core.ask("hi", force="local")
            settings.set("vllm_base_url", house.base_url)
            await asyncio.sleep(0)
            assert (await core.ask("hi", force="local")).side == "local"
        assert other.received == []


async def test_a_key_of_the_environment_goes_to_the_address_beside_it(home: Path) -> None:
    async with (
        AnthropicServer(api_key=API_KEY) as api,
        core_of(home, ANTHROPIC_BASE_URL=api.url, ANTHROPIC_API_KEY=API_KEY) as core,
    ):
        assert (await core.ask("hi")).side == "api"


async def test_a_key_that_is_set_in_a_core_belongs_to_its_address(memory: MemoryKeyring, home: Path) -> None:
    async with AnthropicServer(api_key=API_KEY) as api, core_of(home, ANTHROPIC_BASE_URL=api.url) as core:
        assert (await core.set_key("anthropic", API_KEY)).belongs_to == api.url
        assert (await core.ask("hi")).side == "api"
        assert (await core.key_status("anthropic")).held_back is None
    async with core_of(home) as core:
        assert core.key_held_back("anthropic") is None  # not read yet
        assert (await core.key_status("anthropic")).held_back is not None


@pytest.mark.parametrize("name", ["anthropic", "vllm"])
async def test_a_typed_key_is_not_tested_unencrypted_without_a_word(home: Path, name: KeyName) -> None:
    far = "http://gpu.example.invalid:8000/v1"
    async with core_of(home, ANTHROPIC_BASE_URL=far, VLLM_BASE_URL=far, LOCAL_SERVER="external") as core:
        with pytest.raises(KeyHeldBack) as held_back:
            await core.test_key(name, API_KEY)
        assert held_back.value.unencrypted
        assert held_back.value.address == "http://gpu.example.invalid:8000"


# -- redirects ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed_with_a_key(home: Path, status: int) -> None:
    async with OpenAIServer() as thief:
        away = Refuses(status=status, body={}, headers={"location": f"{thief.base_url}/models"})
        async with Redirects(away) as local:
            async with core_of(
                home,
                ANTHROPIC_BASE_URL=local.url,
                ANTHROPIC_API_KEY=API_KEY,
                VLLM_BASE_URL=f"{local.url}/v1",
                VLLM_API_KEY=VLLM_KEY,
                LOCAL_SERVER="external",
            ) as core:
                with pytest.raises(Unavailable, match="redirects to"):
                    await core.ask("hi", force="api")
                with pytest.raises(SignalboxError):
                    await core.ask("hi", force="local")
                names: tuple[KeyName, ...] = ("anthropic", "vllm")
                for name in names:
                    with pytest.raises(Unavailable, match="redirects to"):
                        await core.test_key(name)
                await core.doctor()
            assert secrets_in(local), "the first server was asked, with the key"
        assert thief.received == []
        assert thief.metrics_asked == []


class Redirects(WireServer):
    """Answers everything with the same redirect."""

    def __init__(self, away: Refuses) -> None:
        super().__init__()
        self._away = away

    def routes(self) -> list[web.RouteDef]:
        return [web.route("*", "/{path:.*}", self._redirect)]

    async def _redirect(self, request: web.Request) -> web.StreamResponse:
        return self._away.response()
