"""Argument types: each reads one argument or says in a few words why it can't; argparse then exits with 2."""

from __future__ import annotations

import argparse
import math
from decimal import Decimal

from core.errors import InvalidRequest
from core.spend.money import dollars_to_nano


def count(text: str) -> int:
    """Read a whole number from 1 on."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and 0 < len(digits) <= 12 and int(digits) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(digits)


def seconds(text: str) -> float:
    """Read a number of seconds above 0."""
    value = _number(text)
    if value is None or value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def temperature(text: str) -> float:
    value = _number(text)
    if value is None or not 0 <= value <= 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 2")
    return value


def name(text: str) -> str:
    """Read a name that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return text


def nanodollars(text: str) -> int:
    """Read an amount of dollars, 0 or more, as nano-dollars."""
    try:
        amount = Decimal(text.strip().removeprefix("$"))
        if amount.is_finite() and amount >= 0:
            return dollars_to_nano(amount)
    except (ArithmeticError, InvalidRequest):
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not an amount of dollars, such as 0 or 0.25")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
