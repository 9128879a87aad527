"""Pulls the image and brings the container up, and says why where that fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace

from core.base.redaction import redact
from core.local import compose_log
from core.local.compose_output import ComposeOutput
from core.local.compose_project import ComposeProject, ServiceConfig, is_remote_endpoint
from core.local.compose_start import StartProgress
from core.local.docker_cli import DockerError
from core.local.port_owner import owner_of
from core.local.server import ServerFailure

log = logging.getLogger(__name__)

_UP_WITHIN_S = 600.0


class ComposeLauncher:
    """Runs ``docker compose pull`` and ``up``; who cancels one of these ends the command."""

    def __init__(self, project: ComposeProject, clock: Callable[[], float]) -> None:
        self._project = project
        self._clock = clock

    async def pull_unless_here(self, config: ServiceConfig, start: StartProgress) -> None:
        """Pull the image where it is not there yet, and tell ``start`` how far that is.

        Raises:
            DockerError: it can't be had, by kind.
        """
        if config.is_built:
            start.skip_pull("built here")
            return
        found = await self._project.cli.run("image", "inspect", "--format", "{{.Id}}", config.image)
        if found.returncode == 0:
            start.skip_pull("already here")
            return
        if config.pull_policy == "never":
            raise DockerError(
                ServerFailure(
                    kind="image_missing",
                    what=f"The image {config.image} is not here, and the compose file forbids to pull it.",
                    fix="Build or load it, or take pull_policy: never out.",
                )
            )
        output = ComposeOutput()
        begun_s = self._clock()

        def heard() -> None:
            now_s = self._clock()
            start.pulling(output.pull_step(now_s, now_s - begun_s))

        heard()
        await self._compose(config, output, "pull", config.service, on_line=heard)

    async def up(self, config: ServiceConfig) -> None:
        """Create the container where it is not there, or is another than the files say, and start it.

        Raises:
            DockerError: it could not be started, by kind.
        """
        try:
            async with asyncio.timeout(_UP_WITHIN_S):
                await self._compose(config, ComposeOutput(), "up", "--detach", config.service)
        except TimeoutError:
            raise DockerError(
                ServerFailure(
                    kind="timed_out",
                    what=f"Docker has not created the container within {_UP_WITHIN_S / 60:.0f} min.",
                    fix="See what Docker does (docker ps), then start it again.",
                    commands=(self._project.shell_line("up", "--detach", config.service),),
                )
            ) from None

    async def _compose(
        self,
        config: ServiceConfig,
        output: ComposeOutput,
        *verb: str,
        on_line: Callable[[], None] = lambda: None,
        style: str = "json",
    ) -> None:
        """Run Compose and read what it tells.

        Raises:
            DockerError: it could not do it, by kind.
        """
        cli = self._project.cli
        arguments = self._project.arguments("--progress", style, *verb)
        async with cli.started(*arguments, one_pipe=True) as process:
            assert process.stdout is not None
            async for line in process.stdout:
                output.feed(line.decode("utf-8", errors="replace"))
                on_line()
            returncode = await process.wait()
        if returncode == 0:
            return
        if style == "json" and "progress" in output.error and "unsupported" in output.error.lower():
            await self._compose(config, ComposeOutput(), *verb, on_line=on_line, style="plain")
            return
        raise DockerError(await self._why_not(config, output.error, verb[0]))

    async def _why_not(self, config: ServiceConfig, words: str, verb: str) -> ServerFailure:
        log.warning("docker compose %s: %s", verb, redact(words))
        if (failure := self._project.cli.engine_failure(words)) is not None:
            return failure
        port = None if config.port is None else config.port.published
        failure = compose_log.explain_command(words, image=config.image, port=port)
        if failure.kind == "port_taken" and port is not None:
            failure = compose_log.explain_command(
                words, image=config.image, port=port, taken_by=await self._who_has(port)
            )
        if failure.kind in ("image_missing", "pull_failed"):
            failure = replace(failure, commands=(self._project.shell_line("pull", config.service),))
        return failure

    async def _who_has(self, port: int) -> str:
        with contextlib.suppress(DockerError):
            names = await self._project.cli.output(
                "ps", "--filter", f"publish={port}", "--format", "{{.Names}}"
            )
            if names.split():
                return f"the container {names.split()[0]}"
            if not is_remote_endpoint((await self._project.endpoint()).address):
                return await asyncio.to_thread(owner_of, port)
        return ""
