"""The form for the vLLM container's settings: what is typed becomes a ``VllmSettings`` at every key."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, cast

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QLineEdit, QPushButton, QVBoxLayout, QWidget

from core import SettingFault, VllmSettings
from gui.machine.form_row import FormRow
from gui.machine.settings_words import LABELS, value_words
from gui.theme.theme import set_property
from gui.widgets.fields import ChoiceField
from gui.widgets.lever import Applied, Lever, Scale

QUANTIZATIONS = (
    "awq",
    "awq_marlin",
    "bitsandbytes",
    "compressed-tensors",
    "fp8",
    "gguf",
    "gptq",
    "gptq_marlin",
    "modelopt",
)
_AS_IS = ""
_AS_FILE, _LOWER_FILE = "As in the compose file", "as in the compose file"
_NOTES = {
    "model": "A repository of Hugging Face, or a folder in the container.",
    "served_model_name": "The name that requests use.",
    "quantization": "How its weights are stored. Usually left alone: the model’s own files say it.",
    "max_model_len": "Input and answer together. More needs more GPU memory.",
    "tensor_parallel_size": "The model is split across this many GPUs.",
    "tool_call_parser": "Depends on the model’s family: hermes for Qwen, llama3_json for Llama 3.",
    "extra_args": "As on vLLM’s command line, such as --enable-prefix-caching. Kept in a file: no secrets.",
    "image_tag": "The version of vllm/vllm-openai.",
}
_GO_WITH_MODEL = ("served_model_name", "tool_call_parser")
_COUNTS = ("max_model_len", "tensor_parallel_size")
_THOUSANDS_OF = re.compile(r"(\d+(?:\.\d+)?)\s*k", re.IGNORECASE)
_SHARES = Scale(
    (Decimal("0.10"), Decimal("0.99")),
    step=Decimal("0.01"),
    ticks=(Decimal("0.10"), Decimal("0.50"), Decimal("0.85"), Decimal("0.99")),
)
_USUAL_SHARE = 0.9
"""vLLM's own, where neither the form nor the compose file says any."""


class VllmForm(QWidget):
    """``show_settings`` fills what nobody has typed into since; a field with a problem keeps what is typed.

    Signals:
        edited: the settings as they are typed now. Not while a field can't be read.
    """

    edited = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, FormRow] = {}
        self.edits: dict[str, QLineEdit] = {}
        self._shown = VllmSettings()
        self._in_force = VllmSettings()
        self._own: dict[str, object] = {}
        self._unread: dict[str, str] = {}
        self.last_edited: QWidget | None = None
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(10)
        for name in ("model", "served_model_name"):
            self._add_text(name)
        self.quantization = ChoiceField(
            [(_AS_IS, _AS_FILE, ""), *((value, value, "") for value in QUANTIZATIONS)]
        )
        self.quantization.committed.connect(self._read)
        self._add("quantization", self.quantization)
        self._add_text("max_model_len")
        self.share = Lever(
            LABELS["gpu_memory_utilization"],
            "vLLM reserves this at once; more leaves more room for long requests",
            _SHARES,
            Applied(value=Decimal("0.90")),
        )
        self.share.changed.connect(self._read_share)
        self.share.unread_changed.connect(self._read_typed_share)
        self._column.addWidget(self.share)
        self.share_as_file = QPushButton(f"Leave the share {_LOWER_FILE}")
        set_property(self.share_as_file, flat=True, tiny=True)
        self.share_as_file.clicked.connect(self._leave_share)
        self.share_as_file.hide()
        self._column.addWidget(self.share_as_file, 0, Qt.AlignmentFlag.AlignLeft)
        for name in ("tensor_parallel_size", "tool_call_parser", "extra_args", "image_tag"):
            self._add_text(name)

    def _add_text(self, name: str) -> None:
        edit = QLineEdit()
        edit.textEdited.connect(self._read)
        self.edits[name] = edit
        self._add(name, edit)

    def _add(self, name: str, field: QWidget) -> None:
        row = FormRow(LABELS[name], field, _NOTES.get(name, ""))
        target = field.focusProxy() or field
        target.setAccessibleName(LABELS[name])
        target.setAccessibleDescription(_NOTES.get(name, ""))
        self.rows[name] = row
        self._column.addWidget(row)

    def fit(self, room_px: int) -> None:
        """Stand in a column of that width."""
        self.share.fit(room_px)

    # Shown

    def show_settings(
        self, wanted: VllmSettings, in_force: VllmSettings, effective: VllmSettings | None
    ) -> None:
        """Show ``wanted``; ``effective`` says what the compose file has where nothing is set."""
        self._learn_own(wanted, effective)
        for name, edit in self.edits.items():
            text = _text(name, getattr(wanted, name))
            # What the user types is theirs: 16 k is not rewritten under the caret to 16,384.
            if self._parsed(name, edit.text()) != getattr(wanted, name) and name not in self._unread:
                edit.setText(text)
            own = self._own.get(name)
            # These two go with the model of the form, and are the compose file's only as long as that is.
            whose = "if left empty" if wanted.model and name in _GO_WITH_MODEL else _LOWER_FILE
            edit.setPlaceholderText(_AS_FILE if own in (None, ()) else f"{value_words(name, own)}, {whose}")
        self._show_quantization(wanted.quantization)
        self._show_share(wanted, in_force)
        self._shown, self._in_force = wanted, in_force

    def show_faults(self, faults: tuple[SettingFault, ...]) -> None:
        """Say at each field what is wrong with it."""
        by_name: Mapping[str, str] = {fault.name: fault.message for fault in faults}
        for name, row in self.rows.items():
            row.say(self._unread.get(name) or by_name.get(name, ""))
            if (edit := self.edits.get(name)) is not None:
                tone = "danger" if row.problem.text else ""
                if edit.property("tone") != tone:
                    set_property(edit, tone=tone)

    @property
    def unread(self) -> tuple[str, ...]:
        """The fields whose text can't be read, so that nothing can be applied."""
        return (*self._unread, *(["gpu_memory_utilization"] if self.share.is_unread else []))

    def forget_unread(self) -> None:
        """Give up what is typed and can't be read."""
        if self.share.is_unread:
            self.share.forget_typed()
        for name in self._unread:
            self.edits[name].clear()
        self._unread.clear()

    def _learn_own(self, wanted: VllmSettings, effective: VllmSettings | None) -> None:
        if effective is None:
            return
        for name in LABELS:
            if getattr(wanted, name) in (None, ()):
                self._own[name] = getattr(effective, name)

    def _show_quantization(self, value: str | None) -> None:
        box = self.quantization.box
        if value and box.findData(value) < 0:
            box.addItem(value, value)  # one that this list does not know yet
        self.quantization.show_value(value or _AS_IS)

    def _show_share(self, wanted: VllmSettings, in_force: VllmSettings) -> None:
        is_set = wanted.gpu_memory_utilization is not None
        if not is_set and self.share_as_file.hasFocus():
            self.share.slider.setFocus(Qt.FocusReason.OtherFocusReason)  # the button goes
        self.share_as_file.setVisible(is_set)
        if self.share.is_unread:
            return
        applied = _share(in_force.gpu_memory_utilization, self._own)
        origin = "default" if in_force.gpu_memory_utilization is None else "panel"
        if self.share.applied.value != applied or self.share.applied.origin != origin:
            self.share.apply(Applied(value=applied, origin=origin))
        now = _share(wanted.gpu_memory_utilization, self._own)
        if now != self.share.value:
            self.share.blockSignals(True)
            self.share.set_value(now)
            self.share.blockSignals(False)

    # Read

    def _read_share(self, _: object) -> None:
        moved = self.share.value != self.share.applied.value
        before = self._in_force.gpu_memory_utilization
        self._shown = replace(
            self._shown, gpu_memory_utilization=float(self.share.value) if moved else before
        )
        self._read()

    def _read_typed_share(self) -> None:
        self.last_edited = self.share.box
        self._read()

    def _leave_share(self) -> None:
        self.share.forget_typed()
        self._shown = replace(self._shown, gpu_memory_utilization=None)
        self._read()

    def _read(self, _: object = None) -> None:
        focused = self.window().focusWidget() or self
        if self.isAncestorOf(focused):
            self.last_edited = focused
        found: dict[str, Any] = {}
        for name, edit in self.edits.items():
            value = self._parsed(name, edit.text())
            if isinstance(value, _Unread):
                self._unread[name] = value.why
            else:
                self._unread.pop(name, None)
                found[name] = value
        found["quantization"] = self.quantization.box.currentData() or None
        self.edited.emit(replace(self._shown, **found))

    @staticmethod
    def _parsed(name: str, text: str) -> object:
        text = text.strip()
        if name == "extra_args":
            return _arguments(text)
        if not text:
            return None
        return _count(name, text) if name in _COUNTS else text


@dataclass(frozen=True, slots=True)
class _Unread:
    why: str


def _count(name: str, text: str) -> int | _Unread:
    thousands = _THOUSANDS_OF.fullmatch(text)
    if thousands is not None and name == "max_model_len":
        return round(float(thousands[1]) * 1024)
    plain = re.sub(r"[, _]", "", text)
    if plain.isdecimal() and plain.isascii():
        return int(plain)
    such_as = "such as 16,384 or 16 k" if name == "max_model_len" else "such as 2"
    return _Unread(f"Type a whole number, {such_as}.")


def _arguments(text: str) -> tuple[str, ...] | _Unread:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        return _Unread(f"A quotation mark is missing: {error}.")


def _text(name: str, value: object) -> str:
    if isinstance(value, tuple):
        return shlex.join(cast("tuple[str, ...]", value))
    if value is None:
        return ""
    return f"{value:,}" if name in _COUNTS and isinstance(value, int) else str(value)


def _share(value: float | None, own: Mapping[str, object]) -> Decimal:
    if value is None:
        there = own.get("gpu_memory_utilization")
        value = there if isinstance(there, float) else _USUAL_SHARE
    return Decimal(str(value)).quantize(Decimal("0.01"))
