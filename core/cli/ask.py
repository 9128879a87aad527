"""``signalbox ask``: one prompt, its answer on standard output."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

from core.chat import ChatRequest, ChatResult, Failed, Finished, JsonSchemaFormat, RouteDecision, TextDelta
from core.cli.stdin import read_all
from core.errors import SignalboxError
from core.spend.money import format_cost, nano_to_dollars


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
    parser.add_argument("--max-tokens", type=int, metavar="N", help="at most N tokens of answer")
    parser.add_argument(
        "--temperature", type=float, metavar="T", help="0 to 2; dropped where the model takes none"
    )
    parser.add_argument("--model", help="name a model; the side that serves it is taken")
    parser.add_argument("--project", help="a tag for the report")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object instead of streaming text")
    form.add_argument("--quiet", action="store_true", help="leave out the line on where it went and its cost")
    parser.set_defaults(command=ask)


async def ask(arguments: argparse.Namespace) -> int:
    from core.router_core import RouterCore

    request = await _request(arguments)
    async with RouterCore() as core, aclosing(core.stream(request)) as events:
        ends_with_newline = True
        async for event in events:
            match event:
                case TextDelta(text=text) if not arguments.json:
                    sys.stdout.write(text)
                    sys.stdout.flush()
                    ends_with_newline = text.endswith("\n")
                case Finished(result=result):
                    if arguments.json:
                        sys.stdout.write(json.dumps(result_json(result), ensure_ascii=False) + "\n")
                    else:
                        sys.stdout.write("" if ends_with_newline else "\n")
                    sys.stdout.flush()
                    if not (arguments.json or arguments.quiet):
                        sys.stderr.write(footer(result) + "\n")
                    return _check_answer(request, result)
                case Failed(error=error, partial=partial):
                    if arguments.json:
                        failure = json.dumps(failure_json(error, partial), ensure_ascii=False)
                        sys.stdout.write(failure + "\n")
                    elif not ends_with_newline:
                        sys.stdout.write("\n")
                    sys.stdout.flush()
                    raise error
                case _:
                    pass
    return 1


async def _request(arguments: argparse.Namespace) -> ChatRequest:
    prompt = arguments.prompt if arguments.prompt != "-" else await read_all()
    schema = _schema(arguments.schema) if arguments.schema is not None else None
    return ChatRequest.from_prompt(
        prompt,
        system=arguments.system,
        force=arguments.force,
        max_tokens=arguments.max_tokens,
        temperature=arguments.temperature,
        model=arguments.model,
        project=arguments.project,
        response_format=schema,
        source="cli",
    )


def _schema(path: Path) -> JsonSchemaFormat:
    from core.cli.main import UsageError

    try:
        return JsonSchemaFormat(schema=json.loads(path.read_text("utf-8")))
    except OSError as error:
        raise UsageError(f"The schema file can't be read: {error}.") from error
    except ValueError as error:
        raise UsageError(f"{path} isn't valid JSON: {error}.", hint="Nothing was sent.") from error


ENDS: dict[str, str] = {
    "length": "cut off at the limit of tokens",
    "refusal": "the model declined to go on",
    "tool_calls": "asks for tools",
}
FELL_BACK: dict[str | None, str] = {"local": "fell back from Local", "api": "fell back from the API"}


def footer(result: ChatResult) -> str:
    """Say in one line where it went, why, and what it cost."""
    usage, decision = result.usage, result.decision
    facts = (
        "Local" if result.side == "local" else "API",
        result.model,
        FELL_BACK.get(decision.fell_back_from, ""),
        decision.reason,
        "usage not reported" if usage is None else f"{usage.input_tokens:,} in, {usage.output_tokens:,} out",
        "no charge" if result.side == "local" else format_cost(result.cost_nanodollars),
        ENDS.get(result.finish_reason, ""),
        f"not used: {', '.join(result.dropped)}" if result.dropped else "",
    )
    return f"[{' · '.join(fact for fact in facts if fact)}]"


def _check_answer(request: ChatRequest, result: ChatResult) -> int:
    """Return 1, after saying why, for an answer that does not match the schema that was asked for."""
    if request.response_format is None:
        return 0
    from jsonschema import ValidationError, validate

    try:
        validate(json.loads(result.text), dict(request.response_format.schema))
    except (ValueError, ValidationError) as error:
        why = error.message if isinstance(error, ValidationError) else str(error)
        sys.stderr.write(f"signalbox: The answer doesn't match the schema: {why}.\n")
        return 1
    return 0


def dollars(nanodollars: int | None) -> str | None:
    """Return exact dollars as a plain decimal string, ``None`` where not known."""
    return None if nanodollars is None else format(nano_to_dollars(nanodollars), "f")


def decision_json(decision: RouteDecision) -> dict[str, Any]:
    """The decision as the command line prints it; amounts are dollars as strings or null."""
    signals = decision.signals
    return {
        "side": decision.side,
        "provider": decision.provider,
        "model": decision.model,
        "rule": decision.rule,
        "reason": decision.reason,
        "mode": decision.mode,
        "refusal": decision.refusal,
        "fell_back_from": decision.fell_back_from,
        "complexity": round(signals.complexity, 4),
        "signals": {
            "input_tokens": signals.input_tokens,
            "max_output_tokens": signals.max_output_tokens,
            "complexity": round(signals.complexity, 4),
            "complexity_threshold": decision.complexity_threshold,
            "features": {feature.name: round(feature.contribution, 4) for feature in signals.features},
            "messages": signals.message_count,
            "tools": signals.has_tools,
            "schema": signals.has_schema,
            "images": signals.has_images,
            "high_stakes": signals.high_stakes,
            "batch": signals.batch,
            "local_requests_today": decision.local_requests_today,
            "routing_threshold": decision.routing_threshold,
        },
        "estimates": {
            side: {
                "model": estimate.model,
                "cost": dollars(estimate.cost_nanodollars),
                "hold": dollars(estimate.hold_nanodollars),
            }
            for side, estimate in (("local", decision.local_estimate), ("api", decision.api_estimate))
        },
    }


def failure_json(error: SignalboxError, partial: ChatResult | None) -> dict[str, Any]:
    """A request without a whole answer; ``partial`` is the result as far as it came, or null."""
    return {
        "error": error.kind,
        "message": error.message,
        "hint": error.hint,
        "partial": None if partial is None else result_json(partial),
    }


def result_json(result: ChatResult) -> dict[str, Any]:
    """The result as ``ask --json`` prints it. ``cost`` is cash; ``loaded_cost`` the machine's own."""
    usage = result.usage
    return {
        "text": result.text,
        "provider": result.provider,
        "side": result.side,
        "model": result.model,
        "finish_reason": result.finish_reason,
        "tool_calls": [
            {"id": call.id, "name": call.name, "arguments": call.arguments_json} for call in result.tool_calls
        ],
        "decision": decision_json(result.decision),
        "usage": None
        if usage is None
        else {
            "fresh_input_tokens": usage.fresh_input_tokens,
            "cache_read_tokens": usage.cache_read_tokens,
            "cache_write_5m_tokens": usage.cache_write_5m_tokens,
            "cache_write_1h_tokens": usage.cache_write_1h_tokens,
            "output_tokens": usage.output_tokens,
            "input_tokens": usage.input_tokens,
            "total_tokens": usage.total_tokens,
        },
        "cost": dollars(result.cost_nanodollars),
        "loaded_cost": dollars(result.loaded_nanodollars),
        "price_version": result.price_version,
        "latency_ms": round(result.latency_ms, 1),
        "ttft_ms": None if result.ttft_ms is None else round(result.ttft_ms, 1),
        "dropped": list(result.dropped),
        "correlation_id": result.correlation_id,
    }
