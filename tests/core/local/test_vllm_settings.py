"""The vLLM form: what each field may be, what it makes of a command line, and the file that keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from core.local.vllm_override import (
    BaseService,
    difference,
    new_override,
    read_override,
    write_override,
)
from core.local.vllm_settings import (
    QUANTIZATIONS,
    TOOL_PARSERS,
    VllmSettings,
    changed_command,
    faults_of,
    override_path,
    settings_of,
    tag_of,
    tool_parser_of,
    with_tag,
)
from core.settings.left_aside import left_aside
from tests.support.docker_stub import COMMAND

BASE = BaseService(
    name="vllm",
    image="vllm/vllm-openai:v0.32.0",
    command=COMMAND,
    gpu_devices=({"driver": "nvidia", "count": 1, "capabilities": ["gpu"]},),
)
FULL = VllmSettings(
    model="meta-llama/Llama-3.1-70B-Instruct",
    served_model_name="llama",
    quantization="fp8",
    max_model_len=16384,
    gpu_memory_utilization=0.85,
    tensor_parallel_size=2,
    tool_call_parser="llama3_json",
    extra_args=("--kv-cache-dtype", "fp8", '--hf-overrides={"a": "$HOME ${x"}'),
    image_tag="v0.32.1",
)


# -- what each field may be -------------------------------------------------------------------------------------


def test_what_is_right_has_no_fault() -> None:
    assert faults_of(VllmSettings()) == ()
    assert faults_of(FULL) == ()
    assert faults_of(VllmSettings(model="/models/mine", image_tag="nightly", quantization="newest")) == ()
    assert faults_of(VllmSettings(model="gpt2", extra_args=("--seed", "-1"))) == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("model", value)
            for value in ("", " ", "a b/c", "../x", "~/m", "C:\\m", "-x/y", "a/b/c", "x.gguf", 7)
        ),
        *(("model", value) for value in ("owner/repo:Q4_K_M", "https://huggingface.co/a/b", "a/b\n")),
        *(("served_model_name", value) for value in ("", "a b", "-x", "x" * 201, 7)),
        *(("quantization", value) for value in ("q4", "", "AWQ", "awq --model x", 4)),
        *(("max_model_len", value) for value in (0, -1, 10_000_001, 8192.0, True, "8192")),
        *(
            ("gpu_memory_utilization", value)
            for value in (0, 0.04, 1.01, float("nan"), float("inf"), True, "0.9")
        ),
        *(("tensor_parallel_size", value) for value in (0, 65, True, 1.5)),
        *(("tool_call_parser", value) for value in ("none", "", "hermes\n")),
        *(
            ("image_tag", value)
            for value in ("", "a b", "-x", "x" * 129, "v1;rm", "a/b", "x\n", "latest@sha256")
        ),
    ],
)
def test_what_is_wrong_is_told_by_field(field: str, value: Any) -> None:
    wanted: dict[str, Any] = {field: value}
    (fault,) = faults_of(VllmSettings(**wanted))
    assert fault.name == field
    assert fault.message.endswith(".")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "x"), "field of its own"),
        (("--max_model_len=5",), "field of its own"),
        (("-tp", "2"), "field of its own"),
        (("--device-memory-utilization", "0.5"), "field of its own"),
        (("--port", "9000"), "compose file"),
        (("--host=0.0.0.0",), "compose file"),
        (("--hf-token", "x"), "keys set huggingface"),
        (("--hf_token=x",), "keys set huggingface"),
        (("--hf-tok", "x"), "keys set huggingface"),
        (("--api-key", "x"), "keys set huggingface"),
        (("--seed", "hf_abcdefghijklmnop"), "keys set huggingface"),
        (("--x=hf_abcdefghijklmnop",), "keys set huggingface"),
        (("--dtype half",), "two arguments"),
        (("half",), "belongs to no argument"),
        (("--a", ""), "empty"),
        (("--a", "x\ny"), "can't be printed"),
        (("--a",) * 101, "At most"),
        (["--a"], "one argument each"),
    ],
)
def test_extra_arguments_leave_to_others_what_is_theirs(words: Any, said: str) -> None:
    (fault,) = faults_of(VllmSettings(extra_args=words))
    assert said in fault.message
    assert "hf_abc" not in fault.message


@pytest.mark.parametrize(
    ("model", "parser"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "hermes"),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3_coder"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama3_json"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama4_pythonic"),
        ("NousResearch/Hermes-3-Llama-3.1-8B", "hermes"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral"),
        ("openai/gpt-oss-20b", "openai"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "hermes"),
        ("ibm-granite/granite-3.3-8b-instruct", "granite"),
        ("acme/thing", None),
    ],
)
def test_the_parser_of_tool_calls_belongs_to_the_family(model: str, parser: str | None) -> None:
    assert tool_parser_of(model) == parser
    assert parser is None or parser in TOOL_PARSERS


# -- the command line -------------------------------------------------------------------------------------------


def test_a_command_line_is_read_back() -> None:
    read = settings_of(COMMAND, BASE.image)
    assert read.model == read.served_model_name == "Qwen/Qwen2.5-7B-Instruct"
    assert (read.max_model_len, read.gpu_memory_utilization, read.tensor_parallel_size) == (8192, 0.9, 1)
    assert (read.tool_call_parser, read.image_tag) == ("hermes", "v0.32.0")
    assert read.extra_args == ("--enable-auto-tool-choice",)
    read = settings_of(["a/b", "--max_model_len=16k", "-q", "awq", "--served-model-name", "x", "y"])
    assert (read.model, read.max_model_len, read.quantization) == ("a/b", 16000, "awq")
    assert read.served_model_name == "x"


def test_what_is_not_set_stays_as_the_compose_file_says() -> None:
    assert changed_command(COMMAND, VllmSettings()) == list(COMMAND)
    changed = changed_command(COMMAND, VllmSettings(max_model_len=4096))
    assert [a for a, b in zip(changed, COMMAND, strict=True) if a != b] == ["4096"]


def test_another_model_brings_its_name_and_its_parser() -> None:
    read = settings_of(changed_command(COMMAND, VllmSettings(model="mistralai/Mistral-7B-Instruct-v0.3")))
    assert read.served_model_name == "mistralai/Mistral-7B-Instruct-v0.3"
    assert read.tool_call_parser == "mistral"
    own_name = ("--model", "a/b", "--served-model-name", "mine")
    assert settings_of(changed_command(own_name, VllmSettings(model="c/d"))).served_model_name == "mine"


def test_a_positional_model_and_an_extra_argument_replace_what_was_there() -> None:
    assert changed_command(["a/b", "--seed", "1"], VllmSettings(model="c/d", extra_args=("--seed", "2")))[
        :1
    ] == ["c/d"]
    changed = changed_command(["--seed", "1", "--x"], VllmSettings(extra_args=("--seed", "2")))
    assert changed == ["--x", "--seed", "2"]


@given(
    st.builds(
        VllmSettings,
        model=st.none() | st.sampled_from(["a/b", "/models/x", "Qwen/Qwen3-8B"]),
        served_model_name=st.none() | st.from_regex(r"[a-z][a-z0-9.]{0,8}", fullmatch=True),
        quantization=st.none() | st.sampled_from(QUANTIZATIONS),
        max_model_len=st.none() | st.integers(1, 10_000_000),
        gpu_memory_utilization=st.none() | st.integers(5, 100).map(lambda percent: percent / 100),
        tensor_parallel_size=st.none() | st.integers(1, 64),
        tool_call_parser=st.none() | st.sampled_from(TOOL_PARSERS),
        image_tag=st.none() | st.just("v0.32.9"),
    )
)
def test_what_is_set_is_what_the_container_gets(wanted: VllmSettings) -> None:
    assert faults_of(wanted) == ()
    got = settings_of(changed_command(COMMAND, wanted), with_tag(BASE.image, wanted.image_tag or "v1"))
    for name in VllmSettings.__dataclass_fields__:
        value = getattr(wanted, name)
        if value not in (None, ()):
            assert getattr(got, name) == value


def test_an_image_takes_another_tag() -> None:
    assert with_tag("vllm/vllm-openai:v0.32.0", "v1") == "vllm/vllm-openai:v1"
    assert with_tag("host:5000/vllm", "v1") == "host:5000/vllm:v1"
    assert with_tag("a/b:x@sha256:0123", "v1") == "a/b:v1"
    assert tag_of("host:5000/vllm") is None


# -- the file ---------------------------------------------------------------------------------------------------


def _yaml_with_tags(text: str) -> Any:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!override", lambda loader, node: loader.construct_sequence(node, deep=True))  # type: ignore[arg-type]
    return yaml.load(text, Loader)


def test_the_file_is_yaml_and_reads_back_as_it_was(home: Path) -> None:
    text = new_override(BASE, FULL)
    write_override(home, text)
    kept = read_override(home)
    assert (kept.state, kept.settings, kept.text) == ("ours", FULL, text)
    service = _yaml_with_tags(text)["services"]["vllm"]
    assert service["image"] == "vllm/vllm-openai:v0.32.1"
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["count"] == 2
    assert '--hf-overrides={"a": "$$HOME $${x"}' in service["command"], "Compose looks for no variable"
    assert "$HOME" not in text.replace("$$HOME", "")
    assert override_path(home).stat().st_mode & 0o777 == 0o600


def test_a_form_that_is_emptied_leaves_no_file(home: Path) -> None:
    write_override(home, new_override(BASE, FULL))
    assert new_override(BASE, VllmSettings()) == ""
    write_override(home, "")
    assert not override_path(home).exists()
    assert read_override(home).state == "none"
    write_override(home, "")


def test_what_was_edited_by_hand_is_read_and_kept(home: Path) -> None:
    write_override(home, new_override(BASE, FULL))
    path = override_path(home)
    mine = path.read_text().replace("16384", "4096", 2)
    path.write_text(mine)
    assert read_override(home).state == "edited"
    aside = write_override(home, new_override(BASE, VllmSettings(max_model_len=2048)))
    assert aside is not None
    assert aside.read_text() == mine
    assert read_override(home).state == "ours"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"services: {vllm: {image: x}}",
        b"{}",
        b"\xff\xfe",
        b'{"x-signalbox": {"settings": {"max_model_len": -1}}}',
    ],
)
def test_what_is_broken_is_set_aside_and_told(home: Path, content: bytes) -> None:
    path = override_path(home)
    path.parent.mkdir()
    path.write_bytes(content)
    assert read_override(home).state == "broken"
    aside = write_override(home, new_override(BASE, FULL))
    assert aside is not None
    assert aside.read_bytes() == content
    assert read_override(home).settings == FULL
    told = next(sentence for sentence in left_aside(home) if str(aside) in sentence)
    assert "gets what was applied in the form since" in told


def test_gpus_that_are_named_are_left_alone() -> None:
    named = BaseService(
        name="vllm", image="x", command=COMMAND, gpu_devices=({"device_ids": ["0"], "capabilities": ["gpu"]},)
    )
    assert "deploy" not in new_override(named, FULL)


def test_the_diff_shows_the_file(home: Path) -> None:
    before = new_override(BASE, VllmSettings(max_model_len=4096))
    after = new_override(BASE, VllmSettings(max_model_len=8191))
    diff = difference(before, after, override_path(home))
    assert '-        "4096",' in diff
    assert '+        "8191",' in diff
    assert difference(before, before, override_path(home)) == ""
    assert difference("", after, override_path(home)).startswith(
        "--- /dev/null\n+++ compose.override.yml (new)\n"
    )


def test_a_name_that_vllm_does_not_know_is_told_with_the_few_that_come_closest() -> None:
    fault = faults_of(VllmSettings(tool_call_parser="lama3_json"))[0]
    assert "llama3_json" in fault.message
    assert fault.message.count(",") <= 2
    assert len(fault.message) < 160
