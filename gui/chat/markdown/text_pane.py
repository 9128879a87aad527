"""A piece of an answer: rich text as high as its content, which loads nothing and follows no link by itself."""

from __future__ import annotations

import re
from typing import Any, cast

from PySide6.QtCore import QEvent, QPoint, QRectF, Qt, QUrl, Signal
from PySide6.QtGui import (
    QFocusEvent,
    QHelpEvent,
    QImage,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QTextCursor,
    QTextDocument,
    QTextLine,
    QWheelEvent,
)
from PySide6.QtWidgets import QFrame, QTextBrowser, QToolTip, QWidget

from gui.chat.markdown.links import describe_target
from gui.theme.theme import theme

# Qt keeps these for its own marks inside a document (frames, objects); the rest of the class can't be drawn.
# So is an override of the direction of letters, which no language needs: it shows a text that isn't there.
_UNDRAWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\u2028\u2029\u202d\u202e\ufdd0-\ufdef\ufffc\ufffe\uffff]")
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")


_MOST_MARKS = 8
_MOST_JOINED = 16
_COMBINING = "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
_STACKED = re.compile(f"({_COMBINING}{{{_MOST_MARKS}}}){_COMBINING}+")
_JOINED = re.compile(f"(?:[^\\s\u200d]{{1,8}}\u200d){{{_MOST_JOINED}}}")


def drawable(text: str) -> str:
    """Return ``text`` with what a document must not hold shown as U+FFFD.

    So are marks stacked on one letter beyond the eighth; an emoji joined of more than sixteen falls into several.
    Qt lays each out as one letter, at a cost that grows with its square.
    """
    text = _UNDRAWABLE.sub("\ufffd", text)
    if text.isascii():
        return text
    text = _STACKED.sub("\\1\ufffd", text)
    return _JOINED.sub(lambda found: found[0][:-1], text) if "\u200d" in text else text


def drawable_code(text: str) -> str:
    """Return ``text`` as :func:`drawable` does, and what turns the direction of text shown as U+FFFD.

    In prose other languages need it; in code it makes a comment look like a statement, and what is copied and run
    is not what was read.
    """
    return drawable(_DIRECTION.sub("\ufffd", text))


_IMAGE = QTextDocument.ResourceType.ImageResource.value


class LoadNothingDocument(QTextDocument):
    """A document that never opens a file or an address, whatever its text names."""

    has_links = False

    def loadResource(self, type: int, name: QUrl | str) -> Any:
        # Not None for a picture: Qt would then open the file of that name by itself.
        return QImage(1, 1, QImage.Format.Format_Mono) if type == _IMAGE else None


class TextPane(QTextBrowser):
    """Read-only, selectable, as high as its text; the wheel goes to the page.

    Signals:
        link_clicked: the address of a link the user pressed, as the model wrote it, and where on the screen.
    """

    link_clicked = Signal(str, QPoint)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shows_caret = False
        self._pressed_at = QPoint()
        document = LoadNothingDocument(self)
        document.setDocumentMargin(0)
        document.setUndoRedoEnabled(False)
        self.setDocument(document)
        self.setUndoRedoEnabled(False)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setOpenLinks(False)
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
            | Qt.TextInteractionFlag.LinksAccessibleByMouse
            | Qt.TextInteractionFlag.LinksAccessibleByKeyboard
        )
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.viewport().setAutoFillBackground(False)
        self.anchorClicked.connect(self._on_anchor)
        document.documentLayout().documentSizeChanged.connect(self._fit)
        self.verticalScrollBar().valueChanged.connect(self._stay_at_top)

    def set_shows_caret(self, shows: bool) -> None:
        """Draw the mark where the next token will come."""
        if shows != self._shows_caret:
            self._shows_caret = shows
            self.viewport().update()

    def content_height(self) -> int:
        """Height of the text in pixels at the present width."""
        return int(self.document().size().height() + 0.999)

    def _fit(self) -> None:
        height = max(self.content_height(), self.extra_height())
        if height != self.height() or self.minimumHeight() != height:
            self.setFixedHeight(height)

    def _stay_at_top(self, value: int) -> None:
        """All of the text is in sight, whatever range Qt has left from when the pane was lower than it."""
        if value:
            self.verticalScrollBar().setValue(0)

    def extra_height(self) -> int:
        """The least height in pixels; a subclass may ask for more."""
        return 1

    def _on_anchor(self, url: QUrl) -> None:
        # An invalid address has no text as a QUrl; what the model wrote is still to be shown.
        target = url.toString() or self.anchorAt(self.viewport().mapFromGlobal(self._pressed_at))
        self.link_clicked.emit(target, self._pressed_at)

    # What Qt calls

    def loadResource(self, type: int, name: QUrl | str) -> Any:
        return self.document().loadResource(type, name)

    def doSetSource(self, name: QUrl | str, type: Any = None) -> None:
        """No address ever becomes the content."""

    def wheelEvent(self, e: QWheelEvent) -> None:
        e.ignore()

    def mouseReleaseEvent(self, ev: QMouseEvent) -> None:
        self._pressed_at = ev.globalPosition().toPoint()
        super().mouseReleaseEvent(ev)

    def focusOutEvent(self, ev: QFocusEvent) -> None:
        super().focusOutEvent(ev)
        if ev.reason() not in (Qt.FocusReason.ActiveWindowFocusReason, Qt.FocusReason.PopupFocusReason):
            cursor = self.textCursor()
            if cursor.hasSelection():  # one selection on the page, else Ctrl+C copies what nobody looks at
                cursor.clearSelection()
                self.setTextCursor(cursor)

    def event(self, e: QEvent) -> bool:
        if isinstance(e, QHelpEvent):
            anchor = self.anchorAt(e.pos())
            if anchor:
                QToolTip.showText(e.globalPos(), describe_target(anchor), self)
                return True
        handled = super().event(e)
        if e.type() in (QEvent.Type.Polish, QEvent.Type.StyleChange):
            self._fit()  # the style sheet took back the height that was set before it came
        return handled

    def paintEvent(self, e: QPaintEvent) -> None:
        super().paintEvent(e)
        if not self._shows_caret:
            return
        painter = QPainter(self.viewport())
        painter.fillRect(self.caret_rect(), theme().color("ink"))
        painter.end()

    def caret_rect(self) -> QRectF:
        """Where the mark of the next token is drawn, in pixels of the viewport: beside all that stands on its line.

        Text from right to left grows at its left edge; words of the other direction at the end of a line have
        Qt's cursor inside the line.
        """
        cursor = QTextCursor(self.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        at = QRectF(self.cursorRect(cursor))
        unit = theme()
        gap, width, height = unit.px(2), unit.px(7), unit.px(14)
        left = right = at.x()
        block = cursor.block()
        line = block.layout().lineForTextPosition(cursor.positionInBlock())
        if line.isValid():
            written = line.naturalTextRect().translated(
                at.x() - _x_in_line(line, cursor.positionInBlock()), 0
            )
            left, right = min(left, written.left()), max(right, written.right())
        is_rtl = block.textDirection() == Qt.LayoutDirection.RightToLeft
        x = left - gap - width if is_rtl else right + gap
        return QRectF(round(x), at.center().y() - height / 2, width, height)


def _x_in_line(line: QTextLine, position: int) -> float:
    return cast("tuple[float, int]", line.cursorToX(position))[0]
