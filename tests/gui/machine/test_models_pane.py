"""The models pane: servers found, models on disk and to get, downloads, and a delete that can be undone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton

from core.errors import InvalidRequest, PermissionDenied, Unavailable
from core.local.models import ModelShelf
from core.local.server import ServerKind, ServerState
from gui.machine.controller import MachineController
from gui.machine.model_columns import name_cell
from gui.machine.models_pane import ModelsPane
from gui.shell.pages import Target
from gui.widgets.model_words import name_problem, switch_words
from tests.support.fake_models import (
    BEST,
    GB,
    MB,
    MINE,
    OLLAMA,
    SMALL,
    THEIRS,
    ScriptedShelf,
    a_download,
    a_shelf,
)
from tests.support.fake_shell import FakeShell
from tests.support.panel_loop import Panel, panel_on_qt


@pytest.fixture
def panel(qapp: QApplication, home: Path) -> Iterator[Panel]:
    with panel_on_qt(qapp, home) as running:
        yield running


class Shown:
    """The pane over a scripted shelf."""

    def __init__(self, panel: Panel, home: Path, found: ModelShelf | None) -> None:
        self.models = ScriptedShelf(found)
        panel.core.local_models = self.models
        self.shell = FakeShell(panel.bridge, home)
        self.controller = MachineController(panel.bridge)


async def shown(panel: Panel, home: Path, found: ModelShelf | None = None) -> tuple[Shown, ModelsPane]:
    parts = Shown(panel, home, found)
    await panel.start()
    pane = panel.show(ModelsPane(parts.shell, parts.controller), 632, 700)
    await panel.until(lambda: pane.shelf.looked_at is not None)  # it looks when it is seen first
    return parts, pane


def button(pane: ModelsPane, name: str) -> QPushButton:
    return next(
        one for one in pane.findChildren(QPushButton) if one.accessibleName() == name and one.isVisible()
    )


def choose(pane: ModelsPane, row: int) -> None:
    pane.table.selectRow(row)


def test_a_server_that_runs_here_is_used_by_one_click(panel: Panel, home: Path) -> None:
    async def body() -> None:
        parts, pane = await shown(panel, home)
        row = pane._servers[OLLAMA.base_url]  # pyright: ignore[reportPrivateUsage]
        assert row.name.text() == "Ollama is running here with 5 models. Use it?"
        assert row.sentence.text() == (
            "llama3.2, qwen2.5 and 3 more · 2 models that can’t chat left out · http://127.0.0.1:11434/v1"
        )
        button(pane, "Use it: Ollama").click()
        await panel.until(lambda: ("use_server", OLLAMA.base_url, None) in parts.models.calls)
        panel.core.settings.set("vllm_base_url", OLLAMA.base_url)
        panel.core.publish(local=ServerState(phase="ready", kind="external"))
        await panel.until(lambda: row.name.text() == "Ollama is the local side")
        assert not row.button.isVisible()
        await parts.controller.stop()

    panel.run(body())


def test_a_server_that_wants_a_key_leads_to_where_keys_are_kept(panel: Panel, home: Path) -> None:
    async def body() -> None:
        found = a_shelf(servers=(replace(OLLAMA, models=(), wants_key=True),))
        parts, pane = await shown(panel, home, found)
        button(pane, "Add its key: Ollama").click()
        assert parts.shell.opened == [Target("preferences", "providers", "vllm")]

    panel.run(body())


def test_a_model_that_is_loading_says_so_and_cannot_be_used_twice(panel: Panel, home: Path) -> None:
    async def body() -> None:
        parts, pane = await shown(panel, home)
        on_disk = (replace(SMALL, in_use=False), replace(MINE, is_loading=True), THEIRS)
        parts.models.put(a_shelf(on_disk=on_disk))
        await panel.until(lambda: pane.shelf.on_disk[1].is_loading)
        choose(pane, 1)
        assert not pane.use.isEnabled()
        assert not pane.unload.isEnabled()
        assert any(run.text == "loading…" for run in name_cell(pane.shelf.on_disk[1]))
        QTest.keyClick(pane.table, Qt.Key.Key_Return)
        await panel.settle()
        assert not any(call[0] in ("use", "load") for call in parts.models.calls)
        await parts.controller.stop()

    panel.run(body())


def test_a_gated_model_leads_to_the_token(panel: Panel, home: Path) -> None:
    async def body() -> None:
        parts, pane = await shown(panel, home)
        pane.name.setText("meta-llama/Llama-3.2-3B")
        parts.models.error = PermissionDenied("It is gated.", hint="Set a Hugging Face token.")
        QTest.keyClick(pane.name, Qt.Key.Key_Return)
        await panel.until(pane.token.isVisible)
        assert "It is gated" in pane.result.text
        assert pane.name.text()  # what was typed stays
        pane.token.click()
        assert parts.shell.opened[-1] == Target("preferences", "providers", "huggingface")
        await parts.controller.stop()

    panel.run(body())


def test_a_switch_says_what_becomes_of_the_model_before(panel: Panel, home: Path) -> None:
    async def body() -> None:
        parts, pane = await shown(panel, home)
        assert pane.table.currentIndex().row() == 0  # the one in use
        assert not pane.use.isEnabled()
        panel.core.publish(local=ServerState(phase="ready", kind="embedded", model=SMALL.name))
        await panel.settle()
        choose(pane, 1)
        QTest.keyClick(pane.table, Qt.Key.Key_Return)
        assert pane.result.text == ""
        await panel.until(lambda: ("use", MINE.id) in parts.models.calls)
        await panel.until(lambda: pane.shelf.on_disk[1].in_use and len(parts.controller.tasks) == 0)
        assert not pane.use.isEnabled()
        assert pane.unload.isEnabled()
        choose(pane, 2)
        parts.models.error = Unavailable(
            "Mistral 7B needs 16 GB and 15 GB are here.", hint="Qwen2.5 goes on."
        )
        pane.use.click()
        await panel.until(lambda: pane.result.tone == "danger")
        assert "Not switched. Mistral 7B needs 16 GB" in pane.result.text
        await parts.controller.stop()

    panel.run(body())


@pytest.mark.parametrize(("kind", "detail"), [("compose", "model"), ("embedded", "kind")])
def test_weights_for_vllm_lead_to_its_form_with_the_model_filled_in(
    panel: Panel, home: Path, kind: ServerKind, detail: str
) -> None:
    async def body() -> None:
        weights = replace(MINE, id="hub", name="owner/model", format="safetensors", place="huggingface")
        parts, pane = await shown(panel, home, a_shelf(on_disk=(weights,)))
        panel.core.publish(local=ServerState(phase="stopped", kind=kind))
        await panel.until(lambda: parts.controller.is_compose == (kind == "compose"))
        choose(pane, 0)
        QTest.keyClick(pane.table, Qt.Key.Key_Return)
        await panel.until(lambda: parts.controller.draft is not None)
        in_force = await panel.core.vllm.settings()
        assert parts.controller.draft == replace(in_force, model="owner/model")
        assert parts.shell.opened == [Target("machine", "settings", detail)]
        assert not [call for call in parts.models.calls if call[0] in ("use", "load")]
        await parts.controller.stop()

    panel.run(body())


def test_a_switch_is_ready_only_once_the_local_server_says_so(panel: Panel, home: Path) -> None:
    async def body() -> None:
        old = ServerState(phase="ready", kind="embedded", model=SMALL.name)
        parts, pane = await shown(panel, home)
        panel.core.publish(local=old)
        await panel.settle()
        for ends_well in (True, False):
            choose(pane, 1 if ends_well else 0)
            pane.use.click()
            await parts.controller.tasks.wait()
            assert pane.result.tone == "busy"  # the one before still answers
            panel.core.publish(local=replace(panel.core.now.local, detail="loading Qwen, 40%; it answers"))
            await panel.until(lambda: pane.result.text == "Switching. Loading Qwen, 40%; it answers.")
            done = replace(old, model=MINE.name) if ends_well else replace(panel.core.now.local, detail="")
            panel.core.publish(local=done)
            tone = "ok" if ends_well else "danger"
            await panel.until(lambda tone=tone: pane.result.tone == tone)
        assert "SmolLM2-135M-Instruct can’t be loaded. Qwen2.5 1.5B goes on." in pane.result.text
        await parts.controller.stop()

    panel.run(body())


@pytest.mark.parametrize(
    ("memory_bytes", "said"),
    [
        (15 * GB, "SmolLM2-135M-Instruct goes on until it is ready."),
        (2 * GB, "SmolLM2-135M-Instruct is unloaded first"),
        (None, "where memory allows"),
    ],
)
def test_whether_both_have_room_decides_what_is_said(memory_bytes: int | None, said: str) -> None:
    assert said in switch_words(MINE, a_shelf(memory_bytes=memory_bytes))
    assert switch_words(MINE, a_shelf(on_disk=(MINE,))) == "Qwen2.5 1.5B is loading."
    assert SMALL.in_use


def test_delete_asks_nothing_and_can_be_undone(panel: Panel, home: Path) -> None:
    async def body() -> None:
        parts, pane = await shown(panel, home)
        assert not pane.delete.isEnabled()  # the packaged one stays
        choose(pane, 2)
        assert not pane.delete.isEnabled()
        assert pane.delete.toolTip() == "LM Studio owns it: delete it there."
        choose(pane, 1)
        pane.table.setFocus()
        QTest.keyClick(pane.table, Qt.Key.Key_Delete)
        await panel.until(lambda: len(pane.shelf.on_disk) == 2 and pane.toasts.current is not None)
        toast = pane.toasts.current
        assert toast is not None
        assert toast.text == "Deleted Qwen2.5 1.5B, 1.1 GB"
        assert toast.button is not None
        toast.button.click()
        await panel.until(lambda: len(pane.shelf.on_disk) == 3)
        assert ("undelete", MINE.id) in parts.models.calls
        await parts.controller.stop()

    panel.run(body())


def test_a_model_is_loaded_down_paused_resumed_and_used(panel: Panel, home: Path) -> None:
    async def body() -> None:
        parts, pane = await shown(panel, home)
        button(pane, "Download: Qwen2.5 3B, 2.1 GB").click()
        await panel.until(lambda: pane.downloading.isVisible())
        parts.models.progress(a_download())
        row = next(iter(pane._downloads.values()))  # pyright: ignore[reportPrivateUsage]
        await panel.until(lambda: row.bar.value() == 620)
        assert row.accessibleName() == "Qwen2.5 3B: 1.3 GB of 2.1 GB · 14 MB/s · 57 s left"
        row.pause.setFocus()
        QTest.keyClick(row.pause, Qt.Key.Key_Space)
        await panel.until(lambda: row.pause.accessibleName() == "Resume: Qwen2.5 3B")
        assert row.pause.hasFocus()  # the row is the same: the keyboard stays
        row.pause.click()
        await panel.until(lambda: row.pause.accessibleName() == "Pause: Qwen2.5 3B")
        parts.models.finish()
        await panel.until(lambda: row.use.isVisible())
        row.use.click()
        await panel.until(lambda: ("load", BEST.id) in parts.models.calls)  # nothing is loaded yet
        await panel.until(lambda: not row.use.isVisible())
        row.cancel.click()
        await panel.until(lambda: not pane.downloading.isVisible())
        await parts.controller.stop()

    panel.run(body())


def test_a_gated_model_says_what_to_do_and_leads_there(panel: Panel, home: Path) -> None:
    async def body() -> None:
        parts, pane = await shown(panel, home)
        parts.models.progress(
            a_download("failed", error="Too many requests.", hint="A Hugging Face token raises the limit.")
        )
        await panel.until(lambda: pane.downloading.isVisible())
        assert not next(iter(pane._downloads.values())).token.isVisible()  # pyright: ignore[reportPrivateUsage]
        gated = a_download("failed", error="Llama 3.1 is gated.", hint="Accept its licence.")
        parts.models.progress(replace(gated, wants_token=True))
        await panel.until(lambda: next(iter(pane._downloads.values())).token.isVisible())  # pyright: ignore[reportPrivateUsage]
        await panel.until(lambda: pane.downloading.isVisible())
        row = next(iter(pane._downloads.values()))  # pyright: ignore[reportPrivateUsage]
        assert row.error.text == "Llama 3.1 is gated. Accept its licence."
        assert row.pause.accessibleName() == "Try again: Qwen2.5 3B"
        row.token.click()
        assert parts.shell.opened == [Target("preferences", "providers", "huggingface")]
        row.cancel.click()
        await panel.until(lambda: not pane.downloading.isVisible())

    panel.run(body())


@pytest.mark.parametrize(
    ("typed", "is_name"),
    [
        ("Qwen/Qwen2.5-3B-Instruct-GGUF", True),
        ("Qwen/Qwen2.5-3B-Instruct-GGUF:Q4_K_M", True),
        ("a/b:sub/model-00001.gguf", True),
        ("https://huggingface.co/Qwen/Qwen2.5-3B-Instruct-GGUF/blob/main/x-q4_k_m.gguf", True),
        ("hf.co/Qwen/Qwen2.5", True),
        ("http://127.0.0.1:9000/Qwen/Qwen2.5", True),
        ("qwen", False),
        ("my model", False),
        ("a/b/c", False),
        ("https://huggingface.co/", False),
        ("../etc/passwd", False),
    ],
)
def test_what_can_name_a_model(typed: str, is_name: bool) -> None:
    assert (name_problem(typed) == "") is is_name


def test_a_name_is_looked_at_before_anything_is_asked_and_refusals_stand_under_it(
    panel: Panel, home: Path
) -> None:
    async def body() -> None:
        parts, pane = await shown(panel, home)
        assert not pane.get.isEnabled()
        pane.name.setFocus()
        QTest.keyClicks(pane.name, "qwen")
        QTest.keyClick(pane.name, Qt.Key.Key_Return)
        assert "A repository is OWNER/NAME." in pane.name_result.text
        assert not [call for call in parts.models.calls if call[0] == "download"]
        pane.name.setText("who/knows")
        pane.for_vllm.setChecked(True)
        parts.models.error = InvalidRequest("Hugging Face has no who/knows.", hint="Nothing was kept.")
        pane.get.click()
        await panel.until(lambda: "Hugging Face has no who/knows." in pane.name_result.text)
        await parts.controller.tasks.wait()
        assert pane.name.text() == "who/knows"  # what was typed stays
        pane.get.click()
        await panel.until(lambda: pane.name.text() == "")
        assert parts.models.calls[-1] == ("download", "who/knows", True)
        await parts.controller.stop()

    panel.run(body())


def test_nothing_found_says_where_was_looked_and_no_room_is_said(panel: Panel, home: Path) -> None:
    async def body() -> None:
        parts, pane = await shown(panel, home, a_shelf(on_disk=(), servers=(), free_bytes=900 * MB))
        assert "Looked in Signalbox’s own folder" in pane.no_models.text()
        assert not pane.table.isVisible()
        assert not pane.running.isVisible()
        best = pane._curated[BEST.id]  # pyright: ignore[reportPrivateUsage]
        assert not best.button.isEnabled()
        assert "It takes 2.1 GB of disk and 900 MB is free." in best.fit.text
        await parts.controller.stop()

    panel.run(body())
