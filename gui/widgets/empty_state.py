"""Nothing to show yet: a broken track, a title, one sentence, one or two buttons, what was looked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from gui.theme.theme import set_property, theme
from gui.widgets.labels import plain_label
from gui.widgets.marks import paint_broken_track
from gui.widgets.sentence import Sentence

_SENTENCE_PX = 320
_SKETCH_FROM_PX = 210


class _Sketch(QWidget):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        theme().changed.connect(self._restyle)
        self._restyle()

    def _restyle(self) -> None:
        self.setFixedSize(theme().px(124), theme().px(40))
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        paint_broken_track(painter, QRectF(self.rect()))
        painter.end()


def _calling(callback: Callable[[], object]) -> Callable[[], None]:
    """Give each button its own callback (a loop's variable would be the last one)."""

    def call() -> None:
        callback()

    return call


class EmptyState(QWidget):
    """``buttons`` are ``(label, callback)``, two at most; the texts can be changed with ``set_text``."""

    def __init__(
        self,
        title: str,
        sentence: str,
        buttons: Sequence[tuple[str, Callable[[], object]]] = (),
        looked_for: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        center = Qt.AlignmentFlag.AlignCenter
        self._column = QVBoxLayout(self)
        self._column.addStretch(1)
        self._sketch = _Sketch(self)
        self._column.addWidget(self._sketch, 0, center)
        self._title = self._line(role="title")
        self._sentence = Sentence(parent=self)
        self._sentence.setAlignment(center)
        self._column.addWidget(self._sentence, 0, Qt.AlignmentFlag.AlignHCenter)
        self.buttons: list[QPushButton] = []
        if buttons:
            row = QHBoxLayout()
            row.setSpacing(theme().px(8))
            row.addStretch(1)
            for label, callback in buttons:
                button = QPushButton(label, self)
                button.setAutoDefault(False)
                button.clicked.connect(_calling(callback))
                self.buttons.append(button)
                row.addWidget(button)
            row.addStretch(1)
            self._column.addLayout(row)
        self._looked_for = self._line(role="small", level="3", tabular=False)
        self._column.addStretch(1)
        theme().changed.connect(self._respace)
        self.set_text(title, sentence, looked_for)
        self._respace()

    def set_text(self, title: str, sentence: str, looked_for: str = "") -> None:
        self._title.setText(title)
        self._sentence.say(sentence)
        self._looked_for.setText(looked_for)
        self._looked_for.setVisible(bool(looked_for))
        self.setAccessibleName(title)
        self.setAccessibleDescription(sentence)
        self._respace()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Where there is little height, the words go before the picture."""
        super().resizeEvent(event)
        self._respace()

    def _line(self, **properties: object) -> QLabel:
        label = plain_label(parent=self)
        label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        set_property(label, **properties)
        self._column.addWidget(label, 0, Qt.AlignmentFlag.AlignHCenter)
        return label

    def _respace(self) -> None:
        px = theme().px
        roomy = self.height() >= px(_SKETCH_FROM_PX)
        self._sketch.setVisible(roomy)
        self._column.setSpacing(px(12 if roomy else 4))
        margin = px(16 if roomy else 4)
        self._column.setContentsMargins(margin, margin, margin, margin)
        width = px(_SENTENCE_PX)
        self._sentence.setFixedWidth(width)
        # The layout would ask how high it is at the page's whole width, and cut its second line off.
        self._sentence.setFixedHeight(self._sentence.heightForWidth(width))
