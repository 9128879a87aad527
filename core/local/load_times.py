"""How long loading a model took before, so that the next start can say how long it will."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from core.base.files import read_own_json, write_whole
from core.base.permissions import make_private_folder

log = logging.getLogger(__name__)

_LEARNING_RATE = 0.5
_MOST_BYTES = 1 << 20
LOAD_TIMES_FILE = "load_times.json"


@dataclass(frozen=True, slots=True)
class LoadTime:
    """What was learnt: how long a start is likely to take, and of how many starts that is known."""

    seconds: float
    starts: int


class LoadTimes:
    """Learnt load times, one for each model file and size, or for each container's image and model.

    They are kept in ``<home>/load_times.json``. A broken file is set aside, and a new one begun. None of it is an
    obstacle to loading: this is only a hint.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / LOAD_TIMES_FILE

    def set_aside_if_broken(self) -> None:
        """At a start, so that it is told of even where no model is loaded."""
        with contextlib.suppress(OSError):  # what can't be read is told of when it is needed
            self._read()

    def of(self, model: Path | str) -> LoadTime | None:
        """Return what is known of loading ``model``, ``None`` before the first time."""
        try:
            return self._read().get(_key(model))
        except OSError as error:
            log.warning("%s can't be read: %s", self._path, error.strerror or error)
            return None

    def learn(self, model: Path | str, seconds: float) -> None:
        """Move the expectation halfway to ``seconds``.

        A file that cannot be read or written is logged and left as it is.
        """
        try:
            times = self._read()
            known = times.get(_key(model)) or LoadTime(seconds, 0)
            expected_s = known.seconds + _LEARNING_RATE * (seconds - known.seconds)
            times[_key(model)] = LoadTime(round(expected_s, 3), known.starts + 1)
            make_private_folder(self._path.parent)
            content = json.dumps({key: asdict(time) for key, time in times.items()}, indent=1)
            write_whole(self._path, content, durable=False)
        except OSError as error:
            log.warning("the load time of %s was not kept: %s", getattr(model, "name", model), error)

    def _read(self) -> dict[str, LoadTime]:
        return read_own_json(self._path, _MOST_BYTES, _read_all) or {}


def _read_all(times: dict[str, Any]) -> dict[str, LoadTime]:
    return {key: _read_one(value) for key, value in times.items()}


def _read_one(value: Any) -> LoadTime:
    if isinstance(value, dict):
        value = cast("dict[str, Any]", value)
        return LoadTime(_positive(value["seconds"]), max(1, int(_positive(value["starts"]))))
    return LoadTime(_positive(value), 1)  # as it was kept before the starts were counted


def _positive(value: object) -> float:
    seconds = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ValueError("no time in seconds")
    return seconds


def _key(model: Path | str) -> str:
    if isinstance(model, str):
        return model
    try:
        size_bytes = model.stat().st_size
    except OSError:
        size_bytes = 0
    return f"{model.name} {size_bytes}"
