"""An exported chat has a name that every system takes, and words of others can't be more than words in it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from gui.chat.storage.export import file_name, to_markdown
from gui.chat.storage.models import COPIED
from tests.gui.chat.builders import make_conversation, make_decision, make_message

HOSTILE = "</sub><script>x</script>\n# A heading"


@pytest.mark.parametrize(
    "title",
    [
        "../../etc/passwd",
        "CON",
        "nul",
        "Com1",
        "x" * 300,
        "日" * 300,
        "𠀀" * 300,
        "a\0b",
        "...",
        "-rf",
        "🙂",
        "",
        "<img src=x>",
        "\u202egpj.exe",
        "a\nb",
        "C:\\x",
        " . ",
    ],
)
def test_a_title_makes_a_name_that_every_system_takes(title: str) -> None:
    name = file_name(title, "markdown")
    assert re.fullmatch(r"[\w-]+\.md", name)
    assert len(name.encode()) <= 255
    assert not name.startswith("-")
    assert name.removesuffix(".md").upper() not in {"CON", "NUL", "COM1"}


def test_words_of_others_are_no_html_in_the_export() -> None:
    conversation = make_conversation(HOSTILE)
    message = replace(
        make_message(conversation, "assistant", "The answer.", decision=make_decision(reason=HOSTILE)),
        status="done",
    )
    text = to_markdown(replace(conversation, messages=(message,), head_id=message.id))
    assert "<script>" not in text
    assert "# &lt;/sub&gt;" in text.splitlines()[0]
    assert "# A heading" not in text.splitlines()


@pytest.mark.parametrize(("origin", "note"), [("ChatGPT", "<sub>from ChatGPT</sub>"), (COPIED, "")])
def test_only_another_program_is_named_as_where_an_answer_is_from(origin: str, note: str) -> None:
    conversation = make_conversation("Fruit")
    message = replace(make_message(conversation, "assistant", "Plums."), status="done", origin=origin)
    text = to_markdown(replace(conversation, messages=(message,), head_id=message.id))
    assert text == f"# Fruit\n\n## Answer\n\nPlums.\n\n{note}".rstrip() + "\n"
