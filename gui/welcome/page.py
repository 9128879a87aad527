"""The first screen: what the two sides are, and four ways to start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QKeySequence, QPainter, QPaintEvent, QPen, QPolygonF, QShortcut, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from gui.shell.pages import Page, Shell, Target
from gui.theme.appearance import panel_file
from gui.theme.theme import set_property, theme
from gui.welcome.choices import AnthropicKey, DockerAndGpu, VllmServer
from gui.welcome.tracks import TrackPicture
from gui.welcome.try_now import FoundHere, TryNow
from gui.widgets.card import Card
from gui.widgets.labels import label
from gui.widgets.scrolling import scrolled

if TYPE_CHECKING:
    from core import ModelShelf
    from gui.shell.bridge import Bridge

COLUMN_PX = 920


class WelcomePage(Page):
    """Comes first until it was left once, by whichever button."""

    id = "welcome"

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.view = WelcomeView(shell.bridge)
        self.view.done.connect(self._leave)
        self.view.vllm.key_asked.connect(lambda: shell.open(Target("preferences", "providers", "vllm")))
        self.view.try_now.token_asked.connect(
            lambda: shell.open(Target("preferences", "providers", "huggingface"))
        )
        self.view.docker.machine_asked.connect(self._to_machine)
        if panel_file(shell.home).value("welcome/seen", False, type=bool):
            self.view.name_way_out("Back to the chat")  # who comes by the help menu skips nothing

    @property
    def widget(self) -> WelcomeView:
        return self.view

    @property
    def home(self) -> QWidget:
        return self.view.try_now.button

    def _to_machine(self) -> None:
        panel_file(self._shell.home).setValue("welcome/seen", True)
        self._shell.open(Target("machine", "settings"))

    def _leave(self) -> None:
        panel_file(self._shell.home).setValue("welcome/seen", True)
        self._shell.open(Target("chat"))


class WelcomeView(QWidget):
    """Signals: ``done`` to go on to the chat."""

    done = Signal()

    def __init__(self, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bridge = bridge
        self._column = QWidget()
        column = QVBoxLayout(self._column)
        column.setContentsMargins(0, 12, 0, 8)
        column.setSpacing(0)
        head = QHBoxLayout()
        head.setSpacing(12)
        head.addWidget(Mark())
        head.addWidget(label("Two tracks for every prompt", "hero"), 1)
        column.addLayout(head)
        column.addSpacing(6)
        column.addWidget(
            label(
                "Signalbox reads each prompt, picks a side by rules you can see, "
                "and writes down why and what it cost.",
                "reading",
                level="2",
                wrap=True,
            )
        )
        column.addSpacing(16)
        column.addWidget(TrackPicture())
        column.addSpacing(16)
        column.addWidget(label("How would you like to start?", "title"))
        column.addSpacing(8)
        self.try_now = TryNow(bridge)
        self.vllm = VllmServer(bridge)
        self.docker = DockerAndGpu(bridge)
        self.key = AnthropicKey(bridge)
        self.found = FoundHere(bridge)
        self._found_card = Card()
        self._found_card.body.setContentsMargins(0, 0, 0, 0)
        self._found_card.add_row(self.found)
        self._found_card.hide()
        column.addWidget(self._found_card)
        self._found_gap = QWidget()
        self._found_gap.setFixedHeight(8)
        self._found_gap.hide()
        column.addWidget(self._found_gap)
        card = Card()
        card.body.setContentsMargins(0, 0, 0, 0)
        card.body.setSpacing(0)
        for choice in (self.try_now, self.vllm, self.docker, self.key):
            card.add_row(choice)
        column.addWidget(card)
        column.addSpacing(14)
        foot = QHBoxLayout()
        foot.addWidget(
            label(
                "You can do more than one. This page is always under Help, Welcome. "
                "Nothing is sent anywhere until you send a prompt.",
                "small",
                level="3",
                wrap=True,
            ),
            1,
        )
        self.skip = QPushButton("Skip")
        self.skip.setAccessibleName("Skip, and open the chat")
        set_property(self.skip, flat=True)
        self.skip.clicked.connect(self.done)
        foot.addWidget(self.skip)
        column.addLayout(foot)
        self.try_now.open_chat.connect(self.done)
        self.found.done_one.connect(self._something_is_set_up)
        self.found.keyboard_left.connect(self.skip.setFocus)
        bridge.models_changed.connect(self._show_shelf)
        self.vllm.done_one.connect(self._something_is_set_up)
        self.key.done_one.connect(self._something_is_set_up)
        leave = QShortcut(QKeySequence("Esc"), self)
        leave.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        leave.activated.connect(self.done)
        self._scroll_in_the_middle()
        theme().changed.connect(self._restyle)
        self._restyle()

    def _scroll_in_the_middle(self) -> None:
        middle = QWidget()
        row = QHBoxLayout(middle)
        row.setContentsMargins(24, 0, 24, 0)
        row.addStretch(1)
        row.addWidget(self._column, 1000)
        row.addStretch(1)
        row.setAlignment(self._column, Qt.AlignmentFlag.AlignVCenter)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scrolled(middle))

    def _show_shelf(self, shelf: ModelShelf) -> None:
        is_found = self.found.show_shelf(shelf)
        self._found_card.setVisible(is_found)
        self._found_gap.setVisible(is_found)

    def _something_is_set_up(self) -> None:
        # From here on leaving is no skipping.
        self.name_way_out("Open the chat")
        set_property(self.skip, flat=False)

    def name_way_out(self, words: str) -> None:
        """Say on the button at the foot where it leads."""
        self.skip.setText(words)
        self.skip.setAccessibleName(words)

    def _restyle(self) -> None:
        self._column.setMaximumWidth(theme().px(COLUMN_PX))

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        status = self._bridge.status
        if status is not None:  # it may be as it is for hours before it changes again
            self.try_now.show_status(status)
            self.key.show_status(status)
        shelf = self._bridge.shelf
        if shelf is not None:
            self.try_now.show_shelf(shelf)
            self._show_shelf(shelf)
        first = self.try_now.get if self.try_now.get.isVisible() else self.try_now.button
        first.setFocus(Qt.FocusReason.OtherFocusReason)


class Mark(QWidget):
    """Signalbox's mark: one line, a set of points, two tracks."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        theme().changed.connect(self._restyle)
        self._restyle()

    def _restyle(self) -> None:
        self.setFixedSize(self.sizeHint())
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(theme().px(36), theme().px(28))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.scale(theme().zoom, theme().zoom)
        for token, line in (
            ("api", [(8, 19), (18, 8), (34, 8)]),
            ("local", [(8, 21), (34, 21)]),
        ):
            pen = QPen(theme().color(token), 4)
            pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
            painter.setPen(pen)
            painter.drawPolyline(QPolygonF([QPointF(x, y) for x, y in line]))
        painter.setPen(QPen(theme().color("ink"), 3))
        painter.setBrush(theme().color("window"))
        painter.drawEllipse(QRectF(4, 16, 10, 10))
