"""The facade of the models: found, downloaded, used and deleted with undo, as the panel and the CLI do it."""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core import RouterCore
from core.errors import InvalidRequest
from core.local import model_removal
from core.local.embedded import packaged_model_path
from core.local.models import Download, FoundServer, ModelOnDisk
from tests.support.hub_server import HubServer, running_hub

REPO = "acme/SmolLM2-GGUF"
EMPTY_MODEL = struct.pack("<4sIQQ", b"GGUF", 3, 0, 0).ljust(32, b"\0")
FILE = "SmolLM2-135M-Instruct-Q4_K_M.gguf"


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user's home with nothing in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in (
        "HF_HUB_CACHE",
        "LLAMA_CACHE",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "HF_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("core.services.local_models.find_servers", _no_servers)
    return tmp_path


async def _no_servers(**_: object) -> tuple[()]:
    return ()


@pytest.fixture
async def core(places: Path) -> AsyncIterator[RouterCore]:
    async with RouterCore(home=places / "home") as core:
        yield core


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HubServer]:
    """A hub whose model has no weights: enough for all that does not load it."""
    async with running_hub(HubServer({REPO: {FILE: EMPTY_MODEL}}, piece_bytes=1 << 22)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


async def loaded(core: RouterCore, what: str) -> Download:
    """Download ``what`` and return it once it is on the shelf among the models."""
    changed = asyncio.Event()
    core.local_models.subscribe(lambda shelf: changed.set())
    download = await core.local_models.download(what)
    while True:
        shelf = core.local_models.shelf()
        found = next(each for each in shelf.downloads if each.id == download)
        assert found.phase != "failed", found.error
        if found.phase == "done" and any(model.path == found.path for model in shelf.on_disk):
            return found
        changed.clear()
        await changed.wait()


def lm_studio_model(home: Path, name: str = "Own-Q8_0.gguf") -> Path:
    packaged = packaged_model_path()
    assert packaged is not None
    folder = home / ".lmstudio" / "models" / "me" / "own"
    folder.mkdir(parents=True)
    os.link(packaged, folder / name) if _same_disk(packaged, folder) else shutil.copy(packaged, folder / name)
    return folder / name


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def on_shelf(core: RouterCore, path: Path) -> ModelOnDisk | None:
    return next((model for model in core.local_models.shelf().on_disk if model.path == path), None)


async def test_a_downloaded_model_is_used_and_answers(core: RouterCore, hub: HubServer) -> None:
    packaged = packaged_model_path()
    assert packaged is not None
    hub.repos[REPO] = {FILE: packaged.read_bytes()}
    done = await loaded(core, REPO)
    await core.local_models.use(done.id)
    assert core.settings.current.local_model_path == done.path
    assert core.settings.current.local_server == "embedded"
    result = await core.ask("Say hello.", force="local", max_tokens=4)
    assert result.model == "SmolLM2-135M-Instruct"
    assert done.path is not None
    model = on_shelf(core, done.path)
    assert model is not None
    assert model.in_use
    assert model.last_used_at is not None
    with pytest.raises(InvalidRequest, match="in use"):
        await core.local_models.delete(model.id)


async def test_what_was_wanted_is_used_once_it_is_there_unless_another_was_chosen(
    core: RouterCore, hub: HubServer
) -> None:
    hub.repos[REPO] = {FILE: b"GGUF" + bytes(5 << 20)}
    wanted: list[str] = []

    async def use(model_id: str) -> None:
        wanted.append(model_id)

    core.local_models.use = use  # which it is, not whether this file can be loaded
    done = await loaded(core, REPO)
    await core.local_models.use_when_done(done.id)
    await asyncio.sleep(0)
    assert wanted == [done.id]
    await core.local_models.cancel(done.id)
    hub.pause, hub.pause_after = asyncio.Event(), 0
    hub.repos["owner/Other-GGUF"] = {FILE: b"GGUF" + bytes(6 << 20)}
    other = await core.local_models.download("owner/Other-GGUF")
    await core.local_models.use_when_done(other)
    core.settings.set("local_server", "external")
    hub.pause.set()
    assert await loaded(core, "owner/Other-GGUF")
    assert wanted == [done.id]


async def test_a_deleted_model_comes_back_until_it_is_gone_for_good(core: RouterCore, hub: HubServer) -> None:
    done = await loaded(core, REPO)
    assert done.path is not None
    model = on_shelf(core, done.path)
    assert model is not None
    blob = done.path.resolve()
    await core.local_models.delete(model.id)
    assert not os.path.lexists(done.path)
    assert not blob.exists()
    assert on_shelf(core, done.path) is None
    await core.local_models.undelete(model.id)
    assert on_shelf(core, done.path) == model
    assert blob.exists()
    await core.local_models.delete(model.id)
    await core.local_models._purge(all_of_them=True)
    with pytest.raises(InvalidRequest, match="gone for good"):
        await core.local_models.undelete(model.id)
    assert not list(blob.parents[2].rglob(f"{model_removal._ASIDE}/*"))


async def test_a_blob_that_another_snapshot_shows_stays(core: RouterCore, hub: HubServer) -> None:
    done = await loaded(core, REPO)
    assert done.path is not None
    blob = done.path.resolve()
    other = done.path.parents[1] / ("f" * 40)
    other.mkdir()
    os.utime(other, (0, 0))
    (other / FILE).symlink_to(os.path.relpath(blob, other))
    model = on_shelf(core, done.path)
    assert model is not None
    await core.local_models.delete(model.id)
    assert not os.path.lexists(done.path)
    assert blob.exists()
    assert (other / FILE).exists()


async def test_another_programs_model_is_used_and_never_deleted(core: RouterCore, places: Path) -> None:
    path = lm_studio_model(places)
    await core.local_models.look()
    model = on_shelf(core, path)
    assert model is not None
    assert (model.place, model.deletable, model.name) == ("lm_studio", False, "Own")
    with pytest.raises(InvalidRequest, match="not Signalbox’s"):
        await core.local_models.delete(model.id)
    assert path.exists()
    await core.local_models.use(model.id)
    assert core.settings.current.local_model_path == path


async def test_where_the_environment_wins_it_says_so_and_changes_nothing(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lm_studio_model(places)
    monkeypatch.setenv("LOCAL_SERVER", "external")
    async with RouterCore(home=places / "home") as core:
        with pytest.raises(InvalidRequest, match="LOCAL_SERVER is set in the environment"):
            await core.local_models.use(str(path))
        assert core.settings.current.local_model_path is None


async def test_a_server_that_was_found_becomes_the_local_side(core: RouterCore) -> None:
    await core.local_models.use_server("http://127.0.0.1:11434/v1", "llama3.2:3b")
    settings = core.settings.current
    assert (settings.local_server, settings.vllm_base_url, settings.vllm_model) == (
        "external",
        "http://127.0.0.1:11434/v1",
        "llama3.2:3b",
    )


@pytest.mark.parametrize(("chosen", "asked"), [({}, True), ({"local_server": "embedded"}, False)])
async def test_at_a_start_servers_are_looked_for_until_one_was_chosen(
    places: Path, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], asked: bool
) -> None:
    found = FoundServer(name="Ollama", base_url="http://127.0.0.1:11434/v1", models=("llama3.2:3b",))

    async def find(**_: object) -> tuple[FoundServer, ...]:
        return (found,)

    monkeypatch.setattr("core.services.local_models.find_servers", find)
    monkeypatch.setattr("core.services.local_models.LOOK_AFTER_S", 0.0)
    async with RouterCore(home=places / "home") as core:
        for name, value in chosen.items():
            core.settings.set(name, value)
        told = asyncio.Event()
        core.local_models.subscribe(lambda shelf: told.set() if shelf.on_disk else None)
        core.local_models.start(look=True)
        await told.wait()
        assert core.local_models.shelf().servers == ((found,) if asked else ())


async def test_the_best_model_that_fits_is_marked_once(core: RouterCore) -> None:
    curated = core.local_models.shelf().curated
    assert "unknown" not in {model.fits for model in curated}
    best = [model.fits for model in curated if model.best]
    assert best == (["fits"] if "fits" in {model.fits for model in curated} else [])


async def test_deleted_room_is_given_back_where_a_download_needs_it(
    core: RouterCore, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = await loaded(core, REPO)
    assert done.path is not None
    await core.local_models.delete(str(done.path))
    await core.local_models.cancel(done.id)
    room = iter([0, 10**12])
    monkeypatch.setattr("core.local.downloads.free_bytes", lambda folder: next(room))
    await core.local_models.download(REPO)
    with pytest.raises(InvalidRequest):
        await core.local_models.undelete(f"huggingface:{done.path}")
