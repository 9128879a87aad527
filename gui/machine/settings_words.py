"""What the vLLM container's settings are called on the panel, and how their values are written."""

from __future__ import annotations

from typing import cast

LABELS = {
    "model": "Model",
    "served_model_name": "Served name",
    "quantization": "Quantisation",
    "max_model_len": "Longest request",
    "gpu_memory_utilization": "GPU memory share",
    "tensor_parallel_size": "GPUs that share it",
    "tool_call_parser": "Tool parser",
    "extra_args": "Extra arguments",
    "image_tag": "Image tag",
}


def setting_label(name: str) -> str:
    """Return a setting's name for the middle of a sentence: ``longest request``, ``GPU memory share``."""
    shown = LABELS.get(name, name)
    return shown if shown[:2].isupper() else shown[:1].lower() + shown[1:]


def value_words(name: str, value: object) -> str:
    """Return a value as people read it: ``32,768 tokens``, ``0.85``, ``as in the compose file``."""
    if value is None or value == ():
        return "as in the compose file"
    if name == "max_model_len" and isinstance(value, int):
        return f"{value:,} tokens"
    if isinstance(value, tuple):
        return " ".join(map(str, cast("tuple[object, ...]", value)))
    return str(value)
