"""Which models each side can be asked for, with their prices: read when somebody wants to know, then kept."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from core.chat import Side
from core.errors import AuthenticationFailed, KeyHeldBack, SignalboxError
from core.local.manager import LocalServerManager
from core.local.server import ServerState
from core.model_list import KeyTrouble, ListedModel, ModelList

if TYPE_CHECKING:
    from core.pricing.prices import PriceTable
    from core.services.api_check import ApiCheck
    from core.services.wiring import Assembled

log = logging.getLogger(__name__)

FRESH_S = 30.0
"""A list of the API's models younger than this is not read again by itself."""
READ_TIMEOUT_S = 15.0
_PRICED_AT_ONCE = 20
"""The first price of a model takes a millisecond or two; between so many the loop does other work."""


class ModelLists:
    """``keys_known`` returns once the keys are read. All methods belong to the core's loop, but ``latest``."""

    def __init__(
        self,
        rooms: Assembled,
        server_manager: LocalServerManager,
        prices: PriceTable,
        api_check: ApiCheck,
        keys_known: Callable[[], Awaitable[None]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._local = rooms.api, rooms.local
        self._server_manager, self._prices = server_manager, prices
        self._api_check, self._keys_known = api_check, keys_known
        self._clock = clock
        self._latest: dict[Side, ModelList] = {"local": ModelList(side="local"), "api": ModelList(side="api")}
        self._api_source: tuple[object, ...] | None = None
        self._api_read_at_s = 0.0
        self._turn = asyncio.Lock()

    def latest(self, side: Side) -> ModelList:
        """Return what was read last, without asking anybody. Safe from any thread."""
        return self._latest[side]

    async def read(self, side: Side, *, refresh: bool = False) -> ModelList:
        """Return the list of ``side``; what stands in its way is in the list, never an exception.

        The API's list is kept for half a minute, unless its key or address changed; ``refresh`` asks again now.
        Nothing is billed for it. A local server is only looked at, never started; one that is stopped stays so.
        """
        if side == "local":
            return await self._read_local()
        await self._keys_known()
        async with self._turn:  # who comes while it is being read gets what was read
            return await self._read_api(refresh=refresh)

    async def _read_api(self, *, refresh: bool) -> ModelList:
        source, default = self._api.source, self._api.default_model
        is_same = source == self._api_source
        last = self._latest["api"] if is_same else ModelList(side="api")
        is_fresh = is_same and not last.problem and self._clock() - self._api_read_at_s < FRESH_S
        if is_fresh and not refresh and last.default_model == default:
            return last
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                found = (await self._api_check.listed()).listed
        except SignalboxError as error:
            models = last.models or await self._priced((ListedModel(id=default),))
            read = dataclasses.replace(
                last,
                models=models,
                default_model=default,
                problem=error.message,
                hint=error.hint,
                key_trouble=_key_trouble(error),
            )
        except TimeoutError:
            models = last.models or await self._priced((ListedModel(id=default),))
            read = dataclasses.replace(
                last,
                models=models,
                default_model=default,
                problem=f"The API’s list of models did not come within {READ_TIMEOUT_S:g} s.",
                hint="Try again.",
                key_trouble=None,
            )
        else:
            models = await self._priced(found)
            if self._api.source == source:  # else it is the list of an earlier key or address
                self._api.learn_models(model.id for model in models)
            read = ModelList(
                side="api", models=models, default_model=default, read_at=datetime.now().astimezone()
            )
        self._api_source, self._api_read_at_s = source, self._clock()
        self._latest["api"] = read
        return read

    async def _read_local(self) -> ModelList:
        server = self._server_manager.state
        is_watched = server.kind in ("external", "compose") and server.phase not in ("stopped", "stopping")
        if is_watched or self._local.needs_look():
            try:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    await self._server_manager.observe()  # it is only asked, and asked at once
            except TimeoutError:
                log.info("the local server's list of models did not come in time")
        read = _of_server(self._server_manager.state, self._latest["local"])
        self._latest["local"] = read
        return read

    async def _priced(self, models: tuple[ListedModel, ...]) -> tuple[ListedModel, ...]:
        priced: list[ListedModel] = []
        for number, model in enumerate(models):
            if number % _PRICED_AT_ONCE == 0:
                await asyncio.sleep(0)
            tiers = self._prices.prices_of(model.id)
            known_context = model.context_tokens or self._prices.context_tokens(model.id)
            if not tiers:
                priced.append(dataclasses.replace(model, context_tokens=known_context))
                continue
            priced.append(
                dataclasses.replace(
                    model,
                    context_tokens=known_context,
                    input_nanodollars_per_mtok=_nanodollars(tiers[0].input),
                    output_nanodollars_per_mtok=_nanodollars(tiers[0].output),
                    dearer_above_tokens=tiers[1].above_tokens if len(tiers) > 1 else None,
                )
            )
        return tuple(priced)


def _key_trouble(error: SignalboxError) -> KeyTrouble | None:
    if not isinstance(error, AuthenticationFailed):
        return None
    if isinstance(error, KeyHeldBack):
        return "held_back"
    return "missing" if error.missing else "refused"


def _nanodollars(dollars: Decimal | None) -> int | None:
    return None if dollars is None else round(dollars * 1_000_000_000)


def _of_server(server: ServerState, last: ModelList) -> ModelList:
    models = server.models
    if not models and server.model is not None:
        models = (ListedModel(id=server.model, context_tokens=server.context_tokens),)
    if server.phase == "ready":
        return ModelList(
            side="local", models=models, default_model=server.model, read_at=datetime.now().astimezone()
        )
    detail = server.detail.rstrip(".")
    problem = {
        "stopped": "No local server is set up." if server.kind == "none" else "The local server is stopped.",
        "starting": "The local server is starting.",
        "stopping": "The local server is stopping.",
    }.get(server.phase) or f"{detail or 'The local server failed'}."
    return ModelList(
        side="local",
        models=models,
        default_model=server.model,
        read_at=last.read_at if last.models == models else None,
        problem=problem,
        hint=server.hint,
    )
