"""What Compose tells while it pulls an image and brings a container up: ``--progress json``, or plain text."""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass

from core.local.compose_project import table
from core.local.server import StartStep

_SPEED_OVER_S = 5.0
_PLAIN = re.compile(
    r"^\s*([0-9a-f]{12}) ([A-Z][A-Za-z ]*?)\s*(?:\[[=> -]*\]\s+([\d.]+)\s?([kKMGT]?)B/([\d.]+)\s?([kKMGT]?)B)?\s*$"
)
_UNIT = {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_FETCHED = ("Verifying Checksum", "Download complete", "Extracting", "Pull complete")


@dataclass(slots=True)
class _Layer:
    done_bytes: int = 0
    total_bytes: int | None = None
    is_fetched: bool = False
    was_here: bool = False


class ComposeOutput:
    """Fed line by line. ``error`` is what went wrong in Compose's own words, empty while nothing did."""

    def __init__(self) -> None:
        self._layers: dict[str, _Layer] = {}
        self._seen: deque[tuple[float, int]] = deque()
        self._said: deque[str] = deque(maxlen=20)
        self._errors: list[str] = []

    @property
    def error(self) -> str:
        return self._errors[-1] if self._errors else "\n".join(self._said)

    def feed(self, line: str) -> None:
        try:
            told = table(json.loads(line))
        except (ValueError, RecursionError):
            self._feed_plain(line)
            return
        if told.get("error"):
            self._errors.append(str(told.get("message") or ""))
            return
        name, text, status = (str(told.get(key) or "") for key in ("id", "text", "status"))
        if text == "Error" or status.startswith("Error"):
            self._errors.append(status)
        elif told.get("parent_id"):
            current, total = told.get("current"), told.get("total")
            self._layer(
                name,
                text,
                int(current) if isinstance(current, int | float) else None,
                int(total) if isinstance(total, int | float) else None,
            )

    def _feed_plain(self, line: str) -> None:
        found = _PLAIN.match(line)
        if found is None:
            if line.strip():
                self._said.append(line.strip())
            return
        name, text, done, done_unit, total, total_unit = found.groups()
        if done is None:
            self._layer(name, text, None, None)
        else:
            self._layer(
                name, text, int(float(done) * _UNIT[done_unit]), int(float(total) * _UNIT[total_unit])
            )

    def _layer(self, name: str, text: str, current: int | None, total: int | None) -> None:
        layer = self._layers.setdefault(name, _Layer())
        if text == "Already exists":
            layer.is_fetched = layer.was_here = True
        elif text == "Downloading" and current is not None:
            layer.done_bytes = current
            layer.total_bytes = total or layer.total_bytes
        elif text.startswith(_FETCHED):
            layer.is_fetched = True
            layer.total_bytes = layer.total_bytes or total
            layer.done_bytes = layer.total_bytes or layer.done_bytes

    def pull_step(self, now_s: float, elapsed_s: float) -> StartStep:
        """Return the pull as a step of a start; ``now_s`` by a clock that never jumps."""
        layers = [layer for layer in self._layers.values() if not layer.was_here]
        done_bytes = sum(layer.done_bytes for layer in layers)
        sizes = [layer.total_bytes for layer in layers]
        # The total is known once every layer told its size; until then a share would run backwards.
        known = [size for size in sizes if size is not None]
        total_bytes = sum(known) if known and len(known) == len(sizes) else None
        self._seen.append((now_s, done_bytes))
        while len(self._seen) > 2 and now_s - self._seen[0][0] > _SPEED_OVER_S:
            self._seen.popleft()
        since_s, since_bytes = self._seen[0]
        speed = (done_bytes - since_bytes) / (now_s - since_s) if now_s > since_s else None
        fetched = sum(layer.is_fetched for layer in self._layers.values())
        return StartStep(
            name="pull",
            status="running",
            detail=f"layer {min(fetched + 1, len(self._layers))} of {len(self._layers)}"
            if self._layers
            else "",
            progress=done_bytes / total_bytes if total_bytes else None,
            done_bytes=done_bytes if layers else None,
            total_bytes=total_bytes,
            bytes_per_s=speed if layers and speed is not None and speed >= 0 else None,
            elapsed_s=elapsed_s,
        )
