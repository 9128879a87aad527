"""A section of the preferences page: a title, a sentence, a scrolling column of cards."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from gui.preferences.catalogue import SectionText
from gui.preferences.row_mark import RowMark
from gui.theme.theme import theme
from gui.widgets.fold import Fold
from gui.widgets.labels import label

COLUMN_PX = 760
MARGIN_LEFT_PX, MARGIN_RIGHT_PX = 32, 24


class Section(QScrollArea):
    """One entry of the list at the left. ``anchors`` are what a search can jump to.

    Signals:
        room_changed: the column's width in px, for rows that stand otherwise when it is narrow.
        asked: a setting of another section, whose row is to be shown.
        page_asked: another page's id, and a section of it.
    """

    room_changed = Signal(int)
    asked = Signal(str)
    page_asked = Signal(str, str)

    def __init__(self, text: SectionText, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text = text
        self.anchors: dict[str, QWidget] = {}
        self.setAccessibleName(text.title)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        # The scroll area itself is no stop for Tab: its rows are, and they scroll into view.
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        page = QWidget()
        page.setObjectName("preferencesSection")
        outer = QHBoxLayout(page)
        outer.setContentsMargins(MARGIN_LEFT_PX, 21, MARGIN_RIGHT_PX, 32)
        self._holder = QWidget()
        self.column = QVBoxLayout(self._holder)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.setSpacing(16)
        outer.addWidget(self._holder, 1)
        outer.addStretch(0)
        heading = QVBoxLayout()
        heading.setSpacing(10)
        heading.addWidget(label(text.title, "figure"))
        heading.addWidget(label(text.sentence, "body", level="2", wrap=True))
        self.column.addLayout(heading)
        self.column.addStretch(1)
        self.setWidget(page)
        self.mark = RowMark(page)
        # When all that is new, was folded or grew has its height, and the scroll bar knows it.
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.timeout.connect(self._keep_in_sight)
        self.mark.moved.connect(self._settle.start)
        theme().changed.connect(self._restyle)
        self._restyle()

    def add_card(self, card: QWidget) -> None:
        """Put ``card`` below the others; what is left of the height stays empty, under the last one."""
        self.column.insertWidget(self.column.count() - 1, card)

    def reveal(self, anchor: str) -> None:
        """Scroll to the row of ``anchor``, mark it, and give it the focus, with what stands there selected.

        An unknown one is the section's top.
        """
        target = self.anchors.get(anchor)
        if target is None:
            self.verticalScrollBar().setValue(0)
            return
        self._open_folds_around(target)
        self._scroll_to(target)
        target.setFocus(Qt.FocusReason.ShortcutFocusReason)
        focused = target.focusWidget() or target
        if isinstance(focused, QLineEdit):
            focused.selectAll()  # so that typing replaces it
        self.mark.put_on(target)
        self._settle.start()

    def _keep_in_sight(self) -> None:
        if self.mark.row is not None:
            self._scroll_to(self.mark.row)

    def _scroll_to(self, target: QWidget) -> None:
        self.ensureWidgetVisible(target, 0, theme().px(48))

    def _open_folds_around(self, target: QWidget) -> None:
        for fold in self.findChildren(Fold):
            if fold.isAncestorOf(target):
                fold.set_open(True)

    def shown(self) -> None:
        """Called when the section comes to the front: the place to read what may have changed."""

    @property
    def room_px(self) -> int:
        """The width the column can have without being cut off."""
        room = self.viewport().width() - MARGIN_LEFT_PX - MARGIN_RIGHT_PX
        return min(room, theme().px(COLUMN_PX))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.room_changed.emit(self.room_px)

    def _restyle(self) -> None:
        self._holder.setMaximumWidth(theme().px(COLUMN_PX))
        self.room_changed.emit(self.room_px)
