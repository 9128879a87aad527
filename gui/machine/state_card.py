"""The local server: its state, its steps while it starts, why it failed, and the buttons."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, QTimer
from PySide6.QtGui import QHideEvent, QPainter, QPaintEvent, QShowEvent
from PySide6.QtWidgets import (
    QApplication,
    QFrame,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from gui.machine import words
from gui.machine.controller import MachineController, Verb
from gui.machine.failure_card import FailureCard
from gui.machine.settings_words import setting_label
from gui.machine.step_line import StepLine
from gui.shell.pages import Shell, Target
from gui.theme.theme import set_button_icon, set_property, theme
from gui.widgets.card import Card
from gui.widgets.copying import Copier, announce
from gui.widgets.error_card import IconMark
from gui.widgets.formatting import count, listed, speed
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import ResultLine, label
from gui.widgets.marks import Lamp
from gui.widgets.painted_button import Painted
from gui.widgets.sentence import Sentence

if TYPE_CHECKING:
    from core import CoreStatus, MachineSample, ServerFigures, ServerState

TICK_MS = 1000
DRAINED = "You sent everything to the API: no new request comes here."
_ASKED = {"start": "Starting…", "stop": "Stopping…", "restart": "Restarting…", "look": "Looking…"}


class StateCard(QWidget):
    """What the core says of the server, and only that: a press shows on its button until the state has changed.

    A failure stands in an error card in place of the rest.
    """

    def __init__(self, shell: Shell, controller: MachineController) -> None:
        super().__init__()
        self.setAccessibleName("Local server")
        self._shell, self._controller = shell, controller
        self._said = ""
        self._buttons: dict[Verb, QPushButton] = {}
        self._build()
        self._timer = QTimer(self)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._show_time)
        controller.bridge.status_changed.connect(self._on_status)
        controller.bridge.machine_sampled.connect(self._on_sample)
        controller.changed.connect(self._show)
        theme().changed.connect(self._restyle)
        self._restyle()
        self._show()

    def _build(self) -> None:
        self.card = Card()
        self.lamp = Lamp("stopped")
        self.title = label("", "title", wrap=True)
        self.title.setMinimumWidth(1)
        self._head = QHBoxLayout()
        self._head.addWidget(self.lamp)
        self._head.addWidget(self.title, 1)
        self.start = self._button("start", "Start", "play", self._controller.start_server)
        self.stop = self._button("stop", "Stop", "", self._controller.stop_server)
        self.restart = self._button("restart", "Restart", "arrow-clockwise", self._controller.restart_server)
        self.look = self._button("look", "Check now", "arrow-clockwise", self._controller.look_again)
        self.models = self._button("", "Choose a model", "cube", self._open_models)
        self.copy_commands = IconButton(
            "terminal-window", "Copy the commands that Signalbox runs", size=28, icon_size=16
        )
        Copier(self.copy_commands, lambda: "\n".join(self._controller.commands))
        self._head.addWidget(self.copy_commands)
        self.sentence = Sentence(role="small")
        self.steps = StepLine()
        self._line = QFrame()
        set_property(self._line, sunken=True)
        self.last_line = _Elided()
        self.copy_line = IconButton("copy", "Copy this line", size=24, icon_size=14)
        Copier(self.copy_line, lambda: self.last_line.words)
        self._line_row = QHBoxLayout(self._line)
        self._line_row.addWidget(self.last_line, 1)
        self._line_row.addWidget(self.copy_line)
        self.time = label("", "caption", level="2")
        self.facts = Sentence(role="small")
        self.address = Sentence(role="mono")
        self._address_row = QWidget()
        address = QHBoxLayout(self._address_row)
        address.setContentsMargins(0, 0, 0, 0)
        copy_address = IconButton("copy", "Copy the address", size=24, icon_size=14)
        Copier(copy_address, lambda: self.address.words)
        address.addWidget(self.address, 1)
        address.addWidget(copy_address)
        self.restart_needed = _HeldLine("Restart now", self._controller.restart_server)
        self.drained = _HeldLine("Use it again", self._controller.use_again)
        self.result = ResultLine()
        body = self.card.body
        body.addLayout(self._head)
        for part in (
            self.sentence,
            self.steps,
            self._line,
            self.time,
            self.facts,
            self._address_row,
            self.restart_needed,
            self.drained,
        ):
            body.addWidget(part)
        self.failure = FailureCard(self._shell, self._controller)
        column = self._column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.card)
        column.addWidget(self.failure)
        column.addWidget(self.result)

    def _button(self, verb: Verb, text: str, icon: str, act: Callable[[], object]) -> QPushButton:
        button = QPushButton(text)
        set_property(button, compact=True)
        button.setAutoDefault(False)
        if icon:
            set_button_icon(button, icon, "text2", 14)
        button.clicked.connect(lambda: act())
        if verb:
            self._buttons[verb] = button
        self._head.addWidget(button)
        return button

    # State

    def _on_status(self, status: CoreStatus) -> None:
        del status  # the controller has it
        self._show()

    def _on_sample(self, sample: MachineSample) -> None:
        if self.isVisible():
            self._show_figures(sample)

    def _show(self) -> None:
        state = self._controller.state
        if state is None:
            self.title.setText("Signalbox is starting")
            self._show_buttons(frozenset(), "")
            for part in (self.steps, self._line, self.time, self.facts, self._address_row):
                part.hide()
            self.restart_needed.hide()
            self.drained.hide()
            self.failure.hide()
            return
        failed = state.phase == "failed"
        if failed:
            self.failure.show_state(state)
        heir = self._focus_in(self.card) if failed else self._focus_in(self.failure)
        self.card.setVisible(not failed)
        self.failure.setVisible(failed)
        self.lamp.set_state(words.LAMPS[state.phase])
        self.title.setText(words.state_title(state))
        self._show_words(state)
        steps = words.shown_steps(state)
        self.steps.show_steps(steps, ready=state.phase == "ready")
        starting = state.phase == "starting"
        self.steps.setVisible(bool(steps) and starting)
        self.last_line.say(state.last_line)
        self._line.setVisible(bool(state.last_line) and starting)
        self._show_time()
        self._show_ready(state)
        self._show_buttons(*self._verbs_of(state))
        self._show_trouble()
        if heir:
            self._focus_first()
        self._tell(state)
        self._run_clock(starting)

    def _focus_in(self, part: QWidget) -> bool:
        focused = QApplication.focusWidget()
        return part.isVisible() and focused is not None and part.isAncestorOf(focused)

    def _focus_first(self) -> None:
        shown = self.failure.first_button if self.failure.isVisibleTo(self) else self._first_shown()
        if shown is not None:
            shown.setFocus(Qt.FocusReason.OtherFocusReason)

    def _first_shown(self) -> QWidget | None:
        each = (self.start, self.stop, self.restart, self.look, self.models)
        return next((one for one in each if one.isVisibleTo(self) and one.isEnabled()), None)

    def _show_words(self, state: ServerState) -> None:
        contexts = self._controller.contexts
        here = next((one for one in contexts if state.docker_context in (one.name, one.endpoint)), None)
        context = state.docker_context if here is None else here.name
        text, strong = words.place_words(state, "" if here is None else here.words, context)
        if state.phase == "starting":
            text = f"{text} {words.wait_words(state, api_answers=self._controller.api_answers)}"
        elif state.phase == "ready" and state.kind == "compose" and state.detail:
            text = f"{text} {words.failure_why(state)}"  # why Stop does nothing: the engine is away
        elif state.phase == "stopped" and state.kind == "external":
            text += " Signalbox is not checking it now."
        elif state.phase == "stopped" and state.kind != "none":
            waits = (
                "Requests go to the API."
                if self._controller.api_answers
                else "Nothing answers on this machine."
            )
            text = f"{text} {waits}"
        if self._controller.start_is_held:
            text += " The start is on hold: the pre-flight found a problem."
        elif self._controller.asked == "start" and self._controller.is_checking:
            text += " Checking what a start needs."
        self.sentence.say(text, strong=strong)

    def _show_time(self) -> None:
        state = self._controller.state
        text = ""
        if state is not None and state.phase == "starting":
            began = state.started_at
            elapsed = None if began is None else max(0.0, (datetime.now(UTC) - began).total_seconds())
            text = words.deadline_words(elapsed, state.deadline_s)
        self.time.setText(text)
        self.time.setVisible(bool(text))

    def _show_ready(self, state: ServerState) -> None:
        ready = state.phase == "ready"
        self.address.say(state.base_url or "")
        self._address_row.setVisible(ready and bool(state.base_url))
        needed = listed([setting_label(name) for name in state.restart_needed]) if ready else ""
        self.restart_needed.say(needed and f"Restart needed for {needed}. Until then it runs as before.")
        status = self._controller.bridge.status
        self.drained.say(DRAINED if status is not None and status.local_drained else "")
        self._show_figures(self._controller.bridge.sample)

    def _show_figures(self, sample: MachineSample | None) -> None:
        state = self._controller.state
        facts: list[str] = []
        if state is not None and state.phase == "ready":
            if state.context_tokens is not None:
                facts.append(f"{count(state.context_tokens)} tokens a request")
            if state.kind == "external" and len(state.models) > 1:
                facts.append(words.models_words([one.id for one in state.models]))
            if sample is not None:
                facts += load_facts(sample.server)
        self.facts.say(" · ".join(facts))
        self.facts.setVisible(bool(facts))

    # Buttons

    def _verbs_of(self, state: ServerState) -> tuple[frozenset[str], str]:
        """Return the verbs to offer, and what Stop is called."""
        if state.kind == "none":
            return frozenset({"models"}), "Stop"
        if state.kind == "external":
            return frozenset({"look"}), "Stop"  # nobody stops somebody else's server
        if state.phase == "starting" or self._controller.asked == "start":
            return frozenset({"stop", "restart"}), "Cancel"  # Restart is shown, and comes with the end of it
        if state.phase in ("ready", "stopping"):
            return state.verbs & {"stop", "restart"}, "Stop"
        return state.verbs & {"start"}, "Stop"

    def _show_buttons(self, verbs: frozenset[str], stop: str) -> None:
        asked = self._controller.asked
        state = self._controller.state
        shown = {
            self.start: "start" in verbs,
            self.stop: "stop" in verbs,
            self.restart: "restart" in verbs,
            self.look: "look" in verbs,
            self.models: "models" in verbs,
        }
        names = {"start": "Start", "stop": stop or "Stop", "restart": "Restart", "look": "Check now"}
        for verb, button in self._buttons.items():
            pressed = verb == asked
            button.setText(_ASKED[verb] if pressed else names[verb])
            button.setDown(pressed)
            button.setAccessibleName(
                f"{names[verb]} the local server" if verb != "look" else "Check the server now"
            )
            button.setAccessibleDescription(_ASKED[verb] if pressed else "")
        can_restart = state is None or state.phase == "ready"
        focused = next((button for button in shown if button.hasFocus()), None)
        if can_restart:
            self.restart.setEnabled(True)
        for button, visible in shown.items():
            if visible:
                button.show()
        usable = [
            one for one, visible in shown.items() if visible and (can_restart or one is not self.restart)
        ]
        if focused is not None and focused not in usable and usable:
            # Before it goes or is disabled, or Qt hands the focus to whatever comes next.
            usable[0].setFocus(Qt.FocusReason.OtherFocusReason)
        self.restart.setEnabled(can_restart)
        for button, visible in shown.items():
            if not visible:
                button.hide()
        primary = "start" in verbs
        if bool(self.start.property("primary")) != primary:
            set_button_icon(self.start, "play", "onInk" if primary else "text2", 14)
            set_property(self.start, primary=primary)
        self.copy_commands.setVisible(bool(self._controller.commands) and self._controller.is_compose)

    def _show_trouble(self) -> None:
        if self._controller.trouble:
            self.result.tell("danger", "", self._controller.trouble)
        else:
            self.result.clear()

    def _open_models(self) -> None:
        self._shell.open(Target("machine", "models"))

    # Life

    def _tell(self, state: ServerState) -> None:
        """Say a change of state once to a screen reader, not each per cent of it."""
        said = f"{state.kind} {state.phase} {state.cause}"
        if self._said and said != self._said and self.isVisible():
            title = words.failure_title(state) if state.phase == "failed" else words.state_title(state)
            announce(self, f"Local server: {title}")
        self._said = said

    def _run_clock(self, wanted: bool) -> None:
        if wanted and self.isVisible():
            if not self._timer.isActive():
                self._timer.start()
        else:
            self._timer.stop()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._show()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._timer.stop()

    def _restyle(self) -> None:
        px = theme().px
        self.card.body.setContentsMargins(px(14), px(10), px(14), px(12))
        self.card.body.setSpacing(px(8))
        self._head.setSpacing(px(8))
        self._line_row.setContentsMargins(px(8), px(2), px(4), px(2))
        self._column.setSpacing(px(6))


class _Elided(Painted):
    """One line of a log, cut at the end where there is no room; the tooltip has all of it."""

    def __init__(self) -> None:
        super().__init__(across=QSizePolicy.Policy.Ignored)
        self.words = ""

    def say(self, text: str) -> None:
        if text != self.words:
            self.words = text
            self.setAccessibleName(f"Last line of the log: {text}")
            self.setToolTip(text)
            self.update()

    def sizeHint(self) -> QSize:
        return QSize(theme().px(120), theme().px(24))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setFont(theme().font("mono"))
        painter.setPen(theme().color("text2"))
        metrics = painter.fontMetrics()
        text = metrics.elidedText(self.words, Qt.TextElideMode.ElideRight, self.width())
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, text)
        painter.end()


class _HeldLine(QFrame):
    """What holds of the server beside its state, and the button that ends it."""

    def __init__(self, verb: str, act: Callable[[], None]) -> None:
        super().__init__()
        set_property(self, tint="held")
        self._words = label("", "small", tone="held", wrap=True)
        self.button = QPushButton(verb)
        set_property(self.button, tiny=True)
        self.button.clicked.connect(lambda: act())
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 6, 8, 6)
        row.addWidget(IconMark("warning-fill", "held_text", 16, self))
        row.addWidget(self._words, 1)
        row.addWidget(self.button)
        self.hide()

    def say(self, text: str) -> None:
        """Show ``text``; nothing where it is empty."""
        self.setVisible(bool(text))
        self._words.setText(text)
        self.setAccessibleName(text)


def load_facts(figures: ServerFigures) -> list[str]:
    """Return how busy the server is: ``2 running``, ``1 waiting``, ``48 tok/s``; ``idle`` where it is not."""
    running, waiting = figures.running_requests, figures.waiting_requests
    if running == 0 and not waiting:
        return ["idle"]
    facts = [f"{running} running"] if running is not None else []
    if waiting:
        facts.append(f"{waiting} waiting")
    if figures.generation_tokens_per_s:
        facts.append(speed(figures.generation_tokens_per_s))
    return facts
