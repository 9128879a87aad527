"""The controls of theme, zoom and motion; ``gui.theme.appearance`` keeps what they choose."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QSlider, QWidget

from gui.preferences.catalogue import SectionText
from gui.preferences.rows import Sides
from gui.preferences.section import Section
from gui.shell import tray
from gui.theme.appearance import ZOOM_MAX_PERCENT, ZOOM_MIN_PERCENT, keep_appearance, panel_file
from gui.theme.theme import Scheme, theme
from gui.widgets.card import Card
from gui.widgets.icon_button import IconButton
from gui.widgets.labels import plain_label
from gui.widgets.segmented import SegmentedSwitch

ZOOM_STEP_PERCENT = 10
CONTROL_PX = 308


class AppearanceSection(Section):
    """Every control acts at once; put back returns to what the system says."""

    def __init__(self, text: SectionText, home: Path) -> None:
        super().__init__(text)
        keep_appearance(home)
        self._kept = panel_file(home)
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
        self.zoom_label = plain_label()
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
        self.tray_switches = {
            tray.CLOSE_KEY: QCheckBox("Close to the tray"),
            tray.MINIMISED_KEY: QCheckBox("Start minimised"),
        }
        self._add_tray()
        self._show()
        self.zoom.valueChanged.connect(self._choose_zoom)
        self.motion.clicked.connect(self._choose_motion)
        theme().changed.connect(self._show)

    def _add_tray(self) -> None:
        card = Card()
        self.add_card(card)
        there = tray.tray_is_there()
        missing = "" if there else " This desktop has no tray."
        words = (
            (
                "close_to_tray",
                "Closing the window",
                "Signalbox keeps running in the tray; Quit in its menu ends it.",
            ),
            ("start_minimised", "At the start", "Only the icon in the tray is shown."),
        )
        for (key, switch), (anchor, name, description) in zip(self.tray_switches.items(), words, strict=True):
            switch.setChecked(bool(self._kept.value(key, False, type=bool)))
            switch.setEnabled(there)
            switch.clicked.connect(partial(self._keep_tray, key))
            reset = partial(self._reset_tray, key)
            card.add_row(self._row(anchor, name, description + missing, switch, reset))

    def _keep_tray(self, key: str) -> None:
        self._kept.setValue(key, self.tray_switches[key].isChecked())

    def _reset_tray(self, key: str) -> None:
        self._kept.remove(key)
        self.tray_switches[key].setChecked(False)

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
