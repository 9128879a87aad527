"""Broken files of the home folder that were set aside: told of at every start, until somebody deals with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core.base.files import set_aside_files

_MEANWHILE: Mapping[str, str] = {
    "prices.json": "The API side is closed until then, since a price of yours may be dearer than the built-in one.",
    "load_times.json": "How long a model takes to load is learnt anew.",
    "vllm/compose.override.yml": "The vLLM container gets what was applied in the form since, and no more.",
    "machine.history.sqlite3": "The machine's history begins anew.",
    "machine.alerts.json": "What you snoozed and acknowledged of the machine's alerts is forgotten.",
    "downloads.json": "Downloads that were paused are begun anew; what was loaded of them is gone on with.",
    "deleted_models.json": "Models that were deleted last can't be brought back by Signalbox.",
    "model_use.json": "When each model was last used is learnt anew.",
}


def left_aside(home: Path) -> tuple[str, ...]:
    """Return a sentence or two for each file that waits: what happened, what holds meanwhile, what to do."""
    return tuple(
        f"{path} could not be read as {name} and was set aside. Correct it and name it {name}, or delete it. "
        f"{meanwhile}"
        for name, meanwhile in _MEANWHILE.items()
        for path in set_aside_files(home / name)
    )
