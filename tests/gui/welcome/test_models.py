"""Welcome and models: the best one that fits beside the small one, a server that runs here, and how many clicks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton

from core.errors import PermissionDenied, Unavailable
from core.local.server import ServerState
from gui.welcome.page import WelcomeView
from tests.support.fake_models import BEST, MB, OLLAMA, ScriptedShelf, a_download, a_shelf
from tests.support.panel_loop import Panel, panel_on_qt


@pytest.fixture
def panel(qapp: QApplication, home: Path) -> Iterator[Panel]:
    with panel_on_qt(qapp, home) as running:
        yield running


async def welcome(panel: Panel, **changes: object) -> tuple[ScriptedShelf, WelcomeView]:
    models = ScriptedShelf()
    models.now = a_shelf(servers=(), **changes)
    panel.core.local_models = models

    def load(name: str) -> None:
        panel.core.publish(local=ServerState(phase="ready", kind="embedded", model=name))

    models.on_load = load
    await panel.start()
    page = panel.show(WelcomeView(panel.bridge))
    await panel.until(lambda: panel.bridge.shelf is not None)
    return models, page


def test_a_model_that_answers_sensibly_is_two_clicks_away(panel: Panel) -> None:
    async def body() -> None:
        models, page = await welcome(panel)
        opened: list[bool] = []
        clicks: list[str] = []
        page.done.connect(lambda: opened.append(True))

        def click(button: QPushButton) -> None:
            clicks.append(button.text())
            QTest.mouseClick(button, Qt.MouseButton.LeftButton)

        row = page.try_now
        await panel.until(row.get.isVisible)
        assert "Qwen2.5 3B, 2.1 GB: answers sensibly; fits in 15.0 GB of memory" in row.sentence.text()
        click(row.get)
        await panel.until(row.progress.isVisible)
        models.progress(a_download())
        await panel.until(lambda: row.progress.bar.value() == 620)
        await panel.until(lambda: any(call[0] == "use_when_done" for call in models.calls))  # if it is left
        models.finish()
        await panel.until(lambda: row.button.text() == "Open the chat")
        assert row.result.text == "Ready. Qwen2.5 3B answers on this computer."
        assert ("load", "d1") in models.calls
        click(row.button)
        assert opened == [True]
        assert clicks == ["Get Qwen2.5 3B", "Open the chat"]  # three are allowed

    panel.run(body())


def test_the_offer_is_told_while_the_small_one_answers(panel: Panel) -> None:
    async def body() -> None:
        _, page = await welcome(panel)
        row = page.try_now
        await panel.until(row.get.isVisible)
        panel.core.publish(local=ServerState(phase="ready", kind="embedded", model="SmolLM2"))
        await panel.until(lambda: row.ready)
        assert "Better: Qwen2.5 3B, 2.1 GB: answers sensibly" in row.result.text

    panel.run(body())


def test_it_is_paused_and_cancelled_in_its_place_and_the_small_one_stays(panel: Panel) -> None:
    async def body() -> None:
        models, page = await welcome(panel)
        row = page.try_now
        await panel.until(row.get.isVisible)
        row.get.click()
        await panel.until(row.progress.isVisible)
        assert row.button.isVisible()
        row.progress.pause.click()
        await panel.until(lambda: ("pause", "d1") in models.calls)
        await panel.until(lambda: row.progress.pause.accessibleName() == "Resume: Qwen2.5 3B")
        row.progress.cancel.click()
        await panel.until(lambda: not row.progress.isVisible())
        assert row.get.isVisible()

    panel.run(body())


def test_one_that_is_here_already_is_only_loaded(panel: Panel) -> None:
    async def body() -> None:
        models, page = await welcome(panel)
        models.finish()
        models.progress()
        row = page.try_now
        await panel.until(lambda: row.get.text() == "Use Qwen2.5 3B")
        row.get.click()
        await panel.until(lambda: ("load", BEST.id) in models.calls)
        await panel.until(lambda: row.button.text() == "Open the chat")

    panel.run(body())


def test_a_download_that_cannot_begin_says_why(panel: Panel) -> None:
    async def body() -> None:
        models, page = await welcome(panel)
        row = page.try_now
        await panel.until(row.get.isVisible)
        models.error = Unavailable("The hub does not answer.", hint="Try again later. Nothing was kept.")
        row.get.click()
        await panel.until(lambda: "Not started. The hub does not answer." in row.result.text)
        assert row.get.isVisible()

    panel.run(body())


def test_nothing_is_offered_that_does_not_fit_or_has_no_room_on_the_disk(panel: Panel) -> None:
    async def body() -> None:
        models, page = await welcome(panel, free_bytes=900 * MB)
        await panel.settle()
        assert not page.try_now.get.isVisible()
        assert page.try_now.sentence.text().endswith(
            "No room for Qwen2.5 3B: it takes 2.1 GB of disk and 900 MB is free."
        )
        models.put(a_shelf(servers=(), curated=(replace(BEST, fits="too_big"),)))
        await panel.until(lambda: panel.bridge.shelf == models.now)
        assert not page.try_now.get.isVisible()
        assert page.try_now.sentence.text().startswith("A small model on this computer")

    panel.run(body())


def test_a_server_that_runs_here_is_offered_and_used_by_one_click(panel: Panel) -> None:
    async def body() -> None:
        models, page = await welcome(panel)
        assert not page.found.isVisible()
        models.put(a_shelf())
        await panel.until(page.found.isVisible)
        assert page.found.name_label.text() == "Ollama is running here with 5 models. Use it?"
        page.found.button.click()
        await panel.until(lambda: page.found.result.tone == "ok")
        assert ("use_server", OLLAMA.base_url, None) in models.calls
        assert page.skip.text() == "Open the chat"

    panel.run(body())


def test_used_by_keyboard_the_next_enter_opens_the_chat_and_downloads_nothing(panel: Panel) -> None:
    async def body() -> None:
        models, page = await welcome(panel)
        other = replace(OLLAMA, name="LM Studio", base_url="http://127.0.0.1:1234/v1", models=("phi4",))
        models.put(a_shelf(servers=(other, OLLAMA)))
        await panel.until(page.found.isVisible)
        assert page.found.sentence.text().endswith("LM Studio too: Machine, Models")
        page.found.button.setFocus()
        QTest.keyClick(page.found.button, Qt.Key.Key_Space)
        await panel.until(lambda: page.found.result.tone == "ok")
        assert page.found.name_label.text() == "Ollama is the local side"
        assert page.skip.hasFocus()

    panel.run(body())


def test_a_gated_model_leads_to_the_token(panel: Panel) -> None:
    async def body() -> None:
        models, page = await welcome(panel)
        asked: list[bool] = []
        page.try_now.token_asked.connect(lambda: asked.append(True))
        await panel.until(page.try_now.get.isVisible)
        models.error = PermissionDenied("It is gated.", hint="Set a Hugging Face token.")
        page.try_now.get.click()
        await panel.until(page.try_now.token.isVisible)
        assert "It is gated" in page.try_now.result.text
        page.try_now.token.click()
        assert asked

    panel.run(body())
