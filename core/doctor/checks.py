"""Looks at each component: whether it was found, its version, whether it works, and what to do if not."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from core.base.async_tools import in_daemon_thread
from core.base.redaction import redact
from core.base.text import counted, measured_duration
from core.chat import ChatRequest
from core.doctor import ledger_checks
from core.doctor.findings import Component, DoctorTarget, Finding, State
from core.errors import SignalboxError
from core.local.docker_cli import DockerCli, DockerError
from core.local.manager import chosen_kind, unreadable_choice

if TYPE_CHECKING:
    from core.local.server import ServerState
    from core.local.vllm_metrics import ServerLoad

__all__ = ["DoctorTarget", "Finding", "State", "examine"]

Check = Callable[[DoctorTarget], Awaitable[Finding]]

CHECK_TIMEOUT_S = 15.0
LOCAL_TIMEOUT_S = 90.0
"""The embedded server may have to load its weights before it answers."""
PYTHON = Component("Python")
PANEL = Component("Panel (PySide6)")
SETTINGS = Component("Settings")
TRUST = Component("Trust in .env", needed=False)
KEYRING = Component("Keyring", needed=False)
API = Component("Anthropic API")
LOCAL = Component("Local server")
LOAD = Component("Local load", needed=False)
DOCKER = Component("Docker", needed=False)
GPU = Component("NVIDIA GPU", needed=False)


async def examine(core: DoctorTarget, *, ask_local: bool = True) -> list[Finding]:
    """Look at every component; one that hangs or breaks is a finding, not an exception.

    Without ``ask_local`` the embedded server is not asked, which would count as a request; its state is told.
    """
    checks: list[tuple[Component, Check]] = [
        (PYTHON, _python),
        (PANEL, _panel),
        (SETTINGS, _settings),
        (TRUST, _trust),
        (ledger_checks.LEDGER, ledger_checks.ledger),
        (ledger_checks.AUDIT, ledger_checks.audit),
        (ledger_checks.LIMITS, ledger_checks.limits),
        (ledger_checks.UNRESOLVED, ledger_checks.unresolved),
        (ledger_checks.PAUSED, ledger_checks.paused),
        (KEYRING, _keyring),
        (API, _api),
        (LOCAL, _local if ask_local else _local_unasked),
        (LOAD, _load),
        (DOCKER, _docker),
        (GPU, _gpu),
        (ledger_checks.FILES, ledger_checks.files),
        (ledger_checks.PRICES, ledger_checks.prices),
        (ledger_checks.TEMPLATES, ledger_checks.templates),
        (ledger_checks.ANSWERS, ledger_checks.answers),
        (ledger_checks.TELEMETRY, ledger_checks.telemetry),
    ]
    return list(await asyncio.gather(*(_guarded(component, check, core) for component, check in checks)))


async def _guarded(component: Component, check: Check, core: DoctorTarget) -> Finding:
    finding = await _in_time(component, check, core)
    # An address may hold a password, and somebody else's error may quote a key.
    return replace(
        finding,
        version=redact(finding.version),
        detail=redact(finding.detail),
        hint=redact(finding.hint),
    )


async def _in_time(component: Component, check: Check, core: DoctorTarget) -> Finding:
    timeout_s = LOCAL_TIMEOUT_S if component is LOCAL else CHECK_TIMEOUT_S
    limit = asyncio.timeout(timeout_s)
    hint = ""
    try:
        async with limit:
            return await check(core)
    except SignalboxError as error:
        detail, hint = error.message, error.hint
    except Exception as error:  # noqa: BLE001  a doctor that dies of one patient helps nobody
        detail = f"{type(error).__name__}: {error}"
        if isinstance(error, TimeoutError) and limit.expired():
            detail = f"no answer within {timeout_s:g} s"
            hint = "Restart it, or look again in a moment."
    return component.found("broken", detail, hint)


async def _python(core: DoctorTarget) -> Finding:
    return PYTHON.found("works", sys.executable, version=platform.python_version())


async def _panel(core: DoctorTarget) -> Finding:
    try:
        version = importlib.metadata.version("PySide6-Essentials")
    except importlib.metadata.PackageNotFoundError:
        return PANEL.found("missing", hint="Run make setup, or: pip install signalbox-panel")
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return PANEL.found("works", "no screen here, so only the command line can be used", version=version)
    return PANEL.found("works", version=version)


async def _settings(core: DoctorTarget) -> Finding:
    problems = core.settings.problems
    if problems:
        return SETTINGS.found(
            "broken",
            "; ".join(problem.message for problem in problems),
            "Mend the value where it is set; the API is closed until then."
            if core.settings.closing_problems
            else "Mend the value where it is set; until then the next source is used.",
        )
    return SETTINGS.found("works", str(core.home))


async def _trust(core: DoctorTarget) -> Finding:
    """Say what of a folder's ``.env`` does not count, because nobody has trusted it."""
    untrusted = core.settings.untrusted
    if not untrusted:
        return TRUST.found("works", "nothing waits for your trust")
    return TRUST.found(
        "not_set_up", " ".join(file.message for file in untrusted), " ".join(file.hint for file in untrusted)
    )


async def _keyring(core: DoctorTarget) -> Finding:
    backend = await core.keys.backend()
    state: State = (
        "works" if backend.state == "unlocked" else "missing" if backend.state == "none" else "broken"
    )
    return KEYRING.found(state, f"{backend.name}: {backend.message}", backend.hint)


async def _api(core: DoctorTarget) -> Finding:
    held_back = core.key_held_back("anthropic")
    if held_back is not None:
        return API.found("broken", held_back.message, held_back.hint)
    if not core.has_api_key:
        return API.found(
            "not_set_up", "no key", "signalbox keys set anthropic, or ANTHROPIC_API_KEY", needed=False
        )
    result = await core.test_anthropic_key()
    reached = f"{counted(len(result.models), 'model')} in {measured_duration(result.latency_ms / 1000)}"
    said = next((each for each in (await core.status()).problems if each.kind.startswith("api_")), None)
    if said is not None:  # the key is good, and still something stands in the way: the credit, or the model
        return API.found("broken", f"{reached}, but: {said.title}", said.hint)
    return API.found("works", reached)


async def _local_unasked(core: DoctorTarget) -> Finding:
    return await _local(core, ask=False)


async def _local(core: DoctorTarget, *, ask: bool = True) -> Finding:
    settings = core.settings.current
    kind = chosen_kind(settings, core.settings.named_at("vllm_base_url"))
    component = Component(f"{LOCAL.name} ({kind})")
    if kind == "none":
        return component.found("not_set_up", "LOCAL_SERVER is none", needed=False)
    if (unreadable := unreadable_choice(core.settings)) is not None:
        return component.found(
            "broken",
            f"{unreadable.subject} can't be read",
            f"Allowed is {unreadable.allowed}. Mend it where it is set.",
        )
    if kind != "embedded":
        held_back = core.key_held_back("vllm")
        if held_back is not None:
            return component.found("broken", held_back.message, held_back.hint)
        address = settings.vllm_base_url
        if kind == "compose":
            container = await core.seen_local()
            if container.base_url is None:
                return _container_state(component, container)
            address = container.base_url
        result = await core.test_vllm(address, core.vllm_key)
        models = ", ".join(result.models) or "no model"
        return component.found("works", f"{models} at {address}, {result.latency_ms:.0f} ms")
    if not ask:
        return _embedded_state(component, (await core.status()).local)
    result = await core.ask(ChatRequest.from_prompt("Say hi.", force="local", max_tokens=4, source="cli"))
    took = measured_duration((result.ttft_ms or result.latency_ms) / 1000)
    return component.found(
        "works",
        f"{result.model} answered, first token after {took}",
        version=_version("xllamacpp"),
    )


def _container_state(component: Component, local: ServerState) -> Finding:
    """Tell of a container that does not answer: what failed, or that nobody has started it."""
    failure = local.failure
    if local.phase == "failed":
        what, fix = (local.detail, local.hint) if failure is None else (failure.what, failure.fix)
        return component.found("broken", what, fix)
    detail = f"the container is {local.phase}{f', {local.detail}' if local.detail else ''}"
    return component.found("not_set_up", detail, local.remedy, needed=False)


def _embedded_state(component: Component, local: ServerState) -> Finding:
    if local.phase == "failed":
        return component.found(
            "broken",
            local.detail or "failed",
            local.hint or "Its log is on the Machine page.",
            version=_version("xllamacpp"),
        )
    ready = local.phase == "ready"
    detail = f"{local.model or 'The model'} is ready" if ready else f"it is {local.phase}"
    return component.found(
        "works" if ready else "not_set_up",
        detail,
        "" if ready or local.phase == "starting" else "Start it on the Machine page.",
        version=_version("xllamacpp"),
        needed=False,
    )


async def _docker(core: DoctorTarget) -> Finding:
    """Look at the engine and Compose; they are needed where the local server is a container."""
    settings = core.settings.current
    needed = chosen_kind(settings, core.settings.named_at("vllm_base_url")) == "compose"
    docker = DockerCli(settings.docker_context)
    version = ""
    try:
        version = (await docker.output("version", "--format", "{{.Server.Version}}")).strip()
        compose = (await docker.output("compose", "version", "--short")).strip()
    except DockerError as error:
        failure = error.failure
        return DOCKER.found(
            "missing" if failure.kind == "docker_missing" else "broken",
            failure.what,
            failure.fix if needed else f"Only vLLM in a container needs it. {failure.fix}",
            version=version,
            needed=needed,
        )
    where = f" in {docker.place}" if docker.place else ""
    return DOCKER.found("works", f"Compose {compose}{where}", version=version, needed=needed)


async def _gpu(core: DoctorTarget) -> Finding:
    # A driver that hangs must not keep the process from ending.
    return await in_daemon_thread(_gpu_now, name="doctor")


def _gpu_now() -> Finding:
    from core.local.gpu_nvml import look_once

    survey = look_once()
    version = survey.driver_version or ""
    if not survey.gpus:
        hint = "Only for vLLM on this machine: install the NVIDIA driver"
        return GPU.found("missing", survey.problem, hint, version=version)
    lost = [gpu for gpu in survey.gpus if gpu.lost]
    if lost:
        said = ", ".join(f"{gpu.name}: {dict(gpu.why).get('lost', 'lost')}" for gpu in lost)
        return GPU.found("broken", said, "Restart the computer", version=version)
    return GPU.found("works", ", ".join(gpu.name for gpu in survey.gpus), version=version)


async def _load(core: DoctorTarget) -> Finding:
    """Say how busy the local server is: by its own numbers where it has some."""
    settings = core.settings.current
    kind = chosen_kind(settings, core.settings.named_at("vllm_base_url"))
    if kind == "none":
        return LOAD.found("not_set_up", "there is no local server")
    if kind == "embedded":
        queue = (await core.status()).queue
        running, waiting = (queue.running, queue.waiting) if queue is not None else (0, 0)
        return LOAD.found("works", f"{running} running and {waiting} waiting in this program")
    if core.key_held_back("vllm") is not None:
        return LOAD.found("not_set_up", "the server isn't asked: its key belongs to another address")
    address = settings.vllm_base_url
    if kind == "compose":
        container = await core.seen_local()
        if container.base_url is None:
            return LOAD.found("not_set_up", "the container does not run")
        address = container.base_url
    load = await _look_at_load(address, core.vllm_key)
    if load is None:
        return LOAD.found(
            "not_set_up",
            "the server doesn't say how busy it is",
            "vLLM does at /metrics. Else set LOCAL_MAX_CONCURRENT to what the server takes at once.",
        )
    cache = "" if load.kv_cache_usage is None else f", {load.kv_cache_usage:.0%} of its KV cache used"
    return LOAD.found(
        "works",
        f"{load.running} running, {load.waiting} waiting{cache}",
        "More comes than it answers. LOCAL_MAX_WAIT_S says how long a request waits before it goes to the API."
        if load.waiting
        else "",
    )


async def _look_at_load(base_url: str, api_key: str | None) -> ServerLoad | None:
    from core.local.vllm_metrics import LoadPoller

    asked = asyncio.Event()

    async def once(_: float) -> None:
        asked.set()
        await asyncio.Event().wait()  # the poller is stopped below

    poller = LoadPoller(base_url, api_key, sleep=once)
    poller.start()
    try:
        await asked.wait()
        return poller.latest
    finally:
        await poller.stop()


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
