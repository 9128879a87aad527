"""The shape of the house: arrows between rooms, a core without Qt, and a PySide6 that counts references."""

from __future__ import annotations

import graphlib
import pkgutil
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import grimp
import pytest

from gui.pages import PAGES

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


@dataclass(frozen=True)
class Planted:
    """A line that breaks the contract whose name begins so, and what import-linter says of it."""

    module: str
    line: str
    contract: str
    said: str

    @property
    def file(self) -> Path:
        return Path(*self.module.split(".")).with_suffix(".py")


PLANTED = (
    Planted("core.chat", "import PySide6", "No Qt below the panel", "core.chat -> PySide6"),
    Planted(
        "core.pricing.money",
        "from PySide6.QtCore import QObject",
        "No Qt below the panel",
        "core.pricing.money -> PySide6",
    ),
    Planted(
        "core.chat", "import gui.theme.theme", "The panel knows the core", "core.chat -> gui.theme.theme"
    ),
    Planted(
        "core.settings.model",
        "import core.router_core",
        "Arrows inside the core",
        "core.settings.model -> core.router_core",
    ),
    Planted(
        "core.pricing.money",
        "import core.local.server",
        "Arrows inside the core",
        "core.pricing.money -> core.local.server",
    ),
    Planted(
        "core.settings.report",
        "import core.settings.store",
        "Arrows inside the settings",
        "core.settings.report -> core.settings.store",
    ),
    # Circles: of two modules side by side, of one that is imported in a function only, and of two rooms.
    Planted(
        "gui.widgets.labels", "import gui.widgets.card", "No circle", "No cycles are allowed in gui.widgets"
    ),
    Planted(
        "core.local.server",
        "def late(): import core.local.manager",
        "No circle",
        "No cycles are allowed in core.local",
    ),
    Planted(
        "core.context.caching", "import core.routing.router", "No circle", "No cycles are allowed in core"
    ),
    Planted(
        "gui.spend.page",
        "import gui.preferences.page",
        "Pages do not import each other",
        "gui.spend.page -> gui.preferences.page",
    ),
)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: f"{planted.module}: {planted.line}")
def test_an_import_against_the_arrows_is_caught(copy: Path, planted: Planted) -> None:
    assert (copy / planted.file).is_file(), "it is planted in a module that is there"
    with (copy / planted.file).open("a", encoding="utf-8") as file:
        file.write(f"\n{planted.line}\n")
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    broken = [line for line in result.stdout.splitlines() if " BROKEN" in line]
    assert any(line.startswith(planted.contract) for line in broken), result.stdout
    assert planted.said in result.stdout


def test_no_circle_of_modules_anywhere() -> None:
    """The contract takes a package as one, and its ``__init__`` as none; here each module is one."""
    graph = grimp.build_graph("core", "gui", cache_dir=None)
    known = circles_known()
    arrows = {
        module: {
            imported
            for imported in graph.find_modules_directly_imported_by(module)
            if not any(f"{imported}.".startswith(one) and f"{module}.".startswith(one) for one in known)
        }
        for module in graph.modules
    }
    graphlib.TopologicalSorter(arrows).prepare()  # raises with the circle that it finds


def circles_known() -> list[str]:
    """Return the packages that may still have circles inside, each with a dot at its end."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return [f"{package}." for contract in contracts for package in contract.get("skip_descendants", ())]


def test_every_page_is_held_apart_from_the_others() -> None:
    """A page's package that the contract doesn't name could import another page, and nothing would fail."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (apart,) = [each for each in contracts["contracts"] if each["name"] == "Pages do not import each other"]
    pages = {f"gui.{path.parent.name}" for path in (ROOT / "gui").glob("*/page.py")}
    assert set(apart["modules"]) == pages == {f"gui.{entry.id}" for entry in PAGES.entries}


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
