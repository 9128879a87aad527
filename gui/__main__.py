"""``signalbox`` and ``python -m gui``: the panel without arguments, the command line with them."""

from __future__ import annotations

import gc
import sys

COLLECT_AFTER = (50_000, 20, 20)
"""Most of a command is loading modules, which makes no garbage: looking for it took a twentieth of the time."""


def main() -> int:
    """Open the panel, or run a command; the command line never imports Qt."""
    if len(sys.argv) > 1:
        gc.set_threshold(*COLLECT_AFTER)
        from core.cli import main as command_line

        return command_line(sys.argv[1:])
    from gui.app import main as panel

    return panel()


if __name__ == "__main__":
    sys.exit(main())
