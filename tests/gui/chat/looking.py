"""What a test of the chat page sees and does, in a word each."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton

from gui.chat.answer_message import AnswerMessage
from gui.chat.user_message import UserMessage
from tests.gui.chat.panel import ChatPanel


def texts(panel: ChatPanel) -> list[str]:
    return [message.text for message in panel.page.controller.session.tree.path()]


def shown(panel: ChatPanel) -> list[str]:
    """What a reader sees, message by message."""
    found: list[str] = []
    for view in panel.page.view.thread_view.views():
        if isinstance(view, UserMessage):
            found.append(view.pane.toPlainText())
        elif isinstance(view, AnswerMessage):
            found.append(view.view.visible_text())
    return found


def last_answer(panel: ChatPanel) -> AnswerMessage:
    view = panel.page.view.thread_view.views()[-1]
    assert isinstance(view, AnswerMessage)
    return view


def press(panel: ChatPanel, key: Qt.Key, *modifiers: Qt.KeyboardModifier) -> None:
    QTest.keyClick(panel.page.view.composer.edit, key, *modifiers)


def click(button: QAbstractButton) -> None:
    """As with the pointer: a button whose focus policy allows it takes the focus first."""
    if button.focusPolicy() & Qt.FocusPolicy.ClickFocus:
        button.setFocus(Qt.FocusReason.MouseFocusReason)
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
