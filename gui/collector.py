"""Runs Python's cyclic garbage collector on the panel's thread only.

The collector runs on whichever thread allocates. On the core's thread it would destroy widgets and timers that
happened to be in a reference cycle, and Qt objects must die on their own thread: seen here as a crash in
``QTimerInfoList::activateTimers``. The same cure stands in calibre (``calibre/gui2/__init__.py``).
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer

INTERVAL_MS = 1_000


class PanelThreadCollector(QObject):
    """Takes over from the automatic collector while it lives; ``stop`` gives it back.

    It collects by the same thresholds, looked at once a second. What exists at its start (modules, classes) is
    frozen, so that a full collection stays within a frame.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thresholds = gc.get_threshold()
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self._look)
        gc.disable()
        gc.collect()
        gc.freeze()
        self._timer.start()

    def stop(self) -> None:
        self._timer.stop()
        gc.unfreeze()
        gc.enable()

    def _look(self) -> None:
        counts = gc.get_count()
        for generation in (2, 1, 0):
            if counts[generation] > self._thresholds[generation]:
                gc.collect(generation)
                return
