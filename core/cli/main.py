"""Reads the arguments, runs one command on a loop of its own, and turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence

from core.errors import InvalidRequest, SignalboxError

Command = Callable[[argparse.Namespace], Awaitable[int]]
EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, 1 (failure), 2 (usage) or 130 (Ctrl+C)."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        # A model may answer what this terminal's encoding lacks; a mark for it beats a traceback.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    try:
        return asyncio.run(_run(arguments))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) went away: point stdout at nothing so that the flush at exit stays quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except SignalboxError as error:
        return _say(error, str(error), arguments.debug)
    except Exception as error:  # noqa: BLE001  the last line of defence: one readable line, or a traceback
        return _say(error, f"{type(error).__name__}: {error}", arguments.debug)


async def _run(arguments: argparse.Namespace) -> int:
    from core.observe import setup_logging
    from core.settings import SettingsStore

    setup_logging(SettingsStore().current.home, debug=arguments.debug)
    command: Command = arguments.command
    return await command(arguments)


def _say(error: BaseException, line: str, debug: bool) -> int:
    from core.observe import redact

    if debug:
        sys.stderr.write(redact("".join(traceback.format_exception(error))))
    sys.stderr.write(f"signalbox: {' '.join(redact(line).split())}\n")
    return EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILURE


class UsageError(InvalidRequest):
    """The arguments or the input cannot be used; exit code 2."""


def _parser() -> argparse.ArgumentParser:
    from core.cli import ask, decide, doctor, keys, report

    parser = argparse.ArgumentParser(
        prog="signalbox",
        description="Routes prompts between your own model and a metered API, and records why and what it cost.",
        epilog="Without a command the panel opens. Settings: see .env.example.",
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show tracebacks and log to standard error")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (ask, decide, report, keys, doctor):
        module.add_to(commands, common)
    return parser
