"""The API's state is what it last said: the status, the notices and Auto follow it, and what was mended ends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.chat import ChatRequest
from core.errors import AuthenticationFailed, ModelNotFound, SignalboxError, Unavailable
from core.services.status import ApiPhase, ProblemKind
from tests.support.anthropic_server import refusal
from tests.support.two_sides import TwoSides, two_sides
from tests.support.wire_server import Refuses

COMPLEX = "hi"
REFUSED = refusal(401, "authentication_error", "invalid x-api-key")
CASES: list[tuple[Refuses, ApiPhase, ProblemKind, str]] = [
    (REFUSED, "key_refused", "api_key", "it refused the key"),
    (
        refusal(400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
        "no_credit",
        "api_credit",
        "the account has no credit",
    ),
    (refusal(403, "permission_error"), "not_permitted", "api_model", "the key may not use"),
    (refusal(404, "not_found_error", "model: x"), "model_unknown", "api_model", "it has no model"),
    (
        refusal(429, "rate_limit_error", retry_after="3600"),
        "rate_limited",
        "api_pause",
        "it limits the rate, and is tried again after",
    ),
]


async def asked(sides: TwoSides, **options: object) -> SignalboxError | None:
    """Ask what Auto sends to the API, and return how that failed."""
    try:
        await sides.core.ask(COMPLEX, **options)  # type: ignore[arg-type]
    except SignalboxError as error:
        return error
    return None


@pytest.mark.parametrize(("reply", "phase", "kind", "why"), CASES, ids=[case[1] for case in CASES])
async def test_what_the_api_says_is_its_state_and_auto_goes_to_local(
    tmp_path: Path, reply: Refuses, phase: ApiPhase, kind: ProblemKind, why: str
) -> None:
    async with two_sides(tmp_path, ENABLE_FALLBACK="false") as sides:
        await sides.core.decide(ChatRequest.from_prompt(COMPLEX))
        assert (await sides.core.status()).api.phase == "key_set"
        sides.api.replies.append(reply)
        assert await asked(sides, high_stakes=True) is not None
        status = await sides.core.status()
        assert status.api.phase == phase
        assert [problem.kind for problem in status.problems] == [kind]
        result = await sides.core.ask(COMPLEX, high_stakes=True)
        assert (result.side, result.decision.rule) == ("local", "unavailable")
        assert result.decision.reason.startswith(f"API unavailable: {why}")
        if phase == "rate_limited":  # its breaker is open, and it said until when
            refused = await asked(sides, force="api")
            assert isinstance(refused, Unavailable)
            assert refused.retry_after_s is not None
            assert 60 < refused.retry_after_s <= 3600
        else:
            assert (await sides.core.ask(COMPLEX, force="api")).side == "api"
            status = await sides.core.status()
            assert (status.api.phase, status.problems) == ("reachable", ())
            assert (await sides.core.ask(COMPLEX, high_stakes=True)).side == "api"


async def test_without_another_side_the_prompt_is_sent_and_the_answer_mends_the_state(tmp_path: Path) -> None:
    async with two_sides(tmp_path, local_up=False) as sides:
        sides.api.replies.extend([REFUSED, REFUSED])
        assert isinstance(await asked(sides), AuthenticationFailed)
        assert isinstance(await asked(sides), AuthenticationFailed)
        assert await asked(sides) is None
        assert (await sides.core.status()).api.phase == "reachable"


async def test_a_local_failure_does_not_fall_back_to_an_api_that_refuses_the_key(tmp_path: Path) -> None:
    async with two_sides(tmp_path) as sides:
        sides.api.replies.append(REFUSED)
        await asked(sides, force="api")
        sides.local.replies.append(Refuses(status=500, body={"error": {"message": "boom"}}))
        error = await asked(sides)
        assert error is not None
        assert "boom" in error.message


async def test_trying_again_finds_out_what_can_be_found_out_for_nothing(tmp_path: Path) -> None:
    async with two_sides(tmp_path) as sides:
        sides.api.replies.append(refusal(402, "billing_error", "No credit."))
        await asked(sides, force="api")
        sides.api.replies.append(REFUSED)
        with pytest.raises(AuthenticationFailed):
            await sides.core.try_api_again()
        assert (await sides.core.status()).api.phase == "key_refused"
        assert (await sides.core.try_api_again()).has_model
        assert (await sides.core.status()).api.phase == "reachable"
        assert not sides.api.books, "nothing was paid for"


async def test_a_key_that_is_tested_and_refused_is_told_before_a_prompt_is(tmp_path: Path) -> None:
    async with two_sides(tmp_path) as sides:
        sides.api.replies.append(REFUSED)
        with pytest.raises(AuthenticationFailed):
            await sides.core.test_key("anthropic")
        assert (await sides.core.status()).api.phase == "key_refused"
        sides.api.replies.append(REFUSED)
        with pytest.raises(AuthenticationFailed):
            await sides.core.test_key("anthropic", "sk-ant-another-0123456789")
        await sides.core.test_key("anthropic")
        assert (await sides.core.status()).api.phase == "reachable"


async def test_a_model_that_is_not_there_is_found_by_the_check_and_ends_with_another_choice(
    tmp_path: Path,
) -> None:
    async with two_sides(tmp_path) as sides:
        sides.core.settings.set("anthropic_model", "claude-nope")
        with pytest.raises(ModelNotFound, match="claude-nope"):
            await sides.core.try_api_again()
        status = await sides.core.status()
        assert (status.api.phase, status.api.model) == ("model_unknown", "claude-nope")
        # A name without its date is not in the list, and is a model all the same.
        sides.core.settings.set("anthropic_model", "claude-sonnet-4-6")
        assert (await sides.core.try_api_again()).has_model
        assert (await sides.core.status()).problems == ()


async def test_the_doctor_says_what_stands_in_the_way_of_a_good_key(tmp_path: Path) -> None:
    async with two_sides(tmp_path, ANTHROPIC_MODEL="claude-nope") as sides:
        found = {finding.component: finding for finding in await sides.core.doctor(ask_local=False)}
        api = found["Anthropic API"]
        assert api.state == "broken"
        assert "has no model claude-nope" in api.detail
        assert "ANTHROPIC_MODEL" in api.hint


@pytest.mark.parametrize(
    "reply", [refusal(403, "permission_error"), refusal(404, "not_found_error", "No models.")]
)
async def test_a_list_that_is_withheld_says_nothing_of_the_model(tmp_path: Path, reply: Refuses) -> None:
    async with two_sides(tmp_path) as sides:
        await sides.core.ask(COMPLEX, force="api")
        sides.api.list_refusal = reply
        with pytest.raises(SignalboxError):
            await sides.core.test_key("anthropic")
        assert (await sides.core.models.read("api")).problem
        status = await sides.core.status()
        assert (status.api.phase, status.problems) == ("reachable", ())
        assert (await sides.core.ask(COMPLEX, high_stakes=True)).side == "api"


async def test_a_key_that_the_picker_finds_refused_is_told_too(tmp_path: Path) -> None:
    async with two_sides(tmp_path) as sides:
        sides.api.list_refusal = REFUSED
        assert (await sides.core.models.read("api")).problem
        assert (await sides.core.status()).api.phase == "key_refused"
        sides.api.list_refusal = None
        assert not (await sides.core.models.read("api")).problem
        assert (await sides.core.status()).api.phase == "reachable"
