"""The machine's history in the home folder, ``machine.history.sqlite3``, so that a restart shows the day before.

Once a minute the slots that are new since then are written (some kilobytes), the finest tier left out: it goes
back a quarter of an hour. What is older than 24 hours is deleted. Everything here blocks: it is called on a thread,
one call at a time.

It is a convenience: where the file is broken it is set aside and begun anew, and where it can't be written the
history goes on in memory, and ``problem`` says why.
"""

from __future__ import annotations

import contextlib
import logging
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from core.base import sqlite_file
from core.base.files import set_aside
from core.local.history import EventKind, MachineEvent, MetricName
from core.local.history_rings import KEPT_S, MAX_EVENTS, TIERS, Key, Slot

if TYPE_CHECKING:
    import sqlite3

log = logging.getLogger(__name__)

FILE_NAME = "machine.history.sqlite3"
BUSY_TIMEOUT_S = 2.0
_VERSION = 1
_SCHEMA = (
    "CREATE TABLE series (number INTEGER PRIMARY KEY, metric TEXT NOT NULL, gpu INTEGER, UNIQUE (metric, gpu))",
    "CREATE TABLE gpus (number INTEGER PRIMARY KEY, uuid TEXT NOT NULL)",
    # figures: the lowest ones by the series' numbers, then the highest, as 64-bit floats of this machine
    "CREATE TABLE slots (step_s INTEGER, number INTEGER, figures BLOB NOT NULL, PRIMARY KEY (step_s, number)) "
    "WITHOUT ROWID",
    "CREATE TABLE events (at_s REAL, kind TEXT, words TEXT, PRIMARY KEY (at_s, kind, words)) WITHOUT ROWID",
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What the file holds. Series and slots as ``HistoryRings.restore`` takes them."""

    series: Mapping[Key, int]
    gpus: Mapping[int, str]
    slots: tuple[Slot, ...]
    events: tuple[MachineEvent, ...]


class HistoryFile:
    def __init__(self, home: Path) -> None:
        self.path = home / FILE_NAME
        self.problem = ""
        self._connection: sqlite3.Connection | None = None
        self._numbers: dict[Key, int] = {}

    def load(self) -> Kept | None:
        """Return what is kept; ``None`` where nothing is, or it can't be read (see ``problem``)."""
        try:
            return self._read()
        except Exception as error:  # noqa: BLE001  a file may be anything; the panel goes on without it
            return self._failed(error, writing=False)

    def save(
        self,
        series: Mapping[Key, int],
        gpus: Mapping[int, str],
        slots: Iterable[Slot],
        events: Iterable[MachineEvent],
        now_s: float,
    ) -> bool:
        """Write what is new, and delete what is too old or lies in the future. Says whether it is kept."""
        try:
            self._write(series, gpus, slots, events, now_s)
        except Exception as error:  # noqa: BLE001  as in ``load``; the history goes on in memory
            self._failed(error, writing=True)
            return False
        self.problem = ""
        return True

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self._numbers = {}
        if connection is not None:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        connection = sqlite_file.connect(self.path, busy_timeout_s=BUSY_TIMEOUT_S)
        try:
            sqlite_file.bring_up_to_date(connection, _VERSION, make=_make)
            sqlite_file.use_write_ahead_log(connection)
            connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may take the last minute
            self._numbers = _series(connection)
        except BaseException:  # raised again: whatever it was, the file is closed
            connection.close()
            raise
        self._connection = connection
        return connection

    def _read(self) -> Kept | None:
        if not self.path.exists():
            return None
        connection = self._open()
        slots = [
            slot
            for step_s, number, figures in connection.execute("SELECT step_s, number, figures FROM slots")
            if (slot := _slot(step_s, number, figures)) is not None
        ]
        kinds = get_args(EventKind)
        events = [
            MachineEvent(at_s=float(at_s), kind=cast("EventKind", kind), words=str(words))
            for at_s, kind, words in connection.execute(
                "SELECT at_s, kind, words FROM events ORDER BY at_s DESC LIMIT ?", (MAX_EVENTS,)
            )
            if kind in kinds
        ]
        gpus = {
            int(number): str(uuid) for number, uuid in connection.execute("SELECT number, uuid FROM gpus")
        }
        return Kept(dict(self._numbers), gpus, tuple(slots), tuple(events))

    def _write(
        self,
        series: Mapping[Key, int],
        gpus: Mapping[int, str],
        slots: Iterable[Slot],
        events: Iterable[MachineEvent],
        now_s: float,
    ) -> None:
        connection = self._open()
        if self._connection is not None and not self.path.exists():
            self.close()  # somebody deleted it: what is written now would be gone
            connection = self._open()
        numbers = dict(self._numbers)
        with sqlite_file.transaction(connection):
            numbers |= _series(connection)  # another panel's
            for key in series:
                if key not in numbers:
                    numbers[key] = max(numbers.values(), default=-1) + 1
                    connection.execute("INSERT INTO series VALUES (?, ?, ?)", (numbers[key], *key))
            connection.executemany("INSERT OR REPLACE INTO gpus VALUES (?, ?)", gpus.items())
            places = [(there, numbers[key]) for key, there in series.items()]
            width = max(numbers.values(), default=-1) + 1
            for table in ("slots", "events"):
                begin = "number * step_s" if table == "slots" else "at_s"
                connection.execute(
                    f"DELETE FROM {table} WHERE {begin} < ? OR {begin} > ?",
                    (now_s - KEPT_S - TIERS[-1][0], now_s),
                )
            for step_s, span_s in TIERS[:-1]:
                connection.execute(
                    "DELETE FROM slots WHERE step_s = ? AND number * step_s < ?", (step_s, now_s - span_s)
                )
            connection.executemany(
                "INSERT OR REPLACE INTO slots VALUES (?, ?, ?)",
                ((slot.step_s, slot.number, _figures(slot, places, width)) for slot in slots),
            )
            connection.executemany(
                "INSERT OR IGNORE INTO events VALUES (?, ?, ?)",
                ((event.at_s, event.kind, event.words) for event in events),
            )
        self._numbers = numbers

    def _failed(self, error: Exception, *, writing: bool) -> None:
        """Say why the file can't be used, and set it aside where it is broken."""
        import sqlite3

        with contextlib.suppress(sqlite3.Error):
            self.close()
        self._connection = None
        said = error.strerror if isinstance(error, OSError) else None
        reason = (said or str(error) or type(error).__name__).rstrip(".")
        log.warning("%s can't be used: %s", self.path, reason)
        self.problem = f"{FILE_NAME} can't be {'written' if writing else 'read'}: {reason}."
        broken = isinstance(error, sqlite3.DatabaseError) and sqlite_file.fault_of(reason) == "damaged"
        if broken or isinstance(error, sqlite_file.ForeignFile):
            with contextlib.suppress(OSError):
                kept = set_aside(self.path, beside=sqlite_file.SIDE_FILES)
                log.warning("%s was set aside as %s; the machine's history begins anew", self.path, kept)
                self.problem = ""


def _make(file: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        file.execute(statement)


def _series(file: sqlite3.Connection) -> dict[Key, int]:
    names = get_args(MetricName)
    return {
        (cast("MetricName", metric), gpu): int(number)
        for number, metric, gpu in file.execute("SELECT number, metric, gpu FROM series")
        if metric in names
    }


def _slot(step_s: object, number: object, figures: object) -> Slot | None:
    if not (isinstance(step_s, int) and isinstance(number, int) and isinstance(figures, bytes)):
        return None
    if len(figures) % 16:
        return None
    values = array("d")
    values.frombytes(figures)
    half = len(values) // 2
    return Slot(step_s, number, values[:half], values[half:])


def _figures(slot: Slot, places: list[tuple[int, int]], width: int) -> bytes:
    """Return a slot's figures in the file's own order of the series."""
    unknown = array("d", [float("nan")]) * width
    lows, highs = unknown[:], unknown[:]
    for here, there in places:
        if here < len(slot.lows):
            lows[there], highs[there] = slot.lows[here], slot.highs[here]
    return (lows + highs).tobytes()
