"""One download: how far it is, how fast, how long still; pause, resume, cancel; what went wrong and what helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from gui.theme.theme import set_property, theme
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import ResultLine, label
from gui.widgets.model_words import download_permille, download_words

if TYPE_CHECKING:
    from core import Download


class DownloadRow(QWidget):
    """Signals:
    paused, resumed, cancelled: the buttons of a download that runs, waits or failed.
    used: to make it the local side, once it is done.
    token_asked: to give the token that a gated model needs.
    closed: to take a line away that has nothing more to do.
    """

    paused = Signal()
    resumed = Signal()
    cancelled = Signal()
    used = Signal()
    token_asked = Signal()
    closed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.download: Download | None = None
        self._title = label("", "body", weight=600)
        self._facts = label("", "small", level="2", tabular=True)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setRange(0, 1000)
        self.error = ResultLine()
        self.pause = IconButton("pause", "Pause")
        self.pause.clicked.connect(self._pause_or_resume)
        self.cancel = IconButton("x", "Cancel")
        self.cancel.clicked.connect(self._cancel_or_close)
        self.use = QPushButton("Use it")
        self.use.clicked.connect(self.used)
        self.token = QPushButton("Add a token")
        self.token.clicked.connect(self.token_asked)
        for button in (self.use, self.token):
            set_property(button, compact=True)
        head = QHBoxLayout()
        head.addWidget(self._title)
        head.addWidget(self._facts, 1)
        self._row = QHBoxLayout()
        for widget in (self.token, self.use, self.pause, self.cancel):
            self._row.addWidget(widget)
        head.addLayout(self._row)
        self._head = head
        self._column = QVBoxLayout(self)
        self._column.addLayout(head)
        self._column.addWidget(self.bar)
        self._column.addWidget(self.error)
        theme().changed.connect(self._restyle)
        self._restyle()

    def show_download(self, download: Download, *, can_use: bool = True) -> None:
        """Show how a download is; ``can_use`` once its model stands on the shelf."""
        before, self.download = self.download, download
        phase, words = download.phase, download_words(download)
        self._title.setText(download.title)
        self._facts.setText(words)
        permille = download_permille(download)
        is_over = phase in ("done", "cancelled")
        self.bar.setVisible(not is_over)
        if permille is None and phase in ("checking", "running", "verifying"):
            self.bar.setRange(0, 0)
        else:
            self.bar.setRange(0, 1000)
            self.bar.setValue(permille or 0)
        self.bar.setAccessibleName(f"Download of {download.title}")
        self.bar.setAccessibleDescription(words)
        runs = phase in ("checking", "running")
        self.pause.setVisible(runs or phase in ("paused", "failed"))
        if before is None or before.phase != phase or before.title != download.title:
            verb = "Pause" if runs else "Resume" if phase == "paused" else "Try again"
            self.pause.set_icon("pause" if runs else "play" if phase == "paused" else "arrow-clockwise")
            self.pause.set_name(f"{verb}: {download.title}")
            self.cancel.set_name(f"{'Close' if is_over else 'Cancel'}: {download.title}")
            self.use.setAccessibleName(f"Use {download.title}")
        self.use.setVisible(phase == "done" and can_use)
        self.token.setVisible(phase == "failed" and download.wants_token)
        if phase == "failed":
            self.error.tell("danger", "", f"{download.error} {download.hint}".strip())
        elif phase == "done" and download.hint:
            self.error.tell("ok", "", download.hint)
        else:
            self.error.clear()
        self.setAccessibleName(f"{download.title}: {words}")

    def _pause_or_resume(self) -> None:
        if self.download is not None and self.download.phase in ("checking", "running"):
            self.paused.emit()
        else:
            self.resumed.emit()

    def _cancel_or_close(self) -> None:
        if self.download is not None and self.download.phase in ("done", "cancelled"):
            self.closed.emit()
        else:
            self.cancelled.emit()

    def _restyle(self) -> None:
        px = theme().px
        self._head.setSpacing(px(8))
        self._row.setSpacing(px(4))
        self._column.setContentsMargins(0, px(4), 0, px(6))
        self._column.setSpacing(px(4))
