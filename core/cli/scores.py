"""``signalbox scores``: how often each model's JSON and tool calls were right, and a probe that measures one."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from core.chat import Side
from core.cli.terminal import EMPTY, table
from core.pricing.money import exact_dollars, format_cost

if TYPE_CHECKING:
    from core.router_core import RouterCore
    from core.structured.probe import ProbeProgress
    from core.structured.scoreboard import Score

_KINDS = {"schema": "JSON", "tools": "tools"}
_EXIT_NOT_CONFIRMED = 2


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "scores",
        parents=[common],
        description="Shows the last 30 days. Tools go to a local model only once it was seen to call them right, "
        "and to an API model until it was seen to fail.",
    )
    parser.add_argument(
        "--probe",
        choices=("local", "api"),
        help="ask that side's model 30 short prompts and score the answers",
    )
    parser.add_argument("--yes", action="store_true", help="let --probe api spend its worst case")
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.set_defaults(command=scores)


async def scores(arguments: argparse.Namespace) -> int:
    from core.router_core import RouterCore

    async with RouterCore() as core:
        if arguments.probe is None:
            found = core.scores()
        elif arguments.probe == "api" and not arguments.yes:
            sys.stderr.write(await _what_it_may_cost(core))
            return _EXIT_NOT_CONFIRMED
        else:
            side: Side = arguments.probe
            found = await core.probe(side, _show_progress)
    if arguments.json:
        sys.stdout.write(json.dumps([_record(score) for score in found], indent=2) + "\n")
    else:
        sys.stdout.write(_table(found))
    return 0


async def _what_it_may_cost(core: RouterCore) -> str:
    """Say the worst case of a probe of the API: the sum of what each of its requests is held for."""
    from core.structured.probe import probe_prompts

    decider = await core.decider()
    requests = [dataclasses.replace(prompt.request, force="api") for prompt in probe_prompts()]
    estimates = [decider(request).api_estimate for request in requests]
    model = estimates[0].model or "the API's model"
    if any(estimate.cost_nanodollars is None for estimate in estimates):
        worst = "Its price is not known, so neither is the worst case"
    else:
        total = sum(estimate.hold_nanodollars or 0 for estimate in estimates)
        worst = f"The worst case is {format_cost(total)}; it counts against the spend limits"
    return f"The probe asks {model} {len(requests)} short prompts. {worst}. Run it with --yes. Nothing was sent.\n"


def _show_progress(progress: ProbeProgress) -> None:
    entry = progress.entry
    if entry is None:
        state = "not asked"
    else:
        state = ("right, after a repair" if entry.repaired else "right") if entry.passed else "wrong"
    kind = f" {_KINDS[entry.kind]}" if entry is not None else ""
    why = f": {progress.problems[0]}" if progress.problems else ""
    sys.stderr.write(f"{progress.done:>3}/{progress.total}{kind} {state}{why}\n")
    sys.stderr.flush()


def _record(score: Score) -> dict[str, Any]:
    """One score: shares from 0 to 1, the amount as a string, so that no reader rounds it."""
    return {
        "provider": score.provider,
        "model": score.model,
        "kind": score.kind,
        "tried": score.tried,
        "passed": score.passed,
        "share": None if score.share is None else round(score.share, 4),
        "low": round(score.low, 4),
        "high": round(score.high, 4),
        "repaired": score.repaired,
        "repair_cost_dollars": exact_dollars(score.repair_cost_nanodollars),
        "verdict": score.verdict,
    }


def _table(scores: tuple[Score, ...]) -> str:
    if not scores:
        return "No answer was scored in the last 30 days. Measure a model: signalbox scores --probe local\n"
    heads = [
        "Provider",
        "Model",
        "Kind",
        "Tried",
        "Valid",
        "95 % interval",
        "Repaired",
        "Repair cost",
        "Verdict",
    ]
    lines = [
        [
            score.provider,
            score.model,
            _KINDS[score.kind],
            f"{score.tried:,}",
            EMPTY if score.share is None else f"{score.share:.1%}",
            f"{score.low:.0%} to {score.high:.0%}",
            f"{score.repaired:,}" if score.repaired else EMPTY,
            format_cost(score.repair_cost_nanodollars) if score.repair_cost_nanodollars else EMPTY,
            score.verdict,
        ]
        for score in scores
    ]
    return table(heads, lines, left=(0, 1, 2, 8))
