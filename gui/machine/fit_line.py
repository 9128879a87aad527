"""Whether the model fits the GPU: the estimate, what would fit, and on request how it was computed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget

from core import FitEstimate, memory_size, tokens_short
from gui.machine.settings_words import setting_label, value_words
from gui.theme.theme import set_property
from gui.widgets.flow import FlowLayout
from gui.widgets.fold import Fold
from gui.widgets.labels import ResultLine, Tone
from gui.widgets.sentence import Sentence

_TONES: dict[str, Tone] = {"fits": "ok", "tight": "held", "too_big": "danger", "unknown": "quiet"}
_WORDS = {"fits": "Fits", "tight": "Tight", "too_big": "Too big", "unknown": "Not known whether it fits"}


class FitLine(QWidget):
    """``use`` is called with the setting and the value of an option that is pressed."""

    def __init__(self, use: Callable[[str, object], None]) -> None:
        super().__init__()
        self._use = use
        self._shown: FitEstimate | None = None
        self.result = ResultLine()
        self._options = QWidget()
        self._row = FlowLayout(self._options)
        self.how = Sentence(role="small")
        self.fold = Fold("How this is computed", "", self.how, key="machine fit", opened=False, parent=self)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.result)
        column.addWidget(self._options)
        column.addWidget(self.fold)
        self.hide()

    def show_estimate(self, fit: FitEstimate | None) -> None:
        """Show an estimate; nothing before there is one."""
        if fit == self._shown:
            return
        self._shown = fit
        self.setVisible(fit is not None)
        if fit is None:
            return
        self.result.tell(_TONES[fit.verdict], _WORDS[fit.verdict], fit_words(fit))
        self._row.clear()
        for option in fit.options:
            button = QPushButton(option_words(option.name, option.value))
            set_property(button, tiny=True)
            button.setToolTip(f"Needs about {memory_size(option.needed_bytes)}")
            button.setAccessibleDescription(button.toolTip())
            button.clicked.connect(partial(self._use, option.name, option.value))
            self._row.addWidget(button)
        self._options.setVisible(bool(fit.options))
        self.how.say("\n".join(part for part in (fit.formula, fit.source) if part))
        self.fold.setVisible(bool(fit.formula or fit.source))


def fit_words(fit: FitEstimate) -> str:
    """Return ``about 20.9 GB of 24.0 GB``, and what it is not known for."""
    if fit.needed_bytes is None:
        return "Its size is not known."
    needs = f"About {memory_size(fit.needed_bytes)}"
    if fit.available_bytes is None:
        return f"{needs}. The GPU’s memory is not known."
    each = f" on each of {fit.gpus} GPUs" if fit.gpus > 1 else ""
    return f"{needs} of {memory_size(fit.available_bytes)}{each}."


def option_words(name: str, value: object) -> str:
    """Return ``Use 16 k`` for a context, else what is set to what."""
    if name == "max_model_len" and isinstance(value, int):
        return f"Use {tokens_short(value)}"
    return f"Set {setting_label(name)} to {value_words(name, value)}"
