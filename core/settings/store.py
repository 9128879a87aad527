"""Every threshold, endpoint and limit, with the place its value comes from.

A value is looked up in the environment, then in ``.env`` of the working directory (only there), then in
what the user set in the panel (``<home>/settings.json``), then there is the default. A value that is not
allowed never stops the start: the next place down is asked, and ``SettingsStore.problems`` says so.

Why not ``pydantic_settings.BaseSettings``: it merges its sources into one dict before it validates, so one
bad value fails all of them, and the origin of each value is gone. Here each source is read by itself and
each value goes through the same pydantic model alone.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

from core.base.observable import Listeners
from core.base.redaction import remember_secret
from core.settings.model import (
    KEYRING_NAME,
    NAMES,
    SECRETS,
    Settings,
    default_of,
    env_name,
    facts,
    validate,
)
from core.settings.report import (
    InvalidSetting,
    Origin,
    SettingInfo,
    SettingProblem,
    file_problem,
    printable,
    secret_in_file,
    shown,
    unknown_setting,
    value_problem,
)
from core.settings.sources import (
    BrokenSettingsFile,
    SettingsFile,
    SettingsFileError,
    fingerprint,
    read_dotenv,
)

log = logging.getLogger(__name__)

OTHERS_SECRETS = ("HF_TOKEN",)
"""What docker-compose.yml reads from the same places: no settings, but no text of ours may show them either."""


class SettingsStore:
    """Reads all places a setting can come from, and keeps what the panel sets.

    ``home`` given here wins over ``SIGNALBOX_HOME`` and stays for the life of the store. ``env`` defaults to
    ``os.environ`` and ``dotenv_path`` to ``.env`` in the working directory. Safe to use from any thread;
    ``set``, ``reset`` and ``reload`` block for a few milliseconds of disk work.
    """

    def __init__(
        self,
        home: Path | None = None,
        env: Mapping[str, str] | None = None,
        dotenv_path: Path | None = None,
    ) -> None:
        self._env: Mapping[str, str] = os.environ if env is None else env
        self._dotenv_path = (Path(".env") if dotenv_path is None else dotenv_path).absolute()
        self._lock = threading.RLock()
        self._listeners = Listeners[Settings](log, "the settings")
        self._origins: dict[str, Origin] = {}
        self._problems: tuple[SettingProblem, ...] = ()
        self._set_aside: list[SettingProblem] = []
        self._home_origin: Origin
        self._home, self._home_origin, self._home_problems = self._find_home(home)
        self._file = SettingsFile(self._home)
        self._seen = self._fingerprints()
        self._current = self._read_all()

    @property
    def current(self) -> Settings:
        """The snapshot in effect. A request keeps the one it started with."""
        return self._current

    @property
    def problems(self) -> tuple[SettingProblem, ...]:
        """What was found and not used, in the order of the settings."""
        return self._problems

    def origin(self, name: str) -> Origin:
        """Return where the value in effect comes from.

        Raises:
            KeyError: no such setting.
        """
        return self._origins[name]

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
        """Read the environment and both files again and tell the listeners when a value changed."""
        with self._lock:
            before = self._current
            self._seen = self._fingerprints()
            self._current = self._read_all()
            changed = self._current != before
        if changed:
            # The newest snapshot, so that two threads changing at once cannot leave a listener behind.
            self._listeners.tell(lambda: self._current)

    def reload_if_changed(self) -> bool:
        """Reload when a file changed since it was read (two ``stat`` calls, some microseconds)."""
        if self._fingerprints() == self._seen:
            return False
        self.reload()
        return True

    def on_change(self, listener: Callable[[Settings], None]) -> Callable[[], None]:
        """Call ``listener`` with each new snapshot, on the thread that made the change.

        Returns a function that ends it.
        """
        return self._listeners.add(listener)

    def describe(self) -> tuple[SettingInfo, ...]:
        """Return every setting with its value, default, unit and origin, in a fixed order."""
        with self._lock:
            current, origins = self._current, dict(self._origins)
        rows: list[SettingInfo] = []
        for name, field in Settings.model_fields.items():
            stated = facts(name)
            rows.append(
                SettingInfo(
                    name=name,
                    env_name=env_name(name),
                    value=shown(getattr(current, name)),
                    default=default_of(name),
                    unit=stated["unit"],
                    allowed=stated["allowed"],
                    description=field.description or "",
                    origin=origins[name],
                    locked=name == "home" or origins[name] in ("environment", ".env"),
                    secret=name in SECRETS,
                )
            )
        return tuple(rows)

    def _change(self, alter: Callable[[dict[str, Any]], None]) -> None:
        self._file.change(alter)
        self.reload()

    def _fingerprints(self) -> tuple[object, object]:
        return fingerprint(self._dotenv_path), self._file.fingerprint()

    def _find_home(self, given: Path | None) -> tuple[Path, Origin, list[SettingProblem]]:
        if given is not None:
            return given.expanduser().absolute(), "default", []
        dotenv, _ = read_dotenv(self._dotenv_path)
        sources: list[tuple[Origin, Mapping[str, Any]]] = [("environment", self._env), (".env", dotenv)]
        value, origin, problems = _resolve("home", sources, env_name("home"))
        return value, origin, problems

    def _read_all(self) -> Settings:
        dotenv, problems = read_dotenv(self._dotenv_path)
        panel = self._read_panel(problems)
        values: dict[str, Any] = {"home": self._home}
        origins: dict[str, Origin] = {"home": self._home_origin}
        problems += self._home_problems
        for name in NAMES:
            if name == "home":
                continue
            key = env_name(name)
            sources: list[tuple[Origin, Mapping[str, Any]]] = [("environment", self._env), (".env", dotenv)]
            if name in SECRETS:
                if name in panel:
                    problems.append(secret_in_file(name))
            elif name in panel:
                sources.append(("panel", {key: panel[name]}))
            values[name], origins[name], found = _resolve(name, sources, key)
            problems += found
        for secret in SECRETS:
            if isinstance(key := values[secret], SecretStr):
                remember_secret(key.get_secret_value())
        for name in OTHERS_SECRETS:
            for places in (self._env, dotenv):
                remember_secret(places.get(name) or "")
        self._origins, self._problems = origins, tuple(problems)
        return Settings.model_construct(**values)

    def _read_panel(self, problems: list[SettingProblem]) -> dict[str, Any]:
        panel: dict[str, Any] = {}
        try:
            panel = self._file.read()
        except BrokenSettingsFile as broken:
            self._set_aside.append(self._put_aside(broken))
        except SettingsFileError as error:
            problems.append(file_problem(self._file.path.name, str(error), "panel"))
        problems += self._set_aside
        unknown = sorted(str(name) for name in panel if name not in NAMES)
        if unknown:
            # Most likely written by a newer version: kept on disk, and no reason to alarm anybody.
            log.info("settings.json holds names this version does not know: %s", ", ".join(unknown))
        return panel

    def _put_aside(self, broken: BrokenSettingsFile) -> SettingProblem:
        name = self._file.path.name
        try:
            kept = self._file.set_aside()
        except SettingsFileError as error:
            return file_problem(name, str(error), "panel")
        where = f"It is kept as {kept}." if kept else "Another copy of Signalbox has moved it aside."
        text = f"{broken.message} {where} Settings made in the panel are back at their defaults."
        return file_problem(name, text, "panel")


def _resolve(
    name: str, sources: list[tuple[Origin, Mapping[str, Any]]], key: str
) -> tuple[Any, Origin, list[SettingProblem]]:
    """Take the first allowed value; each one passed over on the way is a problem."""
    refused: list[tuple[Origin, object]] = []
    value: Any = default_of(name)
    origin: Origin = "default"
    for source, values in sources:
        raw = values.get(key)
        # Empty in the environment is how compose files and shells say "not set".
        if key not in values or (source != "panel" and _is_empty(raw)):
            continue
        try:
            value, origin = validate(name, raw), source
            break
        except ValidationError:
            refused.append((source, raw))
    return value, origin, [value_problem(name, raw, source, value, origin) for source, raw in refused]


def _is_empty(value: object) -> TypeGuard[str | None]:
    return value is None or (isinstance(value, str) and not value.strip())


def _checked_for_panel(name: str, value: object) -> Any:
    """Return ``value`` as it is stored in JSON.

    Raises:
        InvalidSetting: the panel may not set it.
    """
    if name not in NAMES:
        raise unknown_setting(name)
    allowed = facts(name)["allowed"]
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
            hint="Set SIGNALBOX_HOME in the environment or in .env, and start again.",
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
            hint=f"Leave the password out, or set {env_name(name)} in the environment or in .env.",
        )
    return snapshot.model_dump(mode="json", include={name})[name]
