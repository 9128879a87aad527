"""A core for panel tests: the real settings and the real key store, everything slow or remote scripted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import keyring.backend
import keyring.errors

from core.base.net import origin_of
from core.chat import Side
from core.errors import InvalidRequest, SignalboxError
from core.keys import KeyName, KeyStatus, KeyStore, held_back_typed
from core.ledger.models import ArmedLimit, LedgerRow, ReportKey, ReportRow
from core.local.server import ServerState
from core.local.server_log import LogLine, LogPage, level_of
from core.model_list import ListedModel, ModelList
from core.providers.base import CheckResult
from core.services.key_reader import address_of, given_key
from core.services.setting_check import SettingDoubt
from core.services.status import ApiStatus, CoreStatus, Problem
from core.settings import SettingsStore
from tests.support.fake_vllm import FakeVllm
from tests.support.fake_watch import FakeShelf, FakeWatch

_TIME = re.compile(r"\d\d:\d\d:\d\d")


class MemoryKeyring(keyring.backend.KeyringBackend):
    """A keyring that forgets everything with the test."""

    priority = 1
    name = "Memory"

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if self.kept.pop((service, username), None) is None:
            raise keyring.errors.PasswordDeleteError("no such password")


def core_status(**changes: object) -> CoreStatus:
    """A calm status: local stopped, no key, nothing spent."""
    calm = CoreStatus(
        local=ServerState(phase="stopped", kind="embedded", model="SmolLM2-135M-Instruct"),
        api=ApiStatus(phase="no_key", model="claude-sonnet-4-6-20260501"),
        local_requests_today=0,
        routing_threshold=3000,
        routing_mode="hybrid",
        month="June",
        budget=None,
        problems=(),
    )
    return replace(calm, **changes)  # type: ignore[arg-type]


class FakeCore:
    """``calls`` records what was asked for. ``anthropic`` and ``vllm_check`` are what a test of them finds."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.settings = SettingsStore(home)
        self.keys = KeyStore(timeout_s=5.0)
        self.calls: list[tuple[object, ...]] = []
        self.anthropic: CheckResult | SignalboxError = CheckResult(models=("a", "b"), latency_ms=312.4)
        self.vllm_check: CheckResult | SignalboxError = CheckResult(
            models=("qwen2.5-coder-14b",), latency_ms=41.2
        )
        self.checked: SettingDoubt | SignalboxError | None = None
        """What becomes of a setting that is looked at before it is set."""
        self.findings: list[object] = []
        self.log: list[str] = []
        self.local_after_start = ServerState(phase="ready", kind="embedded", model="SmolLM2-135M-Instruct")
        self.now = core_status()
        self.ledger = FakeLedger(self)
        self.models = FakeModels(self)
        self.vllm = FakeVllm()
        self.machine, self.local_models = FakeWatch(), FakeShelf()
        self._listeners: list[Callable[[CoreStatus], None]] = []

    async def start(self) -> None:
        self.publish()

    async def stop(self) -> None:
        self._listeners = []

    def subscribe(self, listener: Callable[[CoreStatus], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: None

    def publish(self, **changes: object) -> None:
        self.now = replace(self.now, **changes)  # type: ignore[arg-type]
        for listener in list(self._listeners):
            listener(self.now)

    async def status(self) -> CoreStatus:
        return self.now

    async def start_local(self) -> None:
        self.calls.append(("start_local", self.settings.current.local_server))
        self.publish(local=self.local_after_start)

    async def stop_local(self) -> None:
        self.calls.append(("stop_local",))
        self.publish(local=ServerState(phase="stopped", kind="embedded"))

    async def restart_local(self) -> None:
        self.calls.append(("restart_local",))
        self.publish(local=self.local_after_start)

    async def drain_local(self, drained: bool) -> None:
        self.calls.append(("drain_local", drained))
        self.publish(local_drained=drained)

    def local_log(self, lines: int = 200) -> list[str]:
        return self.log[-lines:]

    def local_log_page(self, cursor: int = 0, most: int = 2000) -> LogPage:
        """``log`` as pages; a line's number is its place, and a time at its beginning is the line's own."""
        lines = tuple(_log_line(number, text) for number, text in enumerate(self.log[cursor:][:most], cursor))
        return LogPage(lines=lines, next_cursor=cursor + len(lines))

    async def key_status(self, name: KeyName) -> KeyStatus:
        status = await self.keys.status(name, self._address(name))
        return replace(status, address=origin_of(self._address(name)))

    async def set_key(self, name: KeyName, key: str) -> KeyStatus:
        self.calls.append(("set_key", name))
        return await self.keys.set(name, key, self._address(name))

    async def allow_key(self, name: KeyName, address: str) -> KeyStatus:
        self.calls.append(("allow_key", name, address))
        return await self.keys.allow(name, address)

    async def test_key(
        self, name: KeyName, key: str | None = None, *, confirmed: bool = False
    ) -> CheckResult:
        address = self._address(name)
        held_back = held_back_typed(name, key, address) if key and not confirmed else None
        if held_back is not None:
            raise held_back
        if name == "anthropic":
            return await self.test_anthropic_key(key)
        if name == "huggingface":
            return CheckResult(models=(), latency_ms=80.0, server="it is ada's")
        return await self.test_vllm(address, key or await self.vllm_key_for(address))

    async def vllm_key_for(self, base_url: str) -> str | None:
        given = given_key("vllm", self.settings.current)
        stored = None if given is not None else await self.keys.read("vllm")
        if stored is not None and (held_back := stored.held_back_from(base_url)) is not None:
            raise held_back
        return given.get_secret_value() if given is not None else stored.secret if stored else None

    def _address(self, name: KeyName) -> str:
        return address_of(name, self.settings)

    async def delete_key(self, name: KeyName) -> KeyStatus:
        self.calls.append(("delete_key", name))
        return await self.keys.delete(name)

    async def test_anthropic_key(self, key: str | None = None) -> CheckResult:
        self.calls.append(("test_anthropic_key", key))
        return _found(self.anthropic)

    async def check_setting(self, name: str, value: object) -> SettingDoubt | None:
        self.calls.append(("check_setting", name, value))
        if isinstance(self.checked, SignalboxError):
            raise self.checked
        return self.checked

    async def try_api_again(self) -> CheckResult:
        self.calls.append(("try_api_again",))
        return _found(self.anthropic)

    async def test_vllm(self, base_url: str, api_key: str | None = None) -> CheckResult:
        self.calls.append(("test_vllm", base_url, api_key))
        return _found(self.vllm_check)

    async def doctor(self, *, ask_local: bool = True) -> list[object]:
        self.calls.append(("doctor", ask_local))
        return self.findings


class FakeLedger:
    """``rows`` are all attempts, ``open_holds`` run, ``left`` have no known end."""

    def __init__(self, core: FakeCore) -> None:
        self._core = core
        self.armed: list[ArmedLimit] = []
        self.reported: list[ReportRow] = []
        self.rows: list[LedgerRow] = []
        self.open_holds: list[LedgerRow] = []
        self.left: list[LedgerRow] = []
        self.error: SignalboxError | None = None

    async def recent(self, limit: int = 100, *, before: str | None = None) -> list[LedgerRow]:
        del before
        return self.rows[:limit]

    async def attempts(self, correlation_id: str) -> list[LedgerRow]:
        return [row for row in self.rows if row.correlation_id == correlation_id]

    async def holds(self) -> list[LedgerRow]:
        self._core.calls.append(("holds",))
        if self.error is not None:
            raise self.error
        return list(self.open_holds)

    async def unresolved(self, limit: int = 100) -> list[LedgerRow]:
        return self.left[:limit]

    async def resume(self, conversation: str) -> bool:
        self._core.calls.append(("resume", conversation))
        left = tuple(paused for paused in self._core.now.paused if paused.conversation != conversation)
        self._core.publish(paused=left)
        return True

    async def test_limits(self) -> tuple[ArmedLimit, ...]:
        self._core.calls.append(("test_limits",))
        return tuple(self.armed)

    async def report(
        self, since: datetime | None = None, by: ReportKey = "provider", *, daily: bool = False
    ) -> list[ReportRow]:
        del daily
        self._core.calls.append(("report", since, by))
        return list(self.reported)

    async def resolve(
        self, correlation_id: str, nanodollars: int, *, attempt: int | None = None
    ) -> LedgerRow:
        del attempt
        self._core.calls.append(("resolve", correlation_id, nanodollars))
        row = next((row for row in self.left if row.correlation_id == correlation_id), None)
        if row is None:
            raise InvalidRequest(f"{correlation_id} isn't unresolved.", hint="Nothing was changed.")
        self.left.remove(row)
        self._core.publish()
        return replace(row, state="settled", cost_nanodollars=nanodollars)

    async def set_aside(self) -> Path:
        self._core.calls.append(("set_ledger_aside",))
        self._core.publish(problems=())
        return self._core.home / "ledger.sqlite3.aside-1"


def ledger_row(correlation_id: str = "0197-a", **changes: object) -> LedgerRow:
    """An API request whose end is not known, held at two cents."""
    row = LedgerRow(
        correlation_id=correlation_id,
        attempt=1,
        started_at=datetime(2026, 6, 18, 14, 32, tzinfo=UTC),
        day="2026-06-18",
        source="chat",
        project=None,
        mode="hybrid",
        rule="complex",
        side="api",
        provider="anthropic",
        model="claude-sonnet-4-6",
        served_model=None,
        status="failed",
        state="unresolved",
        hold_nanodollars=20_000_000,
        cost_nanodollars=None,
        counted_nanodollars=20_000_000,
        loaded_nanodollars=None,
        price_version=None,
        usage=None,
        latency_ms=None,
        ttft_ms=None,
        error_kind="timed_out",
        decision_json=None,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def ledger_problem() -> Problem:
    return Problem(
        kind="ledger",
        title="The ledger can't be used",
        message="ledger.sqlite3 is not a SQLite file; it was left untouched.",
        hint="Start a new ledger.",
    )


def _log_line(number: int, text: str) -> LogLine:
    """Take a time and a level at a line's beginning out of it, as the real log does."""
    time, _, rest = text.partition(" ")
    at, words = (time, rest) if _TIME.fullmatch(time) else ("", text)
    level = level_of(words)
    head, _, message = words.partition(" ")
    return LogLine(number=number, text=message if head.lower() == level else words, level=level, at=at)


def _found(outcome: CheckResult | SignalboxError) -> CheckResult:
    if isinstance(outcome, SignalboxError):
        raise outcome
    return outcome


class FakeModels:
    """The lists of models: a test writes what each side has in ``lists``."""

    def __init__(self, core: FakeCore) -> None:
        self._core = core
        now = datetime.now(UTC)
        local = ListedModel(id="SmolLM2-135M-Instruct", context_tokens=4096)
        sonnet = ListedModel(
            id="claude-sonnet-4-6",
            name="Claude Sonnet 4.6",
            context_tokens=1_000_000,
            input_nanodollars_per_mtok=3_000_000_000,
            output_nanodollars_per_mtok=15_000_000_000,
        )
        zebra = ListedModel(id="claude-zebra-9", name="Claude Zebra 9")
        self.lists: dict[Side, ModelList] = {
            "local": ModelList(side="local", models=(local,), default_model=local.id, read_at=now),
            "api": ModelList(side="api", models=(sonnet, zebra), default_model=sonnet.id, read_at=now),
        }
        self._read: dict[Side, ModelList] = {}

    def latest(self, side: Side) -> ModelList:
        return self._read.get(side, ModelList(side=side))

    async def read(self, side: Side, *, refresh: bool = False) -> ModelList:
        self._core.calls.append(("read models", side, refresh))
        self._read[side] = self.lists[side]
        return self.lists[side]
