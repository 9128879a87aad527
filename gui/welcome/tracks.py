"""The picture on the welcome page: one prompt, one set of points, two tracks."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget

from gui.theme.theme import theme
from gui.widgets.painted_button import Painted

DESCRIPTION = (
    "Your prompt, from chat, your code or the command line, comes to a set of points. "
    "Hard or long prompts, and those with tools, go to the metered API: best answers, paid per token, "
    "and a limit you set holds. Simple and frequent ones go to your own machine: private, and you pay "
    "rent or power, busy or idle."
)
# The drawing's own units: the mock's pixels at 100 %, scaled to the widget's width.
WIDTH, HEIGHT = 920.0, 168.0
BOX_LEFT, BOX_WIDTH, BOX_HEIGHT = 560.0, 356.0, 72.0
API_Y, LOCAL_Y, MAIN_Y = 36.0, 128.0, 82.0


class TrackPicture(Painted):
    """A static painting; its story is the accessible description, so nothing is only in the picture."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, across=QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Two tracks for every prompt")
        self.setAccessibleDescription(DESCRIPTION)

    def sizeHint(self) -> QSize:
        return QSize(theme().px(int(WIDTH)), theme().px(int(HEIGHT)))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme().px(640), theme().px(int(HEIGHT)))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        zoom = theme().zoom
        # A narrow window shortens the tracks, not the words.
        lost = max(0.0, WIDTH - self.width() / zoom)
        painter.scale(zoom, zoom)
        self._paint_tracks(painter, lost)
        box_width = BOX_WIDTH - lost * 0.4
        box_left = BOX_LEFT - lost * 0.6
        api = "Metered API", ("Best answers. You pay per token,", "and a limit you set holds.")
        local = "Your own machine", ("Private. You pay rent or power,", "busy or idle.")
        self._paint_end(painter, QRectF(box_left, 0.5, box_width, BOX_HEIGHT), "api", "cloud", *api)
        self._paint_end(painter, QRectF(box_left, 92.5, box_width, BOX_HEIGHT), "local", "cpu", *local)

    def _paint_tracks(self, painter: QPainter, lost: float) -> None:
        colours = theme()
        points_x = 250.0 - lost * 0.3
        bend_x = points_x + 50
        end_x = BOX_LEFT - lost * 0.6
        for token, y in (("api", API_Y), ("local", LOCAL_Y)):
            _stroke(painter, colours.color(token), 5, [(points_x, MAIN_Y), (bend_x, y), (end_x, y)])
        ink = colours.color("text2")
        _stroke(painter, ink, 6, [(24, MAIN_Y), (points_x, MAIN_Y)])
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(ink)
        painter.drawEllipse(QPointF(24, MAIN_Y), 6, 6)
        painter.setBrush(colours.color("window"))
        painter.setPen(QPen(colours.color("ink"), 3))
        painter.drawEllipse(QPointF(points_x, MAIN_Y), 11, 11)
        _words(painter, 24, MAIN_Y - 20, "Your prompt", "text", size_px=13, weight=600)
        for index, line in enumerate(source_lines(points_x - 24)):
            _words(painter, 24, MAIN_Y + 26 + 17 * index, line, "text2")
        _words(painter, bend_x + 12, API_Y - 12, "hard, long, or with tools", "text2")
        _words(painter, bend_x + 12, LOCAL_Y + 24, "simple and frequent", "text2")

    def _paint_end(
        self, painter: QPainter, box: QRectF, side: str, icon: str, title: str, lines: tuple[str, str]
    ) -> None:
        colours = theme()
        painter.setPen(QPen(colours.color(side), 1))
        painter.setBrush(colours.color(f"{side}_tint"))
        painter.drawRoundedRect(box, 6, 6)
        picture = colours.icon(icon, f"{side}_text")
        picture.paint(painter, int(box.left()) + 16, int(box.center().y()) - 15, 24, 24)
        _words(painter, box.left() + 52, box.top() + 21, title, f"{side}_text", size_px=13, weight=600)
        for index, line in enumerate(lines):
            _words(painter, box.left() + 52, box.top() + 42 + 17 * index, line, "text2")


def source_lines(room: float) -> list[str]:
    """Where prompts come from, in one line or, where the track is short, in two that stay clear of the points."""
    font = theme().font("small", 400)
    font.setPixelSize(12)
    whole, parts = "from chat, your code, or the CLI", ["from chat, your code,", "or the CLI"]
    return [whole] if QFontMetricsF(font).horizontalAdvance(whole) <= room else parts


def _stroke(painter: QPainter, colour: QColor, width: float, points: list[tuple[float, float]]) -> None:
    pen = QPen(colour, width)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    pen.setCapStyle(Qt.PenCapStyle.FlatCap)
    painter.setPen(pen)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawPolyline(QPolygonF([QPointF(x, y) for x, y in points]))


def _words(
    painter: QPainter,
    x: float,
    baseline: float,
    text: str,
    token: str,
    *,
    size_px: int = 12,
    weight: int = 400,
) -> None:
    # The painter is already scaled by the zoom, so the font is set at its unzoomed size.
    font = theme().font("body" if size_px == 13 else "small", weight)
    font.setPixelSize(size_px)
    painter.setFont(font)
    painter.setPen(theme().color(token))
    painter.drawText(QPointF(x, baseline), text)
