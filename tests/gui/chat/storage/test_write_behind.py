"""What is put is written, whenever it is put."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from PySide6.QtWidgets import QApplication

from gui.chat.storage.store import ConversationStore
from gui.chat.storage.write_behind import WriteBehindStore
from gui.shell.bridge import Bridge
from gui.shell.tasks import Tasks

TURNS = 10


class InlineBridge:
    """Runs a worker's work at once."""

    async def run_blocking(self, work: Callable[..., Any], *args: Any) -> Any:
        return work(*args)


def test_what_is_put_between_the_last_write_and_its_end_is_written(
    qapp: QApplication, tmp_path: Path
) -> None:
    written: list[str] = []

    async def scenario() -> None:
        store = WriteBehindStore(cast("Bridge", InlineBridge()), tmp_path, Tasks())
        await store.open()

        def late(_store: ConversationStore) -> None:
            written.append("late")

        def first(_store: ConversationStore) -> None:
            written.append("first")
            asyncio.get_running_loop().call_soon(store.put, ("state", "late"), late)

        store.put(("state", "first"), first)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert written == ["first", "late"]
        await store.close()

    asyncio.run(scenario())


def test_a_close_waits_for_what_is_put_at_the_last_moment(qapp: QApplication, tmp_path: Path) -> None:
    written: list[int] = []

    async def scenario(turns: int) -> None:
        store = WriteBehindStore(cast("Bridge", InlineBridge()), tmp_path, Tasks())
        await store.open()
        store.put(("state", "first"), lambda _store: written.append(-1))
        for _ in range(turns):
            await asyncio.sleep(0)
        store.put(("state", "last"), lambda _store: written.append(turns))
        await store.close()

    for turns in range(TURNS):
        asyncio.run(scenario(turns))
    assert [number for number in written if number >= 0] == list(range(TURNS))
