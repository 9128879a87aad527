"""The local server's log: pages after a cursor, what is kept, levels, and what a line may hold."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest

from core.base.redaction import remember_secret
from core.local.embedded import log_path
from core.local.manager import LocalServerManager
from core.local.server_log import LONGEST_LINE, FileLog, LogLevel, LogRing, level_of, plain_text, shown_line
from core.settings import Settings


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("INFO 12-01 15:44:14 [api_server.py:12] Starting vLLM API server 0 on http://0.0.0.0:8000", "info"),
        ("(EngineCore_DP0 pid=131) WARNING 12-01 15:44:14 [cpu.py:12] slow", "warning"),
        ("(APIServer pid=1) ERROR 12-01 15:44:14 [core.py:12] EngineCore failed to start.", "error"),
        ('INFO:     127.0.0.1:43212 - "POST /v1/chat/completions HTTP/1.1" 200 OK', "info"),
        ("torch.OutOfMemoryError: CUDA out of memory.", "error"),
        ("0.01.234.567 W llama_context: n_ctx is small", "warning"),
        ("DEBUG 12-01 15:44:14 x", "debug"),
        ("Informational words", ""),
        ("Loading safetensors checkpoint shards:  62% Completed | 5/8", ""),
    ],
)
def test_levels(line: str, level: LogLevel) -> None:
    assert level_of(line) == level


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "(EngineCore pid=33) INFO 12-01 17:10:06 [kv_cache_utils.py:1234] GPU KV cache size: 99 tokens",
            "GPU KV cache size: 99 tokens  [EngineCore kv_cache_utils.py:1234]",
        ),
        ("ERROR 12-01 17:08:40 [v1/core.py:15]     raise e", "    raise e  [v1/core.py:15]"),
        ("(APIServer pid=8) INFO:     Started server process [8]", "Started server process [8]  [APIServer]"),
        ("INFO:     Waiting for application startup.", "Waiting for application startup."),
        ("Loading safetensors checkpoint shards:  62%", "Loading safetensors checkpoint shards:  62%"),
        ("0.01.234.567 W llama_context: n_ctx is small", "0.01.234.567 W llama_context: n_ctx is small"),
    ],
)
def test_a_line_of_vllm_begins_with_what_it_says(line: str, shown: str) -> None:
    log = LogRing()
    log.add(line, at="17:10:06")
    (kept,) = log.page(0, 1).lines
    assert kept.text == shown
    assert kept.level == level_of(line)


def test_what_a_line_may_hold() -> None:
    assert plain_text("\x1b[32mINFO\x1b[0m ok\x1b]0;title\x07\x07 \x1b[2J\x1b") == "INFO ok "
    assert shown_line("  0%|\r 50%|\r100%|") == "100%|"
    assert shown_line("done\r") == "done"
    long = shown_line("x" * (LONGEST_LINE + 1234))
    assert long.endswith("… (1,234 more characters)")


def test_pages_follow_a_cursor() -> None:
    log = LogRing(most=3)
    log.add("one")
    first = log.page(0, 10)
    assert [line.text for line in first.lines] == ["one"]
    assert first.dropped == 0
    assert log.page(first.next_cursor, 10).lines == ()
    log.extend(("14:00:00", text) for text in ("two", "three", "four", "five"))
    page = log.page(first.next_cursor, 10)
    assert [line.text for line in page.lines] == ["three", "four", "five"]
    assert page.dropped == 1
    assert page.lines[0].number == first.next_cursor + 2
    newest = log.page(0, 1)
    assert [line.text for line in newest.lines] == ["five"]
    assert newest.dropped == 4
    assert log.tail(2) == ["14:00:00 four", "14:00:00 five"]


def test_no_number_is_used_by_two_logs() -> None:
    """A reader whose cursor is the last server's sees the next one's log from its first line."""
    before, after = LogRing(), LogRing()
    before.extend(("", str(number)) for number in range(50))
    after.add("another server")
    page = after.page(before.page(0, 100).next_cursor, 100)
    assert [line.text for line in page.lines] == ["another server"]
    assert page.dropped == 0


def test_secrets_are_hidden_although_they_became_known_later() -> None:
    log = LogRing()
    log.add("INFO using local-key-of-mine and HF_TOKEN=hf_abcdefghijkl")
    remember_secret("local-key-of-mine")
    assert log.tail(1) == ["INFO using ••• and HF_TOKEN=•••"]


def test_a_file_is_read_on(tmp_path: Path) -> None:
    path = tmp_path / "embedded.log"
    log = FileLog(path)
    assert log.page(0, 10).lines == ()
    path.write_bytes(b"0.00 I one\n0.01 E t\xffwo\nhal")
    page = log.page(0, 10)
    assert [(line.level, line.text) for line in page.lines] == [
        ("info", "0.00 I one"),
        ("error", "0.01 E t�wo"),
    ]
    with path.open("ab") as file:
        file.write(b"f\n")
    page = log.page(page.next_cursor, 10)
    assert [line.text for line in page.lines] == ["half"]
    path.write_bytes(b"anew\n")  # emptied, as a long run's is
    assert [line.text for line in log.page(page.next_cursor, 10).lines] == ["anew"]
    path.unlink()
    path.mkdir()
    assert "can't be read" in log.page(page.next_cursor, 10).lines[-1].text


def test_a_line_of_llama_cpp_is_taken_apart(tmp_path: Path) -> None:
    path = tmp_path / "embedded.log"
    log = FileLog(path)
    path.write_text(
        "0.00.003.148 I cmn  common_param: verbosity = 3\n"
        "a line of somebody else\n"
        "61.30.000.000 E srv    load_model: failed\n"
        "61.31.000.000 W The context is small\n"
    )
    began = datetime(2026, 3, 1, 12, 0, 0)
    written_s = began.timestamp() + 61 * 60 + 31
    os.utime(path, (written_s, written_s))
    page = log.page(0, 10)
    assert [(line.at, line.level, line.text) for line in page.lines] == [
        ("12:00:00", "info", "cmn common_param: verbosity = 3"),
        ("", "", "a line of somebody else"),
        ("13:01:30", "error", "srv load_model: failed"),
        ("13:01:31", "warning", "The context is small"),
    ]


def test_a_part_of_a_secret_that_was_hidden_before_the_whole_was_known() -> None:
    remember_secret("first-half")
    log = LogRing()
    log.add("a first-half-and-more b")
    assert log.tail(1) == ["a •••-and-more b"]
    remember_secret("first-half-and-more")
    assert log.tail(1) == ["a ••• b"]


def test_a_switch_of_the_model_repeats_no_line_of_the_one_log(tmp_path: Path) -> None:
    manager = LocalServerManager(lambda state: None)
    settings = Settings(home=tmp_path, local_server="embedded")
    log_path(tmp_path).parent.mkdir(parents=True)
    log_path(tmp_path).write_text("0.00 I one\n")
    manager.follow(settings, "default", None)
    first = manager.log_page(0, 10)
    assert [line.text for line in first.lines] == ["0.00 I one"]
    manager.follow(settings.model_copy(update={"local_model_path": tmp_path / "other.gguf"}), "default", None)
    assert manager.log_page(first.next_cursor, 10).lines == ()
    with log_path(tmp_path).open("a") as file:
        file.write("0.01 I two\n")
    assert [line.text for line in manager.log_page(first.next_cursor, 10).lines] == ["0.01 I two"]
