"""The gallery's second half: each control in each state, and charts, tables, levers, popovers, cards."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QItemSelectionModel, QPoint, QPointF, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QFrame,
    QGridLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from gui.shell.pill import Pill
from gui.shell.rail import Rail
from gui.theme.theme import set_property, theme
from gui.widgets.card import Card
from gui.widgets.chart import Chart
from gui.widgets.chart_data import Band, Bars, ChartEvent, Line, Threshold
from gui.widgets.empty_state import EmptyState
from gui.widgets.fields import ChoiceField, PathField, SwitchField, TextField
from gui.widgets.fold import Fold
from gui.widgets.icon_button import IconButton
from gui.widgets.inline_row import InlineRun
from gui.widgets.labels import ResultLine, label
from gui.widgets.lever import Applied, Lever, Number, Scale
from gui.widgets.popover import Popover
from gui.widgets.route_badge import RouteBadge
from gui.widgets.segmented import SegmentedSwitch
from gui.widgets.table import Column, ListModel, Table
from tests.gallery_machine import download_rows, logs
from tests.support.examples import API_RESULT

if TYPE_CHECKING:
    from tests.gallery import Gallery

NOON = 1_781_784_000.0
STATES = ("Normal", "Hover", "Focus", "Disabled", "Selected or on", "Error")
Make = Callable[[], QWidget]


def _button(**properties: object) -> Make:
    def make() -> QWidget:
        made = QPushButton(next(iter(properties), "plain").capitalize())
        made.setCheckable(True)
        set_property(made, **properties)
        return made

    return make


def _line_edit() -> QWidget:
    return QLineEdit("http://10.0.0.4:8000/v1")


def _combo() -> QWidget:
    made = QComboBox()
    made.addItems(["hybrid", "local-first"])
    return made


def _slider() -> QWidget:
    made = QSlider(Qt.Orientation.Horizontal)
    made.setRange(9, 15)
    made.setValue(12)
    return made


def _spin() -> QWidget:
    made = QSpinBox()
    made.setMaximum(9999)
    made.setValue(3000)
    return made


def _switch() -> QWidget:
    return SegmentedSwitch([("auto", "Auto", None), ("local", "Local", "cpu"), ("api", "API", "cloud")])


def _icon_button() -> QWidget:
    made = IconButton("table", "Show as a table", outlined=True)
    made.setCheckable(True)
    return made


def _badge() -> QWidget:
    made = RouteBadge()
    made.set_result(API_RESULT)
    made.setFixedWidth(190)
    return made


def _pill() -> QWidget:
    made = Pill()
    made.set_runs(
        [InlineRun(kind="lamp", name="ready"), InlineRun(text="Ready", token="text", weight=600)],
        name="Local: ready",
    )
    return made


def _text_field() -> QWidget:
    made = TextField(number=True, unit="a day")
    made.show_value(3000)
    return made


def _choice_field() -> QWidget:
    made = ChoiceField([("hybrid", "Hybrid", ""), ("local", "Local only", "")])
    made.show_value("hybrid")
    return made


def _path_field() -> QWidget:
    made = PathField(patterns="GGUF models (*.gguf)")
    made.show_value("model.gguf")
    return made


CONTROLS: tuple[tuple[str, Make], ...] = (
    ("Button", _button()),
    ("Primary", _button(primary=True)),
    ("Danger", _button(danger=True)),
    ("Flat", _button(flat=True)),
    ("Compact", _button(compact=True)),
    ("Tiny", _button(tiny=True)),
    ("Icon button", _icon_button),
    ("Line edit", _line_edit),
    ("Choice", _combo),
    ("Number", _spin),
    ("Check box", lambda: QCheckBox("Fall back once")),
    ("Slider", _slider),
    ("Radio button", lambda: QRadioButton("System")),
    ("Segmented switch", _switch),
    ("Route badge", _badge),
    ("Pill", _pill),
    ("Text field", _text_field),
    ("Choice field", _choice_field),
    ("Switch field", SwitchField),
    ("Path field", _path_field),
)


class States(QWidget):
    """One row a control, one column a state. The keyboard can be in one place only, so "focus" is a picture."""

    def __init__(self) -> None:
        super().__init__()
        self._pictures: list[tuple[QWidget, QLabel]] = []
        self._hovered: list[QWidget] = []
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(16)
        for column, state in enumerate(STATES):
            grid.addWidget(label(state, "caption", level="3"), 0, column + 1)
        for row, (name, make) in enumerate(CONTROLS, 1):
            grid.addWidget(label(name, "small", level="2"), row, 0)
            for column, state in enumerate(STATES):
                shown = self._in_state(make, state)
                if shown is not None:
                    grid.addWidget(shown, row, column + 1, Qt.AlignmentFlag.AlignLeft)
        grid.setColumnStretch(len(STATES) + 1, 1)

    def _in_state(self, make: Make, state: str) -> QWidget | None:
        made = make()
        target = made.focusProxy() or made
        if isinstance(made, SegmentedSwitch):
            target = made
        made.setMaximumWidth(theme().px(220))
        if state == "Hover":
            self._hovered += [made, target]
        elif state == "Focus":
            picture = QLabel()
            made.setParent(self)
            made.hide()
            self._pictures.append((made, picture))
            return picture
        elif state == "Disabled":
            made.setEnabled(False)
        elif state == "Selected or on":
            if not self._switch_on(target):
                return None
        elif state == "Error":
            if not isinstance(target, QLineEdit | QComboBox | QSpinBox):
                return None
            set_property(target, tone="danger")
        return made

    @staticmethod
    def _switch_on(target: QWidget) -> bool:
        if isinstance(target, QLineEdit):
            target.setText("Selected")
            target.setSelection(0, 8)
        elif isinstance(target, SegmentedSwitch):
            target.set_value("local")
        elif isinstance(target, QPushButton | QCheckBox | QRadioButton | IconButton) and target.isCheckable():
            target.setChecked(True)
        else:
            return False
        return True

    def take_pictures(self) -> None:
        """Give each control the keyboard for a moment, and keep how it looked."""
        for widget in self._hovered:  # Qt takes it away when it shows a widget
            widget.setAttribute(Qt.WidgetAttribute.WA_UnderMouse)
            widget.update()
            here = QPointF(widget.rect().center())  # a push button believes a move only
            none, plain = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
            move = QMouseEvent(
                QEvent.Type.MouseMove, here, QPointF(widget.mapToGlobal(here.toPoint())), none, none, plain
            )
            QApplication.sendEvent(widget, move)
        before = QApplication.focusWidget()
        for made, picture in self._pictures:
            made.adjustSize()
            made.move(QPoint(0, 0))
            made.show()
            made.raise_()
            made.setFocus(Qt.FocusReason.TabFocusReason)
            QApplication.processEvents()
            picture.setPixmap(made.grab())
            made.hide()
        if before is not None:
            before.setFocus()


# -- charts


def _charts() -> list[Chart]:
    numbers = random.Random(3)
    seconds = [NOON + second for second in range(900)]
    vram = [19.5 + n / 400 if n < 400 else 1.1 if n < 700 else 1.1 + (n - 700) / 25 for n in range(900)]
    busy = [
        None if 400 <= n < 480 else numbers.uniform(45, 100) if n < 400 else numbers.uniform(0, 15)
        for n in range(900)
    ]
    events = [
        ChartEvent(x=seconds[300], label="VRAM over 85 %", token="held"),
        ChartEvent(x=seconds[400], label="Out of memory", token="danger"),
        ChartEvent(x=seconds[700], label="Start"),
    ]
    memory = Chart("VRAM", "GB", y_range=(0, 24), show_x=False)
    memory.set_data(
        [Line(name="VRAM", x=seconds, y=vram, token="local")],
        thresholds=[Threshold(value=20.4, label="85 %")],
        events=events,
    )
    memory.set_live(f"{vram[-1]:.1f}", "GB of 24.0")
    load = Chart("Utilisation, with a gap and a cursor", "%", y_range=(0, 100), name_events=False)
    load.set_data([Line(name="Utilisation", x=seconds, y=busy, token="local")], events=events)
    load.set_x_link(memory)
    load.set_cursor_x(seconds[350])
    return [memory, load, *_money_charts(numbers), _what_if(), *_other_charts(seconds, busy)]


def _money_charts(numbers: random.Random) -> list[Chart]:
    def dollars(value: float) -> str:
        return f"${value:,.2f}"

    days = [NOON + 86_400 * day for day in range(18)]
    spent = [day * 10.9 + math.sin(day) * 5 + 2 for day in range(18)]
    future = [days[-1] + 86_400 * day for day in range(13)]
    cash = Chart(
        "API cash, cumulative", value_text=dollars, tick_text=lambda value: f"${value:,.0f}", show_x=False
    )
    cash.set_data(
        [
            Line(name="API", x=days, y=spent, token="api", style="curve"),
            Line(
                name="Pace",
                x=future,
                y=[spent[-1] + 10 * day for day in range(13)],
                token="api",
                style="projection",
                label="$319 pace",
            ),
        ],
        bands=[
            Band(
                name="Range",
                x=future,
                low=[spent[-1] + 9 * day for day in range(13)],
                high=[spent[-1] + 12.3 * day for day in range(13)],
            )
        ],
        thresholds=[Threshold(value=500, label="Limit $500")],
        events=[ChartEvent(x=days[-1], label="Today")],
    )
    bars = Chart("Per day, fully loaded", value_text=dollars, tick_text=lambda value: f"${value:,.0f}")
    bars.set_data(
        bars=[
            Bars(name="Local", x=days, y=[2 + numbers.random() for _ in days], token="local"),
            Bars(name="API", x=days, y=[numbers.uniform(3, 18) for _ in days], token="api"),
            Bars(name="Held", x=days[-1:], y=[2.0], token="held", hatched=True),
        ]
    )
    bars.set_x_link(cash)
    return [cash, bars]


def _what_if() -> Chart:
    at = [step / 50 for step in range(51)]
    chart = Chart(
        "What if",
        x="number",
        x_title="Complexity threshold",
        value_text=lambda value: f"${value:,.2f}",
        tick_text=lambda value: f"${value:,.0f}",
    )
    chart.set_data(
        [
            Line(name="Cash", x=at, y=[450 - 250 * x * x for x in at], style="curve", label="Cash"),
            Line(
                name="Fully loaded",
                x=at,
                y=[500 - 240 * x * x for x in at],
                style="loaded",
                token="text2",
                label="Fully loaded",
            ),
        ],
        events=[ChartEvent(x=0.6, label="Now", token="text3"), ChartEvent(x=0.68, label="New")],
    )
    return chart


def _other_charts(seconds: list[float], busy: list[float | None]) -> list[Chart]:
    empty = Chart("Power", "W")
    empty.set_empty(
        "No NVIDIA GPU found",
        "The driver library isn’t installed, so there is nothing to chart.",
        "Looked for libnvidia-ml.so.1 at 14:02",
    )
    steps = Chart("Queue, in steps", "requests", unit_on_tick=True)
    waiting = [float(n * 7 % 9) for n in range(30)]
    running = [float(n * 5 % 6) for n in range(30)]
    steps.set_data(
        [
            Line(name="Waiting", x=seconds[::30], y=waiting, step=True, token="held"),
            Line(name="Running", x=seconds[::30], y=running, step=True, token="local"),
        ]
    )
    twin = Chart("Utilisation as a table", "%")
    twin.set_data([Line(name="Utilisation", x=seconds[390:500], y=busy[390:500], token="local")])
    twin.show_table(True)
    return [empty, steps, twin]


# -- tables


@dataclass(frozen=True)
class _Request:
    at: str
    side: str
    tokens: int | None
    cost: float | None
    total_s: float | None


_REQUESTS = (
    _Request("14:32:07", "API", 688, 0.0167, None),
    _Request("14:31:58", "Local", 912, 0.0024, 2.9),
    _Request("14:31:55", "Local", 887, 0.0025, 3.1),
    _Request("14:31:40", "API", 2140, 0.0147, 7.6),
    _Request("14:08:57", "API", 3310, None, 9.4),
)


def _side_cell(row: _Request) -> list[InlineRun]:
    token = "local_text" if row.side == "Local" else "api_text"
    icon = "cpu" if row.side == "Local" else "cloud"
    return [InlineRun(kind="icon", name=icon, token=token), InlineRun(text=row.side, token=token, gap=6)]


def _cost_cell(row: _Request) -> list[InlineRun]:
    if row.cost is None:
        return [InlineRun(kind="tag", text="Unpriced", token="held_text")]
    return [InlineRun(text=f"${row.cost:.4f}", token="text", weight=600)]


def _tables() -> list[QWidget]:
    columns = [
        Column[_Request](key="at", title="Time", value=lambda row: row.at),
        Column[_Request](key="side", title="Side", value=lambda row: row.side, cell=_side_cell, stretch=True),
        Column[_Request](key="in", title="In", value=lambda row: row.tokens, number=True, width=70, drop=1),
        Column[_Request](
            key="cost", title="Loaded cost", value=lambda row: row.cost, cell=_cost_cell, number=True
        ),
        Column[_Request](
            key="total", title="Total", value=lambda row: row.total_s, number=True, unit="s", width=70
        ),
    ]
    chosen = Table("Requests", ListModel(columns, _REQUESTS))
    chosen.sort_column(0)
    chosen.sort_column(0)
    pick = QItemSelectionModel.SelectionFlag
    chosen.selectionModel().select(chosen.table_model.index(3, 0), pick.Select | pick.Rows)
    chosen.pointed_row = 1
    narrow = Table("Requests, narrow", ListModel(columns, _REQUESTS))
    narrow.setEnabled(False)
    empty = Table("Requests, none", ListModel(columns))
    empty.set_empty(
        EmptyState("No requests yet", "What you send in Chat, and what programs send, is listed here.")
    )
    for table, width in ((chosen, 560), (narrow, 350), (empty, 400)):
        table.setFixedSize(width, 190)
    return [chosen, narrow, empty]


# -- levers


def _levers() -> QWidget:
    def sparse(*shown: int) -> Callable[[Number], str]:
        return lambda value: f"{value:,}" if value in shown else ""

    tenths = [Decimal(text) for text in ("0", "0.25", "0.5", "0.75", "1")]
    threshold = Lever(
        "Complexity threshold",
        "Higher keeps more prompts local",
        Scale((Decimal(0), Decimal(1)), Decimal("0.01"), tenths),
        Applied(value=Decimal("0.60")),
        tick_text=lambda value: f"{value:f}",
    )
    threshold.set_value(Decimal("0.68"))
    daily = Lever(
        "Local requests a day",
        "Then simple prompts overflow",
        Scale((0, 8000), 100, (0, 2000, 4000, 6000, 8000)),
        Applied(value=3000, origin="panel"),
        unit="a day",
        tick_text=sparse(0, 4000, 8000),
    )
    daily.set_value(3600)
    context = Lever(
        "Longest local context",
        "Longer prompts go to the API",
        Scale((2000, 8000, 32000, 128000)),
        Applied(value=16384, origin=".env"),
        unit="tokens",
        tick_text=lambda value: f"{int(value) // 1000} k",
    )
    wait = Lever(
        "Local wait, refused entry",
        "Spills over to the API after",
        Scale((Decimal(0), Decimal(20)), Decimal("0.5"), (0, 5, 10, 15, 20)),
        Applied(value=Decimal("8.0")),
        unit="s",
    )
    wait.box.setText("99")
    set_property(wait.box, tone="danger")
    limit = Lever(
        "Monthly API limit",
        "Change it where it is set",
        Scale((0, 1000), 10, (0, 250, 500, 750, 1000)),
        Applied(value=500, origin="environment", locked="SPEND_LIMIT_DOLLARS"),
        unit="a month",
        text=lambda value: f"${value:,}",
        tick_text=lambda value: f"${value:,}" if value % 500 == 0 else "",
    )
    powers = Lever(
        "Requests a day",
        "Each power of ten is as wide",
        Scale.logarithmic(10, 1_000_000),
        Applied(value=5000),
        unit="a day",
    )
    card = Card("Levers")
    for lever in (threshold, daily, context, wait, limit, powers):
        card.body.addWidget(lever)
    return card


# -- popovers, labels, cards


def _popovers() -> list[QWidget]:
    shown: list[QWidget] = []
    for width, many in ((280, False), (None, True)):
        popover = Popover("Popover", width_px=width)
        popover.column.addWidget(label("Wrapped text" if width else "As wide as its contents", weight=600))
        words = "A sentence that is longer than the popover is wide, and so has a second line."
        popover.column.addWidget(
            label(words if width else "A short line.", "small", level="2", wrap=bool(width))
        )
        for text in ("Open", "Copy")[: 1 + many]:
            button = QPushButton(text)
            set_property(button, compact=True)
            popover.column.addWidget(button)
        popover.setWindowFlags(Qt.WindowType.Widget)
        popover.setFixedSize(popover.sizeHint())
        shown.append(popover)
    return shown


def _labels() -> QWidget:
    holder = QWidget()
    holder.setFixedWidth(theme().px(280))
    column = QVBoxLayout(holder)
    column.setContentsMargins(0, 0, 0, 0)
    for level, tone in (("", ""), ("2", ""), ("3", ""), ("", "held"), ("", "danger"), ("", "ok")):
        column.addWidget(label(f"Label, {tone or f'level {level or 1}'}", level=level, tone=tone))
    lines = (
        ("ok", "Works", "Tested today at 14:02 in 312 ms."),
        ("danger", "Refused", "The key is not known."),
        ("held", "Slow", "It took 8.41 s."),
        ("busy", "Testing", ""),
        ("quiet", "", "Not tested yet."),
    )
    for tone, word, sentence in lines:
        line = ResultLine()
        line.tell(tone, word, sentence)
        column.addWidget(line)
    return holder


def _cards() -> list[QWidget]:
    made: list[QWidget] = []
    for title in ("A card with a title", ""):
        card = Card(title)
        for words in ("First row", "Second row, after a hairline"):
            card.add_row(label(words))
        card.setFixedWidth(260)
        made.append(card)
    for name in ("sunken", "inset"):
        frame = QFrame()
        set_property(frame, **{name: True})
        QVBoxLayout(frame).addWidget(label(f"{name.capitalize()} frame"))
        made.append(frame)
    folds = Card("Folds: closed, open")
    for opened in (False, True):
        key, body = f"gallery/{opened}", label("The request took 3.1 s.", "small")
        folds.add_row(Fold("When", "at 10:04, took 3.1 s", body, key=key, opened=opened, parent=folds))
    folds.setFixedWidth(260)
    made.append(folds)
    return made


def add_kit(gallery: Gallery) -> States:
    """Add the sections, and return the one whose pictures have to be taken once it is shown."""
    gallery.section("Controls in every state")
    states = States()
    gallery.row(states)
    gallery.section("Rail: chosen, hovered, with a lamp")
    rail = Rail([("chat", "Chat", "chats"), ("machine", "Machine", "hard-drives")])
    rail.set_lamp("machine", "alert", "VRAM 91 %")
    rail.setFixedHeight(180)
    gallery.row(rail, *_popovers(), _labels(), *_cards())
    gallery.section("Levers: changed, focused, irregular, refused, locked, logarithmic")
    gallery.row(_levers())
    gallery.section("Tables: sorted with a selected and a hovered row, narrow and disabled, empty")
    gallery.row(*_tables())
    gallery.section("A log that follows, one that is searched; downloads in every state")
    gallery.row(*logs(), download_rows())
    gallery.section("Charts")
    charts = _charts()
    grid = QGridLayout()
    grid.setSpacing(12)
    for number, chart in enumerate(charts):
        frame = QFrame()
        set_property(frame, card=True)
        column = QVBoxLayout(frame)
        column.setContentsMargins(14, 12, 14, 12)
        column.addWidget(chart)
        frame.setFixedHeight(theme().px(220))
        grid.addWidget(frame, number // 2, number % 2)
    gallery.column.addLayout(grid)
    return states
