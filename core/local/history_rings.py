"""The last 24 hours of the machine's figures in rings of arrays: fine for the last minutes, coarse for the day.

Every sample goes into a slot of each tier at once, and a slot keeps the lowest and the highest figure that fell
into it: a peak of one second is still there in the view of a day. A slot is named by its number since 1970, so that
nothing has to be moved as time goes by, and a clock that is set makes no figure count twice. What is not a number
is not known: a sensor that said nothing, or nobody who looked.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.local.gpu_sample import MachineSample
from core.local.history import History, MachineEvent, MetricName, Series

TIERS: tuple[tuple[int, int], ...] = ((1, 15 * 60), (10, 2 * 3600), (60, 24 * 3600))
"""Seconds of a slot, and how far back it goes: each is a multiple of the one before."""
KEPT_S = TIERS[-1][1]
MAX_EVENTS = 500
MAX_SERIES = 200
"""A remote exporter may name any number of GPUs: memory must not grow with them."""
MAX_CARDS = 32
"""So many cards have a place of their own, also those that are not there now."""
LEAST_POINTS = 20
UNKNOWN = math.nan

GPU_METRICS: tuple[MetricName, ...] = (
    "vram_used_bytes",
    "temperature_c",
    "utilization_percent",
    "power_w",
    "memory_bandwidth_percent",
)
Key = tuple[MetricName, int | None]


def figures_of(sample: MachineSample) -> dict[Key, float | None]:
    """Return every figure of ``sample`` that is kept, by metric and GPU. A GPU that is lost has none."""
    host, server = sample.host, sample.server
    figures: dict[Key, float | None] = {
        ("cpu_percent", None): host.cpu_percent,
        ("memory_used_bytes", None): host.memory_used_bytes,
        ("kv_cache_percent", None): server.kv_cache_percent,
        ("running_requests", None): server.running_requests,
        ("waiting_requests", None): server.waiting_requests,
        ("generation_tokens_per_s", None): server.generation_tokens_per_s,
        ("api_nanodollars_per_hour", None): sample.api_nanodollars_per_hour,
        ("machine_nanodollars_per_hour", None): sample.machine_nanodollars_per_hour,
    }
    for gpu in sample.gpus:
        for metric in GPU_METRICS:
            figures[metric, gpu.index] = None if gpu.lost else getattr(gpu, metric)
    return figures


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot as it is kept in a file: ``lows`` and ``highs`` by the numbers of the series."""

    step_s: int
    number: int
    lows: Sequence[float]
    highs: Sequence[float]


class _Ring:
    """The slots of one tier. A place in the ring belongs to the slot whose number stands in ``numbers``."""

    def __init__(self, step_s: int, span_s: int) -> None:
        self.step_s = step_s
        self.places = span_s // step_s + 1  # the one that is being filled, too
        self.numbers = array("q", [-1]) * self.places
        self.lows: list[array[float]] = []
        self.highs: list[array[float]] = []

    def add_series(self) -> None:
        self.lows.append(array("d", [UNKNOWN]) * self.places)
        self.highs.append(array("d", [UNKNOWN]) * self.places)

    def forget_series(self, series: int) -> None:
        for place in range(self.places):
            self.lows[series][place] = self.highs[series][place] = UNKNOWN

    def open(self, number: int) -> int:
        """Return the place of slot ``number``, empty where another slot had it."""
        place = number % self.places
        if self.numbers[place] != number:
            self.numbers[place] = number
            for values in (*self.lows, *self.highs):
                values[place] = UNKNOWN
        return place

    def has(self, number: int) -> bool:
        return number >= 0 and self.numbers[number % self.places] == number

    def forget_after(self, number: int) -> None:
        for place, there in enumerate(self.numbers):
            if there > number:
                self.numbers[place] = -1

    @property
    def size_bytes(self) -> int:
        arrays: Iterable[array[float] | array[int]] = (self.numbers, *self.lows, *self.highs)
        return sum(each.buffer_info()[1] * each.itemsize for each in arrays)


class HistoryRings:
    """One loop uses it. Times are POSIX seconds, as the samples' own clock says.

    A break between two samples longer than ``most_silent_s`` (nobody looked) is a gap, however many samples a
    second there are; what is asked for and not known is one at once. Where the clock was set back, what was kept of
    the time that is to come again is forgotten: it would stand beside what is seen then. ``is_rewritten`` is set
    where past figures were forgotten, or not taken from a file, for they are of another card: write all slots then.
    """

    def __init__(self) -> None:
        self._rings = tuple(_Ring(step_s, span_s) for step_s, span_s in TIERS)
        self._series: dict[Key, int] = {}
        self.is_rewritten = False
        self._gpus: dict[int, str] = {}
        """The card of each place. A place is the card's number when it was first seen, where that was free."""
        self._places: dict[int, int] = {}
        """The place of each number, by the newest samples."""
        self._events: list[MachineEvent] = []
        self._newest_s: float | None = None
        self._most_silent_s = 2.5

    # -- writing --------------------------------------------------------------------------------------------

    def take(self, sample: MachineSample, most_silent_s: float) -> None:
        """Keep ``sample``. ``most_silent_s`` is the time between two samples above which nobody was looking."""
        at_s = sample.at.timestamp()
        self._most_silent_s = most_silent_s
        newest_s = self._newest_s
        if newest_s is not None and at_s < newest_s:
            self._forget_after(at_s)
        elif newest_s is not None and at_s - newest_s > most_silent_s:
            self._break_off(newest_s, at_s)
        self._newest_s = at_s
        for gpu in sample.gpus:
            if gpu.uuid and not gpu.lost:  # who is lost may not say who it was
                self._meet(gpu.index, gpu.uuid, {each.uuid for each in sample.gpus})
            else:
                self._places.setdefault(gpu.index, gpu.index)
        figures = figures_of(sample)
        numbered = [
            (self._number_of((metric, None if gpu is None else self._places[gpu])), value)
            for (metric, gpu), value in figures.items()
        ]
        for ring in self._rings:
            place = ring.open(math.floor(at_s / ring.step_s))
            for series, value in numbered:
                if series is not None and value is not None:
                    low, high = ring.lows[series], ring.highs[series]
                    if not low[place] <= value:
                        low[place] = value
                    if not high[place] >= value:
                        high[place] = value

    def add_event(self, event: MachineEvent) -> None:
        """Keep what happened; one that is known already is not kept twice."""
        if event not in self._events:
            self._events.append(event)
            self._events.sort(key=lambda each: each.at_s)
            del self._events[:-MAX_EVENTS]

    def _meet(self, index: int, uuid: str, present: set[str]) -> None:
        """Find the series of the card that has this number now: its own of before, or new ones."""
        place = self._place_of(index, uuid)
        if place is None:  # no room: the place of a card that is not there is begun anew
            away = (n for n, card in self._gpus.items() if card not in present)
            place = next(away, index)
            self.is_rewritten = True
            for (_, gpu), series in self._series.items():
                if gpu == place:
                    for ring in self._rings:
                        ring.forget_series(series)
        self._gpus[place] = uuid
        self._places = {n: at for n, at in self._places.items() if at != place} | {index: place}

    def _place_of(self, index: int, uuid: str) -> int | None:
        """Return the place that ``uuid`` has or may take, ``None`` where all are taken."""
        known = next((place for place, card in self._gpus.items() if card == uuid), None)
        if known is not None:
            return known
        return next((n for n in (index, *range(MAX_CARDS)) if n not in self._gpus), None)

    def _number_of(self, key: Key) -> int | None:
        number = self._series.get(key)
        if number is None and len(self._series) < MAX_SERIES:
            number = self._series[key] = len(self._series)
            for ring in self._rings:
                ring.add_series()
        return number

    def _break_off(self, last_s: float, at_s: float) -> None:
        """Leave an empty slot after the last sample's, where there is one between the two: the line ends there."""
        for ring in self._rings:
            after = math.floor(last_s / ring.step_s) + 1
            if after < math.floor(at_s / ring.step_s):
                ring.open(after)

    def _forget_after(self, at_s: float) -> None:
        for ring in self._rings:
            ring.forget_after(math.floor(at_s / ring.step_s))
        self._events = [event for event in self._events if event.at_s <= at_s]

    # -- reading --------------------------------------------------------------------------------------------

    def read(self, to_s: float, seconds: float, most_points: int) -> History:
        """Return the last ``seconds`` before ``to_s``, each series of at most ``most_points`` points (20 at least).

        Where several slots have to share a point, there are two of them for the lowest and the highest. ``None``
        begins a gap, and the line goes on with the next figure.
        """
        seconds = min(max(1.0, seconds), float(KEPT_S))
        from_s = to_s - seconds
        # Two points a group; the groups at the ends and between two tiers are cut, and silence may end it.
        group_s = seconds / (max(LEAST_POINTS, most_points) // 2 - 4)
        pieces = self._pieces(from_s, to_s, group_s)
        silent = self._newest_s is None or to_s - self._newest_s > self._most_silent_s
        series: list[Series] = []
        numbers = {place: index for index, place in self._places.items()}
        for (metric, place), number in self._series.items():
            gpu = place if place is None or not numbers else numbers.get(place)
            if place is not None and gpu is None:
                continue  # a card that is not watched now; its figures are there when it is again
            line = _Line(from_s, to_s, group_s)
            for ring, first, last in pieces:
                line.add(ring, number, first, last)
            times, values = line.end(silent=silent)
            series.append(Series(metric=metric, gpu=gpu, times_s=times, values=values))
        events = tuple(event for event in self._events if from_s <= event.at_s <= to_s)
        return History(from_s=from_s, to_s=to_s, series=tuple(series), events=events)

    def _pieces(self, from_s: float, to_s: float, group_s: float) -> list[tuple[_Ring, int, int]]:
        """Return which slots to read, oldest first: no finer than is shown, coarser where that is all there is."""
        fine_enough = [ring for ring in self._rings if ring.step_s <= group_s] or [self._rings[0]]
        pieces: list[tuple[_Ring, int, int]] = []
        end_s = to_s
        for ring in self._rings[self._rings.index(fine_enough[-1]) :]:
            first = max(
                0, math.floor(from_s / ring.step_s), math.floor(end_s / ring.step_s) - ring.places + 1
            )
            # A slot that reaches into the finer tier's part would show the same figures twice.
            last = math.floor(end_s / ring.step_s) - (end_s != to_s)
            while first <= last and not ring.has(first):
                first += 1
            if first <= last:
                pieces.insert(0, (ring, first, last))
                end_s = float(first * ring.step_s)
            if end_s <= from_s:
                break
        return pieces

    # -- a file ---------------------------------------------------------------------------------------------

    @property
    def series(self) -> Mapping[Key, int]:
        return self._series

    @property
    def gpus(self) -> Mapping[int, str]:
        """The card of each place, which is the ``gpu`` of ``series`` here and in the file."""
        return self._gpus

    @property
    def events(self) -> tuple[MachineEvent, ...]:
        return tuple(self._events)

    @property
    def size_bytes(self) -> int:
        return sum(ring.size_bytes for ring in self._rings)

    def slots(self, since_s: float, *, least_step_s: int = 10) -> list[Slot]:
        """Return copies of the slots from that of ``since_s`` on, of tiers of ``least_step_s`` and coarser."""
        found: list[Slot] = []
        for ring in self._rings:
            if ring.step_s < least_step_s:
                continue
            first = math.floor(since_s / ring.step_s)
            for number in sorted(each for each in ring.numbers if each >= first):
                place = number % ring.places
                found.append(
                    Slot(
                        ring.step_s,
                        number,
                        array("d", (values[place] for values in ring.lows)),
                        array("d", (values[place] for values in ring.highs)),
                    )
                )
        return found

    def restore(
        self,
        series: Mapping[Key, int],
        gpus: Mapping[int, str],
        slots: Iterable[Slot],
        events: Iterable[MachineEvent],
        now_s: float,
    ) -> None:
        """Take what a file kept of the time before ``now_s``; what is there already is newer, and stays."""
        here: dict[int | None, int | None] = {None: None}
        for there, uuid in gpus.items():
            place = self._place_of(there, uuid)
            if place is not None:
                here[there], self._gpus[place] = place, uuid
            self.is_rewritten |= place != there
        for _, place in series:
            if place not in gpus and place not in self._gpus:
                here[place] = place  # of a card without a UUID
        numbers = {
            there: self._number_of((metric, here[place]))
            for (metric, place), there in series.items()
            if place in here
        }
        rings = {ring.step_s: ring for ring in self._rings}
        ends_s: dict[int, float] = {}
        for slot in slots:
            ring = rings.get(slot.step_s)
            begin_s = slot.number * slot.step_s
            if ring is None or begin_s > now_s or ring.has(slot.number):
                continue
            if begin_s <= now_s - ring.step_s * (ring.places - 1):
                continue  # its place in the ring is another's by now
            place = ring.open(slot.number)
            for there, low in enumerate(slot.lows):
                number = numbers.get(there)
                if number is not None:
                    ring.lows[number][place], ring.highs[number][place] = low, slot.highs[there]
            ends_s[slot.step_s] = max(ends_s.get(slot.step_s, 0.0), begin_s + slot.step_s - 1.0)
        for event in events:
            if now_s - KEPT_S <= event.at_s <= now_s:
                self.add_event(event)
        for step_s, end_s in ends_s.items():
            self._part(rings[step_s], math.floor(end_s / step_s) + 1)
        if self._newest_s is None and ends_s:
            self._newest_s = min(now_s, *ends_s.values())  # what follows is a gap: nobody looked until now

    @staticmethod
    def _part(ring: _Ring, after: int) -> None:
        """Leave an empty slot where what a file kept ends and samples came before it was read."""
        if not ring.has(after) and any(number > after for number in ring.numbers):
            ring.open(after)


class _Line:
    """Gathers one series' slots into groups, and each group into at most two points."""

    def __init__(self, from_s: float, to_s: float, group_s: float) -> None:
        self._from_s, self._to_s, self._group_s = from_s, to_s, group_s
        self._times: list[float] = []
        self._values: list[float | None] = []
        self._group: int | None = None
        self._begin_s = self._last_s = 0.0
        self._step_s = 1
        self._low = self._high = UNKNOWN
        self._starts_unknown = self._ends_unknown = False

    def add(self, ring: _Ring, series: int, first: int, last: int) -> None:
        lows, highs, step_s = ring.lows[series], ring.highs[series], ring.step_s
        width_s = max(step_s, math.ceil(self._group_s / step_s) * step_s)
        for number, place in _there(ring, first, last):
            low = lows[place]
            group = number * step_s // width_s * width_s
            if group != self._group:
                self._close()
                self._group, self._begin_s, self._step_s = group, float(number * step_s), step_s
                self._low = self._high = UNKNOWN
                self._starts_unknown = low != low
            self._last_s = float(number * step_s)
            self._ends_unknown = low != low
            if not self._low <= low and low == low:
                self._low = low
            if not self._high >= highs[place] and low == low:
                self._high = highs[place]

    def end(self, *, silent: bool) -> tuple[tuple[float, ...], tuple[float | None, ...]]:
        self._close()
        if silent:
            self._point(self._to_s, None)
        return tuple(self._times), tuple(self._values)

    def _close(self) -> None:
        if self._group is None:
            return
        at_s = max(self._begin_s, self._from_s)
        low, high = self._low, self._high
        later_s = min(self._last_s if self._last_s > at_s else at_s + self._step_s / 2, self._to_s)
        if low != low:
            self._point(at_s, None)
        elif self._ends_unknown:
            self._point(at_s, high)
            self._point(later_s, None)
        elif self._starts_unknown:
            self._point(at_s, None)
            self._point(later_s, high)
        elif low == high:
            self._point(at_s, high)
        else:
            before = self._values[-1] if self._values else None
            rising = before is None or abs(before - low) <= abs(before - high)
            self._point(at_s, low if rising else high)
            self._point(later_s, high if rising else low)

    def _point(self, at_s: float, value: float | None) -> None:
        if value is None and (not self._values or self._values[-1] is None):
            return  # a gap begins once
        self._times.append(at_s)
        self._values.append(value)


def _there(ring: _Ring, first: int, last: int) -> Iterator[tuple[int, int]]:
    numbers, places = ring.numbers, ring.places
    for number in range(max(0, first), last + 1):
        place = number % places
        if numbers[place] == number:
            yield number, place
