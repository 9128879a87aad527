"""Raises and ends alerts: only after a minimum time over the threshold, and only once it is well under it again.

What counts is time between two looks that both say the same. What is not known does neither: it raises nothing,
and an alert that holds stays, with words that say since when nothing is known of it. After a hole that is longer
than the minimum time, and after a time in which nobody looked, the counting begins anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast, get_args

from core.base.text import exact_duration
from core.local.alert_rules import Look
from core.local.alerts import Alert, AlertAction, AlertKind

REMEMBERED_H = 24
MAX_ENDED = 50
LONG_TIMES = 3
"""How many times the minimum time a queue may be long without growing before it is told of."""

Key = tuple[AlertKind, int | None]
Turn = Literal["began", "ended"]


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody who is not looking at the list should hear of, once each."""

    turn: Turn
    alert: Alert


@dataclass(slots=True)
class _Matter:
    """What is known of one thing that can raise an alert."""

    alert: Alert | None = None
    text: str = ""
    told: bool = False
    was: Literal["over", "clear", "between", "unknown"] = "unknown"
    over_s: float = 0.0
    clear_s: float = 0.0
    unknown_s: float = 0.0
    first_level: float = 0.0
    peak: float = 0.0
    peak_figure: str = ""

    def begin_anew(self) -> None:
        self.over_s = self.clear_s = 0.0
        self.was = "unknown"


@dataclass(slots=True)
class AlertEngine:
    """``step`` takes each sample's looks. ``changed`` is set where the list is another than before.

    ``to_keep`` is set where what ``kept`` returns is another: write it, and the next start tells nothing twice.
    """

    changed: bool = False
    to_keep: bool = False
    _matters: dict[Key, _Matter] = field(default_factory=dict[Key, _Matter])
    _ended: list[tuple[Key, Alert]] = field(default_factory=list[tuple[Key, Alert]])
    _snoozed: dict[Key, datetime] = field(default_factory=dict[Key, datetime])
    _remembered: dict[Key, tuple[Alert, bool]] = field(default_factory=dict[Key, tuple[Alert, bool]])
    _tick_s: float | None = None

    def alerts(self) -> tuple[Alert, ...]:
        """Return those that hold, and those that are over and nobody has acknowledged; newest first."""
        held = [matter.alert for matter in self._matters.values() if matter.alert is not None]
        listed = held + [alert for _, alert in self._ended]
        by_gpu = sorted(listed, key=lambda alert: -1 if alert.gpu is None else alert.gpu)
        return tuple(sorted(by_gpu, key=lambda alert: alert.began_at, reverse=True))

    def step(
        self, looks: Iterable[Look], now: datetime, tick_s: float, most_silent_s: float
    ) -> tuple[Told, ...]:
        """Take what was seen at ``now``; ``tick_s`` counts seconds whatever the clock does."""
        passed_s = 0.0 if self._tick_s is None else max(0.0, tick_s - self._tick_s)
        self._tick_s = tick_s
        if passed_s > most_silent_s:  # nobody looked: it may have been anything meanwhile
            passed_s = 0.0
            for matter in self._matters.values():
                matter.begin_anew()
        told: list[Told] = []
        seen: set[Key] = set()
        for look in looks:
            key = (look.kind, look.gpu)
            seen.add(key)
            told += self._take(key, look, now, passed_s)
        for key in [key for key in self._matters if key not in seen]:
            told += self._gone(key, now)
        told += self._woken(now)
        return tuple(told)

    # -- one matter -----------------------------------------------------------------------------------------

    def _take(self, key: Key, look: Look, now: datetime, passed_s: float) -> Sequence[Told]:
        matter = self._matters.setdefault(key, _Matter())
        if look.over is None:
            self._not_known(matter, look, now, passed_s)
            return ()
        is_same = matter.was == ("over" if look.over else "clear" if look.clear else "between")
        after_hole = matter.was == "unknown"
        matter.was = "over" if look.over else "clear" if look.clear else "between"
        matter.unknown_s = 0.0
        if look.over:
            matter.clear_s = 0.0
            if not matter.over_s and not is_same:
                matter.first_level = look.level
            matter.over_s += passed_s if is_same else 0.0
            if look.limit and look.level >= matter.peak:
                matter.peak, matter.peak_figure = look.level, look.figure
        else:
            matter.over_s = 0.0
            matter.clear_s = matter.clear_s + (passed_s if is_same else 0.0) if look.clear else 0.0
        if matter.alert is not None:
            if after_hole and matter.alert.text != matter.text:
                self._change(matter, text=matter.text)
            if look.clear and matter.clear_s >= look.after_s:
                return self._end(key, matter, now, "")
        elif look.over and matter.over_s >= look.after_s and _is_told_of(look, matter):
            return self._raise(key, matter, look, now)
        elif look.clear and matter.clear_s >= look.after_s:
            matter.peak, matter.peak_figure = 0.0, ""
            return self._forget(key, now)
        return ()

    def _not_known(self, matter: _Matter, look: Look, now: datetime, passed_s: float) -> None:
        if matter.was != "unknown":
            matter.was = "unknown"
            if matter.alert is not None:
                since = f"{now.astimezone():%H:%M:%S}"
                self._change(matter, text=f"{matter.text} No reading since {since}.")
        matter.unknown_s += passed_s
        if matter.unknown_s > look.after_s:
            matter.over_s = matter.clear_s = 0.0

    def _raise(self, key: Key, matter: _Matter, look: Look, now: datetime) -> Sequence[Told]:
        began_at = now - timedelta(seconds=matter.over_s)
        matter.text = _text(look, matter.over_s)
        remembered = self._remembered.pop(key, None)
        until = self._snoozed.get(key)
        if until is not None and until <= now:
            del self._snoozed[key]
            until = None
        self._ended = [each for each in self._ended if each[0] != key]  # the same matter again: one entry
        alert = Alert(
            id=f"{look.kind}{'' if look.gpu is None else f'-{look.gpu}'}-{int(began_at.timestamp() * 1000)}",
            kind=look.kind,
            title=look.title,
            text=matter.text,
            began_at=began_at,
            action=look.action,
            gpu=look.gpu,
            snoozed_until=until,
            quiet=until is not None,
        )
        matter.told = until is None
        if remembered is not None:
            before, was_told = remembered
            alert = dataclasses.replace(
                alert,
                id=before.id,
                began_at=before.began_at,
                acknowledged=before.acknowledged,
                quiet=was_told or alert.quiet,
            )
            matter.told = was_told or matter.told
        matter.alert = alert
        self.changed = self.to_keep = True
        return [Told("began", alert)] if not alert.quiet else ()

    def _end(self, key: Key, matter: _Matter, now: datetime, why: str) -> Sequence[Told]:
        alert = matter.alert
        assert alert is not None
        lasted = exact_duration((now - alert.began_at).total_seconds())
        peak = f"; the highest was {matter.peak_figure}" if matter.peak_figure else ""
        text = f"{matter.text} Ended after {lasted}{peak}.{f' {why}' if why else ''}"
        ended = dataclasses.replace(alert, ended_at=now, text=text)
        told = matter.told
        matter.alert, matter.told, matter.peak, matter.peak_figure = None, False, 0.0, ""
        matter.over_s = matter.clear_s = 0.0
        if not alert.acknowledged and alert.snoozed_until is None:
            self._ended = [(key, ended), *self._ended][:MAX_ENDED]
        self.changed = self.to_keep = True
        return [Told("ended", ended)] if told else ()

    def _gone(self, key: Key, now: datetime) -> Sequence[Told]:
        """What is not looked at any more (no threshold, another server) holds no alert."""
        matter = self._matters.pop(key)
        return () if matter.alert is None else self._end(key, matter, now, "It is not looked at any more.")

    def _forget(self, key: Key, now: datetime) -> Sequence[Told]:
        """What held before the restart is over by now."""
        alert, was_told = self._remembered.pop(key, (None, False))
        if alert is None:
            return ()
        self.to_keep = True
        ended = dataclasses.replace(alert, ended_at=now, text=f"{alert.text} It has ended.", quiet=was_told)
        if not alert.acknowledged and key not in self._snoozed:
            self._ended = [(key, ended), *(each for each in self._ended if each[0] != key)][:MAX_ENDED]
            self.changed = True
        return [Told("ended", ended)] if was_told else ()

    def _woken(self, now: datetime) -> list[Told]:
        """End the snoozes that are over; what still holds then is news."""
        told: list[Told] = []
        for key in [key for key, until in self._snoozed.items() if until <= now]:
            del self._snoozed[key]
            self.to_keep = True
            matter = self._matters.get(key)
            if matter is not None and matter.alert is not None:
                is_news = not matter.alert.acknowledged
                self._change(matter, snoozed_until=None, quiet=not is_news)
                if is_news and not matter.told:
                    matter.told = True
                    told.append(Told("began", matter.alert))
        return told

    def _change(self, matter: _Matter, **fields: Any) -> None:
        assert matter.alert is not None
        matter.alert = dataclasses.replace(matter.alert, **fields)
        self.changed = True

    # -- what people do -------------------------------------------------------------------------------------

    def acknowledge(self, alert_id: str) -> None:
        """Note that somebody has seen it. One that is over leaves the list; what is not there any more has left."""
        self._leave(alert_id)
        for matter in self._matters.values():
            if matter.alert is not None and matter.alert.id == alert_id:
                self._change(matter, acknowledged=True, quiet=True)
                self.to_keep = True

    def snooze(self, alert_id: str, until: datetime) -> None:
        """Tell nothing more of its matter until then, also where it ends and begins again meanwhile."""
        for key, alert in self._ended:
            if alert.id == alert_id:
                self._snoozed[key] = until
        self._leave(alert_id)
        for key, matter in self._matters.items():
            if matter.alert is not None and matter.alert.id == alert_id:
                self._snoozed[key] = until
                self._change(matter, snoozed_until=until, quiet=True)
        self.to_keep = True

    def _leave(self, alert_id: str) -> None:
        left = [each for each in self._ended if each[1].id != alert_id]
        if len(left) != len(self._ended):
            self._ended = left
            self.changed = self.to_keep = True

    # -- a file ---------------------------------------------------------------------------------------------

    def kept(self) -> dict[str, Any]:
        """Return what the next start has to know, as JSON's own types."""
        held = [
            (key, matter.alert, matter.told)
            for key, matter in self._matters.items()
            if matter.alert is not None
        ]
        held += [(key, alert, told) for key, (alert, told) in self._remembered.items()]
        return {
            "snoozed": [[kind, gpu, until.isoformat()] for (kind, gpu), until in self._snoozed.items()],
            "held": [
                {
                    "kind": kind,
                    "gpu": gpu,
                    "id": alert.id,
                    "title": alert.title,
                    "text": alert.text,
                    "action": alert.action,
                    "began_at": alert.began_at.isoformat(),
                    "acknowledged": alert.acknowledged,
                    "told": told,
                }
                for (kind, gpu), alert, told in held
            ],
            "ended": [
                {
                    "kind": kind,
                    "gpu": gpu,
                    "id": alert.id,
                    "title": alert.title,
                    "text": alert.text,
                    "began_at": alert.began_at.isoformat(),
                    "ended_at": alert.ended_at.isoformat(),
                }
                for (kind, gpu), alert in self._ended
                if alert.ended_at is not None
            ],
        }

    def restore(self, kept: Mapping[str, Any], now: datetime) -> None:
        """Take what ``kept`` returned before a restart. What held is not listed until it is seen to hold still.

        Raises:
            ValueError, TypeError, KeyError: it is no such thing; nothing was taken.
        """
        snoozed: dict[Key, datetime] = {}
        for kind, gpu, until in kept["snoozed"]:
            key, end = _key(kind, gpu), _moment(until)
            if end > now:
                snoozed[key] = end
        remembered: dict[Key, tuple[Alert, bool]] = {}
        for each in kept["held"]:
            key, began_at = _key(each["kind"], each["gpu"]), _moment(each["began_at"])
            action = each["action"]
            if action not in get_args(AlertAction):
                raise ValueError(action)
            if now - began_at > timedelta(hours=REMEMBERED_H):
                continue
            alert = Alert(
                id=str(each["id"]),
                kind=key[0],
                gpu=key[1],
                title=str(each["title"]),
                text=str(each["text"]),
                action=cast("AlertAction", action),
                began_at=min(began_at, now),
                acknowledged=bool(each["acknowledged"]),
            )
            remembered[key] = alert, bool(each["told"])
        ended = [_ended_alert(each, now) for each in kept.get("ended", ())]  # an older Signalbox kept none
        self._snoozed, self._remembered = snoozed, remembered
        self._ended = [*self._ended, *ended][:MAX_ENDED]
        self.changed |= bool(ended)


def _ended_alert(each: Mapping[str, Any], now: datetime) -> tuple[Key, Alert]:
    key, began_at = _key(each["kind"], each["gpu"]), min(_moment(each["began_at"]), now)
    alert = Alert(
        id=str(each["id"]),
        kind=key[0],
        gpu=key[1],
        title=str(each["title"]),
        text=str(each["text"]),
        began_at=began_at,
        ended_at=max(began_at, min(_moment(each["ended_at"]), now)),
        quiet=True,
    )
    return key, alert


def _is_told_of(look: Look, matter: _Matter) -> bool:
    if not look.has_to_rise:
        return True
    return look.level > matter.first_level or matter.over_s >= LONG_TIMES * look.after_s


def _text(look: Look, over_s: float) -> str:
    if not look.figure:
        return look.note
    lasted = f" for {exact_duration(over_s)}" if over_s >= 1 else ""
    limit = f", {look.limit}" if look.limit else ""
    return f"{look.subject}: {look.figure}{lasted}{limit}. {look.note}".strip()


def _key(kind: object, gpu: object) -> Key:
    if kind not in get_args(AlertKind) or not (gpu is None or isinstance(gpu, int)):
        raise ValueError(f"{kind!r} of {gpu!r} is no alert")
    return cast("AlertKind", kind), gpu


def _moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at.astimezone(UTC)
