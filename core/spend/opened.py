"""A ledger that is open: its database, the writer's thread and the reading ones."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from core.errors import LedgerUnavailable, SignalboxError
from core.spend import database
from core.spend.quick_reader import QuickReader
from core.spend.writer import Operation, Writer

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from core.spend.attempt_rows import Moment
    from core.spend.corrections import CorrectingStore
    from core.spend.reports import Standings

T = TypeVar("T")


def local_now() -> datetime:
    return datetime.now().astimezone()


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """What there is while a ledger is open. ``quick`` is for small reads, where the database allows them."""

    engine: Engine
    store: CorrectingStore
    standings: Standings
    writer: Writer
    quick: QuickReader | None


class OpenedLedger:
    """Opens and closes a ledger, and runs what others ask of it on the right thread. ``Ledger`` is its face."""

    def __init__(self, url: str | None, home: Path, *, clock: Callable[[], datetime] = local_now) -> None:
        self._url = url
        self._home = home
        self._clock = clock
        self._opened: Opened | None = None
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="signalbox-ledger-read")

    @property
    def path(self) -> Path | None:
        """The ledger's file, ``None`` when it is on a server."""
        return database.sqlite_path(self._url, self._home)

    @property
    def is_open(self) -> bool:
        return self._opened is not None

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Correlation ids of results that could not be written yet; they are retried every few seconds."""
        return self._opened.writer.unsaved if self._opened is not None else ()

    async def open(self) -> None:
        """Open the ledger, creating it if there is none, and bringing an older format up to date.

        Raises:
            LedgerUnavailable: it cannot be used; the hint says what to do. What is there is left untouched.
        """
        if self._opened is None:
            self._opened = await self._in_thread(self._open)

    def _open(self) -> Opened:
        engine = database.open_engine(self._url, self._home)
        from core.spend.corrections import CorrectingStore
        from core.spend.reports import Standings

        store, path = CorrectingStore(engine.dialect), self.path
        return Opened(
            engine,
            store,
            Standings(engine.dialect),
            Writer(engine, path, store.books),
            QuickReader.open(path) if path is not None else None,
        )

    async def close(self) -> None:
        """Write what is left and close. The ledger can be opened again."""
        opened, self._opened = self._opened, None
        if opened is not None:
            if opened.quick is not None:
                opened.quick.close()
            await self._in_thread(opened.writer.close)
            await self._in_thread(opened.engine.dispose)

    async def set_aside(self) -> Path:
        """Close the ledger and rename its file (``….broken-<n>``); the next ``open`` starts a new one.

        Raises:
            LedgerUnavailable: it is on a server, or there is no file, or it cannot be renamed.
        """
        await self.close()
        path = self.path
        if path is None:
            raise LedgerUnavailable(
                "A ledger on a server is not set aside from here.", hint="Give LEDGER_URL another database."
            )
        try:
            return await self._in_thread(partial(database.set_aside, path))
        except OSError as error:
            raise database.explain(error, path) from error

    async def _write(
        self,
        change: Callable[[CorrectingStore, Connection], T],
        *,
        durable: bool = True,
        rehearsal: bool = False,
    ) -> T:
        """Run one change in the writer's thread. Being cancelled does not undo it."""
        opened = self._require()
        store = opened.store
        operation = Operation(
            lambda connection: change(store, connection), durable=durable, rehearsal=rehearsal
        )
        return await self._answer(opened, operation)

    async def _answer(self, opened: Opened, operation: Operation) -> Any:
        operation.waiter = waiter = asyncio.get_running_loop().create_future()
        opened.writer.submit(operation)
        await waiter
        return operation.future.result()

    async def _read(self, query: Callable[[Connection], T]) -> T:
        opened = self._require()

        def read() -> T:
            try:
                with opened.engine.connect() as connection:
                    return query(connection)
            except SignalboxError:
                raise
            except Exception as error:
                raise database.explain(error, self.path) from error

        return await self._in_thread(read)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _require(self) -> Opened:
        if self._opened is None:
            raise LedgerUnavailable("The ledger is not open.", hint="Run signalbox doctor to see why.")
        return self._opened

    def _now(self) -> Moment:
        return moment(self._clock())


def moment(at: datetime) -> Moment:
    from core.spend.attempt_rows import Moment

    return Moment(at=at)
