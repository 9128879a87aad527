"""Which ``.env`` files of working folders the user has trusted, by path and content, as direnv does it.

The list is ``trusted.json`` in the home folder that the environment or the default names: a folder can't bring its
own along.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from core.settings.report import UntrustedFile, Withheld, printable_path
from core.settings.sources import DotEnv, SettingsFile, SettingsFileError, fingerprint

FILE_NAME = "trusted.json"
_MOST_FILES = 1000


class TrustStore:
    """The user's list of trusted files, in ``home``. All methods block for a few milliseconds of disk work."""

    def __init__(self, home: Path) -> None:
        self._file = SettingsFile(home / FILE_NAME)

    def trusted(self) -> dict[str, str]:
        """Return the SHA-256 of each trusted file's content by its path.

        Empty where the list can't be read, is a link, or others may have written it.
        """
        try:
            if self._file.path.is_symlink():
                return {}
            listed = self._file.read()
        except SettingsFileError:
            return {}  # then nothing is trusted, and each file is asked about again
        return {path: digest for path, digest in listed.items() if isinstance(digest, str)}

    def add(self, path: Path, sha256: str) -> None:
        """Trust ``path`` as long as its content is this one.

        Raises:
            SettingsFileError: it can't be written, or the list is a link and so counts for nothing.
        """

        def alter(values: dict[str, object]) -> None:
            values.pop(str(path), None)
            values[str(path)] = sha256
            for oldest in list(values)[:-_MOST_FILES]:
                del values[oldest]

        self._file.change(alter)
        if self.trusted().get(str(path)) != sha256:
            raise SettingsFileError(
                f"{self._file.path} is a link, so what it lists is not trusted.",
                hint="Put a file of your own there.",
            )

    def remove(self, path: Path) -> bool:
        """Trust ``path`` no longer; returns whether it was.

        Raises:
            SettingsFileError: it can't be written.
        """
        was_trusted: list[object] = []

        def alter(values: dict[str, object]) -> None:
            was_trusted.append(values.pop(str(path), None))

        self._file.change(alter)
        return any(was_trusted)

    def fingerprint(self) -> tuple[int, ...] | None:
        return fingerprint(self._file.path)


def real_path(path: Path) -> Path:
    """Return ``path`` with its folder's links resolved: what a file is trusted under. A link itself stays one."""
    return Path(os.path.realpath(path.parent)) / path.name


def is_trusted(dotenv: DotEnv, trust: TrustStore, *, is_home: bool) -> bool:
    """Whether all of ``dotenv`` counts. In the home folder it is the user's own, unless others may write it."""
    if not dotenv.sha256 or is_home:
        return not dotenv.doubt
    return not dotenv.is_foreign and trust.trusted().get(str(real_path(dotenv.path))) == dotenv.sha256


def untrusted_file(
    dotenv: DotEnv, trust: TrustStore, withheld: tuple[Withheld, ...], *, is_home: bool
) -> UntrustedFile:
    path = real_path(dotenv.path)
    said = shlex.quote(str(path)) if printable_path(path) == str(path) else "PATH"
    if dotenv.is_foreign:
        hint = "Put a file of your own there to use them."
    elif is_home:
        hint = f"Nobody else may write it: chmod go-w {said}"
    else:
        here = path == real_path(Path(".env").absolute())
        hint = f"To look at them and take them: signalbox trust{'' if here else f' {said}'}"
    return UntrustedFile(
        path=path,
        sha256=dotenv.sha256,
        withheld=withheld,
        changed=str(path) in trust.trusted(),
        obstacle=f"it {dotenv.doubt}" if dotenv.is_foreign or is_home else "",
        hint=hint,
    )
