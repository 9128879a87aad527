"""Looks at each component: whether it was found, its version, whether it works, and what to do if not."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core import doctor_books
from core.chat import ChatRequest
from core.daemon_thread import in_daemon_thread
from core.errors import SignalboxError
from core.findings import Finding, Patient, State
from core.local.choice import chosen_kind
from core.redaction import redact

if TYPE_CHECKING:
    from core.local.server import ServerState
    from core.local.vllm_metrics import ServerLoad

__all__ = ["Finding", "Patient", "State", "examine"]

COMMAND_TIMEOUT_S = 10.0
CHECK_TIMEOUT_S = 15.0
LOCAL_TIMEOUT_S = 90.0
"""The embedded server may have to load its weights before it answers."""
OPTIONAL = frozenset(
    {
        "Keyring",
        "Docker",
        "NVIDIA GPU",
        "Unresolved costs",
        "Paused conversations",
        "Local load",
        "Prompt templates",
        "Telemetry",
    }
)
"""Signalbox works without these, whatever is wrong with them."""


async def examine(core: Patient, *, ask_local: bool = True) -> list[Finding]:
    """Look at every component; one that hangs or breaks is a finding, not an exception.

    Without ``ask_local`` the embedded server is not asked, which would count as a request; its state is told.
    """
    checks: list[tuple[str, Callable[[Patient], Awaitable[Finding]]]] = [
        ("Python", _python),
        ("Panel (PySide6)", _panel),
        ("Settings", _settings),
        ("Ledger", doctor_books.ledger),
        ("Audit log", doctor_books.audit),
        ("Limits", doctor_books.limits),
        ("Unresolved costs", doctor_books.unresolved),
        ("Paused conversations", doctor_books.paused),
        ("Keyring", _keyring),
        ("Anthropic API", _api),
        ("Local server", _local if ask_local else _local_unasked),
        ("Local load", _load),
        ("Docker", _docker),
        ("NVIDIA GPU", _gpu),
        ("Prices", doctor_books.prices),
        ("Prompt templates", doctor_books.templates),
        ("Telemetry", doctor_books.telemetry),
    ]
    return list(await asyncio.gather(*(_guarded(name, check, core) for name, check in checks)))


async def _guarded(name: str, check: Callable[[Patient], Awaitable[Finding]], core: Patient) -> Finding:
    finding = await _in_time(name, check, core)
    # An address may hold a password, and somebody else's error may quote a key.
    return replace(
        finding,
        version=redact(finding.version),
        detail=redact(finding.detail),
        hint=redact(finding.hint),
    )


async def _in_time(name: str, check: Callable[[Patient], Awaitable[Finding]], core: Patient) -> Finding:
    timeout_s = LOCAL_TIMEOUT_S if name == "Local server" else CHECK_TIMEOUT_S
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
    return Finding(component=name, state="broken", detail=detail, hint=hint, needed=name not in OPTIONAL)


async def _python(core: Patient) -> Finding:
    return Finding(
        component="Python", state="works", version=platform.python_version(), detail=sys.executable
    )


async def _panel(core: Patient) -> Finding:
    try:
        version = importlib.metadata.version("PySide6-Essentials")
    except importlib.metadata.PackageNotFoundError:
        return Finding(
            component="Panel (PySide6)",
            state="missing",
            hint="Run make setup, or: pip install signalbox-panel",
        )
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return Finding(
            component="Panel (PySide6)",
            state="works",
            version=version,
            detail="no screen here, so only the command line can be used",
        )
    return Finding(component="Panel (PySide6)", state="works", version=version)


async def _settings(core: Patient) -> Finding:
    problems = core.settings.problems
    if problems:
        return Finding(
            component="Settings",
            state="broken",
            detail="; ".join(problem.message for problem in problems),
            hint="Mend the value where it is set; until then the next source is used.",
        )
    return Finding(component="Settings", state="works", detail=str(core.home))


async def _keyring(core: Patient) -> Finding:
    backend = await core.keys.backend()
    state: State = (
        "works" if backend.state == "unlocked" else "missing" if backend.state == "none" else "broken"
    )
    return Finding(
        component="Keyring",
        state=state,
        detail=f"{backend.name}: {backend.message}",
        hint=backend.hint,
        needed=False,
    )


async def _api(core: Patient) -> Finding:
    if not core.has_api_key:
        return Finding(
            component="Anthropic API",
            state="not_set_up",
            detail="no key",
            hint="signalbox keys set anthropic, or ANTHROPIC_API_KEY",
            needed=False,
        )
    result = await core.test_anthropic_key()
    return Finding(
        component="Anthropic API",
        state="works",
        detail=f"{len(result.models)} models in {result.latency_ms:.0f} ms",
    )


async def _local_unasked(core: Patient) -> Finding:
    return await _local(core, ask=False)


async def _local(core: Patient, *, ask: bool = True) -> Finding:
    settings = core.settings.current
    kind = chosen_kind(settings, core.settings.origin("vllm_base_url"))
    name = f"Local server ({kind})"
    if kind == "none":
        return Finding(component=name, state="not_set_up", detail="LOCAL_SERVER is none", needed=False)
    if kind != "embedded":
        result = await core.test_vllm(settings.vllm_base_url, core.vllm_key)
        models = ", ".join(result.models) or "no model"
        return Finding(
            component=name,
            state="works",
            detail=f"{models} at {settings.vllm_base_url}, {result.latency_ms:.0f} ms",
        )
    if not ask:
        return _embedded_state(name, (await core.status()).local)
    result = await core.ask(ChatRequest.from_prompt("Say hi.", force="local", max_tokens=4, source="cli"))
    return Finding(
        component=name,
        state="works",
        version=_version("xllamacpp"),
        detail=f"{result.model} answered, first token after {result.ttft_ms or result.latency_ms:.0f} ms",
    )


def _embedded_state(name: str, local: ServerState) -> Finding:
    if local.phase == "failed":
        return Finding(
            component=name,
            state="broken",
            version=_version("xllamacpp"),
            detail=local.detail or "failed",
            hint=local.hint or "Its log is under Preferences, Local server.",
        )
    ready = local.phase == "ready"
    detail = f"{local.model or 'The model'} is ready" if ready else f"it is {local.phase}"
    return Finding(
        component=name,
        state="works" if ready else "not_set_up",
        version=_version("xllamacpp"),
        detail=detail,
        hint="" if ready or local.phase == "starting" else "Start it under Preferences, Local server.",
        needed=False,
    )


async def _docker(core: Patient) -> Finding:
    if shutil.which("docker") is None:
        return Finding(
            component="Docker",
            state="missing",
            hint="Only for vLLM in a container: install Docker",
            needed=False,
        )
    code, out = await _run("docker", "version", "--format", "{{.Server.Version}}")
    if code != 0:
        return Finding(
            component="Docker",
            state="broken",
            detail=out.splitlines()[-1] if out else "no answer",
            hint="Start the Docker engine, or ignore this if vLLM runs elsewhere",
            needed=False,
        )
    compose_code, compose = await _run("docker", "compose", "version", "--short")
    if compose_code != 0:
        return Finding(
            component="Docker",
            state="broken",
            version=out,
            detail="no Compose v2",
            hint="Install it",
            needed=False,
        )
    return Finding(component="Docker", state="works", version=out, detail=f"Compose {compose}", needed=False)


async def _gpu(core: Patient) -> Finding:
    # A driver that hangs must not keep the process from ending.
    return await in_daemon_thread(_gpu_now, name="doctor")


def _gpu_now() -> Finding:
    pynvml: Any = importlib.import_module("pynvml")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Finding(
            component="NVIDIA GPU",
            state="missing",
            detail=str(error),
            hint="Only for vLLM on this machine: install the NVIDIA driver",
            needed=False,
        )
    try:
        count = pynvml.nvmlDeviceGetCount()
        names = [_text(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(i))) for i in range(count)]
        version = _text(pynvml.nvmlSystemGetDriverVersion())
    finally:
        pynvml.nvmlShutdown()
    if not names:
        return Finding(
            component="NVIDIA GPU", state="missing", version=version, detail="no device", needed=False
        )
    return Finding(
        component="NVIDIA GPU", state="works", version=version, detail=", ".join(names), needed=False
    )


async def _load(core: Patient) -> Finding:
    """Say how busy the local server is: by its own numbers where it has some."""
    settings = core.settings.current
    kind = chosen_kind(settings, core.settings.origin("vllm_base_url"))
    if kind == "none":
        return Finding(
            component="Local load", state="not_set_up", detail="there is no local server", needed=False
        )
    if kind == "embedded":
        queue = (await core.status()).queue
        running, waiting = (queue.running, queue.waiting) if queue is not None else (0, 0)
        return Finding(
            component="Local load",
            state="works",
            detail=f"{running} running and {waiting} waiting in this program",
            needed=False,
        )
    load = await _look_at_load(settings.vllm_base_url, core.vllm_key)
    if load is None:
        return Finding(
            component="Local load",
            state="not_set_up",
            detail="the server doesn't say how busy it is",
            hint="vLLM does at /metrics. Else set LOCAL_MAX_CONCURRENT to what the server takes at once.",
            needed=False,
        )
    cache = "" if load.kv_cache_usage is None else f", {load.kv_cache_usage:.0%} of its KV cache used"
    return Finding(
        component="Local load",
        state="works",
        detail=f"{load.running} running, {load.waiting} waiting{cache}",
        hint="More comes than it answers. LOCAL_MAX_WAIT_S says how long a request waits before it goes to the API."
        if load.waiting
        else "",
        needed=False,
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


async def _run(*command: str) -> tuple[int, str]:
    """Run a command and return its exit code and its output, both streams together."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            out, _ = await process.communicate()
    except TimeoutError:
        return 1, f"no answer within {COMMAND_TIMEOUT_S:.0f} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode("utf-8", "replace").strip()


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
