"""What a user can do with the conversations of the list: find, rename, delete, restore, copy and export them.

What is done in the conversation that is shown is ``controller.py``'s.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from PySide6.QtCore import QObject, QPoint, Qt, QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QFileDialog, QWidget

from core import shortened
from gui.chat.chat_menu import ChatMenu, ExportMenu, Verb
from gui.chat.conversation_model import FOLDER
from gui.chat.folder_dialog import FolderDialog
from gui.chat.session import Session
from gui.chat.storage.export import ExportFormat, file_name, to_markdown, write_export
from gui.chat.storage.file import StoreTrouble
from gui.chat.storage.models import Conversation, DeletedConversation
from gui.chat.storage.store import ConversationStore
from gui.chat.view import ChatView
from gui.shell.tasks import Tasks
from gui.widgets.painted_button import settle_after
from gui.widgets.question import Question

if TYPE_CHECKING:
    from gui.chat.find_controller import FindController
    from gui.chat.open_conversations import OpenConversations
    from gui.chat.storage.write_behind import WriteBehindStore
    from gui.shell.bridge import Bridge

SHOWN_TITLE_CHARS = 40
CLOSED_GROUPS = "closed_groups"


class ShownChat(Protocol):
    """What the list's verbs need of the chat's controller."""

    @property
    def session(self) -> Session: ...

    @property
    def conversations(self) -> OpenConversations: ...

    @property
    def store(self) -> WriteBehindStore: ...

    @property
    def find(self) -> FindController: ...

    def open(self, conversation_id: str) -> None: ...

    async def open_now(self, conversation_id: str) -> None: ...

    def show(self, session: Session) -> None: ...

    def tell_trouble(self, problem: StoreTrouble | None) -> None: ...

    def focus_composer(self) -> None: ...


class ListController(QObject):
    """Hears the list and the menu of a conversation, and keeps the list true."""

    def __init__(self, chat: ShownChat, bridge: Bridge, tasks: Tasks, view: ChatView) -> None:
        super().__init__(view)
        self._chat, self._bridge, self._tasks, self.view = chat, bridge, tasks, view
        self.store, self.conversations, self._find = chat.store, chat.conversations, chat.find
        self._told_unreadable = 0
        self._is_closed = False
        self._query = ""
        self._is_listing = False
        self._list_again = False
        view.list.chosen.connect(self.choose)
        view.list.first_asked.connect(self._open_first)
        view.list.renamed.connect(self.rename)
        view.list.folder_renamed.connect(self.rename_folder)
        view.list.delete_asked.connect(self.delete)
        view.list.restore_asked.connect(self.restore)
        view.list.remove_asked.connect(self.ask_to_remove)
        view.list.entered.connect(self._enter)
        view.list.searched.connect(self.search)
        view.list.menu_asked.connect(self.open_menu)
        view.list.groups_changed.connect(self._keep_groups)
        view.header.menu_asked.connect(self._open_head_menu)
        view.header.export_asked.connect(self._open_export_menu)

    @property
    def session(self) -> Session:
        """The conversation that is shown."""
        return self._chat.session

    def close(self) -> None:
        """The page closes: the list is not read any more."""
        self._is_closed = True

    # The menu of a conversation

    def open_menu(self, conversation_id: str, place: QPoint) -> ChatMenu:
        """Open the menu of a conversation at a place of the screen."""
        row = self.view.list.model.summary(conversation_id)
        session = self.conversations.get(conversation_id)
        known = row or session
        menu = ChatMenu(
            self.view,
            is_empty=row is None and (session is None or session.is_blank),
            pinned=known is not None and known.pinned,
            folder="" if known is None else known.folder,
            folders=self.view.list.model.folders(),
        )
        menu.asked.connect(partial(self._act, conversation_id))
        menu.popup(place)
        return menu

    def _open_head_menu(self) -> None:
        button = self.view.header.menu_button
        settle_after(self.open_menu(self.session.id, _below(button)), button)

    def _open_export_menu(self) -> None:
        button = self.view.header.export_button
        menu = ExportMenu(self.view)
        menu.asked.connect(partial(self._act, self.session.id))
        settle_after(menu, button)
        menu.popup(_below(button))

    def _act(self, conversation_id: str, verb: Verb, detail: str) -> None:
        match verb:
            case "rename":
                self._edit_title(conversation_id)
            case "pin" | "unpin":
                self.pin(conversation_id, pinned=verb == "pin")
            case "move":
                self.move(conversation_id, detail)
            case "new_folder":
                FolderDialog(self.view, partial(self.move, conversation_id)).open()
            case "duplicate":
                self._tasks.start(self.duplicate(conversation_id))
            case "copy":
                self._tasks.start(self.copy(conversation_id))
            case "export":
                self.export(conversation_id, detail)
            case "delete":
                self.delete(conversation_id)

    def _edit_title(self, conversation_id: str) -> None:
        """Begin to rename it in its row, wherever that is."""
        row = self.view.list.model.summary(conversation_id)
        if row is not None and row.folder:
            self.view.list.set_closed(
                [key for key in self.view.list.model.closed if key != f"{FOLDER}{row.folder}"]
            )
        self.view.edit_title(conversation_id)

    def choose(self, conversation_id: str) -> None:
        """Show a conversation; one that a search found at what was found."""
        self._tasks.start(self._open_at(conversation_id, self._query), key="choose")

    def _open_first(self) -> None:
        self._tasks.start(self._open_found(self._query), key="choose")

    async def _open_found(self, query: str) -> None:
        """Show the first conversation that a search finds, at what was found."""
        try:
            await self.store.flush()
            found = await self.store.read(ConversationStore.search, query, 1)
        except StoreTrouble as problem:
            self._chat.tell_trouble(problem)
            return
        for row in found:
            await self._open_at(row.id, query, take_focus=True)

    async def _open_at(self, conversation_id: str, query: str, *, take_focus: bool = False) -> None:
        await self._chat.open_now(conversation_id)
        if query.strip() and self.session.id == conversation_id:
            await self._find.show_query(query, take_focus=take_focus)

    def _enter(self, conversation_id: str) -> None:
        """Show a conversation, and go on in its box; one that a search found at what was found."""
        self.choose(conversation_id)
        if not self._query.strip():
            self._chat.focus_composer()

    def pin(self, conversation_id: str, *, pinned: bool) -> None:
        """List a conversation above the others, or no longer."""
        self.conversations.pin(conversation_id, pinned=pinned)
        self.refresh()

    def move(self, conversation_id: str, folder: str) -> None:
        """Put a conversation into a folder, which is made where there is none; an empty name takes it out."""
        self.conversations.move(conversation_id, folder)
        if folder:
            self.view.toasts.show(f"Moved to “{shortened(folder, SHOWN_TITLE_CHARS)}”", icon="folder")
        self.refresh()

    def rename_folder(self, folder: str, name: str) -> None:
        """Call a folder ``name``; an empty name takes its conversations out of it."""
        self.conversations.rename_folder(folder, name)
        self.refresh()

    async def duplicate(self, conversation_id: str) -> None:
        """Show a copy of a conversation, with every branch."""
        try:
            session = await self.conversations.duplicate(conversation_id)
        except StoreTrouble as problem:
            self._chat.tell_trouble(problem)
            return
        if session is not None:
            self._chat.show(session)
            self.refresh()
            self.view.toasts.show(
                "This is the copy. What its answers cost counts in the first chat", icon="copy"
            )

    def rename(self, conversation_id: str, title: str) -> None:
        self.conversations.rename(conversation_id, title)
        self.refresh()

    def delete(self, conversation_id: str) -> None:
        """Take a conversation away and show the next one; the toast, or "Recently deleted", brings it back."""
        title = self._title_of(conversation_id)
        near = self.view.list.model.beside(conversation_id)
        self.conversations.delete(conversation_id)
        self.view.list.take_away(conversation_id)
        if conversation_id == self.session.id:
            self._tasks.start(self._show_instead(near))
        self.refresh()
        self.view.toasts.show(f"Deleted “{title}”", "Undo", lambda: self.restore(conversation_id), "trash")

    async def _show_instead(self, conversation_id: str | None) -> None:
        """Show another conversation than the one that is gone, an empty one where there is none."""
        gone = self.session
        if conversation_id is not None:
            await self._chat.open_now(conversation_id)
        if self.session is gone and gone.deleted:
            self._chat.show(self.conversations.new())

    def ask_to_remove(self, conversation_ids: list[str]) -> None:
        """Ask before deleted conversations go for good."""
        titles = {item: self.view.list.model.deleted_title(item) for item in conversation_ids}
        if not titles:
            return
        first = shortened(next(iter(titles.values())), SHOWN_TITLE_CHARS)
        what = f"“{first}”" if len(titles) == 1 else f"all {len(titles):,} deleted chats"
        Question(
            self.view,
            title=f"Delete {what} for good?",
            sentence="Nothing brings them back after that."
            if len(titles) > 1
            else "Nothing brings it back after that.",
            do="Delete for good",
            keep="Keep",
            on_do=partial(self._remove, conversation_ids),
            danger=True,
        ).open()

    def _remove(self, conversation_ids: list[str]) -> None:
        for conversation_id in conversation_ids:
            self.conversations.remove(conversation_id)
        self.refresh()

    def restore(self, conversation_id: str) -> None:
        """Bring a deleted conversation back, and show it."""
        self.conversations.restore(conversation_id)
        self._tasks.start(self._open_restored(conversation_id))
        self._chat.focus_composer()

    async def _open_restored(self, conversation_id: str) -> None:
        await (
            self.store.flush()
        )  # one that is not in memory is read from the file, and there it is deleted still
        await self._chat.open_now(conversation_id)
        self.refresh()

    def search(self, query: str) -> None:
        """List the conversations that hold every word of ``query``; all of them for an empty one."""
        self._query = query
        self.refresh()

    def export(self, conversation_id: str, kind: str) -> None:
        """Ask where a conversation should go; ``kind`` is markdown or json."""
        self._tasks.start(self._export(conversation_id, cast("ExportFormat", kind)))

    async def copy(self, conversation_id: str) -> None:
        """Copy a conversation as Markdown."""
        whole = await self._whole(conversation_id)
        if whole is not None:
            QGuiApplication.clipboard().setText(to_markdown(whole))
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

    def _title_of(self, conversation_id: str) -> str:
        model = self.view.list.model
        row = model.row_at(model.index_of(conversation_id))
        session = self.conversations.get(conversation_id)
        return shortened(str(getattr(row, "title", session.title if session else "")), SHOWN_TITLE_CHARS)

    async def _whole(self, conversation_id: str) -> Conversation | None:
        try:
            return await self.conversations.whole(conversation_id)
        except StoreTrouble as problem:
            self._chat.tell_trouble(problem)
            return None

    async def _export(self, conversation_id: str, kind: ExportFormat) -> None:
        conversation = await self._whole(conversation_id)
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

    async def read_groups(self) -> None:
        """Close the groups that were closed when the panel was last used."""
        written = await self.store.read(ConversationStore.state, CLOSED_GROUPS)
        if written is not None:
            self.view.list.set_closed(written.split("\n"))

    def _keep_groups(self) -> None:
        closed = "\n".join(sorted(self.view.list.model.closed))
        self.store.put(("state", CLOSED_GROUPS), lambda store: store.set_state(CLOSED_GROUPS, closed))

    async def read(self) -> None:
        """Read what the list shows, once all that waits is written."""
        try:
            await self.store.flush()
            if not self.store.is_open:
                return
            query = self._query.strip()
            deleted: tuple[DeletedConversation, ...] = ()
            if query:
                rows = await self.store.read(ConversationStore.search, query)
                nothing = f"Nothing found for “{shortened(query, SHOWN_TITLE_CHARS)}”"
            else:
                # In one call: between two the window may close, and the file with it.
                rows, deleted = await self.store.read(lambda store: (store.summaries(), store.deleted()))
                nothing = "Your conversations will be here"
            self.view.list.set_current(self.session.id)
            self.view.list.show_summaries(rows, nothing, deleted=deleted, is_search=bool(query))
            self.tell_of_unreadable()
        except StoreTrouble as problem:
            self._chat.tell_trouble(problem)
        finally:
            self._is_listing = False
            if self._list_again:
                self._list_again = False
                self.refresh()


def _below(button: QWidget) -> QPoint:
    return button.mapToGlobal(QPoint(0, button.height() + 2))
