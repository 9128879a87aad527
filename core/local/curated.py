"""The short table of models worth downloading (``resources/models.toml``), and which of them suits this machine."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from core.local.models import CuratedModel, Fits

TABLE = Path(__file__).resolve().parents[2] / "resources" / "models.toml"
COMFORTABLE_SHARE = 0.6
"""Of all memory: a desktop with a browser takes the rest, and a model that is swapped answers nobody."""
MOST_SHARE = 0.85
FAST_ENOUGH_BYTES = 3_000_000_000
"""Each token reads the whole file once. Without a GPU, at the 20 to 40 GB/s of a laptop's memory, a larger one
writes slower than people read, so it is offered but not as the best."""


@dataclass(frozen=True, slots=True)
class _Ranked:
    model: CuratedModel
    rank: int


@cache
def _table() -> tuple[_Ranked, ...]:
    with TABLE.open("rb") as file:
        rows = tomllib.load(file)["model"]
    return tuple(
        _Ranked(
            CuratedModel(
                **{name: value for name, value in row.items() if name not in ("rank", "approximate")}
            ),
            row["rank"],
        )
        for row in rows
    )


def find(model_id: str) -> CuratedModel | None:
    return next((row.model for row in _table() if row.model.id == model_id), None)


def fits(needs_bytes: int | None, memory_bytes: int | None, vram_bytes: int | None = None) -> Fits:
    """Return whether a model that needs so much runs here, with the desktop beside it.

    ``vram_bytes`` is the memory of a GPU that the embedded server can use.
    """
    if needs_bytes is not None and vram_bytes is not None and needs_bytes <= MOST_SHARE * vram_bytes:
        return "fits"
    if needs_bytes is None or memory_bytes is None:
        return "unknown"
    if needs_bytes <= COMFORTABLE_SHARE * memory_bytes:
        return "fits"
    return "tight" if needs_bytes <= MOST_SHARE * memory_bytes else "too_big"


def curated_models(
    memory_bytes: int | None, vram_bytes: int | None = None, on_disk: Collection[str] = ()
) -> tuple[CuratedModel, ...]:
    """Return the table, smallest first, each with whether it fits, and at most one marked as the best.

    ``on_disk`` names files that are there. ``vram_bytes`` is the memory of a GPU that the embedded server can use.
    """
    fitted: list[_Ranked] = []
    for row in _table():
        found = fits(row.model.needs_bytes, memory_bytes, vram_bytes)
        fitted.append(
            _Ranked(
                replace(row.model, fits=found, on_disk=row.model.file in on_disk),
                row.rank,
            )
        )
    candidates = [
        row
        for row in fitted
        if row.model.fits == "fits"
        and (
            row.model.size_bytes <= FAST_ENOUGH_BYTES
            or (vram_bytes is not None and row.model.needs_bytes <= MOST_SHARE * vram_bytes)
        )
    ]
    best = max(candidates, key=lambda row: row.rank, default=None)
    return tuple(
        replace(row.model, best=best is row) for row in sorted(fitted, key=lambda row: row.model.needs_bytes)
    )
