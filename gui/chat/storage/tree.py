"""The messages of a conversation as a tree: an edit or a new answer is a branch, and nothing is written over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gui.chat.storage.models import StoredMessage


class MessageTree:
    """All branches, and ``head_id``: the leaf of the branch that is shown.

    A message whose parent is missing, or is below it, begins a branch of its own.
    """

    def __init__(self, messages: Iterable[StoredMessage] = (), head_id: str | None = None) -> None:
        self._messages: dict[str, StoredMessage] = {}
        self._children: dict[str | None, list[str]] = {}
        for message in _rooted({message.id: message for message in messages}):
            self._insert(message)
        if head_id not in self._messages:
            head_id = self._leaf_below(None)
        self.head_id: str | None = head_id

    def __len__(self) -> int:
        return len(self._messages)

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._messages

    def __getitem__(self, message_id: str) -> StoredMessage:
        return self._messages[message_id]

    def all(self) -> tuple[StoredMessage, ...]:
        return tuple(self._messages.values())

    def add(self, message: StoredMessage) -> None:
        """Hang a new message under its parent and show its branch."""
        self._insert(message)
        self.head_id = message.id

    def replace(self, message: StoredMessage) -> None:
        """Put a newer state of a message in its place."""
        self._messages[message.id] = message

    def remove(self, message_id: str) -> None:
        """Take a leaf away; what is shown goes back to its parent."""
        message = self._messages.pop(message_id)
        self._children[message.parent_id].remove(message_id)
        if self.head_id == message_id:
            self.head_id = message.parent_id

    def path(self, to: str | None = None) -> list[StoredMessage]:
        """Return the messages from the first one to ``to`` (the head when not given)."""
        found: list[StoredMessage] = []
        at = self.head_id if to is None else to
        while at is not None:
            message = self._messages.get(at)
            if message is None:
                break
            found.append(message)
            at = message.parent_id
        found.reverse()
        return found

    def place(self, message_id: str) -> tuple[int, int]:
        """Return which version this is, from 1, and of how many."""
        versions = self._versions(message_id)
        return versions.index(message_id) + 1, len(versions)

    def has_continuation(self, message_id: str) -> bool:
        """Whether an answer goes on in another one below it."""
        return any(self._messages[child].role == "assistant" for child in self._children.get(message_id, ()))

    def step(self, message_id: str, by: int) -> bool:
        """Show the next (``1``) or the last (``-1``) version of a message; returns whether there was one."""
        versions = self._versions(message_id)
        index = versions.index(message_id) + by
        if not 0 <= index < len(versions):
            return False
        self.head_id = self._leaf_below(versions[index])
        return True

    def show(self, message_id: str) -> None:
        """Show a branch that a message is on: the one shown now, or the newest."""
        if message_id not in {message.id for message in self.path()}:
            self.head_id = self._leaf_below(message_id)

    def _versions(self, message_id: str) -> list[str]:
        message = self._messages[message_id]
        return [
            sibling
            for sibling in self._children[message.parent_id]
            if self._messages[sibling].role == message.role
        ]

    def _leaf_below(self, message_id: str | None) -> str | None:
        """Follow the newest child down."""
        while children := self._children.get(message_id):
            message_id = children[-1]
        return message_id

    def _insert(self, message: StoredMessage) -> None:
        self._messages[message.id] = message
        self._children.setdefault(message.parent_id, []).append(message.id)


def _rooted(messages: dict[str, StoredMessage]) -> Iterable[StoredMessage]:
    """Return the messages with every way up ending at the top: a file that was damaged may have circles in it."""
    leads_up: set[str | None] = {None}
    begins: set[str] = set()
    for message in messages.values():
        way: dict[str, None] = {}
        at: str | None = message.id
        while at is not None and at not in leads_up and at not in way and at in messages:
            way[at] = None
            at = messages[at].parent_id
        if at not in leads_up and way:
            begins.add(at if at is not None and at in way else next(reversed(way)))
        leads_up.update(way)
    return [replace(each, parent_id=None) if each.id in begins else each for each in messages.values()]
