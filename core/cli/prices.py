"""``signalbox prices``: what models cost, the user's own prices, and past requests that had no price."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from core.cli.terminal import EMPTY, UsageError, table
from core.pricing.money import exact_dollars, format_cost
from core.pricing.price_overrides import FILE_NAME, PRICE_CLASSES, TOKEN_FIELDS

if TYPE_CHECKING:
    from core.ledger.models import LedgerRow
    from core.pricing.prices import PriceTable
    from core.settings import Settings

_HELP = {
    "input": "input tokens",
    "output": "output tokens",
    "cache_read": "tokens read from the cache",
    "cache_write_5m": "tokens written to the cache for 5 minutes",
    "cache_write_1h": "tokens written to the cache for an hour",
    "thinking": "thinking tokens, where they cost something else than output",
    "context_tokens": "the longest input that the model takes",
    "max_output_tokens": "the longest answer that the model gives",
}
_HEADS = ("Model", "Above", "Input", "Output", "Cache read", "Write 5m", "Write 1h", "Thinking")


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("prices")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")

    def action(name: str, command: Any, text: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = actions.add_parser(name, parents=[common], help=text)
        added.add_argument("--json", action="store_true", help="print JSON")
        added.set_defaults(command=command)
        return added

    listed = action("list", list_prices, "show the prices in effect, in dollars a million tokens")
    listed.add_argument("model", nargs="?", metavar="MODEL")
    setter = action("set", set_prices, "set prices of your own, in dollars a million tokens")
    setter.add_argument("model", metavar="MODEL")
    for field in (*PRICE_CLASSES, *TOKEN_FIELDS):
        unit = "TOKENS" if field in TOKEN_FIELDS else "DOLLARS"
        setter.add_argument(f"--{field.replace('_', '-')}", metavar=unit, help=_HELP[field])
    unset = action("unset", unset_prices, "go back to the built-in prices of a model")
    unset.add_argument("model", metavar="MODEL")
    action("apply", apply_prices, "price past requests that had no price; costs that are known stay")


async def list_prices(arguments: argparse.Namespace) -> int:
    prices = await asyncio.to_thread(_open_table)
    _say_problems(prices)
    names = (arguments.model,) if arguments.model else await asyncio.to_thread(prices.models)
    records = [record for record in (_record(prices, name) for name in names) if record is not None]
    if arguments.json:
        sys.stdout.write(json.dumps(records, indent=2) + "\n")
    elif records:
        sys.stdout.write(_table(records) + _foot(prices, records))
    if not records:
        sys.stderr.write(
            f"signalbox: {arguments.model} has no price. "
            f"Set one: signalbox prices set {arguments.model} --input 3 --output 15\n"
        )
    return 0 if records else 1


async def set_prices(arguments: argparse.Namespace) -> int:
    from core.errors import InvalidRequest
    from core.pricing.price_overrides import PriceOverridesFile

    values = {
        field: value
        for field in (*PRICE_CLASSES, *TOKEN_FIELDS)
        if (value := getattr(arguments, field)) is not None
    }
    if not values:
        raise UsageError("No price was given.", hint="Give one, such as --input 3 --output 15.")
    file = PriceOverridesFile(_settings().home / FILE_NAME)
    try:
        await asyncio.to_thread(file.set, arguments.model, values)
    except InvalidRequest as error:
        raise UsageError(error.message, hint=error.hint or "Nothing was changed.") from error
    prices = await asyncio.to_thread(_open_table)
    _say_problems(prices)
    record = _record(prices, arguments.model)
    if arguments.json:
        sys.stdout.write(json.dumps(record, indent=2) + "\n")
    elif record is not None:
        sys.stdout.write(_table([record]) + _foot(prices, [record]))
    if prices.is_priced(arguments.model):
        sys.stderr.write(
            "Past requests keep their cost. To price those without one: signalbox prices apply\n"
        )
    else:
        sys.stderr.write(
            f"{arguments.model} needs a price of input and of output before it counts as priced.\n"
        )
    return 0


async def unset_prices(arguments: argparse.Namespace) -> int:
    from core.pricing.price_overrides import PriceOverridesFile

    file = PriceOverridesFile(_settings().home / FILE_NAME)
    was_set = await asyncio.to_thread(file.unset, arguments.model)
    prices = await asyncio.to_thread(_open_table)
    _say_problems(prices)
    if arguments.json:
        sys.stdout.write(json.dumps({"model": arguments.model, "was_set": was_set}) + "\n")
    elif was_set:
        now = "its built-in prices" if prices.is_priced(arguments.model) else "no price"
        sys.stdout.write(f"{arguments.model} has {now} again. Past requests keep their cost.\n")
    else:
        sys.stderr.write(f"signalbox: {arguments.model} has no prices of your own. Nothing was changed.\n")
    return 0 if was_set else 1


async def apply_prices(arguments: argparse.Namespace) -> int:
    from core.ledger.ledger import Ledger

    settings = _settings()
    prices = await asyncio.to_thread(_open_table)
    _say_problems(prices)
    unpriced: Counter[str] = Counter()

    def price(row: LedgerRow) -> tuple[int, str] | None:
        found = prices.price_row(row)
        if found is None:
            unpriced[row.served_model or row.model] += 1
        return found

    ledger = Ledger(settings.ledger_url, settings.home)
    await ledger.open()
    try:
        done = await ledger.reprice(price)
    finally:
        await ledger.close()
    if arguments.json:
        answer = {
            "priced": done.count,
            "dollars": exact_dollars(done.nanodollars),
            "still_unpriced": done.still_unpriced,
            "still_unpriced_by_model": dict(unpriced),
        }
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return 0
    requests = "1 past request" if done.count == 1 else f"{done.count:,} past requests"
    text = (
        f"Priced {requests}: {format_cost(done.nanodollars)}."
        if done.count
        else "No past request was priced."
    )
    if done.still_unpriced:
        by_model = ", ".join(f"{model} ({count:,})" for model, count in unpriced.most_common())
        text += (
            f" Still without a price: {by_model}. Set one: signalbox prices set MODEL --input 3 --output 15"
        )
    sys.stdout.write(text + "\n")
    return 0


def _settings() -> Settings:
    from core.settings import SettingsStore

    return SettingsStore().current


def _open_table() -> PriceTable:
    from core.pricing.prices import PriceTable

    return PriceTable(_settings().home / FILE_NAME)


def _say_problems(prices: PriceTable) -> None:
    for problem in prices.problems:
        sys.stderr.write(f"signalbox: {' '.join(problem.split())}\n")


def _record(prices: PriceTable, model: str) -> dict[str, Any] | None:
    """One model as JSON: amounts are dollars a million tokens, as strings that no reader rounds."""
    tiers = prices.prices_of(model)
    if not tiers:
        return None
    return {
        "model": model,
        "own_prices": prices.has_own_price(model),
        "price_version": prices.version_of(model),
        "context_tokens": prices.context_tokens(model),
        "max_output_tokens": prices.max_output_tokens_of(model),
        "tiers": [
            {"above_input_tokens": max(0, tier.above_tokens)}
            | {field: _plain(getattr(tier, field)) for field in PRICE_CLASSES}
            | {"web_search": _plain(tier.web_search)}
            for tier in tiers
        ],
    }


def _plain(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")


def _table(records: list[dict[str, Any]]) -> str:
    lines: list[tuple[str, ...]] = []
    for record in records:
        name = record["model"] + ("*" if record["own_prices"] else "")
        for tier in record["tiers"]:
            above = tier["above_input_tokens"]
            cells = (EMPTY if tier[field] is None else tier[field] for field in PRICE_CLASSES)
            lines.append((name, f"{above:,}" if above else "", *cells))
            name = ""
    return table(_HEADS, lines)


def _foot(prices: PriceTable, records: list[dict[str, Any]]) -> str:
    own = " * has prices of your own." if any(record["own_prices"] for record in records) else ""
    return f"Dollars a million tokens. {prices.version}.{own}\n"
