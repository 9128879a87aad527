"""What the local side is, and its settings: the vLLM container's and where it runs, or the embedded model's."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from gui.machine.apply_bar import ApplyBar
from gui.machine.controller import MachineController
from gui.machine.fit_line import FitLine
from gui.machine.form_row import FormRow
from gui.machine.setting_row import SettingRow
from gui.machine.token_row import TokenRow
from gui.machine.vllm_form import VllmForm
from gui.shell.pages import Shell, Target
from gui.theme.theme import set_button_icon, set_property, theme
from gui.widgets.card import Card
from gui.widgets.fields import ChoiceField
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import ORIGIN_PLACES
from gui.widgets.scrolling import scrolled
from gui.widgets.sentence import Sentence

if TYPE_CHECKING:
    from core import CoreStatus, DockerContext

KINDS = (
    ("auto", "Auto", "A server whose address you set, or else the small model on this computer."),
    ("embedded", "A model on this computer", "llama.cpp with a GGUF file, started and stopped by Signalbox."),
    (
        "compose",
        "vLLM in a container",
        "Docker Compose starts it here, or wherever a Docker context reaches.",
    ),
    (
        "external",
        "A server you run",
        "vLLM, Ollama, LM Studio or another one at an address. Only you stop it.",
    ),
    ("none", "None", "Every prompt goes to the API."),
)
MOST_PX = 760


class SettingsPane(QWidget):
    """Nothing that is typed is lost when another pane is shown; it is applied at the bar below."""

    def __init__(self, shell: Shell, controller: MachineController) -> None:
        super().__init__()
        self.setAccessibleName("Settings of the local server")
        self._shell, self._controller = shell, controller
        self._bridge = controller.bridge
        self._anchors: dict[str, QWidget] = {}
        self._column_widget = QWidget()
        self._column = QVBoxLayout(self._column_widget)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._build_kind()
        self._compose = self._build_compose()
        self._embedded = self._build_embedded()
        self._external = self._build_external()
        self._column.addStretch(1)
        self._area = scrolled(self._column_widget)
        self._room_px = 0
        self._area.verticalScrollBar().rangeChanged.connect(self._keep_in_view)
        self.bar = ApplyBar(controller, self.form)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(8)
        whole.addWidget(self._area, 1)
        whole.addWidget(self.bar)
        controller.draft_changed.connect(self._show_draft)
        controller.changed.connect(self._show_kind)
        controller.changed.connect(self._show_fit)  # a pre-flight has another one
        self._bridge.status_changed.connect(self._on_status)
        theme().changed.connect(self._restyle)
        self._restyle()
        self._show_kind()
        self._show_draft()

    # What runs

    def _build_kind(self) -> None:
        card = Card()
        self.kind = ChoiceField(KINDS)
        self.kind.set_names("What runs as Local", "")
        self.kind.committed.connect(self._choose_kind)
        self.kind_row = FormRow("What runs", self.kind, " ")
        card.body.addWidget(self.kind_row)
        self._column.addWidget(card)
        self._anchors["kind"] = self.kind

    def _choose_kind(self, kind: object) -> None:
        self._controller.choose_kind(str(kind))

    def _on_status(self, status: CoreStatus) -> None:
        del status  # the controller has it
        if self.isVisible():
            self._fill_embedded()
            self._show_kind()

    def _show_kind(self) -> None:
        state = self._controller.state
        kind = "none" if state is None else state.kind
        comes = kind == "compose" and self._compose.isHidden()
        self._compose.setVisible(kind == "compose")
        self._embedded.setVisible(kind == "embedded")
        self._external.setVisible(kind == "external")
        self._show_bar(wanted=kind == "compose" and self.bar.is_wanted)
        if comes and self.isVisible():
            self.token.read()
        if state is None:
            return
        store = self._bridge.core.settings
        chosen = store.current.local_server
        self.kind.show_value(chosen)
        place = ORIGIN_PLACES.get(store.origin("local_server"))
        self.kind.set_locked(place is not None)
        meaning = next(text for value, _, text in KINDS if value == chosen)
        self.kind_row.note.setText(f"{meaning} Set in {place}, and that wins." if place else meaning)

    # The container

    def _build_compose(self) -> QWidget:
        holder = QWidget()
        column = QVBoxLayout(holder)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        where = Card("Where it runs")
        self.context = ChoiceField(())
        self.context.set_names("Docker context", "Where Docker starts the container")
        self.context.committed.connect(self._choose_context)
        field = QWidget()
        line = QHBoxLayout(field)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.context, 1)
        again = IconButton("arrow-clockwise", "Read the Docker contexts again", size=28)
        again.clicked.connect(self._controller.read_settings)
        line.addWidget(again)
        field.setFocusProxy(self.context)
        self.context_row = FormRow("Docker context", field, " ")
        where.body.addWidget(self.context_row)
        self._anchors["docker_context"] = self.context
        model = Card("vLLM")
        self.form = VllmForm()
        self.form.edited.connect(self._controller.set_draft)
        self.fit = FitLine(self._use_option)
        model.body.addWidget(self.form)
        model.body.addWidget(self.fit)
        for name, row in self.form.rows.items():
            self._anchors[name] = row
        self._anchors["gpu_memory_utilization"] = self.form.share.slider
        access = Card("Access and files")
        self.token = TokenRow(self._bridge)
        self.token.changed.connect(self._controller.check)
        self._anchors["token"] = self.token.edit
        access.body.addWidget(self.token)
        access.body.addWidget(
            self._link(
                "Compose file, and what happens on quit", Target("preferences", "local", "vllm_compose_file")
            )
        )
        for card in (where, model, access):
            column.addWidget(card)
        self._column.addWidget(holder)
        return holder

    def _choose_context(self, name: object) -> None:
        self._controller.choose_context(str(name))

    def _use_option(self, name: str, value: object) -> None:
        change: dict[str, Any] = {name: value}
        self._controller.set_draft(replace(self._controller.wanted, **change))

    def _show_draft(self) -> None:
        controller = self._controller
        plan = controller.plan
        is_of_now = plan is not None and controller.planned == controller.wanted
        effective = plan.effective if plan is not None and is_of_now else None
        self.form.show_settings(controller.wanted, controller.in_force, effective)
        self.form.show_faults(plan.faults if plan is not None and is_of_now else ())
        self._show_fit()
        self._show_contexts(controller.contexts)
        self.bar.show_draft()
        self._show_bar(wanted=controller.is_compose and self.bar.is_wanted)

    def _show_fit(self) -> None:
        controller = self._controller
        report = controller.estimate if controller.draft is not None else controller.report
        self.fit.show_estimate(None if report is None else report.fit)

    def _show_bar(self, *, wanted: bool) -> None:
        if not wanted:
            self.bar.keep_focus()
        self.bar.setVisible(wanted)

    def _show_contexts(self, contexts: tuple[DockerContext, ...]) -> None:
        box = self.context.box
        shown = [(one.name, f"{one.name} · {one.words}") for one in contexts]
        if shown != [(box.itemData(at), box.itemText(at)) for at in range(box.count())]:
            box.clear()
            for name, text in shown:
                box.addItem(text, name)
        chosen = next((one for one in contexts if one.chosen), None) or next(
            (one for one in contexts if one.current), None
        )
        self.context.show_value("" if chosen is None else chosen.name)
        self.context_row.note.setText("No Docker context was found." if chosen is None else chosen.endpoint)

    # The other kinds

    def _build_embedded(self) -> QWidget:
        card = Card("The model on this computer")
        rows = (
            ("embedded_context_tokens", "Longest request", "tokens", "", "Input and answer together."),
            ("embedded_threads", "Threads", "", "All cores", "Processor threads to use."),
            (
                "embedded_gpu_layers",
                "GPU layers",
                "",
                "As many as fit",
                "Layers of the model on the GPU, where this build of llama.cpp can use one.",
            ),
        )
        self.settings: dict[str, SettingRow] = {}
        self._embedded_rows = rows
        card.body.addWidget(Sentence("A change reloads the model.", role="small"))
        links = QHBoxLayout()
        links.addWidget(self._link("Choose another model", Target("machine", "models")))
        links.addStretch(1)
        self._embedded_body = QVBoxLayout()
        card.body.addLayout(self._embedded_body)
        card.body.addLayout(links)
        self._column.addWidget(card)
        return card

    def _fill_embedded(self) -> None:
        """Make the rows once the core runs: they show its settings."""
        if self.settings or self._bridge.status is None:
            return
        for name, title, unit, placeholder, note in self._embedded_rows:
            row = SettingRow(self._bridge, name, title, unit=unit, placeholder=placeholder, note=note)
            self.settings[name] = row
            self._anchors[name] = row
            self._embedded_body.addWidget(row)

    def _build_external(self) -> QWidget:
        card = Card("A server you run")
        words = (
            "Signalbox asks it for its models and its health, and sends requests. Only you start and stop it."
        )
        card.body.addWidget(Sentence(words, role="small"))
        links = QHBoxLayout()
        links.addWidget(
            self._link("Address, model and key", Target("preferences", "providers", "vllm_base_url"))
        )
        links.addWidget(self._link("Servers that run here", Target("machine", "models")))
        links.addStretch(1)
        card.body.addLayout(links)
        self._column.addWidget(card)
        return card

    def _link(self, text: str, target: Target) -> QPushButton:
        button = QPushButton(text)
        set_button_icon(button, "arrow-right")
        set_property(button, flat=True, compact=True)
        button.clicked.connect(partial(self._shell.open, target))
        return button

    # Place

    def show_detail(self, detail: str) -> None:
        """Bring a setting's row into view, and the focus to it."""
        self._fill_embedded()
        target = self._anchors.get(detail)
        if target is not None:
            self._area.ensureWidgetVisible(target, 0, theme().px(48))
            target.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._fill_embedded()
        self._show_kind()
        if self._controller.is_compose:
            self.token.read()

    def _keep_in_view(self) -> None:
        """The bar below takes room as it comes and grows: what is typed into stays in sight."""
        room_px, before_px = self._area.viewport().height(), self._room_px
        self._room_px = room_px
        focused = self.window().focusWidget()
        if room_px < before_px and focused and self._column_widget.isAncestorOf(focused):
            self._area.ensureWidgetVisible(focused, 0, theme().px(48))

    def hasHeightForWidth(self) -> bool:
        """Not: the stack of panes would take the height that the form would like to have for the least one."""
        return False

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.form.fit(min(theme().px(MOST_PX), self._area.viewport().width()) - 2 * 16 - 2)

    def _restyle(self) -> None:
        self._column_widget.setMaximumWidth(theme().px(MOST_PX))
        self._column.setSpacing(theme().px(12))
