"""Failures as cards: what happened, why, the fix, the last log lines, what was kept, and what else can be done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QPainter, QPainterPath, QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from gui.theme.icons import paint_icon
from gui.theme.theme import set_button_icon, set_property, theme
from gui.widgets.flow import FlowLayout
from gui.widgets.labels import label
from gui.widgets.sentence import Sentence

Tone = Literal["held", "danger"]
Callback = Callable[[], object]


class IconMark(QWidget):
    """An icon that is not a button: it says nothing to a screen reader, its neighbour does."""

    def __init__(
        self, name: str, token: str = "text2", size: int = 16, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._name, self._token, self._size = name, token, size
        theme().changed.connect(self._restyle)
        self._restyle()

    def set_icon(self, name: str, token: str) -> None:
        self._name, self._token = name, token
        self.update()

    def _restyle(self) -> None:
        side = theme().px(self._size)
        self.setFixedSize(side, side)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        paint_icon(painter, QRectF(self.rect()), self._name, theme().color(self._token))
        painter.end()


class _Bar(QWidget):
    """The 3 px bar at the left. A child, because QSS draws unequal borders with a radius unevenly."""

    def __init__(self, tone: Tone, parent: QWidget) -> None:
        super().__init__(parent)
        self._tone = tone
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        theme().changed.connect(self.update)

    def paintEvent(self, event: QPaintEvent) -> None:
        unit = theme()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        radius = unit.px(6)
        card = QPainterPath()
        card.addRoundedRect(QRectF(0, 0, radius * 4, self.height()), radius, radius)
        painter.setClipRect(QRectF(0, 0, unit.px(3), self.height()))
        painter.fillPath(card, unit.color(self._tone))
        painter.end()


class _ToneCard(QFrame):
    """A card with the bar along its left edge."""

    def __init__(self, tone: Tone, parent: QWidget | None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        # Not Maximum: that caps the height at the hint of an unwrapped row of actions.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self._bar = _Bar(tone, self)
        theme().changed.connect(self._place_bar)

    def _place_bar(self) -> None:
        self._bar.setGeometry(0, 0, theme().px(3) + 1, self.height())
        self._bar.raise_()

    def resizeEvent(self, event: object) -> None:
        self._place_bar()


def _button(text: str, callback: Callback, parent: QWidget, **properties: object) -> QPushButton:
    button = QPushButton(text, parent)
    button.setAutoDefault(False)
    button.clicked.connect(lambda: callback())
    set_property(button, compact=True, **properties)
    return button


class ErrorCard(_ToneCard):
    """``fix`` is the one primary button; with ``fix_title`` it stands in a box that says what it changes.

    ``actions`` are ``(label, icon or "", callback)``; the last of three or more is flat. ``body`` is a widget
    between sentence and log, such as a BudgetSummary. ``kept`` is what was not lost.
    """

    def __init__(
        self,
        title: str,
        sentence: str,
        fix: tuple[str, Callback] | None = None,
        actions: Sequence[tuple[str, str, Callback]] = (),
        kept: str = "",
        log: Sequence[str] = (),
        tone: Tone = "danger",
        icon: str = "warning-octagon-fill",
        *,
        fix_title: str = "",
        fix_detail: str = "",
        body: QWidget | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(tone, parent)
        self.setAccessibleName(title)
        self.setAccessibleDescription(" ".join(part for part in (sentence, kept) if part))
        self.buttons: list[QPushButton] = []
        self._row = QHBoxLayout(self)
        self._mark = IconMark(icon, f"{tone}_text", 20, self)
        self._row.addWidget(self._mark, 0, Qt.AlignmentFlag.AlignTop)
        self._column = QVBoxLayout()
        self._row.addLayout(self._column, 1)
        self._column.addWidget(label(title, "title", wrap=True, parent=self))
        if sentence:
            self._column.addWidget(Sentence(sentence, self))
        self._inner: list[QVBoxLayout | QHBoxLayout] = []
        if fix and fix_title:
            self._column.addWidget(self._fix_box(fix, fix_title, fix_detail))
        if body is not None:
            self._column.addWidget(body)
        if log:
            self._column.addWidget(self._log_box(log))
        if kept:
            self._column.addLayout(self._kept_line(kept))
        if actions or (fix and not fix_title):
            self._column.addLayout(self._action_row(None if fix_title else fix, actions))
        theme().changed.connect(self._respace)
        self._respace()

    def _fix_box(self, fix: tuple[str, Callback], title: str, detail: str) -> QFrame:
        box = QFrame(self)
        set_property(box, inset=True)
        row = QHBoxLayout(box)
        row.addWidget(IconMark("wrench", "text2", 16, box))
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addWidget(Sentence(title, box, weight=500, level=None))
        if detail:
            words.addWidget(Sentence(detail, box, role="small"))
        row.addLayout(words, 1)
        button = _button(fix[0], fix[1], box, primary=True)
        self.buttons.append(button)
        row.addWidget(button)
        self._inner.append(row)
        return box

    def _log_box(self, log: Sequence[str]) -> QFrame:
        box = QFrame(self)
        set_property(box, sunken=True)
        column = QVBoxLayout(box)
        column.setSpacing(2)
        lines = Sentence("\n".join(log), box, role="mono")
        lines.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        lines.setAccessibleName("Last lines of the log")
        column.addWidget(lines)
        self._inner.append(column)
        return box

    def _kept_line(self, kept: str) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(theme().px(6))
        row.addWidget(IconMark("shield-check", "text3", 14, self), 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(Sentence(kept, self, role="small"), 1)
        return row

    def _action_row(
        self, fix: tuple[str, Callback] | None, actions: Sequence[tuple[str, str, Callback]]
    ) -> FlowLayout:
        row = FlowLayout()
        if fix:
            button = _button(fix[0], fix[1], self, primary=True)
            self.buttons.append(button)
            row.addWidget(button)
        for index, (words, icon, callback) in enumerate(actions):
            last_of_many = index == len(actions) - 1 and len(actions) >= 3
            button = _button(words, callback, self, flat=last_of_many)
            if icon:
                set_button_icon(button, icon, "text2" if last_of_many else "text", 14)
            self.buttons.append(button)
            row.addWidget(button)
        return row

    def _respace(self) -> None:
        px = theme().px
        self._row.setContentsMargins(px(19), px(13), px(14), px(14))
        self._row.setSpacing(px(6))
        self._column.setSpacing(px(8))
        for inner in self._inner:
            inner.setContentsMargins(px(10), px(6), px(10), px(6))
            inner.setSpacing(px(8))


class ShortCard(_ToneCard):
    """A failure of one line, 60 px: icon, what happened over why and what was kept, and one button."""

    def __init__(
        self,
        title: str,
        sentence: str,
        action: tuple[str, Callback] | None = None,
        tone: Tone = "held",
        icon: str = "key-fill",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(tone, parent)
        self.setAccessibleName(title)
        self.setAccessibleDescription(sentence)
        self.button: QPushButton | None = None
        self._row = QHBoxLayout(self)
        self._row.addWidget(IconMark(icon, f"{tone}_text", 20, self))
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addWidget(Sentence(title, self, weight=600, level=None))
        words.addWidget(Sentence(sentence, self, role="small"))
        self._row.addLayout(words, 1)
        if action:
            self.button = _button(action[0], action[1], self)
            self._row.addWidget(self.button)
        theme().changed.connect(self._respace)
        self._respace()

    def _respace(self) -> None:
        px = theme().px
        self._row.setContentsMargins(px(17), px(10), px(14), px(10))
        self._row.setSpacing(px(12))
        self.setMinimumHeight(px(60))
