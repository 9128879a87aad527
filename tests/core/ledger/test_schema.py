"""The tables as each database gets them."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Dialect
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex

from core.errors import LedgerUnavailable
from core.ledger.database import open_engine
from core.ledger.schema import attempts

CONDITIONS = {
    "ledger_attempts_holding": "state = 'open'",
    "ledger_attempts_unresolved": "state = 'unresolved'",
    "ledger_attempts_unpriced": "cost_nanodollars IS NULL AND output_tokens IS NOT NULL",
    "ledger_attempts_by_key": "idempotency_key IS NOT NULL",
}


def conditions(dialect: Dialect) -> dict[str, str]:
    """Return the condition of each index that has one, as ``dialect`` writes it."""
    found = {
        str(index.name): str(CreateIndex(index).compile(dialect=dialect)).partition(" WHERE ")[2]
        for index in attempts.indexes
    }
    return {name: condition for name, condition in found.items() if condition}


def test_indexes_of_few_rows_are_partial_in_a_file(home: Path) -> None:
    engine = open_engine(None, home)
    assert conditions(engine.dialect) == CONDITIONS
    engine.dispose()


def test_indexes_of_few_rows_are_partial_on_a_server(home: Path) -> None:
    with pytest.raises(LedgerUnavailable):
        open_engine("postgresql://nobody@127.0.0.1:9/none", home)
    assert conditions(postgresql.dialect()) == CONDITIONS
