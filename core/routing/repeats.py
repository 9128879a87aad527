"""Repeated requests: who runs the first one with a key, who waits for it, and how its answer is given again.

Two rooms know answers: this process's memory (``idempotency``) and the file of all processes (``kept_answers``).
Within a process one request at a time asks the file. Where the file can't be used, memory is enough for this
process, and the ledger refuses what another one has done.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.chat import ChatRequest, ChatResult, RequestStep, Waiting
from core.errors import SignalboxError
from core.routing.conversations import conversation_of
from core.routing.idempotency import Answers, Claim, fingerprint, key_name
from core.routing.kept_answers import KeepingFailed, Kept, KeptAnswers, Place
from core.routing.run import Run, within
from core.routing.waiting import OnWait
from core.spend.rows import ReplayedRequest

if TYPE_CHECKING:
    from core.spend.ledger import Ledger

log = logging.getLogger(__name__)

FIRST_LOOK_S = 0.05
LAST_LOOK_S = 0.5
"""A request that another process runs is looked at after these seconds: soon at first, then less often."""


class Repeat:
    """One request's hold on its key. ``answer`` is the first one's, ``None`` where this one is the first.

    The first one calls ``keep`` before it is settled, then ``finish`` or ``fail``, and always ``release``.
    """

    def __init__(self, claim: Claim, kept: KeptAnswers | None) -> None:
        self._claim = claim
        self._kept = kept
        self._place: Place | None = None
        self._runs = False
        self.answer: ChatResult | None = None
        self.waited_s = 0.0

    async def take(self, key: str, asked: str, request: ChatRequest, on_wait: OnWait) -> str | None:
        """Wait until there is an answer or this request is the first one; return the request it takes over from.

        Raises:
            DuplicateRequest: a different request has the key.
            SignalboxError: the first one failed, in this process.
        """
        if not self._claim.is_first:
            if not self._claim.is_replay:
                on_wait(_waiting())
            self.answer = await self._claim.answer()
            if self.answer is not None:
                return None
        dead = await self._take_file(key, asked, request, on_wait)
        self._runs = self.answer is None
        return dead

    async def _take_file(self, key: str, asked: str, request: ChatRequest, on_wait: OnWait) -> str | None:
        if self._kept is None or not self._kept.is_on:
            return None
        look_s = 0.0
        while True:
            try:
                found = await self._kept.claim(key, asked, request.correlation_id)
            except KeepingFailed:
                return None  # told in the status; the ledger still refuses what was paid
            if isinstance(found, Place):
                self._place = found
                return found.after_death_of
            if isinstance(found, Kept):
                self.answer = found.result
                self._claim.finish(found.result, age_s=found.age_s)
                return None
            if not look_s:
                on_wait(_waiting())
            look_s = min(LAST_LOOK_S, look_s * 2 or FIRST_LOOK_S)
            await asyncio.sleep(look_s)

    async def keep(self, result: ChatResult) -> None:
        """Keep the answer for other processes. Before the ledger knows that it is done, a crash loses none."""
        if (
            self._kept is not None
            and self._place is not None
            and await self._kept.finish(self._place, result)
        ):
            self._place = None

    def finish(self, result: ChatResult) -> None:
        """Give the answer to those in this process who wait for it, and keep it for those who come."""
        self._claim.finish(result)

    async def fail(self, error: SignalboxError) -> None:
        """Give ``error`` to those in this process who wait; other processes try for themselves."""
        await self._give_back()
        if self._runs:
            self._claim.fail(error)
        else:
            self._claim.release()  # it only waited; its deadline is nobody else's

    async def release(self) -> None:
        """Step aside; whoever waits longest in this process goes on, unless there is an answer."""
        try:
            # First, or the one that goes on would find the key taken by its own process.
            await self._give_back()
        finally:
            self._claim.release()

    async def _give_back(self) -> None:
        place, self._place = self._place, None
        if self._kept is not None and place is not None:
            await self._kept.release(place)


class Repeats:
    """``kept`` of ``None`` keeps nothing beyond this process."""

    def __init__(self, answers: Answers, kept: KeptAnswers | None, ledger: Callable[[], Ledger]) -> None:
        self._answers = answers
        self._kept = kept
        self._ledger = ledger
        self._unburied = False

    async def look(self, run: Run, on_wait: OnWait) -> None:
        """Set ``run.repeat``, and wait for a first request with the same key, as long as the deadline allows.

        Raises:
            DuplicateRequest: a different request has the key.
            DeadlineExceeded: the first one took too long.
            SignalboxError: the first one failed, in this process.
        """
        key = run.request.idempotency_key
        if key is None:
            return
        name, asked = key_name(key), fingerprint(run.request)
        repeat = run.repeat = Repeat(self._answers.claim(name, asked), self._kept)
        waits_since: float | None = None

        def told(waiting: Waiting) -> None:
            nonlocal waits_since
            waits_since = time.perf_counter() if waits_since is None else waits_since
            run.wait_reasons.add(waiting.reason)
            on_wait(waiting)

        dead = await within(
            run.deadline,
            repeat.take(name, asked, run.request, told),
            "waiting for the first request with this key",
        )
        if waits_since is not None:
            repeat.waited_s = time.perf_counter() - waits_since
            if repeat.answer is None:
                run.steps.append(
                    RequestStep(
                        kind="waited",
                        detail="Waited for the first request with this key, which ended without an answer",
                        took_ms=repeat.waited_s * 1000,
                    )
                )
        if dead is not None:
            log.warning("the process of request %s died with its idempotency key", dead)
            self._unburied = True
        if self._unburied:
            await self._bury()

    async def _bury(self) -> None:
        """Close what dead processes left open: their rows would still hold their keys, and their money.

        Where that fails, or is cancelled, the next request with any key tries again.
        """
        left = await self._ledger().recover()
        self._unburied = False
        if left.count:
            log.warning("%d requests of dead processes count at their hold now", left.count)

    async def replayed(self, run: Run) -> ChatResult:
        """Return the first one's answer as ``run``'s own, not paid again, and keep a row of it."""
        repeat = run.repeat
        assert repeat is not None
        first = repeat.answer
        assert first is not None
        step = RequestStep(
            kind="replayed", detail=f"The answer of request {first.correlation_id} with the same key"
        )
        result = dataclasses.replace(
            first,
            replayed=True,
            replay_of=first.correlation_id,
            first_cost_nanodollars=first.cost_nanodollars,
            correlation_id=run.correlation_id,
            cost_nanodollars=0,
            loaded_nanodollars=0,
            marginal_nanodollars=0 if first.marginal_nanodollars is not None else None,
            unresolved_nanodollars=0,
            savings=None,
            steps=(*run.steps, step),
            queued_ms=repeat.waited_s * 1000,
        )
        log.info("the answer of request %s is given again", first.correlation_id)
        assert run.request.idempotency_key is not None
        try:
            await self._ledger().replay(
                ReplayedRequest(
                    correlation_id=run.correlation_id,
                    replay_of=first.correlation_id,
                    source=run.request.source,
                    project=run.request.project,
                    decision=first.decision,
                    conversation=conversation_of(run.request),
                    idempotency_key=key_name(run.request.idempotency_key),
                )
            )
        except SignalboxError as trouble:
            log.warning("the replay could not be recorded: %s", trouble.message)
        return result


def _waiting() -> Waiting:
    return Waiting("first_answer", "The first request with this key is still running.")
