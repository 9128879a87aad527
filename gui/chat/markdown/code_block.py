"""A code block: framed, its language above, a button that copies exactly what the model wrote."""

from __future__ import annotations

from PySide6.QtCore import QMimeData, QRectF, Qt
from PySide6.QtGui import (
    QPainter,
    QPaintEvent,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
)
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QTextEdit,
    QVBoxLayout,
    QWidget,
)

from gui.chat.markdown.highlighter import CodeHighlighter, LexerCache
from gui.chat.markdown.prose import code_font
from gui.chat.markdown.text_pane import TextPane, drawable, drawable_code
from gui.theme.theme import set_button_icon, set_property, theme
from gui.widgets.copying import Copier
from gui.widgets.labels import plain_label
from gui.widgets.painted_button import paint_box

LONG_LINE_CHARS = 2000
SHOWN_LINES = 2_000
"""So many lines of a block are drawn, and as many again at each press of the button below; copied are all."""
SHOWN_CHARS = 200_000
_SEAM = 1  # block state of a line that only goes on from the one above


class CodeBody(TextPane):
    """The code itself. A line of many thousand characters is shown in pieces and copied whole."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setLineWrapMode(QTextEdit.LineWrapMode.NoWrap)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.document().setDefaultFont(code_font())
        self.horizontalScrollBar().rangeChanged.connect(self._fit)
        self._line_chars = 0
        self.has_seams = False
        cursor = QTextCursor(self.document())
        cursor.setBlockFormat(_line_format())
        self.setAccessibleName("Code")

    def append_code(self, text: str) -> None:
        cursor = QTextCursor(self.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        cursor.beginEditBlock()
        style = QTextCharFormat()
        style.setFont(code_font())
        style.setForeground(theme().color("text"))
        for number, line in enumerate(drawable_code(text).split("\n")):
            if number:
                cursor.insertBlock(_line_format())
                self._line_chars = 0
            while self._line_chars + len(line) > LONG_LINE_CHARS:
                room = LONG_LINE_CHARS - self._line_chars
                cursor.insertText(line[:room], style)
                cursor.insertBlock(_line_format())
                cursor.block().setUserState(_SEAM)
                self.has_seams = True
                line = line[room:]
                self._line_chars = 0
            cursor.insertText(line, style)
            self._line_chars += len(line)
        cursor.endEditBlock()

    def show_left(self) -> None:
        """Scroll to where the lines begin; a selection stays."""
        if not self.textCursor().hasSelection():
            self.moveCursor(
                QTextCursor.MoveOperation.Start
            )  # Qt scrolls to its caret, which the text pushed on
        self.horizontalScrollBar().setValue(0)

    def extra_height(self) -> int:
        """Whole text, and the scroll bar below it when a line is wider than the frame."""
        bar = self.horizontalScrollBar()
        return self.content_height() + (bar.sizeHint().height() if bar.maximum() > 0 else 0)

    def createMimeDataFromSelection(self) -> QMimeData:
        """Plain text, with pieces of one long line joined again."""
        cursor = self.textCursor()
        block = self.document().findBlock(cursor.selectionStart())
        parts: list[str] = []
        while block.isValid() and block.position() < max(cursor.selectionEnd(), cursor.selectionStart() + 1):
            start = max(0, cursor.selectionStart() - block.position())
            end = min(block.length() - 1, cursor.selectionEnd() - block.position())
            joint = "" if not parts or block.userState() == _SEAM else "\n"
            parts.append(joint + block.text()[start:end])
            block = block.next()
        data = QMimeData()
        data.setText("".join(parts))
        return data


class CodeBlock(QWidget):
    """Header and body. ``source`` is the code as the model wrote it."""

    def __init__(
        self, language: str, lexers: LexerCache, parent: QWidget | None = None, *, lines: int = SHOWN_LINES
    ) -> None:
        super().__init__(parent)
        unit = theme()
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.language = language
        self._pieces: list[str] = []
        self._folded: list[str] = []
        self._folded_lines = 0
        self._lines_left, self._chars_left = lines, SHOWN_CHARS
        self._more: QPushButton | None = None
        self.shown_lines = 1
        self.unfolds = 0  # so often did the reader ask for more
        self.body = CodeBody()
        self._highlighter = CodeHighlighter(self.body.document(), lexers, language)
        label = plain_label(drawable(language)[:40] or "code")
        set_property(label, role="small", level="3")
        self.copy_button = QPushButton("Copy")
        set_property(self.copy_button, flat=True, tiny=True, role="small")
        set_button_icon(self.copy_button, "copy", "text2", 14)
        self.copy_button.setAccessibleName(f"Copy {language or 'code'}")
        self.copy_button.setToolTip("Copy this code")
        Copier(self.copy_button, lambda: self.source)
        header = self._header = QHBoxLayout()
        header.setContentsMargins(unit.px(12), unit.px(1), unit.px(4), unit.px(1))
        header.addWidget(label)
        header.addStretch(1)
        header.addWidget(self.copy_button)
        line = QFrame()
        set_property(line, line=True)
        inside = QVBoxLayout()
        inside.setContentsMargins(unit.px(12), unit.px(8), unit.px(8), unit.px(8))
        inside.addWidget(self.body)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(1, 1, 1, 1)
        self._column.setSpacing(0)
        self._column.addLayout(header)
        self._column.addWidget(line)
        self._column.addLayout(inside)

    def add_button(self, words: str, name: str) -> QPushButton:
        """Return a new button beside the one that copies."""
        button = QPushButton(words)
        set_property(button, flat=True, tiny=True, role="small")
        button.setAccessibleName(name)
        button.setToolTip(name)
        self._header.insertWidget(self._header.count() - 1, button)
        return button

    @property
    def source(self) -> str:
        return "".join(self._pieces)

    def append(self, text: str) -> None:
        self._pieces.append(text)
        self._draw(text)

    def _draw(self, text: str) -> None:
        """Draw as much of ``text`` as there is room for, and fold the rest."""
        shown = "" if self._folded else self._fitting(text)
        if shown:
            lines = shown.count("\n")
            self.shown_lines += lines
            self._lines_left -= lines
            self._chars_left -= len(shown)
            self.body.append_code(shown)
            if not self.body.has_seams:
                self._highlighter.refresh()
        if len(shown) < len(text):
            rest = text[len(shown) :]
            self._folded.append(rest)
            self._folded_lines += rest.count("\n")
            self._show_fold()

    def _fitting(self, text: str) -> str:
        if text.count("\n") > self._lines_left:
            text = "\n".join(text.split("\n", self._lines_left + 1)[: self._lines_left + 1])
        return text[: self._chars_left]

    def _show_fold(self) -> None:
        if self._more is None:
            self._more = QPushButton()
            set_property(self._more, flat=True, tiny=True, role="small")
            self._more.clicked.connect(self.unfold)
            self._column.addWidget(self._more, 0, Qt.AlignmentFlag.AlignLeft)
        count = self._folded_lines
        self._more.setText(f"Show {count:,} more line{'s'[: count != 1]}" if count else "Show the rest")
        self._more.show()

    @property
    def is_folded(self) -> bool:
        return bool(self._folded)

    def unfold(self) -> None:
        """Draw the next lines that are folded."""
        self.unfolds += 1
        text = "".join(self._folded)
        self._folded, self._folded_lines = [], 0
        self._lines_left, self._chars_left = SHOWN_LINES, SHOWN_CHARS
        if self._more is not None:
            self._more.hide()
        self._draw(text)
        self.body.show_left()

    def paintEvent(self, arg__1: QPaintEvent) -> None:
        """The frame: its own style sheet would cost each block more than its text."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        paint_box(painter, QRectF(self.rect()), theme().px(4), line="border")
        painter.end()


def _line_format() -> QTextBlockFormat:
    line = QTextBlockFormat()
    line.setLineHeight(theme().line_px("mono"), QTextBlockFormat.LineHeightTypes.FixedHeight.value)
    return line
