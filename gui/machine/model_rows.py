"""The rows of the models pane: a server that runs here, and a model that can be got."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from core import file_size, sentence
from gui.theme.theme import set_property, theme
from gui.widgets.labels import ResultLine, label
from gui.widgets.model_words import disk_problem, fit_sentence, server_facts, server_question

if TYPE_CHECKING:
    from core import CuratedModel, FoundServer, ModelShelf


class _Row(QWidget):
    """A strong line, a sentence under it and a button at the right."""

    pressed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.name = label("", "body", weight=600, wrap=True)
        self.sentence = label("", "small", level="2", wrap=True)
        self.button = QPushButton()
        set_property(self.button, compact=True)
        self.button.clicked.connect(self.pressed)
        self.words = QVBoxLayout()
        self.words.addWidget(self.name)
        self.words.addWidget(self.sentence)
        self._row = QHBoxLayout(self)
        self._row.addLayout(self.words, 1)
        self._row.addWidget(self.button)
        theme().changed.connect(self._restyle)
        self._restyle()

    def _restyle(self) -> None:
        px = theme().px
        self._row.setContentsMargins(0, px(4), 0, px(6))
        self._row.setSpacing(px(12))
        self.words.setSpacing(px(1))


class ServerRow(_Row):
    """Signals: ``pressed`` to make it the local side, or to give its key where it wants one."""

    def show_server(self, server: FoundServer, *, is_used: bool) -> None:
        """Show what was found; ``is_used`` where it is the local side already."""
        if is_used:
            self.name.setText(f"{server.name} is the local side")
        elif server.wants_key:
            self.name.setText(f"{server.name} is running here and asks for a key")
        else:
            self.name.setText(server_question(server))
        self.sentence.setText(server.base_url if server.wants_key else server_facts(server))
        self.button.setText("Add its key" if server.wants_key else "Use it")
        self.button.setAccessibleName(f"{self.button.text()}: {server.name}")
        self.button.setVisible(not is_used and (server.wants_key or bool(server.models)))
        if not server.models and not server.wants_key and not is_used:
            self.name.setText(f"{server.name} is running here without a model that can chat")


class CuratedRow(_Row):
    """Signals: ``pressed`` to load it down; to use it, where it is here already."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.fit = ResultLine()
        self.words.addWidget(self.fit)

    def show_model(self, model: CuratedModel, shelf: ModelShelf, *, is_loading: bool) -> None:
        """Show a model and whether it fits; ``is_loading`` while it is on its way down."""
        self.name.setText(f"{model.name}{'  ·  best for this machine' if model.best else ''}")
        self.sentence.setText(f"{sentence(model.good_for)} {file_size(model.size_bytes)}, {model.licence}.")
        tone, words = fit_sentence(model, shelf)
        problem = "" if model.on_disk else disk_problem(model, shelf)
        if problem:
            tone, words = "held", f"{words} {problem}"
        self.fit.tell(tone, "", words)
        self.button.setText("Use it" if model.on_disk else "Download")
        self.button.setAccessibleName(f"{self.button.text()}: {model.name}, {file_size(model.size_bytes)}")
        self.button.setVisible(not is_loading)
        self.button.setEnabled(not problem)
        self.button.setToolTip(problem)
        set_property(self.button, primary=model.best and not model.on_disk and not problem)
