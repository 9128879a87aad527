"""An empty conversation: where prompts go just now, and three to begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from gui.theme.theme import set_property, theme
from gui.widgets.formatting import time_left
from gui.widgets.labels import plain_label

if TYPE_CHECKING:
    from core import CoreStatus

PROMPTS = (
    "What is the capital of France?",
    "Explain write-ahead logging in two sentences.",
    "Write a haiku about a railway signal.",
)


class WelcomeHint(QWidget):
    """Signals:
    prompt_chosen: the text of a prompt to put into the box.
    """

    prompt_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        unit = theme()
        center = Qt.AlignmentFlag.AlignHCenter
        self._title = plain_label("Ask anything")
        set_property(self._title, role="title")
        self._sentence = plain_label()
        self._sentence.setAlignment(center)
        self._sentence.setWordWrap(True)
        self._sentence.setFixedWidth(unit.px(440))
        set_property(self._sentence, role="body", level="2")
        column = QVBoxLayout(self)
        column.setSpacing(unit.px(12))
        column.addStretch(1)
        column.addWidget(self._title, 0, center)
        words = QHBoxLayout()  # a wrapping label that is aligned gets the height of one line only
        words.addStretch(1)
        words.addWidget(self._sentence)
        words.addStretch(1)
        column.addLayout(words)
        column.addSpacing(unit.px(4))
        row = QHBoxLayout()
        row.setSpacing(unit.px(8))
        row.addStretch(1)
        prompts = QVBoxLayout()
        prompts.setSpacing(unit.px(8))
        for prompt in PROMPTS:
            button = QPushButton(prompt)
            set_property(button, compact=True)
            button.clicked.connect(lambda _checked=False, text=prompt: self.prompt_chosen.emit(text))
            prompts.addWidget(button)
        row.addLayout(prompts)
        row.addStretch(1)
        column.addLayout(row)
        column.addStretch(1)
        self._sentence.setText("The line under the box says where a prompt goes, why, and what it costs.")

    @property
    def sentence(self) -> str:
        return self._sentence.text()

    def set_status(self, status: CoreStatus) -> None:
        """Say what will answer."""
        self._sentence.setText(sentence_for(status))


def sentence_for(status: CoreStatus) -> str:
    """One or two sentences: what Local and the API can do just now."""
    local, api = status.local, status.api
    key = api.phase not in ("no_key", "checking")
    if local.phase == "ready":
        first = f"Local is ready: {local.model or 'a model'} on your own machine."
    elif local.phase == "starting":
        left = f", {time_left(local.eta_s)}" if local.eta_s else ""
        first = f"Local is starting{left}. You can send a prompt already."
    elif local.phase == "failed":
        first = "The local server failed." if key else "The local server failed, and no API key is set."
    elif local.kind == "none":
        first = "No local server is set up."
    else:
        first = "Local is stopped."
    if api.phase == "closed":
        return f"{first} The API is closed: {api.detail}."
    if api.phase == "key_held_back":
        return f"{first} The API’s key belongs to another address: Preferences, Keys, has the question."
    if api.phase == "no_key":
        return f"{first} Without an API key nothing leaves it." if local.phase == "ready" else first
    of_api = next((problem.title for problem in status.problems if problem.kind.startswith("api_")), None)
    if of_api is not None:
        return f"{first} {of_api}."
    return f"{first} The line under the box says where a prompt goes, why, and what it costs."
