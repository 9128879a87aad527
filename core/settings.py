"""Every threshold, endpoint and limit, with the place its value comes from.

A value is looked up in the environment, then in ``.env`` of the working directory (only there), then in
what the user set in the panel (``<home>/settings.json``), then there is the default. A value that is not
allowed never stops the start: the next place down is asked, and ``SettingsStore.problems`` says so.

Why not ``pydantic_settings.BaseSettings``: it merges its sources into one dict before it validates, so one
bad value fails all of them, and the origin of each value is gone. Here each source is read by itself and
each value goes through the same pydantic model alone.
"""

from __future__ import annotations

import io
import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard, cast, get_args
from urllib.parse import SplitResult, urlsplit

import platformdirs
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from core.chat import RoutingMode
from core.errors import InvalidRequest
from core.settings_file import BrokenSettingsFile, SettingsFile, SettingsFileError, fingerprint

Origin = Literal["environment", ".env", "panel", "default"]
LocalServerChoice = Literal["auto", "embedded", "compose", "external", "none"]

ORIGIN_TEXT: Mapping[Origin, str] = {
    "environment": "the environment",
    ".env": ".env",
    "panel": "settings.json",
    "default": "the default",
}
_MAX_FILE_BYTES = 1 << 20
_MAX_SHOWN = 120
_log = logging.getLogger(__name__)


def default_home() -> Path:
    """Return the folder this system gives an application for its data."""
    return Path(platformdirs.user_data_dir("signalbox", appauthor=False))


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _empty_is_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed")  # pydantic reports ValueError, not TypeError
    return value


def _plain_text(value: str) -> str:
    if not value or len(value) > 4096 or not value.isprintable():
        raise ValueError("printable text is needed")
    return value


def _split(value: str) -> SplitResult:
    parts = urlsplit(value)
    if parts.port == 0:  # .port also raises ValueError outside 0..65535
        raise ValueError("port 0 cannot be reached")
    return parts


def _http_url(value: str) -> str:
    parts = _split(_plain_text(value))
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in value:
        raise ValueError("an http or https address is needed")
    return value.rstrip("/")


def _ledger_url(value: str) -> str:
    parts = _split(_plain_text(value))
    if parts.scheme.split("+")[0] not in ("sqlite", "postgresql") or "://" not in value:
        raise ValueError("a sqlite or postgresql address is needed")
    return value


def _header_safe(value: SecretStr) -> SecretStr:
    # A key travels in an HTTP header, which takes visible ASCII only.
    key = value.get_secret_value()
    if not key or any(not "!" <= character <= "~" for character in key):
        raise ValueError("a key is visible ASCII without spaces")
    return value


def _absolute(value: Path) -> Path:
    if not str(value).isprintable():
        raise ValueError("a printable path is needed")
    try:
        return value.expanduser().absolute()
    except RuntimeError as error:  # "~somebody" where no such user exists
        raise ValueError(str(error)) from error


def _folder(value: Path) -> Path:
    if value.exists() and not value.is_dir():
        raise ValueError("a file stands where the folder should be")
    return value


_Text = Annotated[str, AfterValidator(_plain_text)]
_OptionalText = Annotated[_Text | None, BeforeValidator(_empty_is_none)]
_HttpUrl = Annotated[str, AfterValidator(_http_url)]
_OptionalHttpUrl = Annotated[_HttpUrl | None, BeforeValidator(_empty_is_none)]
_OptionalLedgerUrl = Annotated[
    Annotated[str, AfterValidator(_ledger_url)] | None, BeforeValidator(_empty_is_none)
]
_OptionalSecret = Annotated[
    Annotated[SecretStr, AfterValidator(_header_safe)] | None, BeforeValidator(_empty_is_none)
]
_Path = Annotated[Path, AfterValidator(_absolute)]
_OptionalPath = Annotated[_Path | None, BeforeValidator(_empty_is_none)]
_Count = Annotated[int, BeforeValidator(_not_bool)]
_Fraction = Annotated[float, BeforeValidator(_not_bool)]
_Dollars = Annotated[Decimal, BeforeValidator(_not_bool), Field(allow_inf_nan=False, decimal_places=9)]

_A_KEY = "a key: visible characters without spaces"
_AN_ADDRESS = "an address such as http://127.0.0.1:8000/v1"


def _setting(
    default: object, description: str, *, allowed: str, unit: str = "", repr: bool = True, **limits: Any
) -> Any:
    facts: dict[str, Any] = {"allowed": allowed, "unit": unit}
    return Field(default, description=description, json_schema_extra=facts, repr=repr, **limits)


class Settings(BaseModel):
    """One immutable snapshot of all settings. Secrets print as stars; amounts are dollars in ``Decimal``."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True
    )

    anthropic_api_key: _OptionalSecret = _setting(
        None, "Key of the Anthropic API. Without it only the local side answers.", allowed=_A_KEY
    )
    anthropic_base_url: _OptionalHttpUrl = _setting(
        None, "Another server that speaks Anthropic's wire, instead of Anthropic's own.", allowed=_AN_ADDRESS
    )
    anthropic_model: _Text = _setting(
        "claude-sonnet-4-6-20260501", "Model asked on the API side.", allowed="the name of a model"
    )
    vllm_base_url: _HttpUrl = _setting(
        "http://127.0.0.1:8000/v1", "Address of a vLLM (or other OpenAI-wire) server.", allowed=_AN_ADDRESS
    )
    vllm_model: _OptionalText = _setting(
        None, "Model asked there. Empty: the first one the server lists.", allowed="the name of a model"
    )
    vllm_api_key: _OptionalSecret = _setting(None, "Key of that server, if it wants one.", allowed=_A_KEY)
    routing_mode: Annotated[RoutingMode, BeforeValidator(_lower)] = _setting(
        "hybrid", "How a prompt's side is chosen.", allowed=", ".join(get_args(RoutingMode))
    )
    routing_threshold: _Count = _setting(
        3000,
        "Local requests a day at which the routing mode changes side.",
        allowed="a whole number from 0 to 1000000000",
        unit="requests a day",
        ge=0,
        le=1_000_000_000,
    )
    complexity_threshold: _Fraction = _setting(
        0.6,
        "Complexity from which a prompt counts as complex; 0 is trivial, 1 is hard.",
        allowed="a number from 0 to 1",
        ge=0,
        le=1,
        allow_inf_nan=False,
    )
    enable_fallback: bool = _setting(
        True,
        "Ask the other side once when one is overloaded, rate limited or unreachable.",
        allowed="true or false (also yes, no, on, off, 1, 0)",
    )
    max_tokens_per_request: _Count = _setting(
        1024,
        "Longest answer of a request that does not name its own limit.",
        allowed="a whole number from 1 to 1000000",
        unit="tokens",
        ge=1,
        le=1_000_000,
    )
    spend_limit_dollars: _Dollars = _setting(
        Decimal(500),
        "Most that may be spent on the API side in a calendar month, holds included.",
        allowed="an amount from 0 to 1000000000, such as 500 or 12.50",
        unit="dollars a month",
        ge=0,
        le=1_000_000_000,
    )
    local_server: Annotated[LocalServerChoice, BeforeValidator(_lower)] = _setting(
        "auto",
        "What answers on the local side: the embedded model, the vLLM container, a server already running "
        "at VLLM_BASE_URL, or nothing.",
        allowed=", ".join(get_args(LocalServerChoice)),
    )
    local_model_path: _OptionalPath = _setting(
        None, "A GGUF file for the embedded server. Empty: the small packaged model.", allowed="a file path"
    )
    local_dollars_per_hour: Annotated[_Dollars | None, BeforeValidator(_empty_is_none)] = _setting(
        None,
        "What the local machine costs an hour, all in. Empty: its own cost is shown as not known.",
        allowed="an amount from 0 to 1000000, such as 0.75",
        unit="dollars an hour",
        ge=0,
        le=1_000_000,
    )
    hf_token: _OptionalSecret = _setting(
        None, "Hugging Face token, to download models that ask for one.", allowed=_A_KEY
    )
    ledger_url: _OptionalLedgerUrl = _setting(
        None,
        "Database of the ledger. Empty: a SQLite file in the home folder.",
        allowed="sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME",
        repr=False,
    )
    home: Annotated[_Path, AfterValidator(_folder)] = Field(
        default_factory=default_home,
        description="Folder of the ledger, conversations, logs and settings.json.",
        json_schema_extra={"allowed": "a folder", "unit": ""},
    )


NAMES: tuple[str, ...] = tuple(Settings.model_fields)
SECRETS = frozenset({"anthropic_api_key", "vllm_api_key", "hf_token"})
_KEYRING_NAME = {"anthropic_api_key": "anthropic", "vllm_api_key": "vllm", "hf_token": "huggingface"}


def env_name(name: str) -> str:
    """Return the name a setting has in the environment and in ``.env``."""
    return "SIGNALBOX_HOME" if name == "home" else name.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingProblem:
    """A value that was not used. ``name`` is a setting, or the file when all of it is the problem.

    ``value`` is what stood there, shortened and fit to be shown; ``None`` for a secret or a whole file.
    """

    name: str
    value: str | None
    allowed: str
    message: str
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingInfo:
    """One row of a preferences page. ``value`` of a secret is masked, and so is a password in an address.

    ``locked`` means that what is set in the panel has no effect now: the environment or ``.env`` wins.
    ``unit`` is empty where there is none.
    """

    name: str
    env_name: str
    value: object
    default: object
    unit: str
    allowed: str
    description: str
    origin: Origin
    locked: bool
    secret: bool


class InvalidSetting(InvalidRequest):
    """The panel may not set this. ``value`` is ``None`` for a secret."""

    kind = "invalid_setting"

    def __init__(self, message: str, *, name: str, value: str | None, allowed: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.name = name
        self.value = value
        self.allowed = allowed


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
        self._listeners: list[Callable[[Settings], None]] = []
        self._origins: dict[str, Origin] = {}
        self._problems: tuple[SettingProblem, ...] = ()
        self._set_aside: list[SettingProblem] = []
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
        """Return where the value in effect comes from. :raises KeyError: no such setting."""
        return self._origins[name]

    def set(self, name: str, value: object) -> None:
        """Keep ``value`` in ``settings.json``, in effect at once unless the environment or ``.env`` wins.

        ``None`` (or empty text) is a value of its own where the setting may be empty.

        :raises InvalidSetting: unknown, not allowed, a secret, or not the panel's to set.
        :raises SettingsFileError: it cannot be written; nothing has changed.
        """
        stored = _checked_for_panel(name, value)

        def alter(values: dict[str, Any]) -> None:
            values[name] = stored

        self._change(alter)

    def reset(self, name: str) -> None:
        """Forget what the panel set. :raises SettingsFileError: it cannot be written."""
        if name not in NAMES:
            raise _unknown(name)

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
            listeners = tuple(self._listeners) if changed else ()
        for listener in listeners:
            self._tell(listener)

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
        with self._lock:
            self._listeners.append(listener)

        def unsubscribe() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return unsubscribe

    def describe(self) -> tuple[SettingInfo, ...]:
        """Return every setting with its value, default, unit and origin, in a fixed order."""
        with self._lock:
            current, origins = self._current, dict(self._origins)
        rows: list[SettingInfo] = []
        for name, field in Settings.model_fields.items():
            facts = _facts(name)
            rows.append(
                SettingInfo(
                    name=name,
                    env_name=env_name(name),
                    value=_shown(getattr(current, name)),
                    default=field.get_default(call_default_factory=True, validated_data={}),
                    unit=facts["unit"],
                    allowed=facts["allowed"],
                    description=field.description or "",
                    origin=origins[name],
                    locked=name == "home" or origins[name] in ("environment", ".env"),
                    secret=name in SECRETS,
                )
            )
        return tuple(rows)

    def _change(self, alter: Callable[[dict[str, Any]], None]) -> None:
        with self._lock:
            self._file.change(alter)
            self.reload()

    def _tell(self, listener: Callable[[Settings], None]) -> None:
        try:
            # The newest snapshot, so that two threads changing at once cannot leave a listener behind.
            listener(self._current)
        except Exception:  # noqa: BLE001  one listener's fault must not keep the others from knowing
            _log.exception("a listener of the settings failed")

    def _fingerprints(self) -> tuple[object, object]:
        return fingerprint(self._dotenv_path), self._file.fingerprint()

    def _find_home(self, given: Path | None) -> tuple[Path, Origin, list[SettingProblem]]:
        if given is not None:
            return given.expanduser().absolute(), "default", []
        dotenv, _ = _read_dotenv(self._dotenv_path)
        sources: list[tuple[Origin, Mapping[str, Any]]] = [("environment", self._env), (".env", dotenv)]
        value, origin, problems = _resolve("home", sources, env_name("home"))
        return value, origin, problems

    def _read_all(self) -> Settings:
        dotenv, problems = _read_dotenv(self._dotenv_path)
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
                    problems.append(_secret_in_file(name))
            elif name in panel:
                sources.append(("panel", {key: panel[name]}))
            values[name], origins[name], found = _resolve(name, sources, key)
            problems += found
        self._origins, self._problems = origins, tuple(problems)
        return Settings.model_construct(**values)

    def _read_panel(self, problems: list[SettingProblem]) -> dict[str, Any]:
        panel: dict[str, Any] = {}
        try:
            panel = self._file.read()
        except BrokenSettingsFile as broken:
            self._set_aside.append(self._put_aside(broken))
        except SettingsFileError as error:
            problems.append(_file_problem(self._file.path.name, str(error), "panel"))
        problems += self._set_aside
        unknown = sorted(str(name) for name in panel if name not in NAMES)
        if unknown:
            # Most likely written by a newer version: kept on disk, and no reason to alarm anybody.
            _log.info("settings.json holds names this version does not know: %s", ", ".join(unknown))
        return panel

    def _put_aside(self, broken: BrokenSettingsFile) -> SettingProblem:
        name = self._file.path.name
        try:
            kept = self._file.set_aside()
        except SettingsFileError as error:
            return _file_problem(name, str(error), "panel")
        where = f"It is kept as {kept}." if kept else "Another copy of Signalbox has moved it aside."
        text = f"{broken.message} {where} Settings made in the panel are back at their defaults."
        return _file_problem(name, text, "panel")


def _facts(name: str) -> dict[str, str]:
    return cast("dict[str, str]", Settings.model_fields[name].json_schema_extra)


def _validate(name: str, value: object) -> Any:
    """Return one value in its type. :raises ValidationError: it is not allowed."""
    return getattr(Settings.model_validate({name: value}), name)


def _resolve(
    name: str, sources: list[tuple[Origin, Mapping[str, Any]]], key: str
) -> tuple[Any, Origin, list[SettingProblem]]:
    """Take the first allowed value; each one passed over on the way is a problem."""
    refused: list[tuple[Origin, object]] = []
    value: Any = Settings.model_fields[name].get_default(call_default_factory=True, validated_data={})
    origin: Origin = "default"
    for source, values in sources:
        raw = values.get(key)
        # Empty in the environment is how compose files and shells say "not set".
        if key not in values or (source != "panel" and _is_empty(raw)):
            continue
        try:
            value, origin = _validate(name, raw), source
            break
        except ValidationError:
            refused.append((source, raw))
    return value, origin, [_problem(name, raw, source, value, origin) for source, raw in refused]


def _is_empty(value: object) -> TypeGuard[str | None]:
    return value is None or (isinstance(value, str) and not value.strip())


def _problem(name: str, raw: object, origin: Origin, used: object, used_origin: Origin) -> SettingProblem:
    allowed = _facts(name)["allowed"]
    secret = name in SECRETS
    value = None if secret else _printable(raw)
    stands = "has a value that is not allowed" if secret else f"is {value!r}"
    instead = "nothing" if used is None else ("another key" if secret else _printable(_shown(used)))
    return SettingProblem(
        name=name,
        value=value,
        allowed=allowed,
        message=f"{env_name(name)} {stands} in {ORIGIN_TEXT[origin]}; allowed is {allowed}. "
        f"Used instead: {instead} (from {ORIGIN_TEXT[used_origin]}).",
        origin=origin,
    )


def _secret_in_file(name: str) -> SettingProblem:
    return SettingProblem(
        name=name,
        value=None,
        allowed="nothing: keys live in the system's keyring",
        message=f"settings.json holds {name}, which is not used: keys are never read from that file. "
        f"Delete the line and run: signalbox keys set {_KEYRING_NAME[name]}",
        origin="panel",
    )


def _file_problem(name: str, message: str, origin: Origin) -> SettingProblem:
    return SettingProblem(name=name, value=None, allowed="", message=message, origin=origin)


def _checked_for_panel(name: str, value: object) -> Any:
    """Return ``value`` as it is stored in JSON. :raises InvalidSetting: the panel may not set it."""
    if name not in NAMES:
        raise _unknown(name)
    allowed = _facts(name)["allowed"]
    if name in SECRETS:
        raise InvalidSetting(
            f"{env_name(name)} is a key, and keys are never written to settings.json.",
            name=name,
            value=None,
            allowed="nothing: keys live in the system's keyring",
            hint=f"Keep it in the system's keyring: signalbox keys set {_KEYRING_NAME[name]}",
        )
    if name == "home":
        raise InvalidSetting(
            "The home folder cannot be set from inside, because settings.json lives in it.",
            name=name,
            value=_printable(value),
            allowed=allowed,
            hint="Set SIGNALBOX_HOME in the environment or in .env, and start again.",
        )
    shown = _printable(value)
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


def _unknown(name: str) -> InvalidSetting:
    return InvalidSetting(
        f"There is no setting {_printable(name)!r}.", name=name, value=None, allowed=", ".join(NAMES)
    )


def _shown(value: object) -> object:
    """Return ``value`` fit to be shown: a key masked to its last four, an address without its password."""
    if isinstance(value, SecretStr):
        key = value.get_secret_value()
        return f"{key[:7]}••••••{key[-4:]}" if len(key) >= 20 else "••••••"
    if isinstance(value, str) and "://" in value:
        return _without_password(value)
    return value


def _without_password(address: str) -> str:
    scheme, _, rest = address.partition("://")
    credentials, at, host = rest.partition("/")[0].rpartition("@")
    if not at or ":" not in credentials:
        return address
    user = credentials.partition(":")[0]
    return f"{scheme}://{user}:•••@{rest[len(credentials) + 1 :]}" if host or rest else address


def _printable(value: object) -> str:
    """Return short text of anything, one line, with a password or control character never in it."""
    text = (
        str(_shown(value)) if isinstance(value, (str, int, float, Decimal, Path, SecretStr)) else repr(value)
    )
    clean = "".join(character if character.isprintable() else "�" for character in text[: _MAX_SHOWN + 1])
    return clean if len(clean) <= _MAX_SHOWN else clean[:_MAX_SHOWN] + "…"


def _read_dotenv(path: Path) -> tuple[dict[str, str | None], list[SettingProblem]]:
    """Read ``.env`` as python-dotenv does: quotes, ``export``, ``${NAME}``. A folder of that name is none."""
    try:
        if not path.is_file():
            return {}, []
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        return {}, [_file_problem(".env", f"{path} cannot be read and is not used: {error}.", ".env")]
    if len(content) > _MAX_FILE_BYTES:
        return {}, [_file_problem(".env", f"{path} is larger than 1 MiB and is not used.", ".env")]
    problems: list[SettingProblem] = []
    try:
        # Windows editors write UTF-16 with a mark; "utf-8-sig" also drops the mark of UTF-8.
        utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("utf-8-sig", errors="replace")
        problems.append(_file_problem(".env", f"{path} is not UTF-8 text; save it as UTF-8.", ".env"))

    # Most starts have no .env, so its parser is imported only when there is one.
    import dotenv
    from dotenv.parser import parse_stream

    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            where = f"Line {binding.original.line} of {path}"
            problems.append(_file_problem(".env", f"{where} is not NAME=value and is not used.", ".env"))
    logging.getLogger("dotenv.main").setLevel(logging.ERROR)  # it would say the same to standard error
    return dict(dotenv.dotenv_values(stream=io.StringIO(text))), problems
