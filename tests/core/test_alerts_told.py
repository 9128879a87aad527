"""Each limit's newest alert is shown, and no project's hides another's."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from core.ledger.limits import BudgetAlert
from core.pricing.prices import PriceTable
from core.services.ledger import LedgerService
from core.settings import SettingsStore
from core.structured.scoreboard import Scoreboard


def alert(project: str | None, percent: int) -> BudgetAlert:
    return BudgetAlert(
        limit_name="PROJECT_SPEND_LIMITS",
        window_label=datetime.now().astimezone().date().isoformat()[:7],
        percent=percent,
        used=1,
        held=0,
        limit=2,
        project=project,
    )


async def test_no_projects_alert_hides_anothers(home: Path) -> None:
    store = SettingsStore(home, env={})
    books = LedgerService(store, PriceTable(), Scoreboard(), lambda: None)
    books.record_alerts([alert("website", 50), alert("research", 80), alert("website", 80)])
    assert [problem.title for problem in books.problems()] == [
        "80 % of PROJECT_SPEND_LIMITS (website) is used or held",
        "80 % of PROJECT_SPEND_LIMITS (research) is used or held",
    ]
