"""A conversation as a file: the branch that is shown as Markdown, or everything as JSON."""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path
from typing import Any, Literal

from core import exact_dollars, to_plain, write_whole
from gui.chat.storage.models import COPIED, Attachment, ChatOptions, Conversation, StoredMessage, clean_text
from gui.chat.storage.tree import MessageTree

FORMAT = "signalbox-conversation"
VERSION = 2
"""Of the JSON. ``imports/own.py`` reads it and the versions before it."""
ExportFormat = Literal["markdown", "json"]
MAX_NAME_BYTES = 200  # file systems take 255
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{name}{n}" for name in ("COM", "LPT") for n in "123456789¹²³")}
SUFFIXES: dict[ExportFormat, str] = {"markdown": ".md", "json": ".json"}


def file_name(title: str, kind: ExportFormat) -> str:
    """Return a name for the file that every system takes."""
    stem = re.sub(r"[^\w\- ]+", "", title, flags=re.UNICODE).strip(" -").replace(" ", "-")[:80]
    stem = stem.encode("utf-8")[:MAX_NAME_BYTES].decode("utf-8", "ignore")
    if stem.upper() in _DEVICES:
        stem = f"{stem}-chat"
    return (stem or "conversation") + SUFFIXES[kind]


def _plain(words: str) -> str:
    """Return words of a model, a server or a file on one line, with no HTML in them for whatever shows the file."""
    return html.escape(" ".join(words.split()), quote=False)


def to_markdown(conversation: Conversation) -> str:
    """Return the branch that is shown, each answer with its side, reason and cost."""
    parts = [f"# {_plain(conversation.title)}", ""]
    if conversation.options.system.strip():
        parts += ["> System prompt: " + conversation.options.system.strip().replace("\n", "\n> "), ""]
    for message in MessageTree(conversation.messages, conversation.head_id).path():
        if message.role == "user":
            parts += ["## You", "", message.text.rstrip(), ""]
            for item in message.attachments:
                parts += [f"_Attached: {_plain(item.name)}_", ""]
        else:
            parts += ["## Answer", "", message.text.rstrip(), ""]
            note = _note(message)
            if note:
                parts += [f"<sub>{_plain(note)}</sub>", ""]
    return clean_text("\n".join(parts).rstrip() + "\n")


def _note(message: StoredMessage) -> str:
    result, decision = message.result, message.decision
    parts: list[str] = []
    if decision is not None and decision.side is not None:
        parts += ["Local" if decision.side == "local" else "API", decision.reason]
    if result is not None:
        parts.append(result.model)
        if result.usage is not None:
            mark = "~" if result.usage_estimated else ""
            parts.append(f"{result.usage.input_tokens:,} in, {mark}{result.usage.output_tokens:,} out")
        parts.append("not paid again" if result.replayed else message.spending.brief)
    elif decision is not None and message.spending.parts:
        parts.append(message.spending.brief)
    if message.origin not in ("", COPIED) and decision is None:
        parts.append(f"from {message.origin}")
    if message.status != "done":
        parts.append({"stopped": "stopped", "failed": "broke off"}.get(message.status, message.status))
    return " · ".join(parts)


def to_json(conversation: Conversation) -> str:
    """Return every branch, losslessly: costs as exact decimal strings, unknown as null, images in base64."""
    value = {
        "format": FORMAT,
        "version": VERSION,
        "id": conversation.id,
        "source": conversation.source,
        "title": conversation.title,
        "titled_by_user": conversation.titled_by_user,
        "pinned": conversation.pinned,
        "folder": conversation.folder,
        "created_at": conversation.created_at.isoformat(),
        "updated_at": conversation.updated_at.isoformat(),
        "shown_leaf_id": conversation.head_id,
        "options": _options(conversation.options),
        "draft": conversation.draft,
        "draft_attachments": [_attachment(item) for item in conversation.draft_attachments],
        "messages": [_message(item) for item in conversation.messages],
    }
    return clean_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _options(options: ChatOptions) -> dict[str, Any]:
    return {
        "system": options.system,
        "max_tokens": options.max_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "stop": list(options.stop),
        "seed": options.seed,
        "model": options.model,
        "schema": options.schema_text,
        "side": options.force or "auto",
    }


def _message(message: StoredMessage) -> dict[str, Any]:
    value: dict[str, Any] = {
        "id": message.id,
        "parent_id": message.parent_id,
        "role": message.role,
        "created_at": message.created_at.isoformat(),
        "status": message.status,
        "text": message.text,
        "pinned": message.pinned,
        "origin": message.origin,
        "correlation_id": message.correlation_id,
    }
    if message.attachments:
        value["attachments"] = [_attachment(item) for item in message.attachments]
    if message.role == "assistant":
        result, spending = message.result, message.spending
        value["cost"] = {
            "spent_dollars": None if spending.unpriced else exact_dollars(spending.spent_nanodollars),
            "estimated": spending.estimated,
            "not_settled_dollars": exact_dollars(spending.unsettled_nanodollars),
            "loaded_dollars": exact_dollars(spending.loaded_nanodollars),
        }
        value["decision"] = to_plain(message.decision) if message.decision else None
        value["error"] = to_plain(message.error) if message.error else None
        value["hold_nanodollars"] = message.hold_nanodollars
        value["settled_later"] = to_plain(message.settled_later) if message.settled_later else None
        value["options"] = _options(message.options) if message.options else None
        value["result"] = None
        if result is not None:
            whole = to_plain(result)
            for told in ("text", "decision"):  # of the message
                del whole[told]
            value["result"] = whole | {
                "cost_dollars": exact_dollars(result.cost_nanodollars),
                "loaded_dollars": exact_dollars(result.loaded_nanodollars),
                "output_tokens_per_s": result.output_tokens_per_s,
            }
    return value


def _attachment(item: Attachment) -> dict[str, Any]:
    content = (
        {"text": item.text} if item.kind == "text" else {"base64": base64.b64encode(item.content).decode()}
    )
    return {"name": item.name, "media_type": item.media_type, **content}


def write_export(conversation: Conversation, kind: ExportFormat, path: Path) -> None:
    """Write the file whole or not at all. Blocks.

    Raises:
        OSError: it can't be written; nothing that was there is lost.
    """
    text = to_markdown(conversation) if kind == "markdown" else to_json(conversation)
    write_whole(path, text)
