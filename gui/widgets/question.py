"""A question that has to be answered before something is done for good: two buttons, the safe one first."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from gui.theme.theme import set_property, theme
from gui.widgets.labels import label

WIDTH_PX = 420


class Question(QDialog):
    """Shown with ``open()``: never ``exec()``, whose nested loop would stop the panel's own. Esc keeps."""

    def __init__(
        self,
        parent: QWidget,
        *,
        title: str,
        sentence: str,
        do: str,
        keep: str,
        on_do: Callable[[], None],
        danger: bool = False,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAccessibleDescription(sentence)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.do = QPushButton(do)
        self.keep = QPushButton(keep)
        set_property(self.do, danger=danger)
        self.do.setAutoDefault(False)
        self.keep.setDefault(True)
        self.do.clicked.connect(self.accept)
        self.do.clicked.connect(on_do)
        self.keep.clicked.connect(self.reject)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addStretch(1)
        buttons.addWidget(self.do)
        buttons.addWidget(self.keep)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 18, 20, 16)
        layout.setSpacing(8)
        layout.addWidget(label(title, "title", wrap=True))
        layout.addWidget(label(sentence, "body", level="2", wrap=True))
        layout.addSpacing(8)
        layout.addLayout(buttons)
        self.setFixedWidth(theme().px(WIDTH_PX))
        self.keep.setFocus()
