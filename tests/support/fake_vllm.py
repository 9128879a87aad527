"""The vLLM side of a scripted core: its settings, its pre-flight, its contexts; and made states of it."""

from __future__ import annotations

import asyncio
import difflib
from dataclasses import fields, replace
from datetime import UTC, datetime

from core.errors import InvalidRequest, SignalboxError
from core.local.fit import FitEstimate, FitOption
from core.local.preflight import FixSetting, PreflightCheck, PreflightReport
from core.local.server import ServerFailure, ServerState, StartStep
from core.local.vllm_settings import DockerContext, SettingFault, VllmPlan, VllmSettings

GB = 1_000_000_000
NOW = datetime(2026, 6, 18, 14, 14, tzinfo=UTC)
MODEL = "qwen2.5-coder-14b-instruct-awq"
STEPS = (
    StartStep(name="pull", status="skipped", detail="already here"),
    StartStep(name="create", status="done", elapsed_s=2.0),
    StartStep(name="load", status="running", progress=0.62, detail="shard 5 of 8", elapsed_s=108.0),
    StartStep(name="warm_up"),
)
STARTING = ServerState(
    phase="starting",
    kind="compose",
    detail="loading weights",
    model=MODEL,
    progress=0.62,
    eta_s=70.0,
    steps=STEPS,
    started_at=NOW,
    learnt_from=9,
    deadline_s=3600.0,
    last_line="Loading safetensors checkpoint shards: 62% | 5/8 [01:48<01:06]",
    docker_context="workstation",
    version="vLLM 0.11",
    verbs=frozenset({"stop"}),
)
READY = ServerState(
    phase="ready",
    kind="compose",
    model=MODEL,
    base_url="http://127.0.0.1:8000/v1",
    context_tokens=32_768,
    docker_context="workstation",
    version="vLLM 0.11",
    verbs=frozenset({"stop", "restart"}),
)
STOPPED = ServerState(
    phase="stopped", kind="compose", model=MODEL, docker_context="workstation", verbs=frozenset({"start"})
)
OUT_OF_MEMORY = ServerState(
    phase="failed",
    kind="compose",
    detail="out of GPU memory",
    model=MODEL,
    docker_context="workstation",
    version="vLLM 0.11",
    verbs=frozenset({"start"}),
    failure=ServerFailure(
        kind="gpu_out_of_memory",
        what="At 14:09:08 vLLM asked for 1.25 GB more than the card had. The context is set to 32 k.",
        fix="Lower the longest request, or the share of GPU memory that vLLM takes.",
        log=(
            "14:09:08 ERR CUDA out of memory. Tried to allocate 1.25 GiB",
            "14:09:09 INF Container exited, code 137",
        ),
        exit_code=137,
        commands=("docker compose -f docker-compose.yml logs vllm",),
    ),
)
CHECKS = (
    PreflightCheck(name="docker", title="Docker", state="ok", found="28.3"),
    PreflightCheck(name="daemon", title="Docker's engine", state="ok", found="28.3"),
    PreflightCheck(name="compose", title="Compose v2", state="ok", found="2.39"),
    PreflightCheck(name="nvidia_toolkit", title="NVIDIA toolkit", state="ok", found="1.17"),
    PreflightCheck(name="driver", title="Driver", state="ok", found="570.86, CUDA 12.8"),
    PreflightCheck(name="port", title="Port 8000", state="ok", found="free"),
    PreflightCheck(name="disk", title="Disk", state="ok", found="212 GB left"),
    PreflightCheck(
        name="fit",
        title="Fit: 20.9 GB of 24.0 GB at 32 k context",
        state="warning",
        found="over the 85 % line",
        fix="Lower the context to 16 k and it needs 18.3 GB.",
        fix_setting=FixSetting(label="Use 16 k", name="max_model_len", value=16_384),
    ),
    PreflightCheck(name="token", title="Hugging Face token", state="not_needed", found="not needed"),
)
FIT = FitEstimate(
    model="Qwen/Qwen2.5-Coder-14B-Instruct-AWQ",
    verdict="tight",
    parameters=14_770_000_000,
    bits_per_weight=4.25,
    context_tokens=32_768,
    weights_bytes=8 * GB,
    kv_cache_bytes=11 * GB,
    overhead_bytes=2 * GB,
    needed_bytes=round(20.9 * (1 << 30)),
    available_bytes=24 << 30,
    formula="14.8 billion weights x 4.25 bits + 32,768 tokens x 192 KiB + 1.9 GB = 20.9 GB",
    source="parameters from config.json; overhead measured on vLLM 0.32",
    options=(
        FitOption(
            name="max_model_len", value=16_384, needed_bytes=int(18.3 * 2**30), words="16 k of context"
        ),
    ),
)
TAKEN = PreflightCheck(
    name="port",
    title="Port 8000",
    state="failed",
    found="taken by python3 (4711)",
    fix="End that program, or set another VLLM_PORT.",
    commands=("kill 4711",),
)


def report(*changed: PreflightCheck) -> PreflightReport:
    """The checks of a good machine, with some of them otherwise."""
    by_name = {check.name: check for check in changed}
    return PreflightReport(checks=tuple(by_name.get(check.name, check) for check in CHECKS), at=NOW, fit=FIT)


class FakeVllm:
    """``now`` is what is set, ``found`` what a pre-flight finds, ``gate`` holds it up; ``calls`` were asked for."""

    def __init__(self) -> None:
        self.now = VllmSettings()
        self.own = VllmSettings(
            model="Qwen/Qwen2.5-7B-Instruct", max_model_len=8192, gpu_memory_utilization=0.9
        )
        """What the user's compose file says."""
        self.found: PreflightReport | SignalboxError = report()
        self.gate: asyncio.Event | None = None
        self.faults: tuple[SettingFault, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.trouble: SignalboxError | None = None
        """Why Docker can't be asked for its contexts."""
        self.places = (
            DockerContext(
                name="default",
                endpoint="unix:///var/run/docker.sock",
                words="local engine",
                current=True,
                chosen=True,
            ),
            DockerContext(name="droplet", endpoint="ssh://root@203.0.113.7", words="over SSH"),
        )
        self.calls: list[tuple[object, ...]] = []

    async def settings(self) -> VllmSettings:
        return self.now

    async def plan(self, wanted: VllmSettings) -> VllmPlan:
        self.calls.append(("plan", wanted))
        before, after = _lines(self.now), _lines(wanted)
        diff = "".join(difflib.unified_diff(before, after, "before", "after", n=0))
        effective = replace(self.own, **{name: value for name, value in _set(wanted).items()})  # type: ignore[arg-type]
        return VllmPlan(
            faults=self.faults,
            diff=diff,
            effective=effective,
            restart_needed=wanted != self.now,
            notes=self.notes,
        )

    async def apply(self, wanted: VllmSettings) -> VllmPlan:
        if self.faults:
            raise InvalidRequest(self.faults[0].message)
        plan = await self.plan(wanted)
        self.calls.append(("apply", wanted))
        self.now = wanted
        return plan

    async def preflight(self, wanted: VllmSettings | None = None) -> PreflightReport:
        self.calls.append(("preflight", wanted))
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.found, SignalboxError):
            raise self.found
        return self.found

    async def contexts(self) -> tuple[DockerContext, ...]:
        if self.trouble is not None:
            raise self.trouble
        return self.places

    async def choose_context(self, name: str) -> None:
        self.calls.append(("choose_context", name))
        self.places = tuple(replace(one, chosen=one.name == name) for one in self.places)

    async def commands(self) -> tuple[str, ...]:
        return ("docker compose -f docker-compose.yml -f override.yml up -d --wait vllm",)


def _set(settings: VllmSettings) -> dict[str, object]:
    return {
        field.name: value
        for field in fields(settings)
        if (value := getattr(settings, field.name)) not in (None, ())
    }


def _lines(settings: VllmSettings) -> list[str]:
    return [f"{name}: {value}\n" for name, value in _set(settings).items()]
