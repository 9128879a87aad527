"""Another machine's GPUs, by the metrics that its DCGM exporter or nvidia_gpu_exporter shows.

Nothing is sent but the question. Sources of the names: DCGM's field identifiers (dcgm_fields.h) with the exporter's
default counters, and nvidia_gpu_exporter's METRICS.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from core.base.net import open_client
from core.base.text import shortened
from core.local.gpu_nvml import throttle_words
from core.local.gpu_sample import GpuProcess, GpuReading, GpuSurvey
from core.local.metrics_page import Labels, MetricsPage, fetch_page, wanted_names

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

ASK_EVERY_S = 1.0
"""At most this often: DCGM's exporter looks at its cards every 30 s by default."""
TIMEOUT_S = 4.0
STALE_S = 10.0
"""Figures that are older than this say nothing about now."""
MOST_LINES = 4_000
MOST_GPUS = 256

_MIB, _MHZ = 2**20, 10**6
_BLANK = 140_737_488_355_328.0
"""DCGM's least number for "there is none" (DCGM_FP64_BLANK); its integers' are larger still."""

_SEARCHING = "The exporter is being asked."


@dataclass(frozen=True, slots=True)
class _Figure:
    """Where a figure of ``GpuReading`` stands: the first of ``names`` that is there, times ``factor``."""

    field: str
    names: tuple[str, ...]
    factor: float = 1.0
    whole: bool = False


_DCGM = (
    _Figure("vram_total_bytes", ("DCGM_FI_DEV_FB_TOTAL",), _MIB, whole=True),
    _Figure("vram_used_bytes", ("DCGM_FI_DEV_FB_USED",), _MIB, whole=True),
    _Figure("vram_free_bytes", ("DCGM_FI_DEV_FB_FREE",), _MIB, whole=True),
    _Figure("vram_reserved_bytes", ("DCGM_FI_DEV_FB_RESERVED",), _MIB, whole=True),
    _Figure("temperature_c", ("DCGM_FI_DEV_GPU_TEMP",)),
    _Figure("slowdown_temperature_c", ("DCGM_FI_DEV_SLOWDOWN_TEMP",)),
    _Figure("utilization_percent", ("DCGM_FI_DEV_GPU_UTIL",)),
    _Figure("memory_bandwidth_percent", ("DCGM_FI_DEV_MEM_COPY_UTIL",)),
    _Figure("power_w", ("DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_POWER_USAGE_INSTANT")),
    _Figure("power_limit_w", ("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "DCGM_FI_DEV_POWER_MGMT_LIMIT")),
    _Figure("sm_clock_mhz", ("DCGM_FI_DEV_SM_CLOCK",), whole=True),
    _Figure("memory_clock_mhz", ("DCGM_FI_DEV_MEM_CLOCK",), whole=True),
    _Figure("fan_percent", ("DCGM_FI_DEV_FAN_SPEED",)),
    _Figure("ecc_errors", ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",), whole=True),
)
_DCGM_DRAM_ACTIVE = "DCGM_FI_PROF_DRAM_ACTIVE"
_DCGM_REASONS = ("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS")
_DCGM_MIG = "DCGM_FI_DEV_MIG_MODE"
_SHARED_OUT = ("vram_total_bytes", "vram_used_bytes", "vram_free_bytes", "vram_reserved_bytes")
"""What MIG's instances have each their part of."""

_SMI = (
    _Figure("vram_total_bytes", ("nvidia_smi_memory_total_bytes",), whole=True),
    _Figure("vram_used_bytes", ("nvidia_smi_memory_used_bytes",), whole=True),
    _Figure("vram_free_bytes", ("nvidia_smi_memory_free_bytes",), whole=True),
    _Figure("vram_reserved_bytes", ("nvidia_smi_memory_reserved_bytes",), whole=True),
    _Figure("temperature_c", ("nvidia_smi_temperature_gpu",)),
    _Figure("utilization_percent", ("nvidia_smi_utilization_gpu_ratio",), 100),
    _Figure("memory_bandwidth_percent", ("nvidia_smi_utilization_memory_ratio",), 100),
    _Figure("power_w", ("nvidia_smi_power_draw_watts", "nvidia_smi_power_draw_instant_watts")),
    _Figure("power_limit_w", ("nvidia_smi_enforced_power_limit_watts", "nvidia_smi_power_limit_watts")),
    _Figure("sm_clock_mhz", ("nvidia_smi_clocks_current_sm_clock_hz",), 1 / _MHZ, whole=True),
    _Figure("memory_clock_mhz", ("nvidia_smi_clocks_current_memory_clock_hz",), 1 / _MHZ, whole=True),
    _Figure("fan_percent", ("nvidia_smi_fan_speed_ratio",), 100),
    _Figure("ecc_errors", ("nvidia_smi_ecc_errors_uncorrected_volatile",), whole=True),
)
_SMI_INFO = "nvidia_smi_gpu_info"
_SMI_MARGIN = "nvidia_smi_temperature_gpu_tlimit"
_SMI_REASONS = ("nvidia_smi_clocks_event_reasons_active", "nvidia_smi_clocks_throttle_reasons_active")
_SMI_MIG = "nvidia_smi_mig_mode_current"
_SMI_PROCESS, _SMI_PROCESS_USED = "nvidia_smi_compute_app_info", "nvidia_smi_compute_app_used_memory_bytes"

_WANTED = wanted_names(
    *(name for figure in (*_DCGM, *_SMI) for name in figure.names),
    *_DCGM_REASONS,
    _DCGM_DRAM_ACTIVE,
    _DCGM_MIG,
    *_SMI_REASONS,
    _SMI_INFO,
    _SMI_MARGIN,
    _SMI_MIG,
    _SMI_PROCESS,
    _SMI_PROCESS_USED,
)


@dataclass(slots=True)
class _Found:
    labels: dict[str, str]
    figures: dict[str, float] = field(default_factory=dict[str, float])
    reasons: int | None = None
    mig: bool | None = None
    processes: list[GpuProcess] | None = None


def parse_gpus(text: str) -> GpuSurvey:
    """Read a page of either exporter; cards are told apart by UUID and stand in the order of their numbers."""
    page = MetricsPage(text, _WANTED, most_lines=MOST_LINES)
    found: dict[str, _Found] = {}
    _read_figures(page, _DCGM, found, "UUID")
    _read_figures(page, _SMI, found, "uuid")
    for labels, ratio in page.series(_DCGM_DRAM_ACTIVE).items():
        card = _card(found, labels, "UUID")
        if (
            card is not None and ratio <= 1
        ):  # how busy the memory is; the other one is the share of time it was used
            card.figures["memory_bandwidth_percent"] = 100 * ratio
    for (names, mig), key in (((_DCGM_REASONS, _DCGM_MIG), "UUID"), ((_SMI_REASONS, _SMI_MIG), "uuid")):
        for labels, bits in (page.first(names) or {}).items():
            if (card := _card(found, labels, key)) is not None and bits < _BLANK:
                card.reasons = int(bits)
        for labels, mode in page.series(mig).items():
            if (card := _card(found, labels, key)) is not None and mode <= 1:
                card.mig = bool(mode)
    for labels, margin_c in page.series(_SMI_MARGIN).items():
        card = _card(found, labels, "uuid")
        if card is not None and "temperature_c" in card.figures:
            card.figures["slowdown_temperature_c"] = card.figures["temperature_c"] + margin_c
    _read_processes(page, found)
    for labels in page.series(_SMI_INFO):
        card = _card(found, labels, "uuid")
        if card is not None:
            card.labels.update(labels)
    ordered = sorted(found.items(), key=lambda each: _place(each[1].labels, each[0]))
    facts = [card.labels for _, card in ordered]
    return GpuSurvey(
        gpus=tuple(_reading(place, uuid, card) for place, (uuid, card) in enumerate(ordered)),
        problem="" if ordered else "There are no GPU metrics on that page.",
        driver_version=_first(facts, "DCGM_FI_DRIVER_VERSION", "driver_version"),
        cuda_version=_first(facts, "DCGM_FI_CUDA_DRIVER_VERSION", "cuda_version"),
    )


def _read_figures(
    page: MetricsPage, figures: tuple[_Figure, ...], found: dict[str, _Found], key: str
) -> None:
    for figure in figures:
        parts: dict[str, dict[str, float]] = {}
        for labels, value in (page.first(figure.names) or {}).items():
            card = _card(found, labels, key)
            if card is None or value >= _BLANK:
                continue
            names = dict(labels)
            instance = names.get("GPU_I_ID", "")
            if instance:
                card.mig = True
            # The same card stands there once for each pod that shares it.
            parts.setdefault(names[key], {}).setdefault(instance, value * figure.factor)
        for uuid, values in parts.items():
            whole = values.get("")
            if whole is None and figure.field in _SHARED_OUT:
                whole = sum(values.values())
            found[uuid].figures[figure.field] = max(values.values()) if whole is None else whole


def _card(found: dict[str, _Found], labels: Labels, key: str) -> _Found | None:
    names = dict(labels)
    uuid = names.get(key, "")
    if not uuid or (uuid not in found and len(found) >= MOST_GPUS):
        return None
    return found.setdefault(uuid, _Found(names))


def _read_processes(page: MetricsPage, found: dict[str, _Found]) -> None:
    used = {
        (one.get("uuid"), one.get("pid")): value
        for labels, value in page.series(_SMI_PROCESS_USED).items()
        for one in (dict(labels),)
    }
    for labels in page.series(_SMI_PROCESS):
        names, card = dict(labels), _card(found, labels, "uuid")
        if card is None or not names.get("pid", "").isdecimal():
            continue
        vram = used.get((names["uuid"], names["pid"]))
        name = names.get("process_name", "")
        card.processes = card.processes or []
        card.processes.append(
            GpuProcess(
                pid=int(names["pid"]),
                name=name,
                vram_used_bytes=None if vram is None else int(vram),
                is_local_server="vllm" in name.lower(),
            )
        )


def _place(labels: dict[str, str], uuid: str) -> tuple[str, int, str]:
    number = labels.get("gpu", labels.get("index", ""))
    return labels.get("Hostname", ""), int(number) if number.isdecimal() else 0, uuid


def _first(facts: list[dict[str, str]], *names: str) -> str | None:
    return next((card[name] for card in facts for name in names if card.get(name)), None)


def _reading(place: int, uuid: str, card: _Found) -> GpuReading:
    figures = {
        each.field: int(value) if each.whole else value
        for each in (*_DCGM, *_SMI)
        if (value := card.figures.get(each.field)) is not None
    }
    if "vram_total_bytes" not in figures and {"vram_used_bytes", "vram_free_bytes"} <= figures.keys():
        parts = (figures.get(name, 0) for name in _SHARED_OUT[1:])
        figures["vram_total_bytes"] = sum(parts)
    known: dict[str, object] = {
        **figures,
        "throttle_reasons": None if card.reasons is None else throttle_words(card.reasons),
        "processes": None if card.processes is None else tuple(card.processes),
        "mig": card.mig,
    }
    missing = tuple(
        (each.field, "the exporter does not show it") for each in _DCGM if known.get(each.field) is None
    )
    name = card.labels.get("modelName") or card.labels.get("name") or f"GPU {place}"
    reading = GpuReading(index=place, uuid=uuid, name=name, source="prometheus", why=missing)
    return replace(reading, **known)  # type: ignore[arg-type]  # names and types are those of the tables above


class ExporterPoller:
    """Asks the exporter at ``url`` again and again until ``stop``; all methods belong to one event loop."""

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.url = url
        self.interval_s = ASK_EVERY_S
        self._clock = clock
        self._sleep = sleep
        self._survey = GpuSurvey(problem=_SEARCHING)
        self._seen_at: float | None = None
        self._problem = ""
        self._task: asyncio.Task[None] | None = None

    def newest(self) -> GpuSurvey:
        """Return the newest answer; one that is too old keeps its cards, without a figure, and says why."""
        if self._seen_at is None:
            return GpuSurvey(problem=self._problem or _SEARCHING)
        if self._clock() - self._seen_at > STALE_S:
            return self._survey.without_figures(self._problem or _SEARCHING, "the exporter does not answer")
        return self._survey

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._poll_forever(), name="GPU exporter")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _poll_forever(self) -> None:
        while True:
            try:
                async with open_client(self.url, None, TIMEOUT_S) as client:
                    while True:
                        await self._poll(client)
                        await self._sleep(max(ASK_EVERY_S, self.interval_s))
            except OSError as error:  # the certificates that the environment names can't be read
                self._fails(type(error).__name__)
                await self._sleep(STALE_S)

    async def _poll(self, client: httpx2.AsyncClient) -> None:
        import httpx2

        try:
            async with asyncio.timeout(TIMEOUT_S):
                text = await fetch_page(client, self.url)
        except TimeoutError:
            self._fails("it did not answer in time")
        except httpx2.HTTPStatusError as error:
            self._fails(f"it answers with status {error.response.status_code}")
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            self._fails(shortened(str(error), 120) or type(error).__name__)
        else:
            if text is None:
                self._fails("there is no page of metrics")
                return
            survey = parse_gpus(text)
            if not survey.gpus:
                self._fails("there are no GPU metrics on its page")
                return
            self._problem, self._survey, self._seen_at = "", survey, self._clock()

    def _fails(self, why: str) -> None:
        problem = f"{self.url} does not show its GPUs: {why.removesuffix('.')}."
        if problem != self._problem:
            log.info("%s", problem)
        self._problem = problem
