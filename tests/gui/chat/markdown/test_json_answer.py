"""An answer that is one JSON value is shown as code over lines; what only looks so stays text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton

from gui.chat.markdown.highlighter import LexerCache
from gui.chat.markdown.json_answer import SHOWN_JSON_LINES, is_json, laid_out
from gui.chat.markdown.markdown_view import MarkdownView
from gui.shell.tasks import Tasks

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def view(themed: QApplication) -> MarkdownView:
    view = MarkdownView(LexerCache(None, Tasks()))
    view.resize(760, 400)
    view.show()
    return view


def show(view: MarkdownView, text: str, by: int) -> None:
    if by:
        view.start_stream()
        for at in range(0, len(text), by):
            view.append(text[at : at + by])
            view.flush()
        view.finish()
    else:
        view.set_markdown(text)
    QApplication.processEvents()


def button(view: MarkdownView, words: str) -> QPushButton:
    (found,) = [b for b in view.findChildren(QPushButton) if b.text() == words and b.isVisible()]
    return found


@settings(max_examples=40)
@given(VALUES)
def test_json_over_lines_is_the_same_value(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert json.loads(laid_out(text)) == value
    if not isinstance(value, (dict, list)):
        assert not is_json(text)


@pytest.mark.parametrize("by", [0, 3])
def test_one_line_of_json_is_laid_out_and_can_be_seen_as_written(view: MarkdownView, by: int) -> None:
    text = '{"a": 1.0e5, "b": ["x, {y}", {}], "a": 12345678901234567890.10}'
    show(view, text, by)
    (code,) = view.code_blocks()
    expected = '{\n  "a": 1.0e5,\n  "b": [\n    "x, {y}",\n    {}\n  ],\n  "a": 12345678901234567890.10\n}'
    assert view.visible_text() == code.source == expected
    QTest.keyClick(button(view, "As written"), Qt.Key.Key_Space)
    QApplication.processEvents()
    assert view.visible_text() == text
    code = view.code_blocks()[-1]
    code.copy_button.click()
    assert QGuiApplication.clipboard().text() == text
    QTest.keyClick(button(view, "Lay out"), Qt.Key.Key_Space)
    assert view.visible_text() == expected
    assert view.source == text


@pytest.mark.parametrize("by", [0, 50])
def test_long_json_is_folded(view: MarkdownView, by: int) -> None:
    text = json.dumps(list(range(100)), indent=1)
    show(view, text, by)
    assert view.visible_text().count("\n") == SHOWN_JSON_LINES
    button(view, f"Show {101 - SHOWN_JSON_LINES} more lines").click()
    assert view.visible_text() == text


@pytest.mark.parametrize("by", [0, 2])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[1, 2] say *so*", "[1, 2] say so"),
        ('{"a": 1', '{"a": 1'),
        ('{"a": 1} and **more**', '{"a": 1} and more'),
        ("[a link](http://a.b) and **words**", "a link and words"),
        ("[1] is **cited**", "[1] is cited"),
        ('{"a": NaN}', '{"a": NaN}'),
        ("{ **no** }", "{ no }"),
        ('["a", **no**]', '["a", no]'),
    ],
)
def test_what_is_no_json_stays_text(view: MarkdownView, text: str, shown: str, by: int) -> None:
    show(view, text, by)
    assert view.code_blocks() == []
    assert view.visible_text() == shown


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 5000, "[" * 3000 + "]" * 3000, '["' + "9" * 190_000 + '"]']
)
def test_hostile_json_is_shown(view: MarkdownView, text: str) -> None:
    show(view, text, 0)
    assert view.source == text
