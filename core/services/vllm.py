"""The vLLM container's settings, its pre-flight checks and the Docker contexts, for the panel and the CLI."""

from __future__ import annotations

from datetime import UTC, datetime

from core.local.preflight import PreflightReport
from core.local.vllm_settings import DockerContext, VllmPlan, VllmSettings


class VllmService:
    """``commands`` are what Signalbox runs to start it, as shell lines to copy (no secret in them)."""

    async def settings(self) -> VllmSettings:
        """Return what the form shows: what the user set, without the compose file's own."""
        return VllmSettings()

    async def plan(self, wanted: VllmSettings) -> VllmPlan:
        """Say what applying ``wanted`` would do, without doing it."""
        return VllmPlan(faults=(), diff="", effective=wanted, restart_needed=False)

    async def apply(self, wanted: VllmSettings) -> VllmPlan:
        """Write the override file; returns the plan that was carried out.

        Raises:
            InvalidRequest: a field can't be applied; nothing was written.
        """
        return await self.plan(wanted)

    async def preflight(self, wanted: VllmSettings | None = None) -> PreflightReport:
        """Look at everything that a start needs; ``wanted`` instead of what is set."""
        del wanted
        return PreflightReport(checks=(), at=datetime.now(UTC))

    async def contexts(self) -> tuple[DockerContext, ...]:
        """Return the Docker contexts of this user, and Podman's socket where there is one."""
        return ()

    async def choose_context(self, name: str) -> None:
        """Use another context from the next start on.

        Raises:
            InvalidRequest: there is none of that name, or a container of ours runs where we are now.
        """

    async def commands(self) -> tuple[str, ...]:
        """Return the shell lines that start it as Signalbox does."""
        return ()
