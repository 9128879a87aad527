"""The local server on the Machine page: what it is, what can be done with it, and what a start would need."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton, QWidget

from core.errors import Unavailable
from core.local.gpu_sample import ServerFigures
from core.local.preflight import PreflightCheck
from core.local.server import ServerFailure, ServerState, StartStep
from core.model_list import ListedModel
from core.services.status import ApiPhase, ApiStatus, Problem
from gui.machine.failure_card import telling_lines
from gui.machine.page import MachinePage
from gui.machine.preflight_card import CheckRow, joined
from gui.pages import PAGES
from gui.shell.pages import Target
from gui.shell.window import Window
from gui.widgets.error_card import ErrorCard
from gui.widgets.labels import label
from gui.widgets.sentence import Sentence
from tests.support.fake_core import core_status
from tests.support.fake_shell import FakeShell
from tests.support.fake_vllm import (
    CHECKS,
    MODEL,
    NOW,
    OUT_OF_MEMORY,
    READY,
    STARTING,
    STEPS,
    STOPPED,
    TAKEN,
    report,
)
from tests.support.fake_watch import GIB, an_alert, gpu, machine_sample
from tests.support.panel_loop import Panel, panel_on_qt

W = TypeVar("W", bound=QWidget)


@pytest.fixture
def panel(qapp: QApplication, home: Path) -> Iterator[Panel]:
    with panel_on_qt(qapp, home) as running:
        yield running


async def opened(panel: Panel, state: ServerState, **status: object) -> tuple[MachinePage, FakeShell]:
    """The page beside a server in ``state``, 1200 x 752."""
    panel.core.now = core_status(local=state, **status)
    await panel.start()
    shell = FakeShell(panel.bridge, panel.core.home)
    page = MachinePage(shell)
    panel.show(page.view, 1200, 752)
    await page.start()
    await panel.settle()
    return page, shell


def named(root: QWidget, name: str, kind: type[W] = QPushButton) -> W:
    """The control that a screen reader calls ``name``, where it can be seen."""
    found = [one for one in root.findChildren(kind) if one.accessibleName() == name and one.isVisible()]
    assert len(found) == 1, (
        name,
        [one.accessibleName() for one in root.findChildren(kind) if one.isVisible()],
    )
    return found[0]


def with_text(root: QWidget, text: str) -> QPushButton:
    return next(one for one in root.findChildren(QPushButton) if one.text() == text and one.isVisible())


def rows(page: MachinePage) -> dict[str, CheckRow]:
    return {row.check.title: row for row in page.view.preflight.rows}


def test_a_drained_server_says_so_and_is_used_again_by_a_press(panel: Panel) -> None:
    async def body() -> None:
        page, _ = await opened(panel, READY)
        card = page.view.state
        assert not card.drained.isVisible()
        await panel.core.drain_local(True)
        await panel.until(card.drained.isVisible)
        assert card.drained.accessibleName().startswith("You sent everything to the API")
        with_text(card, "Use it again").click()
        await panel.until(card.drained.isHidden)
        assert panel.core.calls[-1] == ("drain_local", False)

    panel.run(body())


def test_what_ended_by_a_signal_has_no_exit_code(panel: Panel) -> None:
    async def body() -> None:
        what = "llama.cpp was ended by signal 9 (SIGKILL), for the second time within 5 min"
        failure = ServerFailure(kind="killed", what=what, fix="", exit_code=-9)
        page, _ = await opened(panel, ServerState(phase="failed", kind="embedded", failure=failure))
        card = page.view.state.failure.findChildren(ErrorCard)[0]
        assert card.accessibleDescription().startswith(f"{what}. Chats and settings are kept"), card

    panel.run(body())


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("rate_limited", "Requests go to the API meanwhile."),
        ("no_key", "Nothing answers until it runs: no key of the API is set."),
        ("unreachable", "Nothing answers until it runs: the API can’t be used now."),
    ],
)
def test_a_failure_says_what_becomes_of_requests_as_the_api_is_now(
    panel: Panel, phase: ApiPhase, words: str
) -> None:
    async def body() -> None:
        failure = ServerFailure(kind="killed", what="It was killed", fix="")
        state = ServerState(phase="failed", kind="embedded", failure=failure)
        page, _ = await opened(panel, state, api=ApiStatus(phase="key_set", model="sonnet"))
        panel.core.publish(api=ApiStatus(phase=phase, model="sonnet"))
        shown = page.view.state.failure
        await panel.until(lambda: shown.card is not None and words in shown.card.accessibleDescription())

    panel.run(body())


def test_a_start_is_pressed_told_of_step_by_step_and_ends_in_ready(panel: Panel) -> None:
    async def body() -> None:
        page, _ = await opened(panel, STOPPED, api=ApiStatus(phase="reachable", model="sonnet"))
        card = page.view.state
        panel.core.local_after_start = STARTING
        assert card.title.text() == "Stopped"
        await panel.until(lambda: page.controller.report is not None)
        named(card, "Start the local server").click()
        assert card.start.text() == "Starting…", "a press is seen at once"
        await panel.until(lambda: card.title.text() == "Starting: loading weights, 62 %")
        assert card.lamp.state == "busy"
        assert card.sentence.words == (
            f"{MODEL} on vLLM 0.11 · context workstation. About 1 min 10 s left, learnt from 9 starts. "
            "Requests go to the API until it is ready."
        )
        assert card.steps.isVisible()
        assert card.steps.accessibleDescription() == (
            "Pull: done, already here. Create: done, 2 s. Load weights: running, 62 %, 1 min 48 s. "
            "Warm up: waiting. Ready: waiting."
        )
        assert card.last_line.words == STARTING.last_line
        assert "given up after 60 min" in card.time.text()
        assert card.stop.text() == "Cancel"
        panel.core.publish(local=READY)
        await panel.until(lambda: card.title.text() == "Ready")
        assert card.address.words == READY.base_url
        assert card.facts.words == "32,768 tokens a request"
        figures = ServerFigures(running_requests=2, waiting_requests=1, generation_tokens_per_s=48.2)
        panel.core.machine.sample(replace(panel.core.machine.latest, server=figures))
        await panel.until(lambda: card.facts.words.endswith(" · 2 running · 1 waiting · 48 tok/s"))
        idle = ServerFigures(running_requests=0, waiting_requests=0, generation_tokens_per_s=0.0)
        panel.core.machine.sample(replace(panel.core.machine.latest, server=idle))
        await panel.until(lambda: card.facts.words.endswith(" · idle"))
        assert not card.steps.isVisible()

    panel.run(body())


def test_the_bytes_and_the_speed_of_a_pull_stand_under_its_step(panel: Panel) -> None:
    pull = StartStep(
        name="pull",
        status="running",
        progress=0.43,
        done_bytes=4_200_000_000,
        total_bytes=9_800_000_000,
        bytes_per_s=48_000_000.0,
    )

    async def body() -> None:
        state = replace(STARTING, detail="", progress=0.43, steps=(pull, *STEPS[1:]), last_line="")
        page, _ = await opened(panel, state)
        card = page.view.state
        assert card.title.text() == "Starting: pulling the image, 43 %"
        assert "4.2 GB of 9.8 GB · 48 MB/s" in card.steps.accessibleDescription()
        assert "Requests wait until it is ready." in card.sentence.words, "no key, so they can go nowhere"

    panel.run(body())


def test_cancel_ends_a_start_and_the_focus_comes_to_start(panel: Panel) -> None:
    async def body() -> None:
        page, _ = await opened(panel, STARTING)
        card = page.view.state
        card.stop.setFocus()
        QTest.keyClick(card.stop, Qt.Key.Key_Space)
        await panel.until(lambda: ("stop_local",) in panel.core.calls)
        panel.core.publish(local=STOPPED)
        await panel.until(card.start.isVisible)
        assert QApplication.focusWidget() is card.start

    panel.run(body())


def test_only_what_a_server_honours_can_be_pressed(panel: Panel) -> None:
    async def body() -> None:
        outside = ServerState(
            phase="ready",
            kind="external",
            model="llama",
            base_url="http://127.0.0.1:9000/v1",
            version="Ollama 0.6",
            models=tuple(ListedModel(id=name) for name in ("llama", "qwen", "phi", "gemma")),
        )
        page, shell = await opened(panel, outside)
        card = page.view.state

        def shown() -> list[str]:
            buttons = card.card.findChildren(QPushButton)
            return [one.text() for one in buttons if one.isVisible()]

        assert shown() == ["Check now"]
        assert card.facts.words == "4 models: llama, qwen, phi and 1 more"
        assert not page.view.preflight.isVisible()
        named(card, "Check the server now").click()
        await panel.until(lambda: ("start_local", "auto") in panel.core.calls)
        panel.core.publish(local=ServerState(phase="stopped", kind="none"))
        await panel.until(lambda: shown() == ["Choose a model"])
        with_text(card, "Choose a model").click()
        assert shell.opened == [Target("machine", "models")]
        panel.core.publish(local=replace(READY, verbs=frozenset({"stop"})))
        await panel.until(lambda: shown() == ["Stop"])
        panel.core.publish(local=ServerState(phase="stopped", kind="embedded", verbs=frozenset()))
        await panel.until(lambda: shown() == [])

    panel.run(body())


def test_a_server_that_answers_without_its_engine_says_so(panel: Panel) -> None:
    async def body() -> None:
        away = replace(READY, kind="compose", detail="it answers, but the Docker engine does not answer.")
        page, _ = await opened(panel, away)
        assert "It answers, but the Docker engine does not answer." in page.view.state.sentence.words

    panel.run(body())


def test_what_a_running_server_has_not_taken_is_said_with_the_button(panel: Panel) -> None:
    async def body() -> None:
        page, _ = await opened(panel, replace(READY, restart_needed=("max_model_len", "model")))
        needed = page.view.state.restart_needed
        assert needed.isVisible()
        assert needed.accessibleName().startswith("Restart needed for longest request and model.")
        needed.button.click()
        await panel.until(lambda: ("restart_local",) in panel.core.calls)

    panel.run(body())


def test_out_of_gpu_memory_offers_what_fits_and_restarts_with_it(panel: Panel) -> None:
    async def body() -> None:
        page, shell = await opened(panel, OUT_OF_MEMORY, api=ApiStatus(phase="reachable", model="sonnet"))
        failure = page.view.state.failure
        await panel.until(
            lambda: failure.card is not None and failure.card.buttons[0].text() == "Apply and restart"
        )
        assert failure.card is not None
        assert failure.card.accessibleName() == "The local server ran out of GPU memory"
        assert "1.25 GB more than the card had" in failure.card.accessibleDescription()
        assert "Requests go to the API meanwhile." in failure.card.accessibleDescription()
        with_text(failure, "Show log").click()
        assert shell.opened == [Target("machine", "log")]
        with_text(failure, "Copy commands").click()
        assert QGuiApplication.clipboard().text().startswith("docker compose")
        with_text(failure, "Apply and restart").click()
        await panel.until(lambda: ("start_local", "auto") in panel.core.calls)
        assert panel.core.vllm.now.max_model_len == 16_384

    panel.run(body())


@pytest.mark.parametrize(
    ("failure", "button", "leads_to"),
    [
        ("gated_model", "Open the settings", Target("machine", "settings", "token")),
        ("model_not_found", "Open the settings", Target("machine", "settings", "model")),
        ("port_taken", "Start again", None),
        ("killed", "Start again", None),
    ],
)
def test_a_failure_leads_to_where_it_is_mended(
    panel: Panel, failure: str, button: str, leads_to: Target | None
) -> None:
    async def body() -> None:
        why = ServerFailure(kind=failure, what="It did not work.", fix="Mend it.", log=tuple("abcdef"))  # type: ignore[arg-type]
        page, shell = await opened(panel, replace(OUT_OF_MEMORY, failure=why))
        card = page.view.state.failure
        assert page.view.state.failure.isVisible()
        with_text(card, button).click()
        if leads_to is not None:
            assert shell.opened == [leads_to]
        else:
            await panel.until(lambda: ("start_local", "auto") in panel.core.calls)

    panel.run(body())


def test_a_refusal_of_the_core_is_told_and_the_button_is_itself_again(panel: Panel) -> None:
    async def body() -> None:
        page, _ = await opened(panel, STOPPED)
        await panel.until(lambda: page.controller.report is not None)

        async def refuse() -> None:
            raise Unavailable("Docker's engine does not answer.", hint="Start it.")

        panel.core.start_local = refuse  # type: ignore[method-assign]
        page.view.state.start.click()
        await panel.until(lambda: "does not answer" in page.view.state.result.text)
        assert page.view.state.start.text() == "Start"

    panel.run(body())


# Pre-flight


def test_checks_that_are_well_stand_together_and_the_others_with_their_fix(panel: Panel) -> None:
    async def body() -> None:
        page, _ = await opened(panel, STOPPED)
        await panel.until(lambda: bool(page.view.preflight.rows))
        assert list(rows(page)) == [
            "Docker, Compose v2, NVIDIA toolkit",
            "Driver",
            "Port 8000 and disk",
            "Fit: 20.9 GB of 24.0 GB at 32 k context",
            "Hugging Face token",
        ]
        first = rows(page)["Docker, Compose v2, NVIDIA toolkit"].check
        assert first.found == "28.3 · 2.39 · 1.17"
        assert page.view.preflight.summary.text().startswith("passed with 1 warning at ")
        fit = rows(page)["Fit: 20.9 GB of 24.0 GB at 32 k context"]
        fit.buttons[0].click()
        await panel.until(lambda: panel.core.vllm.now.max_model_len == 16_384)
        await panel.until(lambda: [call[0] for call in panel.core.vllm.calls].count("preflight") == 2)

    panel.run(body())


def test_a_start_that_would_fail_asks_in_its_place_and_can_go_on(panel: Panel) -> None:
    async def body() -> None:
        panel.core.vllm.found = report(TAKEN)
        page, _ = await opened(panel, STOPPED)
        page.view.resize(680, 372)
        card = page.view.preflight
        await panel.until(lambda: bool(card.rows))
        assert card.summary.text().startswith("1 check failed at ")
        assert not card.ask.isVisible()
        page.view.state.start.click()
        await panel.until(card.ask.isVisible)
        assert not [call for call in panel.core.calls if call[0] == "start_local"]
        assert QApplication.focusWidget() is card.ask.leave, "the safe one"
        await panel.settle()
        assert not card.ask.anyway.visibleRegion().isEmpty(), "the page has scrolled to the question"
        with_text(card, "Copy command").click()
        assert QGuiApplication.clipboard().text() == "kill 4711"
        card.ask.leave.click()
        assert not card.ask.isVisible()
        page.view.state.start.click()
        await panel.until(card.ask.isVisible)
        card.ask.anyway.setFocus()
        card.ask.anyway.click()
        assert QApplication.focusWidget() is card.again, "not what comes next on the page"
        await panel.until(lambda: ("start_local", "auto") in panel.core.calls)
        assert not card.ask.isVisible()

    panel.run(body())


def test_a_start_can_be_given_up_while_its_needs_are_looked_at(panel: Panel) -> None:
    async def body() -> None:
        page, _ = await opened(panel, STOPPED)
        await panel.until(lambda: page.controller.report is not None)
        panel.core.vllm.gate = asyncio.Event()
        page.view.state.start.click()
        await panel.until(lambda: page.controller.is_checking)
        assert page.view.state.stop.text() == "Cancel"
        page.view.state.stop.click()
        await panel.until(lambda: page.controller.asked == "")
        await panel.settle()
        assert not [call for call in panel.core.calls if call[0] in ("start_local", "stop_local")]
        assert page.view.state.start.isVisible()

    panel.run(body())


def test_only_what_is_well_is_joined() -> None:
    old = PreflightCheck(name="compose", title="Compose v2", state="failed", found="1.29", fix="Install v2.")
    found = joined([old if check.name == "compose" else check for check in CHECKS])
    assert [check.title for check in found][:2] == ["Docker and NVIDIA toolkit", "Compose v2"]


def test_the_checks_of_a_server_that_runs_stand_back_until_they_are_asked_for(panel: Panel) -> None:
    async def body() -> None:
        page, _ = await opened(panel, READY)
        card = page.view.preflight
        await panel.until(lambda: bool(card.rows))
        assert not card.rows[0].isVisible()
        assert card.summary.text().startswith("passed with 1 warning")
        card.more.click()
        assert card.rows[0].isVisible()
        card.more.click()
        assert not card.rows[0].isVisible()
        panel.core.publish(local=STOPPED)
        await panel.until(card.rows[0].isVisible)
        assert not card.more.isVisible()

    panel.run(body())


# The page itself


def test_a_long_word_in_the_log_of_a_failure_makes_the_column_no_wider(panel: Panel) -> None:
    async def body() -> None:
        assert OUT_OF_MEMORY.failure is not None
        word = f"endpoint signalbox-vllm-1 ({'1fdbec5f' * 8}): address already in use"
        failure = replace(OUT_OF_MEMORY.failure, log=(word,))
        page, _ = await opened(panel, replace(OUT_OF_MEMORY, failure=failure))
        page.view.resize(1200, 752)
        await panel.settle()
        state, preflight = page.view.state, page.view.preflight
        assert state.visibleRegion().boundingRect().width() == state.width()
        assert preflight.width() >= preflight.minimumSizeHint().width()
        assert preflight.visibleRegion().boundingRect().width() == preflight.width()

    panel.run(body())


def test_right_and_left_stand_side_by_side_or_under_each_other_and_nothing_is_cut_off(panel: Panel) -> None:
    async def body() -> None:
        page, _ = await opened(panel, STARTING)
        for width, height, stacked in (
            (1200, 752, False),
            (1200, 672, False),
            (944, 592, False),
            (680, 372, True),
        ):
            page.view.resize(width, height)
            await panel.settle()
            assert page.view.is_stacked == stacked, width
            for part in (page.view.state, page.view.preflight, page.view.log):
                right = part.mapTo(page.view, part.rect().topRight()).x()
                assert right < width, (width, part)
                assert part.width() >= part.minimumSizeHint().width(), (width, part)
        page.view.resize(1200, 640)
        await panel.settle()
        log = page.view.log
        layout = log.layout()
        assert layout is not None
        layout.addWidget(label("A line of the log. " * 80, wrap=True))
        await panel.settle()
        assert log.mapTo(page.view, log.rect().bottomLeft()).y() < 640, "it makes do with what is left"
        page.view.resize(680, 372)
        await panel.settle()
        page.show(Target("machine", "models"))
        await panel.settle()
        assert not page.view.switch.visibleRegion().isEmpty(), "what was asked for is scrolled to"

    panel.run(body())


def test_the_rail_and_the_pill_say_what_needs_somebody_before_the_page_is_made(panel: Panel) -> None:
    async def body() -> None:
        panel.core.now = core_status(local=READY)
        await panel.start()
        window = panel.show(Window(panel.bridge, panel.core.home, PAGES))
        await window.start()
        window.open(Target("chat"))
        item = next(one for one in window.rail.items if one.accessibleName() == "Machine")
        pill = window.header.pills["local"]
        assert item.accessibleDescription() == ""
        panel.core.machine.alert(an_alert())
        await panel.until(lambda: "Alert: " in item.accessibleDescription())
        assert pill.accessibleName() == "Local: Ready, alert"
        assert pill.tone == "held"
        full = gpu(vram_used_bytes=91 * GIB // 5, vram_total_bytes=20 * GIB)
        panel.core.machine.sample(machine_sample(full))
        await panel.until(lambda: "VRAM 91 %" in pill.accessibleDescription())
        panel.core.machine.alert(replace(an_alert(), acknowledged=True))
        await panel.until(lambda: pill.accessibleName() == "Local: Ready")
        problem = Problem(kind="local", title="The local server failed", message="Out of memory.", hint="")
        panel.core.publish(local=OUT_OF_MEMORY, problems=(problem,))
        await panel.until(lambda: pill.accessibleName() == "Local: Failed")
        assert window.notices.isVisible()
        assert item.accessibleDescription() == "The local server failed: out of GPU memory"
        pill.click()
        assert window.page_in_front.id == "machine"
        assert not window.notices.isVisible(), "the page says it itself"
        page = window.page("machine")
        assert isinstance(page, MachinePage)
        panel.core.machine.alert(an_alert())
        await panel.until(lambda: page.view.switch.segment("alerts").accessibleName() == "Alerts 1")
        await window.stop()

    panel.run(body())


def test_the_pane_in_front_is_found_again(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        window = panel.show(Window(panel.bridge, panel.core.home, PAGES))
        await window.start()
        window.open(Target("machine"))
        page = window.page("machine")
        assert isinstance(page, MachinePage)
        page.view.switch.segment("settings").click()
        window.close()
        await window.stop()
        again = panel.show(Window(panel.bridge, panel.core.home, PAGES))
        await again.start()
        again.open(Target("machine"))
        reopened = again.page("machine")
        assert isinstance(reopened, MachinePage)
        await panel.until(lambda: reopened.view.pane_in_front == "settings")
        await again.stop()

    panel.run(body())


def test_ctrl_f_finds_in_the_log_wherever_the_focus_is(panel: Panel) -> None:
    async def body() -> None:
        page, _ = await opened(panel, READY)
        stop = named(page.view.state, "Stop the local server")
        stop.setFocus()
        QTest.keyClick(stop, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
        assert page.view.log.search.hasFocus()
        page.view.resize(620, 372)
        await panel.settle()
        page.view.switch.segment("gpu").setFocus()
        page.view.show_section("alerts")
        QTest.keyClick(page.view, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
        assert not page.view.log.search.visibleRegion().isEmpty(), "scrolled back to"

    panel.run(body())


def test_the_focus_stays_in_the_card_while_a_restart_is_under_way(panel: Panel) -> None:
    async def body() -> None:
        page, _ = await opened(panel, READY)
        named(page.view.state, "Restart the local server").setFocus()
        panel.core.publish(local=STARTING)
        await panel.until(lambda: page.view.state.title.text().startswith("Starting"))
        assert page.view.state.stop.text() == "Cancel"
        assert page.view.state.stop.hasFocus()

    panel.run(body())


def test_advice_that_the_failure_gives_is_not_given_again_by_the_pre_flight(panel: Panel) -> None:
    async def body() -> None:
        panel.core.vllm.found = report(TAKEN)
        failure = ServerFailure(
            kind="port_taken", what="Port 8000 was taken by python3.", fix="End that program.", at=NOW
        )
        page, _ = await opened(panel, replace(OUT_OF_MEMORY, failure=failure))
        await panel.until(lambda: bool(page.view.preflight.rows))
        row = rows(page)["Port 8000"]
        assert row.isVisible()
        assert row.accessibleDescription() == "taken by python3 (4711)"
        assert not row.buttons
        with_text(page.view.state.failure, "Copy commands").click()
        assert QGuiApplication.clipboard().text() == "kill 4711", "the check leaves its commands to the card"
        # Once it does not stand any more, the row has its advice again.
        panel.core.publish(local=STOPPED)
        await panel.until(lambda: [one.text() for one in rows(page)["Port 8000"].buttons] == ["Copy command"])

    panel.run(body())


def test_a_failure_says_when_it_was_and_whether_it_is_over(panel: Panel) -> None:
    async def body() -> None:
        at = NOW - timedelta(minutes=5)
        failure = ServerFailure(kind="port_taken", what="Port 8000 was taken by python3.", at=at)
        page, _ = await opened(panel, replace(OUT_OF_MEMORY, failure=failure))
        await panel.until(lambda: page.controller.report is not None)
        card = page.view.state.failure.card
        assert card is not None
        said = card.accessibleDescription()
        assert f"That was at {at.astimezone():%H:%M} on {at.astimezone().day} June." in said
        assert f"At {NOW.astimezone():%H:%M} the check of it says: free." in said
        assert any(one.words == "That is over by now. Start it again." for one in card.findChildren(Sentence))

    panel.run(body())


def test_the_lines_that_say_why_are_shown_and_not_what_a_process_says_as_it_leaves() -> None:
    log = (
        "(EngineCore pid=7) ERROR 12-01 10:00:01 [core.py:900] EngineCore failed to start.",
        "Traceback (most recent call last):",
        '  File "/vllm/core.py", line 1, in <module>',
        "torch.OutOfMemoryError: CUDA out of memory.",
        "/usr/lib/python3.12/multiprocessing/resource_tracker.py:279: UserWarning: resource_tracker: There",
        "  warnings.warn('resource_tracker: There appear to be 1 leaked shared_memory objects')",
    )
    assert telling_lines(log) == (log[0], log[3])
    assert telling_lines(log[4:]) == log[4:], "better than none"
    assert telling_lines(("a", "b", "", "c")) == ("b", "c")
    assert telling_lines(("INFO no error here", "x")) == ("INFO no error here", "x")
