"""The local server's line: in order, bounded, and without a trace of those who go."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import QueueFull
from core.local.vllm_metrics import ServerLoad
from core.routing.local_queue import LOAD_KEPT_S, LocalQueue, Slot
from tests.support.virtual_time import StandsStill, now, run, settle


def line(max_concurrent: int | None = 1, max_waiting: int = 64) -> LocalQueue:
    queue = LocalQueue(now)
    queue.configure(max_concurrent, max_waiting)
    return queue


def load(running: int, waiting: int = 0) -> ServerLoad:
    return ServerLoad(running=running, waiting=waiting)


def test_without_a_bound_everybody_goes_at_once() -> None:
    async def main() -> None:
        queue = line(None)
        for _ in range(100):
            await queue.enter(0)
        state = queue.state()
        assert (state.running, state.waiting, state.max_concurrent) == (100, 0, None)
        assert (state.expected_wait_s, state.busy, state.full) == (0.0, False, False)

    run(main())


def test_first_come_first_served() -> None:
    async def main() -> None:
        queue = line(2)
        order: list[int] = []

        async def one(number: int) -> None:
            slot = await queue.enter(None)
            order.append(number)
            await asyncio.sleep(1)
            slot.leave(1.0)

        await asyncio.gather(*(one(number) for number in range(9)))
        assert order == list(range(9))
        assert now() == pytest.approx(1005)  # two at a time
        assert queue.state().running == 0

    run(main())


def test_nobody_overtakes_those_who_wait() -> None:
    async def main() -> None:
        queue = line(1)
        first = await queue.enter(None)
        second = asyncio.create_task(queue.enter(None))
        await settle()
        first.leave()
        # The place belongs to the second, although it has not run yet.
        with pytest.raises(TimeoutError):
            await queue.enter(0)
        (await second).leave()
        assert queue.state().running == 0

    run(main())


def test_a_full_line_refuses_at_once_and_says_how_many_wait() -> None:
    async def main() -> None:
        queue = line(1, max_waiting=2)
        await queue.enter(None)
        waiting = [asyncio.create_task(queue.enter(None)) for _ in range(2)]
        await settle()
        assert queue.state().full
        with pytest.raises(QueueFull, match="2 requests wait for it already"):
            await queue.enter(None)
        assert now() == 1000
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        assert not queue.state().full

    run(main())


def test_a_line_of_no_length_refuses_whoever_would_wait() -> None:
    async def main() -> None:
        queue = line(1, max_waiting=0)
        slot = await queue.enter(None)
        with pytest.raises(QueueFull, match="no request may wait"):
            await queue.enter(None)
        slot.leave()
        await queue.enter(None)

    run(main())


def test_a_wait_ends_in_time_and_leaves_no_trace() -> None:
    async def main() -> None:
        queue = line(1)
        slot = await queue.enter(None)
        with pytest.raises(TimeoutError):
            await queue.enter(10)
        assert now() == pytest.approx(1010)
        assert queue.state().waiting == 0
        slot.leave()
        assert queue.state().running == 0

    run(main())


def test_the_wait_is_told() -> None:
    async def main() -> None:
        queue = line(1)
        slot = await queue.enter(None)
        waiting = asyncio.create_task(queue.enter(None))
        await asyncio.sleep(7)
        slot.leave()
        assert slot.waited_s == 0.0
        assert (await waiting).waited_s == pytest.approx(7)

    run(main())


def test_leaving_twice_is_leaving_once() -> None:
    async def main() -> None:
        queue = line(1)
        slot = await queue.enter(None)
        slot.leave(1.0)
        slot.leave(1.0)
        await queue.enter(0)
        with pytest.raises(TimeoutError):
            await queue.enter(0)

    run(main())


def test_cancelled_in_the_moment_its_turn_comes_the_place_goes_to_the_next() -> None:
    async def main() -> None:
        queue = line(1)
        slot = await queue.enter(None)
        second, third = (asyncio.create_task(queue.enter(None)) for _ in range(2))
        await settle()
        slot.leave()  # the second has the place now, and has not run yet
        second.cancel()
        await settle()
        assert second.cancelled()
        (await third).leave()
        assert queue.state().running == 0

    run(main())


def test_cancelled_just_before_its_turn_comes() -> None:
    async def main() -> None:
        queue = line(1)
        slot = await queue.enter(None)
        second, third = (asyncio.create_task(queue.enter(None)) for _ in range(2))
        await settle()
        second.cancel()
        slot.leave()
        await settle()
        assert second.cancelled()
        (await third).leave()
        assert (queue.state().running, queue.state().waiting) == (0, 0)

    run(main())


def test_a_larger_bound_lets_the_waiting_ones_in_and_a_smaller_one_throws_nobody_out() -> None:
    async def main() -> None:
        queue = line(1)
        slots = [await queue.enter(None)]
        waiting = [asyncio.create_task(queue.enter(None)) for _ in range(3)]
        await settle()
        queue.configure(3, 64)
        await settle()
        assert [task.done() for task in waiting] == [True, True, False]
        slots += [await task for task in waiting[:2]]
        queue.configure(1, 64)
        slots[0].leave()
        slots[1].leave()
        await settle()
        assert not waiting[2].done()
        slots[2].leave()
        (await waiting[2]).leave()

    run(main())


# -- how long it would take ----------------------------------------------------------------------------------


async def taught(queue: LocalQueue, *service_s: float) -> None:
    for seconds in service_s:
        (await queue.enter(None)).leave(seconds)


def test_the_wait_is_unknown_until_an_answer_has_taught_it() -> None:
    async def main() -> None:
        queue = line(1)
        slot = await queue.enter(None)
        assert queue.state().expected_wait_s is None
        assert queue.state().busy
        slot.leave(4.0)
        assert queue.state().expected_wait_s == 0.0
        await queue.enter(None)
        assert queue.state().expected_wait_s == pytest.approx(4.0)

    run(main())


def test_the_expected_wait_counts_those_ahead_and_the_places() -> None:
    async def main() -> None:
        queue = line(2)
        await taught(queue, 6.0)
        for _ in range(2):
            await queue.enter(None)
        waiting = [asyncio.create_task(queue.enter(None)) for _ in range(3)]
        await settle()
        assert queue.state().expected_wait_s == pytest.approx(6.0 * 4 / 2)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)

    run(main())


def test_the_service_time_follows_what_is_measured() -> None:
    async def main() -> None:
        queue = line(1)
        await taught(queue, 1.0, *[11.0] * 10)
        await queue.enter(None)
        expected_s = queue.state().expected_wait_s
        assert expected_s is not None
        assert 9.5 < expected_s < 10.0  # 1 + 10 x (1 - 0.8^10)

    run(main())


def test_failed_and_odd_service_times_teach_nothing() -> None:
    async def main() -> None:
        queue = line(1)
        for odd in (None, -1.0, float("nan"), float("inf")):
            (await queue.enter(None)).leave(odd)
        await queue.enter(None)
        assert queue.state().expected_wait_s is None

    run(main())


# -- what the server says of itself --------------------------------------------------------------------------


def test_others_that_fill_the_server_make_it_busy() -> None:
    async def main() -> None:
        queue = line(None)
        await taught(queue, 5.0)
        queue.observe(load(running=4, waiting=3))
        state = queue.state()
        assert state.busy
        assert state.expected_wait_s == pytest.approx(5.0 * 4 / 4)
        assert state.server == load(4, 3)
        with pytest.raises(TimeoutError):
            await queue.enter(10)
        assert now() == pytest.approx(1010)

    run(main())


def test_others_take_places_of_a_server_whose_number_is_known() -> None:
    async def main() -> None:
        queue = line(4)
        await queue.enter(None)
        queue.observe(load(running=3))  # one of them is ours
        assert queue.state().max_concurrent == 2
        await queue.enter(0)
        with pytest.raises(TimeoutError):
            await queue.enter(0)
        queue.observe(load(running=4))
        assert queue.state().busy

    run(main())


def test_a_line_at_the_server_of_our_own_requests_holds_the_next_ones_back() -> None:
    async def main() -> None:
        queue = line(None)
        slots = [await queue.enter(None) for _ in range(10)]
        queue.observe(load(running=8, waiting=2))
        assert queue.state().max_concurrent == 8
        next_one = asyncio.create_task(queue.enter(60))
        await settle()
        slots[0].leave(1.0)
        slots[1].leave(1.0)
        await settle()
        assert not next_one.done()  # eight are there, and it takes eight
        slots[2].leave(1.0)
        await next_one

    run(main())


def test_when_the_line_at_the_server_is_gone_more_are_let_in_step_by_step() -> None:
    async def main() -> None:
        queue = line(None)
        for _ in range(8):
            await queue.enter(None)
        queue.observe(load(running=8, waiting=1))
        waiting = [asyncio.create_task(queue.enter(None)) for _ in range(5)]
        await settle()
        queue.observe(load(running=8))
        await settle()
        assert queue.state().running == 9  # an eighth more, not all five
        queue.observe(load(running=9))
        await settle()
        assert queue.state().running == 10
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)

    run(main())


def test_a_request_that_can_go_nowhere_else_is_not_held_back_for_ever() -> None:
    """Others may keep the server full for hours: then one of ours stands in the server's own line."""

    async def main() -> None:
        queue = line(None)
        queue.observe(load(running=4, waiting=9))
        slot = await queue.enter(None)
        second = asyncio.create_task(queue.enter(None))
        await settle()
        assert not second.done()
        slot.leave(3.0)
        await second

    run(main())


def test_behind_one_who_gives_up_stands_one_who_may_go() -> None:
    async def main() -> None:
        queue = line(None)
        queue.observe(load(running=4, waiting=9))
        bounded = asyncio.create_task(queue.enter(10))
        patient = asyncio.create_task(queue.enter(None))
        await settle()
        assert not patient.done()
        await asyncio.wait([bounded])
        assert isinstance(bounded.exception(), TimeoutError)
        assert (await patient).waited_s == pytest.approx(10)

    run(main())


def test_an_old_load_says_nothing() -> None:
    async def main() -> None:
        queue = line(None)
        queue.observe(load(running=4, waiting=9))
        await asyncio.sleep(LOAD_KEPT_S + 1)
        assert not queue.state().busy
        assert queue.state().server is None
        await queue.enter(0)

    run(main())


def test_a_server_that_stops_telling_lets_the_waiting_ones_go() -> None:
    async def main() -> None:
        queue = line(None)
        queue.observe(load(running=4, waiting=9))
        waiting = asyncio.create_task(queue.enter(60))
        await settle()
        queue.observe(None)
        await waiting
        assert now() == 1000

    run(main())


def test_the_same_look_counted_twice_is_counted_once() -> None:
    async def main() -> None:
        queue = line(4)
        slots = [await queue.enter(None) for _ in range(3)]
        seen = load(running=3)
        queue.observe(seen)
        for slot in slots:
            slot.leave()
        queue.observe(seen)  # those three were ours, and are gone
        assert queue.state().max_concurrent == 4

    run(main())


# -- any order of events -------------------------------------------------------------------------------------


@dataclass
class World:
    """A line under test and what the test itself knows of it."""

    queue: LocalQueue
    arrived: list[int] = field(default_factory=list)
    served: list[int] = field(default_factory=list)
    inside: dict[int, Slot] = field(default_factory=dict)
    tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)

    async def come(self, number: int, max_wait_s: float | None) -> None:
        try:
            slot = await self.queue.enter(max_wait_s)
        except (TimeoutError, QueueFull):
            return
        self.served.append(number)
        self.inside[number] = slot

    def agrees(self, bound: int | None, max_waiting: int) -> None:
        state = self.queue.state()
        assert state.running >= len(self.inside)
        assert state.waiting <= max_waiting
        if bound is not None:
            assert state.running <= bound, "more places were granted than there are"
        assert state.expected_wait_s is None or state.expected_wait_s >= 0


STEPS = st.one_of(
    st.tuples(st.just("come"), st.sampled_from([None, 0.0, 1.0, 5.0])),
    st.tuples(st.just("leave"), st.integers(0, 9)),
    st.tuples(st.just("leave and cancel"), st.integers(0, 9)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0, 5.0])),
    st.tuples(st.just("look"), st.tuples(st.integers(0, 5), st.integers(0, 3))),
    st.tuples(st.just("see nothing"), st.just(None)),
)


@settings(max_examples=300, deadline=None)
@given(bound=st.one_of(st.none(), st.integers(1, 3)), max_waiting=st.integers(0, 4), steps=st.lists(STEPS))
def test_no_place_is_lost_or_granted_twice_and_all_are_served_in_order(
    bound: int | None, max_waiting: int, steps: list[tuple[str, object]]
) -> None:
    async def main() -> None:
        world = World(line(bound, max_waiting))
        for number, (what, how) in enumerate(steps):
            match what, how:
                case "come", float() | None as max_wait_s:
                    world.tasks[number] = asyncio.create_task(world.come(number, max_wait_s))
                case "leave" | "leave and cancel", int(which) if world.inside:
                    world.inside.pop(list(world.inside)[which % len(world.inside)]).leave(1.0)
                    pending = [task for task in world.tasks.values() if not task.done()]
                    if what == "leave and cancel" and pending:
                        pending[which % len(pending)].cancel()  # before whoever got the place could run
                case "cancel", int(which) if world.tasks:
                    list(world.tasks.values())[which % len(world.tasks)].cancel()
                case "wait", float(seconds):
                    await asyncio.sleep(seconds)
                case "look", (int(running), int(waiting)):
                    world.queue.observe(load(running, waiting))
                case "see nothing", _:
                    world.queue.observe(None)
                case _:
                    pass
            await settle()
            world.agrees(bound, max_waiting)
        assert world.served == sorted(world.served), "somebody was overtaken"
        # Everybody who is left gets a place as soon as others leave, and then nothing is left of anybody.
        while world.inside or not all(task.done() for task in world.tasks.values()):
            for slot in list(world.inside.values()):
                slot.leave(1.0)
            world.inside.clear()
            await asyncio.sleep(1)
        world.queue.observe(None)
        state = world.queue.state()
        assert (state.running, state.waiting, state.busy) == (0, 0, False)

    run(main())


# -- what those in line are told ---------------------------------------------------------------------------------


class Told:
    """What one request hears: when, how many are ahead, and the expected wait in seconds."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, int, float | None]] = []

    def __call__(self, ahead: int, expected_s: float | None) -> None:
        self.heard.append((now() - 1000, ahead, expected_s))

    @property
    def places(self) -> list[int]:
        return [ahead for _, ahead, _ in self.heard]


def test_who_is_sent_at_once_hears_nothing() -> None:
    async def main() -> None:
        queue, told = line(1), Told()
        await queue.enter(None, told)
        assert told.heard == []

    run(main())


def test_each_change_of_the_place_is_told_with_the_estimate_of_that_moment() -> None:
    async def main() -> None:
        queue, told = line(1), Told()
        (await queue.enter(None)).leave(10.0)
        slots = [await queue.enter(None)]
        crowd = [asyncio.create_task(queue.enter(None)) for _ in range(2)]
        await settle()
        last = asyncio.create_task(queue.enter(None, told))
        await settle()
        assert told.heard == [(0, 2, 30.0)]
        for waiting in crowd:
            await asyncio.sleep(10)
            slots.pop().leave(10.0)
            slots.append(await waiting)
        await asyncio.sleep(10)
        slots.pop().leave(10.0)
        await last
        assert told.heard == [(0, 2, 30.0), (10, 1, 20.0), (20, 0, 10.0)]

    run(main())


def test_a_place_is_told_once_however_fast_the_line_moves() -> None:
    async def main() -> None:
        queue, told = line(1), Told()
        (await queue.enter(None)).leave(0.1)
        slot = await queue.enter(None)
        crowd = [asyncio.create_task(queue.enter(None)) for _ in range(40)]
        await settle()
        last = asyncio.create_task(queue.enter(None, told))
        for waiting in crowd:
            await asyncio.sleep(0.1)
            slot.leave(0.1)
            slot = await waiting
        slot.leave(0.1)
        await last
        assert told.places == list(range(40, -1, -1))
        assert told.heard[0] == (0, 40, pytest.approx(4.1))

    run(main())


def test_a_line_that_stands_still_costs_nothing() -> None:
    """No timer runs: the loop has nothing left that could ever happen."""

    async def main() -> None:
        queue = line(1)
        (await queue.enter(None)).leave(1.0)
        await queue.enter(None)
        waiting = asyncio.create_task(queue.enter(None, Told()))
        await settle()
        await waiting

    with pytest.raises(StandsStill):
        run(main())


def test_a_load_that_changes_the_estimate_alone_is_no_news() -> None:
    """Whoever waits counts down by itself; the next one that moves up hears the new estimate."""

    async def main() -> None:
        queue, told = line(2), Told()
        (await queue.enter(None)).leave(4.0)
        slots = [await queue.enter(None) for _ in range(2)]
        first = asyncio.create_task(queue.enter(None))
        await settle()
        second = asyncio.create_task(queue.enter(None, told))
        await settle()
        await asyncio.sleep(2)
        queue.observe(load(running=2, waiting=6))
        await settle()
        assert told.heard == [(0, 1, 4.0)]
        queue.observe(load(running=2, waiting=0))
        slots.pop().leave(4.0)
        await first
        assert told.places == [1, 0]
        second.cancel()
        await asyncio.wait([second])

    run(main())


def test_who_gives_up_brings_the_others_forward_and_is_told_nothing_more() -> None:
    async def main() -> None:
        queue, gone, stays = line(1), Told(), Told()
        await queue.enter(None)
        first = asyncio.create_task(queue.enter(None, gone))
        await settle()
        second = asyncio.create_task(queue.enter(None, stays))
        await settle()
        first.cancel()
        await asyncio.sleep(5)
        assert (gone.places, stays.places) == ([0], [1, 0])
        second.cancel()
        await asyncio.wait([first, second])

    run(main())


def test_a_listener_that_fails_hurts_nobody() -> None:
    async def main() -> None:
        queue = line(1)

        def broken(ahead: int, expected_s: float | None) -> None:
            raise ValueError("broken")

        slot = await queue.enter(None)
        crowd = [asyncio.create_task(queue.enter(None, broken)) for _ in range(3)]
        await settle()
        for waiting in crowd:
            await asyncio.sleep(2)
            slot.leave(1.0)
            slot = await waiting
        slot.leave(1.0)
        assert queue.state().running == 0

    run(main())
