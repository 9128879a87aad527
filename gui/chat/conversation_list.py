"""The list at the left: search, new chat, and the conversations, by mouse and keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from PySide6.QtCore import (
    QEvent,
    QModelIndex,
    QPersistentModelIndex,
    QPoint,
    QRectF,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtGui import QKeyEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QLineEdit,
    QListView,
    QMenu,
    QVBoxLayout,
    QWidget,
)

from gui.chat.conversation_delegate import ConversationDelegate
from gui.chat.conversation_model import ConversationModel, Group
from gui.chat.storage.models import ConversationSummary, DeletedConversation
from gui.theme.theme import set_property, theme
from gui.widgets.error_card import IconMark
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import plain_label
from gui.widgets.marks import paint_focus_ring
from gui.widgets.painted_button import settle_after

WIDTH_PX = 236
SEARCH_MS = 150


class _View(QListView):
    """Signals:
    delete_pressed, entered_row (Enter).
    toggle_pressed: Space (``None``), Left (``False``: to close) or Right (``True``).
    """

    delete_pressed = Signal()
    entered_row = Signal()
    toggle_pressed = Signal(object)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if self.state() == QAbstractItemView.State.EditingState:
            super().keyPressEvent(event)
            return
        match event.key():
            case Qt.Key.Key_Delete:
                self.delete_pressed.emit()
            case Qt.Key.Key_Return | Qt.Key.Key_Enter:
                self.entered_row.emit()
            case Qt.Key.Key_Space:
                self.toggle_pressed.emit(None)
            case Qt.Key.Key_Left:
                self.toggle_pressed.emit(False)
            case Qt.Key.Key_Right:
                self.toggle_pressed.emit(True)
            case _:
                super().keyPressEvent(event)

    def paintEvent(self, e: QPaintEvent) -> None:
        """Without a current row, as beside a new chat or when it is empty, the list itself shows the focus."""
        super().paintEvent(e)
        by_keyboard = self.window().testAttribute(Qt.WidgetAttribute.WA_KeyboardFocusChange)
        if self.hasFocus() and by_keyboard and not self.currentIndex().isValid():
            painter = QPainter(self.viewport())
            paint_focus_ring(painter, QRectF(self.viewport().rect()), theme().px(4))
            painter.end()


class ConversationList(QWidget):
    """Signals:
    chosen: the id of the conversation to show.
    entered: the id of the conversation to show and write in.
    new_asked, renamed(id, title), folder_renamed(folder, name), delete_asked(id).
    menu_asked: a conversation's id, and where on the screen its menu should open.
    restore_asked, remove_asked: of the ids of deleted conversations, back or for good.
    searched: what to look for, 150 ms after the last key; empty shows everything.
    first_asked: Enter in the search.
    groups_changed: which groups are closed.
    import_asked, export_all_asked("markdown" | "json"): of all chats.
    """

    chosen = Signal(str)
    entered = Signal(str)
    new_asked = Signal()
    renamed = Signal(str, str)
    folder_renamed = Signal(str, str)
    delete_asked = Signal(str)
    menu_asked = Signal(str, QPoint)
    restore_asked = Signal(str)
    remove_asked = Signal(list)
    searched = Signal(str)
    first_asked = Signal()
    groups_changed = Signal()
    import_asked = Signal()
    export_all_asked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        unit = theme()
        self.model = ConversationModel()
        self.model.renamed.connect(self.renamed)
        self.model.folder_renamed.connect(self.folder_renamed)
        self._current_id: str | None = None
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search")
        self.search.setAccessibleName("Search conversations")
        self.search.setToolTip("Search titles and messages (Ctrl+K)")
        self.search.setClearButtonEnabled(True)
        set_property(self.search, compact=True, role="small")
        self._lens = IconMark("magnifying-glass", "text2", 16, self.search)
        self._lens.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._search_timer = QTimer(self)
        self._search_timer.setSingleShot(True)
        self._search_timer.setInterval(SEARCH_MS)
        self._search_timer.timeout.connect(lambda: self.searched.emit(self.search.text()))
        self.search.textChanged.connect(lambda: self._search_timer.start())
        self.search.installEventFilter(self)
        self.new_button = IconButton("note-pencil", "New chat (Ctrl+N)", outlined=True, size=28)
        self.new_button.clicked.connect(self.new_asked)
        self.more_button = IconButton("dots-three", "Import and export chats", outlined=True, size=28)
        self.more_button.clicked.connect(self._open_more)
        self.view = _View()
        self.view.setModel(self.model)
        self.view.setItemDelegate(ConversationDelegate(self.view))
        self.view.setAccessibleName("Conversations")
        self.view.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.view.setEditTriggers(QAbstractItemView.EditTrigger.EditKeyPressed)
        self.view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.view.customContextMenuRequested.connect(self._open_menu)
        self.view.setMouseTracking(True)
        self.view.delete_pressed.connect(self._delete_current)
        self.view.entered_row.connect(self._enter_current)
        self.view.toggle_pressed.connect(self._toggle_current)
        self.view.clicked.connect(self._on_clicked)
        self.view.selectionModel().currentChanged.connect(self._on_current)
        self._nothing = plain_label()
        self._nothing.setWordWrap(True)
        self._nothing.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignHCenter)
        set_property(self._nothing, role="small", level="3")
        self._nothing.hide()
        top = QHBoxLayout()
        top.setContentsMargins(unit.px(4), 0, unit.px(4), 0)
        top.setSpacing(unit.px(8))
        top.addWidget(self.search, 1)
        top.addWidget(self.new_button)
        top.addWidget(self.more_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(unit.px(8), unit.px(12), unit.px(8), unit.px(8))
        column.setSpacing(unit.px(8))
        column.addLayout(top)
        column.addWidget(self._nothing)
        column.addWidget(self.view, 1)
        theme().changed.connect(self._restyle)
        self._restyle()

    def _restyle(self) -> None:
        # Its own ground: a list in a card is white, this one is part of the page.
        self.view.setStyleSheet("QListView { background: transparent; border: none; }")
        self.view.doItemsLayout()
        unit = theme()
        self.search.setTextMargins(unit.px(22), 0, 0, 0)
        self._lens.move(unit.px(9), (unit.px(28) - unit.px(16)) // 2)

    def show_summaries(
        self,
        summaries: tuple[ConversationSummary, ...],
        nothing: str = "",
        *,
        deleted: tuple[DeletedConversation, ...] = (),
        is_search: bool = False,
    ) -> None:
        """Show these rows; ``nothing`` is said when there are none. Not while a title is being edited."""
        if self.view.state() == QAbstractItemView.State.EditingState:
            return
        self._laid_out(lambda: self.model.set_summaries(summaries, deleted, is_search=is_search))
        self._nothing.setText(nothing)
        self._nothing.setVisible(not summaries and bool(nothing))

    def set_current(self, conversation_id: str | None) -> None:
        """Mark the conversation that is shown, without a signal."""
        self._current_id = conversation_id
        self._select(conversation_id)

    def focus_search(self) -> None:
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search.selectAll()

    def edit_title(self, conversation_id: str) -> None:
        """Begin the inline edit of a row."""
        index = self.model.index_of(conversation_id)
        if index.isValid():
            self.view.scrollTo(index)
            self.view.edit(index)

    def take_away(self, conversation_id: str) -> None:
        """Take a row away at once; the list is read anew after that."""
        self._laid_out(lambda: self.model.take_away(conversation_id))

    def set_closed(self, keys: Iterable[str]) -> None:
        """Close these groups and open the others."""
        self._laid_out(lambda: self.model.set_closed(keys))

    def _laid_out(self, change: Callable[[], None]) -> None:
        """Change the rows under the reader, who stays where he is, also on a header or a deleted row."""
        bar = self.view.verticalScrollBar()
        place = bar.value()
        row = self.model.row_at(self.view.currentIndex())
        number = self.view.currentIndex().row()
        change()
        if isinstance(row, Group) and (there := self.model.index_of_group(row.key)).isValid():
            self._set_current_index(there)
        elif (
            isinstance(row, DeletedConversation)
            and (near := self.model.deleted_near(row.id, number)).isValid()
        ):
            self._set_current_index(near)
        else:
            self._select(self._current_id)
        bar.setValue(place)

    def _select(self, conversation_id: str | None) -> None:
        self._set_current_index(self.model.index_of(conversation_id) if conversation_id else QModelIndex())

    def _set_current_index(self, index: QModelIndex) -> None:
        selection = self.view.selectionModel()
        selection.blockSignals(True)
        self.view.setCurrentIndex(index)
        if not index.isValid():
            self.view.clearSelection()
        selection.blockSignals(False)
        self.view.viewport().update()

    def _on_current(self, current: QModelIndex | QPersistentModelIndex) -> None:
        row = self.model.row_at(current)
        if isinstance(row, ConversationSummary) and row.id != self._current_id:
            self._current_id = row.id
            self.chosen.emit(row.id)

    def _delete_current(self) -> None:
        row = self.model.row_at(self.view.currentIndex())
        if isinstance(row, ConversationSummary):
            self.delete_asked.emit(row.id)
        elif isinstance(row, DeletedConversation):
            self.remove_asked.emit([row.id])

    def _enter_current(self) -> None:
        row = self.model.row_at(self.view.currentIndex())
        if isinstance(row, ConversationSummary):
            self.entered.emit(row.id)
        elif isinstance(row, DeletedConversation):
            self.restore_asked.emit(row.id)
        elif isinstance(row, Group):
            self._toggle(row.key)

    def _toggle_current(self, to_open: bool | None) -> None:
        """Open or close the group that is current; Left in a group goes to its header."""
        index = self.view.currentIndex()
        row = self.model.row_at(index)
        if isinstance(row, Group):
            if to_open is None or to_open != row.is_open:
                self._toggle(row.key)
        elif to_open is False and (header := self.model.group_above(index)).isValid():
            self.view.setCurrentIndex(header)

    def _on_clicked(self, index: QModelIndex) -> None:
        row = self.model.row_at(index)
        if isinstance(row, Group):
            self._toggle(row.key)

    def _toggle(self, key: str) -> None:
        self._laid_out(lambda: self.model.toggle(key))
        self.groups_changed.emit()

    def _open_more(self) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction("Import chats…", self.import_asked.emit)
        menu.addSeparator()
        menu.addAction("Export all as JSON…", lambda: self.export_all_asked.emit("json"))
        menu.addAction("Export all as Markdown, in a zip…", lambda: self.export_all_asked.emit("markdown"))
        settle_after(menu, self.more_button)
        menu.popup(self.more_button.mapToGlobal(QPoint(0, self.more_button.height() + 2)))

    def _open_menu(self, place: QPoint) -> None:
        index = self.view.indexAt(place)
        if not index.isValid():
            index = self.view.currentIndex()  # the menu key
            place = self.view.visualRect(index).center()
        row = self.model.row_at(index)
        at = self.view.viewport().mapToGlobal(place)
        if isinstance(row, ConversationSummary):
            self.menu_asked.emit(row.id, at)
            return
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        if isinstance(row, DeletedConversation):
            menu.addAction("Restore\tEnter", lambda: self.restore_asked.emit(row.id))
            menu.addAction("Delete for good…\tDel", lambda: self.remove_asked.emit([row.id]))
        elif isinstance(row, Group) and row.folder:
            menu.addAction("Rename folder\tF2", lambda: self.view.edit(self.model.index_of_group(row.key)))
            menu.addAction("Take the chats out of it", lambda: self.folder_renamed.emit(row.folder, ""))
        elif isinstance(row, Group):
            menu.addAction("Delete all for good…", lambda: self.remove_asked.emit(self.model.deleted_ids()))
        if menu.isEmpty():
            menu.deleteLater()
        else:
            menu.popup(at)

    def eventFilter(self, watched: object, event: QEvent) -> bool:
        if watched is self.search and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() == Qt.Key.Key_Down:
                self.view.setFocus(Qt.FocusReason.OtherFocusReason)
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.search.text().strip():
                self._search_timer.stop()
                self.searched.emit(self.search.text())
                self.first_asked.emit()
                return True
            if event.key() == Qt.Key.Key_Escape and self.search.text():
                self.search.clear()
                return True
        return False
