"""The ledger as a service: opened, kept honest, asked and put right. It is ``RouterCore.ledger``."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from core.base.async_tools import finish
from core.base.text import counted, sentence_case
from core.errors import LedgerUnavailable, SignalboxError
from core.pricing.money import format_amount
from core.pricing.spending import Spending, unsettled_amount
from core.routing.backends import ACCEPT_HINT
from core.routing.quotas import all_limits
from core.services.status import LedgerCheck, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from core.ledger.audit import AuditEntry, AuditHead, AuditReport
    from core.ledger.ledger import Ledger
    from core.ledger.limits import Budget, BudgetAlert, Limit, LimitUsage, SpendLimit
    from core.ledger.models import (
        ArmedLimit,
        LedgerRow,
        PausedConversation,
        Recovered,
        ReportKey,
        ReportRow,
        Repriced,
        Volume,
    )
    from core.pricing.prices import PriceTable
    from core.settings import SettingsStore
    from core.structured.scoreboard import Scoreboard


log = logging.getLogger(__name__)

CHECK_INTERVAL_S = 3600.0
_MOST_UNRESOLVED = 1_000
CHECKED_SPAN = timedelta(days=2)
"""The hourly check adds up the rows of the last days; ``signalbox doctor`` adds up all of them."""


class LedgerService:
    """The ledger that the settings name: ``RouterCore`` opens and tends it, and everyone else asks it.

    It is there before the ledger is open and after it failed: whatever needs the ledger then raises
    ``LedgerUnavailable``, which says why and what to do. ``on_change`` is called when there is something new to
    show. Sums and costs are nano-dollars; days and months are the user's.
    """

    def __init__(
        self,
        settings: SettingsStore,
        prices: PriceTable,
        scoreboard: Scoreboard,
        on_change: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._home = settings.current.home
        self._prices = prices
        self._scoreboard = scoreboard
        self._on_change = on_change
        self._ledger: Ledger | None = None
        self._error: LedgerUnavailable | None = None
        self._recovered: list[Recovered] = []
        self._alerts: dict[str, BudgetAlert] = {}
        self._next_check = 0.0
        self._compared: tuple[tuple[Limit, ...], date] | None = None
        self._saving = asyncio.Lock()
        self.last_check: LedgerCheck | None = None

    # -- life -----------------------------------------------------------------------------------------------

    @property
    def current(self) -> Ledger:
        """The open ledger itself, for the router, which writes each request to it.

        Raises:
            LedgerUnavailable: it could not be opened.
        """
        if self._ledger is None:
            raise self._error or LedgerUnavailable(
                "The ledger isn't open yet.", hint="Try again in a moment."
            )
        return self._ledger

    @property
    def note_problem(self) -> str | None:
        """Why the open ledger is not the one that was written here last; ``None``: it is, or none is open."""
        return self._ledger.note_problem if self._ledger is not None else None

    async def open(self) -> None:
        """Open the ledger and resolve what dead processes left behind. A failure is a problem, not an exception."""
        from core.ledger.ledger import Ledger

        ledger = Ledger(self._settings.current.ledger_url, self._home)
        try:
            await ledger.open()
            left = await ledger.recover()
            scores = await ledger.scores(self._scoreboard.since_day)
            differences = await ledger.compare(self._limits())
        except LedgerUnavailable as error:
            await ledger.close()
            if self._error is None or self._error.message != error.message:
                log.warning("the ledger can't be used: %s", error.own_message)
            self._error = error
            return
        self._ledger, self._error = ledger, None
        self._scoreboard.load(scores)
        self._tell_of(left)
        if differences:
            self._tell_of_differences(differences)
            self.last_check = LedgerCheck(at=datetime.now(UTC), attempts=0, differences=differences)
        if ledger.note_problem is not None:
            log.error("the ledger is not the one that was written last: %s", ledger.note_problem)
        self._on_change()

    @staticmethod
    def _tell_of_differences(differences: Sequence[str]) -> None:
        log.error("the ledger's sums differ from its rows: %s", "; ".join(differences[:5]))

    def _tell_of(self, left: Recovered) -> None:
        if left.count or left.local_count:
            self._recovered.append(left)

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
        kept = await Ledger(self._settings.current.ledger_url, self._home).set_aside()
        await self.open()
        return kept

    def record_alerts(self, alerts: Iterable[BudgetAlert]) -> None:
        """Take what a request crossed; the newest alert of each limit is shown until its window is over."""
        for alert in alerts:
            log.warning("%s: %d %% used or held", _limit_name(alert), alert.percent)
            self._alerts[f"{alert.limit_name}/{alert.project}/{alert.window_label}"] = alert
            self._on_change()

    async def maintain(self) -> None:
        """Do what is due: try a ledger that could not be opened, write scores; once an hour, look for holds that
        have run out and add the sums up.
        """
        if self._ledger is None:
            await self.open()  # what was busy or full may not be any more
        if self._ledger is None:
            return
        await self.save_scores()
        await self._compare_again()
        await self._look_for_settled()
        if time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + CHECK_INTERVAL_S
            await self._recover_late()
            try:
                await self.check(datetime.now(UTC) - CHECKED_SPAN)
            except LedgerUnavailable as error:
                log.warning("the ledger could not be checked: %s", error.own_message)

    async def _look_for_settled(self) -> None:
        """Take what was settled meanwhile, here or by another program, out of what an earlier run left behind."""
        if not any(left.correlation_ids for left in self._recovered):
            return
        try:
            rows = await self.current.unresolved(_MOST_UNRESOLVED)
        except LedgerUnavailable:
            return  # which the status says
        if len(rows) == _MOST_UNRESOLVED:
            return  # the older ones may be open as well
        still: list[Recovered] = []
        for left in self._recovered:
            due = [row for row in rows if row.correlation_id in left.correlation_ids]
            if due or not left.correlation_ids:
                still.append(
                    replace(
                        left,
                        nanodollars=sum(row.counted_nanodollars for row in due),
                        correlation_ids=tuple({row.correlation_id: None for row in due}),
                    )
                )
        self._recovered = still

    async def _compare_again(self) -> None:
        """Look at windows that no limit used before (a new limit, a new day), and at a note that did not fit."""
        ledger, used = self.current, (self._limits(), datetime.now().astimezone().date())
        try:
            if used != self._compared:
                self._compared = used
                differences = await ledger.compare(used[0])
                if differences and (self.last_check is None or self.last_check.ok):
                    self._tell_of_differences(differences)
                    self.last_check = LedgerCheck(at=datetime.now(UTC), attempts=0, differences=differences)
            if ledger.note_problem is not None:
                await ledger.look_at_note()
        except LedgerUnavailable as error:
            log.warning("the ledger could not be checked: %s", error.own_message)

    async def _recover_late(self) -> None:
        """Resolve what a process elsewhere left behind: at this one's start its hold had not run out yet."""
        try:
            self._tell_of(await self.current.recover(skip_live_processes=True))
        except LedgerUnavailable as error:
            log.warning("holds that have run out wait for the ledger: %s", error.own_message)

    async def save_scores(self) -> None:
        """Give the ledger the scores it doesn't have yet, each exactly once."""
        async with self._saving:
            while self._ledger is not None and (pending := self._scoreboard.pending()):
                writing = self._ledger.add_score(pending[0])
                try:
                    # Cancelled, it is written all the same, and must not be written again.
                    await finish(writing, on_late=lambda _: self._scoreboard.written(1))
                except SignalboxError as error:
                    log.warning("scores wait for the ledger: %s", error.own_message)
                    return
                self._scoreboard.written(1)

    def problems(self) -> list[Problem]:
        """Return what is wrong with the ledger, and what it has to tell, for the status."""
        found = [_recovered_notice(left) for left in self._recovered]
        if self._error is not None:
            error = self._error
            found.append(
                Problem(
                    kind="ledger", title="The ledger can't be used", message=error.message, hint=error.hint
                )
            )
        if self._ledger is not None:
            found.extend(_of_its_file(self._ledger))
        if self._ledger is not None and self._ledger.unsaved:
            found.append(
                Problem(
                    kind="ledger_unsaved",
                    title="The ledger can't be written",
                    message=f"{counted(len(self._ledger.unsaved), 'result waits', 'results wait')} in memory.",
                    hint="Free some disk space; they are written as soon as that works.",
                )
            )
        if self.last_check is not None and not self.last_check.ok:
            found.append(
                Problem(
                    kind="ledger_check",
                    title="The ledger's sums differ from its rows",
                    message=f"{counted(len(self.last_check.differences), 'sum is', 'sums are')} off: "
                    f"{self.last_check.differences[0]}.",
                    hint="Limits hold against the larger ones. Run signalbox audit verify; nothing was changed.",
                )
            )
        today = datetime.now().astimezone().date().isoformat()
        for key, alert in list(self._alerts.items()):
            if not today.startswith(alert.window_label):
                del self._alerts[key]
                continue
            found.append(_alert_notice(alert))
        return found

    # -- what can be asked ----------------------------------------------------------------------------------

    @property
    def path(self) -> Path | None:
        """The ledger's file, ``None`` when it is on a server."""
        return self.current.path

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Correlation ids of results that wait in memory until they can be written."""
        return self._ledger.unsaved if self._ledger is not None else ()

    async def report(
        self, since: datetime | None = None, by: ReportKey = "provider", *, daily: bool = False
    ) -> list[ReportRow]:
        """Return requests, tokens and cost since the hour of ``since`` (``None``: ever), grouped by ``by``.

        ``daily`` splits each group by the user's days.
        """
        return await self.current.report(since, by, daily=daily)

    async def recent(self, limit: int = 100, *, before: str | None = None) -> list[LedgerRow]:
        """Return the last ``limit`` attempts, newest first; page on with the last one's id as ``before``."""
        return await self.current.recent(limit, before=before)

    async def oldest(self) -> LedgerRow | None:
        """Return the attempt that was written first; ``None`` in an empty ledger."""
        return await self.current.oldest()

    async def attempts(self, correlation_id: str) -> list[LedgerRow]:
        """Return the attempts of one request, first to last; empty if it is not in the ledger."""
        return await self.current.attempts(correlation_id)

    async def api_spending(self, since: datetime) -> Spending:
        """Return what the API's attempts cost that ended since then."""
        return await self.current.api_spending(since)

    async def holds(self) -> list[LedgerRow]:
        """Return the open attempts that hold cash or tokens, oldest first."""
        return await self.current.holds()

    async def unresolved(self, limit: int = 100) -> list[LedgerRow]:
        """Return the newest attempts that are counted at their hold, because their true cost never came."""
        return await self.current.unresolved(limit)

    async def paused(self) -> list[PausedConversation]:
        """Return the conversations that sent like a loop and wait for a person, the longest first."""
        return await self.current.paused()

    async def standing(
        self, limits: Sequence[Limit] | None = None
    ) -> tuple[Volume, tuple[LimitUsage, ...], Budget]:
        """Return the day's counts, each of ``limits`` (``None``: all that are set), and the month's cash."""
        return await self.current.standing(self._limits() if limits is None else limits, estimates=True)

    async def budget(self, limit: SpendLimit | None = None) -> Budget:
        """Return the cash of this month (or of the limit's window and project) and the open holds."""
        return await self.current.budget(limit)

    async def volume(self) -> Volume:
        """Return today's counts and the mean of the last seven days."""
        return await self.current.volume()

    async def verify_audit(self, *, expect: str | None = None) -> AuditReport:
        """Check the whole audit chain, and every row against it; ``expect`` is a head's hash noted earlier."""
        return await self.current.verify_audit(expect=expect)

    async def audit_entries(self, limit: int = 100, *, before: int | None = None) -> tuple[AuditEntry, ...]:
        """Return the newest entries of the audit log, newest first; page on with the last ``seq`` as ``before``."""
        return await self.current.audit_entries(limit, before=before)

    async def audit_head(self) -> AuditHead | None:
        """Return the audit log's last entry, to be noted where nobody who writes the ledger can write."""
        return await self.current.audit_head()

    async def check(self, since: datetime | None = None) -> LedgerCheck:
        """Add the rows up anew (since an hour, or all, and in each limit's window) and compare with the kept sums.

        Raises:
            LedgerUnavailable: it can't be read.
        """
        found = await self.current.check(since)
        windows = await self.current.compare(self._limits())
        differences = (*found.differences, *(off for off in windows if off not in found.differences))
        if differences:
            self._tell_of_differences(differences)
        self.last_check = LedgerCheck(at=datetime.now(UTC), attempts=found.attempts, differences=differences)
        return self.last_check

    async def test_limits(self) -> tuple[ArmedLimit, ...]:
        """Try each limit that is set: what is too much has to be refused. Nothing is held or recorded.

        One that is set and can't be read comes last, and is not armed.
        """
        from core.ledger.models import ArmedLimit

        unreadable = [
            ArmedLimit(limit_name=problem.subject, armed=False, detail=problem.message)
            for problem in self._settings.closing_problems
        ]
        return (*await self.current.self_test(self._limits()), *unreadable)

    def _limits(self) -> tuple[Limit, ...]:
        return all_limits(self._settings.current)

    # -- what a person puts right ---------------------------------------------------------------------------

    async def resolve(
        self, correlation_id: str, nanodollars: int, *, attempt: int | None = None
    ) -> LedgerRow:
        """Settle a request whose true cost never came, by hand; ``attempt`` says which, where it has several.

        Raises:
            InvalidRequest: it isn't unresolved, or there is no such request.
        """
        row = await self.current.resolve(correlation_id, nanodollars, attempt=attempt)
        self._on_change()
        return row

    async def resume(self, conversation: str) -> bool:
        """Let a conversation go on that was paused because it sent like a loop; false where it wasn't paused."""
        resumed = await self.current.resume(conversation)
        self._on_change()
        return resumed

    async def reprice(self) -> Repriced:
        """Price past rows that have none, by the prices of today's table at each row's own date."""
        repriced = await self.current.reprice(self._prices.price_row)
        self._on_change()
        return repriced

    async def reset_local_count(self) -> None:
        """Start today's count of local requests anew."""
        await self.current.reset_local_count()
        self._on_change()


def _of_its_file(ledger: Ledger) -> list[Problem]:
    """Tell of a file that was taken away, and of one that is not the one that was written last."""
    found: list[Problem] = []
    try:
        ledger.check_place()
    except LedgerUnavailable as error:
        found.append(
            Problem(kind="ledger", title="The ledger's file is gone", message=error.message, hint=error.hint)
        )
    if ledger.note_problem is not None:
        found.append(
            Problem(
                kind="ledger_check",
                title="The ledger is not the one that was written last",
                message=f"{ledger.note_problem} Nothing is sent to the API.",
                hint=ACCEPT_HINT,
            )
        )
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
        setting=alert.limit_name.lower(),
    )


def _limit_name(alert: BudgetAlert) -> str:
    return f"{alert.limit_name} ({alert.project})" if alert.project else alert.limit_name


def _recovered_notice(left: Recovered) -> Problem:
    count, held = left.count + left.local_count, len(left.correlation_ids)
    message = f"{counted(count, 'request')} had no end when Signalbox stopped last time."
    if held:
        of_them = f", of {held:,} of them" if held != count else ""
        amount = sentence_case(unsettled_amount(left.nanodollars))
        message += f" {amount} is not settled{of_them}, and counts until the true cost is known."
    else:
        message += " Nothing was charged."
    return Problem(kind="recovered", title="The last run ended early", message=message, hint="")
