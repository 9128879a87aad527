"""``signalbox limits``: what each limit leaves, which request rates hold, and a test that limits really hold."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from core.base.text import counted
from core.cli.terminal import EMPTY, table
from core.pricing.money import exact_dollars, format_amount
from core.pricing.spending import unsettled_amount

if TYPE_CHECKING:
    from core.ledger.limits import Limit, LimitUsage
    from core.ledger.models import ArmedLimit
    from core.services.status import LedgerCheck
    from core.settings import SettingProblem, Settings

CHECKED_DAYS = 2
RATES = ("max_requests_per_minute", "max_api_requests_per_minute", "runaway_requests_per_minute")
_HEADS = ("Limit", "Window", "Spent", "Held", "Not settled", "Unpriced", "Free", "Of", "Share", "Self-test")


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "limits",
        parents=[common],
        description="Exit code 1: the sums differ from the rows; a limit can't be read, or the ledger isn't the "
        "one that was written last (then nothing is sent to the API); or --test found one that doesn't hold.",
    )
    parser.add_argument(
        "--test",
        action="store_true",
        help="try each limit: the least too much has to be refused; nothing is recorded or sent",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(command=limits)


async def limits(arguments: argparse.Namespace) -> int:
    """Exit code 1 when a limit can't be read or does not hold, or what limits compare with is wrong."""
    from core.router_core import RouterCore
    from core.routing.backends import ACCEPT_HINT

    async with RouterCore() as core:
        settings = core.settings.current
        _, standings, month = await core.ledger.standing()
        armed = await core.ledger.test_limits() if arguments.test else ()
        check = await core.ledger.check(datetime.now(UTC) - timedelta(days=CHECKED_DAYS))
        unreadable = core.settings.closing_problems
        lacking = core.ledger.note_problem
    if arguments.json:
        found = _json(settings, standings, armed, check, unreadable) | {"ledger_problem": lacking}
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        sys.stdout.write(_words(settings, standings, month.unpriced_count, armed, check, unreadable))
        if lacking is not None:
            sys.stdout.write(f"The API is closed. {lacking} {ACCEPT_HINT}\n")
    return 0 if check.ok and not unreadable and lacking is None and all(limit.armed for limit in armed) else 1


def _words(
    settings: Settings,
    standings: tuple[LimitUsage, ...],
    unpriced: int,
    armed: tuple[ArmedLimit, ...],
    check: LedgerCheck,
    unreadable: tuple[SettingProblem, ...],
) -> str:
    lines = [
        (
            _name(standing.limit),
            standing.window_label,
            _spent(standing),
            _amount(standing, standing.held),
            unsettled_amount(standing.unresolved, standing.unit) if standing.unresolved_count else EMPTY,
            unsettled_amount(standing.unpriced, standing.unit) if standing.unpriced else EMPTY,
            _amount(standing, standing.free),
            _amount(standing, standing.amount),
            f"{standing.share_used:.0%}",
            ("tested" if armed[index].armed else "DOES NOT HOLD") if armed else "–",
        )
        for index, standing in enumerate(standings)
    ]
    text = table(_HEADS, lines, left=(0, 1, 9), optional=(4, 5, 9))
    tried = armed[: len(standings)]  # after these come the ones that can't be read
    text += "".join(f"{limit.limit_name}: {limit.detail}\n" for limit in tried if not limit.armed)
    text += "".join(f"{problem.subject}: DOES NOT HOLD. {problem.message}\n" for problem in unreadable)
    unresolved = max(standings, key=lambda standing: standing.unresolved_count)
    if unresolved.unresolved_count:
        requests = counted(unresolved.unresolved_count, "request is", "requests are")
        text += f"{requests} not settled, and counted at the worst case: signalbox holds\n"
    if unpriced:
        text += (
            f"{counted(unpriced, 'request of this month is', 'requests of this month are')} unpriced and counted "
            "at up to what was held, at the dearest price: signalbox prices\n"
        )
    text += "\n"
    width = max(map(len, RATES))
    for name in RATES:
        rate = getattr(settings, name)
        text += f"{name.upper().ljust(width)}  {f'{rate:,}' if rate else 'not set'}\n"
    text += f"{'Alerts at'.ljust(width)}  {_percents(settings)}\n"
    days = f"the last {CHECKED_DAYS} days and for each limit's window"
    if check.ok:
        return text + f"{'Sums'.ljust(width)}  checked now for {days}: they agree with the rows\n"
    text += f"{'Sums'.ljust(width)}  WRONG for {days}: {check.differences[0]}\n"
    return text + "The rows are what counts. Run signalbox doctor and signalbox audit verify.\n"


def _percents(settings: Settings) -> str:
    from core.routing.quotas import alerts_of

    return ", ".join(f"{percent} %" for percent in alerts_of(settings)) or "none"


def _name(limit: Limit) -> str:
    project = getattr(limit, "project", None)
    return f"{limit.name} ({project})" if project else limit.name


def _spent(standing: LimitUsage) -> str:
    """What is spent; with ``~`` where a stopped answer may be in it."""
    estimated = bool(standing.estimated and standing.settled)
    return format_amount(standing.settled, standing.unit, estimate=estimated)


def _amount(standing: LimitUsage, amount: int) -> str:
    return format_amount(amount, standing.unit)


def _json(
    settings: Settings,
    standings: tuple[LimitUsage, ...],
    armed: tuple[ArmedLimit, ...],
    check: LedgerCheck,
    unreadable: tuple[SettingProblem, ...],
) -> dict[str, Any]:
    from core.routing.quotas import alerts_of

    return {
        "limits": [
            _record(standing, armed[index] if armed else None) for index, standing in enumerate(standings)
        ],
        "unreadable": [{"name": problem.subject, "message": problem.message} for problem in unreadable],
        "rates_per_minute": {name.upper(): getattr(settings, name) or None for name in RATES},
        "alert_percents": list(alerts_of(settings)),
        "sums": {
            "ok": check.ok,
            "checked_at": check.at.isoformat(),
            "checked_days": CHECKED_DAYS,
            "attempts": check.attempts,
            "differences": list(check.differences),
        },
    }


def _record(standing: LimitUsage, armed: ArmedLimit | None) -> dict[str, Any]:
    tokens = standing.unit == "tokens"

    def amount(value: int) -> int | str | None:
        return value if tokens else exact_dollars(value)

    return {
        "name": standing.limit.name,
        "project": getattr(standing.limit, "project", None),
        "unit": "tokens" if tokens else "dollars",
        "window": standing.limit.window,
        "window_label": standing.window_label,
        "limit": amount(standing.amount),
        "used": amount(standing.used),
        "held": amount(standing.held),
        "free": amount(standing.free),
        "share": round(standing.share_used, 6),
        "held_count": standing.held_count,
        "unresolved": amount(standing.unresolved),
        "unresolved_count": standing.unresolved_count,
        "unpriced": amount(standing.unpriced),
        "armed": armed.armed if armed is not None else None,
        "armed_detail": armed.detail if armed is not None else None,
    }
