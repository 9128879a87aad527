"""The estimate of GPU memory: the sum, what it is read from, what would fit, and what is said to be unknown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.local.fit import FitQuestion, estimate
from core.local.model_facts import ModelFacts, facts_of, from_config, parameters_of_name

L4 = 24_152_000_000
QWEN = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "num_hidden_layers": 28,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
    "max_position_embeddings": 32768,
    "sliding_window": 131072,
    "use_sliding_window": False,
}


def facts(model: str) -> ModelFacts:
    return facts_of(model, ())


# -- what a model is made of ------------------------------------------------------------------------------------


def test_a_config_gives_the_parameters_of_a_family_that_is_known() -> None:
    read = from_config("Qwen/Qwen2.5-7B-Instruct", QWEN)
    assert read.parameters == pytest.approx(7_615_616_512, rel=0.001)
    assert (read.layers, read.kv_heads, read.head_dim, read.window_layers) == (28, 4, 128, 0)
    assert read.context_tokens == 32768


def test_an_experts_model_counts_all_that_is_loaded() -> None:
    mixtral = {
        "model_type": "mixtral",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_hidden_layers": 32,
        "num_local_experts": 8,
        "vocab_size": 32000,
        "tie_word_embeddings": False,
    }
    assert from_config("m", mixtral).parameters == pytest.approx(46_702_792_704, rel=0.001)


@pytest.mark.parametrize(
    ("quantization", "bits"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, 4.16),
        ({"quant_method": "gptq", "bits": 8, "group_size": 128}, 8),
        ({"quant_method": "fp8"}, 8),
        ({"quant_method": "mxfp4"}, 4.25),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 128}}},
            },
            4.16,
        ),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 4.16),
        ({"quant_method": 7, "bits": "many"}, 8),
        (None, 16),
    ],
)
def test_the_bits_of_a_weight_are_read_with_their_scales(quantization: Any, bits: float) -> None:
    assert from_config("m", QWEN | {"quantization_config": quantization}).bits == pytest.approx(bits)


def test_windows_latent_attention_and_other_states_are_told_apart() -> None:
    sliding = {
        "num_hidden_layers": 4,
        "sliding_window": 512,
        "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
    }
    assert from_config("m", sliding).window_layers == 3
    assert from_config("m", {"num_hidden_layers": 32, "sliding_window": 4096}).window_layers == 32
    mla = from_config("m", {"num_hidden_layers": 61, "kv_lora_rank": 512, "qk_rope_head_dim": 64})
    assert mla.mla_width == 576
    hybrid = from_config("m", {"layer_types": ["linear_attention"] * 3 + ["full_attention"]})
    assert (hybrid.has_other_state, hybrid.layers) == (True, 1)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("acme/Thing-90B-Instruct", 90e9),
        ("a/b-0.5b", 0.5e9),
        ("a/SmolLM-135M", 135e6),
        ("a/Mixtral-8x7B", 46.5e9),
        ("a/Model-30B-A3B", 30e9),
        ("a/model-v2", None),
        ("a/3bit", None),
        ("a/7bit-model", None),
    ],
)
def test_a_name_tells_the_parameters(name: str, parameters: float | None) -> None:
    assert parameters_of_name(name) == (None if parameters is None else pytest.approx(parameters, rel=0.01))


def test_what_is_on_disk_is_believed_first(tmp_path: Path) -> None:
    repository = tmp_path / "models--Qwen--Qwen2.5-7B-Instruct"
    snapshot = repository / "snapshots" / "abcdef0123"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abcdef0123")
    (snapshot / "config.json").write_text(json.dumps(QWEN))
    index = {"metadata": {"total_size": 15_231_233_024}, "weight_map": {}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    read = facts_of("Qwen/Qwen2.5-7B-Instruct", [tmp_path / "missing", tmp_path])
    assert (read.source, read.checkpoint_bytes) == ("config.json", 15_231_233_024)
    found = estimate(FitQuestion(facts=read, gpu_bytes=L4))
    assert found.weights_bytes == 15_231_233_024
    assert "config.json" in found.source


@pytest.mark.parametrize(
    "text", ["", "[]", "nonsense", '{"num_hidden_layers": "many"}', '{"text_config": 7}']
)
def test_a_config_that_is_none_costs_the_estimate_nothing(tmp_path: Path, text: str) -> None:
    snapshot = tmp_path / "models--Qwen--Qwen2.5-7B-Instruct" / "snapshots" / "x"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(text)
    assert facts_of("Qwen/Qwen2.5-7B-Instruct", [tmp_path]).parameters == 7_615_616_512


# -- the sum ------------------------------------------------------------------------------------------------------


def test_the_sum_is_said_with_its_numbers() -> None:
    found = estimate(FitQuestion(facts=facts("Qwen/Qwen2.5-7B-Instruct"), context_tokens=8192, gpu_bytes=L4))
    assert found.kv_cache_bytes == 2 * 28 * 4 * 128 * 2 * 8192
    assert found.weights_bytes == 7_615_616_512 * 2
    assert found.verdict == "fits"
    assert "2 x 28 layers x 4 heads x 128 x 2 bytes x 8,192 tokens" in found.formula
    assert "7.6 billion x 16 bits ÷ 8 = 14.2 GB" in found.formula
    assert "arXiv:2309.06180" in found.source
    assert "table" in found.source


def test_ninety_billion_at_four_bits_do_not_fit_an_l4() -> None:
    for name in ("acme/Thing-90B-AWQ", "meta-llama/Llama-3.2-90B-Vision-Instruct"):
        quantization = None if "AWQ" in name else "awq"
        found = estimate(
            FitQuestion(facts=facts(name), quantization=quantization, context_tokens=8192, gpu_bytes=L4)
        )
        assert found.verdict == "too_big"
        assert found.needed_bytes == pytest.approx(51e9, rel=0.06)


@pytest.mark.parametrize(
    ("share_of_gpu", "taken", "verdict"),
    [
        (0.84, 0.9, "fits"),
        (0.86, 0.9, "tight"),
        (0.99, 0.9, "tight"),
        (1.01, 0.9, "too_big"),
        (0.7, 0.6, "tight"),
    ],
)
def test_over_85_percent_or_over_the_share_that_vllm_takes_it_is_tight(
    share_of_gpu: float, taken: float, verdict: str
) -> None:
    question = FitQuestion(facts=facts("Qwen/Qwen2.5-7B-Instruct"), context_tokens=8192, gpu_bytes=L4)
    needed = estimate(question).needed_bytes
    assert needed is not None
    assert estimate(replace(question, gpu_bytes=round(needed / share_of_gpu), share=taken)).verdict == verdict


def test_what_is_not_known_is_said_and_never_zero() -> None:
    nothing = estimate(FitQuestion(facts=facts("acme/mystery"), gpu_bytes=L4))
    assert (nothing.verdict, nothing.needed_bytes, nothing.formula) == ("unknown", None, "")
    assert "is not known" in nothing.missing
    small = estimate(FitQuestion(facts=facts("acme/Thing-3B"), context_tokens=8192, gpu_bytes=L4))
    assert (small.verdict, small.kv_cache_bytes) == ("unknown", None)
    assert "at least" in small.formula
    no_gpu = estimate(FitQuestion(facts=facts("Qwen/Qwen2.5-7B-Instruct"), context_tokens=8192))
    assert no_gpu.verdict == "unknown"
    assert no_gpu.needed_bytes is not None


def test_each_option_would_fit() -> None:
    question = FitQuestion(
        facts=facts("Qwen/Qwen2.5-14B-Instruct"), context_tokens=16384, gpu_bytes=L4, machine_gpus=2
    )
    found = estimate(question)
    assert found.verdict == "too_big"
    options = {option.name: option for option in found.options}
    assert set(options) == {"quantization", "model", "tensor_parallel_size"}
    assert options["model"].value is None
    shared = options["tensor_parallel_size"]
    again = estimate(replace(question, gpus=int(str(shared.value))))
    assert (again.verdict, again.needed_bytes) == ("fits", shared.needed_bytes)


def test_fewer_at_once_is_offered_where_many_were_asked_for() -> None:
    question = FitQuestion(
        facts=facts("Qwen/Qwen2.5-7B-Instruct"), context_tokens=32768, concurrency=8, gpu_bytes=L4
    )
    assert estimate(question).options[0].name == "concurrency"


# -- what holds for every model -----------------------------------------------------------------------------------

SHAPES = st.builds(
    ModelFacts,
    model=st.just("a/b"),
    source=st.just("config.json"),
    parameters=st.none() | st.integers(1, 10**13),
    bits=st.none() | st.sampled_from([2.0, 4.16, 8.0, 16.0]),
    embedding_parameters=st.none() | st.integers(1, 10**11),
    layers=st.none() | st.integers(1, 300),
    kv_heads=st.none() | st.integers(1, 128),
    head_dim=st.none() | st.integers(1, 512),
    mla_width=st.none() | st.integers(1, 2048),
    window_layers=st.integers(0, 300),
    window_tokens=st.none() | st.integers(1, 10**6),
    has_other_state=st.booleans(),
    context_tokens=st.none() | st.integers(1, 10**7),
)
QUESTIONS = st.builds(
    FitQuestion,
    facts=SHAPES,
    quantization=st.none() | st.sampled_from(["fp8", "awq", "mxfp4", "humming"]),
    context_tokens=st.none() | st.integers(1, 10**7),
    concurrency=st.integers(1, 1000),
    cache_bytes=st.sampled_from([1, 2]),
    gpus=st.integers(1, 64),
    gpu_bytes=st.none() | st.integers(1, 10**12),
    machine_gpus=st.none() | st.integers(1, 16),
    share=st.floats(0.05, 1),
)


@given(QUESTIONS)
def test_no_part_is_negative_and_the_parts_make_the_sum(question: FitQuestion) -> None:
    found = estimate(question)
    parts = (found.weights_bytes, found.kv_cache_bytes, found.overhead_bytes)
    assert all(part is None or part >= 0 for part in parts)
    if found.needed_bytes is not None:
        assert found.needed_bytes == sum(part or 0 for part in parts)


@given(QUESTIONS)
def test_what_is_unknown_stays_unknown(question: FitQuestion) -> None:
    found = estimate(question)
    if question.facts.parameters is None or question.facts.bits is None:
        assert found.needed_bytes is None or question.quantization is not None
    if question.facts.layers is None or question.facts.has_other_state:
        assert found.kv_cache_bytes is None
        assert found.verdict in ("unknown", "too_big")
    if question.gpu_bytes is None:
        assert found.verdict == "unknown"
        assert found.options == ()


@given(QUESTIONS, st.integers(1, 10**6))
def test_more_of_anything_never_needs_less(question: FitQuestion, more: int) -> None:
    def needed(changed: FitQuestion) -> int:
        return estimate(changed).needed_bytes or 0

    before = needed(question)
    if question.context_tokens is not None:
        assert needed(replace(question, context_tokens=question.context_tokens + more)) >= before
    assert needed(replace(question, concurrency=question.concurrency + more % 100)) >= before
    if question.facts.parameters is not None:
        bigger = replace(question.facts, parameters=question.facts.parameters + more)
        assert needed(replace(question, facts=bigger)) >= before
    if question.facts.bits is not None and question.quantization is None:
        heavier = replace(question.facts, bits=question.facts.bits * 2)
        assert needed(replace(question, facts=heavier)) >= before


@given(QUESTIONS)
def test_every_option_that_names_a_value_fits(question: FitQuestion) -> None:
    found = estimate(question)
    for option in found.options:
        field = {
            "max_model_len": "context_tokens",
            "concurrency": "concurrency",
            "quantization": "quantization",
            "tensor_parallel_size": "gpus",
            "gpu_memory_utilization": "share",
        }.get(option.name)
        if field is not None and option.value is not None:
            changed: Any = {field: option.value}
            again = estimate(replace(question, **changed))
            assert (again.verdict, again.needed_bytes) == ("fits", option.needed_bytes)


def test_more_gpus_than_heads_keep_a_whole_head_each() -> None:
    question = FitQuestion(facts=facts("Qwen/Qwen2.5-7B-Instruct"), context_tokens=8192, gpus=8, gpu_bytes=L4)
    assert estimate(question).kv_cache_bytes == 2 * 28 * 1 * 128 * 2 * 8192


@given(QUESTIONS)
def test_a_gpu_more_needs_no_more_of_each_but_for_its_talk(question: FitQuestion) -> None:
    alone, shared = (estimate(replace(question, gpus=gpus)) for gpus in (2, 4))
    assert (shared.needed_bytes or 0) <= (alone.needed_bytes or 0)
