"""What can be asked of a ledger without changing it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from core.spend.budget import Budget, Limit, LimitStanding, SpendLimit, project_of, window_of
from core.spend.opened import OpenedLedger
from core.spend.quick_reader import NotNow
from core.spend.rows import Check, LedgerRow, PausedConversation, ReportKey, ReportRow, ScoreRow, Volume

if TYPE_CHECKING:
    from core.spend.audit import AuditEntry, AuditHead, AuditReport


class LedgerReads(OpenedLedger):
    """The reading half of ``Ledger``; each answer is of one moment."""

    async def standing(self, limits: Sequence[Limit]) -> tuple[Volume, tuple[LimitStanding, ...], Budget]:
        """Return the day's counts, each limit, and the month's cash, in one read: what each decision asks for."""
        opened, today, asked = self._require(), self._clock().date(), tuple(limits)
        standings = opened.standings
        if opened.quick is not None:
            with contextlib.suppress(NotNow):
                return opened.quick.read(lambda driver: standings.read_rows(driver, asked, today))
        return await self._read(lambda connection: standings.read(connection, asked, today))

    async def budget(self, limit: SpendLimit | None = None) -> Budget:
        """Return the cash of this month (or of the limit's window and project) and the open holds."""
        standings, day = self._require().standings, self._clock().date().isoformat()
        window = window_of(limit, day) if limit is not None else day[:7]
        project = project_of(limit) if limit is not None else None
        nanodollars = limit.nanodollars if limit is not None else None
        return await self._read(lambda connection: standings.budget(connection, window, project, nanodollars))

    async def volume(self) -> Volume:
        """Return today's counts and the mean of the last seven days, by local days."""
        standings, today = self._require().standings, self._clock().date()
        return await self._read(lambda connection: standings.volume(connection, today))

    async def local_count_today(self) -> int:
        return (await self.volume()).local_today

    async def seven_day_mean(self) -> float:
        return (await self.volume()).seven_day_mean

    async def report(
        self, since: datetime | None = None, by: ReportKey = "provider", *, daily: bool = False
    ) -> list[ReportRow]:
        """Return sums by group since the hour of ``since`` (``None``: all), from the hourly sums.

        ``daily`` splits each group by the user's days.
        """
        return await self._read(lambda connection: _reports().report(connection, since, by, daily))

    async def recent(self, limit: int = 100, *, before: str | None = None) -> list[LedgerRow]:
        """Return the newest attempts, newest first; page on with the last one's id as ``before``."""
        return await self._read(lambda connection: _reports().recent(connection, limit, before))

    async def oldest(self) -> LedgerRow | None:
        """Return the attempt that was written first; ``None`` in an empty ledger."""
        return await self._read(_reports().oldest)

    async def attempts(self, correlation_id: str) -> list[LedgerRow]:
        """Return the attempts of one request, first to last; empty if it is not in the ledger."""
        return await self._read(lambda connection: _reports().of_request(connection, correlation_id))

    async def holds(self) -> list[LedgerRow]:
        """Return the open attempts that hold cash or tokens, oldest first."""
        return await self._read(_reports().holds)

    async def check(self, since: datetime | None = None) -> Check:
        """Add up the rows anew (since an hour, or all) and compare with the kept sums."""
        from core.spend.check import check

        return await self._read(lambda connection: check(connection, since))

    async def unresolved(self, limit: int = 100) -> list[LedgerRow]:
        """Return the newest attempts that are counted at their hold, because their true cost never came."""
        return await self._read(lambda connection: _reports().unresolved(connection, limit))

    async def paused(self) -> list[PausedConversation]:
        """Return the conversations that sent like a loop and wait for a person, the longest first."""
        return await self._read(_reports().paused)

    async def scores(self, since_day: str) -> list[ScoreRow]:
        """Return the checked answers by model, kind and day, from the local day ``since_day`` on."""
        return await self._read(lambda connection: _reports().scores(connection, since_day))

    async def verify_audit(self, *, expect: str | None = None) -> AuditReport:
        """Check the whole audit chain, and every row against it; ``expect`` is a head's hash noted earlier."""
        from core.spend.audit import verify

        return await self._read(lambda connection: verify(connection, expect=expect))

    async def audit_entries(self, limit: int = 100, *, before: int | None = None) -> tuple[AuditEntry, ...]:
        """Return the newest entries of the audit log, newest first; page on with the last ``seq`` as ``before``."""
        from core.spend.audit import entries

        return await self._read(lambda connection: entries(connection, limit, before))

    async def audit_head(self) -> AuditHead | None:
        """Return the last entry's number and hash, to be noted where nobody who writes the ledger can write."""
        from core.spend.audit import head

        return await self._read(head)


def _reports() -> Any:
    from core.spend import reports

    return reports
