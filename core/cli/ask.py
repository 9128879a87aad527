"""``signalbox ask``: one prompt, its answer on standard output."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from core.base.text import escaped_in_json
from core.chat import (
    CONTINUE_PROMPT,
    ChatRequest,
    ChatResult,
    Failed,
    Finished,
    JsonSchemaFormat,
    Message,
    PromptProgress,
    Started,
    Stopped,
    StreamEnd,
    TextDelta,
    Waiting,
)
from core.cli import terminal
from core.cli.answer_json import failure_json, result_json, stopped_json
from core.cli.footer import failure_footer, footer, notice_line, stopped_line
from core.cli.terminal import UsageError, WaitLines, read_all, read_text_file
from core.errors import InvalidRequest, SignalboxError

if TYPE_CHECKING:
    from core.services.status import Problem, ProblemKind

TOLD: frozenset[ProblemKind] = frozenset({"alert", "recovered", "ledger_unsaved", "prices", "templates"})
"""What is told beside an answer: it changed what this request cost or said, or what the next one may."""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("ask", parents=[common])
    parser.add_argument("prompt", help="the prompt, or - to read it from standard input")
    parser.add_argument(
        "--force", choices=("local", "api"), help="take this side (the spend limit still holds)"
    )
    parser.add_argument("--system", help="a system prompt")
    parser.add_argument(
        "--schema", type=Path, metavar="FILE", help="a JSON schema that the answer has to match"
    )
    parser.add_argument("--max-tokens", type=terminal.count, metavar="N", help="at most N tokens of answer")
    parser.add_argument(
        "--temperature",
        type=terminal.temperature,
        metavar="T",
        help="0 to 2; dropped where the model takes none",
    )
    parser.add_argument(
        "--top-p", type=terminal.top_p, metavar="P", help="0 to 1; dropped where the model takes none"
    )
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="end the answer before TEXT; can be given more than once",
    )
    parser.add_argument(
        "--seed", type=terminal.seed, metavar="N", help="the same dice again; Local only, dropped by the API"
    )
    parser.add_argument("--model", help="name a model; the side that serves it is taken")
    parser.add_argument("--project", help="a tag for the report and for PROJECT_SPEND_LIMITS")
    _add_care(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object instead of streaming text")
    form.add_argument(
        "--quiet", action="store_true", help="only the answer: no line on waiting, where it went and its cost"
    )
    parser.set_defaults(command=ask)


def _add_care(parser: argparse.ArgumentParser) -> None:
    """Add how the request is to be treated."""
    care = parser.add_argument_group("how it is treated")
    stakes = care.add_mutually_exclusive_group()
    stakes.add_argument("--high-stakes", action="store_true", help="it counts as complex")
    stakes.add_argument("--batch", action="store_true", help="nobody waits for it: it counts as simple")
    care.add_argument(
        "--deadline",
        type=terminal.seconds,
        metavar="S",
        help="end after S seconds in all, waiting and retries included",
    )
    care.add_argument(
        "--idempotency-key",
        type=terminal.name,
        metavar="K",
        help="never pay twice for K: the same request gets the first one's answer, from any process, for "
        "IDEMPOTENCY_KEEP_HOURS; a different one is refused",
    )
    care.add_argument(
        "--continue",
        dest="begun",
        type=Path,
        metavar="FILE",
        help="ask for the rest of an answer to the same prompt that broke off: FILE has its text, or what --json "
        "printed",
    )
    care.add_argument(
        "--conversation",
        type=terminal.name,
        metavar="ID",
        help="the conversation it belongs to, for the loop brake (RUNAWAY_REQUESTS_PER_MINUTE)",
    )
    care.add_argument(
        "--window-tokens",
        type=terminal.count,
        metavar="N",
        help="leave out what is oldest until N tokens of input are left",
    )
    care.add_argument(
        "--compress",
        action="store_true",
        default=None,
        help="leave out repeated context and needless whitespace; never in code or quotes",
    )


async def ask(arguments: argparse.Namespace) -> int:
    from core.router_core import RouterCore

    request = await _request(arguments)
    printed = Printed(is_json=arguments.json, is_quiet=arguments.json or arguments.quiet)
    ended: StreamEnd | None = None
    async with RouterCore() as core:
        events = core.stream(request)
        try:
            async with aclosing(events):
                async for event in events:
                    match event:
                        case TextDelta(text=text):
                            printed.text(text)
                        case Waiting():
                            printed.waiting(event)
                        case Started():
                            printed.sent()
                        case PromptProgress():
                            printed.reading(event)
                        case Finished() | Failed() | Stopped():
                            ended = event
                        case _:
                            pass
        except (asyncio.CancelledError, BrokenPipeError):
            result = events.end.result if isinstance(events.end, Stopped | Finished) else None
            printed.stopped(result, request.correlation_id)
            raise
        finally:
            printed.end_wait()
        # What the request crossed is told once it has ended, so it is asked for only now.
        notices = [problem for problem in (await core.status()).problems if problem.kind in TOLD]
    match ended:
        case Finished(result=result):
            printed.result(result, notices)
            return 0
        case Failed(error=error, partial=partial):
            printed.failure(error, partial, request.correlation_id, notices)
            raise error
        case _:
            return 1


class Printed:
    """What has been printed so far: the answer to standard output, everything about it to standard error."""

    def __init__(self, *, is_json: bool, is_quiet: bool) -> None:
        self._is_json = is_json
        self._is_quiet = is_quiet
        self._ends_with_newline = True
        self._has_text = False
        self._waits = WaitLines()

    def text(self, text: str) -> None:
        if self._is_json or not text:
            return
        self._waits.end()
        sys.stdout.write(text)
        sys.stdout.flush()
        self._ends_with_newline = text.endswith("\n")
        self._has_text = True

    def waiting(self, event: Waiting) -> None:
        if not self._is_quiet:
            self._waits.show(event)

    def sent(self) -> None:
        if not self._is_quiet:
            self._waits.sent()

    def reading(self, event: PromptProgress) -> None:
        self._waits.reading(event)

    def end_wait(self) -> None:
        """Nobody waits any more, whatever comes now."""
        self._waits.end()

    def result(self, result: ChatResult, notices: Sequence[Problem] = ()) -> None:
        self._waits.end()
        if self._is_json:
            self._json(result_json(result), notices)
        self._end_line()
        if result.empty_because and not self._is_json:
            # Also where only the answer is wanted: nothing at all looks like a fault of whoever reads it.
            sys.stderr.write(f"signalbox: {result.empty_because}\n")
        self._about(footer(result), notices)

    def failure(
        self,
        error: SignalboxError,
        partial: ChatResult | None,
        correlation_id: str,
        notices: Sequence[Problem] = (),
    ) -> None:
        """Tell what had come and what it cost; the error itself is told last, by ``main``."""
        self._waits.end()
        if self._is_json:
            self._json(failure_json(error, partial, correlation_id), notices)
        self._end_line()
        about: list[str] = []
        if partial is not None:
            if partial.text.strip() and not self._has_text:
                about.append(f"What came: {partial.text.strip()}")
            about.append(failure_footer(partial))
        self._about("\n".join(about), notices)

    def stopped(self, result: ChatResult | None, correlation_id: str) -> None:
        """Say what a request costs that nobody waits for any more; ``None``: it was not sent."""
        self._waits.end()
        with contextlib.suppress(OSError):  # whoever read the answer may be the one who left
            if self._is_json:
                self._json(stopped_json(result, correlation_id), ())
            self._end_line()
        self._about(stopped_line(result), ())

    def _json(self, record: dict[str, Any], notices: Sequence[Problem]) -> None:
        record = {**record, "notices": [asdict(notice) for notice in notices]}
        sys.stdout.write(escaped_in_json(json.dumps(record, ensure_ascii=False)) + "\n")

    def _about(self, text: str, notices: Sequence[Problem]) -> None:
        if self._is_quiet:
            return
        lines = [text] if text else []
        lines += [f"signalbox: {notice_line(notice)}" for notice in notices]
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        sys.stderr.flush()

    def _end_line(self) -> None:
        sys.stdout.write("" if self._ends_with_newline else "\n")
        sys.stdout.flush()


async def _request(arguments: argparse.Namespace) -> ChatRequest:
    from core.routing.validation import validated

    if arguments.schema is not None and arguments.begun is not None:
        raise UsageError("--schema and --continue don't go together: the rest alone matches no schema.")
    schema = _schema(arguments.schema) if arguments.schema is not None else None
    begun = _begun(arguments.begun) if arguments.begun is not None else None
    prompt = arguments.prompt if arguments.prompt != "-" else await read_all()
    request = ChatRequest.from_prompt(
        prompt,
        system=arguments.system,
        force=arguments.force,
        max_tokens=arguments.max_tokens,
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        stop=tuple(arguments.stop),
        seed=arguments.seed,
        model=arguments.model,
        project=arguments.project,
        response_format=schema,
        batch=arguments.batch,
        high_stakes=arguments.high_stakes,
        deadline_s=arguments.deadline,
        idempotency_key=arguments.idempotency_key,
        conversation_id=arguments.conversation,
        window_tokens=arguments.window_tokens,
        compress=arguments.compress,
        source="cli",
    )
    try:
        validated(request)
    except InvalidRequest as error:
        if arguments.json:
            Printed(is_json=True, is_quiet=True).failure(error, None, request.correlation_id)
        raise UsageError(error.message, hint=error.hint) from error
    return request if begun is None else _going_on(request, begun)


def _going_on(request: ChatRequest, begun: str) -> ChatRequest:
    """Return the request for the rest of an answer."""
    rest = (Message(role="assistant", text=begun), Message(role="user", text=CONTINUE_PROMPT))
    return replace(request, messages=request.messages + rest)


def _begun(path: Path) -> str:
    """Read the beginning of an answer: what ``--json`` printed of it, or its text.

    Raises:
        UsageError: the file can't be read, or no answer begins in it.
    """

    try:
        text = read_text_file(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"The answer to continue can't be read: {_why(error, path)}.") from error
    try:
        found: object = json.loads(text)
    except ValueError:
        found = None
    if isinstance(found, dict):
        record = cast("dict[str, Any]", found)
        part = record["partial"] if "error" in record and "partial" in record else record
        if isinstance(part, dict) and "correlation_id" in part:  # else it is an answer that is itself JSON
            text = str(cast("dict[str, Any]", part).get("text", ""))
        elif part is None:
            text = ""
    if not text.strip():
        raise UsageError(
            f"{path} has no beginning of an answer.", hint="Ask without --continue. Nothing was sent."
        )
    return text.rstrip()


def _why(error: Exception, path: Path) -> str:
    return f"{path}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)


def _schema(path: Path) -> JsonSchemaFormat:
    try:
        return JsonSchemaFormat(schema=json.loads(read_text_file(path)))
    except OSError as error:
        raise UsageError(f"The schema file can't be read: {_why(error, path)}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} isn't valid JSON: {error}.", hint="Nothing was sent.") from error
