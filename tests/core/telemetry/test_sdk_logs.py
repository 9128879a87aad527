"""``ANTHROPIC_LOG=debug`` and ``OPENAI_LOG=debug`` make the SDKs log whole requests: none of ours."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.anthropic_server import AnthropicServer
from tests.support.openai_server import OpenAIServer

ROOT = Path(__file__).parents[3]
PROGRAM = """
import asyncio, sys
from pathlib import Path
from core import ChatRequest, RouterCore, setup_logging
async def main():
    async with RouterCore() as core:
        for side in ("local", "api"):
            print((await core.ask(ChatRequest.from_prompt("planted7XA", force=side))).text)
if sys.argv[1:]:
    setup_logging(Path(sys.argv[1]), debug=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("logs", [False, True], ids=["library", "log and --debug"])
async def test_no_request_of_ours_is_logged(home: Path, logs: bool) -> None:
    async with OpenAIServer() as local, AnthropicServer() as api:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONASYNCIODEBUG": "1",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
            "OPENAI_LOG": "debug",
            "ANTHROPIC_LOG": "debug",
            "VLLM_BASE_URL": local.base_url,
            "ANTHROPIC_BASE_URL": api.url,
            "ANTHROPIC_API_KEY": "sk-ant-hidden7XA",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROGRAM,
            *([str(home)] if logs else []),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        out, err = await process.communicate()
    assert out.decode().count("Hello there") == 2, err.decode()
    told = err.decode()
    if logs:
        told += (home / "logs" / "signalbox.log").read_text(encoding="utf-8")
        assert "done: anthropic" in told  # our own line is there
    assert "planted7XA" not in told
    assert "hidden7XA" not in told
