"""Downloads with the real client against a server that speaks the hub's wire."""

from __future__ import annotations

import asyncio
import hashlib
import random
import resource
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from core.errors import (
    AuthenticationFailed,
    InvalidRequest,
    ModelNotFound,
    PermissionDenied,
    RateLimited,
    SignalboxError,
    Unavailable,
)
from core.local.downloads import Downloads
from core.local.hub_errors import explain
from core.local.models import Download
from tests.support.hub_server import HubServer, running_hub

CONTENT = random.Random(1).randbytes(1_500_000)
REPO = "acme/tiny-GGUF"
FILE = "tiny-Q4_K_M.gguf"


class Desk:
    """Downloads, and a way to wait for what they come to."""

    def __init__(self, home: Path, token: str | None = None) -> None:
        self._changed = asyncio.Event()
        self.seen: list[Download] = []
        self._token = token
        self.downloads = Downloads(home, token=self._give, on_change=self._note)

    async def _give(self) -> str | None:
        return self._token

    def _note(self) -> None:
        self._changed.set()
        if hasattr(self, "downloads"):
            self.seen += self.downloads.all()

    def now(self, download_id: str) -> Download:
        return next(each for each in self.downloads.all() if each.id == download_id)

    async def until(self, download_id: str, *phases: str) -> Download:
        while self.now(download_id).phase not in phases:
            self._changed.clear()
            await self._changed.wait()
        return self.now(download_id)

    async def until_loaded(self, download_id: str, count: int) -> None:
        while self.now(download_id).done_bytes < count:
            self._changed.clear()
            await self._changed.wait()


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[HubServer]:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    async with running_hub(HubServer({REPO: {FILE: CONTENT, "README.md": b"# tiny"}})) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
async def desk(tmp_path: Path, hub: HubServer) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "home", token="hf_secret")
    yield desk
    await desk.downloads.close()


def cache_files(tmp_path: Path) -> list[str]:
    """Return what is in the cache, without the client's locks, which stay."""
    found = [str(path.relative_to(tmp_path)) for path in (tmp_path / "hf").rglob("*") if path.is_file()]
    return sorted(name for name in found if ".locks" not in name)


def loading_processes() -> list[psutil.Process]:
    """Return the children that hold a connection to the hub."""
    return [
        each
        for each in psutil.Process().children()
        if any("core.local.download_child" in word for word in each.cmdline())
    ]


async def test_a_file_is_loaded_compared_and_linked_into_the_shared_cache(
    desk: Desk, hub: HubServer, tmp_path: Path
) -> None:
    done = await desk.until(await desk.downloads.begin(REPO), "done", "failed")
    assert (done.phase, done.error) == ("done", "")
    assert done.path is not None
    assert done.path.read_bytes() == CONTENT
    assert done.path.resolve().name == hashlib.sha256(CONTENT).hexdigest()
    assert "snapshots" in done.path.parts
    assert not [name for name in cache_files(tmp_path) if "incomplete" in name]
    assert done.done_bytes == done.total_bytes == len(CONTENT)
    assert "verifying" in {each.phase for each in desk.seen}
    assert set(hub.tokens) == {"Bearer hf_secret"}
    assert set(hub.tokens_at_cdn) == {""}, "the token goes to the hub alone"


async def test_where_others_could_read_it_no_token_leaves(
    desk: Desk, hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_of_the_client")  # as its own login writes it
    monkeypatch.setattr("core.local.downloads.is_readable_on_the_way", lambda address: True)
    done = await desk.until(await desk.downloads.begin(REPO), "done", "failed")
    assert done.phase == "done"
    assert {*hub.tokens, *hub.tokens_at_cdn} == {""}


async def test_paused_it_is_quiet_and_goes_on_where_it_was_in_another_process_too(
    desk: Desk, hub: HubServer, tmp_path: Path
) -> None:
    hub.pause = asyncio.Event()
    download = await desk.downloads.begin(f"{REPO}:{FILE}")
    await desk.until_loaded(download, 1 << 20)
    assert loading_processes()
    assert desk.now(download).left_s is None or desk.now(download).left_s > 0
    await desk.downloads.pause(download)
    paused = desk.now(download)
    assert paused.phase == "paused"
    assert not list((tmp_path / "hf").rglob("snapshots/*/*"))
    assert not loading_processes(), "the network is quiet when it returns"
    hub.pause.set()
    hub.pause = None

    again = Desk(tmp_path / "home", token="hf_secret")
    assert again.now(download).phase == "paused"
    await again.downloads.resume(download)
    done = await again.until(download, "done", "failed")
    assert (done.phase, done.error) == ("done", "")
    assert done.path is not None
    assert done.path.read_bytes() == CONTENT
    start = int(hub.ranges[-1].removeprefix("bytes=").rstrip("-"))
    assert start >= 1 << 20
    await again.downloads.close()


async def test_after_a_kill_it_says_how_much_is_there(desk: Desk, hub: HubServer, tmp_path: Path) -> None:
    hub.pause = asyncio.Event()
    download = await desk.downloads.begin(f"{REPO}:{FILE}")
    record = (tmp_path / "home" / "downloads.json").read_bytes()  # as it is from the beginning until a pause
    await desk.until_loaded(download, 1 << 20)
    await desk.downloads.pause(download)
    (tmp_path / "home" / "downloads.json").write_bytes(record)
    again = Desk(tmp_path / "home", token="hf_secret")
    assert again.now(download).done_bytes >= 1 << 20


async def test_the_same_file_by_another_name_is_one_download(desk: Desk, hub: HubServer) -> None:
    hub.pause = asyncio.Event()
    first = await desk.downloads.begin(REPO)
    assert await desk.downloads.begin(f"{REPO}:Q4_K_M") == first
    assert await desk.downloads.begin(f"{hub.url}/{REPO}/resolve/main/{FILE}") == first
    assert len(desk.downloads.all()) == 1


async def test_a_connection_that_is_cut_is_gone_on_with(desk: Desk, hub: HubServer) -> None:
    hub.cut_after, hub.cut_bytes = 1, 1 << 20
    done = await desk.until(await desk.downloads.begin(REPO), "done", "failed")
    assert done.phase == "done"
    assert done.path is not None
    assert done.path.read_bytes() == CONTENT
    assert any(asked.startswith("bytes=") for asked in hub.ranges)


async def test_a_wrong_hash_is_refused_and_removed(desk: Desk, hub: HubServer, tmp_path: Path) -> None:
    hub.damaged = True
    failed = await desk.until(await desk.downloads.begin(REPO), "done", "failed")
    assert failed.phase == "failed"
    assert "wrong hash" in failed.error
    assert failed.hint
    assert not cache_files(tmp_path)
    hub.damaged = False
    await desk.downloads.resume(failed.id)
    assert (await desk.until(failed.id, "done", "failed")).phase == "done"


async def test_what_has_no_hash_is_not_loaded(desk: Desk, hub: HubServer, tmp_path: Path) -> None:
    hub.no_hashes = True
    failed = await desk.until(await desk.downloads.begin(REPO), "done", "failed")
    assert f"names no hash of {FILE}" in failed.error
    assert not cache_files(tmp_path)


@pytest.mark.parametrize(
    "name", ["../../evil.gguf", "a//evil.gguf", "a\\..\\evil.gguf", "C:evil.gguf", "a\x1b.gguf"]
)
async def test_a_name_that_leads_elsewhere_is_not_loaded(
    desk: Desk, hub: HubServer, tmp_path: Path, name: str
) -> None:
    hub.repos["acme/evil"] = {name: CONTENT}
    failed = await desk.until(await desk.downloads.begin("acme/evil"), "done", "failed")
    assert "in a way that is not safe" in failed.error
    assert not list(tmp_path.rglob("*evil*.gguf"))
    assert not cache_files(tmp_path)


async def test_two_programs_do_not_write_one_file(desk: Desk, hub: HubServer, tmp_path: Path) -> None:
    hub.pause = asyncio.Event()
    first = await desk.downloads.begin(REPO)
    await hub.started.wait()
    other = Desk(tmp_path / "another home")
    failed = await other.until(await other.downloads.begin(REPO), "failed", "done")
    assert "Another program" in failed.error
    await other.downloads.cancel(failed.id)
    await other.downloads.close()
    hub.pause.set()
    assert (await desk.until(first, "done", "failed")).phase == "done", (
        "the one that is first is not disturbed"
    )


async def test_cancelled_nothing_is_left(desk: Desk, hub: HubServer, tmp_path: Path) -> None:
    hub.pause = asyncio.Event()
    download = await desk.downloads.begin(REPO)
    await hub.started.wait()
    await desk.downloads.cancel(download)
    assert not desk.downloads.all()
    assert not cache_files(tmp_path)
    assert not Desk(tmp_path / "home").downloads.all()


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ({"refuse": 401, "error_code": "RepoNotFound"}, AuthenticationFailed, "token"),
        ({"refuse": 403, "error_code": "GatedRepo"}, PermissionDenied, "Accept it at"),
        ({"refuse": 403}, PermissionDenied, "licence"),
        ({"refuse": 404, "error_code": "RepoNotFound"}, ModelNotFound, "spelling"),
        ({"refuse": 429}, RateLimited, "Wait a few minutes"),
        ({"refuse": 502}, Unavailable, "fault of its own"),
        ({"html": True}, SignalboxError, "HF_ENDPOINT"),
    ],
)
async def test_what_the_hub_refuses_is_said_in_words_and_leaves_nothing(
    desk: Desk, hub: HubServer, tmp_path: Path, fault: dict, kind: type[SignalboxError], words: str
) -> None:
    for name, value in fault.items():
        setattr(hub, name, value)
    with pytest.raises(kind) as caught:
        await desk.downloads.begin(REPO)
    assert words in f"{caught.value.message} {caught.value.hint}"
    assert "resume" not in caught.value.hint
    assert not desk.downloads.all()
    assert not cache_files(tmp_path)


async def test_a_gated_model_without_a_token_asks_for_one_also_where_it_became_so_meanwhile(
    hub: HubServer, tmp_path: Path
) -> None:
    desk = Desk(tmp_path / "home")
    hub.pause = asyncio.Event()
    download = await desk.downloads.begin(REPO)
    await hub.started.wait()
    await desk.downloads.pause(download)
    hub.refuse, hub.error_code = 403, "GatedRepo"
    await desk.downloads.resume(download)
    failed = desk.now(download)
    assert (failed.phase, failed.wants_token) == ("failed", True)
    assert "signalbox keys set huggingface" in failed.hint
    hub.refuse, hub.cdn_refuse = None, 403
    await desk.downloads.resume(download)
    failed = await desk.until(download, "failed", "done")
    assert (failed.phase, failed.wants_token) == ("failed", True), "the file's own place refuses it"
    await desk.downloads.close()


async def test_without_a_hub_it_says_so(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(Unavailable, match="can’t be reached") as caught:
        await desk.downloads.begin(REPO)
    assert caught.value.hint.endswith("Nothing was downloaded."), "and there is nothing to be resumed"


async def test_a_disk_that_is_full_is_told_and_what_was_loaded_is_kept(
    desk: Desk, hub: HubServer, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))  # the child inherits it
    try:
        failed = await desk.until(await desk.downloads.begin(REPO), "done", "failed")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert failed.error == "The disk is full."
    assert "resume" in failed.hint
    await desk.downloads.resume(failed.id)
    done = await desk.until(failed.id, "done", "failed")
    assert (done.phase, done.error) == ("done", "")
    assert done.path is not None
    assert done.path.read_bytes() == CONTENT


async def test_what_does_not_fit_is_not_begun(
    desk: Desk, hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("core.local.downloads.free_bytes", lambda folder: 1_000_000)
    with pytest.raises(InvalidRequest, match="free"):
        await desk.downloads.begin(REPO)
    assert not hub.ranges
    small = Downloads(tmp_path / "small", token=desk._give, on_change=lambda: None, memory_bytes=1_000_000)
    with pytest.raises(InvalidRequest, match="memory"):
        await small.begin(REPO)


async def test_for_vllm_the_whole_repository_comes_with_its_weights(desk: Desk, hub: HubServer) -> None:
    hub.repos["acme/whole"] = {
        "config.json": b"{}",
        "model.safetensors": CONTENT,
        "pytorch_model.bin": b"x" * 1000,
        "original/consolidated.safetensors": b"x",
    }
    done = await desk.until(await desk.downloads.begin("acme/whole", for_vllm=True), "done", "failed")
    assert (done.phase, done.error) == ("done", "")
    assert done.path is not None
    assert {path.name for path in done.path.iterdir()} == {"config.json", "model.safetensors"}
    assert (done.path.parents[1] / "refs" / "main").read_text() == done.path.name


def test_without_the_hubs_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    trouble = explain(ImportError("no module"), "https://hub.example", "a/b", has_token=False)
    assert "huggingface_hub" in trouble.what
    assert "pip install" in trouble.hint
