"""The drawer: what goes with every prompt of this conversation, checked while it is typed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from PySide6.QtCore import QEasingCurve, QPropertyAnimation, QRect, QRegularExpression, Qt, QTimer, Signal
from PySide6.QtGui import QDoubleValidator, QIntValidator, QKeyEvent, QRegularExpressionValidator
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from gui.chat.markdown.prose import code_font
from gui.chat.request_builder import MalformedSchema, parse_schema
from gui.chat.storage.models import MAX_SEED, MAX_STOPS, ChatOptions
from gui.theme.theme import set_button_icon, set_property, theme
from gui.widgets.fold import Fold
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import plain_label
from gui.widgets.scrolling import scrolled

WIDTH_PX = 320
CHECK_MS = 250
MAX_TOKENS_LIMIT = 1_000_000
"""What the core takes; a test holds it equal to its own."""


class OptionsDrawer(QFrame):
    """Signals:
    model_asked: choose another model. prompts_asked: choose a saved system prompt.
    changed: the new ``ChatOptions`` (its ``force`` is not the drawer's business).
    closed: Esc or the cross.
    """

    model_asked = Signal()
    prompts_asked = Signal()
    changed = Signal(object)
    closed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("drawer")
        self._options = ChatOptions()
        self._default_max_tokens: int | None = None
        self._showing = False
        self._slide: QPropertyAnimation | None = None
        self._check = QTimer(self)
        self._check.setSingleShot(True)
        self._check.setInterval(CHECK_MS)
        self._check.timeout.connect(self._check_schema)
        self.model_button = QPushButton("Auto")
        self.model_button.clicked.connect(self.model_asked)
        self.prompts_button = QPushButton("Saved prompts")
        set_property(self.prompts_button, compact=True)
        self.prompts_button.clicked.connect(self.prompts_asked)
        for button in (self.model_button, self.prompts_button):
            set_button_icon(button, "caret-down", "text2", 12)
            button.setLayoutDirection(Qt.LayoutDirection.RightToLeft)  # the caret behind the words
        self.system = QPlainTextEdit()
        self.system.setPlaceholderText("None")
        self.max_tokens = QLineEdit()
        self.max_tokens.setValidator(QIntValidator(1, MAX_TOKENS_LIMIT, self))
        self.temperature = QLineEdit()
        validator = QDoubleValidator(0.0, 2.0, 2, self)
        validator.setNotation(QDoubleValidator.Notation.StandardNotation)
        self.temperature.setValidator(validator)
        self.temperature.setPlaceholderText("Model’s own")
        self.top_p = QLineEdit()
        share = QDoubleValidator(0.0, 1.0, 3, self)
        share.setNotation(QDoubleValidator.Notation.StandardNotation)
        self.top_p.setValidator(share)
        self.top_p.setPlaceholderText("Model’s own")
        self.stop = QPlainTextEdit()
        self.stop.setPlaceholderText("None")
        self.seed = QLineEdit()
        self.seed.setValidator(QRegularExpressionValidator(QRegularExpression(r"\d{0,10}"), self))
        self.seed.setPlaceholderText("Another each time")
        self.schema = QPlainTextEdit()
        self.schema.setPlaceholderText('{"type": "object", "properties": {}}')
        self.schema_note = plain_label()
        self.temperature_note, self.top_p_note = plain_label(), plain_label()
        self.stop_note, self.seed_note = plain_label(), plain_label()
        self.model_note = plain_label()
        self._build()
        self.system.textChanged.connect(self._take)
        self.max_tokens.textChanged.connect(self._take)
        for field in (self.temperature, self.top_p, self.stop, self.seed):
            field.textChanged.connect(self._take)
        self.schema.textChanged.connect(self._take)
        theme().changed.connect(self._restyle)
        self._restyle()

    def _build(self) -> None:
        unit = theme()
        title = plain_label("Options of this chat")
        set_property(title, role="body", weight=600)
        cross = IconButton("x", "Close options", size=24, icon_size=14)
        cross.clicked.connect(self.closed)
        top = QHBoxLayout()
        top.addWidget(title)
        top.addStretch(1)
        top.addWidget(cross)
        inside = QWidget()
        inside.setObjectName("drawerInside")
        column = QVBoxLayout(inside)
        column.setContentsMargins(unit.px(16), 0, unit.px(16), unit.px(16))
        column.setSpacing(unit.px(4))
        self._field(column, "Model", "Which model answers here, and on which side", self.model_button)
        column.addWidget(self._small(self.model_note))
        self._field(column, "System prompt", "Goes before every prompt", self.system, 88)
        column.addWidget(self.prompts_button)
        self._field(
            column,
            "Max tokens",
            "The longest answer allowed, and so the most that it can cost",
            self.max_tokens,
        )
        self._field(column, "Temperature", "0 to 2; higher is more varied", self.temperature)
        column.addWidget(self._small(self.temperature_note))
        self._field(column, "JSON schema", "The answer will be JSON of this shape", self.schema, 132)
        column.addWidget(self._small(self.schema_note))
        column.addSpacing(unit.px(12))
        column.addWidget(self._advanced(inside))
        self._reset = QPushButton("Put all back")
        set_property(self._reset, compact=True)
        self._reset.clicked.connect(self._put_back)
        row = QHBoxLayout()
        row.setContentsMargins(0, unit.px(8), 0, 0)
        row.addWidget(self._reset)
        row.addStretch(1)
        column.addLayout(row)
        column.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(1, 0, 0, 0)
        outer.setSpacing(0)
        header = QWidget()
        header.setFixedHeight(unit.px(44))
        header.setLayout(top)
        top.setContentsMargins(unit.px(16), 0, unit.px(10), 0)
        outer.addWidget(header)
        outer.addWidget(scrolled(inside), 1)
        # The fold's button was made after what it opens, and would come after it.
        stops = (self.schema, self.advanced.button, self.top_p, self.stop, self.seed, self._reset, cross)
        for before, after in pairwise(stops):
            QWidget.setTabOrder(before, after)

    def _advanced(self, parent: QWidget) -> Fold:
        """What few people touch: open where something of it is set."""
        unit = theme()
        body = QWidget(parent)
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(unit.px(4))
        self._field(column, "Top p", "Above 0, up to 1; lower keeps to the likeliest words", self.top_p)
        column.addWidget(self._small(self.top_p_note))
        self._field(
            column, "Stop sequences", "The answer ends before one of these; one a line", self.stop, 48
        )
        column.addWidget(self._small(self.stop_note))
        self._field(column, "Seed", "The same prompt and seed give the same answer; Local only", self.seed)
        column.addWidget(self._small(self.seed_note))
        words = "Top p, stop sequences, seed"
        self.advanced = Fold("Advanced", words, body, key="options/advanced", opened=False, parent=parent)
        return self.advanced

    def _field(
        self, column: QVBoxLayout, name: str, description: str, field: QWidget, height: int | None = None
    ) -> None:
        unit = theme()
        label = plain_label(name)
        set_property(label, role="body", weight=500)
        label.setBuddy(field)
        below = plain_label(description)
        below.setWordWrap(True)
        set_property(below, role="small", level="3")
        field.setAccessibleName(name)
        field.setAccessibleDescription(description)
        if height is not None:
            field.setMinimumHeight(unit.px(height))
            field.setMaximumHeight(unit.px(height * 3 // 2))
        if column.count():
            column.addSpacing(unit.px(12))
        column.addWidget(label)
        column.addWidget(below)
        column.addWidget(field)

    @staticmethod
    def _small(label: QLabel) -> QLabel:
        label.setWordWrap(True)
        set_property(label, role="small", level="3")
        label.hide()
        return label

    def _restyle(self) -> None:
        unit = theme()
        self.setStyleSheet(
            f"#drawer {{ background: {unit.hex('surface')}; border: none;"
            f" border-left: 1px solid {unit.hex('border')}; }} #drawerInside {{ background: transparent; }}"
        )
        self.setFixedWidth(unit.px(WIDTH_PX))
        for editor in (self.system, self.schema, self.stop):
            editor.setTabChangesFocus(True)
        self.schema.setFont(code_font())

    # What it shows

    def show_options(self, options: ChatOptions, default_max_tokens: int | None) -> None:
        """Show a conversation's options; ``default_max_tokens`` is the setting's."""
        self._showing = True
        self._options = options
        self.set_default_max_tokens(default_max_tokens)
        self.system.setPlainText(options.system)
        self.max_tokens.setText("" if options.max_tokens is None else str(options.max_tokens))
        self.temperature.setText("" if options.temperature is None else f"{options.temperature:g}")
        self.top_p.setText("" if options.top_p is None else f"{options.top_p:g}")
        self.stop.setPlainText("\n".join(stop.replace("\n", "\\n") for stop in options.stop))
        self.seed.setText("" if options.seed is None else str(options.seed))
        self.schema.setPlainText(options.schema_text)
        if options.top_p is not None or options.stop or options.seed is not None:
            self.advanced.set_open(True)
        self._showing = False
        self._check_schema()
        self._show_notes()

    def set_default_max_tokens(self, tokens: int | None) -> None:
        """Show the setting's limit where the chat has none of its own."""
        self._default_max_tokens = tokens
        self.max_tokens.setPlaceholderText("" if tokens is None else f"{tokens:,}")

    def show_model(self, name: str, about: str, *, is_missing: bool) -> None:
        """Show which model answers here, and what is known of it."""
        shown = self.model_button.fontMetrics().elidedText(
            name, Qt.TextElideMode.ElideMiddle, theme().px(WIDTH_PX - 2 * 16 - 40)
        )
        self.model_button.setText(shown.replace("&", "&&"))
        self.model_button.setToolTip(about)
        self.model_button.setAccessibleName(f"Model: {name}")
        self.model_note.setText(about)
        self.model_note.setVisible(bool(about))
        set_property(self.model_note, tone="danger" if is_missing else "", level="" if is_missing else "3")

    def show_prompt(self, name: str | None, *, is_changed: bool) -> None:
        """Show which saved prompt the system prompt is, ``None`` for one of its own."""
        words = "Saved prompts" if name is None else f"{name} (changed)" if is_changed else name
        room = theme().px(WIDTH_PX - 2 * 16 - 40)
        shown = self.prompts_button.fontMetrics().elidedText(words, Qt.TextElideMode.ElideMiddle, room)
        self.prompts_button.setText(shown.replace("&", "&&"))
        self.prompts_button.setAccessibleName(f"Saved prompts: {words}" if name else words)

    def focus_schema(self) -> None:
        """Say at once what is wrong with the schema, since a prompt could not be sent for it, and go there."""
        self._check_schema()
        self.schema.setFocus(Qt.FocusReason.OtherFocusReason)

    def focus_max_tokens(self) -> None:
        self.max_tokens.setFocus(Qt.FocusReason.OtherFocusReason)
        self.max_tokens.selectAll()

    def slide_to(self, place: QRect) -> None:
        """Appear over the page at ``place``, eight pixels from the right."""
        self.setGeometry(place)
        self.show()
        self.raise_()
        duration_ms = theme().animation_ms
        if not duration_ms:
            return
        self._slide = QPropertyAnimation(self, b"pos", self)
        self._slide.setDuration(duration_ms)
        self._slide.setEasingCurve(QEasingCurve.Type.OutCubic)
        self._slide.setStartValue(place.translated(theme().px(8), 0).topLeft())
        self._slide.setEndValue(place.topLeft())
        self._slide.start()

    # What was typed

    def _take(self) -> None:
        if self._showing:
            return
        schema_text = self.schema.toPlainText()
        if schema_text != self._options.schema_text:
            self._check.start()
        self._options = replace(
            self._options,
            system=self.system.toPlainText(),
            max_tokens=self._typed_max_tokens(),
            temperature=self._typed_number(self.temperature, 2),
            top_p=self._typed_number(self.top_p, 1) or None,
            stop=self._typed_stops()[:MAX_STOPS],
            seed=self._typed_seed(),
            schema_text=schema_text,
        )
        self._show_notes()
        self.changed.emit(self._options)

    def _typed_max_tokens(self) -> int | None:
        text = self.max_tokens.text().strip()
        return int(text) if text.isdigit() and 1 <= int(text) <= MAX_TOKENS_LIMIT else None

    @staticmethod
    def _typed_number(field: QLineEdit, at_most: float) -> float | None:
        try:
            value = float(field.text().replace(",", "."))
        except ValueError:
            return None
        return value if 0 <= value <= at_most else None

    def _typed_stops(self) -> tuple[str, ...]:
        r"""Each line is one; ``\n`` in it is a line break."""
        lines = self.stop.toPlainText().split("\n")
        return tuple(line.replace("\\n", "\n") for line in lines if line)

    def _typed_seed(self) -> int | None:
        text = self.seed.text().strip()
        return int(text) if text.isdigit() and int(text) <= MAX_SEED else None

    def _show_notes(self) -> None:
        options = self._options
        self._show_note(
            self.temperature,
            self.temperature_note,
            "A number from 0 to 2." if options.temperature is None else "",
            "Newer API models choose their own; the answer’s decision says so then.",
        )
        self._show_note(
            self.top_p,
            self.top_p_note,
            "A number above 0, up to 1." if options.top_p is None else "",
            "The API takes it only without a temperature, and its newer models not at all.",
        )
        self._show_note(
            self.seed,
            self.seed_note,
            f"A whole number from 0 to {MAX_SEED:,}." if options.seed is None else "",
            "The API takes no seed; the answer’s decision says so then.",
        )
        stops = self._typed_stops()
        blank = any(not stop.strip() for stop in stops)
        self.stop_note.setText(
            f"The first {MAX_STOPS} count."
            if len(stops) > MAX_STOPS
            else "The API takes none that are only spaces or line breaks."
        )
        self.stop_note.setVisible(blank or len(stops) > MAX_STOPS)
        self._reset.setEnabled(replace(self._options, force=None, model=None) != ChatOptions())

    @staticmethod
    def _show_note(field: QLineEdit, note: QLabel, wrong: str, known: str) -> None:
        """Say under a field what is wrong with what was typed, or what becomes of it."""
        typed = bool(field.text().strip())
        set_property(field, tone="danger" if typed and wrong else "")
        note.setText(wrong or known)
        note.setVisible(typed)

    def _check_schema(self) -> None:
        self._check.stop()
        text = self.schema.toPlainText()
        note, tone = "", ""
        try:
            if parse_schema(text) is not None:
                note = "A valid JSON schema."
        except MalformedSchema as error:
            note, tone = f"{error.message} Nothing is sent until it is mended or emptied.", "danger"
        self.schema_note.setText(note)
        self.schema_note.setVisible(bool(note))
        set_property(self.schema_note, tone=tone, level="" if tone else "3")
        set_property(self.schema, tone=tone)

    def _put_back(self) -> None:
        kept = ChatOptions(force=self._options.force, model=self._options.model)
        self.show_options(kept, self._default_max_tokens)
        self.changed.emit(self._options)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.closed.emit()
        else:
            super().keyPressEvent(event)
