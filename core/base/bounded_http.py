"""An HTTP client that reads no more than a sane server sends: no compression, and bounds in bytes and time.

A body is unpacked whole by HTTP libraries, piece by piece: 64 KB of gzip can be 64 MB. So none is asked for, and a
packed answer is not unpacked. The body of an error, and of any answer that is no stream, ends at a limit; a stream
is bounded by whoever reads it. Imported with the first client, since it imports the HTTP library.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import httpx2

MAX_ANSWER_BYTES = 4 * 2**20
"""Longest answer that is no stream: a list of models, a count of tokens."""
MAX_ERROR_BYTES = 2**20
"""As much as is read of an error. A server may quote the request in it; what is longer is cut."""
ERROR_TIMEOUT_S = 10.0
"""How long the body of an error is read; its status is known by then."""


class AnswerTooLong(httpx2.TransportError):
    """An answer that is no stream goes on beyond ``MAX_ANSWER_BYTES``."""


class AnswerPacked(httpx2.DecodingError):
    """An answer is compressed, though none was asked for that is."""


class BoundedClient(httpx2.AsyncClient):
    """``httpx2.AsyncClient`` with bounds on what a server may send; see above.

    An answer that is no stream takes at most its time-outs for connecting and reading together, however slowly it
    drips. Of an error that is too long, or packed, as much is given as was read: its status says the most.
    """

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Send a request.

        Raises:
            AnswerTooLong: see there.
            AnswerPacked: see there.
            httpx2.HTTPError: as ``httpx2.AsyncClient`` does.
        """
        request.headers["accept-encoding"] = "identity"
        if stream:
            return await self._opened(request, **options)
        try:
            async with asyncio.timeout(_whole_s(request)):
                response = await self._opened(request, **options)
                if response.is_success:
                    response.stream = _Limited(response, MAX_ANSWER_BYTES, None)
                try:
                    await response.aread()
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise httpx2.ReadTimeout("The answer did not end in time.", request=request) from error
        return response

    async def _opened(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Return the response to ``request``, whose body has not been read."""
        response = await super().send(request, stream=True, **options)
        packed = response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")
        if not response.is_success:
            if packed:
                del response.headers["content-encoding"]
            response.stream = _Limited(response, 0 if packed else MAX_ERROR_BYTES, ERROR_TIMEOUT_S)
        elif packed:
            await response.aclose()
            raise AnswerPacked("The answer is compressed.", request=request)
        return response


class _Limited(httpx2.AsyncByteStream):
    """The body of a response up to ``most_bytes``: beyond it ends, or raises where nobody gave it ``timeout_s``."""

    def __init__(self, response: httpx2.Response, most_bytes: int, timeout_s: float | None) -> None:
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        self._stream = response.stream
        self._request = response.request
        self._left_bytes = most_bytes
        self._timeout_s = timeout_s

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        until = None if self._timeout_s is None else asyncio.get_running_loop().time() + self._timeout_s
        pieces: Any = aiter(self._stream)  # a generator, which has to be closed where it is left early
        async with aclosing(pieces):
            while True:
                try:
                    async with asyncio.timeout_at(until):
                        piece: bytes | None = await anext(pieces, None)
                except TimeoutError:
                    return
                if piece is None:
                    return
                yield piece[: self._left_bytes]
                self._left_bytes -= len(piece)
                if self._left_bytes < 0 or (until is not None and not self._left_bytes):
                    if until is not None:
                        return
                    raise AnswerTooLong("The answer is too long.", request=self._request)

    async def aclose(self) -> None:
        await self._stream.aclose()


def _whole_s(request: httpx2.Request) -> float | None:
    """Return the seconds that a whole answer may take; ``None``: no time-out was set."""
    timeout: dict[str, float | None] = request.extensions.get("timeout", {})
    connect_s, read_s = timeout.get("connect"), timeout.get("read")
    return None if read_s is None else read_s + (connect_s or 0.0)
