"""The router core: plain asyncio, no Qt. ``from core import RouterCore`` is its front door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.router_core import RouterCore

__all__ = ["RouterCore"]


def __getattr__(name: str) -> Any:
    # Lazy, so that importing one room of the core does not import them all.
    if name == "RouterCore":
        from core.router_core import RouterCore

        return RouterCore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
