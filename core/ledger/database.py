"""Opening the ledger's database: which file or server, is it ours, which version, and errors in plain words."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from core.base.permissions import make_private_folder
from core.base.sqlite_file import Fault, OpenFile, connect, fault_of, use_write_ahead_log
from core.errors import LedgerUnavailable
from core.ledger.sql import driver_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


log = logging.getLogger(__name__)

LEDGER_FILE = "ledger.sqlite3"
BUSY_TIMEOUT_S = 15.0
SQLITE_AT_LEAST = (3, 35)
"""The first with RETURNING (March 2021)."""

# Any fixed number will do; it names the one lock that all writers of a PostgreSQL ledger take in turn.
_ADVISORY_LOCK = 0x5369676E61
_NO_DATABASE = "file is not a database"
_LEAST_BYTES = 512  # SQLite's smallest page
_ASIDE = "Set it aside from the panel (or move it yourself), and Signalbox starts a new ledger."
_HINTS: Mapping[Fault, str] = {
    "full": "Free some disk space; Signalbox goes on by itself.",
    "io": "Check the disk and its free space.",
    "read_only": "Check who may write to its folder.",
    "locked": "Another program keeps it locked; close it, then try again.",
    "damaged": f"It is damaged. {_ASIDE}",
}


def sqlite_path(url: str | None, home: Path) -> Path | None:
    """Return the ledger's file, ``None`` when it is on a server. ``sqlite:///…`` URLs name a file too."""
    if url is None:
        return home / LEDGER_FILE
    scheme, separator, rest = url.partition(":///")
    if separator and scheme.split("+")[0] == "sqlite" and rest and rest != ":memory:":
        return Path(rest)
    return None


def open_engine(url: str | None, home: Path) -> Engine:
    """Connect, check that the database is a ledger of a version this program knows, and create a new one.

    Raises:
        LedgerUnavailable: it cannot be reached, is not a ledger, or is of a newer version. Nothing in it was
            changed.
    """
    path = sqlite_path(url, home)
    engine = _sqlite_engine(path) if path is not None else _server_engine(url or "")
    try:
        with engine.connect() as connection:
            _prepare(connection, path)
    except Exception as error:
        engine.dispose()
        if isinstance(error, LedgerUnavailable):
            raise
        if path is not None and _NO_DATABASE in str(getattr(error, "orig", "")):
            # By SQLite's word: to open and close the file here would drop the locks of our other connections to it.
            raise _no_database(path) from error
        raise explain(error, path) from error
    return engine


def begin_writing(connection: Connection) -> None:
    """Start a transaction that no other writer, in this process or another, can overlap."""
    if connection.dialect.name == "sqlite":
        driver_of(connection).execute("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{int(BUSY_TIMEOUT_S * 1000)}ms'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")


def commit(connection: Connection) -> None:
    """End a writing transaction; SQLAlchemy may or may not have noticed that there was one."""
    if connection.in_transaction():
        connection.commit()
    else:
        driver_of(connection).commit()


def rollback(connection: Connection) -> None:
    if connection.in_transaction():
        connection.rollback()
    else:
        driver_of(connection).rollback()


def set_durable(connection: Connection, durable: bool) -> None:
    """Choose whether the next commit waits for the disk; call between transactions.

    In WAL mode a killed process loses nothing either way. A power cut may lose the last commits of
    ``NORMAL``: that is fine for a count of local requests, and for a settlement that leaves its hold, not for a
    hold whose money has left. So a batch with a hold in it is ``FULL``, and one without pays no fsync. What was
    written before it is on the disk with it.
    """
    if connection.dialect.name == "sqlite":
        driver_of(connection).execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")


def explain(error: BaseException, path: Path | None) -> LedgerUnavailable:
    """Say in plain words why the ledger failed, without the statement, its values or a password."""
    reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    is_system = isinstance(error, OSError)
    if is_system and error.strerror:
        reason = error.strerror  # the path is said anyway
    where = f"The ledger {path}" if path is not None else "The ledger's database"
    fault = fault_of(reason)
    hint = _HINTS.get(fault)
    if hint is None and path is not None:
        hint = f"Check what is in {path.parent} and who may write there."
    said = f": {reason}."
    unavailable = LedgerUnavailable(
        f"{where} cannot be used{said}",
        hint=hint or "Check LEDGER_URL and that the server runs.",
        is_beyond_use=fault == "damaged",
    )
    # The system's words, and SQLite's for a fault of its file, hold no value of a row; a server's may.
    return unavailable if is_system or (path is not None and fault != "other") else unavailable.quoting(said)


def check_place(file: OpenFile | None) -> None:
    """Refuse to use a ledger whose file was taken away; ``None`` is one on a server.

    Raises:
        LedgerUnavailable: its file, or its log, was removed or replaced.
    """
    name = None if file is None else file.changed()
    if name is not None:
        raise LedgerUnavailable(
            f"The ledger's file {name} was removed or replaced while Signalbox used it. Nothing is sent any more.",
            hint="Put it back as it was, or end Signalbox, look at what is there now, and start it again.",
        )


def _sqlite_engine(path: Path) -> Engine:
    import sqlite3

    from sqlalchemy import URL, create_engine

    if sqlite3.sqlite_version_info < SQLITE_AT_LEAST:
        wanted = ".".join(map(str, SQLITE_AT_LEAST))
        raise LedgerUnavailable(
            f"This Python has SQLite {sqlite3.sqlite_version}; the ledger needs {wanted} or newer.",
            hint="Use a newer Python, or give LEDGER_URL a PostgreSQL database.",
        )
    try:
        make_private_folder(path.parent)
        if path.exists() and 0 < path.stat().st_size < _LEAST_BYTES:
            raise _no_database(path)  # SQLite takes a single byte for an empty file
    except OSError as error:
        raise explain(error, path) from error
    return create_engine(
        URL.create("sqlite", database=str(path)),
        creator=lambda: connect(path, busy_timeout_s=BUSY_TIMEOUT_S),
    )


def _no_database(path: Path) -> LedgerUnavailable:
    return LedgerUnavailable(
        f"{path} is not an SQLite database, so it cannot be the ledger. It was left as it is.",
        hint=_ASIDE,
        is_beyond_use=True,
    )


def _server_engine(url: str) -> Engine:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    from core.ledger.schema import complete_for_postgresql

    scheme, separator, rest = url.partition("://")
    if scheme in ("postgresql", "postgres"):
        scheme = "postgresql+psycopg"
    hint = "Write it like postgresql://user:password@host/database, or leave it empty for a file."
    if not separator or not scheme.startswith("postgresql"):
        raise LedgerUnavailable(
            "LEDGER_URL names a database that Signalbox does not keep a ledger in.", hint=hint
        )
    complete_for_postgresql()
    try:
        return create_engine(
            f"{scheme}://{rest}", connect_args={"connect_timeout": 5}, pool_size=3, pool_pre_ping=True
        )
    except ModuleNotFoundError as error:
        raise LedgerUnavailable(
            f"LEDGER_URL needs the Python package {error.name}, which is not installed.",
            hint='Install it with: pip install "psycopg[binary]"',
        ) from error
    except (ArgumentError, NoSuchModuleError, ValueError):
        # Their texts may quote the URL, and with it the password.
        raise LedgerUnavailable("LEDGER_URL cannot be read as a database's address.", hint=hint) from None


def _prepare(connection: Connection, path: Path | None) -> None:
    """Refuse what is not ours, then create the tables if there are none, or bring an older format up to date."""
    from sqlalchemy import inspect, select

    from core.ledger.schema import SCHEMA_VERSION, meta

    def version_now() -> int | None:
        names = inspect(connection).get_table_names()
        if meta.name in names:
            found = connection.execute(select(meta.c.value).where(meta.c.key == "schema_version")).scalar()
            return int(found) if found is not None else None
        if names and path is not None:
            raise LedgerUnavailable(
                f"{path} is a database of another program, not a ledger. It was left as it is.",
                hint=_ASIDE,
                is_beyond_use=True,
            )
        return None

    version = version_now()
    connection.rollback()
    if version is None or version < SCHEMA_VERSION:
        from core.ledger.migrations import create, migrate

        begin_writing(connection)
        version = version_now()  # another process may have done it while this one waited
        if version is None:
            create(connection)
            version = SCHEMA_VERSION
        elif version < SCHEMA_VERSION:
            migrate(connection, version)
            version = SCHEMA_VERSION
        commit(connection)
    if version > SCHEMA_VERSION:
        raise LedgerUnavailable(
            f"The ledger was written by a newer Signalbox (its format is {version}, this one knows "
            f"{SCHEMA_VERSION}). It was left as it is.",
            hint="Update Signalbox, or give this one another ledger with LEDGER_URL.",
        )
    if connection.dialect.name == "sqlite":
        use_write_ahead_log(driver_of(connection))


T = TypeVar("T")


class NotNow(Exception):
    """It would have to wait, or the file cannot be read: ask on a thread, which may wait and says why."""


class QuickReader:
    """One read-only connection, for queries that touch a few rows by their keys, on the loop's own thread.

    A decision asks for a handful of rows that the page cache holds anyway. Handing that to another thread and back
    costs several times the read. In a write-ahead log no reader waits for a writer, and this one waits for nobody
    at all: where SQLite would have it wait (another process mends or closes the file), it gives up at once, and its
    caller asks again on a thread that may wait.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    @staticmethod
    def open(path: Path) -> QuickReader | None:
        """Connect to the file; ``None`` where a reader may have to wait for a writer: without a write-ahead log."""
        connection: sqlite3.Connection | None = None
        try:
            connection = connect(path, busy_timeout_s=0)
            connection.execute("PRAGMA query_only = ON")
            if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                return QuickReader(connection)
        except (sqlite3.Error, OSError) as error:
            log.info("The ledger is read on threads only: %s", error)
        if connection is not None:
            connection.close()
        return None

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``query`` in its own transaction, so that all it reads is of one moment.

        Raises:
            NotNow: nothing was read.
        """
        if not self._lock.acquire(blocking=False):  # another loop reads just now
            raise NotNow
        try:
            self._connection.execute("BEGIN")
            try:
                return query(self._connection)
            finally:
                self._connection.rollback()
        except sqlite3.Error as error:
            raise NotNow from error
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close before the writer does: the last connection that closes folds the log up, which takes its time."""
        with self._lock:
            self._connection.close()
