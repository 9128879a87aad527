"""Saved prompts go with the chats of a JSON export, and an import changes none that is here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gui.chat.storage.export_all import ExportRun, export_all
from gui.chat.storage.imports.run import ImportRun, import_file, report_of
from gui.chat.storage.models import SavedPrompt
from gui.chat.storage.store import ConversationStore
from tests.gui.chat.builders import make_conversation, make_message


@pytest.fixture(name="store")
def new_store(tmp_path: Path) -> Iterator[ConversationStore]:
    store = ConversationStore(tmp_path / "here.sqlite3")
    yield store
    store.close()


def exported(path: Path, *prompts: SavedPrompt) -> Path:
    store = ConversationStore(None)
    chat = make_conversation("Fruit")
    prompt = make_message(chat, "user", "Fruit?")
    store.add(make_conversation("Fruit", id=chat.id, messages=(prompt,), head_id=prompt.id))
    store.save_prompts(prompts)
    run = ExportRun()
    export_all(store, "json", path, run)
    store.close()
    assert (run.failed_because, run.written, run.prompts) == ("", 1, len(prompts))
    return path


def imported(store: ConversationStore, path: Path) -> list[str]:
    run = ImportRun()
    import_file(store, path, run)
    return report_of(run)


def kept(store: ConversationStore) -> list[tuple[str, str, bool]]:
    return [(prompt.name, prompt.text, prompt.is_default) for prompt in store.prompts()]


def test_on_a_new_machine_all_are_there_as_they_were(store: ConversationStore, tmp_path: Path) -> None:
    prompts = SavedPrompt(name="Brief", text="Be brief."), SavedPrompt(name="Kind", text="K", is_default=True)
    path = exported(tmp_path / "all.json", *prompts)
    report = ["1 chat from Signalbox imported, with 1 message.", "2 saved prompts imported."]
    assert imported(store, path) == report
    assert kept(store) == [("Brief", "Be brief.", False), ("Kind", "K", True)]


def test_the_same_is_skipped_and_another_text_of_the_name_stands_beside(
    store: ConversationStore, tmp_path: Path
) -> None:
    long = "x" * 80
    store.save_prompts(
        [
            SavedPrompt(name="Brief", text="Be brief.", is_default=True),
            SavedPrompt(name="Kind", text="Mine"),
            SavedPrompt(name=long, text="Mine"),
        ]
    )
    path = exported(
        tmp_path / "all.json",
        SavedPrompt(name="Brief", text="Be brief."),
        SavedPrompt(name="KIND", text="Theirs", is_default=True),
        SavedPrompt(name=long, text="Theirs"),
    )
    assert imported(store, path)[1:] == [
        "2 saved prompts imported, 2 of them as “… (imported)” beside one of the same name.",
        "1 saved prompt was here already.",
    ]
    after = [
        ("Brief", "Be brief.", True),
        ("Kind", "Mine", False),
        ("KIND (imported)", "Theirs", False),
        (f"{'x' * 69} (imported)", "Theirs", False),
        (long, "Mine", False),
    ]
    assert kept(store) == after
    assert imported(store, path)[1] == "3 saved prompts were here already."
    assert kept(store) == after


def test_what_cannot_be_kept_is_left_out_and_told(store: ConversationStore, tmp_path: Path) -> None:
    wrong = [{"name": "", "text": "x"}, {"name": "x", "text": " "}, 7, {"name": "Good", "text": "g"}]
    path = tmp_path / "all.json"
    items = [
        {"format": "signalbox-prompts", "version": 1, "prompts": wrong},
        {"format": "signalbox-prompts", "version": 9, "prompts": [{"name": "New", "text": "n"}]},
    ]
    path.write_text(json.dumps(items))
    assert imported(store, path) == [
        "No chat was imported.",
        "1 saved prompt imported.",
        "Left out: 4 saved prompts that can’t be kept.",
    ]
    assert kept(store) == [("Good", "g", False)]
