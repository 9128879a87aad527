"""What is read of a request: above all that the bound of its input, which a hold is made of, is never too low."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.chat import ChatRequest, Message, ToolCall
from core.providers.anthropic_wire import claude_family, count_arguments
from core.providers.openai_wire import chat_messages
from core.providers.wire_text import valid_json
from core.routing.complexity import read_signals

MODEL = "claude-sonnet-4-6"
ANY_TEXT = st.text(alphabet=st.characters(), max_size=40)
WORD = st.text(alphabet=st.characters(), min_size=1, max_size=60)
ARGUMENTS = ANY_TEXT | st.dictionaries(
    ANY_TEXT, ANY_TEXT | st.integers() | st.none() | st.lists(ANY_TEXT, max_size=3), max_size=4
).map(lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")))
CALL = st.builds(ToolCall, id=WORD, name=WORD, arguments_json=ARGUMENTS)
MESSAGE = st.one_of(
    st.builds(Message, role=st.just("user"), text=ANY_TEXT),
    st.builds(
        Message,
        role=st.just("assistant"),
        text=ANY_TEXT,
        tool_calls=st.lists(CALL, max_size=3).map(tuple),
    ),
    st.builds(Message, role=st.just("tool"), text=ANY_TEXT, tool_call_id=WORD),
)


def bound_of(request: ChatRequest) -> int:
    return read_signals(request, default_max_tokens=1).input_tokens_bound


def strings_bytes(value: Any) -> int:
    """The UTF-8 bytes of every string and number in a value, keys included."""
    if isinstance(value, dict):
        return sum(strings_bytes(key) + strings_bytes(item) for key, item in value.items())
    if isinstance(value, list):
        return sum(map(strings_bytes, value))
    return len((value if isinstance(value, str) else json.dumps(value)).encode())


def carried_to_anthropic(request: ChatRequest) -> int:
    """What the messages say on Anthropic's wire, without the wire's own words."""
    arguments = count_arguments(request, MODEL, claude_family(MODEL), adapt_schema=dict)
    total = strings_bytes(arguments.get("system", ""))
    for turn in arguments["messages"]:
        for block in turn["content"]:
            match block["type"]:
                case "text":
                    total += strings_bytes(block["text"])
                case "tool_use":
                    total += strings_bytes([block["id"], block["name"], block["input"]])
                case "tool_result":
                    texts = [part["text"] for part in block.get("content", [])]
                    total += strings_bytes([block["tool_use_id"], *texts])
    return total


def carried_to_openai(request: ChatRequest) -> int:
    total = 0
    for message in chat_messages(request):
        total += strings_bytes([message["content"], message.get("tool_call_id", "")])
        for call in message.get("tool_calls", ()):
            total += strings_bytes([call["id"], call["function"]["name"], call["function"]["arguments"]])
    return total


def repaired(request: ChatRequest) -> ChatRequest:
    """The request as it can travel: no lone surrogates anywhere."""
    messages = tuple(
        Message(
            role=message.role,
            text=valid_json(message.text),
            tool_calls=tuple(
                ToolCall(valid_json(call.id), valid_json(call.name), valid_json(call.arguments_json))
                for call in message.tool_calls
            ),
            tool_call_id=valid_json(message.tool_call_id),
        )
        for message in request.messages
    )
    return ChatRequest(messages=messages, system=valid_json(request.system))


@given(st.lists(MESSAGE, min_size=1, max_size=6), st.none() | ANY_TEXT)
def test_the_bound_covers_all_that_the_wires_carry(messages: list[Message], system: str | None) -> None:
    request = ChatRequest(messages=tuple(messages), system=system)
    travels = repaired(request)
    assert bound_of(request) >= carried_to_anthropic(travels)
    assert bound_of(request) >= carried_to_openai(travels)


def test_each_call_adds_its_name_its_id_and_what_stands_around_it() -> None:
    call = ToolCall("toolu_0123456789", "a_rather_long_name_of_a_tool", "{}")
    asks = Message(role="assistant", text="")
    answers = Message(role="tool", text="")
    without = ChatRequest(messages=(asks, answers))
    with_call = ChatRequest(
        messages=(
            Message(role="assistant", text="", tool_calls=(call,)),
            Message(role="tool", text="", tool_call_id=call.id),
        )
    )
    added = bound_of(with_call) - bound_of(without)
    assert added >= len(call.name) + 2 * len(call.id) + len("{}") + 40


def test_a_lone_surrogate_travels_as_three_bytes() -> None:
    assert bound_of(ChatRequest.from_prompt("\ud800" * 100)) - bound_of(ChatRequest.from_prompt("")) == 300
