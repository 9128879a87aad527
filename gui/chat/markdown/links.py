"""Links that a model wrote: which ones may be opened, what they really point to, and asking before it happens."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QPoint, Qt, QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from core import shortened
from gui.theme.theme import set_property, theme
from gui.widgets.popover import Popover

ALLOWED_SCHEMES = ("http", "https", "mailto")
_SHOWN_CHARS = 300


def real_host(url: QUrl) -> str:
    """Return the host as the network sees it: look-alike letters show as ``xn--`` names, user names not at all."""
    return url.host(QUrl.ComponentFormattingOption.FullyEncoded)


def may_open(target: str) -> bool:
    """Whether a click may open ``target``: the web or a mail address, with a place to go."""
    url = QUrl(target)
    if not url.isValid() or url.scheme().lower() not in ALLOWED_SCHEMES:
        return False
    return bool(url.path()) if url.scheme().lower() == "mailto" else bool(real_host(url))


def shown_address(target: str) -> str:
    """Return the whole address in the form the network sees, cut after 300 characters."""
    address = QUrl(target).toString(QUrl.ComponentFormattingOption.FullyEncoded) or target
    return shortened(address, _SHOWN_CHARS)


def describe_target(target: str) -> str:
    """One line for a tooltip: where a link goes, or that it won't."""
    if may_open(target):
        return shown_address(target)
    return f"This link isn’t opened: {shown_address(target)}"


class LinkPopover(Popover):
    """Names the real host of a link and opens it in the browser only when asked to."""

    def __init__(
        self, target: str, parent: QWidget, open_url: Callable[[QUrl], object] | None = None
    ) -> None:
        url = QUrl(target)
        allowed = may_open(target)
        if not allowed:
            heading = "This link isn’t opened"
        elif url.scheme().lower() == "mailto":
            heading = f"Write to {url.path()}?"
        else:
            heading = f"Open {real_host(url)}?"
        super().__init__(heading, parent)
        self._target = target
        self._open_url = open_url or QDesktopServices.openUrl
        unit = theme()
        title = QLabel(heading)
        title.setTextFormat(Qt.TextFormat.PlainText)
        set_property(title, role="body", weight=600)
        address = QLabel(shown_address(target))
        address.setTextFormat(Qt.TextFormat.PlainText)
        address.setWordWrap(True)
        address.setMaximumWidth(unit.px(420))
        address.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        set_property(address, role="mono", level="2")
        note = QLabel("The model wrote this link." if allowed else "Only web and mail addresses are opened.")
        set_property(note, role="small", level="3")
        buttons = QHBoxLayout()
        buttons.setSpacing(unit.px(8))
        self.open_button = QPushButton(
            "Open in browser" if url.scheme().lower() != "mailto" else "Write mail"
        )
        self.open_button.clicked.connect(self._open)
        self.copy_button = QPushButton("Copy address")
        self.copy_button.clicked.connect(self._copy)
        for button in (self.open_button, self.copy_button):
            set_property(button, compact=True)
            buttons.addWidget(button)
        self.open_button.setVisible(allowed)
        buttons.addStretch(1)
        column = self.column
        column.setContentsMargins(unit.px(14), unit.px(12), unit.px(14), unit.px(12))
        column.setSpacing(unit.px(8))
        for label in (title, address, note):
            column.addWidget(label)
        column.addLayout(buttons)

    def show_at(self, place: QPoint) -> None:
        self.popup_at_point(place, focus=self.copy_button)

    def _open(self) -> None:
        if may_open(self._target):
            self._open_url(QUrl(self._target))
        self.close()

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._target)
        self.close()
