"""Keys in a real GNOME Keyring, read back by ``secret-tool``, which shares no code with us."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.keyring_session import CHECKOUT, KeyringSession, missing

pytestmark = [pytest.mark.real, pytest.mark.skipif(missing() is not None, reason=missing() or "")]

KEY = "sk-ant-api03-abcdefghijklmnopq7XA"
LOOKUP = ("lookup", "service", "signalbox", "username", "anthropic")
PROLOGUE = """
import asyncio, json, time
from core.keys import KeyStore
keys = KeyStore(timeout_s=5)
async def secret(keys, name):
    stored = await keys.read(name)
    return stored and stored.secret
def show(status):
    return [status.stored_in, status.masked, status.backend.state, status.backend.name, status.message]
"""


def script(body: str) -> str:
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return f"{PROLOGUE}\nasync def main():\n{lines}\nprint(json.dumps(asyncio.run(main())))"


@pytest.fixture
def session(tmp_path: Path) -> KeyringSession:
    return KeyringSession(tmp_path / "user")


def test_a_key_is_stored_read_and_deleted(session: KeyringSession) -> None:
    stored = session.run(script(f"return show(await keys.set('anthropic', {KEY!r}))"))
    assert stored == [
        "keyring",
        "sk-ant-••••••q7XA",
        "unlocked",
        "GNOME Keyring (Secret Service)",
        "The key is stored in GNOME Keyring (Secret Service).",
    ]
    assert session.secret_tool(*LOOKUP) == KEY
    assert (
        session.run(script("return await secret(keys, 'anthropic')")) == KEY
    )  # another process, another session
    deleted = session.run(
        script("return [show(await keys.delete('anthropic')), await secret(keys, 'anthropic')]")
    )
    assert deleted[0][4] == "The key is deleted."
    assert deleted[1] is None
    assert session.secret_tool(*LOOKUP) == ""
    again = session.run(script("return show(await keys.delete('anthropic'))"))
    assert again[4] == "There was no key to delete."


def test_a_key_somebody_else_stored_is_found(session: KeyringSession) -> None:
    session.shell(
        ["bash", "-c", f"printf %s {KEY} | secret-tool store --label=x service signalbox username anthropic"],
        True,
        60,
    )
    assert session.run(script("return await secret(keys, 'anthropic')")) == KEY


def test_where_a_key_belongs_is_kept_beside_it(session: KeyringSession) -> None:
    gateway = "https://gateway.example:8443"
    session.run(script(f"return show(await keys.set('anthropic', {KEY!r}, '{gateway}/v1'))"))
    session.run(script("return show(await keys.allow('anthropic', 'http://10.0.0.7:8080'))"))
    assert session.secret_tool(*LOOKUP) == KEY  # the entry of the key holds the key alone
    body = "stored = await keys.read('anthropic')\nreturn [stored.belongs_to, stored.allowed]"
    assert session.run(script(body)) == [gateway, ["http://10.0.0.7:8080"]]
    session.run(script("return show(await keys.delete('anthropic'))"))
    beside = session.secret_tool("lookup", "service", "signalbox", "username", "anthropic address")
    assert beside == ""


def test_a_locked_keyring(session: KeyringSession) -> None:
    session.run(script(f"return show(await keys.set('anthropic', {KEY!r}))"))
    body = """
    backend = await keys.backend()
    before = await secret(keys, 'anthropic')
    status = await keys.set('anthropic', 'sk-ant-another-one-for-this-run')
    after = await secret(keys, 'anthropic')
    return [backend.state, backend.name, before, show(status), after, show(await keys.status('vllm'))]
    """
    state, name, before, status, after, vllm = session.run(script(_dedent(body)), unlocked=False)
    assert (state, name) == ("locked", "GNOME Keyring (Secret Service)")
    assert before is None
    assert status[:4] == ["session", "sk-ant-••••••-run", "locked", "GNOME Keyring (Secret Service)"]
    assert "GNOME Keyring (Secret Service) is locked" in status[4]
    assert after == "sk-ant-another-one-for-this-run"
    assert vllm[2] == "locked"
    assert session.secret_tool(*LOOKUP) == KEY  # what was there is still there
    for path in session.home.rglob("*"):
        assert not path.is_file() or b"another-one" not in path.read_bytes()


def test_no_keyring_yet_and_no_way_to_ask(session: KeyringSession) -> None:
    body = f"""
    backend = await keys.backend()
    status = show(await keys.set('anthropic', {KEY!r}))
    return [backend.state, backend.message, status, await secret(keys, 'anthropic')]
    """
    state, message, status, key = session.run(script(_dedent(body)), unlocked=False)
    assert state == "locked"
    assert "no keyring yet" in message
    assert status[:2] == ["session", "sk-ant-••••••q7XA"]
    assert key == KEY
    assert session.secret_tool(*LOOKUP) == ""


def test_a_keyring_that_hangs(session: KeyringSession) -> None:
    body = f"""
    import os, signal, subprocess
    question = 'dbus-send --session --print-reply=literal --dest=org.freedesktop.DBus / '
    question += 'org.freedesktop.DBus.GetConnectionUnixProcessID string:org.freedesktop.secrets'
    pid = int(subprocess.check_output(question.split()).split()[-1])
    stuck = KeyStore(timeout_s=0.5)
    os.kill(pid, signal.SIGSTOP)
    status = await stuck.set('anthropic', {KEY!r})
    key, second = await secret(stuck, 'anthropic'), await stuck.backend()
    os.kill(pid, signal.SIGCONT)
    while (await stuck.backend()).state == 'not_answering': await asyncio.sleep(0.01)
    return [show(status), key, second.state, await secret(keys, 'vllm'), (await keys.backend()).state]
    """
    status, key, second, other, state = session.run(script(_dedent(body)))
    assert status[:3] == ["session", "sk-ant-••••••q7XA", "not_answering"]
    assert "0.5 s" in status[4]
    assert (key, second) == (KEY, "not_answering")
    assert (other, state) == (None, "unlocked")
    assert session.secret_tool(*LOOKUP) == KEY  # the call that was given up got through after all


def test_no_dbus_at_all(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DBUS_", "XDG_", "DISPLAY"))}
    body = f"return show(await keys.set('anthropic', {KEY!r}))"
    done = subprocess.run(
        [sys.executable, "-c", script(body)],
        env={
            **environment,
            "HOME": str(tmp_path),
            "XDG_RUNTIME_DIR": str(tmp_path),
            "PYTHONPATH": str(CHECKOUT),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert '["session", "sk-ant-' in done.stdout
    assert '"none"' in done.stdout
    assert KEY not in done.stdout + done.stderr


def _dedent(body: str) -> str:
    return "\n".join(line.strip() for line in body.strip().splitlines())
