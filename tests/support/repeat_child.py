"""A process that sends one request and tells each event as a line: ``python -m tests.support.repeat_child ASKED``.

ASKED is a JSON object of ``prompt`` and other fields of ``ChatRequest``; the environment is the core's.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing
from typing import Any

import keyring
import keyring.backends.fail

from core.chat import ChatRequest, Failed, Finished, StreamEvent, TextDelta, Waiting
from core.cli.answer_json import failure_json, result_json
from core.router_core import RouterCore


def told(event: StreamEvent) -> dict[str, Any]:
    facts: dict[str, Any] = {"event": type(event).__name__}
    match event:
        case TextDelta(text=text):
            facts["text"] = text
        case Waiting():
            facts["reason"] = event.reason
        case Finished(result=result):
            facts |= result_json(result)
        case Failed(error=error):
            facts |= failure_json(error, None)
        case _:
            pass
    return facts


async def send(options: dict[str, Any]) -> None:
    request = ChatRequest.from_prompt(options.pop("prompt"), **options)
    async with RouterCore() as core, aclosing(core.stream(request)) as events:
        async for event in events:
            sys.stdout.write(json.dumps(told(event)) + "\n")
            sys.stdout.flush()


def main() -> None:
    keyring.set_keyring(keyring.backends.fail.Keyring())
    asyncio.run(send(json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
