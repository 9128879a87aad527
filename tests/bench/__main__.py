"""``make bench``: the measured promises. Figures are ratios against a baseline of the same run where one exists.

``make bench ARGS="wire start"`` takes only those.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys

BENCHES = (
    "structure",
    "router",
    "wire",
    "start",
    "memory",
    "panel",
    "charts",
    "pill",
    "stream",
    "thread",
    "log",
    "ledger",
    "million",
    "machine",
    "history",
)


def main(wanted: list[str]) -> int:
    unknown = set(wanted) - set(BENCHES)
    if unknown:
        print(f"There is no bench called {', '.join(unknown)}; there are {', '.join(BENCHES)}.")
        return 2
    print(f"Python {platform.python_version()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    for name in wanted or BENCHES:
        for figure in importlib.import_module(f"tests.bench.{name}_bench").run():
            print(figure.line(), flush=True)
    return 0


sys.exit(main(sys.argv[1:]))
