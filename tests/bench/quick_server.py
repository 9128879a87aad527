"""The scripted server on the OpenAI wire as a process: prints its port and answers until it is ended."""

from __future__ import annotations

import asyncio
import sys

from tests.support.openai_server import OpenAIServer, Streams


async def main(token_count: int) -> None:
    server = OpenAIServer()
    server.default = Streams(*["word "] * token_count)
    async with server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8))
