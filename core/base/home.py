"""The folder of the user's files, found without the settings' models, which take the first window 0.1 s to load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import platformdirs

HOME_VARIABLE = "SIGNALBOX_HOME"


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
        ValueError: a file stands there.
    """
    if value.exists() and not value.is_dir():
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
    try:
        return not_a_file(absolute_path(Path(value)))
    except (ValueError, OSError):
        return None
