"""Measures a model with the fixed prompts: how often its tool calls and its JSON are right as they first come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from core.chat import ChatRequest, ChatResult, JsonSchemaFormat
from core.errors import AnswerInvalid, ContentRefused, InvalidRequest
from core.structured.answers import check_answer, check_tool_calls
from core.structured.probe_prompts import SCHEMA_PROMPTS, TOOL_PROMPTS
from core.structured.scoreboard import ScoreEntry, ScoreKind

MAX_ANSWER_TOKENS = 200
"""The longest right answer has about 60 tokens; a model that talks on before its call has room for that too."""

Ask = Callable[[ChatRequest], Awaitable[ChatResult]]
Progress = Callable[["ProbeProgress"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeProgress:
    """``done`` of ``total`` prompts are judged; ``entry`` is the newest one's and ``problems`` what was wrong."""

    done: int
    total: int
    entry: ScoreEntry
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePrompt:
    """One request of the probe; ``tool`` is the name of the tool it needs, ``None`` for a schema prompt."""

    request: ChatRequest
    tool: str | None

    @property
    def kind(self) -> ScoreKind:
        return "schema" if self.tool is None else "tools"


def probe_prompts() -> tuple[ProbePrompt, ...]:
    """Return the whole probe, tools first. They differ in nothing but their correlation ids from call to call."""
    tools = (
        ProbePrompt(request=_request(prompt, tools=tools), tool=needed.name)
        for prompt, tools, needed in TOOL_PROMPTS
    )
    schemas = (
        ProbePrompt(request=_request(prompt, response_format=JsonSchemaFormat(schema=schema)), tool=None)
        for prompt, schema in SCHEMA_PROMPTS
    )
    return (*tools, *schemas)


async def probe(
    ask: Ask,
    on_progress: Progress | None = None,
    *,
    provider: str | None = None,
    model: str | None = None,
) -> list[ScoreEntry]:
    """Ask every prompt through ``ask``, one after the other, and return what each shows.

    ``ask`` sends to one model, once: asking again would measure the repair instead of the model. A request that is
    refused (vLLM without its tool parser refuses tools) or whose answer stays invalid fails that prompt, for
    ``provider`` and ``model`` where no answer has named them yet. Cancel the task to stop; what was judged so far
    went to ``on_progress``.

    Raises:
        SignalboxError: the model could not be asked (not reachable, no key, over budget): nothing about the
            model follows from that.
    """
    prompts = probe_prompts()
    entries: list[ScoreEntry] = []
    for done, prompt in enumerate(prompts, 1):
        try:
            result = await ask(prompt.request)
        except (AnswerInvalid, ContentRefused, InvalidRequest) as error:
            if provider is None or model is None:
                raise
            problems: tuple[str, ...] = (error.message,)
            entry = ScoreEntry(provider=provider, model=model, kind=prompt.kind, passed=False)
        else:
            provider, model = result.provider, result.model
            entry, problems = await asyncio.to_thread(judged, prompt, result)
        entries.append(entry)
        if on_progress is not None:
            on_progress(ProbeProgress(done=done, total=len(prompts), entry=entry, problems=problems))
    return entries


def judged(prompt: ProbePrompt, result: ChatResult) -> tuple[ScoreEntry, tuple[str, ...]]:
    """Return what ``result`` shows of its model, and what was wrong with it.

    An answer that ``ask`` had to ask for again, against the rule, counts as wrong with that cost.
    """
    repaired = False
    again = [step for step in result.steps if step.kind in ("asked_again", "invalid", "fell_back")]
    if again:
        problems = tuple(step.detail for step in again)
    elif prompt.request.response_format is not None:
        schema = prompt.request.response_format.schema
        checked = check_answer(result.text, schema, finish_reason=result.finish_reason)
        problems = checked.problems
        repaired = bool(checked.repaired) or any(step.kind == "repaired" for step in result.steps)
    elif not result.tool_calls:
        problems = ("no tool was called",)
    else:
        problems = check_tool_calls(result.tool_calls, prompt.request.tools)
        if not problems and all(call.name != prompt.tool for call in result.tool_calls):
            problems = (f"the tool {prompt.tool} was not called",)
    entry = ScoreEntry(
        provider=result.provider,
        model=result.model,
        kind=prompt.kind,
        passed=not problems,
        repaired=repaired and not problems,
        cost_nanodollars=sum(step.cost_nanodollars or 0 for step in again),
    )
    return entry, problems


def _request(prompt: str, **options: object) -> ChatRequest:
    return ChatRequest.from_prompt(prompt, max_tokens=MAX_ANSWER_TOKENS, temperature=0.0, **options)
