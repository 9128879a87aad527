"""The ledger's tables, the same on SQLite and PostgreSQL, and their version.

One row is one *attempt*: a request that fell back has two, because each may have cost money. A hold is the
open attempt itself, so the two can never disagree. ``rollups`` (by hour) and ``totals`` (by month and by day)
are sums of the attempts, moved in the same transaction as the rows; ``Ledger.check`` compares them.

Importing this module imports SQLAlchemy (about 0.2 s): the ledger does so when it is opened.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, Table, Text, text

SCHEMA_VERSION = 1
OPEN_STATE = text("state = 'open'")

metadata = MetaData()

meta = Table(
    "ledger_meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


attempts = Table(
    "ledger_attempts",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("correlation_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("started_us", BigInteger, nullable=False),  # microseconds since 1970, UTC
    Column("hour", BigInteger, nullable=False),  # hours since 1970, UTC
    Column("day", Text, nullable=False),  # the user's calendar day, 2026-11-23
    Column("source", Text, nullable=False),
    Column("project", Text, nullable=False),  # '' is none
    Column("mode", Text),
    Column("rule", Text, nullable=False),  # '' is none
    Column("side", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("served_model", Text),
    Column("status", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("hold_nanodollars", BigInteger),  # null: unpriced
    Column("cost_nanodollars", BigInteger),  # null: not known
    Column("counted_nanodollars", BigInteger, nullable=False),
    Column("loaded_nanodollars", BigInteger),
    Column("price_version", Text),
    Column("fresh_input_tokens", BigInteger),  # the five are null together: no usage arrived
    Column("cache_read_tokens", BigInteger),
    Column("cache_write_5m_tokens", BigInteger),
    Column("cache_write_1h_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("thinking_tokens", BigInteger),
    Column("service_tier", Text),
    Column("latency_ms", Double),
    Column("ttft_ms", Double),
    Column("ended_us", BigInteger),
    Column("error_kind", Text),
    Column("owner_host", Text, nullable=False),
    Column("owner_pid", BigInteger, nullable=False),
    Column("owner_started", Text, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("decision_json", Text),
    Index("ledger_attempts_by_request", "correlation_id", "number", unique=True),
    Index("ledger_attempts_by_hour", "hour"),
    # Holds are found without touching the millions of closed rows.
    Index(
        "ledger_attempts_open",
        "project",
        "hold_nanodollars",
        sqlite_where=OPEN_STATE,
        postgresql_where=OPEN_STATE,
    ),
)

ROLLUP_KEYS = ("hour", "day", "side", "provider", "model", "rule", "source", "project")
ROLLUP_SUMS = (
    "attempts",
    "requests",
    "failed",
    "stopped",
    "fell_back",
    "fresh_input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "cost_nanodollars",
    "loaded_nanodollars",
    "unresolved",
    "unresolved_nanodollars",
    "unpriced",
)

rollups = Table(
    "ledger_rollups",
    metadata,
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    *(Column(name, Text, primary_key=True) for name in ROLLUP_KEYS[1:]),
    *(_count(name) for name in ROLLUP_SUMS),
)

TOTAL_KEYS = ("window", "project")
TOTAL_SUMS = (
    "requests",
    "local_requests",
    "tokens",
    "counted_nanodollars",
    "unresolved",
    "unresolved_nanodollars",
    "unpriced",
)

totals = Table(
    "ledger_totals",
    metadata,
    Column("window", Text, primary_key=True),  # 2026-11 or 2026-11-23
    Column("project", Text, primary_key=True),  # '' is everything
    *(_count(name) for name in TOTAL_SUMS),
    _count("local_reset"),  # local requests of the day before its count was reset by hand
)
