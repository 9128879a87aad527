"""Every error says its facts by name, and what an HTTP answer of it has to be."""

from __future__ import annotations

import json
import re
from http import HTTPStatus

import pytest

from core import errors
from core.errors import SignalboxError
from tests.support.full_values import full_errors

KINDS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SignalboxError)
]
OVERLOADED = 529  # Anthropic's own; the standard has none


@pytest.mark.parametrize("error", full_errors(), ids=lambda error: error.kind)
def test_details_are_the_facts_of_an_error_by_name_and_plain(error: SignalboxError) -> None:
    details = error.details()
    told = {"message", "hint", "correlation_id"}
    own = {name for name in vars(error) if name not in told} - {"turns"}  # for lines inside the core
    assert own <= details.keys()
    for name, value in details.items():
        assert value == getattr(error, name)
        assert value is None or isinstance(value, str | int | float | bool | tuple)
    assert json.loads(json.dumps(details)).keys() == details.keys()


def test_every_kind_is_among_the_examples() -> None:
    bases = {"error", "transient"}
    assert {kind.kind for kind in KINDS} - bases == {error.kind for error in full_errors()}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_tree_at_the_top_says_each_status(kind: type[SignalboxError]) -> None:
    [said] = re.findall(rf"^ +{kind.__name__} +(\d+)", errors.__doc__ or "", re.MULTILINE)
    assert int(said) == kind.http_status
    assert kind.http_status == OVERLOADED or HTTPStatus(kind.http_status) >= HTTPStatus.BAD_REQUEST


def test_what_may_be_sent_again_by_itself_is_what_an_sdk_retries() -> None:
    """The caller's fault, a limit and a pause for a person: no client may knock again on its own."""
    retried = {408, 409, 429}
    for error in full_errors():
        if isinstance(error, errors.TransientFailure | errors.RateExceeded):
            assert error.http_status in retried or error.http_status >= 500
    for kind in (errors.InvalidRequest, errors.BudgetExceeded, errors.RunawayPaused, errors.ContentRefused):
        assert kind.http_status not in retried
        assert kind.http_status < 500
