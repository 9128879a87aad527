"""vLLM in a container of ``docker-compose.yml``, wherever Docker reaches: started, watched and stopped.

What is shown is what is seen: the engine's events and answers, and our own probes of ``/health`` and
``/v1/models``. What was clicked only says what is being tried. So two panels over one container show the same, and
one that is started or stopped by hand is no surprise.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.base.observable import Observable
from core.errors import KeyHeldBack
from core.local import compose_log
from core.local.compose_launch import ComposeLauncher
from core.local.compose_probe import ContainerProbe
from core.local.compose_project import ComposeProject, ServiceConfig
from core.local.compose_start import DEADLINE_S, StartProgress
from core.local.container import Container, differences, read_time
from core.local.container_watch import ContainerWatch
from core.local.docker_cli import DockerError
from core.local.load_times import LoadTimes
from core.local.server import ServerFailure, ServerPhase, ServerState, ServerVerb
from core.local.server_log import LogPage, LogRing
from core.local.server_probe import Finding
from core.local.verb_queue import VerbQueue

log = logging.getLogger(__name__)

TICK_S = 0.5
"""How often a start's elapsed time is told."""
FIRST_LOOK_S = 5.0
STOP_WITHIN_S = 120.0
QUIT_WITHIN_S = 5.0
LOADING_GRACE_S = 3
"""So long may one that was never ready take to leave, before Docker kills it."""
_SEEN_KINDS = frozenset({"docker_missing", "daemon_down", "compose_missing", "compose_file"})
"""Faults that every look at the container meets."""


class ComposeServer:
    """A ``LocalServer`` over the container of ``project``.

    ``base_url`` is asked where the engine runs on another machine; on this one, the port that the container
    publishes. ``api_key`` is what the container was started with. All methods belong to one event loop.
    """

    def __init__(
        self,
        home: Path,
        project: ComposeProject,
        *,
        base_url: str,
        api_key: str | KeyHeldBack | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._project = project
        self._api_key = api_key
        self._clock = clock
        self._load_times = LoadTimes(home)
        self._launcher = ComposeLauncher(project, clock)
        self._watch = ContainerWatch(project, self._looked, self._heard)
        self._probe = ContainerProbe(base_url, api_key, lambda: self._watch, self._publish)
        state = ServerState(
            phase="stopped", kind="compose", detail="looking for the container", docker_context=self._place
        )
        self._state = Observable(state, log, "the local server's state")
        self._verbs = VerbQueue()
        self._tasks: list[asyncio.Task[None]] = []
        self._start: StartProgress | None = None
        self._has_looked = False
        self._found_run: tuple[str, str] | None = None
        self._is_stopping = False
        self._failure: ServerFailure | None = None
        self._accepted: tuple[str, str] | None = None
        self._explained: tuple[tuple[str, str], ServerFailure | None] | None = None
        self._settled = asyncio.Event()

    @property
    def _place(self) -> str:
        return self._watch.place or self._project.cli.place or ""

    @property
    def state(self) -> ServerState:
        return self._state.value

    def on_change(self, listener: Callable[[ServerState], None]) -> Callable[[], None]:
        return self._state.on_change(listener)

    def log_tail(self, lines: int = 200) -> list[str]:
        return self._ring.tail(lines)

    def log_page(self, cursor: int, most: int) -> LogPage:
        return self._ring.page(cursor, most)

    @property
    def _ring(self) -> LogRing:
        return self._watch.log.ring

    async def observe(self) -> None:
        """Look, and begin to watch; a container that runs is adopted. Returns after some seconds at the latest."""
        was_watched = not self._begin()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK_S):
                if was_watched:
                    await self._watch.look()
                await self._watch.looked.wait()
                await self._probe.looked_at(self._watch.container)

    async def detach(self) -> None:
        """Watch no more; the container goes on. A pull under way ends, and what it fetched is kept."""
        verbs, tasks, self._tasks = self._verbs, self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        verbs.give_up()

    async def start(self) -> None:
        """Pull, create and start it, and return when it is ready, has failed, or ``stop`` came in between."""
        self._begin()
        await self._verbs.ask("start")

    async def stop(self) -> None:
        """Stop the container, whoever started it; a start in progress is cancelled."""
        self._begin()
        await self._verbs.ask("stop")

    async def restart(self) -> None:
        """Stop it and start it with what is set now."""
        self._begin()
        await self._verbs.ask("restart")

    def _begin(self) -> bool:
        """Begin the tasks; returns whether they were not at work yet."""
        if any(not task.done() for task in self._tasks):
            return False
        self._verbs = VerbQueue()
        self._watch.looked.clear()
        self._has_looked = False
        work: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "container's owner": self._own,
            "container's watch": self._watch.run,
            "container's probe": self._probe.run,
            "container's clock": self._tick,
        }
        self._tasks = [asyncio.create_task(each(), name=name) for name, each in work.items()]
        return True

    # -- the owner: the only one that starts and stops -------------------------------------------------------

    async def _own(self) -> None:
        while True:
            command = await self._verbs.next()
            try:
                await self._carry_out(command.verb)
            except DockerError as error:
                await self._take_failure(error.failure)
            except Exception as error:
                # Whatever breaks one command, the next ones are carried out and the state says what happened.
                log.exception("the container's %s failed", command.verb)
                self._failure = ServerFailure(
                    kind="exited",
                    what=f"Signalbox itself failed to {command.verb} it ({type(error).__name__}).",
                    fix="Try again; its own log has the whole error.",
                )
            finally:
                self._is_stopping = False
                self._publish()
                command.settle()

    async def _take_failure(self, failure: ServerFailure) -> None:
        if failure.kind not in _SEEN_KINDS:
            self._failure = failure
            return
        # Nothing of ours: the next looks see it too, and see when it is over.
        self._start = None
        await self._watch.look()

    async def _carry_out(self, verb: ServerVerb) -> None:
        if verb != "start":
            try:
                await self._end()
            finally:
                self._is_stopping = False
                self._verbs.stopped()
        if verb != "stop":
            await self._verbs.unless_stopped(self._launch())

    async def _launch(self) -> None:
        self._failure = self._accepted = None
        self._begin_start(is_ours=True, since_s=self._clock())
        self._publish()
        await self._watch.look()
        if self._watch.fault is not None:
            raise DockerError(self._watch.fault)
        if self._runs:
            self._start = None  # somebody else's: it is adopted
            self._looked()
        else:
            config = await self._watch.fresh_config()
            start = self._begin_start(is_ours=True, since_s=self._clock())
            await self._launcher.pull_unless_here(config, start)
            start.creating()
            self._publish()
            await self._launcher.up(config)
            await self._watch.look()
        await self._until_settled()

    async def _until_settled(self) -> None:
        """Return when what is seen is ready or failed."""
        while True:
            self._publish()
            if self.state.phase not in ("starting", "stopping"):
                return
            self._settled.clear()  # the next time something is seen
            await self._settled.wait()

    async def _end(self) -> None:
        self._is_stopping = True
        self._publish()
        await self._watch.look()
        container = self._watch.container
        if self._watch.fault is not None and container is None:
            return  # nothing can be stopped there; the state says why
        if container is not None and container.status not in ("exited", "created", "dead"):
            # A vLLM that loads does not hear it until it has loaded, and answers nobody who would lose by it.
            grace = () if self._probe.was_ready(container) else ("-t", str(LOADING_GRACE_S))
            done = await self._project.cli.run("stop", *grace, container.id, timeout_s=STOP_WITHIN_S)
            if done.returncode != 0 and "No such container" not in done.stderr:
                raise DockerError(
                    ServerFailure(
                        kind="exited",
                        what=f"Docker could not stop it: {done.stderr.strip() or 'it said nothing'}.",
                        fix="Look at it with docker ps, then try again.",
                        commands=(self._project.cli.shell_line("stop", container.name),),
                    )
                )
        await self._watch.look()
        self._failure = self._start = None
        self._accepted = self._watch.container.run if self._watch.container is not None else None

    async def stop_for_quit(self) -> None:
        """Tell the container to leave; it goes on leaving although nobody waits for it any more."""
        container = self._watch.container
        if container is not None and container.is_running:
            with contextlib.suppress(DockerError):
                await self._project.cli.run("stop", container.id, timeout_s=QUIT_WITHIN_S)

    # -- what is seen ----------------------------------------------------------------------------------------

    @property
    def _runs(self) -> bool:
        return self._watch.container is not None and self._watch.container.status in ("running", "restarting")

    def _looked(self) -> None:
        container = self._watch.container
        if not self._has_looked:
            self._has_looked = True
            self._found_run = container.run if container is not None and container.is_running else None
        if container is not None and container.is_running:
            self._failure = None
            start = self._start
            if start is not None and start.run not in (None, container.run):
                start = self._start = None  # it was started again, by somebody else
            if start is None and not self._probe.was_ready(container):
                start = self._begin_start(is_ours=False, since_s=self._clock() - _age_s(container))
            if start is not None:
                start.runs(container.run, None if start.is_ours else start.started_s)
        elif self._start is not None and not self._start.is_ours:
            self._start = None
        self._probe.wake()
        self._publish()

    def _heard(self, lines: Sequence[str]) -> None:
        start = self._start
        if start is None:
            return
        for line in lines:
            if (progress := compose_log.read_progress(line)) is not None:
                start.take(progress)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            if self.state.phase == "starting":
                self._publish()

    def _begin_start(self, *, is_ours: bool, since_s: float) -> StartProgress:
        config = self._watch.config
        age_s = self._clock() - since_s
        self._start = StartProgress(
            self._clock,
            started_s=since_s,
            started_at=datetime.fromtimestamp(time.time() - age_s, UTC),
            expected=self._load_times.of(_load_key(config)) if config is not None else None,
            deadline_s=max(DEADLINE_S, config.start_period_s if config is not None else 0.0),
            is_ours=is_ours,
        )
        return self._start

    def _publish(self) -> None:
        state = self._now()
        if state.phase == "ready" and self._start is not None:
            if self._start.was_created and self._watch.config is not None and self._start.load_s:
                self._load_times.learn(_load_key(self._watch.config), self._start.load_s)
            self._start = None
        if state.phase == "failed" and state.phase != self.state.phase:
            log.warning("the container: %s", state.detail)
        self._state.set(state)
        self._settled.set()

    def _now(self) -> ServerState:
        """Return the state by what was seen last. Nothing here waits or asks."""
        watch, container = self._watch, self._watch.container
        finding = self._probe.finding(container)
        if container is not None and container.is_running:
            if self._is_stopping or watch.is_leaving:
                return self._shown("stopping", container)
            if finding is not None and finding.phase == "ready":
                return self._ready(container, finding)
            if watch.fault is not None:
                return self._failed(watch.fault, container)
            if finding is not None and (failure := self._sick(container, finding)) is not None:
                return replace(self._failed(failure, container), cause=finding.cause)
            return self._starting(container)
        fault = watch.fault or watch.file_fault
        if fault is not None and self._start is None:
            return self._failed(fault, container)
        if self._is_stopping:
            return self._shown("stopping", container)
        if self._start is not None and self._start.is_ours and self._failure is None:
            if self._start.step not in ("load", "warm_up"):
                return self._starting(container)
            if container is None:
                return self._shown("stopped", container, detail="the container was removed while it started")
        if self._failure is not None:
            return self._failed(self._failure, container)
        if not watch.looked.is_set():
            return self._shown("stopped", container, detail="looking for the container")
        if container is None:
            return self._shown("stopped", container)
        return self._not_running(container)

    def _not_running(self, container: Container) -> ServerState:
        if container.status == "paused":
            return self._failed(
                ServerFailure(
                    kind="unhealthy",
                    what="The container is paused.",
                    fix="Unpause it, or restart it.",
                    commands=(self._project.cli.shell_line("unpause", container.name),),
                ),
                container,
            )
        if container.status == "restarting":
            return self._starting(container)
        if self._accepted == container.run:
            return self._shown("stopped", container)
        if self._explained is None or self._explained[0] != container.run:
            self._explained = (container.run, self._why_ended(container))
        failure = self._explained[1]
        return self._shown("stopped", container) if failure is None else self._failed(failure, container)

    def _why_ended(self, container: Container) -> ServerFailure | None:
        """Return why it does not run, ``None`` where somebody stopped it."""
        watch = self._watch
        lines = list(watch.log.run_lines)
        if not container.was_started:
            if not container.error or watch.config is None:
                return None
            port = None if watch.config.port is None else watch.config.port.published
            return compose_log.explain_command(container.error, image=container.image, port=port)
        if watch.ending == "asked":
            return None
        # Where nobody remembers who ended it, an orderly end is taken for one that was wanted. vLLM ends with code
        # 0 after its engine died, too.
        if (
            not watch.ending
            and not container.oom_killed
            and container.exit_code in (0, 130, 137, 143)
            and not compose_log.died_of_itself(lines)
        ):
            return None
        return compose_log.explain_end(
            lines,
            exit_code=container.exit_code,
            oom_killed=container.oom_killed,
            was_ready=self._probe.was_ready(container) or compose_log.has_served(lines),
            error=container.error,
        )

    def _sick(self, container: Container, finding: Finding) -> ServerFailure | None:
        """Return what is wrong with a running container, ``None`` while it may be loading still."""
        if finding.phase != "failed":
            return None
        lines = tuple(self._ring.tail(compose_log.FAILURE_LINES))
        if finding.trouble == "" or self._probe.was_ready(container):
            unwell = finding.trouble != ""
            return ServerFailure(
                kind="unhealthy" if unwell else "bad_settings",
                what=f"The container runs, but its engine does not answer. {finding.detail}"
                if unwell
                else finding.detail,
                fix="Restart it; its last lines say more." if unwell else finding.hint,
                log=lines,
            )
        if container.health == "healthy":
            remote = self._watch.is_remote
            return ServerFailure(
                kind="unhealthy",
                what=f"vLLM is up in its container, but nothing answers at {self._probe.url}.",
                fix="Set VLLM_BASE_URL to an address that reaches that machine, such as an SSH tunnel's."
                if remote
                else "See which port the container publishes, and whether a firewall is in the way.",
                log=lines,
                commands=("ssh -N -L 8000:127.0.0.1:8000 USER@HOST",) if remote else (),
            )
        if self._start is not None and self._start.is_overdue:
            where = f" at {self._probe.url}" if self._watch.is_remote else ""
            return ServerFailure(
                kind="timed_out",
                what=f"It is not ready{where} after {self._start.deadline_s / 60:.0f} min.",
                fix="It is still starting; its log says what it is doing. Stop or restart it if it is stuck."
                + (" VLLM_BASE_URL must reach it from here." if self._watch.is_remote else ""),
                log=lines,
            )
        return None

    # -- how it is shown -------------------------------------------------------------------------------------

    def _ready(self, container: Container, finding: Finding) -> ServerState:
        fault = self._watch.fault
        config = self._watch.config
        return self._shown(
            "ready",
            container,
            detail="" if fault is None else f"it answers, but {fault.what[:1].lower()}{fault.what[1:]}",
            model=finding.model,
            base_url=self._probe.url,
            context_tokens=finding.context_tokens,
            models=finding.models,
            version=self._probe.version,
            restart_needed=differences(config, container) if config is not None else (),
        )

    def _starting(self, container: Container | None) -> ServerState:
        start = self._start
        if start is None:
            return self._shown("starting", container, detail="restarting")
        return self._shown(
            "starting",
            container,
            detail=start.detail,
            found_running=container is not None
            and container.run == self._found_run
            and self._probe.finding(container) is None,
            progress=start.progress,
            eta_s=start.eta_s,
            steps=start.steps(),
            started_at=start.started_at,
            learnt_from=start.expected.starts if start.expected is not None else None,
            deadline_s=start.deadline_s,
        )

    def _failed(self, failure: ServerFailure, container: Container | None) -> ServerState:
        start, before = self._start, self.state
        steps = start.steps(failed=True) if start is not None else ()
        if before.phase == "failed" and before.failure is not None and before.failure.what == failure.what:
            steps, failure = before.steps, before.failure  # how long it took, and what it said then
        if failure.at is None:
            failure = replace(failure, at=self._failed_at(container))
        return self._shown(
            "failed",
            container,
            detail=failure.what,
            hint=failure.fix,
            failure=failure,
            steps=steps,
            started_at=start.started_at if start is not None else None,
        )

    def _failed_at(self, container: Container | None) -> datetime | None:
        """Return when it failed; ``None`` where nobody here saw it, and its container does not say."""
        ended = None if container is None or container.is_running else read_time(container.finished_at)
        if ended is not None and ended.year > 1970:  # a container that never ran ended in year 1
            return ended
        saw_it = self._start is not None or self.state.phase in ("starting", "ready", "stopping")
        return datetime.now(UTC) if saw_it else None

    def _shown(self, phase: ServerPhase, container: Container | None, **facts: Any) -> ServerState:
        config = self._watch.config
        known = ServiceConfig(
            project="", service="", image="", command=container.command if container is not None else ()
        ).model
        # Of a server that is ready the log says something all the time, and that is no news of its state. Nor is
        # what a run before this one said last.
        says = container is not None and container.is_running and self._watch.log.run_lines
        tail = self._ring.tail(1) if says and phase not in ("stopped", "ready") else []
        state = ServerState(
            phase=phase,
            kind="compose",
            model=known if phase in ("ready", "stopping") or config is None else config.model,
            docker_context=self._place,
            last_line=tail[0] if tail else "",
        )
        return replace(state, **facts)


def _load_key(config: ServiceConfig) -> str:
    return f"{config.image} {config.argument('--model') or ''}".strip()


def _age_s(container: Container) -> float:
    """Return how long it has been running by the wall clocks, which may differ and jump; never below nothing."""
    return max(0.0, time.time() - read_time(container.started_at).timestamp())
