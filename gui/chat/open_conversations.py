"""The conversations that are in memory: the one that is shown, and those that still stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from gui.chat.session import Session, new_conversation
from gui.chat.storage.copying import duplicate
from gui.chat.storage.models import ChatOptions, Conversation
from gui.chat.storage.store import ConversationStore
from gui.chat.storage.write_behind import WriteBehindStore
from gui.shell.tasks import Tasks

if TYPE_CHECKING:
    from gui.shell.bridge import Bridge


class OpenConversations(QObject):
    """Any other conversation is read from the store when it is asked for.

    Signals:
        changed: what the head or the list shows of a session may have changed.
        ended: a session's answer ended.
        failed: a session's answer, by its id, failed before its first token.
    """

    changed = Signal(object)
    ended = Signal(object)
    failed = Signal(object, str)

    def __init__(self, bridge: Bridge, store: WriteBehindStore, tasks: Tasks, parent: QObject) -> None:
        super().__init__(parent)
        self._bridge, self._store, self._tasks = bridge, store, tasks
        self._sessions: dict[str, Session] = {}
        self.shapers: list[Callable[[ChatOptions], ChatOptions]] = []
        """Each gives the options of an empty conversation what it has to begin with."""
        self.shown = self.new()
        store.all_written.connect(self.forget_unused)  # one that is left is often still being written

    def new(self) -> Session:
        """Return the session of an empty conversation."""
        return self._adopt(replace(new_conversation(), options=self.fresh_options()))

    def fresh_options(self) -> ChatOptions:
        """Return what an empty conversation begins with."""
        options = ChatOptions()
        for shaper in self.shapers:
            options = shaper(options)
        return options

    def get(self, conversation_id: str) -> Session | None:
        return self._sessions.get(conversation_id)

    async def find(self, conversation_id: str) -> Session | None:
        """Return its session, read where need be; None where there is no such conversation.

        Raises:
            StoreTrouble: it can't be read.
        """
        session = self.get(conversation_id)
        if session is not None:
            return None if session.deleted else session
        conversation = await self._store.read(ConversationStore.load, conversation_id)
        if conversation is None:
            return None
        return self.get(conversation_id) or self._adopt(conversation)

    async def whole(self, conversation_id: str) -> Conversation | None:
        """Return all of a conversation as it is now, without opening it.

        Raises:
            StoreTrouble: it can't be read.
        """
        session = self.get(conversation_id)
        if session is not None:
            return session.whole()
        return await self._store.read(ConversationStore.load, conversation_id)

    def forget_unused(self) -> None:
        """Keep what is shown, streams, is edited or isn't written yet; the rest is read again when it is opened."""
        if not self._store.is_open:
            return
        for session in list(self._sessions.values()):
            if session is self.shown or session.is_streaming or session.has_edits:
                continue
            if self._store.has_waiting(session.id):
                continue
            del self._sessions[session.id]
            session.deleteLater()

    def titles(self) -> dict[str, str]:
        return {session.id: session.title for session in self._sessions.values()}

    def delete(self, conversation_id: str) -> None:
        """Take a conversation away; ``restore`` brings it back."""
        session = self.get(conversation_id)
        if session is not None:
            session.stop()
            session.deleted = True
        self._store.put(("deleted", conversation_id), lambda store: store.delete(conversation_id))

    def restore(self, conversation_id: str) -> None:
        session = self.get(conversation_id)
        if session is not None:
            session.deleted = False
            session.save()
        self._store.put(("deleted", conversation_id), lambda store: store.restore(conversation_id))

    def rename(self, conversation_id: str, title: str) -> None:
        session = self.get(conversation_id)
        if session is not None:
            session.rename(title)
        self._store.put(("renamed", conversation_id), lambda store: store.rename(conversation_id, title))

    def remove(self, conversation_id: str) -> None:
        """Take a deleted conversation away for good."""
        session = self._sessions.get(conversation_id)
        if session is not None:
            session.removed = True
        self._store.put(("deleted", conversation_id), lambda store: store.forget(conversation_id))

    def pin(self, conversation_id: str, *, pinned: bool) -> None:
        """List a conversation above the others, or no longer."""
        session = self.get(conversation_id)
        if session is not None:
            session.set_order(pinned=pinned)
        self._store.put(("order", conversation_id), lambda store: store.pin(conversation_id, pinned))

    def move(self, conversation_id: str, folder: str) -> None:
        """Put a conversation into a folder; an empty name takes it out."""
        session = self.get(conversation_id)
        if session is not None:
            session.set_order(folder=folder)
        self._store.put(("folder", conversation_id), lambda store: store.move(conversation_id, folder))

    def rename_folder(self, folder: str, name: str) -> None:
        """Call a folder ``name``; an empty name takes its conversations out of it."""
        for session in self._sessions.values():
            if session.folder == folder:
                session.set_order(folder=name)
        self._store.put(("folder", folder), lambda store: store.rename_folder(folder, name))

    async def duplicate(self, conversation_id: str) -> Session | None:
        """Return the session of a copy; None where there is no such conversation.

        Raises:
            StoreTrouble: it can't be read.
        """
        whole = await self.whole(conversation_id)
        if whole is None:
            return None
        copy = duplicate(whole)
        self._store.put(("added", copy.id), lambda store: store.add(copy))
        return self._adopt(copy)

    async def close(self) -> None:
        """Stop what streams, and give all of it to the store."""
        for session in self._sessions.values():
            session.stop()
        for session in list(self._sessions.values()):  # one that was left may be forgotten meanwhile
            await session.wait_until_ended()
            session.save()

    def _adopt(self, conversation: Conversation) -> Session:
        session = Session(self._bridge, self._store, self._tasks, conversation, self)
        self._sessions[session.id] = session
        session.summary_changed.connect(lambda: self.changed.emit(session))
        session.path_changed.connect(lambda: self.changed.emit(session))
        session.answer_started.connect(lambda: self.changed.emit(session))
        session.answer_ended.connect(lambda: self.ended.emit(session))
        session.failed_before_text.connect(partial(self.failed.emit, session))
        return session
