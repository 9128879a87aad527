"""Asks Hugging Face whose a token is: a probe that changes nothing."""

from __future__ import annotations

import time
from typing import cast

from core.base.net import open_client
from core.errors import AuthenticationFailed, Unavailable
from core.providers.base import CheckResult

TIMEOUT_S = 15.0


async def check_hub(address: str, token: str | None) -> CheckResult:
    """Reach the hub at ``address`` with ``token``; ``server`` of the result says whose it is.

    Raises:
        AuthenticationFailed: there is no token, or the hub refuses it.
        Unavailable: the hub can't be reached, or answers with something else.
    """
    if not token:
        raise AuthenticationFailed(
            "There is no Hugging Face token.", hint="Store one: signalbox keys set huggingface", missing=True
        )
    import httpx2

    began = time.monotonic()
    try:
        async with open_client(address, token, TIMEOUT_S) as client:
            response = await client.get(f"{address}/api/whoami-v2")
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise Unavailable(
            f"{address} can't be reached.", hint="Check the network and HF_ENDPOINT. Nothing was changed."
        ) from error
    if response.status_code in (401, 403):
        raise AuthenticationFailed(
            f"{address} refuses the token.", hint="Make one at huggingface.co/settings/tokens and store that."
        )
    name = _name(response) if response.is_success else None
    if name is None:
        raise Unavailable(
            f"{address} answered with {response.status_code}, and not with whose token it is.",
            hint="Look at HF_ENDPOINT. Nothing was changed.",
        )
    return CheckResult(models=(), latency_ms=(time.monotonic() - began) * 1000, server=f"it is {name}'s")


def _name(response: object) -> str | None:
    try:
        said = cast("dict[str, object]", response.json())  # type: ignore[attr-defined]
        name = said["name"]
    except (ValueError, LookupError, TypeError):
        return None
    return name if isinstance(name, str) and name.isprintable() and 0 < len(name) <= 200 else None
