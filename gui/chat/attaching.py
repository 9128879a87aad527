"""Brings files and pictures into the composer: read in a worker, refused with a reason when they can't be sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, QUrl
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QFileDialog, QWidget

from gui.chat.composer import Composer, local_paths, png_of
from gui.chat.paste import image_attachment, read_file
from gui.tasks import Tasks

if TYPE_CHECKING:
    from gui.bridge import Bridge

MOST_FILES = 20


class Attaching(QObject):
    """Serves one composer."""

    def __init__(self, composer: Composer, bridge: Bridge, tasks: Tasks, parent: QWidget) -> None:
        super().__init__(parent)
        self._composer, self._bridge, self._tasks, self._window = composer, bridge, tasks, parent
        composer.attach_asked.connect(self._choose)
        composer.files_given.connect(self.attach_urls)
        composer.image_given.connect(self._on_image)

    def attach_urls(self, urls: list[QUrl]) -> None:
        self._tasks.start(self._attach(local_paths(urls)))

    def _choose(self) -> None:
        dialog = QFileDialog(self._window, "Attach files")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.urlsSelected.connect(self.attach_urls)
        dialog.open()

    async def _attach(self, names: list[str]) -> None:
        notes: list[str] = []
        for name in names[:MOST_FILES]:
            pasted = await self._bridge.run_blocking(read_file, Path(name))
            if pasted.attachment is not None:
                self._composer.add_attachment(pasted.attachment)
            if pasted.note:
                notes.append(pasted.note)
        if len(names) > MOST_FILES:
            notes.append(f"Only the first {MOST_FILES} of {len(names):,} files were attached.")
        self._composer.set_note(" ".join(notes))

    def _on_image(self, image: QImage) -> None:
        self._tasks.start(self._attach_image(image))

    async def _attach_image(self, image: QImage) -> None:
        content = await self._bridge.run_blocking(png_of, image)
        pasted = image_attachment("Pasted image.png", content, "image/png")
        if pasted.attachment is not None:
            self._composer.add_attachment(pasted.attachment)
        self._composer.set_note(pasted.note)
