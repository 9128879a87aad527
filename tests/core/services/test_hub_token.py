"""The Hugging Face token: where it is read, where it may go, and that nothing shows it."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import keyring
import pytest
from aiohttp import web

from core.cli import main
from core.errors import AuthenticationFailed, KeyHeldBack, Unavailable
from core.keys import KeyStore
from core.local.vllm_settings import VllmSettings, override_path
from core.router_core import RouterCore
from core.settings import SettingsStore
from tests.support.docker_stub import well
from tests.support.fake_core import MemoryKeyring

TOKEN = "hf_abcdefghijklmnopqrstuvw7XA"


@pytest.fixture
def memory() -> MemoryKeyring:
    backend = MemoryKeyring()
    keyring.set_keyring(backend)
    return backend


def core_of(home: Path, **environment: str) -> RouterCore:
    return RouterCore(SettingsStore(env={"SIGNALBOX_HOME": str(home), "LOCAL_SERVER": "none"} | environment))


@asynccontextmanager
async def hub(status: int, body: str) -> AsyncGenerator[tuple[str, list[str | None]]]:
    seen: list[str | None] = []

    async def whoami(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(status=status, text=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/api/whoami-v2", whoami)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()


async def test_the_environment_wins_over_the_keyring(memory: MemoryKeyring, home: Path) -> None:
    await KeyStore().set("huggingface", "hf_of_the_keyring_0123456789")
    assert await core_of(home, HF_TOKEN=TOKEN).hugging_face_token() == TOKEN
    assert await core_of(home).hugging_face_token() == "hf_of_the_keyring_0123456789"


async def test_a_stored_token_goes_to_a_mirror_only_once_that_was_allowed(
    memory: MemoryKeyring, home: Path
) -> None:
    await KeyStore().set("huggingface", TOKEN)
    core = core_of(home, HF_ENDPOINT="https://mirror.example/")
    with pytest.raises(KeyHeldBack, match=r"signalbox keys allow huggingface https://mirror\.example"):
        await core.hugging_face_token()
    await core.keys.allow("huggingface", "https://mirror.example")
    assert await core.hugging_face_token() == TOKEN


async def test_a_strangers_folder_names_neither_hub_nor_token(
    memory: MemoryKeyring, home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".env").write_text("HF_ENDPOINT=https://evil.example\nHF_TOKEN=hf_planted_0123456789\n")
    await KeyStore().set("huggingface", TOKEN)
    store = SettingsStore(env={"SIGNALBOX_HOME": str(home)}, dotenv_path=folder / ".env")
    assert store.other("HF_ENDPOINT") is None
    assert await RouterCore(store).hugging_face_token() == TOKEN


async def test_the_token_is_tested_at_the_hub(memory: MemoryKeyring, home: Path) -> None:
    async with hub(200, '{"name": "ada"}') as (address, seen), core_of(home, HF_ENDPOINT=address) as core:
        with pytest.raises(AuthenticationFailed, match="There is no Hugging Face token"):
            await core.test_key("huggingface")
        found = await core.test_key("huggingface", TOKEN)
    assert found.server == "it is ada's"
    assert seen == [f"Bearer {TOKEN}"]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, "{}", AuthenticationFailed),
        (403, "{}", AuthenticationFailed),
        (200, "<html>", Unavailable),
        (200, "[]", Unavailable),
        (200, '{"name": 7}', Unavailable),
        (503, "", Unavailable),
    ],
)
async def test_a_hub_that_does_not_say_whose_it_is_is_told(
    home: Path, status: int, body: str, error: type[Exception]
) -> None:
    async with hub(status, body) as (address, _), core_of(home, HF_ENDPOINT=address) as core:
        with pytest.raises(error):
            await core.test_key("huggingface", TOKEN)


def test_the_cli_keeps_and_shows_it_masked(
    memory: MemoryKeyring, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io
    import sys

    monkeypatch.setenv("SIGNALBOX_HOME", str(home))
    monkeypatch.setattr(sys, "stdin", io.StringIO(TOKEN + "\n"))
    assert main(["keys", "set", "huggingface"]) == 0
    assert memory.kept[("signalbox", "huggingface")] == TOKEN
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert main(["keys", "status", "huggingface"]) == 0
    said = capsys.readouterr()
    assert "It belongs to https://huggingface.co" in said.out
    assert "HF_TOKEN is set in" in said.out
    assert TOKEN not in said.out + said.err


async def test_the_container_gets_it_in_its_environment_and_nowhere_else(
    memory: MemoryKeyring,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    docker = well(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{docker.folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    await KeyStore().set("huggingface", TOKEN)
    async with core_of(home, LOCAL_SERVER="compose") as core:
        plan = await core.vllm.apply(VllmSettings(model="meta-llama/gated", max_model_len=4096))
        assert override_path(home).exists()
        assert TOKEN not in repr(plan)
        await core.start_local()  # it fails: what is asked of Docker counts here
        assert TOKEN not in repr((core.local_state, core.local_log(), await core.vllm.commands()))
    assert TOKEN in docker.tokens
    assert TOKEN not in "".join(docker.calls)
    assert TOKEN not in caplog.text
    kept = [path for path in home.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert kept == []
