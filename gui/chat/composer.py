"""The composer: attachments, the prompt, and under it the line that says where it would go."""

from __future__ import annotations

from typing import Literal, cast

from PySide6.QtCore import QEvent, QObject, Qt, QUrl, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QImage, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from core.chat import Side
from gui.chat.attachment_chip import AttachmentChip
from gui.chat.pictures import Pictures
from gui.chat.prompt_edit import PromptEdit
from gui.chat.storage.models import Attachment
from gui.theme.theme import set_button_icon, set_property, theme
from gui.widgets.flow import FlowLayout
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import plain_label
from gui.widgets.route_line import RouteLine
from gui.widgets.segmented import SegmentedSwitch

State = Literal["idle", "streaming", "queued", "starting"]

_HINTS: dict[State, str] = {
    "idle": "",
    "streaming": "Enter sends when the answer ends",
    "queued": "Will be sent when the answer ends",
    "starting": "Signalbox is starting",
}


class FittingLabel(QLabel):
    """A hint at the right that is shown where it fits, and takes no room where it does not."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        set_property(self, role="small", level="3")

    def paintEvent(self, arg__1: QPaintEvent) -> None:
        if self.fontMetrics().horizontalAdvance(self.text()) <= self.width():
            super().paintEvent(arg__1)


class Composer(QFrame):
    """Signals:
    submitted: the user wants to send what is in the box.
    stopped: the user wants the answer to end.
    changed: text or attachments changed.
    side_chosen: ``"auto"``, ``"local"`` or ``"api"``.
    attach_asked: the paper clip was pressed.
    files_given: local ``QUrl``\\ s were dropped or pasted.
    image_given: a ``QImage`` was pasted.
    attachment_opened: an ``Attachment`` in the box was pressed.
    """

    submitted = Signal()
    stopped = Signal()
    changed = Signal()
    side_chosen = Signal(str)
    max_tokens_clicked = Signal()
    attach_asked = Signal()
    files_given = Signal(list)
    image_given = Signal(QImage)
    attachment_opened = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("composer")
        self._state: State = "idle"
        self._attachments: list[Attachment] = []
        self.pictures: Pictures | None = None
        self.edit = PromptEdit()
        self.edit.setPlaceholderText("Ask anything")
        self.edit.setAccessibleName("Prompt")
        self.edit.installEventFilter(self)
        self.setAcceptDrops(True)
        self.route_line = RouteLine()
        self.switch = SegmentedSwitch(
            [("auto", "Auto", None), ("local", "Local", "cpu"), ("api", "API", "cloud")],
            accessible_name="Where this prompt goes",
        )
        self.max_tokens = QPushButton()
        set_property(self.max_tokens, flat=True, compact=True, role="small")
        self.max_tokens.setToolTip("The longest answer allowed. Change it in this chat’s options")
        self.max_tokens.clicked.connect(self.max_tokens_clicked)
        for value in ("auto", "local", "api"):  # as with the button: a click leaves the focus where one types
            self.switch.segment(value).setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._clip = IconButton("paperclip", "Attach a file")
        self._hint = FittingLabel()
        self._max_tokens: int | None = None
        self.button = QPushButton()
        self.button.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the focus where one types
        set_property(self.button, compact=True)
        self.button.clicked.connect(self._on_button)
        self._note = plain_label()
        self._note.setWordWrap(True)
        set_property(self._note, role="small", tone="held")
        self._note.hide()
        self._model_note = plain_label()
        self._model_note.setWordWrap(True)
        set_property(self._model_note, role="small", tone="held")
        self._model_note.hide()
        self._build()
        self._connect()
        theme().changed.connect(self._on_theme)
        self._restyle()
        self.set_state("idle")

    def _build(self) -> None:
        self._chips = QWidget()
        self._chip_flow = FlowLayout(self._chips, gap=6)
        self._chips.hide()
        tools = self._tools = QHBoxLayout()
        tools.addWidget(self._clip)
        tools.addWidget(self.switch)
        tools.addWidget(self.max_tokens)
        tools.addWidget(self._hint, 1)
        tools.addWidget(self.button)
        self._inside = QVBoxLayout()
        self._inside.addWidget(self._chips)
        self._edit_row = QHBoxLayout()
        self._edit_row.addWidget(self.edit)
        self._inside.addLayout(self._edit_row)
        self._inside.addWidget(self._model_note)
        self._inside.addWidget(self._note)
        self._inside.addLayout(tools)
        self._strip = QFrame()
        self._strip.setObjectName("routeStrip")
        strip = QVBoxLayout(self._strip)
        strip.setContentsMargins(0, 1, 0, 0)
        strip.addWidget(self.route_line)
        self._column = QVBoxLayout(self)
        self._column.setSpacing(0)
        self._column.addLayout(self._inside)
        self._column.addWidget(self._strip)

    def _connect(self) -> None:
        self.edit.submitted.connect(self.submitted)
        self.edit.textChanged.connect(self._on_text)
        self.edit.pasted_large.connect(self.add_attachment)
        self.edit.pasted_image.connect(self.image_given)
        self.edit.pasted_files.connect(self.files_given)
        self.edit.noted.connect(self.set_note)
        self.switch.value_changed.connect(self.side_chosen)
        self._clip.clicked.connect(self.attach_asked)

    def _on_theme(self) -> None:
        self._restyle()
        self._show_button()

    def _restyle(self) -> None:
        unit = theme()
        focused = self.edit.hasFocus()
        width = 2 if focused else 1
        edge = unit.hex("focus" if focused else "control")
        inner = unit.px(4)
        self.setStyleSheet(
            f"#composer {{ background: {unit.hex('surface')}; border: {width}px solid {edge};"
            f" border-radius: {unit.px(6)}px; }}"
            f"#routeStrip {{ background: {unit.hex('window')}; border: none;"
            f" border-top: 1px solid {unit.hex('border')};"
            f" border-bottom-left-radius: {inner}px; border-bottom-right-radius: {inner}px; }}"
        )
        margin = 2 - width
        self._column.setContentsMargins(margin, margin, margin, margin)
        self._inside.setContentsMargins(unit.px(8), unit.px(11), unit.px(8), unit.px(8))
        self._inside.setSpacing(unit.px(8))
        self._tools.setSpacing(unit.px(8))
        self._edit_row.setContentsMargins(unit.px(6), 0, unit.px(6), 0)

    # What is in it

    @property
    def text(self) -> str:
        return self.edit.text()

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        return tuple(self._attachments)

    @property
    def is_empty(self) -> bool:
        return not self._attachments and not self.text.strip()

    def set_content(self, text: str, attachments: tuple[Attachment, ...] = ()) -> None:
        """Put a draft or a prompt that came back into the box."""
        self._attachments = list(attachments)
        self._show_chips()
        self.edit.blockSignals(True)
        self.edit.set_text(text)
        self.edit.blockSignals(False)
        self.set_note("")
        self._on_text()

    def add_attachment(self, attachment: Attachment) -> None:
        self._attachments.append(attachment)
        self._show_chips()
        self._on_text()

    def set_note(self, note: str) -> None:
        """Say what happened to something pasted; empty takes the note away."""
        self._note.setText(note)
        self._note.setVisible(bool(note))

    def set_model_note(self, note: str) -> None:
        """Say what is wrong with the model that the next prompt would go to; empty takes the words away."""
        self._model_note.setText(note)
        self._model_note.setVisible(bool(note))

    @property
    def model_note(self) -> str:
        return self._model_note.text()

    @property
    def note(self) -> str:
        return self._note.text()

    def set_side(self, side: Side | None) -> None:
        self.switch.set_value(side or "auto")

    def chosen_side(self) -> Side | None:
        value = self.switch.value
        return None if value == "auto" else cast("Side", value)

    def set_max_tokens(self, tokens: int | None) -> None:
        self._max_tokens = tokens
        self._fit()

    @property
    def state(self) -> State:
        return self._state

    def set_state(self, state: State) -> None:
        self._state = state
        self._hint.setText(_HINTS[state])
        self._show_button()
        self._update_button()

    @property
    def _is_streaming(self) -> bool:
        return self._state in ("streaming", "queued")

    def _show_button(self) -> None:
        streaming = self._is_streaming
        self.button.setToolTip("Stop the answer (Esc)" if streaming else "Send (Enter)")
        set_property(self.button, primary=not streaming, compact=True)
        self._fit()
        set_button_icon(
            self.button,
            "stop-fill" if streaming else "paper-plane-right-fill",
            "text" if streaming else "onInk",
            12 if streaming else 14,
        )

    def _fit(self) -> None:
        """Where the row is too narrow, at a high zoom, its words become fewer; buttons are never cut."""
        tokens = self._max_tokens
        long, short = ("", "") if tokens is None else (f"Max {tokens:,} tokens", f"Max {tokens:,}")
        stop, brief = ("Stop  Esc", "Stop") if self._is_streaming else ("Send", "Send")
        margins = self._inside.contentsMargins()
        room = self.width() - margins.left() - margins.right() - 4  # and the border with its margin
        for limit, words in ((long, stop), (short, stop), (short, brief), ("", brief)):
            self.max_tokens.setText(limit)
            self.button.setText(words)
            parts = [self._clip, self.switch, self.button, *([self.max_tokens] if limit else [])]
            gaps = self._tools.spacing() * len(parts)  # the hint has one too
            if sum(max(part.sizeHint().width(), part.minimumWidth()) for part in parts) + gaps <= room:
                break
        self.max_tokens.setVisible(bool(self.max_tokens.text()))

    def _update_button(self) -> None:
        self.button.setEnabled(self._is_streaming or (self._state == "idle" and not self.is_empty))

    def _on_button(self) -> None:
        (self.stopped if self._is_streaming else self.submitted).emit()

    def _on_text(self) -> None:
        if self._state == "queued":
            self.set_state("streaming")
        self._update_button()
        self.changed.emit()

    def _show_chips(self) -> None:
        self._chip_flow.clear()
        for attachment in self._attachments:
            chip = AttachmentChip(attachment, self.pictures)
            chip.opened.connect(self.attachment_opened)
            chip.removed.connect(self._remove)
            self._chip_flow.addWidget(chip)
        self._chips.setVisible(bool(self._attachments))

    def _remove(self, attachment_id: str) -> None:
        self._attachments = [item for item in self._attachments if item.id != attachment_id]
        self._show_chips()
        self._on_text()
        self.edit.setFocus()

    # What Qt calls

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.FocusIn, QEvent.Type.FocusOut):
            self._restyle()
        return False

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if self.edit.canInsertFromMimeData(event.mimeData()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        self.edit.insertFromMimeData(event.mimeData())
        event.acceptProposedAction()


def local_paths(urls: list[QUrl]) -> list[str]:
    return [url.toLocalFile() for url in urls if url.isLocalFile()]
