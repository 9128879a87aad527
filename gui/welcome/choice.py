"""A row of Welcome: what one may have, a button, and the result in the sentence's place."""

from __future__ import annotations

from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from gui.theme.theme import theme
from gui.widgets.labels import ORIGIN_PLACES, ResultLine, Tone, label, plain_label

NOT_READY = "Signalbox is still starting; it takes a second."
ROW_PX = 64


class Choice(QWidget):
    """The sentence stands until there is a result; then the result stands in its place."""

    def __init__(self, icon: str, name: str, sentence: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._icon_name = icon
        self._icon = plain_label()
        self.name = name
        self._detail: QWidget | None = None
        self.sentence = label(sentence, "small", level="2", wrap=True)
        self.result = ResultLine()
        words = QVBoxLayout()
        words.setSpacing(1)
        words.addStretch(1)
        self.name_label = label(name, "body", weight=600)
        words.addWidget(self.name_label)
        words.addWidget(self.sentence)
        words.addWidget(self.result)
        words.addStretch(1)
        self.controls = QHBoxLayout()
        self.controls.setSpacing(16)
        self._top = QWidget()
        top = QHBoxLayout(self._top)
        top.setContentsMargins(16, 6, 16, 6)
        top.setSpacing(16)
        top.addWidget(self._icon)
        top.addLayout(words, 1)
        top.addLayout(self.controls)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(0)
        self._layout.addWidget(self._top)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        theme().changed.connect(self._restyle)
        self._restyle()

    def add_detail(self, detail: QWidget) -> None:
        """Put ``detail`` under the row, in line with its words; hidden until it is needed."""
        self._detail = detail
        self._layout.addWidget(detail)
        detail.hide()
        self._restyle()

    def tell(self, tone: Tone, word: str, text: str = "") -> None:
        self.sentence.hide()
        self.result.tell(tone, word, text)

    def untell(self) -> None:
        self.result.clear()
        self.sentence.show()

    def _restyle(self) -> None:
        size = theme().px(24)
        self._icon.setPixmap(theme().icon(self._icon_name, "text2").pixmap(size, size))
        self._icon.setFixedWidth(size)
        self._top.setMinimumHeight(theme().px(ROW_PX))
        if self._detail is not None:
            self._detail.setContentsMargins(16 + size + 16, 0, 16, 12)


def wins(name: str, origin: str) -> str:
    return f"{name} is set in {ORIGIN_PLACES.get(origin, origin)}, and that wins. Unset it there, then try again."
