"""Deletes models so that it can be undone: moved aside in the same file system, and removed a while later.

In the hub's cache a file is a link to a blob, which several snapshots may show: a blob goes only where no other
link leads to it. What was moved is noted in ``<home>/deleted_models.json``, before it is.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.base.files import read_own_json, write_whole
from core.base.permissions import make_private_folder
from core.errors import InvalidRequest, SignalboxError
from core.local.model_files import parts_of
from core.local.models import ModelOnDisk

log = logging.getLogger(__name__)

UNDO_S = 600.0
"""How long a deletion can be undone; the disk has its room back after that, or when a download needs it."""
DELETED_FILE = "deleted_models.json"
_ASIDE = ".signalbox-deleted"
_MOST_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class _Deleted:
    """``moves`` are pairs of paths, from where to where, in the order in which they were made."""

    model_id: str
    at_s: float
    aside: str
    moves: tuple[tuple[str, str], ...]


class ModelRemoval:
    """Everything here is disk work, for a thread; one caller at a time."""

    def __init__(self, home: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = home / DELETED_FILE
        self._clock = clock
        self._deleted = {each.model_id: each for each in self._read()}

    @property
    def any(self) -> bool:
        """Whether something is aside, whose room could be had."""
        return bool(self._deleted)

    def due_in_s(self) -> float | None:
        """Return when the next one is to be removed for good, ``None`` where there is none."""
        if not self._deleted:
            return None
        return max(0.0, min(each.at_s for each in self._deleted.values()) + UNDO_S - self._clock())

    def delete(self, model: ModelOnDisk, hub_cache: Path) -> None:
        """Move ``model`` aside.

        Raises:
            SignalboxError: it can't be moved; all of it is where it was.
        """
        if model.place == "huggingface":
            aside = hub_cache / _ASIDE / secrets.token_hex(6)
            paths = _in_the_cache(model, hub_cache)
        else:
            aside = model.path.parent / _ASIDE / secrets.token_hex(6)
            paths = parts_of(model.path)
        moves = tuple((str(path), str(aside / f"{number}")) for number, path in enumerate(paths))
        deleted = _Deleted(model.id, self._clock(), str(aside), moves)
        self._deleted[model.id] = deleted
        self._write()
        try:
            aside.mkdir(parents=True)
            for source, target in moves:
                os.rename(source, target)
        except OSError as error:
            self._back(deleted)
            raise SignalboxError(
                f"{model.name} can’t be deleted: {error.strerror or error}.", hint="It is where it was."
            ) from error

    def undelete(self, model_id: str) -> None:
        """Bring it back.

        Raises:
            InvalidRequest: it is gone for good.
            SignalboxError: it can't be moved back; it is still aside.
        """
        deleted = self._deleted.get(model_id)
        if deleted is None:
            raise InvalidRequest("That model is gone for good.", hint="Download it again.")
        try:
            for source, target in reversed(deleted.moves):
                if os.path.lexists(target) and not os.path.lexists(source):
                    Path(source).parent.mkdir(parents=True, exist_ok=True)
                    os.rename(target, source)
        except OSError as error:
            raise SignalboxError(
                f"It can’t be brought back: {error.strerror or error}.", hint=f"It is in {deleted.aside}."
            ) from error
        self._forget(deleted)

    def purge(self, *, all_of_them: bool = False) -> None:
        """Remove for good what can't be undone any more."""
        for deleted in tuple(self._deleted.values()):
            if all_of_them or self._clock() - deleted.at_s >= UNDO_S:
                self._forget(deleted)

    def _back(self, deleted: _Deleted) -> None:
        for source, target in reversed(deleted.moves):
            if os.path.lexists(target) and not os.path.lexists(source):
                with contextlib.suppress(OSError):
                    os.rename(target, source)
        self._forget(deleted)

    def _forget(self, deleted: _Deleted) -> None:
        aside = Path(deleted.aside)
        if aside.parent.name == _ASIDE:  # the note may have been edited: nothing else is ever removed
            shutil.rmtree(aside, ignore_errors=True)
            with contextlib.suppress(OSError):
                aside.parent.rmdir()
        self._deleted.pop(deleted.model_id, None)
        self._write()

    def _read(self) -> list[_Deleted]:
        def notes(found: list[dict[str, Any]]) -> list[_Deleted]:
            return [
                _Deleted(
                    str(kept["id"]),
                    float(kept["at"]),
                    str(kept["aside"]),
                    tuple((str(source), str(target)) for source, target in kept["moves"]),
                )
                for kept in found
            ]

        try:
            return read_own_json(self._path, _MOST_BYTES, notes) or []
        except OSError as error:
            log.warning("%s can't be used: %s", self._path, error.strerror or error)
            return []

    def _write(self) -> None:
        kept = [
            {"id": each.model_id, "at": each.at_s, "aside": each.aside, "moves": each.moves}
            for each in self._deleted.values()
        ]
        try:
            if kept or self._path.exists():
                make_private_folder(self._path.parent)
                write_whole(self._path, json.dumps(kept, indent=1))
        except OSError as error:
            log.warning("what was deleted was not noted: %s", error)


def _in_the_cache(model: ModelOnDisk, hub_cache: Path) -> list[Path]:
    """Return the links of a model and the blobs that only they lead to."""
    links = parts_of(model.path) if model.format == "gguf" else _links_below(model.path)
    repo = _repo_folder(model.path, hub_cache)
    if repo is None:
        return links
    others = {_target(link) for link in _links_below(repo / "snapshots") if link not in links}
    blobs = {_target(link) for link in links}
    return [
        *links,
        *sorted(
            blob for blob in blobs - others if blob.parent == repo.resolve() / "blobs" and blob.is_file()
        ),
    ]


def _repo_folder(path: Path, hub_cache: Path) -> Path | None:
    for parent in path.parents:
        if parent.parent == hub_cache and parent.name.startswith("models--"):
            return parent
    return None


def _links_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def _target(link: Path) -> Path:
    return link.resolve()
