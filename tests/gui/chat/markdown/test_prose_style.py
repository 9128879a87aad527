"""How prose is set: gaps, numbers of lists, bars of quotations, letters as they were written."""

from __future__ import annotations

import pytest
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QTextBlock, QTextLayout, QTextTable
from PySide6.QtWidgets import QApplication

from gui.chat.markdown.highlighter import LexerCache
from gui.chat.markdown.markdown_view import MarkdownView
from gui.chat.markdown.prose import ProseBlock
from gui.shell.tasks import Tasks
from gui.theme.fonts import SCALE
from gui.theme.theme import theme


@pytest.fixture
def view(themed: QApplication) -> MarkdownView:
    view = MarkdownView(LexerCache(None, Tasks()))
    view.resize(760, 400)
    view.show()
    return view


def show(view: MarkdownView, text: str, *, by: int = 0) -> list[ProseBlock]:
    if by:
        view.start_stream()
        for at in range(0, len(text), by):
            view.append(text[at : at + by])
            view.flush()
        view.finish()
    else:
        view.set_markdown(text)
    view.resize(760, max(400, view.sizeHint().height()))
    QApplication.processEvents()
    return view.findChildren(ProseBlock)


def paragraphs(pane: ProseBlock) -> list[QTextBlock]:
    found = [pane.document().begin()]
    while found[-1].next().isValid():
        found.append(found[-1].next())
    return found


def top(view: MarkdownView, pane: ProseBlock, block: QTextBlock) -> float:
    """Return where the first line's room begins, from the top of the view."""
    return (
        pane.mapTo(view, pane.rect().topLeft()).y()
        + pane.document().documentLayout().blockBoundingRect(block).top()
    )


def bottom(view: MarkdownView, pane: ProseBlock, block: QTextBlock) -> float:
    layout = block.layout()
    last = layout.lineAt(layout.lineCount() - 1)
    return top(view, pane, block) + last.y() + last.height()


@pytest.mark.parametrize("by", [0, 4])
@pytest.mark.parametrize("above", ["Words:", "# Heading", "> quoted", "---\n\nWords"])
def test_a_list_follows_what_is_above_it_without_an_empty_line(
    view: MarkdownView, above: str, by: int
) -> None:
    (pane,) = show(view, f"{above}\n\n- one\n- two\n\nWords\n\n1. three", by=by)
    texts = [block.text() for block in paragraphs(pane)]
    assert texts[-4:] == ["one", "two", "Words", "three"]
    one = paragraphs(pane)[-4]
    assert one.textList().count() == 2
    assert 0 < top(view, pane, one) - bottom(view, pane, one.previous()) <= 10


NUMBERS = (
    *("2980. large\n2981. larger", "99. x\n100. y\n101. z", "7. x\n8. y"),
    *("1. a\n   - b\n\n     12345. deep", "> 1234. in"),
)


@pytest.mark.parametrize("text", NUMBERS)
def test_the_whole_number_of_an_item_is_seen(view: MarkdownView, text: str) -> None:
    (pane,) = show(view, text)
    for block in paragraphs(pane):
        items = block.textList()
        metrics = QFontMetricsF(theme().font("reading"))
        number = metrics.horizontalAdvance(items.itemText(block) + " ")
        line = block.layout().lineAt(0)
        left = pane.document().documentLayout().blockBoundingRect(block).left() + line.x()
        given = block.blockFormat()
        indent = (items.format().indent() + given.indent()) * pane.document().indentWidth()
        quoted = 16 if text.startswith(">") else 0
        assert left >= 0
        assert indent + given.leftMargin() - quoted >= number
        inner = [b for b in paragraphs(pane) if b.textList().format().indent() > items.format().indent()]
        assert all(b.blockFormat().leftMargin() >= given.leftMargin() for b in inner)


def test_a_heading_is_nearer_to_what_it_names(view: MarkdownView) -> None:
    panes = show(view, "Words\n\n## One\n\nWords\n\n```\ncode\n```\n\n### Two\n\nWords")
    assert [block.text() for pane in panes for block in paragraphs(pane)] == [
        "Words",
        "One",
        "Words",
        "Two",
        "Words",
    ]
    words, one, after = paragraphs(panes[0])
    assert top(view, panes[0], one) - bottom(view, panes[0], words) >= 14
    assert top(view, panes[0], after) - bottom(view, panes[0], one) <= 8
    code = view.code_blocks()[0]
    two, last = paragraphs(panes[1])
    assert top(view, panes[1], two) - code.geometry().bottom() >= 13
    assert top(view, panes[1], last) - bottom(view, panes[1], two) <= 8


def test_the_bar_beside_a_quotation_has_no_gaps(view: MarkdownView) -> None:
    (pane,) = show(view, "> one " + "word " * 40 + "\n>\n> two\n>\n> > inner\n>\n> - item\n\nAfter")
    picture = pane.grab().toImage()
    ratio = picture.devicePixelRatio()
    inside = [block for block in paragraphs(pane) if block.text() != "After"]
    first, last = inside[0], inside[-1]
    offset = pane.mapTo(view, pane.rect().topLeft()).y()
    begin, end = int(top(view, pane, first)) - offset + 3, int(bottom(view, pane, last)) - offset
    colours = {QColor(picture.pixel(int(ratio), int(y * ratio))).name() for y in range(begin, end)}
    assert colours == {theme().hex("control").lower()}
    after = paragraphs(pane)[-1]
    assert (
        QColor(picture.pixel(int(ratio), int((top(view, pane, after) - offset + 8) * ratio))).name()
        not in colours
    )


def glyphs(font: QFont, text: str) -> list[int]:
    layout = QTextLayout(text, font)
    layout.beginLayout()
    layout.createLine()
    layout.endLayout()
    return [index for run in layout.glyphRuns() for index in run.glyphIndexes()]


@pytest.mark.parametrize("role", SCALE)
@pytest.mark.parametrize("text", ["a->b", "http://x", "x!=y", "8x7B", "<=>", "--> www"])
def test_letters_are_shown_as_they_were_written(themed: QApplication, role: str, text: str) -> None:
    font = theme().font(role)
    assert glyphs(font, text) == [glyph for letter in text for glyph in glyphs(font, letter)]


def test_the_head_of_a_table_is_aligned_as_its_column(view: MarkdownView) -> None:
    (pane,) = show(view, "| a | b | c |\n|:--|:-:|--:|\n| 1 | 2 | 3 |")
    (table,) = [f for f in pane.document().rootFrame().childFrames() if isinstance(f, QTextTable)]
    for column in range(3):
        head, cell = (table.cellAt(row, column).firstCursorPosition().blockFormat() for row in (0, 1))
        assert head.alignment() == cell.alignment()
