"""A chip: one attached file, image or long paste with its size."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QWidget

from gui.chat.paste import size_words
from gui.chat.records import Attachment
from gui.theme import set_property, theme
from gui.widgets.error_card import IconMark
from gui.widgets.icon_button import IconButton

NAME_PX = 220


class AttachmentChip(QFrame):
    """Signals:
    removed: the attachment's id, when its cross was pressed.
    """

    removed = Signal(str)

    def __init__(
        self, attachment: Attachment, *, removable: bool = False, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        unit = theme()
        set_property(self, inset=True)
        icon = "image" if attachment.kind == "image" else "file-text"
        name = QLabel()
        name.setTextFormat(Qt.TextFormat.PlainText)
        set_property(name, role="small", weight=600)
        shown = name.fontMetrics().elidedText(attachment.name, Qt.TextElideMode.ElideMiddle, unit.px(NAME_PX))
        name.setText(shown)
        size = QLabel(size_words(attachment.size_bytes))
        set_property(size, role="small", level="3")
        row = QHBoxLayout(self)
        row.setContentsMargins(unit.px(8), unit.px(2), unit.px(2 if removable else 8), unit.px(2))
        row.setSpacing(unit.px(6))
        row.addWidget(IconMark(icon, "text2", 14, self))
        row.addWidget(name)
        row.addWidget(size)
        if removable:
            cross = IconButton("x", f"Remove {attachment.name}", size=24, icon_size=12)
            cross.clicked.connect(lambda: self.removed.emit(attachment.id))
            row.addWidget(cross)
        else:
            self.setFixedHeight(unit.px(26))
        self.setToolTip(attachment.name)
        self.setAccessibleName(f"Attached: {attachment.name}, {size.text()}")
