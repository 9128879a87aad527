"""A ledger with very many rows, made by SQL in seconds: the rows first, then every sum added up from them."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy.dialects import sqlite

from core.ledger import schema
from core.ledger.database import LEDGER_FILE, open_engine
from core.ledger.totals import sums_of_rows

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 365

# One row a number: local and API in turn, four models, every tenth failed, every thousandth unresolved.
_ROWS = """
WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :rows),
spread AS (SELECT n, :first_us + n * (:span_us / :rows) AS us FROM numbers)
INSERT INTO ledger_attempts (
    correlation_id, number, started_us, hour, day, source, project, mode, rule, side, provider, model,
    status, state,
    hold_nanodollars, cost_nanodollars, counted_nanodollars, loaded_nanodollars, fresh_input_tokens,
    cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens, latency_ms, ended_us, busy_us,
    hold_tokens, counted_tokens, marginal_nanodollars,
    owner_host, owner_pid, owner_started, expires_us, decision_json
)
SELECT
    printf('00000000-0000-7000-8000-%012d', n), 1, us, us / 3600000000,
    strftime('%Y-%m-%d', us / 1000000, 'unixepoch'), 'library', '', 'hybrid',
    CASE n % 2 WHEN 0 THEN 'simple' ELSE 'complex' END,
    CASE n % 2 WHEN 0 THEN 'local' ELSE 'api' END,
    CASE n % 2 WHEN 0 THEN 'vllm-local' ELSE 'anthropic' END,
    'model-' || (n % 4),
    CASE n % 10 WHEN 3 THEN 'failed' ELSE 'done' END,
    CASE n % 1000 WHEN 1 THEN 'unresolved' ELSE 'settled' END,
    CASE n % 2 WHEN 0 THEN 0 ELSE 9000000 END,
    CASE WHEN n % 1000 = 1 THEN NULL WHEN n % 2 = 0 THEN 0 ELSE 1000000 + n % 977 END,
    CASE WHEN n % 1000 = 1 THEN 9000000 WHEN n % 2 = 0 THEN 0 ELSE 1000000 + n % 977 END,
    CASE n % 2 WHEN 0 THEN 1234 END,
    CASE WHEN n % 1000 = 1 THEN NULL ELSE 900 END, CASE WHEN n % 1000 = 1 THEN NULL ELSE 100 END,
    CASE WHEN n % 1000 = 1 THEN NULL ELSE 0 END, CASE WHEN n % 1000 = 1 THEN NULL ELSE 0 END,
    CASE WHEN n % 1000 = 1 THEN NULL ELSE 200 + n % 31 END,
    800.0, us + 800000, 800000,
    CASE n % 2 WHEN 0 THEN 0 ELSE 4000 END,
    CASE WHEN n % 2 = 0 THEN 0 WHEN n % 1000 = 1 THEN 4000 ELSE 1200 + n % 31 END,
    CASE n % 2 WHEN 0 THEN 56 END,
    'bench', 1, '', us, NULL
FROM spread
"""


def fill(home: Path, rows: int) -> datetime:
    """Write a year of ``rows`` requests to a new ledger in ``home``; return the moment of the last."""
    open_engine(None, home).dispose()
    connection = sqlite3.connect(home / LEDGER_FILE, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        span = timedelta(days=DAYS)
        connection.execute(
            _ROWS,
            {
                "rows": rows,
                "first_us": int(FIRST_DAY.timestamp()) * 1_000_000,
                "span_us": int(span.total_seconds()) * 1_000_000,
            },
        )
        keys = ", ".join(schema.HOUR_KEYS)
        connection.execute(
            f"INSERT INTO ledger_hours ({keys}, {', '.join(schema.HOUR_SUMS)}) "
            f"SELECT {keys}, {_sums(schema.HOUR_SUMS)} FROM ledger_attempts WHERE state <> 'open' GROUP BY {keys}"
        )
        keys = ", ".join(schema.DAY_KEYS)
        connection.execute(
            f"INSERT INTO ledger_days ({keys}, {', '.join(schema.HOUR_SUMS)}) SELECT {keys}, "
            f"{', '.join(f'sum({name})' for name in schema.HOUR_SUMS)} FROM ledger_hours GROUP BY {keys}"
        )
        for length in (7, 10):
            connection.execute(
                f"INSERT INTO ledger_totals (window, project, {', '.join(schema.TOTAL_SUMS)}) "
                f"SELECT substr(day, 1, {length}), '', {_sums(schema.TOTAL_SUMS)} FROM ledger_attempts GROUP BY 1"
            )
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()
    return FIRST_DAY + span


def _sums(names: tuple[str, ...]) -> str:
    compiled = (
        column.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
        for column in sums_of_rows(names)
    )
    return ", ".join(str(column).partition(" AS ")[0] for column in compiled)
