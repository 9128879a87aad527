"""``signalbox report``: requests, tokens and cost of a period, by provider, model, day or rule."""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from core.cli.answer_json import dollars
from core.spend.money import format_cost

if TYPE_CHECKING:
    from core.spend.rows import ReportRow

_AGO = re.compile(r"(\d{1,6})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("report", parents=[common], help="what was sent where, and what it cost")
    parser.add_argument(
        "--since", default="30d", type=_since, help="30d, 12h, 2w or a date like 2026-11-01 (30d)"
    )
    parser.add_argument(
        "--by", choices=("provider", "model", "day", "rule"), default="provider", help="(provider)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON list")
    form.add_argument("--csv", action="store_true", help="print CSV")
    parser.set_defaults(command=report)


def _since(text: str) -> datetime:
    ago = _AGO.fullmatch(text.strip().lower())
    try:
        if ago is not None:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 30d, 12h, 2w or 2026-11-01") from error


async def report(arguments: argparse.Namespace) -> int:
    from core.router_core import RouterCore

    async with RouterCore() as core:
        rows = await core.report(arguments.since, arguments.by)
    records = [_record(row, arguments.by) for row in rows]
    if arguments.json:
        sys.stdout.write(json.dumps(records, indent=2) + "\n")
    elif arguments.csv:
        writer = csv.DictWriter(sys.stdout, _columns(arguments.by), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    else:
        sys.stdout.write(_table(rows, arguments.by, arguments.since))
    return 0


def _columns(by: str) -> list[str]:
    """Name the fields of a record: amounts are dollars."""
    from core.spend.rows import ReportRow

    names = [field.name.replace("_nanodollars", "_dollars") for field in fields(ReportRow)]
    return [by if name == "key" else name for name in names]


def _record(row: ReportRow, by: str) -> dict[str, Any]:
    """One group: amounts as strings, so that no reader rounds them."""
    amounts = (
        dollars(value) if name.endswith("_nanodollars") else value for name, value in asdict(row).items()
    )
    return dict(zip(_columns(by), amounts, strict=True))


def _table(rows: list[ReportRow], by: str, since: datetime) -> str:
    if not rows:
        return f"Nothing was sent since {since.astimezone():%Y-%m-%d %H:%M}.\n"
    heads = [by.capitalize(), "Requests", "Failed", "In", "Cached", "Out", "Cost", "Unresolved", "Unpriced"]
    lines = [
        [
            row.key,
            f"{row.requests:,}",
            f"{row.failed:,}",
            f"{row.input_tokens:,}",
            f"{row.cached_tokens:,}",
            f"{row.output_tokens:,}",
            format_cost(row.cost_nanodollars),
            format_cost(row.unresolved_nanodollars) if row.unresolved else "–",
            f"{row.unpriced:,}" if row.unpriced else "–",
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    text = ""
    for line in (heads, *lines):
        cells = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        text += "  ".join([line[0].ljust(widths[0]), *cells]).rstrip() + "\n"
    total = sum(row.cost_nanodollars + row.unresolved_nanodollars for row in rows)
    return text + f"Total {format_cost(total)}\n"
