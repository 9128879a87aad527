"""Work on the panel's loop in slices, so that the window stays awake."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

SLICE_S = 0.006


class Pauses:
    """Gives the window its turn whenever a slice of work has taken its time."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began = clock()

    async def if_due(self) -> None:
        if self._clock() - self._began > SLICE_S:
            await asyncio.sleep(0)
            self._began = self._clock()
