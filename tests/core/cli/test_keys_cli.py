"""``signalbox keys``: what is kept, what is said, and where a key may go."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keyring
import pytest

from core.cli.main import main
from core.keys import ANTHROPIC_ORIGIN
from tests.support.fake_core import MemoryKeyring

KEY = "sk-ant-api03-abcdefghijklmnopq7XA"
CHECKOUT = Path(__file__).resolve().parents[3]


@dataclass
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture
def keys(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Runs one command in this process, on a keyring that works; a ``key`` comes from standard input."""
    keyring.set_keyring(MemoryKeyring())

    def run(*arguments: str, key: str = "", **environment: str) -> Ended:
        monkeypatch.setattr(sys, "stdin", io.StringIO(key))
        with monkeypatch.context() as here:
            for name, value in environment.items():
                here.setenv(name, value)
            code = main(["keys", *arguments])
        shown = capsys.readouterr()
        return Ended(code, shown.out, shown.err)

    return run


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("keyring.backends.null.Keyring", "turned off"),
        ("no_such_module.Keyring", "no such keyring"),
    ],
)
def test_a_key_that_is_not_kept_is_a_failure(backend: str, said: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "gui", "keys", "set", "anthropic"],
        env={**os.environ, "PYTHON_KEYRING_BACKEND": backend, "PYTHONPATH": str(CHECKOUT)},
        input=KEY,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert said in ended.stderr
    assert "Set ANTHROPIC_API_KEY in the environment" in ended.stderr
    assert KEY not in ended.stderr


def test_a_key_is_kept_allowed_elsewhere_and_deleted(keys: Callable[..., Ended]) -> None:
    stored = keys("set", "anthropic", key=KEY)
    assert (stored.code, stored.err) == (0, "")
    assert f"It belongs to {ANTHROPIC_ORIGIN}." in stored.out
    elsewhere = {"ANTHROPIC_BASE_URL": "http://gpu.example:8080"}
    status = keys("status", "anthropic", **elsewhere)
    assert status.code == 0
    assert f"belongs to {ANTHROPIC_ORIGIN}, so it was not sent to http://gpu.example:8080" in status.err
    assert "signalbox keys allow anthropic http://gpu.example:8080" in status.err
    allowed = keys("allow", "anthropic", "http://gpu.example:8080/v1")
    assert (allowed.code, allowed.err) == (0, "")
    assert "may now be sent to http://gpu.example:8080 too, unencrypted." in allowed.out
    status = keys("status", "anthropic", **elsewhere)
    assert (status.code, status.err) == (0, "")
    assert "http://gpu.example:8080 may have it too." in status.out
    assert keys("delete", "anthropic").code == 0
    assert keyring.get_keyring().kept == {}  # type: ignore[attr-defined]


def test_a_key_stored_for_an_unencrypted_address_is_kept_and_asked_about(keys: Callable[..., Ended]) -> None:
    stored = keys("set", "vllm", key="key-of-the-server", VLLM_BASE_URL="http://gpu.example:8000/v1")
    assert stored.code == 0
    assert "not encrypted" in stored.err
    assert "signalbox keys allow vllm http://gpu.example:8000" in stored.err


def test_a_wrong_call_says_how(keys: Callable[..., Ended]) -> None:
    for arguments in (("allow", "anthropic"), ("delete", "anthropic", "https://gateway.example")):
        ended = keys(*arguments)
        assert ended.code == 2
        assert "signalbox keys allow anthropic https://" in ended.err
    ended = keys("allow", "anthropic", "https://gateway.example")
    assert ended.code != 0
    assert "no stored anthropic key" in ended.err
