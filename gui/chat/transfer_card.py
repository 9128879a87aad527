"""A card over the messages while chats are imported or exported: how far that is, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from gui.theme.theme import set_property, theme
from gui.widgets.card import Card
from gui.widgets.labels import label


class TransferCard(Card):
    """Signals:
    cancelled: stop; what is done stays.
    """

    cancelled = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent=parent)
        self._title = label("", "body", weight=600, wrap=True)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self._lines = QWidget()
        self._rows = QVBoxLayout(self._lines)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self.cancel_button = self._button("Cancel", self.cancelled.emit)
        self.action_button = self._button("Open folder", lambda: self._act())
        self.close_button = self._button("Close", self.hide)
        buttons = QHBoxLayout()
        buttons.setSpacing(theme().px(8))
        for button in (self.cancel_button, self.action_button, self.close_button):
            buttons.addWidget(button)
        buttons.addStretch(1)
        self._act: Callable[[], object] = lambda: None
        for widget in (self._title, self.progress, self._lines):
            self.body.addWidget(widget)
        self.body.addLayout(buttons)
        self.hide()

    @staticmethod
    def _button(words: str, act: Callable[[], object]) -> QPushButton:
        button = QPushButton(words)
        set_property(button, compact=True)
        button.clicked.connect(lambda: act())
        return button

    @property
    def lines(self) -> list[str]:
        """What is said under the title, line by line."""
        return [words for number in range(self._rows.count()) if (words := self._text_at(number))]

    @property
    def is_done(self) -> bool:
        return not self.cancel_button.isVisibleTo(self)

    def show_progress(self, title: str, sentence: str, share: float) -> None:
        """Show that it goes on; ``share`` of it, from 0 to 1, is done."""
        self._say(title, [sentence])
        self.progress.setValue(round(share * 100))
        self.progress.setAccessibleName(title)
        self._show_parts(is_done=False, action="")

    def show_result(
        self, title: str, lines: Sequence[str], action: str = "", act: Callable[[], object] = lambda: None
    ) -> None:
        """Show what came of it, with one action where there is one."""
        self._say(title, lines)
        self._act = act
        self.action_button.setText(action)
        self._show_parts(is_done=True, action=action)

    def _show_parts(self, *, is_done: bool, action: str) -> None:
        self.progress.setVisible(not is_done)
        self.cancel_button.setVisible(not is_done)
        self.close_button.setVisible(is_done)
        self.action_button.setVisible(bool(action))
        self.show()

    def _say(self, title: str, lines: Sequence[str]) -> None:
        if self._title.text() != title:
            self._title.setText(title)
            self.setAccessibleName(title)
        if self.lines == list(lines):
            return
        while (item := self._rows.takeAt(0)) is not None:  # pyright: ignore[reportUnnecessaryComparison]
            gone = item.widget()
            if gone is not None:
                gone.hide()
                gone.deleteLater()
        for words in lines:
            self._rows.addWidget(label(words, "small", level="2", wrap=True))

    def _text_at(self, number: int) -> str:
        item = self._rows.itemAt(number)
        shown = None if item is None else item.widget()
        return str(shown.property("text") or "") if shown is not None else ""
