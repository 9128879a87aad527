"""ChatGPT's account export: each conversation is a ``mapping`` of nodes with parents, and a ``current_node``."""

from __future__ import annotations

import json
import re
from typing import Any

from gui.chat.storage.imports.parts import (
    LeftOut,
    MessageRole,
    Node,
    as_dict,
    as_list,
    as_text,
    conversation_of,
    moment_of,
    source_of,
)
from gui.chat.storage.models import Conversation

NAME = "ChatGPT"
_THOUGHTS = {"thoughts", "reasoning_recap"}
_REFERENCE = re.compile("\ue200[^\ue200\ue201]*\ue201")
"""What ChatGPT writes where its page shows a source or a name: ``cite`` or ``entity`` and more between marks."""
_INSTRUCTIONS = {"user_editable_context", "model_editable_context"}


def is_one(item: dict[str, Any]) -> bool:
    return isinstance(item.get("mapping"), dict)


def read(item: dict[str, Any], left_out: LeftOut) -> Conversation:
    """Return a conversation with every branch.

    Raises:
        Unusable: nothing in it can be kept.
    """
    mapping = as_dict(item["mapping"])
    created_at = moment_of(item.get("create_time"))
    here: LeftOut = LeftOut()
    nodes = [_node(node_id, as_dict(node), here) for node_id, node in mapping.items()]
    conversation = conversation_of(
        nodes,
        source=source_of("chatgpt", item.get("conversation_id") or item.get("id"), item),
        title=item.get("title"),
        created_at=created_at,
        updated_at=moment_of(item.get("update_time")),
        head=as_text(item.get("current_node")) or None,
    )
    left_out.update(here)
    return conversation


def _node(node_id: str, node: dict[str, Any], left_out: LeftOut) -> Node:
    parent = node.get("parent")
    parent_id = parent if isinstance(parent, str) else None
    message = as_dict(node.get("message"))
    role = _role(message, left_out)
    if role is None:
        return Node(id=node_id, parent_id=parent_id)
    text = _text(as_dict(message.get("content")), left_out)
    metadata = as_dict(message.get("metadata"))
    text = _with_references(text, as_list(metadata.get("content_references")), left_out)
    left_out.update({"files": len(as_list(metadata.get("attachments")))})
    if not text.strip():
        return Node(id=node_id, parent_id=parent_id)
    model = as_text(metadata.get("model_slug"))[:100]
    return Node(
        id=node_id,
        parent_id=parent_id,
        role=role,
        text=text,
        created_at=moment_of(message.get("create_time")),
        origin=(f"{NAME}, {model}" if model else NAME) if role == "assistant" else "",
    )


def _role(message: dict[str, Any], left_out: LeftOut) -> MessageRole | None:
    """Who wrote it; ``None`` for what its reader never saw, which is counted."""
    role = as_text(as_dict(message.get("author")).get("role"))
    content = as_dict(message.get("content"))
    kind = as_text(content.get("content_type"))
    if not message or role == "system":
        return None
    if role == "tool" or as_text(message.get("recipient")) not in ("", "all"):
        left_out["tool calls and results"] += 1
    elif kind in _THOUGHTS:
        left_out["thoughts"] += 1
    elif kind in _INSTRUCTIONS:
        left_out["custom instructions"] += 1
    elif as_dict(message.get("metadata")).get("is_visually_hidden_from_conversation") is True:
        left_out["hidden messages"] += 1
    elif role == "user":
        return "user"
    elif role == "assistant":
        return "assistant"
    else:
        left_out["messages of an unknown author"] += 1
    return None


def _text(content: dict[str, Any], left_out: LeftOut) -> str:
    kind = as_text(content.get("content_type"))
    if kind == "code":
        code = as_text(content.get("text"))
        language = as_text(content.get("language"))
        return (
            f"```{language if language.isalnum() and language != 'unknown' else ''}\n{code}\n```"
            if code
            else ""
        )
    texts: list[str] = []
    for part in as_list(content.get("parts")):
        if isinstance(part, str):
            texts.append(as_text(part))
            continue
        inner = as_dict(part)
        inner_kind = as_text(inner.get("content_type"))
        if inner_kind == "image_asset_pointer":
            left_out["pictures"] += 1
        elif "asset_pointer" in inner_kind:
            left_out["recordings"] += 1
        else:
            texts.append(as_text(inner.get("text")))
    if not texts:
        texts.append(as_text(content.get("text")))
    return "\n\n".join(text for text in texts if text)


def _with_references(text: str, references: list[Any], left_out: LeftOut) -> str:
    """Return the text with what each reference says instead of its marks, which no other program can show."""
    words: dict[str, str] = {}
    for item in map(as_dict, references):
        words[as_text(item.get("matched_text"))] = as_text(item.get("alt"))

    def said(found: re.Match[str]) -> str:
        shown = words.get(found[0]) or _name_in(found[0])
        left_out["references to sources"] += not shown
        return shown

    return _REFERENCE.sub(said, text)


def _name_in(reference: str) -> str:
    """The name in ``entity["organization","Network Rail"]``; nothing for anything else."""
    kind, _, value = reference.strip("\ue200\ue201").partition("\ue202")
    try:
        values = as_list(json.loads(value)) if kind == "entity" else []
    except (ValueError, RecursionError):
        return ""
    return as_text(values[1]) if len(values) > 1 else ""
