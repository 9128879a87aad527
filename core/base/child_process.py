"""How this program starts others: no code of the working folder, and an environment without anybody's secrets.

The working folder may be a stranger's. Whatever stands in it (``core/``, ``json.py``, ``docker``, ``libfoo.so``)
must not run because we were started there, and no child is handed more of our environment than it needs: what is
not on a list stays here.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import site
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds ``core``: a checkout, or where packages are installed."""

_EVERY_CHILD = frozenset(
    {
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "PATH",
        "TMPDIR",
        "TZ",
        "USER",
        "XDG_RUNTIME_DIR",
        # Windows starts no program without some of these.
        "APPDATA",
        "COMSPEC",
        "LOCALAPPDATA",
        "NUMBER_OF_PROCESSORS",
        "PATHEXT",
        "PROCESSOR_ARCHITECTURE",
        "PROGRAMDATA",
        "PROGRAMFILES",
        "SYSTEMDRIVE",
        "SYSTEMROOT",
        "TEMP",
        "TMP",
        "USERPROFILE",
        "WINDIR",
        # Coverage follows our own children with these; they name files and options.
        "COVERAGE_PROCESS_CONFIG",
        "COVERAGE_PROCESS_START",
    }
)
_EVERY_CHILDS_PREFIXES = ("LC_",)
_SEARCHED = ("PATH", "LD_LIBRARY_PATH")
_A_SECRETS_NAME = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH(?!OR)|COOKIE", re.IGNORECASE)


def child_environment(
    names: Collection[str] = (), *, prefixes: tuple[str, ...] = (), extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return what of this process's environment a child is given, and ``extra``.

    ``names`` are further variables that this child needs, and ``prefixes`` how more of them begin; one whose name
    looks like a secret's comes by no prefix. Folders that programs and libraries are looked for in are kept where
    they are absolute: an empty or relative one means the working folder.
    """
    wanted = _EVERY_CHILD | frozenset(names)
    prefixes = _EVERY_CHILDS_PREFIXES + prefixes
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in wanted or (name.startswith(prefixes) and not _A_SECRETS_NAME.search(name))
    }
    for name in _SEARCHED:
        if name in environment:
            environment[name] = _absolute_folders(environment[name])
            if not environment[name]:
                del environment[name]
    return {**environment, **(extra or {})}


def _absolute_folders(folders: str) -> str:
    return os.pathsep.join(folder for folder in folders.split(os.pathsep) if os.path.isabs(folder))


def program(name: str) -> str | None:
    """Return the absolute path of the program ``name``, ``None`` where there is none.

    A ``.`` in ``PATH`` means the working folder, and Windows always looks there first: neither counts.
    """
    folders = _absolute_folders(os.environ.get("PATH", os.defpath))
    found = shutil.which(name, path=folders) if folders else None
    return found if found is not None and os.path.isabs(found) else None


def spare_library_children() -> None:
    """Keep two libraries from starting programs, with our whole environment and by ``PATH`` as it is.

    keyring's part for macOS looks for its frameworks with ``gcc`` and ``ld`` on Linux too, and OpenAI's SDK asks
    ``uname -p`` for a header. Call it before either is used.
    """
    if sys.platform == "darwin":
        return
    sys.modules.setdefault("keyring.backends.macOS.api", None)  # type: ignore[arg-type]  # an import of it fails
    known = vars(platform.uname())  # where the name of the processor, once asked for, is kept
    known.setdefault("processor", platform.machine())


def python_command(module: str) -> list[str]:
    """Return a command that runs ``main()`` of our ``module`` in a separate Python and exits with what it returns.

    It is isolated (``-I``: no ``PYTHON*`` variable, no working folder) and searches the folders that this process
    searches, without the working folder.
    """
    flags = ["-I", *(["-B"] if sys.dont_write_bytecode else [])]
    code = f"import sys; sys.path[:] = {_searched()!r}; from {module} import main; raise SystemExit(main())"
    return [sys.executable, *flags, "-c", code]


def _searched() -> list[str]:
    """Return where modules are looked for: absolute folders, and the working folder only where it is our own."""
    folders = [folder for folder in sys.path if os.path.isabs(folder) and not _is_strange(folder)]
    return folders if str(PACKAGE_ROOT) in folders else [str(PACKAGE_ROOT), *folders]


def _is_strange(folder: str) -> bool:
    """Whether ``folder`` is the working folder, and neither our own nor one where this Python keeps packages."""
    if Path(folder) == PACKAGE_ROOT or not _is_working_folder(folder):
        return False
    kept = (sys.prefix, sys.base_prefix, site.getusersitepackages())
    return not any(Path(folder).is_relative_to(root) for root in kept)


def _is_working_folder(folder: str) -> bool:
    try:
        return os.path.samefile(folder, ".")
    except OSError:
        return False  # one of the two is gone, so nothing is found there
