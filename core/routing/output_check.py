"""Checks an answer that has to match a schema, and tool calls, before the caller gets them; keeps the score."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

from core.chat import ChatRequest
from core.routing.request_run import Attempt, OutputCheck, RequestRun
from core.scores import ScoreEntry, ScoreKind

if TYPE_CHECKING:
    from core.structured.scoreboard import Scoreboard


class OutputChecker:
    def __init__(self, scoreboard: Scoreboard) -> None:
        self.scoreboard = scoreboard

    async def judged(self, run: RequestRun, attempt: Attempt) -> OutputCheck | None:
        """Return the verdict on an answer that has ended, ``None`` where there is nothing to check."""
        request, answer = attempt.request, attempt.answer
        ended = answer.ended
        if ended is None or ended.finish_reason == "refusal":
            return None
        calls = answer.tool_calls
        if calls and request.tools:
            check_result = await self._of_tools(run, attempt)
        elif request.response_format is not None:
            check_result = await self._of_schema(run, attempt)
        else:
            return None
        if run.request.source == "loadtest":
            # A test measures the model: what it finds is told, and neither mended nor counted twice.
            return dataclasses.replace(check_result, accepted=True)
        self._note(run, attempt, "tools" if calls and request.tools else "schema", check_result)
        return check_result

    def conclude(self, run: RequestRun, cost_nanodollars: int | None) -> None:
        """Keep the score of a request's first answer, and what mending it cost: the whole less that attempt."""
        if run.score is None:
            return
        mending = 0
        if run.asked_again:
            first = next((step.cost_nanodollars for step in run.steps if step.kind == "asked_again"), None)
            if cost_nanodollars is None or first is None:
                mending = run.unresolved_nanodollars
            else:
                mending = max(0, cost_nanodollars - first)
        self.scoreboard.record(dataclasses.replace(run.score, cost_nanodollars=mending))
        run.score = None

    async def _of_tools(self, run: RequestRun, attempt: Attempt) -> OutputCheck:
        from core.structured.answers import check_tool_calls, reask_messages

        answer, request = attempt.answer, attempt.request
        problems = await asyncio.to_thread(check_tool_calls, answer.tool_calls, request.tools)
        cut = answer.ended is not None and answer.ended.finish_reason == "length"
        again = None
        if problems and not cut:
            again = reask_messages(_unphrased(run), answer.text, problems, calls=answer.tool_calls)
        return OutputCheck(
            valid=not problems,
            # A caller that has seen text gets the calls too, marked: it knows how to answer a bad call.
            accepted=not problems or attempt.shown or cut,
            text=answer.text,
            problems=problems,
            asking_again=again,
            hint="Describe the tool's parameters more plainly, or use a stronger model.",
        )

    async def _of_schema(self, run: RequestRun, attempt: Attempt) -> OutputCheck:
        from core.structured.answers import check_answer, reask_messages

        answer, request = attempt.answer, attempt.request
        assert request.response_format is not None
        assert answer.ended is not None
        check = await asyncio.to_thread(
            check_answer,
            answer.text,
            request.response_format.schema,
            finish_reason=answer.ended.finish_reason,
        )
        cut = answer.ended.finish_reason == "length"
        again = None
        if not check.valid and not cut and not check.unchecked:
            again = reask_messages(_unphrased(run), answer.text, check.problems)
        hint = "The text that came is kept. Make the schema simpler, or use a stronger model."
        if cut:
            hint = "The answer was cut at its token limit: allow more tokens. The text that came is kept."
        return OutputCheck(
            valid=check.valid,
            accepted=check.valid,
            text=check.text,
            repaired=check.repaired,
            problems=check.problems,
            asking_again=again,
            hint=hint,
        )

    def _note(self, run: RequestRun, attempt: Attempt, kind: ScoreKind, check_result: OutputCheck) -> None:
        """Remember the first answer's score; an answer that was cut says nothing about the model."""
        ended, provider = attempt.answer.ended, attempt.decision.provider
        if run.score is not None or ended is None or provider is None or run.asked_again:
            return
        if ended.finish_reason == "length" and not check_result.valid:
            return
        run.score = ScoreEntry(
            provider=provider,
            model=attempt.decision.model or ended.model,
            kind=kind,
            passed=check_result.valid,
            repaired=bool(check_result.repaired),
        )


def _unphrased(run: RequestRun) -> ChatRequest:
    """Return the request before its template: asking again phrases it anew."""
    assert run.prepared is not None
    return run.prepared.request
