"""Theme, zoom and motion: how they are chosen, kept and found again at the next start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast, get_args

from PySide6.QtCore import QObject, QSettings, Qt
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QSlider, QWidget

from gui.preferences.catalogue import SectionText
from gui.preferences.rows import Sides
from gui.preferences.section import Section
from gui.theme.theme import Scheme, theme
from gui.widgets.card import Card
from gui.widgets.icon_button import IconButton
from gui.widgets.segmented import SegmentedSwitch

ZOOM_MIN_PERCENT, ZOOM_MAX_PERCENT, ZOOM_STEP_PERCENT = 90, 150, 10
CONTROL_PX = 308
FILE_NAME = "panel.ini"


def appearance_file(home: Path) -> QSettings:
    """The panel's own file in ``home``: looks are the window's business, not the core's."""
    return QSettings(str(home / FILE_NAME), QSettings.Format.IniFormat)


def restore_appearance(home: Path) -> None:
    """Give the theme what was chosen before, and keep what is chosen from now on, wherever that happens.

    Called before the first window; a bad value is left out.
    """
    kept = appearance_file(home)
    scheme = str(kept.value("appearance/theme", "system"))
    if scheme in get_args(Scheme):
        theme().set_scheme(cast("Scheme", scheme))
    try:
        percent = int(str(kept.value("appearance/zoom_percent", 100)))
    except ValueError:
        percent = 100
    theme().set_zoom(min(max(percent, ZOOM_MIN_PERCENT), ZOOM_MAX_PERCENT) / 100)
    motion = str(kept.value("appearance/reduced_motion", "system"))
    theme().set_reduced_motion({"true": True, "false": False}.get(motion))
    keep_appearance(home)


def keep_appearance(home: Path) -> None:
    """Write theme and zoom to ``home`` whenever they change, by Ctrl+plus just as by the controls here."""
    for keeper in theme().findChildren(AppearanceModel):
        if keeper.home == home:
            return
        theme().changed.disconnect(keeper.keep)
        keeper.setParent(None)
    AppearanceModel(home)


class AppearanceModel(QObject):
    """Lives as long as the theme. Whether motion is reduced is written by its own switch: the theme only says
    what it comes to, not whether the system or the user decided it.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(theme())
        self.home = home
        self._kept = appearance_file(home)
        theme().changed.connect(self.keep)

    def keep(self) -> None:
        look = theme()
        values = {"appearance/theme": look.scheme, "appearance/zoom_percent": round(look.zoom * 100)}
        for key, value in values.items():
            if str(self._kept.value(key, "")) != str(value):
                self._kept.setValue(key, value)


class AppearanceSection(Section):
    """Every control acts at once; put back returns to what the system says."""

    def __init__(self, text: SectionText, home: Path) -> None:
        super().__init__(text)
        keep_appearance(home)
        self._kept = appearance_file(home)
        card = Card()
        self.add_card(card)
        self.scheme = SegmentedSwitch(
            [("system", "System", "desktop"), ("light", "Light", "sun"), ("dark", "Dark", "moon")]
        )
        self.scheme.setAccessibleName("Theme")
        self.scheme.set_value(theme().scheme)
        self.scheme.value_changed.connect(self._choose_scheme)
        card.add_row(
            self._row(
                "theme",
                "Theme",
                "System follows your desktop, also when it changes.",
                self.scheme,
                self._reset_scheme,
            )
        )
        self.zoom = QSlider(Qt.Orientation.Horizontal)
        self.zoom.setRange(ZOOM_MIN_PERCENT // ZOOM_STEP_PERCENT, ZOOM_MAX_PERCENT // ZOOM_STEP_PERCENT)
        self.zoom.setPageStep(1)
        self.zoom.setTickPosition(QSlider.TickPosition.TicksBelow)
        self.zoom.setAccessibleName("Zoom")
        self.zoom_label = QLabel()
        self.zoom_label.setMinimumWidth(48)
        self.zoom_label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        zoom_holder = QWidget()
        zoom_layout = QHBoxLayout(zoom_holder)
        zoom_layout.setContentsMargins(0, 0, 0, 0)
        zoom_layout.addWidget(self.zoom, 1)
        zoom_layout.addWidget(self.zoom_label)
        zoom_holder.setFocusProxy(self.zoom)
        card.add_row(
            self._row(
                "zoom",
                "Zoom",
                "Type and spacing, from 90 to 150 %. Ctrl+plus and Ctrl+minus do the same.",
                zoom_holder,
                self._reset_zoom,
            )
        )
        self.motion = QCheckBox("Reduce motion")
        card.add_row(
            self._row(
                "motion",
                "Reduced motion",
                "Nothing slides or turns. Until you choose, your system’s own wish holds.",
                self.motion,
                self._reset_motion,
            )
        )
        self._show()
        self.zoom.valueChanged.connect(self._choose_zoom)
        self.motion.clicked.connect(self._choose_motion)
        theme().changed.connect(self._show)

    def _row(
        self, anchor: str, name: str, description: str, control: QWidget, reset: Callable[[], None]
    ) -> QWidget:
        put_back = IconButton("arrow-counter-clockwise", f"Put {name} back")
        put_back.clicked.connect(reset)
        side = QWidget()
        layout = QHBoxLayout(side)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(16)
        where = Qt.AlignmentFlag.AlignVCenter
        if control is self.scheme:  # it keeps its width, and would stand in the middle
            where |= Qt.AlignmentFlag.AlignLeft
        layout.addWidget(control, 1, where)
        layout.addWidget(put_back)
        row = Sides(self, name, description, side, control_px=CONTROL_PX)
        row.setFocusProxy(control)
        self.anchors[anchor] = row
        return row

    def _show(self) -> None:
        look = theme()
        percent = round(look.zoom * 100)
        if not self.zoom.isSliderDown():
            self.zoom.blockSignals(True)
            self.zoom.setValue(round(percent / ZOOM_STEP_PERCENT))
            self.zoom.blockSignals(False)
        self.zoom_label.setText(f"{percent} %")
        self.zoom.setAccessibleDescription(f"{percent} %, from 90 to 150 %")
        self.motion.setChecked(look.reduced_motion)
        if self.scheme.value != look.scheme:
            self.scheme.set_value(look.scheme)

    def _choose_scheme(self, value: str) -> None:
        if value != theme().scheme:
            theme().set_scheme(cast("Scheme", value))

    def _choose_zoom(self, tens: int) -> None:
        percent = tens * ZOOM_STEP_PERCENT
        theme().set_zoom(percent / 100)

    def _choose_motion(self, reduced: bool) -> None:
        self._kept.setValue("appearance/reduced_motion", "true" if reduced else "false")
        theme().set_reduced_motion(reduced)

    def _reset_scheme(self) -> None:
        theme().set_scheme("system")

    def _reset_zoom(self) -> None:
        theme().set_zoom(1.0)

    def _reset_motion(self) -> None:
        self._kept.remove("appearance/reduced_motion")
        theme().set_reduced_motion(None)
