"""The gallery's logs and downloads."""

from __future__ import annotations

from PySide6.QtWidgets import QVBoxLayout, QWidget

from core import Download, LogLine
from core.local.models import DownloadPhase
from core.local.server_log import LogLevel
from gui.theme.theme import theme
from gui.widgets.download_row import DownloadRow
from gui.widgets.log_view import LogView


def logs() -> list[LogView]:
    """Return one that follows, and one that is searched."""
    words: list[tuple[str, LogLevel]] = [
        ("Running: 6 reqs, waiting: 11 reqs, KV cache 97.4 %", "info"),
        ("Preempted 2 requests, KV cache is full", "warning"),
        ("Engine core: CUDA out of memory. Tried to allocate 1.25 GiB", "error"),
        (
            "Loading safetensors checkpoint shards: 62% | 5/8 [01:48<01:06] and more than there is room for",
            "",
        ),
    ]
    views: list[LogView] = []
    for needle in ("", "memory"):
        view = LogView()
        view.setFixedSize(theme().px(460), theme().px(180))
        lines = [
            LogLine(number=number, text=words[number % 4][0], level=words[number % 4][1], at="14:09:06")
            for number in range(12_000, 12_005 if needle else 12_400)
        ]
        view.append(lines, dropped=12_000)
        if needle:
            view.search_for(needle)
            view.go_to_row(2)
        views.append(view)
    return views


def download_rows() -> QWidget:
    """Return a download in each of its phases."""
    made = QWidget()
    made.setFixedWidth(theme().px(400))
    column = QVBoxLayout(made)
    phases: tuple[tuple[DownloadPhase, str], ...] = (
        ("running", ""),
        ("paused", ""),
        ("checking", ""),
        ("failed", "The repository is gated. Accept its licence, then add a token."),
        ("done", ""),
    )
    for phase, error in phases:
        row = DownloadRow()
        row.show_download(
            Download(
                id=phase,
                title="Qwen2.5 3B",
                repo="",
                wants_token=phase == "failed",
                file=None,
                phase=phase,
                done_bytes=1_302_000_000,
                total_bytes=2_100_000_000,
                bytes_per_s=14e6,
                left_s=57.0,
                error=error,
            )
        )
        column.addWidget(row)
    return made
