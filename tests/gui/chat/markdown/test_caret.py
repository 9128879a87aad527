"""The mark where the next token will come stands beside the text, never on it."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QApplication

from gui.chat.markdown.markdown_view import MarkdownView
from gui.chat.markdown.prose import ProseBlock
from tests.gui.chat.markdown.test_markdown_view import Shelf

RIGHT_TO_LEFT = "\u05e9\u05dc\u05d5\u05dd"
"""Four letters of Hebrew."""


@pytest.mark.parametrize("after", ["", "\n\n\n\n", " \n \n"])
@pytest.mark.parametrize(
    ("text", "grows_left"),
    [
        ("First sentence.", False),
        ("1. First", False),
        (f"{RIGHT_TO_LEFT} {RIGHT_TO_LEFT}.", True),
        (f"- {RIGHT_TO_LEFT}", True),
        (f"{RIGHT_TO_LEFT} first", True),
        (f"First {RIGHT_TO_LEFT}", False),
    ],
)
def test_the_caret_covers_no_letter(themed: QApplication, text: str, grows_left: bool, after: str) -> None:
    view = MarkdownView(Shelf())
    view.resize(760, 400)
    view.show()
    view.start_stream()
    for piece in (text, *after):
        view.append(piece)
        view.flush()
    themed.processEvents()
    [pane] = view.findChildren(ProseBlock)
    with_caret = pane.grab().toImage()
    caret = pane.caret_rect().toRect()
    assert with_caret.pixelColor(caret.center()).lightness() < 60
    pane.set_shows_caret(False)
    under = pane.grab(caret).toImage()
    colours = {under.pixel(x, y) for x in range(under.width()) for y in range(under.height())}
    assert len(colours) == 1
    letters = pane.document().lastBlock().layout().lineAt(0).naturalTextRect()
    if grows_left:
        assert caret.right() < pane.width() - letters.width()
    else:
        assert caret.left() >= letters.right()
    view.close()
