"""The local server: its settings, its state with start, stop and restart, and its log."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QHideEvent, QShowEvent, QTextOption
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit, QPushButton

from core.errors import SignalboxError
from gui.preferences.catalogue import SectionText
from gui.preferences.rows import add_setting_rows
from gui.preferences.section import Section
from gui.preferences.settings_model import SettingsModel
from gui.shell.tasks import Tasks
from gui.theme.theme import set_button_icon, set_property, theme
from gui.widgets.card import Card
from gui.widgets.copying import Copier
from gui.widgets.labels import ResultLine, label
from gui.widgets.marks import Lamp, LampState

if TYPE_CHECKING:
    from core import CoreStatus, ServerState

LOG_LINES = 200
LOG_PERIOD_MS = 1000
LAMPS: dict[str, LampState] = {
    "ready": "ready",
    "starting": "busy",
    "stopping": "busy",
    "failed": "failed",
    "stopped": "stopped",
}
KINDS = {
    "embedded": "Small model on this CPU",
    "compose": "vLLM container",
    "external": "A server you run",
    "none": "No local server",
}


class LocalSection(Section):
    """The log is read while the section is on screen only."""

    def __init__(self, text: SectionText, model: SettingsModel) -> None:
        super().__init__(text)
        self._bridge = model.bridge
        self._tasks = Tasks(self)
        self._phase = "stopped"
        self._lines: list[str] = []
        self._make_control_card()
        add_setting_rows(self, model)
        self._make_log_card()
        self._timer = QTimer(self)
        self._timer.setInterval(LOG_PERIOD_MS)
        self._timer.timeout.connect(self._read_log)
        self._bridge.status_changed.connect(self._show_status)
        if self._bridge.status is not None:
            self._show_status(self._bridge.status)

    def _make_control_card(self) -> None:
        card = Card()
        self.lamp = Lamp("stopped")
        self.state_word = label("Stopped", "title")
        self.state_line = label("", "small", level="2", wrap=True)
        self.start = self._button("Start", "play", self._bridge_start)
        self.restart = self._button("Restart", "arrow-clockwise", self._bridge_restart)
        self.stop = self._button("Stop", "stop", self._bridge_stop)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.lamp)
        row.addWidget(self.state_word, 1)
        for button in (self.start, self.restart, self.stop):
            row.addWidget(button)
        self.result = ResultLine()
        self.of_a_server = QPushButton("Address, model and key")
        set_button_icon(self.of_a_server, "arrow-right")
        self.of_a_server.setAccessibleName("Address, model and key of a server you run")
        set_property(self.of_a_server, flat=True, compact=True)
        self.of_a_server.clicked.connect(lambda: self.asked.emit("vllm_base_url"))
        link = QHBoxLayout()
        link.addWidget(self.of_a_server)
        link.addStretch(1)
        card.body.addLayout(row)
        card.body.addWidget(self.state_line)
        card.body.addWidget(self.result)
        card.body.addLayout(link)
        self.add_card(card)
        self.anchors["control"] = self.start

    def _make_log_card(self) -> None:
        card = Card()
        head = QHBoxLayout()
        head.addWidget(label("Log", "title"), 1)
        self.copy = QPushButton("Copy")
        self.copy.setAccessibleName("Copy the log")
        set_property(self.copy, tiny=True)
        Copier(self.copy, lambda: "\n".join(self._lines))
        head.addWidget(self.copy)
        self.log = QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setMaximumBlockCount(LOG_LINES)
        self.log.setWordWrapMode(QTextOption.WrapMode.WrapAnywhere)
        self.log.setTabChangesFocus(True)
        self.log.setPlaceholderText("Nothing in the log yet. It fills when the server starts.")
        self.log.setAccessibleName("Log of the local server")
        set_property(self.log, role="mono")
        card.body.addLayout(head)
        card.body.addWidget(self.log)
        self.add_card(card)
        self.anchors["log"] = self.log
        theme().changed.connect(self._restyle_log)
        self._restyle_log()

    def _restyle_log(self) -> None:
        self.log.setFixedHeight(theme().px(220))

    def _button(self, text: str, icon: str, slot: Callable[[], None]) -> QPushButton:
        button = QPushButton(text)
        set_button_icon(button, icon)
        button.setAccessibleName(f"{text} the local server")
        button.clicked.connect(slot)
        return button

    # State

    def _show_status(self, status: CoreStatus) -> None:
        state = status.local
        self._phase = state.phase
        self.lamp.set_state(LAMPS[state.phase])
        self.state_word.setText(state.phase.capitalize())
        self.state_line.setText(state_sentence(state))
        none = state.kind == "none"
        shown = {
            self.start: state.phase in ("stopped", "failed", "stopping"),
            self.stop: state.phase in ("starting", "ready"),
            self.restart: state.phase in ("ready", "failed"),
        }
        # Enabled while it stops too, so that the focus can come from Stop; a click waits until then.
        self.start.setEnabled(not none)
        self.stop.setText("Cancel" if state.phase == "starting" else "Stop")
        focused = next((button for button in shown if button.hasFocus()), None)
        for button, visible in shown.items():
            if visible:
                button.show()
        if focused is not None and not shown[focused]:
            # Before it goes, or Qt hands the focus to the combo below.
            heir = self.start if shown[self.start] else self.stop
            heir.setFocus(Qt.FocusReason.OtherFocusReason)
        for button, visible in shown.items():
            if not visible:
                button.hide()

    def _bridge_start(self) -> None:
        if self._phase != "stopping":
            self._run(self._bridge.core.start_local())

    def _bridge_stop(self) -> None:
        self._run(self._bridge.core.stop_local())

    def _bridge_restart(self) -> None:
        self._run(self._bridge.core.restart_local())

    def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        self._tasks.start(self._await_work(work))

    async def _await_work(self, work: Coroutine[Any, Any, Any]) -> None:
        self.result.clear()
        try:
            await self._bridge.call(work)
        except SignalboxError as failed:
            self.result.tell("danger", "", str(failed))
        await self._fetch_log()

    # Log

    def _read_log(self) -> None:
        self._tasks.start(self._fetch_log(), key="log")

    async def _fetch_log(self) -> None:
        lines = await self._bridge.run_blocking(self._bridge.core.local_log, LOG_LINES)
        if lines == self._lines:
            return
        self._lines = lines
        bar = self.log.verticalScrollBar()
        at_end = bar.value() >= bar.maximum() - 4
        place = bar.value()
        self.log.setPlainText("\n".join(lines))
        bar.setValue(bar.maximum() if at_end else min(place, bar.maximum()))

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._read_log()
        self._timer.start()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._timer.stop()


def state_sentence(state: ServerState) -> str:
    """The facts behind the state word, those that are known."""
    parts = [KINDS[state.kind]]
    if state.detail:
        parts.append(state.detail)
    if state.eta_s is not None and state.phase == "starting":
        parts.append(f"about {max(1, round(state.eta_s))} s left")
    if state.model:
        parts.append(state.model)
    if state.context_tokens is not None:
        parts.append(f"{state.context_tokens:,} tokens of context a request")
    if state.base_url:
        parts.append(state.base_url)
    if state.phase == "failed" and state.hint:
        parts.append(state.hint)
    return " · ".join(parts)
