"""Secrets are planted everywhere, everything is run and made to fail, then everything written is searched.

Keys and passwords may be nowhere but where the user put them. Words of a prompt and of an answer may only be
where the user asked for them: on the standard output of ``ask``, and, of a request with an idempotency key, the
answer (and nothing of the prompt) in ``answers.sqlite3``, until it is too old or nothing is to be kept.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest

from core.chat import ChatRequest, ChatResult, Failed, Finished, JsonSchemaFormat, Message
from core.errors import SignalboxError
from core.router_core import RouterCore
from core.routing.idempotency_store import FILE_NAME as KEPT_ANSWERS
from core.telemetry.logs import log_path, redact, redacted_traceback, setup_logging
from tests.support.collector import Collector, collector
from tests.support.echo_server import EchoServer, echo_server
from tests.support.fake_core import MemoryKeyring
from tests.support.forked import run_forked

# None of the keys has a shape that gives it away, so each must be known to be hidden.
API_KEY = "plainlookingApiKeyOne0001"
KEYRING_KEY = "plainlookingKeyringKey0002"
VLLM_KEY = "plainlookingVllmKey0003"
HF_KEY = "plainlookingHfToken0004"
USERINFO = "plainlookingUserinfo0005"
COLLECTOR_KEY = "plainlookingCollector0006"
LEDGER_PASSWORD = "plainlookingLedgerPw0007"
FILE_KEY = "plainlookingSettingsFile0008"
KEYS = (
    API_KEY,
    KEYRING_KEY,
    VLLM_KEY,
    HF_KEY,
    USERINFO,
    COLLECTOR_KEY,
    LEDGER_PASSWORD,
    FILE_KEY,
)
PROMPT = (
    "Between us: the heron sleeps under the third bridge and 'Wilhelmina' \"knows\" it, größer als alles."
)
SYSTEM = "You are the confidant of a lockkeeper who never forgets a barge."
ANSWER = "I shall tell nobody that the heron prefers smoked eels on Thursdays."
KEY_IN_WORDS = f"once: {PROMPT}"  # a program may use the prompt itself as its key
PROMPT_WORDS = ("heron sleeps", "third bridge", "Wilhelmina", "lockkeeper", "forgets a barge")
ANSWER_WORDS = ("smoked eels", "tell nobody", "on Thursdays")

MODES = ("good", "401", "400", "429", "500", "garbled", "error_event", "html")


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with echo_server(ANSWER) as running:
        yield running


@pytest.fixture
def traces() -> Iterator[Collector]:
    with collector() as running:
        yield running


def plant(home: Path, server: EchoServer, traces: Collector, **more: str) -> dict[str, str]:
    """Put every secret where users put them; return the environment."""
    (home / ".env").write_text(f"VLLM_API_KEY={VLLM_KEY}\nHF_TOKEN={HF_KEY}\n")
    (home / "settings.json").write_text(json.dumps({"version": 1, "vllm_api_key": FILE_KEY}))
    return {
        "SIGNALBOX_HOME": str(home),
        "ANTHROPIC_API_KEY": API_KEY,
        "ANTHROPIC_BASE_URL": f"http://{server.root}",
        "VLLM_BASE_URL": f"http://me:{USERINFO}@{server.root}/v1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": traces.url.replace("://", f"://me:{USERINFO}@"),
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-collector-key={COLLECTOR_KEY}",
        "MAX_RETRIES": "1",
    } | more


PLANTED = (".env", "settings.json")


def everything_in(home: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in sorted(home.rglob("*"))
        if path.is_file() and path.name not in PLANTED
    }


def without_kept_answers(home: Path, found: dict[str, bytes | str]) -> dict[str, bytes | str]:
    """Return all but the kept answers, after looking into those: they hold answers, no prompt and no key.

    Only their owner may read them.
    """
    kept = {place: content for place, content in found.items() if place.startswith(KEPT_ANSWERS)}
    assert set(kept) <= {KEPT_ANSWERS, f"{KEPT_ANSWERS}-wal", f"{KEPT_ANSWERS}-shm"}
    assert search(kept, ANSWER_WORDS), "there it belongs"
    assert search(kept, (*KEYS, *PROMPT_WORDS)) == []
    assert {stat.S_IMODE((home / place).stat().st_mode) for place in kept} == {0o600}
    return {place: content for place, content in found.items() if place not in kept}


def search(found: dict[str, bytes | str], words: tuple[str, ...]) -> list[str]:
    """Say where one of ``words`` stands, plainly, escaped as JSON, or as a URL says it."""
    hits: list[str] = []
    for place, content in found.items():
        raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        for word in words:
            for form in {word, json.dumps(word)[1:-1], word.replace(" ", "%20"), word.replace(" ", "+")}:
                at = raw.find(form.encode())
                if at >= 0:
                    hits.append(f"{form!r} in {place}: …{raw[max(0, at - 60) : at + 60]!r}…")
    return hits


def test_the_search_finds_what_is_there(home: Path) -> None:
    (home / "deep").mkdir()
    (home / "deep" / "x.db").write_bytes(b"\x00\xff" + API_KEY.encode())
    assert search(dict(everything_in(home)), KEYS)
    assert search({"a": json.dumps({"p": PROMPT})}, PROMPT_WORDS)


# -- the library ------------------------------------------------------------------------------------------


def requests() -> list[ChatRequest]:
    earlier = (Message(role="user", text=PROMPT), Message(role="assistant", text=ANSWER))
    again = Message(role="user", text=f"Again: {PROMPT}")
    schema = JsonSchemaFormat(schema={"type": "object", "required": ["eels"]})
    return [
        ChatRequest.from_prompt(PROMPT, system=SYSTEM, force="api"),
        ChatRequest.from_prompt(PROMPT, system=SYSTEM, force="local"),
        ChatRequest(messages=(*earlier, again), system=SYSTEM, idempotency_key=KEY_IN_WORDS, project="barge"),
        ChatRequest.from_prompt(PROMPT, system=SYSTEM, response_format=schema),
    ]


async def run_library(server: EchoServer) -> dict[str, str]:
    """Send each request in each mode; return what the library would show, tell or export."""
    said: dict[str, str] = {}
    log = logging.getLogger("an.application")
    async with RouterCore() as core:
        for mode in MODES:
            server.mode = mode
            for number, request in enumerate(requests()):
                place = f"{mode} {number}"
                async for event in core.stream(request):
                    if isinstance(event, Failed):
                        said[f"the shown error of {place}"] = redacted_traceback(event.error)
                        log.error("it failed: %s", event.error, exc_info=event.error)
                    elif isinstance(event, Finished):
                        said[f"the steps of {place}"] = repr((event.result.steps, event.result.decision))
            await core.start_local()  # whatever the breaker thinks of it: each mode is tried
            core._api.breakers.reset()
        status = await core.status()
        said["the status"] = repr(status)
        said["the doctor"] = repr(await core.doctor())
        said["the local log"] = "\n".join(core.local_log())
        said["the settings, as a log would say them"] = redact(repr(core.settings.current))
        said["the settings' problems"] = repr(core.settings.problems)
        said["the metrics"] = core._rooms.metrics.text()
        said["the ledger's rows"] = repr(await core.ledger.recent(1000))
    return said


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("key_from", ["environment", "keyring"])
def test_nothing_of_the_library_tells(
    home: Path,
    server: EchoServer,
    traces: Collector,
    log_format: str,
    key_from: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in plant(home, server, traces).items():
        monkeypatch.setenv(name, value)
    if key_from == "keyring":
        monkeypatch.delenv("ANTHROPIC_API_KEY")
        backend = MemoryKeyring()
        keyring.set_keyring(backend)
        from core.keys import KeyStore

        asyncio.run(KeyStore().set("anthropic", KEYRING_KEY, os.environ["ANTHROPIC_BASE_URL"]))
    setup_logging(home, debug=True, log_format=log_format)  # type: ignore[arg-type]
    found: dict[str, bytes | str] = {**asyncio.run(run_library(server))}
    found |= everything_in(home)
    shown = capfd.readouterr()
    found |= {"standard output": shown.out, "standard error": shown.err}
    found["the exported traces"] = b"".join(traces.raw)
    used = API_KEY if key_from == "environment" else KEYRING_KEY
    assert any(used in seen for seen in server.seen), "the key was really sent"
    assert any(PROMPT[:30] in seen for seen in server.seen), "so was the prompt"
    assert traces.spans
    assert log_path(home).name in "".join(found)
    found = without_kept_answers(home, found)
    assert search(found, KEYS) == []
    assert search(found, (*PROMPT_WORDS, *ANSWER_WORDS)) == []


def test_with_nothing_kept_no_answer_is_on_the_disk(
    home: Path, server: EchoServer, traces: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> bool:
        async with RouterCore() as core:
            first = await core.ask(requests()[2])
            again = await core.ask(requests()[2])
            assert first.text == again.text == ANSWER
            return again.replayed

    for name, value in plant(home, server, traces).items():
        monkeypatch.setenv(name, value)
    assert asyncio.run(ask())
    assert search({**everything_in(home)}, ANSWER_WORDS), "it was kept before"
    monkeypatch.setenv("IDEMPOTENCY_KEEP_HOURS", "0")
    (home / "ledger.sqlite3").unlink()  # it knows the key for a day
    assert asyncio.run(ask())
    assert search({**everything_in(home)}, (*KEYS, *PROMPT_WORDS, *ANSWER_WORDS)) == []


def test_a_scrape_tells_nothing(
    home: Path, server: EchoServer, traces: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name, value in plant(home, server, traces, METRICS_PORT=str(port)).items():
        monkeypatch.setenv(name, value)

    async def scrape() -> str:
        async with RouterCore() as core:
            await core.ask(requests()[0])

            def read() -> str:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                    return answer.read().decode()

            return await asyncio.to_thread(read)

    text = asyncio.run(scrape())
    assert "gen_ai_client_operation_duration_seconds_count" in text
    assert search({"the scrape": text}, (*KEYS, *PROMPT_WORDS, *ANSWER_WORDS)) == []


def test_a_ledger_that_cannot_be_reached_does_not_tell_its_password(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEDGER_URL", f"postgresql+psycopg://me:{LEDGER_PASSWORD}@127.0.0.1:1/books")
    monkeypatch.setenv("LOCAL_SERVER", "none")
    setup_logging(home, debug=True)
    said: dict[str, bytes | str] = {}

    async def run() -> None:
        async with RouterCore() as core:
            said["the status"] = repr(await core.status())
            said["the doctor"] = repr(await core.doctor())
            try:
                await core.ask(PROMPT)
            except SignalboxError as error:
                said["the error"] = f"{error} {error!r}"
                said["its traceback"] = redacted_traceback(error)
                logging.getLogger("an.application").error("failed", exc_info=error)

    asyncio.run(run())
    shown = capfd.readouterr()
    said |= everything_in(home)
    said |= {"standard output": shown.out, "standard error": shown.err}
    assert "the error" in said
    assert search(said, (LEDGER_PASSWORD, *PROMPT_WORDS)) == []


# -- the command line -------------------------------------------------------------------------------------


def signalbox(environment: dict[str, str], *arguments: str, given: str | None = None) -> tuple[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC")}
    _, out, err = run_forked(
        "core.cli.main:main",
        arguments,
        environment=inherited | environment,
        cwd=Path(environment["SIGNALBOX_HOME"]),
        given=given or "",
    )
    return out, err


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_nothing_of_the_command_line_tells(
    home: Path, server: EchoServer, traces: Collector, log_format: str
) -> None:
    """Each command with ``--debug``, which shows tracebacks and the log."""
    environment = plant(home, server, traces, LOG_FORMAT=log_format)
    found: dict[str, bytes | str] = {}
    answers: dict[str, bytes | str] = {}
    for mode in ("good", "400", "500", "garbled") if log_format == "text" else ("401", "error_event", "html"):
        for side in ("api", "local"):
            server.mode = mode
            out, err = signalbox(environment, "ask", "--debug", "--force", side, "-", given=PROMPT)
            answers[f"the answer of ask {side} in {mode}"] = out
            found[f"standard error of ask {side} in {mode}"] = err
    server.mode = "good"
    if log_format == "text":
        for turn in ("first", "second"):
            out, err = signalbox(
                environment, "ask", "--debug", "--idempotency-key", KEY_IN_WORDS, "-", given=PROMPT
            )
            answers[f"the {turn} answer with a key"] = out
            found[f"standard error of the {turn} ask with a key"] = err
            assert search({"": out}, ANSWER_WORDS)
        assert "not paid again" in err
    for command in (
        ("doctor",),
        ("report",),
        ("metrics",),
        ("keys", "list"),
        ("audit", "list"),
        ("audit", "verify"),
    ):
        out, err = signalbox(environment, *command, "--debug")
        found[f"signalbox {' '.join(command)}"] = out + err
    found |= everything_in(home)
    found["the exported traces"] = b"".join(traces.raw)
    assert any(API_KEY in seen for seen in server.seen)
    if log_format == "text":
        found = without_kept_answers(home, found)
    assert search(found | answers, KEYS) == []
    assert search(found, (*PROMPT_WORDS, *ANSWER_WORDS)) == []
    if log_format == "text":
        good = answers["the answer of ask api in good"]
        assert search({"": good}, ANSWER_WORDS), "there it was asked for"
        assert traces.spans


def test_an_error_in_the_hands_of_a_program_holds_no_key(
    home: Path, server: EchoServer, traces: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error itself goes to the caller, whose prompt it is; keys are not its business."""
    for name, value in plant(home, server, traces).items():
        monkeypatch.setenv(name, value)
    said: dict[str, bytes | str] = {}

    async def run() -> ChatResult | None:
        async with RouterCore() as core:
            for mode in MODES[1:]:
                server.mode = mode
                for side in ("api", "local"):
                    try:
                        await core.ask(PROMPT, force=side)
                    except SignalboxError as error:
                        said[f"{mode} {side}"] = f"{error} {error!r} {error.hint} {vars(error)}"
                        said[f"traceback {mode} {side}"] = redacted_traceback(error)
                await core.start_local()
                core._api.breakers.reset()
        return None

    asyncio.run(run())
    assert len(said) >= 2 * len(MODES)
    assert search(said, KEYS) == []
