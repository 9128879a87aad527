"""One setting on the page: name, description, field with unit and range, origin, and a button to put it back.

A row is built from a ``SettingInfo`` alone, so a new setting of the core needs no new widget. The words stand
beside their control, or above it where the column is too narrow for both.
"""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from core.errors import SignalboxError
from gui.preferences.catalogue import SETTINGS, SectionText, setting_text
from gui.preferences.section import COLUMN_PX, Section
from gui.preferences.settings_model import SettingsModel
from gui.shell.tasks import Tasks
from gui.theme.theme import theme
from gui.widgets.card import CARD_PADDING_PX, Card
from gui.widgets.fields import ChoiceField, Field, PathField, SwitchField, TextField
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import ORIGIN_PLACES, ResultLine, label
from gui.widgets.origin_tag import OriginTag

if TYPE_CHECKING:
    from core.settings import SettingInfo


WORDS_PX = 160
"""With less than this for its words, a row puts them on top."""


class Sides(QWidget):
    """``control_px`` is the control's width before zoom; ``section`` says how much room there is."""

    def __init__(
        self, section: Section, name: str, description: str, control: QWidget, *, control_px: int
    ) -> None:
        super().__init__()
        self._control = control
        self._control_px = control_px
        self.name_label: QLabel = label(name, "body", weight=600)
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(self.name_label)
        words.addWidget(label(description, "small", level="2", wrap=True))
        words.addStretch(1)
        self._sides = QHBoxLayout(self)
        self._sides.setContentsMargins(0, 4, 0, 4)
        self._sides.addLayout(words, 1)
        # In its own line: a column would ask for the height at the row's whole width, at which the
        # control's note takes fewer lines than at the width the control has.
        line = QHBoxLayout()
        line.setSpacing(0)
        line.addWidget(control)
        line.addStretch(1)
        self._sides.addLayout(line)
        self._room_px = theme().px(COLUMN_PX)
        section.room_changed.connect(self.fit)
        theme().changed.connect(self._stand)
        self.fit(section.room_px)

    def fit(self, room_px: int) -> None:
        """Stand in ``room_px`` of a column."""
        self._room_px = room_px
        self._stand()

    def set_narrow(self, *, narrow: bool) -> None:
        """Called when the row has its words on top (``narrow``) or beside the control."""

    def _stand(self) -> None:
        room_px = self._room_px - 2 * CARD_PADDING_PX - 4
        wanted_px = theme().px(self._control_px)
        narrow = room_px < wanted_px + theme().px(WORDS_PX)
        self.set_narrow(narrow=narrow)
        direction = QBoxLayout.Direction.TopToBottom if narrow else QBoxLayout.Direction.LeftToRight
        self._sides.setDirection(direction)
        self._sides.setSpacing(6 if narrow else 16)
        self._control.setFixedWidth(max(1, min(wanted_px, room_px)))


TAG_PX, CONTROL_PX = 104, 396
_ANY_WIDTH = (1 << 24) - 1  # QWIDGETSIZE_MAX


class SettingRow(Sides):
    """Shows one setting and changes it at once. What was refused stays typed, with the reason under it."""

    def __init__(self, section: Section, model: SettingsModel, info: SettingInfo) -> None:
        text = setting_text(info.name)
        self.name = info.name
        self.field = make_field(info)
        self.tag = OriginTag()
        self.put_back = IconButton("arrow-counter-clockwise", f"Put {text.label} back")
        self.note = label("", "caption", level="3", wrap=True)
        self.problem = ResultLine()
        super().__init__(section, text.label, info.description, self._make_control(), control_px=CONTROL_PX)
        self._model = model
        self._tasks = Tasks(self)
        self._turn = asyncio.Lock()  # two quick changes are written in the order they were made
        self.name_label.setBuddy(self.field)
        self.field.set_names(text.label, info.description)
        self.field.committed.connect(self._apply)
        self.field.reverted.connect(self._show)
        self.put_back.clicked.connect(self._start_put_back)
        self.setFocusProxy(self.field)
        model.changed.connect(self._show)
        self._show()

    def _make_control(self) -> QWidget:
        entry = QHBoxLayout()
        entry.setSpacing(8)
        entry.addWidget(self.field, 1)
        self._tag_column = QWidget()
        tag = QHBoxLayout(self._tag_column)
        tag.setContentsMargins(0, 0, 0, 0)
        tag.addWidget(self.tag)
        tag.addStretch(1)
        entry.addWidget(self._tag_column)
        entry.addWidget(self.put_back)
        control = QWidget()
        column = QVBoxLayout(control)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(entry)
        column.addWidget(self.note)
        column.addWidget(self.problem)
        column.addStretch(1)
        return control

    @property
    def accessible_name(self) -> str:
        """What assistive technology calls the field."""
        target = self.field.focusProxy()
        return target.accessibleName() if target is not None else ""

    @property
    def problem_text(self) -> str:
        """What is wrong with the entry, empty when it is in force."""
        return self.problem.text

    def _show(self) -> None:
        info = self._model.infos()[self.name]
        # A refused entry is kept until it is corrected or given up, whatever else changes meanwhile.
        if not self.problem_text or self.sender() is self.field:
            self.field.show_value(shown_value(info.value))
            self._clear_problem()
        self.field.set_locked(info.locked)
        wins = f"{info.env_name} is set there and wins" if info.locked and info.name != "home" else ""
        self.tag.set_origin(info.origin, locked=info.locked, tooltip=wins)
        self.put_back.setEnabled(info.origin == "panel")
        default = describe_value(info.default)
        self.put_back.setToolTip(
            f"Put back: {default}" if info.origin == "panel" else "Nothing set here to put back"
        )
        self.note.setText(self._note(info))
        self.note.setVisible(bool(self.note.text()) and not self.problem_text)
        if stored := next((p for p in self._model.store.problems if p.name == self.name), None):
            self.problem.tell("held", "", stored.message)

    def _note(self, info: SettingInfo) -> str:
        if info.name == "home":
            return f"Set {info.env_name} in the environment, and start again, to keep it elsewhere."
        if info.locked:
            place = ORIGIN_PLACES[info.origin]
            if info.origin == "home .env":
                place += f" ({self._model.current.home / '.env'})"
            return f"{info.env_name} is set in {place}, and that wins. Unset it to set the value here."
        return allowed_words(info)

    def _apply(self, value: object) -> None:
        self._tasks.start(self._put(value))

    def _start_put_back(self) -> None:
        self._tasks.start(self._put_back())

    async def _put(self, value: object) -> None:
        try:
            async with self._turn:
                if value is None and self._model.infos()[self.name].default is None:
                    await self._model.put_back(self.name)  # an emptied field means "not set"
                else:
                    await self._model.put(self.name, "" if value is None else value)
        except SignalboxError as refused:
            self._refuse(refused)
        else:
            self._clear_problem()
            self._show()

    async def _put_back(self) -> None:
        try:
            async with self._turn:
                await self._model.put_back(self.name)
        except SignalboxError as refused:
            self._refuse(refused)
        else:
            self._clear_problem()
            self._show()
            self.field.setFocus(Qt.FocusReason.OtherFocusReason)

    def _refuse(self, error: SignalboxError) -> None:
        self.problem.tell("danger", "", with_thousands(str(error)))
        self.note.hide()
        self.field.set_invalid(True)

    def _clear_problem(self) -> None:
        self.problem.clear()
        self.field.set_invalid(False)

    def set_narrow(self, *, narrow: bool) -> None:
        """Side by side, the tags of all rows begin in one line; in a narrow row the field has that room."""
        width = theme().px(TAG_PX)
        self._tag_column.setMinimumWidth(0 if narrow else width)
        self._tag_column.setMaximumWidth(_ANY_WIDTH if narrow else width)


class SettingsSection(Section):
    """A section that is nothing but its settings."""

    def __init__(self, text: SectionText, model: SettingsModel) -> None:
        super().__init__(text)
        self.rows = add_setting_rows(self, model)


def add_setting_rows(section: Section, model: SettingsModel) -> dict[str, SettingRow]:
    """Give ``section`` a card for each group of its settings, in the catalogue's order."""
    cards: dict[str, Card] = {}
    rows: dict[str, SettingRow] = {}
    infos = model.infos()
    order = [*(name for name in SETTINGS if name in infos), *(name for name in infos if name not in SETTINGS)]
    for name in order:
        info, text = infos[name], setting_text(name)
        if info.secret or text.section != section.text.id:
            continue
        if text.card not in cards:
            cards[text.card] = Card(text.card)
            section.add_card(cards[text.card])
        row = SettingRow(section, model, info)
        cards[text.card].add_row(row)
        rows[name] = row
        section.anchors[name] = row
    return rows


def make_field(info: SettingInfo) -> Field:
    """The editor that fits a setting's kind."""
    text = setting_text(info.name)
    if isinstance(info.default, bool):
        return SwitchField()
    if text.choices:
        return ChoiceField(text.choices)
    if info.name.endswith("_path"):
        return PathField(patterns="GGUF models (*.gguf)", placeholder=text.placeholder)
    return TextField(placeholder=text.placeholder, number=is_number(info), unit=info.unit)


def is_number(info: SettingInfo) -> bool:
    number = isinstance(info.default, int | float | Decimal) and not isinstance(info.default, bool)
    return number or info.allowed.startswith(("a number", "a whole number", "an amount"))


def shown_value(value: object) -> object:
    """A value as its field shows it: numbers without an exponent or a tail of zeros."""
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, Decimal):
        plain = format(value, "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    return value


def describe_value(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(shown_value(value))


def allowed_words(info: SettingInfo) -> str:
    """The line under a field: the range and the default, or what the choice means."""
    meanings = {value: meaning for value, _, meaning in setting_text(info.name).choices}
    if meanings:
        return meanings.get(str(info.value), "")
    parts: list[str] = []
    if is_number(info):
        parts.append(with_thousands(info.allowed))
    elif info.unit:  # a text that is read, such as a list of amounts: its form has to be seen
        parts.append(f"{info.allowed} ({info.unit})")
    if info.default is not None and info.origin != "default" and not isinstance(info.default, bool):
        parts.append(f"default {describe_value(info.default)}")
    words = ", ".join(parts)
    return words[:1].upper() + words[1:]


def with_thousands(text: str) -> str:
    """``1000000`` as ``1,000,000``; a number that is part of a name or an address stays as it is."""
    return re.sub(r"(?<![\w./:'-])\d{5,}(?![\w/:'-])", lambda found: f"{int(found[0]):,}", text)
