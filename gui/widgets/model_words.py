"""What the panel says of models: those on disk, those to get, what is loaded down, and servers that run here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from core import counted, file_size, memory_size, transfer_facts
from gui.widgets.formatting import time_left
from gui.widgets.labels import Tone

if TYPE_CHECKING:
    from core import CuratedModel, Download, FoundServer, ModelOnDisk, ModelShelf

PLACE_WORDS = {
    "signalbox": "Signalbox",
    "huggingface": "Hugging Face",
    "lm_studio": "LM Studio",
    "jan": "Jan",
    "llama_cpp": "llama.cpp",
    "packaged": "With Signalbox",
}
FITS_WORDS = {"fits": "Fits", "tight": "Tight", "too_big": "Too big"}
_NAMED_MODELS = 2

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NAME = re.compile(rf"{_PART}/{_PART}(:[A-Za-z0-9._/-]+)?")
_HUB = re.compile(
    rf"(https?://)?[A-Za-z0-9.-]+(:\d+)?/{_PART}/{_PART}(/(blob|resolve|tree)/[^\s?#]+)?/?([?#]\S*)?"
)
NAME_EXAMPLE = (
    "Qwen/Qwen2.5-3B-Instruct-GGUF, with :Q4_K_M or :FILE.gguf after it for one file, or its address"
)


def name_problem(typed: str) -> str:
    """Return why ``typed`` can't name a model of the hub, as a sentence; empty where it can."""
    typed = typed.strip()
    if re.search(r"\s", typed):
        return f"A name has no blanks. One looks like {NAME_EXAMPLE}."
    if typed.startswith(("http://", "https://", "hf.co/", "huggingface.co/")):
        if _HUB.fullmatch(typed):
            return ""
        return "That address names no repository. One looks like https://huggingface.co/Qwen/Qwen2.5-3B-Instruct."
    if _NAME.fullmatch(typed):
        return ""
    return f"A repository is OWNER/NAME. It looks like {NAME_EXAMPLE}."


def server_question(server: FoundServer) -> str:
    """Return ``Ollama is running here with 5 models. Use it?``."""
    return f"{server.name} is running here with {counted(len(server.models), 'model')}. Use it?"


def server_facts(server: FoundServer) -> str:
    """Return its first models by name and what is left out."""
    named = ", ".join(server.models[:_NAMED_MODELS])
    more = len(server.models) - _NAMED_MODELS
    parts = [f"{named} and {more:,} more" if more > 0 else named]
    if server.left_out:
        parts.append(f"{counted(server.left_out, 'model')} that can’t chat left out")
    parts.append(server.base_url)
    return " · ".join(part for part in parts if part)


def room_words(shelf: ModelShelf) -> str:
    """Return the machine's memory and the free disk, with only what is known."""
    parts: list[str] = []
    if shelf.memory_bytes is not None:
        parts.append(f"{memory_size(shelf.memory_bytes)} memory")
    if shelf.vram_bytes is not None:
        parts.append(f"{memory_size(shelf.vram_bytes)} VRAM")
    if shelf.free_bytes is not None:
        parts.append(f"{file_size(shelf.free_bytes)} disk free")
    return " · ".join(parts)


def _memory_words(needs_bytes: int, shelf: ModelShelf) -> str:
    if shelf.embedded_has_gpu and shelf.vram_bytes is not None and needs_bytes <= shelf.vram_bytes:
        return f"{memory_size(shelf.vram_bytes)} of VRAM"
    if shelf.memory_bytes is not None:
        return f"{memory_size(shelf.memory_bytes)} of memory"
    return "this machine’s memory"


def fit_sentence(model: CuratedModel, shelf: ModelShelf) -> tuple[Tone, str]:
    """Return whether a model fits this machine and by how much, with the tone it is said in."""
    needs = f"Needs {memory_size(model.needs_bytes)} at 8 k context"
    room = _memory_words(model.needs_bytes, shelf)
    if model.fits == "fits":
        return "ok", f"{needs}: fits in {room}."
    if model.fits == "tight":
        return "held", f"{needs}: tight in {room}."
    if model.fits == "too_big":
        return "held", f"{needs}: too big for {room}."
    return "quiet", f"{needs}; how much this machine has is not known."


def disk_problem(model: CuratedModel, shelf: ModelShelf) -> str:
    """Return why the disk has no room for a model; empty where it has, or where that is not known."""
    if shelf.free_bytes is None or model.size_bytes <= shelf.free_bytes:
        return ""
    return f"It takes {file_size(model.size_bytes)} of disk and {file_size(shelf.free_bytes)} is free."


def best_offer(shelf: ModelShelf) -> CuratedModel | None:
    """Return the model to offer first on this machine: the best of those that fit."""
    return next((model for model in shelf.curated if model.best and model.fits in ("fits", "tight")), None)


def offer_words(model: CuratedModel, shelf: ModelShelf) -> str:
    """Return ``Qwen2.5 3B, 2.1 GB: answers sensibly; fits in 15 GB of memory``."""
    return (
        f"{model.name}, {file_size(model.size_bytes)}: answers sensibly; "
        f"fits in {_memory_words(model.needs_bytes, shelf)}"
    )


def on_disk_of(shelf: ModelShelf, download: Download) -> ModelOnDisk | None:
    """Return the model that a download became."""
    return next((model for model in shelf.on_disk if download.path and model.path == download.path), None)


def download_words(download: Download) -> str:
    """Return how far a download is: bytes, speed and time left, with only what is known."""
    if download.phase == "checking":
        return "Checking disk and memory"
    if download.phase == "verifying":
        return "Checking what came against its hash"
    if download.phase == "cancelled":
        return "Cancelled. Nothing of it was kept."
    if download.phase == "done":
        return f"Done, {file_size(download.total_bytes or download.done_bytes)}"
    runs = download.phase == "running"
    parts = transfer_facts(download.done_bytes, download.total_bytes, download.bytes_per_s if runs else None)
    if download.phase == "paused":
        parts.append("paused")
    elif runs and download.left_s is not None:
        parts.append(time_left(download.left_s))
    return " · ".join(parts)


def download_permille(download: Download) -> int | None:
    """Return how far a download is in thousandths, ``None`` where its size is not known."""
    if download.phase == "done":
        return 1000
    if not download.total_bytes:
        return None
    return min(1000, round(1000 * download.done_bytes / download.total_bytes))


def switch_words(model: ModelOnDisk, shelf: ModelShelf) -> str:
    """Return what becomes of the model that is loaded while another one is made ready."""
    old = next((one for one in shelf.on_disk if one.in_use and one.id != model.id), None)
    if old is None:
        return f"{model.name} is loading."
    room = shelf.memory_bytes
    if model.needs_bytes is None or old.needs_bytes is None or room is None:
        return f"{model.name} is loading. {old.name} goes on until it is ready, where memory allows."
    if model.needs_bytes + old.needs_bytes <= room:
        return f"{model.name} is loading. {old.name} goes on until it is ready."
    return (
        f"{model.name} and {old.name} need {memory_size(model.needs_bytes + old.needs_bytes)} together and this "
        f"machine has {memory_size(room)}: {old.name} is unloaded first, so Local pauses until the other is ready."
    )
