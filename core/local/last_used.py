"""When each model was last loaded by Signalbox."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

from core.base.files import read_own_json, write_whole
from core.base.permissions import make_private_folder

log = logging.getLogger(__name__)

USED_FILE = "model_use.json"
_MOST_BYTES = 1 << 20


class LastUsed:
    """Kept in ``<home>/model_use.json``. Only a convenience: what can't be read or written is logged."""

    def __init__(self, home: Path) -> None:
        self._path = home / USED_FILE
        self._times = self._read()

    def at(self, model: Path) -> datetime | None:
        return self._times.get(str(model))

    def note(self, model: Path) -> None:
        self._times[str(model)] = datetime.now(UTC)
        try:
            make_private_folder(self._path.parent)
            times = {name: at.isoformat() for name, at in self._times.items()}
            write_whole(self._path, json.dumps(times, indent=1), durable=False)
        except OSError as error:
            log.warning("that %s was used was not kept: %s", model.name, error)

    def _read(self) -> dict[str, datetime]:
        def moments(times: dict[str, str]) -> dict[str, datetime]:
            return {name: datetime.fromisoformat(at) for name, at in times.items()}

        try:
            return read_own_json(self._path, _MOST_BYTES, moments) or {}
        except OSError as error:
            log.warning("%s can't be used: %s", self._path, error.strerror or error)
            return {}
