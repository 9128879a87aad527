"""The doctor says what is wrong with each component: in time, without secrets, and without dying of one."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.chat import ChatRequest
from core.doctor import checks, ledger_checks
from core.errors import Unavailable
from core.keys import KeyName
from core.local.server import ServerFailure, ServerState
from core.providers.base import CheckResult
from core.router_core import RouterCore
from core.settings import SettingsStore
from tests.support.anthropic_server import Says
from tests.support.docker_stub import well
from tests.support.openai_server import Metrics
from tests.support.two_sides import two_sides

PASSWORD = "hunter2secret"
KEY = "sk-ant-api03-ABCDEFGHIJ"


class Hangs:
    """A ledger that never answers."""

    async def check(self) -> Any:
        await asyncio.Event().wait()


class Raises:
    """A keyring that breaks in a way nobody thought of."""

    async def backend(self) -> Any:
        raise RuntimeError(f"no bus at unix://me:{PASSWORD}@x")


class Prices:
    version = "1"
    problems: tuple[str, ...] = ()

    def is_priced(self, model: str) -> bool:
        return True


class Patient:
    """A core whose ledger hangs, whose keyring breaks and whose local address holds a password."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.settings = SettingsStore(
            home,
            env={"VLLM_BASE_URL": f"http://me:{PASSWORD}@127.0.0.1:8000/v1", "SPEND_LIMIT_DOLLARS": "no"},
        )
        self.keys: Any = Raises()
        self.ledger: Any = Hangs()
        self.prices: Any = Prices()
        self.vllm_key: str | None = None
        self.has_api_key = True

    def key_held_back(self, name: KeyName) -> None:
        """Its keys are where they belong."""

    async def ask(self, request: ChatRequest) -> Any:
        raise AssertionError("nothing is asked of a server that somebody else runs")

    async def status(self) -> Any:
        return SimpleNamespace(problems=(), queue=None)

    async def seen_local(self) -> ServerState:
        return ServerState(phase="stopped", kind="compose")

    async def test_anthropic_key(self) -> CheckResult:
        raise Unavailable(f"Refused x-api-key: {KEY}", hint=f"Look at https://me:{PASSWORD}@example")

    async def test_vllm(self, base_url: str, api_key: str | None = None) -> CheckResult:
        return CheckResult(models=("tiny",), latency_ms=1)


@pytest.fixture
async def findings(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, checks.Finding]:
    monkeypatch.setattr(checks, "CHECK_TIMEOUT_S", 0.5)
    async with asyncio.timeout(60):
        return {finding.component: finding for finding in await checks.examine(Patient(home))}


async def test_a_check_that_hangs_is_a_finding(findings: dict[str, checks.Finding]) -> None:
    ledger = findings["Ledger"]
    assert (ledger.state, ledger.needed) == ("broken", True)
    assert "0.5 s" in ledger.detail
    assert ledger.hint


async def test_an_optional_component_stays_optional_when_its_check_breaks(
    findings: dict[str, checks.Finding],
) -> None:
    assert (findings["Keyring"].state, findings["Keyring"].needed) == ("broken", False)
    assert "RuntimeError" in findings["Keyring"].detail
    assert (findings["Anthropic API"].state, findings["Anthropic API"].needed) == ("broken", True)
    assert not findings["NVIDIA GPU"].needed
    assert not findings["Docker"].needed


async def test_no_finding_shows_a_key_or_a_password(findings: dict[str, checks.Finding]) -> None:
    assert "tiny at http://me:•••@127.0.0.1:8000/v1" in findings["Local server (external)"].detail
    assert PASSWORD not in repr(findings)
    assert KEY not in repr(findings)


class Unasked(Patient):
    """A core with an embedded server in ``phase``; asking it fails the test."""

    def __init__(self, home: Path, phase: Any) -> None:
        super().__init__(home)
        self.settings = SettingsStore(home, env={"LOCAL_SERVER": "embedded"})
        self.phase = phase

    async def status(self) -> Any:
        local = ServerState(phase=self.phase, kind="embedded", detail="exited")
        return SimpleNamespace(local=local, problems=(), queue=None)


@pytest.mark.parametrize(
    ("phase", "state"), [("ready", "works"), ("failed", "broken"), ("stopped", "not_set_up")]
)
async def test_the_embedded_server_can_be_looked_at_without_a_request(
    home: Path, monkeypatch: pytest.MonkeyPatch, phase: str, state: str
) -> None:
    monkeypatch.setattr(checks, "CHECK_TIMEOUT_S", 0.5)
    found = {f.component: f for f in await checks.examine(Unasked(home, phase), ask_local=False)}
    assert found["Local server (embedded)"].state == state


# -- the books of a core that runs ------------------------------------------------------------------------------


async def found(core: RouterCore) -> dict[str, checks.Finding]:
    return {finding.component: finding for finding in await core.doctor(ask_local=False)}


async def test_whole_books_are_said_to_be_whole(home: Path) -> None:
    async with two_sides(home, DAILY_TOKEN_BUDGET="100000") as sides:
        await sides.events()
        findings = await found(sides.core)
    assert "1 row, sums agree" in findings["Ledger"].detail
    assert "unbroken" in findings["Audit log"].detail
    assert findings["Limits"].detail == "tested, and they hold: SPEND_LIMIT_DOLLARS, DAILY_TOKEN_BUDGET"
    for name in ("Ledger", "Audit log", "Limits", "Costs not settled", "Paused conversations", "Prices"):
        assert (findings[name].state, findings[name].hint) == ("works", "")
    assert findings["Telemetry"].state == "not_set_up"


async def test_a_ledger_changed_behind_its_back_is_found(home: Path) -> None:
    async with two_sides(home) as sides:
        await sides.events("hi", force="api")
    with sqlite3.connect(home / "ledger.sqlite3") as database:
        database.execute("UPDATE ledger_attempts SET counted_nanodollars = 1, cost_nanodollars = 1")
    database.close()
    async with two_sides(home) as sides:
        findings = await found(sides.core)
    for name in ("Ledger", "Audit log", "Limits"):
        assert (findings[name].state, findings[name].needed) == ("broken", True)
        assert findings[name].hint
    assert "SPEND_LIMIT_DOLLARS" in findings["Limits"].detail


async def test_a_long_audit_log_is_left_to_its_own_command(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_checks, "MOST_AUDIT_ENTRIES", 1)
    async with two_sides(home) as sides:
        await sides.events()
        audit = (await found(sides.core))["Audit log"]
    assert "too many to verify here" in audit.detail
    assert "signalbox audit verify" in audit.hint


async def test_what_waits_for_a_person_is_named(home: Path) -> None:
    async with two_sides(home, RUNAWAY_REQUESTS_PER_MINUTE="1") as sides:
        sides.api.replies.append(Says("one ", "two", cut_after=1))
        for _ in range(2):
            await sides.events("hi", force="api", conversation_id="loop")
        findings = await found(sides.core)
    paused, unresolved = findings["Paused conversations"], findings["Costs not settled"]
    assert (paused.state, paused.needed) == ("broken", False)
    assert "signalbox resume" in paused.hint
    assert "the true cost of 1 request never came" in unresolved.detail
    assert "signalbox holds" in unresolved.hint


async def test_files_of_the_users_own_that_are_not_used_are_named(home: Path) -> None:
    (home / "prices.json").write_text("{nonsense")
    (home / "templates").mkdir()
    (home / "templates" / "llama.toml").write_text("[system")
    async with two_sides(home) as sides:
        findings = await found(sides.core)
    for name, file in (("Prices", "prices.json"), ("Prompt templates", "llama.toml")):
        assert findings[name].state == "broken"
        assert file in findings[name].detail + findings[name].hint


async def test_where_answers_are_kept_is_told_and_whether_they_can_be(home: Path) -> None:
    async with two_sides(home) as sides:
        kept = (await found(sides.core))["Kept answers"]
        assert (kept.state, kept.needed) == ("works", False)
        assert "24 hours" in kept.detail
        assert str(home / "answers.sqlite3") in kept.detail
        (home / "answers.sqlite3").write_text("notes " * 1000)
        await sides.events("hi", force="api", idempotency_key="k")
        kept = (await found(sides.core))["Kept answers"]
        assert kept.state == "broken"
        assert "not a database" in kept.detail
    async with two_sides(home, IDEMPOTENCY_KEEP_HOURS="0") as sides:
        kept = (await found(sides.core))["Kept answers"]
    assert (kept.state, "in memory only" in kept.detail) == ("works", True)


async def test_a_model_without_a_price_is_told_how_to_get_one(home: Path) -> None:
    async with two_sides(home, ANTHROPIC_MODEL="claude-nobody-knows") as sides:
        prices = (await found(sides.core))["Prices"]
    assert prices.state == "broken"
    assert "signalbox prices set claude-nobody-knows" in prices.hint


async def test_the_local_servers_own_load_is_told(home: Path) -> None:
    metrics = Metrics(running=3, waiting=2, kv_cache_usage=0.5)
    async with two_sides(home, local_metrics=metrics) as sides:
        load = (await found(sides.core))["Local load"]
    assert (load.state, load.needed) == ("works", False)
    assert load.detail == "3 running, 2 waiting, 50% of its KV cache used"
    assert "LOCAL_MAX_WAIT_S" in load.hint
    async with two_sides(home) as sides:
        load = (await found(sides.core))["Local load"]
    assert load.state == "not_set_up"
    assert "LOCAL_MAX_CONCURRENT" in load.hint


async def test_telemetry_that_cannot_be_served_is_told(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with two_sides(home, METRICS_PORT=str(taken.getsockname()[1])) as sides:
            telemetry = (await found(sides.core))["Telemetry"]
    assert (telemetry.state, telemetry.needed) == ("broken", False)
    assert "METRICS_PORT" in telemetry.detail


async def test_only_a_taken_port_may_be_the_panels_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with two_sides(home) as sides:

        async def found_problem(core: Any, kind: str) -> list[str]:
            return ["OpenTelemetry is not installed"]

        monkeypatch.setattr(ledger_checks, "_problems", found_problem)
        monkeypatch.setattr(
            sides.core,
            "settings",
            SettingsStore(home, env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}),
        )
        telemetry = await ledger_checks.telemetry(sides.core)
    assert (telemetry.state, telemetry.hint) == ("broken", "")


@pytest.mark.parametrize(("kind", "needed"), [("compose", True), ("none", False)])
async def test_docker_is_needed_where_the_local_server_is_a_container(
    home: Path, monkeypatch: pytest.MonkeyPatch, kind: str, needed: bool
) -> None:
    monkeypatch.setattr(checks, "CHECK_TIMEOUT_S", 0.5)
    monkeypatch.setenv("PATH", str(home))
    target = Patient(home)
    target.settings = SettingsStore(home, env={"LOCAL_SERVER": kind})
    docker = {each.component: each for each in await checks.examine(target)}["Docker"]
    assert (docker.state, docker.needed) == ("missing", needed)
    assert "docs.docker.com/engine/install" in docker.hint


class Contained(Patient):
    """A core whose local server is a container in ``now``."""

    def __init__(self, home: Path, now: ServerState) -> None:
        super().__init__(home)
        self.settings = SettingsStore(home, env={"LOCAL_SERVER": "compose"})
        self.now = now
        self.asked: list[str] = []

    async def seen_local(self) -> ServerState:
        return self.now

    async def test_vllm(self, base_url: str, api_key: str | None = None) -> CheckResult:
        self.asked.append(base_url)
        return await super().test_vllm(base_url, api_key)


FAILURE = ServerFailure(kind="daemon_down", what="The Docker engine does not answer.", fix="Start it.")


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (ServerState(phase="stopped", kind="compose"), ("not_set_up", "the container is stopped", False)),
        (
            ServerState(phase="failed", kind="compose", failure=FAILURE),
            ("broken", "The Docker engine does not answer.", True),
        ),
        (
            ServerState(phase="ready", kind="compose", base_url="http://127.0.0.1:8123/v1"),
            ("works", "tiny at http://127.0.0.1:8123/v1, 1 ms", True),
        ),
    ],
)
async def test_of_a_container_is_told_what_is_seen_of_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, now: ServerState, said: tuple[str, str, bool]
) -> None:
    monkeypatch.setenv("PATH", str(home))
    monkeypatch.setattr(checks, "CHECK_TIMEOUT_S", 0.5)
    core = Contained(home, now)
    found = {f.component: f for f in await checks.examine(core)}["Local server (compose)"]
    assert (found.state, found.detail, found.needed) == said
    assert core.asked == ([now.base_url] if now.base_url else [])
    if now.phase != "ready":
        assert found.hint.startswith("Start it")


async def test_docker_is_asked_where_the_container_shall_run(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = well(home / "bin")
    stub.answer("version --format {{.Server.Version}}", "28.3.0")
    stub.answer("compose version", "", stderr="docker: 'compose' is not a docker command.", code=1)
    monkeypatch.setenv("PATH", f"{home / 'bin'}:/usr/bin:/bin")
    target = Patient(home)
    target.ledger = Raises()  # one that hangs would be waited for
    target.settings = SettingsStore(home, env={"LOCAL_SERVER": "compose", "DOCKER_CONTEXT": "droplet"})
    docker = {each.component: each for each in await checks.examine(target)}["Docker"]
    assert (docker.state, docker.version, docker.needed) == ("broken", "28.3.0", True)
    assert "docker-compose-plugin" in docker.hint
    assert any(call.startswith("--context droplet version") for call in stub.calls)
