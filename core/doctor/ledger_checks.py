"""The doctor's look at the books: the ledger's sums, the audit log, the limits, prices, and who is paused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.base.text import counted
from core.doctor.findings import Component, DoctorTarget, Finding
from core.pricing.spending import unsettled_amount
from core.routing.idempotency_store import FILE_NAME
from core.settings.left_aside import left_aside

if TYPE_CHECKING:
    from core.services.status import ProblemKind

MOST_AUDIT_ENTRIES = 100_000
"""A longer chain is verified by its own command: this many take about five seconds on a slow machine."""

LEDGER = Component("Ledger")
AUDIT = Component("Audit log")
LIMITS = Component("Limits")
UNRESOLVED = Component("Costs not settled", needed=False)
PAUSED = Component("Paused conversations", needed=False)
FILES = Component("Files", needed=False)
PRICES = Component("Prices")
TEMPLATES = Component("Prompt templates", needed=False)
ANSWERS = Component("Kept answers", needed=False)
TELEMETRY = Component("Telemetry", needed=False)

_SHOWN = 3


async def ledger(core: DoctorTarget) -> Finding:
    check = await core.ledger.check()  # says why it can't be used
    where = core.settings.current.ledger_url or str(core.ledger.path)
    if "@" in where:
        where = where.split("@")[-1]
    if not check.ok:
        return LEDGER.found(
            "broken",
            _first(check.differences),
            "The rows are the truth, and nothing was changed. Run signalbox audit verify, and please report "
            "this with what it says.",
        )
    rows = "1 row" if check.attempts == 1 else f"{check.attempts:,} rows"
    return LEDGER.found("works", f"{rows}, sums agree, {where}")


async def audit(core: DoctorTarget) -> Finding:
    """Verify the audit chain, unless that would take long."""
    head = await core.ledger.audit_head()
    if head is not None and head.seq > MOST_AUDIT_ENTRIES:
        return AUDIT.found(
            "works",
            f"{head.seq:,} entries, too many to verify here",
            "Verify them with: signalbox audit verify",
            needed=False,
        )
    report = await core.ledger.verify_audit()
    if not report.ok:
        return AUDIT.found(
            "broken",
            f"the ledger was changed behind its back: {_first([each.what for each in report.problems])}",
            "Run signalbox audit verify for all of it. A backup from before shows what was there.",
        )
    entries = "1 entry" if report.entries == 1 else f"{report.entries:,} entries"
    return AUDIT.found("works", f"{entries}, unbroken, and the rows agree")


async def limits(core: DoctorTarget) -> Finding:
    """Try each limit: does it refuse what is too much?"""
    armed = await core.ledger.test_limits()
    failed = [f"{limit.limit_name}: {limit.detail}" for limit in armed if not limit.armed]
    if failed:
        closed = core.settings.closing_problems
        return LIMITS.found(
            "broken",
            _first(failed),
            "Mend it where it is set; the API is closed until then."
            if len(closed) == len(failed)
            else "Until this is mended, set ROUTING_MODE=local-only, so that nothing is spent.",
        )
    names = ", ".join(dict.fromkeys(limit.limit_name for limit in armed))
    return LIMITS.found("works", f"tested, and they hold: {names}")


async def unresolved(core: DoctorTarget) -> Finding:
    """Name the requests whose true cost never came."""
    budget = await core.ledger.budget()
    if not budget.unresolved_count:
        return UNRESOLVED.found("works", "none this month")
    requests = counted(budget.unresolved_count, "request")
    return UNRESOLVED.found(
        "works",
        f"{unsettled_amount(budget.unresolved_nanodollars)} not settled: the true cost of {requests} never came",
        "List them with: signalbox holds",
    )


async def paused(core: DoctorTarget) -> Finding:
    waiting = await core.ledger.paused()
    if not waiting:
        return PAUSED.found("works", "none")
    names = [each.conversation for each in waiting[:_SHOWN]]
    more = f" and {len(waiting) - _SHOWN:,} more" if len(waiting) > _SHOWN else ""
    return PAUSED.found(
        "broken",
        f"{', '.join(names)}{more} sent like a loop and may not send",
        "Look at what sends them; then: signalbox resume CONVERSATION",
    )


async def files(core: DoctorTarget) -> Finding:
    """Name the broken files that wait for somebody to look at them."""
    waiting = left_aside(core.home)
    if waiting:
        return FILES.found("broken", _first(waiting), "Until that is done it is said at every start.")
    return FILES.found("works", f"none of those in {core.home} is broken")


async def prices(core: DoctorTarget) -> Finding:
    model, version = core.settings.current.anthropic_model, core.prices.version
    is_priced, problems = core.prices.is_priced(model), core.prices.problems
    if not is_priced:
        return PRICES.found(
            "broken",
            f"{model} has no known price",
            f"Set one: signalbox prices set {model} --input 3 --output 15. Until then its requests "
            "count at the dearest known price, and are shown as unpriced.",
            version=version,
        )
    closed = core.prices.closed_for(model)
    if problems or closed:
        return PRICES.found(
            "broken",
            _first(problems or (closed,)),
            "See which prices count now with: signalbox prices list",
            version=version,
        )
    return PRICES.found("works", f"{model} is priced", version=version)


async def templates(core: DoctorTarget) -> Finding:
    found = await _problems(core, "templates")
    if found:
        return TEMPLATES.found("broken", _first(found), "Mend the file; until then the packaged one is used.")
    folder = core.home / "templates"
    detail = f"the packaged ones, and yours in {folder}" if folder.is_dir() else "the packaged ones"
    return TEMPLATES.found("works", detail)


async def answers(core: DoctorTarget) -> Finding:
    """Say where answers to requests with an idempotency key are kept, and whether they can be."""
    hours = core.settings.current.idempotency_keep_hours
    if not hours:
        return ANSWERS.found("works", "in memory only, for requests with an idempotency key")
    found = await _problems(core, "answers")
    if found:
        return ANSWERS.found(
            "broken",
            _first(found),
            "Free the disk or move the file away; until then a repeated request of another process is refused.",
        )
    kept = "an hour" if hours == 1 else f"{hours} hours"
    return ANSWERS.found(
        "works", f"for {kept} where a request has an idempotency key, in {core.home / FILE_NAME}"
    )


async def telemetry(core: DoctorTarget) -> Finding:
    settings = core.settings.current
    port, collector = settings.metrics_port, settings.otel_exporter_otlp_endpoint
    if port is None and collector is None:
        return TELEMETRY.found(
            "not_set_up",
            "nothing is served or sent",
            "For Prometheus set METRICS_PORT, for traces OTEL_EXPORTER_OTLP_ENDPOINT",
        )
    found = await _problems(core, "telemetry")
    if found:
        return TELEMETRY.found(
            "broken",
            _first(found),
            "A port that is in use may be the panel's own; then this is as it should be."
            if any(f"port {port}" in text for text in found)
            else "",
        )
    facts = [f"metrics at http://127.0.0.1:{port}/metrics"] if port is not None else []
    facts += [f"traces to {collector}"] if collector is not None else []
    return TELEMETRY.found("works", ", ".join(facts))


async def _problems(core: DoctorTarget, kind: ProblemKind) -> list[str]:
    return [problem.message for problem in (await core.status()).problems if problem.kind == kind]


def _first(texts: list[str] | tuple[str, ...]) -> str:
    """Join the first few; a broken ledger may have thousands."""
    more = f"; and {len(texts) - _SHOWN:,} more" if len(texts) > _SHOWN else ""
    return "; ".join(text.rstrip(".") for text in texts[:_SHOWN]) + more
