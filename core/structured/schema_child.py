"""A check against a schema in a process of its own: ``python -m core.structured.schema_child``.

For patterns that only ``re`` can match: that may take for ever and can't be interrupted, but a process can end.
Standard input carries ``value`` and ``schema`` in one JSON object, standard output ``problems`` and
``schema_at_fault``.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

log = logging.getLogger(__name__)

LIMIT_S = 10.0
"""Start (0.2 s) and check together. An honest pattern takes microseconds; a busy machine is slow to start it."""


def check_in_child(value: Any, schema: dict[str, Any]) -> tuple[tuple[str, ...], bool] | None:
    """Return the problems and whether the schema is at fault, ``None`` where it took too long or did not work."""
    question = json.dumps({"value": value, "schema": schema})
    try:
        child = subprocess.run(
            [sys.executable, "-m", "core.structured.schema_child"],
            input=question,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=LIMIT_S,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            check=True,
        )
        answer = json.loads(child.stdout)
    except subprocess.TimeoutExpired:
        return None
    except (OSError, ValueError, subprocess.CalledProcessError):
        log.warning("a JSON schema could not be checked in a process of its own", exc_info=True)
        return None
    return tuple(answer["problems"]), bool(answer["schema_at_fault"])


def main() -> int:
    """Answer one question; returns the exit code."""
    from core.structured.schema import check_here

    question = json.loads(sys.stdin.buffer.read())
    checked = check_here(question["value"], question["schema"], linear=False)
    answer = {"problems": checked.problems, "schema_at_fault": checked.schema_at_fault}
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
