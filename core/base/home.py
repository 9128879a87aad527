"""The folder of the user's files: found without the settings' models, which take the first window 0.1 s to load,
and only used where nobody else may write it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from core.base.permissions import check_only_ours, is_open_to_others, make_private, make_private_folder

HOME_VARIABLE = "SIGNALBOX_HOME"

_OUR_NAMES = (
    "env",
    "answers.sqlite3",
    "conversations.",
    "deleted_models.json",
    "downloads.json",
    "ledger.",
    "load_times.json",
    "logs",
    "machine.",
    "model_use.json",
    "models",
    "panel.",
    "prices.json",
    "settings.json",
    "templates",
    "trust",
    "vllm",
)
"""How the names in a home folder begin, after the dot of those that are just being written."""


def default_home() -> Path:
    """Return the folder this system gives an application for its data."""
    return Path(platformdirs.user_data_dir("signalbox", appauthor=False))


def absolute_path(value: Path) -> Path:
    """Return a path without ``~`` and not relative.

    Raises:
        ValueError: it can't be printed, or names a user who does not exist.
    """
    if not str(value).isprintable():
        raise ValueError("a printable path is needed")
    try:
        return value.expanduser().absolute()
    except RuntimeError as error:  # "~somebody" where no such user exists
        raise ValueError(str(error)) from error


def not_a_file(value: Path) -> Path:
    """Return a path where a folder is or can be made.

    Raises:
        ValueError: a file stands there, or this user may not look.
    """
    try:
        is_file = value.exists() and not value.is_dir()
    except OSError as error:  # no permission to look, or a name that is too long
        raise ValueError(f"the folder can't be looked at: {error.strerror}") from error
    if is_file:
        raise ValueError("a file stands where the folder should be")
    return value


def plain_home(env: Mapping[str, str], dotenv_path: Path) -> Path | None:
    """Return the home folder where the environment or the default alone decides it, as ``SettingsStore`` would.

    ``None`` where a ``.env`` may name another, or where what is named is not allowed: the settings decide then.
    """
    if dotenv_path.exists():
        return None
    value = env.get(HOME_VARIABLE, "")
    if not value.strip():
        return default_home()
    if not value.isprintable():
        return None  # what is white space at its ends is not the same to Python and to the settings' models
    try:
        return not_a_file(absolute_path(Path(value.strip())))  # as the settings take it
    except (ValueError, OSError):
        return None


def secure_home(home: Path) -> bool:
    """Make the home folder for the user alone, or see to it that nobody else can write what is in it.

    One that others may read, as earlier versions made it, is closed to them where it holds nothing but our files:
    a folder that is used for other things too (``/``, the user's own) is left as it is. Returns whether that was
    done, for the log, which is in the folder.

    Raises:
        NotOnlyOurs: it is somebody else's, or others may write it; ``strerror`` says how to mend that.
        OSError: it can't be made.
    """
    make_private_folder(home)
    status = home.stat()
    check_only_ours(home, status)
    return is_open_to_others(status) and _is_ours_alone(home) and make_private(home, status)


def _is_ours_alone(home: Path) -> bool:
    import tempfile

    home = home.resolve()
    shared = [Path(os.path.expanduser("~")), Path(tempfile.gettempdir())]
    if any(folder.resolve().is_relative_to(home) for folder in shared):
        return False
    try:
        return all(name.removeprefix(".").startswith(_OUR_NAMES) for name in os.listdir(home))
    except OSError:
        return False
