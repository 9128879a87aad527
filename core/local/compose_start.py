"""How far one start of the container is: its steps, how long it may still take, and when it is given up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from core.local.compose_log import Progress, is_later
from core.local.load_times import LoadTime
from core.local.server import STEP_DOING, StartStep, StartStepName

DEADLINE_S = 3600.0
"""How long a start may take at least: a first one downloads tens of gigabytes."""
_STEPS: tuple[StartStepName, ...] = tuple(STEP_DOING)


class StartProgress:
    """``started_s`` is by ``clock``, which never jumps; ``started_at`` (UTC) is for people only.

    ``is_ours`` is false for a start that somebody else made: what came before is not known then.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        started_s: float,
        started_at: datetime,
        expected: LoadTime | None,
        deadline_s: float,
        is_ours: bool,
    ) -> None:
        self._clock = clock
        self.started_s = started_s
        self.started_at = started_at
        self.expected = expected
        self.deadline_s = deadline_s
        self.is_ours = is_ours
        self.was_created = False
        """Whether the container was brought up in this start, so that its time tells how long one takes."""
        self.run: tuple[str, str] | None = None
        self._loading_since_s: float | None = None
        self._downloads_s = 0.0
        self._step: StartStepName = "pull"
        self._begun_s: dict[StartStepName, float] = {"pull": started_s}
        self._steps: dict[StartStepName, StartStep] = {name: StartStep(name=name) for name in _STEPS}

    @property
    def step(self) -> StartStepName:
        return self._step

    @property
    def detail(self) -> str:
        return STEP_DOING[self._step]

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self.started_s

    @property
    def is_overdue(self) -> bool:
        return self.elapsed_s > self.deadline_s

    @property
    def load_s(self) -> float | None:
        """How long the container has been loading, without what it downloaded meanwhile."""
        if self._loading_since_s is None:
            return None
        return max(0.0, self._clock() - self._loading_since_s - self._downloads_s)

    @property
    def progress(self) -> float | None:
        """0 to 1: of the pull while it lasts, then of the learnt time."""
        if self._step == "pull":
            return self._steps["pull"].progress
        if self.expected is None:
            return None
        return min(0.99, (self.load_s or 0.0) / self.expected.seconds)

    @property
    def eta_s(self) -> float | None:
        if self.expected is None:
            return None
        left_s = self.expected.seconds - (self.load_s or 0.0)
        if self._step == "pull":
            pull = self._steps["pull"]
            if pull.total_bytes is None or pull.done_bytes is None or not pull.bytes_per_s:
                return None
            left_s += (pull.total_bytes - pull.done_bytes) / pull.bytes_per_s
        return left_s if left_s > 0 else None

    def skip_pull(self, detail: str) -> None:
        self._steps["pull"] = StartStep(name="pull", status="skipped", detail=detail)

    def pulling(self, step: StartStep) -> None:
        self._steps["pull"] = step

    def creating(self) -> None:
        self.was_created = True
        self._go_to("create")

    def runs(self, run: tuple[str, str], since_s: float | None = None) -> None:
        """This run of the container runs, ``since_s`` by the clock; now where nothing is said."""
        self.run = run
        if self._loading_since_s is None:
            self._loading_since_s = self._clock() if since_s is None else since_s
            self._go_to("load")

    def take(self, progress: Progress) -> None:
        """Take what a line of the log says; what speaks of an earlier step changes nothing."""
        self._downloads_s += progress.download_s
        if not is_later(progress.step, self._step):
            return
        self._go_to(progress.step)
        step = self._steps[progress.step]
        self._steps[progress.step] = replace(
            step,
            detail=progress.detail,
            progress=step.progress if progress.progress is None else progress.progress,
        )

    def _go_to(self, name: StartStepName) -> None:
        if name == self._step and self._steps[name].status == "running":
            return
        now_s = self._clock()
        for before in _STEPS[: _STEPS.index(name)]:
            step = self._steps[before]
            if step.status == "running":
                took_s = now_s - self._begun_s.get(before, now_s)
                self._steps[before] = replace(step, status="done", progress=None, elapsed_s=took_s)
            elif step.status == "waiting":
                # Somebody else's start: nobody looked when it was there.
                self._steps[before] = replace(step, status="done" if self.is_ours else "skipped")
        self._step = name
        self._begun_s[name] = now_s
        self._steps[name] = replace(self._steps[name], status="running")

    def steps(self, *, failed: bool = False) -> tuple[StartStep, ...]:
        """Return all steps as they are now; with ``failed`` the one at work is where it ended."""
        now_s = self._clock()
        running = self._steps[self._step]
        shown = {
            **self._steps,
            self._step: replace(
                running,
                status="failed" if failed else "running",
                elapsed_s=now_s - self._begun_s.get(self._step, now_s),
            ),
        }
        return tuple(shown[name] for name in _STEPS)
