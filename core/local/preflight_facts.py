"""What several pre-flight checks need: each is asked for once, by the first that wants it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from core.base.async_tools import in_daemon_thread
from core.local.compose_project import ServiceConfig, is_remote_endpoint
from core.local.docker_cli import DockerError
from core.local.fit import FitEstimate, FitQuestion, estimate
from core.local.gpu_nvml import look_once
from core.local.gpu_sample import GpuReading, GpuSurvey, MachineSample
from core.local.model_facts import ModelFacts, facts_of, hub_folders
from core.local.preflight import PreflightCheck
from core.local.server import ServerFailure
from core.local.vllm_base import PlainProject, read_base
from core.local.vllm_override import BaseService
from core.local.vllm_settings import VllmSettings, changed_command, grouped, settings_of, with_tag

DRIVER_TIMEOUT_S = 8.0
DEFAULT_SHARE = 0.92
"""What vLLM v0.32 takes of a GPU's memory where nobody says."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What would be started: the service, its command line and its image with the form's values in them."""

    base: BaseService
    service: ServiceConfig
    effective: VllmSettings
    image: str


@dataclass(slots=True, kw_only=True)
class Asked:
    """``token`` reads the Hugging Face token, ``sample`` what the machine's watch saw last.

    ``hubs`` are folders of Hugging Face's cache; ``concurrency`` how many requests run at once.
    """

    project: PlainProject
    wanted: VllmSettings
    token: Callable[[], Awaitable[str | None]]
    sample: Callable[[], MachineSample | None] = lambda: None
    concurrency: int = 1
    hubs: Sequence[Path] = field(default_factory=hub_folders)
    driver_look: Callable[[], GpuSurvey] = look_once
    _tasks: dict[str, asyncio.Task[Any]] = field(default_factory=dict[str, "asyncio.Task[Any]"])

    async def _once(self, name: str, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task = self._tasks.get(name)
        if task is None:
            task = self._tasks[name] = asyncio.ensure_future(ask())
        return await asyncio.shield(task)  # a check that gives up leaves the answer to the others

    async def close(self) -> None:
        """End what is still being asked."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def info(self) -> dict[str, Any]:
        """Return what ``docker info`` says.

        Raises:
            DockerError: no engine answers.
        """
        return await self._once("info", self._info)

    async def _info(self) -> dict[str, Any]:
        cli = self.project.cli
        done = await cli.run("info", "--format", "{{json .}}")
        try:
            found: Any = json.loads(done.stdout)
        except ValueError:
            found = None
        info: dict[str, Any] = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        errors = info.get("ServerErrors")
        if errors or not info.get("ServerVersion"):
            said = (
                "\n".join(map(str, cast("list[object]", errors))) if isinstance(errors, list) else done.stderr
            )
            known = cli.engine_failure(said)
            raise DockerError(
                known
                or ServerFailure(
                    kind="daemon_down",
                    what="The Docker engine does not answer.",
                    fix="Start it, then check again.",
                    commands=(cli.shell_line("version"),),
                )
            )
        return info

    async def is_remote(self) -> bool:
        """Whether the engine runs on another machine, of which this one sees little.

        Raises:
            DockerError: Docker does not say where it is.
        """
        try:
            endpoint = await self._once("endpoint", self.project.endpoint)
            return is_remote_endpoint(endpoint.address)
        except DockerError as error:
            if error.failure.kind == "docker_missing" and self.project.cli.place is None:
                return False  # where it will be once it is installed
            raise

    async def planned(self) -> Planned:
        """Return what would be started.

        Raises:
            DockerError: nothing can read the compose file.
        """
        return await self._once("planned", self._planned)

    async def _planned(self) -> Planned:
        base, service = await read_base(self.project)
        tag = self.wanted.image_tag
        image = with_tag(base.image, tag) if tag else base.image
        effective = settings_of(changed_command(base.command, self.wanted), image)
        return Planned(base=base, service=service, effective=effective, image=image)

    async def driver(self) -> GpuSurvey:
        """Look at this machine's driver; one that hangs is a problem in words."""
        return await self._once("driver", self._driver)

    async def _driver(self) -> GpuSurvey:
        try:
            async with asyncio.timeout(DRIVER_TIMEOUT_S):
                return await in_daemon_thread(self.driver_look, name="preflight driver")
        except TimeoutError:
            return GpuSurvey(problem=f"The NVIDIA driver has not answered within {DRIVER_TIMEOUT_S:g} s.")

    async def gpus(self) -> tuple[GpuReading, ...]:
        """Return the GPUs that the container would have: this machine's, or a remote one's by its exporter."""
        if await self.is_remote():
            sample = self.sample()
            seen = [gpu for gpu in sample.gpus if gpu.source == "prometheus"] if sample is not None else []
        else:
            seen = list((await self.driver()).gpus)
        return tuple(gpu for gpu in seen if gpu.vram_total_bytes and not gpu.lost)

    async def facts(self) -> ModelFacts | None:
        """Return what is known of the model that would be started; ``None``: the command names none."""
        return await self._once("facts", self._facts)

    async def _facts(self) -> ModelFacts | None:
        model = (await self.planned()).effective.model
        if model is None:
            return None
        hubs = [] if await self.is_remote() else [*self.hubs, *await self._volume_hubs()]
        return await asyncio.to_thread(facts_of, model, hubs)

    async def _volume_hubs(self) -> list[Path]:
        """Return where the container's own cache lies on this machine; only root may look into most of them."""
        found: list[Path] = []
        planned = await self.planned()
        for source in planned.service.volumes:
            if source.startswith("/"):
                found += [Path(source, "hub"), Path(source)]
                continue
            name = f"{planned.service.project}_{source}"
            try:
                done = await self.project.cli.run("volume", "inspect", name, "--format", "{{.Mountpoint}}")
            except DockerError:
                return found
            if done.returncode == 0 and done.stdout.strip():
                found.append(Path(done.stdout.strip(), "hub"))
        return found

    async def estimate(self, gpus: Sequence[GpuReading]) -> FitEstimate | None:
        """Return the estimate for the smallest of ``gpus``; ``None`` where the command names no model."""
        facts, effective = await self.facts(), (await self.planned()).effective
        if facts is None:
            return None
        words = dict(grouped(effective.extra_args))
        cache = next(iter(words.get("--kv-cache-dtype", [])), "auto")
        most = next(iter(words.get("--max-num-seqs", [])), "")
        at_once = min(self.concurrency, int(most)) if most.isdigit() and int(most) else self.concurrency
        share = effective.gpu_memory_utilization
        return estimate(
            FitQuestion(
                facts=facts,
                quantization=effective.quantization,
                context_tokens=effective.max_model_len,
                concurrency=at_once,
                cache_bytes=1 if cache.startswith(("fp8", "int8")) else 2,
                gpus=effective.tensor_parallel_size or 1,
                gpu_bytes=min((gpu.vram_total_bytes for gpu in gpus if gpu.vram_total_bytes), default=None),
                machine_gpus=len(gpus) or None,
                share=DEFAULT_SHARE if share is None else share,
            )
        )


@dataclass(slots=True)
class Notes:
    """What a check leaves beside its line."""

    fit: FitEstimate | None = None


Check = Callable[[Asked, Notes], Awaitable[PreflightCheck]]
