"""Cache marks on Anthropic's wire, through the real SDK, and the usage that comes back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat import CacheMarks, ChatRequest, ImagePart, Message, Tool, ToolCall, Usage
from core.providers import AnthropicProvider
from core.providers.anthropic_wire import anthropic_payload, claude_family, count_arguments
from tests.support.anthropic_server import AnthropicServer, Says
from tests.support.providers import drain

MODEL = "claude-sonnet-4-6-20260501"
FIVE = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
TOOLS = (
    Tool(name="read", description="Reads a file", parameters={"type": "object"}),
    Tool(name="list", description="Lists files", parameters={"type": "object"}),
)
TALK = (
    Message(role="user", text="Look at these.", images=(ImagePart("image/png", "aGk="),)),
    Message(role="assistant", text="", tool_calls=(ToolCall("a", "read", "{}"), ToolCall("b", "list", "{}"))),
    Message(role="tool", text="one", tool_call_id="a"),
    Message(role="tool", text="", tool_call_id="b"),
    Message(role="assistant", text="  "),
    Message(role="user", text="And now?"),
)


def arguments_of(request: ChatRequest) -> dict[str, Any]:
    return count_arguments(request, MODEL, claude_family(MODEL), adapt_schema=lambda schema: schema)


def marked_in(value: Any) -> list[dict[str, Any]]:
    """Every block that carries ``cache_control``, in the order of the wire."""
    if isinstance(value, dict):
        here = [value] if "cache_control" in value else []
        return here + [found for item in value.values() for found in marked_in(item)]
    if isinstance(value, list):
        return [found for item in value for found in marked_in(item)]
    return []


async def test_marks_reach_the_wire_and_usage_comes_back_in_its_classes() -> None:
    first = {
        "input_tokens": 12,
        "cache_creation_input_tokens": 5000,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 5000},
        "cache_read_input_tokens": 0,
        "output_tokens": 1,
    }
    again = {
        "input_tokens": 12,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 5000,
        "output_tokens": 1,
    }
    marks = CacheMarks(system=True, messages=(0, 5), lifetime="1h")
    request = ChatRequest(messages=TALK, system="Be brief.", tools=TOOLS, cache_marks=marks)
    async with AnthropicServer(Says("ok", usage=first), Says("ok", usage=again)) as server:
        provider = AnthropicProvider("sk-ant-test", server.url, MODEL)
        written, read = await drain(provider, request), await drain(provider, request)
        counted = await provider.count_tokens(request)
        await provider.close()
    assert written.usages[-1] == Usage(fresh_input_tokens=12, cache_write_1h_tokens=5000, output_tokens=1)
    assert read.usages[-1] == Usage(fresh_input_tokens=12, cache_read_tokens=5000, output_tokens=1)
    assert counted > 0
    sent, _, asked = (received.body for received in server.received)
    assert sent["system"] == [{"type": "text", "text": "Be brief.", "cache_control": HOUR}]
    assert [block["cache_control"] for block in marked_in(sent)] == [HOUR] * 3
    assert "cache_control" not in sent["tools"][-1], "the system prompt's mark covers the tools"
    assert marked_in(asked) == marked_in(sent), "the count is asked with the very same input"
    assert {name: asked[name] for name in ("messages", "system", "tools")} == {
        name: sent[name] for name in ("messages", "system", "tools")
    }


def test_without_marks_nothing_changes() -> None:
    plain = arguments_of(ChatRequest(messages=TALK, system="Be brief.", tools=TOOLS))
    none = arguments_of(ChatRequest(messages=TALK, system="Be brief.", tools=TOOLS, cache_marks=CacheMarks()))
    assert plain == none
    assert plain["system"] == "Be brief."
    assert marked_in(plain) == []


def test_five_minutes_are_the_wires_default() -> None:
    sent = arguments_of(ChatRequest(messages=TALK, cache_marks=CacheMarks(messages=(5,))))
    assert [block["cache_control"] for block in marked_in(sent)] == [FIVE]


@pytest.mark.parametrize("system", [None, "", "  \n"])
def test_without_a_system_prompt_the_last_tool_is_marked(system: str | None) -> None:
    request = ChatRequest(messages=TALK, system=system, tools=TOOLS, cache_marks=CacheMarks(system=True))
    sent = arguments_of(request)
    assert "system" not in sent
    assert marked_in(sent) == [sent["tools"][-1]]


def test_the_system_mark_of_a_request_without_system_and_tools_is_nothing() -> None:
    assert marked_in(arguments_of(ChatRequest(messages=TALK, cache_marks=CacheMarks(system=True)))) == []


@pytest.mark.parametrize(
    ("index", "kind"), [(0, "text"), (1, "tool_use"), (2, "tool_result"), (3, "tool_result"), (5, "text")]
)
def test_the_last_block_of_a_message_is_marked(index: int, kind: str) -> None:
    sent = arguments_of(ChatRequest(messages=TALK, cache_marks=CacheMarks(messages=(index,))))
    (block,) = marked_in(sent)
    assert block["type"] == kind
    if index == 1:
        assert block["id"] == "b"
    if index in (2, 3):
        assert block["tool_use_id"] == "ab"[index - 2]


def test_an_empty_turn_takes_no_mark_from_the_others() -> None:
    talk = (*TALK[:4], *[Message(role="assistant", text=" ")] * 5, TALK[5])
    sent = arguments_of(ChatRequest(messages=talk, cache_marks=CacheMarks(messages=tuple(range(len(talk))))))
    assert [block["type"] for block in marked_in(sent)] == ["tool_use", "tool_result", "tool_result", "text"]


indexes = st.lists(st.integers(-3, 30), max_size=12)
turns = st.lists(
    st.builds(
        lambda role, text: Message(role=role, text=text),
        st.sampled_from(("user", "assistant")),
        st.sampled_from(("", " ", "a question", "an answer")),
    ),
    min_size=1,
    max_size=20,
)


@given(messages=turns, wanted=indexes, system=st.booleans(), prompt=st.sampled_from((None, " ", "Be brief.")))
def test_never_more_than_four_marks_and_never_an_empty_block(
    messages: list[Message], wanted: list[int], system: bool, prompt: str | None
) -> None:
    marks = CacheMarks(system=system, messages=tuple(wanted))
    request = ChatRequest(messages=tuple(messages), system=prompt, tools=TOOLS, cache_marks=marks)
    payload = anthropic_payload(
        request, MODEL, claude_family(MODEL), max_output_tokens=None, adapt_schema=lambda schema: schema
    )
    found = marked_in(payload.body)
    assert len(found) <= 4
    assert all(block.get("type") != "text" or block["text"].strip() for block in found)
    sendable = {index for index in wanted if 0 <= index < len(messages) and messages[index].text.strip()}
    assert len(found) == min(4, len(sendable) + system), "as many as there is something to mark"
