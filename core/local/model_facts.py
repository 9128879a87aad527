"""What a model is made of: parameters, precision, and the shape of its KV cache.

Read from the repository's ``config.json`` and weights where they are on this machine, else from a small table, else
from its name. What is not known stays ``None``.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

from core.base.files import read_regular_file

TABLE = Path(__file__).parents[2] / "resources" / "model_sizes.toml"
_MOST_BYTES = 32_000_000
_DENSE_NAMES = (
    "llama mistral qwen2 qwen3 gemma gemma2 gemma3_text phi3 granite olmo2 smollm3 stablelm "
    "mixtral qwen3_moe qwen2_moe olmoe"
)
_DENSE = frozenset(_DENSE_NAMES.split())
"""``model_type`` of those whose parameters follow from the config alone: attention, a gated MLP, embeddings."""

FactsSource = Literal["config.json", "table", "name", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """``checkpoint_bytes`` are the weights as they lie on disk, and ``bits`` their precision.

    ``embedding_parameters`` stay at 16 bits whatever the rest has. A layer caches ``kv_heads`` x ``head_dim`` twice
    a token, or ``mla_width`` once (latent attention); of the ``layers`` that cache, ``window_layers`` keep no more
    than ``window_tokens``. ``has_other_state``: besides, some layers keep a state of a size that is not known here.
    ``format`` is the quantization that the weights have (``awq``), empty where they have none.
    ``longest_tokens`` is what vLLM takes at most: ``context_tokens``, or more where its positions are scaled.
    """

    model: str
    source: FactsSource = ""
    parameters: int | None = None
    checkpoint_bytes: int | None = None
    bits: float | None = None
    format: str = ""
    embedding_parameters: int | None = None
    layers: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    mla_width: int | None = None
    window_layers: int = 0
    window_tokens: int | None = None
    has_other_state: bool = False
    context_tokens: int | None = None
    longest_tokens: int | None = None
    where: str = ""


def hub_folders(environment: Mapping[str, str] | None = None) -> list[Path]:
    """Return where Hugging Face's client keeps repositories on this machine, whether they exist or not."""
    env = os.environ if environment is None else environment
    if named := env.get("HF_HUB_CACHE"):
        return [Path(named).expanduser()]
    home = env.get("HF_HOME") or os.path.join(env.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return [Path(home).expanduser() / "hub"]


def repository_folder(model: str, hubs: Iterable[Path]) -> Path | None:
    """Return the snapshot of ``model`` that the first of ``hubs`` has, or its own folder; ``None``: not here.

    A folder that may not be looked into counts as not here.
    """
    try:
        if model.startswith("/"):
            folder = Path(model)
            return folder if (folder / "config.json").is_file() else None
        for hub in hubs:
            repository = hub / f"models--{model.replace('/', '--')}"
            try:
                revision = (repository / "refs" / "main").read_text(encoding="ascii").strip()
            except (OSError, UnicodeDecodeError):
                revision = ""
            snapshots = repository / "snapshots"
            named = [snapshots / revision] if re.fullmatch(r"[0-9a-f]{6,64}", revision) else []
            for folder in [*named, *sorted(snapshots.glob("*"))]:
                if (folder / "config.json").is_file():
                    return folder
    except OSError:
        return None
    return None


def facts_of(model: str, hubs: Iterable[Path] | None = None) -> ModelFacts:
    """Return what is known of ``model``; blocks for some milliseconds of disk work."""
    named = _from_table(model) or _from_name(model)
    folder = repository_folder(model, hub_folders() if hubs is None else hubs)
    if folder is None:
        return named
    try:
        config: Any = json.loads(read_regular_file(folder / "config.json", _MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return named
    if not isinstance(config, dict):
        return named
    read = from_config(model, cast("dict[str, Any]", config), _weights_bytes(folder))
    if read.parameters is None:
        read = replace(read, parameters=named.parameters)
    return replace(read, where=str(folder))


# -- config.json --------------------------------------------------------------------------------------------------


def from_config(model: str, config: Mapping[str, Any], checkpoint_bytes: int | None = None) -> ModelFacts:
    """Read a Transformers ``config.json``; what it does not say, or says in another way, is ``None``."""
    text: Any = config.get("text_config") or config.get("llm_config") or config
    text = cast("Mapping[str, Any]", text) if isinstance(text, dict) else config
    layers, heads = (
        _whole(text, "num_hidden_layers", "n_layer"),
        _whole(text, "num_attention_heads", "n_head"),
    )
    hidden = _whole(text, "hidden_size", "n_embd")
    kv_heads = _whole(text, "num_key_value_heads") or heads
    head_dim = _whole(text, "head_dim") or (hidden // heads if hidden and heads else None)
    mla_width: int | None = None
    if rank := _whole(text, "kv_lora_rank"):
        mla_width = rank + (_whole(text, "qk_rope_head_dim") or 0)
    format_, bits = _precision(config.get("quantization_config") or text.get("quantization_config"))
    window_layers, window_tokens, caching, has_other_state = _layer_kinds(text, layers)
    vocabulary = _whole(text, "vocab_size")
    embeddings = vocabulary * hidden if vocabulary and hidden else None
    if embeddings is not None and not _is_tied(config, text):
        embeddings *= 2
    parameters = None
    if text is config and not has_other_state:
        parameters = _counted(text, layers, heads, kv_heads, head_dim, hidden, embeddings)
    if checkpoint_bytes is not None and (parameters is None or format_ == ""):
        parameters = round(checkpoint_bytes * 8 / bits)
    return ModelFacts(
        model=model,
        source="config.json",
        parameters=parameters,
        checkpoint_bytes=checkpoint_bytes,
        bits=bits,
        format=format_,
        embedding_parameters=embeddings,
        layers=caching,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        mla_width=mla_width,
        window_layers=window_layers,
        window_tokens=window_tokens,
        has_other_state=has_other_state,
        context_tokens=_whole(text, "max_position_embeddings", "n_positions"),
        longest_tokens=_longest(text),
    )


_SCALED_ALREADY = ("default", "mrope", "su", "longrope", "llama3", "proportional")
"""Kinds of scaled positions whose ``max_position_embeddings`` is the scaled length, to vLLM."""


def _longest(text: Mapping[str, Any]) -> int | None:
    """Return the length that vLLM derives, above which it refuses to start; ``None`` where that is not certain."""
    plain = _whole(text, "max_position_embeddings", "n_positions")
    rope = _as_table(text.get("rope_scaling") or text.get("rope_parameters"))
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if plain is None or any(isinstance(value, dict) for value in rope.values()):
        return None  # a kind of its own for each kind of layer
    if kind not in _SCALED_ALREADY:
        factor: object = rope.get("factor", 1)
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor < 10_000:
            return None
        base = _whole(rope, "original_max_position_embeddings") if kind == "yarn" else None
        plain = int((base or plain) * factor)
    return max(plain, _whole(text, "model_max_length") or 0)


def _as_table(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _whole(table: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = table.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**12:
            return value
    return None


def _is_tied(config: Mapping[str, Any], text: Mapping[str, Any]) -> bool:
    tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings"))
    if tied is None:  # Transformers writes it only where it differs from the family's default
        return str(text.get("model_type", "")).startswith("gemma")
    return bool(tied)


def _precision(quantization: object) -> tuple[str, float]:
    """Return the format and the bits of a weight, its scales included. Unquantized weights are served at 16."""
    if not isinstance(quantization, dict):
        return "", 16.0
    table = cast("dict[str, Any]", quantization)
    method = str(table.get("quant_method") or table.get("quant_algo") or "quantized").lower()
    bits: object = table.get("bits") or table.get("w_bit")
    group: object = table.get("group_size") or table.get("q_group_size")
    if method == "compressed-tensors":
        groups = _as_table(table.get("config_groups"))
        weights = _as_table(_as_table(next(iter(groups.values()), None)).get("weights"))
        if weights:
            bits, group = weights.get("num_bits"), weights.get("group_size")
    if table.get("load_in_4bit"):
        bits = 4
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 16:
        bits = {"mxfp4": 4, "nvfp4": 4, "modelopt_fp4": 4, "awq": 4, "gptq": 4, "bitsandbytes": 8}.get(
            method, 8
        )
    default_group = 32 if method == "mxfp4" else 16 if "fp4" in method else 128
    size = group if isinstance(group, int) and not isinstance(group, bool) and group > 0 else default_group
    return method, bits_with_scales(bits, size)


def bits_with_scales(bits: int, group: int = 128) -> float:
    """Return the bits a weight takes, with the scale of its group: 4.16 for 4 bits in groups of 128."""
    if bits > 4:
        return float(bits)
    scale = 8 if group <= 32 else 16 + bits
    return round(bits + scale / group, 2)


def _layer_kinds(text: Mapping[str, Any], layers: int | None) -> tuple[int, int | None, int | None, bool]:
    """Return the layers that see only a window, that window, all that cache, and whether others keep a state."""
    window = _whole(text, "sliding_window")
    kinds = text.get("layer_types") or text.get("layers_block_type")
    if isinstance(kinds, list) and kinds:
        names = [str(kind) for kind in cast("list[object]", kinds)]
        sliding = sum("sliding" in name or "chunked" in name for name in names)
        caching = sum("attention" in name and "linear" not in name for name in names)
        window = window or _whole(text, "attention_chunk_size")
        return (sliding if window else 0), window, caching, caching < len(names)
    if any(name in text for name in ("mamba_d_state", "ssm_cfg", "full_attention_interval", "state_size")):
        return 0, None, None, True
    if window is None or layers is None or text.get("use_sliding_window") is False:
        return 0, None, layers, False
    pattern = _whole(text, "sliding_window_pattern")
    if str(text.get("model_type", "")) == "gemma2":
        pattern = 2
    # Every pattern-th layer sees all; without a pattern (the first Mistral) each sees the window.
    return (layers - layers // pattern if pattern else layers), window, layers, False


def _counted(
    text: Mapping[str, Any],
    layers: int | None,
    heads: int | None,
    kv_heads: int | None,
    head_dim: int | None,
    hidden: int | None,
    embeddings: int | None,
) -> int | None:
    """Count the parameters of a family whose layers are known; ``None`` for any other."""
    inner = _whole(text, "intermediate_size")
    if str(text.get("model_type")) not in _DENSE or not (
        layers and heads and kv_heads and head_dim and hidden and embeddings and inner
    ):
        return None
    attention = 2 * hidden * heads * head_dim + 2 * hidden * kv_heads * head_dim
    experts = _whole(text, "num_local_experts", "num_experts")
    if experts:
        mlp = experts * (3 * hidden * (_whole(text, "moe_intermediate_size") or inner) + hidden)
        mlp += 3 * hidden * (_whole(text, "shared_expert_intermediate_size") or 0)
    else:
        mlp = 3 * hidden * inner
    return embeddings + layers * (attention + mlp + 2 * hidden) + hidden


def _weights_bytes(folder: Path) -> int | None:
    """Return the size of the weights as they lie there; ``None`` where they are not (all) there."""
    try:
        index: Any = json.loads(read_regular_file(folder / "model.safetensors.index.json", _MOST_BYTES))
        size = index["metadata"]["total_size"]
        if isinstance(size, int | float) and size > 0:
            return int(size)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    try:
        files = [*folder.glob("*.safetensors")] or [*folder.glob("*.bin")]
        return sum(file.stat().st_size for file in files if "-of-" not in file.name) or None
    except OSError:
        return None


# -- the table and the name ---------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _table() -> Sequence[Mapping[str, Any]]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))["model"]


def _from_table(model: str) -> ModelFacts | None:
    name = model.rsplit("/", 1)[-1].lower()
    row = next((row for row in _table() if _holds(name, row["name"])), None)
    if row is None:
        return None
    format_, bits = _format_of_name(name)
    window_layers, window_tokens = row.get("sliding", (0, None))
    return ModelFacts(
        model=model,
        source="table",
        parameters=row["parameters"],
        bits=bits or row.get("bits", 16.0),
        format=format_ or ("quantized" if "bits" in row else ""),
        layers=row["layers"],
        kv_heads=row.get("kv_heads"),
        head_dim=row.get("head_dim"),
        mla_width=row.get("mla"),
        window_layers=window_layers,
        window_tokens=window_tokens,
        context_tokens=row["context"],
    )


def _holds(name: str, known: str) -> bool:
    """Whether ``known`` stands in ``name`` as a whole: ``qwen3-4b`` is not in ``qwen3-4bit``."""
    return re.search(rf"(?<![a-z0-9.]){re.escape(known)}(?![a-z0-9])", name) is not None


def _from_name(model: str) -> ModelFacts:
    name = model.rsplit("/", 1)[-1].lower()
    format_, bits = _format_of_name(name)
    parameters = parameters_of_name(name)
    return ModelFacts(
        model=model,
        source="name" if parameters is not None else "",
        parameters=parameters,
        bits=bits or 16.0,
        format=format_,
    )


def parameters_of_name(name: str) -> int | None:
    """Read ``7B``, ``0.5b``, ``135M``, ``8x7B`` or ``30B-A3B`` (all 30 are loaded); ``None`` where none stands."""
    text = name.rsplit("/", 1)[-1].lower()
    experts = re.search(r"(?<![a-z0-9.])(\d{1,3})x(\d{1,4}(?:\.\d{1,2})?)b(?![a-z0-9])", text)
    if experts is not None:  # they share their attention: 8x7B has 46.7 billion, not 56
        return round(int(experts[1]) * float(experts[2]) * 1e9 * 0.83)
    sizes = [
        float(size) * (1e9 if unit == "b" else 1e6)
        for size, unit in re.findall(r"(?<![a-z0-9.])(\d{1,5}(?:\.\d{1,3})?)([bm])(?![a-z0-9])", text)
    ]
    found = max(sizes, default=0.0)
    return round(found) if 1e6 <= found <= 1e13 else None


_FORMATS: tuple[tuple[str, str, float], ...] = (
    (r"awq", "awq", bits_with_scales(4)),
    (r"gptq.*(?:int8|8-?bit)|(?:int8|8-?bit).*gptq", "gptq", 8.0),
    (r"gptq", "gptq", bits_with_scales(4)),
    (r"nvfp4", "nvfp4", bits_with_scales(4, 16)),
    (r"mxfp4", "mxfp4", bits_with_scales(4, 32)),
    (r"w4a16|int4|4-?bit|bnb-4", "4 bit", bits_with_scales(4)),
    (r"fp8|w8a8|int8|8-?bit", "8 bit", 8.0),
)


def _format_of_name(name: str) -> tuple[str, float | None]:
    for pattern, format_, bits in _FORMATS:
        if re.search(rf"(?<![a-z0-9])(?:{pattern})(?![a-z])", name):
            return format_, bits
    return "", None
