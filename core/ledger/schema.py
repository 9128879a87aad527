"""The ledger's tables, the same on SQLite and PostgreSQL, and their version.

One row is one *attempt*: a request that was sent again or fell back has more, because each may have cost money. A
hold is the open attempt itself, so the two can never disagree. ``hours`` and ``days`` (sums of the closed
attempts, for reports) and ``totals`` (of all attempts by month and by day, for limits) are moved in the same
transaction as the rows; ``Ledger.check`` compares them. Every change of a row is also an entry of the audit
chain (``audit.py``).

Importing this module imports SQLAlchemy (about 0.2 s): the ledger does so when it is opened.
"""

from __future__ import annotations

from sqlalchemy import DDL, BigInteger, Column, Double, Index, Integer, MetaData, Table, Text, event, text

SCHEMA_VERSION = 2
OPEN_STATE = text("state = 'open'")
UNRESOLVED_STATE = text("state = 'unresolved'")
UNPRICED = text("cost_nanodollars IS NULL AND output_tokens IS NOT NULL")
KEYED = text("idempotency_key IS NOT NULL")
UNSENT = ("refused", "replayed")
"""Statuses of requests that went nowhere: they are on record and no part of any volume."""


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
    Column("side", Text, nullable=False),  # '' of a refused or replayed request
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
    # Since format 2:
    Column("conversation", Text),
    Column("idempotency_key", Text),
    _count("hold_tokens"),
    _count("counted_tokens"),
    Column("marginal_nanodollars", BigInteger),
    Column("busy_us", BigInteger),  # the latency as a whole number, so that sums of it are exact
    Column("trimmed_tokens", BigInteger),  # the two are null together with the usage
    Column("compressed_tokens", BigInteger),
    Column("trimming_saved_nanodollars", BigInteger),  # null: not known
    Column("compression_saved_nanodollars", BigInteger),
    Column("cache_saved_nanodollars", BigInteger),  # below 0: writing cost more than reading saved
    Column("replay_of", Text),  # the request whose answer a replayed one got
    Index("ledger_attempts_by_request", "correlation_id", "number", unique=True),
    Index("ledger_attempts_by_hour", "hour"),
    # What is asked often is found without touching the millions of other rows.
    Index(
        "ledger_attempts_holding",
        "project",
        "hold_nanodollars",
        "hold_tokens",
        sqlite_where=OPEN_STATE,
    ),
    Index("ledger_attempts_unresolved", "id", sqlite_where=UNRESOLVED_STATE),
    Index("ledger_attempts_unpriced", "id", sqlite_where=UNPRICED),
    Index("ledger_attempts_by_key", "idempotency_key", sqlite_where=KEYED),
)


def complete_for_postgresql() -> None:
    """Give the partial indexes their condition on PostgreSQL too.

    Not where they are declared: to name a dialect's option there loads the dialect, 30 ms for a ledger in a file.
    """
    for index in attempts.indexes:
        condition = index.dialect_kwargs.get("sqlite_where")
        if condition is not None:
            index.dialect_kwargs["postgresql_where"] = condition


HOUR_KEYS = ("hour", "day", "side", "provider", "model", "rule", "source", "project")
HOUR_SUMS = (
    "attempts",
    "requests",
    "failed",
    "stopped",
    "fell_back",
    "refused",
    "fresh_input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "cost_nanodollars",
    "loaded_nanodollars",
    "loaded_unknown",
    "marginal_nanodollars",
    "busy_us",
    "unresolved",
    "unresolved_nanodollars",
    "unpriced",
    "trimmed_tokens",
    "compressed_tokens",
    "trimming_saved_nanodollars",
    "compression_saved_nanodollars",
    "cache_saved_nanodollars",
    "saved_unknown",
)

# Another name than in format 1, where open attempts were in these sums: a program of that time that still runs
# finds no table, and sends nothing more, instead of spoiling them.
hours = Table(
    "ledger_hours",
    metadata,
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    *(Column(name, Text, primary_key=True) for name in HOUR_KEYS[1:]),
    *(_count(name) for name in HOUR_SUMS),
)

# The same by day, or a year's report would add up a hundred thousand hours.
DAY_KEYS = HOUR_KEYS[1:]

days = Table(
    "ledger_days",
    metadata,
    *(Column(name, Text, primary_key=True) for name in DAY_KEYS),
    *(_count(name) for name in HOUR_SUMS),
)

TOTAL_KEYS = ("window", "project")
TOTAL_SUMS = (
    "requests",
    "local_requests",
    "tokens",
    "counted_nanodollars",
    "counted_tokens",
    "unresolved",
    "unresolved_nanodollars",
    "unresolved_tokens",
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

rates = Table(
    "ledger_rates",
    metadata,
    Column("key", Text, primary_key=True),  # limit:NAME or conversation:HASH
    Column("begun", Text, nullable=False),  # when requests of the last minute began: see sliding_window.py
    Column("last_us", BigInteger, nullable=False),  # the newest of them
    Column("paused_us", BigInteger),  # a conversation that waits for a person
    Column("per_minute", BigInteger, nullable=False),
)

alerts = Table(
    "ledger_alerts",
    metadata,
    Column("window", Text, primary_key=True),
    Column("limit_name", Text, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("amount", BigInteger, primary_key=True, autoincrement=False),  # a changed limit tells anew
    Column("percent", BigInteger, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
)

SCORE_KEYS = ("provider", "model", "kind", "day")
SCORE_SUMS = ("tried", "passed", "repaired", "cost_nanodollars")

scores = Table(
    "ledger_scores",
    metadata,
    *(Column(name, Text, primary_key=True) for name in SCORE_KEYS),
    *(_count(name) for name in SCORE_SUMS),
)

# Every change of the rows, chained: see audit.py. Triggers refuse to change it.
audit = Table(
    "ledger_audit",
    metadata,
    # SQLite keeps a table in the order of an INTEGER key (and only of that): no second index to write.
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),  # microseconds since 1970, UTC
    Column("kind", Text, nullable=False),
    Column("correlation_id", Text),  # null: about no request
    Column("payload_json", Text, nullable=False),
    Column("previous_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
)

AUDIT_TRIGGERS = ("ledger_audit_no_update", "ledger_audit_no_delete")
_REFUSAL = "the audit log is append-only"
_SQLITE_TRIGGERS = tuple(
    f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {name.rpartition('_')[2].upper()} ON ledger_audit "
    f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    for name in AUDIT_TRIGGERS
)
_POSTGRESQL_TRIGGERS = (
    "CREATE OR REPLACE FUNCTION ledger_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$",
    "CREATE TRIGGER ledger_audit_no_update BEFORE UPDATE ON ledger_audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION ledger_audit_refuse()",
    "CREATE TRIGGER ledger_audit_no_delete BEFORE DELETE OR TRUNCATE ON ledger_audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION ledger_audit_refuse()",
)
for _dialect, _statements in (("sqlite", _SQLITE_TRIGGERS), ("postgresql", _POSTGRESQL_TRIGGERS)):
    for _statement in _statements:
        event.listen(audit, "after_create", DDL(_statement).execute_if(dialect=_dialect))
