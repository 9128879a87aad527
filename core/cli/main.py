"""Reads the arguments, runs one command on its own loop, and turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from typing import NoReturn

from core.cli.terminal import MarkedStream, UsageError
from core.errors import SignalboxError

COMMANDS = {
    "ask": "route a prompt and print the answer",
    "decide": "say where prompts would go, without a call",
    "report": "what was sent where, and what it cost",
    "limits": "what each limit leaves, and whether it holds",
    "holds": "what is held for running requests, and what is not settled",
    "resume": "let a conversation go on that sent like a loop",
    "prices": "what models cost, and prices of your own",
    "metrics": "the ledger's figures for Prometheus' textfile collector",
    "audit": "check that nobody changed the ledger behind its back",
    "scores": "how often each model's JSON and tool calls are right",
    "models": "models on this machine: find, download, use and delete them",
    "keys": "API keys in the system's keyring",
    "settings": "what is set and where, and what becomes of a settings.json that can't be read",
    "trust": "let all of a folder's .env count",
    "doctor": "look at every component and say what to do",
}
"""Each command, which is a module of this package, and what it does in a few words."""

Command = Callable[[argparse.Namespace], Awaitable[int]]
EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, 1 (failure), 2 (usage) or 130 (Ctrl+C)."""
    words = sys.argv[1:] if argv is None else argv
    _prepare_streams()
    try:
        arguments = _parser(words).parse_args(words)
        told: list[str] = []
        arguments.told = told
    except KeyboardInterrupt:  # while the modules were loading
        return EXIT_INTERRUPTED
    os.umask(0o077)  # ledger and logs are the user's own
    try:
        return asyncio.run(_run(arguments))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) went away: point stdout at nothing so that the flush at exit stays quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except OSError as error:
        return _say(
            error, f"The answer can't be written or the input can't be read: {error}.", arguments.debug
        )
    except SignalboxError as error:
        return _say(error, _without(told, str(error)), arguments.debug)
    except Exception as error:  # noqa: BLE001  the last line of defence: one readable line, or a traceback
        return _say(error, f"{type(error).__name__}: {error}", arguments.debug)


def _prepare_streams() -> None:
    """Make the standard streams usable, and keep others' text from acting on the terminal."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell: >&-
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # A model may answer what this terminal's encoding lacks; a mark for it beats a traceback.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
        if not isinstance(stream, MarkedStream):
            setattr(sys, name, MarkedStream(stream, is_always=name == "stderr"))


async def _run(arguments: argparse.Namespace) -> int:
    from core.settings import SettingsStore
    from core.settings.home import CLOSED, use_home
    from core.settings.left_aside import left_aside
    from core.telemetry.logs import setup_logging

    settings = SettingsStore()
    was_open = use_home(settings.current.home)
    setup_logging(settings.current.home, debug=arguments.debug, log_format=settings.current.log_format)
    if was_open:
        logging.getLogger(__name__).info(CLOSED)
    for problem in settings.problems:
        sys.stderr.write(f"signalbox: {' '.join(problem.message.split())}\n")
        arguments.told.append(problem.message)
    told = left_aside(settings.current.home)
    _tell(told)
    command: Command = arguments.command
    if command.__name__ != "trust":  # which tells it itself
        _tell(f"{file.message} {file.hint}" for file in settings.untrusted)
    try:
        with _ended_as_by_ctrl_c():
            return await command(arguments)
    finally:  # the command may have found the broken file
        _tell(each for each in left_aside(settings.current.home) if each not in told)


def _tell(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        sys.stderr.write(f"signalbox: {sentence}\n")


@contextlib.contextmanager
def _ended_as_by_ctrl_c() -> Generator[None]:
    """Let a polite kill, or the terminal's end, settle what runs as Ctrl+C does."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    caught: list[int] = []

    def end(number: int) -> None:
        caught.append(number)
        if task is not None:
            task.cancel()

    try:
        for number in numbers:
            loop.add_signal_handler(number, end, number)
    except (NotImplementedError, RuntimeError, ValueError):
        numbers = []  # Windows, or not the main thread: then there is only Ctrl+C
    try:
        yield
    except asyncio.CancelledError:
        if caught:
            raise SystemExit(128 + caught[0]) from None
        raise
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _without(told: list[str], line: str) -> str:
    """Return an error's line without what was told above it: an error may quote the setting that is its cause."""
    for sentences in told:
        if line != sentences:
            line = line.replace(sentences, "")
    return line.strip()


def _say(error: BaseException, line: str, debug: bool) -> int:
    from core.telemetry.logs import redact, redacted_traceback

    if debug:
        sys.stderr.write(redacted_traceback(error))
    if isinstance(error, SignalboxError) and error.quote and not sys.stderr.isatty():
        # What is no terminal is somebody's log: a server may have quoted the prompt. ``--json`` tells it all.
        line = line.replace(error.quote, ".")
    sys.stderr.write(f"signalbox: {' '.join(redact(line).split())}\n")
    return EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILURE


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of ``argv``. Of the commands only the one that is named is imported."""
    parser = argparse.ArgumentParser(
        prog="signalbox",
        description="Routes prompts between your own model and a metered API, and records why and what it cost.",
        epilog="Without a command the panel opens. Exit codes: 0, 1 failure, 2 usage, 130 Ctrl+C. "
        "Settings: see .env.example.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show program's version number and exit")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show tracebacks and log to standard error")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    named = next((word for word in argv if word in COMMANDS), None)
    for name, text in COMMANDS.items():
        if name == named:
            importlib.import_module(f"core.cli.{name}").add_to(commands, common)
        else:
            commands.add_parser(name, help=text)
    return parser


class _Version(argparse.Action):
    """Like argparse's own, but the version is looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        parser.exit(message=f"signalbox {version('signalbox-panel')}\n")
