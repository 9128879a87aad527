"""Saved prompts of an export of all chats: read beside the chats, and none that is here is changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gui.chat.storage.imports.parts import MOST_TEXT_CHARS, Unusable, as_dict, as_list, as_text
from gui.chat.storage.models import MOST_PROMPT_NAME_CHARS, SavedPrompt
from gui.chat.storage.prompts_json import PROMPTS_FORMAT, PROMPTS_VERSION

MOST_PROMPTS = 1000
"""So many are kept here and imported together: all of them are in one menu."""


@dataclass(slots=True)
class PromptCounts:
    """``renamed`` of those ``imported`` stand beside one of the same name; ``left_out`` can't be kept."""

    imported: int = 0
    renamed: int = 0
    already_here: int = 0
    left_out: int = 0


def is_prompts(item: dict[str, Any]) -> bool:
    return item.get("format") == PROMPTS_FORMAT


def new_prompts(
    item: dict[str, Any], here: tuple[SavedPrompt, ...], counts: PromptCounts
) -> list[SavedPrompt]:
    """Return what ``here`` lacks, by name and text; the one for new chats stays that where ``here`` has none.

    Raises:
        Unusable: a newer Signalbox wrote them.
    """
    version = item.get("version")
    if not isinstance(version, int) or not 1 <= version <= PROMPTS_VERSION:
        raise Unusable("was exported by a newer Signalbox")
    texts = {prompt.name.casefold(): prompt.text for prompt in here}
    has_default = any(prompt.is_default for prompt in here)
    new: list[SavedPrompt] = []
    for value in map(as_dict, as_list(item.get("prompts"))):
        prompt = SavedPrompt(
            name=" ".join(as_text(value.get("name")).split())[:MOST_PROMPT_NAME_CHARS],
            text=as_text(value.get("text")),
            is_default=value.get("is_default") is True and not has_default,
        )
        is_too_much = len(prompt.text) > MOST_TEXT_CHARS or len(texts) >= MOST_PROMPTS
        if not prompt.name or not prompt.text.strip() or is_too_much:
            counts.left_out += 1
            continue
        name = _free_name(prompt, texts)
        if name is None:
            counts.already_here += 1
            continue
        counts.imported += 1
        counts.renamed += name != prompt.name
        has_default = has_default or prompt.is_default
        texts[name.casefold()] = prompt.text
        new.append(replace(prompt, name=name))
    return new


def _free_name(prompt: SavedPrompt, texts: dict[str, str]) -> str | None:
    """Return its name, with ``(imported)`` where another text has it; ``None`` where the text has one of these."""
    name, number = prompt.name, 1
    while (text := texts.get(name.casefold())) is not None:
        if text == prompt.text:
            return None
        mark = " (imported)" if number == 1 else f" (imported {number})"
        name, number = prompt.name[: MOST_PROMPT_NAME_CHARS - len(mark)] + mark, number + 1
    return name
