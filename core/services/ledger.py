"""Opens the ledger and keeps it honest: what a crash left is resolved, sums are checked, alerts are told.

What a user asks of the books: limits, unresolved costs, prices of past rows, reports, and the ledger itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import LedgerUnavailable, SignalboxError
from core.pricing.money import format_amount, format_cost
from core.routing.quotas import all_limits
from core.routing.waiting import finish
from core.services.status import LedgerCheck, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from core.ledger.ledger import Ledger
    from core.ledger.limits import BudgetAlert
    from core.ledger.models import ArmedLimit, LedgerRow, Recovered, ReportKey, ReportRow, Repriced
    from core.pricing.prices import PriceTable
    from core.settings import Settings, SettingsStore
    from core.structured.scoreboard import Scoreboard


log = logging.getLogger(__name__)

CHECK_INTERVAL_S = 3600.0
CHECKED_SPAN = timedelta(days=2)
"""The hourly check adds up the rows of the last days; ``signalbox doctor`` adds up all of them."""


class LedgerService:
    """``on_change`` is called when there is something new to show."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        home: Path,
        scoreboard: Scoreboard,
        on_change: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._home = home
        self._scoreboard = scoreboard
        self._on_change = on_change
        self._ledger: Ledger | None = None
        self._error: LedgerUnavailable | None = None
        self._notices: list[Problem] = []
        self._alerts: dict[str, BudgetAlert] = {}
        self._next_check = 0.0
        self._saving = asyncio.Lock()
        self.last_check: LedgerCheck | None = None

    @property
    def ledger(self) -> Ledger:
        """The open ledger. :raises LedgerUnavailable: it could not be opened."""
        if self._ledger is None:
            raise self._error or LedgerUnavailable(
                "The ledger isn't open yet.", hint="Try again in a moment."
            )
        return self._ledger

    @property
    def is_open(self) -> bool:
        return self._ledger is not None

    async def open(self) -> None:
        """Open the ledger and resolve what dead processes left behind. A failure is a problem, not an exception."""
        from core.ledger.ledger import Ledger

        ledger = Ledger(self._settings().ledger_url, self._home)
        try:
            await ledger.open()
            left = await ledger.recover()
            scores = await ledger.scores(self._scoreboard.since_day)
        except LedgerUnavailable as error:
            await ledger.close()
            if self._error is None or self._error.message != error.message:
                log.warning("the ledger can't be used: %s", error.message)
            self._error = error
            return
        self._ledger, self._error = ledger, None
        self._scoreboard.load(scores)
        self._tell_of(left)
        self._on_change()

    def _tell_of(self, left: Recovered) -> None:
        if left.count or left.local_count:
            self._notices.append(
                _recovered_notice(left.count + left.local_count, left.count, left.nanodollars)
            )

    async def close(self) -> None:
        if self._ledger is not None:
            await self.save_scores()
            await self._ledger.close()
            self._ledger = None

    async def set_aside(self) -> Path:
        """Move a ledger file that can't be used out of the way, start a new one, and return where the old is.

        Raises:
            LedgerUnavailable: the ledger is fine, isn't a file, or can't be moved.
        """
        from core.ledger.ledger import Ledger

        if self._ledger is not None:
            raise LedgerUnavailable("The ledger works.", hint="There is nothing to set aside.")
        kept = await Ledger(self._settings().ledger_url, self._home).set_aside()
        await self.open()
        return kept

    def told(self, alerts: Iterable[BudgetAlert]) -> None:
        """Take what a request crossed; the newest alert of each limit is shown until its window is over."""
        for alert in alerts:
            log.warning("%s: %d %% used or held", _limit_name(alert), alert.percent)
            self._alerts[f"{alert.limit_name}/{alert.project}/{alert.window_label}"] = alert
            self._on_change()

    async def tend(self) -> None:
        """Do what is due: try a ledger that could not be opened, write scores; once an hour, look for holds that
        have run out and add the sums up.
        """
        if self._ledger is None:
            await self.open()  # what was busy or full may not be any more
        if self._ledger is None:
            return
        await self.save_scores()
        if time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + CHECK_INTERVAL_S
            await self._recover_late()
            await self.check(datetime.now(UTC) - CHECKED_SPAN)

    async def _recover_late(self) -> None:
        """Resolve what a process elsewhere left behind: at this one's start its hold had not run out yet."""
        try:
            self._tell_of(await self.ledger.recover(spare_the_living=True))
        except LedgerUnavailable as error:
            log.warning("holds that have run out wait for the ledger: %s", error.message)

    async def check(self, since: datetime | None) -> LedgerCheck | None:
        """Add the rows up anew and compare with the kept sums; ``None`` where the ledger can't be read."""
        try:
            found = await self.ledger.check(since)
        except LedgerUnavailable as error:
            log.warning("the ledger could not be checked: %s", error.message)
            return None
        if not found.ok:
            log.error("the ledger's sums differ from its rows: %s", "; ".join(found.differences[:5]))
        self.last_check = LedgerCheck(
            at=datetime.now(UTC), attempts=found.attempts, differences=found.differences
        )
        return self.last_check

    async def save_scores(self) -> None:
        """Give the ledger the scores it doesn't have yet, each exactly once."""
        async with self._saving:
            while self._ledger is not None and (pending := self._scoreboard.pending()):
                writing = asyncio.ensure_future(self._ledger.add_score(pending[0]))
                try:
                    await asyncio.shield(writing)
                except asyncio.CancelledError:
                    # It is written all the same, and must not be written again.
                    await finish(writing)
                    if not writing.cancelled() and writing.exception() is None:
                        self._scoreboard.written(1)
                    raise
                except SignalboxError as error:
                    log.warning("scores wait for the ledger: %s", error.message)
                    return
                self._scoreboard.written(1)

    def problems(self) -> list[Problem]:
        found = list(self._notices)
        if self._error is not None:
            error = self._error
            found.append(
                Problem(
                    kind="ledger", title="The ledger can't be used", message=error.message, hint=error.hint
                )
            )
        if self._ledger is not None and self._ledger.unsaved:
            found.append(
                Problem(
                    kind="ledger_unsaved",
                    title="The ledger can't be written",
                    message=f"{len(self._ledger.unsaved)} results wait in memory.",
                    hint="Free some disk space; they are written as soon as that works.",
                )
            )
        if self.last_check is not None and not self.last_check.ok:
            found.append(
                Problem(
                    kind="ledger_check",
                    title="The ledger's sums differ from its rows",
                    message=f"{len(self.last_check.differences)} sums are off: {self.last_check.differences[0]}.",
                    hint="Run signalbox audit verify. The rows are what counts; nothing was changed.",
                )
            )
        today = datetime.now().astimezone().date().isoformat()
        for key, alert in list(self._alerts.items()):
            if not today.startswith(alert.window_label):
                del self._alerts[key]
                continue
            found.append(_alert_notice(alert))
        return found


def _alert_notice(alert: BudgetAlert) -> Problem:
    amounts = (alert.used, alert.held, alert.limit)
    used, held, limit = (format_amount(amount, alert.unit) for amount in amounts)
    return Problem(
        kind="alert",
        title=f"{alert.percent} % of {_limit_name(alert)} is used or held",
        message=f"{used} used and {held} held of {limit}.",
        hint="At 100 % the API is closed until the window ends; Local goes on."
        if alert.percent < 100
        else "What needs the API is refused until the window ends, or you raise the limit.",
    )


def _limit_name(alert: BudgetAlert) -> str:
    return f"{alert.limit_name} ({alert.project})" if alert.project else alert.limit_name


def _recovered_notice(count: int, held: int, nanodollars: int) -> Problem:
    requests = f"{count} request{'s'[: count != 1]}"
    if held:
        message = (
            f"{requests} had no end when Signalbox stopped last time. {format_cost(nanodollars)} held for "
            f"{held} of them counts as spent until the true cost is known."
        )
    else:
        message = f"{requests} had no end when Signalbox stopped last time. Nothing was charged."
    return Problem(kind="recovered", title="The last run ended early", message=message, hint="")


class LedgerFace(ABC):
    """The part of ``RouterCore`` that is about money; ``RouterCore`` sets what it names here."""

    settings: SettingsStore
    prices: PriceTable
    _books: LedgerService

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
