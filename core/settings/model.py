"""The settings themselves: names, types, defaults, units and what is allowed.

``Settings`` is one immutable snapshot. Where its values come from is ``core.settings``' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, cast, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
)

from core.base.home import HOME_VARIABLE, absolute_path, default_home, not_a_file
from core.base.net import is_near, is_private
from core.chat import RoutingMode

LocalServerChoice = Literal["auto", "embedded", "compose", "external", "none"]
PromptCaching = Literal["auto", "off"]
LogFormat = Literal["text", "json"]
Trust = Literal["any", "lower", "trusted"]
"""When a value counts that stands in the ``.env`` of a folder which the user has not trusted: ``any`` value does;
only a ``lower`` one than what else is set (a mode: where not all prompts are to stay on this machine); or it has to
be ``trusted`` first, since it names an address, a path, a key, a port, what is run, or what is stored."""


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _empty_is_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed")  # pydantic reports ValueError, not TypeError
    return value


def _plain_number(value: object) -> object:
    # "1e2" for an amount of money is more likely a slip than a hundred dollars, and "12_50" than 1250.
    if isinstance(value, str) and ("e" in value.lower() or "_" in value):
        raise ValueError("plain digits are needed")
    return value


def _plain_text(value: str) -> str:
    if not value or len(value) > 4096 or not value.isprintable():
        raise ValueError("printable text is needed")
    return value


def _split(value: str) -> SplitResult:
    parts = urlsplit(value)
    if parts.port == 0:  # .port also raises ValueError outside 0..65535
        raise ValueError("port 0 cannot be reached")
    return parts


def _is_near_server(url: str) -> bool:
    # A single word is a near host's name, but without a port it may as well be any other word.
    return is_private(url) or (is_near(url) and _split(url).port is not None)


def _http_url(value: str) -> str:
    if "://" not in value and _is_near_server(f"http://{value}"):
        value = f"http://{value}"  # never to a far host: whoever forgot the "s" would send a key in the clear
    parts = _split(_plain_text(value))
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in value:
        raise ValueError("an http or https address is needed")
    return value.rstrip("/")


def _ledger_url(value: str) -> str:
    parts = _split(_plain_text(value))
    if parts.scheme.split("+")[0] not in ("sqlite", "postgresql") or "://" not in value:
        raise ValueError("a sqlite or postgresql address is needed")
    return value


def _header_safe(value: SecretStr) -> SecretStr:
    # A key travels in an HTTP header, which takes visible ASCII only.
    key = value.get_secret_value()
    if not key or any(not "!" <= character <= "~" for character in key):
        raise ValueError("a key is visible ASCII without spaces")
    return value


def _project_limits(value: str) -> str:
    project_limits(value)
    return value


@lru_cache(maxsize=16)
def project_limits(text: str) -> Mapping[str, Decimal]:
    """Read ``website=50, research=12.50`` into dollars a month by project.

    Raises:
        ValueError: an entry is no ``name=amount``, or an amount is negative or not a number.
    """
    limits: dict[str, Decimal] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, separator, amount = (piece.strip() for piece in entry.partition("="))
        try:
            dollars = Decimal("NaN" if "e" in amount.lower() or "_" in amount else amount)
        except ArithmeticError:
            dollars = Decimal("NaN")
        # A NaN can't be compared: that would be an ArithmeticError, and stop the start.
        is_amount = dollars.is_finite() and 0 <= dollars <= 1_000_000_000
        if not separator or not name or name in limits or not is_amount:
            raise ValueError(f"{entry!r} is not like website=50")
        if dollars != round(dollars, 9):
            raise ValueError(f"{entry!r} has more than nine decimals")
        limits[name] = dollars
    return MappingProxyType(limits)


def _alerts(value: str) -> str:
    alert_percents(value)
    return value


@lru_cache(maxsize=16)
def alert_percents(text: str) -> tuple[int, ...]:
    """Read ``50,80,100`` into percents, lowest first.

    Raises:
        ValueError: an entry is no whole number from 1 to 100.
    """
    percents: set[int] = set()
    for entry in filter(None, (part.strip() for part in text.split(","))):
        percent = int(entry) if entry.isascii() and entry.isdigit() and len(entry) <= 3 else 0
        if not 1 <= percent <= 100:
            raise ValueError(f"{entry!r} is not a whole number from 1 to 100")
        percents.add(percent)
    return tuple(sorted(percents))


_Text = Annotated[str, AfterValidator(_plain_text)]
_OptionalText = Annotated[_Text | None, BeforeValidator(_empty_is_none)]
_HttpUrl = Annotated[str, AfterValidator(_http_url)]
_OptionalHttpUrl = Annotated[_HttpUrl | None, BeforeValidator(_empty_is_none)]
_OptionalLedgerUrl = Annotated[
    Annotated[str, AfterValidator(_ledger_url)] | None, BeforeValidator(_empty_is_none)
]
_OptionalSecret = Annotated[
    Annotated[SecretStr, AfterValidator(_header_safe)] | None, BeforeValidator(_empty_is_none)
]
_Path = Annotated[Path, AfterValidator(absolute_path)]
_OptionalPath = Annotated[_Path | None, BeforeValidator(_empty_is_none)]
_Count = Annotated[int, BeforeValidator(_not_bool)]
_Fraction = Annotated[float, BeforeValidator(_not_bool)]
_OptionalCount = Annotated[_Count | None, BeforeValidator(_empty_is_none)]
_Seconds = Annotated[float, BeforeValidator(_not_bool), Field(allow_inf_nan=False)]
_OptionalSeconds = Annotated[_Seconds | None, BeforeValidator(_empty_is_none)]
_Dollars = Annotated[
    Decimal,
    BeforeValidator(_not_bool),
    BeforeValidator(_plain_number),
    PlainSerializer(lambda dollars: f"{dollars:f}", return_type=str, when_used="json"),
    Field(allow_inf_nan=False, decimal_places=9),
]
_OptionalDollars = Annotated[_Dollars | None, BeforeValidator(_empty_is_none)]
_A_KEY = "a key: visible characters without spaces"
_AN_ADDRESS = "an address such as http://127.0.0.1:8000/v1"


class _Range(NamedTuple):
    """What a number may be, said to a person and to pydantic alike."""

    allowed: str
    unit: str
    bounds: dict[str, Any]


def _count(low: int, high: int, unit: str = "") -> _Range:
    return _Range(f"a whole number from {low} to {high}", unit, {"ge": low, "le": high})


def _number(low: float, high: float, unit: str = "", *, example: str = "") -> _Range:
    such_as = f", such as {example}" if example else ""
    bounds = {"ge": low, "le": high, "allow_inf_nan": False}
    return _Range(f"a number from {low} to {high}{such_as}", unit, bounds)


def _amount(low: int, high: int, unit: str, *, example: str) -> _Range:
    return _Range(f"an amount from {low} to {high}, such as {example}", unit, {"ge": low, "le": high})


def _setting(
    default: object,
    description: str,
    allowed: str | _Range,
    *,
    trust: Trust,
    guards: bool = False,
    unit: str = "",
    repr: bool = True,
) -> Any:
    """Return the field. ``guards``: while a value stands that can't be read, nothing is sent to the API."""
    found = allowed if isinstance(allowed, _Range) else _Range(allowed, unit, {})
    extra: dict[str, Any] = {"allowed": found.allowed, "unit": found.unit, "trust": trust, "guards": guards}
    extra |= {"least": found.bounds.get("ge"), "most": found.bounds.get("le")}
    return Field(default, description=description, json_schema_extra=extra, repr=repr, **found.bounds)


class Settings(BaseModel):
    """One immutable snapshot of all settings. Secrets print as stars; amounts are dollars in ``Decimal``."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True
    )

    anthropic_api_key: _OptionalSecret = _setting(
        None,
        "Key of the Anthropic API. Without it only the local side answers.",
        _A_KEY,
        trust="trusted",
    )
    anthropic_base_url: _OptionalHttpUrl = _setting(
        None,
        "Another server with Anthropic's API, such as a gateway, instead of Anthropic's own.",
        _AN_ADDRESS,
        trust="trusted",
        guards=True,
    )
    anthropic_model: _Text = _setting(
        "claude-sonnet-4-6-20260501",
        "Model asked on the API side.",
        "the name of a model",
        trust="any",
    )
    vllm_base_url: _HttpUrl = _setting(
        "http://127.0.0.1:8000/v1",
        "Address of a vLLM (or other OpenAI-compatible) server.",
        _AN_ADDRESS,
        trust="trusted",
    )
    vllm_model: _OptionalText = _setting(
        None,
        "Model asked there. Empty: the first of the server's list that can chat.",
        "the name of a model",
        trust="any",
    )
    vllm_api_key: _OptionalSecret = _setting(
        None, "Key of that server, if it wants one.", _A_KEY, trust="trusted"
    )
    routing_mode: Annotated[RoutingMode, BeforeValidator(_lower)] = _setting(
        "hybrid",
        "How a prompt's side is chosen.",
        ", ".join(get_args(RoutingMode)),
        trust="lower",
        guards=True,
    )
    routing_threshold: _Count = _setting(
        3000,
        "Local requests a day at which the routing mode changes side.",
        _count(0, 1_000_000_000, "requests a day"),
        trust="any",
    )
    complexity_threshold: _Fraction = _setting(
        0.6,
        "Complexity from which a prompt counts as complex; 0 is trivial, 1 is hard.",
        _number(0, 1),
        trust="any",
    )
    enable_fallback: bool = _setting(
        True,
        "Ask the other side once when one is overloaded, rate limited or unreachable.",
        "true or false (also yes, no, on, off, 1, 0)",
        trust="any",
    )
    max_tokens_per_request: _Count = _setting(
        1024,
        "Longest answer of a request that does not name its own limit.",
        _count(1, 1_000_000, "tokens"),
        trust="any",
    )
    spend_limit_dollars: _Dollars = _setting(
        Decimal(500),
        "Most that may be spent on the API side in a calendar month, holds included.",
        _amount(0, 1_000_000_000, "dollars a month", example="500 or 12.50"),
        trust="lower",
        guards=True,
    )
    daily_spend_limit_dollars: _OptionalDollars = _setting(
        None,
        "Most that may be spent on the API side in a day, holds included. Empty: no daily limit.",
        _amount(0, 1_000_000_000, "dollars a day", example="20"),
        trust="lower",
        guards=True,
    )
    project_spend_limits: Annotated[str, AfterValidator(_project_limits)] = _setting(
        "",
        "Most that a project's requests may cost in a calendar month, by project tag.",
        "names and amounts, such as website=50, research=12.50",
        unit="dollars a month",
        trust="lower",
        guards=True,
    )
    daily_token_budget: _OptionalCount = _setting(
        None,
        "Most tokens the API side may be sent and may answer in a day. Empty: no token budget.",
        _count(0, 1_000_000_000_000, "tokens a day"),
        trust="lower",
        guards=True,
    )
    max_requests_per_minute: _OptionalCount = _setting(
        None,
        "Requests of both sides that may begin in a minute; more wait their turn. Empty: no limit.",
        _count(1, 1_000_000, "requests a minute"),
        trust="lower",
        guards=True,
    )
    max_api_requests_per_minute: _OptionalCount = _setting(
        None,
        "Requests to the API that may begin in a minute; more wait their turn. Empty: no limit.",
        _count(1, 1_000_000, "requests a minute"),
        trust="lower",
        guards=True,
    )
    rate_max_wait_s: _Seconds = _setting(
        60.0,
        "Longest that a request waits for a request rate before it is refused.",
        _number(0, 3600, "seconds"),
        trust="any",
    )
    max_waiting_requests: _Count = _setting(
        64,
        "Requests that may wait for a request rate, and for the local server, before more are refused.",
        _count(0, 100_000, "requests"),
        trust="any",
    )
    runaway_requests_per_minute: _Count = _setting(
        60,
        "Requests of one conversation in a minute at which it is paused and you are asked. 0: never.",
        _count(0, 1_000_000, "requests a minute"),
        trust="lower",
        guards=True,
    )
    spend_alert_percents: Annotated[str, AfterValidator(_alerts)] = _setting(
        "50,80,100",
        "Shares of a limit at which you are told, holds included.",
        "whole numbers from 1 to 100, such as 50,80,100",
        unit="percent",
        trust="any",
    )
    local_max_wait_s: _Seconds = _setting(
        10.0,
        "Longest that a request waits for a busy local server before it goes to the API.",
        _number(0, 3600, "seconds"),
        trust="any",
    )
    local_max_concurrent: _OptionalCount = _setting(
        None,
        "Requests the local server is given at once. Empty: as many as it says it takes.",
        _count(1, 10_000, "requests"),
        trust="any",
    )
    max_retries: _Count = _setting(
        2,
        "Times a request that was turned away is sent again to the same side, after a short wait.",
        _count(0, 10, "retries"),
        trust="any",
    )
    connect_timeout_s: _Seconds = _setting(
        10.0,
        "Longest that connecting to a server may take.",
        _number(0.1, 300, "seconds"),
        trust="any",
    )
    first_token_timeout_s: _Seconds = _setting(
        300.0,
        "Longest wait for the first token; a long prompt on a CPU needs minutes.",
        _number(0.1, 3600, "seconds"),
        trust="any",
    )
    between_tokens_timeout_s: _Seconds = _setting(
        90.0,
        "Longest silence between two tokens of an answer.",
        _number(0.1, 3600, "seconds"),
        trust="any",
    )
    request_deadline_s: _OptionalSeconds = _setting(
        None,
        "Longest that a whole request may take, waiting and retries included. Empty: no deadline.",
        _number(0.1, 86_400, "seconds"),
        trust="any",
    )
    idempotency_keep_hours: _Count = _setting(
        24,
        "How long the answer of a request with an idempotency key is kept on this computer, so that a repeated "
        "request gets it from any process. 0: only in memory, and what was kept is deleted.",
        _count(0, 720, "hours"),
        trust="trusted",
    )
    context_window_tokens: _OptionalCount = _setting(
        None,
        "Longest conversation that is sent; older turns are left out. Empty: all of it.",
        _count(256, 10_000_000, "tokens"),
        trust="any",
    )
    compress_prompts: bool = _setting(
        False,
        "Leave out repeated context and needless whitespace; code and quoted text are never touched.",
        "true or false (also yes, no, on, off, 1, 0)",
        trust="any",
    )
    prompt_caching: Annotated[PromptCaching, BeforeValidator(_lower)] = _setting(
        "auto",
        "Ask the API to cache long prompts that come again, where that is cheaper.",
        ", ".join(get_args(PromptCaching)),
        trust="any",
    )
    local_server: Annotated[LocalServerChoice, BeforeValidator(_lower)] = _setting(
        "auto",
        "What answers on the local side: the embedded model, the vLLM container, a running server, or nothing.",
        ", ".join(get_args(LocalServerChoice)),
        trust="trusted",
    )
    local_model_path: _OptionalPath = _setting(
        None,
        "A GGUF file for the embedded server. Empty: the small packaged model.",
        "a file path",
        trust="trusted",
    )
    embedded_threads: _OptionalCount = _setting(
        None,
        "Processor threads of the embedded server. Empty: as many as this machine has cores.",
        _count(1, 1024, "threads"),
        trust="any",
    )
    embedded_context_tokens: _Count = _setting(
        8192,
        "Longest request of the embedded server, input and answer together; a model made for less gets less.",
        _count(256, 10_000_000, "tokens"),
        trust="any",
    )
    embedded_gpu_layers: _OptionalCount = _setting(
        None,
        "Layers of the model that the embedded server puts on the GPU, where its build can. Empty: as many as fit.",
        _count(0, 1000, "layers"),
        trust="any",
    )
    vllm_compose_file: _OptionalPath = _setting(
        None,
        "Compose file of the vLLM container. Empty: the one that comes with Signalbox.",
        "a file path",
        trust="trusted",
    )
    docker_context: _OptionalText = _setting(
        None,
        "Docker context in which the container runs. Empty: the one that the docker command uses.",
        "the name of a Docker context",
        trust="trusted",
    )
    stop_container_on_quit: bool = _setting(
        False,
        "Stop the vLLM container when Signalbox ends. Otherwise it goes on, and the next start finds it.",
        "true or false (also yes, no, on, off, 1, 0)",
        trust="any",
    )
    gpu_samples_per_second: _Fraction = _setting(
        1.0,
        "How often the GPU is read.",
        _number(0.2, 10, "times a second"),
        trust="any",
    )
    gpu_metrics_url: _OptionalHttpUrl = _setting(
        None,
        "DCGM exporter or nvidia_gpu_exporter that shows another machine's GPUs. Empty: this machine's.",
        "an address such as http://gpu.example:9400/metrics",
        trust="trusted",
    )
    vram_alert_percent: _Count = _setting(
        85,
        "Share of the GPU's memory in use that raises an alert.",
        _count(1, 100, "percent"),
        trust="any",
    )
    temperature_alert_c: _OptionalCount = _setting(
        None,
        "Temperature of the GPU that raises an alert. Empty: 3 below the one at which the card slows down.",
        _count(20, 120, "degrees Celsius"),
        trust="any",
    )
    kv_cache_alert_percent: _Count = _setting(
        95,
        "Share of vLLM's KV cache in use that raises an alert.",
        _count(1, 100, "percent"),
        trust="any",
    )
    queue_alert_requests: _Count = _setting(
        10,
        "Requests waiting at the local server that raise an alert.",
        _count(1, 100_000, "requests"),
        trust="any",
    )
    alert_after_s: _Seconds = _setting(
        10.0,
        "How long a figure has to be over its threshold before an alert begins.",
        _number(0, 3600, "seconds"),
        trust="any",
    )
    alert_webhook_url: _OptionalHttpUrl = _setting(
        None,
        "Address that each alert is posted to, as Slack's incoming webhooks take it. Empty: none.",
        "an address such as https://hooks.example/abc",
        trust="trusted",
    )
    local_dollars_per_hour: _OptionalDollars = _setting(
        None,
        "What the local machine costs an hour to rent. Empty: what it cost to buy is spread over its life.",
        _amount(0, 1_000_000, "dollars an hour", example="0.75"),
        trust="any",
    )
    gpu_purchase_dollars: _OptionalDollars = _setting(
        None,
        "What the local machine cost to buy. Empty, and no rent: its own cost is shown as not known.",
        _amount(0, 1_000_000_000, "dollars", example="2400"),
        trust="any",
    )
    gpu_life_months: _Count = _setting(
        36,
        "Months over which that purchase is spread.",
        _count(1, 600, "months"),
        trust="any",
    )
    electricity_dollars_per_kwh: _OptionalDollars = _setting(
        None,
        "Price of electricity. Empty: power is shown as not known.",
        _amount(0, 1000, "dollars a kWh", example="0.30"),
        trust="any",
    )
    local_watts: Annotated[
        Annotated[float, BeforeValidator(_not_bool)] | None, BeforeValidator(_empty_is_none)
    ] = _setting(
        None,
        "Power the local machine draws while it answers, where its GPU does not measure it.",
        _number(0, 1_000_000, "watts", example="350"),
        trust="any",
    )
    power_usage_effectiveness: _Fraction = _setting(
        1.0,
        "Watts at the meter for each watt of the machine (PUE): 1 on a desk, 1.1 to 1.6 in a server room.",
        _number(1, 10),
        trust="any",
    )
    ops_hours_per_month: _Fraction = _setting(
        0.0,
        "Hours a month that somebody spends on keeping the local server running.",
        _number(0, 744, "hours a month"),
        trust="any",
    )
    ops_dollars_per_hour: _Dollars = _setting(
        Decimal(60),
        "What an hour of that time costs.",
        _amount(0, 100_000, "dollars an hour", example="60"),
        trust="any",
    )
    ledger_url: _OptionalLedgerUrl = _setting(
        None,
        "Database of the ledger. Empty: a SQLite file in the home folder.",
        "sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME",
        repr=False,
        trust="trusted",
        guards=True,
    )
    metrics_port: _OptionalCount = _setting(
        None,
        "Port of this computer on which Prometheus reads the metrics. Empty: none.",
        _count(1, 65_535),
        trust="trusted",
    )
    otel_exporter_otlp_endpoint: _OptionalHttpUrl = _setting(
        None,
        "OpenTelemetry collector (OTLP over HTTP) that traces are sent to. Empty: none.",
        "an address such as http://127.0.0.1:4318",
        trust="trusted",
    )
    log_format: Annotated[LogFormat, BeforeValidator(_lower)] = _setting(
        "text",
        "How the log file is written.",
        ", ".join(get_args(LogFormat)),
        trust="any",
    )
    home: Annotated[_Path, AfterValidator(not_a_file)] = Field(
        default_factory=default_home,
        description="Folder of the ledger, conversations, logs and settings.json.",
        json_schema_extra={"allowed": "a folder", "unit": "", "trust": "trusted", "guards": True},
    )


NAMES: tuple[str, ...] = tuple(Settings.model_fields)
SECRETS = frozenset({"anthropic_api_key", "vllm_api_key"})
KEYRING_NAME = {"anthropic_api_key": "anthropic", "vllm_api_key": "vllm"}


def _extra(name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", Settings.model_fields[name].json_schema_extra)


GUARDS = frozenset(name for name in NAMES if _extra(name)["guards"])
"""What keeps money, a key or prompts from going where they shall not: the limits, what counts them, and the address
and mode of the API side. A value of these that can't be read closes the API side until it is mended."""


LOCAL_CHOICE = frozenset({"local_server", "local_model_path", "vllm_base_url", "vllm_model"})
"""What says which model answers on the local side: one of these that can't be read is not replaced by another."""


def env_name(name: str) -> str:
    """Return the name a setting has in the environment and in ``.env``."""
    return HOME_VARIABLE if name == "home" else name.upper()


def facts(name: str) -> dict[str, str]:
    """Return ``allowed`` and ``unit`` of a setting, as text for a person."""
    extra = _extra(name)
    return {"allowed": extra["allowed"], "unit": extra["unit"]}


def bounds(name: str) -> tuple[float | None, float | None]:
    """Return the least and the most that a number may be, both allowed; ``None`` twice for what is no number."""
    extra = _extra(name)
    return extra.get("least"), extra.get("most")


def trust_of(name: str) -> Trust:
    """Return when a value of an untrusted folder's ``.env`` counts."""
    return _extra(name)["trust"]


def lowered(name: str, value: Any, below: Any) -> Any:
    """Return the stricter of two values of a limit (a setting whose trust is ``lower``).

    ``below`` is what counts without the folder. Of project limits each project keeps the lower amount. A mode
    counts unless ``below`` keeps every prompt on this machine.
    """
    if name == "routing_mode":
        return below if below == "local-only" else value
    if name == "project_spend_limits":
        merged = dict(project_limits(below))
        for project, dollars in project_limits(value).items():
            merged[project] = min(dollars, merged.get(project, dollars))
        if merged == project_limits(below):
            return below
        return ", ".join(f"{project}={dollars:f}" for project, dollars in merged.items())
    return min((value, below), key=lambda limit: _strictness(name, limit))


def _strictness(name: str, limit: Any) -> Decimal:
    # Empty is no limit, and 0 requests a minute switch the brake for runaway conversations off.
    if limit is None or (name == "runaway_requests_per_minute" and not limit):
        return Decimal("Infinity")
    return Decimal(limit)


def validate(name: str, value: object) -> Any:
    """Return one value in its type.

    Raises:
        ValidationError: it is not allowed.
    """
    return getattr(Settings.model_validate({name: value}), name)


def default_of(name: str) -> Any:
    """Return the value a setting has when nobody sets it."""
    return Settings.model_fields[name].get_default(call_default_factory=True, validated_data={})
