"""``signalbox keys``: set, look at and delete keys in the system's keyring."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.keys import KeyStatus


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("keys", parents=[common], help="API keys in the system's keyring")
    parser.add_argument("action", choices=("set", "status", "delete"))
    parser.add_argument("name", choices=("anthropic", "huggingface", "vllm"))
    parser.set_defaults(command=keys)


async def keys(arguments: argparse.Namespace) -> int:
    """A key is read from a prompt or standard input, never from an argument: those are seen by everybody."""
    from core.cli.main import UsageError
    from core.keys import KeyStore

    store = KeyStore()
    match arguments.action:
        case "set":
            key = (await asyncio.to_thread(_read_key, arguments.name)).strip()
            if not key:
                raise UsageError("No key was given.", hint="Nothing was changed.")
            status = await store.set(arguments.name, key)
            # A key that lives for one run is lost when this command ends: say so, and fail.
            done = status.stored_in == "keyring"
        case "delete":
            status = await store.delete(arguments.name)
            done = status.stored_in is None
        case _:
            status = await store.status(arguments.name)
            done = status.stored_in is not None
    _say(status, failed=not done)
    return 0 if done else 1


def _read_key(name: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(f"{name} key (not shown): ")
    return sys.stdin.readline()


def _say(status: KeyStatus, *, failed: bool) -> None:
    out = sys.stderr if failed else sys.stdout
    masked = f" {status.masked}" if status.masked else ""
    out.write(f"{status.name}:{masked} {status.message}\n")
    if failed and status.backend.hint and status.backend.hint not in status.message:
        out.write(f"{status.backend.hint}\n")
