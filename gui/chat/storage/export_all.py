"""All conversations in one file: JSON with the saved prompts, which ``imports`` reads, or Markdown in a zip."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO

from core import writing_whole
from gui.chat.storage.export import ExportFormat, file_name, to_json, to_markdown
from gui.chat.storage.file import StoreTrouble
from gui.chat.storage.models import Conversation, SavedPrompt
from gui.chat.storage.prompts_json import prompts_to_json
from gui.chat.storage.store import ConversationStore

ALL_NAMES: dict[ExportFormat, str] = {"json": "signalbox-chats.json", "markdown": "signalbox-chats.zip"}


class ExportRun:
    """How far an export is, read by the page while a worker goes on; ``is_cancelled`` is the page's.

    ``unreadable`` chats can't be read, so the file has them not; ``prompts`` saved prompts are in it.
    ``failed_because`` says why there is no file.
    """

    def __init__(self) -> None:
        self.is_cancelled = False
        self.done = self.total = self.written = self.unreadable = self.prompts = 0
        self.failed_because = ""


class _Cancelled(Exception):
    pass


def export_all(store: ConversationStore, kind: ExportFormat, path: Path, run: ExportRun) -> None:
    """Write every chat that is not deleted, whole or not at all. Blocks; what goes wrong is told in ``run``."""
    try:
        ids = store.ids()
        run.total = len(ids)
        with writing_whole(path) as file:
            if kind == "json":
                prompts = store.prompts()
                _write_json(file, _conversations(store, ids, run), prompts)
                run.prompts = len(prompts)
            else:
                _write_zip(file, _conversations(store, ids, run))
    except _Cancelled:
        run.failed_because = "It was cancelled, and no file was written."
    except StoreTrouble as problem:
        run.failed_because = f"{problem.message} No file was written."
    except OSError as error:
        reason = error.strerror or error
        run.failed_because = (
            f"{path.name} can’t be written: {reason}. Nothing was lost; choose another folder."
        )


def _conversations(store: ConversationStore, ids: list[str], run: ExportRun) -> Iterator[Conversation]:
    for conversation_id in ids:
        if run.is_cancelled:
            raise _Cancelled
        conversation = store.load(conversation_id)
        run.done += 1
        if conversation is None:
            run.unreadable += 1
            continue
        yield conversation
        run.written += 1


def _write_json(
    file: IO[bytes], conversations: Iterator[Conversation], prompts: tuple[SavedPrompt, ...]
) -> None:
    file.write(b"[")
    # The prompts come last: a Signalbox that doesn't know them has read every chat by then.
    items = chain(map(to_json, conversations), [prompts_to_json(prompts)] if prompts else [])
    for number, item in enumerate(items):
        file.write(b",\n" if number else b"\n")
        file.write(item.rstrip().encode())
    file.write(b"\n]\n")


def _write_zip(file: IO[bytes], conversations: Iterator[Conversation]) -> None:
    taken: set[str] = set()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for conversation in conversations:
            name = _free_name(conversation, taken)
            taken.add(name.casefold())
            archive.writestr(name, to_markdown(conversation))


def _free_name(conversation: Conversation, taken: set[str]) -> str:
    """Return its folder and a name that no other has, also where capitals make no difference."""
    stem = file_name(conversation.title, "markdown").removesuffix(".md")
    folder = (
        file_name(conversation.folder, "markdown").removesuffix(".md") + "/" if conversation.folder else ""
    )
    name, number = f"{folder}{stem}.md", 2
    while name.casefold() in taken:
        name, number = f"{folder}{stem}-{number}.md", number + 1
    return name
