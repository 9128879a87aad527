"""``signalbox models``: lists, downloads, uses and deletes, in words and in JSON."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.cli import main
from core.local.models import FoundServer
from core.settings import SettingsStore
from tests.support.hub_server import HubServer, running_hub

EMPTY_MODEL = struct.pack("<4sIQQ", b"GGUF", 3, 0, 0).ljust(32, b"\0")
REPO, FILE = "acme/tiny-GGUF", "tiny-Q4_K_M.gguf"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub on a thread of its own: the command runs its own loop."""
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("core.services.local_models.find_servers", _one)
    hub = HubServer({REPO: {FILE: EMPTY_MODEL}})
    ready, loop, over = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with running_hub(hub):
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    yield hub
    loop.call_soon_threadsafe(over.set)
    thread.join()
    loop.close()


async def _one(**_: object) -> tuple[FoundServer, ...]:
    return (FoundServer(name="Ollama", base_url="http://127.0.0.1:11434/v1", models=("tiny",)),)


async def _none(**_: object) -> tuple[()]:
    return ()


def test_only_find_asks_the_ports_of_this_machine(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["servers"] == []
    assert main(["models", "find", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)["servers"]] == ["Ollama"]


def test_a_model_is_downloaded_used_deleted_and_brought_back(
    hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "download", REPO, "--json"]) == 0
    path = Path(json.loads(capsys.readouterr().out)["path"])
    assert path.read_bytes() == EMPTY_MODEL
    assert main(["models", "--json"]) == 0
    (model,) = [each for each in json.loads(capsys.readouterr().out)["on_disk"] if each["path"] == str(path)]
    assert model["deletable"]
    assert main(["models", "use", model["id"]]) == 0
    assert SettingsStore().current.local_model_path == path
    assert main(["models", "delete", FILE]) == 1
    assert "the model that is set" in capsys.readouterr().err
    SettingsStore().reset("local_model_path")
    assert main(["models", "delete", FILE, "--json"]) == 0
    assert not path.exists()
    assert main(["models", "undelete", json.loads(capsys.readouterr().out)["undo"].split("'")[1]]) == 0
    assert path.exists()


def test_what_cannot_be_had_is_one_line_and_an_exit_code(
    hub: HubServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.services.local_models.find_servers", _none)
    assert main(["models", "download", "acme/none"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert main(["models", "download"]) == 2
    assert main(["models"]) == 0
    assert "qwen3-4b" in capsys.readouterr().out
    assert main(["models", "find"]) == 0
    found = capsys.readouterr().out
    assert "No other model server answers" in found
    assert "Address" not in found  # no head of a table without rows
