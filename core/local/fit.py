"""How much GPU memory a model needs at a precision, context length and concurrency, and what would fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOption:
    """A change that would make it fit: the vLLM setting, its value, and the bytes needed then."""

    name: str
    value: object
    needed_bytes: int
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FitEstimate:
    """The estimate in bytes for one GPU (of ``gpus`` that share the model).

    ``verdict``: ``fits``, ``tight`` (over the 85 % line, or over the share vLLM takes), ``too_big``, ``unknown``.
    What is not known is ``None``. ``formula`` is the sum in words with its numbers, ``source`` where it comes from
    and where the parameters were read (``config.json``, ``table``, ``name``).
    """

    model: str
    verdict: Literal["fits", "tight", "too_big", "unknown"]
    parameters: int | None = None
    bits_per_weight: float | None = None
    context_tokens: int | None = None
    concurrency: int = 1
    weights_bytes: int | None = None
    kv_cache_bytes: int | None = None
    overhead_bytes: int | None = None
    needed_bytes: int | None = None
    available_bytes: int | None = None
    gpus: int = 1
    formula: str = ""
    source: str = ""
    options: tuple[FitOption, ...] = ()
