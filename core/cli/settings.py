"""``signalbox settings``: what is set and where, what can't be read, and what becomes of a broken settings.json."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli.terminal import UsageError, table

if TYPE_CHECKING:
    from core.settings import SettingsStore


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "settings",
        parents=[common],
        description="Without ACTION: what is set, and where. A settings.json that could not be read is kept beside "
        "the new one, and nothing is sent to the API until you say what becomes of it.",
    )
    parser.add_argument(
        "action",
        nargs="?",
        choices=("show", "restore", "discard"),
        default="show",
        metavar="ACTION",
        help="restore: take back what the broken file holds, once you have mended it (what was set since stays); "
        "discard: go on without it (it is renamed, not deleted)",
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="restore this one (default: the newest)")
    parser.set_defaults(command=settings)


async def settings(arguments: argparse.Namespace) -> int:
    """Exit code 1: there is something that closes the API."""
    from core.settings import SettingsStore

    store = SettingsStore()
    if arguments.action == "show":
        return _show(store)
    copies = store.broken_copies
    if not copies:
        raise UsageError("No broken settings.json is kept.", hint="There is nothing to do.")
    if arguments.action == "discard":
        for copy in copies:
            sys.stdout.write(f"{copy} is left out, and kept as {store.discard(copy).name}.\n")
    else:
        copy = copies[-1] if arguments.file is None else Path(arguments.file).absolute()
        if copy not in copies:
            raise UsageError(
                f"{arguments.file!r} is no broken settings.json.", hint=f"There is {copies[-1]}."
            )
        kept = store.restore(copy)
        sys.stdout.write(f"What {copy} holds counts again; the file is kept as {kept.name}.\n")
    for problem in store.closing_problems:
        sys.stdout.write(f"Still: {problem.message}\n")
    return 1 if store.closing_problems else 0


def _show(store: SettingsStore) -> int:
    from core.settings import ORIGIN_TEXT

    lines = [
        (info.env_name, "–" if info.value is None else str(info.value), ORIGIN_TEXT[info.origin])
        for info in store.describe()
        if info.origin != "default" or info.name == "home"
    ]
    sys.stdout.write(table(("Setting", "Value", "From"), lines, left=range(3)))
    sys.stdout.write("Everything else is at its default: see .env.example.\n")
    return 1 if store.closing_problems else 0
