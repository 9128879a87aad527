"""``signalbox local``: start, stop and watch the local server, and look whether a start would work."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from core.base.text import exact_duration, marked, sentence_case, transfer_facts
from core.cli import terminal
from core.cli.terminal import EMPTY, MarkedStream, UsageError, table

if TYPE_CHECKING:
    from core.local.preflight import PreflightReport
    from core.local.server import ServerState, StartStep
    from core.router_core import RouterCore

NOT_RUNNING = 3
"""Exit code of ``status`` where nothing runs, as system services have it."""
FOLLOW_S = 0.25
LAST_LINES = 200
SETTLE_S = 0.5
STOP_WITHIN_S = 60.0
STEP_WORDS = {"pull": "Pulling", "create": "Creating", "load": "Loading weights", "warm_up": "Warming up"}
CHECK_MARKS = {
    "ok": "ok",
    "warning": "warning",
    "failed": "FAILED",
    "not_needed": "not needed",
    "unknown": "unknown",
}


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    del common  # its options' defaults would undo what stands before the action
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--debug", action="store_true", default=False, help="show tracebacks and log to standard error"
    )
    as_json = argparse.ArgumentParser(add_help=False, parents=[shared])
    as_json.add_argument("--json", action="store_true", help="print JSON")
    parser = commands.add_parser(
        "local",
        description="The vLLM container (LOCAL_SERVER=compose) keeps running when a command ends. The embedded "
        "server runs inside the panel or the program that uses it, and is started and stopped there.",
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")

    def action(name: str, command: Any, text: str, *, parents: Any = shared, more: str = "") -> Any:
        found = actions.add_parser(
            name, parents=[parents], help=text, description=f"{sentence_case(text)}. {more}"
        )
        found.set_defaults(command=command)
        return found

    begin = action(
        "start",
        start,
        "start it, and return when it is ready",
        parents=as_json,
        more="Exit code 1: it failed, or the pre-flight found what it would fail of.",
    )
    begin.add_argument("--anyway", action="store_true", help="start it though a pre-flight check failed")
    action("stop", stop, "stop it; nothing happens where it does not run", parents=as_json)
    action("restart", restart, "restart it with the current settings", parents=as_json)
    action(
        "status",
        status,
        "what it is doing now",
        parents=as_json,
        more="Exit codes: 0 ready, 3 not running or not ready yet, 1 failed.",
    )
    log = action("logs", logs, "its log", parents=as_json)
    log.add_argument("--follow", "-f", action="store_true", help="keep showing new lines, until Ctrl+C")
    log.add_argument(
        "--lines", "-n", type=terminal.count, default=LAST_LINES, help="the last N (default: %(default)s)"
    )
    check = action(
        "preflight",
        preflight,
        "check what a start needs, and whether the model fits",
        parents=as_json,
        more="Exit code 1: a check failed that a start needs.",
    )
    check.add_argument("--model", help="check this model instead of the one that is set")
    check.add_argument(
        "--max-model-len", type=terminal.count, metavar="TOKENS", help="and this context length"
    )
    check.add_argument("--quantization", help="and this precision")
    check.add_argument(
        "--tensor-parallel-size", type=terminal.count, metavar="GPUS", help="and this many GPUs"
    )
    where = action("contexts", contexts, "the Docker contexts it can run in", parents=as_json)
    where.add_argument("--use", metavar="NAME", help="use this context from the next start on")


# -- start, stop --------------------------------------------------------------------------------------------------


async def start(arguments: argparse.Namespace) -> int:
    async with _core() as core:
        state = await core.seen_local()
        if (refusal := _not_ours(state, "start")) is not None:
            return _told(refusal, state, arguments)
        if state.phase == "ready":
            return _ended(state, arguments)
        if state.phase != "starting" and not arguments.anyway and await _is_held(core, state, arguments):
            return 1
        return await _until_ready(core, core.start_local, arguments)


async def _is_held(core: RouterCore, state: ServerState, arguments: argparse.Namespace) -> bool:
    """Whether a check failed that the start needs, as the panel holds it too; then say which, and what to do."""
    report = await core.vllm.preflight(await core.vllm.settings())
    failed = [check for check in report.checks if check.state == "failed" and check.matters]
    if not failed:
        return False
    if arguments.json:
        _write_json({**_record(state), "held_by": _checks(replace(report, checks=tuple(failed)))})
    sys.stderr.write("signalbox: It was not started: it would fail.\n")
    for check in failed:
        sys.stderr.write(f"{check.title}: {check.found}\n")
        if check.fix:
            sys.stderr.write(f"-> {check.fix}\n")
        sys.stderr.writelines(f"   {command}\n" for command in check.commands)
    sys.stderr.write("To start it all the same: signalbox local start --anyway\n")
    return True


async def restart(arguments: argparse.Namespace) -> int:
    async with _core() as core:
        state = await core.seen_local()
        if (refusal := _not_ours(state, "restart")) is not None:
            return _told(refusal, state, arguments)
        return await _until_ready(core, core.restart_local, arguments)


async def stop(arguments: argparse.Namespace) -> int:
    async with _core() as core:
        state = await core.seen_local()
        if (refusal := _not_ours(state, "stop")) is not None:
            return _told(refusal, state, arguments)
        if state.phase != "stopped":
            await core.stop_local()
            state = core.local_state
        if state.phase == "stopped":
            if arguments.json:
                _write_json(_record(state))
            else:
                sys.stdout.write("It is stopped.\n")
            return 0
        return _ended(state, arguments)


async def _until_ready(core: RouterCore, begin: Callable[[], Any], arguments: argparse.Namespace) -> int:
    lines = StartLines()
    end = core.subscribe_local(lines.show)
    try:
        lines.show(core.local_state)
        await begin()
    except asyncio.CancelledError:
        end()  # what goes on while it is being stopped is no news
        lines.end()
        await _cancel(core)
        raise
    finally:
        end()
        lines.end()
    return _ended(core.local_state, arguments)


async def _cancel(core: RouterCore) -> None:
    """End a start that Ctrl+C interrupted, and say what is left; a second Ctrl+C does not wait for that."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()
    sys.stderr.write("Cancelling: what was started is being stopped.\n")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_WITHIN_S):
            await core.stop_local()
    state = core.local_state
    if state.phase in ("stopped", "failed"):
        left = "Nothing runs. What was pulled or downloaded until now is kept for the next start."
    else:
        left = f"It is still {state.phase}: {state.detail or 'it did not stop in time'}. "
        left += "Stop it: signalbox local stop"
    sys.stderr.write(f"{left}\n")


def _not_ours(state: ServerState, verb: str) -> str | None:
    """Say why this command can't do it, ``None`` where it can."""
    if state.kind == "embedded":
        return (
            f"The local side is the embedded server. It runs only while the panel or a program runs, inside it, so "
            f"there is nothing here to {verb}. For a server that goes on by itself set LOCAL_SERVER=compose."
        )
    if state.kind == "none":
        return "No local server is set up (LOCAL_SERVER=none)."
    if state.kind == "external":
        return f"The local side is somebody else's server. Signalbox does not {verb} it; it uses it where it runs."
    return None if verb in state.verbs else f"It can't be asked to {verb} now: {state.detail or state.phase}."


def _told(refusal: str, state: ServerState, arguments: argparse.Namespace) -> int:
    if arguments.json:
        _write_json(_record(state))
    sys.stderr.write(f"signalbox: {refusal}\n")
    return 1


def _ended(state: ServerState, arguments: argparse.Namespace) -> int:
    """Tell how a start ended, and return its exit code."""
    if arguments.json:
        _write_json(_record(state))
    elif state.phase == "ready":
        version = f" ({state.version})" if state.version else ""
        sys.stdout.write(f"Ready: {state.model or 'a model'}{version} at {state.base_url}\n")
    if state.phase == "ready":
        return 0
    failure = state.failure
    what = (
        failure.what
        if failure is not None
        else f"It is {state.phase}: {state.detail or 'nothing more is known'}."
    )
    fix = failure.fix if failure is not None else state.hint
    sys.stderr.write(f"signalbox: {what}\n")
    if fix:
        sys.stderr.write(f"-> {fix}\n")
    for command in failure.commands if failure is not None else ():
        sys.stderr.write(f"   {command}\n")
    if failure is not None and failure.log:
        sys.stderr.write("Its last lines:\n" + "".join(f"  {line}\n" for line in failure.log[-10:]))
    return 1


class StartLines:
    """Tells on standard error how far a start is: one line that changes on a terminal, elsewhere one a step."""

    def __init__(self) -> None:
        self._rewrites = sys.stderr.isatty()
        self._width = 0
        self._done: set[str] = set()
        self._told = ""

    def show(self, state: ServerState) -> None:
        if state.phase != "starting":
            return
        for step in state.steps:
            if step.status in ("done", "skipped") and step.name not in self._done:
                self._done.add(step.name)
                self._line(_done_words(step))
        running = next((step for step in state.steps if step.status == "running"), None)
        words = (
            _running_words(running, state)
            if running is not None
            else f"Starting: {state.detail}".rstrip(": ")
        )
        if self._rewrites:
            if words != self._told or not self._width:
                self._told = words
                self._rewrite(words)
        elif (about := running.name if running is not None else words) != self._told:
            self._told = about
            self._line(words)

    def end(self) -> None:
        if self._width:
            self._rewrite("")

    def _line(self, words: str) -> None:
        self.end()
        sys.stderr.write(f"{words}\n")
        sys.stderr.flush()

    def _rewrite(self, words: str) -> None:
        # A line that wraps can't be rewritten, and not all terminals know escape sequences: blanks clear it.
        line = marked(words)[: max(1, shutil.get_terminal_size().columns - 1)]
        stream = sys.stderr.unmarked if isinstance(sys.stderr, MarkedStream) else sys.stderr
        stream.write("\r" + line.ljust(self._width) + ("" if line else "\r"))
        stream.flush()
        self._width = len(line)


def _done_words(step: StartStep) -> str:
    took = (
        f" in {exact_duration(step.elapsed_s)}"
        if step.elapsed_s is not None and step.status == "done"
        else ""
    )
    detail = f" ({step.detail})" if step.detail else ""
    return f"{STEP_WORDS[step.name]}: {'done' if step.status == 'done' else 'not needed'}{took}{detail}"


def _running_words(step: StartStep, state: ServerState) -> str:
    facts: list[str] = []
    if step.done_bytes is not None:
        facts += transfer_facts(step.done_bytes, step.total_bytes, step.bytes_per_s or None)
    elif step.progress is not None:
        facts.append(f"{step.progress * 100:.0f} %")
    if step.detail:
        facts.append(step.detail)
    if state.eta_s is not None:
        facts.append(f"about {exact_duration(state.eta_s)} left")
    return f"{STEP_WORDS[step.name]}: {', '.join(facts)}" if facts else f"{STEP_WORDS[step.name]} …"


# -- status and log -----------------------------------------------------------------------------------------------


async def status(arguments: argparse.Namespace) -> int:
    async with _core() as core:
        state = await core.seen_local()
    if arguments.json:
        _write_json(_record(state))
    else:
        facts = [
            ("State", _state_words(state)),
            ("Kind", state.kind),
            ("Model", state.model or EMPTY),
            ("Address", state.base_url or EMPTY),
            *([("Context", f"{state.context_tokens:,} tokens")] if state.context_tokens else []),
            *([("Version", state.version)] if state.version else []),
            *([("Docker context", state.docker_context)] if state.docker_context else []),
            *([("Restart needed", ", ".join(state.restart_needed))] if state.restart_needed else []),
        ]
        width = max(len(name) for name, _ in facts)
        sys.stdout.writelines(f"{name.ljust(width)}  {value}\n" for name, value in facts)
        if state.kind == "embedded":
            sys.stdout.write(
                "What the panel's own does stands on its Machine page: it runs inside the panel.\n"
            )
        fix = state.failure.fix if state.failure is not None else state.remedy
        if fix:
            sys.stdout.write(f"-> {fix}\n")
    return {"ready": 0, "failed": 1}.get(state.phase, NOT_RUNNING)


def _state_words(state: ServerState) -> str:
    if state.kind == "embedded" and state.phase == "stopped":
        return "not started by this command"  # each program has one of its own
    return f"{state.phase}{f', {state.detail}' if state.detail else ''}"


async def logs(arguments: argparse.Namespace) -> int:
    async with _core() as core:
        state = await core.seen_local()
        if state.kind != "compose":
            return _told(
                f"The log of {'the embedded' if state.kind == 'embedded' else 'somebody else’s'} server is kept by "
                "the program that runs it: see the Machine page."
                if state.kind != "none"
                else "No local server is set up (LOCAL_SERVER=none).",
                state,
                argparse.Namespace(json=False),
            )
        cursor = await _print_last(core, arguments)
        while arguments.follow:
            await asyncio.sleep(FOLLOW_S)
            page = core.local_log_page(cursor)
            if page.dropped:
                sys.stderr.write(f"signalbox: {page.dropped:,} lines came too fast and are left out here\n")
            _print_lines(page.lines, arguments)
            cursor = page.next_cursor
    return 0


async def _print_last(core: RouterCore, arguments: argparse.Namespace) -> int:
    """Print the end of what the engine kept, once it has come, and return the cursor behind it."""
    page = core.local_log_page(0, arguments.lines)
    quiet_s = waited_s = 0.0
    while quiet_s < SETTLE_S and waited_s < 20 * SETTLE_S:
        await asyncio.sleep(FOLLOW_S)
        waited_s += FOLLOW_S
        newer = core.local_log_page(0, arguments.lines)
        quiet_s = quiet_s + FOLLOW_S if newer.next_cursor == page.next_cursor else 0.0
        page = newer
    _print_lines(page.lines, arguments)
    if not page.lines:
        sys.stderr.write("signalbox: There is no log: the container was not started yet, or is gone.\n")
    return page.next_cursor


def _print_lines(lines: Any, arguments: argparse.Namespace) -> None:
    for line in lines:
        text = json.dumps(asdict(line)) if arguments.json else line.text
        sys.stdout.write(f"{text}\n")
    if lines:
        sys.stdout.flush()


# -- pre-flight and contexts --------------------------------------------------------------------------------------


async def preflight(arguments: argparse.Namespace) -> int:
    from core.local.vllm_settings import faults_of

    asked = {
        name: getattr(arguments, name)
        for name in ("model", "max_model_len", "quantization", "tensor_parallel_size")
        if getattr(arguments, name) is not None
    }
    async with _core() as core:
        wanted = replace(await core.vllm.settings(), **asked)
        if faults := faults_of(wanted):
            raise UsageError(f"{faults[0].name}: {faults[0].message}", hint="Nothing was checked.")
        report = await core.vllm.preflight(wanted)
    if arguments.json:
        _write_json(_checks(report))
    else:
        _print_checks(report)
    return 1 if report.blocks else 0


def _checks(report: PreflightReport) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for check in report.checks:
        row: dict[str, Any] = {
            "name": check.name,
            "ok": check.ok,
            "found": check.found,
            "fix": check.fix,
            "state": check.state,
            "matters": check.matters,
            "title": check.title,
            "commands": list(check.commands),
        }
        if check.fix_setting is not None:
            row["set"] = {"name": check.fix_setting.name, "value": check.fix_setting.value}
        if check.name == "fit":
            row["estimate"] = asdict(report.fit) if report.fit is not None else None
        rows.append(row)
    return rows


def _print_checks(report: PreflightReport) -> None:
    width = max(len(check.title) for check in report.checks)
    for check in report.checks:
        mark = CHECK_MARKS[check.state]
        found = "" if check.found == mark else check.found
        sys.stdout.write(f"{check.title.ljust(width)}  {mark.ljust(10)}  {found}".rstrip() + "\n")
        if check.ok:
            continue
        if check.fix:
            sys.stdout.write(f"{' ' * width}  {' ' * 10}  -> {check.fix}\n")
        for command in check.commands:
            sys.stdout.write(f"{' ' * width}  {' ' * 10}     {command}\n")
    if report.fit is not None and report.fit.formula:
        sys.stdout.write(f"\n{sentence_case(report.fit.formula)}.\n{report.fit.source}\n")


async def contexts(arguments: argparse.Namespace) -> int:
    async with _core() as core:
        if arguments.use is not None:
            await core.vllm.choose_context(arguments.use)
        found = await core.vllm.contexts()
    if arguments.json:
        _write_json([asdict(context) for context in found])
        return 0
    rows = [("*" if each.chosen else "", each.name, each.words, each.endpoint or EMPTY) for each in found]
    sys.stdout.write(table(("", "Context", "What it is", "Address"), rows, left=range(4)))
    return 0


# -- what they share ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def _core() -> AsyncGenerator[RouterCore]:
    """Give a core that leaves the container running when the command ends, whatever the panel is set to do."""
    from core.router_core import RouterCore
    from core.settings import SettingsStore

    store = SettingsStore(env={**os.environ, "STOP_CONTAINER_ON_QUIT": "false"})
    async with RouterCore(store) as core:
        yield core


def _record(state: ServerState) -> dict[str, Any]:
    """Return a state as scripts read it: fields are added, never renamed."""
    failure = state.failure
    return {
        "kind": state.kind,
        "phase": state.phase,
        "ready": state.phase == "ready",
        "detail": state.detail,
        "hint": failure.fix if failure is not None else state.hint,
        "model": state.model,
        "models": [listed.id for listed in state.models],
        "base_url": state.base_url,
        "context_tokens": state.context_tokens,
        "version": state.version,
        "docker_context": state.docker_context,
        "progress": state.progress,
        "eta_s": state.eta_s,
        "started_at": state.started_at.isoformat() if state.started_at is not None else None,
        "steps": [asdict(step) for step in state.steps],
        "restart_needed": list(state.restart_needed),
        "failure": None
        if failure is None
        else {
            "kind": failure.kind,
            "what": failure.what,
            "fix": failure.fix,
            "commands": list(failure.commands),
            "exit_code": failure.exit_code,
            "oom_killed": failure.oom_killed,
            "log": list(failure.log),
        },
    }


def _write_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
