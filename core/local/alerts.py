"""Alerts of the machine: a figure over its threshold for long enough, until it is well under it again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

AlertKind = Literal[
    "vram", "temperature", "throttling", "gpu_lost", "unhealthy", "kv_cache", "queue", "server_failed"
]
AlertAction = Literal["drain", "restart", "start", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """``id`` stays while it is the same matter. ``action`` is what to offer. Times are UTC.

    ``ended_at`` is set once it is over; an acknowledged or snoozed alert that is over leaves the list. ``quiet``:
    list it and notify nobody, since it is snoozed, or was told of before the panel was started again. A snooze that
    ends while the alert still holds takes ``quiet`` and ``snoozed_until`` away: it is news again.
    """

    id: str
    kind: AlertKind
    title: str
    text: str
    began_at: datetime
    ended_at: datetime | None = None
    acknowledged: bool = False
    snoozed_until: datetime | None = None
    action: AlertAction = ""
    gpu: int | None = None
    quiet: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it still wants somebody. A snooze is over once the watch takes its field away."""
        return self.ended_at is None and not self.acknowledged and self.snoozed_until is None
