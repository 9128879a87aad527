"""What each command imports: starting takes as long as what it brings along, and most of that is for others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SDKS = {"anthropic", "openai"}
HEAVY = SDKS | {
    "PySide6",
    "aiohttp",
    "jsonschema_rs",
    "opentelemetry",
    "prometheus_client",
    "psutil",
    "pynvml",
    "xllamacpp",
}
NO_KEYRING = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
KEY = {"ANTHROPIC_API_KEY": "sk-ant-test-0123456789"}
PROMPT = json.dumps({"prompt": "hello"})

CODE = """
import sys
from core.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print("\\n".join(sys.modules), file=open("modules", "w"))
sys.exit(code)
"""


def imported(
    home: Path, *arguments: str, stdin: str = "", code: int = 0, environment: dict[str, str] | None = None
) -> set[str]:
    """Run a command as a user does, and return all that was imported by its end."""
    ended = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        input=stdin,
        cwd=home,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LOCAL_SERVER": "none",
            **NO_KEYRING,
            **(environment or {}),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == code, ended.stderr
    return set((home / "modules").read_text("utf-8").split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["decide", "--help"]])
def test_help_brings_nothing(home: Path, arguments: list[str]) -> None:
    found = imported(home, *arguments)
    assert not found & (HEAVY | {"genai_prices", "httpx2", "keyring", "pydantic", "sqlalchemy"})
    assert "core.cli.report" not in found


def test_help_brings_no_paths_and_no_temporary_files(home: Path) -> None:
    assert not imported(home, "--help") & {"pathlib", "tempfile"}


def test_decide_brings_no_sdk_and_with_a_key_at_hand_no_keyring(home: Path) -> None:
    found = imported(home, "decide", stdin=PROMPT, environment=KEY)
    assert not found & (HEAVY | {"keyring"})
    assert {"core.cli.decide", "genai_prices", "sqlalchemy"} <= found  # it did decide
    assert not found & {"core.cli.ask", "core.cli.report", "sqlalchemy.dialects.postgresql", "sqlalchemy.orm"}


def test_decide_asks_the_keyring_whether_there_is_a_key(home: Path) -> None:
    assert "keyring" in imported(home, "decide", stdin=PROMPT)


@pytest.mark.parametrize("arguments", [["report"], ["limits"], ["holds"], ["resume"], ["scores"]])
def test_a_report_needs_no_key_and_no_prices(home: Path, arguments: list[str]) -> None:
    found = imported(home, *arguments)
    assert not found & (HEAVY | {"genai_prices", "keyring"})
    assert "sqlalchemy" in found


def test_ask_brings_the_sdk_of_its_side_only(home: Path) -> None:
    nobody = {**KEY, "ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "MAX_RETRIES": "0"}
    found = imported(home, "ask", "--force", "api", "hello", code=1, environment=nobody)
    assert "anthropic" in found
    assert not found & {"openai", "keyring", "jsonschema_rs", "prometheus_client"}
