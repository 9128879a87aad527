"""Asks where a conversation should go, writes it in a worker, and says where it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog, QWidget

from gui.chat.export import ExportFormat, file_name, write_export
from gui.chat.records import Conversation
from gui.tasks import Tasks
from gui.widgets.toast import ToastHost

if TYPE_CHECKING:
    from gui.bridge import Bridge


class Exporting(QObject):
    """Signals:
    failed: a sentence for the user.
    """

    failed = Signal(str)

    def __init__(self, bridge: Bridge, tasks: Tasks, toasts: ToastHost, parent: QWidget) -> None:
        super().__init__(parent)
        self._bridge, self._tasks, self._toasts, self._window = bridge, tasks, toasts, parent

    def ask_where(self, conversation: Conversation, kind: ExportFormat) -> None:
        """Open the system's dialog; nothing waits for it."""
        dialog = QFileDialog(self._window, "Export this chat")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.selectFile(file_name(conversation.title, kind))
        dialog.fileSelected.connect(partial(self._chosen, conversation, kind))
        dialog.open()

    def _chosen(self, conversation: Conversation, kind: ExportFormat, name: str) -> None:
        self._tasks.start(self.write(conversation, kind, Path(name)))

    async def write(self, conversation: Conversation, kind: ExportFormat, path: Path) -> None:
        """Write the file whole or not at all."""
        try:
            await self._bridge.run_blocking(write_export, conversation, kind, path)
        except OSError as error:
            reason = error.strerror or str(error)
            self.failed.emit(
                f"{path.name} can’t be written: {reason}. Nothing was lost; choose another folder."
            )
            return
        folder = QUrl.fromLocalFile(str(path.parent))
        show: Callable[[], object] = partial(QDesktopServices.openUrl, folder)
        self._toasts.show(f"Exported to {path.name}", "Open folder", show, "check-circle-fill")
