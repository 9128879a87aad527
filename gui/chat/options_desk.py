"""A conversation's options: the drawer that sets them, where it stands, and what the composer shows of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QPoint, QRect, Signal
from PySide6.QtWidgets import QHBoxLayout, QWidget

from gui.chat.composer import Composer
from gui.chat.drawer import WIDTH_PX as DRAWER_PX
from gui.chat.drawer import OptionsDrawer
from gui.chat.header_row import HeaderRow
from gui.chat.records import ChatOptions
from gui.chat.requests import MalformedSchema, parse_schema
from gui.chat.session import Session
from gui.theme import theme

if TYPE_CHECKING:
    from gui.bridge import Bridge

SCHEMA_NOTE = "The JSON schema can’t be used."
BESIDE_PX = 880
"""From this width on the drawer stands beside the messages, so that it hides neither badges nor Send."""


class OptionsDesk(QObject):
    """``beside`` is the row that the drawer joins where there is room, ``right`` what that row fills.

    Signals:
        changed: an option that decides where a prompt goes may have changed.
        closed: the drawer was closed.
    """

    changed = Signal()
    closed = Signal()

    def __init__(
        self,
        page: QWidget,
        bridge: Bridge,
        session: Callable[[], Session],
        *,
        drawer: OptionsDrawer,
        composer: Composer,
        header: HeaderRow,
        right: QWidget,
        beside: QHBoxLayout,
    ) -> None:
        super().__init__(page)
        self._page, self._bridge, self._session_now = page, bridge, session
        self._drawer, self._composer, self._header = drawer, composer, header
        self._right, self._beside = right, beside
        self.started = False
        header.options_asked.connect(self.toggle)
        composer.max_tokens_clicked.connect(self.open_max_tokens)
        drawer.changed.connect(self._on_options)
        drawer.closed.connect(self.close)

    @property
    def is_open(self) -> bool:
        return self._drawer.isVisible()

    def show(self) -> None:
        """Show the conversation's options in the drawer and under the box."""
        self._drawer.show_options(self._session_now().options, self._default_max_tokens())
        self.show_max_tokens()

    def show_max_tokens(self) -> None:
        self._composer.set_max_tokens(self._session_now().options.max_tokens or self._default_max_tokens())

    def toggle(self) -> None:
        if self.is_open:
            self.close()
        else:
            self.open()

    def open(self) -> None:
        self.show()
        self._header.options_button.setChecked(True)
        self.place(slide=not self.is_open)

    def open_max_tokens(self) -> None:
        self.open()
        self._drawer.focus_max_tokens()

    def open_schema(self, problem: str) -> None:
        """Say what is wrong with the schema, and show where it is."""
        self._composer.set_note(f"{SCHEMA_NOTE} {problem} Mend it or empty it.")
        self.open()
        self._drawer.focus_schema()

    def close(self) -> None:
        self._drawer.hide()
        self._beside.removeWidget(self._drawer)
        self._header.options_button.setChecked(False)
        self.closed.emit()

    def place(self, *, slide: bool = False) -> None:
        """Beside the messages where there is room for both, else over them, down to the composer."""
        unit = theme()
        if self._right.width() >= unit.px(BESIDE_PX):
            self._beside.addWidget(self._drawer)
            self._drawer.show()
            return
        self._beside.removeWidget(self._drawer)
        self._drawer.setParent(self._page)
        top = self._header.height()
        bottom = self._composer.mapTo(self._page, QPoint(0, 0)).y() - unit.px(8)
        width = unit.px(DRAWER_PX)
        place = QRect(self._page.width() - width, top, width, max(unit.px(200), bottom - top))
        if slide:
            self._drawer.slide_to(place)
        else:
            self._drawer.setGeometry(place)
            self._drawer.show()
            self._drawer.raise_()

    def _on_options(self, options: ChatOptions) -> None:
        session = self._session_now()
        session.set_options(replace(options, force=session.options.force))
        self.show_max_tokens()
        if self._composer.note.startswith(SCHEMA_NOTE) and _is_usable(options.schema_text):
            self._composer.set_note("")
        self.changed.emit()

    def _default_max_tokens(self) -> int | None:
        return self._bridge.core.settings.current.max_tokens_per_request if self.started else None


def _is_usable(schema_text: str) -> bool:
    try:
        parse_schema(schema_text)
    except MalformedSchema:
        return False
    return True
