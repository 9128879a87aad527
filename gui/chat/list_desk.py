"""Fills the list of conversations: all of them or those that a search finds, anew when one changed."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal

from gui.chat.conversation_list import ConversationList
from gui.chat.header_row import HeaderRow
from gui.chat.keeper import Keeper
from gui.chat.open_chats import OpenChats
from gui.chat.store import ConversationStore
from gui.chat.store_file import StoreTrouble
from gui.tasks import Tasks


class ListDesk(QObject):
    """Signals:
    failed: the StoreTrouble because of which the list could not be read.
    """

    failed = Signal(object)

    def __init__(
        self,
        chats: OpenChats,
        keeper: Keeper,
        tasks: Tasks,
        conversations: ConversationList,
        header: HeaderRow,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._chats, self._keeper, self._tasks = chats, keeper, tasks
        self._list, self._header = conversations, header
        self._query = ""
        self._is_loading = False
        self._load_again = False
        self._is_closed = False
        conversations.searched.connect(self._search)
        header.list_asked.connect(self.toggle)

    def refresh(self) -> None:
        """Read the list again; asked for while it is read, it is read once more after that."""
        if not self._keeper.is_open or self._is_closed:
            return
        if self._is_loading:
            self._load_again = True
            return
        self._is_loading = True
        self._tasks.start(self.load())

    async def load(self) -> None:
        """Read what the list shows, once all that waits is written."""
        try:
            await self._keeper.flush()
            if not self._keeper.is_open:
                return
            query = self._query.strip()
            if query:
                rows = await self._keeper.read(ConversationStore.search, query)
                nothing = f"Nothing found for “{shortened(query)}”"
            else:
                rows = await self._keeper.read(ConversationStore.summaries)
                nothing = "Your conversations will be here"
            self._list.set_current(self._chats.shown.id)
            self._list.show_summaries(rows, nothing)
        except StoreTrouble as problem:
            self.failed.emit(problem)
        finally:
            self._is_loading = False
            if self._load_again:
                self._load_again = False
                self.refresh()

    def close(self) -> None:
        """From now on nothing is read any more."""
        self._is_closed = True

    def titles(self) -> dict[str, str]:
        """Return the titles of all conversations that are listed or in memory, short enough for a button."""
        titles = self._list.model.titles() | self._chats.titles()
        return {chat: shortened(title) for chat, title in titles.items()}

    def title_of(self, conversation_id: str) -> str:
        row = self._list.model.row_at(self._list.model.index_of(conversation_id))
        session = self._chats.get(conversation_id)
        return shortened(str(getattr(row, "title", session.title if session else "")))

    def toggle(self) -> None:
        """Ctrl+B."""
        shown = not self._list.isVisible()
        self._list.setVisible(shown)
        self._header.list_button.setVisible(not shown)

    def focus_search(self) -> None:
        self._be_seen()
        self._list.focus_search()

    def clear_search(self) -> bool:
        """End the search. False where there is none."""
        if not self._list.isVisible() or not self._list.search.text():
            return False
        self._list.search.clear()
        return True

    def edit_title(self, conversation_id: str) -> None:
        self._be_seen()
        self._list.edit_title(conversation_id)

    def _be_seen(self) -> None:
        if not self._list.isVisible():
            self.toggle()

    def _search(self, query: str) -> None:
        self._query = query
        self.refresh()


def shortened(title: str) -> str:
    return title if len(title) <= 40 else title[:39].rstrip() + "…"
