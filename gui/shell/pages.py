"""What a page is to the window: the ``Page`` protocol, the target that opens one, and the registry's shape.

Pages know neither the window nor each other. They ask the ``Shell`` they were made with to open a ``Target``.
The registry itself, every page in one line, is ``gui/pages.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from PySide6.QtWidgets import QWidget

from gui.shell.notices import Notice
from gui.widgets.marks import LampState

if TYPE_CHECKING:
    from gui.shell.bridge import Bridge

Place = Literal["top", "bottom", "cover", "popover"]
"""In the rail from the top or at its bottom; over the whole window; or over whatever page is in front."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to go: a page by its id, a section of it, and a detail of that (a row, a conversation).

    ``came_from`` is the window's to say: the id of the page that was in front, where that is another one. It is
    the way back.
    """

    page: str
    section: str = ""
    detail: str = ""
    came_from: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class FocusArea:
    """A part of a page that F6 stops at: the focus goes to ``target`` (where it has none, to the first control)."""

    root: QWidget
    target: QWidget | None = None


@dataclass(frozen=True, slots=True)
class PageLamp:
    """A page wants attention: the lamp at its icon in the rail, and why, for screen readers."""

    state: LampState
    words: str


class Shell(Protocol):
    """What the window offers its pages."""

    @property
    def bridge(self) -> Bridge: ...

    @property
    def home(self) -> Path:
        """The folder of the user's files."""
        ...

    def open(self, target: Target) -> None:
        """Bring another page to the front."""
        ...

    def page_changed(self) -> None:
        """A page's lamp or notices are not what they were."""
        ...

    def anchor(self, pill: str) -> QWidget:
        """Return the header's pill that a popover opens under: local, api, requests or spend."""
        ...


class Page(Protocol):
    """One page. A class that implements it names it as its base, and so inherits what it does not need.

    It is made on the panel's thread when it is first opened, with the window where its entry is ``eager``.
    """

    id: str

    @property
    def widget(self) -> QWidget:
        """What the window shows. No focus proxy: Tab would jump to it, over all that stands before it."""
        ...

    @property
    def areas(self) -> Sequence[FocusArea]:
        """The parts that F6 goes through, from the top left; those that are hidden are passed over."""
        return (FocusArea(self.widget),)

    @property
    def home(self) -> QWidget:
        """What takes the focus when the page comes to the front."""
        return self.widget

    async def start(self) -> None:
        """The core runs: load what needs it. Called once."""

    async def stop(self) -> None:
        """The page goes, or the window closes while the core still runs: end what is under way and keep it."""

    def show(self, target: Target) -> None:
        """The page has come to the front, at ``target``."""

    def notices(self, *, in_front: bool) -> Sequence[Notice]:
        """Return what the bell should list of this page; it need not repeat what it shows ``in_front``."""
        del in_front
        return ()

    @property
    def lamp(self) -> PageLamp | None:
        return None

    @property
    def toasts_above(self) -> QWidget | None:
        """A widget at the page's bottom that no toast may cover."""
        return None

    @property
    def place(self) -> str:
        """Where in the page the user is, to be found again by ``restore`` after a restart; empty for nowhere."""
        return ""

    def restore(self, place: str) -> None:
        """Go where the user was when the window was closed, after ``start``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageEntry:
    """One line of the registry.

    ``icon`` and ``title`` are the rail's, known before the page is made. ``eager`` pages are made with the window
    and started with the core, seen or not. ``place_key`` is where the window's file keeps the page's place.
    ``due`` asks, at a start, whether the page comes first (in the user's folder it may look). ``lamp`` says what
    the page wants somebody for before it is made; with it the page's own is not asked.
    """

    id: str
    title: str
    icon: str
    make: Callable[[Shell], Page]
    at: Place = "top"
    shortcut: str = ""
    eager: bool = False
    place_key: str = ""
    due: Callable[[Path], bool] | None = None
    lamp: Callable[[Bridge], PageLamp | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRegistry:
    """Every page, and where what the shell itself shows leads to.

    ``entries`` stand in the rail in this order; the first is shown where no other was. ``pills`` are the header's,
    ``problems`` the core's by kind, with the words on their button, ``help`` the help menu's lines,
    with ``about`` as the last. ``machine_alerts`` is where the machine's alerts are shown.
    """

    entries: tuple[PageEntry, ...]
    pills: Mapping[str, Target] = field(default_factory=dict[str, Target])
    problems: Mapping[str, tuple[str, Target]] = field(default_factory=dict[str, tuple[str, Target]])
    help: Sequence[tuple[str, Target]] = ()
    about: Target | None = None
    machine_alerts: Target | None = None

    def entry(self, page_id: str) -> PageEntry:
        """Return a page's entry.

        Raises:
            KeyError: no page is called that.
        """
        for entry in self.entries:
            if entry.id == page_id:
                return entry
        raise KeyError(page_id)

    def at(self, *places: Place) -> tuple[PageEntry, ...]:
        return tuple(entry for entry in self.entries if entry.at in places)
