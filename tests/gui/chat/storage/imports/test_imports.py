"""Exports of ChatGPT, Claude and Signalbox become chats; hostile files cost nothing but a sentence."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import pytest

from core import Spending
from core.errors import Unavailable
from gui.chat.storage import models
from gui.chat.storage.copying import duplicate, with_new_ids
from gui.chat.storage.export import to_json
from gui.chat.storage.imports import items
from gui.chat.storage.imports.run import ImportRun, import_file, report_of
from gui.chat.storage.models import Attachment, ChatOptions, Conversation, StoredError
from gui.chat.storage.store import ConversationStore
from tests.gui.chat.builders import make_conversation, make_message, make_result
from tests.gui.chat.storage.imports.exports import chatgpt_chat, chatgpt_message, claude_chat
from tests.support.full_values import FULL_DECISION, FULL_RESULT


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    opened = ConversationStore(tmp_path / "home" / "conversations.sqlite3")
    yield opened
    opened.close()


def run(store: ConversationStore, path: Path) -> ImportRun:
    made = ImportRun()
    import_file(store, path, made)
    return made


def written(path: Path, value: object) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def zipped(path: Path, files: dict[str, object]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in files.items():
            archive.writestr(name, json.dumps(value))
    return path


def only(store: ConversationStore) -> Conversation:
    (summary,) = store.summaries()
    found = store.load(summary.id)
    assert found is not None
    return found


def shown(conversation: Conversation) -> list[tuple[str, str]]:
    by_id = {message.id: message for message in conversation.messages}
    path: list[tuple[str, str]] = []
    at = conversation.head_id
    while at is not None:
        path.insert(0, (by_id[at].role, by_id[at].text))
        at = by_id[at].parent_id
    return path


def test_a_chatgpt_export_keeps_its_branches_and_says_what_was_left_out(
    store: ConversationStore, tmp_path: Path
) -> None:
    found = run(
        store, zipped(tmp_path / "export.zip", {"user.json": {}, "a/conversations.json": [chatgpt_chat()]})
    )
    conversation = only(store)
    assert (conversation.title, conversation.source) == ("Lever frames", "chatgpt:c-1")
    assert shown(conversation) == [
        ("user", "Who pulls the levers?"),
        ("assistant", "The signaller."),
        ("user", "See the frame?"),
        ("assistant", "```python\nx = 1\n```"),
    ]
    answers = [item for item in conversation.messages if item.role == "assistant"]
    assert [item.origin for item in answers] == ["ChatGPT, gpt-4o"] * 3
    assert {item.text for item in answers} >= {"A signalman.", "The signaller."}
    assert all(item.decision is None and item.result is None for item in answers)
    (summary,) = store.search("signalman")
    assert (summary.totals.answers, summary.answered_elsewhere) == (0, True)
    store.add(duplicate(conversation))
    assert [each.answered_elsewhere for each in store.summaries()] == [True, True], "its duplicate too"
    assert report_of(found) == [
        "1 chat from ChatGPT imported, with 5 messages.",
        "Left out of the chats: 1 picture, 2 tool calls and results.",
        "What their answers cost is not known, so they count as “–”.",
    ]


def test_chatgpts_marks_around_sources_become_what_they_show(
    store: ConversationStore, tmp_path: Path
) -> None:
    cited, bare = "\ue200cite\ue202turn0search1\ue201", "\ue200cite\ue202turn0news7\ue201"
    entity = '\ue200entity\ue202["organization","Network Rail","UK"]\ue201'
    references = [
        None,
        {"matched_text": cited, "alt": "([Rail](https://rail.example))"},
        {"matched_text": bare},
    ]
    chat = chatgpt_chat()
    chat["mapping"]["a2"]["message"] = chatgpt_message(
        "assistant",
        f"Spread. {cited} By {entity}.{bare} \ue200entity\ue202[",
        metadata={"content_references": references},
    )
    found = run(store, written(tmp_path / "c.json", [chat]))
    assert shown(only(store))[1][1] == (
        "Spread. ([Rail](https://rail.example)) By Network Rail. \ue200entity\ue202["
    )
    assert any("1 reference to a source" in line for line in report_of(found))


def test_a_claude_export_keeps_what_was_pasted(store: ConversationStore, tmp_path: Path) -> None:
    found = run(
        store,
        written(
            tmp_path / "conversations.json", [claude_chat(), claude_chat("", "u-2") | {"chat_messages": []}]
        ),
    )
    conversation = only(store)
    assert shown(conversation) == [("user", "Which train is late?"), ("assistant", "The 9.15 to York.")]
    assert conversation.messages[0].attachments[0].text == "09:15"
    assert conversation.created_at.isoformat() == "2025-02-03T10:00:00.123000+00:00"
    assert found.unusable == {"has no message that can be kept": 1}
    assert dict(found.left_out) == {"thoughts": 1, "tool calls and results": 1, "files": 1}


def test_claudes_branches_and_sentinel_parents(store: ConversationStore, tmp_path: Path) -> None:
    chat = claude_chat()
    first, answer = chat["chat_messages"]
    first["parent_message_uuid"] = "00000000-0000-4000-8000-000000000000"
    answer["parent_message_uuid"] = "1"
    chat["chat_messages"].append(answer | {"uuid": "3", "content": [{"type": "text", "text": "None."}]})
    run(store, written(tmp_path / "c.json", [chat | {"current_leaf_message_uuid": "2"}]))
    conversation = only(store)
    assert shown(conversation)[-1] == ("assistant", "The 9.15 to York.")
    assert len([item for item in conversation.messages if item.role == "assistant"]) == 2


def test_a_repeated_import_adds_nothing_and_changes_nothing(store: ConversationStore, tmp_path: Path) -> None:
    path = written(
        tmp_path / "c.json", [chatgpt_chat(), claude_chat(), claude_chat("No id", ""), claude_chat()]
    )
    assert run(store, path).imported == 3
    ids = {summary.id for summary in store.summaries()}
    gone = next(summary.id for summary in store.summaries() if summary.title == "Timetables")
    store.rename(next(iter(ids - {gone})), "Renamed")
    store.delete(gone)
    again = run(store, path)
    assert (again.imported, again.already_here, again.deleted_here) == (0, 2, 2)
    assert {summary.id for summary in store.summaries()} == ids - {gone}
    assert "Renamed" in {summary.title for summary in store.summaries()}


FULL_OPTIONS = ChatOptions(
    system="Be brief.",
    max_tokens=900,
    temperature=0.2,
    schema_text="{",
    force="api",
    model="claude-opus-5",
    top_p=0.9,
    stop=("END", "\n\n"),
    seed=7,
)


def full_conversation() -> Conversation:
    conversation = make_conversation(
        "Everything",
        titled_by_user=True,
        options=FULL_OPTIONS,
        draft="and then",
        draft_attachments=(Attachment(name="d.txt", kind="text", content=b"draft"),),
        folder="Work",
        pinned=True,
    )
    asked = make_message(
        conversation,
        "user",
        "Why? ß 🙂",
        pinned=True,
        attachments=(
            Attachment(name="a.txt", kind="text", content=b"x"),
            Attachment(name="p.png", kind="image", content=bytes(range(256)), media_type="image/png"),
        ),
    )
    result = replace(FULL_RESULT, text="Because.")
    answer = make_message(
        conversation,
        "assistant",
        "Because.",
        parent_id=asked.id,
        result=result,
        decision=result.decision,
        correlation_id="k",
        hold_nanodollars=5,
        options=replace(FULL_OPTIONS, seed=8),
    )
    other = make_message(
        conversation,
        "assistant",
        "",
        parent_id=asked.id,
        status="failed",
        decision=FULL_DECISION,
        error=StoredError.from_error(Unavailable("Nothing answers.", hint="Try again.")),
    )
    local = make_result("Local.", "local")
    third = make_message(
        conversation,
        "assistant",
        "Local.",
        parent_id=asked.id,
        result=local,
        decision=local.decision,
        origin="copy",
        options=ChatOptions(),
        settled_later=Spending(spent_nanodollars=3, estimated=True, unsettled_nanodollars=4, unpriced=1),
    )
    return replace(conversation, messages=(asked, answer, other, third), head_id=answer.id)


def left_at_defaults(values: Iterable[Any]) -> set[str]:
    """The fields that none of the values has set."""
    values = tuple(values)
    return {
        field.name
        for field in fields(values[0])
        if field.default is not MISSING
        and all(getattr(value, field.name) == field.default for value in values)
    }


def comparable(conversation: Conversation, monkeypatch: pytest.MonkeyPatch) -> Conversation:
    """The same with ids in the order of what they belong to."""
    numbers = iter(range(1000))
    monkeypatch.setattr(models, "new_id", lambda: f"id-{next(numbers)}")
    monkeypatch.setattr("gui.chat.storage.copying.new_id", lambda: f"id-{next(numbers)}")
    return replace(with_new_ids(conversation), source=None)


def test_what_is_exported_as_json_is_imported_without_loss(
    store: ConversationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = full_conversation()
    assert left_at_defaults([FULL_OPTIONS]) == left_at_defaults(conversation.messages) == set()
    assert left_at_defaults([conversation]) == {"source"}
    found = run(store, written(tmp_path / "chat.json", to_json(conversation)))
    assert report_of(found) == ["1 chat from Signalbox imported, with 4 messages."]
    imported = only(store)
    assert imported.id != conversation.id
    assert comparable(imported, monkeypatch) == comparable(conversation, monkeypatch)
    again = tmp_path / "again.json"
    written(again, f"[{to_json(imported)}, {to_json(conversation)}]")
    assert run(store, again).already_here == 2


def test_an_export_of_the_first_version_keeps_its_costs(store: ConversationStore, tmp_path: Path) -> None:
    value = json.loads(to_json(full_conversation())) | {"version": 1}
    old = (
        "provider",
        "side",
        "model",
        "finish_reason",
        "usage",
        "cost_dollars",
        "loaded_dollars",
        "price_version",
    )
    old += ("latency_ms", "ttft_ms", "output_tokens_per_s", "correlation_id")
    for message in value["messages"]:
        if message.get("result"):
            message["result"] = {name: message["result"][name] for name in old}
    run(store, written(tmp_path / "chat.json", value))
    answer = only(store).messages[1]
    assert answer.result is not None
    assert (answer.result.cost_nanodollars, answer.result.model) == (
        FULL_RESULT.cost_nanodollars,
        FULL_RESULT.model,
    )


@pytest.mark.parametrize(
    "amounts",
    [
        {"cost_nanodollars": 10**30},
        {"loaded_nanodollars": -(10**30)},
        {"unresolved_nanodollars": 10**17},
        {"cost_nanodollars": -1},
        {"steps": [{"kind": "retried", "detail": "", "cost_nanodollars": 10**18}] * 20},
    ],
)
def test_a_cost_that_nobody_could_owe_costs_itself_and_no_more(
    store: ConversationStore, tmp_path: Path, amounts: dict[str, Any]
) -> None:
    value = json.loads(to_json(full_conversation()))
    value["messages"][1]["result"] |= {"replayed": False, "cost_nanodollars": None, **amounts}
    assert run(store, written(tmp_path / "chat.json", value)).imported == 1
    answer = only(store).messages[1]
    assert answer.text == "Because."
    assert 0 <= answer.spending.spent_nanodollars <= 10**15
    assert 0 <= answer.spending.unsettled_nanodollars <= 10**15


def nested(depth: int) -> str:
    return "[" + '{"mapping":' * depth + "1" + "}" * depth + "]"


def circle() -> dict[str, Any]:
    chat = chatgpt_chat()
    chat["mapping"]["sys"]["parent"] = "call"
    chat["mapping"]["q"]["parent"] = "tool"
    return chat


def claims_to_be(conversation: Conversation, victim: Conversation) -> str:
    value = json.loads(to_json(conversation))
    value["messages"][0]["id"] = victim.messages[0].id
    return json.dumps(value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "JSON was expected"),
        ("PK\x03\x04 and no more", "The zip is broken"),
        ("<html>", "JSON was expected"),
        ("[1, 2, null]", "3 chats, since each is no chat"),
        ('[{"mapping": {}}, {"chat_messages": "x"}', "breaks off"),
        (nested(100_000), "nested too deeply"),
        ('[{"mapping": {"a": ' + "9" * 5000 + "}}]", "no number"),
        (json.dumps([chatgpt_chat()])[:-40], "breaks off"),
        (
            json.dumps([chatgpt_chat() | {"create_time": float("nan"), "update_time": 1e300, "title": [1]}]),
            "1 chat from",
        ),
        (json.dumps([circle()]), "1 chat from ChatGPT"),
        (json.dumps({"format": "signalbox-conversation", "version": 99}), "newer Signalbox"),
        (
            json.dumps([claude_chat() | {"chat_messages": [{"sender": 3, "content": {"a": 1}, "files": 7}]}]),
            "no message",
        ),
        (
            json.dumps([claude_chat() | {"uuid": "x" * 10_000, "name": "\ud800\0" * 300}]),
            "1 chat from Claude",
        ),
    ],
)
def test_a_file_that_makes_no_sense_is_told_and_harms_nothing(
    store: ConversationStore, tmp_path: Path, content: str, says: str
) -> None:
    kept = full_conversation()
    store.add(kept)
    path = tmp_path / "file.json"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    found = run(store, path)
    assert says in " ".join(report_of(found))
    assert store.load(kept.id) == kept
    for summary in store.summaries():
        assert store.load(summary.id) is not None
    assert store.unreadable_rows == 0


def test_ids_in_a_file_never_reach_what_is_here(store: ConversationStore, tmp_path: Path) -> None:
    kept = full_conversation()
    store.add(kept)
    other = full_conversation()
    found = run(store, written(tmp_path / "chat.json", claims_to_be(other, kept)))
    assert found.imported == 1
    assert store.load(kept.id) == kept


def test_what_is_read_of_a_zip_is_bounded(
    store: ConversationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "MOST_BYTES", 3_000_000)
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conversations.json", "[" + " " * 30_000_000)
    assert bomb.stat().st_size < 100_000
    assert "GB in it" in run(store, bomb).stopped_because
    many = zipped(tmp_path / "many.zip", {f"conversations-{number:03}.json": [] for number in range(40)})
    monkeypatch.setattr(items, "MOST_DIRECTORY_BYTES", 1000)
    assert "more files" in run(store, many).stopped_because
    monkeypatch.undo()
    assert run(store, many).stopped_because == ""
    assert "no conversations.json" in run(store, zipped(tmp_path / "md.zip", {"a.md": ""})).stopped_because
    cut = tmp_path / "cut.zip"
    cut.write_bytes(many.read_bytes()[:-30])
    assert "zip is broken" in run(store, cut).stopped_because
    assert "can’t be read" in run(store, tmp_path / "none.json").stopped_because
    assert "can’t be read" in run(store, tmp_path).stopped_because


def test_chats_are_found_wherever_the_file_is_cut_into_pieces(
    store: ConversationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "CHUNK_BYTES", 37)
    chats = [chatgpt_chat(f"Chat {number} ß🙂", f"c-{number}") for number in range(5)]
    found = run(
        store,
        zipped(
            tmp_path / "e.zip", {"conversations-000.json": chats[:3], "conversations-001.json": chats[3:]}
        ),
    )
    assert (found.imported, found.read_bytes) == (5, found.total_bytes)


def test_a_cancelled_import_keeps_what_it_has(store: ConversationStore, tmp_path: Path) -> None:
    made = ImportRun()
    path = written(tmp_path / "c.json", [chatgpt_chat(chat_id=str(number)) for number in range(9)])
    add = store.add

    def add_two(conversation: Conversation) -> None:
        add(conversation)
        made.is_cancelled = made.imported == 1

    store.add = add_two  # type: ignore[method-assign]
    import_file(store, path, made)
    assert report_of(made)[:2] == ["2 chats from ChatGPT imported, with 10 messages.", "It was cancelled."]
    assert len(store.summaries()) == 2


def test_a_byte_order_mark_is_no_part_of_the_json() -> None:
    counter = items._Counter(lambda _read, _total: None, 0)  # pyright: ignore[reportPrivateUsage]
    found = list(items._items(io.BytesIO(b"\xef\xbb\xbf[{}]"), counter))  # pyright: ignore[reportPrivateUsage]
    assert found == [{}]
