"""One vocabulary for money: what a request is said to have cost, and the sum over several."""

from __future__ import annotations

import pytest

from core.pricing.spending import Spending

SPENT = Spending(spent_nanodollars=120_000_000)
OPEN = Spending(unsettled_nanodollars=15_400_000)


@pytest.mark.parametrize(
    ("spending", "words", "brief", "figure"),
    [
        (Spending(), "no charge", "no charge", ""),
        (SPENT, "$0.1200 spent", "$0.1200", "$0.1200"),
        (Spending(spent_nanodollars=120_000_000, estimated=True), "~$0.1200 spent", "~$0.1200", "~$0.1200"),
        (Spending(held_nanodollars=15_400_000), "$0.0154 held", "$0.0154 held", "~$0.0154"),
        (OPEN, "up to $0.0154 not settled", "up to $0.0154 not settled", "~$0.0154"),
        (Spending(unpriced=1), "unpriced", "unpriced", "1 unpriced"),
        (Spending(unpriced=1_200), "1,200 unpriced", "1,200 unpriced", "1,200 unpriced"),
        (Spending(loaded_nanodollars=1_900_000), "$0.0019 loaded", "$0.0019 loaded", "$0.0019 loaded"),
        (
            SPENT + OPEN + Spending(unpriced=1),
            "$0.1200 spent, up to $0.0154 not settled, 1 unpriced",
            "$0.1200, up to $0.0154 not settled, 1 unpriced",
            "~$0.1354 + 1 unpriced",
        ),
    ],
)
def test_the_words_say_what_kind_of_money_it_is(
    spending: Spending, words: str, brief: str, figure: str
) -> None:
    assert (spending.words, spending.brief, spending.figure) == (words, brief, figure)


def test_a_sum_with_an_estimate_in_it_is_an_estimate() -> None:
    stopped = Spending(spent_nanodollars=1_800_000, estimated=True)
    assert Spending.total([SPENT, stopped, SPENT]).brief == "~$0.2418"
    assert Spending.total([SPENT, SPENT]).brief == "$0.2400"
    assert Spending.total([]) == Spending()
