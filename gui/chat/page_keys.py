"""The chat page's keys, in the whole window while the page is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QApplication, QWidget

from gui.chat.list_desk import ListDesk
from gui.chat.options_desk import OptionsDesk
from gui.chat.thread_view import ThreadView
from gui.chat.user_message import UserMessage


class PageKeys(QObject):
    """``acts`` tells what each key does, such as ``{"Ctrl+N": new_chat}``; Esc is known here."""

    def __init__(
        self,
        page: QWidget,
        acts: Mapping[str, Callable[[], object]],
        *,
        thread: ThreadView,
        listing: ListDesk,
        options: OptionsDesk,
        stop: Callable[[], None],
        focus_composer: Callable[[], None],
    ) -> None:
        super().__init__(page)
        self._thread, self._listing, self._options = thread, listing, options
        self._stop, self._focus_composer = stop, focus_composer
        self._shortcuts: list[QShortcut] = []
        for key, act in [*acts.items(), ("Esc", self._on_escape)]:
            shortcut = QShortcut(QKeySequence(key), page)
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)  # also with the focus on the rail
            shortcut.activated.connect(act)
            self._shortcuts.append(shortcut)
        self.set_enabled(page.isVisible())

    def set_enabled(self, enabled: bool) -> None:
        for shortcut in self._shortcuts:
            shortcut.setEnabled(enabled)

    def _on_escape(self) -> None:
        """Close what is open on top; where nothing is, stop the answer."""
        popup = QApplication.activePopupWidget()
        if popup is not None:
            popup.close()
            return
        editors = [view for view in self._thread.views() if isinstance(view, UserMessage) and view.edit]
        if editors:
            focus = QApplication.focusWidget()
            focused = [view for view in editors if focus is not None and view.isAncestorOf(focus)]
            (focused or editors)[-1].keep()
        elif self._listing.clear_search():
            self._focus_composer()
        elif self._options.is_open:
            self._options.close()
        else:
            self._stop()
            self._focus_composer()
