"""The shape of the source: files, lines, what of them is headers, modules with one importer, and import circles."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grimp

from tests.bench.measure import percentile

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "gui")
SMALL_LINES = 110
"""A module below this with one importer is one that might as well be a part of it."""


@dataclass(frozen=True)
class Source:
    """A module: its lines, and how many of them are its docstring and imports."""

    name: str
    lines: int
    header_lines: int
    importers: int

    @property
    def is_small(self) -> bool:
        return self.lines < SMALL_LINES

    @property
    def room(self) -> str:
        """The package it belongs to, at most two names deep: ``core.routing``, ``gui``."""
        first, *rest = self.name.split(".")
        return ".".join([first, *rest[:-1][:1]])


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    sources: tuple[Source, ...]
    circles: tuple[frozenset[str], ...]

    def line(self) -> str:
        counted = [source.lines for source in self.sources]
        small = [source for source in self.sources if source.is_small]
        alone = [source for source in small if source.importers == 1]
        total = sum(counted)
        headers = sum(source.header_lines for source in self.sources) / total
        names = {source.name for source in self.sources}
        inside = [circle for circle in self.circles if circle & names]
        return (
            f"{self.name:<20} {len(counted):>4} files {total:>6} lines, median {statistics.median(counted):>4.0f}, "
            f"p90 {percentile(counted, 0.9):>4}, longest {max(counted):>4}; headers {headers:>5.1%}; "
            f"one importer {len(alone):>2} of {len(small):>3} small; "
            f"circles {len(inside)} ({sum(map(len, inside))} files)"
        )


@dataclass(frozen=True)
class Circle:
    """Modules that import each other, in whatever way round."""

    modules: frozenset[str]

    def line(self) -> str:
        return f"circle: {', '.join(sorted(self.modules))}"


def run() -> list[Row | Circle]:
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    arrows = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    circles = tuple(circles_of(arrows))
    sources = [
        source_of(path, graph) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
    ]
    rooms = sorted({source.room for source in sources})
    return [
        Row("core and gui", tuple(sources), circles),
        *(Row(room, tuple(one for one in sources if one.room == room), circles) for room in rooms),
        *map(Circle, circles),
    ]


def source_of(path: Path, graph: grimp.ImportGraph) -> Source:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    text = path.read_text(encoding="utf-8")
    importers = len(graph.find_modules_that_directly_import(name))
    return Source(name, len(text.splitlines()), _header_lines(ast.parse(text)), importers)


def _header_lines(module: ast.Module) -> int:
    """Return the line on which the docstring, the imports and ``__all__`` at a module's head end."""
    end = 0
    for statement in module.body:
        said = ast.unparse(statement)
        if not (
            isinstance(statement, ast.Import | ast.ImportFrom)
            or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
            or said.startswith(("if TYPE_CHECKING:", "__all__ = "))
        ):
            break
        end = statement.end_lineno or end
    return end


def circles_of(arrows: Mapping[str, set[str]]) -> Iterator[frozenset[str]]:
    """Yield each greatest set of modules of which every one leads to every other."""
    reached = {module: _reached_from(module, arrows) for module in arrows}
    seen: set[str] = set()
    for module in sorted(arrows):
        if module in reached[module] and module not in seen:
            circle = frozenset(other for other in reached[module] if module in reached[other])
            seen |= circle
            yield circle


def _reached_from(start: str, arrows: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    to_visit = list(arrows[start])
    while to_visit:
        module = to_visit.pop()
        if module not in found:
            found.add(module)
            to_visit += arrows[module]
    return found
