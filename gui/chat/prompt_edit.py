"""The box a prompt is typed in: grows to eight lines, sends on Enter, and hands large pastes on."""

from __future__ import annotations

from PySide6.QtCore import QMimeData, Qt, Signal
from PySide6.QtGui import (
    QFontMetrics,
    QImage,
    QInputMethodEvent,
    QKeyEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QTextBlockFormat,
    QTextCursor,
)
from PySide6.QtWidgets import QFrame, QTextEdit, QWidget

from gui.chat.paste import LARGE_CHARS, read_paste
from gui.theme.theme import set_property, theme
from gui.widgets.composing import Composing

MAX_LINES = 8


class PromptEdit(QTextEdit):
    """Plain text only. ``framed`` draws the box and the focus ring of a field, where nothing around it does.

    Signals:
        submitted: Enter was pressed.
        pasted_large: an ``Attachment`` made of a long paste.
        pasted_image: a ``QImage``.
        pasted_files: a list of local ``QUrl``.
        noted: a sentence for the user about what was pasted.
    """

    submitted = Signal()
    pasted_large = Signal(object)
    pasted_image = Signal(QImage)
    pasted_files = Signal(list)
    noted = Signal(str)

    def __init__(self, parent: QWidget | None = None, *, framed: bool = False) -> None:
        super().__init__(parent)
        self._composing = Composing(self)
        self._framed = framed
        self._hint = ""
        set_property(self, bare=not framed, role="reading")
        self.setAcceptRichText(False)
        self.setTabChangesFocus(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.document().setDocumentMargin(0)
        self.document().documentLayout().documentSizeChanged.connect(self._fit)
        theme().changed.connect(self._restyle)
        self._restyle()

    def setPlaceholderText(self, placeholderText: str) -> None:
        """Show ``placeholderText`` while nothing is typed, on the line where the first letter will stand.

        Qt's own is drawn without the line's height, 4 px higher.
        """
        self._hint = placeholderText
        self.viewport().update()

    def placeholderText(self) -> str:
        return self._hint

    def text(self) -> str:
        return self.toPlainText()

    def set_text(self, text: str) -> None:
        """Replace everything; the caret goes to the end."""
        self.setPlainText(text)
        self._restyle()
        self.moveCursor(QTextCursor.MoveOperation.End)

    def _restyle(self) -> None:
        unit = theme()
        self.document().setDefaultFont(unit.font("reading"))
        line = QTextBlockFormat()
        line.setLineHeight(unit.line_px("reading"), QTextBlockFormat.LineHeightTypes.FixedHeight.value)
        cursor = QTextCursor(self.document())
        cursor.select(QTextCursor.SelectionType.Document)
        cursor.mergeBlockFormat(line)
        self._fit()

    def _fit(self) -> None:
        line = theme().line_px("reading")
        wanted = int(self.document().size().height() + 0.999)
        most = line * MAX_LINES
        self.setVerticalScrollBarPolicy(
            Qt.ScrollBarPolicy.ScrollBarAsNeeded if wanted > most else Qt.ScrollBarPolicy.ScrollBarAlwaysOff
        )
        # The style sheet's padding and border above and below: with the focus ring it is as much.
        frame = 2 * (theme().px(6) + 1) if self._framed else 0
        height = max(line, min(wanted, most)) + frame
        if height != self.minimumHeight():
            self.setFixedHeight(height)

    # What Qt calls

    def paintEvent(self, e: QPaintEvent) -> None:
        super().paintEvent(e)
        composed = self.document().firstBlock().layout().preeditAreaText()
        if not self._hint or composed or not self.document().isEmpty():
            return
        line = self.cursorRect()
        metrics = QFontMetrics(theme().font("reading"))
        painter = QPainter(self.viewport())
        painter.setFont(theme().font("reading"))
        painter.setPen(self.palette().color(QPalette.ColorRole.PlaceholderText))
        room = self.viewport().width() - line.x()
        words = metrics.elidedText(self._hint, Qt.TextElideMode.ElideRight, room)
        painter.drawText(line.x(), line.y() + metrics.ascent(), words)
        painter.end()

    def keyPressEvent(self, e: QKeyEvent) -> None:
        if e.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if self._composing.is_on:
                e.ignore()
            elif e.modifiers() & Qt.KeyboardModifier.ShiftModifier:
                self.textCursor().insertBlock()
                self.ensureCursorVisible()
            elif not e.modifiers() & ~Qt.KeyboardModifier.KeypadModifier:
                self.submitted.emit()
            return
        super().keyPressEvent(e)

    def inputMethodEvent(self, e: QInputMethodEvent) -> None:
        self._composing.note(e)
        super().inputMethodEvent(e)

    def canInsertFromMimeData(self, source: QMimeData) -> bool:
        return source.hasText() or source.hasImage() or source.hasUrls()

    def insertFromMimeData(self, source: QMimeData) -> None:
        files = [url for url in source.urls() if url.isLocalFile()] if source.hasUrls() else []
        if files:
            self.pasted_files.emit(files)
        elif source.hasImage() and not source.hasText():
            image = source.imageData()
            if isinstance(image, QImage):
                self.pasted_image.emit(image)
        elif source.hasText():
            self.insert_pasted(source.text())

    def insert_pasted(self, text: str) -> None:
        """Insert what the clipboard or a drag brought, cleaned, or hand it on when it is long."""
        room = LARGE_CHARS - self.document().characterCount()
        pasted = read_paste(text, room_chars=max(0, room))
        if pasted.attachment is not None:
            self.pasted_large.emit(pasted.attachment)
        elif pasted.text:
            self.textCursor().insertText(pasted.text)
            self.ensureCursorVisible()
        self.noted.emit(pasted.note)
