"""What the panel imports until its first window stands: everything else can wait for its first use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
LATER = (
    "anthropic",
    "core.ledger",
    "core.local",
    "core.pricing.prices",
    "core.providers",
    "core.routing",
    "core.services",
    "genai_prices",
    "gui.machine",
    "httpx2",
    "keyring",
    "openai",
    "prometheus_client",
    "psutil",
    "pydantic",
    "pynvml",
    "pyqtgraph",
    "sqlalchemy",
)


def test_the_window_and_the_chat_bring_nothing_that_can_wait() -> None:
    code = (
        "import sys, gui.shell.window, gui.pages, gui.chat.page\n"
        f"print([name for name in sys.modules if name.startswith({LATER!r})])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
