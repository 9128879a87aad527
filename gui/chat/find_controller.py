"""Finds words in the conversation that is shown: counts them, marks them, and goes from one to the next.

Messages that are laid out are searched as they are read, the others by their text; going to one lays it out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QObject, QTimer
from PySide6.QtWidgets import QApplication

from gui.chat.answer_message import AnswerMessage
from gui.chat.find_text import Match, Needle, mark, matches_in
from gui.chat.markdown.text_pane import TextPane
from gui.chat.message_view import MessageView
from gui.chat.storage.models import StoredMessage
from gui.chat.thread_place import go_to_part, place_in
from gui.chat.view import ChatView
from gui.shell.tasks import Tasks
from gui.theme.theme import theme

TYPED_MS = 80
LAID_OUT_MS = 150
ABOVE_SHARE = 3
"""A match is shown with one part in so many of the view above it."""


@dataclass(frozen=True, slots=True)
class Hit:
    """The ``number``-th match of a message, from 0."""

    message_id: str
    number: int


class FindController(QObject):
    def __init__(self, tasks: Tasks, view: ChatView) -> None:
        super().__init__(view)
        self._tasks, self._view, self._thread, self._bar = tasks, view, view.thread_view, view.find_bar
        self._needle: Needle | None = None
        self._at: Hit | None = None
        self._typed = self._timer(TYPED_MS, self._search)
        self._laid_out = self._timer(LAID_OUT_MS, self._refresh)
        self._bar.searched.connect(lambda: self._typed.start())
        self._bar.stepped.connect(self.step)
        self._bar.closed.connect(self.close)
        view.find_asked.connect(self.open)
        view.find_stepped.connect(self.step)
        view.find_closed.connect(self.close)
        self._thread.verticalScrollBar().rangeChanged.connect(self._on_laid_out)
        theme().changed.connect(self._on_laid_out)

    def _timer(self, interval_ms: int, act: Callable[[], None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(interval_ms)
        timer.timeout.connect(act)
        return timer

    # What the user does

    def open(self) -> None:
        """Show the bar, with what is selected in a message where something is."""
        focus = QApplication.focusWidget()
        selected = focus.textCursor().selectedText() if isinstance(focus, TextPane) else ""
        self._bar.open(selected if selected and "\u2029" not in selected else None, take_focus=True)
        self._typed.start()

    def close(self) -> None:
        """Take the bar and the marks away."""
        had_focus = self._bar.isAncestorOf(focus) if (focus := QApplication.focusWidget()) else False
        self._forget()
        if had_focus:
            self._view.focus_composer()

    def _forget(self) -> None:
        self._bar.hide()
        self._typed.stop()
        self._laid_out.stop()
        self._needle = self._at = None
        for view in self._thread.views():
            mark(view, (), None)

    def conversation_changed(self) -> None:
        """Another conversation is shown."""
        self._forget()

    async def show_query(self, query: str, *, take_focus: bool) -> None:
        """Go to the first message that a search of the list found, in whatever branch it is."""
        session = self._thread.session
        if session is None:
            return
        texts = {message.id: message.text for message in session.tree.path()}
        others = {message.id: message.text for message in session.tree.all()}
        for needle in (Needle.phrase(" ".join(query.split())), Needle.each_word(query)):
            for found in (texts, others):
                hit = next((item for item, text in found.items() if needle.count_in_source(text)), None)
                if hit is None:
                    continue
                if found is others and not session.is_streaming:
                    session.show_message(hit)
                self._bar.open(" ".join(query.split()), take_focus=take_focus)
                self._typed.stop()
                self._needle = needle
                await self._go(Hit(hit, 0), 1)
                return

    def step(self, by: int) -> None:
        """Go to the next or the previous match, from the end to the beginning again."""
        if not self._bar.isVisible():
            return
        if self._typed.isActive() or self._needle is None:
            self._typed.stop()
            self._search()
            return
        hits = self._hits()
        if not hits:
            self._refresh()
            return
        at = hits.index(self._at) if self._at in hits else -1 if by > 0 else 0
        self._tasks.start(self._go(hits[(at + by) % len(hits)], by), key="find")

    # What is found

    def _search(self) -> None:
        """Look for what is in the field, from what the reader sees on."""
        text = self._bar.field.text()
        self._needle = Needle.phrase(text) if text.strip() else None
        self._at = None
        hits = self._hits()
        if not hits:
            self._refresh()
            return
        self._tasks.start(self._go(self._first_from_here(hits), 1), key="find")

    def _first_from_here(self, hits: list[Hit]) -> Hit:
        order = {message.id: number for number, message in enumerate(self._path())}
        top, _ = place_in(self._thread)
        if not top:  # the end is followed: what can be seen counts, then what is above
            seen = [view.message_id for view in self._thread.views() if not view.visibleRegion().isEmpty()]
            top = seen[0] if seen else ""
        here = order.get(top, 0)
        return next((hit for hit in hits if order[hit.message_id] >= here), hits[-1])

    def _path(self) -> list[StoredMessage]:
        session = self._thread.session
        return [] if session is None else session.tree.path()

    def _hits(self) -> list[Hit]:
        if self._needle is None:
            return []
        return [
            Hit(message.id, number) for message in self._path() for number in range(self._count_in(message))
        ]

    def _count_in(self, message: StoredMessage) -> int:
        assert self._needle is not None
        view = self._thread.view_of(message.id)
        if view is None or (isinstance(view, AnswerMessage) and not view.view.is_drawn):
            return self._needle.count_in_source(message.text)
        return len(matches_in(view, self._needle))

    async def _go(self, hit: Hit, by: int) -> None:
        """Show a match and mark it; a message whose text had it only in its Markdown is passed over."""
        needle = self._needle
        skipped: set[str] = set()
        while needle is not None and needle is self._needle:
            found: list[Match] = []
            view = await self._thread.built(hit.message_id)
            if view is None or needle is not self._needle:
                break
            if isinstance(view, AnswerMessage):
                view.view.unfold_all()
            found = matches_in(view, needle)
            if found:
                self._at = Hit(hit.message_id, min(hit.number, len(found) - 1))
                await go_to_part(self._thread, hit.message_id, lambda view: self._top_of(view, needle))
                break
            skipped.add(hit.message_id)
            left = [each for each in self._hits() if each.message_id not in skipped]
            if not left:
                break
            order = [message.id for message in self._path()]
            here = order.index(hit.message_id) if hit.message_id in order else 0
            ahead = [each for each in left if (order.index(each.message_id) - here) * by > 0]
            hit = (ahead or left)[0 if by > 0 else -1]
        self._refresh()

    def _top_of(self, view: MessageView, needle: Needle) -> int | None:
        """Return what of the message is at the top when the current match can be read."""
        matches = matches_in(view, needle)
        if self._at is None or self._at.number >= len(matches):
            return None
        match = matches[self._at.number]
        match.scroll_sideways()
        rect = match.rect_in(view)
        room = self._thread.viewport().height()
        top = self._thread.verticalScrollBar().value() - view.y()
        if top + rect.height() <= rect.top() <= top + room - 2 * rect.height():
            return top  # it can be read already
        return rect.top() - room // ABOVE_SHARE

    def _on_laid_out(self) -> None:
        if self._bar.isVisible():
            self._laid_out.start()

    def _refresh(self) -> None:
        """Mark and count again: messages came, went or were drawn anew."""
        needle = self._needle
        count = before = 0
        for message in self._path():
            view = self._thread.view_of(message.id)
            is_at = self._at is not None and self._at.message_id == message.id
            if is_at:
                before = count
            if needle is None or view is None:
                count += self._count_in(message) if needle is not None else 0
                if view is not None:
                    mark(view, (), None)
                continue
            matches = matches_in(view, needle)
            current = (
                matches[self._at.number] if is_at and self._at and self._at.number < len(matches) else None
            )
            mark(view, matches, current)
            count += max(len(matches), self._count_in(message))
        number = before + self._at.number + 1 if self._at is not None else 0
        self._bar.set_count(min(number, count), count)
