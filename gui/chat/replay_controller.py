"""The same prompt on the other side, with what it would cost there or why it can't go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import shiboken6
from PySide6.QtCore import QObject, QPoint
from PySide6.QtWidgets import QMenu, QWidget

from core import format_cost, sentence, shortened
from core.chat import ChatRequest, RouteDecision, Side
from core.errors import SignalboxError
from gui.chat.answer_message import AnswerMessage
from gui.chat.late_settlement import LateSettlement
from gui.chat.model_controller import ModelController
from gui.chat.request_builder import build_request
from gui.chat.session import Session
from gui.chat.storage.models import ChatOptions, StoredMessage
from gui.chat.view import ChatView
from gui.shell.pages import Shell
from gui.shell.tasks import Tasks
from gui.widgets.decision_card import DecisionCard
from gui.widgets.formatting import NO_CHARGE
from gui.widgets.painted_button import settle_after

SIDES: tuple[Side, ...] = ("local", "api")
MENU_CHARS = 90
VERBS: dict[Side, str] = {"local": "Replay locally", "api": "Replay on API"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One side for a prompt that was asked before: ``words`` has its price, ``why_not`` says why it can't go."""

    side: Side
    words: str
    about: str = ""
    why_not: str = ""


class ChatVerbs(Protocol):
    """What a replay needs of the chat's controller."""

    @property
    def session(self) -> Session: ...

    @property
    def models(self) -> ModelController: ...

    @property
    def late(self) -> LateSettlement: ...

    def ask_again(self, act: Callable[[], object]) -> None: ...


def offer_of(side: Side, decision: RouteDecision) -> Offer:
    """Return what ``decision`` says of a prompt that was forced to ``side``."""
    verb = VERBS[side]
    if decision.side != side:
        why = " ".join(part for part in (sentence(decision.reason), decision.refusal_hint) if part)
        return Offer(side=side, words=verb, why_not=why)
    estimate = decision.estimate(side)
    model = f"{estimate.model} answers, beside this version." if estimate.model else ""
    if side == "api":
        hold = estimate.hold_nanodollars
        worst = f"At most {format_cost(hold)} is held for it." if hold else ""
        price = format_cost(estimate.cost_nanodollars, estimate=estimate.cost_nanodollars is not None)
        return Offer(side=side, words=f"{verb}, {price}", about=f"{model} {worst}".strip())
    cost = estimate.cost_nanodollars
    price = NO_CHARGE.lower() if cost is None else f"{format_cost(cost, estimate=True)} loaded"
    return Offer(side=side, words=f"{verb}, {price}", about=model)


class ReplayController(QObject):
    """An answer is kept as it is; the replay is another version of it, with its own badge."""

    def __init__(self, chat: ChatVerbs, shell: Shell, tasks: Tasks, view: ChatView) -> None:
        super().__init__(view)
        self._chat, self._bridge, self._tasks, self._view = chat, shell.bridge, tasks, view
        self.menu: QMenu | None = None
        view.thread_view.badge_opened.connect(self.open_decision)
        view.thread_view.replay_asked.connect(self.open_menu)

    def replay(self, answer_id: str, side: Side) -> None:
        """Ask an answer's prompt again on ``side``, with the options it was asked with."""
        session = self._chat.session
        options = self._options(session, answer_id, side)
        self._chat.ask_again(lambda: session.regenerate(answer_id, options))

    def open_decision(self, answer_id: str) -> None:
        """Show why an answer's request went where it went, and what the sides would take for it now."""
        self._chat.late.look_up(self._chat.session.tree[answer_id], self._show_decision)

    def _show_decision(self, message: StoredMessage) -> None:
        card = self._view.open_decision(message)
        if card is None or self._chat.session.is_streaming:
            return
        card.add_replay({side: VERBS[side] for side in SIDES})
        card.replay_asked.connect(partial(self._on_card, message.id))
        self._tasks.start(self._fill_card(card, self._chat.session, message.id))

    def open_menu(self, answer_id: str) -> None:
        """Offer both sides at the answer's tool, each with its price, the other one first."""
        self._tasks.start(self._open_menu(self._chat.session, answer_id), key="replay menu")

    async def _open_menu(self, session: Session, answer_id: str) -> None:
        view = self._view.thread_view.view_of(answer_id)
        offers = [await self._offer(session, answer_id, side) for side in self._sides(session, answer_id)]
        if session is not self._chat.session or not isinstance(view, AnswerMessage):
            return
        if not shiboken6.isValid(view) or not view.replay_button.isVisible():
            return
        anchor: QWidget = view.replay_button
        menu = QMenu(self._view)
        menu.setToolTipsVisible(True)
        for offer in offers:
            words = f"{offer.words}: {offer.why_not}" if offer.why_not else offer.words
            action = menu.addAction(shortened(words, MENU_CHARS).replace("&", "&&"))
            action.setToolTip(offer.about or offer.why_not)
            action.setEnabled(not offer.why_not)
            action.triggered.connect(partial(self.replay, answer_id, offer.side))
        self.menu = menu
        menu.aboutToHide.connect(menu.deleteLater)
        settle_after(menu, anchor)
        menu.popup(anchor.mapToGlobal(QPoint(0, anchor.height() + 2)))

    async def _fill_card(self, card: DecisionCard, session: Session, answer_id: str) -> None:
        for side in SIDES:
            offer = await self._offer(session, answer_id, side)
            if not shiboken6.isValid(card):
                return
            card.show_replay(side, offer.words, offer.why_not or offer.about, enabled=not offer.why_not)

    def _on_card(self, answer_id: str, side: str) -> None:
        for each in SIDES:
            if each == side:
                self.replay(answer_id, each)

    async def _offer(self, session: Session, answer_id: str, side: Side) -> Offer:
        try:
            request = self._request(session, answer_id, side)
            decision = await self._bridge.call(self._bridge.core.decide(request))
        except SignalboxError as error:
            return Offer(side=side, words=VERBS[side], why_not=f"{error.message} {error.hint}".strip())
        return offer_of(side, decision)

    def _request(self, session: Session, answer_id: str, side: Side) -> ChatRequest:
        parent = session.tree[answer_id].parent_id
        path = session.tree.path(parent) if parent else []
        return build_request(path, self._options(session, answer_id, side), session.id)

    def _options(self, session: Session, answer_id: str, side: Side) -> ChatOptions:
        return self._chat.models.on_side(session.tree[answer_id].options or session.options, side)

    @staticmethod
    def _sides(session: Session, answer_id: str) -> tuple[Side, ...]:
        decision = session.tree[answer_id].decision
        return ("local", "api") if decision is not None and decision.side == "api" else ("api", "local")
