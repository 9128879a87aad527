"""What is looked at before a container is started: is everything there, and does the model fit?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from core.local.fit import FitEstimate

CheckState = Literal["ok", "warning", "failed", "not_needed", "unknown"]
CheckName = Literal[
    "docker", "daemon", "compose", "nvidia_toolkit", "driver", "port", "disk", "token", "image", "fit"
]


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
