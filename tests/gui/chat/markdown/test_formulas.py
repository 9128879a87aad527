"""Formulas in answers: what is one, how it is drawn, and what stays as it was written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from PySide6.QtCore import QEventLoop, QPoint, QSignalBlocker, Qt, QTimer
from PySide6.QtGui import QColor, QTextBlock
from PySide6.QtWidgets import QApplication

from gui.chat.markdown import formulas
from gui.chat.markdown.formula_child import draw
from gui.chat.markdown.formulas import Formula, FormulaDrawer, formula_of
from gui.chat.markdown.highlighter import LexerCache
from gui.chat.markdown.literal import hold_back, parts_put_back
from gui.chat.markdown.markdown_view import MarkdownView
from gui.chat.markdown.prose import ProseBlock
from gui.shell.tasks import Tasks
from gui.theme.theme import theme

PICTURE = "\ufffc"
ENDLESS = r"\sqrt{" * 14 + "x" + "}" * 14
"""The library needs twice as long for each root."""


@pytest.fixture(scope="module")
def shared(qapp: QApplication) -> Iterator[FormulaDrawer]:
    """One child for most tests, since its start costs most."""
    drawer = FormulaDrawer()
    yield drawer
    drawer.close()


@pytest.fixture
def drawer(qapp: QApplication) -> Iterator[FormulaDrawer]:
    drawer = FormulaDrawer()
    yield drawer
    drawer.close()


@pytest.fixture
def view(themed: QApplication, shared: FormulaDrawer) -> MarkdownView:
    return make_view(shared)


def make_view(drawer: FormulaDrawer) -> MarkdownView:
    view = MarkdownView(LexerCache(None, Tasks(), formulas=drawer))
    view.resize(760, 400)
    view.show()
    return view


def until(condition: Callable[[], bool], within_s: float = 30) -> None:
    """Let Qt go on, from event to event, until ``condition`` holds."""
    late = QTimer()
    late.setSingleShot(True)
    late.start(int(within_s * 1000))
    while not condition():
        assert late.isActive(), "it did not come"
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)


def pictures(view: MarkdownView) -> int:
    return sum(pane.toPlainText().count(PICTURE) for pane in view.findChildren(ProseBlock))


def show(view: MarkdownView, text: str, count: int, *, by: int = 0) -> ProseBlock:
    """Show ``text``, wait until it has ``count`` pictures, and return its first pane."""
    if by:
        view.start_stream()
        for at in range(0, len(text), by):
            view.append(text[at : at + by])
            view.flush()
        view.finish()
    else:
        view.set_markdown(text)
    until(lambda: pictures(view) == count)
    return view.findChildren(ProseBlock)[0]


def found(text: str) -> list[str]:
    return [part for part, is_formula in parts_put_back(hold_back(text)) if is_formula]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It costs $5 and $10.", []),
        ("US$5 to US$10, $5-$10, ($5) or ($10), **$5**/**$6**", []),
        ("| $5 | $10 |\n|$5|$10|", []),
        ("$20,000 and 30,000$ more", []),
        ("set $HOME/$USER and $A:$B", []),
        ("`$x$` and ``$y$`` and https://a.b/$x$/c and [l](http://a.b/$y$)", []),
        (r"\$x$ and $x\$ and $ x$ and $x $", []),
        ("$a\n\nb$", []),
        (r"\[citation needed\], \[1\], \[x\], \(optional words\), $$ and $$", []),
        ("$x$, $x_1$-th, the $n$th and ($y$).", ["$x$", "$x_1$", "$n$", "$y$"]),
        (r"$a\$b$ for $5", [r"$a\$b$"]),
        ("$x$5 and $y$ 5", ["$y$"]),
        (r"\(a(b)\) and \[x^2\]", [r"\(a(b)\)", r"\[x^2\]"]),
        ("\\[\na \\\\[2pt] b\n\\]", ["\\[\na \\\\[2pt] b\n\\]"]),
        ("$$\na\n=\nb\n$$", ["$$\na\n=\nb\n$$"]),
        ("$$\n$$ and $$ $$", []),
        ("$x$ " * 101, []),
        ("> $$\n> x\n> > 1\n> $$", ["$$\nx\n1\n$$"]),
        ("- a\n\n  $$\n\n  x\n  $$", ["$$\n  x\n  $$".replace("\n  ", "\n")]),
    ],
)
def test_what_is_a_formula(text: str, expected: list[str]) -> None:
    assert [" ".join(source.split()) for source in found(text)] == [" ".join(e.split()) for e in expected]


@pytest.mark.parametrize(
    ("source", "formula"),
    [
        ("$x$", Formula("x", False)),
        ("$$\n x\n y $$", Formula("x y", True)),
        (r"\(x\)", Formula("x", False)),
        (r"\[x\]", Formula("x", True)),
    ],
)
def test_a_formula_is_what_stands_between_its_marks(source: str, formula: Formula) -> None:
    assert formula_of(source) == formula


TEXT = r"""Words $E = mc^2$ and \(a_1\), **bold $x$**.

$$
\int_0^1 x^2 \, dx
$$

- an item:
  \[ \frac{a}{b} \]
  and words

| $\alpha$ | $|x|$ |
|---|---|
| `$y$` | $y$ |
"""


@pytest.mark.parametrize("by", [0, 6])
def test_formulas_become_pictures_and_read_as_they_were_written(view: MarkdownView, by: int) -> None:
    pane = show(view, TEXT, 8, by=by)
    seen = view.visible_text()
    for source in (r"$E = mc^2$", r"\(a_1\)", "$x$", r"\[ \frac{a}{b} \]", r"$\alpha$", "$|x|$", "$y$\n$y$"):
        assert source in seen
    assert "$$\n\\int_0^1 x^2 \\, dx\n$$" in seen
    assert PICTURE not in seen
    assert r"$E = mc^2$" in pane.accessibleDescription()


def test_a_picture_that_comes_between_two_steps_takes_no_text_with_it(
    view: MarkdownView, shared: FormulaDrawer
) -> None:
    first = "# Roots\n\nFirst $n_{31} + m_{31}$ and last $\\frac{n_{32}}{m_{32}}$\n\n"
    with QSignalBlocker(shared):  # the pictures are there, and nobody has told yet
        view.start_stream()
        view.append(first)
        view.flush()
        until(lambda: shared.get(formula_of("$\\frac{n_{32}}{m_{32}}$")) is not None)
        for piece in ("Below", " it", " is more"):
            view.append(piece)
            view.flush()
    view.append(" text.\n\n")
    view.append("The end.")
    view.finish()
    shared.drawn.emit()
    assert view.visible_text().split("\n") == [
        "Roots",
        "First $n_{31} + m_{31}$ and last $\\frac{n_{32}}{m_{32}}$",
        "Below it is more text.",
        "The end.",
    ]


def test_pictures_on_both_sides_of_what_grows_leave_it_in_its_place(
    view: MarkdownView, shared: FormulaDrawer
) -> None:
    with QSignalBlocker(shared):
        view.start_stream()
        view.append("Above $\\alpha_{41} + \\beta_{41} + \\gamma_{41}$.\n\nIn $\\alpha_{42}$ it")
        view.flush()
        until(lambda: shared.get(formula_of("$\\alpha_{42}$")) is not None)
    shared.drawn.emit()
    view.append(" grows.")
    view.finish()
    assert view.visible_text() == (
        "Above $\\alpha_{41} + \\beta_{41} + \\gamma_{41}$.\nIn $\\alpha_{42}$ it grows."
    )


def test_what_is_copied_has_the_source(view: MarkdownView) -> None:
    pane = show(view, "Words $x_1$ *more*\n\n$$\ny\n$$", 2)
    pane.selectAll()
    data = pane.createMimeDataFromSelection()
    assert data.text() == "Words $x_1$ more\n$$\ny\n$$"
    assert "<img" not in data.html()
    assert "$x_1$" in data.html()


def place(pane: ProseBlock, block: QTextBlock, letter: int) -> QPoint:
    cursor = pane.textCursor()
    cursor.setPosition(block.position() + letter)
    return pane.cursorRect(cursor).center()


@pytest.mark.parametrize(("scheme", "zoom"), [("light", 1.0), ("dark", 1.5)])
def test_a_picture_is_drawn_in_the_colour_of_the_text_on_its_baseline(
    view: MarkdownView, scheme: str, zoom: float
) -> None:
    theme().set_scheme("dark" if scheme == "dark" else "light")
    theme().set_zoom(zoom)
    try:
        view.restyle()
        pane = show(view, r"$\mathrm{H}$ H", 1)
        QApplication.processEvents()
        image = pane.grab().toImage()
        ink = QColor(theme().hex("text"))
        block = pane.document().begin()
        middle = place(pane, block, 2).x()

        def bottom_of(columns: range) -> int:
            rows = [
                y
                for x in columns
                for y in range(image.height())
                if abs(QColor(image.pixel(x, y)).lightness() - ink.lightness()) < 60
            ]
            return max(rows)

        formula, letter = bottom_of(range(middle - 2)), bottom_of(range(middle, image.width() // 2))
        assert abs(formula - letter) <= 1
    finally:
        theme().set_scheme("light")
        theme().set_zoom(1.0)


def test_a_formula_on_a_line_of_its_own_stands_in_the_middle_and_lines_make_room(view: MarkdownView) -> None:
    pane = show(view, "Words\n$$\\frac{\\frac{a}{b}}{c}$$\nmore words", 1)
    block = pane.document().begin().next()
    assert block.text() == PICTURE
    assert block.blockFormat().alignment() & Qt.AlignmentFlag.AlignHCenter
    layout = pane.document().documentLayout()
    assert layout.blockBoundingRect(block).height() > 1.5 * theme().line_px("reading")
    assert layout.blockBoundingRect(block.next()).top() >= layout.blockBoundingRect(block).bottom()


def test_a_formula_wider_than_the_column_fits_into_it(view: MarkdownView) -> None:
    view.resize(260, 400)
    pane = show(view, "$$" + " + ".join(f"a_{{{n}}}" for n in range(15)) + "$$", 1)
    QApplication.processEvents()
    assert pane.document().idealWidth() <= pane.viewport().width()


@pytest.mark.parametrize(
    "source", [r"$\frac{a$", r"$\foo{x}$", r"$\left( x$", "$" + "x" * 2100 + "$", r"$\ce{H2O}$"]
)
def test_what_cannot_be_drawn_is_shown_as_it_was_written(view: MarkdownView, source: str) -> None:
    show(view, f"{source} and $x$", 1)
    assert view.visible_text() == f"{source} and $x$"


def test_a_formula_without_end_costs_itself_only(themed: QApplication, drawer: FormulaDrawer) -> None:
    view = make_view(drawer)
    show(view, f"$a$, ${ENDLESS}$, $b$ and $c$", 3)
    assert ENDLESS in view.visible_text()
    assert not drawer.is_coming(Formula(ENDLESS, False))


def test_after_many_that_ended_the_child_no_more_are_asked_for(
    themed: QApplication, drawer: FormulaDrawer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formulas, "FORMULA_S", 0.05)  # the panel ends the child before it does so by itself
    endless = [Formula(f"{number}{ENDLESS}", False) for number in range(formulas.MAX_DEATHS + 3)]
    for formula in endless:
        assert drawer.get(formula) is None
    until(lambda: not any(drawer.is_coming(formula) for formula in endless))
    assert not drawer.is_running
    assert drawer.get(Formula("x", False)) is None
    assert not drawer.is_coming(Formula("x", False))
    monkeypatch.setattr(formulas, "DEATHS_S", 0.0)  # a while later
    until(lambda: drawer.get(Formula("x", False)) is not None)


def test_pictures_are_kept_within_bounds(
    themed: QApplication, drawer: FormulaDrawer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formulas, "MAX_KEPT", 3)
    monkeypatch.setattr(formulas, "MAX_WAITING", 6)
    asked = [Formula(f"x_{number}", False) for number in range(20)]
    for formula in asked:
        drawer.get(formula)
    coming = [formula for formula in asked if drawer.is_coming(formula)]
    assert len(coming) == 6
    until(lambda: not any(drawer.is_coming(formula) for formula in asked))
    monkeypatch.setattr(formulas, "MAX_WAITING", 0)
    assert [formula for formula in asked if drawer.get(formula)] == coming[-3:]


def test_the_child_goes_when_none_is_asked_for_and_comes_again(
    themed: QApplication, drawer: FormulaDrawer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formulas, "IDLE_S", 0)
    assert not drawer.is_running
    until(lambda: drawer.get(Formula("x", False)) is not None)
    until(lambda: not drawer.is_running)
    until(lambda: drawer.get(Formula("y", False)) is not None)


def test_where_no_process_can_be_started_the_letters_stay(
    themed: QApplication, drawer: FormulaDrawer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formulas, "python_command", lambda module: ["/nowhere/python", module])
    view = make_view(drawer)
    view.set_markdown("$x$")
    until(lambda: not drawer.is_coming(Formula("x", False)))
    assert view.visible_text() == "$x$"
    assert not drawer.is_running


@pytest.mark.filterwarnings("ignore:path is deprecated")  # ziamath's, until Python takes that back in 3.13
@pytest.mark.parametrize(
    "latex",
    [
        r"\color{url(file:///etc/passwd)}{x}",
        r"\text{<image href='file:///etc/passwd'/>}",
        r"\href{file:///etc/passwd}{x}",
        r"\boxed{\colorbox{red}{x}}",
        r"\text{a < b & c}",
    ],
)
def test_a_picture_is_outlines_and_numbers_only(latex: str) -> None:
    svg = str(draw(latex, display=True)["svg"])
    assert svg.startswith('<svg xmlns="http://www.w3.org/2000/svg" viewBox="')
    for word in ("href", "url", "file:", "image", "red", "style", "<g", "text"):
        assert word not in svg


def test_nothing_is_loaded_before_the_first_formula() -> None:
    code = (
        "import gui.chat.page, sys; "
        "sys.exit(any(name.startswith(('ziamath', 'latex2mathml', 'PySide6.QtSvg')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
