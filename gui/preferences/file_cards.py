"""What waits for the user's word about files of settings: a folder's ``.env`` to trust, a broken settings.json."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from core.errors import SignalboxError
from gui.preferences.settings_model import SettingsModel
from gui.shell.tasks import Tasks
from gui.theme.theme import set_property
from gui.widgets.card import Card
from gui.widgets.labels import ResultLine, label

if TYPE_CHECKING:
    from core.settings import UntrustedFile


class FileCard(Card):
    """Shown while there is something to decide, and while what became of it is being read."""

    def __init__(self, title: str, decided: str, model: SettingsModel) -> None:
        super().__init__(title)
        self._titles = {True: title, False: decided}
        self._model = model
        self._tasks = Tasks(self)
        self.words = label("", "body", wrap=True, selectable=True)
        self.buttons = QWidget()
        self._row = QHBoxLayout(self.buttons)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(8)
        self._row.addStretch(1)
        self.result = ResultLine()
        for widget in (self.words, self.buttons, self.result):
            self.body.addWidget(widget)
        model.changed.connect(self.refresh)

    def refresh(self) -> None:
        """Read the settings anew."""

    def _show_waiting(self, waits: bool) -> None:
        """Ask, or else show what became of it, under a title that is still true."""
        assert self.title_label is not None
        self.title_label.setText(self._titles[waits])
        self.setAccessibleName(self._titles[waits])
        set_property(self, tone="danger" if waits else "")
        self.words.setVisible(waits)
        self.buttons.setVisible(waits)
        self.setVisible(waits or bool(self.result.text))

    def _add_button(self, words: str, act: Callable[[], object], *, primary: bool = False) -> QPushButton:
        button = QPushButton(words)
        set_property(button, primary=primary)
        button.clicked.connect(act)
        self._row.insertWidget(self._row.count() - 1, button)
        return button

    def _start(self, work: Callable[[], object], done: str) -> None:
        async def run() -> None:
            self.buttons.setEnabled(False)
            try:
                await self._model.bridge.run_blocking(work)
            except SignalboxError as failed:
                self.result.tell("danger", "", str(failed))
            else:
                self.result.tell("ok", "", done)
            self.buttons.setEnabled(True)
            self.refresh()

        self._tasks.start(run(), key="decide")


class TrustCard(FileCard):
    """A folder's ``.env`` sets what counts only once the file is trusted: each name and value, and the question."""

    def __init__(self, model: SettingsModel) -> None:
        super().__init__("A folder’s .env waits for your trust", "Trust", model)
        self._file: UntrustedFile | None = None
        self._refused: set[str] = set()
        self._list = QVBoxLayout()
        self._list.setSpacing(2)
        self.body.insertLayout(self.body.indexOf(self.buttons), self._list)
        self.trust = self._add_button("Trust this file", self._trust)
        self.not_now = self._add_button("Not now", self._leave, primary=True)
        self.refresh()

    def refresh(self) -> None:
        waiting = [file for file in self._model.store.untrusted if file.sha256 not in self._refused]
        self._file = waiting[0] if waiting else None
        while (item := self._list.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        if self._file is not None:
            file = self._file
            why = "It has changed since you trusted it. " if file.changed else ""
            can = f"It can’t be trusted, since {file.obstacle}. {file.hint}" if file.obstacle else ""
            self.words.setText(
                f"{file.path} sets what could send your prompts and keys elsewhere, or lift a limit. {why}"
                f"None of this counts until you trust the file as it is now. {can}".strip()
            )
            for setting in file.withheld:
                self._list.addWidget(label(str(setting), "mono", wrap=True, selectable=True))
            self.trust.setVisible(not file.obstacle)
        self._show_waiting(self._file is not None)

    def _trust(self) -> None:
        if self._file is not None:
            later = any(setting.env_name == "SIGNALBOX_HOME" for setting in self._file.withheld)
            done = f"{self._file.path} is trusted. A change of it is asked about again."
            if later:
                done += " Its home folder counts from the next start."
            self._start(partial(self._model.store.trust, self._file), done)

    def _leave(self) -> None:
        if self._file is not None:
            self._refused.add(self._file.sha256)
        self.result.clear()
        self.refresh()


class BrokenSettingsCard(FileCard):
    """``settings.json`` could not be read; until the user says what becomes of it the API is closed."""

    def __init__(self, model: SettingsModel) -> None:
        super().__init__(
            "The settings could not be read, and the API is closed",
            "The settings that could not be read",
            model,
        )
        self.restore = self._add_button("Take the mended file back", self._restore)
        self.discard = self._add_button("Go on without it", self._discard)
        self.refresh()

    def refresh(self) -> None:
        copies = list(self._model.store.broken_copies)
        if copies:
            more = f" (and {len(copies) - 1} more)" if len(copies) > 1 else ""
            self.words.setText(
                f"What could not be read is kept as {copies[-1]}{more}. A limit may have stood in it. Mend it in "
                "an editor and take it back (what you set since then stays), or go on without what it held: it is "
                "renamed, not deleted."
            )
        self._show_waiting(bool(copies))

    def _restore(self) -> None:
        store = self._model.store
        self._start(lambda: store.restore(store.broken_copies[-1]), "What it holds counts again.")

    def _discard(self) -> None:
        store = self._model.store

        def discard_all() -> None:
            for copy in store.broken_copies:
                store.discard(copy)

        self._start(discard_all, "Signalbox goes on without it. Look at the limits under Spend.")
