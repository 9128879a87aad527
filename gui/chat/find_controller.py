"""Finds words in the conversation that is shown: counts them, marks them, and goes from one to the next.

Messages that are laid out are searched as they are read, the others by their text; going to one lays it out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QObject, QTimer
from PySide6.QtWidgets import QApplication

from gui.chat.answer_message import AnswerMessage
from gui.chat.find_text import Needle, count_in, mark, matches_in
from gui.chat.markdown.text_pane import TextPane
from gui.chat.message_view import MessageView
from gui.chat.storage.models import StoredMessage
from gui.chat.thread_place import go_to_part, place_in, views_in_sight
from gui.chat.view import ChatView
from gui.shell.tasks import Tasks
from gui.theme.theme import theme

TYPED_MS = 80
LAID_OUT_MS = 150
SCROLLED_MS = 30
SLICE_S = 0.006
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
        self._marked: set[str] = set()
        self._counts: dict[str, int] = {}  # of each message of the path, from the top
        self._typed = self._timer(TYPED_MS, self._search)
        self._laid_out = self._timer(LAID_OUT_MS, self._count_again)
        self._scrolled = self._timer(SCROLLED_MS, self._mark_seen)
        self._bar.searched.connect(lambda: self._typed.start())
        self._bar.stepped.connect(self.step)
        self._bar.closed.connect(self.close)
        view.find_asked.connect(self.open)
        view.find_stepped.connect(self.step)
        view.find_closed.connect(self.close)
        self._thread.verticalScrollBar().rangeChanged.connect(self._on_laid_out)
        self._thread.verticalScrollBar().valueChanged.connect(self._on_scrolled)
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
        self._scrolled.stop()
        self._needle = self._at = None
        self._counts = {}
        self._mark_seen()
        for message_id in self._marked:
            view = self._thread.view_of(message_id)
            if view is not None:
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
                await self._count_all()
                await self._go(Hit(hit, 0), 1)
                return

    def step(self, by: int) -> None:
        """Go to the next or the previous match, from the end to the beginning again."""
        if not self._bar.isVisible():
            return
        if self._typed.isActive() or self._needle is None:
            self._typed.stop()
            self._search()
        elif (hit := self._beside(self._at, by)) is not None:
            self._tasks.start(self._go(hit, by), key="find")

    # What is found

    def _search(self) -> None:
        """Look for what is in the field, from what the reader sees on."""
        text = self._bar.field.text()
        self._needle = Needle.phrase(text) if text.strip() else None
        self._at = None
        self._tasks.start(self._find_first(), key="find")

    async def _find_first(self) -> None:
        await self._count_all()
        hit = self._first_from_here()
        if hit is not None:
            await self._go(hit, 1)
        else:
            self._show()

    async def _count_all(self) -> None:
        """Count anew in the whole conversation, a few milliseconds at a time."""
        needle = self._needle
        counts: dict[str, int] = {}
        began = time.perf_counter()
        for message in self._path():
            if needle is None:
                break
            counts[message.id] = self._count_in(message, needle)
            if time.perf_counter() - began > SLICE_S:
                await asyncio.sleep(0)
                began = time.perf_counter()
        if needle is self._needle:
            self._counts = counts

    def _count_in(self, message: StoredMessage, needle: Needle) -> int:
        view = self._thread.view_of(message.id)
        if view is None:
            return needle.count_in_source(message.text)
        if isinstance(view, AnswerMessage) and not view.view.is_drawn:
            return max(needle.count_in_source(message.text), count_in(view, needle))
        return count_in(view, needle)

    def _path(self) -> list[StoredMessage]:
        session = self._thread.session
        return [] if session is None else session.tree.path()

    def _first_from_here(self) -> Hit | None:
        """The first match of what can be seen, or below it, or else the last one."""
        top, _ = place_in(self._thread)
        if not top:  # the end is followed
            top = next((view.message_id for view in views_in_sight(self._thread)), "")
        ids = list(self._counts)
        here = ids.index(top) if top in ids else 0
        below = next((item for item in ids[here:] if self._counts[item]), None)
        return self._beside(None, -1) if below is None else Hit(below, 0)

    def _beside(self, at: Hit | None, by: int) -> Hit | None:
        """The match after one (or before it, where ``by`` is -1); from none, the first or the last."""
        ids = [item for item, count in self._counts.items() if count]
        if not ids:
            return None
        if at is not None and at.message_id in self._counts:
            if 0 <= at.number + by < self._counts[at.message_id]:
                return Hit(at.message_id, at.number + by)
            order = {item: number for number, item in enumerate(self._counts)}
            here = order[at.message_id]
            ids = [item for item in ids if (order[item] - here) * by > 0] or ids
        found = ids[0] if by > 0 else ids[-1]
        return Hit(found, 0 if by > 0 else self._counts[found] - 1)

    async def _go(self, hit: Hit, by: int) -> None:
        """Show a match and mark it; a message whose text had it only in its Markdown is passed over."""
        needle = self._needle
        found: Hit | None = hit
        while needle is not None and found is not None:
            view = await self._thread.reveal(found.message_id)
            if needle is not self._needle:
                return
            if isinstance(view, AnswerMessage):
                view.view.unfold_all()
            count = 0 if view is None else count_in(view, needle)
            self._counts[found.message_id] = count
            if count:
                self._at = Hit(found.message_id, min(found.number, count - 1))
                await go_to_part(self._thread, found.message_id, lambda view: self._top_of(view, needle))
                break
            found = self._beside(found, by)
        self._show()

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

    # What is shown of it

    def _on_laid_out(self) -> None:
        if self._bar.isVisible():
            self._laid_out.start()

    def _on_scrolled(self) -> None:
        if self._bar.isVisible() and not self._scrolled.isActive():
            self._scrolled.start()

    def _count_again(self) -> None:
        """Messages came, went or were drawn anew."""
        self._tasks.start(self._refresh(), key="count")

    async def _refresh(self) -> None:
        await self._count_all()
        self._show()

    def _show(self) -> None:
        """Say how many matches there are, and mark those that can be seen."""
        number = 0
        if self._at is not None:
            for message_id, count in self._counts.items():
                if message_id == self._at.message_id:
                    number += min(self._at.number + 1, count)
                    break
                number += count
        self._bar.set_count(number, sum(self._counts.values()))
        self._mark_seen()

    def _mark_seen(self) -> None:
        """Mark the messages that can be seen: to mark thousands of matches takes long."""
        seen = {view.message_id: view for view in views_in_sight(self._thread)}
        for message_id in self._marked - seen.keys():
            left = self._thread.view_of(message_id)
            if left is not None:
                mark(left, (), None)
        self._marked = set(seen)
        for view in seen.values():
            self._mark(view)

    def _mark(self, view: MessageView) -> None:
        matches = [] if self._needle is None else matches_in(view, self._needle)
        at = self._at
        is_at = at is not None and at.message_id == view.message_id and at.number < len(matches)
        mark(view, matches, matches[at.number] if is_at and at is not None else None)
