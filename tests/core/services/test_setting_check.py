"""A model or a file that is not there is refused before it is set, and what runs goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from core.router_core import RouterCore
from core.services.status import CoreStatus
from core.settings import NamesNothing
from tests.support.anthropic_server import refusal
from tests.support.two_sides import two_sides

LOCAL_MODEL = "tiny"


async def until(core: RouterCore, holds: Callable[[CoreStatus], bool]) -> CoreStatus:
    """Return the first status of which ``holds`` is true."""
    found: list[CoreStatus] = []
    seen = asyncio.Event()

    def look(status: CoreStatus) -> None:
        if holds(status):
            found.append(status)
            seen.set()

    unsubscribe = core.subscribe(look)
    try:
        look(await core.status())
        async with asyncio.timeout(20):
            await seen.wait()
    finally:
        unsubscribe()
    return found[0]


def is_ready(status: CoreStatus) -> bool:
    return status.local.phase == "ready" and status.local.model == LOCAL_MODEL


async def test_a_model_of_the_api_is_looked_up_by_its_list_and_by_its_name(tmp_path: Path) -> None:
    async with two_sides(tmp_path) as sides:
        check = sides.core.check_setting
        assert await check("anthropic_model", "claude-opus-5") is None
        assert await check("anthropic_model", "claude-sonnet-4-6") is None, "a name without its date"
        with pytest.raises(NamesNothing, match=r"no model claude-opus-55\. It has claude-opus-5"):
            await check("anthropic_model", "claude-opus-55")
        assert await check("max_tokens_per_request", 12) is None
        sides.api.replies.append(refusal(500, "api_error", "Internal"))
        doubt = await check("anthropic_model", "claude-opus-55")
        assert doubt is not None
        assert doubt.message.startswith("It couldn't be checked. Anthropic failed (HTTP 500)")


async def test_without_a_key_nobody_is_asked(tmp_path: Path) -> None:
    async with two_sides(tmp_path, key=None) as sides:
        assert await sides.core.check_setting("anthropic_model", "claude-nope") is None
        assert not sides.api.received


async def test_a_model_of_the_local_server_is_looked_up_in_its_list(tmp_path: Path) -> None:
    async with two_sides(tmp_path) as sides:
        assert await sides.core.check_setting("vllm_model", LOCAL_MODEL) is None
        with pytest.raises(NamesNothing, match=f"has no model nope. It has {LOCAL_MODEL}"):
            await sides.core.check_setting("vllm_model", "nope")


async def test_a_file_is_looked_at(tmp_path: Path) -> None:
    async with two_sides(tmp_path, local_up=False) as sides:
        with pytest.raises(NamesNothing, match="There is no model file at"):
            await sides.core.check_setting("local_model_path", str(tmp_path / "none.gguf"))
        assert await sides.core.check_setting("local_model_path", "") is None


async def test_a_bad_model_from_a_file_leaves_the_server_that_runs(tmp_path: Path) -> None:
    async with two_sides(tmp_path) as sides:
        core = sides.core
        await core.start_local()
        await until(core, is_ready)
        core.settings.set("vllm_model", "nope")  # as an edited .env would
        problems = (await until(core, lambda status: bool(status.problems))).problems
        assert [problem.kind for problem in problems] == ["local_model"]
        assert problems[0].title == f"{LOCAL_MODEL} goes on, and another model is set"
        assert "has no model nope" in problems[0].message
        assert (await core.status()).local.phase == "ready"
        assert (await core.ask("hi", force="local")).model == LOCAL_MODEL
        core.settings.reset("vllm_model")
        await until(core, lambda status: is_ready(status) and not status.problems)


async def test_a_file_that_is_not_in_use_refuses_no_model_of_a_server(tmp_path: Path) -> None:
    async with two_sides(tmp_path, LOCAL_MODEL_PATH=str(tmp_path / "gone.gguf")) as sides:
        sides.local.models = (LOCAL_MODEL, "another")
        core = sides.core
        await core.start_local()
        await until(core, is_ready)
        core.settings.set("vllm_model", "another")
        await until(core, lambda status: status.local.model == "another")
        assert (await core.status()).problems == ()


async def test_a_restart_takes_what_is_set_be_it_there_or_not(tmp_path: Path) -> None:
    async with two_sides(tmp_path) as sides:
        core = sides.core
        await core.start_local()
        await until(core, is_ready)
        core.settings.set("vllm_model", "nope")
        await until(core, lambda status: bool(status.problems))
        await core.restart_local()
        state = (await core.status()).local
        assert state.phase == "failed"
        assert "does not serve nope" in state.detail
