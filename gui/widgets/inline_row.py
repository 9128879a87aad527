"""A row of inline runs (text, icon, lamp, bar, tag, divider) that is measured, narrowed and painted.

Pills, badges, the route line and the money label are such rows. When there is too little room, runs leave in
the order of their ``drop`` (highest first); what never leaves is elided last, and only where it says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QPainter, QPen

from gui.theme.icons import paint_icon
from gui.theme.theme import theme
from gui.widgets.marks import paint_bar, paint_hatch, paint_lamp, text_baseline

Kind = Literal["text", "icon", "lamp", "bar", "hatch", "swatch", "divider", "tag"]
_ELLIPSIS_ROOM = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineRun:
    """One piece of a row. ``gap`` is the space before it and ``size`` its side or length, px before zoom.

    ``drop`` 0 never leaves. ``name`` is the icon, or the lamp's state. ``share`` and ``held`` fill a bar.
    ``short`` are fewer letters for the same, where the row's owner has no room for ``text``.
    """

    kind: Kind = "text"
    text: str = ""
    short: str = ""
    token: str = "text2"
    weight: int = 400
    role: str = "small"
    name: str = ""
    gap: int = 8
    size: int = 0
    drop: int = 0
    elide: bool = False
    share: float = 0.0
    held: float = 0.0


def _font(text: str, role: str, weight: int) -> QFont:
    """Tabular figures, but for words with a hyphen such as model names (see gui.theme.fonts)."""
    return theme().font(role, weight, tabular=False if "-" in text else None)


def text_width(text: str, role: str = "small", weight: int = 400) -> float:
    """Return the advance of ``text`` in pixels at the present zoom."""
    return QFontMetricsF(_font(text, role, weight)).horizontalAdvance(text)


def run_width(run: InlineRun) -> float:
    """Return a run's own width in pixels, without its gap."""
    px = theme().px
    if run.kind == "text":
        return text_width(run.text, run.role, run.weight)
    if run.kind == "tag":
        return text_width(run.text, "small") + 2 * px(6)
    if run.kind == "divider":
        return 1.0
    return float(px(run.size or {"icon": 16, "lamp": 10, "bar": 48, "hatch": 10, "swatch": 10}[run.kind]))


def row_width(runs: Sequence[InlineRun]) -> float:
    """Return the width of a whole row; the first run's gap does not count."""
    px = theme().px
    return sum(run_width(run) + (px(run.gap) if index else 0) for index, run in enumerate(runs))


def narrow(runs: Sequence[InlineRun], width: float) -> list[InlineRun]:
    """Return the runs that fit in ``width``, dropping the highest ``drop`` first."""
    kept = list(runs)
    while row_width(kept) > width:
        worst = max((run.drop for run in kept), default=0)
        if worst == 0:
            break
        kept = [run for run in kept if run.drop != worst]
    return kept


def paint_runs(painter: QPainter, box: QRectF, runs: Sequence[InlineRun], phase: int = 0) -> float:
    """Paint a row from the left of ``box``, centred in its height; returns the x where it ended."""
    unit = theme()
    kept = narrow(runs, box.width())
    missing = row_width(kept) - box.width()
    x = box.x()
    for index, run in enumerate(kept):
        x += unit.px(run.gap) if index else 0
        width = run_width(run)
        if run.elide and missing > 0:
            shorter = max(float(unit.px(_ELLIPSIS_ROOM)), width - missing)
            missing -= width - shorter
            width = shorter
        _paint_run(painter, QRectF(x, box.y(), width, box.height()), run, phase)
        x += width
    return x


def _paint_run(painter: QPainter, cell: QRectF, run: InlineRun, phase: int) -> None:
    unit = theme()
    if run.kind in ("text", "tag"):
        font = _font(run.text, run.role, run.weight)
        metrics = QFontMetricsF(font)
        painter.setFont(font)
        text, x = run.text, cell.x()
        if run.kind == "tag":
            _paint_dashed(painter, cell)
            x += unit.px(6)
        elif metrics.horizontalAdvance(text) > cell.width() + 0.5:
            text = metrics.elidedText(text, Qt.TextElideMode.ElideRight, cell.width())
        painter.setPen(unit.color(run.token))
        painter.drawText(round(x), int(text_baseline(cell, metrics.ascent(), metrics.descent())), text)
        return
    if run.kind == "divider":
        height = unit.px(16)
        line = QRectF(round(cell.x()), cell.center().y() - height / 2, 1, height)
        painter.fillRect(line, unit.color("border"))
        return
    height = unit.px(6) if run.kind == "bar" else cell.width()
    shape = QRectF(round(cell.x()), round(cell.center().y() - height / 2), round(cell.width()), height)
    if run.kind == "icon":
        paint_icon(painter, shape, run.name, unit.color(run.token))
    elif run.kind == "lamp":
        paint_lamp(painter, shape, run.name, phase)
    elif run.kind == "hatch":
        paint_hatch(painter, shape)
    elif run.kind == "swatch":
        painter.fillRect(shape, unit.color(run.token))
    else:
        paint_bar(painter, shape, run.share, run.token, run.held, min_held_px=unit.px(3))


def _paint_dashed(painter: QPainter, cell: QRectF) -> None:
    """The mark of an unpriced amount: a dashed outline and no fill."""
    unit = theme()
    height = unit.px(18)
    frame = QRectF(
        round(cell.x()) + 0.5, round(cell.center().y() - height / 2) + 0.5, round(cell.width()) - 1, height
    )
    pen = QPen(unit.color("held_text"), 1)
    pen.setDashPattern([3, 2])
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(pen)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawRoundedRect(frame, unit.px(4), unit.px(4))
    painter.restore()
