"""A log: time, level and text of each line, painted from the lines in sight only, so 100,000 cost as much as 30.

It follows what comes until the reader scrolls up, which holds it; ``End`` follows again. A line that is too long
for its row opens whole by Enter or a double click.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import QPointF, QRect, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QFontMetricsF,
    QGuiApplication,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
)
from PySide6.QtWidgets import QAbstractScrollArea, QFrame, QPlainTextEdit, QWidget

from core import LogLine, counted
from gui.theme.theme import set_property, theme
from gui.widgets.copying import announce
from gui.widgets.log_lines import LEVEL_WORDS, LevelFilter, LogLines, line_text
from gui.widgets.marks import paint_focus_ring, text_baseline
from gui.widgets.popover import Popover

SIDE_PX, COLUMN_GAP_PX = 14, 8
TIME_CHARS, LEVEL_CHARS = 8, 3
WHOLE_PX = (620, 180)
_INK = {"warning": "held_text", "error": "danger_text"}
_TINT = {"warning": "held_tint", "error": "danger_tint"}


class LogView(QAbstractScrollArea):
    """``append`` brings lines; ``lines`` knows them.

    Signals:
        following_changed: whether the newest line stays in sight.
        new_counted: how many lines came since it holds.
        found: which of the lines that were found is current, from 1 (0 for none), of how many, and whether the
            search is over.
    """

    following_changed = Signal(bool)
    new_counted = Signal(int)
    found = Signal(int, int, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.lines = LogLines()
        self._is_following = True
        self._new = 0
        self._current: int | None = None
        self._anchor: int | None = None
        self._hit: int | None = None
        self._is_placing = False
        self._empty = ""
        self._search = QTimer(self)
        self._search.setInterval(0)
        self._search.timeout.connect(self._search_on)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Log")
        self.verticalScrollBar().valueChanged.connect(self._on_scrolled)
        self.verticalScrollBar().setSingleStep(3)
        theme().changed.connect(self._restyle)
        self._restyle()

    # What is shown

    @property
    def is_following(self) -> bool:
        return self._is_following

    @property
    def new_count(self) -> int:
        """Lines that came since it holds."""
        return self._new

    def set_empty_text(self, text: str) -> None:
        """Say what stands there while there is no line."""
        self._empty = text
        self.viewport().update()

    def append(self, lines: Sequence[LogLine], dropped: int = 0) -> None:
        """Show newer lines below the others; ``dropped`` before them are not to be had."""
        if not lines and not dropped:
            return
        before, top = len(self.lines), self._has_top_row
        gone = self.lines.append(lines, dropped)
        bar = self.verticalScrollBar()
        held_at = bar.value() - gone + (self._has_top_row - top)
        self._place(None if self._is_following else held_at)
        if not self._is_following:
            self._new += len(self.lines) - (before - gone)
            self.new_counted.emit(self._new)
        if self.lines.needle:
            self._search.start()
        self._describe()
        self.viewport().update()

    def clear(self) -> None:
        """Forget the lines."""
        self.lines.clear()
        self._current = self._anchor = self._hit = None
        self._count_new(0)
        self._place(None)
        self._tell_found()
        self._describe()
        self.viewport().update()

    def set_filter(self, chosen: LevelFilter) -> None:
        """Show only lines of a level, and those that are worse."""
        number = self._number_at_top()
        self.lines.set_filter(chosen)
        held = None if number is None else self.lines.row_of(number) + self._has_top_row
        self._place(None if self._is_following else held)
        if self.lines.needle:
            self._search.start()
        self._describe()
        self.viewport().update()

    def set_following(self, following: bool) -> None:
        """Keep the newest line in sight, or stay where it is."""
        if following:
            self._count_new(0)
        if following != self._is_following:
            self._is_following = following
            self.following_changed.emit(following)
        if following:
            self._place(None)

    # Selection

    def selected_lines(self) -> list[LogLine]:
        """Return the lines that are selected, oldest first."""
        if self._current is None:
            return []
        anchor = self._current if self._anchor is None else self._anchor
        first, last = sorted((anchor, self._current))
        rows = self.lines.shown[self.lines.row_of(first) : self.lines.row_of(last + 1)]
        return list(rows)

    def select_all(self) -> None:
        """Select every line that is shown."""
        shown = self.lines.shown
        if shown:
            self.set_following(False)
            self._anchor, self._current = shown[0].number, shown[-1].number
            self.viewport().update()
            announce(self, f"{counted(len(shown), 'line')} selected")

    def copy(self) -> int:
        """Put the selected lines on the clipboard, all that are shown where none is; return how many."""
        lines = self.selected_lines() or self.lines.shown
        QGuiApplication.clipboard().setText(self.lines.as_text(lines))
        return len(lines)

    def go_to_row(self, row: int, *, extend: bool = False) -> None:
        """Make a row of the shown lines the current one and bring it into view."""
        shown = self.lines.shown
        if not shown:
            return
        row = max(0, min(row, len(shown) - 1))
        self._current = shown[row].number
        if not extend:
            self._anchor = self._current
        at = row + self._has_top_row
        bar = self.verticalScrollBar()
        page = self._page_rows()
        if at < bar.value():
            self._hold_at(at)
        elif at >= bar.value() + page:
            self._hold_at(at - page + 1)
        elif row < len(shown) - 1 and self._is_following:
            self.set_following(False)
        self._describe()
        announce(self, line_text(shown[row]))
        self.viewport().update()

    def open_line(self) -> Popover | None:
        """Show the selected lines whole, as text that can be read, selected and copied."""
        lines = self.selected_lines()
        if not lines:
            return None
        whole = QPlainTextEdit()
        whole.setReadOnly(True)
        whole.setFrameShape(QFrame.Shape.NoFrame)
        whole.setPlainText(self.lines.as_text(lines))
        whole.setAccessibleName("The line" if len(lines) == 1 else f"{len(lines):,} lines")
        whole.setTabChangesFocus(True)
        set_property(whole, role="mono")
        popover = Popover("Whole line", self, width_px=WHOLE_PX[0], height_px=WHOLE_PX[1])
        popover.column.addWidget(whole)
        row = self.lines.row_of(lines[-1].number) + self._has_top_row - self.verticalScrollBar().value()
        under = self.viewport().mapToGlobal(QPointF(theme().px(SIDE_PX), (row + 1) * self._row_px)).toPoint()
        popover.popup_at_point(under, gap_px=2, focus=whole)
        return popover

    # Search

    def search_for(self, text: str) -> None:
        """Look for ``text`` in all lines that are shown, a slice at a time; the case of letters does not count."""
        self._hit = None
        self.lines.search(text)
        self._search.stop()
        if text:
            self._search.start()
        self._tell_found()
        self.viewport().update()

    def step(self, by: int) -> None:
        """Go to the next line that was found, or the one before (-1); from the last to the first."""
        hits = self.lines.hits
        if not hits:
            return
        at = self._hit_index()
        self._go_to_hit(self._nearest_hit() if at is None else (at + by) % len(hits))

    def _search_on(self) -> None:
        left = self.lines.search_on()
        if not left:
            self._search.stop()
            if self._hit is None and self.lines.hits:
                self._go_to_hit(self._nearest_hit())
                return
        self._tell_found()
        self.viewport().update()

    def _nearest_hit(self) -> int:
        """The last one above the lower edge of what is in sight: a reader looks at the newest."""
        last = (
            min(self.verticalScrollBar().value() + self._page_rows() - self._has_top_row, len(self.lines)) - 1
        )
        number = self.lines.shown[max(0, last)].number
        return max(0, bisect_right(self.lines.hits, number) - 1)

    def _hit_index(self) -> int | None:
        if self._hit is None:
            return None
        hits = self.lines.hits
        at = bisect_left(hits, self._hit)
        return at if at < len(hits) and hits[at] == self._hit else None

    def _go_to_hit(self, index: int) -> None:
        self._hit = self.lines.hits[index]
        row = self.lines.row_of(self._hit)
        self.go_to_row(row)
        self._tell_found()

    def _tell_found(self) -> None:
        at = self._hit_index()
        self.found.emit(0 if at is None else at + 1, len(self.lines.hits), self.lines.is_searched)

    # Places

    @property
    def _has_top_row(self) -> int:
        """1 where a row above the lines says that older ones are gone."""
        return int(self.lines.lost > 0)

    def _rows(self) -> int:
        return len(self.lines) + self._has_top_row

    def _page_rows(self) -> int:
        return max(1, self.viewport().height() // self._row_px)

    def _number_at_top(self) -> int | None:
        row = self.verticalScrollBar().value() - self._has_top_row
        shown = self.lines.shown
        return shown[max(0, row)].number if 0 <= max(0, row) < len(shown) else None

    def _place(self, value: int | None) -> None:
        """Give the scroll bar its range; ``None`` is the end."""
        bar = self.verticalScrollBar()
        page = self._page_rows()
        most = max(0, self._rows() - page)
        self._is_placing = True
        bar.setRange(0, most)
        bar.setPageStep(page)
        bar.setValue(most if value is None else max(0, min(value, most)))
        self._is_placing = False

    def _hold_at(self, value: int) -> None:
        bar = self.verticalScrollBar()
        if value < bar.maximum():
            self.set_following(False)
        bar.setValue(value)

    def _count_new(self, count: int) -> None:
        if count != self._new:
            self._new = count
            self.new_counted.emit(count)

    def _on_scrolled(self, value: int) -> None:
        if not self._is_placing:
            self.set_following(value >= self.verticalScrollBar().maximum())
        self.viewport().update()

    def scrollContentsBy(self, dx: int, dy: int) -> None:
        """Everything is painted anew: a row costs little."""
        del dx, dy
        self.viewport().update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._place(None if self._is_following else self.verticalScrollBar().value())

    def sizeHint(self) -> QSize:
        return QSize(theme().px(480), theme().px(200))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme().px(160), 3 * self._row_px)

    # Keyboard and mouse

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows, pages, Home and End go; with Shift they select. End follows."""
        if event.matches(QKeySequence.StandardKey.Copy):
            announce(self, f"{counted(self.copy(), 'line')} copied")
            return
        if event.matches(QKeySequence.StandardKey.SelectAll):
            self.select_all()
            return
        key, page = event.key(), self._page_rows()
        rows = len(self.lines)
        steps = {
            Qt.Key.Key_Up: -1,
            Qt.Key.Key_Down: 1,
            Qt.Key.Key_PageUp: -page,
            Qt.Key.Key_PageDown: page,
            Qt.Key.Key_Home: -rows,
            Qt.Key.Key_End: rows,
        }
        extend = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        if key in steps:
            here = self._row_of_current()
            if key == Qt.Key.Key_End and not extend:
                self.set_following(True)
            self.go_to_row((rows if here is None else here) + steps[Qt.Key(key)], extend=extend)
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.open_line()
        else:
            super().keyPressEvent(event)

    def _row_of_current(self) -> int | None:
        return None if self._current is None else self.lines.row_of(self._current)

    def _row_at(self, y: float) -> int | None:
        row = int(y // self._row_px) + self.verticalScrollBar().value() - self._has_top_row
        return row if 0 <= row < len(self.lines) else None

    def mousePressEvent(self, event: QMouseEvent) -> None:
        row = self._row_at(event.position().y())
        if event.button() == Qt.MouseButton.LeftButton and row is not None:
            self.go_to_row(row, extend=bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if not event.buttons() & Qt.MouseButton.LeftButton or self._current is None:
            return
        y = max(0.0, min(event.position().y(), float(self.viewport().height() - 1)))
        row = self._row_at(y)
        if row is not None and row != self._row_of_current():
            self.go_to_row(row, extend=True)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if self._row_at(event.position().y()) is not None:
            # After the release: a popover that opens under a held button takes it for a click elsewhere.
            QTimer.singleShot(0, self, partial(self.open_line))

    # Painting

    def _restyle(self) -> None:
        font = theme().font("mono")
        metrics = QFontMetricsF(font)
        self._font, self._char_px = font, metrics.horizontalAdvance("0")
        self._ascent, self._descent = metrics.ascent(), metrics.descent()
        self._row_px = theme().line_px("mono")
        self.viewport().setAutoFillBackground(False)
        self._place(None if self._is_following else self.verticalScrollBar().value())
        self.viewport().update()

    def paintEvent(self, event: QPaintEvent) -> None:
        unit = theme()
        painter = QPainter(self.viewport())
        box = self.viewport().rect()
        painter.fillRect(event.rect(), unit.color("surface"))
        painter.setFont(self._font)
        if not self.lines.shown and not self._has_top_row:
            painter.setFont(unit.font("small"))
            painter.setPen(unit.color("text3"))
            words = "No lines of this level" if self.lines.kept else self._empty
            room = box.adjusted(unit.px(SIDE_PX), 0, -unit.px(SIDE_PX), 0)
            painter.drawText(room, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, words)
        else:
            self._paint_rows(painter, box)
        if self.hasFocus():
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            paint_focus_ring(painter, QRectF(box), unit.px(3))
        painter.end()

    def _paint_rows(self, painter: QPainter, box: QRect) -> None:
        unit = theme()
        side, gap = unit.px(SIDE_PX), unit.px(COLUMN_GAP_PX)
        level_x = side + (self._char_px * TIME_CHARS + gap if self.lines.has_times else 0)
        text_x = level_x + self._char_px * LEVEL_CHARS + gap
        fit = max(4, int((box.width() - text_x - side) / self._char_px))
        top = self.verticalScrollBar().value() - self._has_top_row
        selected = self._selected_range()
        for place in range(box.height() // self._row_px + 2):
            index = top + place
            row = QRectF(0, place * self._row_px, box.width(), self._row_px)
            base = text_baseline(row, self._ascent, self._descent)
            if index < 0:
                painter.setPen(unit.color("text3"))
                painter.drawText(QPointF(side, base), lost_words(self.lines.lost))
                continue
            if index >= len(self.lines.shown):
                break
            line = self.lines.shown[index]
            is_selected = selected is not None and selected[0] <= line.number <= selected[1]
            ground = "select" if is_selected else _TINT.get(line.level)
            if ground is not None:
                painter.fillRect(row, unit.color(ground))
            faint = "text2" if is_selected else "text3"
            if self.lines.is_gap(line):
                painter.setPen(unit.color(faint))
                painter.drawText(QPointF(side, base), line.text)
                continue
            if line.number == self._current:
                painter.fillRect(QRectF(0, row.y(), unit.px(3), row.height()), unit.color("ink"))
            painter.setPen(unit.color(faint))
            if line.at:
                painter.drawText(QPointF(side, base), line.at[:TIME_CHARS])
            painter.setPen(unit.color(_INK.get(line.level, faint)))
            painter.drawText(QPointF(level_x, base), LEVEL_WORDS[line.level])
            text = self.text_in_sight(line, fit)
            if self.lines.needle:
                self._paint_found(painter, row, text, text_x, is_current=line.number == self._hit)
            painter.setPen(unit.color("text"))
            painter.drawText(QPointF(text_x, base), text)

    def text_in_sight(self, line: LogLine, fit: int) -> str:
        """Return the ``fit`` characters of a line that are shown: its start, or what was found farther right."""
        text = line.text if len(line.text) <= fit else self._cut(line, fit)
        return text.replace("\t", " ")

    def _cut(self, line: LogLine, fit: int) -> str:
        text = line.text
        if line.number == self._hit and self.lines.needle:
            at = text.lower().find(self.lines.needle)
            if at + len(self.lines.needle) > fit - 1:
                start = min(at - fit // 3, len(text) - fit + 1)
                end = start + fit - 2
                return f"…{text[start:end]}" + ("…" if end < len(text) else "")
        return f"{text[: fit - 1]}…"

    def _paint_found(
        self, painter: QPainter, row: QRectF, text: str, text_x: float, *, is_current: bool
    ) -> None:
        unit = theme()
        needle, lower = self.lines.needle, text.lower()
        metrics = QFontMetricsF(self._font)
        at = lower.find(needle)
        while at >= 0:
            x = text_x + metrics.horizontalAdvance(text[:at])
            width = metrics.horizontalAdvance(text[at : at + len(needle)])
            mark = QRectF(x, row.y() + 1, width, row.height() - 2)
            painter.fillRect(mark, unit.color("held_tint"))
            painter.setPen(unit.color("ink" if is_current else "held"))
            painter.drawRect(mark.adjusted(0, 0, -1, -1))
            at = lower.find(needle, at + max(1, len(needle)))

    def _selected_range(self) -> tuple[int, int] | None:
        if self._current is None:
            return None
        anchor = self._current if self._anchor is None else self._anchor
        first, last = sorted((anchor, self._current))
        return first, last

    def _describe(self) -> None:
        """What a screen reader says of the view when it comes to it: the line that is current, else the newest."""
        shown = self.lines.shown
        row = self._row_of_current()
        if not shown:
            words = self._empty
        elif row is not None and row < len(shown):
            words = f"Line {row + 1:,} of {len(shown):,}: {line_text(shown[row])}"
        else:
            words = f"{len(shown):,} lines. The newest: {line_text(shown[-1])}"
        self.setAccessibleDescription(words)


def lost_words(count: int) -> str:
    """Return what stands above the oldest line where older ones are gone."""
    return f"{count:,} older line{'s are' if count != 1 else ' is'} not kept"
