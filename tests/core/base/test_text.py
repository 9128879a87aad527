"""Figures and sentences as people read them, above all where rounding meets the next unit."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.base.text import (
    age,
    counted,
    exact_duration,
    file_size,
    in_memory_gb,
    long_duration,
    measured_duration,
    memory_size,
    rough_duration,
    sentence,
    shortened,
    worded_duration,
)
from core.pricing.money import exact_dollars, format_amount, format_cost, format_limit

SECONDS = st.floats(0, 1e7)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.312, "312 ms"),
        (0.9994, "999 ms"),
        (0.99996, "1.00 s"),
        (1.838, "1.84 s"),
        (59.95, "59.95 s"),
        (119.994, "119.99 s"),
        (119.9951, "2 min 0 s"),
        (125, "2 min 5 s"),
    ],
)
def test_what_was_measured(seconds: float, text: str) -> None:
    assert measured_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (59.4, "59 s"), (59.95, "1 min 0 s"), (70, "1 min 10 s")]
)
def test_what_is_left(seconds: float, text: str) -> None:
    assert exact_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (7.01, "8 s"), (119, "119 s"), (119.2, "2 min"), (121, "3 min")]
)
def test_an_estimate_is_never_too_short(seconds: float, text: str) -> None:
    assert rough_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (59.6 * 60, "1.0 h"),
        (3.24 * 3600, "3.2 h"),
        (47.97 * 3600, "2.0 days"),
        (1_500.5 * 86_400, "1,500.5 days"),
    ],
)
def test_a_long_time(seconds: float, text: str) -> None:
    assert long_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1 second"), (40, "40 seconds"), (540, "9 minutes"), (5_400, "2 hours"), (2e5, "2 days")],
)
def test_a_time_within_a_sentence(seconds: float, text: str) -> None:
    assert worded_duration(seconds) == text


@given(SECONDS)
def test_no_unit_reaches_the_next_one(seconds: float) -> None:
    text = f" {measured_duration(seconds)} {exact_duration(seconds)} "
    assert not re.search(r" (60|1\d\d\d) s | 1\d\d\d ms | 120\.00 s ", text)
    assert long_duration(seconds) not in ("60 min", "48.0 h")
    assert "120 s" not in (rough_duration(seconds), age(seconds))


@given(SECONDS, SECONDS)
def test_more_time_is_never_written_as_less(a: float, b: float) -> None:
    def read(text: str) -> float:
        units = {"ms": 0.001, "s": 1, "min": 60, "h": 3600}
        return sum(
            float(n.replace(",", "")) * units[unit] for n, unit in re.findall(r"([\d.,]+) (\w+)", text)
        )

    low, high = sorted((a, b))
    for write in (measured_duration, exact_duration, rough_duration, age):
        assert read(write(low)) <= read(write(high)) + 1e-9
    assert read(rough_duration(high)) >= high - 1e-9


@given(st.text(), st.integers(1, 40))
def test_a_shortened_text_is_never_longer_than_asked(text: str, most: int) -> None:
    short = shortened(text, most)
    assert len(short) <= most
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


@given(st.text())
def test_a_sentence_ends_once(text: str) -> None:
    ended = sentence(text)
    assert sentence(ended) == ended
    assert ended == "" or ended[-1] in ".!?…"
    assert ended.startswith(text.rstrip())


def test_a_size_has_one_shape() -> None:
    sizes = (14, 999, 1000, 1500, 312_400, 999_600, 10_000_000, 20_100_000_000, 4_200_000_000_000)
    assert [file_size(size) for size in sizes] == [
        "14 bytes",
        "999 bytes",
        "1 KB",
        "1.5 KB",
        "312 KB",
        "1 MB",
        "10 MB",
        "20.1 GB",
        "4,200 GB",
    ]


def test_memory_is_counted_as_cards_are_sold() -> None:
    sizes = (24576 << 20, 23034 << 20, 80 << 30, 900 << 20, 1023.9 * (1 << 20), 0)
    assert [memory_size(size) for size in sizes] == [
        "24.0 GB",
        "22.5 GB",
        "80.0 GB",
        "900 MB",
        "1.0 GB",
        "0 MB",
    ]
    assert in_memory_gb(24576 << 20) == "24.0"


def test_counts_have_commas_and_their_plural() -> None:
    assert [counted(1, "request"), counted(0, "request"), counted(1_240, "reply", "replies")] == [
        "1 request",
        "0 requests",
        "1,240 replies",
    ]


@given(st.integers(1, 10**18))
def test_a_cost_is_never_nothing_and_has_its_digits(nanodollars: int) -> None:
    text = format_cost(nanodollars)
    assert text not in ("$0", "$0.00", "$0.0000")
    pattern = r"<\$0\.0001|\$0\.\d{4}|\$[1-9]\d{0,2}(,\d{3})*\.\d{2}"
    assert re.fullmatch(pattern, text)
    assert text == "<$0.0001" or not text.startswith("<")


@pytest.mark.parametrize(
    ("nanodollars", "text"),
    [(99_999, "<$0.0001"), (999_949_999, "$0.9999"), (999_950_001, "$1.00"), (999_995_000_000, "$1,000.00")],
)
def test_a_cost_at_the_edges_of_its_rounding(nanodollars: int, text: str) -> None:
    assert format_cost(nanodollars) == text


def test_limits_amounts_and_exact_dollars() -> None:
    assert [format_limit(500 * 10**9), format_limit(1_234 * 10**9), format_limit(2_500_000_000)] == [
        "$500",
        "$1,234",
        "$2.50",
    ]
    assert format_amount(100_000, "tokens") == "100,000 tokens"
    assert format_amount(420_000_000, "nanodollars") == "$0.4200"
    assert [exact_dollars(20), exact_dollars(None)] == ["0.000000020", None]
