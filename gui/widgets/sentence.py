"""A paragraph with the line height of its role, which a plain QLabel cannot have (Inter's own is 16 at 13 px)."""

from __future__ import annotations

import html

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QSizePolicy, QWidget

from gui.theme.theme import set_property, theme
from gui.widgets.labels import CopiedLabel, breakable

_MONO_WORD_CHARS = 40


class Sentence(CopiedLabel):
    """Wrapped plain text; ``say`` changes it. Markup in the text is shown, never interpreted."""

    def __init__(
        self,
        text: str = "",
        parent: QWidget | None = None,
        *,
        role: str = "body",
        level: str | None = "2",
        weight: int | None = None,
    ) -> None:
        super().__init__(parent)
        self._role, self._words, self._strong = role, text, ""
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setWordWrap(True)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        set_property(self, role=role, level=level, weight=weight, tabular=False)
        theme().changed.connect(self._lay)
        self._lay()

    @property
    def words(self) -> str:
        """The text as it was given."""
        return self._words

    def say(self, text: str, *, strong: str = "") -> None:
        """Show another text; ``strong``, where it is in it, stands out."""
        if (text, strong) != (self._words, self._strong):
            self._words, self._strong = text, strong
            self._lay()

    def select_all(self) -> None:
        self.setSelection(0, len(self._broken(self._words)))

    def _broken(self, text: str) -> str:
        # A log is full of hashes and paths, and its letters are wide.
        return breakable(text, _MONO_WORD_CHARS) if self._role == "mono" else breakable(text)

    def _lay(self) -> None:
        align = "center" if self.alignment() & Qt.AlignmentFlag.AlignHCenter else "left"
        body = html.escape(self._broken(self._words)).replace("\n", "<br>")
        if self._strong:
            part = html.escape(self._broken(self._strong))
            stands_out = f"font-weight: 600; color: {theme().hex('text')}"
            body = body.replace(part, f'<span style="{stands_out}">{part}</span>', 1)
        line = theme().line_px(self._role)
        self.setText(
            f'<p align="{align}" style="margin: 0; line-height: {line}px">{body}</p>' if body else ""
        )
        self.setAccessibleName(self._words)
