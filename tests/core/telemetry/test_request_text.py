"""Hiding the running requests' words: found however they are quoted, forgotten in time, bounded."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.telemetry.request_text import (
    END_CHARS,
    HIDDEN_TEXT,
    MOST_BLOCKS,
    MOST_ENDED,
    MOST_RUNNING,
    forget_requests,
    hide_request_text,
    remember_request,
)

PROMPT = "My sister's recipe for gooseberry fool needs forty eggs and the patience of a saint."
LINE = "request 0190-abc failed: unavailable, tried 2 times"


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    forget_requests()
    yield
    forget_requests()


def quoted_in(text: str) -> list[str]:
    """Ways in which libraries and servers quote a text."""
    body = {"messages": [{"content": text}]}
    return [
        text,
        repr(text),
        repr(text.encode("utf-8", "surrogatepass")),
        json.dumps(body),
        json.dumps(body, ensure_ascii=False),
        json.dumps(json.dumps(body)),
        repr(json.dumps(body)),
        repr(json.dumps(body).encode()),
        text.replace("\n", "\n    "),
        text.replace(" ", "\n"),
        " | ".join(text.split()),
    ]


@pytest.mark.parametrize("quote", quoted_in(PROMPT))
def test_each_way_of_quoting_is_found(quote: str) -> None:
    remember_request([PROMPT])
    hidden = hide_request_text(f"HTTP 400 from the server: {quote} (code 17)")
    assert hidden.startswith("HTTP 400 from the server: ")
    assert hidden.endswith("(code 17)")
    assert HIDDEN_TEXT in hidden
    for word in ("sister", "gooseberry", "patience", "saint"):
        assert word not in hidden


words = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789", min_size=3, max_size=12)
prompts = st.lists(
    words | st.sampled_from(["é", "漢字", "😀", '"', "\\", "'", "\t"]), min_size=16, max_size=60
).map(" ".join)


@given(prompts, st.data())
def test_any_long_enough_piece_of_any_text_is_found_exactly(prompt: str, data: st.DataObject) -> None:
    forget_requests()
    remember_request(["something else entirely, with words of its own", prompt])
    start = data.draw(st.integers(0, len(prompt) // 3))
    piece = prompt[start : data.draw(st.integers(len(prompt) * 2 // 3, len(prompt)))]
    assume(sum(1 for character in piece if character.isascii() and character.isalnum()) >= 23)
    for quote in (piece, json.dumps(piece), repr(piece), json.dumps(json.dumps(piece))):
        hidden = hide_request_text(f"<<: {quote} :>>")
        left = hidden.replace(HIDDEN_TEXT, "")
        assert not [word for word in piece.split(" ") if len(word) > 7 and word.isalnum() and word in left]
        assert hidden.startswith("<<: ")
        assert hidden.endswith(" :>>")


@given(st.text(max_size=300), st.lists(st.text(max_size=200), max_size=3))
def test_any_text_can_be_hidden_in(text: str, known: list[str]) -> None:
    forget_requests()
    remember_request(known)
    once = hide_request_text(text)
    assert hide_request_text(once) == once
    if all(len(part) < 2 for part in known):
        assert once == text


def test_other_words_stay() -> None:
    remember_request([PROMPT])
    assert hide_request_text(LINE) == LINE
    assert hide_request_text("a saint and his sister") == "a saint and his sister"


def test_text_without_a_latin_letter_is_found_by_a_few_characters() -> None:
    remember_request(["秘密の手紙は古いパン屋の裏にあります"])
    hidden = hide_request_text("error: '手紙は古いパン屋の' refused")
    assert hidden == f"error: '{HIDDEN_TEXT}' refused"
    assert "手紙" not in hide_request_text(json.dumps({"x": "秘密の手紙は古いパン屋の裏"}))


def test_the_answer_is_known_as_it_arrives() -> None:
    request = remember_request(["hello"])
    assert "lighthouse" in hide_request_text("the lighthouse keeper was asleep at noon")
    for piece in ("the light", "house keeper was ", "asleep at", " noon, said nobody"):
        request.add(piece)
    assert "lighthouse" not in hide_request_text("got 'the lighthouse keeper was asleep at noon'")


def test_the_ends_of_a_huge_text_are_known_and_it_costs_little() -> None:
    filler = base64.b64encode(bytes(range(256)) * 12_000).decode()
    begun = time.perf_counter()
    remember_request([PROMPT + filler + "And the last line names the baker of Delft."])
    remembering_s = time.perf_counter() - begun
    assert remembering_s < 1, "nothing is read until something is written"
    hidden = hide_request_text(f"{PROMPT[:60]}…names the baker of Delft.")
    assert "gooseberry" not in hidden
    assert "baker" not in hidden
    assert len(filler) > 20 * END_CHARS


def test_a_request_is_forgotten_when_others_have_ended_after_it() -> None:
    first = remember_request([PROMPT])
    running = remember_request(["The running one speaks of windmills near the harbour."])
    first.end()
    assert "sister" not in hide_request_text(PROMPT)
    for number in range(MOST_ENDED):
        remember_request([f"other {number}"]).end()
    assert hide_request_text(PROMPT) == PROMPT
    assert "windmills" not in hide_request_text("of windmills near the harbour"), "that one still runs"
    running.end()


def test_what_is_kept_is_bounded() -> None:
    for number in range(MOST_RUNNING + 50):
        remember_request([f"{number} " + PROMPT])
    assert "sister" not in hide_request_text(PROMPT)
    forget_requests()
    for number in range(40):
        remember_request([f"text number {number} " + base64.b64encode(number.to_bytes(2) * 40_000).decode()])
    newest = remember_request([PROMPT])
    begun = time.perf_counter()
    assert "sister" not in hide_request_text(PROMPT)
    assert time.perf_counter() - begun < 30
    assert len(newest.blocks()) < MOST_BLOCKS
