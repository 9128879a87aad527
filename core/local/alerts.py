"""Alerts of the machine: a figure over its threshold for long enough, until it is well under it again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
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


_OF_SEVERAL: dict[AlertKind, str] = {
    "vram": "{} GPUs are nearly full",
    "temperature": "{} GPUs are hot",
    "throttling": "{} GPUs are throttling",
    "gpu_lost": "{} GPUs do not answer any more",
}


def one_of_each_kind(alerts: Iterable[Alert]) -> list[Alert]:
    """Return ``alerts`` with those of one kind on several GPUs as one that says how many, for notifications.

    Nine GPUs behind one dead link are one piece of news. The merged one has the id of the first.
    """
    told: dict[tuple[AlertKind, str], list[Alert]] = {}
    for alert in alerts:
        is_merged = alert.gpu is not None and alert.kind in _OF_SEVERAL
        told.setdefault((alert.kind, "" if is_merged else alert.id), []).append(alert)
    return [each for group in told.values() for each in _merged(group)]


def _merged(group: list[Alert]) -> list[Alert]:
    gpus = sorted({alert.gpu for alert in group if alert.gpu is not None})
    if len(gpus) < 2:
        return group
    first = min(group, key=lambda alert: (alert.gpu or 0, alert.began_at))
    names = f"{', '.join(map(str, gpus[:-1]))} and {gpus[-1]}"
    title = _OF_SEVERAL[first.kind].format(len(gpus))
    return [replace(first, title=title, text=f"GPU {names}. The first: {first.text}", gpu=None)]
