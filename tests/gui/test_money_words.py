"""The same request reads alike on every surface that tells money, and what the ledger learns later reaches them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel

from core import ChatResult, Spending
from core.cli.footer import failure_footer, footer, stopped_line
from core.errors import LedgerUnavailable, Unavailable
from core.ledger.limits import Budget
from gui.chat.failures.plans import plan_break_off
from gui.chat.header_row import HeaderRow
from gui.chat.page import ChatPage
from gui.chat.storage.export import to_json, to_markdown
from gui.chat.storage.file import StoreTrouble
from gui.chat.storage.models import StoredError, StoredMessage, Totals
from gui.chat.storage.store import ConversationStore
from gui.spend.held import HeldList
from gui.widgets.decision_card import DecisionCard
from gui.widgets.money_label import MoneyLabel
from gui.widgets.route_badge import RouteBadge
from tests.gui.chat.builders import make_conversation, make_message, make_result
from tests.gui.chat.looking import last_answer
from tests.gui.chat.panel import ChatPanel, chat_panel
from tests.support.fake_core import ledger_row

SPENT = make_result(side="api")
STOPPED = replace(SPENT, usage_estimated=True, finish_reason="stopped_by_user", cost_nanodollars=1_800_000)
OPEN = replace(
    SPENT,
    usage_estimated=True,
    finish_reason="unknown",
    cost_nanodollars=1_800_000,
    unresolved_nanodollars=15_400_000,
)
UNPRICED = replace(SPENT, cost_nanodollars=None, loaded_nanodollars=None)
LOCAL = make_result(side="local")
CASES: list[tuple[ChatResult, str, str]] = [
    (SPENT, "$0.0167", "$0.0167"),
    (STOPPED, "~$0.0018", "~$0.0018"),
    (OPEN, "up to $0.0154 not settled", "~$0.0154"),
    (UNPRICED, "unpriced", "1 unpriced"),
    (LOCAL, "$0.0019 loaded", "$0.0019 loaded"),
]
STATUSES: dict[str, Any] = {"stop": "done", "stopped_by_user": "stopped", "unknown": "failed"}


def stored(result: ChatResult) -> StoredMessage:
    error = StoredError.from_error(Unavailable("Cut.")) if result is OPEN else None
    status = STATUSES[result.finish_reason]
    values = {"result": result, "decision": result.decision, "status": status, "error": error}
    return make_message(make_conversation(), "assistant", result.text, **values)


def card_words(message: StoredMessage) -> str:
    card = DecisionCard(message.result or message.decision, spending=message.settled_later)  # type: ignore[arg-type]
    return " | ".join(label.accessibleName() for label in card.findChildren(MoneyLabel)).replace(
        "About ", "~"
    )


def badge_words(message: StoredMessage) -> str:
    badge = RouteBadge()
    assert message.result is not None
    badge.set_result(message.result, message.settled_later)
    return badge.accessibleDescription()


def exported(message: StoredMessage) -> str:
    conversation = replace(make_conversation(), messages=(message,), head_id=message.id)
    cost = json.loads(to_json(conversation))["messages"][0]["cost"]
    open_dollars = message.spending.unsettled_nanodollars / 1e9
    assert float(cost["not_settled_dollars"]) == open_dollars
    assert cost["estimated"] == message.spending.estimated
    return to_markdown(conversation)


@pytest.mark.parametrize(("result", "words", "figure"), CASES)
def test_the_same_request_reads_alike_on_every_surface(
    qapp: QApplication, result: ChatResult, words: str, figure: str
) -> None:
    message = stored(result)
    surfaces: dict[str, str] = {
        "badge": badge_words(message),
        "card": card_words(message),
        "export": exported(message),
        "ask": footer(result),
        "ask, failed": failure_footer(result),
        "ask, stopped": stopped_line(result),
    }
    if result is OPEN:
        plan = plan_break_off(message)
        assert plan is not None
        surfaces["failure"] = plan.sentence
        spend = HeldList(None)  # type: ignore[arg-type]
        row = ledger_row(hold_nanodollars=15_400_000, counted_nanodollars=15_400_000)
        spend.show_rows([], [row])
        surfaces["spend"] = " ".join(label.text() for label in spend.findChildren(QLabel))
    missing = [name for name, said in surfaces.items() if words.casefold() not in said.casefold()]
    assert not missing, {name: surfaces[name] for name in missing}
    for said in surfaces.values():
        assert "$0.0154 held" not in said
        assert "unresolved" not in said
        assert "$0.0018 settled" not in said

    totals = Totals(answers=1, api_answers=int(result.side == "api"), spending=message.spending)
    header = HeaderRow()
    header.set_totals(totals)
    assert (header.cost.text(), totals.cost_figure) == (figure, figure)


def test_the_months_figure_tells_what_is_not_settled_apart() -> None:
    budget = Budget(
        window_label="2026-06",
        limit_nanodollars=None,
        spent_nanodollars=138_700_000,
        held_nanodollars=0,
        held_count=0,
        unresolved_nanodollars=15_400_000,
        unresolved_count=1,
        unpriced_count=0,
    )
    assert budget.spending.words == "$0.1233 spent, up to $0.0154 not settled"
    assert budget.spending.figure == "~$0.1387"


# -- what the ledger learns later ----------------------------------------------------------------------------


@pytest.fixture
def panel(qapp: QApplication, home: Path) -> Iterator[ChatPanel]:
    with chat_panel(qapp, home) as running:
        yield running


def keep(home: Path, *messages: Callable[[Any], StoredMessage]) -> None:
    store = ConversationStore(home / "conversations.sqlite3")
    conversation = make_conversation("Cut")
    question = make_message(conversation, "user", "Why?")
    answer = replace(messages[0](conversation), parent_id=question.id)
    store.save_conversation(replace(conversation, head_id=answer.id))
    for message in (question, answer):
        store.save_message(message)
    store.close()


def cut_by_a_crash(conversation: Any) -> StoredMessage:
    """As a killed panel left it: it streamed, with its decision and its hold."""
    return make_message(
        conversation,
        "assistant",
        "Because",
        status="streaming",
        decision=SPENT.decision,
        hold_nanodollars=15_400_000,
        correlation_id="0197-cut",
    )


def listed(page: ChatPage) -> str:
    """What the list says of its first conversation."""
    model = page.view.list.model
    return model.data(model.index_of(model.ids()[0]), Qt.ItemDataRole.AccessibleTextRole)


def month(unresolved_nanodollars: int) -> Budget:
    return Budget(
        window_label="2026-06",
        limit_nanodollars=None,
        spent_nanodollars=20_000_000,
        held_nanodollars=0,
        held_count=0,
        unresolved_nanodollars=unresolved_nanodollars,
        unresolved_count=int(unresolved_nanodollars > 0),
        unpriced_count=0,
    )


def test_a_chat_cut_by_a_crash_is_not_settled_until_the_ledger_says_what_it_cost(panel: ChatPanel) -> None:
    keep(panel.home, cut_by_a_crash)
    held = {"hold_nanodollars": 15_400_000, "counted_nanodollars": 15_400_000}
    panel.core.ledger.rows = [ledger_row("0197-cut", **held)]

    async def body() -> None:
        page = await panel.open()
        panel.core.publish(budget=month(15_400_000))
        model = page.view.list.model
        page.controller.open(model.ids()[0])
        await panel.until(lambda: len(page.view.thread_view.views()) == 2)
        answer = last_answer(panel)
        assert "up to $0.0154 not settled" in answer.badge.toolTip()
        assert answer.card is not None
        assert "up to $0.0154 not settled" in answer.card.plan.sentence
        assert page.view.header.cost.text() == "~$0.0154"
        assert page.view.header.cost.toolTip() == "up to $0.0154 not settled"

        settled = ledger_row("0197-cut", state="settled", cost_nanodollars=10_000_000, **held)
        panel.core.ledger.rows = [settled]
        panel.core.publish(budget=month(0))
        await panel.until(lambda: page.view.header.cost.text() == "$0.0100")
        assert "$0.0100" in answer.badge.toolTip()
        assert "not settled" not in answer.badge.toolTip()
        assert "$0.0100 spent" in last_answer(panel).card.plan.sentence  # type: ignore[union-attr]
        await panel.idle()

        page = await panel.again()
        assert listed(page).endswith(", $0.0100")

    panel.run(body)


def test_a_look_at_the_card_asks_the_ledger(
    panel: ChatPanel,
) -> None:
    keep(panel.home, lambda chat: replace(stored(OPEN), conversation_id=chat.id, correlation_id="0197-cut"))
    paid = ledger_row("0197-cut", state="settled", cost_nanodollars=10_000_000)

    async def body() -> None:
        page = await panel.open()
        assert listed(page).endswith(", ~$0.0154")
        page.controller.open(page.view.list.model.ids()[0])
        await panel.until(lambda: len(page.view.thread_view.views()) == 2)
        panel.core.ledger.rows = [paid]
        last_answer(panel).badge.opened.emit()
        await panel.until(lambda: page.view.findChildren(DecisionCard))
        [card] = page.view.findChildren(DecisionCard)
        assert "$0.0100" in [label.accessibleName() for label in card.findChildren(MoneyLabel)]
        card.close()

    panel.run(body)


def test_a_chat_that_is_not_open_learns_what_it_cost_at_the_start(panel: ChatPanel) -> None:
    keep(panel.home, lambda chat: replace(stored(OPEN), conversation_id=chat.id, correlation_id="0197-cut"))
    panel.core.ledger.rows = [ledger_row("0197-cut", state="settled", cost_nanodollars=10_000_000)]

    async def body() -> None:
        page = await panel.open()
        panel.core.publish(budget=month(0))
        await panel.until(lambda: listed(page).endswith(", $0.0100"))

    panel.run(body)


@pytest.mark.parametrize("broken", ["store", "ledger"])
def test_a_look_that_could_not_read_is_repeated(
    panel: ChatPanel, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    keep(panel.home, lambda chat: replace(stored(OPEN), conversation_id=chat.id, correlation_id="0197-cut"))
    panel.core.ledger.rows = [ledger_row("0197-cut", state="settled", cost_nanodollars=10_000_000)]
    failed: list[str] = []

    def not_settled(_: ConversationStore) -> None:
        failed.append("store")
        raise StoreTrouble("The disk is full.")

    async def attempts(_: str) -> None:
        failed.append("ledger")
        raise LedgerUnavailable("The disk is full.")

    async def body() -> None:
        page = await panel.open()
        with monkeypatch.context() as patch:
            if broken == "store":
                patch.setattr(ConversationStore, "not_settled", not_settled)
            else:
                patch.setattr(panel.core.ledger, "attempts", attempts)
            panel.core.publish(budget=month(0))
            await panel.until(lambda: failed)
            await panel.idle()
        assert listed(page).endswith(", ~$0.0154")

        def looked_again() -> bool:
            panel.core.publish(budget=month(0))
            return listed(page).endswith(", $0.0100")

        await panel.until(looked_again)

    panel.run(body)


def test_an_old_files_answers_count_for_what_they_are(home: Path) -> None:
    """Before, the file kept neither what is not settled nor that a cost is an estimate."""
    import sqlite3

    path = home / "conversations.sqlite3"
    store = ConversationStore(path)
    for result in (SPENT, STOPPED, OPEN, UNPRICED, LOCAL):
        conversation = make_conversation()
        store.save_conversation(conversation)
        store.save_message(replace(stored(result), conversation_id=conversation.id))
    store.close()
    with sqlite3.connect(path) as file:
        for column in (
            "spent_nanodollars",
            "spent_estimated",
            "unsettled_nanodollars",
            "unpriced",
            "settled_json",
        ):
            file.execute(f"ALTER TABLE messages DROP COLUMN {column}")
        file.execute("DROP TABLE prompts")
        file.execute("PRAGMA user_version = 5")
    file.close()
    store = ConversationStore(path)
    figures = {summary.totals.cost_figure for summary in store.summaries()}
    assert figures == {figure for _, _, figure in CASES}
    assert Spending.total(summary.totals.spending for summary in store.summaries()) == Spending.total(
        Spending.of(result) for result, _, _ in CASES
    )
    store.close()
