"""Formulas inside a text document: first the letters that were written, then pictures on the same baseline."""

from __future__ import annotations

from PySide6.QtCore import QObject, QRect, QRectF, QSizeF, Qt
from PySide6.QtGui import (
    QPainter,
    QPyTextObject,
    QTextBlock,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
    QTextFragment,
)

from gui.chat.markdown.formulas import Drawing, Formula, FormulaDrawer, formula_of
from gui.theme.theme import theme

_SOURCE = QTextFormat.Property.UserProperty.value + 2
"""Of the letters of a formula, and of its picture: what the model wrote, marks and all."""
_PICTURE = QTextFormat.ObjectTypes.UserObject.value + 1
_OBJECT = "\ufffc"
_LINE_END = "\u2028"
_IN_LINE = QTextCharFormat.VerticalAlignment.AlignMiddle
_AROUND_PX = 10
_EM = 1.1
"""The letters of formulas are smaller than Inter's of the same size."""


def as_formula(style: QTextCharFormat, source: str) -> QTextCharFormat:
    """Return ``style`` for letters that are the formula ``source``."""
    style = QTextCharFormat(style)
    style.setProperty(_SOURCE, source)
    return style


def insert_lines(cursor: QTextCursor, text: str, style: QTextCharFormat) -> None:
    """Insert ``text`` with its lines into one paragraph."""
    cursor.insertText(text.replace("\n", _LINE_END), style)


def set_formulas_apart(document: QTextDocument) -> None:
    """Put each formula that is to stand on a line of its own in a paragraph of its own."""
    block = document.begin()
    while block.isValid():
        if not QTextCursor(block).currentTable():
            for fragment in _fragments(block):
                source = _source(fragment)
                if source and formula_of(source).display:
                    _set_apart(block, fragment)  # what follows it is the next paragraph then
                    break
        block = block.next()


def _set_apart(block: QTextBlock, fragment: QTextFragment) -> None:
    start, end = fragment.position(), fragment.position() + fragment.length()
    items = block.textList()
    given = block.blockFormat()
    beside = QTextBlockFormat(given)  # of an item's formula, and of what is below it: no item of their own
    beside.clearProperty(QTextFormat.Property.ObjectIndex)
    beside.setTopMargin(0)
    if items:
        beside.setIndent(items.format().indent())
    cursor = QTextCursor(block)
    style = block.charFormat()
    before, after = block.text()[: start - block.position()], block.text()[end - block.position() :]
    if after.strip():
        cursor.setPosition(end)
        cursor.setPosition(end + len(after) - len(after.lstrip()), QTextCursor.MoveMode.KeepAnchor)
        cursor.removeSelectedText()
        cursor.insertBlock(beside, style)
    if before.strip():
        cursor.setPosition(start - len(before) + len(before.rstrip()))
        cursor.setPosition(start, QTextCursor.MoveMode.KeepAnchor)
        cursor.removeSelectedText()
        cursor.insertBlock(beside, style)


def text_as_written(document: QTextDocument) -> str:
    """Return the text of ``document`` with what was written in the places of pictures."""
    lines: list[str] = []
    block = document.begin()
    while block.isValid():
        text = block.text()
        if _OBJECT in text:
            parts = ((fragment, fragment.charFormat()) for fragment in _fragments(block))
            text = "".join(
                style.stringProperty(_SOURCE) * fragment.length()
                if style.objectType() == _PICTURE
                else fragment.text()
                for fragment, style in parts
            )
        lines.append(text.replace(_LINE_END, "\n"))
        block = block.next()
    return "\n".join(lines)


def formulas_as_text(document: QTextDocument) -> None:
    """Put what was written in the places of the pictures, for copies."""
    cursor = QTextCursor(document)
    block = document.begin()
    while block.isValid():
        for fragment in reversed(_fragments(block)):
            style = fragment.charFormat()
            if style.objectType() == _PICTURE:
                source = style.stringProperty(_SOURCE)
                style.clearProperty(QTextFormat.Property.ObjectType)
                style.clearProperty(QTextFormat.Property.TextVerticalAlignment)
                _select(cursor, fragment)
                insert_lines(cursor, source * fragment.length(), style)
        block = block.next()


class FormulaObjects(QPyTextObject):
    """Draws the formulas of one document, as their pictures come."""

    def __init__(self, document: QTextDocument, drawer: FormulaDrawer, parent: QObject) -> None:
        super().__init__(parent)
        self._document = document
        self._drawer = drawer
        self._drawings: dict[str, Drawing] = {}
        self._awaited: set[Formula] = set()
        document.documentLayout().registerHandler(_PICTURE, self)

    @property
    def is_complete(self) -> bool:
        """Whether there are pictures, and none to wait for."""
        return bool(self._drawings) and not self._awaited

    @property
    def can_go_on(self) -> bool:
        """Whether something that was asked for has come, or never will."""
        return any(not self._drawer.is_coming(formula) for formula in self._awaited)

    def show(self, start: int, until: int) -> int:
        """Put the pictures that are there in place from ``start`` on.

        Returns how many letters the text lost before the position ``until``: also where ``start`` is that place,
        since the paragraph that ends there may have got a picture meanwhile.
        """
        lost = lost_in_all = 0
        awaited: set[Formula] = set()
        cursor = QTextCursor(self._document)
        block = self._document.findBlock(start)
        while block.isValid():
            lost_here = 0
            for fragment in reversed(_fragments(block)):
                source = _source(fragment)
                if not source or fragment.charFormat().objectType() == _PICTURE:
                    continue
                formula = formula_of(source)
                drawing = self._drawer.get(formula)
                if drawing is None:
                    if self._drawer.is_coming(formula):
                        awaited.add(formula)
                else:
                    self._drawings[source] = drawing
                    is_before = fragment.position() + lost_in_all < until  # as it was when this began
                    less = self._put(cursor, fragment, len(source), display=formula.display)
                    lost_here += less
                    if is_before:
                        lost += less
            lost_in_all += lost_here
            block = block.next()
        self._awaited = awaited if start == 0 else self._awaited | awaited
        return lost

    def _put(self, cursor: QTextCursor, fragment: QTextFragment, letters: int, *, display: bool) -> int:
        style = QTextCharFormat(fragment.charFormat())
        times = max(1, fragment.length() // letters)  # the same formula twice without a space is one fragment
        length = fragment.length()
        style.setObjectType(_PICTURE)
        _select(cursor, fragment)
        given = cursor.blockFormat()
        line = given.lineHeight()
        if display and len(cursor.block().text()) == length and not cursor.currentTable():
            given.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            given.setTopMargin(max(given.topMargin(), theme().px(_AROUND_PX)))
            given.setBottomMargin(theme().px(_AROUND_PX))
        else:
            style.setVerticalAlignment(_IN_LINE)
        drawing = self._drawings[style.stringProperty(_SOURCE)]
        em = self._em_px(drawing, style)
        cursor.insertText(_OBJECT * times, style)
        if given.lineHeightType() == QTextBlockFormat.LineHeightTypes.FixedHeight.value and (
            drawing.ascent * em > line * 0.8 or drawing.depth * em > line * 0.2
        ):
            given.setLineHeight(line, QTextBlockFormat.LineHeightTypes.MinimumHeight.value)
        cursor.setBlockFormat(given)
        return length - times

    def _em_px(self, drawing: Drawing, style: QTextCharFormat, position: int | None = None) -> float:
        """Return the size of the picture's em in pixels: as the text's, less where the column is too narrow."""
        em = style.font().pixelSize() * _EM
        column = self._document.textWidth()
        if column <= 0 or position is None or drawing.width * em < column / 2:
            return em
        return min(em, max(1.0, column - _indent(self._document.findBlock(position))) / drawing.width)

    # What Qt calls

    def intrinsicSize(self, doc: QTextDocument, posInDocument: int, format: QTextFormat) -> QSizeF:
        drawing = self._drawings.get(format.stringProperty(_SOURCE))
        if drawing is None:
            return QSizeF(0, 0)
        style = format.toCharFormat()
        em = self._em_px(drawing, style, posInDocument)
        ascent, depth = drawing.ascent * em, drawing.depth * em
        if style.verticalAlignment() != _IN_LINE:
            return QSizeF(drawing.width * em, ascent + depth)
        # Qt puts the box's middle above the baseline by some quarter of the font's size, and asks no more about it.
        middle = style.font().pixelSize() / 4
        return QSizeF(drawing.width * em, 2 * max(ascent - middle, depth + middle))

    def drawObject(
        self,
        painter: QPainter,
        rect: QRectF | QRect,
        doc: QTextDocument,
        posInDocument: int,
        format: QTextFormat,
    ) -> None:
        drawing = self._drawings.get(format.stringProperty(_SOURCE))
        if drawing is None:
            return
        style = format.toCharFormat()
        em = self._em_px(drawing, style, posInDocument)
        top = rect.top()
        if style.verticalAlignment() == _IN_LINE:
            block = doc.findBlock(posInDocument)
            line = block.layout().lineForTextPosition(posInDocument - block.position())
            baseline = doc.documentLayout().blockBoundingRect(block).top() + line.y() + line.ascent()
            top = baseline - drawing.ascent * em
        place = QRectF(rect.left(), top, rect.width(), (drawing.ascent + drawing.depth) * em)
        drawing.paint(painter, place, style.foreground().color())


def _indent(block: QTextBlock) -> float:
    items = block.textList()
    given = block.blockFormat()
    levels = given.indent() + (items.format().indent() if items else 0)
    return given.leftMargin() + levels * block.document().indentWidth()


def _source(fragment: QTextFragment) -> str:
    return fragment.charFormat().stringProperty(_SOURCE)


def _select(cursor: QTextCursor, fragment: QTextFragment) -> None:
    cursor.setPosition(fragment.position())
    cursor.setPosition(fragment.position() + fragment.length(), QTextCursor.MoveMode.KeepAnchor)


def _fragments(block: QTextBlock) -> list[QTextFragment]:
    found: list[QTextFragment] = []
    iterator = block.begin()
    while not iterator.atEnd():
        if iterator.fragment().isValid():
            found.append(iterator.fragment())
        iterator += 1
    return found
