"""The doctor's look at the books: the ledger's sums, the audit log, the limits, prices, and who is paused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import LedgerUnavailable
from core.findings import Finding, Patient
from core.spend.money import format_cost

if TYPE_CHECKING:
    from core.status import ProblemKind

MOST_AUDIT_ENTRIES = 100_000
"""A longer chain is verified by its own command: this many take about five seconds on a slow machine."""

_SHOWN = 3


async def ledger(core: Patient) -> Finding:
    books = core.ledger  # says why it can't be used
    check = await core.check_ledger()
    if check is None:
        raise LedgerUnavailable("The ledger could not be read.", hint="Look into the log, and try again.")
    where = core.settings.current.ledger_url or str(books.path)
    if "@" in where:
        where = where.split("@")[-1]
    if not check.ok:
        return Finding(
            component="Ledger",
            state="broken",
            detail=_first(check.differences),
            hint="The rows are the truth, and nothing was changed. Run signalbox audit verify, and please report "
            "this with what it says.",
        )
    rows = "1 row" if check.attempts == 1 else f"{check.attempts:,} rows"
    return Finding(component="Ledger", state="works", detail=f"{rows}, sums agree, {where}")


async def audit(core: Patient) -> Finding:
    """Verify the audit chain, unless that would take long."""
    head = await core.ledger.audit_head()
    if head is not None and head.seq > MOST_AUDIT_ENTRIES:
        return Finding(
            component="Audit log",
            state="works",
            detail=f"{head.seq:,} entries, too many to verify here",
            hint="Verify them with: signalbox audit verify",
            needed=False,
        )
    report = await core.ledger.verify_audit()
    if not report.ok:
        return Finding(
            component="Audit log",
            state="broken",
            detail=f"the ledger was changed behind its back: {_first([each.what for each in report.problems])}",
            hint="Run signalbox audit verify for all of it. A backup from before shows what was there.",
        )
    entries = "1 entry" if report.entries == 1 else f"{report.entries:,} entries"
    return Finding(component="Audit log", state="works", detail=f"{entries}, unbroken, and the rows agree")


async def limits(core: Patient) -> Finding:
    """Try each limit: does it refuse what is too much?"""
    armed = await core.test_limits()
    failed = [f"{limit.limit_name}: {limit.detail}" for limit in armed if not limit.armed]
    if failed:
        return Finding(
            component="Limits",
            state="broken",
            detail=_first(failed),
            hint="Until this is mended, set ROUTING_MODE=local-only, so that nothing is spent.",
        )
    names = ", ".join(dict.fromkeys(limit.limit_name for limit in armed))
    return Finding(component="Limits", state="works", detail=f"armed: {names}")


async def unresolved(core: Patient) -> Finding:
    """Name the requests whose true cost never came."""
    budget = await core.ledger.budget()
    if not budget.unresolved_count:
        return Finding(component="Unresolved costs", state="works", detail="none this month", needed=False)
    requests = "1 request" if budget.unresolved_count == 1 else f"{budget.unresolved_count:,} requests"
    return Finding(
        component="Unresolved costs",
        state="works",
        detail=f"{format_cost(budget.unresolved_nanodollars)} counted for {requests} whose true cost never came",
        hint="List them with: signalbox holds",
        needed=False,
    )


async def paused(core: Patient) -> Finding:
    waiting = await core.ledger.paused()
    if not waiting:
        return Finding(component="Paused conversations", state="works", detail="none", needed=False)
    names = [each.conversation for each in waiting[:_SHOWN]]
    more = f" and {len(waiting) - _SHOWN:,} more" if len(waiting) > _SHOWN else ""
    return Finding(
        component="Paused conversations",
        state="broken",
        detail=f"{', '.join(names)}{more} sent like a loop and may not send",
        hint="Look at what sends them; then: signalbox resume CONVERSATION",
        needed=False,
    )


async def prices(core: Patient) -> Finding:
    model, version = core.settings.current.anthropic_model, core.prices.version
    is_priced, problems = core.prices.is_priced(model), core.prices.problems
    if not is_priced:
        return Finding(
            component="Prices",
            state="broken",
            version=version,
            detail=f"{model} has no known price",
            hint=f"Set one: signalbox prices set {model} --input 3 --output 15. Until then its requests "
            "count at the dearest known price, and are shown as unpriced.",
        )
    if problems:
        return Finding(
            component="Prices",
            state="broken",
            version=version,
            detail=_first(problems),
            hint=f"Mend {core.home / 'prices.json'}; until then the built-in prices count.",
        )
    return Finding(component="Prices", state="works", version=version, detail=f"{model} is priced")


async def templates(core: Patient) -> Finding:
    found = await _problems(core, "templates")
    if found:
        return Finding(
            component="Prompt templates",
            state="broken",
            detail=_first(found),
            hint="Mend the file; until then the packaged one is used.",
            needed=False,
        )
    folder = core.home / "templates"
    detail = f"the packaged ones, and yours in {folder}" if folder.is_dir() else "the packaged ones"
    return Finding(component="Prompt templates", state="works", detail=detail, needed=False)


async def telemetry(core: Patient) -> Finding:
    settings = core.settings.current
    port, collector = settings.metrics_port, settings.otel_exporter_otlp_endpoint
    if port is None and collector is None:
        return Finding(
            component="Telemetry",
            state="not_set_up",
            detail="nothing is served or sent",
            hint="For Prometheus set METRICS_PORT, for traces OTEL_EXPORTER_OTLP_ENDPOINT",
            needed=False,
        )
    found = await _problems(core, "telemetry")
    if found:
        return Finding(
            component="Telemetry",
            state="broken",
            detail=_first(found),
            hint="A port that is in use may be the panel's own; then this is as it should be.",
            needed=False,
        )
    facts = [f"metrics at http://127.0.0.1:{port}/metrics"] if port is not None else []
    facts += [f"traces to {collector}"] if collector is not None else []
    return Finding(component="Telemetry", state="works", detail=", ".join(facts), needed=False)


async def _problems(core: Patient, kind: ProblemKind) -> list[str]:
    return [problem.message for problem in (await core.status()).problems if problem.kind == kind]


def _first(texts: list[str] | tuple[str, ...]) -> str:
    """Join the first few; a broken ledger may have thousands."""
    more = f"; and {len(texts) - _SHOWN:,} more" if len(texts) > _SHOWN else ""
    return "; ".join(text.rstrip(".") for text in texts[:_SHOWN]) + more
