"""``from core import …``: what a program may use, whole, cheap to import, and as the README shows it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import core
from tests.support.echo_server import echo_server

ROOT = Path(__file__).parents[2]


def run(code: str, **env: str) -> str:
    """Run ``code`` in a Python of its own; return what it printed."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def imported_for_type_checkers() -> dict[str, str]:
    """Return the home of each name, as the block under ``TYPE_CHECKING`` says it."""
    tree = ast.parse(Path(core.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_the_three_lists_of_names_agree_and_are_sorted() -> None:
    homes = imported_for_type_checkers()
    assert set(core.__all__) == set(homes)
    assert list(core.__all__) == sorted(core.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert set(core.__all__) <= set(dir(core))


@pytest.mark.parametrize("name", core.__all__)
def test_every_name_is_what_its_home_has(name: str) -> None:
    home = imported_for_type_checkers()[name]
    assert getattr(core, name) is getattr(import_module(home), name)


def test_a_star_import_gets_the_face_and_nothing_else() -> None:
    found: dict[str, object] = {}
    exec("from core import *", found)
    assert found.keys() - {"__builtins__"} == set(core.__all__)


def test_a_name_that_is_not_there_says_so() -> None:
    with pytest.raises(ImportError, match="cannot import name 'RouterCor'"):
        exec("from core import RouterCor")


def test_every_error_and_every_event_is_in_the_face() -> None:
    from core import chat, errors

    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert {name for name in kinds if issubclass(getattr(errors, name), Exception)} <= set(core.__all__)
    assert {event.__name__ for event in chat.StreamEvent.__args__} <= set(core.__all__)


@pytest.mark.parametrize(
    ("statement", "not_loaded"),
    [
        ("import core", ("core.chat", "pydantic", "asyncio")),
        (
            "from core import ChatRequest, SignalboxError, format_cost",
            ("pydantic", "asyncio", "core.settings"),
        ),
        ("from core import to_json, salvage_json", ("pydantic",)),
        ("from core import CoreStatus, LedgerRow, ServerState", ("sqlalchemy", "pydantic", "httpx")),
        ("from core import RouterCore", ("sqlalchemy", "anthropic", "openai", "keyring")),
    ],
)
def test_a_name_loads_no_more_than_it_needs(statement: str, not_loaded: tuple[str, ...]) -> None:
    loaded = run(f"{statement}\nimport sys\nprint(*sys.modules)").split()
    assert not set(not_loaded) & set(loaded)


def test_the_example_of_the_readme_runs(home: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    with echo_server("Paris, said the server") as server:
        printed = run(
            example,
            SIGNALBOX_HOME=str(home),
            VLLM_BASE_URL=f"http://{server.root}/v1",
            LOCAL_SERVER="external",
            ROUTING_MODE="local-only",
        )
    lines = printed.splitlines()
    assert lines[0] == "Paris, said the server"
    assert lines[1].startswith("local ")
    assert lines[2] == "Paris, said the server"
