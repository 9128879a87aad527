"""The bar over the messages that finds words in the conversation that is shown."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLineEdit, QWidget

from gui.theme.theme import set_property, theme
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import plain_label


class FindBar(QFrame):
    """Signals:
    searched: the text, at each change.
    stepped: 1 for the next match, -1 for the previous one.
    closed: by its button; Esc is the page's.
    """

    searched = Signal(str)
    stepped = Signal(int)
    closed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("findBar")
        self.field = QLineEdit()
        self.field.setPlaceholderText("Find in this chat")
        self.field.setAccessibleName("Find in this chat")
        set_property(self.field, compact=True, role="small")
        self.field.textChanged.connect(self.searched)
        self.field.installEventFilter(self)
        self._count = plain_label()
        set_property(self._count, role="small", level="2", tabular=True)
        self.back = IconButton("caret-up", "Previous match (Shift+F3)")
        self.back.clicked.connect(lambda: self.stepped.emit(-1))
        self.forward = IconButton("caret-down", "Next match (F3)")
        self.forward.clicked.connect(lambda: self.stepped.emit(1))
        self.close_button = IconButton("x", "Close (Esc)")
        self.close_button.clicked.connect(self.closed)
        self._row = QHBoxLayout(self)
        self._row.addStretch(1)
        for widget in (self.field, self._count, self.back, self.forward, self.close_button):
            self._row.addWidget(widget)
        theme().changed.connect(self._restyle)
        self._restyle()
        self.hide()

    def _restyle(self) -> None:
        unit = theme()
        self._row.setContentsMargins(unit.px(20), unit.px(6), unit.px(12), unit.px(6))
        self._row.setSpacing(unit.px(4))
        self.field.setFixedWidth(unit.px(260))
        self._count.setMinimumWidth(unit.px(84))
        self._count.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setStyleSheet(
            f"#findBar {{ background: {unit.hex('surface')}; border: none;"
            f" border-bottom: 1px solid {unit.hex('border')}; }}"
        )

    @property
    def count_words(self) -> str:
        return self._count.text()

    def set_count(self, number: int, count: int) -> None:
        """Show which match is current, from 1, and of how many; 0 of 0 where there is none."""
        if not self.field.text():
            words = ""
        elif not count:
            words = "No match"
        else:
            words = f"{number:,} of {count:,}"
        self._count.setText(words)
        self._count.setAccessibleName(words)
        for button in (self.back, self.forward):
            button.setEnabled(count > 0)

    def open(self, text: str | None, *, take_focus: bool) -> None:
        """Show the bar with a text to find; ``None`` keeps the one that is there."""
        self.show()
        if text is not None and text != self.field.text():
            self.field.setText(text)
        if take_focus:
            self.field.setFocus(Qt.FocusReason.ShortcutFocusReason)
            self.field.selectAll()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if (
            isinstance(event, QKeyEvent)
            and event.type() == QEvent.Type.KeyPress
            and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        ):
            back = event.modifiers() & Qt.KeyboardModifier.ShiftModifier
            self.stepped.emit(-1 if back else 1)
            return True
        return super().eventFilter(watched, event)
