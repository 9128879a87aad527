"""The one window: rail, header strip, pages; it remembers its place and ends cleanly.

It knows pages only by the registry it is given: which there are, and where its own pills, notices and menus lead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QByteArray, QPoint, QSize, Qt, QUrl, Signal
from PySide6.QtGui import QCloseEvent, QDesktopServices, QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QMenu,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from core import log_path
from core.errors import SignalboxError
from gui.shell.alert_notices import AlertNotices
from gui.shell.api_notices import LASTING, PASSING, ApiNotices
from gui.shell.header import HeaderStrip
from gui.shell.local_words import pressing_alerts
from gui.shell.notices import Action, Bell, Notice, NoticeBar
from gui.shell.pages import FocusArea, Page, PageEntry, PageRegistry, Target
from gui.shell.placement import Placement
from gui.shell.rail import Rail
from gui.shell.tasks import Tasks
from gui.theme.appearance import panel_file
from gui.theme.theme import theme
from gui.widgets.icon_button import IconButton
from gui.widgets.painted_button import settle_after
from gui.widgets.panel_words import named, without_commands
from gui.widgets.toast import ToastHost

if TYPE_CHECKING:
    from core import Alert, CoreStatus, MachineSample, Problem, RouterCore
    from core.settings import UntrustedFile
    from gui.shell.bridge import Bridge

MINIMUM_SIZE = (760, 420)
"""Leaves room for a frame and a taskbar where a 1080p screen at 200 % has 960 x 540."""
FIRST_SIZE = (1280, 800)
LAYOUT_VERSION = 1
QUIET = frozenset({"alert", "local_restarted"}) | PASSING
"""Listed by the bell alone: a toast tells an alert once, the answer that broke off tells of a restart."""
OF_LOCAL = frozenset({"local", "local_key_refused", "local_model_unknown"})
"""Why the local server failed, which its own page says itself."""
MOST_IN_NOTICE = 4
"""A longer list of settings is not read in a bar before it is trusted."""


class Window(QWidget):
    """The ``Shell`` of its pages. A page that is not eager is made when it is first opened.

    Signals:
        closed: the user closed the window; the application ends.
        hidden_in_tray: the user closed it, and the application goes on without it.
    """

    closed = Signal()
    hidden_in_tray = Signal()

    def __init__(self, bridge: Bridge, home: Path, registry: PageRegistry) -> None:
        super().__init__()
        self.bridge, self.home = bridge, home
        self._registry = registry
        self._tasks = Tasks(self)
        self._kept = panel_file(home)
        self._pages: dict[str, Page] = {}
        self._started: set[str] = set()
        self._is_started = False
        self._cover: str | None = None
        self.setWindowTitle("Signalbox")
        self.setMinimumSize(*MINIMUM_SIZE)
        self.rail = Rail(_rail_items(registry.at("top")), _rail_items(registry.at("bottom")))
        self.header = HeaderStrip()
        self.bell = Bell()
        self.notices = NoticeBar()
        self._stack = QStackedWidget()
        for entry in registry.entries:
            if entry.eager:
                self.page(entry.id)
        self._toasts = ToastHost(self._stack, clear_of=self._toasts_above)
        self._api_notices = ApiNotices(bridge, self._tasks, self._toasts)
        self._told_alerts: set[str] = set()
        self.alert_notices = AlertNotices(bridge, self._show_alert, self._is_in_front, self)
        self.alert_notices.changed.connect(self._show_notices)
        self.stays_in_tray: Callable[[], bool] = lambda: False
        """Whether closing the window leaves the panel in the tray, asked at each close."""
        self._is_quitting = False
        self._build()
        self.rail.page_chosen.connect(self._open_chosen)
        self.header.pill_clicked.connect(self._open_pill)
        bridge.status_changed.connect(self._show_status)
        bridge.alerts_changed.connect(self._show_alerts)
        bridge.machine_sampled.connect(self._show_figure_of_alert)
        theme().changed.connect(self._restyle)
        self._add_shortcuts()
        self._placement = Placement(self)
        self._restore()

    def _build(self) -> None:
        self._help = IconButton("question", "Help", "F1")
        self._help.clicked.connect(lambda: self._open_help(self._help))
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
        corner.addWidget(self._help)
        top.addWidget(self._corner)
        right = self._right = QVBoxLayout()
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
        self._over = QWidget()
        self._over_column = QVBoxLayout(self._over)
        self._over_column.setContentsMargins(0, 0, 0, 0)
        self._over_column.setSpacing(0)
        self._whole = QStackedWidget(self)
        self._whole.addWidget(self._front)
        self._whole.addWidget(self._over)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._whole)
        self._order_tabs()
        self._restyle()

    def _restyle(self) -> None:
        self._corner.setStyleSheet(
            f"#headerCorner {{ background: {theme().hex('surface')};"
            f" border-bottom: 1px solid {theme().hex('border')}; }}"
        )

    def _add_shortcuts(self) -> None:
        keys: list[tuple[str, Callable[[], object]]] = [
            ("Ctrl+Q", self.quit),
            ("F6", partial(self._cycle_focus, 1)),
            ("Shift+F6", partial(self._cycle_focus, -1)),
            ("Ctrl+=", lambda: theme().set_zoom(theme().zoom + 0.1)),
            ("Ctrl++", lambda: theme().set_zoom(theme().zoom + 0.1)),
            ("Ctrl+-", lambda: theme().set_zoom(theme().zoom - 0.1)),
            ("Ctrl+0", lambda: theme().set_zoom(1.0)),
        ]
        for entry in self._registry.entries:
            if entry.shortcut:
                keys.append((entry.shortcut, partial(self.open, Target(entry.id))))
        for key, act in keys:
            QShortcut(QKeySequence(key), self).activated.connect(act)

    # Pages

    def open(self, target: Target) -> None:
        """Bring a page to the front, at the section that ``target`` names."""
        entry = self._registry.entry(target.page)
        page = self.page(entry.id)
        if entry.at == "popover":
            page.show(target)
            return
        if entry.at == "cover":
            if self._cover != entry.id:
                self._uncover()
                self._cover = entry.id
                # What went wrong is told there too: the first start is where most can.
                self._over_column.addWidget(self.notices)
                self._over_column.addWidget(page.widget, 1)
                self._whole.setCurrentWidget(self._over)
                page.home.setFocus(Qt.FocusReason.OtherFocusReason)
            page.show(target)
            return
        front = self.page_in_front
        if front is not page:
            target = replace(target, came_from=front.id)
        self._whole.setCurrentWidget(self._front)
        self._stack.setCurrentWidget(page.widget)
        self._uncover()
        self.rail.set_page(entry.id)
        self.header.set_title(entry.title)
        page.home.setFocus(Qt.FocusReason.OtherFocusReason)
        page.show(target)
        self._show_notices()

    def page(self, page_id: str) -> Page:
        """Return a page, which is made where it is not there yet."""
        page = self._pages.get(page_id)
        if page is None:
            entry = self._registry.entry(page_id)
            page = self._pages[page_id] = entry.make(self)
            if entry.at in ("top", "bottom"):
                self._stack.addWidget(page.widget)
            if self._is_started:
                self._tasks.start(self._start_page(page))
        return page

    @property
    def page_in_front(self) -> Page:
        """The page that is shown, or lies under the one that covers the window."""
        shown = self._stack.currentWidget()
        return next(page for page in self._pages.values() if page.widget is shown)

    def page_changed(self) -> None:
        """Show lamps and notices anew."""
        self._show_lamps()
        self._show_notices()

    def _show_lamps(self) -> None:
        for entry in self._registry.at("top", "bottom"):
            page = self._pages.get(entry.id)
            if entry.lamp is not None:
                lamp = entry.lamp(self.bridge)
            elif page is not None:
                lamp = page.lamp
            else:
                continue
            self.rail.set_lamp(entry.id, lamp and lamp.state, lamp.words if lamp else "")

    def anchor(self, pill: str) -> QWidget:
        """Return the header's pill that a popover opens under."""
        return self.header.pills[pill]

    def _open_chosen(self, page_id: str) -> None:
        self.open(Target(page_id))

    def _open_pill(self, pill: str) -> None:
        target = self._registry.pills.get(pill)
        if target is not None:
            self.open(target)

    def _uncover(self) -> None:
        """Take a page that covers the window away; it is made anew when it is asked for again."""
        if self._cover is None:
            return
        page, self._cover = self._pages.pop(self._cover), None
        self._over_column.removeWidget(page.widget)
        page.widget.hide()
        self._right.insertWidget(1, self.notices)
        self._tasks.start(self._end_page(page))

    async def _start_page(self, page: Page) -> None:
        if page.id not in self._started:
            self._started.add(page.id)
            await page.start()
            key = self._registry.entry(page.id).place_key
            if key:
                page.restore(str(self._kept.value(f"window/{key}", "")))

    async def _end_page(self, page: Page) -> None:
        self._started.discard(page.id)
        try:
            await page.stop()
        finally:
            page.widget.deleteLater()

    def _toasts_above(self) -> QWidget | None:
        return self.page_in_front.toasts_above

    def _open_help(self, button: QWidget) -> None:
        menu = QMenu(button)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for words, target in self._registry.help:
            menu.addAction(words, partial(self.open, target))
        menu.addAction("Open the log", self._open_log)
        if self._registry.about is not None:
            menu.addAction("About Signalbox", partial(self.open, self._registry.about))
        settle_after(menu, button)
        menu.popup(button.mapToGlobal(QPoint(0, button.height() + 4)))
        if not button.underMouse():  # by its key: Enter takes what is marked
            menu.setActiveAction(menu.actions()[0])

    def _open_log(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(log_path(self.home))))

    # Keyboard

    def _order_tabs(self) -> None:
        """Lead Tab through the header, the rail and the notice, and then through the page."""
        stops = [*self.header.pills.values(), self.bell, self._help, *self.rail.items, *self.notices.stops]
        for before, after in pairwise(stops):
            QWidget.setTabOrder(before, after)

    def _cycle_focus(self, by: int) -> None:
        """F6: from the rail through the parts of the page in front and back; Shift+F6 the other way."""
        page = self.page_in_front if self._cover is None else self._pages[self._cover]
        areas = [area for area in page.areas if area.root.isVisible()]
        if self._cover is None:
            areas.insert(0, FocusArea(self.rail, self.rail.current_item))
        focused = QApplication.focusWidget()
        here = next(
            (
                number
                for number, area in enumerate(areas)
                if focused is not None and (area.root is focused or area.root.isAncestorOf(focused))
            ),
            None,
        )
        if here is None:
            here = 0 if by > 0 else len(areas)  # from the header, as if from the rail
        for step in range(1, len(areas) + 1):
            area = areas[(here + by * step) % len(areas)]
            target = area.target or _first_stop(area.root)
            if target is not None and target.isVisible():
                target.setFocus(Qt.FocusReason.ShortcutFocusReason)
                return

    # Life

    async def start(self) -> None:
        """Load what needs the core, once it runs; a page that is due, such as the first start's, comes first."""
        due = next((entry for entry in self._registry.entries if entry.due and entry.due(self.home)), None)
        if due is not None:
            self.open(Target(due.id))
        self._is_started = True
        for page in list(self._pages.values()):
            if self._pages.get(page.id) is not page:
                continue  # the user left it meanwhile
            await self._start_page(page)
        if self._cover is None:
            self.page_in_front.home.setFocus(Qt.FocusReason.OtherFocusReason)

    async def stop(self) -> None:
        """End what is under way and keep it, before the core stops."""
        self._tasks.cancel()
        self._keep_place()  # a polite kill or the session's end closes no window
        # All of them, whatever becomes of one: each keeps what is its own.
        ended = await asyncio.gather(*(page.stop() for page in self._pages.values()), return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, BaseException):
                raise outcome

    # Status

    def _show_status(self, status: CoreStatus) -> None:
        self._show_header(status)
        self._show_lamps()
        self._show_notices()
        self._tell_alerts(status)

    def _show_header(self, status: CoreStatus) -> None:
        bridge = self.bridge
        self.header.set_status(status, alerts=bridge.alerts, sample=bridge.sample)

    def _show_alerts(self, alerts: tuple[Alert, ...]) -> None:
        del alerts  # the bridge has them
        if self.bridge.status is not None:
            self._show_header(self.bridge.status)
            self._show_lamps()

    def _show_figure_of_alert(self, sample: MachineSample) -> None:
        """While an alert stands in the Local pill, its figure is the newest."""
        del sample  # the bridge has it
        if self.bridge.status is not None and pressing_alerts(self.bridge.alerts):
            self._show_header(self.bridge.status)

    def _show_notices(self) -> None:
        status = self.bridge.status
        if status is None:
            return
        front = self.page_in_front
        notices = [self._notice_of(problem, front) for problem in status.problems]
        for page in self._pages.values():
            notices += page.notices(in_front=page is front)
        leads_to = self._registry.machine_alerts
        if leads_to is not None:  # its page shows them itself
            notices += self.alert_notices.notices(quiet=front.id == leads_to.page)
        self.notices.set_notices(notices)
        self.bell.set_notices(notices)

    def _notice_of(self, problem: Problem, front: Page) -> Notice:
        key = f"{problem.kind}: {problem.message}"
        asked = self._trust_actions(problem.file, problem.message, key) if problem.file is not None else ()
        action = self._action_for(problem)
        title, message, hint = problem.title, problem.message, problem.hint
        if asked or problem.kind in LASTING:
            hint = ""
        if problem.kind == "alert":  # what is wrong with a setting names it as the user wrote it
            title, message, hint = named(title), named(message), named(hint)
        if action is not None:
            hint = without_commands(hint)
            message = without_commands(message) if problem.kind == "settings_file" else message
        return Notice(
            key=key,
            title=title,
            text=f"{message} {hint}".strip(),
            actions=asked or self._api_notices.actions(problem, action),
            quiet=problem.kind in QUIET or (problem.kind in OF_LOCAL and self._tells_of_local(front)),
        )

    def _tells_of_local(self, front: Page) -> bool:
        """Whether the page in front is the one the Local pill leads to: it says itself what became of it."""
        leads_to = self._registry.pills.get("local")
        return leads_to is not None and leads_to.page == front.id

    def _tell_alerts(self, status: CoreStatus) -> None:
        """Say each share of a limit once, when it is reached."""
        alerts = {problem.title for problem in status.problems if problem.kind == "alert"}
        new = sorted(alerts - self._told_alerts)
        self._told_alerts = alerts
        if new:
            leads_to = self._registry.problems.get("alert")
            show = None if leads_to is None else partial(self.open, leads_to[1])
            self._toasts.show(named(new[-1]), "Show" if show else None, show, "wallet")

    def _action_for(self, problem: Problem) -> Action | None:
        match problem.kind:
            case "ledger":
                return "Set it aside and start a new one", self._set_ledger_aside
            case "local":
                core, local = self.bridge.core, self.bridge.status
                if (
                    local is not None and local.local.kind == "external"
                ):  # nobody here restarts somebody else's
                    return "Check now", lambda: self._tasks.start(self.bridge.call(core.start_local()))
                return "Restart", lambda: self._tasks.start(self.bridge.call(core.restart_local()))
            case _:
                leads_to = self._registry.problems.get(problem.kind)
                if leads_to is None:
                    return None
                words, target = leads_to
                if problem.setting:
                    target = replace(target, detail=problem.setting)
                return words, partial(self.open, target)

    def _trust_actions(self, file: UntrustedFile, said: str, key: str) -> tuple[Action, ...]:
        """Ask for trust at once where all of it can be read in a notice; else Preferences asks."""
        is_cut = any(str(setting) not in said for setting in file.withheld)
        if file.obstacle or is_cut or len(file.withheld) > MOST_IN_NOTICE:
            return ()

        async def trust(core: RouterCore) -> None:
            try:
                await self.bridge.run_blocking(core.settings.trust, file)
            except SignalboxError as error:
                self.notices.say(str(error))
                return
            self._toasts.show(f"{file.path} is trusted. A change of it is asked about again")

        return (
            ("Trust it", lambda: self._tasks.start(trust(self.bridge.core))),
            ("Not now", partial(self.notices.close_notice, key)),
        )

    def _set_ledger_aside(self) -> None:
        async def set_aside(core: RouterCore) -> None:
            try:
                kept = await self.bridge.call(core.ledger.set_aside())
            except SignalboxError as error:
                self.notices.say(str(error))
                return
            self._toasts.show(f"A new ledger is in use. The old one is kept as {kept.name}")

        self._tasks.start(set_aside(self.bridge.core))

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
            page = str(self._kept.value("page", ""))
        else:
            restored, page = False, ""
        self._kept.endGroup()
        if not restored:
            self._placement.begin(QSize(*FIRST_SIZE))
        in_rail = [entry.id for entry in self._registry.at("top", "bottom")]
        self.open(Target(page if page in in_rail else in_rail[0]))

    def _keep_place(self) -> None:
        self._kept.beginGroup("window")
        self._kept.setValue("version", LAYOUT_VERSION)
        self._kept.setValue("geometry", self.saveGeometry())
        self._kept.setValue("page", self.page_in_front.id)
        for page in self._pages.values():
            key = self._registry.entry(page.id).place_key
            if key:
                self._kept.setValue(key, page.place)
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

    def quit(self) -> None:
        """Close for good, tray or not."""
        self._is_quitting = True
        if self.isVisible():
            self.close()
        else:  # it gets no event of being closed
            self._keep_place()
            self.closed.emit()

    def _show_alert(self, alert_id: str) -> None:
        leads_to = self._registry.machine_alerts
        if leads_to is not None:
            self.open(replace(leads_to, detail=alert_id))

    @staticmethod
    def _is_in_front() -> bool:
        return QApplication.activeWindow() is not None

    def closeEvent(self, event: QCloseEvent) -> None:
        self._keep_place()
        if not self._is_quitting and self.stays_in_tray():
            event.ignore()
            self.hide()
            self.hidden_in_tray.emit()
            return
        event.accept()
        self.closed.emit()


def _first_stop(root: QWidget) -> QWidget | None:
    """The first control in ``root`` that Tab would come to."""
    widget = root.nextInFocusChain()
    while widget is not None and widget is not root:
        if (
            root.isAncestorOf(widget)
            and widget.focusPolicy() & Qt.FocusPolicy.TabFocus
            and widget.isEnabled()
            and widget.isVisible()
        ):
            return widget
        widget = widget.nextInFocusChain()
    return None


def _rail_items(entries: Sequence[PageEntry]) -> list[tuple[str, str, str]]:
    return [(entry.id, entry.title, entry.icon) for entry in entries]
