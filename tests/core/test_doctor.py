"""The doctor says what is wrong with each component: in time, without secrets, and without dying of one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core import doctor
from core.chat import ChatRequest
from core.errors import Unavailable
from core.local.server import ServerState
from core.providers.base import CheckResult
from core.settings import SettingsStore

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
        self.vllm_key = None
        self.has_api_key = True

    async def ask(self, request: ChatRequest) -> Any:
        raise AssertionError("nothing is asked of a server that somebody else runs")

    async def status(self) -> Any:
        raise AssertionError("only an embedded server's state is read")

    async def test_anthropic_key(self) -> CheckResult:
        raise Unavailable(f"Refused x-api-key: {KEY}", hint=f"Look at https://me:{PASSWORD}@example")

    async def test_vllm(self, base_url: str, api_key: str | None = None) -> CheckResult:
        return CheckResult(models=("tiny",), latency_ms=1)


@pytest.fixture
async def findings(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, doctor.Finding]:
    monkeypatch.setattr(doctor, "CHECK_TIMEOUT_S", 0.5)
    async with asyncio.timeout(60):
        return {finding.component: finding for finding in await doctor.examine(Patient(home))}


async def test_a_check_that_hangs_is_a_finding(findings: dict[str, doctor.Finding]) -> None:
    ledger = findings["Ledger"]
    assert (ledger.state, ledger.needed) == ("broken", True)
    assert "0.5 s" in ledger.detail
    assert ledger.hint


async def test_an_optional_component_stays_optional_when_its_check_breaks(
    findings: dict[str, doctor.Finding],
) -> None:
    assert (findings["Keyring"].state, findings["Keyring"].needed) == ("broken", False)
    assert "RuntimeError" in findings["Keyring"].detail
    assert (findings["Anthropic API"].state, findings["Anthropic API"].needed) == ("broken", True)
    assert not findings["NVIDIA GPU"].needed
    assert not findings["Docker"].needed


async def test_no_finding_shows_a_key_or_a_password(findings: dict[str, doctor.Finding]) -> None:
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
        return SimpleNamespace(local=ServerState(phase=self.phase, kind="embedded", detail="exited"))


@pytest.mark.parametrize(
    ("phase", "state"), [("ready", "works"), ("failed", "broken"), ("stopped", "not_set_up")]
)
async def test_the_embedded_server_can_be_looked_at_without_a_request(
    home: Path, monkeypatch: pytest.MonkeyPatch, phase: str, state: str
) -> None:
    monkeypatch.setattr(doctor, "CHECK_TIMEOUT_S", 0.5)
    found = {f.component: f for f in await doctor.examine(Unasked(home, phase), ask_local=False)}
    assert found["Local server (embedded)"].state == state
