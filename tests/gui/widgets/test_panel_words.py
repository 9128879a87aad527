"""What the core says for a terminal is said for a panel: by a row's name, and without what is to be typed."""

from __future__ import annotations

import pytest

from gui.widgets.panel_words import named, without_commands


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("80 % of SPEND_LIMIT_DOLLARS is used or held", "80 % of the monthly limit is used or held"),
        ("80 % of DAILY_SPEND_LIMIT_DOLLARS is used", "80 % of the daily limit is used"),
        (
            "MAX_API_REQUESTS_PER_MINUTE is reached. MAX_REQUESTS_PER_MINUTE too.",
            "The limit of API requests a minute is reached. The limit of requests a minute too.",
        ),
        ("Line 3: SPEND_LIMIT_DOLLARS=5", "Line 3: SPEND_LIMIT_DOLLARS=5"),
        ("MY_SPEND_LIMIT_DOLLARS is none", "MY_SPEND_LIMIT_DOLLARS is none"),
    ],
)
def test_limits_are_called_what_their_rows_are_called(text: str, said: str) -> None:
    assert named(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("The sums differ. Run signalbox audit verify; nothing was changed.", "The sums differ."),
        (
            "It is kept as x.json-1. Mend that copy, then: signalbox settings restore. Or go on without what it "
            "held: signalbox settings discard.",
            "It is kept as x.json-1.",
        ),
        ("Run signalbox doctor to see why.", ""),
        ("Signalbox is up to date. Nothing to do.", "Signalbox is up to date. Nothing to do."),
    ],
)
def test_a_sentence_with_a_command_goes(text: str, said: str) -> None:
    assert without_commands(text) == said
