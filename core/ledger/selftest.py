"""The "limit armed" self-test: does each limit refuse what is too much, here and now, in this very database?

It asks the ledger's own admission, in a transaction that is rolled back: one nano-dollar or token more than is free
must be refused by that limit, exactly what is free must pass. And it adds up the window's rows anew, because a
limit that compares with a wrong sum is not armed either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.chat import new_correlation_id
from core.errors import BudgetExceeded, SignalboxError
from core.ledger.admission import now_standing
from core.ledger.limits import Limit, LimitUsage, TokenLimit, project_of
from core.ledger.models import ArmedLimit, HoldRequest, NewRequest
from core.ledger.reconcile import used_by_rows
from core.pricing.money import format_amount

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from core.ledger.mapping import Moment
    from core.ledger.operations import LedgerOperations


def self_test(
    connection: Connection, store: LedgerOperations, limits: Sequence[Limit], now: Moment
) -> tuple[ArmedLimit, ...]:
    """Try each limit. The caller rolls the transaction back, whatever comes out."""
    found: list[ArmedLimit] = []
    for limit in limits:
        # What passed holds what it asked for: it must be gone before the next limit is tried.
        connection.exec_driver_sql("SAVEPOINT trial")
        found.append(_try(connection, store, limit, now))
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT trial")
        connection.exec_driver_sql("RELEASE SAVEPOINT trial")
        store.books.forget()
        store.books.begin(connection)
    return tuple(found)


def _try(connection: Connection, store: LedgerOperations, limit: Limit, now: Moment) -> ArmedLimit:
    standing = now_standing(store.books, limit, now.day)
    used = used_by_rows(connection, standing)
    if used != standing.used:
        return ArmedLimit(
            limit_name=limit.name,
            armed=False,
            detail=f"Its rows add up to {_amount(standing, used)}, but it compares with "
            f"{_amount(standing, standing.used)}. Run signalbox doctor.",
        )
    too_much = standing.free + 1
    if _passes(connection, store, limit, too_much, now):
        return ArmedLimit(
            limit_name=limit.name,
            armed=False,
            detail=f"{_amount(standing, too_much)} passed, though only {_amount(standing, standing.free)} is free.",
        )
    if not _passes(connection, store, limit, standing.free, now):
        return ArmedLimit(
            limit_name=limit.name,
            armed=False,
            detail=f"{_amount(standing, standing.free)} is free and was refused all the same.",
        )
    return ArmedLimit(
        limit_name=limit.name,
        armed=True,
        detail=f"{_amount(standing, standing.free)} is free; a little more was refused.",
    )


def _passes(connection: Connection, store: LedgerOperations, limit: Limit, asked: int, now: Moment) -> bool:
    from core.ledger.mapping import AttemptStart

    tokens = isinstance(limit, TokenLimit)
    record = NewRequest(
        correlation_id=new_correlation_id(),
        side="api",
        provider="self-test",
        model="self-test",
        project=project_of(limit),
    )
    hold = HoldRequest(nanodollars=0 if tokens else asked, tokens=asked if tokens else 0, limits=(limit,))
    try:
        answer = store.begin(
            connection,
            AttemptStart(record=record, hold=hold, rates=(), started=now, now=now, decision_json=None),
        )
    except BudgetExceeded as refusal:
        return refusal.limit_name != limit.name
    return not isinstance(answer, SignalboxError)


def _amount(standing: LimitUsage, amount: int) -> str:
    return format_amount(amount, standing.unit)
