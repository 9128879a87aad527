"""The painted widgets: what they say, how they narrow, that they turn only when seen, that themes repaint them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import shiboken6
from PySide6.QtCore import QCoreApplication, QEvent, QObject, QPoint, QRectF, Qt
from PySide6.QtGui import QCursor, QImage, QPainter
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMenu, QVBoxLayout, QWidget

from core.chat import Estimate
from core.local.server import ServerState
from core.services.status import ApiPhase, ApiStatus, CoreStatus
from gui.shell.header import HeaderStrip, short_model
from gui.shell.local_words import local_words, machine_lamp
from gui.shell.rail import Rail
from gui.theme.theme import theme
from gui.widgets.budget_bar import BudgetBar, BudgetSummary
from gui.widgets.decision_card import DecisionCard
from gui.widgets.icon_button import IconButton
from gui.widgets.marks import LAMP_WORDS, Lamp, paint_lamp
from gui.widgets.money_label import MoneyLabel
from gui.widgets.origin_tag import OriginTag
from gui.widgets.painted_button import settle_after
from gui.widgets.route_badge import RouteBadge
from gui.widgets.route_line import RouteLine
from gui.widgets.segmented import SegmentedSwitch
from tests.gallery import PAGES
from tests.support.examples import (
    API_RESULT,
    COMPLEX,
    EVENTFUL,
    NANO,
    REFUSED,
    REPLAYED,
    UNPRICED,
    a_decision,
    a_result,
    a_status,
)
from tests.support.fake_watch import an_alert

Show = Callable[[QWidget], QWidget]


def test_lamps_differ_by_shape_alone() -> None:
    masks: dict[str, bytes] = {}
    for state in LAMP_WORDS:
        image = QImage(20, 20, QImage.Format.Format_ARGB32_Premultiplied)
        image.fill(Qt.GlobalColor.transparent)
        painter = QPainter(image)
        paint_lamp(painter, QRectF(0, 0, 20, 20), state)
        painter.end()
        alpha = image.convertToFormat(QImage.Format.Format_Alpha8)
        masks[state] = bytes(255 if value > 128 else 0 for value in alpha.constBits().tobytes())
    assert len(set(masks.values())) == len(LAMP_WORDS)


def test_a_busy_lamp_turns_only_while_it_can_be_seen(show: Show, qapp: QApplication) -> None:
    lamp = Lamp("busy")
    turn = lamp._turn  # pyright: ignore[reportPrivateUsage]
    assert not turn.turning
    show(lamp)
    assert turn.turning
    theme().set_reduced_motion(True)
    assert not turn.turning
    theme().set_reduced_motion(False)
    assert turn.turning
    lamp.hide()
    qapp.processEvents()
    assert not turn.turning
    lamp.show()
    lamp.set_state("ready")
    qapp.processEvents()
    assert not turn.turning
    assert lamp.accessibleName() == "Ready"


@pytest.mark.parametrize(
    ("nano", "kind", "said"),
    [
        (187_420_000_000, "settled", "$187.42"),
        (1_860_000_000, "held", "$1.86 held"),
        (4_700_000, "estimate", "About $0.0047"),
        (20_000, "settled", "<$0.0001"),
        (None, "settled", "Unpriced"),
        (None, "estimate", "Unpriced"),
        (1_900_000, "loaded", "$0.0019 loaded"),
        (None, "loaded", "No charge"),
    ],
)
def test_a_cost_says_what_kind_it_is_and_unknown_is_never_zero(
    nano: int | None, kind: str, said: str
) -> None:
    label = MoneyLabel()
    label.set_cost(nano, kind)  # type: ignore[arg-type]
    assert label.accessibleName() == said
    if nano is None:
        assert "0" not in label.accessibleName()
    assert label.sizeHint().width() > 20


def test_no_charge_says_where_the_machines_own_cost_is_set() -> None:
    label = MoneyLabel()
    label.set_cost(None, "loaded")
    assert "isn't set" in label.toolTip()
    assert "Preferences, Spend" in label.toolTip()


def test_the_budget_bar_speaks_and_shows_the_smallest_hold() -> None:
    bar = BudgetBar()
    bar.resize(300, 12)
    bar.set_amounts(0, 1, 500 * NANO)
    assert "free of $500" in bar.accessibleDescription()
    with_hold = bar.grab().toImage()
    bar.set_amounts(0, 0, 500 * NANO)
    assert with_hold != bar.grab().toImage()
    bar.set_amounts(5, 0, None)
    assert "no limit" in bar.accessibleDescription()
    bar.set_amounts(0, 0, 0)
    bar.grab()


# -- segmented switch --------------------------------------------------------------------------------


@pytest.fixture
def switch(show: Show) -> SegmentedSwitch:
    made = SegmentedSwitch([("auto", "Auto", None), ("local", "Local", "cpu"), ("api", "API", "cloud")])
    show(made)
    return made


def test_arrows_and_clicks_choose_a_segment(switch: SegmentedSwitch) -> None:
    heard: list[str] = []
    switch.value_changed.connect(heard.append)
    switch.segment("auto").setFocus()
    QTest.keyClick(switch.segment("auto"), Qt.Key.Key_Right)
    assert switch.value == "local"
    QTest.mouseClick(switch.segment("api"), Qt.MouseButton.LeftButton)
    assert switch.value == "api"
    assert heard == ["local", "api"]


def test_setting_a_value_is_silent_and_an_unknown_one_an_error(switch: SegmentedSwitch) -> None:
    heard: list[str] = []
    switch.value_changed.connect(heard.append)
    switch.set_value("api")
    assert switch.value == "api"
    assert heard == []
    with pytest.raises(ValueError, match="mars"):
        switch.set_value("mars")


def test_choosing_moves_no_segment(switch: SegmentedSwitch) -> None:
    before = [switch.segment(value).geometry() for value in ("auto", "local", "api")]
    switch.set_value("api")
    switch.updateGeometry()
    assert [switch.segment(value).geometry() for value in ("auto", "local", "api")] == before
    assert switch.height() == 28


# -- header and rail ---------------------------------------------------------------------------------


def shown_texts(strip: HeaderStrip, pill: str) -> list[str]:
    return [run.text or run.kind for run in strip.pills[pill].shown()]


def in_a_page(show: Show) -> HeaderStrip:
    """A strip that can be as narrow as its page: a window's own layout would hold it at what it needs."""
    page = QWidget()
    page.resize(1500, 100)
    strip = HeaderStrip(page)
    show(page)
    return strip


def test_the_strip_narrows_names_first_then_bars_never_states_or_figures(show: Show) -> None:
    strip = in_a_page(show)
    strip.set_title("Chat")
    strip.resize(1200, 48)
    strip.set_status(a_status())
    assert "qwen2.5-coder-14b" in shown_texts(strip, "local")
    assert "sonnet-4-6" in shown_texts(strip, "api")
    seen: list[tuple[bool, bool, bool]] = []
    for width in range(1200, 600, -10):
        strip.resize(width, 48)
        texts = {name: shown_texts(strip, name) for name in strip.pills}
        assert {"Local", "Ready"} <= set(texts["local"])
        assert {"API", "Key set"} <= set(texts["api"])
        assert {"847", "of 3,000"} <= set(texts["requests"])
        assert {"$187.42", "of $500"} <= set(texts["spend"])
        seen.append(
            ("sonnet-4-6" in texts["api"], "qwen2.5-coder-14b" in texts["local"], "bar" in texts["spend"])
        )
    # Each leaves once and never comes back while narrowing, the API's name first, the bars last.
    order = list(dict.fromkeys(seen))
    assert order == [(True, True, True), (False, True, True), (False, False, True), (False, False, False)]


def test_a_start_whose_estimate_is_over_has_no_0_seconds() -> None:
    assert local_words(ServerState(phase="starting", kind="embedded", progress=0.96, eta_s=0.2)) == (
        "busy",
        "Starting, 96 %",
        "any moment",
        "",
    )


def test_a_server_that_is_well_again_has_not_failed_whatever_its_alert_says() -> None:
    ready = ServerState(phase="ready", kind="embedded", model="tiny")
    failed = an_alert(kind="server_failed", gpu=None)
    assert local_words(ready, alerts=[failed]) == ("ready", "Ready", "tiny", "")
    assert machine_lamp(ready, [failed]) is None
    hot = an_alert(kind="temperature")
    assert local_words(ready, alerts=[failed, hot])[1:3] == ("Ready, alert", "hot")


CROWDED = replace(
    a_status(
        ServerState(phase="starting", kind="embedded", progress=0.62, eta_s=70),
        ApiStatus(phase="unreachable", model="m", detail="retry in 22 s"),
        today=3000,
        spent=1_312_400_000_000,
    ),
    month="September",
)


CLOSED = replace(
    CROWDED, api=ApiStatus(phase="closed", model="m", detail="DAILY_SPEND_LIMIT_DOLLARS can't be read")
)
UNREADABLE = replace(CROWDED, local_requests_today=None, budget=None)


@pytest.mark.parametrize("zoom", [0.9, 1.0, 1.1, 1.25, 1.5])
@pytest.mark.parametrize(
    "status", [a_status(), CROWDED, CLOSED, UNREADABLE], ids=["calm", "full", "closed", "none"]
)
def test_every_pill_is_whole_in_the_smallest_window(show: Show, zoom: float, status: CoreStatus) -> None:
    unit = theme()
    unit.set_zoom(zoom)
    strip = in_a_page(show)
    strip.set_title("Preferences")
    beside_px = unit.px(80) + 2 * unit.px(28) + 12  # the rail, and the two buttons of the corner
    strip.resize(1024 - beside_px, unit.px(48))
    strip.set_status(status)
    QApplication.processEvents()  # the pills take their new widths
    end = 0
    for pill in strip.pills.values():
        assert pill.width() >= pill.sizeHint().width()
        assert pill.geometry().left() >= end
        assert pill.height() == unit.px(32)
        end = pill.geometry().right()
    assert end <= strip.width()
    texts = {run.text for pill in strip.pills.values() for run in pill.shown()}
    states = {strip.pills[name].accessibleName().split(": ")[1] for name in ("local", "api")}
    assert states <= texts


def test_labels_are_shortened_before_a_limit_goes(show: Show) -> None:
    theme().set_zoom(1.5)
    strip = in_a_page(show)
    strip.resize(1400, 72)
    strip.set_status(CROWDED)
    seen: list[tuple[bool, bool]] = []
    for width in range(1400, 700, -10):
        strip.resize(width, 72)
        texts = shown_texts(strip, "spend")
        assert "$1,312.40" in texts
        seen.append(("September" in texts, "of $500" in texts))
    assert list(dict.fromkeys(seen)) == [(True, True), (False, True), (False, False)]
    assert strip.pills["spend"].accessibleName() == "September: $1,312.40 of $500"


def test_states_set_the_border_and_the_words() -> None:
    strip = HeaderStrip()
    strip.set_status(
        a_status(
            ServerState(phase="failed", kind="embedded", detail="out of memory"),
            ApiStatus(phase="rate_limited", model="m", detail="until 14:32"),
            spent=494_100_000_000,
        )
    )
    assert strip.pills["local"].tone == "danger"
    assert strip.pills["local"].accessibleName() == "Local: Failed"
    assert "out of memory" in strip.pills["local"].accessibleDescription()
    assert strip.pills["api"].tone == "held"
    assert strip.pills["spend"].tone == "danger"
    strip.set_status(a_status(ServerState(phase="starting", kind="embedded", progress=0.62, eta_s=70)))
    assert strip.pills["local"].accessibleName() == "Local: Starting, 62 %"
    assert strip.pills["local"].accessibleDescription() == "1 min 10 s left"
    assert strip.pills["local"].tone == ""


def test_an_unreadable_ledger_is_not_zero() -> None:
    strip = HeaderStrip()
    strip.set_status(a_status(budget=False))
    assert strip.pills["spend"].accessibleName() == "June: not available"
    assert not any("$" in run.text for run in strip.pills["spend"].shown())


def test_the_months_figure_is_what_was_spent_and_its_bar_all_that_counts(show: Show) -> None:
    strip = in_a_page(show)
    strip.resize(1400, 48)
    status = a_status(spent=312_000_000, held=0)
    assert status.budget is not None
    counted = replace(status.budget, unpriced_count=3, unpriced_nanodollars=251_300_000)
    strip.set_status(replace(status, budget=replace(counted, limit_nanodollars=NANO)))
    assert "$0.0607 + 3 unpriced" in shown_texts(strip, "spend")
    said = strip.pills["spend"].accessibleDescription()
    assert said == "$0.0607 spent, 3 unpriced (counted at up to $0.2513), $0.6880 free of $1"
    (bar,) = [run for run in strip.pills["spend"].shown() if run.kind == "bar"]
    assert bar.share + bar.held == pytest.approx(0.312)


def test_a_pill_is_pressed_by_mouse_and_by_enter(show: Show) -> None:
    strip = HeaderStrip()
    show(strip)
    strip.set_status(a_status())
    heard: list[str] = []
    strip.pill_clicked.connect(heard.append)
    QTest.mouseClick(strip.pills["spend"], Qt.MouseButton.LeftButton)
    QTest.keyClick(strip.pills["api"], Qt.Key.Key_Return)
    assert heard == ["spend", "api"]


@pytest.mark.parametrize(
    ("model", "short"),
    [("claude-sonnet-4-6-20260501", "sonnet-4-6"), ("qwen", "qwen"), ("", ""), (None, ""), ("claude-", "")],
)
def test_a_pill_shows_the_models_family(model: str | None, short: str) -> None:
    assert short_model(model) == short


def test_the_rail_chooses_by_click_and_key_and_tells_of_lamps(show: Show) -> None:
    rail = Rail(PAGES[:-1], PAGES[-1:])
    rail.resize(80, 700)
    show(rail)
    heard: list[str] = []
    rail.page_chosen.connect(heard.append)
    QTest.keyClick(rail, Qt.Key.Key_3, Qt.KeyboardModifier.ControlModifier)
    rail.set_page("lab")
    assert heard == ["spend"]
    rail.set_lamp("machine", "alert", "VRAM 91 %")
    items = {item.accessibleName(): item for item in rail.findChildren(QWidget) if item.accessibleName()}
    assert items["Machine"].accessibleDescription() == "VRAM 91 %"
    assert items["Preferences"].geometry().bottom() > 600
    assert items["Chat"].geometry().top() == 56


def test_a_low_window_keeps_every_page_reachable(show: Show) -> None:
    theme().set_zoom(1.5)
    rail = Rail(PAGES[:-1], PAGES[-1:])
    rail.resize(120, 640 - 40)
    show(rail)
    items = [item for item in rail.findChildren(QWidget) if item.accessibleName() and item.height() > 1]
    assert len(items) == len(PAGES)
    for item in items:
        assert item.height() >= 24
        assert item.geometry().bottom() <= rail.height()


# -- route badge and line ----------------------------------------------------------------------------


def test_the_badge_says_side_reason_and_figures() -> None:
    badge = RouteBadge()
    badge.set_result(API_RESULT)
    assert badge.accessibleName() == "API: Complex: asks for a JSON schema"
    assert "2,140 in, 1,820 cached · 512 out" in badge.accessibleDescription()
    assert "$0.0147" in badge.accessibleDescription()
    badge.set_result(UNPRICED)
    assert "unpriced" in badge.accessibleDescription()
    assert "$" not in badge.accessibleDescription()
    badge.set_result(a_result(loaded_nanodollars=None))
    assert "no charge" in badge.accessibleDescription()
    badge.set_result(a_result(usage=None, ttft_ms=None))
    assert "Tokens not reported" in badge.accessibleDescription()
    badge.set_result(a_result(usage_estimated=True))
    assert "~186 out" in badge.accessibleDescription()
    stopped = replace(API_RESULT, usage_estimated=True)
    badge.set_result(stopped)
    assert "~$0.0147" in badge.accessibleDescription()
    badge.set_result(replace(stopped, usage=None, cost_nanodollars=None, unresolved_nanodollars=20_000_000))
    assert "up to $0.0200 not settled" in badge.accessibleDescription()
    assert "unpriced" not in badge.accessibleDescription()
    badge.set_failed("Broke off", REFUSED)
    assert badge.accessibleName().startswith("Not sent")


@pytest.mark.parametrize("key", [Qt.Key.Key_Space, Qt.Key.Key_Return, Qt.Key.Key_Enter])
def test_a_button_that_is_an_icon_is_pressed_by_enter_too(show: Show, key: Qt.Key) -> None:
    button, pressed = IconButton("copy", "Copy"), list[bool]()
    button.clicked.connect(lambda: pressed.append(True))
    show(button)
    button.setFocus()
    QTest.keyClick(button, key)
    assert len(pressed) == 1
    button.setEnabled(False)
    QTest.keyClick(button, key)
    assert len(pressed) == 1


def test_streaming_is_announced_once_not_per_token() -> None:
    badge = RouteBadge()
    badge.set_decision(COMPLEX)
    before = badge.accessibleName(), badge.accessibleDescription()
    for tokens in (1, 50, 214):
        badge.set_streaming(tokens, 74.0, 16_700_000)
    assert (badge.accessibleName(), badge.accessibleDescription()) == before


def test_the_badge_says_what_happened_on_the_way() -> None:
    badge = RouteBadge()
    badge.set_result(EVENTFUL)
    said = badge.accessibleDescription()
    assert "waited 8.62 s, retried, repaired, asked again" in said
    assert "up to $0.0167 not settled" in said
    badge.set_result(REPLAYED)
    assert "replayed, not paid again" in badge.accessibleDescription()
    badge.set_result(API_RESULT)
    assert "waited" not in badge.accessibleDescription()


def test_the_badge_opens_and_keeps_its_height(show: Show) -> None:
    badge = RouteBadge()
    badge.set_result(a_result())
    heard: list[int] = []
    badge.opened.connect(lambda: heard.append(1))
    show(badge)
    QTest.keyClick(badge, Qt.Key.Key_Return)
    QTest.mouseClick(badge, Qt.MouseButton.LeftButton)
    assert heard == [1, 1]
    assert badge.sizeHint().height() == 26
    assert badge.minimumHeight() <= 26


def test_the_route_line_speaks_and_swings_at_once_when_motion_is_reduced(show: Show) -> None:
    theme().set_reduced_motion(True)
    line = RouteLine()
    line.resize(800, 34)
    show(line)
    line.set_decision(a_decision())
    local = line.grab().toImage()
    line.set_decision(COMPLEX)
    assert line.accessibleName() == "API: Complex: asks for a JSON schema"
    assert line.accessibleDescription() == "Local ~$0.0006, API ~$0.0047"
    assert line.grab().toImage() != local
    line.set_decision(
        a_decision(local_estimate=Estimate(model=None, cost_nanodollars=None, hold_nanodollars=0))
    )
    assert "Local No charge" in line.accessibleDescription()
    line.set_decision(None)
    assert "Type a prompt" in line.accessibleDescription()


def test_the_route_line_says_what_would_happen_and_prices_only_a_side_that_can_take_it() -> None:
    line = RouteLine()
    line.set_decision(REFUSED)
    assert line.accessibleName() == f"Would be refused: {REFUSED.reason}"
    assert line.accessibleDescription() == "Local –, API –"
    no_key = "Unavailable: API has no key"
    line.set_decision(a_decision(rule="unavailable", reason=no_key, api_available=False))
    assert line.accessibleDescription() == "Local ~$0.0006, API –"
    line.set_decision(a_decision(local_available=False, side="api", rule="complex"))
    assert line.accessibleDescription() == "Local –, API ~$0.0047"
    assert "Local is not available" in line.toolTip().replace(" (SmolLM2-135M)", "")
    forced = replace(
        REFUSED, signals=replace(REFUSED.signals, force="local"), reason="Local unavailable: stopped"
    )
    line.set_decision(forced)
    assert line.accessibleDescription() == "Local –, API ~$0.0047"
    images = "Can't serve: Local doesn't take images"
    line.set_decision(a_decision(side="api", rule="forced", local_refuses=images))
    assert line.accessibleDescription() == "Local –, API ~$0.0047"
    assert images in line.toolTip()
    line.set_decision(a_decision(side="api", rule="forced", api_available=False))
    assert line.accessibleDescription() == "Local ~$0.0006, API ~$0.0047", "it is sent, and may be paid"
    for said in (line.accessibleName(), line.accessibleDescription(), line.toolTip()):
        assert "Not sent" not in said


def test_typing_never_moves_the_figures_of_the_route_line() -> None:
    line = RouteLine()
    line.resize(800, 34)
    line.set_decision(a_decision(reason="Simple: short"))
    short = line.grab().toImage().copy(600, 0, 200, 34)
    line.set_decision(a_decision(reason="Simple: " + "long " * 200))
    assert line.grab().toImage().copy(600, 0, 200, 34) == short


# -- all of them -------------------------------------------------------------------------------------


def _make(kind: str) -> QWidget:
    if kind == "summary":
        summary = BudgetSummary()
        summary.set_amounts(5 * NANO, NANO, 500 * NANO, held_count=1)
        return summary
    if kind == "badge":
        badge = RouteBadge()
        badge.set_result(a_result())
        return badge
    if kind == "line":
        line = RouteLine()
        line.set_decision(a_decision())
        return line
    if kind == "header":
        strip = HeaderStrip()
        strip.set_status(a_status())
        return strip
    if kind == "money":
        label = MoneyLabel()
        label.set_cost(NANO, "held")
        return label
    if kind == "switch":
        return SegmentedSwitch([("a", "A", None), ("b", "B", "cpu")])
    return {
        "lamp": Lamp("ready"),
        "tag": OriginTag("environment", locked=True),
        "rail": Rail(PAGES[:-1], PAGES[-1:]),
    }[kind]


@pytest.mark.parametrize(
    "kind", ["summary", "badge", "line", "header", "money", "switch", "lamp", "tag", "rail"]
)
def test_a_theme_switch_repaints_and_a_zoom_resizes(kind: str, show: Show, qapp: QApplication) -> None:
    widget = _make(kind)
    show(widget)
    light = widget.grab().toImage()
    small = widget.sizeHint()
    theme().set_scheme("dark")
    qapp.processEvents()
    assert widget.grab().toImage() != light
    theme().set_zoom(1.5)
    qapp.processEvents()
    assert widget.sizeHint().height() > small.height()


@pytest.mark.parametrize("zoom", [1.0, 1.5])
def test_the_budgets_legend_takes_a_second_line_and_cuts_nothing(show: Show, zoom: float) -> None:
    theme().set_zoom(zoom)
    page = QWidget()
    column = QVBoxLayout(page)
    summary = BudgetSummary()
    summary.set_amounts(251 * NANO, 13 * NANO, 500 * NANO, held_count=12, asked=156 * NANO)
    column.addWidget(summary)
    column.addStretch(1)
    page.resize(1400, 300)
    show(page)
    wide = summary.height()
    page.resize(420, 300)
    QApplication.processEvents()
    assert summary.height() >= wide + theme().px(20)
    legend = summary.findChildren(QWidget)[-1]
    assert legend.height() == legend.heightForWidth(legend.width())
    assert "asked for" in legend.accessibleName()


@pytest.mark.parametrize("stays", [True, False])
def test_the_hover_leaves_a_button_with_the_pointer_though_its_popup_was_open(
    show: Show, monkeypatch: pytest.MonkeyPatch, stays: bool
) -> None:
    page = QWidget()
    badge = RouteBadge(page)
    show(page)
    card = DecisionCard(a_result(), page)
    card.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    card.popup_at(badge)
    badge.setAttribute(Qt.WidgetAttribute.WA_UnderMouse)
    inside = badge.mapToGlobal(badge.rect().center())
    monkeypatch.setattr(QCursor, "pos", lambda: inside if stays else inside + QPoint(900, 700))
    card.close()
    assert badge.underMouse() == stays


def test_a_button_that_goes_with_its_open_popup_is_no_accident(qapp: QApplication) -> None:
    page = QWidget()
    badge = RouteBadge(page)
    page.show()
    DecisionCard(a_result(), page).popup_at(badge)
    shiboken6.delete(page)
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert not shiboken6.isValid(badge)


def test_the_focus_given_to_a_switch_is_on_its_chosen_segment(show: Show) -> None:
    switch = SegmentedSwitch([("auto", "Auto", None), ("local", "Local", "cpu"), ("api", "API", "cloud")])
    show(switch)
    switch.setFocus()
    assert switch.segment("auto").hasFocus()
    switch.set_value("api")
    switch.setFocus()
    assert switch.segment("api").hasFocus()
    QTest.keyClick(switch.segment("api"), Qt.Key.Key_Left)
    assert switch.value == "local"
    assert switch.segment("local").hasFocus()


@pytest.mark.parametrize(
    ("phase", "lamp", "word", "tone"),
    [
        ("key_set", "stopped", "Key set", ""),
        ("reachable", "ready", "Ready", ""),
        ("key_refused", "failed", "Key refused", "danger"),
        ("no_credit", "failed", "No credit", "danger"),
        ("not_permitted", "failed", "Not permitted", "danger"),
        ("model_unknown", "failed", "No model", "danger"),
        ("rate_limited", "alert", "Rate limited", "held"),
        ("overloaded", "alert", "Overloaded", "held"),
        ("unreachable", "alert", "Not answering", "held"),
    ],
)
def test_each_state_of_the_api_has_its_word_and_its_lamp(
    phase: ApiPhase, lamp: str, word: str, tone: str
) -> None:
    strip = HeaderStrip()
    strip.set_status(a_status(api=ApiStatus(phase=phase, model="claude-sonnet-4-6")))
    pill = strip.pills["api"]
    assert pill.accessibleName() == f"API: {word}"
    assert [run.name for run in pill.shown() if run.kind == "lamp"] == [lamp]
    assert pill.tone == tone


class PaintCount(QObject):
    count = 0

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        self.count += event.type() == QEvent.Type.Paint
        return False


def test_a_button_is_drawn_again_when_its_menu_closes_away_from_the_pointer(
    show: Show, qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = QWidget()
    button = IconButton("dots-three", "More", parent=page, outlined=True)
    show(page)
    menu = QMenu(page)
    settle_after(menu, button)
    away = button.mapToGlobal(QPoint(900, 700))
    monkeypatch.setattr(QCursor, "pos", lambda: away)
    qapp.processEvents()
    paints = PaintCount()
    button.installEventFilter(paints)
    button.setAttribute(Qt.WidgetAttribute.WA_UnderMouse, False)
    qapp.processEvents()
    assert not paints.count
    menu.aboutToHide.emit()
    qapp.processEvents()
    assert paints.count
