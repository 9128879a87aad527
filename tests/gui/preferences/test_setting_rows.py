"""Setting rows: what is typed holds at once, what is refused stays typed, and the origin is always told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from core import with_thousands
from core.services.setting_check import SettingDoubt
from core.settings import NamesNothing, SettingsStore
from gui.preferences.catalogue import SETTINGS
from gui.preferences.page import PreferencesView
from gui.preferences.rows import SettingRow
from gui.theme.theme import theme
from gui.widgets.fields import ChoiceField, PathField, SwitchField, TextField
from tests.support.panel_loop import Panel


def row_of(page: PreferencesView, name: str) -> SettingRow:
    page.show_section(SETTINGS[name].section, name)
    section = page.section(SETTINGS[name].section)
    assert section is not None
    row = section.anchors[name]
    assert isinstance(row, SettingRow)
    return row


def enter(row: SettingRow, text: str) -> None:
    assert isinstance(row.field, TextField)
    row.field.edit.setFocus()
    row.field.edit.selectAll()
    QTest.keyClicks(row.field.edit, text)
    QTest.keyClick(row.field.edit, Qt.Key.Key_Return)


def test_a_number_typed_holds_for_the_next_request_and_is_kept(panel: Panel, home: Path) -> None:
    async def body() -> None:
        await panel.start()
        row = row_of(panel.show(PreferencesView(panel.bridge)), "max_tokens_per_request")
        assert row.tag.text == "Default"
        assert not row.put_back.isEnabled()
        enter(row, "2,048")
        await panel.until(lambda: row.tag.text == "Set here")
        assert panel.core.settings.current.max_tokens_per_request == 2048
        assert json.loads((home / "settings.json").read_text())["max_tokens_per_request"] == 2048
        assert row.put_back.isEnabled()
        row.put_back.click()
        await panel.until(lambda: row.tag.text == "Default")
        assert panel.core.settings.current.max_tokens_per_request == 1024
        assert isinstance(row.field, TextField)
        assert row.field.edit.text() == "1,024"

    panel.run(body())


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("project_spend_limits", "website"),
        ("spend_alert_percents", "50,120"),
        ("max_tokens_per_request", "lots"),
        ("spend_limit_dollars", "-1"),
        ("complexity_threshold", "1.5"),
        ("vllm_base_url", "ftp://nowhere"),
    ],
)
def test_a_refused_entry_stays_typed_and_says_why_under_the_field(panel: Panel, name: str, bad: str) -> None:
    async def body() -> None:
        await panel.start()
        row = row_of(panel.show(PreferencesView(panel.bridge)), name)
        before = getattr(panel.core.settings.current, name)
        enter(row, bad)
        await panel.until(lambda: bool(row.problem_text))
        assert isinstance(row.field, TextField)
        assert row.field.edit.text() == bad
        assert row.problem_text.startswith(f"{SETTINGS[name].label} must be ")
        assert name.upper() not in row.problem_text
        assert row.problem.isVisible()
        assert getattr(panel.core.settings.current, name) == before
        # Another change elsewhere must not wipe what is being corrected here.
        panel.core.settings.set("enable_fallback", not panel.core.settings.current.enable_fallback)
        assert row.field.edit.text() == bad
        QTest.keyClick(row.field.edit, Qt.Key.Key_Escape)
        assert row.problem_text == ""
        assert row.field.edit.text().replace(",", "") == str(before).replace(",", "")
        assert panel.core.settings.origin(name) == "default"

    panel.run(body())


def test_half_an_entry_survives_a_change_elsewhere(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        row = row_of(panel.show(PreferencesView(panel.bridge)), "routing_threshold")
        assert isinstance(row.field, TextField)
        row.field.edit.setFocus()
        row.field.edit.selectAll()
        QTest.keyClicks(row.field.edit, "12")
        panel.core.settings.set("routing_mode", "local-first")
        assert row.field.edit.text() == "12"
        QTest.keyClicks(row.field.edit, "3")
        QTest.keyClick(row.field.edit, Qt.Key.Key_Return)
        await panel.until(lambda: panel.core.settings.current.routing_threshold == 123)

    panel.run(body())


def test_the_last_of_two_quick_entries_holds(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        row = row_of(panel.show(PreferencesView(panel.bridge)), "vllm_model")
        held: list[str | None] = []
        panel.core.settings.on_change(lambda settings: held.append(settings.vllm_model))
        enter(row, "first")
        assert isinstance(row.field, TextField)
        row.field.edit.clear()  # before the first one has been answered
        QTest.keyClick(row.field.edit, Qt.Key.Key_Return)
        await panel.until(lambda: held == ["first", None])
        await panel.until(lambda: row.tag.text == "Default")
        assert row.field.edit.text() == ""

    panel.run(body())


def test_a_corrected_entry_takes_its_message_away(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        row = row_of(panel.show(PreferencesView(panel.bridge)), "routing_threshold")
        enter(row, "x")
        await panel.until(lambda: bool(row.problem_text))
        enter(row, "12")
        await panel.until(lambda: panel.core.settings.current.routing_threshold == 12)
        await panel.until(lambda: row.problem_text == "")
        assert row.tag.text == "Set here"

    panel.run(body())


def test_the_environment_wins_and_says_so(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        monkeypatch.setenv("SPEND_LIMIT_DOLLARS", "25")
        panel.core.settings.reload()
        await panel.start()
        row = row_of(panel.show(PreferencesView(panel.bridge)), "spend_limit_dollars")
        assert isinstance(row.field, TextField)
        assert row.field.edit.isReadOnly()
        assert row.field.edit.text() == "25"
        assert row.tag.text == "Environment"
        assert "locked" in row.tag.accessibleName()
        assert row.note.text().startswith("SPEND_LIMIT_DOLLARS is set in the environment")
        enter(row, "9")
        assert panel.core.settings.current.spend_limit_dollars == 25

    panel.run(body())


def test_an_emptied_optional_field_is_not_set(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        row = row_of(panel.show(PreferencesView(panel.bridge)), "vllm_model")
        enter(row, "tiny")
        await panel.until(lambda: panel.core.settings.current.vllm_model == "tiny")
        assert isinstance(row.field, TextField)
        row.field.edit.clear()
        QTest.keyClick(row.field.edit, Qt.Key.Key_Return)
        await panel.until(lambda: panel.core.settings.current.vllm_model is None)
        await panel.until(lambda: row.tag.text == "Default")

    panel.run(body())


def test_choices_and_switches_hold_at_once(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        page = panel.show(PreferencesView(panel.bridge))
        mode = row_of(page, "routing_mode")
        assert isinstance(mode.field, ChoiceField)
        index = mode.field.box.findData("local-only")
        mode.field.box.setCurrentIndex(index)
        mode.field.box.activated.emit(index)
        await panel.until(lambda: panel.core.settings.current.routing_mode == "local-only")
        await panel.until(lambda: "Nothing leaves" in mode.note.text())
        fallback = row_of(page, "enable_fallback")
        assert isinstance(fallback.field, SwitchField)
        fallback.field.box.click()
        await panel.until(lambda: panel.core.settings.current.enable_fallback is False)

    panel.run(body())


def test_a_settings_file_that_cannot_be_written_is_told(panel: Panel, home: Path) -> None:
    async def body() -> None:
        await panel.start()
        row = row_of(panel.show(PreferencesView(panel.bridge)), "routing_threshold")
        (home / "settings.json").mkdir()  # a folder in the file's place: nobody can write that, root neither
        enter(row, "7")
        await panel.until(lambda: bool(row.problem_text))
        assert isinstance(row.field, TextField)
        assert row.field.edit.text() == "7"
        assert panel.core.settings.current.routing_threshold == 3000

    panel.run(body())


def test_the_file_chooser_opens_without_a_nested_loop_and_fills_the_field(panel: Panel, home: Path) -> None:
    async def body() -> None:
        await panel.start()
        row = row_of(panel.show(PreferencesView(panel.bridge)), "local_model_path")
        assert isinstance(row.field, PathField)
        model = home / "other.gguf"
        model.write_bytes(b"GGUF")
        row.field.choose.click()  # comes back at once: exec() would hang here
        dialog = row.field.dialog
        assert dialog is not None
        assert dialog.isVisible()
        dialog.fileSelected.emit(str(model))
        dialog.close()
        await panel.until(lambda: panel.core.settings.current.local_model_path == model)

    panel.run(body())


def test_every_setting_has_a_row_or_a_key_card(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        page = panel.show(PreferencesView(panel.bridge))
        for info in panel.core.settings.describe():
            if info.secret:
                section = page.section("providers")
                assert section is not None
                cards = [card.text.setting for card in section.cards.values()]  # type: ignore[attr-defined]
                assert info.name in cards
            else:
                row = row_of(page, info.name)
                assert row.accessible_name  # said by a screen reader

    panel.run(body())


@pytest.mark.parametrize(
    ("name", "typed", "kept"),
    [
        ("project_spend_limits", "website=50, research=12.50", "website=50, research=12.50"),
        ("spend_alert_percents", "90, 100", "90, 100"),
    ],
)
def test_a_list_is_a_text_field_that_shows_its_form(panel: Panel, name: str, typed: str, kept: str) -> None:
    async def body() -> None:
        await panel.start()
        row = row_of(panel.show(PreferencesView(panel.bridge)), name)
        assert "such as" in row.note.text()
        enter(row, typed)
        await panel.until(lambda: row.tag.text == "Set here")
        assert getattr(panel.core.settings.current, name) == kept

    panel.run(body())


@pytest.mark.parametrize("name", ["metrics_port", "daily_token_budget", "request_deadline_s"])
def test_an_optional_number_is_a_number_field_that_can_be_emptied(panel: Panel, name: str) -> None:
    async def body() -> None:
        await panel.start()
        row = row_of(panel.show(PreferencesView(panel.bridge)), name)
        assert isinstance(row.field, TextField)
        assert row.field.edit.alignment() & Qt.AlignmentFlag.AlignRight
        enter(row, "9,400")
        await panel.until(lambda: row.tag.text == "Set here")
        assert getattr(panel.core.settings.current, name) == 9400
        row.field.edit.selectAll()
        QTest.keyClick(row.field.edit, Qt.Key.Key_Delete)
        QTest.keyClick(row.field.edit, Qt.Key.Key_Return)
        await panel.until(lambda: getattr(panel.core.settings.current, name) is None)

    panel.run(body())


def test_words_for_every_setting_are_up_to_date(home: Path) -> None:
    names = {info.name for info in SettingsStore(home).describe() if not info.secret}
    assert set(SETTINGS) == names


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("from 0 to 1000000000", "from 0 to 1,000,000,000"),
        ("http://127.0.0.1:18080/v1", "http://127.0.0.1:18080/v1"),
        ("cannot be '99999999'", "cannot be '99999999'"),
        ("claude-sonnet-4-6-20260501", "claude-sonnet-4-6-20260501"),
    ],
)
def test_only_plain_numbers_get_thousands_separators(text: str, shown: str) -> None:
    assert with_thousands(text) == shown


def test_a_large_zoom_in_a_small_window_cuts_no_field_off(panel: Panel) -> None:
    async def body() -> None:
        theme().set_zoom(1.5)
        await panel.start()
        row = row_of(panel.show(PreferencesView(panel.bridge), 1024, 640), "routing_mode")
        await panel.settle()
        assert row.field.height() >= row.field.sizeHint().height()

    try:
        panel.run(body())
    finally:
        theme().set_zoom(1.0)


def test_a_model_that_is_not_there_is_said_at_its_row_and_nothing_is_applied(panel: Panel) -> None:
    panel.core.checked = NamesNothing(
        "The API has no model claude-nope.",
        name="anthropic_model",
        value="claude-nope",
        allowed="the name of a model",
        hint="It has claude-opus-5. Nothing was changed.",
    )

    async def body() -> None:
        await panel.start()
        row = row_of(panel.show(PreferencesView(panel.bridge)), "anthropic_model")
        before = panel.core.settings.current.anthropic_model
        enter(row, "claude-nope")
        await panel.until(lambda: row.problem.tone == "danger")
        assert row.problem_text.startswith("The API has no model claude-nope. It has claude-opus-5.")
        assert not row.anyway.isVisible()
        assert panel.core.settings.current.anthropic_model == before
        panel.core.checked = None
        enter(row, "claude-opus-5")
        await panel.until(lambda: panel.core.settings.current.anthropic_model == "claude-opus-5")
        await panel.until(lambda: not row.problem_text)

    panel.run(body())


def test_what_could_not_be_looked_at_is_the_user_s_to_decide(panel: Panel) -> None:
    panel.core.checked = SettingDoubt(message="It couldn't be checked.", hint="Requests may fail.")

    async def body() -> None:
        await panel.start()
        row = row_of(panel.show(PreferencesView(panel.bridge)), "anthropic_model")
        before = panel.core.settings.current.anthropic_model
        enter(row, "claude-mine")
        await panel.until(row.anyway.isVisible)
        assert row.problem_text == "It couldn't be checked. Requests may fail."
        assert panel.core.settings.current.anthropic_model == before
        QTest.keyClick(row.anyway, Qt.Key.Key_Space)
        await panel.until(lambda: panel.core.settings.current.anthropic_model == "claude-mine")
        await panel.until(lambda: not row.anyway.isVisible())
        assert not row.problem_text

    panel.run(body())
