"""The vLLM service of ``docker-compose.yml``, as Compose itself reads it."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.docker_engine import compose_plugin

FILE = Path(__file__).resolve().parents[3] / "docker-compose.yml"
VARIABLE = re.compile(r"\$\{(\w+)([^}]*)\}")


def compose() -> list[str]:
    """Return the command of Compose v2, or skip."""
    plugin = compose_plugin()
    if plugin is not None:
        return [plugin]
    pytest.skip("Docker Compose v2 is not installed")


def as_compose_reads_it(home: Path, **environment: str) -> dict[str, Any]:
    kept = {
        k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "SYSTEMROOT") or k.startswith("DOCKER_")
    }
    done = subprocess.run(
        [*compose(), "--project-directory", str(home), "-f", str(FILE), "config", "--format", "json"],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "not set" not in done.stderr
    return json.loads(done.stdout)


def following(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1]


def test_defaults(home: Path) -> None:
    service = as_compose_reads_it(home)["services"]["vllm"]
    assert re.fullmatch(r"vllm/vllm-openai:v\d+\.\d+\.\d+", service["image"])
    (port,) = service["ports"]
    assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "8000", 8000)
    (gpu,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert (gpu["driver"], gpu["count"], gpu["capabilities"]) == ("nvidia", 1, ["gpu"])
    assert "/health" in " ".join(service["healthcheck"]["test"])
    assert service["healthcheck"]["start_period"] == "1h0m0s"
    (volume,) = service["volumes"]
    assert (volume["type"], volume["source"], volume["target"]) == (
        "volume",
        "model-cache",
        "/root/.cache/huggingface",
    )
    assert "--enable-auto-tool-choice" in service["command"]
    assert following(service["command"], "--tool-call-parser") == "hermes"
    assert service["environment"].get("HF_TOKEN") is None
    assert service["environment"].get("HF_ENDPOINT") is None
    assert service["environment"].get("VLLM_API_KEY") is None


def test_what_the_user_sets(home: Path) -> None:
    service = as_compose_reads_it(
        home,
        VLLM_MODEL="meta-llama/Llama-3.1-8B-Instruct",
        VLLM_IMAGE_TAG="v0.31.0",
        VLLM_PORT="8123",
        VLLM_GPU_COUNT="2",
        VLLM_TOOL_PARSER="llama3_json",
        HF_TOKEN="hf_hidden",
        HF_ENDPOINT="https://mirror.example",
        VLLM_API_KEY="local-key",
    )["services"]["vllm"]
    command = service["command"]
    assert following(command, "--model") == "meta-llama/Llama-3.1-8B-Instruct"
    assert following(command, "--served-model-name") == "meta-llama/Llama-3.1-8B-Instruct"
    assert following(command, "--tensor-parallel-size") == "2"
    assert following(command, "--tool-call-parser") == "llama3_json"
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["count"] == 2
    assert service["image"] == "vllm/vllm-openai:v0.31.0"
    assert service["ports"][0]["published"] == "8123"
    assert service["environment"]["HF_TOKEN"] == "hf_hidden"
    assert service["environment"]["HF_ENDPOINT"] == "https://mirror.example"
    assert service["environment"]["VLLM_API_KEY"] == "local-key"
    assert not any(
        "hf_hidden" in word or "local-key" in word for word in command
    )  # `ps` shows a command line


def test_values_from_dotenv(home: Path) -> None:
    (home / ".env").write_text("VLLM_MODEL=from-dotenv\nVLLM_API_KEY=local-key\n")
    service = as_compose_reads_it(home)["services"]["vllm"]
    assert following(service["command"], "--served-model-name") == "from-dotenv"
    assert service["environment"]["VLLM_API_KEY"] == "local-key"


def test_it_is_yaml() -> None:
    """For machines without Docker."""
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        pytest.skip("PyYAML is not installed")
    service = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]["vllm"]
    assert service["ports"] == ["127.0.0.1:${VLLM_PORT:-8000}:8000"]
    assert all(isinstance(word, str) for word in service["command"])


def test_every_variable_has_a_default_and_no_secret_a_place() -> None:
    text = FILE.read_text(encoding="utf-8")
    lines = [line.split(" #")[0] for line in text.splitlines() if not line.lstrip().startswith("#")]
    variables = VARIABLE.findall("\n".join(lines))
    assert {name for name, _ in variables} >= {"VLLM_MODEL", "VLLM_IMAGE_TAG", "VLLM_PORT"}
    assert all(default.startswith(":-") and default != ":-" for _, default in variables)
    assert not any("TOKEN" in name or "KEY" in name for name, _ in variables)
