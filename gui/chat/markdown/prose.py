"""Markdown of a model as rich text in the panel's style: Qt's own parser, without HTML, pictures or files.

A block of prose is closed Markdown above, and below it the block that is still open.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from PySide6.QtCore import QMimeData, QRectF, Qt
from PySide6.QtGui import (
    QBrush,
    QFont,
    QFontMetricsF,
    QPainter,
    QPaintEvent,
    QTextBlock,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextDocumentFragment,
    QTextFormat,
    QTextFrameFormat,
    QTextLength,
    QTextTable,
)
from PySide6.QtWidgets import QWidget

from gui.chat.markdown.formula_text import (
    FormulaObjects,
    as_formula,
    formulas_as_text,
    insert_lines,
    set_formulas_apart,
    text_as_written,
)
from gui.chat.markdown.formulas import FormulaDrawer
from gui.chat.markdown.line_ends import keep_lines
from gui.chat.markdown.links import encoded_address, url_to_open
from gui.chat.markdown.literal import (
    has_held,
    hold_back,
    labels_in,
    parts_put_back,
    put_back,
    show_definitions,
    with_definitions,
)
from gui.chat.markdown.text_pane import LoadNothingDocument, TextPane, drawable
from gui.theme.theme import theme

_STRIKETHROUGH = 0x0200
_FRONT_MATTER = 0x100000
"""Not named in Qt's Python; see ``QTextMarkdownImporter::Feature``. It would hide what stands between ``---``."""
_FEATURES = (
    QTextDocument.MarkdownFeature.MarkdownDialectGitHub.value
    | QTextDocument.MarkdownFeature.MarkdownNoHTML.value
) & ~_FRONT_MATTER
_HEADING_ROLES = {1: "figure", 2: "title"}
_FIXED = QTextBlockFormat.LineHeightTypes.FixedHeight.value
_BOLD = QFont.Weight.DemiBold
_NO_DESCRIPTION = "\u200b"
LIST_INDENT_PX = 28
"""Room for a bullet or a number of two digits; a list with longer numbers is indented further."""
QUOTE_INDENT_PX = 16
HEADING_TOP_PX = {1: 20, 2: 18}
HEADING_OTHER_TOP_PX = 14
HEADING_BOTTOM_PX = 6
"""A heading is nearer to what it names than to what is above it."""
_CELL_PX = 5
_CELL_SIDE_PX = 8
_LOW_PX = 2  # a line's letters stand so much below its middle: Qt puts its whole leading above them
RULE_PROPERTY = QTextFormat.Property.UserProperty.value + 1
"""Set on a paragraph that is a horizontal rule; the view paints the line."""


@dataclass(frozen=True, slots=True)
class _Run:
    """A stretch of one format in a document."""

    start: int
    length: int
    format: QTextCharFormat


def code_font(weight: int | None = None) -> QFont:
    """The face for code."""
    return theme().font("mono", weight)


def plain_block_format() -> QTextBlockFormat:
    """The paragraph of an answer: reading line height, 8 px below."""
    block = QTextBlockFormat()
    block.setLineHeight(theme().line_px("reading"), _FIXED)
    block.setTopMargin(0)
    block.setBottomMargin(theme().px(8))
    return block


def plain_char_format() -> QTextCharFormat:
    format_ = QTextCharFormat()
    format_.setFont(theme().font("reading"))
    format_.setForeground(theme().color("text"))
    return format_


def render_markdown(text: str, references: Mapping[str, str] | None = None) -> LoadNothingDocument:
    """Return a document of one closed block (or several) in the house's style.

    ``references`` are the targets of links that are defined elsewhere, by their keys (``label_key``).
    """
    document = LoadNothingDocument()
    document.setUndoRedoEnabled(False)
    document.setDefaultFont(theme().font("reading"))
    document.setIndentWidth(theme().px(LIST_INDENT_PX))
    # Qt's parser drops a picture without a description; an invisible one keeps its address on screen.
    source = show_definitions(hold_back(drawable(text).replace("![](", f"![{_NO_DESCRIPTION}](")))
    source = keep_lines(source)
    features = _FEATURES if "~~" in source else _FEATURES & ~_STRIKETHROUGH
    document.setMarkdown(with_definitions(source, references or {}), QTextDocument.MarkdownFeature(features))
    cursor = QTextCursor(document)
    _style_tables(document)
    block = document.begin()
    while block.isValid():
        document.has_links |= _style_block(block, cursor)
        block = block.next()
    _make_room_for_numbers(document)
    set_formulas_apart(document)
    return document


def _make_room_for_numbers(document: QTextDocument) -> None:
    """Indent a list further, and what is in it, whose longest number is wider than the indent: Qt would cut it."""
    unit = theme()
    metrics = QFontMetricsF(unit.font("reading"))
    gap = metrics.horizontalAdvance(" ")
    wider: dict[int, int] = {}  # by level: so many pixels more
    block = document.begin()
    while block.isValid():
        items = block.textList()
        level = items.format().indent() if items else block.blockFormat().indent()
        wider = {depth: more for depth, more in wider.items() if depth <= level}
        if items and items.item(0) == block:
            wider.pop(level, None)
            longest = "0" * len(items.itemText(items.item(items.count() - 1)))
            if (more := math.ceil(metrics.horizontalAdvance(longest) + gap) - unit.px(LIST_INDENT_PX)) > 0:
                wider[level] = more
        if wider and level:
            style = block.blockFormat()
            style.setLeftMargin(style.leftMargin() + sum(wider.values()))
            QTextCursor(block).setBlockFormat(style)
        block = block.next()


def _style_tables(document: QTextDocument) -> None:
    unit = theme()
    for frame in document.rootFrame().childFrames():
        if not isinstance(frame, QTextTable):
            continue
        _split_cells(frame)
        style = frame.format()
        style.setBorder(1)
        style.setBorderBrush(QBrush(unit.color("border")))
        style.setBorderStyle(QTextFrameFormat.BorderStyle.BorderStyle_Solid)
        style.setBorderCollapse(True)
        style.setCellSpacing(0)
        style.setTopMargin(unit.px(2))
        style.setBottomMargin(unit.px(10))
        style.clearProperty(QTextFormat.Property.FrameWidth)
        style.setWidth(QTextLength())
        frame.setFormat(style)
        _style_cells(frame)


def _style_cells(table: QTextTable) -> None:
    """Centre the words between a row's lines, and align a head as its column; the parser aligns the rest only."""
    unit = theme()
    for row in range(table.rows()):
        for column in range(table.columns()):
            cell = table.cellAt(row, column)
            style = cell.format().toTableCellFormat()
            style.setTopPadding(unit.px(_CELL_PX - _LOW_PX))
            style.setBottomPadding(unit.px(_CELL_PX + _LOW_PX))
            style.setLeftPadding(unit.px(_CELL_SIDE_PX))
            style.setRightPadding(unit.px(_CELL_SIDE_PX))
            cell.setFormat(style)
            if row == 0 and table.rows() > 1:
                below = table.cellAt(1, column).firstCursorPosition().blockFormat().alignment()
                head = cell.firstCursorPosition()
                given = head.blockFormat()
                given.setAlignment(below)
                head.setBlockFormat(given)


def _split_cells(table: QTextTable) -> None:
    """Undo the spans that Qt's parser makes of empty cells.

    WORKAROUND: inserting a fragment that holds a spanned cell crashes Qt 6.11.3 (QTextCursor::insertFragment),
    and a short row is padded with empty cells.
    """
    for row in range(table.rows()):
        for column in range(table.columns()):
            cell = table.cellAt(row, column)
            if cell.columnSpan() > 1 or cell.rowSpan() > 1:
                table.splitCell(cell.row(), cell.column(), 1, 1)


def _style_block(block: QTextBlock, cursor: QTextCursor) -> bool:
    """Give a paragraph the house's formats; returns whether it has links."""
    unit = theme()
    given = block.blockFormat()
    level = given.headingLevel()
    is_code = _is_code(given)
    quote = given.intProperty(QTextFormat.Property.BlockQuoteLevel)
    role = "reading" if level == 0 else _HEADING_ROLES.get(level, "reading")
    in_table = _in_table(block)
    runs = _runs(block)
    holds_marks = has_held(block.text())
    block_style = QTextBlockFormat(given)
    block_style.setLineHeight(unit.line_px("mono" if is_code else role), _FIXED)
    block_style.setTopMargin(unit.px(HEADING_TOP_PX.get(level, HEADING_OTHER_TOP_PX)) if level else 0)
    block_style.setBottomMargin(_bottom_margin(block, level, is_code, in_table))
    if quote:
        block_style.setLeftMargin(unit.px(QUOTE_INDENT_PX) * quote)
    if given.hasProperty(QTextFormat.Property.BlockTrailingHorizontalRulerWidth):
        block_style.clearProperty(QTextFormat.Property.BlockTrailingHorizontalRulerWidth)
        block_style.setProperty(RULE_PROPERTY, True)
        block_style.setLineHeight(unit.px(9), _FIXED)
    elif not runs and not in_table and _beside_table_or_rule(block):
        block_style.setLineHeight(1, _FIXED)  # the parser puts a paragraph there that nobody needs to see
        block_style.setBottomMargin(0)
    cursor.setPosition(block.position())
    cursor.setBlockFormat(block_style)
    if not in_table:  # there it is the cell's own format
        cursor.setBlockCharFormat(plain_char_format())  # a list's number or bullet is drawn in it
    for run in reversed(runs):
        cursor.setPosition(run.start)
        cursor.setPosition(run.start + run.length, QTextCursor.MoveMode.KeepAnchor)
        if run.format.isImageFormat():
            _picture_as_text(cursor, run)
            continue
        style = _char_format(run.format, role, bold=level > 0, is_code=is_code, quoted=quote > 0)
        if holds_marks and has_held(words := cursor.selectedText()):
            for part, is_formula in parts_put_back(words):
                insert_lines(cursor, part, as_formula(style, part) if is_formula else style)
        else:
            cursor.setCharFormat(style)
    return any(run.format.isAnchor() or run.format.isImageFormat() for run in runs)


def _bottom_margin(block: QTextBlock, level: int, is_code: bool, in_table: bool) -> int:
    if in_table:
        return 0
    following = block.next()
    if is_code and following.isValid() and _is_code(following.blockFormat()):
        return 0
    if _in_list(block) and following.isValid() and _in_list(following):
        return theme().px(4)
    return theme().px(HEADING_BOTTOM_PX if level else 8)


def _is_code(given: QTextBlockFormat) -> bool:
    """Fenced code stands in separate frames; this is code in a quotation, or indented by four."""
    return given.hasProperty(QTextFormat.Property.BlockCodeLanguage) or given.hasProperty(
        QTextFormat.Property.BlockCodeFence
    )


def _beside_table_or_rule(block: QTextBlock) -> bool:
    before, after = block.previous(), block.next()
    return (before.isValid() and _in_table(before)) or (
        after.isValid()
        and (
            _in_table(after)
            or after.blockFormat().hasProperty(QTextFormat.Property.BlockTrailingHorizontalRulerWidth)
        )
    )


def _in_table(block: QTextBlock) -> bool:
    return bool(QTextCursor(block).currentTable())  # None outside of one, whatever the stub says


def _in_list(block: QTextBlock) -> bool:
    return bool(block.textList())


def _runs(block: QTextBlock) -> list[_Run]:
    runs: list[_Run] = []
    iterator = block.begin()
    while not iterator.atEnd():
        fragment = iterator.fragment()
        if fragment.isValid():
            runs.append(_Run(fragment.position(), fragment.length(), fragment.charFormat()))
        iterator += 1
    return runs


def _char_format(
    given: QTextCharFormat, role: str, *, bold: bool, is_code: bool, quoted: bool
) -> QTextCharFormat:
    """The house's format for what the parser meant by ``given``."""
    unit = theme()
    code_span = given.fontFixedPitch() or "monospace" in " ".join(given.fontFamilies() or ()).lower()
    strong = bold or given.fontWeight() >= _BOLD
    style = QTextCharFormat()
    weight = 600 if strong else None
    font = code_font(weight) if is_code or code_span else unit.font(role, weight)
    font.setItalic(given.fontItalic())
    font.setStrikeOut(given.fontStrikeOut())
    style.setFont(font)
    style.setForeground(unit.color("text2" if quoted else "text"))
    if code_span and not is_code:
        style.setBackground(unit.color("sunken"))
    if given.isAnchor() and given.anchorHref():
        style.setAnchor(True)
        style.setAnchorHref(put_back(given.anchorHref()))
        style.setForeground(unit.color("text"))
        style.setFontUnderline(True)
        style.setUnderlineColor(unit.color("control"))
    return style


def _picture_as_text(cursor: QTextCursor, run: _Run) -> None:
    """A picture is never fetched: its description and address are shown instead, the address as a link."""
    source = put_back(run.format.toImageFormat().name())
    described = put_back(run.format.stringProperty(QTextFormat.Property.ImageAltText)).strip(_NO_DESCRIPTION)
    unit = theme()
    style = QTextCharFormat()
    style.setFont(unit.font("reading"))
    style.setForeground(unit.color("text2"))
    link = QTextCharFormat(style)
    link.setAnchor(True)
    link.setAnchorHref(source)
    link.setFontUnderline(True)
    link.setUnderlineColor(unit.color("control"))
    count = run.length
    cursor.removeSelectedText()
    for _ in range(count):
        cursor.insertText(f"Image: {described} (" if described else "Image: ", style)
        cursor.insertText(drawable(source), link)
        if described:
            cursor.insertText(")", style)


def _disarm_links(document: QTextDocument) -> None:
    cursor = QTextCursor(document)
    block = document.begin()
    while block.isValid():
        for run in _runs(block):
            if not run.format.isAnchor():
                continue
            url = url_to_open(run.format.anchorHref())
            cursor.setPosition(run.start)
            cursor.setPosition(run.start + run.length, QTextCursor.MoveMode.KeepAnchor)
            style = QTextCharFormat(run.format)
            style.setAnchor(url is not None)
            style.setAnchorHref("" if url is None else encoded_address(run.format.anchorHref()))
            cursor.setCharFormat(style)
        block = block.next()


LIVE_CHARS = 1500
"""An open block up to this long is rendered at every step (about 1 ms); a longer one only grows as plain text."""


class ProseBlock(TextPane):
    """Selectable text of several Markdown blocks.

    ``references`` are the answer's definitions of links known so far, which its view fills; ``room_above`` is the
    space above this block in pixels, ``None`` where nothing stands above. Without ``formulas`` a formula is shown
    as it was written.
    """

    def __init__(
        self,
        references: Mapping[str, str] | None = None,
        parent: QWidget | None = None,
        *,
        room_above: int | None = None,
        formulas: FormulaDrawer | None = None,
    ) -> None:
        super().__init__(parent)
        self._room_above = math.inf if room_above is None else room_above
        self._references: Mapping[str, str] = {} if references is None else references
        self._closed: list[str] = []
        self._missing: set[str] = set()  # labels that had no definition when they were drawn
        document = self.document()
        document.setDefaultFont(theme().font("reading"))
        document.setIndentWidth(theme().px(LIST_INDENT_PX))
        cursor = QTextCursor(document)  # the caret of an empty answer stands where its first word will
        cursor.setBlockFormat(plain_block_format())
        cursor.setBlockCharFormat(plain_char_format())
        self._formulas = FormulaObjects(document, formulas, self) if formulas is not None else None
        if formulas is not None:
            formulas.drawn.connect(self._show_drawn)
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
        self._closed.append(markdown)
        self._describe()
        self._missing |= labels_in(markdown) - self._references.keys()

    @property
    def is_stale(self) -> bool:
        """Whether a link could be drawn by now that could not when its block was."""
        return not self._missing.isdisjoint(self._references)

    def draw_again(self) -> None:
        """Draw the closed blocks with the definitions that came after them."""
        closed, tail = self._closed, self._tail
        self._closed, self._missing = [], set()
        self._tail, self._tail_plain, self._tail_start = "", None, 0
        for markdown in closed:
            self.close_block(markdown)
        self.set_tail(tail)

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

    def visible_text(self) -> str:
        """What a reader sees, with each formula as it was written."""
        return text_as_written(self.document())

    def _show_drawn(self) -> None:
        """Put pictures that are there by now in the places of their formulas."""
        if self._formulas is not None and self._formulas.can_go_on:
            edit = QTextCursor(self.document())
            edit.beginEditBlock()
            self._tail_start -= self._formulas.show(0, self._tail_start)
            edit.endEditBlock()
            self._describe()

    def _describe(self) -> None:
        """Tell a screen reader, for which a picture is no text, what the text is with its formulas as written."""
        if self._formulas is not None and self._formulas.is_complete:
            self.setAccessibleDescription(self.visible_text())

    def _replace_tail(self, markdown: str) -> None:
        edit = QTextCursor(self.document())
        edit.beginEditBlock()  # laid out once, not after each step
        self._put_tail(markdown)
        if self._formulas is not None:
            self._tail_start -= self._formulas.show(self._tail_start, self._tail_start)
        edit.endEditBlock()

    def _put_tail(self, markdown: str) -> None:
        cursor = self._emptied_tail(stays_empty=not markdown)
        if markdown:
            rendered = render_markdown(markdown, self._references)
            start = cursor.position()
            cursor.insertFragment(QTextDocumentFragment(rendered))
            first = rendered.begin().blockFormat()  # inserting keeps the format of the paragraph it starts in
            first.clearProperty(QTextFormat.Property.ObjectIndex)
            if start == 0:
                first.setTopMargin(max(0, first.topMargin() - self._room_above))
            cursor.setPosition(start)
            if not cursor.block().text() and _in_list(rendered.begin()):
                cursor.deleteChar()  # a list is put below the paragraph that was to become its first item
            cursor.mergeBlockFormat(first)
            if rendered.has_links:  # only text with links is a stop for the Tab key
                self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
                self.setAccessibleName("Text with links")

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

    def createMimeDataFromSelection(self) -> QMimeData:
        """Text, and HTML whose links lead where a click would have led."""
        copy = LoadNothingDocument()
        QTextCursor(copy).insertFragment(QTextDocumentFragment(self.textCursor()))
        formulas_as_text(copy)
        _disarm_links(copy)
        data = QMimeData()
        data.setText(QTextDocumentFragment(copy).toPlainText())
        data.setHtml(copy.toHtml())
        return data

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
            following = block.next()
            goes_on = _quote_level(following.blockFormat()) if following.isValid() else 0
            below = layout.blockBoundingRect(following).top() if goes_on else 0.0
            top, bottom = box.top() + unit.px(_LOW_PX), _bottom_of_lines(block, box) + unit.px(_LOW_PX)
            marks = [
                QRectF(
                    unit.px(QUOTE_INDENT_PX) * step,
                    top,
                    unit.px(3),
                    (below + unit.px(_LOW_PX) if step < goes_on else bottom) - top,
                )
                for step in range(_quote_level(given))
            ]
            if given.boolProperty(RULE_PROPERTY):
                marks.append(QRectF(0, round(box.center().y()), self.viewport().width(), 1))
            if marks:
                painter = painter or QPainter(self.viewport())
                for mark in marks:
                    painter.fillRect(mark, unit.color("border" if mark.height() == 1 else "control"))
            block = block.next()
        if painter is not None:
            painter.end()


def _quote_level(given: QTextBlockFormat) -> int:
    return given.intProperty(QTextFormat.Property.BlockQuoteLevel)


def _bottom_of_lines(block: QTextBlock, box: QRectF) -> float:
    """Return where the last line's room ends; ``box`` has the height of letters, not of lines."""
    layout = block.layout()
    if not layout.lineCount():
        return box.bottom()
    last = layout.lineAt(layout.lineCount() - 1)
    return box.top() + last.y() + last.height()
