"""Pages of metrics in Prometheus' text format: fetched in bounds, and only what is wanted of them is read."""

from __future__ import annotations

import math
import re
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

MAX_METRICS_BYTES = 8 * 2**20
"""vLLM's page is about 100 kB an engine; what is longer than this is no page of metrics."""

MAX_COUNT = 2**53
"""Prometheus carries counts as doubles, which are exact up to here."""

Labels = tuple[tuple[str, str], ...]
"""The labels of a series, sorted by name."""


def wanted_names(*names: str) -> re.Pattern[str]:
    """Return what matches a line of one of ``names``, whatever differs between versions.

    That is ``_total`` at its end, and ``:`` instead of the first ``_``, as in ``vllm:num_requests_running``.
    """
    spelt = "|".join(name.replace("_", "[:_]", 1) for name in names)
    return re.compile(rf"^({spelt})(?:_total)?[ \t{{].*$", re.MULTILINE)


class MetricsPage:
    """The values of the metrics that ``wanted`` matches, each by its labels.

    Lines that cannot be read are passed over, as are numbers that are none: one odd metric must not hide others.
    """

    def __init__(self, text: str, wanted: re.Pattern[str], *, most_lines: int) -> None:
        self._found: dict[str, dict[Labels, float]] = {}
        # Most lines are buckets of histograms. The parser, which takes 50 ms for four engines, sees the others.
        for line in islice(wanted.finditer(text), most_lines):
            sample = _sample(line[0])
            if sample is not None:
                labels, value = sample
                self._found.setdefault(line[1].replace(":", "_"), {})[labels] = value

    def first(self, names: tuple[str, ...]) -> dict[Labels, float] | None:
        """Return the series of the first of ``names`` that is there: versions that rename a metric show both."""
        return next((self._found[name] for name in names if name in self._found), None)

    def series(self, name: str) -> dict[Labels, float]:
        return self._found.get(name, {})


def _sample(line: str) -> tuple[Labels, float] | None:
    from prometheus_client.parser import text_string_to_metric_families  # not on the way to the first window

    try:
        samples = [s for family in text_string_to_metric_families(line) for s in family.samples]
    except (ValueError, KeyError, IndexError):
        return None
    if len(samples) != 1:
        return None
    value = float(samples[0].value)
    if not math.isfinite(value) or not 0 <= value <= MAX_COUNT:
        return None
    return tuple(sorted(samples[0].labels.items())), value


async def fetch_page(client: httpx2.AsyncClient, url: str) -> str | None:
    """Return the page at ``url``; ``None`` where there is none, or what is there is too long for one.

    Raises:
        httpx2.HTTPError: nobody answered, or with an error that may be over soon.
    """
    async with client.stream("GET", url) as answer:
        if answer.status_code >= 500:
            answer.raise_for_status()
        if answer.status_code != 200:
            return None
        page = bytearray()
        async for chunk in answer.aiter_bytes():
            page += chunk
            if len(page) > MAX_METRICS_BYTES:
                return None
    return page.decode("utf-8", "replace")
