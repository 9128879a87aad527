"""The look of the panel at run time: colours by token, fonts by role, icons by name, zoom and motion.

Widgets take their style by dynamic property, so that pages hold no colours and no sizes of type:

- any widget: ``tabular`` = False for prose set in body or small (True for figures in prose roles)
- ``QLabel``: ``role`` = hero, figure, title, reading, body, small, caption, mono; ``weight`` = 400, 500, 600;
  ``level`` = "2" or "3" (text2, text3); ``tone`` = held, danger, ok, unpriced; ``side`` = local, api
- ``QPushButton``: ``primary``, ``flat``, ``danger``, ``compact`` (28 px), ``tiny`` (24 px) = True
- ``QToolButton``: ``outlined`` = True
- ``QFrame``: ``card``, ``inset``, ``sunken``, ``popover``, ``line``, ``hairline`` = True; ``tint`` = a side or tone
- inputs: ``compact``, ``bare`` = True; ``tone`` = danger

Use :func:`set_property`, which makes Qt apply the change. ``role`` and ``weight`` work on any widget.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from PySide6.QtCore import QObject, QRectF, QSize, Qt, QTemporaryDir, Signal
from PySide6.QtGui import QColor, QFont, QIcon, QPainter, QPalette, QPen, QPixmap
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QLabel,
    QProxyStyle,
    QPushButton,
    QToolTip,
    QWidget,
)

from gui.theme.fonts import PROSE_ROLES, SCALE, Families, build_font, load_families
from gui.theme.icons import glyph_icon
from gui.theme.palette import TOKENS, palette_for
from gui.theme.stylesheet import INK_FOCUS_FRAME, build_stylesheet, frame_scale
from gui.theme.tooltips import WIDEST_PX, TooltipWrap, is_tooltip

Scheme = Literal["system", "light", "dark"]
ZOOM_MIN = 0.9
ZOOM_MAX = 1.5
ANIMATION_MS = 120
"""No motion in the panel is longer than this."""
_ICON_PX = "iconPx"


class _RoleStyle(QProxyStyle):
    """Fusion, which also gives a widget the font of its ``role`` and ``weight`` properties when polished.

    It is done here because a style sheet cannot set a variable font's axis (see gui.theme.fonts).
    """

    def __init__(self, theme: Theme) -> None:
        super().__init__("Fusion")
        self._theme = theme

    def polish(self, target: Any) -> Any:
        if isinstance(target, QWidget):
            self._theme.apply_role(target)
        if isinstance(target, QPushButton):
            # Enter presses the button that has the focus, as Space does; Qt does so in dialogs only.
            target.setAutoDefault(True)
        elif isinstance(target, QLabel) and is_tooltip(target):
            self._theme.tooltips.attend(target)
        return super().polish(target)


class Theme(QObject):
    """One per process, from :func:`theme`.

    Signals:
        about_to_change: colours or zoom change now, which takes as long as there are widgets.
        changed: colours, zoom or motion changed.
    """

    about_to_change = Signal()
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._scheme: Scheme = "system"
        self._zoom = 1.0
        self._reduced_motion: bool | None = None
        self._app: QApplication | None = None
        self._holds_sheet = False
        self._families: Families | None = None
        self._hex: Mapping[str, str] = palette_for(dark=False)
        self._colors: dict[str, QColor] = {}
        self._fonts: dict[tuple[str, int, int, bool], QFont] = {}
        self._icons: dict[tuple[str, str, str | None], QIcon] = {}
        self._pictures: QTemporaryDir | None = None
        self._dark = False
        self.tooltips = TooltipWrap(self)
        self._read_scheme()

    # -- colours ---------------------------------------------------------------------------------

    def color(self, token: str) -> QColor:
        """Return the colour of a token of the design language.

        Raises:
            KeyError: for a name that is not in the palette.
        """
        found = self._colors.get(token)
        if found is None:
            found = self._colors[token] = QColor(self._hex[token])
        return QColor(found)

    def hex(self, token: str) -> str:
        """Return ``#RRGGBB``, for rich text and charts."""
        return self._hex[token]

    @property
    def is_dark(self) -> bool:
        return self._dark

    @property
    def scheme(self) -> Scheme:
        """What was chosen; ``is_dark`` is what it comes to."""
        return self._scheme

    def set_scheme(self, scheme: Scheme) -> None:
        """Choose light, dark or whatever the system says, and repaint everything."""
        self._scheme = scheme
        if self._app is not None:
            wanted = {"light": Qt.ColorScheme.Light, "dark": Qt.ColorScheme.Dark}.get(
                scheme, Qt.ColorScheme.Unknown
            )
            hints = self._app.styleHints()
            hints.setColorScheme(wanted)  # title bars and native dialogs follow too
        self._apply()

    # -- measures --------------------------------------------------------------------------------

    @property
    def zoom(self) -> float:
        return self._zoom

    def set_zoom(self, zoom: float) -> None:
        """Scale every px token; clamped to 0.9..1.5."""
        zoom = min(ZOOM_MAX, max(ZOOM_MIN, zoom))
        if zoom != self._zoom:
            self._zoom = zoom
            self._apply()

    def px(self, length: int) -> int:
        """Return a length of the design language in pixels at the present zoom (never below 1 for 1)."""
        scaled = round(length * self._zoom)
        return max(1, scaled) if length > 0 else scaled

    # -- type ------------------------------------------------------------------------------------

    def font(self, role: str = "body", weight: int | None = None, tabular: bool | None = None) -> QFont:
        """Return the font of a role; ``weight`` 400, 500 or 600, the role's own when ``None``.

        ``tabular`` figures are the default but for hero, title and reading, which are prose.

        For a QTextCharFormat use ``setFont(theme().font(...))``: ``setFontWeight`` alone shows nothing.
        """
        step = SCALE[role]
        figures = role not in PROSE_ROLES if tabular is None else tabular
        key = (role, weight or step.weight, self.px(step.size_px), figures)
        found = self._fonts.get(key)
        if found is None:
            if self._families is None:
                self._families = load_families()
            found = self._fonts[key] = build_font(self._families, role, key[2], key[1], tabular=figures)
        return QFont(found)

    def line_px(self, role: str) -> int:
        """Return a role's line height in pixels at the present zoom."""
        return self.px(SCALE[role].line_px)

    # -- icons -----------------------------------------------------------------------------------

    def icon(self, name: str, token: str = "text2", on_token: str | None = None) -> QIcon:
        """Return a Phosphor icon, e.g. ``cpu`` or ``cpu-fill``; it follows theme switches by itself.

        ``on_token`` colours it while its button is checked. Disabled icons are ``track``.
        """
        key = (name, token, on_token)
        found = self._icons.get(key)
        if found is None:

            def colour(mode: QIcon.Mode, state: QIcon.State) -> QColor:
                if mode == QIcon.Mode.Disabled:
                    return self.color("track")
                return self.color(on_token if on_token and state == QIcon.State.On else token)

            found = self._icons[key] = glyph_icon(name, colour)
        return found

    # -- motion ----------------------------------------------------------------------------------

    @property
    def reduced_motion(self) -> bool:
        """True when nothing may move: the switch in Appearance, else the system's own wish."""
        if self._reduced_motion is not None:
            return self._reduced_motion
        if self._app is None:
            return False
        hints: Any = self._app.styleHints()
        accessibility = hints.accessibility() if hasattr(hints, "accessibility") else None
        preference = getattr(accessibility, "motionPreference", None)
        return preference is not None and "Reduce" in str(preference())

    def set_reduced_motion(self, reduced: bool | None) -> None:
        """``None`` follows the system."""
        self._reduced_motion = reduced
        self.changed.emit()

    @property
    def animation_ms(self) -> int:
        """0 when motion is reduced, else at most 120."""
        return 0 if self.reduced_motion else ANIMATION_MS

    # -- application -----------------------------------------------------------------------------

    def install(self, app: QApplication, *, with_sheet: bool = True) -> None:
        """Load fonts and give ``app`` Fusion, palette, fonts and style sheet. Call once, before widgets.

        Without its sheet a tree of widgets is built quicker: Qt applies the sheet to a widget again each time it
        gets another parent. ``apply_sheet`` is due then before the tree is shown.
        """
        if self._app is app:
            return
        self._app = app
        self._holds_sheet = not with_sheet
        self._families = load_families()
        self._fonts.clear()
        app.setStyle(_RoleStyle(self))
        hints = app.styleHints()
        hints.colorSchemeChanged.connect(self._on_system_scheme)
        self.set_scheme(self._scheme)

    def apply_sheet(self) -> None:
        """Give the application the style sheet that ``install`` was told to hold back."""
        if self._holds_sheet and self._app is not None:
            self._holds_sheet = False
            self._apply_sheet(self._app)

    def _on_system_scheme(self) -> None:
        if self._scheme == "system":
            self._apply()

    def _read_scheme(self) -> None:
        self._dark, high_contrast = self._scheme == "dark", False
        if self._app is not None:
            hints: Any = self._app.styleHints()
            if self._scheme == "system":
                self._dark = hints.colorScheme() == Qt.ColorScheme.Dark
            accessibility = hints.accessibility() if hasattr(hints, "accessibility") else None
            contrast = getattr(accessibility, "contrastPreference", None)
            high_contrast = contrast is not None and "High" in str(contrast())
        self._hex = palette_for(dark=self._dark, high_contrast=high_contrast)
        self._colors.clear()

    def _apply(self) -> None:
        self.about_to_change.emit()
        self._read_scheme()
        app = self._app
        if app is not None:
            app.setPalette(self._qt_palette())
            app.setFont(self.font("body"))
            for names, font in (
                (("QPushButton", "QToolButton"), self.font("body", 500, tabular=False)),
                (
                    ("QLineEdit", "QTextEdit", "QPlainTextEdit", "QComboBox", "QMenu"),
                    self.font("body", tabular=False),
                ),
                (("QTipLabel", "QHeaderView"), self.font("small", tabular=False)),
            ):
                for name in names:
                    app.setFont(font, name)  # pyright: ignore[reportArgumentType]  (a str works, bytes do not)
            self.tooltips.widest_px = self.px(WIDEST_PX)
            QToolTip.setFont(self.font("small"))
            QToolTip.setPalette(self._qt_palette())
            if not self._holds_sheet:
                self._apply_sheet(app)
        self.changed.emit()

    def _apply_sheet(self, app: QApplication) -> None:
        # Taken away first: Qt applies a changed sheet to each widget once for each of its ancestors, a new one
        # once. With a long conversation that is the difference of a second.
        app.setStyleSheet("")
        app.setStyleSheet(build_stylesheet(self._hex, self.px, self._picture_url))
        self._refresh_roles(app)

    def _refresh_roles(self, app: QApplication) -> None:
        """A new sheet does not polish the style below it again, so fonts by role are set here."""
        for widget in app.allWidgets():
            self.apply_role(widget)
            if isinstance(widget, QPushButton):
                self.size_icon(widget)

    def size_icon(self, button: QAbstractButton) -> None:
        """Give a button's icon the size that :func:`set_button_icon` named, at the present zoom."""
        size = button.property(_ICON_PX)
        if size is not None:
            side = self.px(int(size))
            button.setIconSize(QSize(side + (self.px(4) if button.text() else 0), side))

    def apply_role(self, widget: QWidget) -> None:
        """Give a widget the font that its ``role`` and ``weight`` properties name, if it has any."""
        if isinstance(widget, QAbstractSpinBox):
            # Qt ignores a style sheet's padding inside a spin box (the edit field starts at x = 0).
            widget.lineEdit().setTextMargins(self.px(8), 0, 0, 0)
        role, weight = widget.property("role"), widget.property("weight")
        tabular = widget.property("tabular")
        if role is None and isinstance(widget, QPushButton):
            if not (widget.property("compact") or widget.property("tiny")):
                return
            role, weight, tabular = "small", weight or 500, bool(tabular)
        if role is not None or weight is not None:
            widget.setFont(self.font(role or "body", None if weight is None else int(weight), tabular))

    def _picture_url(self, name: str, token: str) -> str:
        """Write a small icon as PNG, since a style sheet can only take pictures from files."""
        if self._pictures is None:
            self._pictures = QTemporaryDir()
        folder = Path(self._pictures.path())
        stem = f"{name}-{self._hex[token][1:]}-{self._hex['focus'][1:]}"
        if name == INK_FOCUS_FRAME:
            # One file alone: Qt cuts a frame's picture into nine by its own pixels, an @2x one in the wrong places.
            file = folder / f"{stem}-{frame_scale()}.png"
            if not file.exists():
                self._ink_focus_frame(16 * frame_scale()).save(str(file))
            return file.as_posix()
        for suffix, size in (("", 16), ("@2x", 32), ("@3x", 48)):
            file = folder / f"{stem}{suffix}.png"
            if not file.exists():
                self.icon(name, token).pixmap(size, size).save(str(file))
        return (folder / f"{stem}.png").as_posix()

    def _ink_focus_frame(self, size: int) -> QPixmap:
        """A box of ``size`` px for 16: focus ring of 2, gap of 1, ink; stretched over the button by its middle."""
        pixmap = QPixmap(size, size)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.scale(size / 16, size / 16)
        painter.setPen(QPen(self.color("focus"), 2))
        painter.drawRoundedRect(QRectF(1, 1, 14, 14), 3, 3)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self.color("ink"))
        painter.drawRoundedRect(QRectF(3, 3, 10, 10), 2, 2)
        painter.end()
        return pixmap

    def _qt_palette(self) -> QPalette:
        palette = QPalette()
        role = QPalette.ColorRole
        tokens = {
            role.Window: "window",
            role.Base: "surface",
            role.Button: "surface",
            role.AlternateBase: "sunken",
            role.ToolTipBase: "raised",
            role.WindowText: "text",
            role.Text: "text",
            role.ButtonText: "text",
            role.BrightText: "text",
            role.ToolTipText: "text",
            role.PlaceholderText: "text3",
            role.Highlight: "select",
            role.HighlightedText: "text",
            role.Link: "focus",
            role.LinkVisited: "focus",
            role.Mid: "border",
            role.Midlight: "grid",
            role.Dark: "control",
            role.Light: "surface",
            role.Shadow: "control",
            role.Accent: "focus",
        }
        for where, token in tokens.items():
            palette.setColor(where, self.color(token))
        for where in (role.WindowText, role.Text, role.ButtonText):
            palette.setColor(QPalette.ColorGroup.Disabled, where, self.color("text3"))
        return palette


@lru_cache(maxsize=1)
def theme() -> Theme:
    """Return the one theme of the process."""
    return Theme()


def set_property(widget: QWidget, **properties: object) -> None:
    """Set dynamic properties (``True``, names, numbers) and have the style applied at once."""
    for name, value in properties.items():
        widget.setProperty(name, value)
    style = widget.style()
    style.unpolish(widget)
    style.polish(widget)
    theme().apply_role(widget)  # the style sheet puts back the font of before the last change of zoom
    widget.update()


def set_button_icon(button: QAbstractButton, name: str, token: str = "text2", size: int = 16) -> None:
    """Give a button with text an icon of ``size`` px and the 8 px gap of the mocks (Fusion's own is 4)."""
    unit = theme()
    button.setIcon(unit.icon(name, token))
    button.setProperty(_ICON_PX, size)
    unit.size_icon(button)


__all__ = [
    "ANIMATION_MS",
    "TOKENS",
    "ZOOM_MAX",
    "ZOOM_MIN",
    "Scheme",
    "Theme",
    "set_button_icon",
    "set_property",
    "theme",
]
