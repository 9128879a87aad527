"""A stand-in for the ``docker`` command: a shell script whose answers a test writes down.

Each answer is for calls whose words contain a text; the first that does counts. What nobody wrote down fails as an
engine that is away does.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DOWN = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
COMMAND = (
    *("--model", "Qwen/Qwen2.5-7B-Instruct", "--served-model-name", "Qwen/Qwen2.5-7B-Instruct"),
    *("--host", "0.0.0.0", "--port", "8000", "--max-model-len", "8192", "--gpu-memory-utilization", "0.90"),
    *("--tensor-parallel-size", "1", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
)


def compose_config(**changes: Any) -> dict[str, Any]:
    """Return what ``docker compose config --format json`` says of the packaged file; ``changes`` of the service."""
    devices = [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    service: dict[str, Any] = {
        "image": "vllm/vllm-openai:v0.32.0",
        "command": list(COMMAND),
        "ports": [
            {
                "host_ip": "127.0.0.1",
                "target": 8000,
                "published": "8000",
                "protocol": "tcp",
                "mode": "ingress",
            }
        ],
        "volumes": [{"type": "volume", "source": "model-cache", "target": "/root/.cache/huggingface"}],
        "deploy": {"resources": {"reservations": {"devices": devices}}},
    }
    return {"name": "signalbox", "services": {"vllm": service | changes}}


def engine_info(root: Path, **changes: Any) -> dict[str, Any]:
    info: dict[str, Any] = {
        "ServerVersion": "28.3.0",
        "DockerRootDir": str(root),
        "OSType": "linux",
        "Runtimes": {"runc": {}, "nvidia": {}},
    }
    return info | changes


@dataclass
class DockerStub:
    """``answers`` are (text in the call, stdout, stderr, exit code, seconds before it answers)."""

    folder: Path
    answers: list[tuple[str, str, str, int, float]] = field(
        default_factory=list[tuple[str, str, str, int, float]]
    )

    def answer(
        self, call: str, stdout: object = "", *, stderr: str = "", code: int = 0, after_s: float = 0
    ) -> None:
        text = stdout if isinstance(stdout, str) else json.dumps(stdout)
        self.answers.insert(0, (call, text, stderr, code, after_s))
        self.write()

    def write(self) -> None:
        lines = [
            "#!/bin/sh",
            f'printf "%s\\n" "$*" >> {shlex.quote(str(self.folder / "calls"))}',
            'case "$*" in',
        ]
        tokens = shlex.quote(str(self.folder / "tokens"))
        lines.insert(2, f'printf "%s\\n" "${{HF_TOKEN:-}}" >> {tokens}')
        for call, stdout, stderr, code, after_s in self.answers:
            wait = f"exec sleep {after_s}; " if after_s else ""
            said = f"printf '%s\\n' {shlex.quote(stdout)}; " if stdout else ""
            told = f"printf '%s\\n' {shlex.quote(stderr)} >&2; " if stderr else ""
            lines.append(f"*{shlex.quote(call)}*) {wait}{said}{told}exit {code};;")
        lines += ["esac", f"printf '%s\\n' {shlex.quote(DOWN)} >&2", "exit 1", ""]
        path = self.folder / "docker"
        path.write_text("\n".join(lines))
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def tokens(self) -> list[str]:
        """The HF_TOKEN that each call had in its environment, empty where it had none."""
        path = self.folder / "tokens"
        return path.read_text().splitlines() if path.exists() else []


def well(folder: Path, config: dict[str, Any] | None = None, **info: Any) -> DockerStub:
    """Return a stub of an engine where everything is well and nothing of ours is there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    stub = DockerStub(folder)
    stub.answer("--version", "Docker version 28.3.0, build 38b7060")
    stub.answer("info --format", engine_info(folder, **info))
    stub.answer("compose version", "2.40.3")
    stub.answer("config --format json", config or compose_config())
    stub.answer("context inspect", "default unix:///var/run/docker.sock")
    stub.answer("image inspect", stderr="No such image: x", code=1)
    stub.answer("volume inspect", stderr="no such volume", code=1)
    stub.answer("ps --")
    return stub
