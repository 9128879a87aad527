"""A line that the model ended is a line on screen, and no other Markdown reads differently for it."""

from __future__ import annotations

import pytest

from gui.chat.markdown.line_ends import LINE_END
from gui.chat.markdown.markdown_view import MarkdownView
from gui.chat.markdown.prose import render_markdown
from tests.gui.chat.markdown.test_markdown_view import Shelf


def paragraphs(markdown: str) -> list[str]:
    document, found = render_markdown(markdown), list[str]()
    block = document.begin()
    while block.isValid():
        found.append(block.text().replace(LINE_END, "\n"))
        block = block.next()
    return found


def test_a_verse_keeps_its_lines_on_screen_and_in_a_copy(qapp: object) -> None:
    verse = "The sea's abyss whispers low,\nA realm of **endless** wonder,\nAnd in its depths lies a land."
    assert paragraphs(verse) == [verse.replace("**", "")]
    view = MarkdownView(Shelf())
    view.resize(600, 300)
    view.set_markdown(f"{verse}\n\nThe next verse\nof two lines")
    assert view.visible_text().split("\n")[:2] == [
        "The sea's abyss whispers low,",
        "A realm of endless wonder,",
    ]


@pytest.mark.parametrize(
    ("markdown", "wanted"),
    [
        ("Two spaces  \nand more", ["Two spaces\nand more"]),
        ("Dear Ms Roe,\nthank you", ["Dear Ms Roe,\nthank you"]),
        ("One\ntwo\n\nThree\nfour", ["One\ntwo", "Three\nfour"]),
        ("- an item\n  that goes on\n- two", ["an item that goes on", "two"]),
        ("1. an item\nthat goes on", ["an item that goes on"]),
        ("Title\n=====", ["Title"]),
        ("Title\n---", ["Title"]),
        ("Some text\n# Title", ["Some text", "Title"]),
        ("> a\n> b", ["a b"]),
        ("An _emphasis_\n_at the ends_", ["An emphasis at the ends"]),
        ("`a code\nof two lines` here", ["a code of two lines here"]),
        ("Some *words\nin* italics", ["Some words\nin italics"]),
    ],
)
def test_only_paragraphs_keep_their_lines(qapp: object, markdown: str, wanted: list[str]) -> None:
    assert paragraphs(markdown) == wanted


def test_an_address_at_the_end_of_a_line_stays_a_link(qapp: object) -> None:
    assert render_markdown("See https://example.org/a\nfor more").has_links


def test_a_formula_on_its_own_line_gets_no_empty_line_beside_it(qapp: object) -> None:
    plain = [words.strip() for words in paragraphs("Thus\n$$x^2$$\nand so on")]
    assert plain[0] == "Thus"
    assert plain[-1] == "and so on"
