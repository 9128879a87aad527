"""The row above a conversation: its title, its model, what it cost so far, options, export, menu."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QSizePolicy, QWidget

from core import shortened
from core.chat import Side
from gui.chat.storage.models import Totals
from gui.shell.pill import Pill, Tone
from gui.theme.theme import set_property, theme
from gui.widgets.formatting import SIDE_ICONS
from gui.widgets.icon_button import IconButton
from gui.widgets.inline_row import InlineRun
from gui.widgets.labels import plain_label

MODEL_CHARS = 26


class HeaderRow(QFrame):
    """Signals:
    model_asked (choose another), options_asked, list_asked (show the list again).
    menu_asked, export_asked: open the conversation's menu, or its part that exports, at the button.
    """

    model_asked = Signal()
    options_asked = Signal()
    list_asked = Signal()
    export_asked = Signal()
    menu_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("chatHeader")
        self._title = ""
        self.list_button = IconButton("list-bullets", "Show conversations (Ctrl+B)")
        self.list_button.clicked.connect(self.list_asked)
        self.list_button.hide()
        self.title = plain_label()
        set_property(self.title, role="body", weight=600)
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.model_pill = Pill()
        self.model_pill.clicked.connect(self.model_asked)
        self.set_model("Auto", None, "Signalbox decides where each prompt goes.")
        self.answers = plain_label()
        self.cost = plain_label()
        self.so_far = plain_label("so far")
        self._dot = plain_label("·")
        for label in (self.answers, self._dot, self.so_far):
            set_property(label, role="small", level="2")
        set_property(self.cost, role="small", weight=600)
        self.options_button = IconButton("sliders-horizontal", "Options of this chat")
        self.options_button.setCheckable(True)
        self.options_button.clicked.connect(self.options_asked)
        self.export_button = IconButton("export", "Export this chat")
        self.export_button.clicked.connect(self.export_asked)
        self.menu_button = IconButton("dots-three", "More")
        self.menu_button.clicked.connect(self.menu_asked)
        unit = theme()
        row = QHBoxLayout(self)
        row.setSpacing(unit.px(8))
        row.addWidget(self.list_button)
        row.addWidget(self.title, 1)
        row.addWidget(self.model_pill)
        row.addSpacing(unit.px(4))
        row.addWidget(self.answers)
        row.addWidget(self._dot)
        figures = QHBoxLayout()
        figures.setSpacing(unit.px(4))
        figures.addWidget(self.cost)
        figures.addWidget(self.so_far)
        row.addLayout(figures)
        for button in (self.options_button, self.export_button, self.menu_button):
            row.addWidget(button)
        self._row = row
        theme().changed.connect(self._restyle)
        self._restyle()

    def _restyle(self) -> None:
        unit = theme()
        self.setFixedHeight(unit.px(44))
        self._row.setContentsMargins(unit.px(20), 0, unit.px(12), 0)
        self.setStyleSheet(
            f"#chatHeader {{ background: transparent; border: none;"
            f" border-bottom: 1px solid {unit.hex('border')}; }}"
        )
        self._elide()

    def set_title(self, title: str) -> None:
        self._title = title
        self.title.setToolTip(title)
        self._elide()

    def set_model(self, name: str, side: Side | None, why: str, tone: Tone = "") -> None:
        """Show the chat's model; ``side`` of ``None`` is Auto. ``why`` says more, in the tooltip."""
        icon = "git-branch" if side is None else SIDE_ICONS[side]
        runs = [
            InlineRun(kind="icon", name=icon, token="text2" if side is None else f"{side}_text", size=14),
            InlineRun(text=shortened(name, MODEL_CHARS), token="text", weight=500, gap=6),
            InlineRun(kind="icon", name="caret-down", size=12, gap=6),
        ]
        words = f"{name}. {why} Choose another (Ctrl+L)."
        self.model_pill.set_runs(runs, tone=tone, name=f"Model: {name}", description=words)

    def set_totals(self, totals: Totals) -> None:
        """Show ``2 answers · ~$0.0186 so far``; the tooltip has what that is made of."""
        answers, cost = totals.answers, totals.cost_figure
        self.answers.setText(f"{answers:,} answer{'s'[: answers != 1]}" if answers else "")
        self.cost.setText(cost)
        self.cost.setToolTip(totals.spending.words if totals.spending.parts else "")
        self._dot.setVisible(bool(answers and cost))
        self.cost.setVisible(bool(cost))
        self.so_far.setVisible(cost.startswith(("$", "~", "<")))
        self._elide()

    def set_unknown_cost(self, answers: int) -> None:
        """Show that answers were imported, whose cost nobody knows."""
        self.answers.setText(f"{answers:,} answer{'s'[: answers != 1]}")
        self.cost.setText("–")
        self.cost.setToolTip("Imported: what these answers cost is not known")
        for widget in (self._dot, self.cost):
            widget.show()
        self._elide()

    def set_has_content(self, has_content: bool) -> None:
        self.export_button.setEnabled(has_content)

    def _elide(self) -> None:
        room = max(theme().px(80), self.title.width())
        self.title.setText(
            self.title.fontMetrics().elidedText(self._title, Qt.TextElideMode.ElideRight, room)
        )

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._elide()
