"""What the Data section asks about files: a folder's ``.env`` to trust, and a settings.json that broke."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtWidgets import QLabel

from core.settings import SettingsStore
from gui.preferences.data_section import DataSection
from gui.preferences.page import PreferencesView
from tests.support.panel_loop import Panel


async def data_section(panel: Panel) -> DataSection:
    await panel.start()
    page = panel.show(PreferencesView(panel.bridge))
    page.show_section("data", "trust")
    await panel.until(lambda: page.section("data") is not None)
    section = page.section("data")
    assert isinstance(section, DataSection)
    return section


def folder_dotenv(panel: Panel, tmp_path: Path, text: str) -> Path:
    """Let the panel run in a stranger's folder."""
    path = tmp_path / "cloned" / ".env"
    path.parent.mkdir()
    path.write_text(text)
    panel.core.settings = SettingsStore(panel.core.home, dotenv_path=path)
    return path


def test_a_folders_file_is_shown_with_names_and_values_and_trusted_by_a_button(
    panel: Panel, tmp_path: Path
) -> None:
    path = folder_dotenv(
        panel, tmp_path, "VLLM_BASE_URL=http://<b>x\nVLLM_API_KEY=very-secret-key\nSPEND_LIMIT_DOLLARS=5000\n"
    )

    async def body() -> None:
        section = await data_section(panel)
        assert section.trust.isVisible()
        shown = "\n".join(line.text() for line in section.trust.findChildren(QLabel))
        assert str(path) in shown
        assert "VLLM_BASE_URL=http://<b>x" in shown
        assert "SPEND_LIMIT_DOLLARS=5000 (it is 500)" in shown
        assert "very-secret" not in shown
        section.trust.not_now.click()
        assert section.trust.isHidden()
        path.write_text("SPEND_LIMIT_DOLLARS=6000\n")
        panel.core.settings.reload()
        await panel.until(section.trust.isVisible)
        section.trust.trust.click()
        await panel.until(lambda: "is trusted" in section.trust.result.text)
        assert panel.core.settings.current.spend_limit_dollars == 6000
        assert section.trust.buttons.isHidden()

    panel.run(body())


def test_a_link_can_be_looked_at_and_not_trusted(panel: Panel, tmp_path: Path) -> None:
    path = folder_dotenv(panel, tmp_path, "METRICS_PORT=9999\n")
    path.rename(tmp_path / "target")
    path.symlink_to(tmp_path / "target")
    panel.core.settings.reload()

    async def body() -> None:
        section = await data_section(panel)
        assert "it is a link" in section.trust.words.text()
        assert section.trust.trust.isHidden()

    panel.run(body())


@pytest.mark.parametrize("mended", [True, False])
def test_a_broken_settings_file_is_dealt_with(panel: Panel, mended: bool) -> None:
    home = panel.core.home
    (home / "settings.json").write_text('{"daily_spend_limit_dollars": "5"')
    panel.core.settings.reload()

    async def body() -> None:
        section = await data_section(panel)
        card = section.broken_settings
        assert card.isVisible()
        assert "settings.json.broken-1" in card.words.text()
        card.restore.click()
        await panel.until(lambda: "line 1" in card.result.text)
        assert panel.core.settings.closing_problems
        if mended:
            (home / "settings.json.broken-1").write_text('{"daily_spend_limit_dollars": "5"}')
            card.restore.click()
        else:
            card.discard.click()
        await panel.until(lambda: panel.core.settings.closing_problems == ())
        assert panel.core.settings.current.daily_spend_limit_dollars == (5 if mended else None)
        await panel.until(card.buttons.isHidden)
        assert "closed" not in card.accessibleName(), "what the card's title says is over"

    panel.run(body())
