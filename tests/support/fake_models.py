"""A shelf of models that a test writes, whose verbs do what the real one's do, at once; ``calls`` records them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from core.errors import SignalboxError
from core.local.models import CuratedModel, Download, FoundServer, ModelOnDisk, ModelShelf
from tests.support.fake_watch import NOW, FakeShelf

MB, GB = 1000**2, 1000**3
OLLAMA = FoundServer(
    name="Ollama",
    base_url="http://127.0.0.1:11434/v1",
    models=("llama3.2", "qwen2.5", "phi4", "gemma3", "mistral"),
    left_out=2,
)
SMALL = ModelOnDisk(
    id="packaged",
    name="SmolLM2-135M-Instruct",
    path=Path("/models/smollm2.gguf"),
    size_bytes=105 * MB,
    format="gguf",
    place="packaged",
    in_use=True,
    fits="fits",
    needs_bytes=400 * MB,
)
MINE = ModelOnDisk(
    id="qwen-1.5b",
    name="Qwen2.5 1.5B",
    path=Path("/models/qwen2.5-1.5b.gguf"),
    size_bytes=1_100 * MB,
    format="gguf",
    place="signalbox",
    last_used_at=NOW,
    deletable=True,
    fits="fits",
    needs_bytes=1_900 * MB,
)
THEIRS = ModelOnDisk(
    id="mistral-7b",
    name="Mistral 7B Instruct",
    path=Path("/lm/mistral.gguf"),
    size_bytes=4_400 * MB,
    format="gguf",
    place="lm_studio",
    fits="too_big",
    needs_bytes=16 << 30,
)
BEST = CuratedModel(
    id="qwen2.5-3b",
    name="Qwen2.5 3B",
    repo="Qwen/Qwen2.5-3B-Instruct-GGUF",
    file="qwen2.5-3b-instruct-q4_k_m.gguf",
    size_bytes=2_100 * MB,
    needs_bytes=3_100 * MB,
    licence="Qwen research licence",
    good_for="Answers sensibly, writes code and JSON.",
    parameters=3_000_000_000,
    fits="fits",
    best=True,
)
HUGE = CuratedModel(
    id="llama-8b",
    name="Llama 3.1 8B",
    repo="unsloth/Llama-3.1-8B-Instruct-GGUF",
    file="llama-3.1-8b-q4_k_m.gguf",
    size_bytes=4_900 * MB,
    needs_bytes=16_800 * MB,
    licence="Llama 3.1 licence",
    good_for="The best prose of the list.",
    parameters=8_000_000_000,
    fits="too_big",
)


def a_shelf(**changes: object) -> ModelShelf:
    """A machine with 15 GB of memory, Ollama, three models and two to get."""
    shelf = ModelShelf(
        on_disk=(SMALL, MINE, THEIRS),
        servers=(OLLAMA,),
        curated=(HUGE, BEST),
        looked_at=NOW,
        free_bytes=212 * GB,
        memory_bytes=15 << 30,
    )
    return replace(shelf, **changes)  # type: ignore[arg-type]


def a_download(phase: str = "running", **changes: object) -> Download:
    """The best model on its way down, 62 % of it here."""
    download = Download(
        id="d1",
        title=BEST.name,
        repo=BEST.repo,
        file=BEST.file,
        phase=phase,  # type: ignore[arg-type]
        done_bytes=1_302 * MB,
        total_bytes=2_100 * MB,
        bytes_per_s=14_000_000.0,
        left_s=57.0,
    )
    return replace(download, **changes)  # type: ignore[arg-type]


class ScriptedShelf(FakeShelf):
    """``found`` is what a look finds; ``error`` is raised by the next verb."""

    def __init__(self, found: ModelShelf | None = None) -> None:
        super().__init__()
        self.found = a_shelf() if found is None else found
        self.calls: list[tuple[object, ...]] = []
        self.error: SignalboxError | None = None
        self.on_load: Callable[[str], None] = lambda name: None
        self._deleted: dict[str, ModelOnDisk] = {}

    def _called(self, *call: object) -> None:
        self.calls.append(call)
        error, self.error = self.error, None
        if error is not None:
            raise error

    async def look(self) -> ModelShelf:
        self._called("look")
        self.put(replace(self.found, downloads=self.now.downloads))
        return self.now

    async def download(self, what: str, *, for_vllm: bool = False) -> str:
        self._called("download", what, for_vllm)
        self.progress(a_download("running", done_bytes=0))
        return "d1"

    async def pause(self, download_id: str) -> None:
        self._called("pause", download_id)
        self.progress(a_download("paused"))

    async def resume(self, download_id: str) -> None:
        self._called("resume", download_id)
        self.progress(a_download("running"))

    async def cancel(self, download_id: str) -> None:
        self._called("cancel", download_id)
        self.put(replace(self.now, downloads=()))

    async def use(self, model_id: str) -> None:
        self._called("use", model_id)
        self.put(
            replace(
                self.now, on_disk=tuple(replace(one, in_use=one.id == model_id) for one in self.now.on_disk)
            )
        )

    async def load(self, model_id: str | None = None) -> None:
        self._called("load", model_id)
        if model_id == "d1":  # the id of a download that is done
            model_id = BEST.id
        self.put(
            replace(
                self.now, on_disk=tuple(replace(one, in_use=one.id == model_id) for one in self.now.on_disk)
            )
        )
        self.on_load(next(one.name for one in self.now.on_disk if one.id == model_id))

    async def use_when_done(self, download_id: str) -> None:
        self._called("use_when_done", download_id)

    async def use_server(self, base_url: str, model: str | None = None) -> None:
        self._called("use_server", base_url, model)

    async def unload(self) -> None:
        self._called("unload")
        self.put(replace(self.now, on_disk=tuple(replace(one, in_use=False) for one in self.now.on_disk)))

    async def delete(self, model_id: str) -> None:
        self._called("delete", model_id)
        self._deleted.update({one.id: one for one in self.now.on_disk if one.id == model_id})
        self.put(replace(self.now, on_disk=tuple(one for one in self.now.on_disk if one.id != model_id)))

    async def undelete(self, model_id: str) -> None:
        self._called("undelete", model_id)
        self.put(replace(self.now, on_disk=(*self.now.on_disk, self._deleted.pop(model_id))))

    # What a test does

    def progress(self, *downloads: Download) -> None:
        """These are the downloads now."""
        self.put(replace(self.now, downloads=downloads))

    def finish(self) -> None:
        """The download is done, and its model on disk."""
        here = ModelOnDisk(
            id=BEST.id,
            name=BEST.name,
            path=Path("/models") / BEST.file,
            size_bytes=BEST.size_bytes,
            format="gguf",
            place="signalbox",
            deletable=True,
            fits="fits",
            needs_bytes=BEST.needs_bytes,
        )
        curated = tuple(replace(one, on_disk=one.on_disk or one.id == BEST.id) for one in self.now.curated)
        self.put(
            replace(
                self.now,
                on_disk=(*self.now.on_disk, here),
                curated=curated,
                downloads=(a_download("done", path=here.path, done_bytes=BEST.size_bytes),),
            )
        )
