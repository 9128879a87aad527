"""``signalbox doctor``: each component, found or not, and what to do."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

MARKS = {"works": "ok", "missing": "missing", "broken": "BROKEN", "not_set_up": "not set up"}
PROBLEM = "problem"
"""Instead of BROKEN where Signalbox works without it."""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("doctor", parents=[common])
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.set_defaults(command=doctor)


async def doctor(arguments: argparse.Namespace) -> int:
    """Exit code 1 when a component that Signalbox needs doesn't work."""
    from core.router_core import RouterCore

    async with RouterCore() as core:
        findings = await core.doctor()
    if arguments.json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    else:
        width = max(len(finding.component) for finding in findings)
        for finding in findings:
            facts = ", ".join(fact for fact in (finding.version, finding.detail) if fact)
            mark = PROBLEM if finding.state == "broken" and not finding.needed else MARKS[finding.state]
            sys.stdout.write(f"{finding.component.ljust(width)}  {mark.ljust(10)}  {facts}\n")
            if finding.hint:
                sys.stdout.write(f"{' ' * width}  {' ' * 10}  -> {finding.hint}\n")
    broken = [finding for finding in findings if finding.needed and finding.state in ("broken", "missing")]
    return 1 if broken else 0
