"""A side's own model in the preferences: chosen from what its server lists, or typed."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from core.local.server import ServerState
from gui.preferences.catalogue import SETTINGS
from gui.preferences.model_field import ModelField
from gui.preferences.page import PreferencesView
from gui.preferences.rows import SettingRow
from gui.widgets.model_picker import ModelPicker
from tests.support.panel_loop import Panel


async def opened(panel: Panel, page: PreferencesView, name: str) -> tuple[SettingRow, ModelPicker]:
    page.show_section(SETTINGS[name].section)
    section = page.section(SETTINGS[name].section)
    assert section is not None
    row = section.anchors[name]
    assert isinstance(row, SettingRow)
    assert isinstance(row.field, ModelField)
    page.activateWindow()
    await panel.until(page.isActiveWindow)
    row.field.choose.click()
    assert row.field.picker is not None
    return row, row.field.picker


def words(picker: ModelPicker) -> str:
    model = picker.list.model()
    said = [model.index(n, 0).data(Qt.ItemDataRole.AccessibleTextRole) for n in range(model.rowCount())]
    return "\n".join(said)


def test_the_apis_own_model_is_chosen_from_its_list(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        page = panel.show(PreferencesView(panel.bridge))
        row, picker = await opened(panel, page, "anthropic_model")
        await panel.until(lambda: "Claude Zebra 9" in words(picker))
        assert "SmolLM2" not in words(picker), "the other side has its own row"
        assert "Auto" not in words(picker)
        QTest.keyClicks(picker.search, "zebra")
        QTest.keyClick(picker.search, Qt.Key.Key_Return)
        await panel.until(lambda: row.tag.text == "Set here")
        assert panel.core.settings.current.anthropic_model == "claude-zebra-9"

    panel.run(body())


def test_a_local_model_is_listed_only_by_the_server_it_names_a_model_of(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        page = panel.show(PreferencesView(panel.bridge))
        _, picker = await opened(panel, page, "vllm_model")
        assert "No server at this address is in use" in words(picker)
        await panel.settle()
        assert "SmolLM2" not in words(picker)
        picker.close()
        panel.core.publish(local=ServerState(phase="ready", kind="external", model="SmolLM2-135M-Instruct"))
        await panel.until(
            lambda: panel.bridge.status is not None and panel.bridge.status.local.kind == "external"
        )
        row, picker = await opened(panel, page, "vllm_model")
        await panel.until(lambda: "SmolLM2" in words(picker))
        QTest.keyClick(picker.search, Qt.Key.Key_Return)
        await panel.until(lambda: row.tag.text == "Set here")
        assert panel.core.settings.current.vllm_model == "SmolLM2-135M-Instruct"

    panel.run(body())
