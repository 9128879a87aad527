"""How fast the local server is, told only while it is ready."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from core.local.gpu_sample import ServerFigures
from core.services.load_watch import LoadWatch


def test_a_server_that_stopped_has_no_speed() -> None:
    manager: Any = SimpleNamespace(state=SimpleNamespace(phase="ready"))
    local: Any = SimpleNamespace(on_answer=None)
    watch = LoadWatch(manager, local, is_looked_at=lambda: True)
    local.on_answer(331.0, 173.0)
    assert watch.figures().generation_tokens_per_s == 331.0

    manager.state.phase = "stopped"
    assert watch.figures() == ServerFigures()
