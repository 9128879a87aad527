"""What is put right in the books later: by a person, by a price that became known, or by an answer's check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, select

from core.errors import InvalidRequest
from core.spend import schema
from core.spend.admission import conversation_key
from core.spend.attempt_rows import Moment, saved_columns
from core.spend.books import RateState
from core.spend.database import driver_of
from core.spend.owner import Owner
from core.spend.rows import ScoreEntry
from core.spend.savings import PricedRow
from core.spend.sql import Sql, adding
from core.spend.store import Store

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect


class CorrectingStore(Store):
    """The store with the operations that no request waits for."""

    def __init__(self, dialect: Dialect, owner: Owner | None = None) -> None:
        super().__init__(dialect, owner)
        attempts = schema.attempts
        mine = attempts.c.correlation_id == bindparam("correlation_id")
        self._unresolved_of = Sql(
            select(attempts).where(and_(mine, schema.UNRESOLVED_STATE)).order_by(attempts.c.number), dialect
        )
        self._by_id = Sql(select(attempts).where(attempts.c.id == bindparam("row_id")), dialect)
        self._add_score = Sql(adding(schema.scores, schema.SCORE_KEYS, schema.SCORE_SUMS, dialect), dialect)

    def resolve_by_hand(
        self, connection: Connection, correlation_id: str, nanodollars: int, attempt: int | None, now: Moment
    ) -> dict[str, Any]:
        """Give an unresolved attempt the cost that a person found on the provider's bill.

        Raises:
            InvalidRequest: it is not unresolved, or ``attempt`` has to say which of several is meant.
        """
        if nanodollars < 0:
            raise InvalidRequest("A cost cannot be below nothing.", hint="Give the amount of the bill.")
        rows = self._unresolved_of.rows(driver_of(connection), correlation_id=correlation_id)
        if attempt is not None:
            rows = [row for row in rows if row["number"] == attempt]
        if not rows:
            raise InvalidRequest(
                f"Request {correlation_id} is not unresolved.",
                hint="Only unresolved requests are settled by hand.",
            )
        if len(rows) > 1:
            numbers = ", ".join(str(row["number"]) for row in rows)
            raise InvalidRequest(
                f"Request {correlation_id} has several unresolved attempts.",
                hint=f"Say which one: {numbers}.",
            )
        row = rows[0]
        closed = {
            **row,
            "state": "settled",
            "cost_nanodollars": nanodollars,
            "counted_nanodollars": nanodollars,
            # What was not billed has not used tokens either.
            "counted_tokens": row["counted_tokens"] if nanodollars else 0,
        }
        self.change(connection, row, closed, "resolve", now.us)
        return closed

    def set_price(self, connection: Connection, row_id: int, priced: PricedRow, now: Moment) -> bool:
        """Give a row with usage and no cost its cost; say whether it still had none."""
        rows = self._by_id.rows(driver_of(connection), row_id=row_id)
        if not rows or rows[0]["cost_nanodollars"] is not None or rows[0]["output_tokens"] is None:
            return False
        closed = {
            **rows[0],
            "cost_nanodollars": priced.nanodollars,
            "counted_nanodollars": priced.nanodollars,
            "price_version": priced.version,
            **saved_columns(priced.savings),
        }
        self.change(connection, rows[0], closed, "reprice", now.us)
        return True

    def resume(self, connection: Connection, conversation: str, now: Moment) -> bool:
        """Let a paused conversation send again, as if it had been silent; say whether it was paused."""
        state = self.books.rate(conversation_key(conversation))
        if state.paused_us is None:
            return False
        self.books.set_rate(conversation_key(conversation), RateState((), None, state.per_minute))
        self.note(connection, now.us, "resume", {"conversation": conversation})
        return True

    def reset_local(self, connection: Connection, now: Moment) -> None:
        self.books.reset_local(now.day)

    def add_score(self, connection: Connection, entry: ScoreEntry, now: Moment) -> None:
        self._add_score.run(
            driver_of(connection),
            {
                "provider": entry.provider,
                "model": entry.model,
                "kind": entry.kind,
                "day": now.day,
                "tried": 1,
                "passed": int(entry.passed),
                "repaired": int(entry.repaired),
                "cost_nanodollars": entry.cost_nanodollars,
            },
        )
