"""An answer on screen: what is shown, what is never loaded or opened, what is copied."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QEvent, QPoint, Qt, QUrl
from PySide6.QtGui import (
    QColor,
    QGuiApplication,
    QHelpEvent,
    QImage,
    QTextCursor,
    QTextDocument,
    QTextFormat,
    QTextImageFormat,
    QTextTable,
)
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QToolTip

from gui.chat.markdown.code_block import LONG_LINE_CHARS
from gui.chat.markdown.highlighter import LANGUAGES, LexerCache, load_lexer
from gui.chat.markdown.links import LinkPopover, describe_target, encoded_address, may_open
from gui.chat.markdown.markdown_view import MarkdownView
from gui.chat.markdown.prose import LIVE_CHARS, ProseBlock, render_markdown
from gui.chat.markdown.text_pane import LoadNothingDocument, TextPane
from gui.shell.tasks import Tasks
from gui.theme.theme import theme

PIECES = [
    "|", "|---|", "|---|---|---|\n", "| a | b |\n", "\n", "\n\n", "- ", "  - ", "1. ", "    ", "> ", "```",
    "```py\n", "~~~\n", "`", "**", "*", "~~", "# ", "[x](http://a.b)", "![i](file:///etc/passwd)", "<div>",
    "<!--", "&nbsp;", "&#0;", "\\", "word", "e\u0301", "日本", "🙂", "\x00", "\u2028", "\ufdd0", "\ufffc",
    "\t", "---\n", "===\n", "- [x]", "a|b\n-|-\n", "|||\n", "\\|", "www.a.b", "x" * 300, "\r\n",
    "[^1]: n\n", "|:--:|--:|\n", "![](x)",
]  # fmt: skip


class Shelf(LexerCache):
    """Loads lexers at once, so that a test needs no worker."""

    def __init__(self) -> None:
        super().__init__(None, Tasks())

    def get(self, language: str) -> Any | None:
        name = LANGUAGES.get(language)
        return None if name is None else load_lexer(name)


@pytest.fixture
def view(themed: QApplication) -> MarkdownView:
    view = MarkdownView(Shelf())
    view.resize(760, 400)
    view.show()
    return view


def stream(view: MarkdownView, text: str, size: int = 7) -> None:
    view.start_stream()
    for at in range(0, len(text), size):
        view.append(text[at : at + size])
        view.flush()
    view.finish()


def until(condition: Callable[[], bool]) -> None:
    """Let Qt work until ``condition`` holds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        QTest.qWait(5)


def hrefs(view: MarkdownView) -> list[str]:
    found: list[str] = []
    for pane in view.findChildren(ProseBlock):
        block = pane.document().begin()
        while block.isValid():
            iterator = block.begin()
            while not iterator.atEnd():
                style = iterator.fragment().charFormat()
                if style.isAnchor():
                    found.append(style.anchorHref())
                assert not style.isImageFormat()
                iterator += 1
            block = block.next()
    return found


@pytest.mark.parametrize("seed", range(40))
def test_any_answer_in_any_pieces_reads_as_when_it_came_whole(themed: QApplication, seed: int) -> None:
    chance = random.Random(seed)
    text = "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 60)))
    streamed, whole = MarkdownView(Shelf()), MarkdownView(Shelf())
    streamed.resize(chance.choice([80, 400, 700]), 300)
    streamed.show()
    stream(streamed, text, chance.randint(1, 12))
    whole.set_markdown(text)
    assert streamed.visible_text() == whole.visible_text()
    streamed.grab()


def test_markdown_becomes_rich_text(view: MarkdownView) -> None:
    stream(view, "# Title\n\nSome **bold** and `code`.\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    assert view.visible_text().replace("\n\n", "\n").split("\n")[:4] == [
        "Title",
        "Some bold and code.",
        "one",
        "two",
    ]
    document = view.findChildren(ProseBlock)[0].document()
    assert document.begin().blockFormat().headingLevel() == 1
    bold = QTextCursor(document.find("bold")).charFormat().font()
    assert bold.weight() >= 600
    assert QTextCursor(document.find("code")).charFormat().background().color() == theme().color("sunken")
    assert len(document.rootFrame().childFrames()) == 1


def test_rows_that_are_short_or_still_arriving_make_no_spanned_cells(view: MarkdownView) -> None:
    """Inserting a spanned cell crashes Qt 6.11.3."""
    rendered = render_markdown("| n | v | c |\n|---|---|---|\n| r\n| | |\n| x | | z |")
    [table] = rendered.rootFrame().childFrames()
    assert isinstance(table, QTextTable)
    spans = {
        table.cellAt(row, column).columnSpan()
        for row in range(table.rows())
        for column in range(table.columns())
    }
    assert spans == {1}


def test_html_is_shown_as_text_and_pictures_as_description_and_address(view: MarkdownView) -> None:
    stream(view, "a <b>x</b> <script>1</script> ![a cat](file:///etc/hostname) ![](http://x.y/z.png)")
    assert view.visible_text() == (
        "a <b>x</b> <script>1</script> Image: a cat (file:///etc/hostname) Image: http://x.y/z.png"
    )
    assert hrefs(view) == ["file:///etc/hostname", "http://x.y/z.png"]


def test_nothing_is_ever_loaded(view: MarkdownView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "p.png"
    picture.write_bytes(b"\x89PNG not really")
    address = QUrl.fromLocalFile(str(picture))
    asked: list[str] = []
    inherited = QTextDocument.loadResource
    monkeypatch.setattr(
        QTextDocument, "loadResource", lambda *given: asked.append(str(given)) or inherited(*given)
    )
    stream(view, f"![x]({address.toString()})\n\n[ref]: {address.toString()}\n\n![ref]")
    view.grab()
    kinds = QTextDocument.ResourceType
    pane = view.findChildren(ProseBlock)[0]
    for document in (LoadNothingDocument(), pane.document()):
        for kind in (kinds.HtmlResource, kinds.StyleSheetResource, kinds.MarkdownResource):
            assert document.resource(kind, address) is None
            assert pane.loadResource(kind.value, address) is None
        assert document.resource(kinds.ImageResource, address).width() == 1
    view.findChildren(ProseBlock)[0].setSource(address)
    assert "PNG" not in view.visible_text()
    assert asked == []


@pytest.mark.parametrize(
    ("target", "opens"),
    [
        ("https://example.com/a", True),
        ("http://example.com", True),
        ("mailto:a@b.c", True),
        ("HTTPS://EXAMPLE.COM", True),
        ("javascript:alert(1)", False),
        ("file:///etc/passwd", False),
        ("file://host/share", False),
        ("javascript://example.com/%0aalert(1)", False),
        ("data:text/html,x", False),
        ("vbscript:x", False),
        ("//example.com", False),
        ("relative/path", False),
        ("https:", False),
        ("", False),
    ],
)
def test_only_web_and_mail_addresses_open(target: str, opens: bool) -> None:
    assert may_open(target) is opens


def test_a_link_opens_only_after_its_real_host_was_shown(view: MarkdownView) -> None:
    stream(view, "[https://bank.example](https://bank.example@evil.example/login) rest")
    pressed: list[str] = []
    view.link_clicked.connect(lambda target, _place: pressed.append(target))
    pane = view.findChildren(ProseBlock)[0]
    spot = pane.cursorRect(QTextCursor(pane.document().find("bank"))).center()
    QTest.mouseClick(pane.viewport(), Qt.MouseButton.LeftButton, pos=spot)
    assert pressed == ["https://bank.example@evil.example/login"]

    opened: list[QUrl] = []
    popover = LinkPopover(pressed[0], view, opened.append)
    assert popover.accessibleName() == "Open evil.example?"
    popover.show_at(QPoint(10, 10))
    assert opened == []
    popover.open_button.click()
    assert [url.toString() for url in opened] == ["https://evil.example/login"]


def test_a_look_alike_host_is_shown_as_the_network_sees_it(themed: QApplication) -> None:
    assert describe_target("https://аpple.com/x").startswith("https://xn--pple-43d.com")
    assert describe_target("javascript:alert(1)").startswith("This link isn’t opened")


def test_a_picture_that_reaches_the_layout_is_not_read_from_the_disk(
    themed: QApplication, tmp_path: Path
) -> None:
    """Qt opens a file by itself where the document has nothing to say of a picture."""
    picture = tmp_path / "p.png"
    assert QImage(300, 200, QImage.Format.Format_RGB32).save(str(picture))
    pane = TextPane()
    document = pane.document()
    for name in (str(picture), QUrl.fromLocalFile(str(picture)).toString()):
        image = QTextImageFormat()
        image.setName(name)
        QTextCursor(document).insertImage(image)
    assert document.size().height() < 100
    pane.grab()


LONG_HOST = "www.bank.example." + "a" * 60 + "." + "b" * 60 + ".evil.example"


@pytest.mark.parametrize(
    ("target", "whose"),
    [(f"https://{LONG_HOST}/login", "evil.example"), (f"mailto:{'a' * 200}@evil.example", "@evil.example")],
)
def test_whose_a_long_address_is_can_be_read_without_a_wide_screen(
    view: MarkdownView, target: str, whose: str
) -> None:
    """A line without a place to break ran off the screen, and its end is what tells the bank from the thief."""
    assert whose in describe_target(target).replace("\n", "")
    assert max(map(len, describe_target(target).split("\n"))) <= 60
    popover = LinkPopover(target, view)
    assert popover.accessibleName().endswith(f"{whose}?")
    popover.show_at(QPoint(10, 10))
    assert popover.width() < theme().px(520)
    (address,) = [label for label in popover.findChildren(QLabel) if "\n" in label.text()]
    assert address.text().replace("\n", "") == encoded_address(target)


HOSTILE_TARGETS = (
    r"http://a:99999/\<img src=file:///nowhere.png\>",
    "http://a/<img src=file:///nowhere.png>",
    "<b>x</b>",
    "javascript:<img src=x>",
    'http://a.b/ "c"',
    "https://a.b/\u202egpj.exe",
    "http://a\u200b.b/\u2066x",
    "http://a.b/\ud800",
    "mailto:<img@x>",
)


@pytest.mark.parametrize("target", HOSTILE_TARGETS)
def test_an_address_is_shown_in_letters_that_hide_and_start_nothing(
    themed: QApplication, view: MarkdownView, target: str
) -> None:
    for text in (describe_target(target), encoded_address(target)):
        assert "<" not in text
    assert re.fullmatch(r"[!-~]+", encoded_address(target))
    assert not set('<>"\\') & set(encoded_address(target))
    popover = LinkPopover(target, view)
    assert all(label.textFormat() == Qt.TextFormat.PlainText for label in popover.findChildren(QLabel))
    popover.copy_button.click()
    assert QGuiApplication.clipboard().text() == encoded_address(target)


def test_the_tooltip_of_an_invalid_address_shows_it_as_text(view: MarkdownView) -> None:
    stream(view, r"[press here](<http://a:99999/\<img src=file:///nowhere.png\>>) rest")
    pane = view.findChildren(ProseBlock)[0]
    place = pane.cursorRect(QTextCursor(pane.document().find("press"))).center()
    asked = QHelpEvent(QEvent.Type.ToolTip, place, pane.viewport().mapToGlobal(place))
    QApplication.sendEvent(pane.viewport(), asked)
    [tip] = [widget for widget in QApplication.topLevelWidgets() if widget.inherits("QTipLabel")]
    assert isinstance(tip, QLabel)
    assert tip.textFormat() == Qt.TextFormat.PlainText
    assert tip.text().startswith("This link isn’t opened:\nhttp://a:99999/")
    QToolTip.hideText()

    pressed: list[str] = []
    view.link_clicked.connect(lambda target, _place: pressed.append(target))
    QTest.mouseClick(pane.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert pressed == ["http://a:99999/<img src=file:///nowhere.png>"]


@pytest.mark.parametrize(
    ("target", "opened"),
    [
        ("mailto:a@b.c?attach=/etc/passwd&attachment=x&cc=d@e&bcc=f@g&to=h@i", "mailto:a@b.c"),
        ("mailto:a@b.c?subject=Hi%20you&body=1%0A2", "mailto:a@b.c?subject=Hi%20you&body=1%0A2"),
        ("mailto:a@b.c?SUBJECT=x%0D%0ABcc:q@r", "mailto:a@b.c?subject=x%20Bcc%3Aq%40r"),
        ("mailto:a@b.c?subject=a%26attach=x", "mailto:a@b.c?subject=a%26attach%3Dx"),
        ("mailto:a%0Abcc:x@y", None),
        ("mailto:-attach@b.c", None),
        ("mailto:?to=a@b.c", None),
        ("https://user:pw@a.b/x?y=1#z", "https://a.b/x?y=1#z"),
        ("http://good.example\\@evil.example/", "http://evil.example/"),
    ],
)
def test_only_what_was_shown_is_handed_to_another_program(
    view: MarkdownView, target: str, opened: str | None
) -> None:
    handed: list[QUrl] = []
    popover = LinkPopover(target, view, handed.append)
    popover.open_button.click()
    assert [url.toString(QUrl.ComponentFormattingOption.FullyEncoded) for url in handed] == (
        [] if opened is None else [opened]
    )
    if opened is not None:
        assert encoded_address(target) == opened


def test_a_refused_link_has_no_open_button(view: MarkdownView) -> None:
    popover = LinkPopover("file:///etc/passwd", view)
    assert not popover.open_button.isVisibleTo(popover)
    assert "isn’t opened" in popover.accessibleName()


def test_what_is_copied_as_html_has_no_link_that_a_click_would_not_open(view: MarkdownView) -> None:
    stream(
        view,
        "[a](javascript:x) [b](file:///nowhere) [c](https://u@d.e/) [d](mailto:a@b.c?attach=x) "
        "![p](file:///nowhere.png) <img src=x>",
    )
    pane = view.findChildren(ProseBlock)[0]
    pane.selectAll()
    pane.copy()
    data = QGuiApplication.clipboard().mimeData()
    assert data is not None
    assert re.findall(r'href="([^"]*)"', data.html()) == ["https://d.e/", "mailto:a@b.c"]
    assert "<img" not in data.html()
    assert data.text() == view.visible_text()


def test_a_code_block_copies_exactly_what_was_written(view: MarkdownView) -> None:
    code = "def f(x):\n\treturn x  # ü\n\n\nprint(f(1))"
    stream(view, f"Look:\n\n```python\n{code}\n```\n\nDone.")
    [block] = view.code_blocks()
    assert block.language == "python"
    assert block.source == code
    block.copy_button.click()
    assert QGuiApplication.clipboard().text() == code
    assert "Done." in view.visible_text()


def test_a_very_long_line_of_code_is_shown_in_pieces_and_copied_whole(view: MarkdownView) -> None:
    line = "".join(chr(97 + at % 26) for at in range(3 * LONG_LINE_CHARS))
    stream(view, f"```\n{line}\nsecond\n```", 500)
    [block] = view.code_blocks()
    assert block.body.document().blockCount() == 4
    block.body.selectAll()
    assert block.body.createMimeDataFromSelection().text() == f"{line}\nsecond"


@pytest.mark.parametrize("lines", [2, 30, 300])
def test_code_that_is_drawn_before_it_is_shown_is_seen_to_its_last_line(
    view: MarkdownView, lines: int
) -> None:
    """The style sheet came later and took the height back: ten lines were seen, of however many."""
    view.set_markdown("```text\n" + "\n".join(map(str, range(lines))) + "\n```")
    (block,) = view.code_blocks()
    assert block.body.minimumHeight() == block.body.content_height()
    block.body.ensurePolished()
    assert block.body.minimumHeight() == block.body.content_height()
    block.body.setStyleSheet("QTextBrowser { min-height: 0 }")  # as a new theme does
    assert block.body.minimumHeight() == block.body.content_height()


def test_a_pane_that_was_lower_than_its_text_hides_none_of_it_afterwards(view: MarkdownView) -> None:
    view.set_markdown("```\n" + "\n".join(f"line {number}" for number in range(9)) + "\n```")
    body = view.code_blocks()[0].body
    height = body.height()
    body.setFixedHeight(height // 2)  # as between two steps of a zoom
    body.moveCursor(QTextCursor.MoveOperation.End)
    body.setFixedHeight(height)
    assert body.verticalScrollBar().value() == 0


def test_code_is_read_in_the_order_in_which_it_runs(view: MarkdownView) -> None:
    code = 'if (level != "user\u202e \u2066// admin\u2069 \u2066") {'
    stream(view, f"```js\n{code}\n```\n\n\u202eesrever \u2067\u05d0\u2069\n\nrest")
    (block,) = view.code_blocks()
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", block.body.toPlainText())
    assert "\u202e" not in view.visible_text()
    assert "\u2067\u05d0\u2069" in view.visible_text(), "a language may need it in a sentence"


def test_code_is_coloured_in_the_tones_of_the_house(view: MarkdownView) -> None:
    stream(view, '```python\ndef go(n=5):\n    return "text"  # why\n```')
    [block] = view.code_blocks()
    lines = block.body.document()
    until(lambda: len(lines.findBlockByNumber(1).layout().formats()) >= 3)
    tones: dict[tuple[int, int, int], tuple[int, QColor]] = {}
    for number in range(2):
        formats = lines.findBlockByNumber(number).layout().formats()
        for item in formats:
            tones[number, item.start, item.length] = (
                item.format.font().weight(),
                item.format.foreground().color(),
            )
    assert tones[0, 0, 3][0] == 600
    assert tones[0, 4, 2][1] == theme().color("focus")
    assert tones[1, 19, 5][1] == theme().color("text3")
    assert theme().color("ok_text") in [colour for _, colour in tones.values()]


@pytest.mark.parametrize("language", sorted(set(LANGUAGES.values())))
def test_every_language_that_is_offered_can_be_loaded(language: str) -> None:
    assert list(load_lexer(language).get_tokens_unprocessed("a = 1\n"))


def test_importing_the_page_does_not_import_pygments() -> None:
    import subprocess
    import sys

    heavy = "'pygments', 'jsonschema_rs', 'anthropic', 'openai', 'sqlalchemy', 'genai_prices'"
    script = f"import gui.chat.page, sys; print([m for m in ({heavy}) if m in sys.modules])"
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[4],
    )
    assert ended.stdout.strip() == "[]"


def test_closed_blocks_are_rendered_once(view: MarkdownView, monkeypatch: pytest.MonkeyPatch) -> None:
    import gui.chat.markdown.prose as prose_block

    rendered: list[str] = []
    real = prose_block.render_markdown
    monkeypatch.setattr(
        prose_block, "render_markdown", lambda text, known: rendered.append(text) or real(text, known)
    )
    stream(view, "".join(f"Paragraph number {number} of many.\n\n" for number in range(50)), 5)
    assert max(len(text) for text in rendered) < 60
    closed = [text for text in rendered if text.endswith("many.")]
    assert len(closed) < 50 * 4


def test_a_long_open_paragraph_only_grows(view: MarkdownView) -> None:
    pane = ProseBlock(parent=view)
    text = "word " * (LIVE_CHARS // 5 + 50)
    pane.set_tail(text)
    changes: list[tuple[int, int]] = []
    pane.document().contentsChange.connect(lambda _at, removed, added: changes.append((removed, added)))
    pane.set_tail(text + "more")
    assert changes == [(0, 5)] or changes == [(0, 4)]


def test_selected_text_stays_selected_while_the_answer_grows(view: MarkdownView) -> None:
    view.start_stream()
    view.append("First paragraph.\n\nSecond")
    view.flush()
    pane = view.findChildren(ProseBlock)[0]
    cursor = pane.document().find("First paragraph")
    pane.setTextCursor(cursor)
    view.append(" and more\n\n- list\n")
    view.flush()
    assert pane.textCursor().selectedText() == "First paragraph"


def test_a_pane_is_as_high_as_its_text_and_gives_the_wheel_to_the_page(view: MarkdownView) -> None:
    stream(view, "word " * 600)
    pane = view.findChildren(TextPane)[0]
    assert pane.height() >= pane.document().size().height()
    assert not pane.verticalScrollBar().isVisible()


def test_quotes_and_rules_are_marked(view: MarkdownView) -> None:
    stream(view, "> quoted\n\n---\n\nafter")
    document = view.findChildren(ProseBlock)[0].document()
    assert document.begin().blockFormat().intProperty(QTextFormat.Property.BlockQuoteLevel) == 1
    view.grab()


def test_a_new_theme_draws_the_answer_again_without_losing_it(view: MarkdownView) -> None:
    text = "Some **text**.\n\n```python\nx = 1\n```\n\nEnd"
    view.start_stream()
    view.append(text)
    view.restyle()
    assert view.is_streaming
    view.append(" of it.")
    view.finish()
    assert view.source == text + " of it."
    assert view.visible_text().endswith("End of it.")
    assert view.findChildren(QPushButton)
