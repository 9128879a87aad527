"""The estimate of tokens: near what tokenizers make of plain text, and one for router, trimming and panel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat import ChatRequest, Message, ToolCall
from core.context.tokens import (
    MESSAGE_TOKENS,
    estimate_text_tokens,
    estimate_tokens,
    tokens_of_length,
    utf8_bytes,
)
from core.routing.complexity import read_signals


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("x" * 380, 100),
        ("火" * 100, 100),  # a token a character
        ("é" * 380, 190),
        ("\ud83d" * 2, 2),  # a lone half of a pair is sent as U+FFFD
    ],
)
def test_a_text_is_estimated_by_its_letters_and_its_script(text: str, tokens: int) -> None:
    assert estimate_text_tokens(text) == tokens


@given(st.text(alphabet=st.characters(), max_size=200))
def test_the_router_and_the_trimmer_count_a_prompt_alike(text: str) -> None:
    routed = read_signals(ChatRequest.from_prompt(text), default_max_tokens=1)
    assert routed.input_tokens == estimate_tokens(Message(role="user", text=text))
    assert routed.input_tokens_bound >= utf8_bytes(text)


@given(st.lists(st.text(max_size=20)))
def test_pieces_add_up_to_their_whole(pieces: list[str]) -> None:
    whole = "".join(pieces)
    lengths = tokens_of_length(sum(map(len, pieces)), sum(map(utf8_bytes, pieces)))
    assert lengths == estimate_text_tokens(whole)


def test_calls_and_their_answers_count() -> None:
    call = ToolCall(id="1234", name="look", arguments_json="x" * 372)
    assert estimate_tokens(Message(role="assistant", text="", tool_calls=(call,))) == MESSAGE_TOKENS + 100
    assert estimate_tokens(Message(role="tool", text="", tool_call_id="x" * 38)) == MESSAGE_TOKENS + 10
