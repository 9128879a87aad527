"""An empty conversation: where prompts go just now, and three to begin with."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from gui.theme.theme import set_button_icon, set_property, theme
from gui.widgets.formatting import time_left
from gui.widgets.labels import plain_label
from gui.widgets.scrolling import scrolled

if TYPE_CHECKING:
    from core import CoreStatus
    from core.chat import Side

PROMPTS = (
    "Explain write-ahead logging in two sentences.",
    "Draft a polite e-mail that moves a meeting to Thursday.",
    "Compare SQLite and PostgreSQL for a small web shop, in a table.",
)
SMALL_MODEL_PROMPTS = (
    "Why is exercise good for you?",
    "Give me three tips for a job interview.",
    "Write a short poem about the sea.",
)
"""What the packaged model does well: each was answered soundly 10 times of 10, asked as the panel asks. Of what
else was tried, "What is the capital of France?" was right 2 times, "List the days of the week." once, the months 4
times."""
ROOMY_PX = 300
SMALL_MODEL = "A small model to try Signalbox with: its answers are often wrong."


class WelcomeHint(QWidget):
    """Signals:
    prompt_chosen: the text of a prompt to put into the box.
    better_model_asked: the user wants to set a larger local model up.
    """

    prompt_chosen = Signal(str)
    better_model_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        unit = theme()
        center = Qt.AlignmentFlag.AlignHCenter
        self._title = plain_label("Ask anything")
        set_property(self._title, role="title")
        self._sentence = self._words()
        self._warning = self._words()
        self._warning.setText(SMALL_MODEL)
        self.better_button = QPushButton("Set up a larger model")
        set_property(self.better_button, flat=True, compact=True)
        set_button_icon(self.better_button, "arrow-right", "text2", 14)
        self.better_button.clicked.connect(self.better_model_asked)
        inside = QWidget()
        column = self._column = QVBoxLayout(inside)
        column.addStretch(1)
        column.addWidget(self._title, 0, center)
        column.addLayout(_in_the_middle(self._sentence))
        column.addSpacing(unit.px(4))
        prompts = QVBoxLayout()
        prompts.setSpacing(unit.px(8))
        self.prompt_buttons = [QPushButton() for _ in PROMPTS]
        for index, button in enumerate(self.prompt_buttons):
            set_property(button, compact=True)
            button.clicked.connect(partial(self._choose, index))
            prompts.addWidget(button)
        column.addLayout(_in_the_middle(prompts))
        column.addSpacing(unit.px(4))
        column.addLayout(_in_the_middle(self._warning))
        column.addWidget(self.better_button, 0, center)
        column.addStretch(1)
        self._sentence.setText("The line under the box says where a prompt goes, why, and what it costs.")
        self._offered = PROMPTS
        self._status: CoreStatus | None = None
        self._side: Side | None = None
        self._offer(PROMPTS)
        self._warn(is_small=False)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(scrolled(inside))
        self._respace()

    def _respace(self) -> None:
        """In a low window the lines stand closer; where that is not enough, they scroll."""
        self._column.setSpacing(theme().px(12 if self.height() >= theme().px(ROOMY_PX) else 3))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._respace()

    def _words(self) -> QLabel:
        words = plain_label()
        words.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        words.setWordWrap(True)
        words.setFixedWidth(theme().px(440))
        set_property(words, role="body", level="2")
        return words

    def _offer(self, prompts: tuple[str, ...]) -> None:
        self._offered = prompts
        for button, prompt in zip(self.prompt_buttons, prompts, strict=True):
            button.setText(prompt)

    def _choose(self, index: int, _checked: bool = False) -> None:
        self.prompt_chosen.emit(self._offered[index])

    def _warn(self, *, is_small: bool) -> None:
        self._warning.setVisible(is_small)
        self.better_button.setVisible(is_small)

    @property
    def warning(self) -> str:
        """What is said of a small model, shown or not."""
        return self._warning.text()

    @property
    def sentence(self) -> str:
        return self._sentence.text()

    def set_side(self, side: Side | None) -> None:
        """``side`` is where the user sends this chat, ``None`` where it is decided for each prompt."""
        if side != self._side:
            self._side = side
            if self._status is not None:
                self.set_status(self._status)

    def set_status(self, status: CoreStatus) -> None:
        """Say what will answer, and offer what it can do."""
        self._status = status
        from core import PACKAGED_MODEL  # not before the first paint

        self._sentence.setText(sentence_for(status))
        # Also with a key: what is simple goes to Local, and these are simple.
        is_asked = self._side != "api" and status.routing_mode != "api-only"
        is_up = status.local.phase in ("starting", "ready")
        is_small = is_asked and is_up and status.local.model == PACKAGED_MODEL
        self._warn(is_small=is_small)
        self._offer(SMALL_MODEL_PROMPTS if is_small else PROMPTS)


def _in_the_middle(inner: QWidget | QVBoxLayout) -> QHBoxLayout:
    """A wrapping label that is aligned by itself gets the height of one line only."""
    row = QHBoxLayout()
    row.addStretch(1)
    if isinstance(inner, QWidget):
        row.addWidget(inner)
    else:
        row.addLayout(inner)
    row.addStretch(1)
    return row


def sentence_for(status: CoreStatus) -> str:
    """One or two sentences: what Local and the API can do just now."""
    local, api = status.local, status.api
    key = api.phase not in ("no_key", "checking")
    if local.phase == "ready":
        first = f"Local is ready: {local.model or 'a model'} on your own machine."
    elif local.phase == "starting":
        left = f", {time_left(local.eta_s)}" if local.eta_s is not None else ""
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
        return f"{first} The API’s key belongs to another address: Preferences, Providers, has the question."
    if api.phase == "no_key":
        return f"{first} Without an API key nothing leaves it." if local.phase == "ready" else first
    of_api = next((problem.title for problem in status.problems if problem.kind.startswith("api_")), None)
    if of_api is not None:
        return f"{first} {of_api}."
    return f"{first} The line under the box says where a prompt goes, why, and what it costs."
