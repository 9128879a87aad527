"""Looks for model servers that already run on this machine: their usual ports on 127.0.0.1, and nothing else.

A port is asked for its list of models (``/v1/models``) and, where there is one, for a fact that tells whose it is.
Whatever else listens there (a web page, TLS, something slow) is no find and no error.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from core.base.net import open_client
from core.local.models import FoundServer
from core.model_list import chat_models, listed_models

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

USUAL_PORTS: dict[int, str] = {
    8000: "vLLM",
    11434: "Ollama",
    1234: "LM Studio",
    8080: "llama.cpp",
    1337: "Jan",
    9292: "llama-swap",
}
"""Where each listens unless it is told otherwise. llama-swap takes 8080 as llama.cpp does; its container 9292."""
TIMEOUT_S = 2.0
"""For all that one port is asked. A server that loads a model meanwhile still lists its models at once."""
CONNECT_TIMEOUT_S = 0.5
_BY_OWNER = {
    "vllm": "vLLM",
    "llamacpp": "llama.cpp",
    "llama-swap": "llama-swap",
    "library": "Ollama",
    "sglang": "SGLang",
    "mlx": "MLX",
}
"""What the ``owned_by`` of a listed model says of the program."""
_BY_SERVER_HEADER = {"llama.cpp": "llama.cpp"}


async def find_servers(
    *, ports: Collection[int] = tuple(USUAL_PORTS), leave_out: Collection[int] = ()
) -> tuple[FoundServer, ...]:
    """Ask each port at the same time and return who answers, in the order of ``ports``.

    ``leave_out`` are ports that are ours: the embedded server's, and that of our own container.
    """
    asked = [port for port in ports if port not in leave_out]
    found = await asyncio.gather(*(_look(port) for port in asked))
    return tuple(server for server in found if server is not None)


async def _look(port: int) -> FoundServer | None:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await _ask(port)
    except Exception as error:  # noqa: BLE001  whatever listens there may answer anything: that is no find
        log.debug("port %d: %r", port, error)
        return None


async def _ask(port: int) -> FoundServer | None:
    origin = f"http://127.0.0.1:{port}"
    if not await _is_open(port):
        return None
    async with open_client(origin, None, TIMEOUT_S) as client:
        answer = await client.get(f"{origin}/v1/models")
        name = USUAL_PORTS.get(port, "A model server")
        if answer.status_code in (401, 403):
            # Only a server of this wire says so in JSON; a web page that wants a login does not count.
            if not _is_json_error(answer):
                return None
            return FoundServer(name=name, base_url=f"{origin}/v1", models=(), wants_key=True)
        listed = listed_models(answer.json()) if answer.status_code == 200 else None
        if listed is None:
            return None
        models = tuple(model.id for model in chat_models(listed))
        return FoundServer(
            name=await _name(client, origin, answer, listed, name),
            base_url=f"{origin}/v1",
            models=models,
            left_out=len(listed) - len(models),
        )


async def _is_open(port: int) -> bool:
    """Whether somebody takes a connection: a port that is silently dropped must not cost the whole time-out."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _name(
    client: httpx2.AsyncClient,
    origin: str,
    answer: httpx2.Response,
    listed: dict[str, dict[str, Any]],
    usual: str,
) -> str:
    """Return what program answers, by what it says of itself; else the one whose port it is."""
    header = answer.headers.get("server", "").lower()
    for part, name in _BY_SERVER_HEADER.items():
        if part in header:
            return name
    owners = {str(fields.get("owned_by", "")).lower() for fields in listed.values()}
    for owner, name in _BY_OWNER.items():
        if owner in owners and owner != "library":
            return name
    if usual == "Ollama" or "library" in owners:
        version = await client.get(f"{origin}/api/version")
        if version.status_code == 200 and isinstance(version.json(), dict) and "version" in version.json():
            return "Ollama"
        return "A model server"
    if usual == "vLLM":
        return "A model server"  # many programs take 8000; vLLM's models say that they are its own
    return usual


def _is_json_error(answer: httpx2.Response) -> bool:
    try:
        return isinstance(json.loads(answer.content), dict)
    except (ValueError, RecursionError):
        return False
