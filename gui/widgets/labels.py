"""The words of a page: labels by role and level, and the line that tells a result."""

from __future__ import annotations

import re
from typing import Literal

from PySide6.QtCore import Qt
from PySide6.QtGui import (
    QClipboard,
    QContextMenuEvent,
    QGuiApplication,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
)
from PySide6.QtWidgets import QHBoxLayout, QLabel, QMenu, QWidget

from gui.theme.theme import set_property, theme

Role = Literal["hero", "figure", "title", "reading", "body", "small", "caption", "mono"]
Tone = Literal["ok", "danger", "held", "busy", "quiet", "plain"]

ICONS: dict[Tone, tuple[str, str]] = {
    "ok": ("check-circle-fill", "ok"),
    "danger": ("warning-circle-fill", "danger"),
    "held": ("warning-fill", "held"),
    "busy": ("hourglass-medium", "text2"),
    "quiet": ("info", "text2"),
    "plain": ("info", "text2"),  # never shown
}
ORIGIN_PLACES = {
    "environment": "the environment",
    ".env": "the .env file",
    "home .env": "the home folder’s .env file",
}


_LONG_WORD_CHARS = 90
_PLACE_TO_BREAK = "\u200b"


def breakable(text: str, least: int = _LONG_WORD_CHARS) -> str:
    """Return ``text`` with places to break a line in words no line has room for, such as a key or an address.

    Words of ``least`` characters have no room.

    Qt breaks a label's lines between words only: one long word from a server made the whole page as wide.
    """
    return re.sub(
        rf"\S{{{least},}}",
        lambda word: _PLACE_TO_BREAK.join(word[0][at : at + 20] for at in range(0, len(word[0]), 20)),
        text,
    )


def whole(text: str) -> str:
    """Return what :func:`breakable` was given, as one copies it."""
    return text.replace(_PLACE_TO_BREAK, "").replace("\u2029", "\n").replace("\u2028", "\n")


class CopiedLabel(QLabel):
    """A label whose words can be selected: what is copied is what was given, without the places to break."""

    def keyPressEvent(self, ev: QKeyEvent) -> None:
        if ev.matches(QKeySequence.StandardKey.Copy) and self.hasSelectedText():
            self.copy()
            ev.accept()
        else:
            super().keyPressEvent(ev)

    def mouseReleaseEvent(self, ev: QMouseEvent) -> None:
        super().mouseReleaseEvent(ev)
        clipboard = QGuiApplication.clipboard()
        if self.hasSelectedText() and clipboard.supportsSelection():
            clipboard.setText(whole(self.selectedText()), QClipboard.Mode.Selection)

    def contextMenuEvent(self, ev: QContextMenuEvent) -> None:
        """Qt's own menu would copy the places to break too."""
        if self.textInteractionFlags() == Qt.TextInteractionFlag.NoTextInteraction:
            super().contextMenuEvent(ev)
            return
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        copied = menu.addAction("Copy", self.copy)
        copied.setEnabled(self.hasSelectedText())
        menu.addAction("Select all", self.select_all)
        menu.popup(ev.globalPos())

    def select_all(self) -> None:
        """Select all words."""
        self.setSelection(0, len(self.text()))

    def copy(self) -> None:
        """Put the selected words on the clipboard."""
        QGuiApplication.clipboard().setText(whole(self.selectedText()))


def plain_label(text: str = "", parent: QWidget | None = None) -> QLabel:
    """Return a label that shows ``text`` letter by letter.

    Every label of the panel is made here: Qt's own guess takes a text with a tag in it for HTML, and opens the
    files that it names. The format is set first, since a text that is given with the label is read at once.
    """
    made = QLabel(parent)
    made.setTextFormat(Qt.TextFormat.PlainText)
    if text:
        made.setText(text)
    return made


def label(
    text: str,
    role: Role = "body",
    *,
    level: str = "",
    weight: int | None = None,
    wrap: bool = False,
    selectable: bool = False,
    parent: QWidget | None = None,
    **properties: object,
) -> QLabel:
    """A plain-text label: what it shows may come from a server or a file, so never as markup.

    ``properties`` are those of the theme: ``tone``, ``side``, ``tabular``.
    """
    made = CopiedLabel(parent) if selectable else QLabel(parent)
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setText(breakable(text) if wrap else text)
    made.setWordWrap(wrap)
    if selectable:
        made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    set_property(made, role=role, level=level, weight=weight, **properties)
    return made


class ResultLine(QWidget):
    """An icon, one strong word and a sentence: ``(tick) Works  Tested today 14:02 in 312 ms``. Empty = hidden."""

    def __init__(self, parent: QWidget | None = None, *, role: Role = "small") -> None:
        super().__init__(parent)
        self._tone: Tone = "quiet"
        self._icon = plain_label()
        self._word = label("", role, weight=600)
        # The sentence can be copied: it may hold an address or a command.
        self._sentence = label("", role, level="2" if role == "small" else "", wrap=True, selectable=True)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self._word, 0, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self._sentence, 1)
        theme().changed.connect(self._restyle)
        self.hide()

    @property
    def text(self) -> str:
        """All that the line says, empty when it says nothing."""
        return f"{self._word.text()} {self._sentence.text()}".strip().replace(_PLACE_TO_BREAK, "")

    @property
    def tone(self) -> Tone:
        return self._tone

    def tell(self, tone: Tone, word: str, sentence: str = "") -> None:
        self._tone = tone
        self._word.setText(word)
        self._word.setVisible(bool(word))
        self._icon.setVisible(tone != "plain")
        self._sentence.setText(breakable(sentence))
        self._restyle()
        self.setAccessibleName(self.text)
        self.setVisible(True)

    def clear(self) -> None:
        self._word.clear()
        self._sentence.clear()
        self.setAccessibleName("")
        self.hide()

    def _restyle(self) -> None:
        icon, token = ICONS[self._tone]
        size = theme().px(14)
        # As high as a line of the words, so that it stands beside the first one.
        self._icon.setFixedHeight(self._sentence.fontMetrics().height())
        self._icon.setPixmap(theme().icon(icon, token).pixmap(size, size))
        tone = self._tone if self._tone in ("ok", "danger", "held") else ""
        set_property(self._word, tone=tone)
