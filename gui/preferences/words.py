"""What a row says of its setting: what may be typed, and what is wrong, in the row's own words.

The core names a setting as the environment has it. Here it is called what its row is called.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from core import sentence_case, with_thousands
from core.errors import SignalboxError
from core.settings import InvalidSetting, NamesNothing
from gui.preferences.catalogue import setting_text
from gui.widgets.labels import ORIGIN_PLACES

if TYPE_CHECKING:
    from core.settings import SettingInfo, SettingProblem

FAR = 100_000
"""A bound from here on only keeps nonsense out: nobody has to know it before they pass it."""


def is_number(info: SettingInfo) -> bool:
    number = isinstance(info.default, int | float | Decimal) and not isinstance(info.default, bool)
    return number or info.most is not None


def must_be(info: SettingInfo, typed: str = "") -> str:
    """Return what is allowed: ``a whole number from 1 to 600``, ``an amount, 0 or more, such as 500``.

    The far end of a range is told to who passed it.
    """
    least, most = info.least, info.most
    if least is None or most is None:
        return with_thousands(info.allowed)
    kind = re.split(r" from | to ", info.allowed, maxsplit=1)[0]
    example = re.search(r", such as .*", info.allowed)
    such_as = example[0] if example else ""
    number = _number(typed)
    if most >= FAR and number is not None and number > most:
        return f"{kind} of at most {_plain(most)}"
    if most >= FAR:
        return f"{kind}, {_plain(least)} or more{such_as}"
    return f"{kind} from {_plain(least)} to {_plain(most)}{such_as}"


def refusal_words(info: SettingInfo, error: SignalboxError, typed: str = "") -> str:
    """Return why an entry is not in force, and what is: the row's name, not the variable's."""
    if isinstance(error, NamesNothing):
        return str(error)
    name = setting_text(info.name).label
    if not isinstance(error, InvalidSetting) or error.value is None:
        return f"{name} is not changed. {with_thousands(str(error))}"
    if "password" in error.message:
        return (
            f"{name}: an address with a password in it is not kept in a file. Leave the password out, or set "
            f"{info.env_name} in the environment or in the home folder’s .env."
        )
    wrong = f" “{error.value}” is not." if error.value.strip() else ""
    in_force = "nothing is set" if info.value is None else f"{describe_value(info.value)} stays in force"
    return f"{name} must be {must_be(info, typed or error.value)}.{wrong} Until then {in_force}."


def problem_words(info: SettingInfo, problem: SettingProblem) -> str:
    """Return what is wrong with a value that stands somewhere else than here."""
    if not problem.is_refused:
        return problem.message
    name = setting_text(info.name).label
    place = {"panel": "settings.json", **ORIGIN_PLACES}.get(problem.origin, problem.origin)
    value = "what stands" if problem.value is None else f"“{problem.value}”"
    then = (
        "Until it is mended nothing is sent to the API."
        if problem.closes
        else f"Until it is mended {describe_value(info.value)} is in force."
        if info.value is not None
        else ""
    )
    known_as = f" ({info.env_name})" if problem.origin != "panel" else ""
    return (
        f"{name}: {value} in {place}{known_as} can’t be used. "
        f"It must be {must_be(info, problem.value or '')}. {then}".strip()
    )


def note_words(info: SettingInfo) -> str:
    """The line under a field: what the choice means, the range where it isn't plain, and the default."""
    text = setting_text(info.name)
    meanings = {value: meaning for value, _, meaning in text.choices}
    if meanings:
        return meanings.get(str(info.value), "")
    parts: list[str] = []
    if text.shows_bounds:
        parts.append(must_be(info))
    elif not is_number(info) and info.unit:
        # A list of amounts and the like: its form has to be seen.
        parts.append(f"{info.allowed} ({info.unit})")
    if info.default is not None and info.origin != "default" and not isinstance(info.default, bool):
        parts.append(f"default {describe_value(info.default)}")
    words = ", ".join(parts)
    return sentence_case(words)


def tooltip_words(info: SettingInfo) -> str:
    """What may be typed, for who wants to know it before."""
    if isinstance(info.default, bool) or setting_text(info.name).choices:
        return ""
    words = must_be(info)
    return f"{sentence_case(words)}. In the environment: {info.env_name}"


def shown_value(value: object) -> object:
    """A value as its field shows it: numbers without an exponent or a tail of zeros."""
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, Decimal):
        plain = format(value, "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    return value


def field_value(info: SettingInfo) -> object:
    """The value in force as its field shows it: a count with thousands commas, which it takes too."""
    value = info.value
    # A port has no unit, and is a name rather than a count.
    if isinstance(value, int) and not isinstance(value, bool) and info.unit:
        return f"{value:,}"
    return shown_value(value)


def describe_value(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:,}" if isinstance(value, int) else str(shown_value(value))


def _number(typed: str) -> Decimal | None:
    try:
        return Decimal(typed.replace(",", "").replace(" ", ""))
    except InvalidOperation:
        return None


def _plain(bound: float) -> str:
    return f"{bound:,.0f}" if bound == int(bound) else f"{bound:,g}"
