"""The bar under the form: how many changes there are, the diff before they are applied, and what came of them."""

from __future__ import annotations

from dataclasses import fields

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPlainTextEdit,
    QPushButton,
    QTextEdit,
    QVBoxLayout,
)

from core import counted
from gui.machine.controller import MachineController
from gui.machine.settings_words import LABELS, value_words
from gui.machine.vllm_form import VllmForm
from gui.theme.theme import set_property, theme
from gui.widgets.labels import ResultLine, label
from gui.widgets.sentence import Sentence

DIFF_PX, LOW_DIFF_PX = 160, 84
LOW_PX = 680
"""A window that is lower has a lower diff."""


class ApplyBar(QFrame):
    """Shown while something is typed that is not applied. Nothing is applied that was not shown as a diff."""

    def __init__(self, controller: MachineController, form: VllmForm) -> None:
        super().__init__()
        set_property(self, card=True)
        self.setAccessibleName("Changes")
        self._controller, self._form = controller, form
        self._reviews = False
        self.changes = Sentence(role="small", level=None)
        self.changes.hide()
        self.notes = Sentence(role="small", level=None)
        self.notes.hide()
        self.diff = QPlainTextEdit()
        self.diff.setReadOnly(True)
        self.diff.setTabChangesFocus(True)
        self.diff.setAccessibleName("What would change in the override file")
        set_property(self.diff, role="mono")
        self.diff.hide()
        self.words = label("", "body", weight=600)
        self.result = ResultLine()
        self.discard = self._button("Discard", self._discard)
        self.apply = self._button("", self._go_on)
        set_property(self.apply, primary=True)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.words, 1)
        row.addWidget(self.discard)
        row.addWidget(self.apply)
        self.kept = Sentence(role="small", level=None)
        self.seen = self._button("OK", controller.forget_set_aside)
        self.seen.setAccessibleDescription("Hide where what was there before is kept")
        kept_row = QHBoxLayout()
        kept_row.setSpacing(8)
        kept_row.addWidget(self.kept, 1)
        kept_row.addWidget(self.seen, 0, Qt.AlignmentFlag.AlignTop)
        for part in (self.kept, self.seen):
            part.hide()
        self._column = QVBoxLayout(self)
        self._column.addLayout(kept_row)
        self._column.addWidget(self.changes)
        self._column.addWidget(self.notes)
        self._column.addWidget(self.diff)
        self._column.addWidget(self.result)
        self._column.addLayout(row)
        theme().changed.connect(self._restyle)
        self._restyle()
        self.hide()

    def minimumSizeHint(self) -> QSize:
        """Its height at its own width: Qt's answer is that of sentences wrapped in a narrower one."""
        usual = super().minimumSizeHint()
        if self.width() < usual.width():
            return usual
        return QSize(usual.width(), self._column.minimumHeightForWidth(self.width()))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.updateGeometry()

    def _button(self, text: str, act: object) -> QPushButton:
        button = QPushButton(text)
        button.setAutoDefault(False)
        button.clicked.connect(act)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        return button

    @property
    def is_wanted(self) -> bool:
        return (
            self._controller.draft is not None
            or bool(self._controller.draft_trouble)
            or bool(self._form.unread)
            or bool(self._controller.set_aside)
        )

    def show_draft(self) -> None:
        """Show how many settings differ from what is in force."""
        controller = self._controller
        many = self._count()
        if not self.is_wanted:
            self.keep_focus()  # a button that can't be pressed any more would hand it to whatever comes next
        if controller.draft is None:
            self._reviews = False
        plan = controller.plan
        is_of_now = plan is not None and controller.planned == controller.wanted
        fault = next(iter(plan.faults), None) if plan is not None and is_of_now else None
        changes = counted(many, "change")
        only_trouble = not many and not self._form.unread
        if only_trouble and not self.seen.hasFocus():
            self.keep_focus()
        for part in (self.words, self.discard, self.apply):
            part.setVisible(not only_trouble)
        self.words.setText(changes if many else "Nothing to apply")
        self.apply.setText(f"Apply {changes}" if self._reviews else f"Review {changes}")
        self.apply.setEnabled(bool(many) and is_of_now and fault is None and not self._form.unread)
        self.discard.setEnabled(bool(many or self._form.unread))
        if controller.draft_trouble:
            self.result.tell("danger", "", controller.draft_trouble)
        elif fault is not None or self._form.unread:
            self.result.tell("danger", "", "A field can’t be applied. The reason is under it.")
        elif plan is not None and plan.restart_needed and self._runs():
            self.result.tell("quiet", "", "It runs as before until it is restarted.")
        else:
            self.result.clear()
        kept = controller.set_aside
        self.kept.say(f"Applied. What was there before is kept in {kept}." if kept else "")
        for part in (self.kept, self.seen):
            part.setVisible(bool(kept))
        self._show_notes(plan.notes if plan is not None and is_of_now and controller.draft else ())
        self._show_diff("" if plan is None else plan.diff)

    def _runs(self) -> bool:
        state = self._controller.state
        return state is not None and state.phase in ("ready", "starting")

    def _count(self) -> int:
        draft, now = self._controller.draft, self._controller.in_force
        if draft is None:
            return 0
        return sum(getattr(draft, one.name) != getattr(now, one.name) for one in fields(draft))

    def _discard(self) -> None:
        self._form.forget_unread()
        self._controller.forget_draft()

    def _go_on(self) -> None:
        """First the diff, then the changes themselves."""
        if self._reviews:
            self._controller.apply_draft()
            return
        self._reviews = True
        self.show_draft()

    def keep_focus(self) -> None:
        """Hand the focus on before the bar goes."""
        back = self._form.last_edited
        if self.isAncestorOf(self.window().focusWidget() or self) and back is not None:
            back.setFocus(Qt.FocusReason.OtherFocusReason)

    def _change_words(self) -> str:
        draft, now = self._controller.draft, self._controller.in_force
        if draft is None:
            return ""
        return "\n".join(
            f"{LABELS[one.name]}: {value_words(one.name, getattr(draft, one.name))}, "
            f"was {value_words(one.name, getattr(now, one.name))}"
            for one in fields(draft)
            if one.name in LABELS and getattr(draft, one.name) != getattr(now, one.name)
        )

    def _show_notes(self, notes: tuple[str, ...]) -> None:
        self.notes.say("\n".join(notes))
        self.notes.setVisible(bool(notes))

    def _show_diff(self, diff: str) -> None:
        self.changes.setVisible(self._reviews)
        self.changes.say(self._change_words())
        if self._reviews and not self.diff.isVisible():
            self._restyle()  # by the window's height now
        self.diff.setVisible(self._reviews)
        if self._reviews and diff != self.diff.toPlainText():
            self.diff.setPlainText(diff or "No line of the file changes.")
            self._colour()

    def _colour(self) -> None:
        marks: list[QTextEdit.ExtraSelection] = []
        for number in range(self.diff.blockCount()):
            block = self.diff.document().findBlockByNumber(number)
            token = {"+": "ok_tint", "-": "danger_tint"}.get(block.text()[:1])
            if token is None or block.text().startswith(("+++", "---")):
                continue
            mark = QTextEdit.ExtraSelection()
            form = QTextCharFormat()
            form.setBackground(theme().color(token))
            form.setProperty(QTextCharFormat.Property.FullWidthSelection, True)
            mark.format = form  # pyright: ignore[reportAttributeAccessIssue]
            mark.cursor = QTextCursor(block)  # pyright: ignore[reportAttributeAccessIssue]
            marks.append(mark)
        self.diff.setExtraSelections(marks)

    def _restyle(self) -> None:
        px = theme().px
        self._column.setContentsMargins(px(14), px(9), px(10), px(9))
        self._column.setSpacing(px(8))
        self.diff.setFixedHeight(px(DIFF_PX if self.window().height() > px(LOW_PX) else LOW_DIFF_PX))
        self._colour()
