"""The tray's icon and menu, closing to the tray, and alerts on the desktop. The tray itself is the desktop's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QPoint
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication, QCheckBox

from core import ReportRow, ServerState
from gui.pages import PAGES
from gui.shell.background import Background
from gui.shell.desktop_notes import DesktopNotes
from gui.shell.tray import CLOSE_KEY, MINIMISED_KEY, tray_icon, tray_is_there
from gui.shell.window import Window
from gui.theme.appearance import panel_file
from tests.support.fake_watch import an_alert
from tests.support.panel_loop import Panel, panel_on_qt


@pytest.fixture
def panel(qapp: QApplication, home: Path) -> Iterator[Panel]:
    with panel_on_qt(qapp, home) as panel:
        kept = panel_file(home)
        kept.setValue("welcome/seen", True)
        kept.sync()
        yield panel


@pytest.fixture
def a_tray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A desktop that says it has one: what stands in it can't be seen, but all that is ours happens."""
    monkeypatch.setattr("gui.shell.tray.tray_is_there", lambda: True)


def choose(home: Path, key: str) -> None:
    kept = panel_file(home)
    kept.setValue(key, True)
    kept.sync()


async def begun(panel: Panel, home: Path) -> tuple[Window, Background]:
    window = Window(panel.bridge, home, PAGES)
    panel.show(window)
    background = Background(panel.bridge, window, home)
    background.begin()
    await panel.start()
    await window.start()
    return window, background


def spent(nanodollars: int) -> ReportRow:
    counts: dict[str, Any] = dict.fromkeys(
        [
            "requests",
            "attempts",
            "failed",
            "stopped",
            "fell_back",
            "input_tokens",
            "cached_tokens",
            "cache_write_tokens",
            "output_tokens",
            "loaded_nanodollars",
            "unresolved",
            "unresolved_nanodollars",
            "unpriced",
        ],
        0,
    )
    return ReportRow(key="anthropic", cost_nanodollars=nanodollars, **counts)


def same(one: QIcon, other: QIcon) -> bool:
    return one.pixmap(22, 22).toImage() == other.pixmap(22, 22).toImage()


@pytest.mark.usefixtures("a_tray")
def test_the_menu_says_the_state_and_the_money_and_has_the_verbs(panel: Panel, home: Path) -> None:
    async def body() -> None:
        panel.core.ledger.reported = [spent(8_120_000_000)]
        _, background = await begun(panel, home)
        tray = background.tray
        assert tray is not None
        await panel.until(lambda: tray.local_line.text() == "Local: stopped")
        tray.menu.popup(QPoint(0, 0))
        await panel.until(lambda: tray.today_line.text() == "Spent today: $8.12")
        tray.menu.close()
        assert tray.api_line.text().startswith("API: no key")
        assert tray.month_line.text() == "June: not available"
        assert tray.server.text() == "Start the local server"
        assert same(tray.icon.icon(), tray_icon(None, faint=True))
        tray.server.trigger()
        await panel.until(lambda: tray.server.text() == "Stop the local server")
        assert same(tray.icon.icon(), tray_icon(None))
        tray.server.trigger()
        await panel.until(lambda: ("stop_local",) in panel.core.calls)
        tray.drain.trigger()
        drained = ("drain_local", True)
        await panel.until(lambda: panel.core.calls[-1] == drained and tray.drain.isChecked())
        tray.drain.trigger()
        await panel.until(lambda: panel.core.calls[-1] == ("drain_local", False))

    panel.run(body())


@pytest.mark.usefixtures("a_tray")
def test_the_icon_has_a_mark_for_what_needs_somebody(panel: Panel, home: Path) -> None:
    async def body() -> None:
        _, background = await begun(panel, home)
        tray = background.tray
        assert tray is not None
        for phase, mark in (("starting", "busy"), ("failed", "failed")):
            panel.core.publish(local=ServerState(phase=phase, kind="compose"))  # type: ignore[arg-type]
            await panel.until(lambda: same(tray.icon.icon(), tray_icon(mark)))  # type: ignore[arg-type]  # noqa: B023
        panel.core.publish(local=ServerState(phase="ready", kind="compose"))
        panel.core.machine.alert(an_alert())
        await panel.until(lambda: same(tray.icon.icon(), tray_icon("alert")))
        assert "VRAM over 85 %" in tray.icon.toolTip()

    panel.run(body())


@pytest.mark.usefixtures("a_tray")
@pytest.mark.parametrize("is_hidden", [True, False])
def test_closing_hides_the_window_only_where_it_was_chosen_and_quit_ends(
    panel: Panel, home: Path, is_hidden: bool
) -> None:
    async def body() -> None:
        window, background = await begun(panel, home)
        ends: list[bool] = []
        window.closed.connect(lambda: ends.append(True))
        told: list[str] = []
        background.notes.tell = lambda key, title, text: told.append(title)  # type: ignore[method-assign]
        choose(home, CLOSE_KEY)
        window.close()
        assert not window.isVisible()
        window.bring_to_front()
        window.close()
        assert ends == []
        assert told == ["Signalbox is still running"]  # once and for all
        assert background.tray is not None
        background.tray.open_asked.emit()
        assert window.isVisible()
        if is_hidden:
            window.close()
        background.tray.quit_asked.emit()
        assert not window.isVisible()
        assert ends == [True]
        await window.stop()

    panel.run(body())


@pytest.mark.usefixtures("a_tray")
def test_closing_ends_beside_a_tray_where_nothing_was_chosen(panel: Panel, home: Path) -> None:
    async def body() -> None:
        window, background = await begun(panel, home)
        assert background.tray is not None
        ends: list[bool] = []
        window.closed.connect(lambda: ends.append(True))
        window.close()
        assert ends == [True]
        await window.stop()

    panel.run(body())


def test_without_a_tray_closing_ends_whatever_was_chosen(
    panel: Panel, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gui.shell.tray.tray_is_there", lambda: False)

    async def body() -> None:
        choose(home, CLOSE_KEY)
        window, background = await begun(panel, home)
        assert background.tray is None
        ends: list[bool] = []
        window.closed.connect(lambda: ends.append(True))
        window.close()
        assert ends == [True]
        await window.stop()

    panel.run(body())


@pytest.mark.usefixtures("a_tray")
def test_a_start_shows_the_window_unless_it_is_to_start_minimised(panel: Panel, home: Path) -> None:
    async def body() -> None:
        for minimised in (False, True):
            if minimised:
                choose(home, MINIMISED_KEY)
            window = Window(panel.bridge, home, PAGES)
            Background(panel.bridge, window, home).show_window()
            assert window.isVisible() is not minimised
            panel.show(window)
        await panel.start()

    panel.run(body())


@pytest.mark.parametrize("there", [True, False])
def test_both_settings_are_off_and_offered_where_there_is_a_tray(
    panel: Panel, home: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setattr("gui.shell.tray.tray_is_there", lambda: there)

    async def body() -> None:
        from gui.preferences.appearance_section import AppearanceSection
        from gui.preferences.catalogue import SECTIONS

        await panel.start()
        section = panel.show(
            AppearanceSection(next(text for text in SECTIONS if text.id == "appearance"), home)
        )
        close = section.tray_switches[CLOSE_KEY]
        assert isinstance(close, QCheckBox)
        assert (close.isChecked(), close.isEnabled()) == (False, there)
        if there:
            close.click()
            assert panel_file(home).value(CLOSE_KEY, type=bool) is True
            assert panel_file(home).value(MINIMISED_KEY, False, type=bool) is False

    panel.run(body())


# Alerts


def test_an_alert_is_in_the_bell_and_told_once_on_the_desktop_while_we_are_not_in_front(
    panel: Panel, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        in_front = False
        monkeypatch.setattr(QApplication, "activeWindow", lambda: window if in_front else None)
        window, _ = await begun(panel, home)
        told: list[tuple[str, str]] = []
        window.alert_notices.tell = lambda key, title, text: told.append((key, title))
        watch = panel.core.machine
        watch.alert(an_alert())
        await panel.until(lambda: window.bell.accessibleName() == "Notices: 1")
        assert window.notices.text.startswith("VRAM over 85 %. GPU 0 has used 91 %")
        watch.alert(an_alert("heat", title="Hot"), an_alert())
        await panel.until(lambda: window.bell.accessibleName() == "Notices: 2")
        assert told == [("machine-alert-vram-0", "VRAM over 85 %"), ("machine-alert-heat", "Hot")]
        in_front = True
        watch.alert(an_alert("queue", title="Queue"), an_alert(acknowledged=True))
        await panel.until(lambda: window.bell.accessibleName() == "Notices: 1")
        assert len(told) == 2
        in_front = False
        snoozed = an_alert("disk", title="Disk", quiet=True, snoozed_until=datetime.now(UTC))
        watch.alert(snoozed, an_alert("old", title="Told before a restart", quiet=True))
        await panel.until(lambda: window.bell.accessibleName() == "Notices: 1")
        assert len(told) == 2  # quiet: listed, and told to nobody
        watch.alert(an_alert("disk", title="Disk"))  # its snooze is over: news
        await panel.until(lambda: len(told) == 3)
        assert told[2] == ("machine-alert-disk", "Disk")
        await window.stop()

    panel.run(body())


def test_nine_lost_gpus_are_one_notification_and_one_notice(
    panel: Panel, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        monkeypatch.setattr(QApplication, "activeWindow", lambda: None)
        window, _ = await begun(panel, home)
        told: list[tuple[str, str, str]] = []
        window.alert_notices.tell = lambda key, title, text: told.append((key, title, text))
        lost = [an_alert(f"lost-{index}", kind="gpu_lost", title="GPU lost", gpu=index) for index in range(9)]
        panel.core.machine.alert(*lost)
        await panel.until(lambda: bool(told))
        assert [told_of[:2] for told_of in told] == [
            ("machine-alert-lost-0", "9 GPUs do not answer any more")
        ]
        assert told[0][2].startswith("GPU 0, 1, 2, 3, 4, 5, 6, 7 and 8. The first: GPU 0 has")
        assert window.bell.accessibleName() == "Notices: 1"
        await window.stop()

    panel.run(body())


def test_the_real_tray_is_asked_without_harm(qapp: QApplication) -> None:
    assert isinstance(tray_is_there(), bool)


def test_where_no_icon_stands_in_a_tray_the_desktops_portal_is_asked(
    qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, str]] = []

    def portal(key: str, title: str, text: str) -> bool:
        asked.append((key, title, text))
        return True

    monkeypatch.setattr("gui.shell.desktop_notes.tell_by_portal", portal)
    DesktopNotes(lambda: None).tell("machine-alert-heat", "Hot", "GPU 0 is at 90 °C.")
    assert asked == [("machine-alert-heat", "Hot", "GPU 0 is at 90 °C.")]
