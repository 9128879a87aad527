"""``signalbox`` and ``python -m gui``: the panel without arguments, the command line with them."""

from __future__ import annotations

import gc
import os
import sys

COLLECT_AFTER = (50_000, 20, 20)
"""Most of a command is loading modules, which makes no garbage: looking for it took a twentieth of the time."""


def _forget_the_working_folder() -> None:
    """Take the working folder off the paths of modules and programs, unless it is our own checkout.

    ``python -m`` puts it on the one, so does an empty entry of ``PYTHONPATH``; a ``.`` in ``PATH`` on the other. A
    stranger's ``core/``, ``json.py`` or ``docker`` would run. This comes before the first import of ours, so
    nothing of ours can do it.
    """
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        here = os.path.realpath(os.getcwd())
    except OSError:
        here = ""  # it was deleted
    kept = (sys.prefix, sys.base_prefix)
    sys.path[:] = [
        folder
        for folder in sys.path
        if os.path.isabs(folder)
        and (folder == own or os.path.realpath(folder) != here or here.startswith(kept))
    ]
    if "PATH" in os.environ:
        folders = os.environ["PATH"].split(os.pathsep)
        os.environ["PATH"] = os.pathsep.join(filter(os.path.isabs, folders)) or os.defpath


def main() -> int:
    """Open the panel, or run a command; the command line never imports Qt."""
    _forget_the_working_folder()
    if len(sys.argv) > 1:
        gc.set_threshold(*COLLECT_AFTER)
        from core.cli import main as command_line

        return command_line(sys.argv[1:])
    from gui.app import main as panel

    return panel()


if __name__ == "__main__":
    sys.exit(main())
