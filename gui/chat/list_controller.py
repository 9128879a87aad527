"""What a user can do with the conversations of the list: find, rename, delete, restore, copy and export them.

What is done in the conversation that is shown is ``controller.py``'s.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from PySide6.QtCore import QObject, Qt, QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QFileDialog

from core import shortened
from gui.chat.session import Session
from gui.chat.storage.export import ExportFormat, file_name, to_markdown, write_export
from gui.chat.storage.file import StoreTrouble
from gui.chat.storage.models import Conversation
from gui.chat.storage.store import ConversationStore
from gui.chat.view import ChatView
from gui.shell.tasks import Tasks

if TYPE_CHECKING:
    from gui.chat.open_conversations import OpenConversations
    from gui.chat.storage.write_behind import WriteBehindStore
    from gui.shell.bridge import Bridge

SHOWN_TITLE_CHARS = 40


class ShownChat(Protocol):
    """What the list's verbs need of the chat's controller."""

    @property
    def session(self) -> Session: ...

    @property
    def conversations(self) -> OpenConversations: ...

    @property
    def store(self) -> WriteBehindStore: ...

    def open(self, conversation_id: str) -> None: ...

    def show(self, session: Session) -> None: ...

    def tell_trouble(self, problem: StoreTrouble | None) -> None: ...

    def focus_composer(self) -> None: ...


class ListController(QObject):
    """Hears the list and the menu of a conversation, and keeps the list true."""

    def __init__(self, chat: ShownChat, bridge: Bridge, tasks: Tasks, view: ChatView) -> None:
        super().__init__(view)
        self._chat, self._bridge, self._tasks, self.view = chat, bridge, tasks, view
        self.store, self.conversations = chat.store, chat.conversations
        self._told_unreadable = 0
        self._is_closed = False
        self._query = ""
        self._is_listing = False
        self._list_again = False
        view.list.renamed.connect(self.rename)
        view.list.delete_asked.connect(self.delete)
        view.list.export_asked.connect(self.export)
        view.list.searched.connect(self.search)
        view.header.export_asked.connect(self._export_shown)
        view.header.copy_asked.connect(self.copy)
        view.header.rename_asked.connect(lambda: view.edit_title(self.session.id))
        view.header.delete_asked.connect(self._delete_shown)

    @property
    def session(self) -> Session:
        """The conversation that is shown."""
        return self._chat.session

    def close(self) -> None:
        """The page closes: the list is not read any more."""
        self._is_closed = True

    def rename(self, conversation_id: str, title: str) -> None:
        self.conversations.rename(conversation_id, title)
        self.refresh()

    def delete(self, conversation_id: str) -> None:
        """Take a conversation away; the toast brings it back."""
        title = self._title_of(conversation_id)
        self.conversations.delete(conversation_id)
        if conversation_id == self.session.id:
            self._chat.show(self.conversations.new())
        self.refresh()
        self.view.toasts.show(f"Deleted “{title}”", "Undo", lambda: self.restore(conversation_id), "trash")

    def restore(self, conversation_id: str) -> None:
        """Bring a deleted conversation back, and show it."""
        self.conversations.restore(conversation_id)
        self.refresh()
        self._chat.open(conversation_id)
        self._chat.focus_composer()

    def search(self, query: str) -> None:
        """List the conversations that hold every word of ``query``; all of them for an empty one."""
        self._query = query
        self.refresh()

    def export(self, conversation_id: str, kind: str) -> None:
        """Ask where a conversation should go; ``kind`` is markdown or json."""
        self._tasks.start(self._export(conversation_id, cast("ExportFormat", kind)))

    def _export_shown(self, kind: str) -> None:
        self.export(self.session.id, kind)

    def copy(self) -> None:
        """Copy the conversation that is shown as Markdown."""
        QGuiApplication.clipboard().setText(to_markdown(self.session.whole()))
        self.view.toasts.show("Copied as Markdown", icon="copy")

    def titles(self) -> dict[str, str]:
        """Return the titles of all conversations that are listed or in memory, short enough for a button."""
        titles = self.view.list.model.titles() | self.conversations.titles()
        return {conversation: shortened(title, SHOWN_TITLE_CHARS) for conversation, title in titles.items()}

    def tell_of_unreadable(self) -> None:
        """Say once what was left out; the file keeps it."""
        count = self.store.unreadable_rows
        if count > self._told_unreadable:
            self._told_unreadable = count
            entries = "1 entry" if count == 1 else f"{count:,} entries"
            left_out = "is left out" if count == 1 else "are left out"
            self.view.toasts.show(
                f"{entries} of your conversations’ file can’t be read and {left_out}; "
                "the file keeps what is there"
            )

    def _delete_shown(self) -> None:
        if not self.session.is_blank:
            self.delete(self.session.id)

    def _title_of(self, conversation_id: str) -> str:
        model = self.view.list.model
        row = model.row_at(model.index_of(conversation_id))
        session = self.conversations.get(conversation_id)
        return shortened(str(getattr(row, "title", session.title if session else "")), SHOWN_TITLE_CHARS)

    async def _export(self, conversation_id: str, kind: ExportFormat) -> None:
        try:
            conversation = await self.conversations.whole(conversation_id)
        except StoreTrouble as problem:
            self._chat.tell_trouble(problem)
            return
        if conversation is None:
            return
        dialog = QFileDialog(self.view, "Export this chat")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.selectFile(file_name(conversation.title, kind))
        dialog.fileSelected.connect(partial(self._on_export_file, conversation, kind))
        dialog.open()

    def _on_export_file(self, conversation: Conversation, kind: ExportFormat, name: str) -> None:
        self._tasks.start(self.write_export(conversation, kind, Path(name)))

    async def write_export(self, conversation: Conversation, kind: ExportFormat, path: Path) -> None:
        """Write a conversation to a file, whole or not at all, and say where it is."""
        try:
            await self._bridge.run_blocking(write_export, conversation, kind, path)
        except OSError as error:
            reason = error.strerror or str(error)
            self.view.show_error(
                f"{path.name} can’t be written: {reason}. Nothing was lost; choose another folder."
            )
            return
        folder = QUrl.fromLocalFile(str(path.parent))
        show: Callable[[], object] = partial(QDesktopServices.openUrl, folder)
        self.view.toasts.show(f"Exported to {path.name}", "Open folder", show, "check-circle-fill")

    # The list: all conversations or those that a search finds, read anew when one changed

    def refresh(self) -> None:
        """Read the list again; asked for while it is read, it is read once more after that."""
        if not self.store.is_open or self._is_closed:
            return
        if self._is_listing:
            self._list_again = True
            return
        self._is_listing = True
        self._tasks.start(self.read())

    async def read(self) -> None:
        """Read what the list shows, once all that waits is written."""
        try:
            await self.store.flush()
            if not self.store.is_open:
                return
            query = self._query.strip()
            if query:
                rows = await self.store.read(ConversationStore.search, query)
                nothing = f"Nothing found for “{shortened(query, SHOWN_TITLE_CHARS)}”"
            else:
                rows = await self.store.read(ConversationStore.summaries)
                nothing = "Your conversations will be here"
            self.view.list.set_current(self.session.id)
            self.view.list.show_summaries(rows, nothing)
            self.tell_of_unreadable()
        except StoreTrouble as problem:
            self._chat.tell_trouble(problem)
        finally:
            self._is_listing = False
            if self._list_again:
                self._list_again = False
                self.refresh()
