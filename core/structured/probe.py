"""Measures a model with fixed prompts: how often its tool calls and its JSON are right as they first come.

Twenty short prompts need a tool, ten ask for JSON. They stay the same, so that two models, or one before and after
a change, are measured by the same rule. All can be answered at once by anything that follows instructions; what is
measured is the form, not knowledge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from core.chat import ChatRequest, ChatResult, JsonObject, JsonSchemaFormat, Tool
from core.errors import AnswerInvalid, ContentRefused, InvalidRequest
from core.scores import ScoreEntry, ScoreKind
from core.structured.answers import check_answer, check_tool_calls

MAX_ANSWER_TOKENS = 200
"""The longest right answer has about 60 tokens; a model that talks on before its call has room for that too."""

Ask = Callable[[ChatRequest], Awaitable[ChatResult]]
Progress = Callable[["ProbeProgress"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeProgress:
    """``done`` of ``total`` prompts are through; ``entry`` is the newest one's and ``problems`` what was wrong.

    Without an ``entry`` the prompt was not asked, since the side takes no such request: it is no try of the model.
    """

    done: int
    total: int
    entry: ScoreEntry | None
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
    ``provider`` and ``model`` where no answer has named them yet; one that the router refuses is not asked, and
    counts for nothing. Cancel the task to stop; what was judged so far
    went to ``on_progress``.

    Raises:
        SignalboxError: the model could not be asked (not reachable, no key, over budget): nothing about the
            model follows from that.
    """
    prompts = probe_prompts()
    entries: list[ScoreEntry] = []
    entry: ScoreEntry | None
    for done, prompt in enumerate(prompts, 1):
        try:
            result = await ask(prompt.request)
        except (AnswerInvalid, ContentRefused, InvalidRequest) as error:
            problems: tuple[str, ...] = (error.message,)
            if isinstance(error, InvalidRequest) and error.unasked:
                entry = None
            elif provider is None or model is None:
                raise
            else:
                entry = ScoreEntry(provider=provider, model=model, kind=prompt.kind, passed=False)
        else:
            provider, model = result.provider, result.model
            entry, problems = await asyncio.to_thread(judged, prompt, result)
        if entry is not None:
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


def _object(**properties: JsonObject) -> JsonObject:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [*properties],
        "additionalProperties": False,
    }


def _tool(name: str, description: str, **properties: JsonObject) -> Tool:
    return Tool(name=name, description=description, parameters=_object(**properties))


def _list_of(entry: JsonObject, **limits: Any) -> JsonObject:
    return {"type": "array", "items": entry, **limits}


def _one_of(*values: str) -> JsonObject:
    return {"type": "string", "enum": [*values]}


_TEXT: JsonObject = {"type": "string", "minLength": 1}
_WHOLE: JsonObject = {"type": "integer"}
_NUMBER: JsonObject = {"type": "number"}
_YES_NO: JsonObject = {"type": "boolean"}
_DATE: JsonObject = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
_CLOCK: JsonObject = {"type": "string", "pattern": "^[0-9]{2}:[0-9]{2}$"}

WEATHER = _tool(
    "get_weather", "The weather in a city now.", city=_TEXT, unit=_one_of("celsius", "fahrenheit")
)
TIMER = _tool("set_timer", "Starts a kitchen timer.", minutes={"type": "integer", "minimum": 1})
LIGHTS = _tool(
    "set_lights",
    "Sets the brightness of a room's lights, in percent.",
    room=_TEXT,
    brightness={"type": "integer", "minimum": 0, "maximum": 100},
)
MONEY = _tool(
    "convert_money",
    "Converts an amount between currencies, named by their three-letter codes.",
    amount=_NUMBER,
    source={"type": "string", "pattern": "^[A-Z]{3}$"},
    target={"type": "string", "pattern": "^[A-Z]{3}$"},
)
ORDER = _tool("find_order", "Looks up an order by its number.", order_number=_TEXT)
MESSAGE = _tool(
    "send_message", "Sends a message to people by name.", to=_list_of(_TEXT, minItems=1), text=_TEXT
)
EVENT = _tool(
    "add_event",
    "Adds an event to the calendar. The date is like 2026-11-23, the time like 09:30.",
    title=_TEXT,
    date=_DATE,
    time=_CLOCK,
)
TABLE = _tool(
    "book_table",
    "Books a table. The time is like 19:30.",
    restaurant=_TEXT,
    people={"type": "integer", "minimum": 1, "maximum": 20},
    time=_CLOCK,
    outside=_YES_NO,
)

HOME, OFFICE, ALL = (
    (TIMER, LIGHTS),
    (EVENT, MESSAGE, ORDER),
    (WEATHER, TIMER, LIGHTS, MONEY, ORDER, MESSAGE, EVENT, TABLE),
)

TOOL_PROMPTS: tuple[tuple[str, tuple[Tool, ...], Tool], ...] = (
    ("What is the weather in Oslo, in celsius?", (WEATHER,), WEATHER),
    ("How warm is it in Chicago now? Use fahrenheit.", (WEATHER, TIMER), WEATHER),
    ("Set a timer for 12 minutes.", (TIMER,), TIMER),
    ("The eggs need 7 minutes. Start the timer.", HOME, TIMER),
    ("Set the kitchen lights to 40 percent.", HOME, LIGHTS),
    ("Turn the bedroom lights off completely.", HOME, LIGHTS),
    ("Set the lights in the hall to full brightness.", ALL, LIGHTS),
    ("Convert 250 USD to EUR.", (MONEY,), MONEY),
    ("How many JPY are 19.99 GBP?", (MONEY, WEATHER), MONEY),
    ("Where is my order A-10442?", OFFICE, ORDER),
    ("Look up the order with the number 77-3.", ALL, ORDER),
    ("Tell Mia that the train is late.", (MESSAGE,), MESSAGE),
    ('Send Ben and Chloe the message "Lunch at noon".', OFFICE, MESSAGE),
    ('Message Ana: the password is "a\\b\\c".', ALL, MESSAGE),
    ("Add the event Team meeting on 2026-12-03 at 09:30.", OFFICE, EVENT),
    ("Put Dentist in my calendar for 2027-01-15 at 14:00.", ALL, EVENT),
    ("Book a table for 4 at Luigi's at 19:30, inside.", (TABLE,), TABLE),
    ("Reserve a table outside at Blue Door for 2 people at 20:00.", ALL, TABLE),
    ("Is it raining in São Paulo? In celsius, please.", ALL, WEATHER),
    ("Convert 1000000 KRW to CHF.", ALL, MONEY),
)
"""Each prompt, the tools it may choose from, and the one it needs."""

SCHEMA_PROMPTS: tuple[tuple[str, JsonObject], ...] = (
    ("Which city is the capital of France, and is it in Europe?", _object(city=_TEXT, in_europe=_YES_NO)),
    ("Name three colours of the rainbow.", _object(colours=_list_of(_TEXT, minItems=3, maxItems=3))),
    ("How many minutes are in two hours?", _object(minutes=_WHOLE)),
    ("Is this review good or bad? 'I love this chair.'", _object(verdict=_one_of("good", "bad"))),
    (
        "Take the name and the age from: 'Ida is 34 years old.'",
        _object(name=_TEXT, age={"type": "integer", "minimum": 0, "maximum": 150}),
    ),
    ("When did the first human walk on the moon?", _object(date=_DATE)),
    ("What is half of 7?", _object(result=_NUMBER)),
    (
        "List two fruits, each with its colour.",
        _object(fruits=_list_of(_object(name=_TEXT, colour=_TEXT), minItems=2, maxItems=2)),
    ),
    ('Repeat this exactly: He said "no" and left.', _object(text=_TEXT)),
    (
        "Take the parts of this address: 12 Mill Lane, Leeds. There is no phone number.",
        _object(street=_TEXT, city=_TEXT, phone={"anyOf": [_TEXT, {"type": "null"}]}),
    ),
)
"""Each prompt and the schema that its answer has to match."""
