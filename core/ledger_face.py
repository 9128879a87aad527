"""What a user asks of the books: limits, unresolved costs, prices of past rows, reports, and the ledger itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from core.routing.limits import all_limits

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from core.bookkeeping import Bookkeeping
    from core.settings import SettingsStore
    from core.spend.ledger import Ledger
    from core.spend.prices import PriceTable
    from core.spend.rows import ArmedLimit, LedgerRow, ReportKey, ReportRow, Repriced
    from core.status import LedgerCheck


class LedgerFace(ABC):
    """The part of ``RouterCore`` that is about money; ``RouterCore`` sets what it names here."""

    settings: SettingsStore
    prices: PriceTable
    _books: Bookkeeping

    @abstractmethod
    def _changed(self) -> None:
        """What the status shows may have changed."""

    @property
    def ledger(self) -> Ledger:
        """The open ledger. :raises LedgerUnavailable: it could not be opened."""
        return self._books.ledger

    async def set_ledger_aside(self) -> Path:
        """Move a ledger file that can't be used out of the way, start a new one, and return where the old is.

        Raises:
            LedgerUnavailable: the ledger is fine, isn't a file, or can't be moved.
        """
        return await self._books.set_aside()

    async def check_ledger(self) -> LedgerCheck | None:
        """Add up all rows and compare with the kept sums; ``None`` where the ledger can't be read."""
        return await self._books.check(None)

    async def test_limits(self) -> tuple[ArmedLimit, ...]:
        """Try each limit that is set: what is too much has to be refused. Nothing is held or recorded."""
        return await self.ledger.self_test(all_limits(self.settings.current))

    async def resolve(self, correlation_id: str, nanodollars: int, attempt: int | None = None) -> LedgerRow:
        """Settle a request whose true cost never came, by hand; ``attempt`` says which, where it has several.

        Raises:
            InvalidRequest: it isn't unresolved, or there is no such request.
        """
        row = await self.ledger.resolve(correlation_id, nanodollars, attempt=attempt)
        self._changed()
        return row

    async def resume(self, conversation: str) -> bool:
        """Let a conversation go on that was paused because it sent like a loop; false where it wasn't paused."""
        resumed = await self.ledger.resume(conversation)
        self._changed()
        return resumed

    async def reprice(self) -> Repriced:
        """Price past rows that have none, by the prices of today's table at each row's own date."""
        repriced = await self.ledger.reprice(self.prices.price_row)
        self._changed()
        return repriced

    async def report(self, since: datetime | None, by: ReportKey) -> list[ReportRow]:
        """Return requests, tokens and cost since ``since`` (``None``: ever), grouped by ``by``."""
        return await self.ledger.report(since, by)

    async def recent(self, limit: int = 100) -> list[LedgerRow]:
        """Return the last ``limit`` attempts, newest first."""
        return await self.ledger.recent(limit)

    async def reset_local_count(self) -> None:
        """Start today's count of local requests anew."""
        await self.ledger.reset_local_count()
        self._changed()
