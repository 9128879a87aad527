"""Models on this machine's disk: GGUF files in the folders where programs keep them, and whole repositories
in the Hugging Face cache. Everything is only read, and looking is bounded.

A file that is still being written, or that broke off, is never listed: those have names of their own
(``.incomplete``, ``.part``), and a file whose index promises more than is there is left out.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from core.base.files import read_regular_file
from core.local.embedded import model_name, packaged_model_path
from core.local.gguf_file import model_file_problem
from core.local.models import ModelOnDisk, ModelPlace

MOST_ENTRIES = 20_000
"""Names looked at in one place; a folder of photographs by mistake must not hold anybody up."""
MOST_DEPTH = 6
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"mmproj|(?:^|[-_.])(?:vocab|imatrix|lora|adapter|tokenizer)(?:[-_.]|$)", re.IGNORECASE
)
_MOST_SETTINGS_BYTES = 1 << 20
_SNAPSHOT_WEIGHTS = ".safetensors"
COMPUTE_BYTES = 500_000_000


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """Where one program keeps its models."""

    place: ModelPlace
    path: Path


def hub_cache() -> Path:
    """Return the cache that all programs of the Hugging Face hub share, as they find it themselves."""
    for variable, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if value := os.environ.get(variable, "").strip():
            return Path(os.path.expandvars(value)).expanduser() / below
    cache = os.environ.get("XDG_CACHE_HOME", "").strip() or "~/.cache"
    return Path(os.path.expandvars(cache)).expanduser() / "huggingface" / "hub"


def model_folders(home: Path) -> tuple[ModelFolder, ...]:
    """Return the folders that are looked through, whether they are there or not. ``home`` is Signalbox's."""
    user = Path.home()
    found = [ModelFolder("signalbox", home / "models")]
    found += [ModelFolder("lm_studio", path) for path in _lm_studio(user)]
    found += [
        ModelFolder("jan", path / below) for path in _jan(user) for below in ("llamacpp/models", "models")
    ]
    found.append(ModelFolder("llama_cpp", _llama_cpp(user)))
    return tuple(found)


def _lm_studio(user: Path) -> list[Path]:
    homes = [user / ".lmstudio", user / ".cache" / "lm-studio"]
    if named := os.environ.get("LMSTUDIO_HOME", "").strip():
        homes.insert(0, Path(named).expanduser())
    elif pointed := _text(user / ".lmstudio-home-pointer"):
        homes.insert(0, Path(pointed))
    folders: list[Path] = []
    for place in homes:
        chosen = _settings(place / "settings.json").get("downloadsFolder")
        folders += [Path(chosen)] if isinstance(chosen, str) and os.path.isabs(chosen) else []
        folders.append(place / "models")
    return folders


def _jan(user: Path) -> list[Path]:
    if sys.platform == "darwin":
        bases = [user / "Library" / "Application Support"]
    elif sys.platform == "win32":
        bases = [Path(os.environ.get("APPDATA") or user / "AppData" / "Roaming")]
    else:
        bases = [
            Path(os.environ.get("XDG_CONFIG_HOME") or user / ".config"),
            Path(os.environ.get("XDG_DATA_HOME") or user / ".local" / "share"),
        ]
    folders: list[Path] = []
    if named := os.environ.get("JAN_DATA_FOLDER", "").strip():
        folders.append(Path(named).expanduser())
    for base in bases:
        chosen = _settings(base / "Jan" / "settings.json").get("data_folder")
        folders += [Path(chosen)] if isinstance(chosen, str) and os.path.isabs(chosen) else []
        folders.append(base / "Jan" / "data")
    return folders


def _llama_cpp(user: Path) -> Path:
    if named := os.environ.get("LLAMA_CACHE", "").strip():
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return user / "Library" / "Caches" / "llama.cpp"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or user / "AppData" / "Local") / "llama.cpp"
    return Path(os.environ.get("XDG_CACHE_HOME") or user / ".cache") / "llama.cpp"


def _settings(path: Path) -> dict[str, Any]:
    """Return another program's settings, empty where there are none or they make no sense."""
    try:
        value: Any = json.loads(_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _text(path: Path) -> str:
    try:
        return read_regular_file(path, _MOST_SETTINGS_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def find_models(home: Path) -> tuple[ModelOnDisk, ...]:
    """Look through all the places and return what can be used, each file once, by its name.

    It reads the index of each file, so it belongs on a thread.
    """
    found: dict[Path, ModelOnDisk] = {}
    packaged = packaged_model_path()
    if packaged is not None:
        for model in _models_of("packaged", [packaged], deletable=False):
            found[_real(model.path)] = model
    places: list[tuple[ModelPlace, Iterator[Path], bool]] = [
        ("huggingface", _hub_files(hub_cache(), ".gguf"), True),
        *(
            (folder.place, _files_below(folder.path), folder.place == "signalbox")
            for folder in model_folders(home)
        ),
    ]
    for place, files, deletable in places:
        for model in _models_of(place, files, deletable=deletable):
            found.setdefault(_real(model.path), model)
    for model in _repositories(hub_cache()):
        found.setdefault(model.path, model)
    return tuple(sorted(found.values(), key=lambda model: (model.name.lower(), str(model.path))))


def _models_of(
    place: ModelPlace, files: Iterator[Path] | list[Path], *, deletable: bool
) -> Iterator[ModelOnDisk]:
    for path in files:
        if path.suffix.lower() != ".gguf" or _NO_MODEL.search(path.name):
            continue
        part = _PART.search(path.name)
        if part is not None and int(part[1]) != 1:
            continue  # told with its first part
        parts = parts_of(path)
        if not parts or any(model_file_problem(each) is not None for each in (parts if part else [path])):
            continue
        try:
            size_bytes = sum(each.stat().st_size for each in parts)
        except OSError:
            continue
        yield ModelOnDisk(
            id=f"{place}:{path}",
            name=shown_name(path),
            path=path,
            size_bytes=size_bytes,
            format="gguf",
            place=place,
            deletable=deletable,
            needs_bytes=needs_bytes(size_bytes),
        )


def needs_bytes(size_bytes: int) -> int:
    """Return about what a file of that size needs at 8,192 tokens: its weights, its cache, and computing."""
    return int(size_bytes * 1.3) + COMPUTE_BYTES


def shown_name(path: Path) -> str:
    """Return the name people know a model by; Jan calls each file ``model.gguf`` in a folder of its name."""
    if path.stem.lower() in ("model", "ggml-model"):
        return path.parent.name
    return model_name(path.with_name(_PART.sub(".gguf", path.name)))


def parts_of(path: Path) -> list[Path]:
    """Return all files of the model at ``path``, which may be in several; empty where one is missing."""
    part = _PART.search(path.name)
    if part is None:
        return [path]
    stem = path.name[: part.start()]
    parts = [path.with_name(f"{stem}-{number:05}-of-{part[2]}.gguf") for number in range(1, int(part[2]) + 1)]
    return parts if all(each.is_file() for each in parts) else []


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path


def _files_below(root: Path) -> Iterator[Path]:
    """Yield the files of a folder, as deep and as many as is sensible; each folder once, links too."""
    seen: set[tuple[int, int]] = set()
    left = MOST_ENTRIES
    waiting = [(root, 0)]
    while waiting and left > 0:
        folder, depth = waiting.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                names = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in names:
            left -= 1
            if left <= 0:
                break
            try:
                if entry.is_dir():
                    if depth < MOST_DEPTH and not entry.name.startswith("."):
                        waiting.append((folder / entry.name, depth + 1))
                elif entry.is_file():
                    yield folder / entry.name
            except OSError:
                continue


def _snapshots(cache: Path) -> Iterator[tuple[str, Path]]:
    """Yield the newest snapshot of each repository in the hub's cache, with the repository's name."""
    try:
        with os.scandir(cache) as entries:
            names = sorted(entry.name for entry in entries if entry.name.startswith("models--"))
    except OSError:
        return
    for name in names[:MOST_ENTRIES]:
        try:
            snapshots = [each for each in (cache / name / "snapshots").iterdir() if each.is_dir()]
            newest = max(snapshots, key=lambda each: each.stat().st_mtime, default=None)
        except OSError:
            continue
        if newest is not None:
            yield "/".join(name.split("--")[1:]), newest


def _hub_files(cache: Path, suffix: str) -> Iterator[Path]:
    for _, snapshot in _snapshots(cache):
        for path in _files_below(snapshot):
            if path.suffix.lower() == suffix:
                yield path


def _repositories(cache: Path, only: str | None = None) -> Iterator[ModelOnDisk]:
    """Yield the repositories whose weights are wholly there, as vLLM loads them."""
    for repo, snapshot in _snapshots(cache):
        if only not in (None, repo) or not (snapshot / "config.json").is_file():
            continue
        wanted = _weights(snapshot)
        if not wanted or not all(path.is_file() for path in wanted):
            continue
        size_bytes = sum(path.stat().st_size for path in wanted)
        yield ModelOnDisk(
            id=f"huggingface:{snapshot}",
            name=repo,
            path=snapshot,
            size_bytes=size_bytes,
            format="safetensors",
            place="huggingface",
            deletable=True,
            needs_bytes=None,
        )


def snapshot_of(repo: str) -> Path | None:
    """Return the folder of ``repo`` in the hub's cache where its weights are wholly there, as vLLM loads them."""
    return next((model.path for model in _repositories(hub_cache(), repo) if model.name == repo), None)


def _weights(snapshot: Path) -> list[Path]:
    """Return the files of weights a snapshot should have: those its index names, or those that are there."""
    index = _settings(snapshot / "model.safetensors.index.json").get("weight_map")
    if isinstance(index, dict):
        names = {str(name) for name in cast("dict[str, object]", index).values()}
        return [snapshot / name for name in sorted(names) if "/" not in name and "\\" not in name]
    return sorted(path for path in snapshot.glob(f"*{_SNAPSHOT_WEIGHTS}"))
