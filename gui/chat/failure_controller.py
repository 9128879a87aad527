"""What happens when an answer fails before its first token: the prompt comes back, and a card offers the way on.

It also asks about paused conversations, by their titles where they are chats of this panel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, cast

from PySide6.QtCore import QObject, QPoint, QTimer

from core.chat import ChatRequest, Side
from core.errors import LedgerUnavailable, SignalboxError
from gui.chat.answer_message import AnswerMessage
from gui.chat.failures.cards import FailureCard, LogPopover, chat_hash
from gui.chat.failures.facts import find_facts, refused_now
from gui.chat.failures.plan import Action, Plan
from gui.chat.failures.plans import cause_holds, plan_failure
from gui.chat.model_controller import ModelController
from gui.chat.request_builder import build_request
from gui.chat.route_preview import RoutePreview
from gui.chat.session import Session
from gui.chat.storage.models import StoredError
from gui.chat.view import ChatView
from gui.shell.api_notices import browse
from gui.shell.pages import Shell, Target
from gui.shell.tasks import Tasks
from gui.theme.theme import theme

if TYPE_CHECKING:
    from core import CoreStatus

LOG_LINES = 200
FOLLOW_MS = 200
"""How long after the last key the cards look at what they would send now."""
ELSEWHERE: dict[Action, Target] = {
    "add_key": Target("preferences", "providers", "anthropic"),
    "add_local_key": Target("preferences", "providers", "vllm"),
    "choose_model": Target("preferences", "providers", "anthropic_model"),
    "choose_local_model": Target("preferences", "local", "vllm_model"),
    "allow_key": Target("preferences", "providers", "anthropic"),
    "raise_limit": Target("preferences", "spend"),
    "show_spend": Target("spend", "held"),
    "change_rates": Target("preferences", "reliability"),
    "change_times": Target("preferences", "reliability"),
}
"""Actions that lead to another page, and a section of it; a plan may name the row."""


class ChatVerbs(Protocol):
    """What a way on needs of the chat's controller."""

    @property
    def session(self) -> Session: ...

    @property
    def preview(self) -> RoutePreview: ...

    @property
    def models(self) -> ModelController: ...

    def request_now(self) -> ChatRequest | None: ...

    def send(self) -> None: ...

    def regenerate(self, answer_id: str) -> None: ...

    def go_on(self, answer_id: str) -> None: ...

    def show_options(self) -> None: ...

    def focus_composer(self) -> None: ...

    def titles(self) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class _Loose:
    """The card of a prompt that went back to the box: what failed where, and the request as it was then."""

    card: FailureCard
    error: StoredError
    side: Side | None
    request: ChatRequest


class FailureController(QObject):
    """Acts on what the cards offer, through the verbs of the chat that is shown."""

    def __init__(self, chat: ChatVerbs, shell: Shell, tasks: Tasks, view: ChatView) -> None:
        super().__init__(view)
        self._chat, self._shell, self._bridge, self._tasks = chat, shell, shell.bridge, tasks
        self._view, self._thread, self._composer = view, view.thread_view, view.composer
        self._loose: _Loose | None = None
        self._cause_seen = False
        self._sides: tuple[str, str] | None = None
        self._answers_too = False
        self._follow_timer = QTimer(self)
        self._follow_timer.setSingleShot(True)
        self._follow_timer.setInterval(FOLLOW_MS)
        self._follow_timer.timeout.connect(self._follow)
        self._thread.acted.connect(self._on_answer_action)
        self._thread.card_acted.connect(self._on_card_action)
        self._thread.card_changed.connect(self._show_paused)
        view.paused.resume_asked.connect(self.resume)
        view.paused.kept.connect(self._show_paused)
        self._bridge.status_changed.connect(self._show_paused)

    def take(self, session: Session, answer_id: str) -> None:
        """A request failed with nothing to show: give the prompt back to the box if that is free, and tell."""
        answer = session.tree[answer_id]
        assert answer.error is not None
        options = replace(session.options, schema_text="")  # it may be half typed by now
        request = build_request(session.tree.path(answer.parent_id), options, session.id)
        side = answer.decision.side if answer.decision is not None else None
        goes_back = self._goes_back(session, answer_id)
        if goes_back:
            text, attachments = session.take_back(answer_id)
            self._composer.set_content(text, attachments)
        self._tasks.start(self._tell(session, answer_id, answer.error, request, side, in_box=goes_back))

    def _goes_back(self, session: Session, answer_id: str) -> bool:
        """Only a prompt that was just sent, has no other version, and finds the box empty."""
        tree = session.tree
        prompt_id = tree[answer_id].parent_id
        return (
            session is self._chat.session
            and self._composer.is_empty
            and prompt_id is not None
            and tree[prompt_id].role == "user"
            and tree.place(answer_id)[1] == 1
            and tree.place(prompt_id)[1] == 1
        )

    async def _tell(
        self,
        session: Session,
        answer_id: str,
        error: StoredError,
        request: ChatRequest,
        side: Side | None,
        *,
        in_box: bool,
    ) -> None:
        facts = await find_facts(self._bridge, error, request, in_box=in_box, side=side)
        if session is not self._chat.session:
            return
        if in_box:
            self._thread.set_loose_plan(plan_failure(error, facts))
            card, status = self._thread.loose_card, self._bridge.status
            if card is not None and status is not None:
                self._loose = _Loose(card, error, side, request)
                self._cause_seen = cause_holds(card.plan, error, status) is True
                self.prompt_changed()  # it may be another than the one that failed by now
            return
        view = self._thread.view_of(answer_id)
        if isinstance(view, AnswerMessage):
            view.show_state(session.tree[answer_id], facts)

    def prompt_changed(self) -> None:
        """What is in the box is another prompt: so is what the card of the one that failed offers."""
        self._follow_timer.start()

    def options_changed(self) -> None:
        """What prompts are sent with, or who would take them, changed: so did what every card offers."""
        self._answers_too = True
        self._follow_timer.start()

    def _follow(self) -> None:
        self._tasks.start(self._follow_prompt(), key="follow the prompt")

    async def _follow_prompt(self) -> None:
        """Let the cards offer what their buttons would send now, and name its price."""
        session, loose = self._chat.session, self._loose
        if loose is not None and loose.card is self._thread.loose_card:
            await self._follow_loose(loose)
        if not self._answers_too:
            return
        self._answers_too = False
        for view in self._thread.views():
            if isinstance(view, AnswerMessage) and view.card is not None and view.message_id in session.tree:
                await self._follow_answer(session, view, view.card)

    async def _follow_answer(self, session: Session, view: AnswerMessage, card: FailureCard) -> None:
        answer = session.tree[view.message_id]
        if answer.error is None or answer.text:
            return
        options = replace(session.options, schema_text="")
        request = build_request(session.tree.path(answer.parent_id), options, session.id)
        side = answer.decision.side if answer.decision is not None else None
        facts = await find_facts(self._bridge, answer.error, request, in_box=False, side=side)
        plan = plan_failure(answer.error, facts)
        if session is self._chat.session and view.card is card and card.plan != plan:
            view.set_plan(plan)

    async def _follow_loose(self, loose: _Loose) -> None:
        try:
            request = self._chat.request_now()
        except SignalboxError:
            return  # a schema that is half typed
        loose.card.set_can_send(request is not None)
        if request is None:
            return
        error: StoredError | None = loose.error
        changed = request.messages != loose.request.messages or request.max_tokens != loose.request.max_tokens
        if changed and loose.error.kind == "budget_exceeded":
            error = await refused_now(self._bridge, loose.error, request)
        plan = None
        if error is not None:
            facts = await find_facts(
                self._bridge, error, request, in_box=True, side=loose.side, changed=changed
            )
            plan = plan_failure(error, facts)
        if self._loose is not loose or loose.card is not self._thread.loose_card or plan == loose.card.plan:
            return
        self._thread.set_loose_plan(plan)
        card = self._thread.loose_card
        self._loose = None if card is None else replace(loose, card=card)

    def on_status(self, status: CoreStatus) -> None:
        """Take the card at the end away once its cause, which the status told, is over."""
        before, self._sides = self._sides, (status.local.phase, status.api.phase)
        if self._sides != before:
            self.options_changed()  # another side may take it now, or none
        if self._loose is None:
            return
        card, error = self._loose.card, self._loose.error
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
            self._act(cast("Action", action), self._chat.send, card.plan)

    def _on_answer_action(self, answer_id: str, action: str) -> None:
        view = self._thread.view_of(answer_id)
        if action == "continue":
            self._chat.go_on(answer_id)
        elif isinstance(view, AnswerMessage) and view.card is not None:
            self._act(cast("Action", action), lambda: self._chat.regenerate(answer_id), view.card.plan)

    def _call_local(self, *, is_ours: bool) -> None:
        core = self._bridge.core
        self._tasks.start(self._bridge.call(core.restart_local() if is_ours else core.start_local()))
        if is_ours:
            self._view.toasts.show("The local server is starting again", icon="arrow-clockwise")

    def _act(self, action: Action, again: Callable[[], object], plan: Plan) -> None:
        """Do what a card offers; ``again`` sends the prompt once more."""
        self._chat.focus_composer()  # the button may go with its card
        if action in ELSEWHERE:
            target = ELSEWHERE[action]
            if plan.setting and target.page == "preferences":
                target = replace(target, detail=plan.setting)
            self._shell.open(target)
            return
        match action:
            case "resume":
                self._tasks.start(self._resume_and_send(again, plan.conversation))
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
            case "open_billing":
                browse(plan.facts.billing_page)
            case "shorten":
                pass  # the box has the focus
            case "restart_local" | "look_at_local":
                self._call_local(is_ours=action == "restart_local")
            case "show_log":
                self._tasks.start(self._show_log())
            case "set_ledger_aside":
                self._tasks.start(self._set_ledger_aside())
            case _:  # retry
                again()

    def _lower_max_tokens(self, again: Callable[[], object], tokens: int | None) -> None:
        session = self._chat.session
        if tokens is not None:
            session.set_options(replace(session.options, max_tokens=tokens))
            self._chat.show_options()
            again()

    def _send_to(self, side: Side, again: Callable[[], object]) -> None:
        """Force a side for this one request; the switch stays where the user set it."""
        session = self._chat.session
        options = session.options
        session.set_options(self._chat.models.on_side(options, side))
        again()
        session.set_options(options)

    def _summarise(self, again: Callable[[], object], window_tokens: int | None) -> None:
        """Send this one request with the conversation's beginning summed up."""
        if window_tokens is not None:
            with self._chat.session.summarising(window_tokens):
                again()

    async def _resume_and_send(self, again: Callable[[], object], conversation: str | None) -> None:
        """Let the paused conversation go on, and send what it was paused at."""
        if conversation is None:
            return
        try:
            await self._bridge.call(self._bridge.core.ledger.resume(conversation))
        except SignalboxError as error:
            self._view.toasts.show(str(error))
            return
        again()

    async def _show_log(self) -> None:
        lines = await self._bridge.run_blocking(self._bridge.core.local_log, LOG_LINES)
        popover = LogPopover("Log of the local server", lines, self._view)
        unit = theme()
        popover.open_at(self._thread.mapToGlobal(QPoint(unit.px(60), unit.px(40))))

    async def _set_ledger_aside(self) -> None:
        try:
            kept = await self._bridge.call(self._bridge.core.ledger.set_aside())
        except LedgerUnavailable as error:
            self._view.toasts.show(str(error))
        else:
            self._thread.set_loose_plan(None)
            self._view.toasts.show(f"A new ledger is in use. The old one is kept as {kept.name}")
        self._chat.preview.changed()

    # Paused conversations

    def paused_titles(self) -> dict[str, str]:
        """Return the titles of this panel's chats that are paused, by the core's name for them."""
        status = self._bridge.status
        paused = {item.conversation for item in status.paused} if status is not None else set[str]()
        if not paused:
            return {}
        named = {chat_hash(chat): title for chat, title in self._chat.titles().items()}
        return {name: title for name, title in named.items() if name in paused}

    def keep_paused(self, conversation: str) -> None:
        """Take the card away; the conversation stays paused."""
        self._view.paused.keep(conversation)

    def resume(self, conversation: str) -> None:
        """Let a paused conversation go on."""
        self._tasks.start(self._resume(conversation), key=f"resume {conversation}")

    async def _resume(self, conversation: str) -> None:
        try:
            await self._bridge.call(self._bridge.core.ledger.resume(conversation))
        except SignalboxError as error:
            self._view.show_error(str(error))
        else:
            self._view.toasts.show("The conversation goes on", icon="play-circle")

    def _show_paused(self) -> None:
        status = self._bridge.status
        if status is None:
            return
        # A prompt that was just refused for it has its own card, which asks the same.
        card = self._thread.loose_card
        without = card.plan.conversation if card is not None else None
        self._view.paused.show_paused(status.paused, self.paused_titles(), without)
        self._view.respace()
