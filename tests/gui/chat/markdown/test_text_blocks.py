"""Blocks close where nothing can change them any more, wherever the stream was cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gui.chat.markdown.text_blocks import (
    LONG_PARAGRAPH_CHARS,
    BlockEvent,
    BlockStream,
    CodeAppended,
    CodeClosed,
    CodeOpened,
    ProseClosed,
    ProseOpen,
    block_slices,
)

PIECES = st.sampled_from(
    [
        *("```", "```py\n", "~~~\n", "\n", "\n\n", "- item\n", "1. one\n", "   ", "word ", "# head\n"),
        *("| a | b |\n", "|---|---|\n", "`", "x" * 900, "\r\n"),
    ]
)
TEXTS = st.lists(PIECES, max_size=30).map("".join)


def blocks_of(text: str) -> list[BlockEvent]:
    return [event for events in block_slices(text) for event in events]


def joined(events: list[BlockEvent]) -> list[BlockEvent]:
    """Without open states, and with neighbouring code joined: what does not depend on the cuts."""
    found: list[BlockEvent] = []
    for event in events:
        if isinstance(event, ProseOpen):
            continue
        last = found[-1] if found else None
        if isinstance(event, CodeAppended) and isinstance(last, CodeAppended):
            found[-1] = CodeAppended(last.text + event.text)
        else:
            found.append(event)
    return found


def streamed(text: str, cuts: list[int]) -> list[BlockEvent]:
    stream = BlockStream()
    events: list[BlockEvent] = []
    at = 0
    for cut in cuts:
        events += stream.feed(text[at : at + cut])
        at += cut
    return events + stream.feed(text[at:]) + stream.finish()


@given(TEXTS, st.lists(st.integers(0, 9), max_size=60))
def test_the_blocks_do_not_depend_on_where_the_stream_was_cut(text: str, cuts: list[int]) -> None:
    assert joined(streamed(text, cuts)) == joined(blocks_of(text))


@given(TEXTS.filter(lambda text: "```" not in text and "~~~" not in text))
def test_no_word_is_lost(text: str) -> None:
    shown = "".join(event.text for event in blocks_of(text) if isinstance(event, ProseClosed))
    for word in ("word", "item", "head", "one", "x"):
        assert shown.count(word) == text.count(word)


def test_code_in_a_list_stands_alone_without_its_indent() -> None:
    text = "1. First\n\n   ```Bash\n   pip install x\n     deeper\n   ```\n\n2. Second"
    assert blocks_of(text) == [
        ProseClosed("1. First"),
        CodeOpened("bash"),
        CodeAppended("pip install x\n  deeper"),
        CodeClosed(),
        ProseClosed("2. Second"),
        ProseOpen(""),
    ]


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("one\ntwo\n\nthree", ["one\ntwo", "three"]),
        ("- a\n\n- b\n\n  more of b\n\nafter", ["- a\n\n- b\n\n  more of b", "after"]),
        (
            "text\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nend",
            ["text", "| a | b |\n|---|---|\n| 1 | 2 |", "end"],
        ),
    ],
)
def test_prose_closes_at_blank_lines_but_not_inside_a_list(text: str, blocks: list[str]) -> None:
    assert [event.text for event in blocks_of(text) if isinstance(event, ProseClosed)] == blocks


def test_a_fence_that_is_still_arriving_is_not_shown_as_text() -> None:
    stream = BlockStream()
    assert stream.feed("Look:\n``")[-1] == ProseOpen("Look:")
    assert stream.feed("`py")[-1] == ProseOpen("Look:")
    assert stream.feed("thon\nx = 1\n``") == [
        ProseClosed("Look:"),
        CodeOpened("python"),
        CodeAppended("x = 1"),
    ]
    assert stream.feed("`\n") == [CodeClosed(), ProseOpen("")]


def test_a_dash_below_a_paragraph_does_not_flash_as_a_heading() -> None:
    stream = BlockStream()
    stream.feed("Reasons:\n")
    assert stream.feed("-")[-1] == ProseOpen("Reasons:")
    assert stream.feed(" cost")[-1] == ProseOpen("Reasons:\n- cost")


def test_no_open_block_grows_without_bound() -> None:
    table = "|a|b|\n|-|-|\n" + "|1|2|\n" * 3_000
    for text in ("word " * 20_000, "x" * 50_000, "line\n" * 5_000, "- item of a list\n" * 2_000, table):
        stream = BlockStream()
        longest = 0
        for at in range(0, len(text), 50):
            last = stream.feed(text[at : at + 50])[-1]
            assert isinstance(last, ProseOpen)
            longest = max(longest, len(last.text))
        assert longest <= LONG_PARAGRAPH_CHARS + 100


def test_a_long_table_goes_on_under_its_own_header() -> None:
    text = "| name | cost |\n|---|--:|\n" + "".join(f"| n{row} | {row} |\n" for row in range(120))
    tables = [event.text for event in blocks_of(text) if isinstance(event, ProseClosed)]
    assert len(tables) > 1
    assert all(table.startswith("| name | cost |\n|---|--:|\n| n") for table in tables)
    assert sum(table.count("| n") - 1 for table in tables) == 120
