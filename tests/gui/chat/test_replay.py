"""The same prompt on the other side, with its price: both answers stay, each with its own badge."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtWidgets import QMenu, QPushButton

from core.chat import ChatRequest, RouteDecision
from core.errors import Unavailable
from gui.widgets.decision_card import DecisionCard
from tests.gui.chat.builders import make_decision
from tests.gui.chat.looking import click, last_answer, shown
from tests.gui.chat.panel import ChatPanel
from tests.gui.chat.scripted_core import Script


async def menu_of(panel: ChatPanel) -> QMenu:
    """Open the menu of the last answer's tool, and return it."""
    replays = panel.page.controller.replays
    before = replays.menu
    click(last_answer(panel).replay_button)
    await panel.until(lambda: replays.menu is not before)
    assert replays.menu is not None
    return replays.menu


def test_the_tool_offers_the_other_side_first_with_its_price_and_both_answers_stay(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        panel.core.say(Script(text="By the local one."), Script(text="By the API.", side="api"))
        await panel.ask("Why?")
        menu = await menu_of(panel)
        assert [action.text() for action in menu.actions()] == [
            "Replay on API, ~$0.0047",
            "Replay locally, ~$0.0006 loaded",
        ]
        assert "$0.0167 is held" in menu.actions()[0].toolTip()
        menu.actions()[0].trigger()
        menu.close()
        await panel.idle()
        assert panel.core.requests[-1].force == "api"
        assert shown(panel) == ["Why?", "By the API."]
        assert last_answer(panel).versions.isVisible()
        assert "API" in last_answer(panel).badge.accessibleName()
        page.controller.show_version(last_answer(panel).message_id, -1)
        await panel.until(lambda: shown(panel)[-1:] != ["By the API."])
        assert shown(panel) == ["Why?", "By the local one."]
        assert "Local" in last_answer(panel).badge.accessibleName()
        assert page.controller.session.options.force is None, "the chat itself goes on as it was"

    panel.run(body)


def test_it_is_asked_as_that_turn_was(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        session = page.controller.session
        session.set_options(replace(session.options, temperature=0.2, system="Be brief.", seed=3))
        await panel.ask("Why?")
        session.set_options(replace(session.options, temperature=1.5, system="Be long.", seed=None))
        menu = await menu_of(panel)
        menu.actions()[0].trigger()
        menu.close()
        await panel.idle()
        request = panel.core.requests[-1]
        assert (request.temperature, request.system, request.seed) == (0.2, "Be brief.", 3)
        assert [message.text for message in request.messages] == ["Why?"]

    panel.run(body)


def test_a_model_of_one_side_is_not_asked_for_on_the_other(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        session = page.controller.session
        session.set_options(replace(session.options, model="claude-zebra-9"))
        panel.core.say(Script(side="api"))
        await panel.ask("Why?")
        menu = await menu_of(panel)
        asked = {request.force: request.model for request in panel.core.decided[-2:]}
        assert asked == {"local": None, "api": "claude-zebra-9"}
        menu.close()

    panel.run(body)


def test_a_side_that_cannot_take_it_says_why(panel: ChatPanel) -> None:
    def refused(request: ChatRequest) -> RouteDecision:
        if request.force != "local":
            return make_decision("api")
        return make_decision(
            None, rule="unavailable", reason="Local unavailable: it is stopped", refusal="unavailable",
            refusal_hint="Start it.",
        )  # fmt: skip

    async def body() -> None:
        await panel.open()
        panel.core.say(Script(side="api"))
        await panel.ask("Why?")
        panel.core.decide_with = refused
        menu = await menu_of(panel)
        local, api = menu.actions()
        assert (local.isEnabled(), api.isEnabled()) == (False, True)
        assert local.text() == "Replay locally: Local unavailable: it is stopped. Start it."
        menu.close()

    panel.run(body)


def test_the_decision_card_has_both_with_their_prices(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        await panel.ask("Why?")
        await panel.until(page.view.isActiveWindow)
        click(last_answer(panel).badge)
        card = page.view.findChild(DecisionCard)
        assert card is not None

        def buttons() -> dict[str, QPushButton]:
            found = card.findChildren(QPushButton)
            return {each.text(): each for each in found if each.text().startswith("Replay")}

        await panel.until(lambda: all(button.isEnabled() for button in buttons().values()))
        assert list(buttons()) == ["Replay locally, ~$0.0006 loaded", "Replay on API, ~$0.0047"]
        panel.core.say(Script(text="By the API.", side="api"))
        click(buttons()["Replay on API, ~$0.0047"])
        await panel.idle()
        assert shown(panel) == ["Why?", "By the API."]
        assert page.view.composer.edit.hasFocus()

    panel.run(body)


def test_an_answer_that_failed_can_be_replayed(panel: ChatPanel) -> None:
    async def body() -> None:
        await panel.open()
        panel.core.say(Script(text="Half of it", before=1, error=Unavailable("The server is gone.")))
        await panel.ask("Why?")
        menu = await menu_of(panel)
        panel.core.say(Script(text="The whole of it.", side="api"))
        menu.actions()[0].trigger()
        menu.close()
        await panel.idle()
        assert shown(panel) == ["Why?", "The whole of it."]

    panel.run(body)
