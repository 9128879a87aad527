"""A window for one attachment: an image, fitted or at its own size, or a text to read and copy.

Nothing is handed to another program and no file is opened: what is shown is what goes with the prompt.
"""

from __future__ import annotations

from PySide6.QtCore import QObject, QRectF, QSize, Qt
from PySide6.QtGui import QImage, QKeySequence, QPainter, QPaintEvent, QShortcut, QTextOption
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from core import file_size
from gui.chat.attachment_chip import fitted, shown_name
from gui.chat.markdown.text_pane import drawable_code
from gui.chat.pictures import Pictures
from gui.chat.storage.models import Attachment
from gui.shell.bridge import Bridge
from gui.shell.tasks import Tasks
from gui.theme.theme import set_property, theme
from gui.widgets.copying import Copier
from gui.widgets.labels import label

MOST_SIDE_PX = 4_000
"""A larger image is shown scaled down: at its own size it could take 256 MB."""
SLICE_CHARS = 100_000
"""So much of a text is shown at once, and as much again at each press of the button below it; copied is all."""
_AT_FIRST = QSize(860, 620)


class PictureView(QWidget):
    """An image as large as there is room, or, in a scroll area, at its own size."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._image = QImage()
        self.is_fitted = True

    def show_image(self, image: QImage) -> None:
        self._image = image
        self.set_fitted(self.is_fitted)

    def set_fitted(self, is_fitted: bool) -> None:
        """Fit it into the window, or show it at its own size."""
        self.is_fitted = is_fitted
        size = QSize(1, 1) if is_fitted else self._image.size() / self.devicePixelRatioF()
        self.setMinimumSize(size)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        if not self._image.isNull():
            own = self._image.size() / self.devicePixelRatioF()
            painter.drawImage(fitted(own, QRectF(self.rect())), self._image)
        painter.end()


class AttachmentWindow(QDialog):
    """Esc closes it; the panel stays usable beside it."""

    def __init__(self, attachment: Attachment, parent: QWidget) -> None:
        super().__init__(parent)
        unit = theme()
        self.attachment = attachment
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(shown_name(attachment))
        self._facts = label(file_size(attachment.size_bytes), "small", level="2")
        self._buttons = QHBoxLayout()
        self._buttons.addWidget(self._facts, 1)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(unit.px(12), unit.px(12), unit.px(12), unit.px(12))
        self.column.setSpacing(unit.px(8))
        room = parent.screen().availableGeometry().size() * 0.9
        self.resize(QSize(unit.px(_AT_FIRST.width()), unit.px(_AT_FIRST.height())).boundedTo(room))
        QShortcut(QKeySequence(QKeySequence.StandardKey.Close), self, self.close)

    def add_button(self, words: str) -> QPushButton:
        button = QPushButton(words)
        set_property(button, compact=True)
        self._buttons.addWidget(button)
        return button

    def finish(self) -> None:
        """Put the row of buttons below the content."""
        close = self.add_button("Close")
        close.clicked.connect(self.close)
        self.column.addLayout(self._buttons)

    def say(self, words: str) -> None:
        """Say something about the content, beside its size."""
        self._facts.setText(f"{file_size(self.attachment.size_bytes)} · {words}")

    @property
    def facts(self) -> str:
        return self._facts.text()


class ImageWindow(AttachmentWindow):
    """Shows an image once it was read."""

    def __init__(self, attachment: Attachment, parent: QWidget) -> None:
        super().__init__(attachment, parent)
        self.picture = PictureView()
        self.picture.setAccessibleName(f"Image {shown_name(attachment)}")
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(self.picture)
        area.setAccessibleName("Image")
        self.column.addWidget(area, 1)
        self.scale_button = self.add_button("Actual size")
        self.scale_button.clicked.connect(self._change_scale)
        self.scale_button.setEnabled(False)
        self.finish()
        self.say("opening")

    def show_image(self, image: QImage) -> None:
        """Show what was read; a null image says that it can't be shown."""
        if image.isNull():
            self.say("damaged, so it can’t be shown")
            return
        scaled = ", scaled down to be shown" if max(image.width(), image.height()) >= MOST_SIDE_PX else ""
        self.say(f"{image.width():,} × {image.height():,} px{scaled}")
        self.picture.show_image(image)
        self.scale_button.setEnabled(True)

    def _change_scale(self) -> None:
        self.picture.set_fitted(not self.picture.is_fitted)
        self.scale_button.setText("Actual size" if self.picture.is_fitted else "Fit the window")


class TextWindow(AttachmentWindow):
    """Shows a text in parts, letter by letter."""

    def __init__(self, attachment: Attachment, parent: QWidget) -> None:
        super().__init__(attachment, parent)
        self._text = attachment.text
        self._shown_chars = 0
        self.pane = QPlainTextEdit()
        self.pane.setReadOnly(True)
        self.pane.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.pane.setUndoRedoEnabled(False)
        self.pane.setAccessibleName(shown_name(attachment))
        set_property(self.pane, role="mono")
        self.column.addWidget(self.pane, 1)
        self.more_button = self.add_button("Show more")
        self.more_button.clicked.connect(self.show_more)
        self.copy_button = self.add_button("Copy")
        Copier(self.copy_button, lambda: self._text)
        self.finish()
        self.show_more()

    def show_more(self) -> None:
        """Show the next part of a long text."""
        end = self._shown_chars + SLICE_CHARS
        part = drawable_code(self._text[self._shown_chars : end])
        self._shown_chars = min(end, len(self._text))
        cursor = self.pane.textCursor()
        cursor.movePosition(cursor.MoveOperation.End)
        cursor.insertText(part)
        left = len(self._text) - self._shown_chars
        lines = len(self._text.splitlines())
        self.say(f"{lines:,} line{'s'[: lines != 1]}")
        self.more_button.setVisible(left > 0)
        self.more_button.setText(f"Show more, {left:,} characters left")


class AttachmentViewer(QObject):
    """Opens attachments that were pressed, in the messages and in the box, one window each."""

    def __init__(self, bridge: Bridge, tasks: Tasks, view: QWidget) -> None:
        super().__init__(view)
        self._tasks, self._view = tasks, view
        self.pictures = Pictures(bridge, tasks, self)
        self._open: dict[str, AttachmentWindow] = {}

    def open(self, attachment: Attachment) -> AttachmentWindow:
        """Show an attachment; one that is open already comes to the front."""
        window = self._open.get(attachment.id)
        if window is None:
            if attachment.kind == "image":
                window = ImageWindow(attachment, self._view)
                self._tasks.start(self._fill(window))
            else:
                window = TextWindow(attachment, self._view)
            self._open[attachment.id] = window
            window.finished.connect(lambda: self._open.pop(attachment.id, None))
            window.show()
        window.raise_()
        window.activateWindow()
        return window

    def windows(self) -> list[AttachmentWindow]:
        """Those that are open."""
        return list(self._open.values())

    def close_all(self) -> None:
        """The page closes."""
        for window in self.windows():
            window.close()

    async def _fill(self, window: ImageWindow) -> None:
        image = await self.pictures.read(window.attachment, MOST_SIDE_PX)
        if self._open.get(window.attachment.id) is window:
            window.show_image(image)
