"""The page itself: finding a setting, sections by keyboard, and the sections that aren't settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QSettings, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QComboBox, QLineEdit, QSlider, QWidget

from core.doctor.checks import Finding
from core.local.server import ServerState
from gui.preferences.about_section import AboutSection
from gui.preferences.appearance_section import AppearanceSection
from gui.preferences.catalogue import SECTIONS, find, places
from gui.preferences.data_section import DataSection, describe_path
from gui.preferences.local_section import LocalSection
from gui.preferences.page import PreferencesPage, PreferencesView
from gui.shell.pages import Target
from gui.theme.appearance import keep_appearance, panel_file, restore_appearance
from gui.theme.theme import theme
from gui.widgets.finding import ended
from gui.widgets.fold import Fold
from tests.support.fake_core import MemoryKeyring, ledger_problem
from tests.support.fake_shell import FakeShell
from tests.support.panel_loop import Panel


@pytest.fixture(autouse=True)
def looks_as_before() -> object:
    yield
    theme().set_zoom(1.0)
    theme().set_scheme("system")
    theme().set_reduced_motion(None)


def test_before_the_core_is_there_the_page_waits_and_then_opens(panel: Panel) -> None:
    async def body() -> None:
        page = panel.show(PreferencesView(panel.bridge))
        page.show_section("spend")
        assert page.section("spend") is None
        await panel.start()
        await panel.until(lambda: page.stack.currentWidget() is page.section("spend"))

    panel.run(body())


def test_searching_finds_a_setting_and_enter_goes_to_its_field(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        page = panel.show(PreferencesView(panel.bridge))
        page.search.setFocus()
        QTest.keyClicks(page.search, "budget dollars")
        assert [page.list.item(i).text() for i in range(page.list.count())][:2] == [
            "Monthly limit",
            "Daily limit",
        ]
        QTest.keyClick(page.search, Qt.Key.Key_Return)
        assert page.current_section == "spend"
        focused = page.focusWidget()
        assert isinstance(focused, QLineEdit)
        assert focused.accessibleName() == "Monthly limit"
        assert page.search.text() == ""
        assert page.list.currentItem().text() == "Spend"

    panel.run(body())


def test_searching_for_nothing_known_says_so(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        page = panel.show(PreferencesView(panel.bridge))
        page.search.setText("xyzzy")
        assert page.nothing.isVisible()
        assert page.list.count() == 0
        QTest.keyClick(page.search, Qt.Key.Key_Return)
        QTest.keyClick(page.search, Qt.Key.Key_Escape)
        assert page.list.count() == len(SECTIONS)
        assert page.nothing.isHidden()

    panel.run(body())


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("dark", "Theme"),
        ("SPEND_LIMIT_DOLLARS", "Monthly limit"),
        ("gguf", "Model file"),
        ("claude", "Anthropic model"),
        ("vllm_api_key", "vLLM key"),
    ],
)
def test_settings_are_found_by_their_words_and_variables(query: str, first: str, home: Path) -> None:
    from core.settings import SettingsStore

    everything = places(SettingsStore(home).describe())
    assert find(everything, query)[0].label == first
    labels = [(place.section, place.label) for place in everything]
    assert len(set(labels)) == len(labels), "what is found can be told apart"


def test_down_goes_from_the_search_to_what_it_found_and_esc_comes_back(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        page = panel.show(PreferencesView(panel.bridge))
        page.search.setFocus()
        QTest.keyClicks(page.search, "limit")
        QTest.keyClick(page.search, Qt.Key.Key_Down)
        assert page.window().focusWidget() is page.list
        assert [item.text() for item in page.list.selectedItems()] == ["Monthly limit"]
        QTest.keyClick(page.list, Qt.Key.Key_Escape)
        assert page.window().focusWidget() is page.search
        assert page.list.count() == len(SECTIONS)

    panel.run(body())


def test_arrows_go_through_the_sections(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        page = panel.show(PreferencesView(panel.bridge))
        page.list.setFocus()
        for text in SECTIONS[1:]:
            QTest.keyClick(page.list, Qt.Key.Key_Down)
            assert page.current_section == text.id
            assert page.stack.currentWidget() is page.section(text.id)

    panel.run(body())


def test_every_control_has_a_name_for_a_screen_reader(panel: Panel, memory_keyring: MemoryKeyring) -> None:
    async def body() -> None:
        await panel.start()
        page = panel.show(PreferencesView(panel.bridge))
        for text in SECTIONS:
            page.show_section(text.id)
            section = page.section(text.id)
            assert section is not None
            kinds = (QAbstractButton, QLineEdit, QComboBox, QSlider)
            nameless = [
                child
                for child in section.findChildren(QWidget)
                if isinstance(child, kinds)
                and not child.accessibleName()
                and not getattr(child, "text", str)()
            ]
            # The spin of a combo box's own popup and the like have no name and are no stop for Tab.
            assert [child for child in nameless if child.focusPolicy() != Qt.FocusPolicy.NoFocus] == []

    panel.run(body())


def test_looks_are_chosen_kept_and_found_again(panel: Panel, home: Path) -> None:
    async def body() -> None:
        await panel.start()
        page = panel.show(PreferencesView(panel.bridge))
        page.show_section("appearance")
        section = page.section("appearance")
        assert isinstance(section, AppearanceSection)
        section.scheme.segment("dark").click()
        assert theme().is_dark
        section.zoom.setValue(12)
        assert theme().zoom == pytest.approx(1.2)
        section.motion.click()
        assert theme().reduced_motion
        kept = panel_file(home)
        assert (kept.value("appearance/theme"), str(kept.value("appearance/zoom_percent"))) == ("dark", "120")
        theme().set_zoom(1.1)  # as Ctrl+minus does it
        assert str(kept.value("appearance/zoom_percent")) == "110"
        theme().set_reduced_motion(None)
        keep_appearance(home.parent)  # else what follows is kept as well
        theme().set_scheme("light")
        theme().set_zoom(1.0)
        restore_appearance(home)
        assert theme().scheme == "dark"
        assert theme().zoom == pytest.approx(1.1)
        assert theme().reduced_motion
        assert section.scheme.value == "dark"  # changed elsewhere, shown here

    panel.run(body())


def test_a_spoilt_looks_file_does_not_stop_the_start(home: Path) -> None:
    kept: QSettings = panel_file(home)
    kept.setValue("appearance/theme", "mauve")
    kept.setValue("appearance/zoom_percent", "huge")
    kept.setValue("appearance/reduced_motion", "perhaps")
    kept.sync()
    theme().set_zoom(1.3)
    restore_appearance(home)
    assert theme().scheme == "system"
    assert theme().zoom == pytest.approx(1.0)


def test_the_local_servers_state_leads_to_the_machine_page(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        shell = FakeShell(panel.bridge, panel.core.home)
        page = PreferencesPage(shell)
        panel.show(page.view)
        page.show(Target("preferences", "local", "control"))
        section = page.view.section("local")
        assert isinstance(section, LocalSection)
        assert section.state_word.text() == "Stopped"
        assert page.view.window().focusWidget() is section.machine
        section.machine.click()
        assert shell.opened == [Target("machine", "server")]
        failed = ServerState(phase="failed", kind="embedded", detail="exited with code 1")
        panel.core.publish(local=failed)
        await panel.until(lambda: section.lamp.state == "failed")
        assert "exited with code 1" in section.state_line.text()

    panel.run(body())


def test_a_new_ledger_is_offered_only_when_the_old_one_is_broken(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        page = panel.show(PreferencesView(panel.bridge))
        page.show_section("data")
        section = page.section("data")
        assert isinstance(section, DataSection)
        assert section.broken.isHidden()
        panel.core.publish(problems=(ledger_problem(),))
        await panel.until(section.broken.isVisible)
        section.new_ledger.click()
        assert section.dialog is not None
        assert section.dialog.keep.isDefault()
        assert ("set_ledger_aside",) not in panel.core.calls
        section.dialog.do.click()
        await panel.until(lambda: "aside-1" in section.broken_result.text)
        assert section.new_ledger.isHidden()

    panel.run(body())


def test_paths_are_told_with_their_size(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"x" * 1500)
    assert describe_path(file) == f"{file} · 1.5 KB"
    assert describe_path(tmp_path / "none").endswith("not there yet")


@pytest.mark.parametrize(
    ("fact", "sentence"),
    [("is it running?", "Is it running?"), ("not found", "Not found."), ("/home/me/x", "/home/me/x.")],
)
def test_facts_become_sentences(fact: str, sentence: str) -> None:
    assert ended(fact) == sentence


def test_about_copies_versions_and_shows_what_the_check_found(panel: Panel) -> None:
    async def body() -> None:
        panel.core.findings = [
            Finding(component="Python", state="works", version="3.11.7"),
            Finding(component="Docker", state="missing", hint="Install Docker.", needed=False),
        ]
        await panel.start()
        page = panel.show(PreferencesView(panel.bridge))
        page.show_section("about")
        section = page.section("about")
        assert isinstance(section, AboutSection)
        await panel.until(section.copy.isEnabled)
        section.copy.click()
        assert "PySide6-Essentials 6." in QGuiApplication.clipboard().text()
        section.check.click()
        await panel.until(section.findings.isVisible)
        section.check.click()  # a second check replaces the first one's lines
        await panel.until(section.check.isEnabled)
        assert section.findings.body.count() == 3

    panel.run(body())


@pytest.mark.parametrize(("width", "height", "zoom"), [(944, 592, 1.0), (944, 592, 1.5), (1200, 752, 1.2)])
def test_nothing_is_cut_off_sideways(
    panel: Panel, memory_keyring: MemoryKeyring, width: int, height: int, zoom: float
) -> None:
    async def body() -> None:
        theme().set_zoom(zoom)
        await panel.start()
        page = panel.show(PreferencesView(panel.bridge), width, height)
        for text in SECTIONS:
            page.show_section(text.id)
            section = page.section(text.id)
            assert section is not None
            await panel.until(section.isVisible)
            if isinstance(section, AboutSection):
                await panel.until(section.copy.isEnabled)
            await panel.settle()
            inner = section.widget()
            assert inner.width() <= section.viewport().width(), text.id

    panel.run(body())


def test_tab_goes_through_each_section_from_top_to_bottom(
    panel: Panel, memory_keyring: MemoryKeyring
) -> None:
    async def body() -> None:
        memory_keyring.set_password("signalbox", "anthropic", "sk-ant-api03-0123456789abcdef")
        await panel.start()
        page = panel.show(PreferencesView(panel.bridge))
        for text in SECTIONS:
            page.show_section(text.id)
            section = page.section(text.id)
            assert section is not None
            for fold in section.findChildren(Fold):
                fold.set_open(True)
            await panel.settle()
            stops = tab_stops(page)
            assert stops[:2] == [page.search, page.list]
            inside = [stop for stop in stops if section.isAncestorOf(stop)]
            tops = [stop.mapTo(section.widget(), stop.rect().center()).y() for stop in inside]
            lines = [round(top / 24) for top in tops]
            assert lines == sorted(lines), (text.id, [stop.accessibleName() for stop in inside])

    panel.run(body())


def tab_stops(page: PreferencesView) -> list[QWidget]:
    """What Tab visits, in its order, from the search field on."""
    stops: list[QWidget] = []
    stop: QWidget = page.search
    while stop not in stops:
        stops.append(stop)
        stop = stop.nextInFocusChain()
        while stop is not page.search and not (
            stop.isVisible() and stop.isEnabled() and stop.focusPolicy() & Qt.FocusPolicy.TabFocus
        ):
            stop = stop.nextInFocusChain()
    return stops


def test_a_databases_size_includes_what_waits_beside_it(tmp_path: Path) -> None:
    database = tmp_path / "conversations.sqlite3"
    database.write_bytes(bytes(1000))
    (tmp_path / "conversations.sqlite3-wal").write_bytes(bytes(2000))
    (tmp_path / "conversations.sqlite3-shm").write_bytes(bytes(500))
    assert describe_path(database) == f"{database} · 3.5 KB"
