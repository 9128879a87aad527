"""What may be skipped where the project is checked: there, any other skip is a failure.

A skip says "not here". On a developer's machine that is help; in CI it is a test that nobody runs any more and
nobody misses. Where the variable ``CI`` is set, only the reasons listed here are good ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator

import pytest

ALLOWED = {
    r"no Docker Engine can be started: .*": "only root may start one, and not in every container",
    r"the prompts are not on this machine": "the prompts are not ours to publish",
    r"None, True and False are immortal from 3\.12 on": "there is nothing to count on such a Python",
}
"""Regular expressions of whole reasons, each with why it is a good one."""


def is_allowed(reason: str) -> bool:
    return any(re.fullmatch(allowed, reason) for allowed in ALLOWED)


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why it was skipped, in the test's own words."""
    longrepr = report.longrepr
    said = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return said.removeprefix("Skipped: ")


def _fail_unless_allowed(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not os.environ.get("CI") or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = reason_of(report)
    if not is_allowed(reason):
        report.outcome = "failed"
        report.longrepr = (
            f"Skipped in CI: {reason}\nInstall what it lacks (resources/setup.sh), or list the reason, and why "
            f"it is a good one, in {__file__}."
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_unless_allowed(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_unless_allowed(report)
    return report
