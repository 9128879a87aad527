"""Links that a model wrote: which ones may be opened, what they really point to, and asking before it happens."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

from PySide6.QtCore import QPoint, QUrl, QUrlQuery
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QWidget

from core import shortened
from gui.theme.theme import set_property, theme
from gui.widgets.labels import plain_label
from gui.widgets.popover import Popover

ALLOWED_SCHEMES = ("http", "https", "mailto")
_SHOWN_CHARS = 300
_HOST_CHARS = 50
_LINE_CHARS = 56  # an address has no spaces to break it at: one line of it would leave the screen
_ENCODED = QUrl.ComponentFormattingOption.FullyEncoded
_SAFE = "%!$&()*+,/:;=?@[]#~'"  # what may stand in an address as it is; the rest is written as %XX
_LINE_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")


def real_host(url: QUrl) -> str:
    """Return the host as the network sees it: look-alike letters show as ``xn--`` names, user names not at all."""
    return url.host(_ENCODED)


def url_to_open(target: str) -> QUrl | None:
    """Return what a click on ``target`` may open, ``None`` for what it never opens.

    The web, without a user name before the host, which only serves to look like another host; or a mail to the
    addresses named, with subject and body: a mail program may attach a file that ``attach=`` names, and ``cc=``
    and ``bcc=`` aren't seen.
    """
    url = QUrl(target)
    scheme = url.scheme().lower()
    if not url.isValid() or scheme not in ALLOWED_SCHEMES:
        return None
    if scheme == "mailto":
        return _mail(url)
    if not real_host(url):
        return None
    if url.userInfo():
        host, port = url.host(_ENCODED), url.port()
        url.setAuthority("")
        url.setHost(host)
        url.setPort(port)
    return url


def _mail(url: QUrl) -> QUrl | None:
    to = url.path(QUrl.ComponentFormattingOption.FullyDecoded)
    if not to or to.startswith("-") or not to.isprintable() or " " in to:
        return None
    asked: dict[str, str] = {}
    for name, value in QUrlQuery(url).queryItems(QUrl.ComponentFormattingOption.FullyDecoded):
        asked.setdefault(name.lower(), value)
    kept: list[str] = []
    if subject := asked.get("subject"):  # one line, else it could end the header and begin another one
        kept.append("subject=" + quote(_LINE_BREAKS.sub(" ", subject), safe="", errors="replace"))
    if body := asked.get("body"):
        kept.append("body=" + quote(body, safe="", errors="replace"))
    mail = QUrl()
    mail.setScheme("mailto")
    mail.setPath(to)
    if kept:
        mail.setQuery("&".join(kept))
    return mail


def may_open(target: str) -> bool:
    """Whether a click may open ``target``: the web or a mail address, with a place to go."""
    return url_to_open(target) is not None


def encoded_address(target: str) -> str:
    """Return the whole address in the form the network sees, in plain ASCII without spaces or brackets.

    For one that isn't opened it is what the model wrote, in the same letters.
    """
    url = url_to_open(target) or QUrl(target)
    return quote(url.toString(_ENCODED) or target, safe=_SAFE, errors="replace")


def shown_address(target: str) -> str:
    """Return the address as :func:`encoded_address` does, cut after 300 characters."""
    return shortened(encoded_address(target), _SHOWN_CHARS)


def describe_target(target: str) -> str:
    """Say for a tooltip where a link goes, or that it won't, in lines that fit on a screen."""
    if may_open(target):
        return _in_lines(shown_address(target))
    return f"This link isn’t opened:\n{_in_lines(shown_address(target))}"


def _in_lines(text: str) -> str:
    return "\n".join(text[at : at + _LINE_CHARS] for at in range(0, len(text), _LINE_CHARS))


def _whose(name: str) -> str:
    """Return the end of a long host or mail address: whose it is stands there; its beginning is free."""
    return name if len(name) <= _HOST_CHARS else "…" + name[1 - _HOST_CHARS :]


class LinkPopover(Popover):
    """Names the real host of a link and opens it in the browser only when asked to."""

    def __init__(
        self, target: str, parent: QWidget, open_url: Callable[[QUrl], object] | None = None
    ) -> None:
        url = url_to_open(target)
        is_mail = url is not None and url.scheme() == "mailto"
        if url is None:
            heading = "This link isn’t opened"
        elif is_mail:
            heading = f"Write to {_whose(quote(url.path(), safe=_SAFE, errors='replace'))}?"
        else:
            heading = f"Open {_whose(real_host(url))}?"
        super().__init__(heading, parent)
        self._target = target
        self._url = url
        self._open_url = open_url or QDesktopServices.openUrl
        unit = theme()
        title = plain_label(heading)
        set_property(title, role="body", weight=600)
        address = plain_label(_in_lines(shown_address(target)))
        set_property(address, role="mono", level="2")
        note = plain_label(
            "The model wrote this link." if url is not None else "Only web and mail addresses are opened."
        )
        set_property(note, role="small", level="3")
        buttons = QHBoxLayout()
        buttons.setSpacing(unit.px(8))
        self.open_button = QPushButton("Write mail" if is_mail else "Open in browser")
        self.open_button.clicked.connect(self._open)
        self.copy_button = QPushButton("Copy address")
        self.copy_button.clicked.connect(self._copy)
        for button in (self.open_button, self.copy_button):
            set_property(button, compact=True)
            buttons.addWidget(button)
        self.open_button.setVisible(url is not None)
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
        if self._url is not None:
            self._open_url(self._url)
        self.close()

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(encoded_address(self._target))
        self.close()
