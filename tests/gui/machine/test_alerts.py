"""The list of alerts, what can be done about each, and the thresholds behind them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMenu

from core import Alert
from gui.machine.alerts_pane import AlertsPane
from gui.machine.controller import MachineController
from gui.shell.local_words import pressing_alerts
from tests.support.fake_shell import FakeShell
from tests.support.fake_watch import an_alert, gpu, machine_sample
from tests.support.panel_loop import Panel, panel_on_qt


@pytest.fixture
def panel(qapp: QApplication, home: Path) -> Iterator[Panel]:
    with panel_on_qt(qapp, home) as panel:
        yield panel


def shown(panel: Panel, home: Path) -> AlertsPane:
    shell = FakeShell(panel.bridge, home)
    return panel.show(AlertsPane(shell, MachineController(panel.bridge)), 620, 700)


def test_alerts_are_listed_and_acknowledged_and_say_what_became_of_them(panel: Panel, home: Path) -> None:
    async def body() -> None:
        watch = panel.core.machine
        await panel.start()
        pane = shown(panel, home)
        assert pane.empty.isVisible()
        over = an_alert("heat", title="Temperature over 80 °C", ended_at=datetime.now(UTC), action="restart")
        watch.alert(an_alert(), over)
        await panel.until(lambda: len(pane.rows) == 2)
        assert not pane.empty.isVisible()
        row = pane.rows["vram-0"]
        assert row.accessibleName().startswith("VRAM over 85 %. GPU 0 has used 91 % of its 24.0 GB")
        assert row.acknowledge.accessibleName() == "Acknowledge: VRAM over 85 %"
        assert pane.rows["heat"].act.isHidden()  # there is nothing to be done about it any more
        QTest.keyClick(row.acknowledge, Qt.Key.Key_Return)
        await panel.until(row.acknowledge.isHidden)
        assert ("acknowledge", "vram-0") in watch.calls
        assert "acknowledged" in row.accessibleName()
        watch.alert()
        await panel.until(pane.empty.isVisible)

    panel.run(body())


def test_an_alert_is_snoozed_for_an_hour_or_for_today(panel: Panel, home: Path) -> None:
    async def body() -> None:
        watch = panel.core.machine
        watch.alert(an_alert())
        await panel.start()
        pane = shown(panel, home)
        await panel.until(lambda: len(pane.rows) == 1)
        row = pane.rows["vram-0"]
        for place in range(2):
            row.snooze.click()
            menu = QApplication.activePopupWidget()
            assert isinstance(menu, QMenu)
            menu.actions()[place].trigger()
            menu.close()
            await panel.until(lambda: len(watch.calls) == place + 1)  # noqa: B023
        hour, today = (call[2] for call in watch.calls)
        assert hour == 60.0
        assert isinstance(today, float)
        assert 0 < today <= 25 * 60
        watch.alert(replace(an_alert(), snoozed_until=datetime.now(UTC) + timedelta(hours=1)))
        await panel.until(row.snooze.isHidden)
        assert "snoozed until" in row.accessibleName()
        # Whether a snooze is over is the watch's to say, here as in the bell and at the page's icon.
        past = replace(an_alert(), snoozed_until=datetime.now(UTC) - timedelta(seconds=1))
        watch.alert(past)
        await panel.until(lambda: row.alert == past)
        assert row.snooze.isHidden()
        assert pressing_alerts([row.alert]) == []

    panel.run(body())


@pytest.mark.parametrize(
    ("action", "call"),
    [("drain", ("drain_local", True)), ("restart", ("restart_local",)), ("start", ("start_local", "auto"))],
)
def test_an_alerts_action_is_done_by_its_button(
    panel: Panel, home: Path, action: str, call: tuple[object, ...]
) -> None:
    async def body() -> None:
        panel.core.machine.alert(_with_action(action))
        await panel.start()
        pane = shown(panel, home)
        await panel.until(lambda: len(pane.rows) == 1)
        pane.rows["vram-0"].act.click()
        await panel.until(lambda: call in panel.core.calls)
        if action == "drain":
            await panel.until(pane.undrain.isVisible)
            assert pane.drained.text.startswith("Everything goes to the API.")
            pane.undrain.click()
            await panel.until(pane.undrain.isHidden)
            assert panel.core.calls[-1] == ("drain_local", False)

    panel.run(body())


def _with_action(action: str) -> Alert:
    return an_alert(action=action)


def test_thresholds_are_levers_in_force_at_once_and_put_back(panel: Panel, home: Path) -> None:
    async def body() -> None:
        await panel.start()
        pane = shown(panel, home)
        thresholds = pane.thresholds
        assert thresholds is not None
        lever, back = thresholds.levers["vram_alert_percent"], thresholds.put_backs["vram_alert_percent"]
        assert (lever.value, lever.tag.text) == (85, "Default")
        assert back.isHidden()
        pane.show_detail("vram_alert_percent")
        QTest.keyClick(lever.slider, Qt.Key.Key_Right)
        await panel.until(lambda: panel.core.settings.current.vram_alert_percent == 86)
        await panel.until(lambda: lever.tag.text == "Set here")
        back.click()
        await panel.until(lambda: lever.tag.text == "Default")
        assert panel.core.settings.current.vram_alert_percent == 85

    panel.run(body())


def test_the_temperature_stands_under_the_cards_own_limit_until_it_is_set(panel: Panel, home: Path) -> None:
    async def body() -> None:
        await panel.start()
        pane = shown(panel, home)
        assert pane.thresholds is not None
        lever = pane.thresholds.levers["temperature_alert_c"]
        panel.core.machine.sample(machine_sample(gpu(slowdown_temperature_c=93.0)))
        await panel.until(lambda: lever.value == 90)
        assert panel.core.settings.current.temperature_alert_c is None
        QTest.keyClick(lever.slider, Qt.Key.Key_Left)
        await panel.until(lambda: panel.core.settings.current.temperature_alert_c == 89)

    panel.run(body())


def test_a_webhook_that_is_no_address_is_refused_and_stays_typed(panel: Panel, home: Path) -> None:
    async def body() -> None:
        await panel.start()
        pane = shown(panel, home)
        thresholds = pane.thresholds
        assert thresholds is not None
        QTest.keyClicks(thresholds.webhook.edit, "hooks.example")
        QTest.keyClick(thresholds.webhook.edit, Qt.Key.Key_Return)
        await panel.until(lambda: thresholds.trouble.text.startswith("Not changed."))
        assert thresholds.webhook.edit.text() == "hooks.example"
        thresholds.webhook.edit.selectAll()
        QTest.keyClicks(thresholds.webhook.edit, "https://hooks.example/abc")
        QTest.keyClick(thresholds.webhook.edit, Qt.Key.Key_Return)
        await panel.until(lambda: str(panel.core.settings.current.alert_webhook_url or "").endswith("/abc"))
        await panel.until(thresholds.trouble.isHidden)

    panel.run(body())
