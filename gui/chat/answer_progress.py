"""What the answer that runs is doing, told beside it again and again while it does."""

from __future__ import annotations

import time
from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer, Signal

from gui.chat.answer_message import AnswerMessage
from gui.chat.message_view import MessageView
from gui.chat.session import Session

PROGRESS_MS = 250


class AnswerProgress(QObject):
    """``view_of`` returns the widget of a message, ``None`` where it has none just now.

    ``words`` returns what is waited for before it is decided where the request goes.
    Signals: told (what an answer waits for, once, for a screen reader).
    """

    told = Signal(str)

    def __init__(self, view_of: Callable[[str], MessageView | None], parent: QObject) -> None:
        super().__init__(parent)
        self._view_of = view_of
        self._session: Session | None = None
        self._told = ""
        self.words: Callable[[], str] = str
        self._timer = QTimer(self)
        self._timer.setInterval(PROGRESS_MS)
        self._timer.timeout.connect(self._show)

    def follow(self, session: Session) -> None:
        """Tell it now, and until the answer of ``session`` that runs has ended."""
        self._session = session
        self._show()
        self._timer.start()

    def end(self) -> None:
        """The answer has ended."""
        self._timer.stop()
        self._told = ""

    def _show(self) -> None:
        session = self._session
        if session is None or session.running_id is None:
            self._timer.stop()
            return
        view = self._view_of(session.running_id)
        if not isinstance(view, AnswerMessage):
            return
        speed: float | None = None
        if session.first_token_at_s is not None and session.tokens > 1:
            elapsed_s = time.monotonic() - session.first_token_at_s
            speed = (session.tokens - 1) / elapsed_s if elapsed_s > 0.3 else None
        held = session.tree[session.running_id].hold_nanodollars or None
        if session.waiting is not None:
            view.set_wait(session.waiting)
            self._tell(f"Waiting {session.waiting.goal}")
        elif session.tree[session.running_id].decision is None:
            view.set_waiting(self.words())
        else:
            first = session.first_token if session.tokens == 0 else None
            view.set_progress(session.tokens, speed, held, first)
            if first is not None and first.is_worth_telling:
                self._tell(first.goal)

    def _tell(self, words: str) -> None:
        """Tell a screen reader once what is waited for, not again while the numbers run."""
        if words != self._told:
            self._told = words
            self.told.emit(words)
