"""An answer without end makes no window without end: blocks and lines beyond some hundred are folded, not lost."""

from __future__ import annotations

import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QPushButton, QWidget

from gui.chat.markdown.code_block import SHOWN_LINES, CodeBlock
from gui.chat.markdown.highlighter import LexerCache
from gui.chat.markdown.markdown_view import SHOWN_BLOCKS, MarkdownView
from gui.chat.markdown.prose import render_markdown
from gui.chat.markdown.text_blocks import (
    LONGEST_BLOCK_CHARS,
    BlockStream,
    CodeAppended,
    ProseClosed,
    block_slices,
)
from gui.chat.markdown.text_pane import drawable
from gui.shell.tasks import Tasks


@pytest.fixture
def view(themed: QApplication) -> MarkdownView:
    view = MarkdownView(LexerCache(None, Tasks()))
    view.resize(760, 400)
    return view


def more(widget: QWidget) -> QPushButton:
    [button] = [
        button
        for button in widget.findChildren(QPushButton)
        if button.text().startswith("Show") and not button.isHidden()
    ]
    return button


def stream(view: MarkdownView, text: str, size: int) -> None:
    view.start_stream()
    for at in range(0, len(text), size):
        view.append(text[at : at + size])
        view.flush()
    view.finish()


def drawn(view: MarkdownView) -> None:
    """Draw what a frame had no time for."""
    for _ in range(2 * SHOWN_BLOCKS):
        view.flush()


@pytest.mark.parametrize("streamed", [True, False])
def test_blocks_beyond_some_hundred_are_folded(view: MarkdownView, streamed: bool) -> None:
    text = "".join(f"Number {number}.\n\n" for number in range(SHOWN_BLOCKS + 1204))
    if streamed:
        stream(view, text, 500)
        drawn(view)
    else:
        view.set_markdown(text)
    assert view.source == text
    assert view.folded_blocks == 1204
    assert more(view).text() == "Show 1,204 more blocks"
    assert f"Number {SHOWN_BLOCKS - 1}." in view.visible_text()
    assert f"Number {SHOWN_BLOCKS}." not in view.visible_text()
    more(view).click()
    drawn(view)
    assert view.folded_blocks == 1204 - SHOWN_BLOCKS
    while view.folded_blocks:
        more(view).click()
        drawn(view)
    assert "Number 1503." in view.visible_text()
    assert not [button for button in view.findChildren(QPushButton) if not button.isHidden()]


def test_an_answer_that_fits_has_no_fold(view: MarkdownView) -> None:
    view.set_markdown("One.\n\nTwo.")
    assert view.folded_blocks == 0
    assert view.findChildren(QPushButton) == []


def test_the_fold_counts_on_while_an_answer_arrives(view: MarkdownView) -> None:
    view.start_stream("word\n\n" * (SHOWN_BLOCKS + 2))
    drawn(view)
    assert more(view).text() == "Show 2 more blocks"
    view.append("word\n\n")
    view.flush()
    assert more(view).text() == "Show 3 more blocks"
    assert view.is_streaming


def test_many_frames_are_few_widgets(view: MarkdownView) -> None:
    view.set_markdown("```py\nx\n```\n" * 400)
    assert len(view.code_blocks()) == SHOWN_BLOCKS // 2


def test_lines_of_code_beyond_some_thousand_are_folded_and_copied(view: MarkdownView) -> None:
    code = "\n".join(f"line {number}" for number in range(SHOWN_LINES + 1001))
    view.set_markdown(f"```\n{code}\n```")
    [block] = view.code_blocks()
    assert isinstance(block, CodeBlock)
    assert block.body.document().blockCount() == SHOWN_LINES + 1
    assert more(block).text() == "Show 1,000 more lines"
    block.copy_button.click()
    assert QGuiApplication.clipboard().text() == code
    more(block).click()
    assert block.body.toPlainText() == code


def test_one_line_of_code_without_end_is_folded(view: MarkdownView) -> None:
    code = "x" * 500_000
    stream(view, f"```\n{code}\n```\nafter", 50_000)
    [block] = view.code_blocks()
    assert block.source == code
    assert block.body.document().characterCount() < 250_000
    assert more(block).text() == "Show the rest"


@pytest.mark.parametrize(
    "text",
    [
        "- a\n" + "".join("  " * depth + "- x\n" for depth in range(1, 600)),
        "- item\n" + "  more\n" * 10_000,
        "| a |\n|---|\n| " + "x" * 100_000,
        "x" * 100_000,
        ">" * 10_000,
    ],
    ids=["nested", "item", "row", "line", "quotes"],
)
def test_no_block_is_without_end(text: str) -> None:
    found = [event for events in block_slices(text) for event in events]
    longest = max(len(event.text) for event in found if isinstance(event, ProseClosed))
    assert longest <= LONGEST_BLOCK_CHARS + 3000


def test_a_line_of_code_in_pieces_is_handed_on_and_not_kept() -> None:
    stream_ = BlockStream()
    events = stream_.feed("```\n")
    for _ in range(100):
        events += stream_.feed("y" * 1000)
    events += stream_.feed("\r")
    events += stream_.feed("\nend\n```\n")
    events += stream_.finish()
    code = "".join(event.text for event in events if isinstance(event, CodeAppended))
    assert code == "y" * 100_000 + "\nend"


def test_a_table_too_wide_for_a_screen_is_shown_as_written(themed: QApplication) -> None:
    row = "|" + "a|" * 100
    document = render_markdown(f"{row}\n|{'-|' * 100}\n{row}")
    assert document.rootFrame().childFrames() == []
    assert document.toPlainText().startswith(row)


def test_letters_with_marks_without_end_are_cut() -> None:
    assert drawable("e" + "\u0301" * 3 + "x") == "e" + "\u0301" * 3 + "x"
    assert drawable("e" + "\u0301" * 5000 + "x") == "e" + "\u0301" * 8 + "\ufffdx"
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert drawable(family) == family
    assert drawable("\U0001f468\u200d" * 1000).count("\u200d") < 1000
    assert drawable("a\u0000b\ud800") == "a\ufffdb\ud800"


HOSTILE = {
    "emphasis": "*a **b " * 3_000,
    "brackets": "[" * 20_000,
    "open links": "[a](" * 5_000,
    "backticks": "".join("`" * length + " " for length in range(1, 150)),
    "nested quotes": ">" * 5_000 + " x",
    "nested lists": "\n".join("  " * depth + "- x" for depth in range(150)),
    "inline lists": "- " * 2_000 + "x",
    "definitions": "".join(f"[a{n}]: http://x/{n}\n" for n in range(800)) + "[a1] " * 100,
    "dollars": "$a " * 5_000,
    "surrogates": "\ud800\x00\u2028" * 3_000,
    "bidi": "\u202eabc\u2066" * 1_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_are_drawn(view: MarkdownView, name: str) -> None:
    text = HOSTILE[name]
    stream(view, text, len(text) // 10)
    view.grab()
    assert view.source == text
