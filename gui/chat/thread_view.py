"""The messages of the conversation that is shown, in a column that follows the tail only when it is at the tail."""

from __future__ import annotations

import asyncio

from PySide6.QtCore import QCoreApplication, QEvent, QObject, QPoint, QRect, Qt, QTimer, Signal
from PySide6.QtGui import QFocusEvent, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import (
    QApplication,
    QFrame,
    QPushButton,
    QScrollArea,
    QWidget,
)

from gui.chat.answer_message import AnswerMessage
from gui.chat.answer_progress import AnswerProgress
from gui.chat.failures.cards import FailureCard
from gui.chat.failures.plans import Plan
from gui.chat.markdown.highlighter import LexerCache
from gui.chat.message_column import MessageColumn, likely_height
from gui.chat.message_keys import MessageKeys, order_tabs
from gui.chat.message_view import MessageView
from gui.chat.pauses import Pauses
from gui.chat.pictures import Pictures
from gui.chat.prompt_edit import PromptEdit
from gui.chat.session import Session
from gui.chat.storage.models import StoredMessage
from gui.chat.user_message import UserMessage
from gui.theme.theme import set_button_icon, set_property, theme
from gui.widgets.marks import FocusRing

COLUMN_PX = 800
SHOWN_MESSAGES = 40
MOST_VIEWS = 40
"""So many messages have widgets at most, the nearest to what is read; ``NEAR_MESSAGES`` around it always have."""
NEAR_MESSAGES = 15
FILL_MS = 30
AT_BOTTOM_PX = 6
TABS_MS = 150
_BY_KEY = (
    Qt.FocusReason.TabFocusReason,
    Qt.FocusReason.BacktabFocusReason,
    Qt.FocusReason.ShortcutFocusReason,
)


class ThreadView(QScrollArea):
    """Signals:
    stepped(id, by), edited(id, text), kept(), regenerate_asked(id), replay_asked(id), badge_opened(id),
    acted(id, action), link_clicked, pin_asked(id, pinned), attachment_opened(attachment).
    card_changed: that card came or went.
    card_acted: the action of the card that stands at the end, for a prompt that went back to the box.
    """

    stepped = Signal(str, int)
    edited = Signal(str, str)
    regenerate_asked = Signal(str)
    replay_asked = Signal(str)
    badge_opened = Signal(str)
    kept = Signal()
    acted = Signal(str, str)
    card_acted = Signal(str)
    card_changed = Signal()
    link_clicked = Signal(str, QPoint)
    pin_asked = Signal(str, bool)
    attachment_opened = Signal(object)

    def __init__(self, lexers: LexerCache, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._lexers = lexers
        self._session: Session | None = None
        self._offers_pins = True
        self._shown = SHOWN_MESSAGES
        self._building: asyncio.Task[None] | None = None
        self._filling: asyncio.Task[None] | None = None
        self._zoom = theme().zoom
        self._held: tuple[str, int] | None = None  # the id, since its widget may be made anew
        self._target = ""
        self._loose_card: FailureCard | None = None
        self.pictures: Pictures | None = None
        self.following = True
        self._range_moves = self._is_placing = False
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Conversation")
        self._inside = QWidget()
        self._inside.setObjectName("thread")
        self._column = MessageColumn(self._inside)
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
        self.progress = AnswerProgress(self.view_of, self)
        self._tabs_due = QTimer(self)
        self._tabs_due.setSingleShot(True)
        self._tabs_due.setInterval(TABS_MS)
        self._tabs_due.timeout.connect(self.order_tabs)
        self._fill_due = QTimer(self)
        self._fill_due.setSingleShot(True)
        self._fill_due.setInterval(FILL_MS)
        self._fill_due.timeout.connect(self._fill_soon)
        self._ring = FocusRing(self)
        self._keys = MessageKeys(self, self.views)
        bar = self.verticalScrollBar()
        bar.rangeChanged.connect(self._on_range)
        bar.valueChanged.connect(self._on_value)
        theme().about_to_change.connect(self._thin_out)
        theme().changed.connect(self._restyle)
        self._respace()

    # Which conversation

    @property
    def session(self) -> Session | None:
        return self._session

    @property
    def is_building(self) -> bool:
        """Whether widgets are being made."""
        return _runs(self._building) or _runs(self._filling)

    def view_of(self, message_id: str) -> MessageView | None:
        """The widget of a message; ``None`` where it has none just now. ``reveal`` makes one."""
        return self._column.views.get(message_id)

    def views(self) -> list[MessageView]:
        """The widgets there are, from above: at most some ``MOST_VIEWS`` around what is read."""
        return [self._column.views[item] for item in self._column.order if item in self._column.views]

    def show_session(self, session: Session) -> None:
        """Show another conversation, from its end upwards, a few milliseconds at a time."""
        if self._session is not None:
            self._session.path_changed.disconnect(self._restart_build)
            self._session.text_arrived.disconnect(self._on_text)
            self._session.answer_started.disconnect(self._on_started)
            self._session.answer_waits.disconnect(self._on_waits)
            self._session.answer_ended.disconnect(self._on_ended)
            self._session.failed_before_text.disconnect(self._on_ended)
            self._session.answer_settled.disconnect(self._on_settled)
        self._session = session
        session.path_changed.connect(self._restart_build)
        session.text_arrived.connect(self._on_text)
        session.answer_started.connect(self._on_started)
        session.answer_waits.connect(self._on_waits)
        session.answer_ended.connect(self._on_ended)
        session.failed_before_text.connect(self._on_ended)
        session.answer_settled.connect(self._on_settled)
        self.progress.end()
        self.set_loose_plan(None)
        self._shown = SHOWN_MESSAGES
        self.following = True
        self._held, self._target = None, ""
        self._drop(list(self._column.order))
        self._column.order = []
        self._restart_build()

    def lay_out(self) -> None:
        """Lay out at once what was made."""
        self._column.activate()
        self._inside.resize(
            self._inside.width(), max(self.viewport().height(), self._column.sizeHint().height())
        )

    def _restart_build(self) -> None:
        self.stop_building()
        self._building = asyncio.get_running_loop().create_task(self._build())

    def stop_building(self) -> None:
        """No more widgets are made for now."""
        self._fill_due.stop()
        for task in (self._building, self._filling):
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
        still = set(wanted)
        self._drop([item for item in self._column.order if item not in still])
        self._column.order = wanted
        missing = [message for message in path if not self._column.has(message.id)]
        if not kept:
            missing.reverse()  # the end of a long conversation is what its reader wants to see first
        if len(missing) > MOST_VIEWS:
            center = self._center()
            missing.sort(key=lambda message: abs(wanted.index(message.id) - center))
            for message in missing[SHOWN_MESSAGES:]:
                self._column.reserve(message.id, likely_height(message))
            del missing[SHOWN_MESSAGES:]
        pause = Pauses()
        for message in missing:
            await self._add(session, message, pause)
            await pause.if_due()
        self._update_places()
        self.order_tabs()  # at once, since an answer that streams lays out all the time
        self._fill_due.start()

    def offer_pins(self, offered: bool) -> None:
        """Show a pin at each message, or only where one is set."""
        if offered != self._offers_pins:
            self._offers_pins = offered
            for view in self.views():
                view.offer_pin(offered)

    def _common_start(self, wanted: list[str]) -> int:
        count = 0
        for old, new in zip(self._column.order, wanted, strict=False):
            if old != new or not self._column.has(old):
                break
            count += 1
        return count

    async def _add(self, session: Session, message: StoredMessage, pause: Pauses) -> None:
        view: MessageView
        if message.role == "user":
            view = UserMessage(message, self.pictures)
            view.attachment_opened.connect(self.attachment_opened)
            view.edited.connect(self.edited)
            if (typed := session.edit_of(message.id)) is not None:
                view.resume_editor(typed)
            view.typed.connect(session.keep_edit)
            view.typed.connect(self._show_caret)
            view.kept.connect(self.kept)
        else:
            view = self._new_answer(message)
        self._keys.watch(view)
        view.stepped.connect(self.stepped)
        view.link_clicked.connect(self.link_clicked)
        view.pin_asked.connect(self.pin_asked)
        view.offer_pin(self._offers_pins)
        self._column.put(message.id, view)
        self._update_place(view)
        if isinstance(view, AnswerMessage):
            if session.running_id == message.id:
                view.start(session.text_of(message.id))
                self.progress.follow(session)
            else:
                view.show_state(session.tree[message.id])
                try:
                    for _ in view.view.render_steps(message.text) if message.text else ():
                        await pause.if_due()
                except asyncio.CancelledError:
                    if self._column.views.get(message.id) is view:
                        self._drop([message.id])  # half of an answer would stay half
                    raise

    def _new_answer(self, message: StoredMessage) -> AnswerMessage:
        view = AnswerMessage(message, self._lexers)
        view.regenerate_asked.connect(self.regenerate_asked)
        view.replay_asked.connect(self.replay_asked)
        view.badge_opened.connect(self.badge_opened)
        view.acted.connect(self.acted)
        return view

    def _drop(self, message_ids: list[str]) -> None:
        for view in self._column.forget(message_ids):
            view.hide()
            view.deleteLater()

    def _show_earlier(self) -> None:
        self.following = False
        self._hold_place()
        self._shown += SHOWN_MESSAGES
        self._restart_build()

    def _update_places(self) -> None:
        for view in self._column.views.values():
            self._update_place(view)

    def _update_place(self, view: MessageView) -> None:
        session = self._session
        if session is None or view.message_id not in session.tree:
            return
        number, count = session.tree.place(view.message_id)
        view.set_place(number, count, busy=session.is_streaming)
        if isinstance(view, AnswerMessage) and session.tree.has_continuation(view.message_id):
            view.set_plan(None)

    # Which messages have widgets

    def _may_go(self, view: MessageView) -> bool:
        """Whether a widget can be made anew from the conversation alone."""
        session, focus = self._session, QApplication.focusWidget()
        if (session is not None and session.running_id == view.message_id) or view.is_in_use:
            return False
        return focus is None or not view.isAncestorOf(focus)

    def _center(self) -> int:
        """The place in the order of what is read."""
        order = self._column.order
        if self._target in order:
            return order.index(self._target)
        if self.following:
            return len(order) - 1
        held = self._held
        if held is not None and held[0] in order:
            return order.index(held[0])
        found = self._column.at(self.verticalScrollBar().value() + self.viewport().height() // 2)
        return len(order) - 1 if found is None else found

    def _shed(self) -> None:
        """Let go of the widgets farthest from what is read, where there are too many."""
        too_many = len(self._column.views) - MOST_VIEWS
        if too_many <= 0:
            return
        center, order = self._center(), self._column.order
        farthest = sorted(range(len(order)), key=lambda index: -abs(index - center))
        for index in farthest:
            view = self._column.views.get(order[index])
            if abs(index - center) <= NEAR_MESSAGES or too_many <= 0:
                break
            if view is not None and self._may_go(view):
                self._column.empty(view.message_id)
                view.hide()
                view.deleteLater()
                too_many -= 1

    def _next_gap(self) -> str | None:
        has_room = len(self._column.views) < MOST_VIEWS
        return self._column.next_gap(self._center(), None if has_room else NEAR_MESSAGES)

    def _fill_soon(self) -> None:
        """Make widgets for what is read now, a few milliseconds at a time."""
        if self._session is None or self.is_building:
            return
        if self._next_gap() is not None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:  # it begins, or has ended
                return
            self._filling = loop.create_task(self._fill(self._session))
        else:
            self._shed()

    async def _fill(self, session: Session) -> None:
        pause = Pauses()
        self._keep_place()
        while (message_id := self._next_gap()) is not None:
            await self._add(session, session.tree[message_id], pause)
            await pause.if_due()
        self.order_tabs()
        self._fill_due.start()  # what is too much goes once all is laid out: its gap has its height

    async def reveal(self, message_id: str) -> MessageView | None:
        """Scroll to a message of the shown path, and return its widget, made if it had none."""
        session = self._session
        if session is None:
            return None
        path = [message.id for message in session.tree.path()]
        if message_id not in path:
            return None
        self.following = False
        self._target = message_id  # until the reader goes on, what is made and kept is what is around it
        from_end = len(path) - path.index(message_id)
        if from_end > self._shown:
            self._shown = from_end + NEAR_MESSAGES
            self._restart_build()
        if self._building is not None:
            await asyncio.wait({self._building})
        if self._session is not session or message_id not in self._column.order:
            return None
        if message_id not in self._column.views:
            await self._add(session, session.tree[message_id], Pauses())
        view = self._column.views[message_id]
        self._held = message_id, theme().px(16)
        await asyncio.sleep(0)  # laid out
        self._place_held()
        self._fill_due.start()
        return view

    def _keep_place(self) -> None:
        """Hold what is held already: until the reader goes on, it is what they read, laid out by now or not."""
        held = self._held
        if self.following or held is None or held[0] not in self._column.order:
            self._hold_place()

    def scroll_to(self, view: MessageView, top_px: int) -> None:
        """Put what is ``top_px`` below a message's top at the top of the view, and keep it there."""
        self.following = False
        bar = self.verticalScrollBar()
        bar.setValue(view.y() + top_px)
        self._held = view.message_id, view.y() - bar.value()

    def _show_caret(self) -> None:
        """Who types in a prompt that was scrolled away sees it again."""
        edit = QApplication.focusWidget()
        if isinstance(edit, PromptEdit) and self._inside.isAncestorOf(edit):
            caret = edit.viewport().mapTo(self._inside, edit.cursorRect().center())
            self.ensureVisible(0, caret.y(), 0, theme().px(40))

    def _hold_place(self) -> None:
        """Remember what is read: it stays where it is while what is above it gets its height."""
        self._held = None
        top, height = self.verticalScrollBar().value(), self.viewport().height()
        seen = [view for view in self.views() if view.geometry().bottom() >= top and view.y() < top + height]
        if seen and not self.following:
            # The first that begins in sight: of one that began above, what is read depends on its own height.
            view = next((view for view in seen if view.y() >= top), seen[0])
            self._held = view.message_id, view.y() - top

    # What arrives

    def _on_started(self, answer_id: str) -> None:
        view = self._column.views.get(answer_id)
        if isinstance(view, AnswerMessage) and self._session is not None:
            view.show_state(self._session.tree[answer_id])
            self.progress.follow(self._session)

    def _on_waits(self, answer_id: str) -> None:
        if answer_id in self._column.views and self._session is not None:
            self.progress.follow(self._session)

    def _on_text(self, answer_id: str, text: str) -> None:
        view = self._column.views.get(answer_id)
        if isinstance(view, AnswerMessage) and view.view.is_streaming:
            view.append(text)
            # Not until the next tick beside the first words.
            if view.awaits_first_token and self._session is not None:
                self.progress.follow(self._session)

    def _on_ended(self, answer_id: str) -> None:
        view = self._column.views.get(answer_id)
        self.progress.end()
        if isinstance(view, AnswerMessage) and self._session is not None and answer_id in self._session.tree:
            view.finish(self._session.tree[answer_id])
        self._update_places()
        self._update_jump()

    def _on_settled(self, answer_id: str) -> None:
        view = self._column.views.get(answer_id)
        if isinstance(view, AnswerMessage) and self._session is not None:
            view.show_cost(self._session.tree[answer_id])

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
        """Lead Tab from the head through the messages downwards to the composer."""
        order_tabs(self, self._column, self._jump)

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
        else:
            self._place_held()
        self._update_jump()

    def _place_held(self) -> None:
        if self._held is None:
            return
        message_id, offset = self._held
        y = self._column.box_of(message_id).y()
        if y > 0:  # else it was not laid out yet: something stands above the first one
            self._is_placing = True
            self.verticalScrollBar().setValue(y - offset)
            self._is_placing = False

    def _on_value(self, value: int) -> None:
        if self._range_moves:
            self._range_moves = False
            return
        self._fill_due.start()
        if self._is_placing:
            return
        self.following = value >= self.verticalScrollBar().maximum() - AT_BOTTOM_PX
        self._target = ""
        if self._held is not None:
            self._hold_place()  # the reader went on
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

    def _thin_out(self) -> None:
        """The theme changes: what is out of sight goes now, and is made anew a few milliseconds at a time."""
        self._keep_place()
        kept = None if self._held is None else self._held[0]
        seen = QRect(0, self.verticalScrollBar().value(), self.width(), self.viewport().height())
        for view in self.views():
            if view.message_id != kept and not view.geometry().intersects(seen) and self._may_go(view):
                self._column.empty(view.message_id)
                view.hide()
                view.deleteLater()
                # At once, else the style sheet is applied to it all the same.
                QCoreApplication.sendPostedEvents(view, QEvent.Type.DeferredDelete)

    def _restyle(self) -> None:
        """Draw what is on screen again at once; what went comes again."""
        was_building = _runs(self._building)
        self.stop_building()
        self._respace()
        if theme().zoom != self._zoom:
            factor, self._zoom = theme().zoom / self._zoom, theme().zoom
            self._column.scale_gaps(factor)
            if self._held is not None:
                self._held = self._held[0], round(self._held[1] * factor)
        for view in self.views():
            view.restyle()
        if was_building:
            self._restart_build()
        else:
            self._fill_due.start()

    def resizeEvent(self, arg__1: QResizeEvent) -> None:
        super().resizeEvent(arg__1)
        self._ring.setGeometry(self.viewport().geometry())
        self._respace()
        self._update_jump()

    def eventFilter(self, arg__1: QObject, arg__2: QEvent) -> bool:
        handled = super().eventFilter(arg__1, arg__2)
        if arg__2.type() == QEvent.Type.LayoutRequest and arg__1 is self.widget():
            self._respace()
            if not self.following:
                self._place_held()  # what is above it may have another height, and what is below it too
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


def _runs(task: asyncio.Task[None] | None) -> bool:
    return task is not None and not task.done()
