"""The process that runs llama.cpp: ``python -m core.local.embedded_child``, started by ``EmbeddedServer``.

Its first line of standard input is a JSON object (``model_path``, ``alias``, ``api_key``, ``context_tokens``,
``parallel``, ``threads``, ``gpu_layers``, ``quantized_cache``, ``sampling``, ``stuck_s``, ``stuck_exit``). Its
standard output carries one JSON object: ``{"event": "ready", ...}`` or ``{"event": "failed", "reason": ...,
"hint": ...}``; llama.cpp's own words go to standard error. The end of standard input means that the parent is gone
or wants it to go, and it leaves at once: a model server has nothing to save. Only the standard library,
``core.base`` and ``xllamacpp`` are imported here.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from core.base.child_side import (
    die_with_parent,
    read_line,
    send,
    take_standard_output,
    wait_for_parents_end,
)
from core.local.gguf_file import header_problem

NICENESS = 5
"""Below the window's own priority, so that generating never makes it stutter; the speed is the same."""

PROMPT_CACHE_MIB = 256
"""llama.cpp's default of 8 GiB for the cache of past prompts is too much for a desktop."""

PROMPT_BATCH_TOKENS = 256
"""While llama.cpp reads a piece of a prompt it does nothing else: with its default of 2048 tokens, an answer in
the other slot stands still for 8 s or more on two cores. 256 is as fast."""


MEMORY_GROWTH_BYTES = 2 << 30
"""What llama.cpp may take once it serves: the model and its cache are there by then. Without a bound, a schema of a
few bytes whose ``minLength`` is above its ``maxLength`` takes 300 MB a second until the machine has no more."""

_BUSY_SHARE = 0.1
"""Of a processor's time: below it, nothing is computed, and no sign of life is asked for."""


def main() -> int:
    """Serve until standard input ends; returns the exit code."""
    events = take_standard_output()  # whatever a C library prints goes to the log, not between the events
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the parent's to handle
    die_with_parent()  # the end of standard input is seen only after loading
    _step_back()
    config = read_line()
    if not config:
        return 0
    try:
        server, ready = _serve(config)  # it serves for as long as it is referred to
    except _CannotServe as problem:
        send(events, event="failed", reason=problem.reason, hint=problem.hint)
        return 3
    _bound_memory()
    if "stuck_s" in config:
        address = ready["base_url"].removesuffix("/v1")
        threading.Thread(target=_end_where_stuck, args=(address, config), daemon=True).start()
    send(events, event="ready", **ready)
    wait_for_parents_end()
    # Not by way of the destructor of ``server``: it waits for the answers in progress, for seconds.
    os._exit(0 if server is not None else 1)


class _CannotServe(Exception):
    """``reason`` is empty where only llama.cpp's log knows it."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def _serve(config: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    path = Path(config["model_path"])
    problem = header_problem(path)
    if problem is not None:
        raise _CannotServe(problem.text, problem.hint)
    try:
        llama = _import_llama()
    except ImportError as error:
        raise _CannotServe(
            f"The embedded server needs the package xllamacpp, which cannot be imported ({error}).",
            "Install it with: pip install xllamacpp",
        ) from error
    params = llama.CommonParams()
    params.model.path = os.fspath(path)
    params.model_alias = {config["alias"]}
    params.n_parallel = config["parallel"]
    params.n_ctx = config["context_tokens"] * config["parallel"]  # llama.cpp divides it among the slots
    params.hostnames = ["127.0.0.1"]
    params.port = 0  # the kernel picks a free one while binding, so nobody can take it in between
    params.cors_origins = "http://127.0.0.1"  # a web page elsewhere has no business with the local model
    params.api_keys = [config["api_key"]]  # whoever reaches the port, other users too, is refused without it
    params.endpoint_slots = False  # it shows prompts
    params.ui = False
    params.endpoint_metrics = True
    params.use_jinja = True
    params.n_batch = params.n_ubatch = PROMPT_BATCH_TOKENS
    params.cache_ram_mib = PROMPT_CACHE_MIB
    if config["quantized_cache"]:
        params.cache_type_k = params.cache_type_v = llama.ggml_type.GGML_TYPE_Q8_0
    for name, value in config["sampling"].items():
        setattr(params.sampling, name, value)  # what a request takes when it does not say otherwise
    threads = config.get("threads") or allowed_cpus()
    if threads is not None:
        params.cpuparams.n_threads = threads
    if config.get("gpu_layers") is not None:
        params.n_gpu_layers = config[
            "gpu_layers"
        ]  # without it, as many as fit; a build without a GPU has none
    try:
        server = llama.Server(params)
    except RuntimeError as error:
        raise _CannotServe("") from error
    address: str = server.listening_address
    return server, {
        "base_url": f"{address}/v1",
        "slots": config["parallel"],
        "gpu": _has_gpu(llama),
        "version": f"llama.cpp (xllamacpp {llama.__version__})",
        **_served(address, config["api_key"]),
    }


def _has_gpu(llama: Any) -> bool:
    """Whether this build of llama.cpp computes on a GPU that is here."""
    try:
        return any("GPU" in device["type"].name for device in llama.get_device_info())
    except (AttributeError, KeyError, TypeError, RuntimeError):
        return False


def _import_llama() -> Any:
    """Import xllamacpp and stay on every CPU: OpenMP, told to bind threads, binds the one that loads it.

    All of the server's threads would inherit that one CPU, and ``allowed_cpus`` would count it alone. The
    threads that compute are bound later, each as it joins the first computation.
    """
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    llama = importlib.import_module("xllamacpp")
    if before is not None:
        os.sched_setaffinity(0, before)
    return llama


def _served(address: str, api_key: str) -> dict[str, Any]:
    """Ask the server itself, since llama.cpp cuts a context down to what the model was trained for."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    asked = urllib.request.Request(f"{address}/v1/models", headers={"Authorization": f"Bearer {api_key}"})
    with opener.open(asked, timeout=30) as answer:
        model = json.load(answer)["data"][0]
    trained: int = model["meta"]["n_ctx_train"]
    return {"model": model["id"], "context_tokens": min(model["meta"]["n_ctx"], trained)}


def _end_where_stuck(address: str, config: dict[str, Any]) -> None:
    """End this process where llama.cpp computes and answers nobody for ``stuck_s``: its loop gives its metrics."""
    stuck_s: float = config["stuck_s"]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"Authorization": f"Bearer {config['api_key']}"}
    while True:
        before_s = time.process_time()
        time.sleep(stuck_s / 12)
        if time.process_time() - before_s < _BUSY_SHARE * stuck_s / 12:
            continue
        try:
            opener.open(
                urllib.request.Request(f"{address}/metrics", headers=headers), timeout=stuck_s
            ).close()
        except TimeoutError:
            sys.stderr.write(f"llama.cpp answers nobody for {stuck_s:g} s, and is ended\n")
            sys.stderr.flush()
            os._exit(config["stuck_exit"])
        except OSError:
            pass  # an answer of any kind, or no connection to spare: it is alive


def allowed_cpus() -> int | None:
    """Return how many CPUs this process may use where that is fewer than there are, else ``None``.

    ``None`` leaves the choice to llama.cpp, which takes the physical cores. It does not see an affinity mask
    or a container's quota, and more threads than CPUs make it many times slower.
    """
    total = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            allowed = min(allowed, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no cgroup v2 here: there is no quota to respect
    return allowed if allowed < total else None


def _bound_memory() -> None:
    """Let this process's data grow by ``MEMORY_GROWTH_BYTES`` at most, where the system counts it (Linux)."""
    if sys.platform != "linux":
        return
    import resource

    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        (now_kib,) = [int(line.split()[1]) for line in lines if line.startswith("VmData:")]
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = now_kib * 1024 + MEMORY_GROWTH_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))
    except (OSError, ValueError):
        pass  # a container without /proc, or a limit that is lower already: it is only a second line of defence


def _step_back() -> None:
    if sys.platform != "win32":  # there, the parent starts it below normal priority
        os.nice(NICENESS)


if __name__ == "__main__":
    sys.exit(main())
