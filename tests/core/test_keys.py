"""Every state that a keyring can be in, through backends of our own; the real one is in tests/real."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import keyring
import keyring.backends.chainer
import keyring.backends.null
import keyring.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyring.backend import KeyringBackend

from core.errors import InvalidRequest
from core.keys import KeyName, KeyStore, mask

KEY = "sk-ant-api03-abcdefghijklmnopq7XA"


class Memory(KeyringBackend):
    """A keyring that works, unless ``trouble`` is set."""

    priority = 1  # type: ignore[assignment]
    name = "Memory"

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.trouble: Callable[[], None] = lambda: None

    def get_password(self, service: str, username: str) -> str | None:
        self.trouble()
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.trouble()
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self.trouble()
        if (service, username) not in self.kept:
            raise keyring.errors.PasswordDeleteError("Item does not exist")
        del self.kept[service, username]


@pytest.fixture
def memory() -> Memory:
    """Installed for this test; conftest puts the previous one back."""
    backend = Memory()
    keyring.set_keyring(backend)
    return backend


async def secret(keys: KeyStore, name: KeyName) -> str | None:
    stored = await keys.read(name)
    return None if stored is None else stored.secret


def failing(error: Exception) -> Callable[[], None]:
    def trouble() -> None:
        raise error

    return trouble


async def test_a_key_goes_to_the_keyring_and_back(memory: Memory) -> None:
    keys = KeyStore()
    assert (await keys.status("anthropic")).stored_in is None
    stored = await keys.set("anthropic", f"  {KEY}\n")
    assert (stored.stored_in, stored.masked) == ("keyring", "sk-ant-••••••q7XA")
    assert memory.kept == {("signalbox", "anthropic"): KEY}
    assert await secret(KeyStore(), "anthropic") == KEY
    assert await secret(keys, "vllm") is None
    deleted = await keys.delete("anthropic")
    assert deleted.message == "The key is deleted."
    assert memory.kept == {}
    assert await secret(keys, "anthropic") is None
    assert (await keys.delete("anthropic")).message == "There was no key to delete."


async def test_without_a_key_or_a_keyring_the_status_says_so_in_plain_words() -> None:
    status = await KeyStore().status("anthropic")
    assert (
        status.message
        == "No key is set. This system has no keyring, so a key typed here lasts until Signalbox ends."
    )
    assert status.backend.hint.startswith(
        "To have a key at every start, set it in the environment or in the home folder's .env."
    )
    assert all(sentence[0].isupper() and ":" not in sentence for sentence in status.backend.hint.split(". "))


async def test_a_keyring_that_cannot_be_read_may_hold_a_key(memory: Memory) -> None:
    memory.trouble = failing(keyring.errors.KeyringLocked("locked"))
    status = await KeyStore().status("anthropic")
    assert status.message.startswith("The keyring cannot be read, so whether it holds a key is not known.")


async def test_without_a_keyring_a_key_lives_for_this_run_and_in_no_file(home: Path) -> None:
    keys = KeyStore()
    status = await keys.set("anthropic", KEY)
    assert status.stored_in == "session"
    assert status.backend.state == "none"
    assert "until Signalbox ends" in status.message
    assert "no keyring" in status.message
    assert ".env" in status.backend.hint
    assert await secret(keys, "anthropic") == KEY
    assert await secret(KeyStore(), "anthropic") is None
    for path in home.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()
    assert (await keys.delete("anthropic")).message == "The key is deleted."
    assert await secret(keys, "anthropic") is None
    assert (await keys.delete("anthropic")).message == "There was no key to delete."


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        (keyring.backends.null.Keyring, "turned off"),
        (keyring.backends.chainer.ChainerBackend, "no keyring"),
    ],
)
async def test_a_keyring_that_keeps_nothing_is_none(
    backend: type[KeyringBackend], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring.backends.chainer.ChainerBackend, "backends", ())
    keyring.set_keyring(backend())
    keys = KeyStore()
    assert (await keys.backend()).state == "none"
    stored = await keys.set("anthropic", KEY)
    assert (stored.stored_in, stored.backend.state) == ("session", "none")
    assert said in stored.message
    assert stored.backend.hint
    assert await secret(keys, "anthropic") == KEY
    assert await secret(KeyStore(), "anthropic") is None
    assert (await KeyStore().delete("anthropic")).message == "There was no key to delete."
    assert "No key is set." in (await KeyStore().status("anthropic")).message


@pytest.mark.parametrize("forgets", ["set_password", "delete_password"])
async def test_what_a_keyring_did_not_do_is_not_called_done(
    memory: Memory, forgets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await KeyStore().set("vllm", "old-key-of-the-server")
    monkeypatch.setattr(memory, forgets, lambda *_: None)
    keys = KeyStore()
    if forgets == "set_password":
        stored = await keys.set("vllm", "new-key-of-the-server")
        assert (stored.stored_in, stored.backend.state) == ("session", "error")
        assert "did not keep it" in stored.message
    else:
        deleted = await keys.delete("vllm")
        assert "Nothing was deleted" in deleted.message
    assert await secret(KeyStore(), "vllm") == "old-key-of-the-server"


@pytest.mark.parametrize(
    ("error", "state", "said"),
    [
        (keyring.errors.NoKeyringError(), "none", "no keyring"),
        (
            keyring.errors.InitError("Failed to create the collection: Prompt dismissed.."),
            "locked",
            "dismissed",
        ),
        (keyring.errors.KeyringLocked("Failed to unlock the collection!"), "locked", "is locked"),
        (keyring.errors.PasswordSetError("Can't store password on keychain"), "error", "PasswordSetError"),
        (OSError(f"the bus broke while sending {KEY}"), "error", "OSError"),
    ],
)
async def test_a_keyring_that_fails(memory: Memory, error: Exception, state: str, said: str) -> None:
    keys = KeyStore()
    memory.trouble = failing(error)
    assert await secret(keys, "anthropic") is None
    stored = await keys.set("anthropic", KEY)
    assert (stored.stored_in, stored.backend.state) == ("session", state)
    assert said in stored.message
    assert stored.backend.hint
    assert KEY not in repr(stored)
    assert await secret(keys, "anthropic") == KEY
    deleted = await keys.delete("anthropic")
    assert (deleted.stored_in, deleted.masked) == (None, None)
    assert await secret(keys, "anthropic") is None
    assert (await keys.status("anthropic")).backend.state == state


async def test_a_newer_key_of_this_run_wins_until_the_keyring_has_it(memory: Memory) -> None:
    keys = KeyStore()
    await keys.set("vllm", "old-key-of-the-server")
    memory.trouble = failing(keyring.errors.KeyringLocked())
    await keys.set("vllm", "new-key-of-the-server")
    memory.trouble = lambda: None
    assert await secret(keys, "vllm") == "new-key-of-the-server"
    assert (await keys.set("vllm", "newest-key-of-the-server")).stored_in == "keyring"
    assert await secret(KeyStore(), "vllm") == await secret(keys, "vllm") == "newest-key-of-the-server"


async def test_a_locked_keyring_says_that_its_key_may_remain(memory: Memory) -> None:
    keys = KeyStore()
    await keys.set("vllm", KEY)
    memory.trouble = failing(keyring.errors.KeyringLocked())
    assert "Nothing was deleted" in (await keys.delete("vllm")).message
    await keys.set("vllm", KEY)
    assert "may remain" in (await keys.delete("vllm")).message


async def test_a_key_that_will_not_go_is_not_called_deleted(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = KeyStore()
    await keys.set("vllm", KEY)

    def refuse(service: str, username: str) -> None:
        raise keyring.errors.PasswordDeleteError("not allowed")

    monkeypatch.setattr(memory, "delete_password", refuse)
    status = await keys.delete("vllm")
    assert status.backend.state == "error"
    assert "Nothing was deleted" in status.message


async def test_a_keyring_that_hangs_is_given_up_and_found_again(memory: Memory) -> None:
    keys = KeyStore(timeout_s=0.05)
    answered = threading.Event()
    calls: list[threading.Thread] = []

    def hang() -> None:
        calls.append(threading.current_thread())
        answered.wait()

    memory.trouble = hang
    stored = await keys.set("anthropic", KEY)
    assert (stored.stored_in, stored.backend.state) == ("session", "not_answering")
    assert "0.05 s" in stored.message
    assert (await keys.backend()).state == "not_answering"
    assert (await keys.status("vllm")).backend.state == "not_answering"
    assert await secret(keys, "anthropic") == KEY
    assert len(calls) == 1  # no second thread while the first is stuck
    assert calls[0].daemon

    memory.trouble = lambda: None
    answered.set()
    await asyncio.to_thread(calls[0].join)
    assert (await keys.backend()).state == "unlocked"
    assert memory.kept == {("signalbox", "anthropic"): KEY}  # the user answered the prompt in the end
    assert await secret(keys, "anthropic") == KEY


async def test_a_caller_that_is_cancelled_does_not_spoil_the_next(memory: Memory) -> None:
    keys = KeyStore()
    arrived, answered = threading.Event(), threading.Event()

    def wait() -> None:
        arrived.set()
        answered.wait()

    memory.trouble = wait
    caller = asyncio.create_task(keys.read("anthropic"))
    await asyncio.to_thread(arrived.wait)
    caller.cancel()
    await asyncio.wait({caller})
    memory.trouble = lambda: None
    following = asyncio.create_task(keys.set("anthropic", KEY))
    await asyncio.sleep(0)
    answered.set()
    assert (await following).stored_in == "keyring"


async def test_many_at_once(memory: Memory) -> None:
    keys = KeyStore()
    await asyncio.gather(
        *(keys.set(name, f"{name}-0123456789abcdef") for name in get_args(KeyName) for _ in range(5))
    )
    assert [await secret(keys, name) for name in get_args(KeyName)] == [
        f"{name}-0123456789abcdef" for name in get_args(KeyName)
    ]


@pytest.mark.parametrize(
    "key", ["", "  \n", "two words", "two\nlines", "schlüssel", "nul\0", "\ud83d", "tab\tbed"]
)
async def test_what_is_no_key_is_refused_without_repeating_it(memory: Memory, key: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        await KeyStore().set("anthropic", key)
    assert not key.strip() or key not in str(raised.value)
    assert raised.value.hint
    assert memory.kept == {}


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (KEY, "sk-ant-••••••q7XA"),
        ("sk-proj-0123456789", "sk-••••••6789"),
        ("hf_0123456789abcd", "hf_••••••abcd"),
        ("a-token-of-a-server", "••••••rver"),
        ("short", "••••••"),
        ("sk-ant-short", "sk-ant-••••••"),
        ("", "••••••"),
    ],
)
def test_masks(key: str, shown: str) -> None:
    assert mask(key) == shown


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_a_mask_never_shows_most_of_a_secret(key: str) -> None:
    secret = key.removeprefix("sk-ant-").removeprefix("sk-").removeprefix("hf_")
    shown = mask(key).split("•")[-1]
    assert len(shown) * 3 <= len(secret)
