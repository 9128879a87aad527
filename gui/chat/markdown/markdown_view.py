"""One answer on screen: a column of prose and code that grows with the stream at a cost that does not."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator

from PySide6.QtCore import QPoint, Qt, QTimer, Signal
from PySide6.QtWidgets import QPushButton, QSizePolicy, QVBoxLayout, QWidget

from gui.chat.markdown.code_block import SHOWN_LINES, CodeBlock
from gui.chat.markdown.highlighter import LexerCache
from gui.chat.markdown.json_answer import (
    SHOWN_JSON_LINES,
    SURE_CHARS,
    JsonStream,
    begins_like_json,
    is_json,
    laid_out,
)
from gui.chat.markdown.literal import MAX_DEFINITIONS, definitions_in
from gui.chat.markdown.prose import ProseBlock
from gui.chat.markdown.text_blocks import (
    BlockEvent,
    BlockStream,
    CodeAppended,
    CodeClosed,
    CodeOpened,
    ProseClosed,
    ProseOpen,
    block_slices,
)
from gui.theme.theme import set_property, theme

FLUSH_MS = 33
FULL_CHARS = 6000
"""A run of prose goes on in a new widget from here, since Qt's layout of a text slows down with its length."""
COSTLY_CHARS = 10  # to lay out a cell of a table, or half a formula, costs as much as so many characters
BUSY_SHARE = 6  # after a slow flush, wait this many times its length before the next one
SHOWN_BLOCKS = 300
"""So many blocks of an answer are drawn, and as many again at each press of the button below them."""
BLOCK_LINES = 50
BLOCK_CHARS = 1000
BLOCK_CELLS = 30
"""A longer block counts as more than one."""
FEW_EVENTS = 8  # are always drawn at once
FLUSH_S = 0.016
FINISH_S = 0.1


class MarkdownView(QWidget):
    """Shows untrusted Markdown: no HTML, nothing loaded, links only reported, and no more widgets than it takes.

    Signals:
        link_clicked: an address and the place on the screen where it was pressed.
        grown: the view drew new text.
    """

    link_clicked = Signal(str, QPoint)
    grown = Signal()

    def __init__(self, lexers: LexerCache, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._lexers = lexers
        self._source: list[str] = []
        self._waiting: list[str] = []
        self._stream: BlockStream | JsonStream | None = None
        self._is_json = False
        self._json_as_written = False
        self._json_switch: QPushButton | None = None
        self._prose: ProseBlock | None = None
        self._code: CodeBlock | None = None
        self._queue: deque[BlockEvent] = deque()  # what is not drawn yet, or folded
        self._queued_blocks = 0
        self._open_text: str | None = None  # the open block, where it is not drawn yet
        self._references: dict[str, str] = {}
        self._drawn_blocks = 0
        self._most_blocks = SHOWN_BLOCKS
        self._costly = 0  # cells, and marks of formulas, in the last run of prose
        self._more: QPushButton | None = None
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(theme().px(8))
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.flush)
        self._interval_ms = FLUSH_MS

    @property
    def source(self) -> str:
        """The Markdown shown, as it came."""
        return "".join(self._source)

    @property
    def is_streaming(self) -> bool:
        return self._stream is not None

    def set_markdown(self, text: str) -> None:
        """Show a whole answer."""
        for _ in self.render_steps(text):
            pass

    def render_steps(self, text: str) -> Iterator[None]:
        """Show a whole answer block by block; the caller decides how many steps fit into a frame."""
        self._clear()
        self._source = [text]
        self._is_json = is_json(text)
        for events in self._json_events(text) if self._is_json else block_slices(text):
            self._take(events)
            while self._has_room():
                self._draw_next()
                yield
        self._all_drawn()
        for pane in self._stale():
            pane.draw_again()
            yield
        self._show_fold()
        self.grown.emit()

    def _json_events(self, text: str) -> list[list[BlockEvent]]:
        shown = text.strip() if self._json_as_written else laid_out(text)
        return [[CodeOpened("json"), CodeAppended(shown), CodeClosed()]]

    def _offer_as_written(self, code: CodeBlock) -> None:
        """Put a button on JSON that was laid out, which shows it as the model wrote it, and back."""
        if laid_out(self.source) != self.source.strip():
            written = self._json_as_written
            name = "Show this JSON over lines" if written else "Show this JSON as the model wrote it"
            button = self._json_switch = code.add_button("Lay out" if written else "As written", name)
            button.clicked.connect(self._switch_json)

    def _switch_json(self) -> None:
        self._json_as_written = not self._json_as_written
        self.set_markdown(self.source)
        if self._json_switch is not None:
            self._json_switch.setFocus()  # the one that was pressed is gone

    def start_stream(self, text: str = "") -> None:
        """Begin an answer that arrives in pieces; ``text`` is what came before this view was made."""
        self._clear()
        self._is_json = False
        self._stream = BlockStream()
        self._prose_at_end().set_shows_caret(True)
        if text:
            self.append(text)
            self.flush()

    def append(self, text: str) -> None:
        """Take the next piece; it is drawn within some 33 ms."""
        if self._stream is None:
            self.start_stream()
        self._source.append(text)
        self._waiting.append(text)
        if not self._timer.isActive():
            self._timer.start(self._interval_ms)

    def flush(self) -> None:
        """Draw what has arrived, as much of it as a frame has time for."""
        self._timer.stop()
        if self._stream is not None and self._waiting:
            self._choose_stream()
            text, self._waiting = "".join(self._waiting), []
            self._take(self._stream.feed(text))
        self._draw(FLUSH_S)

    def _choose_stream(self) -> None:
        """Read an answer as JSON as long as it begins so, else as Markdown; what was drawn is drawn anew then."""
        came = sum(len(piece) for piece in self._source[:SURE_CHARS])
        fresh = len(self._source) == len(self._waiting)
        if not fresh and (not self._is_json or came > SURE_CHARS):
            return
        looks = begins_like_json(self.source)
        if looks == self._is_json:
            return
        source = list(self._source)
        if not fresh:
            self._clear()
        self._source, self._waiting = source, list(source)
        self._is_json = looks
        self._stream = JsonStream() if looks else BlockStream()

    def finish(self) -> None:
        """The stream ended: close the open block."""
        if self._stream is None:
            return
        self._choose_stream()
        self._take(self._stream.feed("".join(self._waiting)))
        self._take(self._stream.finish())
        self._waiting, self._stream = [], None
        source = self.source
        if is_json(source) != self._is_json or (self._is_json and laid_out(source) != source.strip()):
            self.set_markdown(source)  # it broke off, or came on one line
        else:
            self._draw(FINISH_S)

    def code_blocks(self) -> list[CodeBlock]:
        return [widget for widget in self._widgets() if isinstance(widget, CodeBlock)]

    def visible_text(self) -> str:
        """What a reader sees, for accessibility and tests."""
        parts: list[str] = []
        for widget in self._widgets():
            if isinstance(widget, CodeBlock):
                parts.append(widget.body.toPlainText())
            elif isinstance(widget, ProseBlock):
                parts.append(widget.visible_text())
        return "\n".join(parts)

    def restyle(self) -> None:
        """Draw everything again in a new theme or zoom."""
        text, streaming = self.source, self.is_streaming
        unfolds = [block.unfolds for block in self.code_blocks()]
        if streaming:
            self.start_stream(text)
        else:
            self.set_markdown(text)
        for block, times in zip(self.code_blocks(), unfolds, strict=False):
            for _ in range(times):
                block.unfold()

    @property
    def is_unfolded(self) -> bool:
        """Whether the reader had more drawn than is drawn by itself."""
        return self._most_blocks > SHOWN_BLOCKS or any(block.unfolds for block in self.code_blocks())

    # What is drawn, and when

    def _take(self, events: list[BlockEvent]) -> None:
        for event in events:
            if isinstance(event, ProseOpen):
                self._open_text = event.text
                continue
            self._queue.append(event)
            if isinstance(event, ProseClosed | CodeOpened):
                self._queued_blocks += 1
            if isinstance(event, ProseClosed) and len(self._references) < MAX_DEFINITIONS:
                for key, target in definitions_in(event.text):
                    self._references.setdefault(key, target)

    def _has_room(self) -> bool:
        """Whether there is something to draw that is not folded; a code block that began goes on."""
        if not self._queue:
            return False
        begins = isinstance(self._queue[0], ProseClosed | CodeOpened)
        return not begins or self._drawn_blocks < self._most_blocks

    def _draw_next(self) -> None:
        event = self._queue.popleft()
        if isinstance(event, ProseClosed | CodeOpened):
            self._queued_blocks -= 1
            if isinstance(event, ProseClosed):
                text = event.text
                lines, cells = text.count("\n"), text.count("|")
                self._drawn_blocks += 1 + max(
                    lines // BLOCK_LINES, len(text) // BLOCK_CHARS, cells // BLOCK_CELLS
                )
            else:
                self._drawn_blocks += 2  # a frame, a header and a button
        self._apply(event)

    def _draw(self, budget_s: float) -> None:
        """Draw for ``budget_s`` at most, and the rest soon."""
        began = time.perf_counter()
        drawn = 0
        while self._has_room() and (drawn < FEW_EVENTS or time.perf_counter() < began + budget_s):
            self._draw_next()
            drawn += 1
        if not self._queue and self._open_text is not None:
            text, self._open_text = self._open_text, None
            if self._drawn_blocks < self._most_blocks:
                self._apply(ProseOpen(text))
                drawn += 1
        if self._stream is None and not self._has_room():
            self._all_drawn()
            for pane in self._stale()[:FEW_EVENTS]:
                pane.draw_again()
                drawn += 1
        self._show_fold()
        if not drawn:
            return
        self._move_caret()
        self.grown.emit()
        took_ms = (time.perf_counter() - began) * 1000
        self._interval_ms = max(FLUSH_MS, min(250, int(took_ms * BUSY_SHARE)))
        if self._has_room() or (self._stream is None and self._stale()):
            self._timer.start(self._interval_ms if self._stream is not None else 0)

    def _all_drawn(self) -> None:
        self._open_text = None
        self._drop_empty_prose()

    def _stale(self) -> list[ProseBlock]:
        return [pane for pane in self._widgets() if isinstance(pane, ProseBlock) and pane.is_stale]

    def _show_fold(self) -> None:
        """Offer what is folded below the last block, or take the offer away."""
        folded = self._queued_blocks if self._queue and not self._has_room() else 0
        if not folded:
            if self._more is not None:
                self._more.hide()
            return
        if self._more is None:
            self._more = QPushButton(self)
            set_property(self._more, flat=True, compact=True)
            self._more.clicked.connect(self._unfold)
        if self._column.indexOf(self._more) != self._column.count() - 1 or not self._column.count():
            self._column.removeWidget(self._more)
            self._column.addWidget(self._more, 0, Qt.AlignmentFlag.AlignLeft)
        self._more.setText(f"Show {folded:,} more block{'s'[: folded != 1]}")
        self._more.show()

    def _unfold(self) -> None:
        self._most_blocks = self._drawn_blocks + SHOWN_BLOCKS
        self._draw(FLUSH_S)

    @property
    def is_drawn(self) -> bool:
        """Whether all that has arrived can be seen: nothing is folded, and nothing waits to be drawn."""
        return not self._queue and not any(block.is_folded for block in self.code_blocks())

    def unfold_all(self) -> None:
        """Draw what is folded, however long that takes."""
        self._most_blocks = sys.maxsize
        while self._has_room():
            self._draw_next()
        for block in self.code_blocks():
            while block.is_folded:
                block.unfold()
        self._show_fold()

    @property
    def folded_blocks(self) -> int:
        """How many blocks are not drawn."""
        return self._queued_blocks

    def _apply(self, event: BlockEvent) -> None:
        match event:
            case ProseClosed(text=text):
                prose = self._prose_at_end()
                prose.close_block(text)
                self._costly += text.count("|") + text.count("$") + 2 * text.count("\\(")
                if prose.document().characterCount() + self._costly * COSTLY_CHARS > FULL_CHARS:
                    prose.set_shows_caret(False)
                    self._prose = None
            case ProseOpen(text=text):
                if text or self._prose is not None:
                    self._prose_at_end().set_tail(text)
            case CodeOpened(language=language):
                self._drop_empty_prose()
                self._prose = None
                lines = SHOWN_JSON_LINES if self._is_json else SHOWN_LINES
                self._code = CodeBlock(language, self._lexers, self, lines=lines)
                if self._is_json and self._stream is None:
                    self._offer_as_written(self._code)
                self._code.body.link_clicked.connect(self.link_clicked)
                self._column.addWidget(self._code)
            case CodeAppended(text=text):
                assert self._code is not None
                self._code.append(text)
            case CodeClosed():
                if self._code is not None:
                    self._code.body.show_left()
                    self._drawn_blocks += self._code.shown_lines // BLOCK_LINES
                self._code = None

    def _prose_at_end(self) -> ProseBlock:
        if self._prose is None:
            self._costly = 0
            room = self._column.spacing() if self._column.count() else None
            self._prose = ProseBlock(self._references, self, room_above=room, formulas=self._lexers.formulas)
            self._prose.link_clicked.connect(self.link_clicked)
            self._column.addWidget(self._prose)
        return self._prose

    def _drop_empty_prose(self) -> None:
        if self._prose is not None and self._prose.is_empty:
            self._prose.hide()
            self._column.removeWidget(self._prose)
            self._prose.deleteLater()
            self._prose = None

    def _move_caret(self) -> None:
        """The caret stands in the block that grows."""
        streaming = self._stream is not None
        for widget in self._widgets():
            if isinstance(widget, ProseBlock):
                widget.set_shows_caret(streaming and widget is self._prose and self._code is None)
            elif isinstance(widget, CodeBlock):
                widget.body.set_shows_caret(streaming and widget is self._code)

    def _widgets(self) -> list[QWidget]:
        found: list[QWidget] = []
        for index in range(self._column.count()):
            item = self._column.itemAt(index)
            widget = item.widget() if item is not None else None
            if widget is not None:
                found.append(widget)
        return found

    def _clear(self) -> None:
        self._timer.stop()
        self._source, self._waiting = [], []
        self._stream = None
        self._prose = self._code = self._json_switch = None
        self._queue.clear()
        self._queued_blocks = self._drawn_blocks = 0
        self._open_text = None
        self._references = {}  # another one: panes that go away keep theirs
        self._more = None
        for widget in self._widgets():
            widget.hide()
            self._column.removeWidget(widget)
            widget.deleteLater()
