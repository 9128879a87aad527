"""The ledger's running totals inside the writing transaction: read once, kept in step, written at its end.

A batch of admissions would read the same few totals over and over and write each of them as often. Here they are
read once, every operation sees what those before it in the batch did, and each is written once before the
commit. The same goes for the end of the audit chain, and for the rows of open attempts: the process that began
one settles it later. What was read stays valid as long as nobody else wrote: within a transaction that is sure
(there is one writer at a time); from one to the next SQLite's ``PRAGMA data_version`` tells it (it changes
exactly when another connection committed), and on a server everything is read anew. After a rollback everything
is forgotten.

Every change of a row is added as *new contribution minus old*, so the sums cannot drift from the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, and_, bindparam, case, cast, func, or_, select

from core.ledger import schema
from core.ledger.audit import Chain
from core.ledger.schema import HOUR_KEYS, UNSENT
from core.ledger.sliding_window import MINUTE_US, Log, from_text, to_text
from core.ledger.sql import Sql, adding, driver_of, insert_into

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Dialect


Row = Mapping[str, Any]
Sums = dict[tuple[Any, ...], list[int]]


def _hour_amounts(row: Row) -> tuple[int, ...]:
    """Return what a closed attempt adds to its hour, in the order of ``HOUR_SUMS``."""
    status = row["status"]
    refused = status == "refused"
    sent = status not in UNSENT
    # An attempt that fell back is superseded: the request counts once, where it ended.
    ended_here = sent and status != "superseded"
    unresolved = row["state"] == "unresolved"
    return (
        int(sent),
        int(ended_here),
        int(status == "failed"),
        int(status == "stopped"),
        int(ended_here and row["number"] > 1),
        int(refused),
        row["fresh_input_tokens"] or 0,
        row["cache_read_tokens"] or 0,
        row["cache_write_5m_tokens"] or 0,
        row["cache_write_1h_tokens"] or 0,
        row["output_tokens"] or 0,
        row["cost_nanodollars"] or 0,
        row["loaded_nanodollars"] or 0,
        int(row["side"] == "local" and row["loaded_nanodollars"] is None),
        row["marginal_nanodollars"] or 0,
        row["busy_us"] or 0,
        int(unresolved),
        row["counted_nanodollars"] if unresolved else 0,
        _unpriced(row),
        row["trimmed_tokens"] or 0,
        row["compressed_tokens"] or 0,
        row["trimming_saved_nanodollars"] or 0,
        row["compression_saved_nanodollars"] or 0,
        row["cache_saved_nanodollars"] or 0,
        _saved_unknown(row),
    )


def _total_amounts(row: Row) -> tuple[int, ...]:
    """Return what an attempt, open or closed, adds to its month and day, in the order of ``TOTAL_SUMS``."""
    status, state = row["status"], row["state"]
    ended_here = int(status != "superseded" and status not in UNSENT)
    local = ended_here if row["side"] == "local" else 0
    if state == "open":
        return (ended_here, local, 0, row["counted_nanodollars"], row["counted_tokens"], 0, 0, 0, 0)
    tokens = 0
    if row["output_tokens"] is not None:
        tokens = (
            row["fresh_input_tokens"]
            + row["cache_read_tokens"]
            + row["cache_write_5m_tokens"]
            + row["cache_write_1h_tokens"]
            + row["output_tokens"]
        )
    nanodollars, counted_tokens = row["counted_nanodollars"], row["counted_tokens"]
    unresolved = state == "unresolved"
    return (
        ended_here,
        local,
        tokens,
        nanodollars,
        counted_tokens,
        int(unresolved),
        nanodollars if unresolved else 0,
        counted_tokens if unresolved else 0,
        _unpriced(row),
    )


def _unpriced(row: Row) -> int:
    return int(row["output_tokens"] is not None and row["cost_nanodollars"] is None)


def _saved_unknown(row: Row) -> int:
    """Say whether something was left out or cached, and nobody knows what that saved."""
    cached = row["cache_read_tokens"] or row["cache_write_5m_tokens"] or row["cache_write_1h_tokens"]
    return int(
        bool(
            (row["trimmed_tokens"] and row["trimming_saved_nanodollars"] is None)
            or (row["compressed_tokens"] and row["compression_saved_nanodollars"] is None)
            or (cached and row["cache_saved_nanodollars"] is None)
        )
    )


def windows(day: str, project: str) -> tuple[tuple[str, str], ...]:
    """Return the totals an attempt of ``day`` belongs to: its month's and its day's, and its project's."""
    everything = ((day[:7], ""), (day, ""))
    return (*everything, (day[:7], project), (day, project)) if project else everything


def change(old: Row | None, new: Row | None) -> tuple[Sums, Sums]:
    """Return what replacing ``old`` by ``new`` adds to the hours and to the totals, by their keys.

    The hours hold closed attempts only: an admission, which somebody waits for, writes two rows less.
    """
    hour_sums: Sums = {}
    for row, sign in ((old, -1), (new, 1)):
        if row is not None and row["state"] != "open":
            key = tuple([row[name] for name in HOUR_KEYS])
            merge(hour_sums, key, [sign * amount for amount in _hour_amounts(row)])
    if old is not None and new is not None:
        # A change keeps its day and project, so one difference serves all its totals.
        before, after = _total_amounts(old), _total_amounts(new)
        amounts = [b - a for a, b in zip(before, after, strict=True)]
    else:
        amounts = [amount if old is None else -amount for amount in _total_amounts(new or old or {})]
    row = new or old or {}
    if not any(amounts):
        return hour_sums, {}
    return hour_sums, {window: amounts for window in windows(row["day"], row["project"])}


def merge(sums: Sums, key: tuple[Any, ...], amounts: list[int]) -> None:
    """Add ``amounts`` to those of ``key``."""
    kept = sums.get(key)
    sums[key] = amounts if kept is None else [a + b for a, b in zip(kept, amounts, strict=True)]


def _many(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _total(name: str) -> ColumnElement[Any]:
    return func.coalesce(func.sum(schema.attempts.c[name]), 0)


def _known() -> dict[str, ColumnElement[Any]]:
    row = schema.attempts.c
    closed, unresolved = row.state != "open", row.state == "unresolved"
    sent = row.status.not_in(schema.UNSENT)
    ended_here = and_(row.status != "superseded", sent)
    return {
        "attempts": _many(sent),
        "requests": _many(ended_here),
        "local_requests": _many(and_(ended_here, row.side == "local")),
        "failed": _many(row.status == "failed"),
        "stopped": _many(row.status == "stopped"),
        "fell_back": _many(and_(ended_here, row.number > 1)),
        "refused": _many(row.status == "refused"),
        "tokens": func.coalesce(
            func.sum(
                row.fresh_input_tokens
                + row.cache_read_tokens
                + row.cache_write_5m_tokens
                + row.cache_write_1h_tokens
                + row.output_tokens
            ),
            0,
        ),
        "loaded_unknown": _many(and_(closed, row.side == "local", row.loaded_nanodollars.is_(None))),
        "unresolved": _many(unresolved),
        "unresolved_nanodollars": func.sum(case((unresolved, row.counted_nanodollars), else_=0)),
        "unresolved_tokens": func.sum(case((unresolved, row.counted_tokens), else_=0)),
        "saved_unknown": _many(
            or_(
                and_(row.trimmed_tokens > 0, row.trimming_saved_nanodollars.is_(None)),
                and_(row.compressed_tokens > 0, row.compression_saved_nanodollars.is_(None)),
                and_(
                    row.cache_read_tokens + row.cache_write_5m_tokens + row.cache_write_1h_tokens > 0,
                    row.cache_saved_nanodollars.is_(None),
                ),
            )
        ),
        "unpriced": _many(and_(closed, row.output_tokens.is_not(None), row.cost_nanodollars.is_(None))),
    }


def sums_of_rows(names: Sequence[str] = schema.HOUR_SUMS) -> list[ColumnElement[Any]]:
    """Return kept sums as SQL over the attempts, written apart from ``change``, to check it.

    What is not counted by a condition is a column's plain sum.
    """
    known = _known()
    return [(known[name] if name in known else _total(name)).label(name) for name in names]


_KEPT_MAX = 512
_TOTAL_COLUMNS = (*schema.TOTAL_SUMS, "local_reset")
_NOTHING: dict[str, int] = dict.fromkeys(_TOTAL_COLUMNS, 0)
_RATE_COLUMNS = ("begun", "last_us", "paused_us", "per_minute")
_SWEEP_EVERY = 1024


@dataclass(slots=True)
class Held:
    """Open holds: cash in nano-dollars and API tokens, each with the number of attempts that hold some."""

    nanodollars: int = 0
    count: int = 0
    tokens: int = 0
    token_count: int = 0

    def add(self, row: Row, sign: int) -> None:
        nanodollars, tokens = row["hold_nanodollars"] or 0, row["hold_tokens"]
        self.nanodollars += sign * nanodollars
        self.count += sign * (nanodollars > 0)
        self.tokens += sign * tokens
        self.token_count += sign * (tokens > 0)


@dataclass(frozen=True, slots=True)
class RateState:
    """One limit's row in ``ledger_rates``."""

    log: Log = ()
    paused_us: int | None = None
    per_minute: int = 0


class Shortfalls:
    """What kept totals lack of the sums of their rows, by window and project: see ``reconcile.compare_windows``.

    Limits compare with the larger of the two, so ``amounts`` are added to what is read. They are replaced as one.
    """

    def __init__(self) -> None:
        self.amounts: Mapping[tuple[str, str], Mapping[str, int]] = {}

    def corrected(self, total: dict[str, Any], window: str, project: str = "") -> dict[str, Any]:
        for name, amount in self.amounts.get((window, project), {}).items():
            total[name] += amount
        return total


class Reader:
    """The statements that read sums, for the writer's books and for whoever asks from another thread."""

    def __init__(self, dialect: Dialect, shortfalls: Shortfalls) -> None:
        self._shortfalls = shortfalls
        attempts, totals = schema.attempts, schema.totals

        def many(condition: ColumnElement[bool]) -> ColumnElement[Any]:
            return cast(_many(condition), Integer)

        self._held = Sql(
            select(
                attempts.c.project,
                func.coalesce(func.sum(attempts.c.hold_nanodollars), 0).label("nanodollars"),
                many(attempts.c.hold_nanodollars > 0).label("count"),
                func.coalesce(func.sum(attempts.c.hold_tokens), 0).label("tokens"),
                many(attempts.c.hold_tokens > 0).label("token_count"),
            )
            .where(and_(schema.OPEN_STATE, or_(attempts.c.hold_nanodollars > 0, attempts.c.hold_tokens > 0)))
            .group_by(attempts.c.project),
            dialect,
        )
        self._total = Sql(
            select(totals).where(
                totals.c.window == bindparam("window"), totals.c.project == bindparam("project")
            ),
            dialect,
        )

    def held(self, driver: Any) -> dict[str | None, Held]:
        """Return the open holds by project, and under ``None`` all of them."""
        everything = Held()
        found: dict[str | None, Held] = {None: everything}
        for row in self._held.rows(driver):
            part = Held(int(row["nanodollars"]), row["count"], int(row["tokens"]), row["token_count"])
            found[row["project"]] = part
            everything.nanodollars += part.nanodollars
            everything.count += part.count
            everything.tokens += part.tokens
            everything.token_count += part.token_count
        return found

    def total(self, driver: Any, window: str, project: str = "") -> dict[str, Any]:
        """Return the totals of a month or a day; all zero where nothing happened."""
        rows = self._total.rows(driver, window=window, project=project)
        total = rows[0] if rows else dict(_NOTHING)
        return self._shortfalls.corrected(total, window, project) if self._shortfalls.amounts else total


class RunningTotals:
    """Use from the writer's thread only: ``begin`` after the transaction began, ``flush`` before its commit."""

    def __init__(self, dialect: Dialect, shortfalls: Shortfalls | None = None) -> None:
        self._sqlite = dialect.name == "sqlite"
        self._shortfalls = shortfalls or Shortfalls()
        self._amounts = self._shortfalls.amounts
        self._reader = Reader(dialect, self._shortfalls)
        self._chain = Chain(dialect.name)
        self._add_hours = Sql(
            adding(schema.hours, schema.HOUR_KEYS, schema.HOUR_SUMS, dialect),
            dialect,
            order=(*schema.HOUR_KEYS, *schema.HOUR_SUMS),
        )
        self._add_days = Sql(
            adding(schema.days, schema.DAY_KEYS, schema.HOUR_SUMS, dialect),
            dialect,
            order=(*schema.DAY_KEYS, *schema.HOUR_SUMS),
        )
        self._add_totals = Sql(
            adding(schema.totals, schema.TOTAL_KEYS, _TOTAL_COLUMNS, dialect),
            dialect,
            order=(*schema.TOTAL_KEYS, *_TOTAL_COLUMNS),
        )
        rates = schema.rates
        self._read_rate = Sql(select(rates).where(rates.c.key == bindparam("rate_key")), dialect)
        keep = insert_into(rates, dialect).values({name: bindparam(name) for name in ("key", *_RATE_COLUMNS)})
        self._keep_rate = Sql(
            keep.on_conflict_do_update(
                index_elements=["key"],
                set_={name: keep.excluded[name] for name in _RATE_COLUMNS},
            ),
            dialect,
        )
        self._sweep_rates = Sql(
            rates.delete().where(and_(rates.c.paused_us.is_(None), rates.c.last_us < bindparam("before_us"))),
            dialect,
        )
        told = schema.alerts
        told_keys = ("window", "limit_name", "project", "amount", "percent")
        self._tell = Sql(
            insert_into(told, dialect)
            .values({column.name: bindparam(column.name) for column in told.c})
            .on_conflict_do_nothing(index_elements=list(told_keys))
            .returning(told.c.percent),
            dialect,
        )
        self.driver: Any = None
        """The driver's connection of the transaction that runs."""

        self._version: int | None = None
        self._rates_written = 0
        self.forget()

    def forget(self) -> None:
        """Drop everything that was read or is not written yet: the transaction was rolled back."""
        self._version = None
        self._totals: dict[tuple[str, str], dict[str, Any]] = {}
        self._held: dict[str | None, Held] | None = None
        self._rates: dict[str, RateState] = {}
        self._told: set[tuple[Any, ...]] = set()
        self._open_rows: dict[str, Row] = {}
        self._chain.forget()
        self._new_totals: Sums = {}
        self._new_hours: Sums = {}
        self._new_rates: set[str] = set()

    def begin(self, connection: Connection) -> None:
        """Start a transaction that nobody else can write beside."""
        self.driver = driver_of(connection)
        version = self.driver.execute("PRAGMA data_version").fetchone()[0] if self._sqlite else None
        crowded = max(len(self._totals), len(self._rates), len(self._told)) > _KEPT_MAX
        amounts = self._shortfalls.amounts
        if version is None or version != self._version or crowded or amounts is not self._amounts:
            self.forget()
            self._version, self._amounts = version, amounts
        if self._held is None:
            # Now, while no operation has written a row that it will count itself.
            self._held = self._reader.held(self.driver)

    def open_row(self, correlation_id: str) -> Row | None:
        """Return the row of the request's open attempt where it is known without asking the database."""
        return self._open_rows.get(correlation_id)

    @property
    def head(self) -> tuple[int, str] | None:
        """The audit chain's last entry, its number and hash; ``None`` where nobody looked at it yet."""
        return self._chain.head

    def append_audit(self, **entry: Any) -> None:
        """Add an entry to the audit chain (see ``audit.append``)."""
        self._chain.append(self.driver, **entry)

    def total(self, window: str, project: str = "") -> dict[str, Any]:
        """Return a window's totals, this transaction's own changes included. Not to be changed."""
        key = (window, project)
        kept = self._totals.get(key)
        if kept is None:
            kept = self._totals[key] = self._reader.total(self.driver, window, project)
            for name, amount in zip(_TOTAL_COLUMNS, self._new_totals.get(key, ()), strict=False):
                kept[name] += amount
        return kept

    def held(self, project: str | None = None) -> Held:
        """Return the open holds of a project, or of all."""
        assert self._held is not None, "begin comes first"
        return self._held.setdefault(project, Held())

    def change(self, old: Row | None, new: Row | None) -> None:
        """Take a changed row into the sums. ``change(new, old)`` takes it back."""
        hours, totals = change(old, new)
        for key, amounts in totals.items():
            self._add_total(key, [*amounts, 0])
        for key, amounts in hours.items():
            merge(self._new_hours, key, amounts)
        if old is not None and old["state"] == "open":
            self._open_rows.pop(old["correlation_id"], None)
            self._hold(old, -1)
        if new is not None and new["state"] == "open":
            if len(self._open_rows) < _KEPT_MAX:
                self._open_rows[new["correlation_id"]] = new
            self._hold(new, 1)

    def _hold(self, row: Row, sign: int) -> None:
        if row["hold_nanodollars"] or row["hold_tokens"]:
            self.held().add(row, sign)
            self.held(row["project"]).add(row, sign)

    def _add_total(self, key: tuple[Any, ...], amounts: list[int]) -> None:
        kept = self._totals.get(key)
        if kept is not None:
            for name, amount in zip(_TOTAL_COLUMNS, amounts, strict=True):
                if amount:
                    kept[name] += amount
        merge(self._new_totals, key, amounts)

    def reset_local(self, day: str) -> None:
        """Let the day's local count start again at 0."""
        total = self.total(day)
        amounts = [0] * len(schema.TOTAL_SUMS) + [total["local_requests"] - total["local_reset"]]
        self._add_total((day, ""), amounts)

    def rate(self, key: str) -> RateState:
        kept = self._rates.get(key)
        if kept is None:
            found = self._read_rate.rows(self.driver, rate_key=key)
            kept = (
                RateState(from_text(found[0]["begun"]), found[0]["paused_us"], found[0]["per_minute"])
                if found
                else RateState()
            )
            self._rates[key] = kept
        return kept

    def set_rate(self, key: str, state: RateState) -> None:
        self._rates[key] = state
        self._new_rates.add(key)

    def record_first_crossing(self, at_us: int, **key: Any) -> bool:
        """Say whether this threshold was crossed for the first time; it is written down at once."""
        known = tuple(key.values())
        if known in self._told:
            return False
        first = self._tell.returned(self.driver, {**key, "at_us": at_us}) is not None
        self._told.add(known)
        return first

    def flush(self, now_ns: int) -> None:
        """Write what is new, each sum once, and the head of the audit chain."""
        driver = self.driver
        self._chain.flush(driver)
        # In one order everywhere, so that two PostgreSQL writers could never wait for each other crosswise.
        days: Sums = {}
        for key, amounts in self._new_hours.items():
            merge(days, key[1:], amounts)
        for statement, sums in (
            (self._add_hours, self._new_hours),
            (self._add_days, days),
            (self._add_totals, self._new_totals),
        ):
            for key in sorted(sums):
                if any(sums[key]):
                    statement.run_in_order(driver, (*key, *sums[key]))
        self._new_hours, self._new_totals = {}, {}
        for key in sorted(self._new_rates):
            state = self._rates[key]
            self._keep_rate.run(
                driver,
                {
                    "key": key,
                    "begun": to_text(state.log),
                    "last_us": state.log[-1][0] if state.log else 0,
                    "paused_us": state.paused_us,
                    "per_minute": state.per_minute,
                },
            )
        self._rates_written += len(self._new_rates)
        self._new_rates.clear()
        if self._rates_written >= _SWEEP_EVERY:
            # A limit whose time has passed is as good as one that was never used.
            self._rates_written = 0
            self._sweep_rates.run(driver, {"before_us": now_ns // 1000 - MINUTE_US})
