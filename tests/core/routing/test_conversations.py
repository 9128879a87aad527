"""Which requests belong together, which prompts begin alike, and where the last answer came from."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat import ChatRequest, ImagePart, Message, Tool, ToolCall, Usage
from core.routing.conversations import Conversations, conversation_of, prefix_hashes, system_hash


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def user(text: str, **more: Any) -> Message:
    return Message(role="user", text=text, **more)


def assistant(text: str, **more: Any) -> Message:
    return Message(role="assistant", text=text, **more)


CHAT = ChatRequest(messages=(user("Hello"), assistant("Hi"), user("How are you?")), system="Be brief.")
LOOK = Tool(name="look", description="Looks", parameters={"type": "object"})


# -- conversation_of -----------------------------------------------------------------------------------------


def test_the_turns_of_a_chat_are_one_conversation() -> None:
    first = dataclasses.replace(CHAT, messages=CHAT.messages[:1])
    assert conversation_of(first) == conversation_of(CHAT)


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(CHAT, system="Be long."),
        dataclasses.replace(CHAT, system=None),
        dataclasses.replace(CHAT, messages=(user("Hello!"),)),
        dataclasses.replace(CHAT, messages=(user("Hello", images=(ImagePart("image/png", "AA"),)),)),
    ],
)
def test_another_beginning_is_another_conversation(other: ChatRequest) -> None:
    assert conversation_of(other) != conversation_of(CHAT)


def test_the_same_question_about_two_pictures_is_two_conversations() -> None:
    one, other = (
        ChatRequest(messages=(user("What is it?", images=(ImagePart("image/png", data),)),))
        for data in ("AAAA", "AAAB")
    )
    assert conversation_of(one) != conversation_of(other)


def test_what_does_not_begin_a_conversation_does_not_change_it() -> None:
    other = dataclasses.replace(
        CHAT, model="claude", max_tokens=1, project="website", force="api", tools=(LOOK,), source="gateway"
    )
    assert conversation_of(other) == conversation_of(CHAT)


def test_an_id_decides_alone() -> None:
    one = dataclasses.replace(CHAT, conversation_id="42")
    other = ChatRequest.from_prompt("quite different", conversation_id="42")
    assert conversation_of(one) == conversation_of(other) != conversation_of(CHAT)
    assert conversation_of(one) != conversation_of(dataclasses.replace(CHAT, conversation_id="43"))


def test_a_conversation_is_a_short_hash_without_its_text() -> None:
    found = conversation_of(dataclasses.replace(CHAT, conversation_id="alice@example.org"))
    assert len(found) == 16
    assert int(found, 16) >= 0


def test_it_is_the_same_in_every_process() -> None:
    """The ledger keeps it: Python's own ``hash`` would change with every start."""
    assert conversation_of(ChatRequest.from_prompt("Hello")) == "d103e0a094569351"


def test_a_request_without_a_user_message_has_one_too() -> None:
    assert conversation_of(ChatRequest(messages=())) == conversation_of(
        ChatRequest(messages=(assistant("Hi"),))
    )


# -- prefix_hashes -------------------------------------------------------------------------------------------


def test_there_is_one_hash_a_message_and_a_longer_chat_keeps_those_of_the_shorter() -> None:
    longer = dataclasses.replace(CHAT, messages=(*CHAT.messages, assistant("Fine."), user("Good.")))
    hashes = prefix_hashes(longer)
    assert len(hashes) == len(set(hashes)) == 5
    assert hashes[:3] == prefix_hashes(CHAT)
    assert system_hash(CHAT) == system_hash(longer)


@pytest.mark.parametrize("position", range(3))
def test_a_changed_message_changes_its_hash_and_all_that_follow(position: int) -> None:
    messages = list(CHAT.messages)
    messages[position] = dataclasses.replace(messages[position], text="changed")
    changed = prefix_hashes(dataclasses.replace(CHAT, messages=tuple(messages)))
    same = [one == other for one, other in zip(changed, prefix_hashes(CHAT), strict=True)]
    assert same == [True] * position + [False] * (3 - position)


@pytest.mark.parametrize(
    "change",
    [
        {"system": "Be long."},
        {"tools": (LOOK,)},
        {"tools": (dataclasses.replace(LOOK, description="Sees"),)},
        {"tools": (dataclasses.replace(LOOK, parameters={"type": "object", "x": 1}),)},
    ],
)
def test_what_stands_before_the_messages_changes_them_all(change: dict[str, Any]) -> None:
    others = {prefix_hashes(CHAT)[0], prefix_hashes(dataclasses.replace(CHAT, tools=(LOOK, LOOK)))[0]}
    changed = dataclasses.replace(CHAT, **change)
    assert prefix_hashes(changed)[0] not in others
    assert system_hash(changed) != system_hash(CHAT)


def test_schemas_of_any_mapping_can_be_hashed() -> None:
    parameters = types.MappingProxyType({"type": "object", "properties": types.MappingProxyType({})})
    request = dataclasses.replace(CHAT, tools=(dataclasses.replace(LOOK, parameters=parameters),))
    plain = {"type": "object", "properties": {}}
    same = dataclasses.replace(CHAT, tools=(dataclasses.replace(LOOK, parameters=plain),))
    assert prefix_hashes(request) == prefix_hashes(same)


def test_the_model_and_the_options_are_no_part_of_a_prompt() -> None:
    other = dataclasses.replace(CHAT, model="claude", max_tokens=7, temperature=0.1, idempotency_key="k")
    assert prefix_hashes(other) == prefix_hashes(CHAT)


def test_a_request_without_messages_has_no_hashes() -> None:
    assert prefix_hashes(ChatRequest(messages=())) == ()


MESSAGES = st.builds(
    Message,
    role=st.sampled_from(["user", "assistant", "tool"]),
    text=st.text("a:1;(\ud83d", max_size=4),
    images=st.lists(st.builds(ImagePart, st.just("image/png"), st.text("A", max_size=2)), max_size=2).map(
        tuple
    ),
    tool_calls=st.lists(
        st.builds(ToolCall, st.just("1"), st.just("f"), st.text("{}", max_size=2)), max_size=2
    ).map(tuple),
    tool_call_id=st.none() | st.just("1"),
)


@given(st.lists(MESSAGES, max_size=4), st.lists(MESSAGES, max_size=4))
def test_prompts_share_hashes_exactly_as_far_as_they_are_equal(
    one: list[Message], other: list[Message]
) -> None:
    hashes = [prefix_hashes(ChatRequest(messages=tuple(messages))) for messages in (one, other)]
    shared = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        shared += 1
    assert hashes[0][:shared] == hashes[1][:shared]
    assert not set(hashes[0][shared:]) & set(hashes[1][shared:])


# -- Conversations -------------------------------------------------------------------------------------------


def test_the_last_answer_is_remembered_with_what_is_warm() -> None:
    clock = Clock()
    conversations = Conversations(clock)
    usage = Usage(fresh_input_tokens=5, cache_read_tokens=100, cache_write_5m_tokens=20, output_tokens=7)
    conversations.remember("c", "api", "claude", usage, provider="anthropic", prefix=("a", "b"))
    clock.now += 60
    last = conversations.last("c")
    assert last is not None
    assert (last.side, last.model, last.provider, last.at) == ("api", "claude", "anthropic", 1000.0)
    assert (last.prefix_tokens, last.cached_tokens, last.cache_lifetime) == (132, 120, "5m")
    assert last.prefix == ("b",), "what is kept of a conversation does not grow with it"


def test_an_hour_is_told_from_five_minutes() -> None:
    conversations = Conversations(Clock())
    conversations.remember("c", "api", "claude", Usage(cache_write_1h_tokens=20, output_tokens=1))
    last = conversations.last("c")
    assert last is not None
    assert (last.cached_tokens, last.cache_lifetime) == (20, "1h")


def test_without_a_usage_nothing_is_known_of_the_cache() -> None:
    conversations = Conversations(Clock())
    conversations.remember("c", "local", "tiny", None)
    last = conversations.last("c")
    assert last is not None
    assert (last.prefix_tokens, last.cached_tokens) == (None, None)


def test_both_sides_last_answers_are_kept() -> None:
    conversations = Conversations(Clock())
    conversations.remember("c", "api", "claude", None)
    conversations.remember("c", "local", "tiny", None)
    models = [getattr(conversations.last("c", side), "model", None) for side in (None, "api", "local")]
    assert models == ["tiny", "claude", "tiny"]


def test_an_unknown_conversation_has_no_last_answer() -> None:
    conversations = Conversations(Clock())
    assert conversations.last("c") is None
    conversations.remember("c", "api", "claude", None)
    assert conversations.last("c", "local") is None


def test_the_least_recently_used_are_forgotten() -> None:
    conversations = Conversations(Clock(), max_entries=2)
    conversations.remember("a", "api", "claude", None)
    conversations.remember("b", "api", "claude", None)
    assert conversations.last("a") is not None  # used
    conversations.remember("c", "api", "claude", None)
    assert [conversations.last(name) is not None for name in "abc"] == [True, False, True]
    assert len(conversations) == 2


def test_a_restarted_server_has_nothing_warm_any_more() -> None:
    conversations = Conversations(Clock())
    conversations.remember("a", "local", "tiny", Usage(fresh_input_tokens=5, output_tokens=1), prefix=("x",))
    conversations.remember("b", "api", "claude", Usage(fresh_input_tokens=5, output_tokens=1), prefix=("y",))
    conversations.forget_side("local")
    local, api = conversations.last("a"), conversations.last("b")
    assert local is not None
    assert api is not None
    assert (local.side, local.prefix_tokens, local.prefix) == ("local", None, ())
    assert (api.prefix_tokens, api.prefix) == (6, ("y",))
