"""Which models each side can be asked for: what its server lists, priced, and kept when it can't be read."""

from __future__ import annotations

from pathlib import Path

from core.chat import ChatRequest
from core.model_list import ListedModel
from tests.support.two_sides import two_sides
from tests.support.wire_server import Refuses

DOLLAR = 1_000_000_000


async def test_the_apis_models_come_page_by_page_with_name_price_and_context(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.api.models = [
            {"id": "claude-sonnet-4-6", "display_name": "Claude Sonnet 4.6", "max_input_tokens": 1_000_000},
            {"id": "claude-zebra-9", "display_name": "Claude Zebra 9"},
            {"id": "text-embed-1", "display_name": "Not for chat"},
        ]
        sides.api.models_a_page = 2
        listed = await sides.core.models.read("api")
        assert [model.id for model in listed.models] == ["claude-sonnet-4-6", "claude-zebra-9"]
        sonnet, zebra = listed.models
        assert (sonnet.name, sonnet.context_tokens) == ("Claude Sonnet 4.6", 1_000_000)
        assert sonnet.input_nanodollars_per_mtok == 3 * DOLLAR
        assert sonnet.output_nanodollars_per_mtok == 15 * DOLLAR
        assert (zebra.input_nanodollars_per_mtok, zebra.context_tokens) == (None, None)
        assert listed.default_model == sides.core.settings.current.anthropic_model
        assert listed.read_at is not None
        assert not listed.problem
        assert sides.core.models.latest("api") is listed
        assert listed.lacks("claude-gone-1")
        assert not listed.lacks("claude-zebra-9")


async def test_a_list_is_kept_and_asked_for_again_when_somebody_wants_it_anew(home: Path) -> None:
    async with two_sides(home) as sides:
        first = await sides.core.models.read("api")
        assert await sides.core.models.read("api") is first
        sides.api.models = [{"id": "claude-new-7"}]
        again = await sides.core.models.read("api", refresh=True)
        assert [model.id for model in again.models] == ["claude-new-7"]


async def test_what_cannot_be_read_says_why_and_keeps_what_was_known(home: Path) -> None:
    async with two_sides(home) as sides:
        known = await sides.core.models.read("api")
        sides.api.list_refusal = Refuses(
            status=529, body={"type": "error", "error": {"message": "Overloaded"}}
        )
        broken = await sides.core.models.read("api", refresh=True)
        assert broken.models == known.models
        assert broken.read_at == known.read_at
        assert broken.problem
        assert not broken.lacks("claude-gone-1"), "a list that can't be read says nothing of what is gone"
        sides.api.list_refusal = None
        assert not (await sides.core.models.read("api")).problem, "a failure is not kept for minutes"


async def test_a_refused_key_is_told_from_other_troubles(home: Path) -> None:
    async with two_sides(home) as sides:
        refused = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
        sides.api.list_refusal = Refuses(status=401, body=refused)
        assert (await sides.core.models.read("api")).key_trouble == "refused"
        sides.api.list_refusal = Refuses(
            status=529, body={"type": "error", "error": {"message": "Overloaded"}}
        )
        broken = await sides.core.models.read("api", refresh=True)
        assert broken.problem
        assert broken.key_trouble is None


async def test_without_a_key_the_model_of_the_settings_is_there_with_its_price(home: Path) -> None:
    async with two_sides(home, key=None, ANTHROPIC_MODEL="claude-sonnet-4-6") as sides:
        listed = await sides.core.models.read("api")
        assert "key" in listed.problem
        assert listed.key_trouble == "missing"
        assert [model.id for model in listed.models] == ["claude-sonnet-4-6"]
        assert listed.models[0].input_nanodollars_per_mtok == 3 * DOLLAR
        assert listed.read_at is None


async def test_the_local_servers_models_have_its_context_and_no_price(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.local.models = ("tiny", "big", "nomic-embed-text")
        listed = await sides.core.models.read("local")
        assert listed.models == (
            ListedModel(id="tiny", context_tokens=2048),
            ListedModel(id="big", context_tokens=2048),
        )
        assert listed.default_model == "tiny"


async def test_a_chosen_model_of_the_local_server_is_the_one_that_answers(home: Path) -> None:
    async with two_sides(home) as sides:
        sides.local.models = ("tiny", "big")
        await sides.core.models.read("local")
        result = await sides.core.ask("hi", model="big")
        assert (result.side, result.model, result.decision.model) == ("local", "big", "big")
        assert sides.local.received[-1].body["model"] == "big"
        assert result.decision.rule == "capability"
        # The other one goes on by itself.
        assert (await sides.core.ask("hi")).decision.model == "tiny"


async def test_a_chosen_model_of_the_api_is_the_one_that_is_held_for_and_answers(home: Path) -> None:
    async with two_sides(home, ANTHROPIC_MODEL="claude-sonnet-4-6") as sides:
        sides.api.models = [{"id": "claude-sonnet-4-6"}, {"id": "glm-5-air"}, {"id": "claude-opus-4-1"}]
        await sides.core.models.read("api")
        cheap = await sides.core.decide(ChatRequest.from_prompt("hi"))
        dear = await sides.core.decide(ChatRequest.from_prompt("hi", model="claude-opus-4-1"))
        assert dear.side == "api"
        assert (dear.api_estimate.hold_nanodollars or 0) > (cheap.api_estimate.hold_nanodollars or 0)
        result = await sides.core.ask("hi", model="glm-5-air")
        assert (result.side, result.decision.model) == ("api", "glm-5-air")
        assert sides.api.received[-1].body["model"] == "glm-5-air"
        assert result.decision.api_estimate.cost_nanodollars is None, "unpriced, and held at the dearest"
        assert result.decision.api_estimate.hold_nanodollars


async def test_a_local_server_that_starts_again_keeps_its_models_and_a_request_for_one_waits(
    home: Path,
) -> None:
    async with two_sides(home) as sides:
        sides.local.models = ("tiny", "big")
        await sides.core.models.read("local")
        sides.local.loading = True
        listed = await sides.core.models.read("local")
        assert listed.problem == "The local server is starting."
        assert [model.id for model in listed.models] == ["tiny", "big"]
        decision = await sides.core.decide(ChatRequest.from_prompt("hi", model="big"))
        assert (decision.side, decision.model, decision.refusal) == ("local", "big", None)
