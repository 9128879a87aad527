"""The fixed, short prompts that measure a model: twenty that need a tool, ten that ask for JSON.

They stay the same, so that two models, or one before and after a change, are measured by the same rule. All can be
answered at once by anything that follows instructions; what is measured is the form, not knowledge.
"""

from __future__ import annotations

from typing import Any

from core.chat import JsonObject, Tool


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
