"""The page contract: a page is one class and one line of the registry, whatever opens it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QLineEdit, QWidget

from core.services.status import Problem
from gui.pages import PAGES
from gui.shell.notices import Notice
from gui.shell.pages import Page, PageEntry, PageLamp, PageRegistry, Shell, Target
from gui.shell.window import Window
from tests.support.fake_shell import FakeShell
from tests.support.panel_loop import Panel, panel_on_qt


class Timetable(Page):
    """A page that somebody adds."""

    id = "timetable"

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._field = QLineEdit()
        self._field.setAccessibleName("Train")
        self.shown: list[Target] = []
        self.calls: list[str] = []
        self.late = False

    @property
    def widget(self) -> QWidget:
        return self._field

    async def start(self) -> None:
        self.calls.append("start")

    async def stop(self) -> None:
        self.calls.append("stop")

    def show(self, target: Target) -> None:
        self.shown.append(target)

    @property
    def lamp(self) -> PageLamp | None:
        return PageLamp("alert", "The train is late") if self.late else None

    def notices(self, *, in_front: bool) -> Sequence[Notice]:
        return [Notice(key="late", title="The train is late", text="", quiet=in_front)] if self.late else []

    def be_late(self) -> None:
        self.late = True
        self._shell.page_changed()

    @property
    def place(self) -> str:
        return self._field.text()

    def restore(self, place: str) -> None:
        self._field.setText(place)


def with_timetable(**changes: Any) -> PageRegistry:
    """The panel's own pages, and one line more."""
    line = PageEntry(id="timetable", title="Timetable", icon="clock", make=Timetable, **changes)
    return replace(PAGES, entries=(*PAGES.entries, line))


@pytest.fixture
def panel(qapp: QApplication, home: Path) -> Iterator[Panel]:
    with panel_on_qt(qapp, home) as running:
        yield running


async def opened(panel: Panel, registry: PageRegistry) -> Window:
    if panel.bridge.status is None:
        await panel.start()
    window = panel.show(Window(panel.bridge, panel.core.home, registry))
    await window.start()
    return window


def timetable(window: Window) -> Timetable:
    page = window.page("timetable")
    assert isinstance(page, Timetable)
    return page


def rail_item(window: Window, name: str) -> QAbstractButton:
    return next(
        item for item in window.rail.findChildren(QAbstractButton) if item.accessibleName().startswith(name)
    )


@pytest.mark.parametrize("way", ["rail", "shortcut", "target"])
def test_a_new_page_is_one_class_and_one_line(panel: Panel, way: str) -> None:
    async def body() -> None:
        window = await opened(panel, with_timetable())
        window.open(Target("chat"))
        if way == "rail":
            rail_item(window, "Timetable").click()
        elif way == "shortcut":
            # It comes last at the top of the rail, under the panel's own.
            place = len(with_timetable().at("top"))
            QTest.keyClick(window, Qt.Key(Qt.Key.Key_0 + place), Qt.KeyboardModifier.ControlModifier)
        else:
            window.open(Target("timetable", "north", "9.15"))
        page = timetable(window)
        assert page.widget.isVisible()
        assert window.focusWidget() is page.widget
        assert rail_item(window, "Timetable").isChecked()
        where = Target("timetable", "north", "9.15") if way == "target" else Target("timetable")
        assert page.shown == [where]
        await panel.until(lambda: page.calls == ["start"])
        window.open(Target("chat"))
        window.open(Target("timetable"))
        assert timetable(window) is page, "it is made once"
        await window.stop()
        assert page.calls == ["start", "stop"]

    panel.run(body())


def test_a_page_that_wants_attention_lights_its_lamp_and_is_in_the_bell(panel: Panel) -> None:
    async def body() -> None:
        window = await opened(panel, with_timetable(eager=True))
        window.open(Target("chat"))
        timetable(window).be_late()
        assert window.bell.accessibleName() == "Notices: 1"
        assert window.notices.text.startswith("The train is late")
        item = rail_item(window, "Timetable")
        assert "The train is late" in item.accessibleName() + item.accessibleDescription()
        window.open(Target("timetable"))
        assert window.notices.isHidden(), "in front it says so itself"
        await window.stop()

    panel.run(body())


def test_a_page_finds_its_place_again(panel: Panel) -> None:
    async def body() -> None:
        registry = with_timetable(eager=True, place_key="train")
        window = await opened(panel, registry)
        window.open(Target("timetable"))
        timetable(window).restore("9.15 to York")
        window.close()
        await window.stop()
        again = await opened(panel, registry)
        assert timetable(again).place == "9.15 to York"
        assert again.page_in_front.id == "timetable"
        await again.stop()

    panel.run(body())


def test_every_page_is_kept_although_one_fails_to(panel: Panel) -> None:
    class Derailed(Timetable):
        id = "derailed"

        async def stop(self) -> None:
            raise OSError("off the rails")

    async def body() -> None:
        derailed = PageEntry(id="derailed", title="Derailed", icon="train", make=Derailed, eager=True)
        registry = with_timetable(eager=True)
        window = await opened(panel, replace(registry, entries=(derailed, *registry.entries)))
        with pytest.raises(OSError, match="off the rails"):
            await window.stop()
        assert timetable(window).calls == ["start", "stop"]

    panel.run(body())


def test_what_covers_the_window_goes_with_the_first_page_that_is_opened(panel: Panel) -> None:
    async def body() -> None:
        window = await opened(panel, with_timetable())
        welcome = window.page("welcome").widget
        assert welcome.isVisible(), "the first start"
        assert not window.rail.isVisible()
        window.open(Target("timetable"))
        assert timetable(window).widget.isVisible()
        assert not welcome.isVisible()
        window.open(Target("welcome"))
        again = window.page("welcome").widget
        assert again is not welcome, "as new"
        window.open(Target("welcome"))
        await panel.settle()
        assert window.page("welcome").widget is again, "it is there already"
        assert again.isVisible()
        await window.stop()

    panel.run(body())


def test_what_covers_the_window_shows_what_went_wrong(panel: Panel) -> None:
    async def body() -> None:
        window = await opened(panel, with_timetable())
        assert window.page("welcome").widget.isVisible()
        problem = Problem(kind="ledger", title="No money is counted", message="The disk is full.", hint="")
        panel.core.publish(problems=(problem,))
        await panel.until(lambda: window.notices.isVisible())
        assert "The disk is full" in window.notices.text
        window.open(Target("timetable"))
        assert window.notices.isVisible()
        assert window.rail.isVisible()
        window.notices.close_shown()
        window.open(Target("welcome"))
        assert not window.notices.isVisible(), "put away in one place, it is put away in both"
        await window.stop()

    panel.run(body())


@pytest.mark.parametrize("entry", PAGES.entries, ids=lambda entry: entry.id)
def test_the_registry_says_of_a_page_what_the_page_says_of_itself(panel: Panel, entry: PageEntry) -> None:
    async def body() -> None:
        await panel.start()
        pill = panel.show(QWidget())
        page = entry.make(FakeShell(panel.bridge, panel.core.home, pill))
        assert page.id == entry.id
        panel.show(page.widget)
        page.show(Target(entry.id))
        await page.start()
        await page.stop()

    panel.run(body())


def test_what_the_shell_leads_to_exists() -> None:
    targets = [*PAGES.pills.values(), *(target for _, target in PAGES.problems.values())]
    targets += [target for _, target in PAGES.help]
    if PAGES.about is not None:
        targets.append(PAGES.about)
    for target in targets:
        assert PAGES.entry(target.page).id == target.page
    with pytest.raises(KeyError):
        PAGES.entry("timetable")


def test_the_window_names_no_page() -> None:
    text = (Path(__file__).parents[3] / "gui" / "shell" / "window.py").read_text(encoding="utf-8")
    assert not [entry.id for entry in PAGES.entries if f'"{entry.id}"' in text or f"gui.{entry.id}" in text]
