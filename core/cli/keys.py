"""``signalbox keys``: set, test, look at and delete keys in the system's keyring, and say where one may go."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.base.net import is_readable_on_the_way, origin_of
from core.base.text import counted
from core.cli.terminal import UsageError
from core.errors import InvalidRequest
from core.keys import KeyName, mask

if TYPE_CHECKING:
    from core.keys import KeyStatus

ENV_NAMES: dict[KeyName, str] = {
    "anthropic": "ANTHROPIC_API_KEY",
    "vllm": "VLLM_API_KEY",
    "huggingface": "HF_TOKEN",
}


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("keys", parents=[common])
    parser.add_argument("action", choices=("set", "status", "test", "allow", "delete"))
    parser.add_argument("name", choices=tuple(ENV_NAMES))
    parser.add_argument(
        "address", nargs="?", help="allow: the server that may get the key, such as https://host"
    )
    parser.set_defaults(command=keys)


async def keys(arguments: argparse.Namespace) -> int:
    """A key is read from a prompt or standard input, never from an argument: those are seen by everybody."""
    from core.keys import KeyStore

    if (arguments.action == "allow") != (arguments.address is not None):
        raise UsageError(
            "keys allow needs the address that may get the key, and no other action takes one.",
            hint="signalbox keys allow anthropic https://gateway.example",
        )
    if arguments.action == "test":
        return await _test(arguments.name)
    store = KeyStore()
    set_elsewhere = _set_elsewhere(arguments.name)
    if arguments.action == "status" and set_elsewhere is not None:
        sys.stdout.write(f"{arguments.name}: {set_elsewhere}\n")
        return 0
    match arguments.action:
        case "set":
            key = (await asyncio.to_thread(_read_key, arguments.name)).strip()
            if not key:
                raise UsageError("No key was given.", hint="Nothing was changed.")
            status = await store.set(arguments.name, key, _address(arguments.name))
            done = status.stored_in == "keyring"
            if not done:
                # A key that lives for one run is lost when this command ends.
                sys.stderr.write(
                    f"{status.name}: The key was not kept: {status.backend.message} "
                    f"Set {ENV_NAMES[arguments.name]} in the environment or in the home folder's .env instead.\n"
                )
                return 1
        case "allow":
            status = await store.allow(arguments.name, arguments.address)
            if status.stored_in != "keyring":
                raise InvalidRequest(f"This was not kept: {status.backend.message}", hint=status.backend.hint)
            origin = origin_of(arguments.address)
            unencrypted = ", unencrypted" if is_readable_on_the_way(arguments.address) else ""
            sys.stdout.write(f"{arguments.name}: The key may now be sent to {origin} too{unencrypted}.\n")
            return 0
        case "delete":
            status = await store.delete(arguments.name)
            done = status.stored_in is None
        case _:
            status = await store.status(arguments.name, _address(arguments.name))
            done = status.stored_in is not None
            if not done and status.backend.state == "none":
                # Here is nobody who could type a key that lasts until Signalbox ends.
                status = replace(status, message=f"No key is set. {status.backend.message}")
    _say(status, failed=not done)
    return 0 if done else 1


def _address(name: KeyName) -> str:
    """The address the key would be sent to now."""
    from core.services.key_reader import address_of
    from core.settings import SettingsStore

    return address_of(name, SettingsStore())


async def _test(name: KeyName) -> int:
    """Reach the server with the key in use; what fails is told as any failure of a command."""
    from core.router_core import RouterCore

    async with RouterCore() as core:
        found = await core.test_key(name)
    if name == "huggingface":
        sys.stdout.write(f"{name}: The token works: {found.server} in {found.latency_ms:,.0f} ms.\n")
        return 0
    models = counted(len(found.models), "model")
    sys.stdout.write(f"{name}: The key works: {models} in {found.latency_ms:,.0f} ms, nothing was charged.\n")
    return 0


def _set_elsewhere(name: KeyName) -> str | None:
    """Say which variable holds the key, where one does: it wins over the keyring."""
    from core.settings import ORIGIN_TEXT, SettingsStore

    settings = SettingsStore()
    if name == "huggingface":
        given = settings.other(ENV_NAMES[name])
        if given is None:
            return None
        key, origin = given
    else:
        attribute = ENV_NAMES[name].lower()
        secret = getattr(settings.current, attribute)
        if secret is None:
            return None
        key, origin = secret.get_secret_value(), settings.origin(attribute)
    wins = f"{ENV_NAMES[name]} is set in {ORIGIN_TEXT[origin]}, and that wins over the keyring."
    return f"{mask(key)} {wins}"


def _read_key(name: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(f"{name} key (not shown): ")
    return sys.stdin.readline()


def _say(status: KeyStatus, *, failed: bool) -> None:
    out = sys.stderr if failed else sys.stdout
    masked = f" {status.masked}" if status.masked else ""
    belongs = f" It belongs to {status.belongs_to}." if status.belongs_to else ""
    if status.allowed:
        belongs += f" {' and '.join(status.allowed)} may have it too."
    out.write(f"{status.name}:{masked} {status.message}{belongs}\n")
    if status.held_back is not None:
        sys.stderr.write(f"{status.held_back}\n")
    if failed and status.backend.hint and status.backend.hint not in status.message:
        out.write(f"{status.backend.hint}\n")
