"""Reads the keys: from the environment, else from the keyring, else from this run's memory.

A key of the environment goes to the address that stands beside it: both are the user's own words. One of the
keyring goes only where it belongs (``StoredKey``); that is asked anew with each address, so none is sent on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.base.net import is_readable_on_the_way, origin_of
from core.errors import KeyHeldBack
from core.keys import ANTHROPIC_ORIGIN, HUB_ORIGIN, KeyName, StoredKey
from core.local.manager import chosen_kind
from core.telemetry.logs import remember_secret

if TYPE_CHECKING:
    from pydantic import SecretStr

    from core.keys import KeyStore
    from core.settings import Settings, SettingsStore


def address_of(name: KeyName, settings: SettingsStore) -> str:
    """Return the address that the key ``name`` is sent to."""
    if name == "huggingface":
        return hub_address(settings)
    return _server_address(name, settings.current)


def hub_address(settings: SettingsStore) -> str:
    """Return Hugging Face's address, or that of the mirror which ``HF_ENDPOINT`` names."""
    named = settings.other("HF_ENDPOINT")
    return HUB_ORIGIN if named is None else named[0].rstrip("/")


def _server_address(name: KeyName, settings: Settings) -> str:
    return settings.vllm_base_url if name == "vllm" else settings.anthropic_base_url or ANTHROPIC_ORIGIN


def given_key(name: KeyName, settings: Settings) -> SecretStr | None:
    """Return the key that the environment or a ``.env`` gives."""
    return settings.vllm_api_key if name == "vllm" else settings.anthropic_api_key


class KeyReader:
    """``take`` is called with the settings for which the keys were read, whenever they were."""

    def __init__(self, settings: SettingsStore, keys: KeyStore, take: Callable[[Settings], None]) -> None:
        self._settings, self._keys, self._take = settings, keys, take
        self._lock = asyncio.Lock()
        self._stored: dict[KeyName, StoredKey | None] = {}
        self.was_read = asyncio.Event()

    def key(self, name: KeyName, settings: Settings, address: str | None = None) -> str | KeyHeldBack | None:
        """Return the key that is known for the address of ``settings``, or for ``address``.

        The keyring is not asked again. A key that is stored and may not go there is told as what holds it back.
        """
        given = given_key(name, settings)
        if given is not None:
            return given.get_secret_value()
        stored = self._stored.get(name)
        if stored is None:
            return None
        return stored.held_back_from(address or _server_address(name, settings)) or stored.secret

    async def read(self) -> None:
        """Take each key from where it is.

        The keyring may take its time; what it says is used with the settings as they are by then.
        """
        try:
            await self._read()
        except Exception:
            self.was_read.set()  # whoever waits for the keys goes on without them
            raise
        self.was_read.set()

    async def read_stored(self, name: KeyName) -> StoredKey | None:
        """Ask the keyring for one key, whether it is in use just now or not."""
        stored = self._stored[name] = await self._keys.read(name)
        if stored is not None:
            remember_secret(stored.secret)
        return stored

    async def key_for(self, name: KeyName, address: str) -> str | None:
        """Return the key, in use or in the keyring, for a server at ``address`` that is not in use yet.

        One of the environment goes to another address than the one beside it only where nobody reads it on the way.

        Raises:
            KeyHeldBack: nobody said that it may go there.
        """
        settings = self._settings.current
        if given_key(name, settings) is None:
            await self.read_stored(name)
        elif is_readable_on_the_way(address) and origin_of(address) != origin_of(
            _server_address(name, settings)
        ):
            return None
        key = self.key(name, settings, address)
        if isinstance(key, KeyHeldBack):
            raise key
        return key

    async def hub_token(self) -> str | None:
        """Return the Hugging Face token: ``HF_TOKEN``, else the keyring's, asked anew.

        Raises:
            KeyHeldBack: nobody said that the stored one may go to the hub that ``HF_ENDPOINT`` names.
        """
        given = self._settings.other("HF_TOKEN")
        if given is not None:
            remember_secret(given[0])
            return given[0]
        stored = await self.read_stored("huggingface")
        if stored is None:
            return None
        held_back = stored.held_back_from(hub_address(self._settings))
        if held_back is not None:
            raise held_back
        return stored.secret

    async def _read(self) -> None:
        async with self._lock:
            while True:
                settings = self._settings.current
                kind = chosen_kind(settings, self._settings.named_at("vllm_base_url"))
                await self._read_one("anthropic", settings, wanted=True)
                await self._read_one("vllm", settings, wanted=kind in ("external", "compose"))
                if settings is self._settings.current:
                    break
            self._take(settings)

    async def _read_one(self, name: KeyName, settings: Settings, *, wanted: bool) -> None:
        given = given_key(name, settings)
        if given is not None:
            remember_secret(given.get_secret_value())
        elif wanted:
            await self.read_stored(name)
