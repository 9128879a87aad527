"""What the doctor says of a component, and what it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from core.chat import ChatRequest, ChatResult
    from core.errors import KeyHeldBack
    from core.keys import KeyName, KeyStore
    from core.pricing.prices import PriceTable
    from core.providers.base import CheckResult
    from core.services.ledger import LedgerService
    from core.services.status import CoreStatus
    from core.settings import SettingsStore

State = Literal["works", "missing", "broken", "not_set_up"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One component. ``needed`` is false where Signalbox works without it; ``hint`` says what to do."""

    component: str
    state: State
    version: str = ""
    detail: str = ""
    hint: str = ""
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Component:
    """What is looked at. ``needed`` is false where Signalbox works without it, whatever is wrong with it.

    A finding of it may say otherwise: what is not used need not be set up.
    """

    name: str
    needed: bool = True

    def found(
        self,
        state: State,
        detail: str = "",
        hint: str = "",
        *,
        version: str = "",
        needed: bool | None = None,
    ) -> Finding:
        return Finding(
            component=self.name,
            state=state,
            version=version,
            detail=detail,
            hint=hint,
            needed=self.needed if needed is None else needed,
        )


class DoctorTarget(Protocol):
    """What is looked at; ``RouterCore`` is one."""

    settings: SettingsStore
    keys: KeyStore
    prices: PriceTable

    @property
    def vllm_key(self) -> str | None: ...

    @property
    def home(self) -> Path: ...

    @property
    def ledger(self) -> LedgerService: ...

    @property
    def has_api_key(self) -> bool: ...

    def key_held_back(self, name: KeyName) -> KeyHeldBack | None: ...

    async def ask(self, request: ChatRequest) -> ChatResult: ...

    async def status(self) -> CoreStatus: ...

    async def test_anthropic_key(self) -> CheckResult: ...

    async def test_vllm(self, base_url: str, api_key: str | None = None) -> CheckResult: ...
