"""Formulas of answers as pictures: asked for once, drawn by a child process, kept within bounds.

The child starts with the first formula and ends when none came for a while. A formula that can't be drawn stays
what the model wrote.
"""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import (
    QByteArray,
    QObject,
    QProcess,
    QProcessEnvironment,
    QRectF,
    QSizeF,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtGui import QColor, QPainter, QPixmap, QPixmapCache

from core import child_environment, python_command
from gui.chat.markdown.formula_child import INK, MAX_LATEX_CHARS

log = logging.getLogger(__name__)

MAX_KEPT = 2_000
MAX_KEPT_BYTES = 8 * 2**20
MAX_WAITING = 1_000
"""A formula that is asked for while so many wait is not drawn."""
AT_ONCE = 8
START_S, FORMULA_S = 30.0, 20.0
"""The child ends itself after 2 s of processor time; this is for one that is stuck otherwise."""
IDLE_S = 60
CLOSE_MS = 200
TELL_MS, TELL_MANY_MS, MANY = 40, 300, 50
"""Where many wait, a paragraph is laid out less often, with more of its pictures at once."""
MAX_DEATHS, DEATHS_S = 5, 60.0
"""After so many formulas in so long a time have ended the child, none is asked for until they are forgotten."""
MAX_LINE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Formula:
    """What a model wrote between its marks; ``display`` is a formula on a line of its own."""

    latex: str
    display: bool


def formula_of(source: str) -> Formula:
    """Return the formula of ``source`` with its marks: ``$x$``, ``$$x$$``, ``\\(x\\)`` or ``\\[x\\]``."""
    marks = 1 if source.startswith("$") and not source.startswith("$$") else 2
    latex = " ".join(source[marks:-marks].split())
    return Formula(latex, display=source.startswith(("$$", "\\[")))


class Drawing:
    """A formula's picture; ``width``, ``ascent`` and ``depth`` are in em of the text around it."""

    _numbers = itertools.count()

    def __init__(self, svg: str, width: float, ascent: float, depth: float) -> None:
        self._svg = svg.encode()
        self._number = next(self._numbers)
        self.width = width
        self.ascent = ascent
        self.depth = depth

    @property
    def bytes(self) -> int:
        return len(self._svg)

    def paint(self, painter: QPainter, place: QRectF, color: QColor) -> None:
        """Draw into ``place``, as sharp as the screen is."""
        device = painter.device()
        ratio = device.devicePixelRatio()
        size = QSizeF(place.width() * ratio, place.height() * ratio).toSize()
        if size.isEmpty():
            return
        key = f"formula {self._number} {size.width()} {size.height()} {color.name()}"
        picture = QPixmap()
        if not QPixmapCache.find(key, picture):
            from PySide6.QtSvg import QSvgRenderer  # with the first formula, not with the window

            renderer = QSvgRenderer(QByteArray(self._svg.replace(INK.encode(), color.name().encode())))
            picture = QPixmap(size)
            picture.fill(Qt.GlobalColor.transparent)
            on_it = QPainter(picture)
            renderer.render(on_it, QRectF(0, 0, size.width(), size.height()))
            on_it.end()
            QPixmapCache.insert(key, picture)
        at_pixel = QRectF(
            round(place.x() * ratio) / ratio,
            round(place.y() * ratio) / ratio,
            size.width() / ratio,
            size.height() / ratio,
        )
        painter.drawPixmap(at_pixel, picture, QRectF(picture.rect()))


class FormulaDrawer(QObject):
    """Signals:
    drawn: new pictures are there.
    """

    drawn = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._kept: OrderedDict[Formula, Drawing | None] = OrderedDict()  # None: it can't be drawn
        self._kept_bytes = 0
        self._waiting: deque[Formula] = deque()
        self._asked: dict[int, Formula] = {}  # in the order in which the child draws them
        self._wanted: set[Formula] = set()  # waiting or asked
        self._number = 0
        self._child: QProcess | None = None
        self._ready = False
        self._deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        self._can_start = True
        self._late = self._timer(self._give_up)
        self._idle = self._timer(self._end_child)
        self._tell = self._timer(self.drawn.emit)

    def _timer(self, then: Any) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.timeout.connect(then)
        return timer

    def get(self, formula: Formula) -> Drawing | None:
        """Return the picture if there is one by now; else it is asked for, and ``drawn`` says when to come back."""
        if formula in self._kept:
            self._kept.move_to_end(formula)
            return self._kept[formula]
        if formula not in self._wanted and self._may_ask(formula):
            self._wanted.add(formula)
            self._waiting.append(formula)
            self._ask()
        return None

    def is_coming(self, formula: Formula) -> bool:
        """Whether it is worth while to come back for ``formula``."""
        return formula in self._wanted

    @property
    def is_running(self) -> bool:
        """Whether there is a child."""
        return self._child is not None

    def close(self) -> None:
        """Draw nothing more."""
        self._can_start = False
        self._waiting.clear()
        self._end_child()
        for child in self.findChildren(QProcess):
            child.kill()
            child.waitForFinished(CLOSE_MS)

    def _may_ask(self, formula: Formula) -> bool:
        if not formula.latex or len(formula.latex) > MAX_LATEX_CHARS or len(self._waiting) >= MAX_WAITING:
            return False
        return self._can_start and not self._died_often

    @property
    def _died_often(self) -> bool:
        return len(self._deaths) == MAX_DEATHS and time.monotonic() - self._deaths[0] < DEATHS_S

    def _ask(self) -> None:
        self._idle.stop()
        if self._child is None:
            self._start_child()
        elif self._ready:
            while self._waiting and len(self._asked) < AT_ONCE:
                self._number += 1
                formula = self._waiting.popleft()
                self._asked[self._number] = formula
                line = {"id": self._number, "latex": formula.latex, "display": formula.display}
                self._child.write(json.dumps(line).encode() + b"\n")
            if self._asked and not self._late.isActive():
                self._late.start(int(FORMULA_S * 1000))

    def _start_child(self) -> None:
        child = self._child = QProcess(self)
        self._ready = False
        environment = QProcessEnvironment()
        for name, value in child_environment().items():
            environment.insert(name, value)
        child.setProcessEnvironment(environment)
        child.setStandardErrorFile(QProcess.nullDevice())
        child.readyReadStandardOutput.connect(self._read)
        child.finished.connect(self._on_end)
        child.errorOccurred.connect(self._on_error)
        program, *arguments = python_command("gui.chat.markdown.formula_child")
        child.start(program, arguments)
        self._late.start(int(START_S * 1000))

    def _read(self) -> None:
        child = self._child
        if child is None:
            return
        while child.canReadLine():
            self._take(json.loads(bytes(child.readLine().data())))
        if child.bytesAvailable() > MAX_LINE_BYTES:
            self._give_up()

    def _take(self, answer: dict[str, Any]) -> None:
        self._late.stop()
        if answer.get("ready"):
            self._ready = True
        else:
            formula = self._asked.pop(answer["id"])
            svg = answer.get("svg")
            self._keep(
                formula,
                None if svg is None else Drawing(svg, answer["width"], answer["ascent"], answer["depth"]),
            )
        self._ask()
        if not self._asked and not self._waiting:
            self._idle.start(IDLE_S * 1000)

    def _keep(self, formula: Formula, drawing: Drawing | None) -> None:
        self._wanted.discard(formula)
        self._kept[formula] = drawing
        self._kept_bytes += _weight(formula, drawing)
        while len(self._kept) > MAX_KEPT or self._kept_bytes > MAX_KEPT_BYTES:
            self._kept_bytes -= _weight(*self._kept.popitem(last=False))
        if not self._tell.isActive():
            self._tell.start(TELL_MS if len(self._waiting) < MANY else TELL_MANY_MS)

    def _give_up(self) -> None:
        if self._child is not None:
            self._child.kill()  # and _on_end does the rest

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            log.warning("Formulas are shown as they were written: no process could be started to draw them")
            self._can_start = False
            self._on_end()

    def _on_end(self) -> None:
        """The child is gone: the formula at which it was can't be drawn, the others are asked for again."""
        child, self._child = self._child, None
        if child is not None:
            child.deleteLater()
        self._late.stop()
        was_ready, self._ready = self._ready, False
        asked = list(self._asked.values())
        self._asked.clear()
        if not was_ready and self._can_start:
            log.warning("Formulas are shown as they were written: the process that draws them ended at once")
            self._can_start = False
        if asked:
            self._deaths.append(time.monotonic())
            self._keep(asked[0], None)
            self._waiting.extendleft(reversed(asked[1:]))
        if not self._waiting or not self._can_start or self._died_often:
            self._forget_waiting()
        else:
            self._ask()

    def _forget_waiting(self) -> None:
        self._waiting.clear()
        self._wanted.clear()

    def _end_child(self) -> None:
        """Let the child go, and its memory with it; it ends when its input does."""
        child, self._child = self._child, None
        self._late.stop()
        self._idle.stop()
        self._asked.clear()
        self._forget_waiting()
        self._ready = False
        if child is None:
            return
        child.readyReadStandardOutput.disconnect(self._read)
        child.finished.disconnect(self._on_end)
        child.errorOccurred.disconnect(self._on_error)
        child.finished.connect(child.deleteLater)
        child.closeWriteChannel()


def _weight(formula: Formula, drawing: Drawing | None) -> int:
    return 200 + len(formula.latex) + (drawing.bytes if drawing is not None else 0)
