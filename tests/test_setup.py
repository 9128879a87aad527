"""What ``resources/setup.sh`` installs is what the tests start."""

from __future__ import annotations

import re
from pathlib import Path

from tests.core.ledger import test_process_identity
from tests.support import keyring_session, nvml, screen

SETUP = Path(__file__).parents[1] / "resources" / "setup.sh"


def test_every_program_that_tests_are_skipped_for_is_installed() -> None:
    listed = re.search(r"test_programs\(\) \{\n +cat <<'LIST'\n(.*?)\nLIST\n", SETUP.read_text(), re.DOTALL)
    assert listed
    packages = dict(line.split(maxsplit=1) for line in listed[1].splitlines())
    singles = {nvml.PROGRAM, test_process_identity.PROGRAM}
    assert packages.keys() == {*screen.PROGRAMS, *keyring_session.PROGRAMS} | singles
    assert all(packages.values())
