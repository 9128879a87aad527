"""The ratchet of the coverage: what falls is told with its gaps, and a floor never sinks."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests import coverage_ratchet
from tests.coverage_ratchet import coverage_of, main, package_of


def a_file(covered: int, of: int, branches: int, of_branches: int) -> dict[str, Any]:
    return {
        "summary": {
            "covered_lines": covered,
            "num_statements": of,
            "covered_branches": branches,
            "num_branches": of_branches,
        },
        "missing_lines": list(range(1, of - covered + 1)),
        "missing_branches": [[7, -1]] * (of_branches - branches),
    }


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("core/chat.py", "core"),
        ("core/spend/money.py", "core.spend"),
        ("core/spend/sql/rows.py", "core.spend"),
        ("core/routing/policy.py", "core.routing.policy"),
        ("core/routing/policy_more.py", "core.routing"),
        ("gui/widgets/chart/base.py", "gui.widgets"),
    ],
)
def test_a_file_belongs_to_the_longest_package_with_a_floor(file: str, package: str) -> None:
    assert package_of(file, ["core.routing.policy", "core"]) == package


def test_files_are_added_up_and_a_hundred_is_said_of_all_only() -> None:
    files = {"core/spend/money.py": a_file(9999, 10_000, 4, 4), "core/spend/prices.py": a_file(10, 10, 0, 0)}
    (coverage,) = coverage_of({"files": files}, ()).values()
    assert (coverage.lines.percent, coverage.branches.percent) == (99, 100)
    assert coverage.missing == ("core/spend/money.py: lines [1], branches none",)


@pytest.fixture
def floors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "floors.toml"
    file.write_text('"core.spend" = { lines = 90, branches = 80 }\n')
    monkeypatch.setattr(coverage_ratchet, "FLOORS", file)
    return file


def run(tmp_path: Path, *options: str, **files: dict[str, Any]) -> int:
    report = tmp_path / "coverage.json"
    report.write_text(json.dumps({"files": {f"core/{room}/a.py": data for room, data in files.items()}}))
    return main([str(report), *options])


def test_at_the_floor_it_holds(tmp_path: Path, floors: Path) -> None:
    assert run(tmp_path, spend=a_file(90, 100, 8, 10)) == 0


@pytest.mark.parametrize(
    "fallen", [a_file(89, 100, 8, 10), a_file(90, 100, 7, 10)], ids=["lines", "branches"]
)
def test_below_it_fails_and_says_what_is_missing(
    tmp_path: Path, floors: Path, fallen: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, spend=fallen) == 1
    said = capsys.readouterr().err
    assert "core.spend: " in said
    assert "core/spend/a.py: lines [1, 2, 3" in said


def test_a_new_package_and_one_that_is_gone_are_told(
    tmp_path: Path, floors: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, ledger=a_file(1, 1, 0, 0)) == 1
    said = capsys.readouterr().err
    assert "core.ledger has no floor" in said
    assert "core.spend has a floor and no files" in said


def test_raising_never_lowers(tmp_path: Path, floors: Path) -> None:
    assert run(tmp_path, "--raise", spend=a_file(95, 100, 7, 10), routing=a_file(1, 1, 0, 0)) == 1
    assert tomllib.loads(floors.read_text()) == {
        "core.routing": {"lines": 100, "branches": 100},
        "core.spend": {"lines": 95, "branches": 80},
    }
