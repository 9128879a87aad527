"""Colours code in the few tones of the design language, in small slices, behind a stream if need be.

Pygments is loaded in a worker when the first code block of a language is shown, never before. Its lexers are
regular expressions over text that a model wrote, so only well-known languages are coloured, and only up to a
size and a line length where no expression can run away.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtGui import QSyntaxHighlighter, QTextCharFormat, QTextDocument

from gui.chat.markdown.formulas import FormulaDrawer
from gui.chat.markdown.prose import code_font
from gui.shell.tasks import Tasks
from gui.theme.theme import theme

Tone = Literal["keyword", "string", "number", "name", "comment"]
Span = tuple[int, int, Tone]

SLICE_S = 0.002
REST_MS = 12
NEXT_PASS_MS = 200
MAX_CHARS = 200_000
MAX_LINE_CHARS = 1000

LANGUAGES = {
    name: lexer
    for lexer, names in {
        "bash": "bash sh shell zsh console",
        "c": "c h",
        "cpp": "cpp c++ cc hpp",
        "csharp": "csharp c# cs",
        "css": "css scss",
        "diff": "diff patch",
        "docker": "docker dockerfile",
        "go": "go golang",
        "haskell": "haskell hs",
        "html": "html",
        "ini": "ini cfg conf",
        "java": "java",
        "javascript": "javascript js jsx mjs",
        "json": "json jsonc",
        "kotlin": "kotlin kt",
        "lua": "lua",
        "make": "make makefile",
        "perl": "perl pl",
        "php": "php",
        "powershell": "powershell ps1 pwsh",
        "python": "python py python3 py3",
        "r": "r",
        "ruby": "ruby rb",
        "rust": "rust rs",
        "scala": "scala",
        "sql": "sql sqlite postgresql mysql",
        "swift": "swift",
        "toml": "toml",
        "typescript": "typescript ts tsx",
        "xml": "xml svg",
        "yaml": "yaml yml",
    }.items()
    for name in names.split()
}


def load_lexer(name: str) -> Any:
    """Import and warm the lexer of ``name``, one of the values of ``LANGUAGES``. Blocks for some 50 ms."""
    from pygments import lexers

    get_lexer_by_name: Callable[..., Any] = getattr(lexers, "get_lexer_by_name")  # noqa: B009 - untyped
    lexer = get_lexer_by_name(name, stripnl=False, ensurenl=False)
    list(lexer.get_tokens_unprocessed("x = 1\n"))  # compiles its expressions
    return lexer


class LexerCache(QObject):
    """The lexers loaded so far; ``loaded`` names each new one. ``formulas`` draws what code is not: maths."""

    loaded = Signal(str)

    def __init__(
        self,
        run_blocking: Callable[..., Awaitable[Any]] | None,
        tasks: Tasks,
        parent: QObject | None = None,
        *,
        formulas: FormulaDrawer | None = None,
    ) -> None:
        super().__init__(parent)
        self.formulas = formulas
        self._run_blocking = run_blocking
        self._tasks = tasks
        self._lexers: dict[str, Any] = {}
        self._asked: set[str] = set()

    def get(self, language: str) -> Any | None:
        """Return the lexer of a fence's language, or ``None`` while it loads or when there is none."""
        name = LANGUAGES.get(language)
        if name is None:
            return None
        if name not in self._asked and self._run_blocking is not None:
            self._asked.add(name)
            self._tasks.start(self._load(name, self._run_blocking))
        return self._lexers.get(name)

    async def _load(self, name: str, run_blocking: Callable[..., Awaitable[Any]]) -> None:
        self._lexers[name] = await run_blocking(load_lexer, name)
        self.loaded.emit(name)


class CodeHighlighter(QSyntaxHighlighter):
    """Colours one code block's document. ``refresh`` after the text grew; cheap to call often."""

    def __init__(self, document: QTextDocument, lexers: LexerCache, language: str) -> None:
        super().__init__(document)
        self._lexers = lexers
        self._language = language
        self._spans: list[list[Span]] = []
        self._found: list[list[Span]] = []
        self._tokens: Iterator[tuple[int, Any, str]] | None = None
        self._lexed_chars = -1
        self._line_starts = 0
        self._formats = _formats()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._work)
        if language in LANGUAGES:
            lexers.loaded.connect(self.refresh)

    def refresh(self) -> None:
        """Colour what is there, soon."""
        if self._tokens is None and not self._timer.isActive() and self._language in LANGUAGES:
            self._timer.start(0 if self._lexed_chars < 0 else NEXT_PASS_MS)

    def _work(self) -> None:
        if self._step(SLICE_S):
            self._timer.start(REST_MS)

    def _step(self, budget_s: float) -> bool:
        """Lex for a while; returns whether more of this pass is left."""
        if self._tokens is None and not self._begin():
            return False
        assert self._tokens is not None
        deadline = time.perf_counter() + budget_s
        for _, kind, value in self._tokens:
            self._keep(_tone(kind), value)
            if time.perf_counter() > deadline:
                return True
        self._tokens = None
        self._show(len(self._found) - 1)
        self._found = []
        if self.document().characterCount() != self._lexed_chars:
            self.refresh()
        return False

    def _begin(self) -> bool:
        lexer = self._lexers.get(self._language)
        document = self.document()
        count = document.characterCount()
        if lexer is None or count == self._lexed_chars or count > MAX_CHARS:
            return False
        text = document.toPlainText()
        if max((len(line) for line in text.split("\n")), default=0) > MAX_LINE_CHARS:
            return False
        self._lexed_chars = count
        self._found = [[]]
        self._line_starts = 0
        self._tokens = iter(lexer.get_tokens_unprocessed(text))
        return True

    def _keep(self, tone: Tone | None, value: str) -> None:
        for number, part in enumerate(value.split("\n")):
            if number:
                self._show(len(self._found) - 1)
                self._found.append([])
                self._line_starts = 0
            if tone is not None and part:
                self._found[-1].append((self._line_starts, len(part), tone))
            self._line_starts += len(part)

    def _show(self, line: int) -> None:
        """Draw a finished line again if its colours are new."""
        while len(self._spans) <= line:
            self._spans.append([])
        if self._spans[line] != self._found[line]:
            self._spans[line] = self._found[line]
            block = self.document().findBlockByNumber(line)
            if block.isValid():
                self.rehighlightBlock(block)

    def highlightBlock(self, text: str) -> None:
        line = self.currentBlock().blockNumber()
        if line < len(self._spans):
            for start, length, tone in self._spans[line]:
                self.setFormat(start, length, self._formats[tone])


def _formats() -> dict[Tone, QTextCharFormat]:
    unit = theme()
    formats: dict[Tone, QTextCharFormat] = {}
    tones: tuple[tuple[Tone, str], ...] = (
        ("keyword", "text"),
        ("string", "ok_text"),
        ("number", "held_text"),
        ("name", "focus"),
        ("comment", "text3"),
    )
    for tone, token in tones:
        style = QTextCharFormat()
        if tone == "keyword":
            style.setFont(code_font(600))
        style.setForeground(unit.color(token))
        formats[tone] = style
    return formats


def _tone(kind: Any) -> Tone | None:
    """The tone of a Pygments token, by the longest name that is listed."""
    name = str(kind)  # Token.Keyword.Constant
    for prefix, tone in _TONES:
        if name.startswith(prefix):
            return tone
    return None


_TONES: tuple[tuple[str, Tone | None], ...] = (
    ("Token.Keyword", "keyword"),
    ("Token.Operator.Word", "keyword"),
    ("Token.Name.Function.Magic", None),
    ("Token.Name.Function", "name"),
    ("Token.Name.Class", "name"),
    ("Token.Name.Tag", "keyword"),
    ("Token.Name.Attribute", "name"),
    ("Token.Literal.String", "string"),
    ("Token.Literal.Number", "number"),
    ("Token.Comment", "comment"),
    ("Token.Generic.Deleted", "number"),
    ("Token.Generic.Inserted", "string"),
    ("Token.Generic.Heading", "keyword"),
    ("Token.Generic.Subheading", "comment"),
)
