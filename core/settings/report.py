"""What is said about settings: rows for a preferences page, problems, and refusals.

No text made here carries a key, or the password inside an address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from core.base.redaction import redact
from core.base.text import shortened, with_thousands
from core.errors import InvalidRequest
from core.settings.model import GUARDS, KEYRING_NAME, LOCAL_CHOICE, NAMES, SECRETS, env_name, facts, trust_of

Origin = Literal["environment", ".env", "home .env", "panel", "default"]
"""``.env`` is the working folder's, ``home .env`` the one in the home folder."""

ORIGIN_TEXT: Mapping[Origin, str] = {
    "environment": "the environment",
    ".env": ".env",
    "home .env": "the home folder's .env",
    "panel": "settings.json",
    "default": "the default",
}
_MAX_SHOWN = 120
_MAX_ASKED = 1000
"""Of a value that is to be trusted: the name of a server is at most 253 characters, so both its ends are seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingProblem:
    """A value that was not used. ``name`` is a setting, or the file when all of it is the problem.

    ``value`` is what stood there, shortened and fit to be shown; ``None`` for a secret or a whole file.
    ``closes``: a limit may have stood there, so nothing is sent to the API until it is mended.
    """

    name: str
    value: str | None
    allowed: str
    message: str
    origin: Origin
    closes: bool = False
    is_refused: bool = False
    """A value of this setting that can't be read; otherwise it is a hint, or about a file."""
    written: str = ""
    """The name that stands there, fit to be shown, where it is none and ``name`` is only what may be meant."""

    @property
    def setting(self) -> str:
        """The name of the setting that it is about, empty where it is about a file."""
        return self.name if self.name in NAMES else ""

    @property
    def subject(self) -> str:
        """What it is about, as the user knows it: a setting as the environment has it, or a file."""
        return env_name(self.name) if self.setting else self.name

    @property
    def title(self) -> str:
        if self.closes:
            return f"{self.subject} can't be read, and the API is closed"
        return f"{self.written} is no setting" if self.written else f"{self.subject} isn't used"


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """A setting that an untrusted ``.env`` has and that counts only once the file is trusted.

    ``value`` is fit to be shown, a secret masked. ``instead`` is what stands of a limit that it would raise,
    ``None`` for what is no limit. ``overruled``: the environment sets it anyway.
    """

    env_name: str
    value: str
    instead: str | None = None
    overruled: bool = False

    def __str__(self) -> str:
        facts = [f"it is {self.instead}"] if self.instead is not None else []
        facts += ["the environment wins"] if self.overruled else []
        return f"{self.env_name}={self.value}" + (f" ({', '.join(facts)})" if facts else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class UntrustedFile:
    """A ``.env`` that the user has not trusted as it is now, and what of it does not count until they do.

    ``path`` is absolute. ``changed``: another content was trusted. ``obstacle`` says why it can't be trusted at all
    (empty: it can). ``hint`` is what to do on a terminal.
    """

    path: Path
    sha256: str
    withheld: tuple[Withheld, ...]
    changed: bool = False
    obstacle: str = ""
    hint: str = ""

    @property
    def missed(self) -> tuple[Withheld, ...]:
        """What would count if the file were trusted."""
        return tuple(setting for setting in self.withheld if not setting.overruled)

    @property
    def message(self) -> str:
        """One line: what was not taken, from where and why."""
        names = ", ".join(setting.env_name for setting in self.missed)
        why = self.obstacle or (
            "it has changed since you trusted it" if self.changed else "you have not trusted that file"
        )
        return f"Not taken from {printable_path(self.path)}, since {why}: {names}."


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingInfo:
    """One row of a preferences page. ``value`` of a secret is masked, and so is a password in an address.

    ``locked`` means that what is set in the panel has no effect now: the environment or a ``.env`` wins.
    ``unit`` is empty where there is none, and so are ``least`` and ``most`` (both allowed) of what is no number.
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
    least: float | None = None
    most: float | None = None


class InvalidSetting(InvalidRequest):
    """The panel may not set this. ``value`` is ``None`` for a secret."""

    kind = "invalid_setting"

    def __init__(self, message: str, *, name: str, value: str | None, allowed: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.name = name
        self.value = value
        self.allowed = allowed


class NamesNothing(InvalidSetting):
    """The value is well formed, and what it names is not there. The message and the hint say what is."""

    kind = "names_nothing"


CLOSED = "Until it is mended nothing is sent to the API."
_REFERENCE = "Signalbox replaces no ${...}: write the value itself. "


def value_problem(
    name: str, raw: object, origin: Origin, used: object, used_origin: Origin
) -> SettingProblem:
    allowed, closes = with_thousands(facts(name)["allowed"]), name in GUARDS
    secret = name in SECRETS
    value = None if secret else printable(raw)
    stands = "is not usable (its value is not shown)" if secret else f"is {value!r}"
    instead = "nothing" if used is None else ("another key" if secret else printable(used))
    reference = _REFERENCE if isinstance(raw, str) and "${" in raw else ""
    return SettingProblem(
        name=name,
        value=value,
        allowed=allowed,
        message=f"In {ORIGIN_TEXT[origin]}, {env_name(name)} {stands}; "
        f"allowed is {allowed}. {reference}"
        + (
            CLOSED
            if closes
            else "Nothing else is used in its place."
            if name in LOCAL_CHOICE
            else f"Used instead: {instead} (from {ORIGIN_TEXT[used_origin]})."
        ),
        origin=origin,
        closes=closes,
        is_refused=True,
    )


def unread_line(path: Path, line: int, written: str, key: str) -> SettingProblem:
    """A line of ``.env`` has ``key``, a guard's name, as ``written``, and was not read as its value."""
    name = next(name for name in NAMES if env_name(name) == key)
    return SettingProblem(
        name=name,
        value=None,
        allowed=facts(name)["allowed"],
        message=f"Line {line} of {printable_path(path)} has {printable(written)} and is not read as NAME=value. "
        + CLOSED,
        origin=".env",
        closes=True,
    )


def home_in_home(path: Path) -> SettingProblem:
    message = f"{env_name('home')} in {printable_path(path)} has no effect: that file is found by it."
    return file_problem("home", message, "home .env")


def near_miss(key: str, name: str, origin: Origin) -> SettingProblem:
    """``key`` is no setting; most likely ``name`` is meant, and surely where only capitals differ."""
    closes = trust_of(name) == "lower" and key.upper() == env_name(name)
    return SettingProblem(
        name=name,
        value=None,
        allowed=facts(name)["allowed"],
        message=f"In {ORIGIN_TEXT[origin]}, {printable(key)} is no setting and has no effect. "
        f"Did you mean {name if origin == 'panel' else env_name(name)}?" + (f" {CLOSED}" if closes else ""),
        origin=origin,
        closes=closes,
        written=printable(key),
    )


def kept_aside(path: Path, copies: Sequence[Path]) -> SettingProblem:
    """``settings.json`` was broken and moved aside, and nobody has said what becomes of it."""
    others = f" (and {len(copies) - 1} more)" if len(copies) > 1 else ""
    return SettingProblem(
        name=path.name,
        value=None,
        allowed="",
        message=f"{path} could not be read and is kept as {copies[-1]}{others}. A limit may have stood in it, so "
        "nothing is sent to the API until you have looked at it. Mend that copy, then: signalbox settings restore. "
        "Or go on without what it held: signalbox settings discard.",
        origin="panel",
        closes=True,
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


def file_problem(name: str, message: str, origin: Origin, *, closes: bool = False) -> SettingProblem:
    """A whole file can't be used; ``closes``: a limit may stand in it."""
    if closes:
        message += f" A limit may stand in it. {CLOSED}"
    return SettingProblem(name=name, value=None, allowed="", message=message, origin=origin, closes=closes)


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


def printable_path(path: Path) -> str:
    """Return all of a path, on one line, without control characters."""
    return "".join(character if character.isprintable() else "�" for character in redact(str(path)))


def asked_about(value: object) -> str:
    """Return a value that is to be trusted, all of it: of a long address the beginning may be a harmless one's.

    What is too long even so is cut in its middle.
    """
    text = redact(str(shown(value)))
    clean = "".join(character if character.isprintable() else "�" for character in text)
    return clean if len(clean) <= _MAX_ASKED else f"{clean[: _MAX_ASKED // 2]} … {clean[-_MAX_ASKED // 2 :]}"


def printable(value: object) -> str:
    """Return short text of anything, on one line, without a key, password or control character."""
    if isinstance(value, int) and value.bit_length() > 256:
        return "a number of more than 77 digits"  # Python refuses to print the largest ones
    plain = isinstance(value, (str, int, float, Decimal, Path, SecretStr))
    text = redact(str(shown(value)) if plain else repr(value))
    clean = "".join(character if character.isprintable() else "�" for character in text[: _MAX_SHOWN + 1])
    return shortened(clean, _MAX_SHOWN)
