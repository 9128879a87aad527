"""The cache planner against a simulated cache with books: it pays, and it never costs more than a bound."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.chat import CacheMarks, CachePlan, Usage
from core.context.cache_memory import CachePrices, PrefixBoundary, minimum_cache_tokens
from core.context.caching import MOST_LOST_PROMPTS, PAID_BACK_SHARE, WRITING_S, CachePlanner
from tests.core.context.simulated_cache import SONNET, SimulatedCache, prompt

MODEL = "claude-sonnet-4-5"
MINIMUM = minimum_cache_tokens(MODEL)


@dataclass(frozen=True)
class Arrival:
    at_s: float
    boundaries: list[PrefixBoundary]
    in_loop: bool = False


@dataclass
class Ran:
    plans: list[CachePlan]
    usages: list[Usage]
    cache: SimulatedCache

    @property
    def share_of_uncached(self) -> float:
        return self.cache.spent_nanodollars / self.cache.uncached_nanodollars


def run(arrivals: Sequence[Arrival], *, ready_after_s: float = 0.0, settle: bool = True) -> Ran:
    """Send the requests in the order of time; each answer's usage is known ``ready_after_s`` later."""
    now_s = 0.0
    planner = CachePlanner(lambda: now_s)
    ran = Ran([], [], SimulatedCache(MINIMUM, ready_after_s=ready_after_s))
    answers: list[tuple[float, str, Usage]] = []
    for number, arrival in enumerate(sorted(arrivals, key=lambda arrival: arrival.at_s)):
        while answers and answers[0][0] <= arrival.at_s:
            now_s, key, usage = answers.pop(0)
            planner.settled(key, usage, SONNET)
        now_s = arrival.at_s
        plan = planner.plan(
            arrival.boundaries, model=MODEL, prices=SONNET, in_tool_loop=arrival.in_loop, key=str(number)
        )
        usage = ran.cache.bill(arrival.boundaries, plan.marks, now_s)
        if settle:
            answers.append((now_s + ready_after_s, str(number), usage))
        ran.plans.append(plan)
        ran.usages.append(usage)
    return ran


def chat(name: str, gaps_s: Sequence[float], *, question: int = 200, answer: int = 400) -> list[Arrival]:
    """A conversation under a system prompt of 3,000 tokens."""
    at_s = 0.0
    sizes: list[int] = []
    arrivals: list[Arrival] = []
    for gap_s in gaps_s:
        at_s += gap_s
        sizes.append(question)
        arrivals.append(Arrival(at_s, prompt(name, sizes, system=("chat", 3000))))
        sizes.append(answer)
    return arrivals


def agent(name: str, begins_s: float, calls: int, rng: random.Random) -> list[Arrival]:
    at_s = begins_s
    sizes = [800]
    arrivals = [Arrival(at_s, prompt(name, sizes, system=("agent", 6000)))]
    for _ in range(calls):
        at_s += rng.uniform(3, 20)
        sizes += [100, rng.randint(100, 3000)]
        arrivals.append(Arrival(at_s, prompt(name, sizes, system=("agent", 6000)), in_loop=True))
    return arrivals


def one_shots(count: int, every_s: float) -> list[Arrival]:
    """Different questions under one system prompt."""
    return [Arrival(every_s * n, prompt(f"q{n}", [300], system=("shared", 5000))) for n in range(count)]


# --- Decisions -----------------------------------------------------------------------------------------------


def test_nothing_is_marked_at_first_sight() -> None:
    (plan,) = run([Arrival(0.0, prompt("a", [50_000]))]).plans
    assert plan.marks is None
    assert plan.saving_nanodollars is None
    assert plan.reason == "seen for the first time, so nothing says that it comes again"


def test_a_tool_loop_is_marked_at_first_sight() -> None:
    (plan,) = run([Arrival(0.0, prompt("a", [2000, 100, 3000]), in_loop=True)]).plans
    assert plan.marks == CacheMarks(messages=(0, 2))
    assert plan.reason.startswith(
        "inside a tool loop, so the next call brings it again; saves about $0.0138 a use"
    )
    assert plan.saving_nanodollars is not None
    assert 0 < plan.saving_nanodollars < 13_770_000


def test_a_conversation_that_goes_on_is_marked_up_to_its_end() -> None:
    ran = run(chat("a", [40] * 4))
    assert [plan.marks for plan in ran.plans] == [
        None,
        CacheMarks(system=True, messages=(0, 2)),
        CacheMarks(system=True, messages=(2, 4)),
        CacheMarks(system=True, messages=(4, 6)),
    ]
    assert ran.plans[1].reason == "seen 2 times in the last 40 seconds; saves about $0.0103 a use"
    assert ran.plans[2].reason == (
        "seen 3 times in the last 80 seconds; saves about $0.0119 a use; about 3,800 tokens are cached already"
    )
    assert ran.usages[2] == Usage(cache_read_tokens=3800, cache_write_5m_tokens=600)


def test_a_shared_beginning_is_marked_alone() -> None:
    ran = run(one_shots(4, 60))
    assert [plan.marks for plan in ran.plans] == [None, *[CacheMarks(system=True)] * 3]
    assert ran.plans[3].reason.startswith(
        "its beginning was seen 4 times in the last 3 minutes; saves about $0.0135"
    )
    assert ran.usages[3] == Usage(fresh_input_tokens=300, cache_read_tokens=5000)


def test_what_other_conversations_share_is_marked_with_the_conversation() -> None:
    """The mark on the system prompt costs nothing more, and others can read up to it."""
    first = chat("a", [0, 30, 30])
    ran = run([*first, Arrival(70.0, prompt("b", [200], system=("chat", 3000)))])
    assert ran.usages[-1].cache_read_tokens == 3000


def test_another_branch_of_a_conversation_reads_what_both_have_in_common() -> None:
    sizes = [2000, 300, 200]
    ran = run(
        [
            Arrival(0.0, prompt("a", sizes[:1])),
            Arrival(30.0, prompt("a", sizes)),
            Arrival(60.0, prompt("a", [*sizes[:2], 999])),
        ]
    )
    assert ran.usages[-1].cache_read_tokens == 2000


@pytest.mark.parametrize(
    ("every_s", "lifetime"), [(60.0, "5m"), (290.0, "5m"), (600.0, "1h"), (3000.0, "1h")]
)
def test_the_lifetime_follows_the_intervals(every_s: float, lifetime: str) -> None:
    ran = run(chat("a", [every_s] * 8))
    marks = ran.plans[-1].marks
    assert marks is not None
    assert marks.lifetime == lifetime
    assert ran.share_of_uncached < 0.6
    if lifetime == "1h":
        assert "kept for an hour" in ran.plans[-1].reason
        assert all(plan.marks is None for plan in ran.plans[:2]), "two long intervals are asked for"


def test_intervals_longer_than_an_hour_are_not_cached() -> None:
    ran = run(chat("a", [4000] * 10))
    assert ran.cache.spent_nanodollars == ran.cache.uncached_nanodollars
    assert (
        ran.plans[-1].reason == "seen at least 9 times in the last 9 hours: too seldom for its cache to pay"
    )


def test_a_prompt_below_the_models_minimum_is_not_marked() -> None:
    ran = run([Arrival(10.0 * n, prompt("a", [MINIMUM - 1])) for n in range(5)])
    assert all(plan.marks is None for plan in ran.plans)
    assert ran.plans[0].reason == f"too short to cache: about 1,023 tokens, {MODEL} takes 1,024"


def test_an_unpriced_model_is_not_marked() -> None:
    plan = CachePlanner(lambda: 0.0).plan(
        prompt("a", [9000]), model="claude-new", prices=None, in_tool_loop=True
    )
    assert plan == CachePlan(
        marks=None,
        reason="the prices of claude-new's cache are not known",
        prefix_tokens=9000,
        saving_nanodollars=None,
    )


def test_where_reading_is_no_cheaper_nothing_is_marked() -> None:
    flat = CachePrices(fresh=1000, read=1000, write_5m=1250, write_1h=2000)
    planner = CachePlanner(lambda: 0.0)
    for _ in range(5):
        assert planner.plan(prompt("a", [9000]), model=MODEL, prices=flat, in_tool_loop=True).marks is None


def test_an_empty_request_is_no_error() -> None:
    assert CachePlanner(lambda: 0.0).plan([], model=MODEL, prices=SONNET).marks is None


def test_models_have_caches_of_their_own() -> None:
    planner = CachePlanner(lambda: 0.0)
    planner.plan(prompt("a", [9000]), model=MODEL, prices=SONNET)
    assert planner.plan(prompt("a", [9000]), model="claude-opus-5", prices=SONNET).marks is None
    assert planner.plan(prompt("a", [9000]), model=MODEL, prices=SONNET).marks is not None


def test_a_prefix_that_is_just_being_written_is_not_written_twice() -> None:
    """Requests at once: until the first answer begins, nobody can read what it writes."""
    burst = [Arrival(n * 0.05, prompt(f"q{n}", [300], system=("s", 8000))) for n in range(30)]
    ran = run(burst, ready_after_s=2.0)
    assert sum(usage.cache_write_5m_tokens > 0 for usage in ran.usages) == 1
    later = [Arrival(10 + n * 0.05, prompt(f"r{n}", [300], system=("s", 8000))) for n in range(30)]
    ran = run([*burst, *later], ready_after_s=2.0)
    assert all(usage.cache_read_tokens == 8000 for usage in ran.usages[30:])


def test_a_request_that_failed_wrote_nothing() -> None:
    now_s = 0.0
    planner = CachePlanner(lambda: now_s)
    boundaries = prompt("a", [9000])
    planner.plan(boundaries, model=MODEL, prices=SONNET)
    now_s = 1.0
    planner.plan(boundaries, model=MODEL, prices=SONNET, key="fails")
    planner.settled("fails", None, SONNET)
    now_s = WRITING_S + 2
    plan = planner.plan(boundaries, model=MODEL, prices=SONNET)
    assert plan.marks is not None
    assert "cached already" not in plan.reason


def test_a_request_that_went_elsewhere_leaves_what_was_warm() -> None:
    now_s = 0.0
    planner = CachePlanner(lambda: now_s)
    boundaries = prompt("a", [9000])
    written = Usage(fresh_input_tokens=0, cache_write_5m_tokens=9000)
    for key, usage in (("first", Usage(fresh_input_tokens=9000)), ("writes", written), ("local", None)):
        planner.plan(boundaries, model=MODEL, prices=SONNET, key=key)
        planner.settled(key, usage, SONNET)
        now_s += 60
    plan = planner.plan(boundaries, model=MODEL, prices=SONNET)
    assert plan.reason.endswith("about 9,000 tokens are cached already")


def test_a_server_without_a_cache_is_found_out() -> None:
    """A server on Anthropic's wire need not cache; then nothing is promised for a while."""
    now_s = 0.0
    planner = CachePlanner(lambda: now_s)
    for number in range(5):
        plan = planner.plan(prompt("a", [9000]), model=MODEL, prices=SONNET, key=str(number))
        planner.settled(str(number), Usage(fresh_input_tokens=9000), SONNET)
        now_s += 20
    assert plan.marks is None
    assert plan.reason == f"the server reports no cache for {MODEL}"
    now_s += 3600
    for _ in range(2):
        plan = planner.plan(prompt("a", [9000]), model=MODEL, prices=SONNET)
        now_s += 20
    assert plan.marks is not None, "it is asked again"


def test_memory_is_bounded() -> None:
    now_s = 0.0
    planner = CachePlanner(lambda: now_s, max_prefixes=100)
    for number in range(1000):
        planner.plan(prompt(f"q{number}", [2000, 300, 2000]), model=MODEL, prices=SONNET, key=str(number))
        now_s += 1
    assert len(planner._memory) == 100


# --- What it costs -------------------------------------------------------------------------------------------


def test_chats_and_agents_cost_clearly_less() -> None:
    rng = random.Random(7)
    exponential = [rng.expovariate(1 / 120) for _ in range(30)]
    assert run(chat("a", [40] * 15)).share_of_uncached < 0.3
    assert run(chat("a", exponential)).share_of_uncached < 0.5
    assert run(agent("a", 0, 25, rng)).share_of_uncached < 0.25
    assert run([a for n in range(8) for a in agent(f"a{n}", n * 4000, 25, rng)]).share_of_uncached < 0.25
    assert run(one_shots(50, 60)).share_of_uncached < 0.25
    assert run(one_shots(50, 1200)).share_of_uncached < 0.3


def test_twenty_chats_at_once_share_their_system_prompt() -> None:
    arrivals = [Arrival(a.at_s + n * 7, a.boundaries) for n in range(20) for a in chat(f"chat {n}", [60] * 6)]
    assert run(arrivals, ready_after_s=1.5).share_of_uncached < 0.35


def allowed_nanodollars(cache: SimulatedCache) -> float:
    """What the planner promises: no caching, 1 % of it, and the input of two prompts."""
    return (
        cache.uncached_nanodollars * (1 + 1 / PAID_BACK_SHARE) + MOST_LOST_PROMPTS * cache.largest_nanodollars
    )


def test_prompts_that_come_twice_and_never_again_cost_no_more_than_the_bound() -> None:
    """The worst traffic there is: whatever is written because it was seen again is never read."""
    arrivals = [Arrival(60.0 * n + 20 * k, prompt(f"q{n}", [5000])) for n in range(300) for k in range(2)]
    ran = run(arrivals)
    assert ran.cache.spent_nanodollars > ran.cache.uncached_nanodollars, "it was tempted"
    assert ran.cache.spent_nanodollars <= allowed_nanodollars(ran.cache)


arrivals_of_anything = st.lists(
    st.tuples(
        st.floats(0.5, 5000.0),  # seconds since the one before
        st.integers(0, 3),  # which conversation
        st.integers(1, 6),  # how many turns of it
        st.integers(0, 5),  # a last turn of its own
        st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(steps=arrivals_of_anything, sizes=st.lists(st.integers(50, 20_000), min_size=7, max_size=7))
def test_any_traffic_costs_at_most_the_bound_more(
    steps: list[tuple[float, int, int, int, bool]], sizes: list[int]
) -> None:
    at_s = 0.0
    arrivals: list[Arrival] = []
    for gap_s, name, turns, last, in_loop in steps:
        at_s += gap_s
        boundaries = prompt(f"talk {name}", [*sizes[:turns], 100 + last], system=("s", sizes[6]))
        arrivals.append(Arrival(at_s, boundaries, in_loop))
    ran = run(arrivals)
    assert ran.cache.spent_nanodollars <= allowed_nanodollars(ran.cache)


@pytest.mark.parametrize("seed", range(12))
def test_random_mixes_of_traffic(seed: int) -> None:
    """Chats, agents, one-shots and noise with random rhythms: never above the bound, and below it in sum."""
    rng = random.Random(seed)
    arrivals: list[Arrival] = []
    for number in range(rng.randint(5, 30)):
        begins_s = rng.uniform(0, 20_000)
        kind = rng.choice(("chat", "agent", "noise", "slow"))
        if kind == "agent":
            arrivals += agent(f"{number}", begins_s, rng.randint(1, 20), rng)
        elif kind == "noise":
            arrivals.append(Arrival(begins_s, prompt(f"noise {number}", [rng.randint(100, 30_000)])))
        else:
            mean_s = 90 if kind == "chat" else 900
            gaps = [rng.expovariate(1 / mean_s) for _ in range(rng.randint(1, 15))]
            arrivals += [Arrival(begins_s + a.at_s, a.boundaries) for a in chat(f"{number}", gaps)]
    ran = run(arrivals, ready_after_s=0.2)
    assert ran.cache.spent_nanodollars <= allowed_nanodollars(ran.cache)
    assert ran.share_of_uncached < 0.8


def test_without_settlements_the_planner_still_saves() -> None:
    assert run(chat("a", [40] * 15), settle=False).share_of_uncached < 0.3
