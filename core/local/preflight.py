"""What is looked at before a container is started: is everything there, and does the model fit?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from core.local.fit import FitEstimate

if TYPE_CHECKING:
    from core.local.preflight_facts import Asked

log = logging.getLogger(__name__)

CheckState = Literal["ok", "warning", "failed", "not_needed", "unknown"]
CheckName = Literal[
    "docker", "daemon", "compose", "nvidia_toolkit", "driver", "port", "disk", "token", "image", "fit"
]
CHECK_TIMEOUT_S = 25.0
"""How long one check may take. A question to Docker is given up some seconds earlier, and says so itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FixSetting:
    """A fix that one click applies: a vLLM setting and the value that would do (``max_model_len``, 16384)."""

    label: str
    name: str
    value: object


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightCheck:
    """One check. ``title`` is its line (``Port 8000``), ``found`` the fact at its right (``free``).

    ``fix`` is what to do where it is not ``ok``, ``commands`` shell commands to copy for it. ``matters``: the start
    would fail without it.
    """

    name: CheckName
    title: str
    state: CheckState
    found: str = ""
    fix: str = ""
    matters: bool = True
    commands: tuple[str, ...] = ()
    fix_setting: FixSetting | None = None

    @property
    def ok(self) -> bool:
        return self.state in ("ok", "not_needed")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightReport:
    """All checks in their order, when they were made (UTC), and the estimate behind the last one."""

    checks: tuple[PreflightCheck, ...]
    at: datetime
    fit: FitEstimate | None = None

    @property
    def blocks(self) -> bool:
        """Whether a check failed that matters."""
        return any(check.state == "failed" and check.matters for check in self.checks)


@dataclass(slots=True)
class Notes:
    """What a check leaves beside its line."""

    fit: FitEstimate | None = field(default=None)


Check = Callable[["Asked", Notes], Awaitable[PreflightCheck]]

TITLES: Mapping[CheckName, str] = {
    "docker": "Docker",
    "daemon": "Docker engine",
    "compose": "Compose v2",
    "nvidia_toolkit": "NVIDIA container toolkit",
    "driver": "Driver",
    "port": "Port",
    "disk": "Disk",
    "token": "Hugging Face token",
    "image": "Image",
    "fit": "Fit",
}


async def examine(asked: Asked, *, timeout_s: float = CHECK_TIMEOUT_S) -> PreflightReport:
    """Make all checks at once; one that hangs is ``unknown`` and holds up no other."""
    from core.local.preflight_docker import DOCKER_CHECKS
    from core.local.preflight_model import MODEL_CHECKS

    checks: dict[CheckName, Check] = {**DOCKER_CHECKS, **MODEL_CHECKS}
    notes = Notes()
    try:
        made = await asyncio.gather(*(_made(name, checks[name], asked, notes, timeout_s) for name in TITLES))
    finally:
        await asked.close()
    return PreflightReport(checks=tuple(made), at=datetime.now(UTC), fit=notes.fit)


async def _made(
    name: CheckName, check: Check, asked: Asked, notes: Notes, timeout_s: float
) -> PreflightCheck:
    blank = PreflightCheck(name=name, title=TITLES[name], state="unknown")
    try:
        async with asyncio.timeout(timeout_s):
            return await check(asked, notes)
    except TimeoutError:
        return replace(
            blank, found=f"no answer within {timeout_s:g} s", fix="Something hangs there. Check again."
        )
    except Exception:
        # One that breaks over what this machine says must not take the others' answers with it.
        log.exception("the pre-flight check %s broke", name)
        return replace(blank, found="could not be checked", fix="The log says why.")
