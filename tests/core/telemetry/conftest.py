"""Each test of the log begins with a root logger and a memory of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from core.base import redaction


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Give back the root logger, and forget the secrets of a test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    known = dict(redaction._known)  # pyright: ignore[reportPrivateUsage]
    yield
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.captureWarnings(False)
    redaction._known.clear()  # pyright: ignore[reportPrivateUsage]
    redaction._known.update(known)  # pyright: ignore[reportPrivateUsage]
