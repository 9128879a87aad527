"""One answer on screen: a column of prose and code that grows with the stream at a cost that does not."""

from __future__ import annotations

import time
from collections.abc import Iterator

from PySide6.QtCore import QPoint, QTimer, Signal
from PySide6.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from gui.chat.markdown.code_block import CodeBlock
from gui.chat.markdown.highlighter import LexerCache
from gui.chat.markdown.prose import ProseBlock
from gui.chat.markdown.text_blocks import (
    BlockEvent,
    BlockStream,
    CodeAppended,
    CodeClosed,
    CodeOpened,
    ProseClosed,
    ProseOpen,
    blocks_of,
)
from gui.theme.theme import theme

FLUSH_MS = 33
FULL_CHARS = 6000
"""A run of prose goes on in a new widget from here, since Qt's layout of a text slows down with its length."""
BUSY_SHARE = 6  # after a slow flush, wait this many times its length before the next one


class MarkdownView(QWidget):
    """Shows untrusted Markdown: no HTML, nothing loaded, links only reported.

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
        self._stream: BlockStream | None = None
        self._prose: ProseBlock | None = None
        self._code: CodeBlock | None = None
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
        for event in blocks_of(text):
            self._apply(event)
            yield
        self._drop_empty_prose()
        self.grown.emit()

    def start_stream(self, text: str = "") -> None:
        """Begin an answer that arrives in pieces; ``text`` is what came before this view was made."""
        self._clear()
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
        """Draw what has arrived."""
        self._timer.stop()
        if self._stream is None or not self._waiting:
            return
        began = time.perf_counter()
        text, self._waiting = "".join(self._waiting), []
        self._apply_all(self._stream.feed(text))
        self._move_caret()
        self.grown.emit()
        took_ms = (time.perf_counter() - began) * 1000
        self._interval_ms = max(FLUSH_MS, min(250, int(took_ms * BUSY_SHARE)))

    def finish(self) -> None:
        """The stream ended: close the open block."""
        self.flush()
        if self._stream is None:
            return
        events = self._stream.finish()
        self._stream = None
        self._apply_all(events)
        self._move_caret()
        self._drop_empty_prose()
        self.grown.emit()

    def code_blocks(self) -> list[CodeBlock]:
        return [widget for widget in self._widgets() if isinstance(widget, CodeBlock)]

    def visible_text(self) -> str:
        """What a reader sees, for accessibility and tests."""
        parts: list[str] = []
        for widget in self._widgets():
            if isinstance(widget, CodeBlock):
                parts.append(widget.body.toPlainText())
            elif isinstance(widget, ProseBlock):
                parts.append(widget.toPlainText())
        return "\n".join(parts)

    def restyle(self) -> None:
        """Draw everything again in a new theme or zoom."""
        text, streaming = self.source, self.is_streaming
        if streaming:
            self.start_stream(text)
        else:
            self.set_markdown(text)

    def _apply_all(self, events: list[BlockEvent]) -> None:
        for event in events:
            self._apply(event)

    def _apply(self, event: BlockEvent) -> None:
        match event:
            case ProseClosed(text=text):
                prose = self._prose_at_end()
                prose.close_block(text)
                if prose.document().characterCount() > FULL_CHARS:
                    prose.set_shows_caret(False)
                    self._prose = None
            case ProseOpen(text=text):
                if text or self._prose is not None:
                    self._prose_at_end().set_tail(text)
            case CodeOpened(language=language):
                self._drop_empty_prose()
                self._prose = None
                self._code = CodeBlock(language, self._lexers, self)
                self._code.body.link_clicked.connect(self.link_clicked)
                self._column.addWidget(self._code)
            case CodeAppended(text=text):
                assert self._code is not None
                self._code.append(text)
            case CodeClosed():
                if self._code is not None:
                    self._code.body.show_left()
                self._code = None

    def _prose_at_end(self) -> ProseBlock:
        if self._prose is None:
            self._prose = ProseBlock(self)
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
        self._prose = self._code = None
        for widget in self._widgets():
            widget.hide()
            self._column.removeWidget(widget)
            widget.deleteLater()
