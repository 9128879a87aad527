"""The window is on its screen, frame and all: the first time, when it comes back, and on the smallest screens."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QByteArray, QPoint, QRect, QSize
from PySide6.QtWidgets import QApplication, QWidget

from gui.shell.placement import LIKELY_FRAME, first_rect, fitted
from gui.shell.window import FIRST_SIZE, MINIMUM_SIZE
from gui.theme.appearance import panel_file
from tests.gui.chat.panel import chat_panel
from tests.gui.shell.test_window import closed, opened

MINIMUM = QSize(*MINIMUM_SIZE)
TITLE_BAR = 28


def framed(geometry: QRect) -> QRect:
    return geometry.adjusted(-1, -TITLE_BAR, 1, 1)


@pytest.mark.parametrize(
    "size", [(960, 540), (1024, 640), (1280, 720), (1280, 800), (1920, 1080), (3840, 2160)]
)
def test_the_first_window_fits_with_its_frame(size: tuple[int, int]) -> None:
    screen = QRect(QPoint(0, 27), QSize(size[0], size[1] - 27))  # a bar along the top
    first = first_rect(screen, QSize(*FIRST_SIZE))
    assert screen.contains(first.marginsAdded(LIKELY_FRAME))
    assert first.width() >= MINIMUM.width()
    assert first.height() >= MINIMUM.height()
    assert first.width() <= FIRST_SIZE[0]


def test_a_taller_frame_than_thought_makes_it_smaller() -> None:
    screen = QRect(0, 0, 1280, 800)
    geometry = QRect(0, TITLE_BAR, 1280, 800)
    mended = fitted(framed(geometry), geometry, screen, MINIMUM)
    assert screen.contains(framed(mended))
    assert framed(mended).height() == 800


@pytest.mark.parametrize(
    "geometry",
    [
        QRect(2500, 300, 1280, 800),
        QRect(-900, -400, 1000, 600),
        QRect(0, 0, 3000, 1800),
        QRect(200, 500, 900, 500),
    ],
    ids=["on a screen that is gone", "above and left of it", "larger than it", "half below it"],
)
def test_what_was_kept_for_another_screen_comes_back_onto_this_one(geometry: QRect) -> None:
    screen = QRect(0, 27, 1366, 741)
    mended = fitted(framed(geometry), geometry, screen, MINIMUM)
    assert screen.contains(framed(mended))


def test_what_fits_stays_where_it_is() -> None:
    geometry = QRect(100, 100, 1000, 600)
    assert fitted(framed(geometry), geometry, QRect(0, 0, 1920, 1080), MINIMUM) == geometry


def test_a_window_larger_than_the_screen_shows_its_title_bar() -> None:
    geometry = QRect(10, 60, *MINIMUM_SIZE)
    mended = fitted(framed(geometry), geometry, QRect(0, 0, 640, 400), MINIMUM)
    assert framed(mended).topLeft() == QPoint(0, 0)


def test_the_panel_begins_and_comes_back_on_its_screen(qapp: QApplication, home: Path) -> None:
    """The screen of these tests is 800 x 800, and its windows have a frame."""

    def is_on_screen(window: QWidget) -> bool:
        return window.screen().availableGeometry().contains(window.frameGeometry())

    async def body() -> None:
        window = await opened(panel)
        await panel.until(lambda: is_on_screen(window))
        await closed(window)

        elsewhere = QWidget()
        elsewhere.setGeometry(3000, 2000, 1500, 1000)
        elsewhere.show()
        kept = panel_file(home)
        kept.setValue("window/geometry", QByteArray(elsewhere.saveGeometry()))
        kept.sync()
        elsewhere.close()

        window = await opened(panel)
        await panel.until(lambda: is_on_screen(window))
        await closed(window)

    with chat_panel(qapp, home) as panel:
        panel.run(body)
