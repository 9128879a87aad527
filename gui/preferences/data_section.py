"""Where everything is kept, how large it is, and the way out of a broken ledger."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from core import file_size
from core.errors import SignalboxError
from gui.preferences.catalogue import SectionText
from gui.preferences.file_cards import BrokenSettingsCard, TrustCard
from gui.preferences.rows import add_setting_rows
from gui.preferences.section import Section
from gui.preferences.settings_model import SettingsModel
from gui.shell.tasks import Tasks
from gui.theme.theme import set_property
from gui.widgets.card import Card
from gui.widgets.labels import ResultLine, label
from gui.widgets.question import Question

if TYPE_CHECKING:
    from core import CoreStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One thing on disk. ``name`` is relative to the home folder, empty for the folder itself."""

    label: str
    name: str
    description: str


KEPT: tuple[Kept, ...] = (
    Kept(label="Home", name="", description="Everything below is in this folder."),
    Kept(
        label="Ledger",
        name="ledger.sqlite3",
        description="Each request’s route, tokens and cost. No prompts, no answers.",
    ),
    Kept(
        label="Conversations",
        name="conversations.sqlite3",
        description="Your chats, as you see them on the Chat page.",
    ),
    Kept(label="Settings", name="settings.json", description="What you set here. Keys are not in it."),
    Kept(
        label="Logs",
        name="logs",
        description="What happened, with keys taken out. Old logs are removed by themselves.",
    ),
)


class DataSection(Section):
    """Sizes are read in a worker: a home on a slow disk must not stop the window."""

    def __init__(self, text: SectionText, model: SettingsModel) -> None:
        super().__init__(text)
        self._model = model
        self._bridge = model.bridge
        self._tasks = Tasks(self)
        self.dialog: Question | None = None
        self.trust, self.broken_settings = TrustCard(model), BrokenSettingsCard(model)
        self.add_card(self.trust)
        self.add_card(self.broken_settings)
        self.anchors |= {"trust": self.trust.not_now, "settings_file": self.broken_settings.restore}
        self._make_broken_card()
        card = Card()
        self._facts = {kept.label: label("", "small", level="2", wrap=True) for kept in KEPT}
        for kept in KEPT:
            card.add_row(self._row(kept))
        self.add_card(card)
        add_setting_rows(self, model)
        self._bridge.status_changed.connect(self._show_status)
        if self._bridge.status is not None:
            self._show_status(self._bridge.status)

    def _row(self, kept: Kept) -> QWidget:
        row = QWidget()
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(label(kept.label, "body", weight=600))
        words.addWidget(label(kept.description, "small", level="2", wrap=True))
        facts = self._facts[kept.label]
        facts.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        words.addWidget(facts)
        button = QPushButton("Open folder")
        set_property(button, compact=True)
        button.setAccessibleName(f"Open the folder of {kept.label}")
        button.clicked.connect(partial(self._open_folder, kept))
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 4, 0, 4)
        layout.addLayout(words, 1)
        layout.addWidget(button)
        self.anchors.setdefault("folders", button)
        return row

    def _path(self, kept: Kept) -> Path:
        home = self._model.current.home
        return home / kept.name if kept.name else home

    def _open_folder(self, kept: Kept) -> None:
        path = self._path(kept)
        folder = path if path.is_dir() else path.parent
        if not QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder))):
            self._facts[kept.label].setText(f"{folder} (no file manager answered; the path can be copied)")

    def shown(self) -> None:
        self.trust.refresh()
        self.broken_settings.refresh()
        self._tasks.start(self._measure(), key="measure")

    async def _measure(self) -> None:
        for kept in KEPT:
            path = self._path(kept)
            facts = await self._bridge.run_blocking(describe_path, path)
            if kept.name.startswith("ledger") and self._model.current.ledger_url is not None:
                facts = "In the database named below, not in a file."
            self._facts[kept.label].setText(facts)

    # A broken ledger

    def _make_broken_card(self) -> None:
        self.broken = Card("The ledger can’t be read")
        set_property(self.broken, tone="danger")
        self.broken_reason = label("", "body", wrap=True)
        self.new_ledger = QPushButton("Start a new ledger")
        set_property(self.new_ledger, primary=True)
        self.new_ledger.clicked.connect(self._ask_new_ledger)
        self.broken_result = ResultLine()
        row = QHBoxLayout()
        row.addWidget(self.new_ledger)
        row.addStretch(1)
        self.broken.body.addWidget(self.broken_reason)
        self.broken.body.addLayout(row)
        self.broken.body.addWidget(self.broken_result)
        self.broken.hide()
        self.add_card(self.broken)

    def _show_status(self, status: CoreStatus) -> None:
        problem = next((p for p in status.problems if p.kind == "ledger"), None)
        # Not while its result is being read: the card would go with the sentence.
        if problem is not None:
            self.broken_reason.setText(" ".join(part for part in (problem.message, problem.hint) if part))
            self.new_ledger.setVisible(True)
        self.broken.setVisible(problem is not None or bool(self.broken_result.text))

    def _ask_new_ledger(self) -> None:
        self.dialog = Question(
            self,
            title="Start a new ledger?",
            sentence="The file that can’t be read is kept beside the new one. The new ledger starts at $0 for "
            "this month, so what was spent before no longer counts towards the limit.",
            do="Start a new ledger",
            keep="Leave it",
            on_do=self._start_new_ledger,
        )
        self.dialog.open()

    def _start_new_ledger(self) -> None:
        self._tasks.start(self._set_aside(), key="aside")

    async def _set_aside(self) -> None:
        self.new_ledger.setEnabled(False)
        try:
            kept = await self._bridge.call(self._bridge.core.ledger.set_aside())
        except SignalboxError as failed:
            self.broken_result.tell("danger", "", str(failed))
        else:
            self.broken_result.tell("ok", "A new ledger is in use.", f"The old file is kept as {kept}.")
            self.new_ledger.hide()
        self.new_ledger.setEnabled(True)
        self.shown()


def describe_path(path: Path) -> str:
    """The path with its size, or that nothing is there yet. Reads the disk: call it in a worker."""
    try:
        if path.is_dir():
            files = [item for item in path.rglob("*") if item.is_file()]
            count = "1 file" if len(files) == 1 else f"{len(files):,} files"
            return f"{path} · {count}, {file_size(sum(item.stat().st_size for item in files))}"
        if path.is_file():
            return f"{path} · {file_size(path.stat().st_size + sum(map(_size, _beside(path))))}"
    except OSError as error:
        return f"{path} · can’t be read: {error.strerror or error}"
    return f"{path} · not there yet"


def _beside(path: Path) -> list[Path]:
    """What SQLite keeps beside a database: what was written last may be only there."""
    return [path.with_name(path.name + end) for end in ("-wal", "-shm")] if path.suffix == ".sqlite3" else []


def _size(path: Path) -> int:
    # The last connection to close removes them, so one may go between a look and the next.
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
