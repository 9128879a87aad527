"""One key, one answer: repeated requests join or get it back, and nobody pays twice."""

from __future__ import annotations

import asyncio
import dataclasses
import types
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.chat import (
    CacheMarks,
    ChatRequest,
    ChatResult,
    Estimate,
    ImagePart,
    JsonSchemaFormat,
    Message,
    RouteDecision,
    Signals,
    Tool,
    ToolCall,
)
from core.errors import BudgetExceeded, DuplicateRequest, Unavailable
from core.routing.idempotency import ENTRY_BYTES, CacheLookup, ResponseCache, fingerprint
from tests.support.virtual_time import now, run, settle

NO_ESTIMATE = Estimate(model=None, cost_nanodollars=None, hold_nanodollars=None)
DECISION = RouteDecision(
    side="api",
    provider="anthropic",
    model="claude",
    rule="simple",
    reason="",
    mode="hybrid",
    signals=Signals(input_tokens=1, input_tokens_bound=1, max_output_tokens=1, complexity=0.0),
    local_estimate=NO_ESTIMATE,
    api_estimate=NO_ESTIMATE,
    complexity_threshold=0.6,
    local_requests_today=0,
    routing_threshold=0,
)


def answer(text: str = "Hello") -> ChatResult:
    return ChatResult(
        text=text,
        tool_calls=(),
        usage=None,
        provider="anthropic",
        side="api",
        model="claude",
        finish_reason="stop",
        decision=DECISION,
        cost_nanodollars=5,
        loaded_nanodollars=5,
        price_version=None,
        latency_ms=1.0,
        ttft_ms=None,
        correlation_id="first",
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_the_first_one_runs_and_a_later_one_gets_its_answer_back() -> None:
    async def main() -> None:
        answers = ResponseCache(now)
        first = answers.claim("key", "question")
        assert first.is_first
        assert not first.is_replay
        first.finish(answer())
        first.release()
        again = answers.claim("key", "question")
        assert (again.is_first, again.is_replay) == (False, True)
        assert await again.answer() == answer()
        assert (len(answers), answers.running) == (1, 0)

    run(main())


def test_one_that_comes_meanwhile_waits_for_the_first_ones_answer() -> None:
    async def main() -> None:
        answers = ResponseCache(now)
        first = answers.claim("key", "question")
        joined = [asyncio.create_task(answers.claim("key", "question").answer()) for _ in range(3)]
        await settle()
        assert not any(task.done() for task in joined)
        first.finish(answer())
        assert await asyncio.gather(*joined) == [answer()] * 3

    run(main())


def test_a_different_request_under_the_same_key_is_refused_while_it_runs_and_afterwards() -> None:
    async def main() -> None:
        answers = ResponseCache(now)
        first = answers.claim("key", "question")
        with pytest.raises(DuplicateRequest, match="a different request"):
            answers.claim("key", "another")
        first.finish(answer())
        with pytest.raises(DuplicateRequest):
            answers.claim("key", "another")
        assert answers.claim("other key", "another").is_first

    run(main())


def test_an_error_goes_to_those_who_wait_and_frees_the_key() -> None:
    async def main() -> None:
        answers = ResponseCache(now)
        first = answers.claim("key", "question")
        before = answers.claim("key", "question")
        waiting = asyncio.create_task(answers.claim("key", "question").answer())
        await settle()
        error = BudgetExceeded(
            "No money.",
            hint="Earn some.",
            limit_name="SPEND_LIMIT_DOLLARS",
            limit_nanodollars=1,
            spent_nanodollars=1,
            held_nanodollars=0,
            asked_nanodollars=1,
        )
        first.fail(error)
        first.release()
        for joined in (waiting, before.answer()):  # also one that asks only now
            with pytest.raises(BudgetExceeded) as caught:
                await joined
            assert caught.value is not error, "each request has its own correlation id"
            assert vars(caught.value) == vars(error)
            assert str(caught.value) == str(error)
        assert answers.claim("key", "another").is_first

    run(main())


def test_when_the_first_is_stopped_the_one_that_waits_longest_becomes_the_first() -> None:
    async def main() -> None:
        answers = ResponseCache(now)
        first = answers.claim("key", "question")
        second, third = answers.claim("key", "question"), answers.claim("key", "question")
        waiting = [asyncio.create_task(claim.answer()) for claim in (second, third)]
        await settle()
        first.release()
        assert await waiting[0] is None
        assert (second.is_first, third.is_first) == (True, False)
        first.finish(answer("too late"))  # it has no say any more
        second.finish(answer("from the second"))
        assert await waiting[1] == answer("from the second")

    run(main())


def test_when_the_first_is_stopped_and_nobody_waits_the_key_is_free() -> None:
    async def main() -> None:
        answers = ResponseCache(now)
        answers.claim("key", "question").release()
        assert answers.running == 0
        assert answers.claim("key", "another").is_first

    run(main())


def test_one_that_asks_after_the_first_was_stopped_takes_the_key_again() -> None:
    async def main() -> None:
        answers = ResponseCache(now)
        first, second, third = (answers.claim("key", "question") for _ in range(3))
        first.release()
        assert await second.answer() is None
        assert second.is_first
        waiting = asyncio.create_task(third.answer())
        await settle()
        second.finish(answer())
        assert await waiting == answer()

    run(main())


def test_one_that_is_stopped_in_the_moment_it_becomes_the_first_hands_the_key_on() -> None:
    async def main() -> None:
        answers = ResponseCache(now)
        first, second, third = (answers.claim("key", "question") for _ in range(3))
        waiting = [asyncio.create_task(claim.answer()) for claim in (second, third)]
        await settle()
        first.release()  # the second is the first now, and has not run yet
        waiting[0].cancel()
        assert await waiting[1] is None
        assert (second.is_first, third.is_first) == (False, True)
        third.release()
        assert answers.running == 0

    run(main())


def test_one_that_stops_waiting_changes_nothing_for_the_others() -> None:
    async def main() -> None:
        answers = ResponseCache(now)
        first = answers.claim("key", "question")
        waiting = [asyncio.create_task(answers.claim("key", "question").answer()) for _ in range(2)]
        await settle()
        waiting[0].cancel()
        await settle()
        first.finish(answer())
        assert await waiting[1] == answer()

    run(main())


def test_an_answer_is_kept_for_a_day() -> None:
    async def main() -> None:
        answers = ResponseCache(now)
        answers.claim("key", "question").finish(answer())
        await asyncio.sleep(24 * 3600 - 1)
        assert answers.claim("key", "question").is_replay
        await asyncio.sleep(2)
        assert answers.claim("key", "another").is_first
        assert (len(answers), answers.kept_bytes) == (0, 0)

    run(main())


def test_the_oldest_answers_go_first_when_there_are_too_many() -> None:
    async def main() -> None:
        answers = ResponseCache(now, max_entries=2)
        for key in ("a", "b", "c"):
            answers.claim(key, "question").finish(answer())
        assert len(answers) == 2
        assert answers.claim("a", "question").is_first
        assert answers.claim("c", "question").is_replay

    run(main())


def test_long_answers_push_out_the_oldest_and_one_that_is_too_long_is_not_kept() -> None:
    async def main() -> None:
        answers = ResponseCache(now, max_bytes=3 * ENTRY_BYTES)
        for key in ("a", "b"):
            answers.claim(key, "question").finish(answer("x" * 2000))
        assert (len(answers), answers.kept_bytes > 4000) == (1, True)
        first = answers.claim("c", "question")
        waiting = asyncio.create_task(answers.claim("c", "question").answer())
        await settle()
        first.finish(answer("x" * 100_000))
        result = await waiting  # who waited for it has it all the same
        assert result is not None
        assert len(result.text) == 100_000
        assert (len(answers), answers.kept_bytes) == (0, 0)
        assert answers.claim("c", "question").is_first

    run(main())


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["claim", "finish", "fail", "release", "cancel"]),
            st.sampled_from(["k1", "k2"]),
            st.integers(0, 3),
        ),
        max_size=40,
    )
)
def test_at_any_moment_one_of_a_key_runs_and_nobody_waits_for_nothing(
    steps: list[tuple[str, str, int]],
) -> None:
    async def main() -> None:
        answers = ResponseCache(now, max_entries=1)
        claims: list[tuple[str, CacheLookup, asyncio.Task[Any]]] = []
        for what, key, which in steps:
            if what == "claim":
                claim = answers.claim(key, "question")
                claims.append((key, claim, asyncio.create_task(claim.answer())))
            firsts = [claim for name, claim, _ in claims if name == key and claim.is_first]
            pending = [task for _, _, task in claims if not task.done()]
            if firsts and what == "finish":
                firsts[-1].finish(answer())
                firsts[-1].is_first = False  # the test's own note: this one has ended
            elif firsts and what == "fail":
                firsts[-1].fail(Unavailable("away"))
                firsts[-1].is_first = False
            elif firsts and what == "release":
                firsts[-1].release()
            elif pending and what == "cancel":
                pending[which % len(pending)].cancel()
            if which:
                await settle()
            for name in ("k1", "k2"):
                assert sum(claim.is_first for other, claim, _ in claims if other == name) <= 1
        await settle()
        for name, _, task in claims:
            if not task.done():
                assert any(claim.is_first for other, claim, _ in claims if other == name), (
                    "it waits for nothing"
                )
        assert len(answers) <= 1
        await asyncio.gather(*(task for _, _, task in claims if task.done()), return_exceptions=True)

    run(main())


# -- what makes two requests the same ------------------------------------------------------------------------

REQUEST = ChatRequest(
    messages=(
        Message(role="user", text="What is this?", images=(ImagePart("image/png", "AAAA"),)),
        Message(role="assistant", text="", tool_calls=(ToolCall("1", "look", "{}"),)),
        Message(role="tool", text="a cat", tool_call_id="1"),
    ),
    system="Be brief.",
    tools=(Tool(name="look", description="", parameters={"type": "object", "properties": {}}),),
    response_format=JsonSchemaFormat(schema={"type": "string"}),
    max_tokens=10,
    temperature=0.5,
    top_p=0.9,
    stop=("END",),
    seed=1,
    model="claude",
    force="api",
    project="website",
    conversation_id="c1",
    idempotency_key="key",
    deadline_s=10.0,
    window_tokens=1000,
    compress=False,
)

OTHER: dict[str, Any] = {
    "messages": REQUEST.messages[:1],
    "system": "Be long.",
    "tools": (),
    "response_format": JsonSchemaFormat(schema={"type": "number"}),
    "max_tokens": 11,
    "temperature": None,
    "top_p": None,
    "stop": ("END", "FIN"),
    "seed": 2,
    "model": "other",
    "force": "local",
    "batch": True,
    "high_stakes": True,
    "project": None,
    "conversation_id": None,
    "window_tokens": None,
    "compress": True,
    "cache_marks": CacheMarks(system=True),
}
SAME: dict[str, Any] = {
    "source": "gateway",
    "deadline_s": None,
    "idempotency_key": "another key",
    "correlation_id": "another id",
}


def test_every_field_of_a_request_is_known_to_matter_or_not_to() -> None:
    assert {field.name for field in dataclasses.fields(ChatRequest)} == set(OTHER) | set(SAME)


@pytest.mark.parametrize("name", OTHER)
def test_what_matters_changes_the_fingerprint(name: str) -> None:
    assert fingerprint(dataclasses.replace(REQUEST, **{name: OTHER[name]})) != fingerprint(REQUEST)


@pytest.mark.parametrize("name", SAME)
def test_what_does_not_matter_leaves_the_fingerprint(name: str) -> None:
    assert fingerprint(dataclasses.replace(REQUEST, **{name: SAME[name]})) == fingerprint(REQUEST)


@pytest.mark.parametrize(
    "change",
    [
        {"text": "What is that?"},
        {"images": (ImagePart("image/png", "AAAB"),)},
        {"images": (ImagePart("image/jpeg", "AAAA"),)},
        {"images": ()},
        {"pinned": True},
        {"role": "assistant"},
    ],
)
def test_a_message_matters_in_every_part(change: dict[str, Any]) -> None:
    messages = (dataclasses.replace(REQUEST.messages[0], **change), *REQUEST.messages[1:])
    assert fingerprint(dataclasses.replace(REQUEST, messages=messages)) != fingerprint(REQUEST)


def test_the_same_schema_in_another_shape_is_the_same() -> None:
    parameters = types.MappingProxyType({"properties": {}, "type": "object"})
    tool = dataclasses.replace(REQUEST.tools[0], parameters=parameters)
    assert fingerprint(dataclasses.replace(REQUEST, tools=(tool,))) == fingerprint(REQUEST)
    whole, real = (dataclasses.replace(REQUEST, temperature=value) for value in (1, 1.0))
    assert fingerprint(whole) == fingerprint(real)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([0.5, -1.5]) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


def _strict(value: Any) -> Any:
    """Make ``==`` tell ``True`` from ``1``, as JSON does."""
    if isinstance(value, list):
        return [_strict(item) for item in value]
    if isinstance(value, dict):
        return {name: _strict(item) for name, item in value.items()}
    return (type(value) is bool, value)


@given(JSON, JSON)
def test_two_schemas_share_a_fingerprint_only_when_they_are_equal(one: Any, other: Any) -> None:
    def of(value: Any) -> str:
        return fingerprint(
            dataclasses.replace(REQUEST, response_format=JsonSchemaFormat(schema={"const": value}))
        )

    assert (of(one) == of(other)) == (_strict(one) == _strict(other))


@given(st.text(), st.text(), st.text(), st.text())
def test_texts_that_only_join_to_the_same_differ(a: str, b: str, c: str, d: str) -> None:
    def of(system: str, text: str) -> str:
        return fingerprint(ChatRequest(messages=(Message(role="user", text=text),), system=system))

    assert (of(a, b) == of(c, d)) == ((a, b) == (c, d))


def test_half_of_an_emoji_has_a_fingerprint() -> None:
    assert fingerprint(ChatRequest.from_prompt("\ud83d")) != fingerprint(ChatRequest.from_prompt("\ude00"))


def test_an_answer_from_another_process_keeps_the_age_that_it_had_there() -> None:
    async def main() -> None:
        answers = ResponseCache(now, keep_s=100)
        answers.claim("ours", "question").finish(answer("Ours"))
        answers.claim("theirs", "question").finish(answer("Theirs"), age_s=90)
        await asyncio.sleep(9)
        assert await answers.claim("theirs", "question").answer() == answer("Theirs")
        await asyncio.sleep(1)
        assert answers.claim("theirs", "another question").is_first, (
            "it is forgotten, although ours is older here"
        )
        assert await answers.claim("ours", "question").answer() == answer("Ours")
        assert (len(answers), answers.running) == (1, 1)

    run(main())


def test_a_failure_after_the_answer_takes_nothing_back() -> None:
    async def main() -> None:
        answers = ResponseCache(now)
        first = answers.claim("key", "question")
        first.finish(answer())
        first.fail(Unavailable("too late"))
        assert await answers.claim("key", "question").answer() == answer()
        second = answers.claim("key", "question")
        second.fail(Unavailable("not the first's"))
        assert await second.answer() == answer()

    run(main())


def test_one_that_stops_waiting_in_the_moment_of_the_answer_does_not_keep_it_from_the_others() -> None:
    async def main() -> None:
        answers = ResponseCache(now)
        first = answers.claim("key", "question")
        leaving, staying = (asyncio.create_task(answers.claim("key", "question").answer()) for _ in range(2))
        await settle()
        leaving.cancel()
        first.finish(answer())
        assert await staying == answer()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert answers.running == 0

    run(main())


def test_what_is_no_json_has_a_fingerprint_of_its_own() -> None:
    def of(value: object) -> str:
        return fingerprint(
            dataclasses.replace(REQUEST, response_format=JsonSchemaFormat(schema={"const": value}))
        )

    values = (Decimal(1), Decimal(2), "Decimal('1')", 1, "1", b"1")
    assert len({of(value) for value in values}) == len(values)
    assert of(Decimal(1)) == of(Decimal(1))
