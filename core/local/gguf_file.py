"""Looks at a model's file before llama.cpp does: is it there, is it GGUF, is it whole, and does it chat?

The format is read as far as it says where the last tensor ends (github.com/ggml-org/ggml, docs/gguf.md). What can't
be made sense of is left to llama.cpp, which knows more: only what is sure to fail is refused.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from core.base.files import open_regular_file
from core.local.llama_log import Reason

MAGIC = b"GGUF"
NAME_ONE = "Name an existing GGUF file in LOCAL_MODEL_PATH."
_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32
_MOST_ENTRIES = 4_000_000
"""Of all lists together: a vocabulary with its merges has up to some hundred thousand."""
_MOST_NAME_BYTES = 1 << 16
_STRING, _ARRAY = 8, 9
_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    29: (256, 56),
    30: (1, 2),
    39: (32, 17),
}
"""Values in a block and its bytes, by ggml's number of the type (F32, F16, Q4_0 and so on)."""
_NO_CHAT = {
    "clip": "the part of a model that reads images",
    "bert": "an embedding model",
    "modern-bert": "an embedding model",
    "nomic-bert": "an embedding model",
    "nomic-bert-moe": "an embedding model",
    "jina-bert-v2": "an embedding model",
    "jina-bert-v3": "an embedding model",
    "t5encoder": "an embedding model",
    "wavtokenizer-dec": "a speech model",
}


class _CutOff(Exception):
    """The file ends before what it says it holds."""


class _NotUnderstood(Exception):
    """Something that this reader does not know; llama.cpp may."""


def header_problem(path: Path) -> Reason | None:
    """Return why ``path`` is sure to be no model's file by its first bytes; ``None``: it may be one."""
    try:
        with open_regular_file(path) as file:
            magic = file.read(len(MAGIC))
    except FileNotFoundError:
        return Reason(f"There is no model file at {path}.", NAME_ONE)
    except OSError as error:
        return Reason(
            f"The model file {path} cannot be read: {error.strerror}.",
            "Name a readable GGUF file in LOCAL_MODEL_PATH.",
        )
    if magic != MAGIC:
        return Reason(
            f"{path.name} is not a GGUF file.",
            "Download the model in GGUF form, or put LOCAL_MODEL_PATH back to use the packaged model.",
        )
    return None


def model_file_problem(path: Path) -> Reason | None:
    """Return why ``path`` is sure not to load or not to chat; ``None``: nothing is known against it.

    It reads the file's index, a fraction of a second of disk work.
    """
    problem = header_problem(path)
    if problem is not None:
        return problem
    try:
        with open_regular_file(path) as file:
            size_bytes = file.seek(0, 2)
            file.seek(len(MAGIC))
            return _Index(file, size_bytes).problem(path.name)
    except _CutOff as cut:
        return Reason(
            f"{path.name} is cut off: it ends {cut}.",
            "The download may still be running, or broke off. Compare its size.",
        )
    except (_NotUnderstood, OSError):
        return None


class _Index:
    """What stands before the tensors. ``size_bytes`` is the whole file's."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._entries = 0
        self._alignment = _DEFAULT_ALIGNMENT
        self._architecture = self._type = ""

    def problem(self, name: str) -> Reason | None:
        if self._number("<I") not in _VERSIONS:
            raise _NotUnderstood
        tensors, pairs = self._number("<Q"), self._number("<Q")
        for _ in range(self._bounded(pairs)):
            self._pair()
        kind = _NO_CHAT.get(self._architecture) or (
            f"a model’s {self._type}" if self._type in ("adapter", "mmproj", "imatrix") else ""
        )
        if kind:
            return Reason(f"{name} is {kind}, which can't chat.", "Name the model's own GGUF file.")
        end = 0
        for _ in range(self._bounded(tensors)):
            end = max(end, self._tensor_end())
        start = -(-self._file.tell() // self._alignment) * self._alignment
        if start + end > self._size_bytes:
            raise _CutOff(f"after {self._size_bytes:,} of {start + end:,} bytes")
        return None

    def _pair(self) -> None:
        key, kind = self._string(), self._number("<I")
        if kind == _STRING and key in ("general.architecture", "general.type"):
            value = self._string()
            if key == "general.type":
                self._type = value
            else:
                self._architecture = value
        elif kind == 4 and key == "general.alignment":
            self._alignment = self._number("<I") or _DEFAULT_ALIGNMENT
        else:
            self._skip_value(kind)

    def _skip_value(self, kind: int) -> None:
        if kind == _STRING:
            self._skip(self._number("<Q"))
        elif kind == _ARRAY:
            of, count = self._number("<I"), self._number("<Q")
            if of in _SCALAR_BYTES:
                self._skip(_SCALAR_BYTES[of] * count)
            elif of == _ARRAY:
                raise _NotUnderstood
            else:
                for _ in range(self._bounded(count)):
                    self._skip_value(of)
        elif kind in _SCALAR_BYTES:
            self._skip(_SCALAR_BYTES[kind])
        else:
            raise _NotUnderstood

    def _tensor_end(self) -> int:
        """Return where a tensor ends at the least, in bytes from the start of all tensors."""
        self._string()
        values = 1
        for _ in range(min(self._number("<I"), 8)):
            values *= self._number("<Q")
        kind, offset = self._number("<I"), self._number("<Q")
        in_block, block_bytes = _BLOCKS.get(kind, (values or 1, 1))
        return offset + -(-values // in_block) * block_bytes

    def _bounded(self, count: int) -> int:
        self._entries += count
        if self._entries > _MOST_ENTRIES:
            raise _NotUnderstood
        return count

    def _string(self) -> str:
        length = self._number("<Q")
        if length > _MOST_NAME_BYTES:
            raise _NotUnderstood
        return self._read(length).decode("utf-8", "replace")

    def _number(self, form: str) -> int:
        (number,) = struct.unpack(form, self._read(struct.calcsize(form)))
        return int(number)

    def _skip(self, count: int) -> None:
        if self._file.tell() + count > self._size_bytes:
            raise _CutOff("in the middle of its index")
        self._file.seek(count, 1)

    def _read(self, count: int) -> bytes:
        found = self._file.read(count)
        if len(found) < count:
            raise _CutOff("in the middle of its index")
        return found
