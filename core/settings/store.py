"""Every threshold, endpoint and limit, with the place its value comes from.

A value is looked up in the environment, then in ``.env`` of the working directory (only there), then in the home
folder's ``.env``, then in what the user set in the panel (``<home>/settings.json``), then there is the default. A
value that is not allowed never stops the start: the next place down is asked, and ``SettingsStore.problems`` says
so. Where it is one of ``model.GUARDS`` it also closes the API side: ``SettingsStore.closing_problems``.

A working directory may be a stranger's. Of its ``.env`` counts what can do no harm, until the user trusts the file
(``trust_of``, ``core.settings.trust``); the home folder's is the user's own.

Why not ``pydantic_settings.BaseSettings``: it merges its sources into one dict before it validates, so one
bad value fails all of them, and the origin of each value is gone. Here each source is read by itself and
each value goes through the same pydantic model alone.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

from core.base.observable import Listeners
from core.base.redaction import remember_secret
from core.base.text import with_thousands
from core.settings.model import (
    KEYRING_NAME,
    NAMES,
    SECRETS,
    Settings,
    bounds,
    default_of,
    env_name,
    facts,
    lowered,
    trust_of,
    validate,
)
from core.settings.report import (
    InvalidSetting,
    Origin,
    SettingInfo,
    SettingProblem,
    UntrustedFile,
    Withheld,
    asked_about,
    file_problem,
    home_in_home,
    kept_aside,
    near_miss,
    printable,
    secret_in_file,
    shown,
    unknown_setting,
    value_problem,
)
from core.settings.sources import (
    BrokenSettingsFile,
    DotEnv,
    SettingsFile,
    SettingsFileError,
    absolute,
    fingerprint,
    read_dotenv,
)
from core.settings.trust import TrustStore, is_trusted, real_path, untrusted_file

log = logging.getLogger(__name__)

OTHERS_SECRETS = ("HF_TOKEN",)
"""What docker-compose.yml and downloads read from the same places: no settings, and no text of ours shows them."""

OTHERS_NAMES = (
    *OTHERS_SECRETS,
    "HF_ENDPOINT",
    "VLLM_IMAGE_TAG",
    "VLLM_PORT",
    "VLLM_MAX_MODEL_LEN",
    "VLLM_GPU_COUNT",
    "VLLM_GPU_MEMORY_UTILIZATION",
    "VLLM_TOOL_PARSER",
)
"""What else docker-compose.yml and Hugging Face's client read from ``.env``: no misspelt settings."""


@dataclass(frozen=True, slots=True)
class _Place:
    """One place that values are looked up in. What is not ``trusted`` counts only where it can do no harm."""

    origin: Origin
    values: Mapping[str, Any]
    trusted: bool = True


@dataclass(slots=True)
class _Found:
    value: Any
    origin: Origin
    refused: list[tuple[Origin, object]] = field(default_factory=list[tuple[Origin, object]])


class SettingsStore:
    """Reads all places a setting can come from, and keeps what the panel sets.

    ``home`` given here wins over ``SIGNALBOX_HOME`` and stays for the life of the store. ``env`` defaults to
    ``os.environ`` and ``dotenv_path`` to ``.env`` in the working directory. Safe to use from any thread;
    ``set``, ``reset`` and ``reload`` block for a few milliseconds of disk work.

    Raises:
        SettingsFileError: the working directory is gone, so nobody can say what its ``.env`` had limited.
    """

    def __init__(
        self,
        home: Path | None = None,
        env: Mapping[str, str] | None = None,
        dotenv_path: Path | None = None,
    ) -> None:
        self._env: Mapping[str, str] = os.environ if env is None else env
        self._dotenv_path = absolute(Path(".env") if dotenv_path is None else dotenv_path)
        self._lock = threading.RLock()
        self._listeners = Listeners[Settings](log, "the settings")
        self._origins: dict[str, Origin] = {}
        self._others: dict[str, tuple[str, Origin]] = {}
        self._problems: tuple[SettingProblem, ...] = ()
        self._closing: tuple[SettingProblem, ...] = ()
        self._broken: tuple[Path, ...] = ()
        self._untrusted: tuple[UntrustedFile, ...] = ()
        self._folder_file: UntrustedFile | None = None
        self._base_home = self._find_base_home(home)
        self._trust = TrustStore(self._base_home)
        self._home_origin: Origin
        folder_print, folder_dotenv = fingerprint(self._dotenv_path), read_dotenv(self._dotenv_path)
        self._home, self._home_origin, self._home_problems = self._find_home(home, folder_dotenv)
        self._home_dotenv_path = self._home / ".env"
        is_same = real_path(self._dotenv_path) == real_path(self._home_dotenv_path)
        self._dotenv_paths = (self._dotenv_path,) if is_same else (self._dotenv_path, self._home_dotenv_path)
        self._file = SettingsFile(self._home / "settings.json")
        self._seen = self._fingerprints()
        # The folder's .env may name the home folder, so it has been read already.
        self._current = self._read_all(folder_dotenv if self._seen[0] == folder_print else None)

    @property
    def current(self) -> Settings:
        """The snapshot in effect. A request keeps the one it started with."""
        return self._current

    @property
    def problems(self) -> tuple[SettingProblem, ...]:
        """What was found and not used, in the order of the settings."""
        return self._problems

    @property
    def closing_problems(self) -> tuple[SettingProblem, ...]:
        """Those of ``problems`` in which a limit may stand: until they are mended nothing is sent to the API."""
        return self._closing

    @property
    def untrusted(self) -> tuple[UntrustedFile, ...]:
        """The ``.env`` files that the user has not trusted as they are, and of which something counts only then."""
        return self._untrusted

    @property
    def folder_file(self) -> UntrustedFile | None:
        """The working folder's ``.env`` where it is not trusted, even if nothing in it needs that."""
        return self._folder_file

    def origin(self, name: str) -> Origin:
        """Return where the value in effect comes from.

        Raises:
            KeyError: no such setting.
        """
        return self._origins[name]

    def other(self, name: str) -> tuple[str, Origin] | None:
        """Return the value of one of ``OTHERS_NAMES`` and its place, the environment or a ``.env`` that counts.

        An untrusted folder's ``.env`` does not: it could name another hub, and so be sent the token.
        """
        return self._others.get(name)

    def named_at(self, name: str) -> Origin:
        """Return the first place that names the setting, whether its value can be read or not.

        Raises:
            KeyError: no such setting.
        """
        refused = self.unreadable(name)
        return self._origins[name] if refused is None else refused.origin

    def unreadable(self, name: str) -> SettingProblem | None:
        """Return what is wrong with the value of ``name`` that would be in effect if it could be read."""
        return next(
            (problem for problem in self._problems if problem.name == name and problem.is_refused), None
        )

    def set(self, name: str, value: object) -> None:
        """Keep ``value`` in ``settings.json``, in effect at once unless the environment or ``.env`` wins.

        ``None`` (or empty text) counts as a value where the setting may be empty.

        Raises:
            InvalidSetting: unknown, not allowed, a secret, or not the panel's to set.
            SettingsFileError: it cannot be written; nothing has changed.
        """
        stored = _checked_for_panel(name, value)

        def alter(values: dict[str, Any]) -> None:
            values[name] = stored

        self._change(alter)

    def reset(self, name: str) -> None:
        """Forget what the panel set.

        Raises:
            SettingsFileError: it cannot be written.
        """
        if name not in NAMES:
            raise unknown_setting(name)

        def alter(values: dict[str, Any]) -> None:
            values.pop(name, None)

        self._change(alter)

    def reload(self) -> None:
        """Read the environment and the files again and tell the listeners when a value or a problem changed."""
        with self._lock:
            before = self._current, self._problems, self._untrusted
            self._seen = self._fingerprints()
            self._current = self._read_all()
            changed = (self._current, self._problems, self._untrusted) != before
        if changed:
            # The newest snapshot, so that two threads changing at once cannot leave a listener behind.
            self._listeners.tell(lambda: self._current)

    def reload_if_changed(self) -> bool:
        """Reload when a file changed since it was read (a few ``stat`` calls, some microseconds)."""
        if self._fingerprints() == self._seen:
            return False
        self.reload()
        return True

    def on_change(self, listener: Callable[[Settings], None]) -> Callable[[], None]:
        """Call ``listener`` with each new snapshot, on the thread that made the change.

        Returns a function that ends it.
        """
        return self._listeners.add(listener)

    def trust(self, file: UntrustedFile) -> None:
        """Let all of ``file`` count from now on, as long as its content is the one that was shown.

        A home folder that it names counts from the next start on.

        Raises:
            SettingsFileError: it can't be trusted, or that can't be written.
        """
        if file.obstacle:
            raise SettingsFileError(f"{file.path} can't be trusted, since {file.obstacle}.", hint=file.hint)
        self._trust.add(file.path, file.sha256)
        self.reload()

    def revoke(self, path: Path) -> bool:
        """Trust ``path`` no longer; returns whether it was trusted.

        Raises:
            SettingsFileError: that can't be written.
        """
        was_trusted = self._trust.remove(real_path(path.absolute()))
        self.reload()
        return was_trusted

    def trusted(self) -> dict[str, str]:
        """Return the SHA-256 of each trusted file's content by its path."""
        return self._trust.trusted()

    @property
    def broken_copies(self) -> tuple[Path, ...]:
        """What ``settings.json`` was when it could not be read, until somebody deals with it; oldest first."""
        return self._file.broken

    def restore(self, copy: Path) -> Path:
        """Take back what a broken copy holds, once it was mended; what has been set since stays.

        Returns where the copy is then.

        Raises:
            SettingsFileError: it isn't mended, or can't be read or written; nothing has changed.
        """
        try:
            return self._file.restore(copy)
        finally:
            self.reload()

    def discard(self, copy: Path) -> Path:
        """Go on without what a broken copy holds. It is renamed; returns where it is.

        Raises:
            SettingsFileError: it can't be renamed.
        """
        try:
            return self._file.discard(copy)
        finally:
            self.reload()

    def describe(self) -> tuple[SettingInfo, ...]:
        """Return every setting with its value, default, unit and origin, in a fixed order."""
        with self._lock:
            current, origins = self._current, dict(self._origins)
        rows: list[SettingInfo] = []
        for name, stated_field in Settings.model_fields.items():
            stated, (least, most) = facts(name), bounds(name)
            rows.append(
                SettingInfo(
                    name=name,
                    env_name=env_name(name),
                    value=shown(getattr(current, name)),
                    default=default_of(name),
                    unit=stated["unit"],
                    allowed=stated["allowed"],
                    description=stated_field.description or "",
                    origin=origins[name],
                    locked=name == "home" or origins[name] in ("environment", ".env", "home .env"),
                    secret=name in SECRETS,
                    least=least,
                    most=most,
                )
            )
        return tuple(rows)

    def _change(self, alter: Callable[[dict[str, Any]], None]) -> None:
        self._file.change(alter)
        self.reload()

    def _fingerprints(self) -> tuple[object, ...]:
        # What another process does about them (signalbox trust, settings discard) counts here too.
        waiting = [*self._broken, *([self._trust] if self._untrusted else [])]
        return (
            *map(fingerprint, self._dotenv_paths),
            self._file.fingerprint(),
            *(each.fingerprint() if isinstance(each, TrustStore) else fingerprint(each) for each in waiting),
        )

    def _find_base_home(self, given: Path | None) -> Path:
        if given is not None:
            return given.expanduser().absolute()
        return _resolve("home", [_Place("environment", self._env)]).value

    def _find_home(self, given: Path | None, dotenv: DotEnv) -> tuple[Path, Origin, list[SettingProblem]]:
        if given is not None:
            return self._base_home, "default", []
        found = _resolve(
            "home", [_Place("environment", self._env), self._place(dotenv, ".env", self._base_home)]
        )
        return found.value, found.origin, _problems_of("home", found)

    def _place(self, dotenv: DotEnv, origin: Origin, home: Path) -> _Place:
        is_home = real_path(dotenv.path) == real_path(home / ".env")
        return _Place(origin, dotenv.values, is_trusted(dotenv, self._trust, is_home=is_home))

    def _read_all(self, folder_dotenv: DotEnv | None = None) -> Settings:
        files: list[tuple[DotEnv, Origin]] = [(folder_dotenv or read_dotenv(self._dotenv_path), ".env")]
        if len(self._dotenv_paths) > 1:
            files.append((read_dotenv(self._home_dotenv_path), "home .env"))
        problems = [problem for dotenv, _ in files for problem in dotenv.problems]
        places = [_Place("environment", self._env)]
        places += [self._place(dotenv, origin, self._home) for dotenv, origin in files]
        panel = self._read_panel(problems)
        values: dict[str, Any] = {"home": self._home}
        origins: dict[str, Origin] = {"home": self._home_origin}
        problems += self._home_problems
        if len(files) > 1 and not _is_empty(files[1][0].values.get(env_name("home"))):
            problems.append(home_in_home(self._home_dotenv_path))
        for name in NAMES:
            if name == "home":
                continue
            if name in SECRETS and name in panel:
                problems.append(secret_in_file(name))
            found = _resolve(name, _with_panel(name, places, panel))
            values[name], origins[name] = found.value, found.origin
            problems += _problems_of(name, found)
        problems += _near_misses([*places, _Place("panel", panel)])
        for secret in SECRETS:
            if isinstance(key := values[secret], SecretStr):
                remember_secret(key.get_secret_value())
        for name in OTHERS_SECRETS:
            for place in places:
                remember_secret(place.values.get(name) or "")
        others: dict[str, tuple[str, Origin] | None] = {
            name: next(
                (
                    (value.strip(), place.origin)
                    for place in places
                    if place.trusted and isinstance(value := place.values.get(name), str) and value.strip()
                ),
                None,
            )
            for name in OTHERS_NAMES
        }
        self._others = {name: found for name, found in others.items() if found is not None}
        untrusted = [
            self._untrusted_file(dotenv, places[index:], panel)
            for index, (dotenv, _) in enumerate(files, start=1)
            if not places[index].trusted
        ]
        self._folder_file = untrusted[0] if untrusted and not places[1].trusted else None
        self._untrusted = tuple(file for file in untrusted if file.missed)
        self._origins, self._problems = origins, tuple(problems)
        self._closing = tuple(problem for problem in problems if problem.closes)
        return Settings.model_construct(**values)

    def _untrusted_file(
        self, dotenv: DotEnv, places: Sequence[_Place], panel: Mapping[str, Any]
    ) -> UntrustedFile:
        """Say what of ``dotenv``, the first of ``places``, does not count as long as it is not trusted."""
        withheld: list[Withheld] = []
        for name in NAMES:
            key = env_name(name)
            raw = dotenv.values.get(key) or ""
            if _is_empty(raw):
                continue
            instead: str | None = None
            match trust_of(name):
                case "any":
                    continue
                case "lower":
                    stands = _resolve(name, _with_panel(name, places, panel)).value
                    try:
                        if validate(name, raw) == stands:
                            continue
                    except ValidationError:
                        continue  # it closes the API side, trusted or not
                    instead = "not limited" if stands in (None, "") else printable(stands)
                case "trusted":
                    pass
            if name in SECRETS:
                remember_secret(raw)
            withheld.append(
                Withheld(
                    env_name=key,
                    value=asked_about(SecretStr(raw) if name in SECRETS else raw),
                    instead=instead,
                    overruled=not _is_empty(self._env.get(key)),
                )
            )
        is_home = real_path(dotenv.path) == real_path(self._home_dotenv_path)
        return untrusted_file(dotenv, self._trust, tuple(withheld), is_home=is_home)

    def _read_panel(self, problems: list[SettingProblem]) -> dict[str, Any]:
        panel: dict[str, Any] = {}
        try:
            panel = self._file.read()
        except BrokenSettingsFile as broken:
            self._put_aside(broken, problems)
        except SettingsFileError as error:
            problems.append(file_problem(self._file.path.name, str(error), "panel", closes=True))
        # Said at every start, until somebody deals with them.
        self._broken = self._file.broken
        if self._broken:
            problems.append(kept_aside(self._file.path, self._broken))
        unknown = sorted(str(name) for name in panel if name not in NAMES)
        if unknown:
            # Most likely written by a newer version: kept on disk, and no reason to alarm anybody.
            log.info("settings.json holds names this version does not know: %s", ", ".join(unknown))
        return panel

    def _put_aside(self, broken: BrokenSettingsFile, problems: list[SettingProblem]) -> None:
        try:
            kept = self._file.set_aside()
        except SettingsFileError as error:
            problems.append(file_problem(self._file.path.name, str(error), "panel", closes=True))
        else:
            log.info("%s %s", broken.message, f"It is kept as {kept}." if kept else "It was moved aside.")


def _with_panel(name: str, places: Sequence[_Place], panel: Mapping[str, Any]) -> list[_Place]:
    # Keys are never taken from settings.json.
    if name in SECRETS or name not in panel:
        return list(places)
    return [*places, _Place("panel", {env_name(name): panel[name]})]


def _resolve(name: str, places: Sequence[_Place]) -> _Found:
    """Take the first allowed value; each one passed over on the way is refused. What is not trusted is no value."""
    key, refused = env_name(name), list[tuple[Origin, object]]()
    for index, place in enumerate(places):
        raw = place.values.get(key)
        # Empty in the environment is how compose files and shells say "not set".
        if key not in place.values or (place.origin != "panel" and _is_empty(raw)):
            continue
        if not place.trusted and trust_of(name) == "trusted":
            continue
        try:
            if place.origin in (".env", "home .env") and "${" in str(raw):
                raise ValueError("nothing is replaced in .env")
            value = validate(name, raw)
        except ValueError:  # also pydantic's
            refused.append((place.origin, raw))
            continue
        if place.trusted or trust_of(name) != "lower":
            return _Found(value, place.origin, refused)
        below = _resolve(name, places[index + 1 :])
        value = lowered(name, value, below.value)
        origin = below.origin if value == below.value else place.origin
        return _Found(value, origin, refused + below.refused)
    return _Found(default_of(name), "default", refused)


def _problems_of(name: str, found: _Found) -> list[SettingProblem]:
    return [value_problem(name, raw, source, found.value, found.origin) for source, raw in found.refused]


_LEAST_NAME = 8
_MOST_NAMES = 500
_MOST_HINTS = 5
_SIMILAR = 0.86


def _near_misses(places: Sequence[_Place]) -> list[SettingProblem]:
    """Hint at names that are most likely misspelt settings: whoever set a limit shall not believe that it holds."""
    found: list[SettingProblem] = []
    for place in places:
        unknown = (key for key in place.values if len(key) >= _LEAST_NAME)
        # A stranger's file may have thousands of names, and each takes a millisecond.
        meant = ((key, _meant(key, place.origin)) for key in islice(unknown, _MOST_NAMES))
        misses = (near_miss(key, name, place.origin) for key, name in meant if name)
        found += islice(misses, _MOST_HINTS)
    return found


@lru_cache(maxsize=1024)
def _meant(key: str, origin: Origin) -> str | None:
    """Return the setting that ``key``, which is none, most likely means."""
    named, known, in_environment = key.upper(), _names_by_key(), origin == "environment"
    if in_environment and (key != named or named[:4] not in _first_letters()):
        return None  # an environment is full of other programs' names
    if key in (NAMES if origin == "panel" else known) or key in OTHERS_NAMES:
        return None
    if named in known:
        return known[named]
    if not in_environment and len(longer := [each for each in known if each.startswith(f"{named}_")]) == 1:
        return known[longer[0]]
    import difflib  # most starts have no such name

    near = difflib.get_close_matches(named, known, n=1, cutoff=_SIMILAR)
    return known[near[0]] if near and abs(len(near[0]) - len(key)) <= 2 else None


@lru_cache(maxsize=1)
def _names_by_key() -> dict[str, str]:
    return {env_name(name): name for name in NAMES}


@lru_cache(maxsize=1)
def _first_letters() -> frozenset[str]:
    return frozenset(key[:4] for key in _names_by_key())


def _is_empty(value: object) -> TypeGuard[str | None]:
    return value is None or (isinstance(value, str) and not value.strip())


def _checked_for_panel(name: str, value: object) -> Any:
    """Return ``value`` as it is stored in JSON.

    Raises:
        InvalidSetting: the panel may not set it.
    """
    if name not in NAMES:
        raise unknown_setting(name)
    allowed = with_thousands(facts(name)["allowed"])
    if name in SECRETS:
        raise InvalidSetting(
            f"{env_name(name)} is a key, and keys are never written to settings.json.",
            name=name,
            value=None,
            allowed="nothing: keys live in the system's keyring",
            hint=f"Keep it in the system's keyring: signalbox keys set {KEYRING_NAME[name]}",
        )
    if name == "home":
        raise InvalidSetting(
            "The home folder cannot be set from inside, because settings.json lives in it.",
            name=name,
            value=printable(value),
            allowed=allowed,
            hint="Set SIGNALBOX_HOME in the environment, and start again.",
        )
    shown = printable(value)
    try:
        snapshot = Settings.model_validate({name: value})
    except ValidationError:
        raise InvalidSetting(
            f"{env_name(name)} cannot be {shown!r}; allowed is {allowed}.",
            name=name,
            value=shown,
            allowed=allowed,
            hint="The value before is still in effect.",
        ) from None
    checked = getattr(snapshot, name)
    if isinstance(checked, str) and "://" in checked and urlsplit(checked).password:
        raise InvalidSetting(
            f"{env_name(name)} carries a password, and passwords are never written to settings.json.",
            name=name,
            value=shown,
            allowed=allowed,
            hint=f"Leave it out, or set {env_name(name)} in the environment or in the home folder's .env.",
        )
    return snapshot.model_dump(mode="json", include={name})[name]
