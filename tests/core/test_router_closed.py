"""A limit that can't be read closes the API side, for every surface, and no other model answers in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.chat import ChatRequest
from core.errors import Unavailable
from core.router_core import RouterCore
from core.settings import SettingsStore
from tests.core.test_router_queue import Asked, posted
from tests.support.openai_server import vllm_error
from tests.support.two_sides import two_sides

UNREADABLE = "$5"


async def test_nothing_is_sent_to_the_api_and_the_error_names_the_setting(home: Path) -> None:
    async with two_sides(home, DAILY_SPEND_LIMIT_DOLLARS=UNREADABLE) as sides:
        with pytest.raises(Unavailable, match="DAILY_SPEND_LIMIT_DOLLARS can't be read") as caught:
            await sides.core.ask("hi", force="api")
        assert "allowed is an amount" in caught.value.hint
        assert not caught.value.may_be_billed
        decision = await sides.core.decide(ChatRequest.from_prompt("hi", high_stakes=True))
        assert (decision.side, decision.rule) == ("local", "unavailable")
        assert "DAILY_SPEND_LIMIT_DOLLARS" in decision.reason
        assert (await Asked(sides, "hi", high_stakes=True).result()).decision.side == "local"
        assert sides.api.books == []
        assert (await sides.core.ledger.budget()).held_nanodollars == 0


@pytest.mark.parametrize("mode", ["api-only", "api-primary"])
async def test_every_mode_is_closed(home: Path, mode: str) -> None:
    async with two_sides(home, ROUTING_MODE=mode, PROJECT_SPEND_LIMITS="web: 5") as sides:
        if mode == "api-only":
            with pytest.raises(Unavailable, match="PROJECT_SPEND_LIMITS"):
                await sides.core.ask("hi")
        else:
            assert (await sides.core.ask("hi")).decision.side == "local"
        assert sides.api.books == []


async def test_a_failing_local_side_does_not_fall_back_into_a_closed_one(home: Path) -> None:
    async with two_sides(home, DAILY_SPEND_LIMIT_DOLLARS=UNREADABLE) as sides:
        sides.local.replies.append(vllm_error(500, "InternalServerError", "boom"))
        with pytest.raises(Unavailable, match="boom"):
            await sides.core.ask("hi")
        assert posted(sides.local.received) == 1
        assert sides.api.books == []


async def test_the_status_says_so_before_anything_else(home: Path) -> None:
    (home / "settings.json").write_text('{"spend_lim')
    async with two_sides(home, DAILY_SPEND_LIMIT_DOLLARS=UNREADABLE) as sides:
        status = await sides.core.status()
        assert status.api.phase == "closed"
        assert status.api.detail.endswith("can't be read")
        kinds = [problem.kind for problem in status.problems]
        assert kinds == ["settings_file", "limit"]
        assert "API is closed" in status.problems[1].title


async def test_a_limit_that_stops_being_readable_closes_for_the_very_next_request(home: Path) -> None:
    async with two_sides(home) as sides:
        await sides.core.ask("hi", force="api")
        (home / ".env").write_text("DAILY_SPEND_LIMIT_DOLLARS=$5\n")
        with pytest.raises(Unavailable, match="DAILY_SPEND_LIMIT_DOLLARS"):
            await sides.core.ask("hi", force="api")
        (home / ".env").write_text("DAILY_SPEND_LIMIT_DOLLARS=5\n")
        assert (await sides.core.ask("hi", force="api")).decision.side == "api"
        assert len(sides.api.books) == 2


async def test_a_key_can_be_tested_while_a_limit_is_closed_but_not_at_an_address_that_is_none(
    home: Path,
) -> None:
    async with two_sides(home, DAILY_SPEND_LIMIT_DOLLARS=UNREADABLE) as sides:
        assert (await sides.core.test_anthropic_key()).models
        assert (await sides.core.test_anthropic_key("sk-ant-another")).models
    async with two_sides(home, ANTHROPIC_BASE_URL="api.example.com") as sides:
        for key in (None, "sk-ant-another"):
            with pytest.raises(Unavailable, match="ANTHROPIC_BASE_URL"):
                await sides.core.test_anthropic_key(key)


async def test_the_doctor_and_the_test_of_limits_say_which_is_not_armed(home: Path) -> None:
    async with two_sides(home, DAILY_SPEND_LIMIT_DOLLARS=UNREADABLE) as sides:
        armed = {limit.limit_name: limit for limit in await sides.core.ledger.test_limits()}
        assert armed["SPEND_LIMIT_DOLLARS"].armed
        assert not armed["DAILY_SPEND_LIMIT_DOLLARS"].armed
        assert "$5" in armed["DAILY_SPEND_LIMIT_DOLLARS"].detail
        findings = {finding.component: finding for finding in await sides.core.doctor(ask_local=False)}
        assert findings["Limits"].state == findings["Settings"].state == "broken"
        assert "API is closed" in findings["Limits"].hint


# The local side


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VLLM_BASE_URL", "gpu.example.com:8000"),
        ("LOCAL_SERVER", "dcoker"),
        ("LOCAL_MODEL_PATH", "~nobody-of-that-name/x.gguf"),
    ],
)
async def test_what_names_the_local_model_and_cannot_be_read_is_not_replaced_by_another(
    home: Path, name: str, value: str
) -> None:
    async with RouterCore(SettingsStore(env={"SIGNALBOX_HOME": str(home), name: value})) as core:
        with pytest.raises(Unavailable, match=f"{name} can't be read"):
            await core.ask("hi", force="local")
        local = (await core.status()).local
        assert (local.phase, local.kind == "external") == ("failed", name == "VLLM_BASE_URL")
        findings = await core.doctor(ask_local=False)
        (finding,) = (each for each in findings if each.component.startswith("Local server"))
        assert (finding.state, name in finding.detail) == ("broken", True)


async def test_a_near_address_without_a_scheme_reaches_the_server_it_names(home: Path) -> None:
    async with two_sides(home) as sides:
        bare = sides.local.base_url.removeprefix("http://")
        env = {"SIGNALBOX_HOME": str(home / "other"), "VLLM_BASE_URL": bare}
        async with RouterCore(SettingsStore(env=env)) as core:
            assert (await core.ask("hi", force="local")).decision.provider == "vllm-local"


# Trust


async def test_what_a_folder_may_not_set_is_told_in_the_status_and_by_the_doctor(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://attacker.example\nLEDGER_URL=postgresql://x:pw12345@h/x\n"
    )
    async with two_sides(home) as sides:
        (problem,) = (each for each in (await sides.core.status()).problems if each.kind == "trust")
        assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://attacker.example" in problem.message
        assert "pw12345" not in problem.message
        assert "signalbox trust" in problem.hint
        findings = {finding.component: finding for finding in await sides.core.doctor(ask_local=False)}
        assert "LEDGER_URL" in findings["Trust in .env"].detail
        sides.core.settings.trust(sides.core.settings.untrusted[0])
        assert [each.kind for each in (await sides.core.status()).problems if each.kind == "trust"] == []


# A ledger that is not the one that was written last


async def test_a_ledger_that_lacks_its_end_closes_the_api_and_local_goes_on(home: Path) -> None:
    (home / "ledger.sqlite3.head").write_text(f"1000 {'0' * 64}\n")
    async with two_sides(home) as sides:
        decision = await sides.core.decide(ChatRequest.from_prompt("hi", high_stakes=True))
        assert (decision.side, decision.rule, decision.api_available) == ("local", "unavailable", False)
        assert (await Asked(sides, "hi", high_stakes=True).result()).decision.side == "local"
        with pytest.raises(Unavailable, match="not the one that was written last") as caught:
            await sides.core.ask("hi", force="api")
        assert "signalbox audit accept-head" in caught.value.hint
        status = await sides.core.status()
        assert status.api.phase == "closed"
        assert "not the one that was written last" in status.api.detail
        assert sides.api.books == []
        await sides.core.ledger.current.accept_head()
        assert (await sides.core.ask("hi", force="api")).decision.side == "api"
        assert (await sides.core.status()).api.phase == "reachable"
