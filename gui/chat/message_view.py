"""What prompts and answers on screen share: versions, quiet buttons, the pin."""

from __future__ import annotations

from PySide6.QtCore import QPoint, Signal
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QSizePolicy, QWidget

from gui.chat.storage.models import StoredMessage
from gui.theme.theme import set_property
from gui.widgets.copying import TOLD
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import plain_label

PAD_PX = 14
BUSY_WHY = "Wait for the answer to end, or stop it"


class VersionSwitch(QWidget):
    """``< 2/3 >``: which version of a message is shown. Hidden while there is one.

    Signals:
        stepped: -1 or 1.
    """

    stepped = Signal(int)

    def __init__(self, what: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._what = what
        self.back = IconButton("caret-left", f"Previous version of this {what}", size=24, icon_size=12)
        self.forward = IconButton("caret-right", f"Next version of this {what}", size=24, icon_size=12)
        self._words = plain_label()
        set_property(self._words, role="small", level="2")
        self.back.clicked.connect(lambda: self.stepped.emit(-1))
        self.forward.clicked.connect(lambda: self.stepped.emit(1))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        self.setSizePolicy(
            QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed
        )  # an answer without a badge has room
        for widget in (self.back, self._words, self.forward):
            row.addWidget(widget)
        self.set_place(1, 1)

    def set_place(self, number: int, count: int, *, busy: bool = False) -> None:
        self._words.setText(f"{number:,}/{count:,}")
        self._words.setAccessibleName(f"Version {number:,} of {count:,} of this {self._what}")
        self.back.setEnabled(number > 1 and not busy)
        self.forward.setEnabled(number < count and not busy)
        self.setVisible(count > 1)

    @property
    def words(self) -> str:
        return self._words.text()


class QuietButton(IconButton):
    """Shows its icon only while the pointer is over the message or the focus is on it."""

    def __init__(self, icon: str, accessible_name: str, message: QWidget) -> None:
        super().__init__(icon, accessible_name, size=24, icon_size=14)
        self._message = message
        self.always = False

    @property
    def is_shown(self) -> bool:
        return self.always or self.hasFocus() or self._message.underMouse() or bool(self.property(TOLD))

    def paintEvent(self, arg__1: QPaintEvent) -> None:
        if self.is_shown:
            super().paintEvent(arg__1)


class MessageView(QFrame):
    """What both kinds share.

    Signals:
        stepped: the message's id and -1 or 1: show another version.
        link_clicked: an address and where on the screen.
        pin_asked: the message's id, and whether it is to be kept when the conversation is trimmed.
    """

    stepped = Signal(str, int)
    link_clicked = Signal(str, QPoint)
    pin_asked = Signal(str, bool)

    def __init__(self, message: StoredMessage, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.message_id = message.id
        self._pinned = message.pinned
        self._offers_pin = True
        # Not Maximum: that caps the height at the hint, which takes a card's sentence for unwrapped.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)

    def emit_step(self, by: int) -> None:
        self.stepped.emit(self.message_id, by)

    def set_place(self, number: int, count: int, *, busy: bool) -> None:
        """Say which version this is, and whether an answer is running (then it can't be changed)."""

    @property
    def pinned(self) -> bool:
        return self._pinned

    def set_pinned(self, pinned: bool) -> None:
        """Show whether the message is kept when the conversation is trimmed."""
        self._pinned = pinned

    def offer_pin(self, offered: bool) -> None:
        """Say whether conversations are trimmed: else a pin changes nothing, and only one that is set is shown."""
        self._offers_pin = offered
        self.set_pinned(self._pinned)

    @property
    def shows_pin(self) -> bool:
        return self._offers_pin or self._pinned

    def ask_pin(self) -> None:
        self.pin_asked.emit(self.message_id, not self._pinned)

    @property
    def is_in_use(self) -> bool:
        """Whether it shows what the conversation does not hold: an open editor, what the reader unfolded."""
        return False

    def restyle(self) -> None:
        """Draw again in a new theme or zoom."""


def show_pin(button: IconButton, *, pinned: bool) -> None:
    """Show on a message's pin whether it is pinned."""
    button.set_icon("push-pin-fill" if pinned else "push-pin", "text" if pinned else "text2")
    button.set_name("Unpin" if pinned else "Pin: keep this when the conversation is trimmed")
    if isinstance(button, QuietButton):
        button.always = pinned
        button.update()
