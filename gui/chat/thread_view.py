"""The messages of the conversation that is shown, in a column that follows the tail only when it is at the tail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject, QPoint, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QFocusEvent, QKeyEvent, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QPushButton, QScrollArea, QVBoxLayout, QWidget

from gui.chat.answer_message import AnswerMessage
from gui.chat.failures.cards import FailureCard
from gui.chat.failures.plans import Plan
from gui.chat.markdown.highlighter import LexerCache
from gui.chat.message_keys import MessageKeys
from gui.chat.message_view import MessageView
from gui.chat.session import Session
from gui.chat.storage.models import StoredMessage
from gui.chat.user_message import UserMessage
from gui.theme.theme import set_button_icon, set_property, theme
from gui.widgets.marks import paint_focus_ring

COLUMN_PX = 800
SHOWN_MESSAGES = 40
SLICE_S = 0.006
PROGRESS_MS = 250
AT_BOTTOM_PX = 6
TABS_MS = 150
_BY_KEY = (
    Qt.FocusReason.TabFocusReason,
    Qt.FocusReason.BacktabFocusReason,
    Qt.FocusReason.ShortcutFocusReason,
)


class ThreadView(QScrollArea):
    """Signals:
    stepped(id, by), edited(id, text), kept(), regenerate_asked(id), badge_opened(id), acted(id, action),
    link_clicked, pin_asked(id, pinned).
    card_changed: that card came or went.
    card_acted: the action of the card that stands at the end, for a prompt that went back to the box.
    """

    stepped = Signal(str, int)
    edited = Signal(str, str)
    regenerate_asked = Signal(str)
    badge_opened = Signal(str)
    kept = Signal()
    acted = Signal(str, str)
    card_acted = Signal(str)
    card_changed = Signal()
    link_clicked = Signal(str, QPoint)
    pin_asked = Signal(str, bool)

    def __init__(self, lexers: LexerCache, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._lexers = lexers
        self._session: Session | None = None
        self._views: dict[str, MessageView] = {}
        self._order: list[str] = []
        self._shown = SHOWN_MESSAGES
        self._building: asyncio.Task[None] | None = None
        self._restyling: asyncio.Task[None] | None = None
        self._loose_card: FailureCard | None = None
        self.waiting_words: Callable[[], str] = str
        self.following = True
        self._range_moves = False
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Conversation")
        self._inside = QWidget()
        self._inside.setObjectName("thread")
        self._column = QVBoxLayout(self._inside)
        self._earlier = QPushButton()
        set_property(self._earlier, flat=True, compact=True)
        self._earlier.clicked.connect(self._show_earlier)
        self._earlier.hide()
        self._column.addWidget(self._earlier)
        self._column.addStretch(1)
        self.setWidget(self._inside)
        self._jump = QPushButton("Latest", self)
        set_property(self._jump, compact=True)
        set_button_icon(self._jump, "arrow-down", "text", 14)
        self._jump.setToolTip("Go to the end and follow it (End)")
        self._jump.clicked.connect(self.go_to_end)
        self._jump.hide()
        self._progress = QTimer(self)
        self._progress.setInterval(PROGRESS_MS)
        self._progress.timeout.connect(self._show_progress)
        self._tabs_due = QTimer(self)
        self._tabs_due.setSingleShot(True)
        self._tabs_due.setInterval(TABS_MS)
        self._tabs_due.timeout.connect(self.order_tabs)
        self._ring = _Ring(self)
        self._keys = MessageKeys(self, self.views)
        bar = self.verticalScrollBar()
        bar.rangeChanged.connect(self._on_range)
        bar.valueChanged.connect(self._on_value)
        theme().changed.connect(self._restyle)
        self._respace()

    # Which conversation

    @property
    def session(self) -> Session | None:
        return self._session

    @property
    def is_building(self) -> bool:
        return self._building is not None and not self._building.done()

    def view_of(self, message_id: str) -> MessageView | None:
        return self._views.get(message_id)

    def views(self) -> list[MessageView]:
        return [self._views[item] for item in self._order if item in self._views]

    def show_session(self, session: Session) -> None:
        """Show another conversation, from its end upwards, a few milliseconds at a time."""
        if self._session is not None:
            self._session.path_changed.disconnect(self._on_path)
            self._session.text_arrived.disconnect(self._on_text)
            self._session.answer_started.disconnect(self._on_started)
            self._session.answer_waits.disconnect(self._on_waits)
            self._session.answer_ended.disconnect(self._on_ended)
            self._session.failed_before_text.disconnect(self._on_ended)
            self._session.answer_settled.disconnect(self._on_settled)
        self._session = session
        session.path_changed.connect(self._on_path)
        session.text_arrived.connect(self._on_text)
        session.answer_started.connect(self._on_started)
        session.answer_waits.connect(self._on_waits)
        session.answer_ended.connect(self._on_ended)
        session.failed_before_text.connect(self._on_ended)
        session.answer_settled.connect(self._on_settled)
        self.set_loose_plan(None)
        self._shown = SHOWN_MESSAGES
        self.following = True
        self._drop(list(self._order))
        self._order = []
        self._restart_build()

    def _on_path(self) -> None:
        self._restart_build()

    def _restart_build(self) -> None:
        if self._building is not None:
            self._building.cancel()
        self._building = asyncio.get_running_loop().create_task(self._build())

    def stop_building(self) -> None:
        """The page closes."""
        for task in (self._building, self._restyling):
            if task is not None:
                task.cancel()

    async def _build(self) -> None:
        """Make the widgets that are missing and drop those that are not on the path any more."""
        session = self._session
        if session is None:
            return
        path = session.tree.path()
        hidden = max(0, len(path) - self._shown)
        path = path[hidden:]
        self._earlier.setText(f"Show {hidden:,} earlier message{'s'[: hidden != 1]}")
        self._earlier.setVisible(hidden > 0)
        wanted = [message.id for message in path]
        kept = self._common_start(wanted)
        gone = [item for item in self._order if item not in wanted]
        self._drop(gone)
        self._order = wanted
        missing = [message for message in path if message.id not in self._views]
        if not kept:
            missing.reverse()  # the end of a long conversation is what its reader wants to see first
        pause = _Pauses()
        for message in missing:
            await self._add(session, message, pause)
            await pause.if_due()
        self._update_places()
        self.order_tabs()  # at once, since an answer that streams lays out all the time

    def _common_start(self, wanted: list[str]) -> int:
        count = 0
        for old, new in zip(self._order, wanted, strict=False):
            if old != new or old not in self._views:
                break
            count += 1
        return count

    async def _add(self, session: Session, message: StoredMessage, pause: _Pauses) -> None:
        view: MessageView
        if message.role == "user":
            view = UserMessage(message)
            view.edited.connect(self.edited)
            view.kept.connect(self.kept)
        else:
            view = self._new_answer(message)
        self._keys.watch(view)
        view.stepped.connect(self.stepped)
        view.link_clicked.connect(self.link_clicked)
        view.pin_asked.connect(self.pin_asked)
        place = self._order.index(message.id)
        before = sum(1 for item in self._order[:place] if item in self._views)
        self._views[message.id] = view
        self._column.insertWidget(1 + before, view)
        if isinstance(view, AnswerMessage):
            if session.running_id == message.id:
                view.start(session.text_of(message.id))
                self._show_progress()
                self._progress.start()
            else:
                view.show_state(session.tree[message.id])
                if message.text:
                    for _ in view.view.render_steps(message.text):
                        await pause.if_due()

    def _new_answer(self, message: StoredMessage) -> AnswerMessage:
        view = AnswerMessage(message, self._lexers)
        view.regenerate_asked.connect(self.regenerate_asked)
        view.badge_opened.connect(self.badge_opened)
        view.acted.connect(self.acted)
        return view

    def _drop(self, message_ids: list[str]) -> None:
        for message_id in message_ids:
            view = self._views.pop(message_id, None)
            if view is not None:
                self._column.removeWidget(view)
                view.hide()
                view.deleteLater()

    def _show_earlier(self) -> None:
        bar = self.verticalScrollBar()
        from_end = bar.maximum() - bar.value()
        self.following = False
        self._shown += SHOWN_MESSAGES
        self._restart_build()
        assert self._building is not None
        self._building.add_done_callback(
            lambda _: QTimer.singleShot(0, lambda: bar.setValue(bar.maximum() - from_end))
        )

    def _update_places(self) -> None:
        session = self._session
        if session is None:
            return
        for message_id, view in self._views.items():
            if message_id in session.tree:
                number, count = session.tree.place(message_id)
                view.set_place(number, count, busy=session.is_streaming)
                if isinstance(view, AnswerMessage) and session.tree.has_continuation(message_id):
                    view.set_plan(None)

    # What arrives

    def _on_started(self, answer_id: str) -> None:
        view = self._views.get(answer_id)
        if isinstance(view, AnswerMessage) and self._session is not None:
            view.show_state(self._session.tree[answer_id])
            self._show_progress()
            self._progress.start()

    def _on_waits(self, answer_id: str) -> None:
        if answer_id in self._views:
            self._show_progress()
            self._progress.start()

    def _on_text(self, answer_id: str, text: str) -> None:
        view = self._views.get(answer_id)
        if isinstance(view, AnswerMessage) and view.view.is_streaming:
            view.append(text)

    def _on_ended(self, answer_id: str) -> None:
        view = self._views.get(answer_id)
        self._progress.stop()
        if isinstance(view, AnswerMessage) and self._session is not None and answer_id in self._session.tree:
            view.finish(self._session.tree[answer_id])
        self._update_places()
        self._update_jump()

    def _on_settled(self, answer_id: str) -> None:
        view = self._views.get(answer_id)
        if isinstance(view, AnswerMessage) and self._session is not None:
            view.show_cost(self._session.tree[answer_id])

    def _show_progress(self) -> None:
        session = self._session
        if session is None or session.running_id is None:
            self._progress.stop()
            return
        view = self._views.get(session.running_id)
        if not isinstance(view, AnswerMessage):
            return
        speed: float | None = None
        if session.first_token_at_s is not None and session.tokens > 1:
            elapsed_s = time.monotonic() - session.first_token_at_s
            speed = (session.tokens - 1) / elapsed_s if elapsed_s > 0.3 else None
        held = session.tree[session.running_id].hold_nanodollars or None
        if session.waiting is not None:
            view.set_wait(session.waiting)
        elif session.tree[session.running_id].decision is None:
            view.set_waiting(self.waiting_words())
        else:
            view.set_progress(session.tokens, speed, held)

    def set_loose_plan(self, plan: Plan | None) -> None:
        """Show a card at the end, where the answer would stand, for a prompt that went back to the box."""
        if self._loose_card is not None:
            self._column.removeWidget(self._loose_card)
            self._loose_card.hide()
            self._loose_card.deleteLater()
            self._loose_card = None
        if plan is not None:
            self._loose_card = FailureCard(plan)
            self._loose_card.acted.connect(self.card_acted)
            self._column.insertWidget(self._column.count() - 1, self._loose_card)
            self.go_to_end()
        self.card_changed.emit()

    @property
    def loose_card(self) -> FailureCard | None:
        return self._loose_card

    # Keyboard

    def order_tabs(self) -> None:
        """Lead Tab from the head through the messages downwards to the composer.

        Qt puts what is made later after everything else in the window, and the last message is made first.
        """
        before: QWidget = self
        for index in range(self._column.count()):
            item = self._column.itemAt(index)
            view = None if item is None else item.widget()
            if view is None:
                continue
            for widget in (view, *view.findChildren(QWidget)):
                if widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
                    QWidget.setTabOrder(before, widget)
                    before = widget
        QWidget.setTabOrder(before, self._jump)

    def focusInEvent(self, arg__1: QFocusEvent) -> None:
        super().focusInEvent(arg__1)
        self._ring.setVisible(arg__1.reason() in _BY_KEY)
        self._ring.raise_()

    def focusOutEvent(self, arg__1: QFocusEvent) -> None:
        super().focusOutEvent(arg__1)
        self._ring.hide()

    # Following the tail

    def go_to_end(self) -> None:
        self.following = True
        bar = self.verticalScrollBar()
        bar.setValue(bar.maximum())
        self._update_jump()

    def _on_range(self, _minimum: int, maximum: int) -> None:
        bar = self.verticalScrollBar()
        # The bar moves its value into the new range after this; that is not the reader's doing.
        self._range_moves = bar.value() > maximum
        if self.following:
            bar.setValue(maximum)
        self._update_jump()

    def _on_value(self, value: int) -> None:
        if self._range_moves:
            self._range_moves = False
            return
        self.following = value >= self.verticalScrollBar().maximum() - AT_BOTTOM_PX
        self._update_jump()

    def _update_jump(self) -> None:
        bar = self.verticalScrollBar()
        away = not self.following and bar.maximum() - bar.value() > self.viewport().height() // 4
        if away != self._jump.isVisible():
            self._jump.setVisible(away)
        if away:
            self._jump.adjustSize()
            self._jump.move(
                (self.width() - self._jump.width()) // 2, self.height() - self._jump.height() - theme().px(8)
            )

    # Look

    @staticmethod
    def column_margin_for(width: int) -> int:
        """The pixels left of the column in a page of ``width``, so that the composer can stand under it."""
        unit = theme()
        return max(unit.px(16), (width - unit.px(COLUMN_PX)) // 2)

    def _respace(self) -> None:
        unit = theme()
        left = self.column_margin_for(self.width())
        right = max(0, self.viewport().width() - (self.width() - left))
        self._column.setContentsMargins(left, unit.px(16), right, unit.px(20))
        # Setting the same spacing again asks for a new layout, which would ask for this again, for ever.
        if self._column.spacing() != unit.px(13):
            self._column.setSpacing(unit.px(13))

    def _restyle(self) -> None:
        """Draw what is on screen again at once, and the rest a few milliseconds at a time."""
        self._respace()
        if self._restyling is not None:
            self._restyling.cancel()
        hidden: list[MessageView] = []
        for view in self.views():
            if view.visibleRegion().isEmpty():
                hidden.append(view)
            else:
                view.restyle()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # the theme is set before the loop runs
            for view in hidden:
                view.restyle()
        else:
            self._restyling = loop.create_task(self._restyle_hidden(hidden))

    async def _restyle_hidden(self, views: list[MessageView]) -> None:
        pause = _Pauses()
        for view in reversed(views):
            if self._views.get(view.message_id) is not view:
                continue
            if isinstance(view, AnswerMessage) and not view.view.is_streaming:
                for _ in view.view.render_steps(view.view.source):
                    await pause.if_due()
            else:
                view.restyle()
            await pause.if_due()

    def resizeEvent(self, arg__1: QResizeEvent) -> None:
        super().resizeEvent(arg__1)
        self._ring.setGeometry(self.viewport().geometry())
        self._respace()
        self._update_jump()

    def eventFilter(self, arg__1: QObject, arg__2: QEvent) -> bool:
        handled = super().eventFilter(arg__1, arg__2)
        if arg__2.type() == QEvent.Type.LayoutRequest and arg__1 is self.widget():
            self._respace()
            self._tabs_due.start()  # something may have come; again from the start while an answer streams
        return handled

    def keyPressEvent(self, arg__1: QKeyEvent) -> None:
        bar = self.verticalScrollBar()
        if arg__1.key() == Qt.Key.Key_End:
            self.go_to_end()
        elif arg__1.key() == Qt.Key.Key_Home:
            bar.setValue(0)
        else:
            super().keyPressEvent(arg__1)


class _Ring(QWidget):
    """Shows that the keys scroll the messages; the messages themselves would cover a border."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.hide()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        paint_focus_ring(painter, QRectF(self.rect()), theme().px(4))
        painter.end()


class _Pauses:
    """Gives the window its turn whenever a slice of work has taken its time."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began = clock()

    async def if_due(self) -> None:
        if self._clock() - self._began > SLICE_S:
            await asyncio.sleep(0)
            self._began = self._clock()
