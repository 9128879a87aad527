"""``signalbox ask``: one prompt, its answer on standard output."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

from core.chat import (
    ChatRequest,
    ChatResult,
    Failed,
    Finished,
    JsonSchemaFormat,
    TextDelta,
    Waiting,
)
from core.cli import argument_types
from core.cli.answer_json import failure_json, result_json
from core.cli.footer import footer
from core.cli.stdin import read_all
from core.cli.usage import UsageError
from core.cli.wait_lines import WaitLines
from core.errors import SignalboxError


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("ask", parents=[common], help="route a prompt and print the answer")
    parser.add_argument("prompt", help="the prompt, or - to read it from standard input")
    parser.add_argument(
        "--force", choices=("local", "api"), help="take this side (the spend limit still holds)"
    )
    parser.add_argument("--system", help="a system prompt")
    parser.add_argument(
        "--schema", type=Path, metavar="FILE", help="a JSON schema that the answer has to match"
    )
    parser.add_argument(
        "--max-tokens", type=argument_types.count, metavar="N", help="at most N tokens of answer"
    )
    parser.add_argument(
        "--temperature",
        type=argument_types.temperature,
        metavar="T",
        help="0 to 2; dropped where the model takes none",
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
        type=argument_types.seconds,
        metavar="S",
        help="end after S seconds in all, waiting and retries included",
    )
    care.add_argument(
        "--idempotency-key",
        type=argument_types.name,
        metavar="K",
        help="never pay twice for K: the same request gets the first one's answer, from any process, for "
        "IDEMPOTENCY_KEEP_HOURS; a different one is refused",
    )
    care.add_argument(
        "--conversation",
        type=argument_types.name,
        metavar="ID",
        help="the conversation it belongs to, for the loop brake and the warm cache",
    )
    care.add_argument(
        "--window-tokens",
        type=argument_types.count,
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
    try:
        async with RouterCore() as core, aclosing(core.stream(request)) as events:
            async for event in events:
                match event:
                    case TextDelta(text=text):
                        printed.text(text)
                    case Waiting():
                        printed.waiting(event)
                    case Finished(result=result):
                        printed.result(result)
                        return 0
                    case Failed(error=error, partial=partial):
                        printed.failure(error, partial, request.correlation_id)
                        raise error
                    case _:
                        pass
    finally:
        printed.end_wait()
    return 1


class Printed:
    """What has been printed so far: the answer to standard output, everything about it to standard error."""

    def __init__(self, *, is_json: bool, is_quiet: bool) -> None:
        self._is_json = is_json
        self._is_quiet = is_quiet
        self._ends_with_newline = True
        self._waits = WaitLines()

    def text(self, text: str) -> None:
        if self._is_json or not text:
            return
        self._waits.end()
        sys.stdout.write(text)
        sys.stdout.flush()
        self._ends_with_newline = text.endswith("\n")

    def waiting(self, event: Waiting) -> None:
        if not self._is_quiet:
            self._waits.show(event)

    def end_wait(self) -> None:
        """Nobody waits any more, whatever comes now."""
        self._waits.end()

    def result(self, result: ChatResult) -> None:
        self._waits.end()
        if self._is_json:
            sys.stdout.write(json.dumps(result_json(result), ensure_ascii=False) + "\n")
        self._end_line()
        if not self._is_quiet:
            sys.stderr.write(footer(result) + "\n")

    def failure(self, error: SignalboxError, partial: ChatResult | None, correlation_id: str) -> None:
        self._waits.end()
        if self._is_json:
            failure = failure_json(error, partial, correlation_id)
            sys.stdout.write(json.dumps(failure, ensure_ascii=False) + "\n")
        self._end_line()

    def _end_line(self) -> None:
        sys.stdout.write("" if self._ends_with_newline else "\n")
        sys.stdout.flush()


async def _request(arguments: argparse.Namespace) -> ChatRequest:
    schema = _schema(arguments.schema) if arguments.schema is not None else None
    prompt = arguments.prompt if arguments.prompt != "-" else await read_all()
    return ChatRequest.from_prompt(
        prompt,
        system=arguments.system,
        force=arguments.force,
        max_tokens=arguments.max_tokens,
        temperature=arguments.temperature,
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


def _schema(path: Path) -> JsonSchemaFormat:
    try:
        return JsonSchemaFormat(schema=json.loads(path.read_text("utf-8")))
    except OSError as error:
        raise UsageError(f"The schema file can't be read: {error}.") from error
    except ValueError as error:
        raise UsageError(f"{path} isn't valid JSON: {error}.", hint="Nothing was sent.") from error
