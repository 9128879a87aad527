"""One import, from a file into the store: each chat in one piece, what is there already left as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from core import counted
from gui.chat.storage.file import StoreTrouble
from gui.chat.storage.imports import chatgpt, claude, own
from gui.chat.storage.imports.items import ImportRefused, conversations_in
from gui.chat.storage.imports.parts import LeftOut, Unusable, as_dict, as_list
from gui.chat.storage.imports.prompts import PromptCounts, is_prompts, new_prompts
from gui.chat.storage.models import Conversation
from gui.chat.storage.store import ConversationStore

_ONE = {
    "tool calls and results": "tool call or result",
    "references to sources": "reference to a source",
    "messages of an unknown author": "message of an unknown author",
}


class Reader(Protocol):
    """A format of exports."""

    @property
    def NAME(self) -> str: ...

    @property
    def is_one(self) -> Callable[[dict[str, Any]], bool]: ...

    @property
    def read(self) -> Callable[[dict[str, Any], LeftOut], Conversation]: ...


READERS: tuple[Reader, ...] = (own, chatgpt, claude)


class ImportRun:
    """What an import has done so far, read by the page while a worker goes on; ``is_cancelled`` is the page's.

    ``formats`` counts the chats of each program, ``unusable`` those left out by why, ``left_out`` what was left out
    of those that were imported. ``prompts`` counts the saved ones. ``stopped_because`` says why the file was not
    read to its end.
    """

    def __init__(self) -> None:
        self.is_cancelled = False
        self.read_bytes = self.total_bytes = 0
        self.imported = self.messages = 0
        self.already_here = self.deleted_here = 0
        self.prompts = PromptCounts()
        self.formats: Counter[str] = Counter()
        self.unusable: Counter[str] = Counter()
        self.left_out: LeftOut = LeftOut()
        self.stopped_because = ""

    def note_progress(self, read_bytes: int, total_bytes: int) -> None:
        self.read_bytes, self.total_bytes = read_bytes, total_bytes


def import_file(store: ConversationStore, path: Path, run: ImportRun) -> None:
    """Import every chat of a file that is not here yet. Blocks; what is wrong with the file is told in ``run``."""
    try:
        known = store.sources()
        for item in conversations_in(path, run.note_progress):
            if run.is_cancelled:
                run.stopped_because = "It was cancelled."
                return
            _take(store, as_dict(item), known, run)
    except (ImportRefused, StoreTrouble) as problem:
        run.stopped_because = f"{problem.message} {problem.hint}".strip()
    except OSError as error:
        run.stopped_because = f"{path.name} can’t be read: {error.strerror or error}."


def _take(store: ConversationStore, item: dict[str, Any], known: dict[str, bool], run: ImportRun) -> None:
    if is_prompts(item):
        _take_prompts(store, item, run)
        return
    reader = next((each for each in READERS if each.is_one(item)), None)
    if reader is None:
        run.unusable["is no chat"] += 1
        return
    here: LeftOut = LeftOut()
    try:
        conversation = reader.read(item, here)
    except Unusable as why:
        run.unusable[str(why)] += 1
        return
    assert conversation.source is not None
    is_deleted = known.get(conversation.source)
    if is_deleted is not None:
        run.already_here += not is_deleted
        run.deleted_here += is_deleted
        return
    store.add(conversation)
    known[conversation.source] = False
    run.formats[reader.NAME] += 1
    run.imported += 1
    run.messages += len(conversation.messages)
    run.left_out.update(here)


def _take_prompts(store: ConversationStore, item: dict[str, Any], run: ImportRun) -> None:
    try:
        store.save_prompts(new_prompts(item, store.prompts(), run.prompts))
    except Unusable:
        run.prompts.left_out += len(as_list(item.get("prompts")))


def report_of(run: ImportRun) -> list[str]:
    """Return what was imported, what was left out, and why: a sentence a line."""
    lines: list[str] = []
    if run.imported:
        names = " and ".join(sorted(run.formats))
        chats, messages = counted(run.imported, "chat"), counted(run.messages, "message")
        lines.append(f"{chats} from {names} imported, with {messages}.")
    else:
        lines.append("No chat was imported.")
    lines += _prompt_lines(run.prompts)
    if run.stopped_because:
        lines.append(run.stopped_because)
    if run.already_here:
        which = "1 chat was" if run.already_here == 1 else f"{run.already_here:,} chats were"
        lines.append(f"{which} here already, and nothing of that was changed.")
    if run.deleted_here:
        which = "1 chat is" if run.deleted_here == 1 else f"{run.deleted_here:,} chats are"
        lines.append(f"{which} under “Recently deleted”: restore from there.")
    for why, count in run.unusable.most_common():
        lines.append(f"Left out: {counted(count, 'chat')}, since {'it' if count == 1 else 'each'} {why}.")
    parts = [f"{count:,} {_named(what, count)}" for what, count in sorted(run.left_out.items()) if count]
    if parts:
        lines.append(f"Left out of the chats: {', '.join(parts)}.")
    if run.imported and set(run.formats) != {own.NAME}:
        lines.append("What their answers cost is not known, so they count as “–”.")
    return lines


def _prompt_lines(prompts: PromptCounts) -> list[str]:
    lines: list[str] = []
    if prompts.imported:
        beside = f", {prompts.renamed:,} of them as “… (imported)” beside one of the same name"
        lines.append(
            f"{counted(prompts.imported, 'saved prompt')} imported{beside if prompts.renamed else ''}."
        )
    if prompts.already_here:
        were = "was" if prompts.already_here == 1 else "were"
        lines.append(f"{counted(prompts.already_here, 'saved prompt')} {were} here already.")
    if prompts.left_out:
        lines.append(f"Left out: {counted(prompts.left_out, 'saved prompt')} that can’t be kept.")
    return lines


def _named(what: str, count: int) -> str:
    return what if count != 1 else _ONE.get(what, what.removesuffix("s"))
