"""An empty chat offers what the model behind it can do, and says of a small one that it is for trying out."""

from __future__ import annotations

from itertools import pairwise

import pytest

from core import PACKAGED_MODEL
from core.local.server import ServerState
from core.services.status import ApiStatus
from gui.chat.welcome_hint import PROMPTS, SMALL_MODEL, SMALL_MODEL_PROMPTS, sentence_for
from gui.preferences.catalogue import SECTIONS
from gui.shell.pages import Target
from tests.gui.chat.looking import click, shown
from tests.gui.chat.panel import ChatPanel
from tests.support.examples import a_status


def said(panel: ChatPanel) -> tuple[tuple[str, ...], bool]:
    hint = panel.page.view.hint
    return tuple(button.text() for button in hint.prompt_buttons), hint.better_button.isVisible()


@pytest.mark.parametrize("phase", ["starting", "ready"])
def test_the_packaged_model_gets_questions_that_it_can_answer(panel: ChatPanel, phase: str) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.publish(local=ServerState(phase=phase, kind="embedded", model=PACKAGED_MODEL))  # pyright: ignore
        await panel.until(lambda: said(panel) == (SMALL_MODEL_PROMPTS, True))
        assert page.view.hint.warning == SMALL_MODEL
        click(page.view.hint.better_button)
        assert panel.shell.opened == [Target("machine", "models")]
        click(page.view.hint.prompt_buttons[0])
        await panel.until(lambda: SMALL_MODEL_PROMPTS[0] in (*shown(panel), page.view.composer.text))
        await panel.idle()

    panel.run(body)


@pytest.mark.parametrize(
    "local",
    [
        ServerState(phase="ready", kind="external", model="Qwen2.5-7B-Instruct"),
        ServerState(phase="stopped", kind="none"),
        ServerState(phase="failed", kind="embedded", model=PACKAGED_MODEL),
    ],
    ids=["a larger one", "none", "one that failed"],
)
def test_another_model_gets_larger_tasks_and_no_warning(panel: ChatPanel, local: ServerState) -> None:
    async def body() -> None:
        await panel.open()
        panel.core.publish(local=ServerState(phase="ready", kind="embedded", model=PACKAGED_MODEL))
        await panel.until(lambda: said(panel) == (SMALL_MODEL_PROMPTS, True))
        panel.core.publish(local=local)
        await panel.until(lambda: said(panel) == (PROMPTS, False))

    panel.run(body)


def test_a_chat_that_goes_to_the_api_gets_larger_tasks_whatever_runs_here(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.publish(local=ServerState(phase="ready", kind="embedded", model=PACKAGED_MODEL))
        await panel.until(lambda: said(panel) == (SMALL_MODEL_PROMPTS, True))
        click(page.view.composer.switch.segment("api"))
        await panel.until(lambda: said(panel) == (PROMPTS, False))
        page.controller.new_chat()
        await panel.until(lambda: said(panel) == (SMALL_MODEL_PROMPTS, True))

    panel.run(body)


def test_in_a_low_window_nothing_lies_over_another(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.publish(local=ServerState(phase="ready", kind="embedded", model=PACKAGED_MODEL))
        await panel.until(lambda: said(panel)[1])
        page.view.setMinimumSize(1, 1)
        page.view.resize(680, 330)  # of the smallest window
        await panel.idle()
        hint = page.view.hint
        parts = [*hint.prompt_buttons, hint.better_button]
        for upper, lower in pairwise(parts):
            assert upper.height() >= upper.sizeHint().height()
            assert (
                upper.mapTo(hint, upper.rect().bottomLeft()).y()
                < lower.mapTo(hint, lower.rect().topLeft()).y()
            )

    panel.run(body)


def test_who_is_sent_to_a_section_finds_it_by_its_name() -> None:
    held_back = a_status(
        ServerState(phase="stopped", kind="none"), ApiStatus(phase="key_held_back", model="m")
    )
    page = sentence_for(held_back).partition("Preferences, ")[2].partition(",")[0]
    assert page in [section.title for section in SECTIONS]
