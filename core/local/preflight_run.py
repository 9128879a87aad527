"""Makes the pre-flight checks, all at once."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime

from core.local.preflight import TITLES, CheckName, PreflightCheck, PreflightReport
from core.local.preflight_docker import DOCKER_CHECKS
from core.local.preflight_facts import Asked, Check, Notes
from core.local.preflight_model import MODEL_CHECKS

log = logging.getLogger(__name__)

CHECK_TIMEOUT_S = 25.0
"""How long one check may take. A question to Docker is given up some seconds earlier, and says so itself."""


async def examine(asked: Asked, *, timeout_s: float = CHECK_TIMEOUT_S) -> PreflightReport:
    """Make all checks at once; one that hangs is ``unknown`` and holds up no other."""
    checks: dict[CheckName, Check] = {**DOCKER_CHECKS, **MODEL_CHECKS}
    notes = Notes()
    try:
        made = await asyncio.gather(*(_made(name, checks[name], asked, notes, timeout_s) for name in TITLES))
    finally:
        await asked.close()
    return PreflightReport(checks=tuple(made), at=datetime.now(UTC), fit=notes.fit)


async def _made(
    name: CheckName, check: Check, asked: Asked, notes: Notes, timeout_s: float
) -> PreflightCheck:
    blank = PreflightCheck(name=name, title=TITLES[name], state="unknown")
    try:
        async with asyncio.timeout(timeout_s):
            return await check(asked, notes)
    except TimeoutError:
        return replace(
            blank, found=f"no answer within {timeout_s:g} s", fix="Something hangs there. Check again."
        )
    except Exception:
        # One that breaks over what this machine says must not take the others' answers with it.
        log.exception("the pre-flight check %s broke", name)
        return replace(blank, found="could not be checked", fix="The log says why.")
