"""How long a command of the command line takes from its start to its end, beside a Python that does nothing.

Also in processor time, which others on the machine change less.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.measure import Figure, median
from tests.support.echo_server import echo_server

ROUNDS = 7
PROMPT = b'{"prompt": "What is a signal box?"}\n'
"""A line as `decide` reads them; to `ask` it is a prompt as any other."""
SIGNALBOX = str(Path(sys.executable).with_name("signalbox"))
BASELINE = "a Python that does nothing"
COMMANDS: dict[str, tuple[float | None, list[str]]] = {
    BASELINE: (None, [sys.executable, "-c", "pass"]),
    "signalbox --help": (None, [SIGNALBOX, "--help"]),
    "signalbox decide": (0.25, [SIGNALBOX, "decide"]),
    "signalbox ask, local": (0.6, [SIGNALBOX, "ask", "--force", "local", "-"]),
    "signalbox ask, API": (0.6, [SIGNALBOX, "ask", "--force", "api", "-"]),
}
"""Each with the seconds it is to take at most."""


def run() -> list[Figure]:
    walls: dict[str, list[float]] = {name: [] for name in COMMANDS}
    busy: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with echo_server("A house beside the track.") as server, tempfile.TemporaryDirectory() as home:
        environment = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
        environment |= {
            "SIGNALBOX_HOME": home,
            "VLLM_BASE_URL": f"http://{server.root}/v1",
            "VLLM_MODEL": "tiny",
            "ANTHROPIC_BASE_URL": f"http://{server.root}",
            "ANTHROPIC_API_KEY": "sk-ant-bench",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        }
        for round_number in range(ROUNDS + 1):
            for name, (_, command) in COMMANDS.items():
                wall_s, busy_s = _seconds(command, environment, home)
                if round_number:  # the first fills the page cache and makes the ledger
                    walls[name].append(wall_s)
                    busy[name].append(busy_s)
    return [
        figure
        for name, (aim, _) in COMMANDS.items()
        if name != BASELINE
        for figure in (
            _figure(f"{name}, start to end", walls[name], walls[BASELINE], aim),
            _figure(f"{name}, processor time", busy[name], busy[BASELINE], None),
        )
    ]


def _figure(name: str, taken: list[float], baseline: list[float], aim: float | None) -> Figure:
    value, spread = median(taken)
    return Figure(
        name=name,
        value=value,
        unit="s",
        aim=aim,
        baseline=median(baseline)[0],
        baseline_name=BASELINE,
        spread=spread,
    )


def _seconds(command: list[str], environment: dict[str, str], home: str) -> tuple[float, float]:
    """Return how long it took, and the processor time of it."""
    busy_s = _busy_s()
    start = time.perf_counter()
    subprocess.run(
        command, env=environment, cwd=home, check=True, input=PROMPT, capture_output=True, timeout=60
    )
    return time.perf_counter() - start, _busy_s() - busy_s


def _busy_s() -> float:
    """Return the processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
