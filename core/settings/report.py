"""What is said about settings: rows for a preferences page, problems, and refusals.

No text made here carries a key, or the password inside an address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from core.base.redaction import redact
from core.base.text import shortened
from core.errors import InvalidRequest
from core.settings.model import KEYRING_NAME, NAMES, SECRETS, env_name, facts

Origin = Literal["environment", ".env", "panel", "default"]

ORIGIN_TEXT: Mapping[Origin, str] = {
    "environment": "the environment",
    ".env": ".env",
    "panel": "settings.json",
    "default": "the default",
}
_MAX_SHOWN = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingProblem:
    """A value that was not used. ``name`` is a setting, or the file when all of it is the problem.

    ``value`` is what stood there, shortened and fit to be shown; ``None`` for a secret or a whole file.
    """

    name: str
    value: str | None
    allowed: str
    message: str
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingInfo:
    """One row of a preferences page. ``value`` of a secret is masked, and so is a password in an address.

    ``locked`` means that what is set in the panel has no effect now: the environment or ``.env`` wins.
    ``unit`` is empty where there is none.
    """

    name: str
    env_name: str
    value: object
    default: object
    unit: str
    allowed: str
    description: str
    origin: Origin
    locked: bool
    secret: bool


class InvalidSetting(InvalidRequest):
    """The panel may not set this. ``value`` is ``None`` for a secret."""

    kind = "invalid_setting"

    def __init__(self, message: str, *, name: str, value: str | None, allowed: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.name = name
        self.value = value
        self.allowed = allowed


def value_problem(
    name: str, raw: object, origin: Origin, used: object, used_origin: Origin
) -> SettingProblem:
    allowed = facts(name)["allowed"]
    secret = name in SECRETS
    value = None if secret else printable(raw)
    stands = "is not usable (its value is not shown)" if secret else f"is {value!r}"
    instead = "nothing" if used is None else ("another key" if secret else printable(used))
    return SettingProblem(
        name=name,
        value=value,
        allowed=allowed,
        message=f"In {ORIGIN_TEXT[origin]}, {env_name(name)} {stands}; allowed is {allowed}. "
        f"Used instead: {instead} (from {ORIGIN_TEXT[used_origin]}).",
        origin=origin,
    )


def secret_in_file(name: str) -> SettingProblem:
    return SettingProblem(
        name=name,
        value=None,
        allowed="nothing: keys live in the system's keyring",
        message=f"settings.json holds {name}, which is not used: keys are never read from that file. "
        f"Delete the line and run: signalbox keys set {KEYRING_NAME[name]}",
        origin="panel",
    )


def file_problem(name: str, message: str, origin: Origin) -> SettingProblem:
    return SettingProblem(name=name, value=None, allowed="", message=message, origin=origin)


def unknown_setting(name: str) -> InvalidSetting:
    return InvalidSetting(
        f"There is no setting {printable(name)!r}.", name=name, value=None, allowed=", ".join(NAMES)
    )


def shown(value: object) -> object:
    """Return ``value`` fit to be shown: a key masked to its last four, an address without its password."""
    if isinstance(value, SecretStr):
        key = value.get_secret_value()
        return f"{key[:7]}••••••{key[-4:]}" if len(key) >= 20 else "••••••"
    return redact(value) if isinstance(value, str) else value


def printable(value: object) -> str:
    """Return short text of anything, on one line, without a key, password or control character."""
    if isinstance(value, int) and value.bit_length() > 256:
        return "a number of more than 77 digits"  # Python refuses to print the largest ones
    plain = isinstance(value, (str, int, float, Decimal, Path, SecretStr))
    text = redact(str(shown(value)) if plain else repr(value))
    clean = "".join(character if character.isprintable() else "�" for character in text[: _MAX_SHOWN + 1])
    return shortened(clean, _MAX_SHOWN)
