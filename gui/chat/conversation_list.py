"""The list at the left: search, new chat, conversations by day with their side share and cost."""

from __future__ import annotations

from PySide6.QtCore import (
    QEvent,
    QModelIndex,
    QPersistentModelIndex,
    QPoint,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtGui import QKeyEvent
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
from gui.chat.conversation_model import ConversationModel
from gui.chat.storage.models import ConversationSummary
from gui.theme.theme import set_property, theme
from gui.widgets.error_card import IconMark
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import plain_label

WIDTH_PX = 236
SEARCH_MS = 150


class _View(QListView):
    delete_pressed = Signal()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        editing = self.state() == QAbstractItemView.State.EditingState
        if event.key() == Qt.Key.Key_Delete and not editing:
            self.delete_pressed.emit()
            return
        super().keyPressEvent(event)


class ConversationList(QWidget):
    """Signals:
    chosen: the id of the conversation to show.
    new_asked, renamed(id, title), delete_asked(id), export_asked(id, "markdown" | "json").
    searched: what to look for, 150 ms after the last key; empty shows everything.
    """

    chosen = Signal(str)
    new_asked = Signal()
    renamed = Signal(str, str)
    delete_asked = Signal(str)
    export_asked = Signal(str, str)
    searched = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        unit = theme()
        self.model = ConversationModel()
        self.model.renamed.connect(self.renamed)
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

    def show_summaries(self, summaries: tuple[ConversationSummary, ...], nothing: str = "") -> None:
        """Show these rows; ``nothing`` is said when there are none. Not while a title is being edited."""
        if self.view.state() == QAbstractItemView.State.EditingState:
            return
        bar = self.view.verticalScrollBar()
        place = bar.value()
        self.model.set_summaries(summaries)
        self._select(self._current_id)
        bar.setValue(place)
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

    def _select(self, conversation_id: str | None) -> None:
        selection = self.view.selectionModel()
        selection.blockSignals(True)
        index = self.model.index_of(conversation_id) if conversation_id else QModelIndex()
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

    def _open_menu(self, place: QPoint) -> None:
        row = self.model.row_at(self.view.indexAt(place))
        if not isinstance(row, ConversationSummary):
            return
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction("Rename\tF2", lambda: self.edit_title(row.id))
        menu.addAction("Export as Markdown…", lambda: self.export_asked.emit(row.id, "markdown"))
        menu.addAction("Export as JSON…", lambda: self.export_asked.emit(row.id, "json"))
        menu.addSeparator()
        menu.addAction("Delete\tDel", lambda: self.delete_asked.emit(row.id))
        menu.popup(self.view.viewport().mapToGlobal(place))

    def eventFilter(self, watched: object, event: QEvent) -> bool:
        if watched is self.search and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() == Qt.Key.Key_Down:
                self.view.setFocus(Qt.FocusReason.OtherFocusReason)
                return True
            if event.key() == Qt.Key.Key_Escape and self.search.text():
                self.search.clear()
                return True
        return False
