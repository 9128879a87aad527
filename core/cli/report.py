"""``signalbox report``: requests, tokens and cost of a period, and what the local machine's idle time cost."""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, get_args

from core.base.text import long_duration, spreadsheet_cell
from core.cli.terminal import EMPTY, table
from core.ledger.models import ReportKey
from core.ledger.savings import saved_words
from core.pricing.money import exact_dollars, format_cost
from core.pricing.spending import Spending, unsettled_amount

if TYPE_CHECKING:
    from core.ledger.models import ReportRow
    from core.pricing.local_cost import IdleCost
    from core.router_core import RouterCore

IDLE = "idle"
NOT_KNOWN = "not known"
_AGO = re.compile(r"(\d{1,6})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_HEADS = (
    "Requests",
    "Failed",
    "Refused",
    "In",
    "Cached",
    "Out",
    "Spent",
    "Saved",
    "Not settled",
    "Unpriced",
    "Power",
    "Machine",
)
_OPTIONAL = ("Refused", "Saved", "Not settled", "Unpriced", "Power", "Machine")
_TOKENS = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens")
_NO_KEY = {"project": "no project", "rule": "no rule"}


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "report",
        parents=[common],
        description="Spent is cash, with ~ where answers that were stopped are in it: they are settled at what "
        "they may have cost at most. Not settled is counted for requests whose true cost never "
        "came. Saved is the cash that trimming, compression and prompt caching kept from being "
        "spent. Power is the electricity of local answers, and Machine is all they cost: power, and "
        "their share of rent or purchase and of ops time. The idle row is what the machine cost "
        "while it answered nobody.",
    )
    parser.add_argument(
        "--since", default="30d", type=_since, help="30d, 12h, 2w or a date like 2026-11-01 (30d)"
    )
    parser.add_argument("--by", choices=get_args(ReportKey), default="provider", help="(provider)")
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
        rows = await core.ledger.report(arguments.since, arguments.by)
        idle = await _idle(core, arguments.since) if rows else None
        # A group may have local answers that were stopped, which cost no cash; the sides tell them apart.
        sides = await core.ledger.report(arguments.since, "side") if rows else []
        has_estimates = any(row.spending.estimated for row in sides if row.key == "api")
    records = [_record(row, arguments.by) for row in rows]
    if idle is not None:
        records.append(_idle_record(idle, arguments.by))
    if arguments.json:
        sys.stdout.write(json.dumps(records, indent=2) + "\n")
    elif arguments.csv:
        writer = csv.DictWriter(sys.stdout, _columns(arguments.by), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {
                name: spreadsheet_cell(value) if isinstance(value, str) else value
                for name, value in row.items()
            }
            for row in records
        )
    else:
        sys.stdout.write(_words(rows, idle, arguments.by, arguments.since, has_estimates))
    return 0


async def _idle(core: RouterCore, since: datetime) -> IdleCost | None:
    """Return what the local machine cost while it answered nobody; ``None`` where it has no part in the report.

    The period begins with ``since`` or with the ledger's first request, whichever is later.
    """
    from core.pricing.local_cost import local_rates

    rates = local_rates(core.settings.current)
    sides = {row.key: row for row in await core.ledger.report(since, "side")}
    local = sides.get("local")
    if local is None and rates.hour_nanodollars is None:
        return None
    # As the rows are: by whole hours, but none of the day before, which in India begins at half past.
    midnight = since.astimezone().replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None).astimezone()
    begin = max(since.replace(minute=0, second=0, microsecond=0), midnight)
    first = await core.ledger.oldest()
    if first is not None:
        begin = max(begin, first.started_at)
    period_s = max(0.0, (datetime.now(UTC) - begin).total_seconds())
    return rates.idle(period_s, (local.busy_ms if local is not None else 0) / 1000)


# -- machines ---------------------------------------------------------------------------------------------------


def _columns(by: str) -> list[str]:
    """Name the fields of a record: amounts are dollars."""
    from core.ledger.models import ReportRow

    names = [field.name.replace("_nanodollars", "_dollars") for field in fields(ReportRow)]
    return [*(by if name == "key" else name for name in names), "idle_s"]


def _record(row: ReportRow, by: str) -> dict[str, Any]:
    """One group: amounts as strings, so that no reader rounds them; null is not known."""
    values = asdict(row)
    if _is_unpriced(row):
        values["cost_nanodollars"] = None
    if _tokens_unknown(row):
        values |= dict.fromkeys(_TOKENS)
    if row.loaded_unknown and not row.loaded_nanodollars:
        values["loaded_nanodollars"] = None
    if _has_local(row) and not row.marginal_nanodollars:
        values["marginal_nanodollars"] = None
    for name, there in _saved_by(row).items():
        if row.saved_unknown and there and not values[name]:
            values[name] = None
    amounts = [
        exact_dollars(value) if name.endswith("_nanodollars") else value for name, value in values.items()
    ]
    return dict(zip(_columns(by), [*amounts, None], strict=True))


def _idle_record(idle: IdleCost, by: str) -> dict[str, Any]:
    """The machine's idle time as a row: ``idle_s`` tells it from a group; counts are 0 and no cash was paid."""
    found: dict[str, Any] = dict.fromkeys(_columns(by), 0)
    found |= {name: exact_dollars(0) for name in found if name.endswith("_dollars")}
    return found | {
        by: IDLE,
        "day": None,
        "loaded_dollars": exact_dollars(_whole(idle)),
        "marginal_dollars": exact_dollars(idle.power_nanodollars),
        "loaded_unknown": 0,  # it counts answers
        "idle_s": round(idle.idle_s, 3),
    }


# -- people -----------------------------------------------------------------------------------------------------


def _words(
    rows: list[ReportRow], idle: IdleCost | None, by: str, since: datetime, has_estimates: bool
) -> str:
    if not rows:
        return f"Nothing was sent since {since.astimezone():%Y-%m-%d %H:%M}.\n"
    lines = [_line(row, by, has_estimates) for row in rows]
    if idle is not None:
        lines.append(
            (
                f"{IDLE} {long_duration(idle.idle_s)}",
                *(EMPTY for head in _HEADS if head not in ("Power", "Machine")),
                EMPTY if idle.power_nanodollars is None else format_cost(idle.power_nanodollars),
                _known(_whole(idle)),
            )
        )
    heads = (by.capitalize(), *_HEADS)
    text = table(heads, lines, optional=[heads.index(head) for head in _OPTIONAL])
    total = replace(Spending.total(row.spending for row in rows), loaded_nanodollars=0)
    total = replace(total, estimated=total.estimated and has_estimates)
    text += f"Total {total.words}"
    text += " (signalbox prices apply)\n" if total.unpriced else "\n"
    if saved := saved_words(rows):
        text += f"Saved {saved}\n"
    if idle is not None:
        text += _machine_total(rows, idle)
    return text


def _line(row: ReportRow, by: str, has_estimates: bool) -> tuple[str, ...]:
    power = EMPTY
    if _has_local(row):
        power = format_cost(row.marginal_nanodollars) if row.marginal_nanodollars else NOT_KNOWN
    return (
        row.key or _NO_KEY.get(by, "never sent"),
        f"{row.requests:,}",
        f"{row.failed:,}",
        f"{row.refused:,}" if row.refused else EMPTY,
        *(
            EMPTY if _tokens_unknown(row) else f"{tokens:,}"
            for tokens in (row.input_tokens, row.cached_tokens, row.output_tokens)
        ),
        "Unpriced"
        if _is_unpriced(row)
        else format_cost(row.cost_nanodollars, estimate=has_estimates and row.spending.estimated),
        _saved(row),
        unsettled_amount(row.unresolved_nanodollars) if row.unresolved else EMPTY,
        f"{row.unpriced:,}" if row.unpriced else EMPTY,
        power,
        _loaded(row.loaded_nanodollars, row.loaded_unknown),
    )


def _loaded(nanodollars: int, unknown: int) -> str:
    if unknown:
        return f"{format_cost(nanodollars)} + {unknown:,} {NOT_KNOWN}" if nanodollars else NOT_KNOWN
    return format_cost(nanodollars) if nanodollars else EMPTY


def _saved(row: ReportRow) -> str:
    if not row.has_savings:
        return EMPTY
    if row.saved_unknown and not row.saved_nanodollars:
        return NOT_KNOWN
    return format_cost(row.saved_nanodollars)


def _saved_by(row: ReportRow) -> dict[str, bool]:
    """Say by each amount that was saved whether there was anything to save."""
    return {
        "trimming_saved_nanodollars": bool(row.trimmed_tokens),
        "compression_saved_nanodollars": bool(row.compressed_tokens),
        "cache_saved_nanodollars": bool(row.cached_tokens or row.cache_write_tokens),
    }


def _machine_total(rows: list[ReportRow], idle: IdleCost) -> str:
    """Say what the local machine cost in all, busy and idle."""
    unknown = sum(row.loaded_unknown for row in rows)
    busy, idle_cost = sum(row.loaded_nanodollars for row in rows), _whole(idle)
    if idle_cost is None:
        return f"What the local machine costs is {NOT_KNOWN}: set LOCAL_DOLLARS_PER_HOUR or GPU_PURCHASE_DOLLARS.\n"
    text = f"Local machine {format_cost(busy + idle_cost)}: {format_cost(busy)} for its answers"
    if unknown:
        requests = "one answer" if unknown == 1 else f"{unknown:,} answers"
        text += f" (without {requests} whose cost is {NOT_KNOWN})"
    return f"{text}, {format_cost(idle_cost)} idle\n"


def _is_unpriced(row: ReportRow) -> bool:
    """Nothing of what the group cost is known, which is not 0."""
    return bool(row.unpriced) and not row.cost_nanodollars


def _tokens_unknown(row: ReportRow) -> bool:
    """No usage came for any request of the group: a prompt is never of 0 tokens."""
    return bool(row.requests) and not (row.input_tokens or row.output_tokens)


def _has_local(row: ReportRow) -> bool:
    return bool(row.loaded_nanodollars or row.loaded_unknown or row.marginal_nanodollars)


def _whole(idle: IdleCost) -> int | None:
    return None if idle.nanodollars is None else idle.nanodollars + (idle.power_nanodollars or 0)


def _known(nanodollars: int | None) -> str:
    return NOT_KNOWN if nanodollars is None else format_cost(nanodollars)
