"""Which local server the settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.local.embedded import EmbeddedServer
from core.local.external import ExternalServer
from core.local.server import LocalServer, ServerKind

if TYPE_CHECKING:
    from core.settings import Origin, Settings


def chosen_kind(settings: Settings, vllm_origin: Origin) -> ServerKind:
    """Resolve ``auto``: a vLLM address that somebody set is used, otherwise the embedded server."""
    if settings.local_server != "auto":
        return settings.local_server
    return "embedded" if vllm_origin == "default" else "external"


def choice_key(settings: Settings, vllm_origin: Origin, vllm_key: str | None) -> tuple[object, ...]:
    """Return what the choice depends on: two equal keys ask for the same server."""
    kind = chosen_kind(settings, vllm_origin)
    if kind == "embedded":
        return (kind, settings.local_model_path)
    return (kind, settings.vllm_base_url, settings.vllm_model, vllm_key)


def choose_server(settings: Settings, vllm_origin: Origin, vllm_key: str | None) -> LocalServer | None:
    """Make the server that the settings ask for; ``None`` where they ask for none.

    A ``compose`` server is started by hand (``docker compose up``) and watched like an external one.
    """
    match chosen_kind(settings, vllm_origin):
        case "none":
            return None
        case "embedded":
            return EmbeddedServer(settings.home, settings.local_model_path)
        case kind:
            return ExternalServer(settings.vllm_base_url, settings.vllm_model, vllm_key, kind=kind)
