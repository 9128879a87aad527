"""Holds that a process on another host left behind are found by one that goes on running."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.ledger import operations
from core.ledger.ledger import Ledger
from core.ledger.models import HoldRequest, NewRequest
from core.ledger.process_identity import ProcessIdentity
from core.pricing.prices import PriceTable
from core.services.ledger import LedgerService
from core.settings import SettingsStore
from core.structured.scoreboard import Scoreboard
from tests.support.ledgers import new_request


def began(ago: timedelta) -> NewRequest:
    request = new_request()
    return NewRequest(
        correlation_id=request.correlation_id,
        side=request.side,
        provider=request.provider,
        model=request.model,
        started_at=datetime.now(UTC) - ago,
    )


async def test_holds_of_another_host_are_resolved_once_they_have_run_out(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SettingsStore(env={"SIGNALBOX_HOME": str(home)})
    books = LedgerService(settings, PriceTable(), Scoreboard(), lambda: None)
    await books.open()
    with monkeypatch.context() as patched:
        patched.setattr(
            operations, "current_process", lambda: ProcessIdentity("another container", 7, "then")
        )
        elsewhere = Ledger(None, home)
        await elsewhere.open()
    old, young, own = began(timedelta(hours=2)), began(timedelta(minutes=5)), began(timedelta(hours=2))
    for request in (old, young):
        await elsewhere.begin(request, HoldRequest(nanodollars=60))
    await elsewhere.close()
    await books.current.begin(own, HoldRequest(nanodollars=60))

    await books.maintain()

    states = [(await books.attempts(request.correlation_id))[0].state for request in (old, young, own)]
    assert states == ["unresolved", "open", "open"]
    (notice,) = books.problems()
    assert notice.kind == "recovered"

    await books.current.resolve(old.correlation_id, 10)  # as another program would
    await books.maintain()
    assert books.problems() == []
    await books.close()
