"""``signalbox local``: its words, its JSON and its exit codes, over a scripted local server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest

from core.cli import main
from core.errors import InvalidRequest
from core.local.fit import FitEstimate
from core.local.preflight import FixSetting, PreflightCheck, PreflightReport
from core.local.server import ServerFailure, ServerState, StartStep
from core.local.server_log import LogLine, LogPage
from core.local.vllm_settings import DockerContext, VllmSettings

STOPPED = ServerState(phase="stopped", kind="compose", detail="not started", docker_context="default")
PULLING = ServerState(
    phase="starting",
    kind="compose",
    steps=(
        StartStep(
            name="pull",
            status="running",
            done_bytes=2_000_000_000,
            total_bytes=9_000_000_000,
            bytes_per_s=5e7,
        ),
        StartStep(name="load"),
    ),
)
LOADING = ServerState(
    phase="starting",
    kind="compose",
    eta_s=61,
    steps=(
        StartStep(name="pull", status="done", elapsed_s=12),
        StartStep(name="load", status="running", detail="shard 5 of 8"),
    ),
)
READY = ServerState(
    phase="ready", kind="compose", model="a/b", base_url="http://127.0.0.1:8000/v1", version="vLLM 0.32.0"
)
FAILED = ServerState(
    phase="failed",
    kind="compose",
    failure=ServerFailure(
        kind="port_taken",
        what="Port 8000 is taken by python3.",
        fix="Stop it.",
        commands=("kill 4242",),
        log=("a line", "the last line"),
    ),
)


class ScriptedVllm:
    def __init__(self) -> None:
        self.report = PreflightReport(checks=(), at=datetime.now(UTC))
        self.wanted: VllmSettings | None = None
        self.chosen: str | None = None

    async def settings(self) -> VllmSettings:
        return VllmSettings(max_model_len=4096)

    async def preflight(self, wanted: VllmSettings) -> PreflightReport:
        self.wanted = wanted
        return self.report

    async def contexts(self) -> tuple[DockerContext, ...]:
        found = (("default", "unix:///x", "local engine"), ("droplet", "ssh://gpu", "over SSH to gpu"))
        return tuple(
            DockerContext(
                name=name, endpoint=endpoint, words=words, chosen=name == (self.chosen or "default")
            )
            for name, endpoint, words in found
        )

    async def choose_context(self, name: str) -> None:
        if name not in ("default", "droplet"):
            raise InvalidRequest(f"There is no Docker context called {name}.")
        self.chosen = name


class ScriptedCore:
    """``coming`` are the states that a start goes through; ``hangs``: it never ends by itself."""

    def __init__(self, now: ServerState) -> None:
        self.now = now
        self.coming: list[ServerState] = [PULLING, LOADING, READY]
        self.hangs = False
        self.calls: list[str] = []
        self.lines: list[LogLine] = []
        self.vllm = ScriptedVllm()
        self.store: Any = None
        self._listeners: list[Callable[[ServerState], None]] = []

    def __call__(self, store: Any) -> Self:
        self.store = store
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.calls.append("closed")

    @property
    def local_state(self) -> ServerState:
        return self.now

    async def seen_local(self) -> ServerState:
        return self.now

    def subscribe_local(self, listener: Callable[[ServerState], None]) -> Callable[[], None]:
        self._listeners = [*self._listeners, listener]
        return lambda: setattr(self, "_listeners", [each for each in self._listeners if each is not listener])

    async def start_local(self) -> None:
        self.calls.append("start")
        for state in self.coming:
            self.now = state
            for listener in list(self._listeners):
                listener(state)
        if self.hangs:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()

    async def restart_local(self) -> None:
        self.calls.append("restart")
        await self.start_local()

    async def stop_local(self) -> None:
        self.calls.append("stop")
        self.now = STOPPED

    def local_log_page(self, cursor: int = 0, most: int = 5000) -> LogPage:
        newer = [line for line in self.lines if line.number >= cursor][-most:]
        return LogPage(lines=tuple(newer), next_cursor=len(self.lines))


@pytest.fixture
def core(home: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptedCore:
    scripted = ScriptedCore(STOPPED)
    monkeypatch.setenv("SIGNALBOX_HOME", str(home))
    monkeypatch.setattr("core.router_core.RouterCore", scripted)
    monkeypatch.setattr("core.cli.local.SETTLE_S", 0.02)
    monkeypatch.setattr("core.cli.local.FOLLOW_S", 0.01)
    return scripted


@pytest.fixture
def interrupts() -> Iterator[None]:
    """A shell's background job has SIGINT ignored, and would wait for ever: take the default back."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_start_tells_its_steps_and_ends_when_it_is_ready(
    core: ScriptedCore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["local", "start"]) == 0
    said = capsys.readouterr()
    assert said.out == "Ready: a/b (vLLM 0.32.0) at http://127.0.0.1:8000/v1\n"
    assert said.err.splitlines() == [
        "Pulling: 2 GB of 9 GB, 50 MB/s",
        "Pulling: done in 12 s",
        "Loading weights: shard 5 of 8, about 1 min 1 s left",
    ]
    assert core.calls == ["start", "closed"]


def test_the_container_goes_on_whatever_the_panel_is_set_to_do(
    core: ScriptedCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOP_CONTAINER_ON_QUIT", "true")
    assert main(["local", "start"]) == 0
    assert core.store.current.stop_container_on_quit is False
    assert "stop" not in core.calls


def test_a_start_that_failed_says_why_and_what_to_do(
    core: ScriptedCore, capsys: pytest.CaptureFixture[str]
) -> None:
    core.coming = [PULLING, FAILED]
    assert main(["local", "start"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    for words in ("Port 8000 is taken by python3.", "-> Stop it.", "kill 4242", "the last line"):
        assert words in said.err


@pytest.mark.usefixtures("interrupts")
def test_ctrl_c_cancels_a_start_and_says_what_is_left(
    core: ScriptedCore, capsys: pytest.CaptureFixture[str]
) -> None:
    core.coming, core.hangs = [PULLING], True
    assert main(["local", "start"]) == 130
    assert core.calls == ["start", "stop", "closed"]
    assert "Nothing runs. What was pulled" in capsys.readouterr().err


def test_what_is_ready_is_not_started_twice(core: ScriptedCore, capsys: pytest.CaptureFixture[str]) -> None:
    core.now = READY
    assert main(["local", "start"]) == 0
    assert core.calls == ["closed"]
    assert capsys.readouterr().out.startswith("Ready: a/b")
    assert main(["local", "restart"]) == 0
    assert "restart" in core.calls


def test_stopping_what_does_not_run_is_no_failure(
    core: ScriptedCore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["local", "stop"]) == 0
    assert core.calls == ["closed"]
    core.now = READY
    assert main(["local", "stop"]) == 0
    assert core.calls == ["closed", "stop", "closed"]
    assert capsys.readouterr().out == "It is stopped.\n" * 2


@pytest.mark.parametrize("kind", ["embedded", "external", "none"])
@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_what_is_not_ours_to_drive_is_said_plainly(
    core: ScriptedCore, capsys: pytest.CaptureFixture[str], kind: Any, verb: str
) -> None:
    core.now = ServerState(phase="stopped", kind=kind)
    assert main(["local", verb]) == 1
    assert core.calls == ["closed"]
    said = capsys.readouterr().err
    assert {"embedded": "runs only while the panel", "external": "somebody else's", "none": "No local"}[
        kind
    ] in said


@pytest.mark.parametrize(("state", "code"), [(READY, 0), (STOPPED, 3), (PULLING, 3), (FAILED, 1)])
def test_a_script_reads_the_state_from_the_exit_code(
    core: ScriptedCore, capsys: pytest.CaptureFixture[str], state: ServerState, code: int
) -> None:
    core.now = state
    assert main(["local", "status", "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert (told["phase"], told["ready"], told["kind"]) == (state.phase, code == 0, "compose")
    assert set(told) == {
        *("kind", "phase", "ready", "detail", "hint", "model", "models", "base_url", "context_tokens"),
        *(
            "version",
            "docker_context",
            "progress",
            "eta_s",
            "started_at",
            "steps",
            "restart_needed",
            "failure",
        ),
    }
    assert main(["local", "status"]) == code
    assert state.phase in capsys.readouterr().out


def test_the_panels_own_server_is_not_said_to_be_stopped(
    core: ScriptedCore, capsys: pytest.CaptureFixture[str]
) -> None:
    core.now = ServerState(phase="stopped", kind="embedded", model="tiny")
    assert main(["local", "status"]) == 3
    said = capsys.readouterr().out
    assert "stopped" not in said
    assert "inside the panel" in said


def test_the_log_is_printed_from_its_end(core: ScriptedCore, capsys: pytest.CaptureFixture[str]) -> None:
    core.lines = [LogLine(number=number, text=f"line {number}") for number in range(10)]
    assert main(["local", "logs", "--lines", "2"]) == 0
    assert capsys.readouterr().out == "line 8\nline 9\n"
    assert main(["local", "logs", "-n", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == "line 9"


@pytest.mark.usefixtures("interrupts")
def test_a_followed_log_goes_on_until_ctrl_c(
    core: ScriptedCore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    page = core.local_log_page

    def growing(cursor: int = 0, most: int = 5000) -> LogPage:
        if cursor:
            asked.append(cursor)
            core.lines.append(LogLine(number=len(core.lines), text=f"line {len(core.lines)}"))
            if len(asked) == 3:
                os.kill(os.getpid(), signal.SIGINT)
        return page(cursor, most)

    core.lines = [LogLine(number=0, text="line 0")]
    monkeypatch.setattr(core, "local_log_page", growing)
    assert main(["local", "logs", "--follow"]) == 130
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"line {number}" for number in range(len(lines))]
    assert len(lines) >= 3


def test_no_log_is_said(core: ScriptedCore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["local", "logs"]) == 0
    assert "There is no log" in capsys.readouterr().err
    core.now = ServerState(phase="ready", kind="embedded")
    assert main(["local", "logs"]) == 1
    assert "Machine page" in capsys.readouterr().err


# -- pre-flight and contexts ------------------------------------------------------------------------------------


def report(*states: Any) -> PreflightReport:
    names: tuple[Any, ...] = ("docker", "fit")
    checks = tuple(
        PreflightCheck(
            name=name,
            title=name.title(),
            state=state,
            found="a fact",
            fix="Do this.",
            commands=("sudo that",),
            fix_setting=FixSetting(label="Use 16 k", name="max_model_len", value=16384)
            if name == "fit"
            else None,
        )
        for name, state in zip(names, states, strict=True)
    )
    fit = FitEstimate(model="a/b", verdict="tight", formula="weights 1 x 2 = 3", source="The paper.")
    return PreflightReport(checks=checks, at=datetime.now(UTC), fit=fit)


@pytest.mark.parametrize(
    ("states", "code"),
    [(("ok", "ok"), 0), (("ok", "warning"), 0), (("ok", "unknown"), 0), (("failed", "ok"), 1)],
)
def test_preflight_fails_where_a_start_would(
    core: ScriptedCore, capsys: pytest.CaptureFixture[str], states: tuple[str, ...], code: int
) -> None:
    core.vllm.report = report(*states)
    assert main(["local", "preflight", "--json"]) == code
    checks = json.loads(capsys.readouterr().out)
    assert [check["ok"] for check in checks] == [state == "ok" for state in states]
    assert {"name", "ok", "found", "fix"} <= set(checks[0])
    assert checks[1]["estimate"]["formula"] == "weights 1 x 2 = 3"
    assert checks[1]["set"] == {"name": "max_model_len", "value": 16384}
    assert main(["local", "preflight"]) == code
    said = capsys.readouterr().out
    assert ("-> Do this." in said) == (states != ("ok", "ok"))
    assert "Weights 1 x 2 = 3.\nThe paper." in said


def test_preflight_looks_at_another_model_where_it_is_asked_to(
    core: ScriptedCore, capsys: pytest.CaptureFixture[str]
) -> None:
    core.vllm.report = report("ok", "ok")
    assert main(["local", "preflight", "--model", "c/d", "--tensor-parallel-size", "2"]) == 0
    assert core.vllm.wanted == VllmSettings(model="c/d", max_model_len=4096, tensor_parallel_size=2)
    assert main(["local", "preflight", "--model", "~/x"]) == 2
    assert "model:" in capsys.readouterr().err


def test_a_start_that_would_fail_is_held_unless_it_is_wanted_anyway(
    core: ScriptedCore, capsys: pytest.CaptureFixture[str]
) -> None:
    core.vllm.report = report("failed", "warning")
    assert main(["local", "start"]) == 1
    said = capsys.readouterr().err
    for words in ("Docker: a fact", "-> Do this.", "   sudo that", "signalbox local start --anyway"):
        assert words in said
    assert "Fit" not in said, "a warning holds nothing up"
    assert main(["local", "start", "--json"]) == 1
    held = json.loads(capsys.readouterr().out)
    assert (held["phase"], [check["name"] for check in held["held_by"]]) == ("stopped", ["docker"])
    assert "start" not in core.calls
    assert main(["local", "start", "--anyway"]) == 0
    assert "start" in core.calls


def test_contexts_are_listed_and_chosen(core: ScriptedCore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["local", "contexts", "--use", "droplet", "--json"]) == 0
    assert [each["chosen"] for each in json.loads(capsys.readouterr().out)] == [False, True]
    assert main(["local", "contexts"]) == 0
    assert "over SSH to gpu" in capsys.readouterr().out
    assert main(["local", "contexts", "--use", "nowhere"]) == 1
