"""API keys in the system's keyring; without one, a key lives for this run only and never in a file.

A key belongs to the address it was stored for, and goes to no other one that nobody named: whoever can change an
address (a file in a folder, a variable of a shell) does not get the key with it. Beside the key stands what it
belongs to, in an entry of its own, so that the key's own entry holds the key alone, as other programs expect.

Every call of ``keyring`` runs in a daemon thread with a timeout, because a Secret Service may wait for a
prompt that nobody sees. A thread that does not come back is left alone, and no other is started until it does.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, cast

from core.base.child_process import spare_library_children
from core.base.net import is_private, is_readable_on_the_way, origin_of
from core.base.text import shortened
from core.errors import InvalidRequest, KeyHeldBack

log = logging.getLogger(__name__)

KeyName = Literal["anthropic", "vllm", "huggingface"]
SERVICE = "signalbox"
ANTHROPIC_ORIGIN = "https://api.anthropic.com"
HUB_ORIGIN = "https://huggingface.co"
USUAL_ORIGINS: dict[KeyName, str] = {"anthropic": ANTHROPIC_ORIGIN, "huggingface": HUB_ORIGIN}
"""Where a key belongs that was stored without an address; the vLLM key has no such place."""
KEY_TITLES: dict[KeyName, str] = {"anthropic": "Anthropic", "vllm": "vLLM", "huggingface": "Hugging Face"}
URL_SETTINGS: dict[KeyName, str] = {
    "anthropic": "ANTHROPIC_BASE_URL",
    "vllm": "VLLM_BASE_URL",
    "huggingface": "HF_ENDPOINT",
}
PREFIXES = ("sk-ant-", "sk-", "hf_")
SHOWN_CHARACTERS = 4
SHORTEST_SHOWN = 12
"""A secret part shorter than this is masked whole: its last characters would give too much of it away."""

BackendState = Literal["unlocked", "locked", "none", "not_answering", "error"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendStatus:
    """The keyring itself: ``name`` such as ``GNOME Keyring (Secret Service)``; ``hint`` may be empty."""

    name: str
    state: BackendState
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStatus:
    """Where one key is. ``masked`` shows its prefix and last four characters; ``None`` when there is none.

    ``session`` is this process's memory: the key is gone when Signalbox ends. ``belongs_to`` is the origin that the
    key was stored for (``None``: not known), ``allowed`` are the others it may go to. ``held_back`` says why it is
    not sent to the ``address`` in use; ``None`` where it is, or where no address was asked about.
    """

    name: KeyName
    stored_in: Literal["keyring", "session"] | None
    masked: str | None
    message: str
    backend: BackendStatus
    belongs_to: str | None = None
    allowed: tuple[str, ...] = ()
    held_back: KeyHeldBack | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A key and where it may go: to the origin it ``belongs_to``, and to those that were ``allowed`` since.

    ``belongs_to`` is ``None`` for a key that an earlier version (or another program) stored without an address:
    such a vLLM key goes to private addresses, and asks before it goes anywhere else. With ``readable`` false the
    entry that says where the key belongs is damaged, and the key goes nowhere until somebody says where to.
    """

    name: KeyName
    secret: str = field(repr=False)
    belongs_to: str | None
    allowed: tuple[str, ...] = ()
    readable: bool = True

    def held_back_from(self, url: str) -> KeyHeldBack | None:
        """Return why this key is not sent to ``url``; ``None`` where it may be."""
        origin = origin_of(url)
        if origin is not None and origin in self.allowed:
            return None
        unencrypted = is_readable_on_the_way(url)
        at_home = (
            origin == self.belongs_to if self.belongs_to is not None else self.readable and is_private(url)
        )
        if at_home and origin is not None and not unencrypted:
            return None
        return _held_back(self, origin, at_home=at_home, unencrypted=unencrypted)


def _held_back(key: StoredKey, origin: str | None, *, at_home: bool, unencrypted: bool) -> KeyHeldBack:
    title, setting = KEY_TITLES[key.name], URL_SETTINGS[key.name]
    place = origin or "an address that can't be read"
    plain = "the connection is not encrypted, and it is no address of this machine or of a private network"
    if at_home:
        message = f"The {title} key was not sent to {place}: {plain}."
    else:
        home = f"belongs to {key.belongs_to}" if key.belongs_to else "was stored without an address"
        message = f"The stored {title} key {home}, so it was not sent to {place}."
        if unencrypted and origin is not None:
            message = f"{message[:-1]} ({plain})."
    way_out = f"correct {setting}" if not at_home else "use an https address"
    if origin is not None:
        allow = f"Where {origin} may have the key: signalbox keys allow {key.name} {origin}, "
        allow += "or Preferences, Providers."
        hint = f"{allow} Else {way_out}."
    else:
        hint = f"Correct {setting}."
    return KeyHeldBack(
        message,
        hint=hint,
        key_name=key.name,
        belongs_to=key.belongs_to,
        address=place,
        unencrypted=unencrypted,
    )


def held_back_typed(name: KeyName, key: str, url: str) -> KeyHeldBack | None:
    """Return why a key that was just typed for ``url`` is not sent there before somebody confirmed it."""
    return StoredKey(name=name, secret=key, belongs_to=origin_of(url)).held_back_from(url)


def mask(key: str) -> str:
    """Return ``key`` for showing: its well-known prefix, dots, and the last four characters of a long one."""
    prefix = next((p for p in PREFIXES if key.startswith(p)), "")
    tail = key[-SHOWN_CHARACTERS:] if len(key) - len(prefix) >= SHORTEST_SHOWN else ""
    return f"{prefix}{'•' * 6}{tail}"


class KeyStore:
    """The keys of this user. ``timeout_s`` is how long the keyring may take, a prompt of its own included.

    A key of this run is newer than what the keyring holds, so it is the one that counts: it is kept only when
    storing it in the keyring failed, and forgotten when that works or when the key is deleted.
    """

    def __init__(self, timeout_s: float = 10.0) -> None:
        self._worker = _KeyringWorker(timeout_s)
        self._session: dict[KeyName, StoredKey] = {}

    async def read(self, name: KeyName) -> StoredKey | None:
        """Return the key and where it may go.

        ``None`` where there is none or the keyring cannot be read (``status`` says which).
        """
        if name in self._session:
            return self._session[name]
        try:
            return await self._worker.run(lambda keyring: _read(keyring, name))
        except _KeyringTrouble as trouble:
            log.info("the %s key was not read: %s", name, trouble.status.message)
            return None

    async def set(self, name: KeyName, key: str, address: str | None = None) -> KeyStatus:
        """Keep ``key`` for the server at ``address``, in the keyring or, failing that, for this run.

        The status says which and why. Without an ``address`` an Anthropic key belongs to Anthropic's own, a
        Hugging Face token to huggingface.co, and a vLLM key to none yet.

        Raises:
            InvalidRequest: the key is empty or has characters that no key has, or the address is none.
        """
        key = _checked(name, key)
        origin = USUAL_ORIGINS.get(name) if address is None else None
        if address is not None and (origin := origin_of(address)) is None:
            raise _no_address(name)
        stored = StoredKey(name=name, secret=key, belongs_to=origin)
        return await self._keep(stored, address)

    async def allow(self, name: KeyName, address: str) -> KeyStatus:
        """Let the stored key go to the server at ``address`` too, from now on, encrypted or not.

        Raises:
            InvalidRequest: no key is stored, or the address is none.
        """
        origin = origin_of(address)
        if origin is None:
            raise _no_address(name)
        key = self._session.get(name)
        if key is None:
            try:
                key = await self._worker.run(lambda keyring: _read(keyring, name))
            except _KeyringTrouble as trouble:
                raise InvalidRequest(
                    f"The {name} key can't be read. {trouble.status.message}",
                    hint=f"Nothing was changed. {trouble.status.hint}",
                ) from trouble
        if key is None:
            raise InvalidRequest(
                f"There is no stored {name} key to allow anything to.",
                hint=f"Store one first: signalbox keys set {name}",
            )
        allowed = tuple(dict.fromkeys((*key.allowed, origin)))
        # A key that came without an address has one from now on.
        known = replace(key, belongs_to=key.belongs_to or origin, allowed=allowed, readable=True)
        return await self._keep(known, address)

    async def delete(self, name: KeyName) -> KeyStatus:
        """Forget the key here and in the keyring. Deleting what is not there is no error."""
        was_here = self._session.pop(name, None) is not None
        try:
            deleted = await self._worker.run(lambda keyring: _delete(keyring, name))
        except _KeyringTrouble as trouble:
            return self._no_key_status(name, trouble.status, was_here=was_here)
        message = "The key is deleted." if deleted or was_here else "There was no key to delete."
        return KeyStatus(
            name=name, stored_in=None, masked=None, message=message, backend=await self.backend()
        )

    async def status(self, name: KeyName, address: str | None = None) -> KeyStatus:
        """Say where the key is, without showing it, and whether it goes to ``address``."""
        if name in self._session:
            return _status(self._session[name], "session", await self.backend(), address)
        try:
            key = await self._worker.run(lambda keyring: _read(keyring, name))
        except _KeyringTrouble as trouble:
            return self._no_key_status(name, trouble.status, was_here=None)
        backend = await self.backend()
        if key is not None:
            return _status(key, "keyring", backend, address)
        if backend.state == "none":
            return self._no_key_status(name, backend, was_here=None)
        return KeyStatus(name=name, stored_in=None, masked=None, message="No key is stored.", backend=backend)

    async def backend(self) -> BackendStatus:
        """Look at the keyring without unlocking it or asking the user anything."""
        try:
            return await self._worker.run(_inspect)
        except _KeyringTrouble as trouble:
            return trouble.status

    async def _keep(self, key: StoredKey, address: str | None) -> KeyStatus:
        self._session[key.name] = key
        try:
            await self._worker.run(lambda keyring: _write(keyring, key))
        except _KeyringTrouble as trouble:
            return _status(key, "session", trouble.status, address)
        self._session.pop(key.name, None)
        return _status(key, "keyring", await self.backend(), address)

    @staticmethod
    def _no_key_status(name: KeyName, backend: BackendStatus, *, was_here: bool | None) -> KeyStatus:
        if was_here is None and backend.state == "none":
            why = backend.message.rstrip(".")
            message = f"No key is set. {why}, so a key typed here lasts until Signalbox ends."
        elif was_here is None:
            message = f"The keyring cannot be read, so whether it holds a key is not known. {backend.message}"
        elif backend.state == "none":
            message = "The key is deleted." if was_here else "There was no key to delete."
        elif was_here:
            message = f"The key of this run is forgotten; one in the keyring may remain. {backend.message}"
        else:
            message = f"Nothing was deleted. {backend.message}"
        return KeyStatus(name=name, stored_in=None, masked=None, message=message, backend=backend)


def _status(
    key: StoredKey, place: Literal["keyring", "session"], backend: BackendStatus, address: str | None
) -> KeyStatus:
    message = (
        f"The key is stored in {backend.name}."
        if place == "keyring"
        else f"The key is kept until Signalbox ends, and in no file. {backend.message}"
    )
    return KeyStatus(
        name=key.name,
        stored_in=place,
        masked=mask(key.secret),
        message=message,
        backend=backend,
        belongs_to=key.belongs_to,
        allowed=key.allowed,
        held_back=None if address is None else key.held_back_from(address),
        address=None if address is None else origin_of(address),
    )


class _KeyringTrouble(Exception):
    def __init__(self, status: BackendStatus) -> None:
        super().__init__(status.message)
        self.status = status


class _KeyringWorker:
    """Runs one call of ``keyring`` at a time, each in a daemon thread that may be abandoned."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._running: asyncio.Future[Any] | None = None
        self._gave_up = False
        self._turn = asyncio.Lock()

    async def run(self, job: Callable[[Any], T]) -> T:
        """Return what ``job`` returns, given the module ``keyring``.

        Raises:
            _KeyringTrouble: the keyring is missing, locked, broken or not answering.
        """
        async with self._turn:
            if self._running is not None and not self._running.done():
                # A caller that was cancelled left a call behind, or one is known to be stuck.
                await self._wait_for(self._running, 0 if self._gave_up else self._timeout_s)
            loop = asyncio.get_running_loop()
            answer: asyncio.Future[T | _KeyringTrouble] = loop.create_future()
            self._running = answer
            threading.Thread(target=_call, args=(job, loop, answer), name="keyring", daemon=True).start()
            await self._wait_for(answer, self._timeout_s)
            outcome = answer.result()
            if isinstance(outcome, _KeyringTrouble):
                raise outcome
            return outcome

    async def _wait_for(self, answer: asyncio.Future[Any], timeout_s: float) -> None:
        await asyncio.wait({answer}, timeout=timeout_s)
        self._gave_up = not answer.done()
        if self._gave_up:
            raise _KeyringTrouble(_not_answering(self._timeout_s))


def _call(
    job: Callable[[Any], T], loop: asyncio.AbstractEventLoop, answer: asyncio.Future[T | _KeyringTrouble]
) -> None:
    """Body of the worker thread. Nobody may be waiting any more when the keyring comes back."""
    outcome: T | _KeyringTrouble
    spare_library_children()
    try:
        outcome = job(importlib.import_module("keyring"))
    except Exception as error:  # noqa: BLE001 - each backend raises its own system's errors
        # Only the kind is logged: a backend's message may quote what it was given.
        log.info("keyring: %s", type(error).__name__)
        outcome = _KeyringTrouble(_explain(error))
    try:
        loop.call_soon_threadsafe(answer.set_result, outcome)
    except RuntimeError:
        log.info("the keyring answered after the core had ended")


def _checked(name: KeyName, key: str) -> str:
    key = key.strip()
    if not key:
        raise InvalidRequest(f"The {KEY_TITLES[name]} key is empty.", hint="Paste the whole key.")
    if not all("!" <= character <= "~" for character in key):
        raise InvalidRequest(
            f"The {KEY_TITLES[name]} key holds spaces, line breaks or characters that no key has.",
            hint="Paste the key alone, on one line.",
        )
    return key


def _no_address(name: KeyName) -> InvalidRequest:
    return InvalidRequest(
        f"The address is none that a key can belong to; one looks like {ANTHROPIC_ORIGIN}.",
        hint=f"Correct {URL_SETTINGS[name]}. Nothing was stored.",
    )


class _NotKept(Exception):
    """The keyring took a key, said nothing, and does not have it."""


def _read(keyring: Any, name: KeyName) -> StoredKey | None:
    secret: str | None = keyring.get_password(SERVICE, name)
    if not secret:
        return None
    unbound = StoredKey(name=name, secret=secret, belongs_to=USUAL_ORIGINS.get(name))
    note: str | None = keyring.get_password(SERVICE, _note_name(name))
    if note is None:
        return unbound
    try:
        facts = cast("dict[str, Any]", json.loads(note))
        of_key, belongs_to, allowed = facts["key"], facts["belongs_to"], facts["allowed"]
        if not (isinstance(of_key, str) and isinstance(belongs_to, str | None) and isinstance(allowed, list)):
            raise TypeError
        if of_key != _fingerprint(secret):
            return unbound  # written by hand or by an earlier version since: nobody allowed this key anything
        origins = tuple(str(origin) for origin in cast("list[object]", allowed))
    except (ValueError, LookupError, TypeError):
        log.warning("where the %s key belongs can't be read, so it is sent nowhere", name)
        return StoredKey(name=name, secret=secret, belongs_to=None, readable=False)
    return replace(unbound, belongs_to=belongs_to, allowed=origins)


def _write(keyring: Any, key: StoredKey) -> None:
    """Store the key and where it belongs, and read both back: some keyrings take everything and keep nothing.

    Raises:
        _NotKept: the keyring has not what it was given.
    """
    keyring.set_password(SERVICE, key.name, key.secret)
    # After the key: the note names the key it is for, so until then the old one counts for nothing.
    if key.belongs_to == USUAL_ORIGINS.get(key.name) and not key.allowed:
        _delete_entry(keyring, _note_name(key.name))
    else:
        note = {"key": _fingerprint(key.secret), "belongs_to": key.belongs_to, "allowed": key.allowed}
        keyring.set_password(SERVICE, _note_name(key.name), json.dumps(note))
    if _read(keyring, key.name) != key:
        raise _NotKept


def _note_name(name: KeyName) -> str:
    return f"{name} address"


def _fingerprint(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


def _delete(keyring: Any, name: KeyName) -> bool:
    """Return whether there was a key to delete."""
    deleted = _delete_entry(keyring, name)
    _delete_entry(keyring, _note_name(name))
    return deleted


def _delete_entry(keyring: Any, entry: str) -> bool:
    if not keyring.get_password(SERVICE, entry):
        return False
    keyring.delete_password(SERVICE, entry)
    if keyring.get_password(SERVICE, entry):
        raise _NotKept  # it is there, and the keyring would not let it go
    return True


def _backend(keyring: Any) -> Any:
    """Return the keyring in use; of a chain, the first is the one that is written to."""
    backend: Any = keyring.get_keyring()
    return next(iter(getattr(backend, "backends", ())), backend)


def _is_empty_chain(backend: Any) -> bool:
    return type(backend).__module__ == "keyring.backends.chainer" and not tuple(backend.backends)


def _backend_name() -> str:
    """Name a keyring that just answered, by what it is called on this system."""
    try:
        return _inspect(importlib.import_module("keyring")).name
    except Exception as error:  # noqa: BLE001 - a better name is not worth a second failure
        log.debug("the keyring's name is not known: %s", type(error).__name__)
        return "The keyring"


def _inspect(keyring: Any) -> BackendStatus:
    backend = _backend(keyring)
    module = type(backend).__module__
    if module == "keyring.backends.fail" or _is_empty_chain(backend):
        return _no_keyring()
    if module == "keyring.backends.null":
        return _keyring_turned_off()
    if module == "keyring.backends.SecretService":
        return _inspect_secret_service()
    name = {
        "keyring.backends.macOS": "macOS Keychain",
        "keyring.backends.Windows": "Windows Credential Locker",
        "keyring.backends.kwallet": "KDE Wallet",
    }.get(module, str(getattr(backend, "name", module)))
    return BackendStatus(name=name, state="unlocked", message=f"{name} keeps the keys.")


def _inspect_secret_service() -> BackendStatus:
    secretstorage: Any = importlib.import_module("secretstorage")
    connection: Any = secretstorage.dbus_init()
    try:
        name = _secret_service_name(connection)
        try:
            # Not get_default_collection(): that would make one, with a prompt.
            collection = secretstorage.Collection(connection, "/org/freedesktop/secrets/aliases/default")
            locked = bool(collection.is_locked())
        except secretstorage.ItemNotFoundException:
            return BackendStatus(
                name=name,
                state="locked",
                message=f"{name} has no keyring yet; storing the first key will ask for a password.",
                hint="Store a key and answer the question, or create a default keyring in Passwords and Keys.",
            )
    finally:
        connection.close()
    if locked:
        return _locked(name)
    return BackendStatus(name=name, state="unlocked", message=f"{name} is unlocked and keeps the keys.")


def _secret_service_name(connection: Any) -> str:
    """Ask the bus which program answers for the Secret Service, since several can."""
    jeepney: Any = importlib.import_module("jeepney")
    bus = jeepney.DBusAddress(
        "/org/freedesktop/DBus", bus_name="org.freedesktop.DBus", interface="org.freedesktop.DBus"
    )
    question = jeepney.new_method_call(bus, "GetConnectionUnixProcessID", "s", ("org.freedesktop.secrets",))
    program = ""
    try:
        (pid,) = connection.send_and_get_reply(question).body
        with open(f"/proc/{int(pid)}/comm", encoding="utf-8") as file:
            program = file.read().strip()
    except (OSError, ValueError):
        log.debug("the program behind the Secret Service is not known")
    for start, known in (
        ("gnome-keyring", "GNOME Keyring"),
        ("kwallet", "KDE Wallet"),
        ("keepassxc", "KeePassXC"),
    ):
        if program.startswith(start):
            return f"{known} (Secret Service)"
    return "Secret Service"


_TRY_AGAIN = "Unlock or restart the system's keyring and try again; signalbox doctor shows its state."


def _explain(error: Exception) -> BackendStatus:
    if isinstance(error, ModuleNotFoundError) and error.name == "keyring":
        return BackendStatus(
            name="no keyring",
            state="none",
            message="The package keyring is not installed.",
            hint="Install it with: pip install keyring",
        )
    if (chosen := os.environ.get("PYTHON_KEYRING_BACKEND")) and _cannot_be_made(chosen):
        return BackendStatus(
            name="no keyring",
            state="none",
            message=f"PYTHON_KEYRING_BACKEND names {shortened(chosen, 80)}, and there is no such keyring.",
            hint="Unset it, or name one that `keyring --list-backends` shows.",
        )
    if isinstance(error, ImportError):
        return BackendStatus(
            name="no keyring",
            state="none",
            message="A module of the keyring is missing, so it can't be used.",
            hint="Look at PYTHON_KEYRING_BACKEND and keyringrc.cfg, or install what the keyring needs.",
        )
    if isinstance(error, _NotKept):
        return _keeps_nothing()
    try:
        errors: Any = importlib.import_module("keyring.errors")
    except Exception:  # noqa: BLE001 - what is told then is the first error
        return _failed(error)
    if isinstance(error, errors.NoKeyringError):
        return _no_keyring()
    if isinstance(error, errors.KeyringLocked):
        return _locked(_backend_name())
    if isinstance(error, errors.InitError):
        return BackendStatus(
            name="the system's keyring",
            state="locked",
            message="The keyring could not be opened: its question was dismissed or could not be shown.",
            hint="Try again and answer the question, or log in on a desktop and unlock the keyring there.",
        )
    return _failed(error)


def _failed(error: Exception) -> BackendStatus:
    return BackendStatus(
        name="the system's keyring",
        state="error",
        message=f"The keyring failed with {type(error).__name__}.",
        hint=_TRY_AGAIN,
    )


def _keeps_nothing() -> BackendStatus:
    """Say what is wrong with a keyring that took a change without a word and did not make it."""
    backend = _inspect(importlib.import_module("keyring"))
    if backend.state == "none":
        return backend
    message = f"{backend.name} took the change and did not keep it."
    return BackendStatus(name=backend.name, state="error", message=message, hint=_TRY_AGAIN)


def _cannot_be_made(chosen: str) -> bool:
    """Whether the class that a variable names is not there; what it does when it is made is another matter."""
    module, _, name = chosen.rpartition(".")
    try:
        return not hasattr(importlib.import_module(module), name)
    except Exception as error:  # noqa: BLE001 - somebody else's module, and any failure means the same
        log.debug("the keyring of the environment is not to be had: %s", type(error).__name__)
        return True


def _locked(name: str) -> BackendStatus:
    return BackendStatus(
        name=name,
        state="locked",
        message=f"{name} is locked.",
        hint="Unlock it (logging in on the desktop usually does) and try again.",
    )


def _no_keyring() -> BackendStatus:
    hint = "To have a key at every start, set it in the environment or in the home folder's .env."
    if sys.platform == "linux":
        hint += " Or install GNOME Keyring or KDE Wallet, which can keep it for this user."
    return BackendStatus(name="no keyring", state="none", message="This system has no keyring.", hint=hint)


def _keyring_turned_off() -> BackendStatus:
    return BackendStatus(
        name="no keyring",
        state="none",
        message="The keyring is turned off: the null backend keeps nothing.",
        hint="Unset PYTHON_KEYRING_BACKEND, or take it out of keyringrc.cfg. Or set the key in the environment.",
    )


def _not_answering(timeout_s: float) -> BackendStatus:
    return BackendStatus(
        name="the system's keyring",
        state="not_answering",
        message=f"The keyring has not answered within {timeout_s:g} s.",
        hint="It may be waiting behind a password window: answer that and try again, or restart the keyring.",
    )
