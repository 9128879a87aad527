"""What compression leaves out, and what it never touches."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.chat import ChatRequest, ImagePart, Message, ToolCall
from core.context.compression import compress, passages

SENTENCE = "The signal box stands at the junction and sets the points for every train that passes it. "
PARAGRAPH = (SENTENCE * 4).strip()
OTHER = (SENTENCE.replace("signal box", "level crossing") * 4).strip()

PROTECTED = (
    "```py\nx  =  1   \n\n\n\nif  x:\n\n    pass\n```",
    "~~~\n a  b   \n\n\n~~~",
    "````md\n```\nstill  code   \n```\n\n\n\n````",
    "        ```sh\n        ls   -la  \n        ```",
    "```md\na list:\n\n    ```\n\nstill  code   \n\n```",
    "    indented  code   \n    more   of it  ",
    "\tindented\tby  tabs   ",
    "Call `x  =  1` now,  please.  ",
    'He said "wait  a   moment"  and left.   ',
    "She wrote “two  spaces”  here.  ",
    "Er sagte „zwei  Leerzeichen“  dazu.  ",
    "Il a dit «deux  espaces»  ici.  ",
    "The key is 'a  b'  and nothing else.  ",
    "> a quoted  line   \n> and  another   ",
    "| a  | b   |\n|---|---|\n| 1  |  2  |",
    "name     age   city\nAda       36   London\nGrace     85   Arlington",
    '{"a":  1,\n\n\n "b":  [1,  2]}',
    "[1,  2,\n\n\n 3]",
    "<doc>\nSome  text   here.\n\n\n\nAnd  more   of it.\n</doc>",
    "<a href=1>x  y</a>  ",
    "host:  example\nport:   8080",
    "$ ls  -la   /tmp",
    "f(x)  ->  y",
    "int  x;\nint  y;",
    "path\\to  a   file",
)
words = st.text(alphabet="abcdefghij.,!?é ", min_size=1, max_size=60)
prose = st.one_of(
    words,
    st.sampled_from(
        (PARAGRAPH, OTHER, f"{PARAGRAPH}  ", "Fine.  So be it. ", "don't  stop", "the users'  own ")
    ),
)
segments = st.lists(
    st.one_of(
        prose.map(lambda text: (False, text)), st.sampled_from(PROTECTED).map(lambda text: (True, text))
    ),
    max_size=8,
)
joints = st.sampled_from(("\n\n", "\n\n\n\n", "\n \n\t\n", "\n\n   \n\n"))


def compressed(text: str) -> str:
    return compress(ChatRequest.from_prompt(text)).request.messages[0].text


@settings(max_examples=400, deadline=None)
@given(parts=segments, joint=joints, repeat=st.booleans())
def test_protected_text_comes_out_byte_by_byte_and_in_order(
    parts: list[tuple[bool, str]], joint: str, repeat: bool
) -> None:
    whole = joint.join(text for _, text in parts)
    messages = [Message(role="user", text=whole)]
    if repeat:
        messages += [
            Message(role="assistant", text="Yes."),
            Message(role="user", text=f"{whole}{joint}Again?"),
        ]
    request = ChatRequest(messages=tuple(messages))
    out = compress(request).request
    for before, after in zip(request.messages, out.messages, strict=True):
        assert len(after.text) <= len(before.text)
        position = 0
        for protected, text in parts if before.role == "user" else ():
            if protected:
                found = after.text.find(text, position)
                assert found >= 0, (text, after.text)
                position = found + len(text)
    assert compress(out).request == out, "doing it again changes nothing"
    assert compress(out).saved_tokens == 0


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab \n\t\r`\"'<>{}[]|.,;:=-#*\\/~“”‘’()x", max_size=200))
def test_whatever_the_text_it_never_grows_and_words_are_kept(text: str) -> None:
    out = compressed(text)
    assert len(out) <= len(text)
    assert out.split() == text.split(), "only blanks are left out"
    assert compressed(out) == out
    assert "".join(passage.text + passage.gap for passage in passages(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One  two three.   \nFour.", "One two three.\nFour."),
        ("One.  Two.  Three.\nFour.  Five.", "One. Two. Three.\nFour. Five."),
        ("One.\n\n\n\nTwo.", "One.\n\nTwo."),
        ("\n\n  \nOne.\n\n \n", "One."),
        ("One.\r\n\r\n\r\n\r\nTwo.  \r\nThree.", "One.\r\n\r\nTwo.\r\nThree."),
        ("One.\n\n\n```\na  b\n```\n\n\nTwo.", "One.\n\n\n```\na  b\n```\n\n\nTwo."),
    ],
)
def test_needless_blanks_of_prose_go(text: str, expected: str) -> None:
    assert compressed(text) == expected


@pytest.mark.parametrize(
    "opener",
    ['an odd " quote', "an open { brace", "a `tick", "<open>", "a 'quote", "«", "5 [metres", "“", "<!--"],
)
def test_what_is_left_open_protects_all_that_follows(opener: str) -> None:
    text = f"Two  blanks.\n\n{opener}\n\nleft  as   it is.\n\n\n\nAnd  this."
    assert compressed(text) == text.replace("Two  blanks", "Two blanks")


def test_a_blank_prompt_stays_a_blank_prompt() -> None:
    for text in ("", " ", "\n\n\n", "  \n "):
        assert compressed(text).strip() == ""


def test_a_document_pasted_again_becomes_a_reference() -> None:
    document = "\n\n".join(f"{number}. {SENTENCE * 4}".strip() for number in range(1, 21))
    request = ChatRequest(
        messages=(
            Message(role="user", text=f"{document}\n\nSummarise it."),
            Message(role="assistant", text="It is about a signal box."),
            Message(role="user", text=f"{document}\n\nNow translate it."),
        )
    )
    result = compress(request)
    first, _, last = result.request.messages
    assert first.text == request.messages[0].text
    assert last.text.endswith("\n\nNow translate it.")
    assert "The same as above, word for word" in last.text
    assert "and the next 19 paragraphs" in last.text
    assert len(last.text) < 200
    saved = len(request.messages[2].text) - len(last.text)
    assert result.saved_tokens == pytest.approx(saved / 3.8, abs=2)


def test_a_paragraph_repeated_within_one_turn_becomes_a_reference() -> None:
    out = compressed(f"{PARAGRAPH}\n\nBetween.\n\n{PARAGRAPH}\n\nEnd.")
    assert out.count(PARAGRAPH) == 1
    assert out.startswith(f"{PARAGRAPH}\n\nBetween.\n\n[The same as above")


def test_a_turn_that_is_nothing_but_a_repetition_stays() -> None:
    messages = (
        Message(role="user", text=PARAGRAPH),
        Message(role="assistant", text="No."),
        Message(role="user", text=PARAGRAPH),
    )
    assert compress(ChatRequest(messages=messages)).request.messages == messages


def test_short_paragraphs_and_near_repetitions_stay() -> None:
    short = "A paragraph of less than two hundred characters."
    changed = PARAGRAPH.replace("junction", "Junction", 1)
    text = f"{short}\n\n{PARAGRAPH}\n\n{short}\n\n{changed}"
    assert compressed(text) == text


def test_only_user_turns_get_references() -> None:
    messages = (
        Message(role="user", text=f"{PARAGRAPH}\n\nRepeat it."),
        Message(role="assistant", text=f"Here it is.\n\n{PARAGRAPH}"),
        Message(role="user", text="Thanks."),
    )
    request = ChatRequest(messages=messages, system=PARAGRAPH)
    out = compress(request).request
    assert out.system == PARAGRAPH
    assert out.messages[0].text.startswith("[The same as above"), "the system prompt stands above it"
    assert out.messages[1] == messages[1]


def test_tool_turns_pinned_turns_and_images_are_left_alone() -> None:
    loose = "Two  blanks.   \n\n\n\nAnd  more.  "
    messages = (
        Message(role="user", text=loose, pinned=True),
        Message(role="assistant", text=loose, tool_calls=(ToolCall("1", "f", '{"a":  1}'),)),
        Message(role="tool", text=loose, tool_call_id="1"),
        Message(role="user", text=loose, images=(ImagePart("image/png", "aGk="),)),
    )
    out = compress(ChatRequest(messages=messages)).request.messages
    assert out[:3] == messages[:3]
    assert out[3] == replace(messages[3], text="Two blanks.\n\nAnd more.")


def test_what_needs_nothing_is_the_very_same_request() -> None:
    request = ChatRequest.from_prompt(f"{PARAGRAPH}\n\n{OTHER}", system="Be brief.")
    assert compress(request).request is request


def test_the_beginning_of_a_conversation_stays_the_same() -> None:
    """A prompt cache needs an exact prefix: what comes later must not change what was sent before."""
    turns = [
        Message(role="user", text=f"{PARAGRAPH}\n\n\n\nWhat  is it?"),
        Message(role="assistant", text="A  box.  "),
        Message(role="user", text=f"{PARAGRAPH}\n\n{OTHER}\n\nAnd now?"),
        Message(role="assistant", text="The same."),
        Message(role="user", text=f"{OTHER}\n\nReally?"),
    ]
    whole = compress(ChatRequest(messages=tuple(turns))).request.messages
    for length in range(1, len(turns)):
        assert compress(ChatRequest(messages=tuple(turns[:length]))).request.messages == whole[:length]


@pytest.mark.parametrize(
    "unit",
    [
        "<a <b>",
        "'a ",
        " ",
        "a\n\n",
        "a \n\n\n",
        '"x" ',
        "<t>\n\n",
        "a  b ",
        "```\n",
        "a: b: ",
        "\n \t",
        "- a  b\n",
    ],
)
def test_a_megabyte_of_anything_is_no_trap(unit: str) -> None:
    """Each takes a fraction of a second; a pass of quadratic time would run into the test's time-out."""
    text = unit * (1_000_000 // len(unit))
    assert len(compressed(text)) <= len(text)
