"""A run of an answer without code blocks: closed Markdown above, the open block as its tail below."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import (
    QPainter,
    QPaintEvent,
    QTextCursor,
    QTextDocumentFragment,
    QTextFormat,
)
from PySide6.QtWidgets import QWidget

from gui.chat.prose import (
    LIST_INDENT_PX,
    RULE_PROPERTY,
    plain_block_format,
    plain_char_format,
    render_markdown,
)
from gui.chat.text_pane import TextPane, drawable
from gui.theme import theme

LIVE_CHARS = 1500
"""An open block up to this long is rendered at every step (about 1 ms); a longer one only grows as plain text."""


class ProseBlock(TextPane):
    """Selectable text of several Markdown blocks."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        document = self.document()
        document.setDefaultFont(theme().font("reading"))
        document.setIndentWidth(theme().px(LIST_INDENT_PX))
        self._tail_start = 0
        self._tail = ""
        self._tail_plain: str | None = None  # what the tail shows as plain text, None when it is rendered

    @property
    def is_empty(self) -> bool:
        return self.document().characterCount() <= 1

    def close_block(self, markdown: str) -> None:
        """Put a block that will not change in the place of the tail."""
        if markdown != self._tail or self._tail_plain is not None:
            self._replace_tail(markdown)
        self._tail_plain = None
        self._tail = ""
        self._tail_start = self.document().characterCount() - 1

    def set_tail(self, markdown: str) -> None:
        """Show the open block as it is so far."""
        if markdown == self._tail:
            return
        self._tail = markdown
        if len(markdown) <= LIVE_CHARS:
            self._replace_tail(markdown)
            self._tail_plain = None
            return
        shown = drawable(markdown)
        if self._tail_plain is not None and shown.startswith(self._tail_plain):
            cursor = QTextCursor(self.document())
            cursor.movePosition(QTextCursor.MoveOperation.End)
            cursor.insertText(shown[len(self._tail_plain) :], plain_char_format())
        else:
            cursor = self._emptied_tail()
            cursor.insertText(shown, plain_char_format())
        self._tail_plain = shown

    def _replace_tail(self, markdown: str) -> None:
        cursor = self._emptied_tail(stays_empty=not markdown)
        if markdown:
            rendered = render_markdown(markdown)
            start = cursor.position()
            cursor.insertFragment(QTextDocumentFragment(rendered))
            first = rendered.begin().blockFormat()  # inserting keeps the format of the paragraph it starts in
            first.clearProperty(QTextFormat.Property.ObjectIndex)
            if start == 0:
                first.setTopMargin(0)
            cursor.setPosition(start)
            cursor.mergeBlockFormat(first)
            if rendered.has_links:  # only text with links is a stop for the Tab key
                self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def _emptied_tail(self, *, stays_empty: bool = False) -> QTextCursor:
        """Remove the tail and return a cursor in a fresh paragraph at the end."""
        cursor = QTextCursor(self.document())
        cursor.setPosition(self._tail_start)
        cursor.movePosition(QTextCursor.MoveOperation.End, QTextCursor.MoveMode.KeepAnchor)
        cursor.removeSelectedText()
        if self._tail_start == 0:
            cursor.setBlockFormat(plain_block_format())
            cursor.setBlockCharFormat(plain_char_format())
        elif not stays_empty:
            cursor.insertBlock(plain_block_format(), plain_char_format())
        return cursor

    def extra_height(self) -> int:
        return theme().line_px("reading") if self._shows_caret else 1

    def paintEvent(self, e: QPaintEvent) -> None:
        self._paint_marks(e)
        super().paintEvent(e)

    def _paint_marks(self, e: QPaintEvent) -> None:
        """Bars beside quotations and horizontal rules, which QTextDocument draws in no style of ours."""
        unit = theme()
        layout = self.document().documentLayout()
        block = self.cursorForPosition(e.rect().topLeft()).block()
        painter: QPainter | None = None
        while block.isValid():
            box = layout.blockBoundingRect(block)
            if box.top() > e.rect().bottom():
                break
            given = block.blockFormat()
            marks = [
                QRectF(unit.px(16) * step, box.top(), unit.px(3), box.height())
                for step in range(given.intProperty(QTextFormat.Property.BlockQuoteLevel))
            ]
            if given.boolProperty(RULE_PROPERTY):
                marks.append(QRectF(0, round(box.center().y()), self.viewport().width(), 1))
            if marks:
                painter = painter or QPainter(self.viewport())
                for mark in marks:
                    painter.fillRect(mark, unit.color("border"))
            block = block.next()
        if painter is not None:
            painter.end()


__all__ = ["LIVE_CHARS", "ProseBlock"]
