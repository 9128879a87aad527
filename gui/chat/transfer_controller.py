"""Imports chats from a file and exports all of them, in a worker, while the page goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from PySide6.QtCore import QObject, Qt, QTimer, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog

from core import counted
from gui.chat.storage.export import ExportFormat
from gui.chat.storage.export_all import ALL_NAMES, ExportRun, export_all
from gui.chat.storage.imports.run import ImportRun, import_file, report_of
from gui.chat.storage.store import ConversationStore
from gui.chat.view import ChatView
from gui.shell.tasks import Tasks

if TYPE_CHECKING:
    from gui.chat.storage.write_behind import WriteBehindStore

PROGRESS_MS = 100
BUSY = "Wait for the import or export that is under way, or cancel it"


class TransferController(QObject):
    """One import or export at a time; ``refresh`` reads the list again, ``take_prompts`` the saved prompts."""

    def __init__(
        self,
        store: WriteBehindStore,
        tasks: Tasks,
        view: ChatView,
        refresh: Callable[[], None],
        take_prompts: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(view)
        self._store, self._tasks, self._view, self._card = store, tasks, view, view.transfer
        self._refresh, self._take_prompts = refresh, take_prompts
        self._run: ImportRun | ExportRun | None = None
        self._job: asyncio.Task[None] | None = None
        self._name = ""
        self._progress = QTimer(self)
        self._progress.setInterval(PROGRESS_MS)
        self._progress.timeout.connect(self._show_progress)
        view.list.import_asked.connect(self.ask_what_to_import)
        view.list.export_all_asked.connect(self.ask_where_to_export)
        self._card.cancelled.connect(self.cancel)

    def ask_what_to_import(self) -> None:
        dialog = self._dialog("Import chats")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilters(["Exports of ChatGPT, Claude or Signalbox (*.json *.zip)", "All files (*)"])
        dialog.fileSelected.connect(self._on_import_file)
        dialog.open()

    def ask_where_to_export(self, kind: str) -> None:
        dialog = self._dialog("Export all chats")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.selectFile(ALL_NAMES[cast("ExportFormat", kind)])
        dialog.fileSelected.connect(partial(self._on_export_file, cast("ExportFormat", kind)))
        dialog.open()

    def _on_import_file(self, name: str) -> None:
        self.import_from(Path(name))

    def _on_export_file(self, kind: ExportFormat, name: str) -> None:
        self.export_to(kind, Path(name))

    def _dialog(self, title: str) -> QFileDialog:
        dialog = QFileDialog(self._view, title)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        return dialog

    def import_from(self, path: Path) -> None:
        """Import what a file has that is not here yet."""
        if self._is_free():
            self._run, self._name = ImportRun(), path.name
            self._job = self._tasks.start(self._import(path, self._run))

    def export_to(self, kind: ExportFormat, path: Path) -> None:
        """Write all chats to one file."""
        if self._is_free():
            self._run, self._name = ExportRun(), path.name
            self._job = self._tasks.start(self._export(kind, path, self._run))

    def cancel(self) -> None:
        """Stop after the chat that is at hand."""
        if self._run is not None:
            self._run.is_cancelled = True

    async def close(self) -> None:
        """Stop, and return when the worker has."""
        self.cancel()
        if self._job is not None and not self._job.done():
            await asyncio.wait({self._job})

    def _is_free(self) -> bool:
        if self._run is not None:
            self._view.toasts.show(BUSY)
        return self._run is None

    async def _import(self, path: Path, run: ImportRun) -> None:
        await self._work(partial(import_file, path=path, run=run))
        is_any = run.imported or run.prompts.imported
        title = f"{path.name}: imported" if is_any else f"{path.name}: nothing was imported"
        if run.prompts.imported:
            await self._take_prompts()
        self._end(title, report_of(run))
        self._refresh()

    async def _export(self, kind: ExportFormat, path: Path, run: ExportRun) -> None:
        await self._work(partial(export_all, kind=kind, path=path, run=run))
        if run.failed_because:
            self._end("The chats were not exported", [run.failed_because])
            return
        lines = [f"{run.written:,} chat{'s'[: run.written != 1]}, without what is recently deleted."]
        if run.unreadable:
            lines.append(
                f"{run.unreadable:,} can’t be read and {'is' if run.unreadable == 1 else 'are'} left out."
            )
        if run.prompts:
            lines.append(f"{counted(run.prompts, 'saved prompt')} with them.")
        if kind == "json":
            lines.append("“Import chats” reads this file on any machine, without loss.")
        folder = QUrl.fromLocalFile(str(path.parent))
        self._end(f"Exported to {path.name}", lines, "Open folder", partial(QDesktopServices.openUrl, folder))

    async def _work(self, job: Callable[[ConversationStore], None]) -> None:
        self._show_progress()
        self._progress.start()
        try:
            await self._store.flush()
            await self._store.read(job)
        finally:
            self._progress.stop()
            self._run = None

    def _end(
        self, title: str, lines: list[str], action: str = "", act: Callable[[], object] = lambda: None
    ) -> None:
        self._card.show_result(title, lines, action, act)
        self._view.respace()
        self._view.announce(title)

    def _show_progress(self) -> None:
        run = self._run
        if isinstance(run, ImportRun):
            share = run.read_bytes / run.total_bytes if run.total_bytes else 0.0
            chats = f"{run.imported:,} chat{'s'[: run.imported != 1]} so far"
            self._card.show_progress(f"Importing {self._name}", f"{chats}, {share:.0%} read", share)
        elif run is not None:
            share = run.done / run.total if run.total else 0.0
            words = f"{run.done:,} of {run.total:,} chats"
            self._card.show_progress(f"Exporting to {self._name}", words, share)
        self._view.respace()
