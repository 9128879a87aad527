"""Dollars an hour, now: what the API took in the last minutes, and what the machine costs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from core.errors import LedgerUnavailable
from core.local.gpu import total_watts
from core.local.gpu_sample import MachineSample

if TYPE_CHECKING:
    from core.pricing.spending import Spending
    from core.routing.machine_time import CostMeter

log = logging.getLogger(__name__)

WINDOW = timedelta(minutes=5)
ASKED_EVERY_S = 5.0
_PER_HOUR = timedelta(hours=1) // WINDOW


class MoneyRates:
    """The core's loop uses it. ``spending`` asks the ledger what the API took since a moment.

    The ledger is asked every few seconds at most, in the background: ``read`` never waits.
    """

    def __init__(
        self,
        spending: Callable[[datetime], Awaitable[Spending]],
        machine: CostMeter,
        latest: Callable[[], MachineSample],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spending = spending
        self._machine = machine
        self._latest = latest
        self._clock = clock
        self._asked_at: float | None = None
        self._api: int | None = None
        self._asking: asyncio.Task[None] | None = None

    def read(self) -> tuple[int | None, int | None]:
        """Return the API's and the machine's nano-dollars an hour, ``None`` where not known.

        The API's is the cash of the answers that ended in the last five minutes; not known where the ledger can't
        be read, or one of them has no known cost. The machine's is its rent or wear, ops time and power, used or
        not.
        """
        now_s = self._clock()
        if self._asking is None and (self._asked_at is None or now_s - self._asked_at >= ASKED_EVERY_S):
            self._asked_at = now_s
            self._asking = asyncio.create_task(self._ask(), name="dollars an hour")
        return self._api, self._machine.rates.now_nanodollars(self._watts())

    @property
    def machine_words(self) -> str:
        """What the machine's rate holds: ``rent or wear and power``, ``power alone``; empty where not known."""
        return self._machine.rates.words(self._watts())

    async def close(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
            await asyncio.wait({asking})

    async def _ask(self) -> None:
        try:
            spent = await self._spending(datetime.now(UTC) - WINDOW)
        except LedgerUnavailable:
            self._api = None  # the status says why
        except Exception:
            # A chart's line must not end for whatever a ledger may come up with; the next round asks again.
            log.exception("what the API took lately could not be read")
            self._api = None
        else:
            known = not spent.unpriced and not spent.unsettled_nanodollars
            self._api = spent.spent_nanodollars * _PER_HOUR if known else None
        finally:
            self._asking = None

    def _watts(self) -> float | None:
        return self._machine.watts_now(total_watts(self._latest().gpus))
