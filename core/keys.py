"""API keys in the system's keyring; without one, a key lives for this run only and never in a file.

Every call of ``keyring`` runs in a daemon thread with a timeout, because a Secret Service may wait for a
prompt that nobody sees. A thread that does not come back is left alone, and no other is started until it does.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from core.errors import InvalidRequest

log = logging.getLogger(__name__)

KeyName = Literal["anthropic", "vllm"]
SERVICE = "signalbox"
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

    ``session`` is this process's memory: the key is gone when Signalbox ends.
    """

    name: KeyName
    stored_in: Literal["keyring", "session"] | None
    masked: str | None
    message: str
    backend: BackendStatus


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
        self._session: dict[KeyName, str] = {}

    async def get(self, name: KeyName) -> str | None:
        """Return the key, ``None`` where there is none or the keyring cannot be read (``status`` says which)."""
        if name in self._session:
            return self._session[name]
        try:
            return await self._worker.run(lambda keyring: keyring.get_password(SERVICE, name))
        except _KeyringTrouble as trouble:
            log.info("the %s key was not read: %s", name, trouble.status.message)
            return None

    async def set(self, name: KeyName, key: str) -> KeyStatus:
        """Keep ``key``, in the keyring or, failing that, for this run; the status says which and why.

        Raises:
            InvalidRequest: the key is empty or has characters that no key has.
        """
        key = _checked(name, key)
        self._session[name] = key
        try:
            await self._worker.run(lambda keyring: keyring.set_password(SERVICE, name, key))
        except _KeyringTrouble as trouble:
            return self._session_status(name, trouble.status)
        self._session.pop(name, None)
        backend = await self.backend()
        return KeyStatus(
            name=name,
            stored_in="keyring",
            masked=mask(key),
            message=f"The key is stored in {backend.name}.",
            backend=backend,
        )

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

    async def status(self, name: KeyName) -> KeyStatus:
        """Say where the key is, without showing it."""
        if name in self._session:
            return self._session_status(name, await self.backend())
        try:
            key = await self._worker.run(lambda keyring: keyring.get_password(SERVICE, name))
        except _KeyringTrouble as trouble:
            return self._no_key_status(name, trouble.status, was_here=None)
        backend = await self.backend()
        return KeyStatus(
            name=name,
            stored_in="keyring" if key else None,
            masked=mask(key) if key else None,
            message=f"The key is stored in {backend.name}." if key else "No key is stored.",
            backend=backend,
        )

    async def backend(self) -> BackendStatus:
        """Look at the keyring without unlocking it or asking the user anything."""
        try:
            return await self._worker.run(_inspect)
        except _KeyringTrouble as trouble:
            return trouble.status

    def _session_status(self, name: KeyName, backend: BackendStatus) -> KeyStatus:
        return KeyStatus(
            name=name,
            stored_in="session",
            masked=mask(self._session[name]),
            message=f"The key is kept until Signalbox ends, and in no file. {backend.message}",
            backend=backend,
        )

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
        raise InvalidRequest(f"The {name} key is empty.", hint="Paste the whole key.")
    if not all("!" <= character <= "~" for character in key):
        raise InvalidRequest(
            f"The {name} key holds spaces, line breaks or characters that no key has.",
            hint="Paste the key alone, on one line.",
        )
    return key


def _delete(keyring: Any, name: KeyName) -> bool:
    """Return whether there was a key to delete."""
    errors: Any = importlib.import_module("keyring.errors")
    try:
        keyring.delete_password(SERVICE, name)
    except errors.PasswordDeleteError:
        if keyring.get_password(SERVICE, name) is not None:
            raise  # it is there, and the keyring would not let it go
        return False
    return True


def _backend(keyring: Any) -> Any:
    """Return the keyring in use; of a chain, the first is the one that is written to."""
    backend: Any = keyring.get_keyring()
    return next(iter(getattr(backend, "backends", ())), backend)


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
    if module == "keyring.backends.fail":
        return _no_keyring()
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


def _explain(error: Exception) -> BackendStatus:
    errors: Any = importlib.import_module("keyring.errors")
    if isinstance(error, ImportError):
        return BackendStatus(
            name="no keyring",
            state="none",
            message="The package keyring is not installed.",
            hint="Install it with: pip install keyring",
        )
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
    return BackendStatus(
        name="the system's keyring",
        state="error",
        message=f"The keyring failed with {type(error).__name__}.",
        hint="Unlock or restart the system's keyring and try again; signalbox doctor shows its state.",
    )


def _locked(name: str) -> BackendStatus:
    return BackendStatus(
        name=name,
        state="locked",
        message=f"{name} is locked.",
        hint="Unlock it (logging in on the desktop usually does) and try again.",
    )


def _no_keyring() -> BackendStatus:
    hint = "To have a key at every start, set it in the environment or in .env."
    if sys.platform == "linux":
        hint += " Or install GNOME Keyring or KDE Wallet, which can keep it for this user."
    return BackendStatus(name="no keyring", state="none", message="This system has no keyring.", hint=hint)


def _not_answering(timeout_s: float) -> BackendStatus:
    return BackendStatus(
        name="the system's keyring",
        state="not_answering",
        message=f"The keyring has not answered within {timeout_s:g} s.",
        hint="It may be waiting behind a password window: answer that and try again, or restart the keyring.",
    )
