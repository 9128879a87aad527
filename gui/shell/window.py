"""The one window: rail, header strip, pages; it remembers its place and ends cleanly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QByteArray, QPoint, QSize, Qt, QUrl, Signal
from PySide6.QtGui import QCloseEvent, QDesktopServices, QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QMenu, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from core import log_path
from core.errors import SignalboxError
from gui.chat.failures.cards import paused_title
from gui.chat.failures.plans import paused_sentence
from gui.chat.page import ChatPage
from gui.preferences.appearance_section import appearance_file
from gui.shell.header import HeaderStrip
from gui.shell.notices import Action, Bell, Notice, NoticeBar
from gui.shell.rail import Rail
from gui.shell.tasks import Tasks
from gui.theme.theme import theme
from gui.widgets.icon_button import IconButton
from gui.widgets.painted_button import settle_after
from gui.widgets.toast import ToastHost

if TYPE_CHECKING:
    from core import CoreStatus, PausedConversation, Problem, RouterCore
    from gui.shell.bridge import Bridge

MINIMUM_SIZE = (1024, 640)
FIRST_SIZE = (1280, 800)
LAYOUT_VERSION = 1
PAGES = (("chat", "Chat", "chats"), ("preferences", "Preferences", "gear-six"))
PILL_TARGETS = {
    "local": ("preferences", "local"),
    "api": ("preferences", "keys"),
    "requests": ("preferences", "routing"),
}


class Window(QWidget):
    """Pages other than Chat are made when they are first shown, so that the first window is quick.

    Signals:
        closed: the user closed the window; the application ends.
    """

    closed = Signal()

    def __init__(self, bridge: Bridge, home: Path) -> None:
        super().__init__()
        self._bridge, self._home = bridge, home
        self._tasks = Tasks(self)
        self._kept = appearance_file(home)
        self.setWindowTitle("Signalbox")
        self.setMinimumSize(*MINIMUM_SIZE)
        self.rail = Rail(PAGES)
        self.header = HeaderStrip()
        self.bell = Bell()
        self.notices = NoticeBar()
        self.chat = ChatPage(bridge, home)
        self._pages: dict[str, QWidget] = {"chat": self.chat}
        self._stack = QStackedWidget()
        self._stack.addWidget(self.chat)
        self._toasts = ToastHost(self._stack, clear_of=self.chat.composer)
        self._told_alerts: set[str] = set()
        self._build()
        self.rail.page_chosen.connect(self.show_page)
        self.header.pill_clicked.connect(self._show_pills_page)
        self.chat.navigate.connect(self.show_page)
        bridge.status_changed.connect(self._show_status)
        theme().changed.connect(self._restyle)
        self._add_shortcuts()
        self._restore()

    def _build(self) -> None:
        help_button = IconButton("question", "Help", "F1")
        help_button.clicked.connect(lambda: self._open_help(help_button))
        top = QHBoxLayout()
        top.setContentsMargins(0, 0, 0, 0)
        top.setSpacing(0)
        top.addWidget(self.header, 1)
        self._corner = QWidget()
        self._corner.setObjectName("headerCorner")
        corner = QHBoxLayout(self._corner)
        corner.setContentsMargins(0, 0, 10, 0)
        corner.setSpacing(2)
        corner.addWidget(self.bell)
        corner.addWidget(help_button)
        top.addWidget(self._corner)
        right = QVBoxLayout()
        right.setContentsMargins(0, 0, 0, 0)
        right.setSpacing(0)
        right.addLayout(top)
        right.addWidget(self.notices)
        right.addWidget(self._stack, 1)
        self._front = QWidget()
        front = QHBoxLayout(self._front)
        front.setContentsMargins(0, 0, 0, 0)
        front.setSpacing(0)
        front.addWidget(self.rail)
        front.addLayout(right, 1)
        self._whole = QStackedWidget(self)
        self._whole.addWidget(self._front)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._whole)
        self._restyle()

    def _restyle(self) -> None:
        self._corner.setStyleSheet(
            f"#headerCorner {{ background: {theme().hex('surface')};"
            f" border-bottom: 1px solid {theme().hex('border')}; }}"
        )

    def _add_shortcuts(self) -> None:
        keys: tuple[tuple[str, Callable[[], object]], ...] = (
            ("Ctrl+,", lambda: self.show_page("preferences")),
            ("Ctrl+Q", self.close),
            ("F6", self._cycle_focus),
            ("Ctrl+=", lambda: theme().set_zoom(theme().zoom + 0.1)),
            ("Ctrl++", lambda: theme().set_zoom(theme().zoom + 0.1)),
            ("Ctrl+-", lambda: theme().set_zoom(theme().zoom - 0.1)),
            ("Ctrl+0", lambda: theme().set_zoom(1.0)),
        )
        for key, act in keys:
            QShortcut(QKeySequence(key), self).activated.connect(act)

    # Pages

    def show_page(self, page_id: str, section: str = "") -> None:
        """Bring a page to the front (``welcome`` covers rail and header too), at ``section`` where it has one."""
        if page_id == "welcome":
            self.show_welcome()
            return
        if page_id == "spend":
            self.show_spend(held=section == "held")
            return
        page = self._pages.get(page_id) or self._make_page(page_id)
        self._whole.setCurrentWidget(self._front)
        self._stack.setCurrentWidget(page)
        self.rail.set_page(page_id)
        self.header.set_title(str(getattr(page, "title", "")))
        page.setFocus(Qt.FocusReason.OtherFocusReason)  # the composer, or the search of the preferences
        show_section = getattr(page, "show_section", None)
        if section and show_section is not None:
            show_section(section)

        if self._bridge.status is not None:
            self._show_notices(self._bridge.status)

    def _show_pills_page(self, pill: str) -> None:
        if pill == "spend":
            self.show_spend()
        else:
            self.show_page(*PILL_TARGETS[pill])

    def show_spend(self, *, held: bool = False) -> None:
        """Open what the month's pill stands for: every limit, and with ``held`` what is held."""
        from gui.spend.popover import SpendPopover

        popover = SpendPopover(self._bridge, self)
        popover.limits_asked.connect(lambda: self.show_page("preferences", "spend"))
        popover.open_at(self.header.pills["spend"], held=held)

    def _make_page(self, page_id: str) -> QWidget:
        from gui.preferences.page import PreferencesPage

        assert page_id == "preferences", page_id
        page = PreferencesPage(self._bridge)
        page.navigate.connect(self.show_page)
        self._pages[page_id] = page
        self._stack.addWidget(page)
        return page

    def show_welcome(self) -> None:
        from gui.welcome.page import WelcomePage

        page = WelcomePage(self._bridge)
        self._whole.addWidget(page)
        self._whole.setCurrentWidget(page)

        def leave(page_id: str = "chat", section: str = "") -> None:
            self.show_page(page_id, section)
            self._kept.setValue("welcome/seen", True)
            self._whole.removeWidget(page)
            page.deleteLater()
            if page_id == "chat":
                self.chat.focus_composer()

        page.done.connect(lambda: leave())
        page.navigate.connect(leave)

    @property
    def welcome_was_seen(self) -> bool:
        return bool(self._kept.value("welcome/seen", False, type=bool))

    def _open_help(self, button: QWidget) -> None:
        menu = QMenu(button)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction("Welcome", self.show_welcome)
        menu.addAction("Keyboard shortcuts", lambda: self.show_page("preferences", "shortcuts"))
        menu.addAction("Where files are kept", lambda: self.show_page("preferences", "data"))
        menu.addAction("Open the log", self._open_log)
        menu.addAction("About Signalbox", lambda: self.show_page("preferences", "about"))
        settle_after(menu, button)
        menu.popup(button.mapToGlobal(QPoint(0, button.height() + 4)))

    def _open_log(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(log_path(self._home))))

    def _cycle_focus(self) -> None:
        page = self._stack.currentWidget()
        if self.rail.isAncestorOf(self.focusWidget() or self):
            if page is not None:
                page.setFocus(Qt.FocusReason.ShortcutFocusReason)
                page.focusNextChild()
        else:
            self.rail.focus_current()

    # Life

    async def start(self) -> None:
        """Load what needs the core, once it runs; the first start shows the welcome page."""
        if not self.welcome_was_seen:
            self.show_welcome()
        await self.chat.start()
        if self.chat.session.is_blank:  # else a prompt that was being typed is shown
            self.chat.open_conversation(str(self._kept.value("window/conversation", "")))
        if self._whole.currentWidget() is self._front and self._stack.currentWidget() is self.chat:
            self.chat.focus_composer()

    async def stop(self) -> None:
        """End what is under way and keep it, before the core stops."""
        self._tasks.cancel()
        await self.chat.close_page()

    # Status

    def _show_status(self, status: CoreStatus) -> None:
        self.header.set_status(status)
        self._show_notices(status)
        self._tell_alerts(status)

    def _show_notices(self, status: CoreStatus) -> None:
        notices = [self._notice_of(problem) for problem in status.problems]
        titles = self.chat.paused_controller.titles()
        # The chat page asks with a card of its own.
        on_chat = self._stack.currentWidget() is self.chat
        notices += [self._paused_notice(paused, titles, quiet=on_chat) for paused in status.paused]
        self.notices.set_notices(notices)
        self.bell.set_notices(notices)

    def _notice_of(self, problem: Problem) -> Notice:
        action = self._action_for(problem)
        return Notice(
            key=f"{problem.kind}: {problem.message}",
            title=problem.title,
            text=f"{problem.message} {problem.hint}".strip(),
            actions=() if action is None else (action,),
            quiet=problem.kind == "alert",  # a toast tells it once
        )

    def _paused_notice(self, paused: PausedConversation, titles: dict[str, str], *, quiet: bool) -> Notice:
        name = paused.conversation
        return Notice(
            key=f"paused: {name}",
            title=paused_title(titles.get(name)),
            text=paused_sentence(paused.per_minute),
            actions=(
                ("Let it go on", lambda: self.chat.paused_controller.resume(name)),
                ("Keep it paused", lambda: self.chat.paused_controller.keep(name)),
            ),
            quiet=quiet,
        )

    def _tell_alerts(self, status: CoreStatus) -> None:
        """Say each share of a limit once, when it is reached."""
        alerts = {problem.title for problem in status.problems if problem.kind == "alert"}
        new = sorted(alerts - self._told_alerts)
        self._told_alerts = alerts
        if new:
            self._toasts.show(new[-1], "Show", self.show_spend, "wallet")

    def _action_for(self, problem: Problem) -> Action | None:
        match problem.kind:
            case "ledger":
                return "Set it aside and start a new one", self._set_ledger_aside
            case "local":
                restart = self._bridge.core.restart_local
                return "Restart", lambda: self._tasks.start(self._bridge.call(restart()))
            case "setting":
                return "Open Preferences", lambda: self.show_page("preferences")
            case "alert":
                return "Show the limits", self.show_spend
            case "telemetry":
                return "Open Observability", lambda: self.show_page("preferences", "observability")
            case _:
                return None

    def _set_ledger_aside(self) -> None:
        async def set_aside(core: RouterCore) -> None:
            try:
                kept = await self._bridge.call(core.ledger.set_aside())
            except SignalboxError as error:
                self.notices.say(str(error))
                return
            self._toasts.show(f"A new ledger is in use. The old one is kept as {kept.name}")

        self._tasks.start(set_aside(self._bridge.core))

    # Place

    def _restore(self) -> None:
        self._kept.beginGroup("window")
        if self._kept.value("version", 0, type=int) == LAYOUT_VERSION:
            geometry = self._kept.value("geometry")
            restored = isinstance(geometry, QByteArray) and self.restoreGeometry(geometry)
            for splitter in self.findChildren(QSplitter):
                state = self._kept.value(f"splitter/{splitter.objectName()}")
                if splitter.objectName() and isinstance(state, QByteArray):
                    splitter.restoreState(state)
            page = str(self._kept.value("page", "chat"))
        else:
            restored, page = False, "chat"
        self._kept.endGroup()
        if not restored:
            self.resize(QSize(*FIRST_SIZE).boundedTo(self.screen().availableGeometry().size()))
        self.show_page(page if page in {name for name, _, _ in PAGES} else "chat")

    def _keep_place(self) -> None:
        current = self._stack.currentWidget()
        page_id = next((name for name, page in self._pages.items() if page is current), "chat")
        self._kept.beginGroup("window")
        self._kept.setValue("version", LAYOUT_VERSION)
        self._kept.setValue("geometry", self.saveGeometry())
        self._kept.setValue("page", page_id)
        self._kept.setValue("conversation", self.chat.session.id)
        for splitter in self.findChildren(QSplitter):
            if splitter.objectName():
                self._kept.setValue(f"splitter/{splitter.objectName()}", splitter.saveState())
        self._kept.endGroup()
        self._kept.sync()

    def bring_to_front(self) -> None:
        """Answer a second start: un-minimise, raise, take the focus."""
        self.setWindowState(self.windowState() & ~Qt.WindowState.WindowMinimized)
        self.show()
        self.raise_()
        self.activateWindow()

    def closeEvent(self, event: QCloseEvent) -> None:
        self._keep_place()
        event.accept()
        self.closed.emit()
