"""Reads the keys: from the environment, else from the keyring, else from this run's memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.local.manager import chosen_kind
from core.telemetry.logs import remember_secret

if TYPE_CHECKING:
    from pydantic import SecretStr

    from core.keys import KeyName, KeyStore
    from core.settings import Settings, SettingsStore


class KeyReader:
    """``take`` is called with the settings, the API's key and the local server's key as they are then."""

    def __init__(
        self,
        settings: SettingsStore,
        keys: KeyStore,
        take: Callable[[Settings, str | None, str | None], None],
    ) -> None:
        self._settings, self._keys, self._take = settings, keys, take
        self._lock = asyncio.Lock()
        self._stored_api_key: str | None = None
        self.was_read = asyncio.Event()

    def api_key(self, settings: Settings) -> str | None:
        """Return the API's key that is known, without asking the keyring again."""
        given = settings.anthropic_api_key
        return given.get_secret_value() if given is not None else self._stored_api_key

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

    async def _read(self) -> None:
        async with self._lock:
            while True:
                settings = self._settings.current
                kind = chosen_kind(settings, self._settings.origin("vllm_base_url"))
                api_key = await self._key("anthropic", settings.anthropic_api_key)
                watched = kind in ("external", "compose")
                vllm_key = await self._key("vllm", settings.vllm_api_key) if watched else None
                if settings is self._settings.current:
                    break
            if settings.anthropic_api_key is None:
                self._stored_api_key = api_key
            self._take(settings, api_key, vllm_key)

    async def _key(self, name: KeyName, given: SecretStr | None) -> str | None:
        key = given.get_secret_value() if given is not None else await self._keys.get(name)
        if key is not None:
            remember_secret(key)
        return key
