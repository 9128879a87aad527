"""The two sides as the router sees them: which provider serves it now, whether it is up, and if not, why."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from core.base.text import exact_duration
from core.chat import ChatRequest, ChatResult, Estimate, Side, Signals, Waiting
from core.errors import AuthenticationFailed, KeyHeldBack, SignalboxError, Unavailable
from core.local.crash_suspects import REFUSED
from core.local.embedded import OWN_MODEL_SLOTS, PACKAGED_SLOTS
from core.local.manager import LocalServerManager
from core.local.server import ServerState
from core.model_list import PACKAGED_MODEL
from core.providers.anthropic_wire import claude_family
from core.providers.base import Capabilities, InferenceProvider
from core.routing.api_condition import ApiCondition, last_said_words
from core.routing.circuit_breaker import Breaker, Breakers
from core.routing.local_queue import LocalQueue
from core.routing.machine_time import CostMeter
from core.routing.policy import Health, SideState
from core.routing.waiting import OnWait

if TYPE_CHECKING:
    from core.pricing.prices import PriceTable
    from core.providers.anthropic import AnthropicProvider
    from core.settings import SettingProblem, Settings
    from core.structured.scoreboard import Scoreboard

LIKELY_OUTPUT_SHARE = 0.35
"""Answers use about a third of max_tokens; the estimate says so with a tilde and is never held or billed."""

LOCAL_TOKENS_PER_S = 40.0
"""Decode speed assumed for the first estimate of a local answer's time, until answers have been measured."""

CRASH_NOTICED_S = 0.5
"""So long after an answer broke off may it take until the end of the server's process is noticed."""

LEAST_PREFILL_TOKENS = 200
"""A shorter prompt says little about how fast the server reads."""

TRIED_AGAIN = "Nothing was sent; try again then."

DRAINED = "you sent everything to the API"

CLOSED_HINT = "A price of yours may be dearer than the built-in one. signalbox doctor says what to mend."

OTHER_LEDGER = "the ledger is not the one that was written last"

ACCEPT_HINT = "Put the newest one back; or, if this is the one you want: signalbox audit accept-head"

DEAREST_MODEL = "claude-opus-4-1"
"""$15 in, $75 out a million: no Claude model in the price table is dearer (a test holds this true)."""


class ApiBackend:
    """The metered API: a provider for each model, made on first use and remade when key or address change.

    ``closing`` is asked each time for the settings that can't be read and in which a limit, or the address, stands:
    while there is one, nothing is sent. An address that is none is not replaced by Anthropic's own: whoever set one
    wants neither key nor prompts to go there. ``ledger_problem`` says why what was spent may not all be in the
    ledger, ``None`` while it is: that closes the side too.
    """

    side: Side = "api"

    is_starting = False

    def __init__(
        self,
        prices: PriceTable,
        scoreboard: Scoreboard,
        *,
        closing: Callable[[], Sequence[SettingProblem]] = tuple,
        ledger_problem: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.breakers = Breakers(clock)
        self.condition = ApiCondition(clock)
        self._closing = closing
        self._ledger_problem = ledger_problem
        self._prices = prices
        self._scoreboard = scoreboard
        self._connect_timeout_s = 10.0
        self._key: str | None = None
        self._held_back: KeyHeldBack | None = None
        self._base_url: str | None = None
        self._default_model = ""
        self._providers: dict[str, AnthropicProvider] = {}
        self._discarded: list[AnthropicProvider] = []
        self._listed: frozenset[str] = frozenset()

    @property
    def has_key(self) -> bool:
        return self._key is not None

    @property
    def held_back(self) -> KeyHeldBack | None:
        """Why the stored key is not sent to the address that is set, if there is one that is not."""
        return self._held_back

    @property
    def default_model(self) -> str:
        return self._default_model

    def configure(self, settings: Settings, key: str | KeyHeldBack | None) -> None:
        """Take new settings or a new key; requests under way keep the provider they have.

        A stored key that may not go to the address in ``settings`` comes as what holds it back.
        """
        self._held_back, key = (key, None) if isinstance(key, KeyHeldBack) else (None, key)
        timeout_s = settings.connect_timeout_s
        if (key, settings.anthropic_base_url) != (self._key, self._base_url):
            self.begin_anew()
        wanted = (key, settings.anthropic_base_url, timeout_s)
        if wanted != (self._key, self._base_url, self._connect_timeout_s):
            self._discarded += self._providers.values()
            self._providers = {}
        if (key, settings.anthropic_base_url) != (self._key, self._base_url):
            self._listed = frozenset()
        self._key, self._base_url, self._connect_timeout_s = wanted
        if settings.anthropic_model != self._default_model:
            self.condition.forget_model(settings.anthropic_model)
        self._default_model = settings.anthropic_model

    def begin_anew(self) -> None:
        """Forget what the API said: the key is new, or is said to be good now, or the address is another."""
        self.condition.forget()
        self.breakers.reset()

    def try_again(self) -> None:
        """Let the next request find out whether it still holds what the API said last."""
        self.condition.try_again()
        self.breakers.reset()

    def heard(self, model: str | None, error: SignalboxError | None, *, era: int) -> None:
        self.condition.heard(model or self._default_model, error, era=era)

    def state(self, request: ChatRequest, signals: Signals) -> SideState:
        model = self.model_for(request)
        context_tokens = self._prices.context_tokens(model)
        health, detail, hint = self._health(model)
        return SideState(
            provider="anthropic",
            model=model,
            health=health,
            detail=detail,
            hint=hint,
            last_said=last_said_words(self.condition.closes(model), model),
            capabilities=_api_capabilities(context_tokens),
            estimate=self._estimate(model, signals, request),
            serves_named_model=request.model is not None and model == request.model,
            tools_doubt=self._scoreboard.tools_doubt("anthropic", model, "api") if signals.has_tools else "",
        )

    def breaker(self, model: str | None) -> Breaker:
        return self.breakers.of("anthropic", model)

    @property
    def source(self) -> tuple[object, ...]:
        """What a list of models is read from: two equal ones have the same list."""
        return self._key, self._base_url, self._held_back is None

    def learn_models(self, listed: Iterable[str]) -> None:
        """Take what its server lists: those can be asked for by name, whatever they are called."""
        self._listed = frozenset(listed)

    def model_for(self, request: ChatRequest) -> str:
        """Return the model that the API would serve ``request`` with."""
        named = request.model
        if named and (named == self._default_model or named.startswith("claude") or named in self._listed):
            return named
        return self._default_model

    def needs_start(self) -> bool:
        return False

    async def start(self) -> None:
        """Nothing to start."""

    async def explained(self, failure: SignalboxError, since: datetime) -> SignalboxError:
        """Whatever happens to a server elsewhere, only the failure tells it."""
        del since
        return failure

    def telling_start(self, on_wait: OnWait) -> AbstractContextManager[None]:
        """Nothing to tell."""
        del on_wait
        return nullcontext()

    async def provider(self, model: str | None) -> InferenceProvider:
        """Return the provider for ``model``; one serves every Claude model, by the name in the request.

        Raises:
            AuthenticationFailed: no key is set, or it is held back from the address that is set.
            Unavailable: a limit or the address can't be read.
        """
        self._check_open()
        return self._provider(model or self._default_model)

    def checker(self, key: str | None = None) -> AnthropicProvider:
        """Return a provider to ask for the list of models: that costs nothing, so it may be asked without a limit.

        With a ``key`` of its own it is a new one, to be closed after.

        Raises:
            AuthenticationFailed: no key is set, or it is held back from the address that is set.
            Unavailable: the address can't be read.
        """
        self._check_open(spending=False)
        if key is None:
            return self._provider(self._default_model)
        from core.providers.anthropic import AnthropicProvider

        return AnthropicProvider(key, self._base_url, self._default_model)

    def _provider(self, wanted: str) -> AnthropicProvider:
        if self._held_back is not None:
            raise self._held_back.again()
        if self._key is None:
            raise AuthenticationFailed(
                "No Anthropic key is set.",
                hint="Add one in Preferences, Providers, or set ANTHROPIC_API_KEY.",
                missing=True,
            )
        if closed := self._prices.closed_for(wanted):
            raise Unavailable(
                f"The API side is closed: {closed}. Nothing was sent.",
                hint=CLOSED_HINT,
            )
        slot = "claude" if wanted.startswith("claude") else wanted
        if slot not in self._providers:
            from core.providers.anthropic import AnthropicProvider

            self._providers[slot] = AnthropicProvider(
                self._key,
                self._base_url,
                wanted,
                connect_timeout_s=self._connect_timeout_s,
                most_output_tokens=self._most_output_tokens,
            )
        return self._providers[slot]

    def closed_by(self, *, spending: bool = True) -> SettingProblem | None:
        """Return what can't be read and closes this side; where nothing is spent only the address does."""
        closing = self._closing()
        if not closing:
            return None
        return next((each for each in closing if spending or each.name == "anthropic_base_url"), None)

    def _check_open(self, *, spending: bool = True) -> None:
        closed_by = self.closed_by(spending=spending)
        if closed_by is not None:
            raise Unavailable(f"API unavailable: {closed_by.subject} can't be read.", hint=closed_by.message)

    def learn_speed(self, result: ChatResult) -> None:
        """Nothing is estimated from it."""

    async def close(self) -> None:
        for provider in [*self._providers.values(), *self._discarded]:
            await provider.close()
        self._providers, self._discarded = {}, []

    def _health(self, model: str) -> tuple[Health, str, str]:
        """Return the state, why, and what to do about it."""
        closed_by = self.closed_by()
        if closed_by is not None:
            return "down", f"{closed_by.subject} can't be read", closed_by.message
        if problem := self._ledger_problem():
            return "down", OTHER_LEDGER, f"{problem} {ACCEPT_HINT}"
        if self._held_back is not None:
            reason = self._held_back.message.rstrip(".")
            return "down", f"{reason[:1].lower()}{reason[1:]}", f"{self._held_back.hint} Nothing was sent."
        if self._key is None:
            return "no_key", "no key is set", ""
        if closed := self._prices.closed_for(model):
            return "down", closed, CLOSED_HINT
        breaker = self.breaker(model)
        if not breaker.allows:
            trouble = self.condition.trouble(model)
            limited = trouble is not None and trouble.kind == "rate_limited"
            return (
                "down",
                _breaker_words(breaker, "it limits the rate" if limited else "it failed"),
                TRIED_AGAIN,
            )
        return "up", "", ""

    def _most_output_tokens(self, model: str) -> int | None:
        """Return the longest answer that is asked of ``model``: what is held for is what may be sent."""
        limits = (claude_family(model).max_output_tokens, self._prices.max_output_tokens_of(model))
        return min((limit for limit in limits if limit is not None), default=None)

    def _estimate(self, model: str, signals: Signals, request: ChatRequest) -> Estimate:
        likely_output = likely_output_tokens(signals)
        cost = self._prices.worst_case_nanodollars(model, signals.input_tokens, likely_output)
        # An unpriced model is held for at the dearest price known, so that the limit stays a limit.
        hold = self._prices.worst_case_nanodollars(
            model if cost is not None else DEAREST_MODEL,
            signals.input_tokens_bound,
            signals.max_output_tokens,
            cache_write=request.cache_marks.lifetime if request.cache_marks is not None else None,
            max_output_limit=self._most_output_tokens(model),
        )
        return Estimate(model=model, cost_nanodollars=cost, hold_nanodollars=hold)


class LocalBackend:
    """The user's own model server, whatever runs behind it.

    With ``on_demand`` a server that is stopped counts as up, and the first request that goes there starts it.
    """

    side: Side = "local"

    def __init__(
        self,
        server_manager: LocalServerManager,
        machine: CostMeter,
        scoreboard: Scoreboard,
        *,
        on_demand: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server_manager = server_manager
        self._machine = machine
        self._scoreboard = scoreboard
        self.queue = LocalQueue(clock)
        self.breakers = Breakers(clock, cooldown_s=3.0, cooldown_cap_s=30.0)
        self._on_demand = on_demand
        self.is_drained = False
        """The user sent everything to the API."""
        self._max_wait_s = 10.0
        self._connect_timeout_s = 10.0
        self._api_key: str | None = None
        self._provider: InferenceProvider | None = None
        self._provider_for: tuple[object, ...] | None = None
        self._discarded: list[InferenceProvider] = []
        self._tokens_per_s = LOCAL_TOKENS_PER_S
        self._prefill_tokens_per_s: float | None = None
        self.on_answer: Callable[[float | None, float | None], None] = lambda tokens_per_s, ttft_ms: None
        """Called with the tokens a second and the milliseconds to the first token of each answer."""

    @property
    def server_state(self) -> ServerState:
        return self._server_manager.state

    def configure(self, settings: Settings, api_key: str | None) -> None:
        """Take new settings and the server's key; requests under way keep the provider they have."""
        self._api_key = api_key
        self._connect_timeout_s = settings.connect_timeout_s
        self._max_wait_s = settings.local_max_wait_s
        at_once = settings.local_max_concurrent
        if at_once is None and self.server_state.kind == "embedded":
            at_once = OWN_MODEL_SLOTS if settings.local_model_path is not None else PACKAGED_SLOTS
        self.queue.configure(at_once, settings.max_waiting_requests)
        self._machine.configure(settings, uses_gpu=self.server_state.kind in ("compose", "external"))

    def state(self, request: ChatRequest, signals: Signals) -> SideState:
        server = self.server_state
        named = server.find(request.model) if request.model is not None else None
        model = server.model if named is None else named.id
        health, detail = self._health(server, model)
        provider = "embedded" if server.kind == "embedded" else "vllm-local"
        context_tokens = server.context_tokens if named is None else named.context_tokens
        return SideState(
            provider=provider,
            model=model,
            health=health,
            detail=detail,
            hint=server.hint or (TRIED_AGAIN if server.phase == "ready" and health == "down" else ""),
            capabilities=_local_capabilities(model, context_tokens),
            estimate=Estimate(
                model=model, cost_nanodollars=self._estimated_cost(signals), hold_nanodollars=0
            ),
            serves_named_model=named is not None,
            busy=self._busy(),
            drained=DRAINED if self.is_drained else "",
            refuses=REFUSED if self._server_manager.suspects.refuses(request) else "",
            tools_doubt=(self._scoreboard.tools_doubt(provider, model, "local") if signals.has_tools else ""),
        )

    def breaker(self, model: str | None) -> Breaker:
        return self.breakers.of(self.provider_name, model)

    def heard(self, model: str | None, error: SignalboxError | None, *, era: int) -> None:
        """Have the server looked at where a request failed: nothing is kept, its state says what is the matter."""
        if isinstance(error, Unavailable) and self.server_state.phase == "ready":
            self._server_manager.look_soon()

    @property
    def is_starting(self) -> bool:
        return self.server_state.phase == "starting"

    def _busy(self) -> str:
        """Say how long the line is, if that is longer than a request would wait for it; else nothing."""
        if self.queue.has_place:
            return ""
        queue = self.queue.state()
        if queue.full:
            return queue.crowd
        if queue.expected_wait_s is not None and queue.expected_wait_s > self._max_wait_s:
            ahead = f"{queue.waiting} ahead, " if queue.waiting else ""
            return f"{ahead}a place in about {exact_duration(max(1.0, queue.expected_wait_s))}"
        return ""

    @property
    def provider_name(self) -> str:
        return "embedded" if self.server_state.kind == "embedded" else "vllm-local"

    def needs_look(self) -> bool:
        """Whether a server elsewhere is not known to be up: its model and context decide with."""
        return (
            self._on_demand
            and self._is_elsewhere
            and self.server_state.phase in ("stopped", "starting")
            and self._server_manager.server is not None
        )

    @property
    def _is_elsewhere(self) -> bool:
        return self.server_state.kind in ("external", "compose")

    def needs_start(self) -> bool:
        return (
            self._starts_by_request
            and self.server_state.phase == "stopped"
            and self._server_manager.server is not None
        )

    @property
    def _starts_by_request(self) -> bool:
        """A container takes minutes, gigabytes and a GPU: it is started by hand only."""
        return self._on_demand and self.server_state.kind != "compose"

    async def start(self) -> None:
        await self._server_manager.start()

    async def explained(self, failure: SignalboxError, since: datetime) -> SignalboxError:
        """Say that the embedded server ended, where that is why; its end may be noticed after its silence."""
        server = self._server_manager.server
        if self.server_state.kind != "embedded" or server is None or type(failure) is not Unavailable:
            return failure
        noticed = asyncio.Event()

        def look(state: ServerState) -> None:
            if state.crash is not None and state.crash.at >= since:
                noticed.set()

        unsubscribe = server.on_change(look)
        look(server.state)
        try:
            async with asyncio.timeout(CRASH_NOTICED_S):
                await noticed.wait()
        except TimeoutError:
            return failure
        finally:
            unsubscribe()
        crash = server.state.crash
        how = "" if crash is None else f" It {crash.how}."
        fate = "has failed" if server.state.phase == "failed" else "is started again"
        return Unavailable(
            f"The local server ended while answering, and {fate}.{how}",
            hint=failure.hint,
            may_be_billed=failure.may_be_billed,
        )

    @contextmanager
    def telling_start(self, on_wait: OnWait) -> Generator[None]:
        """Tell of the phases and how long they may take; the time left alone, which runs down, is no news."""
        told = ""

        def tell(state: ServerState) -> None:
            nonlocal told
            if state.phase not in ("stopped", "starting"):
                return
            is_news = state.phase == "starting" and not state.detail.startswith("starting")
            doing = state.detail if is_news else ""
            words = f"The local server is starting{': ' if doing else ''}{doing}."
            if words != told:
                told = words
                on_wait(Waiting("local_start", words, state.eta_s, doing=doing))

        tell(self.server_state)
        server = self._server_manager.server
        unsubscribe = server.on_change(tell) if server is not None else lambda: None
        try:
            yield
        finally:
            unsubscribe()

    async def provider(self, model: str | None) -> InferenceProvider:
        """Return the provider of the server that is ready now, or, on demand, once it is.

        Raises:
            Unavailable: none is ready.
        """
        del model  # one client asks for each of a server's models, by the name in the request
        if self._starts_by_request and self.server_state.phase in ("stopped", "starting"):
            await self._server_manager.start()
        server = self.server_state
        if server.base_url is None:
            raise Unavailable(
                f"The local server wasn't ready: {self._health(server, server.model)[1]}.",
                hint=server.hint or "Start it, or send to the API.",
            )
        api_key = self._server_manager.key_for(self._api_key)
        served = frozenset(listed.id for listed in server.models)
        wanted = (server.base_url, server.model, api_key, self._connect_timeout_s, served)
        if self._provider is None or self._provider_for != wanted:
            from core.providers.openai import VLLMProvider

            if self._provider is not None:
                self._discarded.append(self._provider)
            self._provider = VLLMProvider(
                server.base_url,
                server.model,
                api_key=api_key,
                name=self.provider_name,
                capabilities=_local_capabilities(server.model, server.context_tokens),
                served=served,
                connect_timeout_s=self._connect_timeout_s,
            )
            self._provider_for = wanted
        return self._provider

    async def close(self) -> None:
        for provider in [self._provider, *self._discarded]:
            if provider is not None:
                await provider.close()
        self._provider, self._discarded = None, []

    @property
    def prefill_tokens_per_s(self) -> float | None:
        """How fast the server reads a prompt, from answers so far; ``None`` until one has been measured."""
        return self._prefill_tokens_per_s

    def learn_speed(self, result: ChatResult) -> None:
        """Move the estimates of the decode and the prefill speed towards what an answer took."""
        decode = result.output_tokens_per_s
        self.on_answer(decode, result.ttft_ms)
        if decode is not None:
            self._tokens_per_s += 0.3 * (decode - self._tokens_per_s)
        read = result.usage.fresh_input_tokens if result.usage is not None else 0
        # The first token's own time and the network count little once the prompt is long.
        if read >= LEAST_PREFILL_TOKENS and result.ttft_ms:
            speed = read * 1000 / result.ttft_ms
            before = self._prefill_tokens_per_s
            self._prefill_tokens_per_s = speed if before is None else before + 0.3 * (speed - before)

    def _estimated_cost(self, signals: Signals) -> int | None:
        return self._machine.estimated_nanodollars(1000 * likely_output_tokens(signals) / self._tokens_per_s)

    def _health(self, server: ServerState, model: str | None) -> tuple[Health, str]:
        if self._starts_by_request and self._server_manager.server is not None:
            # A server of ours is up in a second or two; how long somebody else's still loads, nobody knows.
            soon = ("stopped",) if self._is_elsewhere else ("stopped", "starting")
            if server.phase in soon:
                return "up", ""
        match server.phase:
            case "ready":
                breaker = self.breaker(model)
                return ("up", "") if breaker.allows else ("down", _breaker_words(breaker))
            case "starting":
                left = "" if server.eta_s is None else f", {exact_duration(max(1.0, server.eta_s))} left"
                return "starting", f"it is starting{left}"
            case "stopping":
                return "down", "it is stopping"
            case "failed":
                return "down", _failure_words(server.detail.rstrip("."))
            case "stopped":
                return "down", server.detail if server.kind == "none" and server.detail else "it is stopped"


@lru_cache(maxsize=64)
def _api_capabilities(context_tokens: int | None) -> Capabilities:
    return Capabilities(tools=True, json_schema=True, images=True, context_tokens=context_tokens)


@lru_cache(maxsize=64)
def _local_capabilities(model: str | None, context_tokens: int | None) -> Capabilities:
    return Capabilities(
        tools=model != PACKAGED_MODEL, json_schema=True, images=False, context_tokens=context_tokens
    )


def likely_output_tokens(signals: Signals) -> int:
    """Guess an answer's length from what is allowed: for estimates that are shown, never for holds."""
    return max(1, round(signals.max_output_tokens * LIKELY_OUTPUT_SHARE))


def _failure_words(detail: str) -> str:
    """Return why the server failed as it goes on after a colon: a sentence of it, or what was the matter."""
    if detail.startswith("It "):
        return f"it {detail[3:]}"
    return f"it failed: {detail}" if detail else "it failed"


def _breaker_words(breaker: Breaker, what: str = "it failed") -> str:
    if breaker.phase == "half_open":
        return f"{what}, and one request is trying it again"
    # The moment and not how long: the words are read for a while, in a preview and in what is kept of a decision.
    now = datetime.now().astimezone()
    moment = now + timedelta(seconds=breaker.retry_in_s, microseconds=999_999)
    day = "" if moment.date() == now.date() else f"{moment.day} {moment:%b}, "
    return f"{what}, and is tried again after {day}{moment:%H:%M:%S}"
