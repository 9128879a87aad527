"""A process full of requests that the test kills: ``python -m tests.support.money_child``.

It imports everything once and then waits. Each line on its standard input is a JSON object: ``{"run": SPEC}``
forks a child that runs a real core until it is killed, ``{"reap": PID}`` waits for one that was. It answers
with lines: ``pid N``, ``running N`` (its core is up), ``stopped N``, ``reaped N``, ``broken N why``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from random import Random
from typing import Any

from core.chat import ChatRequest, Failed, new_correlation_id
from core.errors import SignalboxError
from core.router_core import RouterCore
from core.settings import SettingsStore

WORDS = (
    "signal",
    "box",
    "lever",
    "points",
    "home",
    "distant",
    "route",
    "lamp",
    "wire",
    "bell",
    "block",
    "train",
)
LONG_SYSTEM = "You are the signalman of a small station. " * 120


def say(line: str) -> None:
    os.write(1, (line + "\n").encode())  # one system call: lines of several processes don't mix


def make_request(random: Random, models: list[str]) -> ChatRequest:
    correlation_id = new_correlation_id()
    prompt = " ".join(random.choices(WORDS, k=random.randint(3, 60)))
    force = random.choice(("api", "api", "api", None, "local"))
    return ChatRequest.from_prompt(
        f"[request {correlation_id}] {prompt}",
        system=random.choice((None, None, "Answer shortly.", LONG_SYSTEM if random.random() < 0.2 else None)),
        max_tokens=random.choice((4, 16, 40, None)),
        model=random.choice(models) if force != "local" and random.random() < 0.7 else None,
        force=force,
        high_stakes=random.random() < 0.2,
        project=random.choice((None, "website", "research")),
        correlation_id=correlation_id,
    )


async def send(core: RouterCore, random: Random, request: ChatRequest) -> None:
    """Read one request to its end, or leave it at some point as users do."""
    events = core.stream(request)
    leaves_after = random.randint(0, 30) if random.random() < 0.2 else None
    count = 0
    try:
        async for event in events:
            count += 1
            if isinstance(event, Failed):
                raise event.error
            if count == leaves_after:
                return
    finally:
        await events.aclose()


async def keep_sending(core: RouterCore, random: Random, models: list[str]) -> None:
    while True:
        patience_s = random.random() * 1.5 if random.random() < 0.25 else 8.0
        try:
            async with asyncio.timeout(patience_s):
                await send(core, random, make_request(random, models))
            pause_s = random.random() * 0.05
        except TimeoutError:
            pause_s = 0.0
        except SignalboxError:
            pause_s = 0.2 + random.random() * 0.6  # there is no use in knocking on a closed door
        await asyncio.sleep(pause_s)


async def work(spec: dict[str, Any]) -> None:
    core = RouterCore(SettingsStore(env=spec["env"]))
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    await core.start()
    try:
        say(f"running {os.getpid()}")
        async with asyncio.TaskGroup() as group:
            senders = [
                group.create_task(keep_sending(core, Random(f"{spec['seed']}:{number}"), spec["models"]))
                for number in range(spec["requests"])
            ]
            await ending.wait()
            for sender in senders:
                sender.cancel()
    finally:
        await core.stop()
    say(f"stopped {os.getpid()}")


def warm_up() -> None:
    """Import and load what the first request would, so that a child is at work within milliseconds."""
    import importlib

    from core.chat import Usage
    from core.pricing.prices import PriceTable

    for name in (
        "anthropic",
        "openai",
        "sqlalchemy.dialects.sqlite",
        "core.ledger.operations",
        "core.ledger.queries",
    ):
        importlib.import_module(name)
    importlib.import_module("core.providers.anthropic")
    importlib.import_module("core.providers.openai")
    PriceTable().cost_nanodollars("claude-opus-5", Usage(output_tokens=1))


def child(spec: dict[str, Any]) -> int:
    os.environ.clear()
    os.environ.update(spec["env"])
    try:
        asyncio.run(work(spec))
    except BaseException:  # noqa: BLE001 - the test reads why, and fails
        say(f"broken {os.getpid()} {json.dumps(traceback.format_exc())}")
        return 1
    return 0


def main() -> None:
    import keyring
    import keyring.backends.fail

    keyring.set_keyring(keyring.backends.fail.Keyring())
    warm_up()
    say("ready")
    for line in sys.stdin:
        order = json.loads(line)
        if "run" in order:
            pid = os.fork()
            if pid == 0:
                os._exit(child(order["run"]))
            say(f"pid {pid}")
        else:
            os.waitpid(order["reap"], 0)
            say(f"reaped {order['reap']}")


if __name__ == "__main__":
    main()
