"""Words beside their control, or above it where the column is too narrow for both."""

from __future__ import annotations

from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from gui.preferences.labels import label
from gui.preferences.section import CARD_PADDING_PX, COLUMN_PX, Section
from gui.theme import theme

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
        # In a line of its own: a column would ask for the height at the row's whole width, at which the
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

    def stand(self, *, narrow: bool) -> None:
        """Called when the row has its words on top (``narrow``) or beside the control."""

    def _stand(self) -> None:
        room_px = self._room_px - 2 * CARD_PADDING_PX - 4
        wanted_px = theme().px(self._control_px)
        narrow = room_px < wanted_px + theme().px(WORDS_PX)
        self.stand(narrow=narrow)
        direction = QBoxLayout.Direction.TopToBottom if narrow else QBoxLayout.Direction.LeftToRight
        self._sides.setDirection(direction)
        self._sides.setSpacing(6 if narrow else 16)
        self._control.setFixedWidth(max(1, min(wanted_px, room_px)))
