"""Whoever is led to a row finds it in front, marked and ready to be typed into, and has a way back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit, QPushButton, QWidget

from core.services.status import Problem
from gui.pages import PAGES
from gui.preferences.local_section import LocalSection
from gui.preferences.page import PreferencesPage, PreferencesView
from gui.preferences.rows import AdvancedFold, SettingRow
from gui.shell.pages import Target
from gui.shell.window import Window
from gui.widgets.fields import TextField
from gui.widgets.labels import ResultLine
from tests.gui.preferences.test_setting_rows import enter, row_of
from tests.support.panel_loop import Panel, panel_on_qt


@pytest.fixture
def panel(qapp: QApplication, home: Path) -> Iterator[Panel]:
    with panel_on_qt(qapp, home) as running:
        yield running


@pytest.fixture(autouse=True)
def folds_as_at_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gui.widgets.fold._open", {})


async def opened(panel: Panel) -> tuple[Window, PreferencesView]:
    await panel.start()
    window = panel.show(Window(panel.bridge, panel.core.home, PAGES), 1280, 720)
    window.open(Target("chat"))
    await window.start()
    window.open(Target("chat"))
    page = window.page("preferences")
    assert isinstance(page, PreferencesPage)
    return window, page.view


def is_in_sight(view: PreferencesView, widget: QWidget) -> bool:
    section = view.stack.currentWidget()
    return section is not None and not widget.visibleRegion().isEmpty() and section.isAncestorOf(widget)


@pytest.mark.parametrize(
    "name",
    ["daily_spend_limit_dollars", "ops_dollars_per_hour", "max_waiting_requests", "vllm_model", "ledger_url"],
)
def test_a_row_that_is_asked_for_is_in_sight_focused_selected_and_marked(panel: Panel, name: str) -> None:
    async def body() -> None:
        panel.core.settings.set("spend_alert_percents", "70")
        window, view = await opened(panel)
        window.open(Target("preferences", detail=name))
        await panel.settle()
        row = row_of_now(view, name)
        section = view.section(view.current_section)
        assert section is not None
        for above in section.findChildren(ResultLine):
            if not section.mark.isAncestorOf(above) and not row.isAncestorOf(above):
                above.tell("held", "", "What comes later may push the row down. " * 8)
        assert isinstance(row.field, TextField)
        edit = row.field.edit
        await panel.until(lambda: is_in_sight(view, edit))
        assert window.focusWidget() is edit
        assert edit.selectedText() == edit.text()
        assert section.mark.row is row
        assert section.mark.isVisible()
        inner = section.widget()
        assert inner is not None
        await panel.until(lambda: section.mark.geometry().contains(place_in(inner, row)))
        assert is_in_sight(view, edit)

    panel.run(body())


def row_of_now(view: PreferencesView, name: str) -> SettingRow:
    section = view.section(view.current_section)
    assert section is not None
    row = section.anchors[name]
    assert isinstance(row, SettingRow)
    return row


def place_in(column: QWidget, row: QWidget) -> QRect:
    return QRect(row.mapTo(column, QPoint(0, 0)), row.size())


@pytest.mark.parametrize("way", ["button", "key"])
def test_the_way_back_leads_to_where_the_user_was(panel: Panel, way: str) -> None:
    async def body() -> None:
        window, view = await opened(panel)
        before = window.focusWidget()
        window.open(Target("preferences", "spend", "spend_limit_dollars"))
        assert view.back.isVisible()
        assert view.back.text() == "Back to the chat"
        if way == "button":
            view.back.click()
        else:
            QTest.keyClick(window.focusWidget(), Qt.Key.Key_Left, Qt.KeyboardModifier.AltModifier)
        assert window.page_in_front.id == "chat"
        assert window.focusWidget() is before

    panel.run(body())


def test_who_came_by_the_rail_needs_no_way_back_and_finds_the_page_as_it_was_left(panel: Panel) -> None:
    async def body() -> None:
        window, view = await opened(panel)
        window.open(Target("preferences", "spend", "spend_limit_dollars"))
        view.list.setFocus()
        window.open(Target("chat"))
        window.open(Target("preferences"))
        assert view.back.isHidden() or not view.back.isVisible()
        assert view.current_section == "spend"
        assert window.focusWidget() is view.list, "the row was shown once, and is not asked for again"

    panel.run(body())


def test_the_button_of_a_problem_leads_to_its_row(panel: Panel) -> None:
    async def body() -> None:
        window, view = await opened(panel)
        problem = Problem(
            kind="limit", title="Not read", message="", hint="", setting="runaway_requests_per_minute"
        )
        panel.core.publish(problems=(problem,))
        await panel.until(window.notices.isVisible)
        button = next(b for b in window.notices.findChildren(QPushButton) if b.text() == "Open the limits")
        button.click()
        assert window.focusWidget() is row_of_now(view, "runaway_requests_per_minute").field.focusProxy()

    panel.run(body())


def test_a_search_unfolds_what_it_finds_and_finds_by_unit_and_variable(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        page = panel.show(PreferencesView(panel.bridge))
        for query, name in (
            ("kWh", "Electricity"),
            ("OPS_HOURS_PER_MONTH", "Hours of care"),
            ("months", "Life"),
        ):
            page.search.setFocus()
            page.search.clear()
            QTest.keyClicks(page.search, query)
            assert page.list.item(0).text().startswith(name)
            QTest.keyClick(page.search, Qt.Key.Key_Return)
            focused = page.focusWidget()
            assert isinstance(focused, QLineEdit)
            assert focused.accessibleName().startswith(name)
            assert focused.isVisible()

    panel.run(body())


def test_what_few_people_touch_is_folded_and_says_what_is_changed_in_it(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        page = panel.show(PreferencesView(panel.bridge))
        page.show_section("spend")
        section = page.section("spend")
        assert section is not None
        fold = section.findChild(AdvancedFold)
        assert fold is not None
        assert not fold.body.isVisible()
        folded = [row for row in fold.findChildren(SettingRow)]
        assert fold.button.summary == f"{len(folded)} settings"
        visible = [row for row in section.findChildren(SettingRow) if row.isVisible()]
        assert 4 <= len(visible) <= 8
        panel.core.settings.set("local_watts", 350)
        await panel.until(lambda: fold.button.summary == f"{len(folded)} settings, 1 changed")

    panel.run(body())


def test_refused_entries_are_named_above_and_outside_and_lead_to_their_rows(panel: Panel) -> None:
    async def body() -> None:
        window, view = await opened(panel)
        window.open(Target("preferences"))
        assert view.trouble.isHidden()
        limit = row_of(view, "spend_limit_dollars")
        enter(limit, "-5")
        await panel.until(view.trouble.isVisible)
        enter(row_of(view, "complexity_threshold"), "7")
        await panel.until(lambda: len(view.trouble.buttons) == 2)
        first, second = view.trouble.buttons
        assert (first.text(), second.text()) == ("Monthly limit", "Complexity threshold")
        first.click()
        assert window.focusWidget() is limit.field.focusProxy()
        window.open(Target("chat"))
        titles = [notice.title for notice in window.page("preferences").notices(in_front=False)]
        assert titles == ["Monthly limit is not changed", "Complexity threshold is not changed"]
        lamp = window.page("preferences").lamp
        assert lamp is not None
        assert "2 entries" in lamp.words
        window.open(Target("preferences"))
        assert isinstance(limit.field, TextField)
        assert limit.field.edit.text() == "-5", "what was typed is kept for who comes back"
        enter(row_of(view, "complexity_threshold"), "0.7")
        row_of(view, "spend_limit_dollars").put_back.click()
        assert limit.field.edit.text() == "500"
        await panel.until(lambda: not view.trouble.isVisible())
        assert window.page("preferences").lamp is None

    panel.run(body())


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("routing_threshold", "-1", "Daily local requests must be a whole number, 0 or more. “-1” is not."),
        ("routing_threshold", "2000000000", "must be a whole number of at most 1,000,000,000."),
        ("spend_limit_dollars", "1e3", "Monthly limit must be an amount, 0 or more, such as 500 or 12.50."),
        ("ledger_url", "postgresql://me:secret@db/x", "Ledger database: an address with a password in it"),
        ("gpu_life_months", "0", "Life of the purchase must be a whole number from 1 to 600."),
        (
            "connect_timeout_s",
            "0",
            "Connecting must be a number from 0.1 to 300. “0” is not. Until then 10 stays",
        ),
    ],
)
def test_an_error_is_told_in_the_rows_words(panel: Panel, name: str, typed: str, said: str) -> None:
    async def body() -> None:
        await panel.start()
        row = row_of(panel.show(PreferencesView(panel.bridge)), name)
        assert "1,000,000,000" not in row.note.text()
        enter(row, typed)
        await panel.until(lambda: bool(row.problem_text))
        assert said in row.problem_text
        assert "secret" not in row.problem_text

    panel.run(body())


def test_a_value_in_a_file_that_cannot_be_read_is_told_at_its_row_until_it_is_mended(
    panel: Panel, home: Path
) -> None:
    async def body() -> None:
        (home / ".env").write_text("LOCAL_MAX_WAIT_S=soon\n")
        panel.core.settings.reload()
        await panel.start()
        view = panel.show(PreferencesView(panel.bridge))
        row = row_of(view, "local_max_wait_s")
        assert row.problem_text.startswith(
            "Longest wait before the API: “soon” in the .env file (LOCAL_MAX_WAIT_S)"
        )
        assert [button.text() for button in view.trouble.buttons] == ["Longest wait before the API"]
        (home / ".env").write_text("LOCAL_MAX_WAIT_S=3\n")
        panel.core.settings.reload()
        await panel.until(lambda: row.problem_text == "")
        assert view.trouble.isHidden()

    panel.run(body())


def test_the_mark_goes_by_itself(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        monkeypatch.setattr("gui.preferences.row_mark.MARK_MS", 1)
        await panel.start()
        page = panel.show(PreferencesView(panel.bridge))
        page.show_section("spend", "spend_limit_dollars")
        section = page.section("spend")
        assert section is not None
        await panel.until(section.mark.isHidden)
        assert section.mark.row is None

    panel.run(body())


def test_what_is_typed_when_the_window_closes_is_kept(panel: Panel) -> None:
    async def body() -> None:
        window, _ = await opened(panel)
        window.open(Target("preferences", detail="spend_limit_dollars"))
        QTest.keyClicks(window.focusWidget(), "42")
        assert panel.core.settings.current.spend_limit_dollars == 500
        await window.stop()  # and the focus never left the field
        assert panel.core.settings.current.spend_limit_dollars == 42

    panel.run(body())


def test_from_the_local_server_its_address_is_one_press_away(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        view = panel.show(PreferencesView(panel.bridge))
        view.show_section("local")
        section = view.section("local")
        assert isinstance(section, LocalSection)
        section.of_a_server.click()
        assert view.current_section == "providers"
        assert view.focusWidget() is row_of_now(view, "vllm_base_url").field.focusProxy()

    panel.run(body())
