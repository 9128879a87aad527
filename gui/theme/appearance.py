"""Theme, zoom and motion: how they are chosen, kept and found again at the next start."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast, get_args

from PySide6.QtCore import QObject, QSettings

from core import check_regular
from gui.theme.theme import Scheme, theme

log = logging.getLogger(__name__)

ZOOM_MIN_PERCENT, ZOOM_MAX_PERCENT = 90, 150
FILE_NAME = "panel.ini"


def panel_file(home: Path) -> QSettings:
    """The panel's own file in ``home``: looks and places are the window's business, not the core's.

    Where something else than a file stands in its place, nothing is found and nothing is kept: Qt would wait for
    somebody to write to a FIFO.
    """
    path = home / FILE_NAME
    name = str(path)
    try:
        check_regular(path, path.stat())
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("the panel's looks are not kept in %s: %s", path, error.strerror)
        name = ""
    return QSettings(name, QSettings.Format.IniFormat)


def restore_appearance(home: Path) -> None:
    """Give the theme what was chosen before, and keep what is chosen from now on, wherever that happens.

    Called before the first window; a bad value is left out.
    """
    kept = panel_file(home)
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
    for model in theme().findChildren(AppearanceModel):
        if model.home == home:
            return
        theme().changed.disconnect(model.keep)
        model.setParent(None)
    AppearanceModel(home)


class AppearanceModel(QObject):
    """Lives as long as the theme. Whether motion is reduced is written by its own switch: the theme only says
    what it comes to, not whether the system or the user decided it.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(theme())
        self.home = home
        self._kept = panel_file(home)
        theme().changed.connect(self.keep)

    def keep(self) -> None:
        look = theme()
        values = {"appearance/theme": look.scheme, "appearance/zoom_percent": round(look.zoom * 100)}
        for key, value in values.items():
            if str(self._kept.value(key, "")) != str(value):
                self._kept.setValue(key, value)
