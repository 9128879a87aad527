"""Weights that lie in this machine's Hugging Face cache, for a container that would load them down once more."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, cast

from core.base.files import read_regular_file
from core.local.model_files import hub_cache, snapshot_of

MODEL_CACHE = "VLLM_MODEL_CACHE"
_MOST_BYTES = 1_000_000
_IS_HERE = ("unix://", "npipe://", "fd://")


def cache_with(model: str) -> Path | None:
    """Return the folder to mount at ``/root/.cache/huggingface`` so that ``model`` is there; ``None`` where its
    weights are not wholly in this machine's cache, or that has another layout."""
    cache = hub_cache()
    if cache.name != "hub" or not cache.is_absolute() or snapshot_of(model) is None:
        return None
    return cache.parent


def is_engine_here(place: str | None) -> bool:
    """Whether the engine of ``place`` (``DockerCli.place``) sees this machine's folders, as far as that can be
    read without asking it. One elsewhere would make an empty folder of the same name."""
    if place is None:
        if named := os.environ.get("DOCKER_HOST"):
            return named.startswith(_IS_HERE)
        place = os.environ.get("DOCKER_CONTEXT") or _read(_docker_folder() / "config.json").get(
            "currentContext"
        )
    if not isinstance(place, str) or place in ("", "default"):
        return True
    if "://" in place:
        return place.startswith(_IS_HERE)
    digest = hashlib.sha256(place.encode()).hexdigest()
    found = _read(_docker_folder() / "contexts" / "meta" / digest / "meta.json")
    try:
        return str(found["Endpoints"]["docker"]["Host"]).startswith(_IS_HERE)
    except (KeyError, TypeError):
        return False


def is_set_in(env_file: Path, name: str) -> bool:
    """Whether a ``.env`` that Compose reads sets ``name``; one that can't be read may."""
    try:
        text = read_regular_file(env_file, _MOST_BYTES).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return re.search(rf"^\s*(?:export\s+)?{name}\s*[=:]", text, re.MULTILINE) is not None


def _docker_folder() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or "~/.docker").expanduser()


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_regular_file(path, _MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
