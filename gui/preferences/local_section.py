"""The local server: what it is doing now with a way to its page, and its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QHBoxLayout, QPushButton

from gui.preferences.catalogue import SectionText
from gui.preferences.rows import add_setting_rows
from gui.preferences.section import Section
from gui.preferences.settings_model import SettingsModel
from gui.shell.local_words import local_words
from gui.theme.theme import set_button_icon, set_property
from gui.widgets.card import Card
from gui.widgets.labels import label
from gui.widgets.marks import Lamp

if TYPE_CHECKING:
    from core import CoreStatus, ServerState

KINDS = {
    "embedded": "Small model on this CPU",
    "compose": "vLLM container",
    "external": "A server you run",
    "none": "No local server",
}


class LocalSection(Section):
    """Start, stop, log and figures are the Machine page's; here is the way there."""

    def __init__(self, text: SectionText, model: SettingsModel) -> None:
        super().__init__(text)
        self._make_state_card()
        add_setting_rows(self, model)
        model.bridge.status_changed.connect(self._show_status)
        if model.bridge.status is not None:
            self._show_status(model.bridge.status)

    def _make_state_card(self) -> None:
        card = Card()
        self.lamp = Lamp("stopped")
        self.state_word = label("Stopped", "title")
        self.state_line = label("", "small", level="2", wrap=True)
        self.machine = QPushButton("Open Machine")
        self.machine.setAccessibleDescription("Start, stop, log, GPU and models of the local server")
        set_button_icon(self.machine, "hard-drives")
        self.machine.clicked.connect(lambda: self.page_asked.emit("machine", "server"))
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.lamp)
        row.addWidget(self.state_word, 1)
        row.addWidget(self.machine)
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
        card.body.addLayout(link)
        self.add_card(card)
        self.anchors["control"] = self.machine

    def _show_status(self, status: CoreStatus) -> None:
        lamp, word, detail, _ = local_words(status.local)
        self.lamp.set_state(lamp)
        self.state_word.setText(word)
        self.state_line.setText(state_sentence(status.local, detail))


def state_sentence(state: ServerState, detail: str) -> str:
    """The facts behind the state word, those that are known."""
    parts = [KINDS[state.kind]]
    if detail and detail != state.model and state.kind != "none":
        parts.append(detail)
    if state.model:
        parts.append(state.model)
    if state.context_tokens is not None:
        parts.append(f"{state.context_tokens:,} tokens of context a request")
    if state.base_url:
        parts.append(state.base_url)
    if state.phase == "failed" and state.hint:
        parts.append(state.hint)
    return " · ".join(parts)
