"""What the log's tests plant and ask, and what they read of the log they made."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from core.chat import ChatRequest
from core.telemetry.logs import log_path

BODY = "Q7xA9f3kLm0PzRtB"
"""What is secret of every planted key."""


def logged(home: Path) -> str:
    for handler in logging.getLogger().handlers:
        handler.flush()
    return log_path(home).read_text(encoding="utf-8")


def objects(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged(home).splitlines()]


def request(prompt: str = "hi") -> ChatRequest:
    return ChatRequest.from_prompt(prompt)
