"""Where each setting stands on the preferences page, what it is called there, and how it is found by words.

Descriptions, units and ranges are the settings' own (``SettingsStore.describe()``); only what a screen adds
is here: a short name, a section, a card, and words for the choices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from core.settings import SettingInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionText:
    id: str
    title: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingText:
    """How a setting is shown. ``choices`` are (value, label, what it means); ``also`` are words to search by.

    ``advanced``: few people touch it, so it is in the section's fold. ``shows_bounds``: what may be typed is not
    plain from the unit, and stands under the field.
    """

    section: str
    label: str
    card: str = ""
    advanced: bool = False
    shows_bounds: bool = False
    choices: tuple[tuple[str, str, str], ...] = ()
    placeholder: str = ""
    also: str = ""

    @property
    def full_label(self) -> str:
        """Its name where its card is not seen: ``Anthropic model``, where another card has a ``Model`` too."""
        alike = sum(other.label == self.label for other in SETTINGS.values())
        return f"{self.card} {self.label[:1].lower()}{self.label[1:]}" if alike > 1 else self.label


SECTIONS: tuple[SectionText, ...] = tuple(
    SectionText(id=id_, title=title, sentence=sentence)
    for id_, title, sentence in (
        (
            "providers",
            "Providers",
            "Who answers on each side: its key, its address and its model. Keys live in your system keyring and "
            "never reach a file, a log or a command line.",
        ),
        (
            "routing",
            "Routing",
            "The rules' thresholds. A change holds for the next request; nothing has to be restarted.",
        ),
        (
            "local",
            "Local server",
            "What answers on your own machine, and how it is doing.",
        ),
        (
            "spend",
            "Spend",
            "Limits are checked before a request leaves, in the ledger, for every program that uses it.",
        ),
        (
            "reliability",
            "Reliability",
            "How long a request may take, what is tried again, and how many may wait their turn.",
        ),
        (
            "observability",
            "Observability",
            "Figures and traces for your own monitoring. Prompts, answers and keys are never among them.",
        ),
        ("appearance", "Appearance", "How the panel looks. It changes at once."),
        ("shortcuts", "Shortcuts", "Everything here can be done from the keyboard."),
        ("data", "Data", "Where Signalbox keeps what it keeps. All of it is on this computer."),
        ("about", "About", "What this is, what it is made of, and what it found."),
    )
)

ROUTING_MODES = (
    ("hybrid", "Hybrid", "Hard prompts go to the API, simple ones local until the day’s number is used up."),
    (
        "local-first",
        "Local first",
        "Everything goes local until the day’s number is used up, then to the API.",
    ),
    ("break-even", "Break-even", "The API below the day’s number; above it, simple prompts go local."),
    ("api-primary", "API first", "The API, and local only when the API fails."),
    ("local-only", "Local only", "Nothing leaves this network, also when the local server fails."),
    ("api-only", "API only", "Nothing goes to the local server, also when the API fails."),
)
LOCAL_SERVERS = (
    (
        "auto",
        "Auto",
        "A vLLM server where an address is set under Providers, else the small model on this CPU.",
    ),
    ("embedded", "Small model on this CPU", "SmolLM2-135M, or the GGUF file named below."),
    ("compose", "vLLM container", "Docker Compose starts it, here or over a Docker context; see Machine."),
    ("external", "A server I run", "Any OpenAI-compatible server, at the address under Providers."),
    ("none", "None", "There is no local side; everything goes to the API."),
)
PROMPT_CACHING = (
    ("auto", "Where it pays", "Long prompts that come again are cached at the API, when that is cheaper."),
    ("off", "Off", "The API is never asked to cache a prompt."),
)
LOG_FORMATS = (
    ("text", "Text", "A line for a person."),
    ("json", "JSON", "One JSON object a line, for a log collector."),
)


class _Row(NamedTuple):
    label: str
    also: str
    placeholder: str = ""
    choices: tuple[tuple[str, str, str], ...] = ()
    advanced: bool = False
    shows_bounds: bool = False


def _card(section: str, card: str, *, advanced: bool = False, **rows: _Row) -> dict[str, SettingText]:
    """The rows of one card, by their settings' names. ``advanced`` is all of it, or what a row says of itself."""
    return {
        name: SettingText(
            section=section,
            card=card,
            label=row.label,
            also=row.also,
            placeholder=row.placeholder,
            choices=row.choices,
            advanced=advanced or row.advanced,
            shows_bounds=row.shows_bounds,
        )
        for name, row in rows.items()
    }


SETTINGS: dict[str, SettingText] = {
    **_card(
        "providers",
        "Anthropic",
        anthropic_model=_Row("Model", "anthropic claude sonnet opus haiku api"),
        anthropic_base_url=_Row(
            "Address", "anthropic base url endpoint proxy gateway", placeholder="Anthropic's own"
        ),
    ),
    **_card(
        "providers",
        "vLLM server",
        vllm_model=_Row("Model", "vllm served name", placeholder="The first it serves"),
        vllm_base_url=_Row("Address", "vllm base url endpoint host port"),
    ),
    **_card(
        "routing",
        "Rules",
        routing_mode=_Row("Mode", "hybrid local first api", choices=ROUTING_MODES),
        complexity_threshold=_Row("Complexity threshold", "score hard simple", shows_bounds=True),
        routing_threshold=_Row("Daily local requests", "volume routing threshold"),
    ),
    **_card(
        "routing",
        "When a side fails",
        enable_fallback=_Row("Fall back to the other side", "retry failover"),
    ),
    **_card(
        "local",
        "Server",
        local_server=_Row("What runs", "embedded compose docker external vllm none", choices=LOCAL_SERVERS),
        local_model_path=_Row("Model file", "gguf path llama.cpp embedded", placeholder="The included one"),
    ),
    **_card(
        "local",
        "Embedded server",
        advanced=True,
        embedded_context_tokens=_Row("Longest request", "context length n_ctx llama.cpp tokens"),
        embedded_threads=_Row("Threads", "cpu cores llama.cpp", placeholder="All cores"),
        embedded_gpu_layers=_Row("GPU layers", "ngl offload llama.cpp", placeholder="As many as fit"),
    ),
    **_card(
        "local",
        "vLLM container",
        advanced=True,
        vllm_compose_file=_Row("Compose file", "docker compose yml path", placeholder="The included one"),
        docker_context=_Row("Docker context", "docker remote ssh podman", placeholder="The current one"),
        stop_container_on_quit=_Row("Stop it when Signalbox ends", "quit exit close leave running"),
    ),
    **_card(
        "local",
        "GPU and alerts",
        advanced=True,
        vram_alert_percent=_Row("GPU memory alert", "vram threshold warning", shows_bounds=True),
        temperature_alert_c=_Row(
            "Temperature alert", "heat threshold warning celsius", placeholder="By the card"
        ),
        kv_cache_alert_percent=_Row("KV cache alert", "vllm threshold warning", shows_bounds=True),
        queue_alert_requests=_Row("Waiting line alert", "queue threshold warning"),
        alert_after_s=_Row("Tell me after", "alert duration minimum seconds"),
        alert_webhook_url=_Row("Webhook", "slack alert notification post", placeholder="None"),
        gpu_samples_per_second=_Row("Looks a second", "gpu sampling rate hz interval", shows_bounds=True),
        gpu_metrics_url=_Row(
            "Another machine's GPU", "dcgm exporter prometheus remote droplet", placeholder="None"
        ),
    ),
    **_card(
        "local",
        "Busy server",
        advanced=True,
        local_max_concurrent=_Row(
            "Requests at once", "concurrency parallel slots queue", placeholder="As it says"
        ),
        local_max_wait_s=_Row("Longest wait before the API", "queue spill over busy line"),
    ),
    **_card(
        "spend",
        "Limits",
        spend_limit_dollars=_Row("Monthly limit", "budget cap dollars spend"),
        daily_spend_limit_dollars=_Row("Daily limit", "budget cap dollars day", placeholder="No limit"),
        spend_alert_percents=_Row("Tell me at", "alert warning share threshold notify"),
        max_tokens_per_request=_Row("Longest answer", "max tokens output per request"),
    ),
    **_card(
        "spend",
        "Sending less",
        context_window_tokens=_Row(
            "Longest conversation", "context window trim tokens history pinned", placeholder="All of it"
        ),
        compress_prompts=_Row("Leave out what repeats", "compress compression whitespace duplicate"),
        prompt_caching=_Row(
            "Prompt caching", "cache_control anthropic ttl prefix", choices=PROMPT_CACHING, advanced=True
        ),
    ),
    **_card(
        "spend",
        "More limits",
        advanced=True,
        project_spend_limits=_Row(
            "Limits of projects", "budget cap tag team", placeholder="website=50, research=12.50"
        ),
        daily_token_budget=_Row("Tokens a day", "budget cap quota", placeholder="No limit"),
    ),
    **_card(
        "spend",
        "Your own machine",
        advanced=True,
        local_dollars_per_hour=_Row(
            "Rent", "cost of the local machine gpu rent hour loaded", placeholder="Not known"
        ),
        gpu_purchase_dollars=_Row(
            "Purchase price", "gpu buy hardware cost local machine", placeholder="Not known"
        ),
        gpu_life_months=_Row("Life of the purchase", "gpu depreciation amortise months"),
        electricity_dollars_per_kwh=_Row("Electricity", "power kwh energy tariff", placeholder="Not known"),
        local_watts=_Row("Power while answering", "watts gpu energy draw", placeholder="Measured"),
        power_usage_effectiveness=_Row(
            "Cooling and losses (PUE)", "power usage effectiveness data centre", shows_bounds=True
        ),
        ops_hours_per_month=_Row("Hours of care", "ops operations maintenance work"),
        ops_dollars_per_hour=_Row("Price of an hour of care", "ops rate wage"),
    ),
    **_card(
        "reliability",
        "When it takes long or fails",
        first_token_timeout_s=_Row("First token", "timeout ttft slow prompt seconds"),
        max_retries=_Row("Retries on the same side", "retry backoff overloaded 429 529", shows_bounds=True),
    ),
    **_card(
        "reliability",
        "Pace",
        max_api_requests_per_minute=_Row(
            "API requests a minute", "rate limit rpm throttle anthropic", placeholder="No limit"
        ),
        runaway_requests_per_minute=_Row(
            "Pause a conversation at", "loop agent runaway brake paused resume requests minute"
        ),
    ),
    **_card(
        "reliability",
        "Time-outs",
        advanced=True,
        connect_timeout_s=_Row("Connecting", "timeout connect seconds"),
        between_tokens_timeout_s=_Row("Between two tokens", "timeout stall silence seconds"),
        request_deadline_s=_Row("The whole request", "deadline timeout seconds", placeholder="No deadline"),
    ),
    **_card(
        "reliability",
        "Waiting lines",
        advanced=True,
        max_requests_per_minute=_Row(
            "Requests a minute", "rate limit rpm throttle both sides", placeholder="No limit"
        ),
        rate_max_wait_s=_Row("Longest wait", "rate queue seconds turn"),
        max_waiting_requests=_Row("Requests that may wait", "queue line bound full"),
    ),
    **_card(
        "reliability",
        "Repeated requests",
        advanced=True,
        idempotency_keep_hours=_Row(
            "Keep answers for", "idempotency key replay duplicate repeat privacy disk"
        ),
    ),
    **_card(
        "observability",
        "Metrics",
        metrics_port=_Row("Prometheus port", "metrics scrape prometheus grafana", placeholder="None"),
    ),
    **_card(
        "observability",
        "Traces",
        otel_exporter_otlp_endpoint=_Row(
            "OpenTelemetry collector", "otlp otel traces datadog jaeger", placeholder="None"
        ),
    ),
    **_card(
        "observability",
        "Log",
        log_format=_Row("Log format", "logs json structured", choices=LOG_FORMATS),
    ),
    **_card(
        "data",
        "Ledger",
        advanced=True,
        ledger_url=_Row("Ledger database", "postgresql url sql", placeholder="SQLite file"),
        home=_Row("Home folder", "signalbox_home directory path"),
    ),
}


def setting_text(name: str) -> SettingText:
    """How ``name`` is shown. A setting this page has no words for yet still gets its row, under Data."""
    known = SETTINGS.get(name)
    return known or SettingText(
        section="data", card="Other settings", label=name.replace("_", " ").capitalize(), advanced=True
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTarget:
    """A search result: ``anchor`` names the row inside ``section`` that gets the focus."""

    section: str
    anchor: str
    label: str
    words: str
    description: str = ""

    def rank(self, wanted: Sequence[str], title: str) -> int | None:
        """Return 0 where all words are in the name, 1 in what it is known by, 2 in its description, or ``None``."""
        texts = (self.label, f"{title} {self.words}", self.description)
        for rank in range(len(texts)):
            text = " ".join(texts[: rank + 1]).casefold()
            if all(word in text for word in wanted):
                return rank
        return None


OTHER_PLACES: tuple[SearchTarget, ...] = tuple(
    SearchTarget(section=section, anchor=anchor, label=label, words=words)
    for section, anchor, label, words in (
        ("providers", "keyring", "Keyring", "secret service gnome kwallet keychain"),
        ("providers", "anthropic", "Anthropic API key", "anthropic_api_key claude sk-ant"),
        ("providers", "vllm", "vLLM key", "vllm_api_key bearer"),
        ("local", "control", "Start or stop the server", "restart state log embedded vllm"),
        ("appearance", "theme", "Theme", "dark light system colour color"),
        ("appearance", "zoom", "Zoom", "size font scale percent"),
        ("appearance", "motion", "Reduced motion", "animation accessibility"),
        ("appearance", "close_to_tray", "Close to the tray", "background hide window systray"),
        ("appearance", "start_minimised", "Start minimised", "background hidden tray login"),
        ("shortcuts", "table", "Keyboard shortcuts", "keys hotkeys accelerators"),
        ("data", "folders", "Folders", "logs conversations ledger settings path open"),
        ("about", "versions", "Versions", "about python qt licence license details"),
    )
)
"""What has a row without being a setting."""


def places(settings: Iterable[SettingInfo]) -> tuple[SearchTarget, ...]:
    """All that can be searched for, in the order of the sections; by description, unit and variable too."""
    found = [
        SearchTarget(
            section=text.section,
            anchor=info.name,
            label=text.full_label,
            words=f"{info.env_name} {info.unit} {text.card} {text.also} {choices}",
            description=info.description,
        )
        for info in settings
        if not info.secret
        for text in [setting_text(info.name)]
        for choices in [" ".join(label for _, label, _ in text.choices)]
    ]
    order = [section.id for section in SECTIONS]
    return tuple(sorted([*found, *OTHER_PLACES], key=lambda place: order.index(place.section)))


def find(everything: Iterable[SearchTarget], query: str) -> tuple[SearchTarget, ...]:
    """The places in whose words every word of ``query`` occurs, those with it in their name first."""
    wanted = query.casefold().split()
    titles = {section.id: section.title for section in SECTIONS}
    hits = [
        (rank, place)
        for place in everything
        if (rank := place.rank(wanted, titles[place.section])) is not None
    ]
    return tuple(place for _, place in sorted(hits, key=lambda hit: hit[0]))
