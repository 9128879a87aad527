"""The lever: a slider with its scale, a box to type in, where the value comes from, and a way back.

Values are ``int`` or ``Decimal`` and go from step to step exactly; a float is only ever a place on the screen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from itertools import pairwise

from PySide6.QtCore import QEvent, QObject, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QFocusEvent,
    QFontMetricsF,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
)
from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QLineEdit, QSizePolicy, QSlider, QVBoxLayout, QWidget

from gui.theme.theme import set_property, theme
from gui.widgets.copying import announce
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import plain_label
from gui.widgets.origin_tag import OriginTag

Number = int | Decimal

ROW_PX, LOW_ROW_PX = 62, 54
NAME_PX, SLIDER_PX, BOX_PX, TAG_PX, BACK_PX = 176, 212, 100, 92, 24
_HANDLE_PX, _GROOVE_PX, _GHOST_PX, _RING_PX = 14, 4, 11, 20
_SPACE_PX, _WORDS_PX = 12, 32
_PAGE = 10
_FINE = 1000
"""Places of a scale that has no even steps, for the slider that a screen reader sees."""


class Scale:
    """Where values stand between the two ends. ``stops`` are evenly spaced, and so is what lies between two.

    Two stops make a plain scale; ``(2_000, 8_000, 32_000)`` gives each of its parts the same room. ``step`` is what
    one press of an arrow key changes; without it a step is the second digit of the value (1,200 goes to 1,300, and
    12,000 to 13,000), which suits a scale over several powers of ten.
    """

    def __init__(
        self, stops: Sequence[Number], step: Number | None = None, ticks: Sequence[Number] | None = None
    ) -> None:
        if len(stops) < 2 or any(b <= a for a, b in pairwise(stops)):
            raise ValueError(f"stops rise from the lowest value to the highest: {stops}")
        self.stops = tuple(stops)
        self.step = step
        self.ticks = tuple(stops if ticks is None else ticks)
        self.whole = all(isinstance(one, int) for one in (*stops, *([] if step is None else [step])))

    @classmethod
    def logarithmic(cls, low: int, high: int) -> Scale:
        """A scale on which each power of ten has the same room; both ends are powers of ten."""
        stops = [low]
        while stops[-1] < high:
            stops.append(stops[-1] * 10)
        return cls(stops)

    @property
    def low(self) -> Number:
        return self.stops[0]

    @property
    def high(self) -> Number:
        return self.stops[-1]

    def clamp(self, value: Number) -> Number:
        return min(self.high, max(self.low, value))

    def share(self, value: Number) -> float:
        """Return where a value stands, 0 to 1."""
        value = self.clamp(value)
        parts = len(self.stops) - 1
        for part, (a, b) in enumerate(pairwise(self.stops)):
            if value <= b:
                return (part + float((value - a) / (b - a))) / parts
        return 1.0

    def at(self, share: float) -> Number:
        """Return the value at a place, on a step."""
        parts = len(self.stops) - 1
        place = min(1.0, max(0.0, share)) * parts
        part = min(parts - 1, int(place))
        a, b = self.stops[part], self.stops[part + 1]
        raw = Decimal(a) + Decimal(b - a) * Decimal(str(round(place - part, 9)))
        step = Decimal(self._step_near(raw))
        base = Decimal(self.low) if self.step is not None else Decimal(0)
        stepped = base + ((raw - base) / step).quantize(Decimal(1), rounding=ROUND_HALF_EVEN) * step
        return self.clamp(self._typed(stepped))

    def moved(self, value: Number, steps: int) -> Number:
        """Return the value ``steps`` away."""
        for _ in range(abs(steps)):
            value = self._next(value, up=steps > 0)
        return value

    def _next(self, value: Number, *, up: bool) -> Number:
        if self.step is not None:
            return self.clamp(value + self.step if up else value - self.step)
        # 1,000 goes down by the step of what is below it, so that a way up and down ends where it began.
        below = Decimal(value) - (0 if up else Decimal("1e-9"))
        step = self._step_near(below)
        return self.clamp(self._typed(Decimal(value) + (step if up else -step)))

    def _step_near(self, value: Decimal) -> Decimal:
        if self.step is not None:
            return Decimal(self.step)
        power = Decimal(10) ** (math.floor(math.log10(value)) - 1) if value > 0 else Decimal(1)
        return max(Decimal(1), power) if self.whole else power

    def read(self, text: str) -> Number | None:
        """Return a typed value, ``None`` where it is no number, too fine, or outside of the scale."""
        try:
            value = Decimal(text.replace(",", "").replace(" ", "").strip())
        except InvalidOperation:
            return None
        if not value.is_finite() or not self.low <= value <= self.high:
            return None
        if self.whole:
            return int(value) if value == value.to_integral_value() else None
        return self._typed(value)

    def _typed(self, value: Decimal) -> Number:
        if self.whole:
            return int(value)
        exponents = [Decimal(one).as_tuple().exponent for one in (*self.stops, self.step or 1)]
        places = min(one for one in exponents if isinstance(one, int))
        return (
            value
            if self.step is None
            else value.quantize(Decimal(1).scaleb(places), rounding=ROUND_HALF_EVEN)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The value in force. ``locked`` names the variable that wins over the panel: ``SPEND_LIMIT_DOLLARS``."""

    value: Number
    origin: str = "default"
    locked: str = ""


def number_text(value: Number) -> str:
    """Return a number with thousands commas, and the decimals it has."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,f}"


class _Slider(QSlider):
    """A real slider to the keyboard and to a screen reader, painted as the design language has it."""

    moved_to = Signal(float)
    released_at = Signal()

    def __init__(self, lever: Lever) -> None:
        super().__init__(Qt.Orientation.Horizontal, lever)
        self._lever = lever
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)

    def sizeHint(self) -> QSize:
        return QSize(theme().px(SLIDER_PX), theme().px(42))

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def groove(self) -> QRectF:
        px = theme().px
        reach = px(_RING_PX) / 2
        return QRectF(reach, px(12) - px(_GROOVE_PX) / 2, self.width() - 2 * reach, px(_GROOVE_PX))

    def place_of(self, value: Number) -> float:
        """Return the x of a value in pixels."""
        groove = self.groove()
        return groove.left() + groove.width() * self._lever.scale.share(value)

    def paintEvent(self, event: QPaintEvent) -> None:
        unit, lever, groove = theme(), self._lever, self.groove()
        px = unit.px
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        off = lever.is_locked or not self.isEnabled()
        here, y = self.place_of(lever.value), groove.center().y()
        painter.setBrush(unit.color("track" if off else "control"))
        painter.drawRoundedRect(groove, groove.height() / 2, groove.height() / 2)
        painter.setBrush(unit.color("track" if off else "ink"))
        filled = QRectF(groove.left(), groove.top(), here - groove.left(), groove.height())
        painter.drawRoundedRect(filled, groove.height() / 2, groove.height() / 2)
        self._paint_scale(painter, groove)
        if lever.is_changed:
            ghost = QPointF(self.place_of(lever.applied.value), y)
            painter.setPen(QPen(unit.color("control"), 1.5 * unit.zoom))
            painter.setBrush(unit.color("surface"))
            painter.drawEllipse(ghost, px(_GHOST_PX) / 2 - 1, px(_GHOST_PX) / 2 - 1)
        if self.hasFocus():
            painter.setPen(QPen(unit.color("focus"), 2))
            painter.setBrush(unit.color("surface"))
            painter.drawEllipse(QPointF(here, y), px(_RING_PX) / 2 - 1, px(_RING_PX) / 2 - 1)
        painter.setPen(QPen(unit.color("control" if off else "ink"), 2 * unit.zoom))
        painter.setBrush(unit.color("hover" if self.underMouse() and not off else "surface"))
        painter.drawEllipse(QPointF(here, y), px(_HANDLE_PX) / 2 - 1, px(_HANDLE_PX) / 2 - 1)
        painter.end()

    def _paint_scale(self, painter: QPainter, groove: QRectF) -> None:
        unit, lever = theme(), self._lever
        px = unit.px
        painter.setFont(unit.font("caption"))
        metrics = QFontMetricsF(painter.font())
        top = groove.bottom() + px(4)
        painter.setPen(unit.color("text2"))
        taken: list[tuple[float, float]] = []
        ticks = lever.scale.ticks
        for tick in (ticks[0], ticks[-1], *ticks[1:-1]):  # the ends are worth most where not all have room
            x = self.place_of(tick)
            painter.fillRect(QRectF(round(x) - 0.5, top, 1, px(4)), unit.color("track"))
            text = lever.tick_text(tick)
            width = metrics.horizontalAdvance(text)
            start = min(max(0.0, x - width / 2), self.width() - width)
            end = start + width
            if text and not any(start < right + px(4) and left < end + px(4) for left, right in taken):
                painter.drawText(QPointF(start, top + px(5) + metrics.ascent()), text)
                taken.append((start, end))

    # -- pointer and keys ------------------------------------------------------------------------

    def _share_at(self, x: float) -> float:
        groove = self.groove()
        return (x - groove.left()) / max(1.0, groove.width())

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and not self._lever.is_locked:
            self.moved_to.emit(self._share_at(event.position().x()))
        event.accept()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if event.buttons() & Qt.MouseButton.LeftButton and not self._lever.is_locked:
            self.moved_to.emit(self._share_at(event.position().x()))
        event.accept()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and not self._lever.is_locked:
            self.released_at.emit()
        event.accept()

    def wheelEvent(self, event: object) -> None:
        """A wheel turned over the page scrolls it, and changes no setting in passing."""
        event.ignore()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if not self._lever.take_key(event):
            event.ignore()

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.update()


class Lever(QWidget):
    """One row. ``apply`` tells it what is in force; ``value`` is what stands there now.

    Arrow keys are one step, Page ten, Home and End the ends; Ctrl+Z takes back the last change, in the box too.
    ``effect`` says what more of it does ("Higher keeps more prompts local").

    Signals:
    changed: the value while it moves, as ``int`` or ``Decimal``.
    committed: the value once it rests: after a drag, a key, or Enter in the box.
    unread_changed: what is typed rests and can't be read, or it is over with that. See ``is_unread``.
    """

    changed = Signal(object)
    committed = Signal(object)
    unread_changed = Signal()

    def __init__(
        self,
        name: str,
        effect: str,
        scale: Scale,
        applied: Applied,
        parent: QWidget | None = None,
        *,
        unit: str = "",
        text: Callable[[Number], str] = number_text,
        tick_text: Callable[[Number], str] | None = None,
    ) -> None:
        super().__init__(parent)
        self.name, self.effect, self.scale, self.unit = name, effect, scale, unit
        self.text, self.tick_text = text, tick_text or text
        self.applied = applied
        self.value: Number = applied.value
        self._history: list[Number] = []
        self._before_drag: Number | None = None
        self._low = False
        self._room_px: int | None = None
        self._build()
        theme().changed.connect(self._restyle)
        self._restyle()
        self.apply(applied)

    def _build(self) -> None:
        self._name, self._effect = plain_label(self.name), plain_label(self.effect)
        for label, properties in (
            (self._name, {"role": "body", "weight": 500}),
            (self._effect, {"role": "caption", "level": "2"}),
        ):
            set_property(label, tabular=False, **properties)
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addWidget(self._name)
        words.addWidget(self._effect)
        self.slider = _Slider(self)
        self.box = QLineEdit()
        set_property(self.box, compact=True, tabular=True)
        self._unit = plain_label(self.unit, self.box)
        set_property(self._unit, role="caption", level="2")
        self._unit.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.tag = OriginTag()
        self.back = IconButton("arrow-counter-clockwise", f"Put {self.name} back", size=BACK_PX)
        self._sides = QBoxLayout(QBoxLayout.Direction.LeftToRight, self)
        self._sides.setContentsMargins(0, 0, 0, 0)
        self._row = QHBoxLayout()
        self._words = QWidget()
        self._words.setLayout(words)
        words.setContentsMargins(0, 0, 0, 0)
        self._tag_room = QWidget()
        tag_row = QHBoxLayout(self._tag_room)
        tag_row.setContentsMargins(0, 0, 0, 0)
        tag_row.addWidget(self.tag)
        tag_row.addStretch(1)
        middle = Qt.AlignmentFlag.AlignVCenter
        self._sides.addWidget(self._words, 0, middle)
        self._sides.addLayout(self._row)
        self._row.addWidget(self.slider, 0, middle)
        self._row.addWidget(self.box, 0, middle)
        self._row.addWidget(self._tag_room, 0, middle)
        self._row.addWidget(self.back, 0, middle)
        self._row.addStretch(1)
        keep = self.back.sizePolicy()
        keep.setRetainSizeWhenHidden(True)
        self.back.setSizePolicy(keep)
        self.slider.moved_to.connect(self._on_drag)
        self.slider.released_at.connect(self._on_drop)
        self.slider.valueChanged.connect(self._on_slider_value)
        self.box.returnPressed.connect(self._on_typed)
        self.box.editingFinished.connect(self._on_typed)
        self.box.textEdited.connect(self._on_text)
        self.box.installEventFilter(self)
        self.back.clicked.connect(self.put_back)

    # -- state -----------------------------------------------------------------------------------

    @property
    def is_changed(self) -> bool:
        return self.value != self.applied.value

    @property
    def is_locked(self) -> bool:
        return bool(self.applied.locked)

    @property
    def is_unread(self) -> bool:
        """Whether the box holds what is no value of the scale, so that ``value`` is not what is meant."""
        return self.box.isModified() and self.scale.read(self.box.text()) is None

    def forget_typed(self) -> None:
        """Give up what is typed into the box and is not the value yet."""
        was_unread = self.is_unread
        self._show()
        if was_unread:
            self.unread_changed.emit()

    def apply(self, applied: Applied) -> None:
        """Show what is in force now; the lever moves there, and nothing is left to undo."""
        self.applied = applied
        self._history.clear()
        self.value = applied.value
        self.box.setReadOnly(self.is_locked)
        self._show()

    def set_value(self, value: Number) -> None:
        """Move the lever; what stood before can be undone."""
        value = self.scale.clamp(value)
        if self.is_locked or value == self.value:
            self.forget_typed()
            return
        self._history.append(self.value)
        self._move(value)
        self.committed.emit(value)

    def put_back(self) -> None:
        """Return to the value in force."""
        self.set_value(self.applied.value)
        self.slider.setFocus()  # the button is gone

    def undo(self) -> bool:
        """Take back the last change; ``False`` when there is none."""
        if not self._history or self.is_locked:
            return False
        value = self._history.pop()
        self._move(value)
        self.committed.emit(value)
        return True

    def set_low(self, low: bool) -> None:
        """Take a row of 54 px instead of 62, where the window is low."""
        self._low = low
        self._restyle()

    # -- keys ------------------------------------------------------------------------------------

    def fit(self, room_px: int) -> None:
        """Stand in a column of ``room_px``: where it is too narrow for all, the words stand over the control."""
        if room_px != self._room_px:
            self._room_px = room_px
            self._restyle()

    def take_key(self, event: QKeyEvent) -> bool:
        """Do what a key asks for; ``False`` when it asks for nothing."""
        keys = Qt.Key
        steps = {
            keys.Key_Left: -1,
            keys.Key_Down: -1,
            keys.Key_Right: 1,
            keys.Key_Up: 1,
            keys.Key_PageDown: -_PAGE,
            keys.Key_PageUp: _PAGE,
        }
        if event.matches(QKeySequence.StandardKey.Undo):
            return self.undo()
        key = event.key()
        if key in (keys.Key_Home, keys.Key_End):
            goal = self.scale.low if key == keys.Key_Home else self.scale.high
        elif key in steps:
            goal = self.scale.moved(self.value, steps[keys(key)])
        else:
            return False
        self.set_value(goal)
        return True

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self.box and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() == Qt.Key.Key_Escape and self.box.isModified():
                self.forget_typed()
                return True
            if event.matches(QKeySequence.StandardKey.Undo) and not self.box.isModified():
                return self.undo()
            if event.key() in (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown):
                return self.take_key(event)
        if watched is self.box and event.type() == QEvent.Type.Resize:
            self._place_unit()
        return super().eventFilter(watched, event)

    # -- inside ----------------------------------------------------------------------------------

    def _move(self, value: Number) -> None:
        self.value = value
        self._show()
        self.changed.emit(value)

    def _on_drag(self, share: float) -> None:
        if self._before_drag is None:
            self._before_drag = self.value
        value = self.scale.at(share)
        if value != self.value:
            self._move(value)

    def _on_drop(self) -> None:
        before, self._before_drag = self._before_drag, None
        if before is not None and before != self.value:
            self._history.append(before)
            self.committed.emit(self.value)

    def _on_slider_value(self, place: int) -> None:
        """A screen reader set the slider's own value."""
        if place != self._slider_place(self.value):
            self.set_value(self._value_at(place))

    def _on_text(self) -> None:
        was_marked = self._is_marked
        self._mark(not self.is_unread)
        if was_marked and not self._is_marked:
            self.unread_changed.emit()

    def _on_typed(self) -> None:
        if not self.box.isModified():
            return
        value = self.scale.read(self.box.text())
        self._mark(value is not None)
        if value is None:
            announce(self.box, f"{self.name}: {self.box.accessibleDescription()}")
            self.unread_changed.emit()
        else:
            self.box.setModified(False)
            self.set_value(value)

    @property
    def _is_marked(self) -> bool:
        return self.box.property("tone") == "danger"

    def _mark(self, valid: bool) -> None:
        said = (
            "" if valid else f"Type a number from {self.text(self.scale.low)} to {self.text(self.scale.high)}"
        )
        if not valid and self.scale.whole:
            said = said.replace("a number", "a whole number")
        if self._is_marked == valid:
            set_property(self.box, tone="" if valid else "danger")
            set_property(self._effect, tone="" if valid else "danger")
        # In few words: beside the slider there is room for some thirty letters.
        whole = "Whole, from" if self.scale.whole else "From"
        self._effect.setText(
            self.effect if valid else f"{whole} {self.text(self.scale.low)} to {self.text(self.scale.high)}"
        )
        self.box.setToolTip(said)
        self.box.setAccessibleDescription(said or self._state())

    def _slider_place(self, value: Number) -> int:
        if len(self.scale.stops) == 2 and self.scale.step is not None:
            return int((Decimal(value) - Decimal(self.scale.low)) / Decimal(self.scale.step))
        return round(self.scale.share(value) * _FINE)

    def _value_at(self, place: int) -> Number:
        if len(self.scale.stops) == 2 and self.scale.step is not None:
            return self.scale.moved(self.scale.low + place * self.scale.step, 0)
        return self.scale.at(place / _FINE)

    def _state(self) -> str:
        """What a screen reader says after name and value."""
        parts = [f"was {self._with_unit(self.applied.value)}"] if self.is_changed else []
        if self.is_locked:
            parts.append(f"locked, set by {self.applied.locked}")
        if self.effect:
            parts.append(self.effect[:1].lower() + self.effect[1:])
        return ", ".join(parts)

    def _with_unit(self, value: Number) -> str:
        return f"{self.text(value)} {self.unit}".strip()

    def _show(self) -> None:
        self.box.setText(self.text(self.value))
        self.box.setCursorPosition(0)
        self.box.setModified(False)
        self._mark(True)
        self.slider.blockSignals(True)
        self.slider.setRange(0, self._slider_place(self.scale.high))
        self.slider.setValue(self._slider_place(self.value))
        self.slider.blockSignals(False)
        said = self._with_unit(self.value)
        self.slider.setAccessibleName(f"{self.name}, {said}")
        self.slider.setAccessibleDescription(self._state())
        self.box.setAccessibleName(f"{self.name}{f', in {self.unit}' if self.unit else ''}")
        self.box.setAccessibleDescription(self._state())
        tooltip = f"{self.applied.locked} sets this. Change it there." if self.is_locked else ""
        for widget in (self.slider, self.box):
            widget.setToolTip(tooltip)
        if self.is_changed:
            self.tag.set_was(self.text(self.applied.value))
        else:
            self.tag.set_origin(self.applied.origin, locked=self.is_locked, tooltip=tooltip)
        self.back.setVisible(self.is_changed)
        self.back.set_name(f"Put {self.name} back to {self._with_unit(self.applied.value)}")
        self.slider.update()

    def _place_unit(self) -> None:
        px = theme().px
        size = self._unit.sizeHint()
        x = self.box.width() - size.width() - px(6)
        self._unit.setGeometry(x, (self.box.height() - size.height()) // 2, size.width(), size.height())
        # The style sheet's padding of 10 px on both sides is too much beside a unit.
        self.box.setTextMargins(-px(3) if self.unit else 0, 0, size.width() - px(6) if self.unit else 0, 0)

    def _restyle(self) -> None:
        px = theme().px
        control = SLIDER_PX + BOX_PX + TAG_PX + BACK_PX + 3 * _SPACE_PX
        over = self._room_px is not None and self._room_px < px(NAME_PX + _SPACE_PX + control)
        self._sides.setDirection(
            QBoxLayout.Direction.TopToBottom if over else QBoxLayout.Direction.LeftToRight
        )
        self._sides.setSpacing(0 if over else px(_SPACE_PX))
        self._row.setSpacing(px(_SPACE_PX))
        self._words.setMinimumWidth(0 if over else px(NAME_PX))
        self._words.setMaximumWidth(16_777_215 if over else px(NAME_PX))  # QWIDGETSIZE_MAX
        self.box.setFixedWidth(px(BOX_PX))
        self._tag_room.setFixedWidth(px(TAG_PX))
        height = (LOW_ROW_PX if self._low else ROW_PX) + (_WORDS_PX if over else 0)
        self.setFixedHeight(px(height))
        missing = 0 if self._room_px is None else max(0, px(control) - self._room_px)
        size = self.slider.sizeHint()
        self.slider.setFixedSize(size - QSize(min(missing, size.width() // 2), 0))
        self._place_unit()
