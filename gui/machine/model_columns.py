"""The columns of the table of models on disk."""

from __future__ import annotations

from datetime import UTC, datetime

from core import ModelOnDisk, age, file_size
from gui.widgets.inline_row import InlineRun
from gui.widgets.model_words import FITS_WORDS, PLACE_WORDS
from gui.widgets.table import Column

_FITS_TOKENS = {"fits": "ok_text", "tight": "held_text", "too_big": "held_text"}


def name_cell(model: ModelOnDisk) -> list[InlineRun]:
    """Return a model's name with a lamp where it is in use."""
    name = InlineRun(text=model.name, token="text", weight=600 if model.in_use else 400, elide=True)
    if model.is_loading:
        return [name, InlineRun(text="loading…", token="text3")]
    if not model.in_use:
        return [name]
    return [InlineRun(kind="lamp", name="ready"), name, InlineRun(text="in use", token="text3", drop=1)]


def _fits_cell(model: ModelOnDisk) -> list[InlineRun]:
    words = FITS_WORDS.get(model.fits, "–")
    return [InlineRun(text=words, token=_FITS_TOKENS.get(model.fits, "text3"))]


def _used_words(at: datetime) -> str:
    seconds = (datetime.now(UTC) - at).total_seconds()
    if seconds < 2 * 86_400:
        return f"{age(seconds)} ago"
    return f"{at.astimezone():%Y-%m-%d}"


def columns() -> list[Column[ModelOnDisk]]:
    """Return the columns: name, size, fit, place and last use."""
    return [
        Column[ModelOnDisk](
            key="name", title="Name", value=lambda one: one.name, cell=name_cell, width=150, stretch=True
        ),
        Column[ModelOnDisk](
            key="size", title="Size", value=lambda one: one.size_bytes, text=file_size, number=True, width=76
        ),
        Column[ModelOnDisk](
            key="fits",
            title="Fits",
            value=lambda one: FITS_WORDS.get(one.fits),
            cell=_fits_cell,
            width=66,
            drop=1,
            tip="Whether its weights and 8 k of context have room in this machine’s memory",
        ),
        Column[ModelOnDisk](
            key="place", title="Place", value=lambda one: PLACE_WORDS[one.place], width=130, drop=3
        ),
        Column[ModelOnDisk](
            key="used",
            title="Last used",
            value=lambda one: one.last_used_at,
            text=_used_words,
            width=96,
            drop=2,
        ),
    ]
