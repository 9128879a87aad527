"""Models on this machine and models that could be: what is on disk, running elsewhere, or to be downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

ModelPlace = Literal["signalbox", "huggingface", "lm_studio", "jan", "llama_cpp", "packaged"]
ModelFormat = Literal["gguf", "safetensors"]
Fits = Literal["fits", "tight", "too_big", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundServer:
    """A server that answers on this machine. ``name`` is its program's (``Ollama``).

    ``models`` are those that can chat, ``left_out`` counts the others.
    """

    name: str
    base_url: str
    models: tuple[str, ...]
    left_out: int = 0
    wants_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOnDisk:
    """A model that is wholly there. ``path`` is a GGUF file, or the folder of a repository's snapshot.

    ``in_use``: it is loaded and answers. ``is_loading``: it is on its way there. ``deletable``: Signalbox or the
    shared cache owns it; another program's models are only listed. ``last_used_at`` is by Signalbox (UTC), ``None``
    where never.
    """

    id: str
    name: str
    path: Path
    size_bytes: int
    format: ModelFormat
    place: ModelPlace
    last_used_at: datetime | None = None
    in_use: bool = False
    is_loading: bool = False
    deletable: bool = False
    fits: Fits = "unknown"
    needs_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CuratedModel:
    """A line of ``resources/models.toml``. Bytes; ``needs_bytes`` is RAM or VRAM at 8,192 tokens of context."""

    id: str
    name: str
    repo: str
    file: str
    size_bytes: int
    needs_bytes: int
    licence: str
    good_for: str
    parameters: int
    fits: Fits = "unknown"
    on_disk: bool = False
    best: bool = False


DownloadPhase = Literal["checking", "running", "paused", "verifying", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """``id`` names it in ``pause``, ``resume`` and ``cancel``.

    ``error`` and ``hint`` are sentences, empty where all is well. ``wants_token``: a Hugging Face token, or another
    one, would help. ``path`` is set once it is done.
    """

    id: str
    title: str
    repo: str
    file: str | None
    phase: DownloadPhase
    done_bytes: int = 0
    total_bytes: int | None = None
    bytes_per_s: float | None = None
    left_s: float | None = None
    error: str = ""
    hint: str = ""
    wants_token: bool = False
    path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShelf:
    """Everything the models list shows, at one moment. ``free_bytes`` of the disk that downloads go to.

    ``embedded_has_gpu``: whether the embedded server computes on a GPU, ``None`` before it ran once. Only then does
    ``vram_bytes`` count for what fits.
    """

    on_disk: tuple[ModelOnDisk, ...] = ()
    servers: tuple[FoundServer, ...] = ()
    curated: tuple[CuratedModel, ...] = ()
    downloads: tuple[Download, ...] = ()
    looked_at: datetime | None = None
    free_bytes: int | None = None
    memory_bytes: int | None = None
    vram_bytes: int | None = None
    embedded_has_gpu: bool | None = None
