"""Deleted models stand aside for as long as that can be undone, and no longer; also over a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import InvalidRequest
from core.local.model_removal import UNDO_S, ModelRemoval
from core.local.models import ModelOnDisk


def model(folder: Path, name: str) -> ModelOnDisk:
    path = folder / f"{name}.gguf"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"GGUF")
    return ModelOnDisk(id=name, name=name, path=path, size_bytes=4, format="gguf", place="signalbox")


def test_what_can_still_be_undone_stays_aside_and_what_cannot_goes(home: Path, tmp_path: Path) -> None:
    now = [1000.0]
    first, second = (model(tmp_path / "models", name) for name in ("first", "second"))
    removal = ModelRemoval(home, clock=lambda: now[0])
    removal.delete(first, tmp_path / "hub")
    now[0] += UNDO_S - 1
    removal.delete(second, tmp_path / "hub")
    assert not first.path.exists()
    assert not second.path.exists()

    again = ModelRemoval(home, clock=lambda: now[0])
    assert again.due_in_s() == 1
    again.purge()
    again.undelete("first")  # it, too, had a second left
    assert first.path.read_bytes() == b"GGUF"
    again.delete(first, tmp_path / "hub")
    now[0] += UNDO_S - 1
    again.purge()
    assert again.due_in_s() == 1, "both can still be had back"
    now[0] += 1
    again.purge()
    assert not again.any
    for gone in ("first", "second"):
        with pytest.raises(InvalidRequest, match="gone for good"):
            again.undelete(gone)
    assert list((tmp_path / "models").iterdir()) == []
