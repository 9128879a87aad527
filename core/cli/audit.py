"""``signalbox audit``: verify the audit log, look at its entries, and note its head."""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from core.cli import terminal
from core.errors import LedgerUnavailable
from core.pricing.money import exact_dollars
from core.pricing.spending import Spending

if TYPE_CHECKING:
    from core.ledger.audit import AuditEntry, AuditReport
    from core.ledger.ledger import Ledger

SHOWN = 20
_AMOUNTS = ("hold_nanodollars", "cost_nanodollars", "counted_nanodollars")


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("audit")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    check = actions.add_parser(
        "verify",
        parents=[common],
        help="check the whole chain, every request and sum against it, and its end against the note",
        description="Exit code 0: all is as Signalbox wrote it. 1: it is not, or it can't be read.",
    )
    check.add_argument("--expect", metavar="HASH", type=_hash, help="a head that was noted earlier")
    check.add_argument("--json", action="store_true", help="print a JSON object")
    check.set_defaults(command=verify)
    entries = actions.add_parser("list", parents=[common], help="the newest entries, newest first")
    entries.add_argument("--limit", type=terminal.count, metavar="N", default=20, help="how many (20)")
    entries.add_argument(
        "--before", type=terminal.count, metavar="NUMBER", help="only entries before this one"
    )
    entries.add_argument("--json", action="store_true", help="print a JSON list")
    entries.set_defaults(command=show)
    head = actions.add_parser(
        "head",
        parents=[common],
        help="the newest entry's hash, to be noted elsewhere",
        description=(
            "Who may write the whole database could also write the whole chain anew. Keep this hash where they "
            "can't write, and give it to `signalbox audit verify --expect` later."
        ),
    )
    head.add_argument("--json", action="store_true", help="print a JSON object")
    head.set_defaults(command=note)
    accept = actions.add_parser(
        "accept-head",
        parents=[common],
        help="take the ledger that is there, although an earlier one had more entries",
        description=(
            "Signalbox notes the newest entry beside the ledger, and sends nothing to the API where it is missing, "
            "since what was spent would not count. After a backup was put back on purpose, this accepts it."
        ),
    )
    accept.set_defaults(command=accept_head)


def _hash(text: str) -> str:
    if re.fullmatch(r"[0-9a-fA-F]{64}", text.strip()) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a hash of 64 hexadecimal digits")
    return text.strip().lower()


async def verify(arguments: argparse.Namespace) -> int:
    """Exit code 1 when something was changed."""
    ledger = await _ledger()
    try:
        report = await ledger.verify_audit(expect=arguments.expect)
    finally:
        await ledger.close()
    if arguments.json:
        sys.stdout.write(json.dumps({"ok": report.ok, **asdict(report)}, indent=2) + "\n")
    else:
        sys.stdout.write(_words(report))
    return 0 if report.ok else 1


async def show(arguments: argparse.Namespace) -> int:
    ledger = await _ledger()
    try:
        entries = await ledger.audit_entries(arguments.limit, before=arguments.before)
    finally:
        await ledger.close()
    if arguments.json:
        sys.stdout.write(json.dumps([_record(entry) for entry in entries], indent=2) + "\n")
    else:
        sys.stdout.write("".join(_line(entry) for entry in entries) or "The audit log has no entries.\n")
    return 0


async def note(arguments: argparse.Namespace) -> int:
    ledger = await _ledger()
    try:
        newest = await ledger.audit_entries(1)
    finally:
        await ledger.close()
    if arguments.json:
        head = {"seq": newest[0].seq, "hash": newest[0].hash} if newest else None
        sys.stdout.write(json.dumps(head) + "\n")
    elif newest:
        sys.stdout.write(f"{newest[0].hash}  entry {newest[0].seq:,}\n")
    else:
        sys.stdout.write("The audit log has no entries.\n")
    return 0


async def accept_head(arguments: argparse.Namespace) -> int:
    ledger = await _ledger()
    try:
        problem = ledger.note_problem
        head = await ledger.accept_head()
    finally:
        await ledger.close()
    if head is None:
        sys.stdout.write("The audit log has no entries.\n")
        return 1
    if problem is not None:
        sys.stdout.write(f"{problem}\nWhat those entries spent counts under no limit any more.\n")
    sys.stdout.write(f"Accepted: entry {head.seq:,}, {head.hash}\n")
    return 0


async def _ledger() -> Ledger:
    """Open the ledger alone: a core would first close what dead processes left, and so write to it.

    Raises:
        LedgerUnavailable: there is none, or it can't be read.
    """
    from core.ledger.ledger import Ledger
    from core.settings import SettingsStore

    settings = SettingsStore().current
    ledger = Ledger(settings.ledger_url, settings.home)
    if ledger.path is not None and not ledger.path.exists():
        raise LedgerUnavailable(f"There is no ledger at {ledger.path}.", hint="The first request makes one.")
    await ledger.open()
    return ledger


def _words(report: AuditReport) -> str:
    read = f"{_number(report.entries, 'entry', 'entries')} and {_number(report.rows, 'attempt', 'attempts')}"
    if report.ok:
        text = f"The audit log is whole: {read} agree, and so do the sums.\n"
        if report.expected_found:
            text += "The chain leads through the head that was noted.\n"
        return text + (f"Head {report.head_hash}\n" if report.head_hash else "")
    text = f"The ledger was changed behind its back: {_number(report.problem_count, 'problem', 'problems')}, "
    text += f"{read} were read.\n"
    for problem in report.problems[:SHOWN]:
        request = f" (request {problem.correlation_id})" if problem.correlation_id else ""
        text += f"- {problem.what}{request}\n"
    if report.problem_count > SHOWN:
        text += f"- and {report.problem_count - SHOWN:,} more; --json lists up to {len(report.problems):,}\n"
    return text + (
        "If a backup was put back on purpose: signalbox audit accept-head. "
        "Nothing was repaired. Keep a copy of the ledger as it is, and compare it with the latest backup.\n"
    )


def _line(entry: AuditEntry) -> str:
    """One entry for people: number, local time, what happened, to which request, and its amounts."""
    when = "unknown time" if entry.at is None else f"{entry.at.astimezone():%Y-%m-%d %H:%M:%S}"
    row = _part(entry, "row")
    facts = [str(row[name]) for name in ("provider", "model", "status") if row.get(name)]
    facts += [part.text for part in _spending(row).parts]
    facts += [f"{name} {value}" for name, value in _part(entry, "note").items()]
    request = entry.correlation_id or "-"
    return (
        f"{entry.seq:>8,}  {when}  {entry.kind.ljust(10)}  {request.ljust(36)}  {', '.join(facts)}".rstrip()
        + "\n"
    )


def _spending(row: dict[str, Any]) -> Spending:
    """Return what an entry says of money: what was held as it began, what it cost or counts for as it ended."""
    held, cost, counted = (amount if isinstance(amount := row.get(name), int) else None for name in _AMOUNTS)
    if cost is not None:
        return Spending(spent_nanodollars=cost)
    if row.get("state") == "unresolved" or (held is None and counted):
        return Spending(unsettled_nanodollars=counted or held or 0)
    return Spending(held_nanodollars=held or 0)


def _part(entry: AuditEntry, name: str) -> dict[str, Any]:
    part: Any = (entry.payload or {}).get(name)
    return part if isinstance(part, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _record(entry: AuditEntry) -> dict[str, Any]:
    """One entry with its times in ISO form and its amounts in dollars besides."""
    row = _part(entry, "row")
    return {
        "seq": entry.seq,
        "at": entry.at.isoformat() if entry.at is not None else None,
        "kind": entry.kind,
        "correlation_id": entry.correlation_id,
        **{
            name.replace("_nanodollars", "_dollars"): exact_dollars(row[name])
            if isinstance(row[name], int)
            else None
            for name in _AMOUNTS
            if name in row
        },
        "payload": entry.payload,
        "hash": entry.hash,
    }


def _number(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
