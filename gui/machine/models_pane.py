"""Models on this machine, servers that run here, and models to get: what the shelf says, and its verbs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from core import ModelOnDisk, ModelShelf, file_size, sentence, sentence_case
from core.errors import AuthenticationFailed, SignalboxError
from gui.machine.controller import MachineController
from gui.machine.model_columns import columns
from gui.machine.model_rows import CuratedRow, ServerRow
from gui.shell.pages import Shell, Target
from gui.theme.theme import set_property, theme
from gui.widgets.card import Card
from gui.widgets.copying import announce
from gui.widgets.download_row import DownloadRow
from gui.widgets.labels import ResultLine, label
from gui.widgets.model_words import (
    NAME_EXAMPLE,
    PLACE_WORDS,
    name_problem,
    on_disk_of,
    room_words,
    switch_words,
)
from gui.widgets.scrolling import scrolled
from gui.widgets.table import ROW_PX, ListModel, Table
from gui.widgets.toast import ToastHost

if TYPE_CHECKING:
    from core import CoreStatus, CuratedModel, FoundServer

W = TypeVar("W", bound=QWidget)
MOST_ROWS = 8
"""Rows of the table that are seen before it scrolls."""


def _can_use(model: ModelOnDisk) -> bool:
    return not model.in_use and not model.is_loading


class _Section(QWidget):
    """A title with controls at its right, and what belongs to it below."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.setAccessibleName(title)
        self.controls = QHBoxLayout()
        head = QHBoxLayout()
        head.addWidget(label(title, "body", weight=600), 1)
        head.addLayout(self.controls)
        self.body = QVBoxLayout(self)
        self.body.setContentsMargins(0, 0, 0, 0)
        self.body.addLayout(head)
        self.rows = QVBoxLayout()
        self.body.addLayout(self.rows)
        theme().changed.connect(self._restyle)
        self._restyle()

    def _restyle(self) -> None:
        self.controls.setSpacing(theme().px(6))
        self.body.setSpacing(theme().px(4))
        self.rows.setSpacing(theme().px(4))


@dataclass
class _Switch:
    """From the model that the local server names, ``before``, to the one that was asked for."""

    name: str
    before: str
    was_loading: bool = False


class ModelsPane(Card):
    """What the shelf says: downloads, servers that run here, what is on disk, and what can be got."""

    def __init__(self, shell: Shell, controller: MachineController) -> None:
        super().__init__()
        self._shell, self._controller, self._bridge = shell, controller, shell.bridge
        self.setAccessibleName("Models")
        self.shelf = ModelShelf()
        self._switch: _Switch | None = None
        self._servers: dict[str, ServerRow] = {}
        self._curated: dict[str, CuratedRow] = {}
        self._downloads: dict[str, DownloadRow] = {}
        self.result = ResultLine()
        self.token = QPushButton("Add a token")
        self.token.setAccessibleName("Add a Hugging Face token")
        self.token.clicked.connect(self._ask_for_token)
        self.token.hide()
        set_property(self.token, compact=True)
        self.look = QPushButton("Search again")
        self.look.clicked.connect(self._look)
        set_property(self.look, compact=True)
        self._room = label("", "small", level="2", tabular=True)
        head = QHBoxLayout()
        head.addWidget(label("Models", "title"))
        head.addWidget(self._room, 1)
        head.addWidget(self.look)
        inside = QWidget()
        self._column = QVBoxLayout(inside)
        self._column.setContentsMargins(0, 0, 0, 0)
        self.downloading = _Section("Downloads")
        self.running = _Section("Running on this machine")
        self.on_disk = _Section("On disk")
        self.to_get = _Section("Get a model")
        self._make_table()
        self._make_field()
        for section in (self.downloading, self.running, self.on_disk, self.to_get):
            self._column.addWidget(section)
        self._column.addStretch(1)
        self.body.addLayout(head)
        told = QHBoxLayout()
        told.addWidget(self.result, 1)
        told.addWidget(self.token)
        self.body.addLayout(told)
        area = scrolled(inside)
        inside.setAutoFillBackground(False)  # the card's ground shows through
        area.viewport().setAutoFillBackground(False)
        self.body.addWidget(area, 1)
        self.toasts = ToastHost(self)
        self._bridge.models_changed.connect(self.show_shelf)
        self._bridge.status_changed.connect(self._on_status)
        theme().changed.connect(self._restyle)
        self._restyle()
        self.show_shelf(self._bridge.shelf or self.shelf)

    def _make_table(self) -> None:
        self._model = ListModel(columns())
        self.table = Table("Models on disk", self._model)
        self.table.setSelectionMode(Table.SelectionMode.SingleSelection)
        self.table.chosen.connect(self._use_row)
        self.table.row_changed.connect(self._show_verbs)
        self.use = QPushButton("Use")
        self.use.clicked.connect(self._use_selected)
        self.unload = QPushButton("Unload")
        self.unload.clicked.connect(self._unload)
        self.delete = QPushButton("Delete")
        self.delete.clicked.connect(self._delete_selected)
        for button in (self.use, self.unload, self.delete):
            set_property(button, tiny=True)
            self.on_disk.controls.addWidget(button)
        self.no_models = label("", "small", level="2", wrap=True)
        self.on_disk.rows.addWidget(self.no_models)
        self.on_disk.rows.addWidget(self.table)
        gone = QShortcut(QKeySequence(QKeySequence.StandardKey.Delete), self.table)
        gone.setContext(Qt.ShortcutContext.WidgetShortcut)
        gone.activated.connect(self._delete_selected)

    def _make_field(self) -> None:
        self.name = QLineEdit()
        self.name.setPlaceholderText("Any Hugging Face repository or GGUF: OWNER/NAME, or its address")
        self.name.setAccessibleName("Name or address of a model on Hugging Face")
        self.name.setAccessibleDescription(f"For example {NAME_EXAMPLE}")
        self.name.textChanged.connect(self._on_typed)
        self.name.returnPressed.connect(self._get_named)
        self.get = QPushButton("Download")
        self.get.setAccessibleName("Download this model")
        self.get.setEnabled(False)
        self.get.clicked.connect(self._get_named)
        self.for_vllm = QCheckBox("For vLLM: the whole repository, for its container’s next start")
        set_property(self.name, compact=True, role="small")
        set_property(self.get, compact=True)
        row = QHBoxLayout()
        row.addWidget(self.name, 1)
        row.addWidget(self.get)
        self.name_result = ResultLine()
        self._field_row = row
        self.to_get.body.insertLayout(1, row)
        self.to_get.body.insertWidget(2, self.for_vllm)
        self.to_get.body.insertWidget(3, self.name_result)

    def _restyle(self) -> None:
        px = theme().px
        self._column.setSpacing(px(14))
        self._field_row.setSpacing(px(8))
        self._fit_table()

    # What the shelf says

    def show_shelf(self, shelf: ModelShelf) -> None:
        """Show the shelf; rows that stay keep their widgets, and so the keyboard."""
        before, self.shelf = self.shelf, shelf
        self._room.setText(room_words(shelf))
        if shelf.on_disk != before.on_disk or self._model.row_count() == 0:
            self._show_on_disk()
        self._show_servers()
        self._show_downloads()
        self._show_curated()

    def _on_status(self, status: CoreStatus) -> None:
        self._follow_switch(status)
        self._show_servers()  # which of them is the local side

    def show_detail(self, detail: str) -> None:
        """Bring a model into view: its id, or a name to get it by."""
        for row, model in enumerate(self._model.rows):
            if model.id == detail:
                self.table.selectRow(row)
                self.table.setFocus()
                return
        if detail in self._curated:
            self._curated[detail].button.setFocus()
        else:
            self.name.setText(detail)
            self.name.setFocus()

    def _show_on_disk(self) -> None:
        selected = self._selected()
        self._model.set_rows(self.shelf.on_disk)
        count = len(self.shelf.on_disk)
        self.table.setVisible(count > 0)
        self.no_models.setVisible(count == 0)
        self.no_models.setText(
            "No model was found. Looked in Signalbox’s own folder, the Hugging Face cache, and those of LM Studio, "
            "Jan and llama.cpp."
            if self.shelf.looked_at is not None
            else "Not searched yet."
        )
        self._fit_table()
        wanted = selected.id if selected is not None else None
        rows = self._model.rows
        at = next((row for row, one in enumerate(rows) if one.id == wanted), None)
        if at is None:
            at = next((row for row, one in enumerate(rows) if one.in_use or one.is_loading), 0)
        if rows:
            self.table.selectRow(at)
        self._show_verbs()

    def _fit_table(self) -> None:
        rows = min(MOST_ROWS, len(self.shelf.on_disk))
        self.table.setFixedHeight((rows + 1) * theme().px(ROW_PX) + 2)

    def _selected(self) -> ModelOnDisk | None:
        return self._model.row(self.table.currentIndex().row())

    def _show_verbs(self) -> None:
        model = self._selected()
        for button, verb, works in (
            (self.use, "Use", model is not None and _can_use(model)),
            (self.unload, "Unload", model is not None and model.in_use),
            (self.delete, "Delete", model is not None and model.deletable),
        ):
            button.setVisible(bool(self.shelf.on_disk))
            button.setEnabled(works)
            button.setAccessibleName(verb if model is None else f"{verb} {model.name}")
        why = (
            ""
            if model is None or model.deletable
            else f"{PLACE_WORDS[model.place]} owns it: delete it there."
        )
        self.delete.setToolTip(why)
        self.delete.setAccessibleDescription(why)

    def _show_servers(self) -> None:
        servers = self.shelf.servers
        self._keep(self._servers, [one.base_url for one in servers], self.running, self._server_row)
        for server in servers:
            self._servers[server.base_url].show_server(server, is_used=self._is_used(server))
        self.running.setVisible(bool(servers))

    def _is_used(self, server: FoundServer) -> bool:
        status = self._bridge.status
        if status is None or status.local.kind != "external":
            return False
        used = self._bridge.core.settings.current.vllm_base_url
        return str(used or "").rstrip("/") == server.base_url.rstrip("/")

    def _show_downloads(self) -> None:
        shown = self.shelf.downloads
        self._keep(self._downloads, [one.id for one in shown], self.downloading, self._download_row)
        for download in shown:
            model = on_disk_of(self.shelf, download)
            can_use = model is not None and _can_use(model)
            self._downloads[download.id].show_download(download, can_use=can_use)
        self.downloading.setVisible(bool(shown))

    def _show_curated(self) -> None:
        # The best first, then those that fit; what is too big for this machine last.
        order = {"fits": 0, "tight": 1, "unknown": 1, "too_big": 2}
        models = sorted(self.shelf.curated, key=lambda one: (not one.best, order[one.fits]))
        self._keep(self._curated, [one.id for one in models], self.to_get, self._curated_row)
        loading = {
            (one.repo, one.file)
            for one in self.shelf.downloads
            if one.phase in ("checking", "running", "paused", "verifying")
        }
        for model in models:
            is_loading = (model.repo, model.file) in loading
            self._curated[model.id].show_model(model, self.shelf, is_loading=is_loading)

    @staticmethod
    def _keep(rows: dict[str, W], keys: list[str], section: _Section, make: Callable[[str], W]) -> None:
        """Make ``rows`` those of ``keys``, in this order, with as few changes as that takes."""
        if list(rows) == keys:
            return
        for key in [key for key in rows if key not in keys]:
            gone = rows.pop(key)
            gone.hide()
            section.rows.removeWidget(gone)
            gone.deleteLater()
        ordered = {key: rows[key] if key in rows else make(key) for key in keys}
        rows.clear()
        rows.update(ordered)
        for place, row in enumerate(rows.values()):
            if section.rows.indexOf(row) != place:
                section.rows.removeWidget(row)
                section.rows.insertWidget(place, row)

    def _server_row(self, base_url: str) -> ServerRow:
        row = ServerRow()
        row.pressed.connect(partial(self._use_server, base_url))
        return row

    def _curated_row(self, model_id: str) -> CuratedRow:
        row = CuratedRow()
        row.pressed.connect(partial(self._curated_pressed, model_id))
        return row

    def _download_row(self, download_id: str) -> DownloadRow:
        row = DownloadRow()
        row.paused.connect(partial(self._on_download, "pause", download_id))
        row.resumed.connect(partial(self._on_download, "resume", download_id))
        row.cancelled.connect(partial(self._on_download, "cancel", download_id))
        row.used.connect(partial(self._use_download, download_id))
        row.token_asked.connect(self._ask_for_token)
        row.closed.connect(partial(self._on_download, "cancel", download_id))
        return row

    # The verbs

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self.shelf.looked_at is None and self._bridge.status is not None:
            self._look()

    def _begin(self, key: str, failed: str, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a verb unless it runs already; what it raises is told with ``failed`` before it."""
        self.token.hide()
        if self._bridge.status is None:
            self.result.tell("busy", "", "Signalbox is still starting; it takes a second.")
        elif not self._controller.tasks.runs(key):
            self._controller.tasks.start(self._told(failed, job), key=key)
        elif key == "use":
            self.toasts.show("Another model is being loaded: wait until it is ready")

    async def _told(self, failed: str, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await job()
        except SignalboxError as error:
            self.result.tell("danger", failed, str(error))
            announce(self, self.result.text)

    def _look(self) -> None:
        self._begin("look", "Not searched.", self._look_now)

    async def _look_now(self) -> None:
        self.look.setText("Searching…")
        try:
            self.show_shelf(await self._bridge.call(self._bridge.core.local_models.look()))
        finally:
            self.look.setText("Search again")

    def _use_row(self, row: int) -> None:
        model = self._model.row(row)
        if model is not None and _can_use(model):
            self._use_model(model)

    def _use_selected(self) -> None:
        self._use_row(self.table.currentIndex().row())

    def _use_model(self, model: ModelOnDisk) -> None:
        if model.format != "gguf":
            self._use_in_container(model)
            return

        async def job() -> None:
            self.result.tell("busy", "Switching.", switch_words(model, self.shelf))
            announce(self, self.result.text)
            models, status = self._bridge.core.local_models, self._bridge.status
            is_idle = status is not None and status.local.phase in ("stopped", "failed")
            before = "" if status is None or is_idle else status.local.model or ""
            self._switch = _Switch(model.name, before)
            try:
                await self._bridge.call(models.load(model.id) if is_idle else models.use(model.id))
            except BaseException:
                self._switch = None
                raise
            if self._bridge.status is not None:
                self._follow_switch(self._bridge.status)

        self._begin("use", "Not switched.", job)

    def _use_in_container(self, model: ModelOnDisk) -> None:
        """Fill its name into the container's form; nothing changes before that is applied."""
        self._controller.propose_model(model.name)
        is_compose = self._controller.is_compose
        self.toasts.show(
            f"{model.name} is for vLLM: it is filled in, Apply takes it"
            if is_compose
            else f"{model.name} is for vLLM: choose its container here, then Apply takes it"
        )
        self._shell.open(Target("machine", "settings", "model" if is_compose else "kind"))

    def _follow_switch(self, status: CoreStatus) -> None:
        """Say how the switch stands by what the local server says, not by what was pressed."""
        switch, local = self._switch, status.local
        if switch is None:
            return
        if local.phase == "ready" and local.model != switch.before:
            self._switch = None
            self.result.tell("ok", "Ready.", f"{switch.name} answers on this machine.")
        elif local.phase == "failed":
            self._switch = None
            self.result.tell("danger", "Not loaded.", f"{sentence(local.detail)} {local.hint}".strip())
        elif local.phase == "ready" and switch.was_loading and not local.detail:
            self._switch = None
            why = next((one.message for one in status.problems if switch.name in one.message), "")
            words = why or f"{switch.name} can’t be loaded. {switch.before} goes on."
            self.result.tell("danger", "Not switched.", words)
        elif local.detail:
            switch.was_loading = True
            self.result.tell("busy", "Switching.", sentence(sentence_case(local.detail)))

    def _use_download(self, download_id: str) -> None:
        download = next((one for one in self.shelf.downloads if one.id == download_id), None)
        model = None if download is None else on_disk_of(self.shelf, download)
        if model is not None:
            self._use_model(model)

    def _use_server(self, base_url: str) -> None:
        server = next((one for one in self.shelf.servers if one.base_url == base_url), None)
        if server is None:
            return
        if server.wants_key:
            self._shell.open(Target("preferences", "providers", "vllm"))
            return

        async def job() -> None:
            self.result.tell("busy", "Switching", f"to {server.name}")
            await self._bridge.call(self._bridge.core.local_models.use_server(base_url))
            self.result.tell("ok", "Done.", f"{server.name} at {base_url} is the local side.")
            self._show_servers()

        self._begin("use", "Not switched.", job)

    def _unload(self) -> None:
        model = self._selected()

        async def job() -> None:
            await self._bridge.call(self._bridge.core.local_models.unload())
            self.result.tell(
                "ok", "Unloaded.", "" if model is None else f"{model.name} is no longer in memory."
            )

        self._begin("use", "Not unloaded.", job)

    def _delete_selected(self) -> None:
        model = self._selected()
        if model is None or not model.deletable:
            return

        async def job() -> None:
            await self._bridge.call(self._bridge.core.local_models.delete(model.id))
            words = f"Deleted {model.name}, {file_size(model.size_bytes)}"
            self.toasts.show(words, "Undo", partial(self._undelete, model), "trash")

        self._begin("delete", "Not deleted.", job)

    def _undelete(self, model: ModelOnDisk) -> None:
        async def job() -> None:
            await self._bridge.call(self._bridge.core.local_models.undelete(model.id))
            self.result.tell("ok", "Restored.", f"{model.name} is on disk as before.")

        self._begin("undelete", "Not restored.", job)

    # Getting one

    def _on_typed(self, text: str) -> None:
        self.get.setEnabled(bool(text.strip()))
        set_property(self.name, tone="")
        self.name_result.clear()

    def _get_named(self) -> None:
        typed = self.name.text().strip()
        if not typed:
            return
        problem = name_problem(typed)
        if problem:
            set_property(self.name, tone="danger")
            self.name_result.tell("danger", "", f"{problem} Nothing was asked for.")
            announce(self.name, problem)
            return
        self._get(typed, from_field=True)

    def _curated_pressed(self, model_id: str) -> None:
        model = next((one for one in self.shelf.curated if one.id == model_id), None)
        if model is None:
            return
        here = self._here(model) if model.on_disk else None
        if here is not None:
            self._use_model(here)
        else:
            self._get(model.id)

    def _here(self, model: CuratedModel) -> ModelOnDisk | None:
        return next(
            (one for one in self.shelf.on_disk if one.id == model.id or one.path.name == model.file), None
        )

    def _get(self, what: str, *, from_field: bool = False) -> None:
        for_vllm = from_field and self.for_vllm.isChecked()

        async def job() -> None:
            told = self.name_result if from_field else self.result
            told.tell("busy", "Asking", f"Hugging Face for {what}")
            try:
                await self._bridge.call(self._bridge.core.local_models.download(what, for_vllm=for_vllm))
            except SignalboxError as error:
                if isinstance(error, AuthenticationFailed):  # told at the top, where the way to the token is
                    told.clear()
                    told = self.result
                    self.token.show()
                told.tell("danger", "Not started.", str(error))
                announce(self, told.text)
                return
            told.clear()
            if from_field:
                if self.get.hasFocus():  # it is disabled now, and the keyboard would go on by itself
                    self.name.setFocus()
                self.name.clear()
            announce(self, f"Downloading {what}")

        self._begin(f"get {what}", "Not started.", job)

    def _on_download(self, verb: str, download_id: str) -> None:
        models = self._bridge.core.local_models
        calls = {"pause": models.pause, "resume": models.resume, "cancel": models.cancel}

        async def job() -> None:
            await self._bridge.call(calls[verb](download_id))

        self._begin(f"{verb} {download_id}", "That didn’t work.", job)

    def _ask_for_token(self) -> None:
        self._shell.open(Target("preferences", "providers", "huggingface"))
