"""How long the window stalls while a long answer streams into the chat page.

``python -m tests.gui.chat.stream_bench [mixed|maths|paragraph|code|table|list] [tokens] [tokens/s]`` prints one
JSON line. The page is the real one in an offscreen window that paints; only the core is scripted. A probe ticks
every 4 ms on Qt's loop: what a tick is late is time in which no key and no click would have been seen.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QT_API", "pyside6")

from PySide6.QtCore import QObject, Qt, QTimer
from PySide6.QtWidgets import QApplication

from core.chat import ChatRequest, Finished, Started, StreamEvent, TextDelta
from tests.gui.chat.builders import make_decision, make_result
from tests.gui.chat.panel import ChatPanel, chat_panel

TICK_MS = 4
SENTENCE = "the signal box sets points for every train along this line and **never** `waits` for long"
WORDS = SENTENCE.split()


class LagProbe(QObject):
    """Records how many milliseconds each tick of a precise timer came late."""

    def __init__(self) -> None:
        super().__init__()
        self.late_ms: list[float] = []
        self._last = 0.0
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)

    def start(self) -> None:
        self._last = time.perf_counter()
        self._timer.start()

    def stop(self) -> None:
        self._timer.stop()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.late_ms.append(max(0.0, (now - self._last) * 1000 - TICK_MS))
        self._last = now

    def share(self, part: float) -> float:
        ordered = sorted(self.late_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def tokens_of(kind: str, count: int) -> list[str]:
    """Return ``count`` tokens of some four characters that make one answer of a kind."""
    if kind == "paragraph":
        return [WORDS[i % len(WORDS)] + " " for i in range(count)]
    if kind == "code":
        lines: list[str] = ["```python\n"]
        while len(lines) < count:
            lines += [
                "    value",
                " = ",
                "compute",
                "(alpha",
                ", ",
                "beta)",
                " + ",
                "12345",
                "  # ",
                "note\n",
            ]
        return lines[:count]
    if kind == "table":
        cells = ["| name ", "| value ", "| cost |\n", "|---|---|---|\n"]
        while len(cells) < count:
            cells += ["| row ", "| `x` ", f"| ${len(cells)} |\n"]
        return cells[:count]
    if kind == "list":
        items: list[str] = []
        while len(items) < count:
            items += ["- ", "an ", "item ", "of ", "**some** ", "words\n"]
        return items[:count]
    if kind == "maths":
        pieces: list[str] = []
        while len(pieces) < count:
            number = len(pieces)
            pieces += [WORDS[i % len(WORDS)] + " " for i in range(20)]
            pieces += [
                "where ",
                f"$x_{{{number}}}",
                " = \\frac{a}",
                "{b}$ ",
                "and ",
                "\\(y",
                "^2",
                "\\) ",
                "is ",
                "so.\n\n",
            ]
            pieces += [
                "$$\n",
                "\\int_0^\\infty ",
                f"x^{{{number}}} ",
                "\\, dx",
                " = \\sqrt{\\pi}",
                "\n$$\n\n",
            ]
            pieces += [
                "- item ",
                f"$a_{{{number}}}",
                " \\to b$",
                "\n",
                "\n",
                *tokens_of("code", 30),
                "\n```\n\n",
            ]
        return pieces[:count]
    mixed: list[str] = []
    while len(mixed) < count:
        mixed += ["## ", "A ", "heading\n\n"]
        for _ in range(3):
            mixed += [WORDS[i % len(WORDS)] + " " for i in range(90)] + ["\n\n"]
        mixed += ["- one ", "item\n", "- two ", "items\n", "\n"]
        mixed += [*tokens_of("code", 120), "\n```\n\n", *tokens_of("table", 25), "\n"]
    return mixed[:count]


@dataclass
class Steady:
    """Streams tokens at a steady rate, whatever the reader does."""

    tokens: list[str]
    per_s: float

    async def stream(self, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        yield Started(make_decision("local"), request.correlation_id, 0)
        began = time.perf_counter()
        for number, token in enumerate(self.tokens):
            due = began + number / self.per_s
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            yield TextDelta(token)
        yield Finished(make_result("".join(self.tokens)))


async def measure(panel: ChatPanel, kind: str, count: int, per_s: float) -> dict[str, Any]:
    page = await panel.open()
    await panel.ask("Warm up")  # fonts, icons and the first layout are paid once, not by the stream
    source = Steady(tokens_of(kind, count), per_s)
    panel.core.stream = source.stream  # type: ignore[method-assign]
    probe = LagProbe()
    page.view.composer.set_content("Go")
    before_s = time.process_time()
    began = time.perf_counter()
    probe.start()
    page.controller.send()
    await asyncio.sleep(0.1)
    while page.controller.session.is_streaming:  # noqa: ASYNC110 - a look four times a second disturbs least
        await asyncio.sleep(0.25)
    took_s = time.perf_counter() - began
    used_s = time.process_time() - before_s
    in_stream = len(probe.late_ms)
    await asyncio.sleep(1.0)
    probe.stop()
    assert page.controller.session.tree.path()[-1].text == "".join(source.tokens)
    return {
        "kind": kind,
        "tokens": count,
        "tokens_per_s": round(count / took_s, 1),
        "late_p50_ms": round(probe.share(0.5), 2),
        "late_p99_ms": round(probe.share(0.99), 2),
        "late_p999_ms": round(probe.share(0.999), 2),
        "late_max_ms": round(max(probe.late_ms), 1),
        "over_16_ms": sum(1 for value in probe.late_ms if value > 16),
        "ticks": in_stream,
        "cpu_share": round(used_s / took_s, 3),
        "following": page.view.thread_view.following,
    }


def main() -> None:
    kind = sys.argv[1] if len(sys.argv) > 1 else "mixed"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    per_s = float(sys.argv[3]) if len(sys.argv) > 3 else 200.0
    app = QApplication.instance() or QApplication([])
    assert isinstance(app, QApplication)
    found: dict[str, Any] = {}

    async def body() -> None:
        found.update(await measure(panel, kind, count, per_s))

    with tempfile.TemporaryDirectory() as folder, chat_panel(app, Path(folder)) as panel:
        panel.run(body)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
