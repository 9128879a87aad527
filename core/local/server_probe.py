"""Asks a model server over HTTP whether it is well, and which models it has."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import SplitResult, urlsplit

from core.base.tls import maybe_tls, tls_trouble, wants_tls
from core.local.server import ServerCause, ServerPhase
from core.model_list import ListedModel, chat_models, context_tokens, first_chat_model, listed_models

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

WRONG_ADDRESS_HINT = "Set VLLM_BASE_URL to an address such as http://127.0.0.1:8000/v1."


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one look saw. ``trouble`` says why it is ``failed`` where the server's own state would explain it:
    nothing listens, it keeps silent, or it says that it is not well (503)."""

    phase: ServerPhase
    detail: str = ""
    hint: str = ""
    model: str | None = None
    context_tokens: int | None = None
    models: tuple[ListedModel, ...] = ()
    cause: ServerCause = ""
    trouble: Literal["", "away", "silent", "unhealthy"] = ""


class ServerProbe:
    """Looks at the server at ``url`` (``normal_url``), each look within ``timeout_s`` seconds.

    ``wanted_model`` of ``None`` takes the first of its list that can chat.
    """

    def __init__(self, url: str, wanted_model: str | None, api_key: str | None, timeout_s: float) -> None:
        self._url = url
        self._wanted_model = wanted_model
        self._api_key = api_key
        self._timeout_s = timeout_s

    async def look(self, client: httpx2.AsyncClient, known: Finding | None = None) -> Finding:
        """Look once. With ``known`` its models are not asked for again where it is well."""
        import httpx2

        from core.base.bounded_http import AnswerPacked, AnswerTooLong

        try:
            async with asyncio.timeout(self._timeout_s):
                health = await client.get(f"{self._url.removesuffix('/v1')}/health")
                if health.status_code == 503:
                    return self._unhealthy(health.text)
                if known is not None and health.status_code == 200:
                    return known
                # Servers without /health (Ollama, LM Studio) answer 404 there: the list of models decides.
                models = await client.get(f"{self._url}/models")
        except (TimeoutError, httpx2.TimeoutException):
            return Finding(
                phase="failed",
                detail=f"The server at {self._url} has not answered within {self._timeout_s:g} s.",
                hint="It may be overloaded or starting; it is asked again by itself.",
                trouble="silent",
            )
        except (AnswerTooLong, AnswerPacked) as error:
            return Finding(
                phase="failed",
                detail=f"{self._url} sends what no model server does. {error}",
                hint=f"Something else may be listening there. {WRONG_ADDRESS_HINT}",
            )
        except httpx2.HTTPError as error:
            log.debug("%s: %r", self._url, error)
            return self._unreachable(error)
        return self._read_models(models)

    def _unreachable(self, error: Exception) -> Finding:
        trouble = tls_trouble(error, self._url)
        if trouble is not None:
            return Finding(phase="failed", detail=trouble.what, hint=f"{trouble.way_out} (VLLM_BASE_URL)")
        hint = "Start it there, or change VLLM_BASE_URL; it is found by itself once it answers."
        if "without sending a response" in str(error):
            return Finding(
                phase="failed",
                detail=f"The server at {self._url} closes the connection without an answer.",
                hint=f"{maybe_tls(self._url)} {hint}".strip(),
                trouble="away",
            )
        return Finding(
            phase="failed", detail=f"No server is reachable at {self._url}.", hint=hint, trouble="away"
        )

    def _unhealthy(self, text: str) -> Finding:
        if "loading" in text.lower():
            return Finding(phase="starting", detail="loading weights")
        return Finding(
            phase="failed",
            detail=f"The server at {self._url} says it is not healthy (503).",
            hint="Its engine may have died: look at its log and restart it.",
            trouble="unhealthy",
        )

    def _read_models(self, answer: httpx2.Response) -> Finding:
        if answer.status_code in (401, 403):
            refused = "refuses the API key" if self._api_key else "wants an API key"
            return Finding(
                phase="failed",
                detail=f"The server at {self._url} {refused} ({answer.status_code}).",
                hint="Set VLLM_API_KEY to the key that the server was started with.",
                cause="key",
            )
        no_tls = wants_tls(answer.text, self._url) if answer.status_code == 400 else None
        if no_tls is not None:
            return Finding(phase="failed", detail=no_tls.what, hint=f"{no_tls.way_out} (VLLM_BASE_URL)")
        models = _listed(answer, self._wanted_model)
        if models is None:
            return Finding(
                phase="failed",
                detail=f"{self._url}/models is no list of models (HTTP {answer.status_code}).",
                hint=f"Something else may be listening there. {WRONG_ADDRESS_HINT}",
            )
        if not models:
            return Finding(
                phase="failed",
                detail=f"The server at {self._url} has no model that can be asked for.",
                hint="Load one, or give the one there a plain name; it is asked again by itself.",
            )
        model = self._wanted_model or first_chat_model(models)
        if model is None:
            return Finding(
                phase="failed",
                detail=f"The server at {self._url} lists no model that can chat: {', '.join(list(models)[:5])}.",
                hint="Load one that can, or name one in VLLM_MODEL; it is asked again by itself.",
                cause="model",
            )
        if model not in models:
            return Finding(
                phase="failed",
                detail=f"The server at {self._url} does not serve {model}, but {', '.join(list(models)[:5])}.",
                hint="Set VLLM_MODEL to one of these, or leave it empty to take the first that can chat.",
                cause="model",
            )
        return Finding(
            phase="ready",
            model=model,
            context_tokens=context_tokens(models[model]),
            models=chat_models(models, model),
        )


def normal_url(base_url: str) -> str:
    """Return the address ending in ``/v1``, empty when it is none; user names and passwords are left out."""
    try:
        parts = urlsplit(base_url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host:
        return ""
    place = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/")
    netloc = place if port is None else f"{place}:{port}"
    path = path if path.endswith("/v1") else f"{path}/v1"
    return SplitResult(parts.scheme, netloc, path, "", "").geturl()


def address_problem(url: str, api_key: str | None) -> Finding | None:
    if not url:
        return Finding(
            phase="failed", detail="The server's address is not an http address.", hint=WRONG_ADDRESS_HINT
        )
    if api_key is not None and not all("!" <= character <= "~" for character in api_key):
        return Finding(
            phase="failed",
            detail="The local server's API key holds characters that no key has.",
            hint="Set VLLM_API_KEY again, without spaces or line breaks.",
            cause="key",
        )
    return None


def _listed(answer: httpx2.Response, wanted: str | None) -> dict[str, dict[str, Any]] | None:
    """Return the models by id, ``None`` when the answer is not such a list."""
    if answer.status_code != 200:
        return None
    try:
        return listed_models(answer.json(), wanted)
    except (ValueError, RecursionError):
        return None
