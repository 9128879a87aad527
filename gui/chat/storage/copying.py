"""A conversation with ids of its own, so that it can stand beside the one it was made from."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from gui.chat.storage.models import COPIED, Attachment, Conversation, StoredMessage, new_id


def with_new_ids(conversation: Conversation) -> Conversation:
    """Return the conversation with new ids for itself, its messages and what is attached."""
    ids = {message.id: new_id() for message in conversation.messages}
    own_id = new_id()

    def renewed(message: StoredMessage) -> StoredMessage:
        return replace(
            message,
            id=ids[message.id],
            conversation_id=own_id,
            parent_id=None if message.parent_id is None else ids.get(message.parent_id),
            attachments=_renewed(message.attachments),
        )

    return replace(
        conversation,
        id=own_id,
        head_id=None if conversation.head_id is None else ids.get(conversation.head_id),
        messages=tuple(renewed(message) for message in conversation.messages),
        draft_attachments=_renewed(conversation.draft_attachments),
    )


def duplicate(conversation: Conversation) -> Conversation:
    """Return a copy with every branch, without the draft, whose answers were paid for where they were asked."""

    def copied(message: StoredMessage) -> StoredMessage:
        status = "stopped" if message.status == "streaming" else message.status
        return replace(message, origin=message.origin or COPIED, status=status, hold_nanodollars=0)

    renewed = with_new_ids(conversation)
    return replace(
        renewed,
        title=f"{conversation.title} (copy)",
        titled_by_user=True,
        updated_at=datetime.now(UTC),
        draft="",
        draft_attachments=(),
        messages=tuple(copied(message) for message in renewed.messages),
        pinned=False,
        source=None,
    )


def _renewed(attachments: tuple[Attachment, ...]) -> tuple[Attachment, ...]:
    return tuple(replace(item, id=new_id()) for item in attachments)
