"""Which family a model's name belongs to, and so which template phrases its requests."""

from __future__ import annotations

import re
from functools import lru_cache

from core.chat import Side

FAMILIES = ("claude", "llama", "default")

# Open models whose chat templates and habits are near enough to Llama's for one phrasing.
_LLAMA_STYLE = re.compile(
    r"llama|qwen|qwq|mi[sx]tral|ministral|magistral|codestral|devstral|gemma|smollm|deepseek|vicuna|hermes|olmo"
    r"|granite|falcon|phi-?\d|zephyr|openchat|(?:^|[^a-z])yi-"
)


@lru_cache(maxsize=256)
def family_of(model: str | None, side: Side) -> str:
    """Return ``claude``, ``llama`` or ``default``.

    A name may have a path or an owner before it (``anthropic/claude-opus-5``, ``/models/SmolLM2.gguf``). On the
    API side a Claude model may also carry a region (``us.anthropic.claude-opus-5``); on the local side a name that
    has "claude" somewhere in the middle is an open model trained on Claude's answers.
    """
    name = re.split(r"[/\\]", (model or "").strip().lower())[-1]
    if name.startswith("claude") or (side == "api" and "claude" in name):
        return "claude"
    return "llama" if _LLAMA_STYLE.search(name) else "default"
