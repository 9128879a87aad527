"""``signalbox holds``: what is set aside now, what is counted at its worst case, and settling that by hand."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from core.base.text import counted, sentence_case
from core.cli import terminal
from core.cli.terminal import EMPTY, table
from core.pricing.money import exact_dollars, format_cost
from core.pricing.spending import Spending, unsettled_amount

if TYPE_CHECKING:
    from core.ledger.models import LedgerRow

SHOWN = 100
_HEADS = ("Began", "Model", "Project", "Tokens", "Amount", "Attempt", "Request")


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "holds",
        parents=[common],
        description="A request whose true cost never came (a cut connection, a crash) stays counted at its worst "
        "case. Look it up in the provider's bill by its time and model, and settle it here.",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(command=holds)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    settle = actions.add_parser("settle", help="give a request that is not settled the cost that was billed")
    settle.add_argument(
        "correlation_id", metavar="CORRELATION_ID", type=terminal.name, help="the request, as listed"
    )
    settle.add_argument(
        "nanodollars",
        metavar="DOLLARS",
        type=terminal.nanodollars,
        help="what the provider billed; 0 if it didn't",
    )
    settle.add_argument(
        "--attempt", type=terminal.count, metavar="N", help="which one, where a request has several"
    )
    # Not the parent's own options once more: their defaults would undo what stood before the action.
    settle.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print a JSON object")
    settle.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,
        help="show tracebacks and log to standard error",
    )
    settle.set_defaults(command=settle_by_hand)


async def holds(arguments: argparse.Namespace) -> int:
    from core.router_core import RouterCore

    async with RouterCore() as core:
        held = await core.ledger.holds()
        unresolved = await core.ledger.unresolved(SHOWN + 1)
    more, unresolved = len(unresolved) > SHOWN, unresolved[:SHOWN]
    if arguments.json:
        found = {
            "holds": [_record(row, row.hold_nanodollars) for row in held],
            "unresolved": [_record(row, row.counted_nanodollars) for row in unresolved],
            "more_unresolved": more,
        }
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    if not held:
        sys.stdout.write("Nothing is held: no request runs.\n")
    else:
        amount = format_cost(sum(row.hold_nanodollars or 0 for row in held))
        sys.stdout.write(f"{amount} held for {counted(len(held), 'running request')}:\n")
        sys.stdout.write(_table(held, "Held"))
    if not unresolved:
        sys.stdout.write("Everything is settled: every cost that was due has come.\n")
    else:
        spending = Spending.total(row.spending for row in unresolved)
        newest = "of the newest " if more else "of "
        requests = counted(len(unresolved), "request")
        sys.stdout.write(
            f"\n{sentence_case(spending.words)}, {newest}{requests} whose true cost never came:\n"
        )
        sys.stdout.write(_table(unresolved, "Not settled"))
        sys.stdout.write(
            "Look it up in the provider's bill: signalbox holds settle REQUEST DOLLARS (0 if it wasn't billed).\n"
        )
    return 0


async def settle_by_hand(arguments: argparse.Namespace) -> int:
    from core.router_core import RouterCore

    async with RouterCore() as core:
        row = await core.ledger.resolve(
            arguments.correlation_id, arguments.nanodollars, attempt=arguments.attempt
        )
    if arguments.json:
        sys.stdout.write(json.dumps(_record(row, row.counted_nanodollars), indent=2) + "\n")
    else:
        sys.stdout.write(
            f"Settled: {row.spending.words}; {unsettled_amount(row.hold_nanodollars or 0)} was not settled before. "
            "Both are in the audit log.\n"
        )
    return 0


def _table(rows: list[LedgerRow], amount: str) -> str:
    heads = [amount if head == "Amount" else head for head in _HEADS]
    lines = [
        (
            f"{row.started_at.astimezone():%Y-%m-%d %H:%M:%S}",
            row.served_model or row.model,
            row.project or EMPTY,
            f"{row.hold_tokens:,}" if row.hold_tokens else EMPTY,
            format_cost(row.hold_nanodollars)
            if amount == "Held"
            else unsettled_amount(row.counted_nanodollars),
            EMPTY if row.attempt == 1 else str(row.attempt),
            row.correlation_id,
        )
        for row in rows
    ]
    return table(heads, lines, left=(0, 1, 2, 6), optional=(2, 3, 5))


def _record(row: LedgerRow, counted: int | None) -> dict[str, Any]:
    return {
        "correlation_id": row.correlation_id,
        "attempt": row.attempt,
        "started_at": row.started_at.isoformat(),
        "side": row.side,
        "provider": row.provider,
        "model": row.served_model or row.model,
        "project": row.project,
        "source": row.source,
        "status": row.status,
        "state": row.state,
        "error": row.error_kind,
        "held": exact_dollars(row.hold_nanodollars),
        "held_tokens": row.hold_tokens,
        "counted": exact_dollars(counted),
        "cost": exact_dollars(row.cost_nanodollars),
    }
