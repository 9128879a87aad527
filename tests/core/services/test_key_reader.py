"""Whoever waits for the keys goes on, also where they can't be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.keys import KeyName, KeyStore, StoredKey
from core.services.key_reader import KeyReader
from core.settings import Settings, SettingsStore
from tests.support.two_sides import two_sides


class NoKeys(KeyStore):
    """A store whose way to the keyring is gone, as no backend of a keyring should say it."""

    async def read(self, name: KeyName) -> StoredKey | None:
        raise OSError(f"nothing to read {name} from")


async def test_a_key_that_cannot_be_read_is_told_and_holds_nobody(home: Path) -> None:
    taken: list[Settings] = []
    settings = SettingsStore(env={"SIGNALBOX_HOME": str(home), "LOCAL_SERVER": "none"})

    reader = KeyReader(settings, NoKeys(), taken.append)
    with pytest.raises(OSError, match="nothing to read anthropic from"):
        await reader.read()
    assert reader.was_read.is_set()
    assert taken == []


async def test_a_request_is_answered_locally_though_no_key_can_be_read(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_sides(home, key=None) as sides:
        monkeypatch.setattr(sides.core.keys, "read", NoKeys().read)
        result = await sides.core.ask("hi", deadline_s=30)
        assert result.side == "local"
