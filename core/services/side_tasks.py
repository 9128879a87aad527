"""What a model is asked beside the user's requests: to sum a conversation up, and how good it is with tools."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from core.chat import ChatRequest, ChatResult, Side
from core.errors import ContentRefused

if TYPE_CHECKING:
    from core.structured.probe import ProbeProgress, Progress
    from core.structured.scoreboard import Scoreboard

Ask = Callable[[ChatRequest], Awaitable[ChatResult]]


async def summarised(ask: Ask, request: ChatRequest, window_tokens: int) -> ChatRequest:
    """Return ``request`` with its oldest turns replaced by a summary; see ``RouterCore.summarised``."""
    from core.context.trimming import plan_summary

    plan = plan_summary(request, window_tokens)
    if plan is None:
        return request
    asked = dataclasses.replace(
        plan.request_to_send,
        source=request.source,
        project=request.project,
        force=request.force,
        model=request.model,
    )
    summary = await ask(asked)
    if summary.finish_reason == "refusal" or not summary.text.strip():
        raise ContentRefused(
            "The model gave no summary of the conversation's beginning.",
            hint="The conversation is as it was. Try again, or let its oldest turns be left out "
            "(CONTEXT_WINDOW_TOKENS).",
        )
    return plan.apply(summary.text).request


async def probed(
    ask: Ask,
    side: Side,
    *,
    provider: str,
    model: str | None,
    scoreboard: Scoreboard,
    on_progress: Progress | None,
) -> None:
    """Ask the small set of tool and schema prompts of ``side``'s model; see ``RouterCore.probe``."""
    from core.structured.probe import probe

    async def ask_side(request: ChatRequest) -> ChatResult:
        return await ask(dataclasses.replace(request, force=side, source="loadtest"))

    def progressed(progress: ProbeProgress) -> None:
        # At once: a probe that breaks off keeps what it has learnt, and paid for.
        if progress.entry is not None:
            scoreboard.record(progress.entry)
        if on_progress is not None:
            on_progress(progress)

    await probe(ask_side, progressed, provider=provider, model=model)
