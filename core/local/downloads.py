"""Downloads from the Hugging Face hub: each in a child process of its own, paused and gone on with, also tomorrow.

What is being loaded stands in ``<home>/downloads.json``; the bytes stand in the hub's shared cache under a name
that no program takes for a model. After a restart each is there as paused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import shutil
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from core.base.child_process import child_environment, python_command
from core.base.files import locked, read_own_json, write_whole
from core.base.net import is_readable_on_the_way
from core.base.permissions import make_private_folder
from core.base.text import file_size, memory_size
from core.errors import (
    AuthenticationFailed,
    InvalidRequest,
    ModelNotFound,
    PermissionDenied,
    RateLimited,
    SignalboxError,
    Unavailable,
)
from core.local.hub_errors import before_it_began
from core.local.hub_names import (
    DEFAULT_ENDPOINT,
    HubFile,
    Wanted,
    choose_for_vllm,
    choose_gguf,
    read_name,
)
from core.local.model_files import hub_cache
from core.local.models import Download

log = logging.getLogger(__name__)

DOWNLOADS_FILE = "downloads.json"
PARTIAL_SUFFIX = ".signalbox.incomplete"
RESERVE_BYTES = 500_000_000
"""Left free on the disk: a system whose disk is full fails in more ways than one."""
PLAN_WITHIN_S = 60.0
SPEED_OVER_S = 5.0
_MOST_BYTES = 1 << 22
_MOST_LINE_BYTES = 1 << 24
_PASSED_ON = (
    "HF_HOME",
    "HF_TOKEN_PATH",
    "XDG_CACHE_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    *(
        name
        for lower in ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
        for name in (lower, lower.upper())
    ),
)
_TOKEN_KINDS = ("token", "gated")
_ERRORS: dict[str, type[SignalboxError]] = {
    "token": AuthenticationFailed,
    "gated": PermissionDenied,
    "not_found": ModelNotFound,
    "rate_limited": RateLimited,
    "offline": Unavailable,
    "cut": Unavailable,
    "certificate": Unavailable,
}


class NoRoom(InvalidRequest):
    """The disk has no room for it."""


def hub_endpoint() -> str:
    """Return the hub's address: the environment's ``HF_ENDPOINT``, or Hugging Face's own."""
    return os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or DEFAULT_ENDPOINT


@dataclass(slots=True)
class _Job:
    """One download. ``files`` are what is loaded of ``commit``; ``before`` are those that were there already."""

    shown: Download
    revision: str | None
    commit: str = ""
    files: list[dict[str, Any]] = field(default_factory=list[Any])
    before: list[str] = field(default_factory=list[Any])
    cache: str = ""
    for_vllm: bool = False
    process: Process | None = None
    reader: asyncio.Task[None] | None = None
    arrived: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])


class Downloads:
    """All of it belongs to one event loop.

    ``token`` gives the Hugging Face token, ``None`` for none. ``on_change`` is called after each change, of
    progress four times a second at most. ``memory_bytes`` is the machine's.
    """

    def __init__(
        self,
        home: Path,
        *,
        token: Callable[[], Awaitable[str | None]],
        on_change: Callable[[], object],
        memory_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = home / DOWNLOADS_FILE
        self._token = token
        self._on_change = on_change
        self._memory_bytes = memory_bytes
        self._clock = clock
        self._jobs: dict[str, _Job] = {}
        self._read()

    def all(self) -> tuple[Download, ...]:
        return tuple(job.shown for job in self._jobs.values())

    async def begin(self, what: str, *, for_vllm: bool = False) -> str:
        """Look ``what`` up, check disk and memory, begin, and return the download's id.

        Raises:
            SignalboxError: it can't begin; nothing was kept.
        """
        wanted = read_name(what, hub_endpoint())
        for job in self._jobs.values():
            same = (
                job.shown.repo == wanted.repo and job.for_vllm == for_vllm and job.revision == wanted.revision
            )
            if (
                same
                and (for_vllm or _is_same_file(job.shown.file, wanted.file))
                and job.shown.phase != "done"
            ):
                await self.resume(job.shown.id)
                return job.shown.id
        job = _Job(
            Download(
                id=secrets.token_hex(4),
                title=wanted.title or wanted.repo,
                repo=wanted.repo,
                file=None,
                phase="checking",
            ),
            wanted.revision,
            cache=str(hub_cache()),
            for_vllm=for_vllm,
        )
        self._jobs[job.shown.id] = job
        self._on_change()
        try:
            plan = await self._ask_plan(job)
            self._take_plan(job, plan, wanted)
        except BaseException:
            self._jobs.pop(job.shown.id, None)
            await self._end(job)
            self._on_change()
            raise
        twin = self._twin_of(job)
        if twin is not None:  # the same files by another name
            self._jobs.pop(job.shown.id, None)
            await self._end(job)
            await self.resume(twin)
            self._on_change()
            return twin
        await self._go(job)
        return job.shown.id

    def _twin_of(self, job: _Job) -> str | None:
        for other in self._jobs.values():
            same = (other.cache, other.shown.repo, other.commit) == (job.cache, job.shown.repo, job.commit)
            if other is not job and same and other.files == job.files and other.shown.phase != "done":
                return other.shown.id
        return None

    async def pause(self, download_id: str) -> None:
        """Stop loading; what arrived is kept. The network is quiet when this returns."""
        job = self._job(download_id)
        if job.shown.phase in ("running", "checking", "verifying"):
            await self._end(job)
            self._show(job, phase="paused", bytes_per_s=None, left_s=None)
            self._write()

    async def resume(self, download_id: str) -> None:
        """Go on where it stopped; what hinders it is told on the download.

        Raises:
            SignalboxError: there is no such download.
        """
        job = self._job(download_id)
        if job.shown.phase not in ("paused", "failed"):
            return
        await self._end(job)  # a child that failed may still be leaving
        self._show(job, phase="checking", error="", hint="", wants_token=False)
        try:
            await self._ask_plan(job)  # of the same commit: its files are known
            self._check_disk(job)
        except SignalboxError as error:
            if job.process is not None:  # else it was paused or cancelled meanwhile
                await self._end(job)
                wants_token = isinstance(error, tuple(_ERRORS[kind] for kind in _TOKEN_KINDS))
                self._show(job, phase="failed", error=error.message, hint=error.hint, wants_token=wants_token)
            return
        if job.process is not None:
            await self._go(job)

    async def cancel(self, download_id: str) -> None:
        """End it and delete what was loaded of it; what was there before stays."""
        job = self._job(download_id)
        await self._end(job)
        self._jobs.pop(download_id, None)
        if job.shown.phase != "done":
            await asyncio.to_thread(_delete_partial, job)
        self._write()
        self._on_change()

    async def close(self) -> None:
        """End all children. What is not done is paused, now and after the next start."""
        for job in tuple(self._jobs.values()):  # one may be cancelled meanwhile
            if job.process is not None:
                await self._end(job)
                if job.shown.phase not in ("done", "failed"):
                    self._show(job, phase="paused", bytes_per_s=None, left_s=None)
                self._write()

    # -- one download ---------------------------------------------------------------------------------------

    async def _ask_plan(self, job: _Job) -> dict[str, Any]:
        """Start the child and wait for the list of the repository's files.

        Raises:
            SignalboxError: the hub has no such thing, or can't be asked.
        """
        endpoint = hub_endpoint()
        token: str | bool | None = await self._token()
        if is_readable_on_the_way(endpoint):
            token = False  # not even the client's own
        process = await asyncio.create_subprocess_exec(
            *python_command("core.local.download_child"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            limit=_MOST_LINE_BYTES,
            env=child_environment(
                _PASSED_ON,
                extra={
                    "HF_ENDPOINT": endpoint,
                    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                    "HF_HUB_DISABLE_TELEMETRY": "1",
                    "HF_HUB_DISABLE_XET": "1",  # its own way of loading can't be gone on with by another process
                },
            ),
            cwd=self._path.parent if self._path.parent.is_dir() else None,
        )
        job.process = process
        await self._tell_child(
            process,
            {
                "endpoint": endpoint,
                "token": token,
                "cache": job.cache,
                "repo": job.shown.repo,
                "revision": job.commit or job.revision,
            },
        )
        try:
            async with asyncio.timeout(PLAN_WITHIN_S):
                event = await _next_event(process)
        except TimeoutError:
            raise Unavailable(
                f"{endpoint} has not answered within {PLAN_WITHIN_S:.0f} s.", hint="Check the network."
            ) from None
        if event is None:
            raise Unavailable("The download was cancelled before it began.", hint="Start it again.")
        if event["event"] == "failed":
            hint = str(event["hint"]) if job.commit else before_it_began(str(event["hint"]))
            raise _ERRORS.get(str(event["kind"]), SignalboxError)(str(event["what"]), hint=hint)
        return event

    def _take_plan(self, job: _Job, plan: dict[str, Any], wanted: Wanted) -> None:
        """Choose the files, and look whether they fit.

        Raises:
            SignalboxError: there is no such file, or no room.
        """
        files = [HubFile(str(each["name"]), each["size"]) for each in plan["files"]]
        chosen = choose_for_vllm(files, wanted.repo) if job.for_vllm else choose_gguf(files, wanted)
        names = {file.name for file in chosen}
        job.commit = str(plan["commit"])
        job.files = [each for each in plan["files"] if each["name"] in names]
        blobs = _folder(job) / "blobs"
        job.before = [
            each["hash"] for each in job.files if each.get("hash") and (blobs / str(each["hash"])).exists()
        ]
        sizes = [each["size"] for each in job.files]
        total = sum(sizes) if all(isinstance(size, int) for size in sizes) else None
        title = job.shown.title
        if not job.for_vllm and title == wanted.repo:
            title = chosen[0].name.rsplit("/", 1)[-1].removesuffix(".gguf")
        job.shown = replace(
            job.shown, title=title, file=None if job.for_vllm else chosen[0].name, total_bytes=total
        )
        if (
            not job.for_vllm
            and total is not None
            and self._memory_bytes is not None
            and total > self._memory_bytes
        ):
            raise InvalidRequest(
                f"{title} has {memory_size(total)}, and this machine has {memory_size(self._memory_bytes)} of "
                "memory.",
                hint="Take a smaller model, or one with fewer bits. Nothing was downloaded.",
            )
        self._check_disk(job)

    def _check_disk(self, job: _Job) -> None:
        missing = sum(max(0, (each["size"] or 0) - _held_bytes(job, each)) for each in job.files)
        free = free_bytes(Path(job.cache))
        if missing and free is not None and missing + RESERVE_BYTES > free:
            raise NoRoom(
                f"{job.shown.title} needs {file_size(missing)} more, and {job.cache} has {file_size(free)} free.",
                hint="Make room, or name another folder in HF_HOME. Nothing was downloaded.",
            )

    async def _go(self, job: _Job) -> None:
        assert job.process is not None
        job.arrived.clear()
        self._show(job, phase="running")
        self._write()
        await self._tell_child(job.process, {"files": [each["name"] for each in job.files]})
        job.reader = asyncio.create_task(self._follow(job, job.process), name="download's reader")

    async def _follow(self, job: _Job, process: Process) -> None:
        while (event := await _next_event(process)) is not None:
            match event["event"]:
                case "progress":
                    self._progress(job, int(event["done"]))
                case "verifying":
                    self._show(
                        job, phase="verifying", done_bytes=int(event["done"]), bytes_per_s=None, left_s=None
                    )
                case "done":
                    self._done(job, Path(str(event["folder"])))
                case _:
                    self._show(
                        job,
                        phase="failed",
                        error=str(event["what"]),
                        hint=str(event["hint"]),
                        wants_token=event["kind"] in _TOKEN_KINDS,
                        bytes_per_s=None,
                        left_s=None,
                    )
        code = await process.wait()
        if job.shown.phase in ("running", "verifying"):
            self._show(
                job,
                phase="failed",
                error=f"The download ended by itself (code {code}).",
                hint="What was downloaded is kept: resume it.",
                bytes_per_s=None,
                left_s=None,
            )
        if job.process is process:
            job.process = job.reader = None
        self._write()

    def _progress(self, job: _Job, done: int) -> None:
        now_s = self._clock()
        job.arrived.append((now_s, done))
        while now_s - job.arrived[0][0] > SPEED_OVER_S:
            job.arrived.popleft()
        since_s, since = job.arrived[0]
        speed = (done - since) / (now_s - since_s) if now_s > since_s and done >= since else None
        total = job.shown.total_bytes
        left_s = (total - done) / speed if speed and total is not None else None
        self._show(job, phase="running", done_bytes=done, bytes_per_s=speed, left_s=left_s)

    def _done(self, job: _Job, folder: Path) -> None:
        file = job.shown.file
        self._show(
            job,
            phase="done",
            path=folder / file if file is not None else folder,
            done_bytes=job.shown.total_bytes or job.shown.done_bytes,
            bytes_per_s=None,
            left_s=None,
            hint="A container on this machine takes it from here at its next start, unless VLLM_MODEL_CACHE or the "
            "compose file names another cache."
            if job.for_vllm
            else "",
        )

    async def _end(self, job: _Job) -> None:
        """End the child at once: it has nothing to save."""
        process, reader = job.process, job.reader
        job.process = job.reader = None
        if reader is not None:
            reader.cancel()
            await asyncio.wait({reader})
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    @staticmethod
    async def _tell_child(process: Process, words: dict[str, Any]) -> None:
        assert process.stdin is not None
        with contextlib.suppress(ConnectionError):  # it ended: its last words say why
            process.stdin.write(json.dumps(words).encode() + b"\n")
            await process.stdin.drain()

    def _show(self, job: _Job, **facts: Any) -> None:
        job.shown = replace(job.shown, **facts)
        self._on_change()

    def _job(self, download_id: str) -> _Job:
        try:
            return self._jobs[download_id]
        except KeyError:
            raise InvalidRequest(
                f"There is no download {download_id}.", hint="It may be done, or cancelled."
            ) from None

    # -- what is kept ---------------------------------------------------------------------------------------

    def _read(self) -> None:
        def jobs(found: list[dict[str, Any]]) -> dict[str, _Job]:
            read = [_from_record(kept) for kept in found]
            for job in read:
                held = sum(_held_bytes(job, each) for each in job.files)  # more where it was killed
                job.shown = replace(job.shown, done_bytes=max(job.shown.done_bytes, held))
            return {job.shown.id: job for job in read}

        try:
            self._jobs = read_own_json(self._path, _MOST_BYTES, jobs) or {}
        except OSError as error:
            log.warning("%s can't be used: %s", self._path, error.strerror or error)

    def _write(self) -> None:
        kept = [_record(job) for job in self._jobs.values() if job.files and job.shown.phase != "done"]
        try:
            if kept or self._path.exists():
                make_private_folder(self._path.parent)
                write_whole(self._path, json.dumps(kept, indent=1), durable=False)
        except OSError as error:
            log.warning("the downloads were not kept: %s", error)


def free_bytes(folder: Path) -> int | None:
    """Return what is free where ``folder`` is or would be, ``None`` where that can't be read."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


async def _next_event(process: Process) -> dict[str, Any] | None:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        return None
    try:
        return cast("dict[str, Any]", json.loads(line))
    except ValueError:
        return None  # killed in the middle of a line


def _is_same_file(known: str | None, wanted: str) -> bool:
    return known is not None and wanted != "" and known.rsplit("/", 1)[-1] == wanted.rsplit("/", 1)[-1]


def _folder(job: _Job) -> Path:
    return Path(job.cache) / f"models--{job.shown.repo.replace('/', '--')}"


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _held_bytes(job: _Job, file: dict[str, Any]) -> int:
    blob = _folder(job) / "blobs" / str(file.get("hash"))
    return _length(blob) or _length(blob.with_name(blob.name + PARTIAL_SUFFIX))


def _delete_partial(job: _Job) -> None:
    """Delete what this download wrote, but no file that a snapshot shows: another program may have it by now."""
    folder = _folder(job)
    shown: set[str] = set()
    for link in folder.glob("snapshots/*/**/*"):
        with contextlib.suppress(OSError):
            shown.add(link.resolve().name)
    for each in job.files:
        if not each.get("hash"):
            continue
        blob = folder / "blobs" / str(each["hash"])
        _unlink_unlocked(blob.with_name(blob.name + PARTIAL_SUFFIX), Path(job.cache) / ".locks" / folder.name)
        if each["hash"] not in job.before and each["hash"] not in shown:
            blob.unlink(missing_ok=True)
    for empty in (folder / "blobs", folder):
        with contextlib.suppress(OSError):
            empty.rmdir()


def _unlink_unlocked(partial: Path, locks: Path) -> None:
    """Delete what was loaded of a file, unless another program is loading it just now."""
    if not partial.exists():
        return
    try:
        with locked(locks / f"{partial.name.removesuffix(PARTIAL_SUFFIX)}.lock", within_s=0):
            partial.unlink(missing_ok=True)
    except TimeoutError:
        log.info("%s is being loaded by another program, and stays", partial)
    except FileNotFoundError:
        partial.unlink(missing_ok=True)  # no lock was ever made


def _record(job: _Job) -> dict[str, Any]:
    shown = job.shown
    return {
        "id": shown.id,
        "title": shown.title,
        "repo": shown.repo,
        "file": shown.file,
        "done_bytes": shown.done_bytes,
        "total_bytes": shown.total_bytes,
        "error": shown.error,
        "hint": shown.hint,
        "revision": job.revision,
        "commit": job.commit,
        "files": job.files,
        "before": job.before,
        "cache": job.cache,
        "for_vllm": job.for_vllm,
    }


def _from_record(kept: dict[str, Any]) -> _Job:
    shown = Download(
        id=str(kept["id"]),
        title=str(kept["title"]),
        repo=str(kept["repo"]),
        file=kept["file"],
        phase="paused",
        done_bytes=int(kept["done_bytes"]),
        total_bytes=kept["total_bytes"],
        error=str(kept["error"]),
        hint=str(kept["hint"]),
    )
    files = [
        {"name": str(each["name"]), "size": each["size"], "hash": each["hash"]} for each in kept["files"]
    ]
    return _Job(
        shown,
        kept["revision"],
        commit=str(kept["commit"]),
        files=files,
        before=[str(each) for each in kept["before"]],
        cache=str(kept["cache"]),
        for_vllm=bool(kept["for_vllm"]),
    )
