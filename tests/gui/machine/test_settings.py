"""The settings on the Machine page: what runs, the vLLM form with its diff, where it runs, the token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import cast

import keyring
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QScrollArea

from core.errors import Unavailable
from core.local.server import ServerState
from core.local.vllm_settings import SettingFault, VllmPlan, VllmSettings
from gui.machine.page import MachinePage
from gui.machine.settings_pane import SettingsPane
from gui.shell.pages import Target
from tests.support.fake_core import MemoryKeyring, core_status
from tests.support.fake_shell import FakeShell
from tests.support.fake_vllm import FIT, GB, STOPPED, report
from tests.support.panel_loop import Panel, panel_on_qt


@pytest.fixture
def panel(qapp: QApplication, home: Path) -> Iterator[Panel]:
    keyring.set_keyring(MemoryKeyring())
    with panel_on_qt(qapp, home) as running:
        yield running


async def opened(panel: Panel, state: ServerState = STOPPED) -> tuple[MachinePage, SettingsPane]:
    panel.core.now = core_status(local=state)
    await panel.start()
    page = MachinePage(FakeShell(panel.bridge, panel.core.home))
    panel.show(page.view, 1200, 752)
    await page.start()
    page.show(Target("machine", "settings"))
    await panel.until(lambda: state.kind != "compose" or page.controller.plan is not None)
    return page, cast("SettingsPane", page.view.pane("settings"))


def test_what_is_typed_is_shown_as_a_diff_before_it_is_applied(panel: Panel) -> None:
    async def body() -> None:
        page, pane = await opened(panel)
        form, bar = pane.form, pane.bar
        assert "Qwen/Qwen2.5-7B-Instruct" in form.edits["model"].placeholderText()
        assert not bar.isVisible()
        QTest.keyClicks(form.edits["max_model_len"], "16 k")
        QTest.keyClicks(form.edits["model"], "Qwen/Qwen3-8B")
        form.share.box.setFocus()
        form.share.slider.setFocus()
        QTest.keyClick(form.share.slider, Qt.Key.Key_Left)
        await panel.until(lambda: bar.words.text() == "3 changes")
        wanted = VllmSettings(model="Qwen/Qwen3-8B", max_model_len=16_384, gpu_memory_utilization=0.89)
        await panel.until(lambda: ("plan", wanted) in panel.core.vllm.calls)
        page.show(Target("machine", "gpu"))
        page.show(Target("machine", "settings"))
        assert form.edits["max_model_len"].text() == "16 k", "what is typed stays, as it was typed"
        assert bar.apply.text() == "Review 3 changes"
        await panel.until(bar.apply.isEnabled)
        bar.apply.click()
        assert bar.diff.isVisible()
        assert "+max_model_len: 16384" in bar.diff.toPlainText()
        assert "Longest request: 16,384 tokens, was as in the compose file" in bar.changes.words
        assert panel.core.vllm.now == VllmSettings()
        assert bar.apply.text() == "Apply 3 changes"
        bar.apply.setFocus()
        bar.apply.click()
        await panel.until(lambda: panel.core.vllm.now == wanted)
        await panel.until(lambda: not bar.isVisible())
        assert form.isAncestorOf(page.view.window().focusWidget()), "it goes back to the form"
        assert form.edits["model"].text() == "Qwen/Qwen3-8B"
        await page.stop()

    panel.run(body())


def test_a_field_that_can_not_be_read_says_so_and_keeps_what_is_typed(panel: Panel) -> None:
    async def body() -> None:
        page, pane = await opened(panel)
        form, bar = pane.form, pane.bar
        QTest.keyClicks(form.edits["max_model_len"], "lots")
        QTest.keyClicks(form.edits["extra_args"], "--a 'b")
        QTest.keyClicks(form.edits["model"], "x/y")
        await panel.until(lambda: bar.isVisible() and form.rows["max_model_len"].problem.text != "")
        assert form.rows["max_model_len"].problem.text == "Type a whole number, such as 16,384 or 16 k."
        assert "quotation mark" in form.rows["extra_args"].problem.text
        assert form.edits["max_model_len"].text() == "lots"
        assert not bar.apply.isEnabled()
        bar.discard.click()
        await panel.until(lambda: not bar.isVisible())
        assert form.edits["max_model_len"].text() == form.edits["extra_args"].text() == ""
        QTest.keyClicks(form.edits["max_model_len"], "8192")
        await panel.until(bar.apply.isEnabled)
        await page.stop()

    panel.run(body())


def test_a_fault_of_the_core_stands_at_its_field(panel: Panel) -> None:
    async def body() -> None:
        page, pane = await opened(panel)
        panel.core.vllm.faults = (SettingFault(name="tensor_parallel_size", message="There is 1 GPU."),)
        QTest.keyClicks(pane.form.edits["tensor_parallel_size"], "4")
        await panel.until(lambda: pane.form.rows["tensor_parallel_size"].problem.text == "There is 1 GPU.")
        assert not pane.bar.apply.isEnabled()
        pane.bar.discard.click()
        panel.core.vllm.faults = ()
        await panel.until(lambda: not pane.bar.isVisible())
        assert pane.form.edits["tensor_parallel_size"].text() == ""
        placeholder = pane.form.edits["tensor_parallel_size"].placeholderText()
        assert placeholder == "As in the compose file", "what was discarded is not taken for the file's"
        await page.stop()

    panel.run(body())


def test_the_estimate_follows_what_is_typed_and_offers_what_fits(panel: Panel) -> None:
    async def body() -> None:
        page, pane = await opened(panel)
        await panel.until(pane.fit.result.isVisible)
        assert pane.fit.result.text == "Tight About 20.9 GB of 24.0 GB."
        pane.fit.fold.set_open(True)
        assert "14.8 billion weights" in pane.fit.how.words
        assert "config.json" in pane.fit.how.words
        QTest.keyClicks(pane.form.edits["model"], "x/y")
        await panel.until(lambda: ("preflight", VllmSettings(model="x/y")) in panel.core.vllm.calls)
        option = next(one for one in pane.fit.findChildren(type(pane.bar.apply)) if one.text() == "Use 16 k")
        option.click()
        assert page.controller.draft == VllmSettings(model="x/y", max_model_len=16_384)
        await panel.until(lambda: pane.form.edits["max_model_len"].text() == "16,384")
        await panel.until(pane.bar.apply.isEnabled)
        pane.bar.apply.click()
        panel.core.vllm.found = replace(report(), fit=replace(FIT, verdict="too_big", needed_bytes=200 * GB))
        pane.bar.apply.click()
        await panel.until(lambda: pane.fit.result.text.startswith("Too big"))
        await page.stop()

    panel.run(body())


def test_another_docker_context_is_chosen(panel: Panel) -> None:
    async def body() -> None:
        page, pane = await opened(panel)
        box = pane.context.box
        await panel.until(lambda: box.count() == 2)
        assert box.itemText(1) == "droplet · over SSH"
        box.setCurrentIndex(1)
        box.activated.emit(1)
        await panel.until(lambda: ("choose_context", "droplet") in panel.core.vllm.calls)
        await panel.until(lambda: pane.context_row.note.text() == "ssh://root@203.0.113.7")
        await page.stop()

    panel.run(body())


def test_a_token_is_stored_and_leaves_the_field(panel: Panel) -> None:
    async def body() -> None:
        page, pane = await opened(panel)
        row = pane.token
        await panel.until(lambda: row.note.text().startswith("None is stored."))
        QTest.keyClicks(row.edit, "hf_abcdefghijklmnop1234")
        QTest.keyClick(row.edit, Qt.Key.Key_Return)
        await panel.until(row.delete.isVisible)
        assert row.edit.text() == ""
        assert row.note.text().startswith("hf_••••••1234 is stored.")
        assert ("set_key", "huggingface") in panel.core.calls
        await page.stop()

    panel.run(body())


def test_what_runs_is_chosen_and_the_embedded_model_has_its_own_settings(panel: Panel) -> None:
    async def body() -> None:
        page, pane = await opened(panel, ServerState(phase="stopped", kind="embedded"))
        pane.kind.committed.emit("compose")
        await panel.until(lambda: panel.core.settings.current.local_server == "compose")
        row = pane.settings["embedded_threads"]
        page.show(Target("machine", "settings", "embedded_threads"))
        assert page.view.window().focusWidget() is row.edit
        QTest.keyClicks(row.edit, "4")
        QTest.keyClick(row.edit, Qt.Key.Key_Return)
        await panel.until(lambda: panel.core.settings.current.embedded_threads == 4)
        tokens = pane.settings["embedded_context_tokens"]
        tokens.edit.setFocus()
        tokens.edit.selectAll()  # type: ignore[attr-defined]
        QTest.keyClicks(tokens.edit, "1")
        QTest.keyClick(tokens.edit, Qt.Key.Key_Return)
        await panel.until(lambda: tokens.problem.text != "")
        assert panel.core.settings.current.embedded_context_tokens == 8192
        assert row.problem.text == ""
        await page.stop()

    panel.run(body())


def test_the_share_of_memory_goes_back_to_the_compose_file(panel: Panel) -> None:
    async def body() -> None:
        panel.core.vllm.now = VllmSettings(gpu_memory_utilization=0.8, max_model_len=4096)
        page, pane = await opened(panel)
        form, bar = pane.form, pane.bar
        assert form.share.value == Decimal("0.80")
        form.share_as_file.setFocus()
        QTest.keyClick(form.share_as_file, Qt.Key.Key_Space)
        assert page.controller.draft == VllmSettings(max_model_len=4096)
        assert form.share.slider.hasFocus()
        await panel.until(lambda: form.share.value == Decimal("0.90"))  # what the compose file says
        QTest.keyClicks(form.edits["model"], "x/y")
        assert page.controller.draft == VllmSettings(max_model_len=4096, model="x/y")
        await panel.until(bar.apply.isEnabled)
        bar.apply.click()
        bar.apply.click()
        await panel.until(lambda: panel.core.vllm.now == VllmSettings(max_model_len=4096, model="x/y"))
        assert not form.share_as_file.isVisible()
        await page.stop()

    panel.run(body())


def test_settings_that_are_open_before_the_core_runs_follow_it(panel: Panel) -> None:
    async def body() -> None:
        page = MachinePage(FakeShell(panel.bridge, panel.core.home))
        panel.show(page.view, 1200, 752)
        page.show(Target("machine", "settings"))
        pane = cast("SettingsPane", page.view.pane("settings"))
        assert not pane.form.isVisible()
        await panel.start()
        await panel.until(lambda: "embedded_threads" in pane.settings)
        assert pane.settings["embedded_threads"].isVisible()
        await panel.core.set_key("huggingface", "hf_abcdefgh")
        panel.core.publish(local=STOPPED)
        await panel.until(pane.token.delete.isVisible)
        await page.stop()

    panel.run(body())


def test_a_share_out_of_range_keeps_the_rest_from_being_applied_until_it_is_mended_or_discarded(
    panel: Panel,
) -> None:
    async def body() -> None:
        page, pane = await opened(panel)
        form, bar = pane.form, pane.bar
        QTest.keyClicks(form.edits["model"], "x/y")
        await panel.until(bar.apply.isEnabled)
        box = form.share.box
        for mend in ("type", "escape", "discard"):
            box.setFocus()
            box.selectAll()
            QTest.keyClicks(box, "1.7")
            QTest.keyClick(box, Qt.Key.Key_Return)
            assert form.unread == ("gpu_memory_utilization",)
            assert not bar.apply.isEnabled(), "the old share would be kept in silence"
            assert bar.result.text == "A field can’t be applied. The reason is under it."
            QTest.keyClicks(form.edits["model"], "z")
            await panel.until(lambda: page.controller.planned == page.controller.wanted)
            assert box.text() == "1.7", "it is not rewritten"
            assert not bar.apply.isEnabled()
            if mend == "type":
                box.selectAll()
                QTest.keyClicks(box, "0.7")
                QTest.keyClick(box, Qt.Key.Key_Return)
                assert page.controller.wanted.gpu_memory_utilization == 0.7
            elif mend == "escape":
                QTest.keyClick(box, Qt.Key.Key_Escape)
            else:
                bar.discard.click()
                assert box.text() == "0.90"
                assert page.controller.draft is None
                await panel.until(bar.isHidden)
                break
            await panel.until(bar.apply.isEnabled)
        assert form.unread == ()
        await page.stop()

    panel.run(body())


def test_what_an_apply_would_set_aside_is_told_before_it(panel: Panel) -> None:
    async def body() -> None:
        page, pane = await opened(panel)
        panel.core.vllm.own = replace(panel.core.vllm.own, served_model_name="mine")
        panel.core.vllm.notes = (
            "override.yml was changed by hand. Applying this keeps that version.",
            "x " * 90,
        )
        QTest.keyClicks(pane.form.edits["model"], "x/y")
        await panel.until(pane.bar.notes.isVisible)
        await panel.until(pane.bar.apply.isEnabled)
        assert "was changed by hand" in pane.bar.notes.words
        pane.bar.apply.click()
        page.view.resize(1200, 640)
        await panel.settle()
        bar = pane.bar
        assert bar.mapTo(page.view, bar.rect().bottomLeft()).y() < page.view.height(), "Apply is in view"
        assert "compose file" not in pane.form.edits["served_model_name"].placeholderText()
        await page.stop()

    panel.run(body())


def test_where_a_file_changed_by_hand_is_kept_stays_said_after_the_apply(panel: Panel) -> None:
    async def body() -> None:
        page, pane = await opened(panel)
        bar, apply = pane.bar, panel.core.vllm.apply

        async def set_aside(wanted: VllmSettings) -> VllmPlan:
            return replace(await apply(wanted), set_aside="/home/me/override.yml.1")

        panel.core.vllm.apply = set_aside  # type: ignore[method-assign]
        QTest.keyClicks(pane.form.edits["model"], "x/y")
        await panel.until(bar.apply.isEnabled)
        bar.apply.click()
        bar.apply.click()
        await panel.until(lambda: panel.core.vllm.now.model == "x/y" and page.controller.draft is None)
        await panel.settle()
        assert bar.kept.isVisible()
        assert "/home/me/override.yml.1" in bar.kept.words
        assert not bar.apply.isVisible()
        bar.seen.click()
        assert not bar.isVisible()
        await page.stop()

    panel.run(body())


def test_tab_goes_from_field_to_field_and_what_is_typed_into_stays_in_sight(panel: Panel) -> None:
    async def body() -> None:
        panel.core.vllm.faults = (SettingFault(name="extra_args", message="It belongs to no argument."),)
        page, pane = await opened(panel)
        page.view.resize(1200, 560)
        form = pane.form
        await panel.settle()
        page.view.activateWindow()
        form.edits["served_model_name"].setFocus()
        await panel.until(form.edits["served_model_name"].hasFocus)
        QTest.keyClicks(form.edits["served_model_name"], "mine")
        page.controller.check()  # its rows are made anew
        await panel.settle()
        seen: list[str] = []
        for _ in range(7):
            focused = QApplication.focusWidget()
            assert focused is not None
            QTest.keyClick(focused, Qt.Key.Key_Tab)
            focused = QApplication.focusWidget()
            assert focused is not None
            seen.append(focused.accessibleName().partition(",")[0])
        assert seen[:2] == ["Quantisation", "Longest request"]
        assert seen[4:] == ["GPUs that share it", "Tool parser", "Extra arguments"]
        page.controller.forget_draft()
        await panel.until(lambda: not pane.bar.isVisible())
        field = form.edits["extra_args"]
        area = next(one for one in pane.findChildren(QScrollArea) if one.isAncestorOf(field))
        area.verticalScrollBar().setValue(0)
        area.ensureWidgetVisible(field, 0, 0)  # at the very end of what is in sight
        QTest.keyClicks(field, "x")
        await panel.until(lambda: "under it" in pane.bar.result.text)
        await panel.settle()
        assert field.visibleRegion().boundingRect().height() == field.height()
        await page.stop()

    panel.run(body())


def test_the_settings_are_read_once_docker_is_there(panel: Panel) -> None:
    async def body() -> None:
        panel.core.vllm.trouble = Unavailable("There is no docker command on this machine.")
        panel.core.now = core_status(local=STOPPED)
        await panel.start()
        page = MachinePage(FakeShell(panel.bridge, panel.core.home))
        panel.show(page.view, 1200, 752)
        await page.start()
        page.show(Target("machine", "settings"))
        pane = cast("SettingsPane", page.view.pane("settings"))
        await panel.until(lambda: "no docker command" in pane.bar.result.text)
        assert not pane.bar.apply.isVisible(), "there is nothing to review"
        panel.core.vllm.trouble = None
        page.controller.check()
        await panel.until(lambda: pane.context.box.count() == 2)
        await panel.until(lambda: not pane.bar.isVisible())
        assert "Qwen/Qwen2.5-7B-Instruct" in pane.form.edits["model"].placeholderText()
        await page.stop()

    panel.run(body())
