"""Why the local server failed: what happened, the fix, the end of its log, what was kept, and the other ways on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget

from core import FixSetting, memory_size, tokens_short
from gui.machine import words
from gui.machine.controller import MachineController
from gui.machine.settings_words import LABELS, setting_label, value_words
from gui.shell.pages import Shell, Target
from gui.widgets.copying import announce
from gui.widgets.error_card import Callback, ErrorCard
from gui.widgets.fold import Fold
from gui.widgets.sentence import Sentence

if TYPE_CHECKING:
    from core import FitOption, ServerState

SHOWN_LINES = 2
_RAISED = re.compile(r"(?:^|[\])] )(?:[\w.]+\.)?\w*(?:Error|Exception)\b(?:: |$)")
"""The last line of a traceback, also behind a process's name: it says what the lines before it lead to."""
_SAYS_ERROR = re.compile(r"\b(?:ERROR|ERR|CRITICAL|FATAL)\b|^error:", re.IGNORECASE)
_OTHERS = re.compile(r"resource_tracker|leaked \w+ objects|UserWarning|See root cause above")
_SETTING_OF = {
    "gated_model": "token",
    "model_not_found": "model",
    "wrong_quantization": "quantization",
    "length_too_large": "max_model_len",
    "not_compiled": "extra_args",
    "bad_settings": "extra_args",
    "no_nvidia_toolkit": "",
    "compose_file": "",
}
"""Where in the settings a failure is mended."""


def telling_lines(log: Sequence[str]) -> tuple[str, ...]:
    """Return the two lines of ``log`` that say most of why it ended: what a traceback ends with, then errors.

    A log ends with what every process says that has to leave; where no line tells of an error, it is the last two.
    """
    said = [at for at, line in enumerate(log) if line.strip() and not _OTHERS.search(line)]
    raised = [at for at in said if _RAISED.search(log[at])]
    errors = [at for at in said if _SAYS_ERROR.search(log[at]) and at not in raised]
    best = (raised[-SHOWN_LINES:] or errors[-SHOWN_LINES:] or said[-SHOWN_LINES:])[-SHOWN_LINES:]
    if not best:
        return tuple(log[-SHOWN_LINES:])
    for at in (*reversed(errors), *reversed(said)):
        if len(best) < SHOWN_LINES and at not in best:
            best.append(at)
    return tuple(log[at] for at in sorted(best))


class FailureCard(QWidget):
    """One error card, made anew when the failure is another one."""

    def __init__(self, shell: Shell, controller: MachineController) -> None:
        super().__init__()
        self._shell, self._controller = shell, controller
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._shown: object = None
        self.card: ErrorCard | None = None

    @property
    def first_button(self) -> QPushButton | None:
        return self.card.buttons[0] if self.card is not None and self.card.buttons else None

    def show_state(self, state: ServerState) -> None:
        """Show why ``state`` failed."""
        option = self._option(state)
        facts = (
            state.failure,
            state.detail,
            state.hint,
            state.cause,
            state.kind,
            state.verbs,
            option,
            self._asked(),
            self._when(state),
            self._commands(state),
            self._kept(),
        )
        if facts == self._shown:
            return
        had_focus = self.card is not None and self.card.isAncestorOf(self.window().focusWidget() or self)
        self._shown = facts
        old, self.card = self.card, self._make(state, option)
        self._column.addWidget(self.card)
        if old is not None:
            old.hide()
            self._column.removeWidget(old)
            old.deleteLater()
        if had_focus and self.first_button is not None:
            self.first_button.setFocus(Qt.FocusReason.OtherFocusReason)

    def _when(self, state: ServerState) -> str:
        return words.failure_when(state, self._controller.report)

    def _commands(self, state: ServerState) -> tuple[str, ...]:
        """Return what the failure and the check for it have to copy: the check leaves its own to this card."""
        check = words.check_of(state, self._controller.report)
        own = () if state.failure is None else state.failure.commands
        return tuple(dict.fromkeys((*own, *(() if check is None or check.ok else check.commands))))

    def _asked(self) -> str:
        return self._controller.asked

    def _option(self, state: ServerState) -> FitOption | None:
        """Return what would fit, where that is what it failed of."""
        report = self._controller.report
        memory = state.failure is not None and state.failure.kind == "gpu_out_of_memory"
        if not memory or report is None or report.fit is None:
            return None
        return next((one for one in report.fit.options if one.name in LABELS), None)

    def _make(self, state: ServerState, option: FitOption | None) -> ErrorCard:
        failure = state.failure
        log = failure.log if failure is not None else ()
        fix, fix_title, fix_detail = self._fix(state, option)
        return ErrorCard(
            words.failure_title(state),
            f"{words.failure_why(state)} {self._when(state)}".strip(),
            fix=fix,
            fix_title=fix_title,
            fix_detail=fix_detail,
            log=telling_lines(log),
            body=self._folded(log),
            kept=self._kept(),
            actions=self._actions(state, option),
        )

    def _folded(self, log: tuple[str, ...]) -> QWidget | None:
        if len(log) <= SHOWN_LINES:
            return None
        text = Sentence("\n".join(log), role="mono")
        text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        title = f"Last {len(log)} lines of its log"
        return Fold(title, "", text, key="machine failure log", opened=False, parent=self)

    def _fix(
        self, state: ServerState, option: FitOption | None
    ) -> tuple[tuple[str, Callback] | None, str, str]:
        """Return the one primary button, and what stands beside it."""
        failure = state.failure
        if option is not None:
            title, detail = self._option_words(option)
            change = FixSetting(label=option.words, name=option.name, value=option.value)
            return (
                ("Apply and restart", lambda: self._controller.apply_fix(change, then_start=True)),
                title,
                detail,
            )
        hint = failure.fix if failure is not None else state.hint
        if failure is not None and failure.kind in ("port_taken", "disk_full"):
            over = words.passed_since(state, self._controller.report)
            hint = hint if over is None else "That is over by now. Start it again."
        go: tuple[str, Callback] | None = None
        if state.cause == "key":
            go = "Replace the key", self._opener(Target("preferences", "providers", "vllm"))
        elif state.kind == "external":
            go = "Address and model", self._opener(Target("machine", "settings"))
        elif failure is not None and failure.kind in _SETTING_OF and state.kind == "compose":
            go = "Open the settings", self._opener(Target("machine", "settings", _SETTING_OF[failure.kind]))
        elif state.cause == "model":
            go = "Choose a model", self._opener(Target("machine", "models"))
        elif "start" in state.verbs:
            go = ("Starting…" if self._asked() == "start" else "Start again"), self._controller.start_server
        elif "restart" in state.verbs:
            go = ("Restarting…" if self._asked() == "restart" else "Restart"), self._controller.restart_server
        return go, hint, ""

    def _option_words(self, option: FitOption) -> tuple[str, str]:
        now = self._now(option.name)
        value = option.value
        if option.name == "max_model_len" and isinstance(value, int) and isinstance(now, int):
            title = f"Lower the context from {tokens_short(now)} to {tokens_short(value)} tokens"
        elif now is None:
            title = f"Set {setting_label(option.name)} to {value_words(option.name, value)}"
        else:
            title = f"Change {setting_label(option.name)} from {now} to {value_words(option.name, value)}"
        report = self._controller.report
        needed = None if report is None or report.fit is None else report.fit.needed_bytes
        instead = "" if needed is None else f" instead of {memory_size(needed)}"
        return title, f"Needs about {memory_size(option.needed_bytes)}{instead}"

    def _now(self, name: str) -> object:
        """Return a setting as the container had it."""
        report, plan = self._controller.report, self._controller.plan
        if name == "max_model_len" and report is not None and report.fit is not None:
            return report.fit.context_tokens
        return None if plan is None else getattr(plan.effective, name, None)

    def _actions(self, state: ServerState, option: FitOption | None) -> list[tuple[str, str, Callback]]:
        actions: list[tuple[str, str, Callback]] = []
        primary_starts = option is None and self._fix(state, option)[0] is not None
        if option is not None or (primary_starts and not self._starts(state)):
            if state.kind == "external":
                actions.append(("Check now", "arrow-clockwise", self._controller.look_again))
            elif "start" in state.verbs:
                words_ = "Starting…" if self._asked() == "start" else "Start as it is"
                actions.append((words_, "arrow-clockwise", self._controller.start_server))
        actions.append(("Show log", "terminal-window", self._opener(Target("machine", "log"))))
        if found := self._commands(state):
            commands = "\n".join(found)
            actions.append(("Copy commands", "copy", lambda: self._copy(commands, "Commands copied")))
        details = self._details(state)
        actions.append(("Copy details", "copy", lambda: self._copy(details, "Details copied")))
        return actions

    def _starts(self, state: ServerState) -> bool:
        fix = self._fix(state, None)[0]
        starters = (self._controller.start_server, self._controller.restart_server)
        return fix is not None and fix[1] in starters

    def _details(self, state: ServerState) -> str:
        failure = state.failure
        parts = [words.failure_title(state), words.failure_why(state), self._when(state)]
        parts += [] if failure is None else [failure.fix, *self._commands(state), "", *failure.log]
        return "\n".join(parts).strip()

    def _kept(self) -> str:
        if self._controller.api_answers:
            return "Requests go to the API meanwhile. Chats and settings are kept."
        status = self._controller.bridge.status
        keyless = status is not None and status.api.phase == "no_key"
        why = "no key of the API is set" if keyless else "the API can’t be used now"
        return f"Chats and settings are kept. Nothing answers until it runs: {why}."

    def _copy(self, text: str, said: str) -> None:
        QGuiApplication.clipboard().setText(text)
        announce(self, said)

    def _opener(self, target: Target) -> Callable[[], None]:
        def go() -> None:
            self._shell.open(target)

        return go
