"""Exports of other programs in miniature: the shapes their account exports have, with invented words."""

from __future__ import annotations

from typing import Any

MOMENT = 1_717_000_000.5


def chatgpt_message(role: str, text: str, **changes: Any) -> dict[str, Any]:
    message: dict[str, Any] = {
        "id": "m",
        "author": {"role": role, "name": None, "metadata": {}},
        "create_time": MOMENT,
        "content": {"content_type": "text", "parts": [text]},
        "status": "finished_successfully",
        "recipient": "all",
        "metadata": {"model_slug": "gpt-4o"} if role == "assistant" else {},
    }
    return message | changes


def chatgpt_chat(title: str = "Lever frames", chat_id: str = "c-1") -> dict[str, Any]:
    """Two versions of an answer, a hidden system message, a tool's call and its result, and a picture."""
    picture = {
        "content_type": "multimodal_text",
        "parts": [
            {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"},
            "See the frame?",
        ],
    }
    nodes: dict[str, tuple[str | None, dict[str, Any] | None]] = {
        "root": (None, None),
        "sys": (
            "root",
            chatgpt_message("system", "", metadata={"is_visually_hidden_from_conversation": True}),
        ),
        "q": ("sys", chatgpt_message("user", "Who pulls the levers?")),
        "a1": ("q", chatgpt_message("assistant", "A signalman.")),
        "a2": ("q", chatgpt_message("assistant", "The signaller.")),
        "q2": ("a2", chatgpt_message("user", "", content=picture)),
        "call": ("q2", chatgpt_message("assistant", "look()", recipient="python")),
        "tool": ("call", chatgpt_message("tool", "42")),
        "a3": (
            "tool",
            chatgpt_message(
                "assistant", "", content={"content_type": "code", "language": "python", "text": "x = 1"}
            ),
        ),
    }
    return {
        "title": title,
        "create_time": MOMENT,
        "update_time": MOMENT + 60,
        "conversation_id": chat_id,
        "id": chat_id,
        "current_node": "a3",
        "mapping": {
            name: {
                "id": name,
                "message": message,
                "parent": parent,
                "children": [child for child, (above, _) in nodes.items() if above == name],
            }
            for name, (parent, message) in nodes.items()
        },
    }


def claude_chat(name: str = "Timetables", uuid: str = "u-1") -> dict[str, Any]:
    """A prompt with a pasted text and a picture, and an answer with a thought and a tool's call in it."""
    return {
        "uuid": uuid,
        "name": name,
        "created_at": "2025-02-03T10:00:00.123456Z",
        "updated_at": "2025-02-03T10:05:00Z",
        "account": {"uuid": "me"},
        "chat_messages": [
            {
                "uuid": "1",
                "text": "Which train is late?",
                "content": [{"type": "text", "text": "Which train is late?"}],
                "sender": "human",
                "created_at": "2025-02-03T10:00:00Z",
                "attachments": [
                    {"file_name": "", "file_size": 5, "file_type": "txt", "extracted_content": "09:15"}
                ],
                "files": [{"file_name": "map.png"}],
            },
            {
                "uuid": "2",
                "text": "placeholder for a tool",
                "content": [
                    {"type": "thinking", "thinking": "Hm."},
                    {"type": "tool_use", "name": "search"},
                    {"type": "text", "text": "The 9.15 to York."},
                ],
                "sender": "assistant",
                "created_at": "2025-02-03T10:01:00Z",
                "attachments": [],
                "files": [],
            },
        ],
    }
