"""What a model writes is seen: tildes, text between rules, sources, formulas; cases of the field and their kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtWidgets import QApplication

from gui.chat.markdown.highlighter import LexerCache
from gui.chat.markdown.literal import has_held, hold_back, put_back
from gui.chat.markdown.markdown_view import MarkdownView
from gui.chat.markdown.prose import ProseBlock
from gui.shell.tasks import Tasks

CASES = Path(__file__).parents[3] / "data" / "field"


def case(name: str) -> str:
    return (CASES / name).read_text(encoding="utf-8")


@pytest.fixture
def view(themed: QApplication) -> MarkdownView:
    view = MarkdownView(LexerCache(None, Tasks()))
    view.resize(760, 400)
    return view


def shown(view: MarkdownView, text: str, *, by: int = 0) -> str:
    """Show ``text`` whole, or streamed by so many characters, and return what a reader sees."""
    if not by:
        view.set_markdown(text)
        return view.visible_text()
    view.start_stream()
    for at in range(0, len(text), by):
        view.append(text[at : at + by])
        view.flush()
    view.finish()
    return view.visible_text()


def runs(view: MarkdownView) -> dict[str, tuple[str, bool, bool]]:
    """Return what is marked in the text: its link, whether struck through, whether emphasised."""
    found: dict[str, tuple[str, bool, bool]] = {}
    for pane in view.findChildren(ProseBlock):
        block = pane.document().begin()
        while block.isValid():
            iterator = block.begin()
            while not iterator.atEnd():
                style = iterator.fragment().charFormat()
                font = style.font()
                marks = (
                    style.anchorHref(),
                    font.strikeOut(),
                    font.italic() or (font.underline() and not style.isAnchor()),
                )
                if any(marks):
                    found[iterator.fragment().text()] = marks
                iterator += 1
            block = block.next()
    return found


@pytest.mark.parametrize("by", [0, 5])
@pytest.mark.parametrize("name", ["16-tilde/a.md", "16-tilde/b.md"])
def test_single_tildes_are_letters(view: MarkdownView, name: str, by: int) -> None:
    assert shown(view, case(name), by=by) == case(name).strip()
    assert runs(view) == {}


def test_single_tildes_are_letters_beside_struck_text(view: MarkdownView) -> None:
    text = "Copy ~/.ssh to ~/.backup, not ~~this~~; `~x~` and http://a.b/~c/~d"
    assert shown(view, text) == "Copy ~/.ssh to ~/.backup, not this; ~x~ and http://a.b/~c/~d"
    assert runs(view) == {
        "this": ("", True, False),
        "http://a.b/~c/~d": ("http://a.b/~c/~d", False, False),
    }


@pytest.mark.parametrize("by", [0, 5])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("17-frontmatter/a.md", ["title: My post date: 2026-05-01", "Hello", "Body."]),
        ("17-frontmatter/b.md", ["In short: the answer is 42.", "More text follows."]),
    ],
)
def test_nothing_between_rules_is_hidden(view: MarkdownView, name: str, words: list[str], by: int) -> None:
    assert [line for line in shown(view, case(name), by=by).split("\n") if line] == words


@pytest.mark.parametrize("by", [0, 5])
def test_links_with_their_targets_elsewhere_work_and_the_targets_are_seen(
    view: MarkdownView, by: int
) -> None:
    assert shown(view, case("18-reflinks/a.md"), by=by).split("\n") == [
        "See the guide and the API, or just guide.",
        "Some more text.",
        "[guide]: https://example.com/guide",
        "[1]: https://example.com/api",
    ]
    links = {text: marks[0] for text, marks in runs(view).items()}
    assert links["the guide"] == links["guide"] == "https://example.com/guide"
    assert links["the API"] == "https://example.com/api"
    assert links["https://example.com/api"] == "https://example.com/api"


@pytest.mark.parametrize("by", [0, 5])
def test_a_definition_below_its_paragraph_and_one_of_a_picture(view: MarkdownView, by: int) -> None:
    assert shown(view, case("18-reflinks/c.md"), by=by).split("\n") == [
        "A paragraph with docs in it.",
        "[docs]: https://example.com/docs",
        "Image: logo (https://example.com/logo.png)",
        "[img]: https://example.com/logo.png",
    ]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ('- [1]: https://a.b/1 "T *x*"\n- [2]: https://a.b/2', ['[1]: https://a.b/1 "T *x*"', "[2]: https://a.b/2"]),
        ("> [a]: http://x.y\n> see [a]", ["[a]: http://x.y", "see a"]),
        ("[^1]: note", ["[^1]: note"]),
        ("[x]: javascript:alert(1)", ["[x]: javascript:alert(1)"]),
        ("[x]: </a_b_c>", ["[x]: /a_b_c"]),
    ],
)  # fmt: skip
def test_a_definition_is_never_swallowed(view: MarkdownView, text: str, seen: list[str]) -> None:
    assert shown(view, text).split("\n") == seen


@pytest.mark.parametrize("by", [0, 5])
def test_formulas_keep_every_letter(view: MarkdownView, by: int) -> None:
    text = shown(view, case("24-md-misc/latex.md"), by=by)
    for formula in (
        "$a*b*c$",
        r"\(x_1 * y_1 * z_1\)",
        "$$\n\\int_0^1 x^2 \\, dx = \\frac{1}{3} \\\\\nE = m * c^2 * k\n$$",
        r"\[ \left\{ x \mid x > 0 \right\} \]",
        "It costs $5 or $10.",
    ):
        assert formula in text
    assert runs(view) == {}


def test_money_and_code_begin_no_formula(view: MarkdownView) -> None:
    assert shown(view, "From $5 *to* $10, `$a` and *b* `c$`") == "From $5 to $10, $a and b c$"
    assert {text for text, marks in runs(view).items() if marks[2]} == {"to", "b"}


def test_thoughts_in_tags_are_seen(view: MarkdownView) -> None:
    assert "<think>" in shown(view, case("24-md-misc/think.md"))


LETTERS = st.text(st.sampled_from(list("ab $*_~`\\()[]|\n>-<:/@")), max_size=60)


@given(LETTERS)
def test_what_is_held_back_comes_back(text: str) -> None:
    held = hold_back(text)
    assert not has_held(put_back(held))
    assert "".join(put_back(held).split()) == "".join(text.split())
