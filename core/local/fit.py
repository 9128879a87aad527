"""How much GPU memory a model needs at a precision, context length and concurrency, and what would fit.

The sum is the usual one: weights, plus the KV cache of the requests that run at once, plus what CUDA and the
activations take. It is an estimate: vLLM measures its own at each start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from core.base.text import MEMORY_GB, file_size, memory_size, tokens_short
from core.local.model_facts import ModelFacts, bits_with_scales

TIGHT_SHARE = 0.85
CONTEXT_BYTES = MEMORY_GB
ACTIVATION_SHARE = 0.05
PEER_BYTES = MEMORY_GB // 2
SHORTEST_CONTEXT = 2_048
MOST_GPUS = 8

FORMULA_SOURCE = (
    "Weights are parameters x bits / 8; the KV cache is 2 x layers x KV heads x head size x bytes x tokens, "
    "as in vLLM's own paper (Kwon et al. 2023, arXiv:2309.06180). The overhead is a rule of thumb: 1 GB a GPU for "
    "CUDA's context and graphs, and 5 % of the weights for activations (Transformer Math 101 of EleutherAI allows "
    "up to 20 % for both). A GB of memory is 1,073,741,824 bytes, as a card's 24 GB are counted."
)

ONLINE_BITS: dict[str, float] = {
    "fp8": 8.0,
    "fp8_per_tensor": 8.0,
    "fp8_per_block": 8.0,
    "fp8_per_channel": 8.0,
    "int8_per_channel_weight_only": 8.0,
    "experts_int8": 8.0,
    "mxfp8": 8.0,
    "nvfp4_per_token": bits_with_scales(4, 16),
}
"""What vLLM makes of unquantized weights while it loads them. Any other method needs weights of its own format."""
_PACKED_BITS: dict[str, float] = {
    "awq": bits_with_scales(4),
    "auto_awq": bits_with_scales(4),
    "awq_marlin": bits_with_scales(4),
    "gptq": bits_with_scales(4),
    "auto_gptq": bits_with_scales(4),
    "gptq_marlin": bits_with_scales(4),
    "mxfp4": bits_with_scales(4, 32),
    "gpt_oss_mxfp4": bits_with_scales(4, 32),
    "modelopt_fp4": bits_with_scales(4, 16),
    "modelopt": 8.0,
    "modelopt_mxfp8": 8.0,
    "deepseek_v4_fp8": 8.0,
    "fbgemm_fp8": 8.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOption:
    """A change that would make it fit: the vLLM setting, its value, and the bytes needed then.

    A ``value`` of ``None`` is no value of that setting: another model has to be chosen, or another machine.
    """

    name: str
    value: object
    needed_bytes: int
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FitEstimate:
    """The estimate in bytes for one GPU (of ``gpus`` that share the model).

    ``verdict``: ``fits``, ``tight`` (over the 85 % line, or over the share vLLM takes), ``too_big``, ``unknown``.
    What is not known is ``None``; then ``needed_bytes`` is the least that it takes. ``formula`` is the sum in words
    with its numbers, ``source`` where it comes from and where the parameters were read (``config.json``, ``table``,
    ``name``). ``missing`` says in a sentence what is not known.
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
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitQuestion:
    """What is asked: ``context_tokens`` of ``None`` is all that the model was made for, as vLLM takes it.

    ``cache_bytes`` are the bytes of a cached value, ``gpu_bytes`` the memory of one of the ``gpus`` that share the
    model, ``machine_gpus`` how many there are (``None``: not known), ``share`` what vLLM takes of each.
    """

    facts: ModelFacts
    quantization: str | None = None
    context_tokens: int | None = None
    concurrency: int = 1
    cache_bytes: int = 2
    gpus: int = 1
    gpu_bytes: int | None = None
    machine_gpus: int | None = None
    share: float = 0.9


def estimate(question: FitQuestion) -> FitEstimate:
    """Return the estimate, and what would fit where it does not."""
    found = _sum(question)
    if found.verdict in ("tight", "too_big"):
        return replace(found, options=tuple(_options(question)))
    return found


def _sum(question: FitQuestion) -> FitEstimate:
    facts, gpus = question.facts, max(1, question.gpus)
    context = question.context_tokens or facts.context_tokens
    concurrency = max(1, question.concurrency)
    bits, weights, weight_words = _weights(question)
    if weights is not None:
        weights = -(-weights // gpus)
    cache, cache_words = _cache(question, context, concurrency, gpus)
    overhead = needed = None
    if weights is not None:
        overhead = CONTEXT_BYTES + round(weights * ACTIVATION_SHARE) + (PEER_BYTES if gpus > 1 else 0)
        needed = weights + overhead + (cache or 0)
    missing = _missing(facts, weights, cache, context)
    found = FitEstimate(
        model=facts.model,
        verdict="unknown",
        parameters=facts.parameters,
        bits_per_weight=bits,
        context_tokens=context,
        concurrency=concurrency,
        weights_bytes=weights,
        kv_cache_bytes=cache,
        overhead_bytes=overhead,
        needed_bytes=needed,
        available_bytes=question.gpu_bytes,
        gpus=gpus,
        source=_source(facts),
        missing=missing,
    )
    formula = ""
    if weights is not None and overhead is not None and needed is not None:
        each = f" on each of {gpus} GPUs" if gpus > 1 else ""
        divided = f" ÷ {gpus} GPUs" if gpus > 1 else ""
        peers = " + 0.5 GB to talk to the others" if gpus > 1 else ""
        formula = (
            f"weights {weight_words}{divided} = {memory_size(weights)}; "
            f"KV cache {cache_words}{'' if cache is None else f' = {memory_size(cache)}'}; "
            f"overhead 1 GB + 5 % of the weights{peers} = {memory_size(overhead)}; "
            f"together {'at least ' if cache is None else ''}{memory_size(needed)}{each}"
        )
    return replace(found, formula=formula, verdict=_verdict(found, question.share))


def _weights(question: FitQuestion) -> tuple[float | None, int | None, str]:
    """Return the bits of a weight, the bytes of all, and how they are counted."""
    facts, wanted = question.facts, question.quantization
    bits = facts.bits
    if wanted is not None and not facts.format:
        bits = ONLINE_BITS.get(wanted) or _PACKED_BITS.get(wanted) or facts.bits
    is_as_stored = bits == facts.bits
    if is_as_stored and facts.checkpoint_bytes is not None:
        return bits, facts.checkpoint_bytes, f"as they lie on disk ({file_size(facts.checkpoint_bytes)})"
    if facts.parameters is None or bits is None:
        return bits, None, ""
    billions = f"{facts.parameters / 1e9:,.1f} billion"
    whole = min(facts.embedding_parameters or 0, facts.parameters)
    if bits < 16 and whole:
        size = (facts.parameters - whole) * bits / 8 + whole * 2
        words = f"{billions} x {bits:g} bits ÷ 8, {whole / 1e9:,.1f} billion of them (embeddings) at 16 bits"
        return bits, round(size), words
    return bits, round(facts.parameters * bits / 8), f"{billions} x {bits:g} bits ÷ 8"


def _cache(question: FitQuestion, context: int | None, concurrency: int, gpus: int) -> tuple[int | None, str]:
    facts, size = question.facts, question.cache_bytes
    if context is None or facts.layers is None or facts.has_other_state:
        return None, "not known"
    if facts.mla_width is not None:  # each GPU keeps all of it
        width, words = facts.mla_width, f"{facts.layers} layers x {facts.mla_width} (latent attention)"
    elif facts.kv_heads is not None and facts.head_dim is not None:
        heads = -(-facts.kv_heads // gpus)
        width = 2 * heads * facts.head_dim
        words = f"2 x {facts.layers} layers x {heads} heads x {facts.head_dim}"
    else:
        return None, "not known"
    in_window = min(facts.window_layers, facts.layers)
    tokens = (facts.layers - in_window) * context
    tokens += in_window * min(context, facts.window_tokens or context)
    if in_window and facts.window_tokens is not None and facts.window_tokens < context:
        words += f" ({in_window} of them keep only {facts.window_tokens:,} tokens)"
    words += f" x {size} {'byte' if size == 1 else 'bytes'} x {context:,} tokens"
    words += f" x {concurrency} at once" if concurrency > 1 else ""
    return tokens * width * size * concurrency, words


def _missing(facts: ModelFacts, weights: int | None, cache: int | None, context: int | None) -> str:
    if weights is None:
        return (
            f"How many parameters {facts.model} has is not known: its config.json is not on this machine, the "
            "table does not have it, and its name does not say."
        )
    if cache is None:
        if facts.has_other_state:
            return "Some of its layers keep a state of their own, whose size is not estimated."
        if context is None and facts.layers is not None:
            return "How long a request may be is not known, so neither is its KV cache."
        return "What its KV cache takes is not known: its config.json is not on this machine."
    return ""


def _source(facts: ModelFacts) -> str:
    read = {
        "config.json": "The model's figures are from its config.json on this machine.",
        "table": "The model's figures are from Signalbox's table.",
        "name": "The number of parameters is read from the model's name.",
        "": "",
    }[facts.source]
    return f"{read} {FORMULA_SOURCE}".strip()


def _verdict(found: FitEstimate, share: float) -> Literal["fits", "tight", "too_big", "unknown"]:
    needed, available = found.needed_bytes, found.available_bytes
    if needed is None or available is None:
        return "unknown"
    if needed > available:
        return "too_big"
    if found.kv_cache_bytes is None:
        return "unknown"  # the weights alone would fit
    return "tight" if needed > available * min(TIGHT_SHARE, share) else "fits"


# -- what would fit --------------------------------------------------------------------------------------------


def _options(question: FitQuestion) -> Iterator[FitOption]:
    before = _sum(question)
    assert before.needed_bytes is not None
    if before.concurrency > 1 and (alone := _fitting(replace(question, concurrency=1))) is not None:
        yield FitOption(
            name="concurrency",
            value=1,
            needed_bytes=alone,
            words=f"One request at a time needs {memory_size(alone)}.",
        )
    shorter = _shorter(question, before.context_tokens)
    if shorter is not None:
        tokens, needed = shorter
        yield FitOption(
            name="max_model_len",
            value=tokens,
            needed_bytes=needed,
            words=f"Lower the context to {in_k(tokens)} and it needs {memory_size(needed)}.",
        )
    yield from _lighter(question)
    yield from _shared(question)
    if question.gpu_bytes and question.share < TIGHT_SHARE and before.verdict == "tight":
        share = 0.9
        if (needed := _fitting(replace(question, share=share))) is not None:
            yield FitOption(
                name="gpu_memory_utilization",
                value=share,
                needed_bytes=needed,
                words=f"vLLM may take {question.share * 100:.0f} % of it; with {share * 100:.0f} % it fits.",
            )


def _fitting(question: FitQuestion) -> int | None:
    found = _sum(question)
    return found.needed_bytes if found.verdict == "fits" else None


def _shorter(question: FitQuestion, context: int | None) -> tuple[int, int] | None:
    """Return the longest context, a power of two, that fits, and what it needs."""
    if context is None:
        return None
    tokens = 1 << (context - 1).bit_length() - 1 if context > 1 else 0
    while tokens >= SHORTEST_CONTEXT:
        needed = _fitting(replace(question, context_tokens=tokens))
        if needed is not None:
            return tokens, needed
        tokens //= 2
    return None


def _lighter(question: FitQuestion) -> Iterator[FitOption]:
    """Say what fewer bits a weight would do: 8 made while loading, 4 of another download."""
    if question.facts.format or question.quantization is not None:
        return
    eight = _fitting(replace(question, quantization="fp8"))
    if eight is not None:
        yield FitOption(
            name="quantization",
            value="fp8",
            needed_bytes=eight,
            words=f"With its weights at 8 bits (fp8, made while loading) it needs {memory_size(eight)}.",
        )
    four = _fitting(replace(question, quantization="awq"))
    if four is not None:
        yield FitOption(
            name="model",
            value=None,
            needed_bytes=four,
            words=f"A 4 bit version of it (a repository whose name ends in AWQ or GPTQ) needs {memory_size(four)}.",
        )


def _shared(question: FitQuestion) -> Iterator[FitOption]:
    gpus = max(1, question.gpus) * 2
    while gpus <= MOST_GPUS:
        heads = question.facts.heads
        if heads is not None and heads % gpus:
            return
        needed = _fitting(replace(question, gpus=gpus))
        if needed is not None:
            are_here = question.machine_gpus is not None and gpus <= question.machine_gpus
            beside = "" if are_here or question.machine_gpus is None else "; they are not in this machine"
            yield FitOption(
                name="tensor_parallel_size",
                value=gpus if are_here else None,
                needed_bytes=needed,
                words=f"Shared by {gpus} such GPUs it needs {memory_size(needed)} of each{beside}.",
            )
            return
        gpus *= 2


def in_k(tokens: int) -> str:
    """Return ``16 k`` for 16,384 tokens, and what is no multiple of 1,024 in full with its unit."""
    short = tokens_short(tokens)
    return short if short.endswith("k") else f"{short} tokens"
