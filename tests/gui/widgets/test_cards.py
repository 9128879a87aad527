"""Cards, toasts, the empty state and the decision card: what is said, what is pressed, what is never cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QContextMenuEvent, QEnterEvent, QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QMenu, QToolButton, QVBoxLayout, QWidget

from core import Spending
from core.chat import CacheSwitchCost, ContextEconomy, Savings
from gui.theme.theme import theme
from gui.widgets.decision_card import DecisionCard
from gui.widgets.decision_facts import (
    money_facts,
    prompt_facts,
    signal_rows,
    signal_summary,
    switching_cost_words,
    usage_words,
)
from gui.widgets.empty_state import EmptyState
from gui.widgets.error_card import ErrorCard, ShortCard
from gui.widgets.fold import Fold
from gui.widgets.formatting import side_spending
from gui.widgets.labels import CopiedLabel, label
from gui.widgets.money_label import spoken_spending
from gui.widgets.sentence import Sentence
from gui.widgets.toast import LIFETIME_MS, Toast, ToastHost
from tests.support.examples import API_RESULT, EVENTFUL, METERED, REFUSED, REPLAYED, a_decision, a_result

Show = Callable[[QWidget], QWidget]


def words_in(widget: QWidget) -> list[str]:
    return [each.words if isinstance(each, Sentence) else each.text() for each in widget.findChildren(QLabel)]


def test_an_error_card_has_everything_in_order_and_its_buttons_work(show: Show) -> None:
    pressed: list[str] = []
    card = ErrorCard(
        "It broke",
        "Because <b>of this</b> & that",
        ("Repair", lambda: pressed.append("fix")),
        [
            ("Log", "terminal-window", lambda: pressed.append("log")),
            ("Copy", "copy", lambda: pressed.append("copy")),
        ],
        kept="Nothing was charged.",
        log=["one", "two"],
        fix_title="Lower it",
    )
    show(card)
    assert card.accessibleName() == "It broke"
    assert "Nothing was charged." in card.accessibleDescription()
    words = words_in(card)
    assert "Because <b>of this</b> & that" in words
    assert "one\ntwo" in words
    for button in card.buttons:
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    assert pressed == ["fix", "log", "copy"]
    assert [bool(button.property("primary")) for button in card.buttons] == [True, False, False]


@pytest.mark.parametrize("width", [300, 420, 800])
def test_no_action_is_cut_however_narrow_the_card(show: Show, width: int, qapp: QApplication) -> None:
    names = ["Raise the limit", "Show what is held", "Lower max tokens to 900", "Send without tools"]
    card = ErrorCard("Full", "Why", None, [(name, "", lambda: None) for name in names])
    holder = QWidget()
    column = QVBoxLayout(holder)
    column.addWidget(card)
    column.addStretch(1)
    holder.resize(width, 600)
    show(holder)
    qapp.processEvents()
    for button in card.buttons:
        assert button.width() >= button.sizeHint().width()
        assert button.geometry().bottom() < card.height()
    boxes = [button.geometry() for button in card.buttons]
    assert not any(a.intersects(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_markup_in_an_error_is_shown_not_interpreted() -> None:
    sentence = Sentence('<img src="file:///etc/passwd">')
    assert "<img" not in sentence.text()
    assert sentence.accessibleName() == '<img src="file:///etc/passwd">'


def test_a_short_card_is_sixty_high_and_presses(show: Show) -> None:
    pressed: list[int] = []
    card = ShortCard("No key", "It is kept.", ("Add a key", lambda: pressed.append(1)))
    card.resize(600, 60)
    show(card)
    assert card.sizeHint().height() == pytest.approx(60, abs=2)
    assert card.button is not None
    QTest.mouseClick(card.button, Qt.MouseButton.LeftButton)
    assert pressed == [1]


def test_the_empty_state_has_a_callback_for_each_button(show: Show) -> None:
    pressed: list[str] = []
    state = EmptyState(
        "None", "Why.", [("A", lambda: pressed.append("a")), ("B", lambda: pressed.append("b"))], "x"
    )
    show(state)
    for button in state.buttons:
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    assert pressed == ["a", "b"]
    state.set_text("Other", "Now this.")
    assert state.accessibleName() == "Other"


# -- toasts ------------------------------------------------------------------------------------------


@pytest.fixture
def host(show: Show) -> ToastHost:
    theme().set_reduced_motion(True)
    page = QWidget()
    page.resize(800, 600)
    show(page)
    return ToastHost(page)


def test_a_toast_stands_bottom_left_and_follows_the_page(host: ToastHost, qapp: QApplication) -> None:
    toast = host.show("Deleted", "Undo", lambda: None, "trash")
    assert (toast.x(), toast.geometry().bottom(), toast.height()) == (16, 600 - 16 - 1, 40)
    toast.parentWidget().resize(800, 400)
    qapp.processEvents()
    assert toast.geometry().bottom() == 400 - 16 - 1


def test_undo_calls_back_and_ends_the_toast(host: ToastHost) -> None:
    pressed: list[int] = []
    toast = host.show("Deleted", "Undo", lambda: pressed.append(1))
    assert toast.button is not None
    QTest.mouseClick(toast.button, Qt.MouseButton.LeftButton)
    assert pressed == [1]
    assert host.current is None


def test_one_toast_at_a_time(host: ToastHost) -> None:
    first = host.show("One")
    second = host.show("Two")
    assert first.isHidden()
    assert host.current is second
    assert not second.isHidden()


def test_its_six_seconds_stand_still_under_pointer_and_focus(host: ToastHost, qapp: QApplication) -> None:
    assert LIFETIME_MS == 6000
    toast = host.show("Deleted", "Undo", lambda: None)
    assert not toast.paused
    point = QPointF(5, 5)
    qapp.sendEvent(toast, QEnterEvent(point, point, point))
    assert toast.paused
    qapp.sendEvent(toast, QEvent(QEvent.Type.Leave))
    assert not toast.paused
    assert toast.button is not None
    toast.window().activateWindow()
    toast.button.setFocus()
    qapp.processEvents()
    assert toast.paused
    toast.button.clearFocus()
    qapp.processEvents()
    assert not toast.paused


def test_a_toast_stands_above_what_must_not_be_covered(show: Show) -> None:
    theme().set_reduced_motion(True)
    page = QWidget()
    page.resize(500, 400)
    box = QWidget(page)
    box.setGeometry(100, 300, 380, 90)
    show(page)
    host = ToastHost(page, clear_of=lambda: box)
    toast = host.show("A long message that would reach under the box at the bottom")
    assert not toast.geometry().intersects(box.geometry())
    box.hide()
    assert host.show("Now there is room").geometry().bottom() > 340


def test_it_ends_by_itself(host: ToastHost) -> None:
    toast = host.show("Saved")
    timer = toast._timer  # pyright: ignore[reportPrivateUsage]
    timer.timeout.emit()
    assert host.current is None
    assert isinstance(toast, Toast)


# -- decision card -----------------------------------------------------------------------------------


def test_the_decision_card_tells_rule_signals_costs_and_id(show: Show) -> None:
    card = DecisionCard(API_RESULT)
    show(card)
    words = words_in(card)
    assert "API. Complex: asks for a JSON schema." in words
    assert "threshold 0.60" in words
    assert API_RESULT.correlation_id in words
    assert "after 910 ms" in words
    names = [child.accessibleName() for child in card.findChildren(QWidget)]
    assert "Rule 6 of 8 matched: Complex, to API" in names
    assert "$0.0147" in names
    copy = next(
        button
        for button in card.findChildren(QToolButton)
        if button.accessibleName() == "Copy the correlation id"
    )
    QTest.mouseClick(copy, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == API_RESULT.correlation_id
    QTest.keyClick(card, Qt.Key.Key_Escape)
    assert card.isHidden()


def test_the_card_tells_each_step_with_its_time_and_cost() -> None:
    told = words_in(DecisionCard(EVENTFUL))
    order = [
        "Waited its turn for Local",
        "Fell back to API. Local failed: the connection was cut",
        "Sent to API again. API turned it away: the API is overloaded",
        "API’s answer doesn’t match: 'city' is a required property",
        "Asked API again: 'city' is a required property",
        "Repaired: a trailing comma",
    ]
    assert [word for word in told if word in order] == order
    assert {"8.14 s", "480 ms", "$0.0013", "Cost not known"} <= set(told)
    assert "The answer matches it" in told
    assert "6 old turns: about 2,400 tokens, saves $0.0072" in told


def test_quiet_answers_have_no_rows_that_say_nothing() -> None:
    words = words_in(DecisionCard(API_RESULT))
    for heading in (
        "What happened",
        "The prompt",
        "Likely, by what arrived",
        "Schema",
        "Waited before",
    ):
        assert heading not in words


def test_options_that_the_model_does_not_take_are_told_where_nothing_is_folded() -> None:
    told = prompt_facts(API_RESULT.decision, replace(API_RESULT, dropped=("top_p", "seed")))
    assert [fact.value for fact in told if fact.name == "Not sent"] == [
        f"top p, seed: {API_RESULT.model} doesn’t take them"
    ]


def test_electricity_that_nobody_measured_is_not_zero() -> None:
    assert [fact.value for fact in money_facts(METERED)] == ["$0.0002"]
    assert [fact.value for fact in money_facts(replace(METERED, marginal_nanodollars=None))] == ["Not known"]


def test_what_the_cache_and_leaving_out_saved_is_told_as_it_was_settled() -> None:
    economy = ContextEconomy(trimmed_tokens=2_400, dropped_turns=6, saved_nanodollars=7_200_000)
    decision = replace(API_RESULT.decision, economy=economy)

    def told(savings: Savings | None, *, economy: ContextEconomy = economy) -> dict[str, str]:
        result = replace(API_RESULT, decision=replace(decision, economy=economy), savings=savings)
        return {
            fact.name: fact.value for fact in (*money_facts(result), *prompt_facts(result.decision, result))
        }

    saved = Savings(trimmed_tokens=2_400, trimming_nanodollars=6_000_000, cache_nanodollars=54_000_000)
    facts = told(saved)
    assert facts["Saved by the cache"] == "$0.0540"
    assert facts["Left out"] == "6 old turns: about 2,400 tokens, saved $0.0060"
    facts = told(replace(saved, cache_nanodollars=-3_000_000, trimming_nanodollars=None))
    assert facts["The cache cost more, so far"] == "$0.0030"
    assert facts["Left out"] == "6 old turns: about 2,400 tokens"
    assert told(None)["Left out"] == "6 old turns: about 2,400 tokens, saves $0.0072"
    summary = replace(economy, summarised_turns=4, saved_nanodollars=None)
    assert told(saved, economy=summary)["Left out"].endswith("about 2,400 tokens")
    assert "Saved by the cache" not in told(Savings())


def test_a_replayed_answer_says_that_it_was_not_paid_again() -> None:
    assert "Replayed, not paid again" in words_in(DecisionCard(REPLAYED))
    paid = replace(REPLAYED, first_cost_nanodollars=12_300_000)
    assert {"Paid for the first answer", "$0.0123"} <= set(words_in(DecisionCard(paid)))


def test_a_warm_cache_counts_down_and_is_past_after_its_end() -> None:
    lost = CacheSwitchCost(side="api", cached_tokens=9_000, nanodollars=20_000_000, expires_in_s=200.0)
    then = datetime(2026, 6, 18, 12, 0, tzinfo=UTC)
    now = switching_cost_words(lost, then, then + timedelta(seconds=10))
    assert now == "9,000 tokens cached on the API; leaving costs $0.0200, free in 3:10"
    later = switching_cost_words(lost, then, then + timedelta(minutes=9))
    assert later == "9,000 tokens were cached on the API; leaving would have cost $0.0200"
    unpriced = switching_cost_words(replace(lost, nanodollars=None), None, then)
    assert unpriced == "9,000 tokens cached for 3:20 on the API; what leaving costs is not known"


def test_a_section_opens_and_stays_as_it_was_left(show: Show) -> None:
    card = DecisionCard(API_RESULT)
    show(card)
    fold = next(fold for fold in card.findChildren(Fold) if fold.button.text() == "When")
    assert not fold.is_open
    before = card.sizeHint().height()
    QTest.mouseClick(fold.button, Qt.MouseButton.LeftButton)
    assert fold.body.isVisible()
    assert card.sizeHint().height() > before
    again = DecisionCard(API_RESULT)
    assert [fold.is_open for fold in again.findChildren(Fold)] == [True, True]
    QTest.mouseClick(fold.button, Qt.MouseButton.LeftButton)
    card.close()


def test_a_local_answer_after_a_billed_attempt_shows_the_cash_that_left() -> None:
    paid = a_result(cost_nanodollars=1_300_000)
    on_api, on_local = side_spending(paid, "api"), side_spending(paid, "local")
    assert (on_api, on_local) == (
        Spending(spent_nanodollars=1_300_000),
        Spending(loaded_nanodollars=1_900_000),
    )
    assert spoken_spending(Spending.of(paid)) == "$0.0013, $0.0019 loaded"


def test_a_refusal_has_no_settled_cost_and_no_timeline() -> None:
    words = words_in(DecisionCard(REFUSED))
    assert words[0].startswith("Not sent. Budget:")
    assert "First token" not in words
    assert words.count("–") == 4, "no side could take it, so neither has a price"


def test_an_unknown_time_is_not_available() -> None:
    assert "Not available" in words_in(DecisionCard(a_result(ttft_ms=None)))


def test_the_card_stays_inside_the_screen(show: Show) -> None:
    anchor = QWidget()
    show(anchor)
    screen = anchor.screen().availableGeometry()
    anchor.move(screen.right() - 40, screen.bottom() - 40)
    card = DecisionCard(a_result(), anchor)
    card.popup_at(anchor)
    assert screen.contains(card.geometry())
    card.close()


def test_signals_stand_against_their_thresholds() -> None:
    rows = {row.name: row for row in signal_rows(a_decision())}
    assert (rows["Complexity"].value, rows["Complexity"].threshold) == ("0.31", "threshold 0.60")
    assert rows["Local today"].threshold == "threshold 3,000"
    assert usage_words(API_RESULT.usage) == "320 fresh, 1,820 cached, 512 out"  # type: ignore[arg-type]


def test_the_score_reads_as_in_the_reason() -> None:
    """0.757 is 0.75 in "score 0.75 reached 0.60": cut there, so cut here."""
    decision = a_decision()
    decision = replace(
        decision, signals=replace(decision.signals, complexity=0.757), complexity_threshold=0.599
    )
    row = next(row for row in signal_rows(decision) if row.name == "Complexity")
    assert (row.value, row.threshold) == ("0.75", "threshold 0.59")
    assert signal_summary(decision).startswith("score 0.75,")


def test_titles_that_fold_begin_where_the_others_do(show: Show) -> None:
    card = DecisionCard(a_result())
    show(card)
    titles = {
        label.text(): label for label in card.findChildren(QLabel) if label.text() == "Cost on each side"
    }
    left = titles["Cost on each side"].mapTo(card, QPoint(0, 0)).x()
    for fold in card.findChildren(Fold):
        assert fold.button.mapTo(card, QPoint(0, 0)).x() == left
        ink = first_ink(fold.button)
        assert ink <= theme().px(5), "the caret's own room, and no style sheet's"


def first_ink(widget: QWidget) -> int:
    """The first column, in px, that is not the ground."""
    image = widget.grab().toImage()
    ground = image.pixel(image.width() - 1, 0)
    columns = (
        x for x in range(image.width()) if any(image.pixel(x, y) != ground for y in range(image.height()))
    )
    return next(columns)


@pytest.mark.parametrize("make", [ErrorCard, ShortCard])
def test_one_long_word_of_a_server_does_not_widen_a_card(
    themed: QApplication, make: type[ErrorCard | ShortCard]
) -> None:
    """The card stands where answers do: all of them became as wide as its word, with their buttons out of sight."""
    card = make("It was refused", f"The server said: {'y' * 5000}.", ("Retry", lambda: None))
    assert card.minimumSizeHint().width() < theme().px(400)
    assert card.accessibleDescription() == f"The server said: {'y' * 5000}."


def test_a_word_that_fits_on_a_line_is_copied_as_it_is(themed: QApplication) -> None:
    path = "/home/somebody/" + "folder/" * 10
    assert label(path, wrap=True, selectable=True).text() == path
    assert "\u200b" in label("y" * 200, wrap=True).text()


@pytest.mark.parametrize("by", ["keys", "menu"])
def test_a_long_word_is_copied_as_it_was_given(show: Show, by: str) -> None:
    key = "sk-" + "y" * 200
    words = label(f"The key {key} is refused.\nSecond line", wrap=True, selectable=True)
    log = Sentence(f"error: {key}", role="mono")
    log.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    for made, text in ((words, f"The key {key} is refused.\nSecond line"), (log, f"error: {key}")):
        show(made)
        assert isinstance(made, CopiedLabel)
        made.select_all()
        assert made.hasSelectedText()
        QGuiApplication.clipboard().setText("before")
        if by == "keys":
            QTest.keyClick(made, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
        else:
            place = made.rect().center()
            event = QContextMenuEvent(QContextMenuEvent.Reason.Mouse, place, made.mapToGlobal(place))
            QApplication.sendEvent(made, event)
            [menu] = made.findChildren(QMenu)
            next(action for action in menu.actions() if action.text() == "Copy").trigger()
            menu.close()
        assert QGuiApplication.clipboard().text() == text
