"""Saved prompts as an item of the file of all chats. ``imports/prompts.py`` reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from gui.chat.storage.models import SavedPrompt, clean_text

PROMPTS_FORMAT = "signalbox-prompts"
PROMPTS_VERSION = 1


def prompts_to_json(prompts: Iterable[SavedPrompt]) -> str:
    """Return all of them as one object."""
    value = {
        "format": PROMPTS_FORMAT,
        "version": PROMPTS_VERSION,
        "prompts": [
            {"name": prompt.name, "text": prompt.text, "is_default": prompt.is_default} for prompt in prompts
        ],
    }
    return clean_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
