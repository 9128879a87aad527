"""An attachment on screen: its picture or its icon, its name and its size, as one button that opens it."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics, QImage, QPainter, QPainterPath, QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QSizePolicy, QWidget

from core import file_size, marked
from gui.chat.pictures import Pictures
from gui.chat.storage.models import Attachment
from gui.theme.icons import paint_icon
from gui.theme.theme import set_property, theme
from gui.widgets.icon_button import IconButton
from gui.widgets.marks import paint_focus_ring, text_baseline
from gui.widgets.painted_button import PaintedButton, paint_box

NAME_PX = 220
PICTURE_PX = QSize(168, 112)
"""What a sent picture is shown in, not zoomed; it is fitted into it, whole."""
_PAD_PX = 8
_LINE_PX = 26
_MARK_PX = 20


def shown_name(attachment: Attachment) -> str:
    """The name with a mark for each character that is not seen or turns the direction of what follows."""
    return marked(attachment.name)


class AttachmentButton(PaintedButton):
    """One line of 26 px; with ``large`` a picture stands above it.

    Signals:
        opened: the ``Attachment``, when it was pressed.
    """

    opened = Signal(object)

    def __init__(
        self,
        attachment: Attachment,
        pictures: Pictures | None,
        *,
        large: bool = False,
        framed: bool = True,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.attachment = attachment
        is_image = attachment.kind == "image"
        self._large, self._framed = large and is_image, framed
        self._size = file_size(attachment.size_bytes)
        self._picture: QImage | None = None
        self._is_damaged = False
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        name = shown_name(attachment)
        kind = "image" if is_image else "text"
        self.describe(f"Attached: {name}, {kind}, {self._size}", "Opens it")
        self.setToolTip(f"{name}\nOpens it")
        self.clicked.connect(lambda: self.opened.emit(self.attachment))
        if is_image and pictures is not None:
            pictures.ready.connect(self._on_picture)
            pictures.ask(attachment)

    @property
    def picture(self) -> QImage | None:
        """The thumbnail, once it was read."""
        return self._picture

    def _on_picture(self, attachment_id: str, picture: QImage) -> None:
        if attachment_id == self.attachment.id:
            self._picture = None if picture.isNull() else picture
            self._is_damaged = picture.isNull()
            self.update()

    def _shown_words(self) -> tuple[str, str]:
        metrics = _metrics(600)
        room = theme().px(PICTURE_PX.width() - 70 if self._large else NAME_PX)
        return metrics.elidedText(shown_name(self.attachment), Qt.TextElideMode.ElideMiddle, room), self._size

    def sizeHint(self) -> QSize:
        unit = theme()
        name, size = self._shown_words()
        words = _metrics(600).horizontalAdvance(name) + _metrics(400).horizontalAdvance(size)
        pad = unit.px(_PAD_PX) if self._framed else unit.px(2)
        width = 2 * pad + unit.px(_MARK_PX) + unit.px(6) + words + unit.px(6) + 2
        height = unit.px(_LINE_PX)
        if self._large:
            width = max(width, unit.px(PICTURE_PX.width()) + 2)
            height += unit.px(PICTURE_PX.height())
        return QSize(width, height)

    def paintEvent(self, event: QPaintEvent) -> None:
        unit, box = theme(), QRectF(self.rect())
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        ground = "select" if self.isDown() else "hover" if self.underMouse() else "window"
        if self._framed or ground != "window":
            paint_box(
                painter,
                box,
                unit.px(4),
                line="border" if self._framed else ground,
                ground=ground,
            )
        line = QRectF(box.x(), box.bottom() - unit.px(_LINE_PX), box.width(), unit.px(_LINE_PX))
        if self._large:
            self._paint_picture(painter, QRectF(box.x() + 1, box.y() + 1, box.width() - 2, line.y() - 1))
        self._paint_line(painter, line)
        if self.hasFocus():
            paint_focus_ring(painter, box, unit.px(3))
        painter.end()

    def _paint_picture(self, painter: QPainter, box: QRectF) -> None:
        unit = theme()
        if self._picture is None:
            side = unit.px(22)
            icon = "warning-circle" if self._is_damaged else "image"
            place = QRectF(box.center().x() - side / 2, box.center().y() - side / 2, side, side)
            paint_icon(painter, place, icon, unit.color("text3"))
            return
        painter.save()
        path = QPainterPath()
        path.addRoundedRect(box, unit.px(3), unit.px(3))
        painter.setClipPath(path)
        painter.fillRect(box, unit.color("sunken"))
        painter.drawImage(fitted(self._picture.size(), box), self._picture)
        painter.restore()

    def _paint_line(self, painter: QPainter, line: QRectF) -> None:
        unit = theme()
        x = line.x() + (unit.px(_PAD_PX) if self._framed else unit.px(2))
        side = unit.px(_MARK_PX)
        mark = QRectF(x, line.center().y() - side / 2, side, side)
        if self._picture is not None and not self._large:
            painter.drawImage(fitted(self._picture.size(), mark), self._picture)
        else:
            icon = "image" if self.attachment.kind == "image" else "file-text"
            inner = unit.px(14)
            place = QRectF(mark.center().x() - inner / 2, mark.center().y() - inner / 2, inner, inner)
            paint_icon(painter, place, icon, unit.color("text2"))
        x += side + unit.px(6)
        name, size = self._shown_words()
        for words, weight, token in ((name, 600, "text"), (size, 400, "text3")):
            metrics = _metrics(weight)
            painter.setFont(unit.font("small", weight))
            painter.setPen(unit.color(token))
            at = QPoint(round(x), round(text_baseline(line, metrics.ascent(), metrics.descent())))
            painter.drawText(at, words)
            x += metrics.horizontalAdvance(words) + unit.px(6)


class AttachmentChip(QFrame):
    """An attachment in the composer: the button that opens it, and the cross.

    Signals:
        opened: the ``Attachment``.
        removed: the attachment's id, when its cross was pressed.
    """

    opened = Signal(object)
    removed = Signal(str)

    def __init__(
        self, attachment: Attachment, pictures: Pictures | None, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        unit = theme()
        set_property(self, inset=True)
        self.button = AttachmentButton(attachment, pictures, framed=False, parent=self)
        self.button.opened.connect(self.opened)
        cross = IconButton("x", f"Remove {shown_name(attachment)}", size=24, icon_size=12)
        cross.clicked.connect(lambda: self.removed.emit(attachment.id))
        row = QHBoxLayout(self)
        row.setContentsMargins(unit.px(4), unit.px(1), unit.px(2), unit.px(1))
        row.setSpacing(unit.px(2))
        row.addWidget(self.button)
        row.addWidget(cross)


def _metrics(weight: int) -> QFontMetrics:
    return QFontMetrics(theme().font("small", weight))


def fitted(size: QSize, box: QRectF) -> QRectF:
    """The largest place in ``box`` of the proportions of ``size``, never larger than it is."""
    scaled = QSize(size)
    if size.width() > box.width() or size.height() > box.height():
        scaled = size.scaled(box.size().toSize(), Qt.AspectRatioMode.KeepAspectRatio)
    width, height = max(1, scaled.width()), max(1, scaled.height())
    return QRectF(box.center().x() - width / 2, box.center().y() - height / 2, width, height)
