"""A card: what belongs together on a page, in a frame, under a title."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QLabel, QVBoxLayout, QWidget

from gui.theme.theme import set_property
from gui.widgets.labels import label

CARD_PADDING_PX = 16


class Card(QFrame):
    """A framed group of rows with an optional title."""

    def __init__(self, title: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        set_property(self, card=True)
        self.body = QVBoxLayout(self)
        self.body.setContentsMargins(CARD_PADDING_PX, 14, CARD_PADDING_PX, 14)
        self.body.setSpacing(8)
        self.title_label: QLabel | None = None
        if title:
            self.title_label = label(title, "title")
            self.body.addWidget(self.title_label)
            self.setAccessibleName(title)

    def add_row(self, row: QWidget, *, hairline: bool = True) -> None:
        """Add a row, with a hairline above it unless it is the card's first."""
        first = self.body.count() == 0
        if hairline and not first:
            line = QFrame()
            set_property(line, hairline=True)
            self.body.addWidget(line)
        self.body.addWidget(row)
