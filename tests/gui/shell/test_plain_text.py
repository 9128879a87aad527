"""Words from models, servers and files are shown letter by letter, wherever they turn up in the window."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QLabel,
    QMessageBox,
    QPushButton,
    QToolTip,
    QWidget,
)

from core.errors import Unavailable
from core.local.server import ServerState
from core.services.status import ApiStatus, Problem
from gui.chat.answer_message import AnswerMessage
from gui.pages import PAGES
from gui.shell.pages import Target
from gui.shell.window import Window
from gui.theme.theme import theme
from gui.widgets.labels import label, plain_label
from gui.widgets.sentence import Sentence
from tests.gui.chat.builders import make_decision
from tests.gui.chat.panel import ChatPanel, chat_panel
from tests.gui.chat.scripted_core import Script

ROOT = Path(__file__).parents[3]
HOSTILE = '<b>&R</b><img src="file:///nowhere.png"> '

# What makes Qt read a text as HTML, or reads one itself, with the modules that may.
RICH = {
    "QLabel": {"gui/widgets/labels.py"},
    "QMessageBox": {"gui/app.py"},  # before there is a window, with its format set first
    "QErrorMessage": set[str](),
    "QTextDocument": set[str](),
    "QTextBrowser": set[str](),
    "setHtml": {"gui/chat/markdown/prose.py"},  # what is copied, for other programs to read
    "insertHtml": set[str](),
    "appendHtml": set[str](),
    "setMarkdown": {"gui/chat/markdown/prose.py"},  # in a document that loads nothing, without HTML
    "setTextFormat": {"gui/app.py", "gui/widgets/labels.py", "gui/widgets/sentence.py"},
    "setOpenExternalLinks": set[str](),
}


def test_only_the_modules_that_take_care_show_text_that_could_be_html() -> None:
    calls = {
        (node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", ""), path)
        for path in (ROOT / "gui").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }
    found = {name: {p.relative_to(ROOT).as_posix() for n, p in calls if n == name} for name in RICH}
    assert found == RICH, "use plain_label or label of gui/widgets/labels.py, or Sentence"


@pytest.fixture
def themed(qapp: QApplication) -> QApplication:
    theme().install(qapp)
    return qapp


def tip_shown() -> QLabel:
    [tip] = [widget for widget in QApplication.topLevelWidgets() if widget.inherits("QTipLabel")]
    assert isinstance(tip, QLabel)
    return tip


def test_a_tooltip_shows_tags_as_letters(themed: QApplication) -> None:
    button = QPushButton("x")
    button.setToolTip(HOSTILE)
    button.show()
    QToolTip.showText(QPoint(5, 5), button.toolTip(), button)
    assert tip_shown().textFormat() == Qt.TextFormat.PlainText
    assert tip_shown().text() == HOSTILE
    QToolTip.showText(QPoint(9, 9), "<i>another</i>", button)
    assert tip_shown().textFormat() == Qt.TextFormat.PlainText
    QToolTip.hideText()


def test_a_message_box_of_qt_shows_tags_as_letters(themed: QApplication) -> None:
    """Qt's file dialogs ask in one whether a file is to be replaced, and name it."""
    box = QMessageBox()
    box.setText(HOSTILE)
    box.setInformativeText(HOSTILE)
    box.ensurePolished()
    for words in box.findChildren(QLabel):
        words.ensurePolished()
        assert HOSTILE not in words.text() or words.textFormat() == Qt.TextFormat.PlainText


def test_a_label_is_plain_from_its_first_text(themed: QApplication) -> None:
    for made in (plain_label(HOSTILE), label(HOSTILE)):
        assert made.textFormat() == Qt.TextFormat.PlainText
        assert made.text() == HOSTILE


def shown_as_html(root: QWidget) -> list[str]:
    """Return the words of ``root`` that are read as HTML, and the buttons that took a shortcut from their text."""
    found: list[str] = []
    for widget in (root, *root.findChildren(QWidget)):
        if isinstance(widget, QLabel) and not isinstance(widget, Sentence):
            if widget.textFormat() != Qt.TextFormat.PlainText and widget.text():
                found.append(f"{type(widget.parent()).__name__}: {widget.text()}")
        elif isinstance(widget, Sentence):
            if "<img" in widget.text() or "<b>" in widget.text():
                found.append(widget.text())
        elif (
            isinstance(widget, QAbstractButton) and "&R" in widget.text() and not widget.shortcut().isEmpty()
        ):
            found.append(f"{type(widget).__name__}: {widget.text()}")
    return found


async def opened(panel: ChatPanel) -> Window:
    await panel.bridge.start()
    await panel.until(lambda: panel.bridge.status is not None)
    window = Window(panel.bridge, panel.home, PAGES)
    window.resize(1280, 800)
    window.show()
    await window.start()
    return window


def hostile_status() -> dict[str, Any]:
    return {
        "local": ServerState(
            kind="external", phase="ready", model=HOSTILE, detail=HOSTILE, hint=HOSTILE, base_url=HOSTILE
        ),
        "api": ApiStatus(phase="key_set", model=HOSTILE),
        "problems": (Problem(kind="setting", title=HOSTILE, message=HOSTILE, hint=HOSTILE),),
    }


def test_nothing_in_the_window_is_read_as_html(qapp: QApplication, home: Path) -> None:
    async def body() -> None:
        window = await opened(panel)
        window.open(Target("chat"))
        chat: Any = window.page("chat")
        panel.core.publish(**hostile_status())
        await panel.until(lambda: HOSTILE in chat.view.hint.sentence)
        assert shown_as_html(window) == []
        decision = make_decision("local", model=HOSTILE, provider=HOSTILE, reason=HOSTILE)
        panel.core.decide_with = lambda request: decision
        for script in (
            Script(HOSTILE, decision=decision, result={"model": HOSTILE, "correlation_id": HOSTILE}),
            Script(HOSTILE, decision=decision, error=Unavailable(HOSTILE, hint=HOSTILE), before=2),
            Script(HOSTILE, decision=decision, error=Unavailable(HOSTILE, hint=HOSTILE)),
        ):
            panel.core.say(script)
            asked = len(panel.core.requests)
            chat.view.composer.set_content(HOSTILE)
            chat.view.composer.submitted.emit()
            await panel.until(lambda before=asked: len(panel.core.requests) > before)
            await panel.until(lambda: not chat.controller.session.is_streaming)
            await panel.until(lambda: not chat.view.thread_view.is_building)
            assert shown_as_html(window) == []
        for answer in chat.view.thread_view.findChildren(AnswerMessage):
            answer.badge.opened.emit()
            assert shown_as_html(window) == []
        for entry in PAGES.entries:
            window.open(Target(entry.id))
            await asyncio.sleep(0)
            assert shown_as_html(window) == []
        window.close()
        await window.stop()
        window.deleteLater()

    with chat_panel(qapp, home) as panel:
        panel.run(body)
