"""Builds the ``ChatRequest``: the branch that is shown with attachments and options, or its beginning summed up."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, replace
from typing import Any, cast

from core import estimate_tokens, plan_summary
from core.chat import (
    CONTINUE_PROMPT,
    ChatRequest,
    ChatResult,
    ContextEconomy,
    ImagePart,
    JsonSchemaFormat,
    Message,
    RouteDecision,
)
from core.errors import InvalidRequest
from gui.chat.storage.models import Attachment, ChatOptions, StoredMessage, clean_text


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
    from core import check_schema  # 20 ms to import, and few chats have a schema

    schema = cast("dict[str, Any]", value)
    try:
        check_schema(schema)
    except InvalidRequest as error:
        raise MalformedSchema(error.message) from error
    return JsonSchemaFormat(schema=schema)


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
        top_p=options.top_p,
        stop=options.stop,
        seed=options.seed,
        model=options.model,
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


UNKNOWN_WINDOW_TOKENS = 8_000
"""Where nobody says how much a model takes: what every current one does."""


def window_for(local_context_tokens: int | None, limit_tokens: int | None) -> int:
    """Return how many input tokens to send: three quarters of what is known, so that the answer has room.

    Where the local context and the limit that the error told are both known, the smaller one holds.
    """
    known = [tokens for tokens in (local_context_tokens, limit_tokens) if tokens]
    return min(known) * 3 // 4 if known else UNKNOWN_WINDOW_TOKENS


def has_beginning(request: ChatRequest, window_tokens: int) -> bool:
    """Return whether there are old turns whose summary would make the request shorter."""
    return plan_summary(request, window_tokens) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What a summary stands for: ``turns`` in full, and about how many input ``tokens`` fewer were sent."""

    turns: int
    tokens: int

    @staticmethod
    def between(whole: ChatRequest, sent: ChatRequest) -> LeftOut:
        tokens = sum(map(estimate_tokens, whole.messages)) - sum(map(estimate_tokens, sent.messages))
        return LeftOut(turns=len(whole.messages) - len(sent.messages), tokens=max(0, tokens))

    def on_decision(self, decision: RouteDecision) -> RouteDecision:
        """Return ``decision`` so that its card tells of the summary: the router saw only the shorter request."""
        if not self.turns:
            return decision
        routed = decision.economy or ContextEconomy()
        economy = replace(
            routed,
            summarised_turns=routed.summarised_turns + self.turns,
            trimmed_tokens=routed.trimmed_tokens + self.tokens,
            saved_nanodollars=None,  # the summary had its price too
        )
        return replace(decision, economy=economy)

    def on_result(self, result: ChatResult) -> ChatResult:
        return replace(result, decision=self.on_decision(result.decision))
