"""How fast a server works, of what its counters rose by: pages of vLLM and llama.cpp, counters that begin anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.local.gpu_sample import ServerFigures
from core.local.server_speed import LONGEST_GAP_S, WINDOW_S, SpeedMeter
from core.local.vllm_metrics import parse_page

LLAMA = (Path(__file__).parents[2] / "data" / "metrics" / "llama_cpp.txt").read_text(encoding="utf-8")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """vLLM with engines whose counters a test sets."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.meter = SpeedMeter(clock=self.clock)
        self.running = 1
        self.engines: dict[str, dict[str, float]] = {"0": {}}

    def page(self) -> str:
        lines: list[str] = []
        for engine, counters in self.engines.items():
            labels = f'{{engine="{engine}",model_name="llama"}}'
            lines += [
                f"vllm:num_requests_running{labels} {self.running}",
                f"vllm:num_requests_waiting{labels} 0",
                f"vllm:kv_cache_usage_perc{labels} 0.25",
                f'vllm:time_to_first_token_seconds_bucket{{engine="{engine}",le="+Inf"}} 7',
            ]
            lines += [f"vllm:{name}{labels} {value}" for name, value in counters.items()]
        return "\n".join(lines)

    def look(self, after_s: float = 2.0, **counters: float) -> ServerFigures:
        for name, value in counters.items():
            self.engines["0"][name] = value
        self.clock.now += after_s
        self.meter.seen(parse_page(self.page()))
        return self.meter.figures


@pytest.fixture
def vllm() -> Server:
    return Server()


def test_tokens_a_second_are_those_since_the_look_before(vllm: Server) -> None:
    first = vllm.look(generation_tokens_total=1000, prompt_tokens_total=9000)
    assert (first.running_requests, first.waiting_requests, first.kv_cache_percent) == (1, 0, 25)
    assert (first.generation_tokens_per_s, first.prompt_tokens_per_s) == (None, None)
    second = vllm.look(generation_tokens_total=1080, prompt_tokens_total=9000)
    assert (second.generation_tokens_per_s, second.prompt_tokens_per_s) == (40, 0)


def test_time_to_first_token_and_cache_hits_are_the_last_minutes(vllm: Server) -> None:
    name = "time_to_first_token_seconds"
    vllm.look(**{f"{name}_sum": 50, f"{name}_count": 10, "prefix_cache_hits_total": 5})
    assert vllm.look(prefix_cache_queries_total=100).ttft_ms is None, "nobody asked since"
    vllm.look(prefix_cache_queries_total=100)
    rose = vllm.look(
        **{
            f"{name}_sum": 50.5,
            f"{name}_count": 12,
            "prefix_cache_hits_total": 35,
            "prefix_cache_queries_total": 140,
        }
    )
    assert (rose.ttft_ms, rose.prefix_cache_hit_percent) == (250, 75)
    assert vllm.look(WINDOW_S).ttft_ms == 250
    late = vllm.look(1.0)
    assert (late.ttft_ms, late.prefix_cache_hit_percent) == (None, None)


def test_a_server_that_was_started_anew_counts_from_0(vllm: Server) -> None:
    vllm.look(generation_tokens_total=1_000_000)
    assert vllm.look(generation_tokens_total=60).generation_tokens_per_s == 30


def test_an_engine_that_is_new_or_goes_makes_no_peak(vllm: Server) -> None:
    vllm.engines["1"] = {"generation_tokens_total": 5_000_000}
    vllm.look(generation_tokens_total=1000)
    del vllm.engines["1"]
    assert vllm.look(generation_tokens_total=1020).generation_tokens_per_s == 10
    vllm.engines["1"] = {"generation_tokens_total": 5_000_000}
    assert vllm.look(generation_tokens_total=1040).generation_tokens_per_s == 10
    vllm.engines["1"] = {"generation_tokens_total": 5_000_100}
    assert vllm.look(generation_tokens_total=1040).generation_tokens_per_s == 50


def test_a_gap_and_a_clock_that_stands_say_nothing(vllm: Server) -> None:
    vllm.look(generation_tokens_total=0)
    assert vllm.look(LONGEST_GAP_S + 1, generation_tokens_total=900).generation_tokens_per_s is None
    assert vllm.look(0.0, generation_tokens_total=950).generation_tokens_per_s is None


def test_a_server_that_does_not_answer_has_no_figures(vllm: Server) -> None:
    vllm.look(generation_tokens_total=0)
    vllm.meter.seen(None)
    assert vllm.meter.figures == ServerFigures()
    assert vllm.look(generation_tokens_total=10).generation_tokens_per_s is None
    assert vllm.look(generation_tokens_total=30).generation_tokens_per_s == 10


def changed(page: str, **values: float) -> str:
    lines = page.splitlines()
    for name, value in values.items():
        lines = [
            f"llamacpp:{name} {value}" if line.startswith(f"llamacpp:{name} ") else line for line in lines
        ]
    return "\n".join(lines)


def test_llama_cpp_counts_an_answer_when_it_ends() -> None:
    clock = Clock()
    meter = SpeedMeter(clock=clock)

    def look(**values: float) -> ServerFigures:
        clock.now += 2
        meter.seen(parse_page(changed(LLAMA, **values)))
        return meter.figures

    begun = {"n_decode_total": 200, "prompt_tokens_total": 38, "prompt_seconds_total": 0.4}
    assert look(**begun).generation_tokens_per_s is None
    idle = look(**begun)
    assert (idle.generation_tokens_per_s, idle.prompt_tokens_per_s) == (0, 0)
    assert (idle.running_requests, idle.kv_cache_percent) == (0, None)
    read = {"requests_processing": 2, "prompt_tokens_total": 138, "prompt_seconds_total": 1.4}
    begun |= {**read, "prompt_tokens_cached_total": 300, "n_decode_total": 260}
    answering = look(**begun)
    assert answering.generation_tokens_per_s == 60, "two answers, a token each in 60 steps of 2 s"
    assert answering.prompt_tokens_per_s == pytest.approx(100)
    assert answering.prefix_cache_hit_percent == 75
    assert look(**begun).prompt_tokens_per_s is None, "another prompt may be read"
    begun |= {"requests_processing": 0}
    ended = look(**begun, tokens_predicted_total=500, tokens_predicted_seconds_total=17.19619)
    assert ended.generation_tokens_per_s == pytest.approx(30)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["generation_tokens_total", "prompt_tokens_total", "prefix_cache_hits_total"]),
            st.floats(0, 1e12),
        )
    )
)
def test_no_speed_is_negative(looks: list[dict[str, float]]) -> None:
    server = Server()
    for counters in looks:
        figures = server.look(**counters)
        for speed in (figures.generation_tokens_per_s, figures.prompt_tokens_per_s):
            assert speed is None or speed >= 0
        assert figures.prefix_cache_hit_percent is None or 0 <= figures.prefix_cache_hit_percent <= 100
