"""A fold opens by all of its head, by mouse and by keyboard, and by whoever leads into it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget

from gui.widgets.fold import Fold
from gui.widgets.labels import plain_label

Show = Callable[[QWidget], QWidget]
_keys = count()


@pytest.fixture
def fold(show: Show) -> Fold:
    window = QWidget()
    window.resize(400, 120)
    made = Fold(
        "When",
        "at 10:04, took 3 s",
        plain_label("10:04:07"),
        key=f"t{next(_keys)}",
        opened=False,
        parent=window,
    )
    made.resize(400, 60)
    show(window)
    return made


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_click_anywhere_on_the_head_opens_it(fold: Fold, share: float) -> None:
    at = QPoint(round((fold.width() - 1) * share), fold.button.geometry().center().y())
    under = fold.childAt(at)
    assert under is fold.button
    QTest.mouseClick(under, Qt.MouseButton.LeftButton, pos=under.mapFrom(fold, at))
    assert fold.body.isVisible()


@pytest.mark.parametrize("key", [Qt.Key.Key_Space, Qt.Key.Key_Return])
def test_a_key_opens_and_closes_it(fold: Fold, key: Qt.Key) -> None:
    fold.button.setFocus()
    QTest.keyClick(fold.button, key)
    assert fold.is_open
    QTest.keyClick(fold.button, key)
    assert not fold.is_open
    assert fold.button.accessibleDescription() == "at 10:04, took 3 s"


def test_it_is_opened_by_who_leads_into_it_and_told_once(fold: Fold) -> None:
    told: list[bool] = []
    fold.toggled.connect(lambda: told.append(fold.is_open))
    fold.set_open(True)
    fold.set_open(True)
    assert told == [True]
    assert fold.body.isVisible()


def test_a_long_summary_makes_nothing_wider(fold: Fold) -> None:
    before = fold.minimumSizeHint().width()
    fold.set_summary("words " * 100)
    assert fold.minimumSizeHint().width() == before
