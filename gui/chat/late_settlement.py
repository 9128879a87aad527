"""Brings what the ledger learns of an answer's cost later to the kept conversations.

An answer that ended without a known cost (a cut connection, a crash, a model without a price) is kept as that. Its
request is settled by hand, priced later, or closed by the next start: then the badge, the card, the chat's total
and the list must say what the ledger says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from core import Spending
from core.errors import SignalboxError
from gui.chat.storage.file import StoreTrouble
from gui.chat.storage.store import ConversationStore

if TYPE_CHECKING:
    from core import CoreStatus
    from gui.chat.open_conversations import OpenConversations
    from gui.chat.storage.models import StoredMessage
    from gui.chat.storage.write_behind import WriteBehindStore
    from gui.shell.bridge import Bridge
    from gui.shell.tasks import Tasks


_LOOK = "late settlement"


class LateSettlement(QObject):
    """Looks whenever the ledger counts something else as not settled or unpriced, and once at the start.

    A look that could not read all is repeated at the next status.

    Signals:
        changed: kept answers cost something else than the list shows.
    """

    changed = Signal()

    def __init__(
        self,
        bridge: Bridge,
        tasks: Tasks,
        store: WriteBehindStore,
        conversations: OpenConversations,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._bridge, self._tasks, self._store = bridge, tasks, store
        self._conversations = conversations
        self._looked_for: tuple[int, ...] | None = None
        self._seen: tuple[int, ...] | None = None  # the counts for which a look has read all
        bridge.status_changed.connect(self.on_status)

    def on_status(self, status: CoreStatus) -> None:
        budget = status.budget
        if budget is None or not self._store.is_open:
            return
        seen = (budget.unresolved_count, budget.unresolved_nanodollars, budget.unpriced_count)
        if seen == self._seen or (seen == self._looked_for and self._tasks.runs(_LOOK)):
            return
        self._looked_for = seen
        self._tasks.start(self._look(seen), key=_LOOK)

    async def _look(self, seen: tuple[int, ...]) -> None:
        if not self._store.is_open:
            return  # the panel closed before this began
        try:
            kept = await self._store.read(ConversationStore.not_settled)
        except StoreTrouble:
            return  # which is told where it is read next
        found, has_read_all = False, True
        for message_id, conversation_id, correlation_id, before in kept:
            try:
                now = await self._ledgers_word(correlation_id)
            except SignalboxError:
                has_read_all = False
                break
            if now is None or now == before:
                continue
            found = True
            session = self._conversations.get(conversation_id)
            if session is not None and message_id in session.tree:
                session.settle(message_id, now)
            else:
                self._put(message_id, now)
        if found:
            await self._store.flush()
            self.changed.emit()
        if has_read_all:
            self._seen = seen

    def _put(self, message_id: str, spending: Spending) -> None:
        self._store.put(("settled", message_id), lambda store: store.settle(message_id, spending))

    def look_up(self, message: StoredMessage, then: Callable[[StoredMessage], None]) -> None:
        """Call ``then`` with a message as the ledger has it: at once, but for one whose cost may be new."""
        spending = message.spending
        if message.correlation_id is None or not (spending.unsettled_nanodollars or spending.unpriced):
            then(message)
        else:
            self._tasks.start(self._ask(message, message.correlation_id, then))

    async def _ask(
        self, message: StoredMessage, correlation_id: str, then: Callable[[StoredMessage], None]
    ) -> None:
        try:
            now = await self._ledgers_word(correlation_id)
        except SignalboxError:
            now = None  # then it is shown as it was kept
        session = self._conversations.get(message.conversation_id)
        if session is not None and message.id in session.tree:
            if now is not None and now != message.spending:
                session.settle(message.id, now)
            message = session.tree[message.id]
        then(message)

    async def _ledgers_word(self, correlation_id: str) -> Spending | None:
        """Return what a request cost by the ledger; ``None`` where it doesn't know the request.

        Raises:
            SignalboxError: the ledger can't be read.
        """
        rows = await self._bridge.call(self._bridge.core.ledger.attempts(correlation_id))
        return Spending.total(row.spending for row in rows) if rows else None
