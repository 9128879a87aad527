"""The two sides as the router sees them: which provider serves it now, whether it is up, and if not, why."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.chat import ChatRequest, Estimate, Side, Signals
from core.errors import AuthenticationFailed, Unavailable
from core.local.keeper import LocalKeeper
from core.local.server import ServerState
from core.providers.base import Capabilities, InferenceProvider
from core.routing.health import Breaker
from core.routing.policy import Health, SideState

if TYPE_CHECKING:
    from core.settings import Settings
    from core.spend.prices import PriceTable

LIKELY_OUTPUT_SHARE = 0.35
"""Answers use about a third of max_tokens; the estimate says so with a tilde and is never held or billed."""

LOCAL_TOKENS_PER_S = 40.0
"""Decode speed assumed for the first estimate of a local answer's time, until answers have been measured."""

EMBEDDED_TIMEOUT_S = 600.0
"""A CPU reads 60 to 280 tokens of prompt a second (measured on two cores): 8,000 may take two minutes."""

VLLM_TIMEOUT_S = 120.0

TRIED_AGAIN = "It is tried again by itself; nothing was sent."

DEAREST_MODEL = "claude-opus-4-1"
"""$15 in, $75 out a million: no Claude model in the price table is dearer (a test holds this true)."""

PACKAGED_MODEL = "SmolLM2-135M-Instruct"
"""Its chat template has no place for tools, so it is not offered any."""


class ApiSide:
    """The metered API: a provider for each model, made on first use and remade when key or address change."""

    side: Side = "api"

    def __init__(self, prices: PriceTable, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.breaker = Breaker(clock)
        self._prices = prices
        self._key: str | None = None
        self._base_url: str | None = None
        self._default_model = ""
        self._providers: dict[str, InferenceProvider] = {}
        self._discarded: list[InferenceProvider] = []

    @property
    def has_key(self) -> bool:
        return self._key is not None

    @property
    def default_model(self) -> str:
        return self._default_model

    def configure(self, settings: Settings, key: str | None) -> None:
        """Take new settings or a new key; requests under way keep the provider they have."""
        if (key, settings.anthropic_base_url) != (self._key, self._base_url):
            self._discarded += self._providers.values()
            self._providers = {}
            self.breaker.reset()
        self._key, self._base_url = key, settings.anthropic_base_url
        self._default_model = settings.anthropic_model

    def state(self, request: ChatRequest, signals: Signals) -> SideState:
        model = self._model_for(request)
        context_tokens = self._prices.context_tokens(model)
        health, detail = self._health()
        return SideState(
            provider="anthropic",
            model=model,
            health=health,
            detail=detail,
            hint=TRIED_AGAIN if health == "down" else "",
            capabilities=Capabilities(
                tools=True, json_schema=True, images=True, context_tokens=context_tokens
            ),
            estimate=self._estimate(model, signals),
            serves_named_model=request.model is not None and model == request.model,
        )

    def needs_start(self) -> bool:
        return False

    async def start(self) -> None:
        """Nothing to start."""

    async def provider(self, model: str | None) -> InferenceProvider:
        """Return the provider for ``model``; one serves every Claude model, by the name in the request.

        Raises:
            AuthenticationFailed: no key is set.
        """
        if self._key is None:
            raise AuthenticationFailed(
                "No Anthropic key is set.",
                hint="Add one in Preferences, Keys, or set ANTHROPIC_API_KEY.",
                missing=True,
            )
        wanted = model or self._default_model
        slot = "claude" if wanted.startswith("claude") else wanted
        if slot not in self._providers:
            from core.providers.anthropic import AnthropicProvider

            self._providers[slot] = AnthropicProvider(self._key, self._base_url, wanted)
        return self._providers[slot]

    async def close(self) -> None:
        for provider in [*self._providers.values(), *self._discarded]:
            await provider.close()
        self._providers, self._discarded = {}, []

    def _health(self) -> tuple[Health, str]:
        if self._key is None:
            return "no_key", "no key is set"
        if not self.breaker.allows:
            return "down", _breaker_words(self.breaker)
        return "up", ""

    def _model_for(self, request: ChatRequest) -> str:
        named = request.model
        if named and (named == self._default_model or named.startswith("claude")):
            return named
        return self._default_model

    def _estimate(self, model: str, signals: Signals) -> Estimate:
        likely_output = likely_output_tokens(signals)
        cost = self._prices.worst_case_nanodollars(model, signals.input_tokens, likely_output)
        # An unpriced model is held for at the dearest price known, so that the limit stays a limit.
        hold_model = model if cost is not None else DEAREST_MODEL
        hold = self._prices.worst_case_nanodollars(
            hold_model, signals.input_tokens_bound, signals.max_output_tokens
        )
        return Estimate(model=model, cost_nanodollars=cost, hold_nanodollars=hold)


class LocalSide:
    """The user's own model server, whatever runs behind it.

    With ``on_demand`` a server that is stopped counts as up, and the first request that goes there starts it.
    """

    side: Side = "local"

    def __init__(
        self, keeper: LocalKeeper, *, on_demand: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keeper = keeper
        self.breaker = Breaker(clock, cooldown_s=3.0, cooldown_cap_s=30.0)
        self._on_demand = on_demand
        self.nanodollars_per_hour: int | None = None
        self._api_key: str | None = None
        self._provider: InferenceProvider | None = None
        self._provider_for: tuple[str | None, str | None, str | None] | None = None
        self._discarded: list[InferenceProvider] = []
        self._tokens_per_s = LOCAL_TOKENS_PER_S

    @property
    def server_state(self) -> ServerState:
        return self._keeper.state

    def configure(self, api_key: str | None, nanodollars_per_hour: int | None) -> None:
        """Take the server's key and the machine's price; requests under way keep the provider they have."""
        self._api_key = api_key
        self.nanodollars_per_hour = nanodollars_per_hour

    def state(self, request: ChatRequest, signals: Signals) -> SideState:
        server = self.server_state
        health, detail = self._health(server)
        return SideState(
            provider=self.provider_name,
            model=server.model,
            health=health,
            detail=detail,
            hint=server.hint or (TRIED_AGAIN if server.phase == "ready" and health == "down" else ""),
            capabilities=self._capabilities(server),
            estimate=Estimate(
                model=server.model, cost_nanodollars=self._estimated_cost(signals), hold_nanodollars=0
            ),
            serves_named_model=request.model is not None and request.model == server.model,
        )

    @property
    def provider_name(self) -> str:
        return "embedded" if self.server_state.kind == "embedded" else "vllm-local"

    def needs_look(self) -> bool:
        """Whether a server elsewhere has not been looked at yet: its model and context decide with."""
        return self.needs_start() and self.server_state.kind in ("external", "compose")

    def needs_start(self) -> bool:
        return self._on_demand and self.server_state.phase == "stopped" and self._keeper.server is not None

    async def start(self) -> None:
        await self._keeper.start()

    async def provider(self, model: str | None) -> InferenceProvider:
        """Return the provider of the server that is ready now, or, on demand, once it is.

        Raises:
            Unavailable: none is ready.
        """
        del model  # a local server serves its own
        if self._on_demand and self.server_state.phase in ("stopped", "starting"):
            await self._keeper.start()
        server = self.server_state
        if server.base_url is None:
            raise Unavailable(
                f"The local server isn't ready: {self._health(server)[1]}.",
                hint=server.hint or "Start it, or send to the API.",
            )
        wanted = (server.base_url, server.model, self._api_key)
        if self._provider is None or self._provider_for != wanted:
            from core.providers.vllm import VLLMProvider

            if self._provider is not None:
                self._discarded.append(self._provider)
            self._provider = VLLMProvider(
                server.base_url,
                server.model,
                api_key=self._api_key,
                name=self.provider_name,
                capabilities=self._capabilities(server),
                timeout_s=EMBEDDED_TIMEOUT_S if server.kind == "embedded" else VLLM_TIMEOUT_S,
            )
            self._provider_for = wanted
        return self._provider

    async def close(self) -> None:
        for provider in [self._provider, *self._discarded]:
            if provider is not None:
                await provider.close()
        self._provider, self._discarded = None, []

    def learn_speed(self, tokens_per_s: float | None) -> None:
        """Move the estimate of the decode speed towards a measured one."""
        if tokens_per_s is not None:
            self._tokens_per_s += 0.3 * (tokens_per_s - self._tokens_per_s)

    def loaded_nanodollars(self, busy_ms: float) -> int | None:
        """Return the machine's own cost of ``busy_ms`` milliseconds at its hourly price, ``None`` if unset.

        A share by wall time: it assumes that the answer had the server to itself.
        """
        if self.nanodollars_per_hour is None:
            return None
        return round(self.nanodollars_per_hour * busy_ms / 3_600_000)

    def _estimated_cost(self, signals: Signals) -> int | None:
        return self.loaded_nanodollars(1000 * likely_output_tokens(signals) / self._tokens_per_s)

    def _capabilities(self, server: ServerState) -> Capabilities:
        return Capabilities(
            tools=server.model != PACKAGED_MODEL,
            json_schema=True,
            images=False,
            context_tokens=server.context_tokens,
        )

    def _health(self, server: ServerState) -> tuple[Health, str]:
        if self._on_demand and self._keeper.server is not None and server.phase in ("stopped", "starting"):
            return "up", ""
        match server.phase:
            case "ready":
                return ("up", "") if self.breaker.allows else ("down", _breaker_words(self.breaker))
            case "starting":
                left = "" if server.eta_s is None else f", {_duration(server.eta_s)} left"
                return "starting", f"it is starting{left}"
            case "stopping":
                return "down", "it is stopping"
            case "failed":
                return "down", f"it failed, {server.detail.rstrip('.')}" if server.detail else "it failed"
            case "stopped":
                return "down", server.detail if server.kind == "none" and server.detail else "it is stopped"


def likely_output_tokens(signals: Signals) -> int:
    """Guess an answer's length from what is allowed: for estimates that are shown, never for holds."""
    return max(1, round(signals.max_output_tokens * LIKELY_OUTPUT_SHARE))


def _breaker_words(breaker: Breaker) -> str:
    if breaker.phase == "half_open":
        return "it failed, and one request is trying it again"
    return f"it failed, and is tried again in {_duration(breaker.retry_in_s)}"


def _duration(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"
