"""Standard input as it comes, read so that Ctrl+C is never kept waiting for more of it."""

from __future__ import annotations

import asyncio
import codecs
import io
import sys
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from core.daemon_thread import in_daemon_thread

CHUNK_BYTES = 65_536
NON_BLOCKING_PAUSE_S = 0.05


async def read_all() -> str:
    """Return all of standard input. :raises UnicodeDecodeError: it is no text in the terminal's encoding."""
    return "".join([piece async for piece in _pieces()])


async def read_lines() -> AsyncGenerator[list[str], None]:
    """Yield the lines of standard input, without their ends, as many at once as have arrived.

    :raises UnicodeDecodeError: it is no text in the terminal's encoding.
    """
    begun: list[str] = []
    async for piece in _pieces():
        first, *rest = piece.split("\n")
        begun.append(first)
        if rest:
            lines = ["".join(begun), *rest[:-1]]
            begun = [rest[-1]]
            yield lines
    if last := "".join(begun):
        yield [last]


async def _pieces() -> AsyncGenerator[str, None]:
    """Yield text as soon as it is there.

    The raw file is read: a thread that waits inside ``sys.stdin`` itself holds a lock which Python wants when it
    ends, and it aborts ("could not acquire lock ... at interpreter shutdown").
    """
    stream: Any = sys.stdin
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if raw is None:  # text in memory, which never blocks
        yield stream.read()
        return
    decode = codecs.getincrementaldecoder(stream.encoding)(stream.errors)
    newlines = io.IncrementalNewlineDecoder(decode, translate=True)
    while (chunk := await in_daemon_thread(partial(raw.read, CHUNK_BYTES), name="stdin")) != b"":
        if chunk is None:  # the terminal was left non-blocking by another program, and nothing is there yet
            await asyncio.sleep(NON_BLOCKING_PAUSE_S)
        elif text := newlines.decode(chunk):
            yield text
    if text := newlines.decode(b"", final=True):
        yield text
