"""``signalbox trust``: let all of a folder's ``.env`` count, after a look at what it would set."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli.terminal import UsageError, table

if TYPE_CHECKING:
    from core.settings import SettingsStore, UntrustedFile


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "trust",
        parents=[common],
        description="Of a folder's .env only what can do no harm counts by itself: thresholds, modes, models, "
        "token counts and lower limits. Addresses, paths, keys, ports and higher limits count once you have "
        "trusted the file. Trust is for that path and that content: a changed file is asked about again.",
    )
    parser.add_argument(
        "path", nargs="?", default=".", metavar="PATH", help="a folder or its .env (default: .)"
    )
    parser.add_argument("--yes", action="store_true", help="don't ask")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--revoke", action="store_true", help="trust that file no longer")
    other.add_argument("--list", action="store_true", help="list the files that are trusted")
    parser.set_defaults(command=trust)


async def trust(arguments: argparse.Namespace) -> int:
    """Exit code 1: it was not trusted."""
    from core.settings import SettingsStore

    if arguments.list:
        return _list(SettingsStore())
    path = Path(arguments.path).expanduser()
    if path.is_dir():
        path /= ".env"
    store = SettingsStore(dotenv_path=path)
    if arguments.revoke:
        was_trusted = store.revoke(path)
        sys.stdout.write(
            f"{_said(path)} {'is not trusted any more' if was_trusted else 'was not trusted'}.\n"
        )
        return 0
    file = store.folder_file
    if file is None:
        if not path.is_file():
            raise UsageError(
                f"There is no {_said(path)} that could be trusted.", hint="Name a folder with one."
            )
        sys.stdout.write(f"{_said(path)} is trusted already.\n")
        return 0
    return _ask(store, file, asked=arguments.yes)


def _list(store: SettingsStore) -> int:
    from core.settings import printable_path

    for path in sorted(store.trusted()):
        sys.stdout.write(f"{printable_path(Path(path))}\n")
    return 0


def _ask(store: SettingsStore, file: UntrustedFile, *, asked: bool) -> int:
    _show(file)
    if not asked and not file.obstacle:
        if not sys.stdin.isatty():
            sys.stderr.write("signalbox: Nothing was changed. To trust it without being asked, add --yes.\n")
            return 1
        sys.stdout.write("Trust it as it is now? [y/N] ")
        sys.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            sys.stdout.write("Nothing was changed.\n")
            return 1
    store.trust(file)
    sys.stdout.write("Trusted. A change of the file is asked about again.\n")
    return 0


def _show(file: UntrustedFile) -> None:
    from core.settings import printable_path

    where = printable_path(file.path)
    if file.changed:
        where += ", which has changed since you trusted it,"
    if not file.withheld:
        sys.stdout.write(f"{where} sets nothing that needs trust.\n")
        return
    sys.stdout.write(f"{where} sets what needs your trust:\n")
    lines = [
        (
            setting.env_name,
            setting.value,
            "–" if setting.instead is None else setting.instead,
            "the environment wins" if setting.overruled else "–",
        )
        for setting in file.withheld
    ]
    sys.stdout.write(table(("Setting", "There", "Now", ""), lines, left=range(4), optional=(2, 3)))


def _said(path: Path) -> str:
    from core.settings import printable_path

    return printable_path(path.absolute())
