"""Who else may have written a file or folder of ours, as ssh asks it; and folders that are only ours.

What decides where prompts, keys and money go is read only where nobody else could have written it: it has to belong
to the user or to root, and neither its group nor others may write it. Windows keeps permissions in another way, and
its home folders are the user's own: nothing is asked there.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
_OTHERS_WRITE = 0o022
_OTHERS = 0o077


class NotOnlyOurs(PermissionError):
    """Somebody else owns it or may write it. ``strerror`` says who, and the command that mends it."""


def check_only_ours(path: Path, status: os.stat_result) -> None:
    """Refuse what somebody else may have written; ``status`` is what ``path`` leads to.

    Raises:
        NotOnlyOurs: another user than this one and root owns it, or its group or others may write it.
    """
    if sys.platform == "win32":
        return
    if status.st_uid not in (os.geteuid(), 0):
        owner, user = _user_name(status.st_uid), _user_name(os.geteuid())
        raise NotOnlyOurs(
            errno.EPERM,
            f"it belongs to {owner}, not to {user}. Start Signalbox as {owner}, or, if it is yours: "
            f"sudo chown {user} {_quoted(path)}",
            str(path),
        )
    if status.st_mode & _OTHERS_WRITE:
        raise NotOnlyOurs(
            errno.EPERM,
            f"others may write it. Look at what is in it, then: chmod go-w {_quoted(path)}",
            str(path),
        )


def make_private_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, for the user alone, whatever the umask says.

    Raises:
        OSError: it can't be made, or something else stands there.
    """
    missing: list[Path] = []
    while not path.is_dir():
        missing.append(path)
        if path.parent == path:
            break
        path = path.parent
    for folder in reversed(missing):
        try:
            os.mkdir(folder, PRIVATE_FOLDER)
        except FileExistsError:  # another process was faster, or it is no folder
            if not folder.is_dir():
                raise


def is_open_to_others(status: os.stat_result) -> bool:
    """Whether it is this user's, and others may do something with it."""
    return sys.platform != "win32" and status.st_uid == os.geteuid() and bool(status.st_mode & _OTHERS)


def make_private(path: Path, status: os.stat_result) -> bool:
    """Take from others what they may do with ``path``, where it is this user's; return whether that was done."""
    if not is_open_to_others(status):
        return False
    try:
        os.chmod(path, stat.S_IMODE(status.st_mode) & ~_OTHERS)
    except OSError:  # a file system without permissions: what matters, writing, is asked for by itself
        return False
    return True


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
