"""``prices.json``: the user's own prices by model, in dollars a million tokens.

::

    {"claude-sonnet-4-6": {"input": "2.40", "output": "12"}, "my-model": {"input": "0.5", "output": "1.5"}}

Amounts are decimals in quotes (a bare number is read exactly, too), of input and output above 0. An entry that
cannot be used is named in ``Overrides.problems``; its model keeps the built-in prices, and the API is not asked for
it, since its own price may be the dearer one. Reading never alters the file; a start sets one aside that holds no
prices at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar, cast

from core.base.files import (
    FileTooLarge,
    decode_text,
    locked,
    read_regular_file,
    set_aside,
    set_aside_files,
    write_whole,
)
from core.base.permissions import make_private_folder
from core.base.text import file_size
from core.errors import InvalidRequest, SignalboxError

T = TypeVar("T")

FILE_NAME = "prices.json"
MAX_BYTES = 1 << 20
MAX_DOLLARS_PER_MTOK = Decimal(1_000_000)
MAX_TOKENS = 1_000_000_000
_MAX_DECIMALS = 12
_CLOSED = "the API side is closed, since a price of yours may be dearer than the built-in one"
_MAX_NAME = 200


class PricesFileError(SignalboxError):
    """``prices.json`` cannot be read or written. What is there is left as it is."""

    kind = "prices_file"


class BrokenPricesFile(PricesFileError):
    """Its content holds no prices. It is untouched; see ``PriceOverridesFile.set_aside_if_broken``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceOverride:
    """One model's own prices in USD a million tokens; ``None`` keeps the built-in price of that class."""

    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write_5m: Decimal | None = None
    cache_write_1h: Decimal | None = None
    thinking: Decimal | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None

    @property
    def has_prices(self) -> bool:
        return any(getattr(self, name) is not None for name in PRICE_CLASSES)


PRICE_CLASSES = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "thinking")
_NEVER_FREE = ("input", "output")
TOKEN_FIELDS = ("context_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the file says. ``digest`` names its content (8 hex digits), empty when no model is overridden.

    ``lost`` says why prices of any model may be missing (empty: none are), ``lost_models`` which models' are: their
    own price may be dearer than the built-in one, so that no limit would hold.
    """

    models: Mapping[str, PriceOverride] = field(default_factory=dict[str, PriceOverride])
    problems: tuple[str, ...] = ()
    digest: str = ""
    lost: str = ""
    lost_models: frozenset[str] = frozenset()


class PriceOverridesFile:
    """The file at ``path``. All methods block for a few milliseconds of disk work."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_path = path.with_name(f"{path.name}.lock")

    def read(self) -> Overrides:
        """Return what the file says; one that cannot be used gives no overrides, and a problem that says why."""
        lost = f"{self.path.name} was set aside" if set_aside_files(self.path) else ""
        problems: list[str] = []
        try:
            entries = self._entries()
        except PricesFileError as error:
            return Overrides(problems=(str(error),), lost=f"{self.path.name} can't be used")
        models: dict[str, PriceOverride] = {}
        lost_models: set[str] = set()
        for name, entry in entries.items():
            try:
                models[_model_name(name)] = _override(entry)
            except InvalidRequest as error:
                lost_models.add(name)
                problems.append(
                    f"{self.path.name}, {name[:_MAX_NAME]!r}: {error.message.rstrip('.')}. "
                    "That model keeps its built-in prices, and the API is not asked for it until this is mended."
                )
        return Overrides(
            models=models,
            problems=tuple(problems),
            digest=_digest(models),
            lost=lost,
            lost_models=frozenset(lost_models),
        )

    def fingerprint(self) -> tuple[object, ...]:
        """Return a value that differs after any change of the file, of who may write it, and of what is aside."""
        aside = set_aside_files(self.path)
        try:
            status = self.path.stat()
        except OSError:
            return (aside,)
        return aside, status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode, status.st_uid

    def set_aside_if_broken(self) -> None:
        """Move a file without prices in it to ``prices.json.broken-<n>``, so that nothing of it is lost.

        One that can't be moved stays, and is a problem as before.
        """
        with contextlib.suppress(OSError), locked(self._lock_path):
            try:
                self._entries()
            except BrokenPricesFile:
                set_aside(self.path)
            except PricesFileError:  # it can't be read: nobody knows whether it is broken
                pass

    def set(self, model: str, values: Mapping[str, Decimal | int | str]) -> PriceOverride:
        """Set ``values`` (fields of ``PriceOverride``) of ``model``, keep its others, and return them all.

        Raises:
            InvalidRequest: a name or a value is not allowed; nothing was changed.
            PricesFileError: the file cannot be read or written; nothing was changed.
        """
        name = _model_name(model)
        given = _override(dict(values))

        def alter(entries: dict[str, Any]) -> PriceOverride:
            entry = entries.get(name)
            kept = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
            merged = kept | {key: _written(getattr(given, key)) for key in values}
            override = _override(merged)
            entries[name] = merged
            return override

        return self._change(alter)

    def unset(self, model: str) -> bool:
        """Take ``model`` out of the file; say whether it was there.

        Raises:
            PricesFileError: the file cannot be read or written; nothing was changed.
        """
        return self._change(lambda entries: entries.pop(model, None) is not None)

    def _change(self, alter: Callable[[dict[str, Any]], T]) -> T:
        try:
            make_private_folder(self.path.parent)
            with locked(self._lock_path):
                entries = self._entries()
                before = json.dumps(entries, default=str)
                result = alter(entries)
                if json.dumps(entries, default=str) != before:
                    write_whole(self.path, json.dumps(entries, indent=2, sort_keys=True, default=str) + "\n")
                return result
        except OSError as error:
            raise PricesFileError(
                f"{self.path} cannot be written: {error.strerror or error}.",
                hint="The prices in it are kept. Check permissions and free disk space.",
            ) from error

    def _entries(self) -> dict[str, Any]:
        hint = f"The built-in prices are in effect, and {_CLOSED}. Correct the file, or delete it."
        try:
            content = read_regular_file(self.path, MAX_BYTES, only_ours=True)
        except FileNotFoundError:
            return {}
        except FileTooLarge as error:
            raise BrokenPricesFile(
                f"{self.path} is larger than {file_size(MAX_BYTES)}.", hint=hint
            ) from error
        except OSError as error:
            raise PricesFileError(
                f"{self.path} cannot be read: {error.strerror or error}.",
                hint=f"The built-in prices are in effect until it can be, and {_CLOSED}.",
            ) from error
        try:
            # Numbers are kept as they are written: a float would have lost the exact amount.
            parsed: object = json.loads(
                decode_text(content), parse_float=_number, parse_int=_number, parse_constant=_number
            )
        except (ValueError, RecursionError) as error:
            raise BrokenPricesFile(f"{self.path} is not valid JSON.", hint=hint) from error
        if not isinstance(parsed, dict):
            raise BrokenPricesFile(f"{self.path} does not hold a JSON object.", hint=hint)
        return cast("dict[str, Any]", parsed)


class _Number(str):
    """A JSON number as it stands in the file."""

    __slots__ = ()


def _number(text: str) -> _Number:
    return _Number(text)


def _model_name(name: str) -> str:
    if not name or len(name) > _MAX_NAME or not name.isprintable() or name != name.strip():
        raise InvalidRequest(
            "That is no name of a model.", hint=f"Use 1 to {_MAX_NAME} printable characters."
        )
    return name


def _override(entry: object) -> PriceOverride:
    if not isinstance(entry, dict):
        raise InvalidRequest("It does not hold prices by class", hint='Write it like {"input": "3"}.')
    values: dict[str, Any] = {}
    for key, value in cast("dict[str, object]", entry).items():
        if key in PRICE_CLASSES:
            values[key] = _price(key, value)
        elif key in TOKEN_FIELDS:
            values[key] = _tokens(key, value)
        else:
            known = ", ".join((*PRICE_CLASSES, *TOKEN_FIELDS))
            raise InvalidRequest(f"{key[:40]!r} is no class of tokens ({known})")
    return PriceOverride(**values)


def _price(key: str, value: object) -> Decimal:
    """Return an exact amount. A float is refused: it has already lost it."""
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            raise InvalidOperation
        amount = Decimal(value.strip() if isinstance(value, str) else value)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not (amount.is_finite() and 0 <= amount <= MAX_DOLLARS_PER_MTOK):
        raise InvalidRequest(
            f"{key} is not an amount of dollars a million tokens from 0 to {MAX_DOLLARS_PER_MTOK:,}",
            hint="Write it like 3 or 0.25.",
        )
    if not amount and key in _NEVER_FREE:
        raise InvalidRequest(
            f"{key} can't have a price of 0, at which no spend limit would hold",
            hint="Write what it costs, or leave it out to keep the built-in price.",
        )
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -_MAX_DECIMALS and amount != round(amount, _MAX_DECIMALS):
        raise InvalidRequest(f"{key} has more than {_MAX_DECIMALS} decimals")
    return round(amount, _MAX_DECIMALS).normalize() + 0


def _tokens(key: str, value: object) -> int:
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    count = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0
    if not 1 <= count <= MAX_TOKENS:
        raise InvalidRequest(f"{key} is not a whole number of tokens from 1 to {MAX_TOKENS:,}")
    return count


def _written(value: Decimal | int) -> str | int:
    return format(value, "f") if isinstance(value, Decimal) else value


def _digest(models: Mapping[str, PriceOverride]) -> str:
    """Name the prices, not how they are written: the order and the spelling of a number do not count."""
    if not models:
        return ""
    plain = {
        name: {f.name: _written(value) for f in fields(o) if (value := getattr(o, f.name)) is not None}
        for name, o in models.items()
    }
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]
