"""The log's card: live while seen, cleared for good and brought back, held, found, saved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from core import LogLine, LogPage
from gui.machine.controller import MachineController
from gui.machine.log_card import LogCard
from tests.support.fake_shell import FakeShell
from tests.support.panel_loop import Panel, panel_on_qt


class ScriptedLog:
    """What ``core.local_log_page`` answers; ``asked`` are the cursors it was asked with."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.gone = 0
        self.asked: list[int] = []

    def say(self, *texts: str) -> None:
        first = self.gone + len(self.lines)
        self.lines += [
            LogLine(number=number, text=text, level="error" if "bad" in text else "info")
            for number, text in enumerate(texts, first)
        ]

    def page(self, cursor: int = 0, most: int = 5_000) -> LogPage:
        del most
        self.asked.append(cursor)
        return LogPage(
            lines=tuple(line for line in self.lines if line.number >= cursor),
            next_cursor=self.gone + len(self.lines),
            dropped=max(0, self.gone - cursor),
        )


@pytest.fixture
def panel(qapp: QApplication, home: Path) -> Iterator[Panel]:
    with panel_on_qt(qapp, home) as running:
        yield running


async def shown(panel: Panel, home: Path) -> tuple[ScriptedLog, MachineController, LogCard]:
    log = ScriptedLog()
    panel.core.local_log_page = log.page  # type: ignore[method-assign]
    await panel.start()
    controller = MachineController(panel.bridge)
    return log, controller, panel.show(LogCard(FakeShell(panel.bridge, home), controller), 520, 300)


def texts(card: LogCard) -> list[str]:
    return [line.text for line in card.view.lines.shown]


def test_new_lines_come_while_it_is_seen_and_nothing_is_asked_while_hidden(panel: Panel, home: Path) -> None:
    async def body() -> None:
        log, controller, card = await shown(panel, home)
        log.say("one", "two")
        await panel.until(lambda: texts(card) == ["one", "two"])
        card.hide()
        await controller.tasks.wait()
        asked = len(log.asked)
        log.say("three")
        await panel.settle()
        assert len(log.asked) == asked
        card.show()
        await panel.until(lambda: texts(card) == ["one", "two", "three"])
        assert log.asked[asked] == 2  # from where it stood
        await controller.stop()

    panel.run(body())


def test_cleared_stays_cleared_also_for_a_new_view_until_it_is_shown_again(panel: Panel, home: Path) -> None:
    async def body() -> None:
        log, controller, card = await shown(panel, home)
        log.say("old")
        await panel.until(lambda: texts(card) == ["old"])
        card.clear_button.click()
        assert texts(card) == []
        assert card.show_again.isVisible()
        log.say("new")
        await panel.until(lambda: texts(card) == ["new"])
        card.hide()
        another = panel.show(LogCard(FakeShell(panel.bridge, home), controller), 520, 300)
        await panel.until(lambda: texts(another) == ["new"])
        another.show_again.click()
        await panel.until(lambda: texts(another) == ["old", "new"])
        assert not another.show_again.isVisible()
        await controller.stop()

    panel.run(body())


def test_lines_that_are_not_kept_are_told(panel: Panel, home: Path) -> None:
    async def body() -> None:
        log, controller, card = await shown(panel, home)
        log.gone = 12_000
        log.say("here")
        await panel.until(lambda: texts(card) == ["here"])
        assert card.view.lines.lost == 12_000
        await controller.stop()

    panel.run(body())


def test_holding_counts_what_is_new_and_the_count_follows_again(panel: Panel, home: Path) -> None:
    async def body() -> None:
        log, controller, card = await shown(panel, home)
        log.say(*[f"line {number}" for number in range(200)])
        await panel.until(lambda: len(texts(card)) == 200)
        card.view.setFocus()
        QTest.keyClick(card.view, Qt.Key.Key_Home)
        assert card.follow.value == "hold"
        log.say(*["more"] * 1_240)
        await panel.until(lambda: card.new_lines.isVisible())
        assert card.new_lines.text() == "1,240 new"
        card.new_lines.click()
        assert card.follow.value == "follow"
        assert not card.new_lines.isVisible()
        await controller.stop()

    panel.run(body())


def test_find_by_the_keyboard_counts_and_steps(panel: Panel, home: Path) -> None:
    async def body() -> None:
        log, controller, card = await shown(panel, home)
        log.say("a bad thing", "well", "bad again", "well")
        await panel.until(lambda: len(texts(card)) == 4)
        card.view.setFocus()
        QTest.keyClick(card.view, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
        assert card.search.hasFocus()
        QTest.keyClicks(card.search, "BAD")
        await panel.until(lambda: card.count.text() == "2 of 2")
        QTest.keyClick(card.search, Qt.Key.Key_Return)
        assert card.count.text() == "1 of 2"
        QTest.keyClick(card.search, Qt.Key.Key_Escape)
        assert card.search.text() == ""
        assert not card.count.isVisible()
        card.set_level("error")
        assert texts(card) == ["a bad thing", "bad again"]
        assert card.level.accessibleName() == "Levels: errors only"
        await controller.stop()

    panel.run(body())


def test_the_log_is_saved_whole_and_a_failure_is_told(panel: Panel, home: Path, tmp_path: Path) -> None:
    async def body() -> None:
        log, controller, card = await shown(panel, home)
        log.say("one", "a bad one")
        await panel.until(lambda: len(texts(card)) == 2)
        card.set_level("error")
        card.save_to(tmp_path / "log.txt")
        await panel.until(lambda: "Saved" in card.told.text)
        assert (tmp_path / "log.txt").read_text() == "INF one\nERR a bad one\n"
        card.save_to(tmp_path / "missing" / "deep" / "log.txt")
        await panel.until(lambda: card.told.tone == "danger")
        assert "Not saved." in card.told.text
        await controller.stop()

    panel.run(body())
