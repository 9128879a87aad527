"""The messages from the keyboard: arrows go from one to the next, Enter and the Menu key open what one offers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QEvent, QObject, QPoint, Qt
from PySide6.QtGui import QContextMenuEvent, QFocusEvent, QKeyEvent
from PySide6.QtWidgets import QAbstractButton, QLayout, QMenu, QScrollArea, QWidget

from gui.chat.message_view import MessageView
from gui.theme.theme import theme
from gui.widgets.marks import FocusRing
from gui.widgets.route_badge import RouteBadge

_STEP_PX = 48
_OPENS = (Qt.Key.Key_Return, Qt.Key.Key_Enter)


class MessageKeys(QObject):
    """``views`` are the messages of ``thread`` from the top.

    A message that is longer than what is seen of it is scrolled by the arrows first.
    """

    def __init__(self, thread: QScrollArea, views: Callable[[], Sequence[MessageView]]) -> None:
        super().__init__(thread)
        self._thread, self._views = thread, views
        self._ring: _MessageRing | None = None

    def watch(self, view: MessageView) -> None:
        """Make a message a stop of the keyboard."""
        view.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        view.installEventFilter(self)

    def open_tools(self, view: MessageView, place: QPoint | None = None) -> None:
        """List what can be done with a message at ``place`` on the screen, or under it."""
        menu = QMenu(view)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        used: dict[str, int] = {}
        for button in view.findChildren(QAbstractButton):
            if not button.isVisible():
                continue
            words = _words_of(button)
            used[words] = used.get(words, 0) + 1
            again = f" ({used[words]})" if used[words] > 1 else ""
            action = menu.addAction(words.replace("&", "&&") + again, button.click)
            action.setEnabled(button.isEnabled())
        if menu.isEmpty():
            menu.deleteLater()
            return
        if place is None:
            shown = view.visibleRegion().boundingRect()
            place = view.mapToGlobal(shown.topLeft() + QPoint(theme().px(14), theme().px(26)))
        menu.popup(place)
        menu.setActiveAction(
            next((action for action in menu.actions() if action.isEnabled()), menu.actions()[0])
        )

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if not isinstance(watched, MessageView):
            return False
        if isinstance(event, QFocusEvent):
            self._show_ring(watched, shown=event.gotFocus())
        elif isinstance(event, QContextMenuEvent):
            by_mouse = event.reason() == QContextMenuEvent.Reason.Mouse
            self.open_tools(watched, event.globalPos() if by_mouse else None)
            return True
        elif event.type() == QEvent.Type.Resize and self._ring is not None:
            self._ring.follow()
        elif isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress and watched.hasFocus():
            return self._pressed(watched, event)
        return False

    def _pressed(self, view: MessageView, event: QKeyEvent) -> bool:
        key = Qt.Key(event.key())
        if event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier:
            return False
        if key in _OPENS:
            self.open_tools(view)
        elif key in (Qt.Key.Key_Up, Qt.Key.Key_Down):
            self._go(view, 1 if key == Qt.Key.Key_Down else -1)
        elif key in (Qt.Key.Key_Home, Qt.Key.Key_End):
            self._focus(self._views()[0 if key == Qt.Key.Key_Home else -1])
        else:
            return False
        return True

    def _go(self, view: MessageView, by: int) -> None:
        bar = self._thread.verticalScrollBar()
        top = view.mapTo(self._thread.viewport(), QPoint(0, 0)).y()
        hidden = top + view.height() - self._thread.viewport().height() if by > 0 else -top
        if hidden > 0:
            bar.setValue(bar.value() + by * min(hidden, theme().px(_STEP_PX)))
            return
        views = list(self._views())
        place = views.index(view) + by if view in views else -1
        if 0 <= place < len(views):
            self._focus(views[place])

    def _focus(self, view: MessageView) -> None:
        view.setFocus(Qt.FocusReason.ShortcutFocusReason)
        bar = self._thread.verticalScrollBar()
        top = view.mapTo(self._thread.viewport(), QPoint(0, 0)).y()
        room = self._thread.viewport().height()
        if top < 0:
            bar.setValue(bar.value() + top)
        elif top + view.height() > room:
            bar.setValue(bar.value() + min(top, top + view.height() - room))

    def _show_ring(self, view: MessageView, *, shown: bool) -> None:
        if self._ring is None:
            self._ring = _MessageRing(self._thread.widget())
        self._ring.around = view if shown else None
        self._ring.follow()


class _MessageRing(FocusRing):
    """Over the message, whose text would cover a border of its own."""

    def __init__(self, parent: QWidget | None) -> None:
        super().__init__(parent)
        self.around: MessageView | None = None

    def follow(self) -> None:
        """Lie over the message that has the keyboard; of none, nowhere."""
        if self.around is None:
            self.hide()
            return
        edge = 4
        self.setGeometry(self.around.geometry().adjusted(-edge, -edge, edge, edge))
        self.show()
        self.raise_()


def order_tabs(before: QWidget, column: QLayout, after: QWidget) -> None:
    """Lead Tab from ``before`` through what stands in ``column`` downwards to ``after``.

    Qt puts what is made later after everything else in the window, and the last message is made first.
    """
    for index in range(column.count()):
        item = column.itemAt(index)
        view = None if item is None else item.widget()
        if view is None:
            continue
        for widget in (view, *view.findChildren(QWidget)):
            if widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
                QWidget.setTabOrder(before, widget)
                before = widget
    QWidget.setTabOrder(before, after)


def _words_of(button: QAbstractButton) -> str:
    if isinstance(button, RouteBadge):
        return "Show why it went there"
    return button.accessibleName() or button.text()
