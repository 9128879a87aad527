"""The bridge: calls, batches and closing across the two loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication

from core import ModelShelf
from core.chat import Stopped, StreamEvent, TextDelta
from core.router_core import RouterCore
from gui.shell.bridge import Bridge
from tests.gui.chat.builders import make_result
from tests.gui.chat.scripted_core import stream_of
from tests.support.fake_watch import an_alert, gpu, machine_sample
from tests.support.panel_loop import Panel, panel_on_qt


@pytest.fixture
def panel(qapp: QApplication, home: Path) -> Iterator[Panel]:
    with panel_on_qt(qapp, home) as panel:
        yield panel


def test_calls_run_on_the_cores_thread_and_return_or_raise(panel: Panel) -> None:
    async def where() -> str:
        return threading.current_thread().name

    async def fails() -> None:
        raise LookupError("gone")

    async def body() -> None:
        await panel.start()
        assert await panel.bridge.call(where()) == "signalbox-core"
        with pytest.raises(LookupError, match="gone"):
            await panel.bridge.call(fails())
        assert await panel.bridge.run_blocking(lambda a, b: a + b, 2, b=3) == 5

    panel.run(body())


def test_cancelling_a_call_cancels_it_over_there(panel: Panel) -> None:
    began, ended = threading.Event(), threading.Event()

    async def waits() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def body() -> None:
        await panel.start()
        call = asyncio.ensure_future(panel.bridge.call(waits()))
        await panel.until(began.is_set)
        call.cancel()
        await panel.until(ended.is_set)

    panel.run(body())


def test_a_stream_arrives_whole_in_order_and_in_few_batches(panel: Panel) -> None:
    async def words() -> AsyncGenerator[StreamEvent, None]:
        for number in range(2000):
            yield TextDelta(f"{number} ")
            if number % 100 == 0:
                await asyncio.sleep(0)

    async def body() -> None:
        await panel.start()
        batches = [batch async for batch in panel.bridge.stream(words())]
        texts = [event.text for batch in batches for event in batch if isinstance(event, TextDelta)]
        assert texts == [f"{number} " for number in range(2000)]
        assert len(batches) < 200

    panel.run(body())


def test_an_error_of_the_stream_comes_after_what_arrived(panel: Panel) -> None:
    async def breaks() -> AsyncGenerator[StreamEvent, None]:
        yield TextDelta("kept")
        raise LookupError("broken")

    async def body() -> None:
        await panel.start()
        got: list[StreamEvent] = []
        with pytest.raises(LookupError, match="broken"):
            async for batch in panel.bridge.stream(breaks()):
                got += batch
        assert got == [TextDelta("kept")]

    panel.run(body())


def test_leaving_a_stream_closes_it_over_there(panel: Panel) -> None:
    closed = threading.Event()

    async def endless() -> AsyncGenerator[StreamEvent, None]:
        try:
            yield TextDelta("one")
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def body() -> None:
        await panel.start()
        async with aclosing(panel.bridge.stream(endless())) as batches:
            async for _batch in batches:
                break
        assert closed.is_set()

    panel.run(body())


def test_a_stream_that_is_stopped_goes_on_to_its_end(panel: Panel) -> None:
    async def endless() -> AsyncGenerator[StreamEvent, None]:
        yield TextDelta("one")
        await asyncio.Event().wait()

    async def body() -> None:
        await panel.start()
        events = stream_of(endless(), "x", lambda: make_result("one"))
        got: list[StreamEvent] = []
        async for batch in panel.bridge.stream(events):
            got += batch
            panel.bridge.stop_stream(events)
        assert got == [TextDelta("one"), Stopped(None)]

    panel.run(body())


def test_a_core_that_cannot_be_built_is_told_and_leaves_no_thread(panel: Panel) -> None:
    def cannot() -> RouterCore:
        raise OSError("no home")

    async def body() -> None:
        with pytest.raises(OSError, match="no home"):
            await Bridge(cannot).start()
        assert "signalbox-core" not in {thread.name for thread in threading.enumerate()}

    panel.run(body())


def test_samples_alerts_and_models_come_across_and_only_the_newest_while_the_panel_is_busy(
    panel: Panel,
) -> None:
    heard: list[object] = []
    flooded = threading.Event()

    async def body() -> None:
        watch, shelf = panel.core.machine, panel.core.local_models
        watch.alert(an_alert())
        panel.bridge.machine_sampled.connect(heard.append)
        panel.bridge.alerts_changed.connect(heard.append)
        panel.bridge.models_changed.connect(heard.append)
        await panel.start()
        await panel.until(lambda: len(heard) == 3)  # what there was before anything changed
        assert panel.bridge.alerts == (an_alert(),)
        heard.clear()

        async def flood() -> None:
            for degrees in range(50):
                watch.sample(machine_sample(gpu(temperature_c=float(degrees))))
            watch.alert()
            shelf.put(ModelShelf(free_bytes=7))
            flooded.set()

        call = asyncio.ensure_future(panel.bridge.call(flood()))
        await asyncio.sleep(0)
        assert flooded.wait(10)  # this thread can take nothing meanwhile
        await call
        await panel.until(lambda: len(heard) == 3)
        assert heard == [machine_sample(gpu(temperature_c=49.0)), (), ModelShelf(free_bytes=7)]
        assert panel.bridge.sample is heard[0]
        assert panel.bridge.shelf is heard[2]

    panel.run(body())


def test_nothing_is_subscribed_to_once_the_bridge_has_stopped(panel: Panel) -> None:
    async def body() -> None:
        await panel.start()
        watch = panel.core.machine
        told = (watch.listeners, watch.alert_listeners, panel.core.local_models.listeners)
        assert [len(one) for one in told] == [1, 1, 1]
        await panel.bridge.stop()
        assert [len(one) for one in told] == [0, 0, 0]

    panel.run(body())
