"""A local server that speaks the Hugging Face hub's wire, with faults that are scripted per test.

As the hub does, it answers for a large file with a redirect to another host (its CDN: here ``localhost`` instead of
``127.0.0.1``), names its SHA-256 in ``X-Linked-Etag`` and the commit in ``X-Repo-Commit``, and knows ranges.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache

from aiohttp import web

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOGIN_PAGE = "<!DOCTYPE html><title>Sign in to the network</title>"


@dataclass
class HubServer:
    """``repos`` holds each repository's files by name. What is a fault says so by its name:

    ``refuse`` is a status (with ``error_code`` as the hub's ``X-Error-Code``) for every request, ``cdn_refuse`` one
    for those of the CDN; ``html`` a login page for every one; ``cut_after`` ends that many next answers of the CDN
    after ``cut_bytes``; ``damaged`` sends other bytes than promised, ``no_hashes`` promises none; ``pause`` is
    waited for once ``pause_after`` bytes of a file have been sent.
    """

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: bool = False
    refuse: int | None = None
    cdn_refuse: int | None = None
    error_code: str = ""
    html: bool = False
    cut_after: int = 0
    cut_bytes: int = 0
    damaged: bool = False
    no_hashes: bool = False
    no_ranges: bool = False
    pause: asyncio.Event | None = None
    pause_after: int = 1 << 20
    piece_bytes: int = 1 << 16
    ranges: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    tokens_at_cdn: list[str] = field(default_factory=list)
    sent_bytes: int = 0
    started: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._faults])
        app.router.add_get("/api/models/{owner}/{repo}", self._info)
        app.router.add_get("/api/models/{owner}/{repo}/revision/{revision}", self._info)
        app.router.add_route("*", "/cdn/{digest}", self._cdn)
        app.router.add_route("*", "/{owner}/{repo}/resolve/{revision}/{name:.+}", self._resolve)
        return app

    @web.middleware
    async def _faults(self, request: web.Request, handler) -> web.StreamResponse:
        token = request.headers.get("Authorization", "")
        (self.tokens_at_cdn if request.path.startswith("/cdn/") else self.tokens).append(token)
        if self.html:
            return web.Response(text=LOGIN_PAGE, content_type="text/html")
        if self.cdn_refuse is not None and request.path.startswith("/cdn/"):
            return web.Response(status=self.cdn_refuse)
        if self.refuse is not None:
            headers = {"X-Error-Code": self.error_code} if self.error_code else {}
            return web.json_response({"error": "no"}, status=self.refuse, headers=headers)
        return await handler(request)

    def _files(self, request: web.Request) -> dict[str, bytes]:
        repo = f"{request.match_info['owner']}/{request.match_info['repo']}"
        if repo not in self.repos:
            raise web.HTTPNotFound(headers={"X-Error-Code": "RepoNotFound"})
        return self.repos[repo]

    async def _info(self, request: web.Request) -> web.Response:
        files = self._files(request)
        repo = f"{request.match_info['owner']}/{request.match_info['repo']}"
        siblings = []
        for name, content in files.items():
            entry = {"rfilename": name, "size": len(content), "blobId": _git_hash(content)}
            if self.no_hashes:
                del entry["blobId"]
            elif _is_large(name):
                entry["lfs"] = {"sha256": _sha256(content), "size": len(content), "pointerSize": 135}
            siblings.append(entry)
        return web.json_response(
            {
                "_id": "1",
                "id": repo,
                "modelId": repo,
                "sha": COMMIT,
                "private": False,
                "gated": "manual" if self.gated else False,
                "tags": [],
                "siblings": siblings,
            }
        )

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        files = self._files(request)
        name = request.match_info["name"]
        if name not in files:
            raise web.HTTPNotFound(headers={"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        content = files[name]
        headers = {"X-Repo-Commit": COMMIT}
        if not _is_large(name):
            return web.Response(body=content, headers={**headers, "ETag": f'"{_git_hash(content)}"'})
        digest = _sha256(content)
        headers |= {
            **({} if self.no_hashes else {"X-Linked-Etag": f'"{digest}"'}),
            "X-Linked-Size": str(len(content)),
            "Location": f"http://localhost:{self.port}/cdn/{digest}",
        }
        return web.Response(status=302, headers=headers)

    async def _cdn(self, request: web.Request) -> web.StreamResponse:
        digest = request.match_info["digest"]
        content = next(
            body for files in self.repos.values() for body in files.values() if _sha256(body) == digest
        )
        if self.damaged:
            content = bytes(byte ^ 1 for byte in content[:64]) + content[64:]
        asked = request.headers.get("Range", "")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked and not self.no_ranges else 0
        part = content[start:]
        response = web.StreamResponse(
            status=206 if start else 200, headers={"Content-Length": str(len(part))}
        )
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        await response.prepare(request)
        cut = self.cut_after > 0
        self.cut_after -= cut
        for at in range(0, len(part), self.piece_bytes):
            if cut and at >= self.cut_bytes:
                assert request.transport is not None
                request.transport.abort()
                return response
            if self.pause is not None and at >= self.pause_after:
                self.started.set()
                await self.pause.wait()
            piece = part[at : at + self.piece_bytes]
            try:
                await response.write(piece)
            except ConnectionError:  # a client that was ended
                return response
            self.sent_bytes += len(piece)
        return response


@asynccontextmanager
async def running_hub(hub: HubServer) -> AsyncIterator[HubServer]:
    runner = web.AppRunner(hub.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hub.port = runner.addresses[0][1]
    try:
        yield hub
    finally:
        if hub.pause is not None:
            hub.pause.set()
        await runner.cleanup()


def _is_large(name: str) -> bool:
    return name.endswith((".gguf", ".safetensors", ".bin"))


@cache
def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@cache
def _git_hash(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()
