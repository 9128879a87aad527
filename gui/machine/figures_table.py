"""The charts' numbers as one table, for keyboards and screen readers, and to be copied."""

from __future__ import annotations

from datetime import datetime

from gui.machine.shown_metrics import API_RATE, GPU_METRICS, HOST_METRICS, KV_CACHE, MACHINE_RATE, ShownMetric
from gui.machine.timeline import Timeline
from gui.widgets.table import Column, ListModel, Table

Row = tuple["str | float | None", ...]
ROWS = 60
_MONEY = (API_RATE, MACHINE_RATE)


class FiguresTable(Table):
    """A row for each of 60 steps of the time shown, the newest first, with the highest value in that step."""

    def __init__(self, *, with_gpu: bool) -> None:
        self.with_gpu = with_gpu
        self._figures = (
            (*GPU_METRICS, *_MONEY, *HOST_METRICS, KV_CACHE) if with_gpu else (*HOST_METRICS, *_MONEY)
        )
        self._seconds_shown = True
        time = Column[Row](
            key="time", title="Time", value=lambda row: row[0], text=self._time_text, width=70, number=False
        )
        columns = [_column(place + 1, figure) for place, figure in enumerate(self._figures)]
        self._list = ListModel([time, *columns])
        super().__init__("Figures of the machine", self._list)

    def fill(self, timeline: Timeline, gpu: int | None) -> None:
        """Show the figures of ``timeline``."""
        step_s = timeline.seconds / ROWS
        self._seconds_shown = step_s < 60
        last = timeline.now_s // step_s
        steps = [(last - back) * step_s for back in range(ROWS - 1, -1, -1)]
        columns: list[list[float | None]] = []
        for figure in self._figures:
            found = timeline.highest(figure.metric, gpu if figure.of_gpu else None, steps)
            columns.append([None if value is None else value / figure.scale for value in found])
        rows: list[Row] = [
            (datetime.fromtimestamp(step).astimezone().isoformat(" ", "seconds"), *values)
            for step, *values in zip(steps, *columns, strict=True)
            if any(value is not None for value in values)
        ]
        self._list.set_rows(rows[::-1])
        every = f"{step_s:.0f} s" if step_s < 120 else f"{step_s / 60:.0f} min"
        self.setAccessibleDescription(f"The highest value in each {every}, newest first")
        self.setToolTip(f"The highest value in each {every}")

    @property
    def is_touched(self) -> bool:
        """Whether somebody reads in it: other rows would take the place and the selection away."""
        return bool(self.selected_rows(1)[1]) or self.verticalScrollBar().value() > 0

    def copy_all(self) -> None:
        """Put all rows on the clipboard."""
        self.selectAll()
        self.copy_selected()

    def _time_text(self, at: str) -> str:
        return at[11:19] if self._seconds_shown else at[11:16]


def _column(place: int, figure: ShownMetric) -> Column[Row]:
    return Column[Row](
        key=figure.metric,
        title=figure.title,
        value=lambda row: row[place],
        text=figure.text,
        number=True,
        unit=figure.unit,
        width=82,
        drop=place,
    )
