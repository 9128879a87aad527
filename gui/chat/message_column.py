"""The messages of a thread, one under the other: those near what is read have widgets, the others a gap as high.

A message takes some 17 widgets, and Qt applies a new style sheet to each widget that there is, seen or not: four
hundred messages took two seconds at a change of theme, and their memory for as long as they were shown.
"""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import QRect, QSize
from PySide6.QtWidgets import QSizePolicy, QSpacerItem, QVBoxLayout, QWidget

from gui.chat.message_view import MessageView
from gui.chat.storage.models import StoredMessage
from gui.theme.theme import theme

_ABOVE = 1
"""What stands over the first message: the button for earlier ones."""


class MessageColumn(QVBoxLayout):
    """``order`` are the ids from above; each has a widget in ``views``, a gap, or nothing yet."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.order: list[str] = []
        self.views: dict[str, MessageView] = {}
        self._gaps: dict[str, QSpacerItem] = {}

    def minimumSize(self) -> QSize:
        """Only as wide as needed where the height goes by the width.

        Qt's least height takes each wrapped sentence of a card at its narrowest, and the scroll area left that much
        empty room under the last message.
        """
        least = super().minimumSize()
        return QSize(least.width(), 0) if self.hasHeightForWidth() else least

    def has(self, message_id: str) -> bool:
        """Whether the message has its place, be it a gap."""
        return message_id in self.views or message_id in self._gaps

    @property
    def gaps(self) -> list[str]:
        """The messages without widgets, from above."""
        return [item for item in self.order if item in self._gaps]

    def put(self, message_id: str, view: MessageView) -> None:
        """Show ``view`` where the message stands in ``order``."""
        gap = self._gaps.pop(message_id, None)
        if gap is not None:
            self.removeItem(gap)
        place = self.order.index(message_id)
        before = sum(1 for item in self.order[:place] if self.has(item))
        self.views[message_id] = view
        self.insertWidget(_ABOVE + before, view)

    def empty(self, message_id: str) -> MessageView:
        """Put a gap as high in the place of a message's widget, and return that."""
        view = self.views.pop(message_id)
        place = self.indexOf(view)
        self.removeWidget(view)
        self._insert_gap(message_id, place, view.height())
        return view

    def reserve(self, message_id: str, height: int) -> None:
        """Put a gap where a message has nothing yet."""
        before = sum(1 for item in self.order[: self.order.index(message_id)] if self.has(item))
        self._insert_gap(message_id, _ABOVE + before, height)

    def _insert_gap(self, message_id: str, place: int, height: int) -> None:
        # Between two widgets the layout leaves its spacing, beside a gap it does not.
        height += self.spacing()
        gap = QSpacerItem(0, height, QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        self.insertItem(place, gap)
        self._gaps[message_id] = gap

    def forget(self, message_ids: Iterable[str]) -> list[MessageView]:
        """Take messages away, and return the widgets they had."""
        gone: list[MessageView] = []
        for message_id in message_ids:
            gap = self._gaps.pop(message_id, None)
            if gap is not None:
                self.removeItem(gap)
            view = self.views.pop(message_id, None)
            if view is not None:
                self.removeWidget(view)
                gone.append(view)
        return gone

    def next_gap(self, center: int, most_away: int | None) -> str | None:
        """The message nearest to a place in ``order`` without a widget, at most so many messages away."""
        without = (index for index, item in enumerate(self.order) if item not in self.views)
        best = min(without, key=lambda index: abs(index - center), default=None)
        if best is None or (most_away is not None and abs(best - center) > most_away):
            return None
        return self.order[best]

    def scale_gaps(self, factor: float) -> None:
        """Make the gaps as high as their messages will be, roughly, at another zoom."""
        for gap in self._gaps.values():
            height = round(gap.sizeHint().height() * factor)
            gap.changeSize(0, height, QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        self.invalidate()

    def box_of(self, message_id: str) -> QRect:
        """Where a message or its gap stands, as it was laid out last."""
        view = self.views.get(message_id)
        if view is not None:
            return view.geometry()
        gap = self._gaps.get(message_id)
        return QRect() if gap is None else gap.geometry()

    def at(self, y: int) -> int | None:
        """The place in ``order`` of what stands at ``y`` or next below it."""
        for index, message_id in enumerate(self.order):
            if self.has(message_id) and self.box_of(message_id).bottom() >= y:
                return index
        return None


def likely_height(message: StoredMessage) -> int:
    """In pixels; what is drawn later corrects it."""
    unit = theme()
    lines = sum(1 + len(line) // 110 for line in message.text.split("\n"))
    return lines * unit.line_px("reading") + unit.px(20 if message.role == "user" else 48)
