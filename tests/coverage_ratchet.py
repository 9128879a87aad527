"""Holds each package's coverage above its floor, and raises the floors: ``make coverage``.

``tests/coverage_floors.toml`` has one line a package: the share of lines and of branches that the tests run, in
whole percent. A package that falls below fails; ``make coverage ARGS=--raise`` writes the new floors, and never a
lower one. A file belongs to the longest package that is named there. A package that moves takes its line along.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FLOORS = Path(__file__).with_name("coverage_floors.toml")
HEAD = """\
# The share of lines and branches that the tests run, in whole percent. It may only rise: `make coverage` fails
# below it, `make coverage ARGS=--raise` writes what is reached.
"""


@dataclass(frozen=True)
class Share:
    """How many of how many are covered."""

    covered: int = 0
    total: int = 0

    def __add__(self, other: Share) -> Share:
        return Share(self.covered + other.covered, self.total + other.total)

    @property
    def percent(self) -> int:
        """Rounded down: 100 is said of all only."""
        return 100 * self.covered // self.total if self.total else 100


@dataclass(frozen=True)
class Coverage:
    """The lines and branches of a package. ``missing`` are the files with gaps, in words."""

    lines: Share = Share()
    branches: Share = Share()
    missing: tuple[str, ...] = ()

    def __add__(self, other: Coverage) -> Coverage:
        missing = self.missing + other.missing
        return Coverage(self.lines + other.lines, self.branches + other.branches, missing)


def package_of(file: str, packages: Iterable[str]) -> str:
    """Return the longest of ``packages`` that ``file`` lies in, else its own package, two names deep at most."""
    module = ".".join(Path(file).with_suffix("").parts)
    holding = [package for package in packages if f"{module}.".startswith(f"{package}.")]
    own = module.split(".")[:-1][:2]
    return max([*holding, ".".join(own)], key=len)


def coverage_of(report: Mapping[str, Any], packages: Iterable[str]) -> dict[str, Coverage]:
    """Add up coverage.py's JSON report by package."""
    packages = set(packages)
    found: dict[str, Coverage] = {}
    for file, data in report["files"].items():
        counts = data["summary"]
        lines = Share(counts["covered_lines"], counts["num_statements"])
        branches = Share(counts["covered_branches"], counts["num_branches"])
        missing: tuple[str, ...] = ()
        if data["missing_lines"] or data["missing_branches"]:
            arrows = ", ".join(f"{start}->{end}" for start, end in data["missing_branches"])
            missing = (f"{file}: lines {data['missing_lines']}, branches {arrows or 'none'}",)
        package = package_of(file, packages)
        found[package] = found.get(package, Coverage()) + Coverage(lines, branches, missing)
    return dict(sorted(found.items()))


def complaints(found: Mapping[str, Coverage], floors: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Say which package has fallen, has no floor, or is gone."""
    said: list[str] = []
    for package, coverage in found.items():
        floor = floors.get(package)
        if floor is None:
            said.append(f"{package} has no floor; make coverage ARGS=--raise gives it one")
            continue
        for kind, share in (("lines", coverage.lines), ("branches", coverage.branches)):
            if share.percent < floor[kind]:
                said.append(
                    f"{package}: {share.covered} of {share.total} {kind} are covered, {share.percent} %; "
                    f"its floor is {floor[kind]} %\n  " + "\n  ".join(coverage.missing)
                )
    said += [f"{package} has a floor and no files" for package in floors if package not in found]
    return said


def raised(found: Mapping[str, Coverage], floors: Mapping[str, Mapping[str, int]]) -> str:
    """Return the floors' file with each at what is reached, none lower than it was."""
    lines: list[str] = []
    for package, coverage in found.items():
        floor = floors.get(package, {"lines": 0, "branches": 0})
        new_lines = max(floor["lines"], coverage.lines.percent)
        new_branches = max(floor["branches"], coverage.branches.percent)
        lines.append(f'"{package}" = {{ lines = {new_lines}, branches = {new_branches} }}\n')
    return HEAD + "".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="coverage_ratchet", description=__doc__)
    parser.add_argument("report", type=Path, help="what `coverage json` wrote")
    parser.add_argument(
        "--raise", dest="raises", action="store_true", help="write the floors that are reached"
    )
    parser.add_argument("--gaps", metavar="PACKAGE", help="list what is missing in this package")
    options = parser.parse_args(arguments)
    floors = tomllib.loads(FLOORS.read_text(encoding="utf-8")) if FLOORS.exists() else {}
    found = coverage_of(json.loads(options.report.read_text(encoding="utf-8")), floors)
    for package, coverage in found.items():
        floor = floors.get(package, {})
        sys.stdout.write(
            f"{package:<20} lines {coverage.lines.percent:>3} % (floor {floor.get('lines', 0)}), "
            f"branches {coverage.branches.percent:>3} % (floor {floor.get('branches', 0)})\n"
        )
        if package == options.gaps:
            sys.stdout.write("".join(f"  {gap}\n" for gap in coverage.missing))
    if options.raises:
        FLOORS.write_text(raised(found, floors), encoding="utf-8")
        floors = tomllib.loads(FLOORS.read_text(encoding="utf-8"))
    fallen = complaints(found, floors)
    sys.stderr.write("".join(f"coverage: {complaint}\n" for complaint in fallen))
    return 1 if fallen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
