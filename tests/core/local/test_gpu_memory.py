"""The pre-flight's look at the driver: the real NVML bindings over a stand-in library."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import nvml

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in library is a Linux one")
needs_compiler = pytest.mark.skipif(nvml.compiler() is None, reason="no C compiler builds the stand-in")

LOOK = """
import dataclasses, json, os, sys
from core.local.gpu_memory import look_at_driver
found = []
for values in json.loads({steps!r}):
    with open(os.environ["NVML_STUB_FILE"], "w") as file:
        file.write(values)
    found.append(dataclasses.asdict(look_at_driver()))
sys.stdout.write(json.dumps(found))
"""


@needs_compiler
def test_the_driver_says_what_is_there_or_why_not(tmp_path: Path) -> None:
    library = nvml.build(tmp_path)
    steps = ["count 2\ngpu0.mem_used_mib 20000\n", "count 0\n", "init_err 9\n", "count 1\ngpu0.err 15\n"]
    out = nvml.run(library, tmp_path / "values", LOOK.format(steps=json.dumps(steps)))
    two, none, not_loaded, lost = json.loads(out)
    assert len(two["gpus"]) == 2
    assert two["gpus"][0]["total_bytes"] > two["gpus"][0]["used_bytes"] > 0
    assert two["driver_version"]
    assert two["problem"] == ""
    assert none["problem"] == "The driver is there, and finds no GPU."
    assert not_loaded["problem"] == "The NVIDIA driver is installed and not loaded."
    assert lost["problem"] == "The GPU is lost: it does not answer its driver any more."
    assert [each["gpus"] for each in (none, not_loaded, lost)] == [[], [], []]


def test_no_library_is_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    from core.local.gpu_memory import look_at_driver

    def missing() -> Any:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    assert look_at_driver().problem == "There is no NVIDIA driver on this machine."
