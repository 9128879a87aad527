"""The lever: by pointer, keys and typing to the same exact values, with a ghost, an undo and a lock."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from gui.theme.theme import theme
from gui.widgets.lever import Applied, Lever, Scale

Show = Callable[[Any], Any]
THRESHOLD = Scale((Decimal("0"), Decimal("1")), Decimal("0.01"))


@pytest.fixture
def lever(show: Show) -> Lever:
    made = Lever(
        "Complexity threshold",
        "Higher keeps more prompts local",
        THRESHOLD,
        Applied(value=Decimal("0.60"), origin=".env"),
    )
    show(made)
    made.slider.setFocus()
    return made


def place_of(lever: Lever, value: Decimal | int) -> QPoint:
    return QPoint(round(lever.slider.place_of(value)), round(lever.slider.groove().center().y()))


def press(lever: Lever, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    QTest.keyClick(lever.slider, key, modifier)


def test_it_says_its_name_value_what_it_was_and_its_effect(lever: Lever) -> None:
    assert lever.slider.accessibleName() == "Complexity threshold, 0.60"
    assert lever.slider.accessibleDescription() == "higher keeps more prompts local"
    lever.set_value(Decimal("0.68"))
    said = f"{lever.slider.accessibleName()}, {lever.slider.accessibleDescription()}"
    assert said == "Complexity threshold, 0.68, was 0.60, higher keeps more prompts local"
    assert lever.tag.text == "Was 0.60"
    assert lever.back.isVisible()
    assert lever.slider.value() == 68  # what a screen reader reads as the slider's value


def test_keys_step_exactly_and_stop_at_the_ends(lever: Lever, qtbot: QtBot) -> None:
    with qtbot.waitSignal(lever.committed) as done:
        press(lever, Qt.Key.Key_Right)
    assert done.args == [Decimal("0.61")]
    for _ in range(7):
        press(lever, Qt.Key.Key_Up)
    assert lever.value == Decimal("0.68")
    press(lever, Qt.Key.Key_PageDown)
    press(lever, Qt.Key.Key_Left)
    assert lever.value == Decimal("0.57")
    press(lever, Qt.Key.Key_End)
    press(lever, Qt.Key.Key_Right)
    assert lever.value == Decimal("1")
    press(lever, Qt.Key.Key_Home)
    assert lever.value == 0


def test_ctrl_z_takes_back_one_change_after_the_other_in_the_box_too(lever: Lever) -> None:
    press(lever, Qt.Key.Key_Right)
    press(lever, Qt.Key.Key_PageUp)
    press(lever, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert lever.value == Decimal("0.61")
    lever.box.setFocus()
    QTest.keyClick(lever.box, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert lever.value == Decimal("0.60")
    assert not lever.undo()


def test_a_drag_follows_the_pointer_and_is_one_change(lever: Lever, qtbot: QtBot) -> None:
    moved: list[Decimal] = []
    rested: list[Decimal] = []
    lever.changed.connect(moved.append)
    lever.committed.connect(rested.append)
    QTest.mousePress(lever.slider, Qt.MouseButton.LeftButton, pos=place_of(lever, Decimal("0.60")))
    qtbot.mouseMove(lever.slider, place_of(lever, Decimal("0.80")))
    for target in ("0.70", "0.75"):
        QTest.mouseMove(lever.slider, place_of(lever, Decimal(target)))
    QTest.mouseRelease(lever.slider, Qt.MouseButton.LeftButton, pos=place_of(lever, Decimal("0.75")))
    assert abs(lever.value - Decimal("0.75")) <= Decimal("0.01")
    assert all(value == value.quantize(Decimal("0.01")) for value in moved)
    assert rested == [lever.value]
    assert lever.undo()
    assert lever.value == Decimal("0.60")


def test_typing_equals_dragging(lever: Lever, qtbot: QtBot) -> None:
    lever.box.setFocus()
    lever.box.selectAll()
    with qtbot.waitSignal(lever.committed) as done:
        QTest.keyClicks(lever.box, "0.725")
        QTest.keyClick(lever.box, Qt.Key.Key_Return)
    assert done.args == [Decimal("0.72")]
    assert lever.box.text() == "0.72"
    QTest.keyClick(lever.box, Qt.Key.Key_Up)
    assert lever.value == Decimal("0.73")


@pytest.mark.parametrize("typed", ["1.2", "-1", "much", "nan", ""])
def test_what_does_not_fit_is_marked_and_changes_nothing(lever: Lever, typed: str) -> None:
    lever.box.setFocus()
    lever.box.selectAll()
    QTest.keyClick(lever.box, Qt.Key.Key_Delete)
    QTest.keyClicks(lever.box, typed)
    QTest.keyClick(lever.box, Qt.Key.Key_Return)
    assert lever.value == Decimal("0.60")
    assert lever.box.property("tone") == "danger"
    assert lever.box.toolTip() == "Type a number from 0 to 1"
    QTest.keyClick(lever.box, Qt.Key.Key_Escape)
    assert (lever.box.text(), lever.box.property("tone")) == ("0.60", "")


def test_put_back_returns_to_what_is_in_force_and_can_be_undone(lever: Lever) -> None:
    lever.set_value(Decimal("0.9"))
    assert lever.back.accessibleName() == "Put Complexity threshold back to 0.60"
    lever.back.setFocus()
    QTest.keyClick(lever.back, Qt.Key.Key_Space)
    assert (lever.value, lever.tag.text) == (Decimal("0.60"), ".env")
    assert lever.slider.hasFocus()
    assert lever.undo()
    assert lever.value == Decimal("0.9")


def test_applying_moves_it_there_with_nothing_to_undo(lever: Lever) -> None:
    lever.set_value(Decimal("0.68"))
    lever.apply(Applied(value=Decimal("0.68"), origin="panel"))
    assert not lever.is_changed
    assert lever.tag.text == "Set here"
    assert not lever.undo()


def test_a_locked_one_moves_by_nothing_and_names_the_variable(show: Show) -> None:
    lever = Lever(
        "Monthly API limit",
        "Change it where it is set",
        Scale((0, 1000), 10),
        Applied(value=500, origin="environment", locked="SPEND_LIMIT_DOLLARS"),
        unit="a month",
    )
    show(lever)
    lever.slider.setFocus()
    press(lever, Qt.Key.Key_Right)
    QTest.mouseClick(lever.slider, Qt.MouseButton.LeftButton, pos=place_of(lever, 900))
    QTest.keyClick(lever.box, Qt.Key.Key_Up)
    assert lever.value == 500
    assert lever.box.isReadOnly()
    assert lever.slider.toolTip() == "SPEND_LIMIT_DOLLARS sets this. Change it there."
    assert "locked, set by SPEND_LIMIT_DOLLARS" in lever.slider.accessibleDescription()
    picture = lever.slider.grab().toImage()
    groove = lever.slider.groove()
    assert picture.pixelColor(round(groove.left()) + 10, round(groove.center().y())) == theme().color("track")


def test_the_ghost_stands_where_the_applied_value_is(lever: Lever) -> None:
    lever.box.setFocus()
    lever.set_value(Decimal("0.20"))
    picture = lever.slider.grab().toImage()
    ghost, y = round(lever.slider.place_of(Decimal("0.60"))), round(lever.slider.groove().center().y())
    assert picture.pixelColor(ghost, y) == theme().color("surface")
    assert picture.pixelColor(ghost + 20, y) == theme().color("control")
    handle = round(lever.slider.place_of(Decimal("0.20")))
    assert picture.pixelColor(handle - 20, y) == theme().color("ink")
    lever.put_back()
    picture = lever.slider.grab().toImage()
    assert picture.pixelColor(handle + 20, y) == theme().color("ink")


def test_rows_keep_their_height_at_each_zoom(lever: Lever) -> None:
    assert lever.height() == 62
    lever.set_low(True)
    assert lever.height() == 54
    theme().set_zoom(1.5)
    assert lever.height() == 81


def test_a_screen_reader_can_set_the_value(lever: Lever) -> None:
    lever.slider.setValue(70)
    assert lever.value == Decimal("0.70")


@given(st.integers(0, 10_000))
def test_every_step_of_a_decimal_scale_is_exact(step: int) -> None:
    value = THRESHOLD.moved(Decimal("0"), step % 101)
    assert value == Decimal(step % 101) / 100
    assert THRESHOLD.at(THRESHOLD.share(value)) == value


SCALES = (
    Scale((0, 8000), 100),
    Scale((2_000, 8_000, 32_000, 128_000)),
    Scale.logarithmic(10, 1_000_000),
    Scale((Decimal("0"), Decimal("20")), Decimal("0.5")),
)


@given(st.sampled_from(SCALES), st.floats(0, 1))
def test_places_and_values_agree_on_any_scale(scale: Scale, share: float) -> None:
    value = scale.at(share)
    assert scale.low <= value <= scale.high
    assert scale.at(scale.share(value)) == value
    assert type(value) is (int if scale.whole else Decimal)


@given(st.sampled_from(SCALES), st.floats(0.05, 0.9), st.integers(1, 30))
def test_a_way_up_and_down_ends_where_it_began(scale: Scale, share: float, steps: int) -> None:
    start = scale.at(share)
    up = scale.moved(start, steps)
    if up < scale.high:
        assert scale.moved(up, -steps) == start


def test_steps_grow_with_the_value_on_a_logarithmic_scale() -> None:
    scale = Scale.logarithmic(10, 1_000_000)
    assert [scale.moved(value, 1) for value in (90, 1_000, 12_000)] == [91, 1_100, 13_000]
    assert scale.moved(1_000, -1) == 990
    assert scale.share(100) == pytest.approx(0.2)
    assert scale.read("12,345") == 12_345
    assert scale.read("12.5") is None


def test_what_is_out_of_range_is_told_in_words_until_it_is_right(lever: Lever) -> None:
    lever.box.setFocus()
    lever.box.selectAll()
    QTest.keyClicks(lever.box, "1.7")
    words = next(one for one in lever.findChildren(QLabel) if one.text() == "From 0 to 1")
    assert words.isVisible()
    assert words.property("tone") == "danger"
    assert lever.box.accessibleDescription() == "Type a number from 0 to 1"
    QTest.keyClick(lever.box, Qt.Key.Key_Return)
    assert lever.box.text() == "1.7", "what is typed stays"
    QTest.keyClick(lever.box, Qt.Key.Key_Escape)
    assert words.text() == "Higher keeps more prompts local"
    assert not words.property("tone")
