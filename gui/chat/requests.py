"""What is sent: the branch that is shown, with its attachments and options, as a ``ChatRequest``."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from typing import Any, cast

from core.chat import CONTINUE_PROMPT, ChatRequest, ImagePart, JsonSchemaFormat, Message
from core.errors import InvalidRequest
from gui.chat.records import Attachment, ChatOptions, StoredMessage, clean_text


class MalformedSchema(InvalidRequest):
    """The drawer's JSON schema can't be used; the message says where."""


def parse_schema(text: str) -> JsonSchemaFormat | None:
    """Return the schema that ``text`` writes, ``None`` for blank text.

    Raises:
        MalformedSchema: it is no JSON (with line and column), no object, or no JSON schema.
    """
    if not text.strip():
        return None
    try:
        value: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise MalformedSchema(
            f"Line {error.lineno}, column {error.colno}: {error.msg[:1].lower()}{error.msg[1:]}."
        ) from error
    except RecursionError as error:
        raise MalformedSchema("It is nested too deeply.") from error
    if not isinstance(value, dict):
        raise MalformedSchema('A schema is an object: start with {"type": "object"}.')
    _check(cast("dict[str, Any]", value))
    return JsonSchemaFormat(schema=cast("dict[str, Any]", value))


def _check(schema: dict[str, Any]) -> None:
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    try:
        validator: Any = validator_for(cast("Any", schema))
        validator.check_schema(schema)
    except SchemaError as error:
        where = "/".join(str(part) for part in error.absolute_path) or "the top level"
        raise MalformedSchema(f"At {where}: {error.message[:200]}.") from error
    except RecursionError as error:
        raise MalformedSchema("It is nested too deeply.") from error


def build_request(
    path: list[StoredMessage], options: ChatOptions, conversation_id: str | None = None
) -> ChatRequest:
    """Return the request for the next answer after ``path``, as one of ``conversation_id``.

    Raises:
        MalformedSchema: the drawer's schema can't be used.
    """
    return ChatRequest(
        messages=_messages(path),
        system=clean_text(options.system).strip() or None,
        response_format=parse_schema(options.schema_text),
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        force=options.force,
        source="chat",
        conversation_id=conversation_id,
    )


def _messages(path: list[StoredMessage]) -> tuple[Message, ...]:
    """The turns, strictly in turn: unanswered prompts are joined, a continued answer is asked for."""
    turns: list[Message] = []
    for message in path:
        if message.role == "assistant":
            if not message.text:
                continue
            if turns and turns[-1].role == "assistant":
                turns.append(Message(role="user", text=CONTINUE_PROMPT))
            turns.append(Message(role="assistant", text=clean_text(message.text), pinned=message.pinned))
            continue
        prompt = replace(user_turn(message.text, message.attachments), pinned=message.pinned)
        if turns and turns[-1].role == "user":
            before = turns.pop()
            prompt = Message(
                role="user",
                text=f"{before.text}\n\n{prompt.text}",
                images=before.images + prompt.images,
                pinned=before.pinned or prompt.pinned,
            )
        turns.append(prompt)
    if turns and turns[-1].role == "assistant":
        turns.append(Message(role="user", text=CONTINUE_PROMPT))
    return tuple(turns)


def user_turn(text: str, attachments: tuple[Attachment, ...]) -> Message:
    """Join a prompt and what is attached to it. A lone pasted text is the prompt itself."""
    texts = [item for item in attachments if item.kind == "text"]
    images = tuple(
        ImagePart(media_type=item.media_type, data_base64=base64.b64encode(item.content).decode("ascii"))
        for item in attachments
        if item.kind == "image"
    )
    prompt = clean_text(text)
    if not prompt.strip() and len(texts) == 1:
        return Message(role="user", text=texts[0].text, images=images)
    parts = [prompt] if prompt.strip() else []
    for item in texts:
        content = item.text
        longest = max((len(run) for run in re.findall(r"`+", content)), default=0)
        fence = "`" * max(3, longest + 1)
        parts.append(f"{item.name}:\n{fence}\n{content}\n{fence}")
    return Message(role="user", text="\n\n".join(parts), images=images)
