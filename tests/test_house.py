"""The shape of the house: arrows between rooms, a core without Qt, and a PySide6 that counts references."""

from __future__ import annotations

import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QT = ("PySide6", "shiboken6", "qasync", "pyqtgraph", "qtawesome")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the ``core`` and ``gui`` of ``folder``."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as run; run()",
            "--no-cache",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the two packages and of the contracts, to break."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for package in ("core", "gui"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_the_arrows_between_the_rooms_hold() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("room", "planted", "contract", "arrow"),
    [
        ("core/chat.py", "import PySide6", "No Qt below the panel", "core.chat -> PySide6"),
        (
            "core/pricing/money.py",
            "from PySide6.QtCore import QObject",
            "No Qt below the panel",
            "core.pricing.money -> PySide6",
        ),
        (
            "core/chat.py",
            "import gui.theme.theme",
            "The panel knows the core",
            "core.chat -> gui.theme.theme",
        ),
        (
            "core/settings.py",
            "import core.router_core",
            "Arrows inside the core",
            "core.settings -> core.router_core",
        ),
        (
            "core/pricing/money.py",
            "import core.local.server",
            "Arrows inside the core",
            "core.pricing.money -> core.local.server",
        ),
    ],
)
def test_an_import_against_the_arrows_is_caught(
    copy: Path, room: str, planted: str, contract: str, arrow: str
) -> None:
    with (copy / room).open("a", encoding="utf-8") as file:
        file.write(f"\n{planted}\n")
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    broken = [line for line in result.stdout.splitlines() if " BROKEN" in line]
    assert any(line.startswith(contract) for line in broken), result.stdout
    assert arrow in result.stdout


def test_every_module_of_the_core_imports_without_qt() -> None:
    """In a Python where importing Qt fails, so a lazy or hidden import shows too."""
    modules = [
        module.name
        for module in pkgutil.walk_packages([str(ROOT / "core")], "core.")
        if not module.name.endswith("__main__")
    ]
    assert "core.settings" in modules
    code = f"""
import importlib, sys
for name in {QT!r}:
    sys.modules[name] = None
for name in {modules!r}:
    importlib.import_module(name)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert result.returncode == 0, result.stderr


REFERENCES = """
import os, sys
os.environ["QT_QPA_PLATFORM"] = "offscreen"
import pyqtgraph
from PySide6.QtCore import QEvent, QObject, Signal
from PySide6.QtWidgets import QApplication, QWidget

class Sender(QObject):
    fired = Signal(int)

class Widget(QWidget):
    def event(self, event):
        return super().event(event)
    def paintEvent(self, event):
        return None

app = QApplication([])
sender, widget, chart = Sender(), Widget(), pyqtgraph.PlotWidget()
received = []
def slot(number):
    received.append(number)
    del received[:]
sender.fired.connect(slot)
curve = chart.plot([0, 1])
chart.resize(200, 100)
widget.show()
chart.show()

def fire(n):
    sender.fired.emit(n)

def override(n):
    app.sendEvent(widget, QEvent(QEvent.Type.User))

def paint(n):
    widget.repaint()

def repaint(n):
    curve.setData([0, n % 7])
    chart.repaint()
    app.processEvents()
singletons = (None, True, False)
for what, rounds in ((fire, 3000), (override, 3000), (paint, 3000), (repaint, 300)):
    for n in range(100):  # the first rounds fill caches, which hold references of their own
        what(n)
    before = [sys.getrefcount(one) for one in singletons]
    for n in range(rounds):
        what(n)
    after = [sys.getrefcount(one) for one in singletons]
    print(what.__name__, rounds, *(a - b for b, a in zip(before, after)), flush=True)
"""


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None, True and False are immortal from 3.12 on")
def test_qt_loses_no_references_to_the_singletons() -> None:
    """PySide6 6.12.0 drops one reference a call and aborts Python 3.11 within seconds; 6.11.3 does not.

    Each kind of call is counted by itself, since a repaint of pyqtgraph gains references to ``None``, which
    would hide a loss elsewhere. Gains do no harm.
    """
    result = subprocess.run([sys.executable, "-c", REFERENCES], capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
    counted = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in counted] == ["fire", "override", "paint", "repaint"]
    for what, rounds, *changes in counted:
        assert min(map(int, changes)) > -50, f"{rounds} times {what}: None, True, False changed by {changes}"
