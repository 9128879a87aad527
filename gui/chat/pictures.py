"""Thumbnails of attached images, read in a worker by the rules of ``images.py`` and kept for a while."""

from __future__ import annotations

from collections import OrderedDict

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtGui import QImage

from gui.chat.images import ImageRefused, read_fitted
from gui.chat.storage.models import Attachment
from gui.shell.bridge import Bridge
from gui.shell.tasks import Tasks

SIDE_PX = 512
"""A thumbnail's longer side, enough for 150 % at twice the pixels."""
KEPT = 24


class Pictures(QObject):
    """Signals:
    ready: an attachment's id and its thumbnail; a null image where the file can't be shown.
    """

    ready = Signal(str, QImage)

    def __init__(self, bridge: Bridge, tasks: Tasks, parent: QObject) -> None:
        super().__init__(parent)
        self._bridge, self._tasks = bridge, tasks
        self._kept: OrderedDict[str, QImage] = OrderedDict()
        self._reading: set[str] = set()

    def ask(self, attachment: Attachment) -> None:
        """Have ``ready`` tell an image's thumbnail, soon."""
        kept = self._kept.get(attachment.id)
        if kept is not None:
            self._kept.move_to_end(attachment.id)
            QTimer.singleShot(0, self, lambda: self.ready.emit(attachment.id, kept))
        elif attachment.id not in self._reading:
            self._reading.add(attachment.id)
            self._tasks.start(self._read(attachment))

    async def read(self, attachment: Attachment, most_side_px: int) -> QImage:
        """Return an image scaled to fit; a null one where it can't be shown."""
        try:
            return await self._bridge.run_blocking(read_fitted, attachment.content, most_side_px)
        except ImageRefused:
            return QImage()

    async def _read(self, attachment: Attachment) -> None:
        try:
            picture = await self.read(attachment, SIDE_PX)
        finally:
            self._reading.discard(attachment.id)
        self._kept[attachment.id] = picture
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        self.ready.emit(attachment.id, picture)
