"""Claude's account export: each conversation has ``chat_messages`` in order, newer ones with their parents."""

from __future__ import annotations

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
from gui.chat.storage.models import Attachment, Conversation

NAME = "Claude"
ROLES: dict[str, MessageRole] = {"human": "user", "user": "user", "assistant": "assistant"}
NAMELESS = "pasted.txt"
_LEFT_OUT = {
    "thinking": "thoughts",
    "tool_use": "tool calls and results",
    "tool_result": "tool calls and results",
}


def is_one(item: dict[str, Any]) -> bool:
    return isinstance(item.get("chat_messages"), list)


def read(item: dict[str, Any], left_out: LeftOut) -> Conversation:
    """Return a conversation, with its branches where the export has them.

    Raises:
        Unusable: nothing in it can be kept.
    """
    messages = [as_dict(message) for message in as_list(item["chat_messages"])]
    ids = [as_text(message.get("uuid")) or f"#{number}" for number, message in enumerate(messages)]
    known = set(ids)
    is_tree = any(as_text(message.get("parent_message_uuid")) in known for message in messages)
    here: LeftOut = LeftOut()
    nodes: list[Node] = []
    for number, message in enumerate(messages):
        before = ids[number - 1] if number else None
        named = as_text(message.get("parent_message_uuid"))
        parent = before if not is_tree else named if named in known else None
        nodes.append(_node(ids[number], parent, message, here))
    leaf = as_text(item.get("current_leaf_message_uuid"))
    conversation = conversation_of(
        nodes,
        source=source_of("claude", item.get("uuid"), item),
        title=item.get("name"),
        created_at=moment_of(item.get("created_at")),
        updated_at=moment_of(item.get("updated_at")),
        head=leaf if leaf in known else ids[-1] if ids else None,
    )
    left_out.update(here)
    return conversation


def _node(node_id: str, parent_id: str | None, message: dict[str, Any], left_out: LeftOut) -> Node:
    role = ROLES.get(as_text(message.get("sender")))
    attachments = _attachments(message, left_out)
    text = _text(message, left_out)
    if role is None or not (text.strip() or attachments):
        return Node(id=node_id, parent_id=parent_id)
    return Node(
        id=node_id,
        parent_id=parent_id,
        role=role,
        text=text,
        created_at=moment_of(message.get("created_at")),
        origin=NAME if role == "assistant" else "",
        attachments=attachments if role == "user" else (),
    )


def _text(message: dict[str, Any], left_out: LeftOut) -> str:
    """The blocks of text; ``text`` itself has placeholders for the others in it."""
    texts: list[str] = []
    for block in as_list(message.get("content")):
        kind = as_text(as_dict(block).get("type"))
        if kind == "text":
            texts.append(as_text(as_dict(block).get("text")))
        elif kind in _LEFT_OUT:
            left_out[_LEFT_OUT[kind]] += 1
    return "\n\n".join(text for text in texts if text) or as_text(message.get("text"))


def _attachments(message: dict[str, Any], left_out: LeftOut) -> tuple[Attachment, ...]:
    """Texts that were attached come with their content; of other files the export has only the name."""
    found: list[Attachment] = []
    for value in as_list(message.get("attachments")):
        item = as_dict(value)
        content = as_text(item.get("extracted_content"))
        if content:
            name = " ".join(as_text(item.get("file_name")).split())[:200] or NAMELESS
            found.append(Attachment(name=name, kind="text", content=content.encode()))
        else:
            left_out["files"] += 1
    left_out["files"] += len(as_list(message.get("files")))
    return tuple(found)
