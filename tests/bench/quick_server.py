"""A scripted server as a process of its own, so that its work is not counted as the router's.

``python -m tests.bench.quick_server openai 50`` prints its port and answers with 50 tokens until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.support.anthropic_server import AnthropicServer, Says
from tests.support.openai_server import OpenAIServer, Streams


@asynccontextmanager
async def quick_server(wire: str = "openai", token_count: int = 8) -> AsyncGenerator[int]:
    """Start one, yield its port, and end it."""
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.quick_server", wire, str(token_count)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        yield int(await server.stdout.readline())
    finally:
        server.terminate()
        await server.wait()


async def main(wire: str, token_count: int) -> None:
    words = ["word "] * token_count
    server: OpenAIServer | AnthropicServer
    if wire == "openai":
        server = OpenAIServer(max_model_len=1_000_000)
        server.default = Streams(*words)
    else:
        server = AnthropicServer()
        server.default = Says(*words)
    async with server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
