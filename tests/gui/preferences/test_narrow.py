"""The preferences at 150 % in the smallest window: nothing lies over its neighbour, nothing is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from PySide6.QtCore import QPoint, QRect
from PySide6.QtWidgets import QLabel, QWidget

from gui.preferences.page import PreferencesView
from gui.preferences.rows import SettingRow
from gui.preferences.shortcuts_section import ShortcutsSection
from gui.theme.theme import theme
from gui.widgets.fields import TextField
from gui.widgets.fold import Fold
from tests.support.panel_loop import Panel

SECTIONS = ("providers", "routing", "local", "spend", "reliability", "observability", "data")


@pytest.fixture(autouse=True)
def zoomed() -> Iterator[None]:
    yield
    theme().set_zoom(1.0)


async def smallest(panel: Panel, section: str, zoom: float) -> PreferencesView:
    await panel.start()
    theme().set_zoom(zoom)
    page = panel.show(PreferencesView(panel.bridge), 1024 - theme().px(80), 640 - theme().px(48))
    page.show_section(section)
    built = page.section(section)
    assert built is not None
    for fold in built.findChildren(Fold):
        fold.set_open(True)
    await panel.settle()
    return page


def place_in(row: QWidget, child: QWidget) -> QRect:
    return QRect(child.mapTo(row, QPoint(0, 0)), child.size())


@pytest.mark.parametrize("zoom", [1.0, 1.25, 1.5])
@pytest.mark.parametrize("section", SECTIONS)
def test_fields_units_tags_and_buttons_stand_beside_each_other(
    panel: Panel, section: str, zoom: float
) -> None:
    async def body() -> None:
        page = await smallest(panel, section, zoom)
        built = page.section(section)
        assert built is not None
        rows = [row for row in built.anchors.values() if isinstance(row, SettingRow)]
        assert rows
        for row in rows:
            parts: list[QWidget] = [row.tag, row.put_back]
            if isinstance(row.field, TextField):
                parts.append(row.field.edit)
                parts += [label for label in row.field.findChildren(QLabel) if label.text()]
            places = [place_in(row, part) for part in parts]
            for index, place in enumerate(places):
                assert row.rect().contains(place), row.name
                assert not any(place.intersects(other) for other in places[:index]), row.name
            for label in row.field.findChildren(QLabel):
                assert label.height() >= label.heightForWidth(label.width()), label.text()

    panel.run(body())


def test_the_models_whole_name_is_seen(panel: Panel) -> None:
    async def body() -> None:
        page = await smallest(panel, "providers", 1.5)
        built = page.section("providers")
        assert built is not None
        row = built.anchors["anthropic_model"]
        assert isinstance(row, SettingRow)
        assert isinstance(row.field, TextField)
        edit = row.field.edit
        pad = theme().px(10) + 4
        assert edit.fontMetrics().horizontalAdvance(edit.text()) + 2 * pad <= edit.width()

    panel.run(body())


def test_a_shortcuts_words_wrap_and_all_rows_are_seen(panel: Panel) -> None:
    async def body() -> None:
        page = await smallest(panel, "shortcuts", 1.5)
        built = page.section("shortcuts")
        assert isinstance(built, ShortcutsSection)
        table = built.table
        await panel.until(lambda: table.viewport().height() > 0)
        await asyncio.sleep(0.05)
        heights = [table.rowHeight(row) for row in range(table.rowCount())]
        assert max(heights) > theme().px(28), "long words take two lines"
        assert all(height >= table.sizeHintForRow(row) for row, height in enumerate(heights))
        assert table.viewport().height() >= sum(heights)

    panel.run(body())
