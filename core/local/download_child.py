"""The process that downloads from the Hugging Face hub: ``python -m core.local.download_child``.

A process, because the client's own thread can't be ended: this one is killed, and the network is quiet at once.
What it has written stays and is gone on with later.

Its first line of standard input is a JSON object (``endpoint``, ``token``, ``cache``, ``repo``, ``revision``). It
answers with ``{"event": "plan", "commit": ..., "files": [...]}``, waits for a second line (``{"files": [names]}``)
and then tells ``progress``, ``verifying`` and ``done``, or ``failed`` with ``kind``, ``what`` and ``hint``. The end
of standard input means that the parent is gone, and it leaves at once.

The client (``huggingface_hub``) does the asking: addresses, tokens, redirects, retries, and the cache's layout. Two
things it does not do any more since its version 2, and they are done here: going on with a file that a former
process began (it deletes what is partial), and comparing a file with its hash (it looks at the size alone). So a
file is loaded under a name of ours in the cache's ``blobs``, compared, renamed, and only then linked by the client.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

from core.base.child_side import (
    die_with_parent,
    read_line,
    send,
    take_standard_output,
    wait_for_parents_end,
)
from core.base.files import locked
from core.local.hub_errors import BadName, NoHash, WrongHash, explain

PARTIAL_SUFFIX = ".signalbox.incomplete"
CHUNK_BYTES = 1 << 18
"""The client's own is 10 MB: on a slow line that is a step of the progress in ten seconds."""
TIMEOUT_S = 20.0
LOCK_WITHIN_S = 0.5
"""Enough for a child of ours that is just leaving; whoever else holds it holds it for a whole download."""
_TELL_EVERY_S = 0.25
_HASH = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def main() -> int:
    """Download what standard input says; returns the exit code."""
    events = take_standard_output()
    die_with_parent()
    config = read_line()
    if not config:
        return 0
    try:
        _Download(config, events).run()
    except Exception as error:  # noqa: BLE001  whatever it is, the parent is told in words
        trouble = explain(error, config["endpoint"], config["repo"], has_token=bool(config["token"]))
        send(events, event="failed", **trouble._asdict())
        return 1
    return 0


class _Download:
    def __init__(self, config: dict[str, Any], events: Any) -> None:
        from huggingface_hub import HfApi, constants

        constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
        self._endpoint: str = config["endpoint"]
        self._repo: str = config["repo"]
        self._revision: str | None = config["revision"]
        self._token: str | bool | None = config["token"]
        self._cache = Path(config["cache"])
        self._events = events
        self._api = HfApi(endpoint=self._endpoint, token=self._token)
        self._folder = self._cache / f"models--{self._repo.replace('/', '--')}"
        self._commit = ""
        self._files: dict[str, dict[str, Any]] = {}
        self._done_bytes = 0
        self._is_loading = False
        self._is_over = threading.Event()

    def run(self) -> None:
        self._plan()
        wanted = read_line()
        if not wanted:
            return
        threading.Thread(target=_leave_with_parent, daemon=True).start()
        threading.Thread(target=self._tell_again_and_again, daemon=True).start()
        names: list[str] = wanted["files"]
        for name in names:
            self._fetch(name)
        for name in names:  # nothing of it is visible to anybody before all of it is there
            self._link(name)
        self._note_revision()
        self._is_over.set()
        send(self._events, event="done", folder=str(self._folder / "snapshots" / self._commit))

    def _plan(self) -> None:
        info = self._api.model_info(
            self._repo, revision=self._revision, files_metadata=True, timeout=TIMEOUT_S
        )
        if info.sha is None or not _COMMIT.fullmatch(info.sha):
            raise ValueError("no commit")
        self._commit = info.sha
        for file in info.siblings or ():
            lfs = file.lfs
            self._files[file.rfilename] = {
                "name": file.rfilename,
                "size": lfs.size if lfs is not None else file.size,
                "hash": lfs.sha256 if lfs is not None else file.blob_id,
            }
        send(
            self._events,
            event="plan",
            commit=self._commit,
            gated=bool(info.gated),
            files=list(self._files.values()),
        )

    def _fetch(self, name: str) -> None:
        client = _client()
        file = self._files[name]
        _check_name(name)
        url = client.hf_hub_url(self._repo, name, revision=self._commit, endpoint=self._endpoint)
        found = client.get_hf_file_metadata(
            url, token=self._token, timeout=TIMEOUT_S, endpoint=self._endpoint
        )
        digest = file["hash"] or found.etag
        if not digest:
            raise NoHash(name)
        if not _HASH.fullmatch(digest) or not _HASH.fullmatch(found.etag or digest):
            raise BadName(name)
        size = found.size if found.size is not None else file["size"]
        blob = self._folder / "blobs" / (found.etag or digest)
        if (self._folder / "snapshots" / self._commit / name).exists() or blob.exists():
            self._done_bytes += size or 0
            return
        blob.parent.mkdir(parents=True, exist_ok=True)
        locks = self._cache / ".locks" / self._folder.name
        locks.mkdir(parents=True, exist_ok=True)
        # The client's own, so that no two programs write one blob.
        with locked(locks / f"{blob.name}.lock", within_s=LOCK_WITHIN_S):
            self._load(url, blob, name, digest, size)

    def _load(self, url: str, blob: Path, name: str, digest: str, size: int | None) -> None:
        client = _client()
        partial = blob.with_name(blob.name + PARTIAL_SUFFIX)
        partial.touch()
        if size is not None and partial.stat().st_size > size:
            os.truncate(partial, 0)
        with _Told(partial, self._arrived) as target:
            have = target.seek(0, io.SEEK_END)
            self._done_bytes += have
            self._is_loading = True
            # Not compressed: a range of something compressed could not be gone on with.
            headers = {**client.build_hf_headers(token=self._token), "Accept-Encoding": "identity"}
            client.http_get(url, target, resume_size=have, headers=headers, expected_size=size)
            target.flush()
            os.fsync(target.fileno())
        self._is_loading = False
        self._verify(partial, digest, name)
        os.replace(partial, blob)

    def _arrived(self, count: int) -> None:
        self._done_bytes += count

    def _tell_again_and_again(self) -> None:
        """Tell also where nothing arrives: that the line stands still is news too."""
        while not self._is_over.wait(_TELL_EVERY_S):
            if self._is_loading:
                send(self._events, event="progress", done=self._done_bytes)

    def _verify(self, path: Path, digest: str, name: str) -> None:
        send(self._events, event="verifying", done=self._done_bytes, name=name)
        if len(digest) == 64:
            hasher = hashlib.sha256()
        else:  # what is small is no LFS file, and has git's own hash
            hasher = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
        with path.open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                hasher.update(piece)
        if hasher.hexdigest() != digest:
            path.unlink()
            raise WrongHash(name)

    def _link(self, name: str) -> None:
        client = _client()
        path: str = client.hf_hub_download(
            self._repo,
            name,
            revision=self._commit,
            cache_dir=self._cache,
            token=self._token,
            endpoint=self._endpoint,
            etag_timeout=TIMEOUT_S,
        )
        if not client.are_symlinks_supported(self._cache):  # then the client made a copy
            digest = self._files[name]["hash"]
            blob = self._folder / "blobs" / digest if digest else None
            if blob is not None and blob.exists() and Path(path).exists():
                blob.unlink()

    def _note_revision(self) -> None:
        """Name the commit as the branch's newest, as the client does, so that it is found without a network."""
        reference = self._folder / "refs" / (self._revision or "main")
        if _COMMIT.fullmatch(reference.name):
            return
        reference.parent.mkdir(parents=True, exist_ok=True)
        beside = reference.with_name(f"{reference.name}.signalbox.tmp")
        beside.write_text(self._commit, encoding="ascii")
        os.replace(beside, reference)


def _client() -> Any:
    """Return the client's module of downloads, whose functions are typed in part only."""
    return importlib.import_module("huggingface_hub.file_download")


class _Told(io.FileIO):
    """A file that tells how much was written to it or taken back. Unbuffered, so that a kill loses nothing."""

    def __init__(self, path: Path, arrived: Any) -> None:
        super().__init__(path, "r+b")
        self._arrived = arrived

    def write(self, piece: Any, /) -> int:
        view = memoryview(piece)
        written = 0
        while written < len(view):
            written += super().write(view[written:]) or 0
        self._arrived(written)
        return written

    def truncate(self, size: int | None = None, /) -> int:
        before = os.fstat(self.fileno()).st_size
        after = super().truncate(size)
        self._arrived(after - before)
        return after


def _check_name(name: str) -> None:
    parts = name.split("/")
    if (
        "\\" in name
        or ":" in name
        or any(part in ("", ".", "..") for part in parts)
        or not name.isprintable()
    ):
        raise BadName(name)


def _leave_with_parent() -> None:
    wait_for_parents_end()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
