"""One setting on the page: name, description, field with unit and range, origin, and a button to put it back.

A row is built from a ``SettingInfo`` alone, so a new setting of the core needs no new widget. The words stand
beside their control, or above it where the column is too narrow for both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from core.errors import SignalboxError
from gui.preferences.catalogue import SETTINGS, SectionText, setting_text
from gui.preferences.model_field import MODEL_SIDES, ModelField
from gui.preferences.section import COLUMN_PX, Section
from gui.preferences.settings_model import SettingsModel
from gui.preferences.words import (
    describe_value,
    field_value,
    is_number,
    note_words,
    problem_words,
    refusal_words,
    tooltip_words,
)
from gui.shell.tasks import Tasks
from gui.theme.theme import set_property, theme
from gui.widgets.card import CARD_PADDING_PX, Card
from gui.widgets.fields import ChoiceField, Field, PathField, SwitchField, TextField
from gui.widgets.fold import Fold
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


LOOKED_AT = frozenset({"anthropic_model", "vllm_model", "local_model_path"})
"""What names something that may not be there, which takes a moment to find out."""


class SettingRow(Sides):
    """Shows one setting and changes it at once. What was refused stays typed, with the reason under it."""

    def __init__(self, section: Section, model: SettingsModel, info: SettingInfo) -> None:
        text = setting_text(info.name)
        self.name = info.name
        self.field = make_field(info, model)
        self.tag = OriginTag()
        self.put_back = IconButton("arrow-counter-clockwise", f"Put {text.full_label} back")
        self.note = label("", "caption", level="3", wrap=True)
        self.problem = ResultLine()
        self.anyway = QPushButton("Use it anyway")
        self._doubted: object = None
        super().__init__(section, text.label, info.description, self._make_control(), control_px=CONTROL_PX)
        self._model = model
        self._tasks = Tasks(self)
        self._is_refused = False
        self._turn = asyncio.Lock()  # two quick changes are written in the order they were made
        self.name_label.setBuddy(self.field)
        self.field.set_names(text.full_label, info.description)
        self.field.committed.connect(self._apply)
        self.field.reverted.connect(self._show)
        self.anyway.setAccessibleName(f"Use this for {text.full_label} anyway")
        self.anyway.clicked.connect(self._use_anyway)
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
        set_property(self.anyway, compact=True)
        self.anyway.hide()
        column.addWidget(self.anyway, 0, Qt.AlignmentFlag.AlignLeft)
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
        if not self._is_refused or self.sender() is self.field:
            self.field.show_value(field_value(info))
            self._clear_problem()
        self.field.set_locked(info.locked)
        wins = f"{info.env_name} is set there and wins" if info.locked and info.name != "home" else ""
        self.tag.set_origin(info.origin, locked=info.locked, tooltip=wins)
        self._show_put_back(info)
        self.note.setText(self._note(info))
        self.note.setVisible(bool(self.note.text()) and not self.problem_text)
        self.field.setToolTip(tooltip_words(info))
        stored = next((p for p in self._model.store.problems if p.name == self.name), None)
        if stored is not None and not self._is_refused:
            self.problem.tell("held", "", problem_words(info, stored))

    def _note(self, info: SettingInfo) -> str:
        if info.name == "home":
            return f"Set {info.env_name} in the environment, and start again, to keep it elsewhere."
        if info.locked:
            place = ORIGIN_PLACES[info.origin]
            if info.origin == "home .env":
                place += f" ({self._model.current.home / '.env'})"
            return f"{info.env_name} is set in {place}, and that wins. Unset it to set the value here."
        return note_words(info)

    async def finish(self) -> None:
        """Apply what is typed, and wait until it is kept or refused."""
        self.field.finish()
        await self._tasks.wait()

    def _apply(self, value: object) -> None:
        self._tasks.start(self._put(value))

    def _use_anyway(self) -> None:
        self.field.setFocus(Qt.FocusReason.OtherFocusReason)  # the button goes
        self._tasks.start(self._put(self._doubted, is_sure=True))

    def _start_put_back(self) -> None:
        if self._is_refused:
            self.field.give_up()
            self.field.setFocus(Qt.FocusReason.OtherFocusReason)
            return
        self._tasks.start(self._put_back())

    async def _put(self, value: object, *, is_sure: bool = False) -> None:
        try:
            async with self._turn:
                is_looked_at = self.name in LOOKED_AT and value is not None and not is_sure
                if is_looked_at and await self._is_doubted(value):
                    return
                if value is None and self._model.infos()[self.name].default is None:
                    await self._model.put_back(self.name)  # an emptied field means "not set"
                else:
                    await self._model.put(self.name, "" if value is None else value)
        except SignalboxError as refused:
            self._refuse(refused, value)
        else:
            self._clear_problem()
            self._show()

    async def _is_doubted(self, value: object) -> bool:
        """Look whether what ``value`` names is there. Where nobody can say, nothing is set before a yes."""
        self._clear_problem()
        self.note.hide()
        self.problem.tell("busy", "", "Looking whether it is there")
        doubt = await self._model.doubt(self.name, value)
        if doubt is None:
            return False
        self._doubted = value
        self.problem.tell("held", "", f"{doubt.message} {doubt.hint}")
        self.anyway.show()
        return True

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

    def _refuse(self, error: SignalboxError, typed: object = "") -> None:
        info = self._model.infos()[self.name]
        self._is_refused = True
        self.anyway.hide()
        self.problem.tell("danger", "", refusal_words(info, error, str(typed or "")))
        self.note.hide()
        self.field.set_invalid(True)
        self._tell_state()

    def _clear_problem(self) -> None:
        self._is_refused = False
        self.problem.clear()
        self.anyway.hide()
        self.field.set_invalid(False)
        self._tell_state()

    def _tell_state(self) -> None:
        self._model.report(self.name, is_refused=self._is_refused)
        self._show_put_back(self._model.infos()[self.name])

    def _show_put_back(self, info: SettingInfo) -> None:
        can, what = info.origin == "panel", describe_value(info.default)
        if self._is_refused:  # first what was typed goes, then what is set here
            can, what = True, describe_value(info.value)
        self.put_back.setEnabled(can)
        self.put_back.setToolTip(f"Put back: {what}" if can else "Nothing set here to put back")

    def set_narrow(self, *, narrow: bool) -> None:
        """Side by side, the tags of all rows begin in one line; in a narrow row the field has that room."""
        width = theme().px(TAG_PX)
        self._tag_column.setMinimumWidth(0 if narrow else width)
        self._tag_column.setMaximumWidth(_ANY_WIDTH if narrow else width)


class SettingsSection(Section):
    """A section that is nothing but its settings."""

    def __init__(self, text: SectionText, model: SettingsModel) -> None:
        super().__init__(text)
        add_setting_rows(self, model)


def add_setting_rows(section: Section, model: SettingsModel) -> None:
    """Give ``section`` a card for each group of its settings, in the catalogue's order.

    What few people touch comes last, folded.
    """
    cards: dict[tuple[str, bool], Card] = {}
    names = names_of(section.text.id, model)
    for name in names:
        text = setting_text(name)
        group = text.card, text.advanced
        if group not in cards:
            cards[group] = Card(text.card)
        add_setting_row(cards[group], section, model, name)
    folded = [card for (_, advanced), card in cards.items() if advanced]
    for (_, advanced), card in cards.items():
        if not advanced:
            section.add_card(card)
    if folded:
        advanced = [name for name in names if setting_text(name).advanced]
        section.add_card(AdvancedFold(section, model, folded, advanced))


def names_of(section: str, model: SettingsModel) -> list[str]:
    """The settings of a section that have a row, in the catalogue's order; the unknown ones last."""
    infos = model.infos()
    order = [*(name for name in SETTINGS if name in infos), *(name for name in infos if name not in SETTINGS)]
    return [name for name in order if not infos[name].secret and setting_text(name).section == section]


def add_setting_row(card: Card, section: Section, model: SettingsModel, name: str) -> None:
    """Put the row of ``name`` at the end of ``card``, where a search and a jump find it."""
    row = SettingRow(section, model, model.infos()[name])
    card.add_row(row)
    section.anchors[name] = row


class AdvancedFold(Fold):
    """The cards of a section that few people touch; closed, it says how many settings, and what is set of them."""

    def __init__(
        self, section: Section, model: SettingsModel, cards: Sequence[Card], names: Sequence[str]
    ) -> None:
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 6, 0, 0)
        column.setSpacing(16)
        for card in cards:
            column.addWidget(card)
        key = f"preferences/{section.text.id}"
        super().__init__("Advanced", "", body, key=key, opened=False, parent=section)
        self._model, self._names = model, names
        model.changed.connect(self._count)
        self._count()

    def _count(self) -> None:
        infos = self._model.infos()
        changed = sum(infos[name].origin != "default" for name in self._names)
        many = f"{len(self._names)} setting{'s'[: len(self._names) != 1]}"
        self.set_summary(f"{many}, {changed} changed" if changed else many)


def make_field(info: SettingInfo, model: SettingsModel) -> Field:
    """The editor that fits a setting's kind."""
    text = setting_text(info.name)
    if isinstance(info.default, bool):
        return SwitchField()
    if text.choices:
        return ChoiceField(text.choices)
    if (side := MODEL_SIDES.get(info.name)) is not None:
        return ModelField(side, model.bridge, placeholder=text.placeholder)
    if info.name.endswith("_path"):
        return PathField(patterns="GGUF models (*.gguf)", placeholder=text.placeholder)
    return TextField(placeholder=text.placeholder, number=is_number(info), unit=info.unit)
