"""The same idempotency key in several processes: one pays, all get its answer. Real processes, one real home."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.chat import ChatRequest, Usage, new_correlation_id
from core.errors import DeadlineExceeded, DuplicateRequest, LedgerUnavailable
from core.ledger.ledger import Ledger
from core.ledger.models import LedgerRow
from core.routing.idempotency_store import FILE_NAME
from tests.core.test_router_queue import Asked, posted
from tests.support.anthropic_server import AnthropicServer, Says, ToolUse
from tests.support.forked import Forked
from tests.support.two_sides import KEY, TwoSides, two_sides

ASKED: dict[str, Any] = {"prompt": "hi", "force": "api", "idempotency_key": "k"}


@pytest.fixture
async def api() -> AsyncIterator[AnthropicServer]:
    async with AnthropicServer() as server:
        yield server


class Sender:
    """Another process with a core of its own, in the same home, that sends one request."""

    def __init__(self, home: Path, api: AnthropicServer, environment: dict[str, str], asked: dict[str, Any]):
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC")},
            "SIGNALBOX_HOME": str(home),
            "ANTHROPIC_BASE_URL": api.url,
            "ANTHROPIC_API_KEY": KEY,
            "LOCAL_SERVER": "none",
            "MAX_RETRIES": "0",
            **environment,
        }
        self._home = home
        self._asked = asked
        self.events: list[dict[str, Any]] = []

    async def start(self) -> Sender:
        reading, writing = os.pipe()
        try:
            self.process = Forked(
                "tests.support.repeat_child:main",
                [json.dumps(self._asked)],
                environment=self._environment,
                cwd=self._home,
                stdout=writing,
            )
        finally:
            os.close(writing)
        self._lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._lines), os.fdopen(reading, "rb")
        )
        return self

    async def until(self, event: str) -> dict[str, Any]:
        while line := await self._lines.readline():
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == event:
                return self.events[-1]
        raise AssertionError(f"no {event} among {self.events}")

    async def finished(self) -> dict[str, Any]:
        end = await self.until("Finished")
        assert await self.process.ended() == 0
        return end

    async def failed(self) -> dict[str, Any]:
        end = await self.until("Failed")
        assert await self.process.ended() == 0
        return end

    async def kill(self) -> None:
        self.process.kill()
        assert await self.process.ended() == -signal.SIGKILL

    @property
    def kinds(self) -> list[str]:
        return [event["event"] for event in self.events]


async def sent(home: Path, api: AnthropicServer, asked: dict[str, Any] = ASKED, **environment: str) -> Sender:
    return await Sender(home, api, environment, asked).start()


async def ledger_rows(home: Path) -> list[LedgerRow]:
    ledger = Ledger(None, home)
    await ledger.open()
    try:
        assert (await ledger.check()).differences == ()
        audit = await ledger.verify_audit()
        assert audit.ok, audit.problems
        return list(reversed(await ledger.recent()))
    finally:
        await ledger.close()


async def test_a_second_process_gets_the_whole_answer_and_pays_nothing(
    home: Path, api: AnthropicServer
) -> None:
    call = ToolUse("weather", ('{"city": ', '"Paris"}'))
    api.replies.append(Says("It ", "is", thinking=("Hm.",), tools=(call,)))
    first = await (await sent(home, api)).finished()
    second = await sent(home, api)
    again = await second.finished()
    assert (again["text"], again["tool_calls"]) == ("It is", first["tool_calls"])
    assert again["tool_calls"][0]["arguments"] == '{"city": "Paris"}'
    for same in ("usage", "decision", "model", "provider", "side", "finish_reason", "latency_ms", "ttft_ms"):
        assert again[same] == first[same], same
    assert (again["replayed"], again["cost"], again["first_cost"]) == (True, "0.000000000", first["cost"])
    assert float(first["cost"]) > 0
    assert not first["replayed"]
    assert again["replay_of"] == first["correlation_id"] != again["correlation_id"]
    assert [step["kind"] for step in again["steps"]] == ["replayed"]
    assert second.kinds == ["Started", "TextDelta", "ToolCallDelta", "UsageReported", "Finished"]
    assert posted(api.received) == 1


async def test_the_ledger_names_the_first_request_and_counts_the_replay_nowhere(
    home: Path, api: AnthropicServer
) -> None:
    asked = ASKED | {"project": "web"}
    first = await (await sent(home, api, asked)).finished()
    again = await (await sent(home, api, asked)).finished()
    paid, replay = await ledger_rows(home)
    assert (paid.correlation_id, paid.status, paid.replay_of) == (first["correlation_id"], "done", None)
    assert (replay.correlation_id, replay.status) == (again["correlation_id"], "replayed")
    assert replay.replay_of == paid.correlation_id
    assert (replay.cost_nanodollars, replay.hold_nanodollars, replay.counted_nanodollars) == (0, 0, 0)
    assert (replay.usage, replay.project, replay.rule) == (None, "web", paid.rule)
    assert (replay.side, replay.provider, replay.state) == ("", "", "released")
    assert replay.idempotency_key == paid.idempotency_key not in (None, "k")


async def test_one_that_comes_while_another_process_runs_the_first_waits_and_replays(
    home: Path, api: AnthropicServer
) -> None:
    api.replies.append(Says("Once", hold_after=0))
    first = await sent(home, api)
    await api.holding.wait()
    others = [await sent(home, api) for _ in range(2)]
    for other in others:
        assert (await other.until("Waiting"))["reason"] == "first_answer"
    api.released.set()
    assert (await first.finished())["replayed"] is False
    for other in others:
        end = await other.finished()
        assert (end["text"], end["replayed"]) == ("Once", True)
        assert other.kinds.count("Waiting") == 1
        assert end["queued_ms"] > 0
    assert posted(api.received) == 1
    assert sorted(row.status for row in await ledger_rows(home)) == ["done", "replayed", "replayed"]


async def test_the_wait_ends_at_the_requests_own_deadline(home: Path, api: AnthropicServer) -> None:
    api.replies.append(Says("Once", hold_after=0))
    first = await sent(home, api)
    await api.holding.wait()
    end = await (await sent(home, api, ASKED | {"deadline_s": 3})).failed()
    assert end["error"] == DeadlineExceeded.kind
    assert "waiting for the first request with this key" in end["message"]
    api.released.set()
    assert (await first.finished())["text"] == "Once"
    assert posted(api.received) == 1


async def test_when_the_first_one_fails_one_that_waits_in_another_process_goes_on(
    home: Path, api: AnthropicServer
) -> None:
    api.replies += [Says("Half", hold_after=1, ends=False), Says("Whole")]
    first = await sent(home, api)
    await api.holding.wait()
    second = await sent(home, api)
    await second.until("Waiting")
    api.released.set()
    assert (await first.failed())["error"] == "unavailable"
    end = await second.finished()
    assert (end["text"], end["replayed"]) == ("Whole", False)
    assert [step["kind"] for step in end["steps"]] == ["waited"]
    third = await (await sent(home, api)).finished()
    assert (third["text"], third["replayed"], third["replay_of"]) == ("Whole", True, end["correlation_id"])


async def test_when_the_first_ones_process_is_killed_one_that_waits_goes_on(
    home: Path, api: AnthropicServer
) -> None:
    api.replies += [Says("Never", hold_after=0), Says("In the end")]
    first = await sent(home, api)
    await first.until("Started")
    await api.holding.wait()
    second = await sent(home, api)
    await second.until("Waiting")
    await first.kill()
    end = await second.finished()
    assert (end["text"], end["replayed"]) == ("In the end", False)
    died, lived = await ledger_rows(home)
    # What the dead one may have been billed still counts, at its hold.
    assert (died.status, died.error_kind, died.state) == ("failed", "interrupted", "unresolved")
    assert died.counted_nanodollars > 0
    assert (lived.status, lived.state) == ("done", "settled")


async def test_a_program_that_crashed_in_its_request_can_send_it_again(
    home: Path, api: AnthropicServer
) -> None:
    api.replies += [Says("Never", hold_after=0), Says("At last")]
    first = await sent(home, api)
    await api.holding.wait()
    await first.kill()
    second = await sent(home, api)
    assert (await second.finished())["text"] == "At last"
    assert "Waiting" not in second.kinds
    assert (await (await sent(home, api)).finished())["replayed"] is True


async def test_a_ledger_that_fails_just_then_does_not_leave_the_key_with_the_dead(
    home: Path, api: AnthropicServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.replies += [Says("Never", hold_after=0), Says("At last")]
    request = ChatRequest.from_prompt(**ASKED)
    async with two_sides(home, ANTHROPIC_BASE_URL=api.url, LOCAL_SERVER="none") as sides:
        await sides.core.status()  # it has opened the ledger, and recovered, before the first one dies
        first = await sent(home, api)
        await api.holding.wait()
        await first.kill()
        with monkeypatch.context() as broken:

            async def locked(_: Ledger) -> None:
                raise LedgerUnavailable("The ledger is locked.")

            broken.setattr(Ledger, "recover", locked)
            with pytest.raises(LedgerUnavailable):
                await sides.core.ask(request)
        again = dataclasses.replace(request, correlation_id=new_correlation_id())
        assert (await sides.core.ask(again)).text == "At last"


async def test_a_different_request_under_the_same_key_is_refused(home: Path, api: AnthropicServer) -> None:
    api.replies.append(Says("Once", hold_after=0))
    first = await sent(home, api)
    await api.holding.wait()
    while_it_runs = await (await sent(home, api, ASKED | {"prompt": "another"})).failed()
    api.released.set()
    await first.finished()
    afterwards = await (await sent(home, api, ASKED | {"max_tokens": 3})).failed()
    for end in (while_it_runs, afterwards):
        assert end["error"] == DuplicateRequest.kind
        assert "a different request" in end["message"]
    assert posted(api.received) == 1


async def test_many_processes_at_once_pay_once(home: Path, api: AnthropicServer) -> None:
    senders = [await sent(home, api) for _ in range(4)]
    ends = [await sender.finished() for sender in senders]
    assert sorted(end["replayed"] for end in ends) == [False, True, True, True]
    assert len({end["correlation_id"] for end in ends}) == 4
    assert {end["text"] for end in ends} == {"Hello there"}
    assert posted(api.received) == 1
    rows = await ledger_rows(home)
    assert sum(bool(row.cost_nanodollars) for row in rows) == 1
    assert len({row.replay_of for row in rows if row.status == "replayed"}) == 1


async def test_switching_it_off_deletes_what_was_kept(home: Path, api: AnthropicServer) -> None:
    api.replies.append(Says("The heron sleeps."))
    await (await sent(home, api)).finished()
    assert b"heron" in kept_bytes(home)
    async with two_sides(home, IDEMPOTENCY_KEEP_HOURS="0"):
        pass
    assert b"heron" not in kept_bytes(home)
    connection = sqlite3.connect(home / FILE_NAME)
    assert connection.execute("SELECT count(*) FROM answers").fetchone() == (0,)
    connection.close()


def kept_bytes(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.glob(FILE_NAME + "*"))


async def test_a_file_that_cannot_be_used_is_left_alone_and_told(home: Path) -> None:
    (home / FILE_NAME).write_text("my notes " * 100)
    async with two_sides(home) as sides:
        first = await Asked(sides, "hi", force="api", idempotency_key="k").result()
        assert (await Asked(sides, "hi", force="api", idempotency_key="k").result()).replayed, "from memory"
        (problem,) = [each for each in (await sides.core.status()).problems if each.kind == "answers"]
        assert "not a database" in problem.message
        assert problem.hint
    async with two_sides(home) as sides:
        error = await Asked(sides, "hi", force="api", idempotency_key="k").error()
        assert isinstance(error, DuplicateRequest)
        assert first.correlation_id in error.message
        assert sides.api.received == []
    assert (home / FILE_NAME).read_text() == "my notes " * 100


async def test_a_crash_between_the_answer_and_its_settlement_loses_no_answer(home: Path) -> None:
    """The answer is on the disk before the ledger knows that it is done."""
    async with two_sides(home) as sides:
        settle = sides.core.ledger.current.settle
        seen: list[bytes] = []

        async def looked(*arguments: Any, **named: Any) -> Any:
            seen.append(kept_bytes(home))
            return await settle(*arguments, **named)

        sides.core.ledger.current.settle = looked  # type: ignore[method-assign]
        sides.api.replies.append(Says("The heron sleeps."))
        await Asked(sides, "hi", force="api", idempotency_key="k").result()
        assert [b"heron sleeps" in each for each in seen] == [True]


async def test_what_has_no_key_is_kept_nowhere(home: Path) -> None:
    async with two_sides(home) as sides:
        await Asked(sides, "hi", force="api").result()
    assert not (home / FILE_NAME).exists()


async def waits_here(sides: TwoSides, count: int) -> list[Asked]:
    waiting = [Asked(sides, "hi", force="api", idempotency_key="k") for _ in range(count)]
    for one in waiting:
        assert (await one.waiting()).reason == "first_answer"
    return waiting


async def test_of_many_that_wait_for_another_process_one_asks_it_and_all_get_the_answer(
    home: Path, api: AnthropicServer
) -> None:
    api.replies.append(Says("Once", hold_after=0))
    first = await sent(home, api)
    await api.holding.wait()
    async with two_sides(home) as sides:
        waiting = await waits_here(sides, 3)
        api.released.set()
        paid = await first.finished()
        results = [await one.result() for one in waiting]
        assert {result.replay_of for result in results} == {paid["correlation_id"]}
        assert {result.correlation_id for result in results} == {
            one.request.correlation_id for one in waiting
        }
        assert {result.usage for result in results} == {Usage(fresh_input_tokens=1, output_tokens=1)}
        assert sides.api.received == []


async def test_one_whose_deadline_passes_leaves_the_others_waiting(home: Path, api: AnthropicServer) -> None:
    api.replies.append(Says("Once", hold_after=0))
    first = await sent(home, api)
    await api.holding.wait()
    async with two_sides(home) as sides:
        hasty = Asked(sides, "hi", force="api", idempotency_key="k", deadline_s=2)
        assert (await hasty.waiting()).reason == "first_answer"
        (patient,) = await waits_here(sides, 1)
        stopped = (await waits_here(sides, 1))[0]
        assert isinstance(await hasty.error(), DeadlineExceeded)
        await stopped.stop()
        api.released.set()
        await first.finished()
        assert (await patient.result()).replayed
