"""Finding, downloading, choosing and deleting models, as the panel and the CLI ask for it."""

from __future__ import annotations

from collections.abc import Callable

from core.local.models import ModelShelf


class LocalModels:
    """``subscribe`` hears the shelf whenever something on it changed (a download: at most four times a second)."""

    def shelf(self) -> ModelShelf:
        """Return what is known now, without looking."""
        return ModelShelf()

    async def look(self) -> ModelShelf:
        """Look for servers and files anew, and return what is there."""
        return ModelShelf()

    def subscribe(self, listener: Callable[[ModelShelf], None]) -> Callable[[], None]:
        del listener
        return lambda: None

    async def download(self, what: str, *, for_vllm: bool = False) -> str:
        """Begin to download and return the download's id; progress is on the shelf.

        ``what`` is a curated model's id, ``owner/repo``, ``owner/repo:FILE.gguf`` or ``owner/repo:Q4_K_M``, or the
        address of one of these. ``for_vllm`` takes the whole repository into the container's cache.

        Raises:
            SignalboxError: it can't begin: unknown, gated, too big for the disk; nothing was kept.
        """
        raise NotImplementedError

    async def pause(self, download_id: str) -> None: ...

    async def resume(self, download_id: str) -> None: ...

    async def cancel(self, download_id: str) -> None:
        """End it and delete what was loaded of it."""

    async def use(self, model_id: str) -> None:
        """Make a model on disk the local side; the one before goes on until this one is ready, where memory allows.

        Raises:
            SignalboxError: by kind; the one before goes on.
        """

    async def use_server(self, base_url: str, model: str | None = None) -> None:
        """Make a server that was found the local side."""

    async def unload(self) -> None:
        """Free the memory of the model that is loaded."""

    async def delete(self, model_id: str) -> None:
        """Move it out of the way; gone for good a while later. ``undelete`` brings it back until then."""

    async def undelete(self, model_id: str) -> None: ...
