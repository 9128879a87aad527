"""What an answer's time at the machine costs: by the GPU's own sensor where it says something, else by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from core.local.gpu import GpuPower, GpuSampler
from core.routing.machine_time import CostMeter
from core.settings import Settings
from tests.support.gpus import gpu_survey

HOUR_MS = 3_600_000


@pytest.fixture
def measured() -> Iterator[GpuPower]:
    """A card that draws 300 W, which has been read."""
    sampler = GpuSampler(lambda: gpu_survey(power_w=300.0), every_s=0.001)
    yield GpuPower(sampler)
    sampler.close()


async def known(power: GpuPower) -> None:
    async with asyncio.timeout(30):
        while power.watts() is None:  # noqa: ASYNC110 - a sensor tells nobody of a reading
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(("uses_gpu", "watts"), [(True, 300), (False, 100)])
async def test_the_sensor_counts_for_what_runs_on_the_gpu(
    measured: GpuPower, monkeypatch: pytest.MonkeyPatch, uses_gpu: bool, watts: int
) -> None:
    meter = CostMeter(measured)
    monkeypatch.setattr("core.pricing.local_cost.Meter.leave", lambda *_: float(HOUR_MS))
    settings = Settings.model_validate(
        {"electricity_dollars_per_kwh": "1", "local_watts": 100, "power_usage_effectiveness": 1}
    )
    meter.configure(settings, uses_gpu=uses_gpu)
    await known(measured)
    cost = meter.enter().cost
    assert cost.marginal_nanodollars == watts * 1_000_000, "a watt for an hour at a dollar a kWh is $0.001"
