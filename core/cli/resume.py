"""``signalbox resume``: the conversations that sent like a loop and wait for a person, and letting one go on."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from core.cli import terminal
from core.cli.terminal import table
from core.errors import InvalidRequest

if TYPE_CHECKING:
    from core.router_core import RouterCore


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "resume",
        parents=[common],
        description="Without CONVERSATION the paused ones are listed. A conversation is paused when it sends more "
        "than RUNAWAY_REQUESTS_PER_MINUTE.",
    )
    parser.add_argument(
        "conversation",
        nargs="?",
        metavar="CONVERSATION",
        type=terminal.name,
        help="as listed, or the ID that was given to ask --conversation",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=resume)


async def resume(arguments: argparse.Namespace) -> int:
    from core.router_core import RouterCore

    async with RouterCore() as core:
        if arguments.conversation is not None:
            return await _resume(core, arguments.conversation, as_json=arguments.json)
        paused = await core.ledger.paused()
    if arguments.json:
        records = [
            {
                "conversation": each.conversation,
                "since": each.since.isoformat(),
                "per_minute": each.per_minute,
            }
            for each in paused
        ]
        sys.stdout.write(json.dumps(records, indent=2) + "\n")
    elif not paused:
        sys.stdout.write("No conversation is paused.\n")
    else:
        lines = [
            (each.conversation, f"{each.since.astimezone():%Y-%m-%d %H:%M:%S}", f"{each.per_minute:,}")
            for each in paused
        ]
        sys.stdout.write(table(("Conversation", "Paused since", "Limit a minute"), lines, left=(0, 1)))
        sys.stdout.write("Look at what sends them; then: signalbox resume CONVERSATION\n")
    return 0


async def _resume(core: RouterCore, named: str, *, as_json: bool) -> int:
    from core.chat import ChatRequest
    from core.routing.conversations import conversation_of

    for conversation in (named, conversation_of(ChatRequest.from_prompt("", conversation_id=named))):
        if await core.ledger.resume(conversation):
            found = json.dumps({"conversation": conversation, "resumed": True})
            sys.stdout.write(f"{found}\n" if as_json else f"Conversation {conversation} goes on.\n")
            return 0
    raise InvalidRequest(
        f"No conversation {named!r} is paused.", hint="signalbox resume lists those that are."
    )
