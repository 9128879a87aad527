"""What a start needs, looked at before it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from core import PreflightCheck, PreflightReport, counted, sentence_case
from gui.machine.controller import MachineController
from gui.machine.words import check_of
from gui.shell.pages import Shell, Target
from gui.theme.theme import set_property, theme
from gui.widgets.card import Card
from gui.widgets.copying import Copier, announce
from gui.widgets.error_card import IconMark
from gui.widgets.formatting import listed
from gui.widgets.labels import label
from gui.widgets.sentence import Sentence

if TYPE_CHECKING:
    from core import CoreStatus

ROW_PX, ICON_PX = 26, 16
_ICONS = {
    "ok": ("check-circle-fill", "ok"),
    "warning": ("warning-fill", "held_text"),
    "failed": ("warning-circle-fill", "danger_text"),
    "not_needed": ("minus-circle", "text3"),
    "unknown": ("question", "text3"),
}
_SPOKEN = {"not_needed": "not needed", "unknown": "not known"}
_TOGETHER = (("docker", "daemon", "compose", "nvidia_toolkit"), ("port", "disk"))
"""Checks that are one row where they are well."""


class PreflightCard(Card):
    """One row for each check, with its fix under it. Only a container has a pre-flight.

    Signals: ``asks`` when a start waits for an answer here, which has to be seen.
    """

    asks = Signal()

    def __init__(self, shell: Shell, controller: MachineController) -> None:
        super().__init__()
        self.setAccessibleName("Pre-flight")
        self._shell, self._controller = shell, controller
        self._shown: tuple[PreflightReport | None, str | None] | None = None
        self._told = False
        self._head = QHBoxLayout()
        self.summary = label("", "small", level="3")
        self.summary.setMinimumWidth(1)
        self.again = QPushButton("Check again")
        self.again.setAccessibleName("Check again what a start needs")
        set_property(self.again, flat=True, tiny=True, strong=True)
        self.again.clicked.connect(controller.check)
        self._head.addWidget(label("Pre-flight", "body", weight=600))
        self._head.addWidget(self.summary, 1)
        self.more = QPushButton()
        set_property(self.more, flat=True, tiny=True)
        self.more.clicked.connect(self._toggle)
        self._head.addWidget(self.more)
        self._head.addWidget(self.again)
        self.rows: list[CheckRow] = []
        self._holder = QWidget()
        self._rows = QVBoxLayout(self._holder)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._is_open = False
        self.ask = _StartAnyway(controller, self.again)
        self.body.addLayout(self._head)
        self.body.addWidget(self.ask)
        self.body.addWidget(self._holder)
        controller.changed.connect(self._show)
        controller.bridge.status_changed.connect(self._on_status)
        theme().changed.connect(self._restyle)
        self._restyle()
        self._show()

    def _on_status(self, status: CoreStatus) -> None:
        del status  # the controller has its state
        self._show()

    def _show(self) -> None:
        controller = self._controller
        self.setVisible(controller.is_compose)
        report = controller.report
        trouble = controller.check_trouble
        self.summary.setText(summary_words(report, is_checking=controller.is_checking, trouble=trouble))
        failed = bool(trouble or (report and report.blocks)) and not controller.is_checking
        tone = "danger" if failed else ""
        if self.summary.property("tone") != tone:
            set_property(self.summary, tone=tone)
        self.again.setDown(controller.is_checking)
        told = check_of(controller.state, report)
        facts = (report, None if told is None else told.name)
        if facts != self._shown:
            is_new = self._shown is None or report is not self._shown[0]
            self._shown = facts
            self._show_rows(joined(report.checks) if report else (), told)
            if report is not None and is_new and self.isVisible() and self._told:
                announce(self, f"Pre-flight {self.summary.text()}")
            self._told = True
        self._fold()
        was_asking = self.ask.isVisible()
        self.ask.show_held(held=controller.start_is_held, report=report, trouble=trouble)
        if self.ask.isVisible() and not was_asking:
            self.asks.emit()

    def _fold(self) -> None:
        """Of a server that runs, the checks stand back: they are for a start."""
        state = self._controller.state
        runs = state is not None and state.phase == "ready" and not self._controller.start_is_held
        self._is_open = self._is_open and runs
        self._holder.setVisible(not runs or self._is_open)
        self.more.setVisible(runs and self._controller.report is not None)
        self.more.setText("Hide" if self._is_open else "Show")
        self.more.setAccessibleName("Hide the checks" if self._is_open else "Show the checks")

    def _toggle(self) -> None:
        self._is_open = not self._is_open
        self._fold()

    def _show_rows(self, checks: Sequence[PreflightCheck], told: PreflightCheck | None) -> None:
        had_focus = any(row.isAncestorOf(self.window().focusWidget() or self) for row in self.rows)
        if had_focus:
            self.again.setFocus(Qt.FocusReason.OtherFocusReason)
        for row in self.rows:
            row.hide()
            self._rows.removeWidget(row)
            row.deleteLater()
        name = None if told is None else told.name
        self.rows = [
            CheckRow(check, self._controller, self._shell, is_told=check.name == name) for check in checks
        ]
        before: QWidget = self.again
        for row in self.rows:
            self._rows.addWidget(row)
            for button in row.buttons:
                QWidget.setTabOrder(before, button)
                before = button

    def _restyle(self) -> None:
        px = theme().px
        self.body.setContentsMargins(px(14), px(8), px(14), px(8))
        self.body.setSpacing(px(2))
        self._head.setSpacing(px(8))
        self._rows.setSpacing(0)


class CheckRow(QWidget):
    """Icon, title, what was found; where it isn't well, the fix with its button, and commands to copy.

    ``is_told``: the failure's own card gives the advice and the commands, and here stands the fact alone.
    """

    def __init__(
        self, check: PreflightCheck, controller: MachineController, shell: Shell, *, is_told: bool = False
    ) -> None:
        super().__init__()
        self.check = check
        self.buttons: list[QPushButton] = []
        spoken = _SPOKEN.get(check.state, check.state)
        self.setAccessibleName(f"{check.title}: {spoken}")
        if is_told:
            check = replace(check, fix="", commands=())
        self.setAccessibleDescription(" ".join(part for part in (check.found, check.fix) if part))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        line = QHBoxLayout()
        line.setSpacing(theme().px(8))
        line.addWidget(IconMark(*_ICONS[check.state], ICON_PX, self))
        title = label(check.title, "body")
        title.setSizePolicy(title.sizePolicy().Policy.Ignored, title.sizePolicy().verticalPolicy())
        title.setToolTip(check.title)
        line.addWidget(title, 1)
        found = label(check.found, "small", level="2")
        line.addWidget(found)
        title.setMinimumHeight(theme().px(ROW_PX))
        column.addLayout(line)
        if check.ok or not (check.fix or check.commands or check.fix_setting):
            return
        fix = QHBoxLayout()
        fix.setContentsMargins(theme().px(ICON_PX + 8), 0, 0, theme().px(4))
        fix.setSpacing(theme().px(8))
        fix.addWidget(Sentence(check.fix, self, role="small"), 1)
        if check.fix_setting is not None:
            wanted = check.fix_setting
            self._add(fix, wanted.label, partial(controller.apply_fix, wanted))
        if check.name == "token" and not is_told:
            self._add(fix, "Set the token", partial(shell.open, Target("machine", "settings", "token")))
        if check.commands:
            copy = self._add(fix, "Copy command" if len(check.commands) == 1 else "Copy commands", None)
            copy.setToolTip("\n".join(check.commands))
            Copier(copy, lambda: "\n".join(check.commands))
        column.addLayout(fix)

    def _add(self, row: QHBoxLayout, text: str, act: Callable[[], object] | None) -> QPushButton:
        button = QPushButton(text)
        set_property(button, tiny=True)
        button.setAccessibleDescription(f"{self.check.title}. {self.check.fix}".strip())
        if act is not None:
            button.clicked.connect(lambda: act())
        row.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)
        self.buttons.append(button)
        return button


class _StartAnyway(QWidget):
    """The question of a start that the pre-flight holds, in its place; ``heir`` gets its focus when it goes."""

    def __init__(self, controller: MachineController, heir: QWidget) -> None:
        super().__init__()
        self._heir = heir
        self._words = Sentence(role="small")
        self.anyway = QPushButton("Start anyway")
        self.leave = QPushButton("Don’t start")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 4, 0, 6)
        row.addWidget(self._words, 1)
        for button in (self.leave, self.anyway):
            set_property(button, compact=True)
            row.addWidget(button)
        self.anyway.clicked.connect(lambda: controller.start_server(anyway=True))
        self.leave.clicked.connect(controller.give_start_up)
        self.hide()

    def show_held(self, *, held: bool, report: PreflightReport | None, trouble: str) -> None:
        if held and self.isHidden():
            said = _held_words(report, trouble)
            self._words.say(said)
            announce(self, said)
            self.show()
            self.leave.setFocus(Qt.FocusReason.OtherFocusReason)  # the safe one
        elif not held and not self.isHidden():
            if self.anyway.hasFocus() or self.leave.hasFocus():
                self._heir.setFocus(Qt.FocusReason.OtherFocusReason)
            self.hide()


def _held_words(report: PreflightReport | None, trouble: str) -> str:
    if trouble or report is None:
        return "The checks could not run, so the start may fail."
    failed = [check.title for check in report.checks if check.state == "failed" and check.matters]
    return f"The start would fail: {listed(failed)}."


def summary_words(report: PreflightReport | None, *, is_checking: bool, trouble: str) -> str:
    """Return ``passed with 1 warning at 14:14``."""
    if is_checking:
        return "checking…"
    if trouble:
        return trouble
    if report is None:
        return "not checked yet"
    at = f"{report.at.astimezone():%H:%M}"
    failed = sum(check.state == "failed" for check in report.checks)
    warned = sum(check.state == "warning" for check in report.checks)
    unknown = sum(check.state == "unknown" for check in report.checks)
    if failed:
        return f"{counted(failed, 'check')} failed at {at}"
    if warned:
        return f"passed with {counted(warned, 'warning')} at {at}"
    if unknown:
        return f"passed, {counted(unknown, 'check')} not known, at {at}"
    return f"passed at {at}" if report.checks else f"nothing to check at {at}"


def joined(checks: Sequence[PreflightCheck]) -> tuple[PreflightCheck, ...]:
    """Return the rows: of checks that belong together, those that are well are one."""
    rows: list[PreflightCheck] = []
    done: set[str] = set()
    for check in checks:
        if check.name in done:
            continue
        names = next((group for group in _TOGETHER if check.name in group), (check.name,))
        well = [one for one in checks if one.name in names and one.state == "ok"]
        if check.state == "ok" and len(well) > 1:
            rows.append(_one_of(well))
            done.update(one.name for one in well)
        else:
            rows.append(check)
    return tuple(rows)


def _one_of(group: Sequence[PreflightCheck]) -> PreflightCheck:
    titles = [one.title for one in group if one.name != "daemon"] or [group[0].title]
    titles[1:] = [_lower(title) for title in titles[1:]]
    title = " and ".join(titles) if len(titles) == 2 else ", ".join(titles)
    shown = [one.found for one in group if one.found]
    if (
        group[0].name == "docker"
    ):  # many words for a narrow row: its engine's version and "installed" are left out
        shown = [one.found for one in group if one.name != "daemon" and re.search(r"\d", one.found)] or shown
    found = " · ".join(dict.fromkeys(shown))
    return replace(group[0], title=sentence_case(title), found=found)


def _lower(title: str) -> str:
    return title if title[:2].isupper() or title.startswith("Compose") else title[:1].lower() + title[1:]
