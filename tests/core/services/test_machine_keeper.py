"""What is kept of the machine's samples: across restarts, with broken files, and told to a webhook once."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from core.base.files import write_whole
from core.base.redaction import redact
from core.local.alert_engine import Told
from core.local.alerts import Alert
from core.local.gpu_sample import GpuReading, MachineSample
from core.local.server import Crash, ServerState
from core.services import machine_keeper
from core.services.alert_webhook import AlertWebhook, slack_text
from core.services.machine_keeper import ALERTS_FILE, MachineKeeper
from core.settings import SettingsStore
from tests.support.gpus import gpu

GB = 1 << 30
KEY = "sk-ant-" + "0123456789" * 3
FULL = gpu(vram_total_bytes=24 * GB, vram_used_bytes=22 * GB)
EMPTY = gpu(vram_total_bytes=24 * GB, vram_used_bytes=1 * GB)
START_S = 1_800_000_000.0


class Hooked:
    """A receiver of webhooks; ``statuses`` are answered in order, then 200."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.statuses: list[int] = []
        self.came = asyncio.Event()
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.texts.append((await request.json())["text"])
        self.came.set()
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200, text="ok")

    async def texts_are(self, count: int) -> list[str]:
        while len(self.texts) < count:
            self.came.clear()
            await self.came.wait()
        return self.texts


@asynccontextmanager
async def hooked() -> AsyncGenerator[Hooked]:
    receiver = Hooked()
    app = web.Application()
    app.router.add_post("/services/T00/B00/s3cr3t", receiver.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/services/T00/B00/s3cr3t"
    try:
        yield receiver
    finally:
        await runner.cleanup()


class Kept:
    """A keeper with a clock of its own, that is shown samples by hand."""

    def __init__(self, home: Path, at_s: float = START_S, **environment: str) -> None:
        self.home = home
        self.at_s = at_s
        self.state = ServerState(phase="ready", kind="compose", model="qwen")
        self.changes = 0
        self.changed = asyncio.Event()
        self._listen: Callable[[MachineSample], None] | None = None
        self._listening = asyncio.Event()
        store = SettingsStore(home, env={"SIGNALBOX_HOME": str(home), **environment})
        self.keeper = MachineKeeper(
            home,
            lambda: store.current,
            lambda: self.state,
            self._changed,
            clock=lambda: self.at_s,
            ticks=lambda: self.at_s - START_S,
        )

    def _changed(self) -> None:
        self.changes += 1
        self.changed.set()

    def _subscribe(self, listener: Callable[[MachineSample], None]) -> Callable[[], None]:
        self._listen = listener
        self._listening.set()
        return lambda: None

    async def __aenter__(self) -> Kept:
        self.keeper.start(self._subscribe)
        await self._listening.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.keeper.stop()

    async def saved(self) -> None:
        """Let a minute's end come, as the keeper's own task would have it."""
        await self.keeper._save()  # pyright: ignore[reportPrivateUsage]

    def see(self, *gpus: GpuReading, seconds: int = 1) -> tuple[Alert, ...]:
        assert self._listen is not None
        for _ in range(seconds):
            self.at_s += 1
            self._listen(MachineSample(at=datetime.fromtimestamp(self.at_s, UTC), gpus=gpus))
        return self.keeper.alerts()


async def test_history_events_and_alerts_outlive_a_restart(home: Path) -> None:
    async with Kept(home) as kept:
        (alert,) = kept.see(FULL, seconds=120)
        kept.keeper.server_changed(replace(kept.state, phase="failed", detail="It was killed"))
        kept.keeper.acknowledge(alert.id)
    for name in ("machine.history.sqlite3", ALERTS_FILE):
        assert stat.S_IMODE(os.stat(home / name).st_mode) == 0o600

    async with Kept(home, at_s=START_S + 600) as again:
        history = again.keeper.history(900, 600)
        line = history.find("vram_used_bytes", 0)
        assert line is not None
        assert max(value for value in line.values if value is not None) == 22 * GB
        assert line.values[-1] is None, "nobody has looked since"
        assert [event.kind for event in history.events] == ["alert", "crash"]
        heard: list[tuple[Alert, ...]] = []
        again.keeper.subscribe_alerts(heard.append)
        assert again.keeper.alerts() == ()
        (still,) = again.see(FULL, seconds=20)
        assert (still.id, still.acknowledged, still.quiet) == (alert.id, True, True)
        assert [[one.id for one in alerts] for alerts in heard] == [[alert.id]]


async def test_a_clock_that_was_a_year_fast_for_a_while_costs_no_history(home: Path) -> None:
    async with Kept(home) as kept:
        kept.see(EMPTY, seconds=300)
        now_s = kept.at_s
        await kept.saved()
        kept.at_s += 365 * 24 * 3600
        kept.see(FULL, seconds=3)
        await kept.saved()
        kept.at_s = now_s
        kept.see(EMPTY, seconds=60)
    async with Kept(home, at_s=now_s + 61) as again:
        line = again.keeper.history(600, 600).find("vram_used_bytes", 0)
        assert line is not None
        known = [value for value in line.values if value is not None]
        assert set(known) == {1 * GB}
        assert line.times_s[0] <= START_S + 10


async def test_a_snooze_is_kept_at_once_and_not_only_at_the_end(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, written = asyncio.get_running_loop(), asyncio.Event()

    def write(*args: object, **options: object) -> None:
        write_whole(*args, **options)  # type: ignore[arg-type]
        loop.call_soon_threadsafe(written.set)

    monkeypatch.setattr(machine_keeper, "write_whole", write)
    async with Kept(home) as kept:
        (alert,) = kept.see(FULL, seconds=20)
        kept.keeper.snooze(alert.id, 60)
        await written.wait()
        assert kept.keeper.alerts()[0].snoozed_until == datetime.fromtimestamp(kept.at_s + 3600, UTC)
        assert len(json.loads((home / ALERTS_FILE).read_text())["snoozed"]) == 1


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"\xff\xfe", b'{"snoozed": 1}', b'{"snoozed":[],"held":[7]}']
)
async def test_a_broken_list_of_alerts_is_set_aside(home: Path, content: bytes) -> None:
    (home / ALERTS_FILE).write_bytes(content)
    async with Kept(home) as kept:
        assert (home / f"{ALERTS_FILE}.broken-1").read_bytes() == content
        assert len(kept.see(FULL, seconds=20)) == 1
        assert kept.keeper.problems() == []


async def test_a_home_that_cannot_be_written_is_said_and_nothing_else_breaks(home: Path) -> None:
    for name in ("machine.history.sqlite3", ALERTS_FILE):
        (home / name).mkdir()
    async with Kept(home) as kept:
        assert kept.changes
        assert len(kept.see(FULL, seconds=20)) == 1
        assert [problem.title for problem in kept.keeper.problems()] == [
            "The machine's history isn't kept",
            "What you acknowledged and snoozed isn't kept",
        ]
        assert all("it is a folder, not a file" in each.message for each in kept.keeper.problems())
    assert (home / ALERTS_FILE).is_dir()


async def test_another_server_is_another_matter(home: Path) -> None:
    async with Kept(home) as kept:
        kept.state = ServerState(phase="failed", kind="external", detail="No server is reachable.")
        assert kept.see(seconds=30) == (), "it was never there"
        kept.state = ServerState(phase="ready", kind="external", model="m")
        kept.see()
        kept.state = ServerState(phase="failed", kind="external", detail="No server is reachable.")
        (alert,) = kept.see(seconds=30)
        assert alert.kind == "server_failed"
        kept.state = ServerState(phase="stopped", kind="external")
        (over,) = kept.see(seconds=30)
        assert over.ended_at is not None


async def test_a_crash_with_a_restart_is_an_event(home: Path) -> None:
    async with Kept(home) as kept:
        kept.see()
        crash = Crash("was ended by signal 9 (SIGKILL)", datetime.now(UTC))
        kept.keeper.server_changed(replace(kept.state, phase="starting", crash=crash))
        (event,) = kept.keeper.history(60, 600).events
        assert (event.kind, event.words) == ("crash", "The local server was ended by signal 9 (SIGKILL).")


# -- the webhook ------------------------------------------------------------------------------------------------


async def test_begin_and_end_are_posted_once_each_as_slack_takes_it(home: Path) -> None:
    async with hooked() as receiver:
        async with Kept(home, ALERT_WEBHOOK_URL=receiver.url) as kept:
            kept.see(FULL, seconds=200)
            (began,) = await receiver.texts_are(1)
            assert "GPU 0 memory: 22.0 of 24.0 GB for 10 s, over 85 %." in began
            kept.see(EMPTY, seconds=200)
            _, ended = await receiver.texts_are(2)
            assert ". Ended: GPU 0 memory" in ended
            kept.see(FULL, seconds=20)
            await receiver.texts_are(3)
        async with Kept(home, at_s=kept.at_s + 5, ALERT_WEBHOOK_URL=receiver.url) as again:
            again.see(FULL, seconds=60)
            assert again.keeper.problems() == []
        assert len(receiver.texts) == 3, "what was told before the restart is not told again"


async def test_a_webhook_that_refuses_is_a_problem_that_does_not_name_its_address(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with hooked() as receiver:
        receiver.statuses = [404]
        async with Kept(home, ALERT_WEBHOOK_URL=receiver.url) as kept:
            kept.see(FULL, seconds=20)
            await receiver.texts_are(1)
            await kept.changed.wait()
            (problem,) = kept.keeper.problems()
            assert problem.kind == "telemetry"
            assert problem.setting == "alert_webhook_url"
            assert "404" in problem.message
            assert kept.changes == 1
            logged = [each.getMessage() for each in caplog.records if each.name.startswith("core")]
            assert "s3cr3t" not in f"{problem} {logged}"
            assert "s3cr3t" not in redact(receiver.url), (
                "what the HTTP library says of it is hidden in the log"
            )
            kept.see(EMPTY, seconds=20)
            await receiver.texts_are(2)
        assert kept.keeper.problems() == [], "the next one arrived"


def news(title: str = "GPU 0 is hot", text: str = "84 °C") -> Told:
    return Told(
        "began", Alert(id="1", kind="temperature", title=title, text=text, began_at=datetime.now(UTC))
    )


async def posted(url: str, *told: Told) -> tuple[AlertWebhook, list[float]]:
    slept: list[float] = []
    done = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    webhook = AlertWebhook(lambda: url, done.set, sleep=sleep)
    webhook.tell(told)
    task = webhook._task  # pyright: ignore[reportPrivateUsage]
    assert task is not None
    await asyncio.wait({task})
    return webhook, slept


@pytest.mark.parametrize(
    ("statuses", "tries"), [([500, 429, 200], 3), ([503] * 9, 3), ([400], 1), ([302], 1)]
)
async def test_it_is_tried_again_a_little_and_only_where_that_helps(statuses: list[int], tries: int) -> None:
    async with hooked() as receiver:
        receiver.statuses = list(statuses)
        webhook, slept = await posted(receiver.url, news())
        assert len(receiver.texts) == tries
        assert slept == [2.0, 10.0][: min(2, tries if statuses[0] >= 429 else 0)]
        assert bool(webhook.problem) == (200 not in statuses)
        assert ("redirects are not followed" in webhook.problem) == (statuses == [302])


async def test_nobody_there_is_a_problem_without_the_address() -> None:
    async with hooked() as receiver:
        url = receiver.url
    webhook, _ = await posted(url, news())
    assert "could not be reached" in webhook.problem
    assert "s3cr3t" not in webhook.problem


async def test_a_fault_of_ours_does_not_name_the_address_either(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(url: str, *_: object) -> None:
        raise ValueError(f"no such address: {url}")

    monkeypatch.setattr("core.services.alert_webhook.open_client", broken)
    webhook, _ = await posted("http://127.0.0.1:9/s3cr3t", news())
    assert webhook.problem == "It could not be posted (ValueError)."
    assert "posting an alert failed: ValueError" in caplog.text
    assert "s3cr3t" not in caplog.text


async def test_nine_gpus_are_one_message() -> None:
    lost = [
        Told("began", replace(news("lost").alert, id=str(index), kind="gpu_lost", gpu=index))
        for index in range(9)
    ]
    async with hooked() as receiver:
        await posted(receiver.url, *lost)
        assert len(receiver.texts) == 1
        assert "9 GPUs do not answer any more" in receiver.texts[0]


async def test_a_flood_is_bounded() -> None:
    async with hooked() as receiver:
        await posted(receiver.url, *(news(f"alert {number}") for number in range(500)))
        assert len(receiver.texts) == 20
        assert "alert 499" in receiver.texts[-1]


def test_no_secret_and_no_call_of_slacks_leaves() -> None:
    text = slack_text(news("<!channel> <@U1> failed", f"key {KEY} & more"))
    assert "<" not in text
    assert KEY not in text
    assert "&amp; more" in text


def test_without_an_address_nothing_is_begun() -> None:
    AlertWebhook(lambda: None).tell((news(),))
