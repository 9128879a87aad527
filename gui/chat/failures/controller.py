"""What happens when an answer fails before its first token: the prompt comes back, and a card offers the way on.

Asks about paused conversations on the chat page, by their titles where they are chats of this panel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, cast

from PySide6.QtCore import QObject, QPoint, Signal
from PySide6.QtWidgets import QWidget

from core.chat import ChatRequest, Side
from core.errors import LedgerUnavailable, SignalboxError
from gui.chat.answer_message import AnswerMessage
from gui.chat.composer import Composer
from gui.chat.failures.cards import FailureCard, LogPopover, PausedCards, chat_hash
from gui.chat.failures.facts import find_facts
from gui.chat.failures.plans import Action, Plan, cause_holds, plan_failure
from gui.chat.request_builder import build_request
from gui.chat.session import Session
from gui.chat.storage.models import StoredError
from gui.chat.thread_view import ThreadView
from gui.shell.tasks import Tasks
from gui.theme.theme import theme
from gui.widgets.toast import ToastHost

if TYPE_CHECKING:
    from core import CoreStatus
    from gui.shell.bridge import Bridge


LOG_LINES = 200
ELSEWHERE: dict[Action, tuple[str, str]] = {
    "add_key": ("preferences", "keys"),
    "raise_limit": ("preferences", "spend"),
    "show_spend": ("spend", "held"),
    "change_rates": ("preferences", "reliability"),
    "change_times": ("preferences", "reliability"),
}
"""Actions that lead to another page, and a section of it."""


class Asker(Protocol):
    """What the failure controller needs of the page."""

    @property
    def session(self) -> Session: ...

    def send(self) -> None: ...

    def regenerate(self, answer_id: str) -> None: ...

    def go_on(self, answer_id: str) -> None: ...

    def show_options(self) -> None: ...

    def focus_composer(self) -> None: ...


class FailureController(QObject):
    """Signals:
    navigate: a page's id and a section of it.
    changed: something that decides where a prompt goes may have changed.
    """

    navigate = Signal(str, str)
    changed = Signal()

    def __init__(
        self,
        page: Asker,
        bridge: Bridge,
        tasks: Tasks,
        thread: ThreadView,
        composer: Composer,
        toasts: ToastHost,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._page, self._bridge, self._tasks = page, bridge, tasks
        self._thread, self._composer, self._toasts, self._window = thread, composer, toasts, parent
        self._loose: tuple[FailureCard, StoredError] | None = None
        self._cause_seen = False
        thread.acted.connect(self._on_answer_action)
        thread.card_acted.connect(self._on_card_action)

    def take(self, session: Session, answer_id: str) -> None:
        """A request failed with nothing to show: give the prompt back to the box if that is free, and tell."""
        answer = session.tree[answer_id]
        assert answer.error is not None
        options = replace(session.options, schema_text="")  # it may be half typed by now
        request = build_request(session.tree.path(answer.parent_id), options, session.id)
        goes_back = self._goes_back(session, answer_id)
        if goes_back:
            text, attachments = session.take_back(answer_id)
            self._composer.set_content(text, attachments)
        self._tasks.start(self._tell(session, answer_id, answer.error, request, in_box=goes_back))

    def _goes_back(self, session: Session, answer_id: str) -> bool:
        """Only a prompt that was just sent, has no other version, and finds the box empty."""
        tree = session.tree
        prompt_id = tree[answer_id].parent_id
        return (
            session is self._page.session
            and self._composer.is_empty
            and prompt_id is not None
            and tree[prompt_id].role == "user"
            and tree.place(answer_id)[1] == 1
            and tree.place(prompt_id)[1] == 1
        )

    async def _tell(
        self, session: Session, answer_id: str, error: StoredError, request: ChatRequest, *, in_box: bool
    ) -> None:
        facts = await find_facts(self._bridge, error, request, in_box=in_box)
        if session is not self._page.session:
            return
        if in_box:
            self._thread.set_loose_plan(plan_failure(error, facts))
            card, status = self._thread.loose_card, self._bridge.status
            if card is not None and status is not None:
                self._loose = card, error
                self._cause_seen = cause_holds(card.plan, error, status) is True
            return
        view = self._thread.view_of(answer_id)
        if isinstance(view, AnswerMessage):
            view.show_state(session.tree[answer_id], facts)

    def on_status(self, status: CoreStatus) -> None:
        """Take the card at the end away once its cause, which the status told, is over."""
        if self._loose is None:
            return
        card, error = self._loose
        if card is not self._thread.loose_card:
            self._loose = None
            return
        holds = cause_holds(card.plan, error, status)
        if holds:
            self._cause_seen = True
        elif holds is False and self._cause_seen:
            self._loose = None
            self._thread.set_loose_plan(None)

    # Actions

    def _on_card_action(self, action: str) -> None:
        card = self._thread.loose_card
        if card is not None:
            self._act(cast("Action", action), self._page.send, card.plan)

    def _on_answer_action(self, answer_id: str, action: str) -> None:
        view = self._thread.view_of(answer_id)
        if action == "continue":
            self._page.go_on(answer_id)
        elif isinstance(view, AnswerMessage) and view.card is not None:
            self._act(cast("Action", action), lambda: self._page.regenerate(answer_id), view.card.plan)

    def _act(self, action: Action, again: Callable[[], object], plan: Plan) -> None:
        """Do what a card offers; ``again`` sends the prompt once more."""
        self._page.focus_composer()  # the button may go with its card
        if action in ELSEWHERE:
            self.navigate.emit(*ELSEWHERE[action])
            return
        match action:
            case "resume":
                self._tasks.start(self._resume(again, plan.conversation))
            case "keep_paused":
                self._thread.set_loose_plan(None)
            case "lower_max_tokens":
                self._lower_max_tokens(again, plan.facts.lower_to)
            case "send_local":
                self._send_to("local", again)
            case "send_api":
                self._send_to("api", again)
            case "summarise":
                self._summarise(again, plan.facts.summary_window_tokens)
            case "shorten":
                pass  # the box has the focus
            case "restart_local":
                self._tasks.start(self._bridge.call(self._bridge.core.restart_local()))
                self._toasts.show("The local server is starting again", icon="arrow-clockwise")
            case "show_log":
                self._tasks.start(self._show_log())
            case "set_ledger_aside":
                self._tasks.start(self._set_ledger_aside())
            case _:  # retry
                again()

    def _lower_max_tokens(self, again: Callable[[], object], tokens: int | None) -> None:
        session = self._page.session
        if tokens is not None:
            session.set_options(replace(session.options, max_tokens=tokens))
            self._page.show_options()
            again()

    def _send_to(self, side: Side, again: Callable[[], object]) -> None:
        """Force a side for this one request; the switch stays where the user set it."""
        session = self._page.session
        options = session.options
        session.set_options(replace(options, force=side))
        again()
        session.set_options(options)

    def _summarise(self, again: Callable[[], object], window_tokens: int | None) -> None:
        """Send this one request with the conversation's beginning summed up."""
        if window_tokens is not None:
            with self._page.session.summarising(window_tokens):
                again()

    async def _resume(self, again: Callable[[], object], conversation: str | None) -> None:
        """Let the paused conversation go on, and send what it was paused at."""
        if conversation is None:
            return
        try:
            await self._bridge.call(self._bridge.core.ledger.resume(conversation))
        except SignalboxError as error:
            self._toasts.show(str(error))
            return
        again()

    async def _show_log(self) -> None:
        lines = await self._bridge.run_blocking(self._bridge.core.local_log, LOG_LINES)
        popover = LogPopover("Log of the local server", lines, self._window)
        unit = theme()
        popover.open_at(self._thread.mapToGlobal(QPoint(unit.px(60), unit.px(40))))

    async def _set_ledger_aside(self) -> None:
        try:
            kept = await self._bridge.call(self._bridge.core.ledger.set_aside())
        except LedgerUnavailable as error:
            self._toasts.show(str(error))
        else:
            self._thread.set_loose_plan(None)
            self._toasts.show(f"A new ledger is in use. The old one is kept as {kept.name}")
        self.changed.emit()


class PausedController(QObject):
    """``titles`` gives the titles of the chats that are known, by their ids.

    Signals:
        resumed: a conversation goes on.
        failed: why it could not be let go on.
        shown: cards came or went.
    """

    resumed = Signal()
    failed = Signal(str)
    shown = Signal()

    def __init__(
        self,
        bridge: Bridge,
        tasks: Tasks,
        cards: PausedCards,
        thread: ThreadView,
        titles: Callable[[], dict[str, str]],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._bridge, self._tasks, self._cards, self._thread = bridge, tasks, cards, thread
        self._chats = titles
        cards.resume_asked.connect(self.resume)
        cards.kept.connect(self.show)
        thread.card_changed.connect(self.show)
        bridge.status_changed.connect(self.show)

    def titles(self) -> dict[str, str]:
        """Return the titles of this panel's chats that are paused, by the core's name for them."""
        status = self._bridge.status
        paused = {item.conversation for item in status.paused} if status is not None else set[str]()
        if not paused:
            return {}
        named = {chat_hash(chat): title for chat, title in self._chats().items()}
        return {name: title for name, title in named.items() if name in paused}

    def show(self) -> None:
        status = self._bridge.status
        if status is None:
            return
        # A prompt that was just refused for it has a card of its own, which asks the same.
        card = self._thread.loose_card
        without = card.plan.conversation if card is not None else None
        self._cards.show_paused(status.paused, self.titles(), without)
        self.shown.emit()

    def keep(self, conversation: str) -> None:
        self._cards.keep(conversation)

    def resume(self, conversation: str) -> None:
        """Let a paused conversation go on."""
        self._tasks.start(self._resume(conversation), key=f"resume {conversation}")

    async def _resume(self, conversation: str) -> None:
        try:
            await self._bridge.call(self._bridge.core.ledger.resume(conversation))
        except SignalboxError as error:
            self.failed.emit(str(error))
        else:
            self.resumed.emit()
