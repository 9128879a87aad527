"""Where each thing on the preferences page stands, and by which words it is found.

Descriptions, units and ranges are the settings' own (``SettingsStore.describe()``); only what a screen adds
is here: a short name, a section, a card, and words for the choices.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionText:
    id: str
    title: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingText:
    """How a setting is shown. ``choices`` are (value, label, what it means); ``also`` are words to search by."""

    section: str
    label: str
    card: str = ""
    choices: tuple[tuple[str, str, str], ...] = ()
    placeholder: str = ""
    also: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A search result: ``anchor`` names the row inside ``section`` that gets the focus."""

    section: str
    anchor: str
    label: str
    words: str


SECTIONS: tuple[SectionText, ...] = (
    SectionText(
        id="keys",
        title="Keys",
        sentence="Keys live in your system keyring. They never reach a file, a log or a command line.",
    ),
    SectionText(
        id="providers",
        title="Providers",
        sentence="Which model answers on the API side, and where it is reached.",
    ),
    SectionText(
        id="routing",
        title="Routing",
        sentence="The rules' thresholds. A change holds for the next request; nothing has to be restarted.",
    ),
    SectionText(
        id="local",
        title="Local server",
        sentence="The model on your own machine: which one, where it answers, and how it is doing.",
    ),
    SectionText(
        id="spend",
        title="Spend",
        sentence="Limits are checked before a request leaves, in the ledger, for every program that uses it.",
    ),
    SectionText(
        id="reliability",
        title="Reliability",
        sentence="How long a request may take, what is tried again, and how many may wait their turn.",
    ),
    SectionText(
        id="observability",
        title="Observability",
        sentence="Figures and traces for your own monitoring. Prompts, answers and keys are never among them.",
    ),
    SectionText(id="appearance", title="Appearance", sentence="How the panel looks. It changes at once."),
    SectionText(id="shortcuts", title="Shortcuts", sentence="Everything here can be done from the keyboard."),
    SectionText(
        id="data",
        title="Data",
        sentence="Where Signalbox keeps what it keeps. All of it is on this computer.",
    ),
    SectionText(id="about", title="About", sentence="What this is, what it is made of, and what it found."),
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
    ("auto", "Auto", "A vLLM server where an address is set, else the small model on this CPU."),
    ("embedded", "Small model on this CPU", "SmolLM2-135M, or the GGUF file named below."),
    ("compose", "vLLM container", "The container of docker-compose.yml, started by you."),
    ("external", "A server I run", "Any server that speaks OpenAI’s wire at the address below."),
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

SETTINGS: dict[str, SettingText] = {
    "anthropic_model": SettingText(
        section="providers", card="Anthropic", label="Model", also="anthropic claude sonnet opus haiku api"
    ),
    "anthropic_base_url": SettingText(
        section="providers",
        card="Anthropic",
        label="Address",
        placeholder="Anthropic's own",
        also="anthropic base url endpoint proxy gateway",
    ),
    "enable_fallback": SettingText(
        section="providers",
        card="When a side fails",
        label="Fall back to the other side",
        also="retry failover",
    ),
    "routing_mode": SettingText(
        section="routing", card="Rules", label="Mode", choices=ROUTING_MODES, also="hybrid local first api"
    ),
    "complexity_threshold": SettingText(
        section="routing", card="Rules", label="Complexity threshold", also="score hard simple"
    ),
    "routing_threshold": SettingText(
        section="routing", card="Rules", label="Daily local requests", also="volume routing threshold"
    ),
    "local_server": SettingText(
        section="local",
        card="Server",
        label="What runs",
        choices=LOCAL_SERVERS,
        also="embedded compose docker external vllm none",
    ),
    "local_model_path": SettingText(
        section="local",
        card="Small model on this CPU",
        label="Model file",
        placeholder="SmolLM2-135M, included",
        also="gguf path llama.cpp embedded",
    ),
    "vllm_base_url": SettingText(
        section="local", card="vLLM server", label="Address", also="vllm base url endpoint host port"
    ),
    "vllm_model": SettingText(
        section="local",
        card="vLLM server",
        label="Model",
        placeholder="The first it serves",
        also="vllm served name",
    ),
    "local_max_concurrent": SettingText(
        section="local",
        card="Busy server",
        label="Requests at once",
        placeholder="As it says",
        also="concurrency parallel slots queue",
    ),
    "local_max_wait_s": SettingText(
        section="local",
        card="Busy server",
        label="Longest wait before the API",
        also="queue spill over busy line",
    ),
    "spend_limit_dollars": SettingText(
        section="spend", card="Limits", label="Monthly limit", also="budget cap dollars spend"
    ),
    "daily_spend_limit_dollars": SettingText(
        section="spend",
        card="Limits",
        label="Daily limit",
        placeholder="No limit",
        also="budget cap dollars day",
    ),
    "project_spend_limits": SettingText(
        section="spend",
        card="Limits",
        label="Limits of projects",
        placeholder="website=50, research=12.50",
        also="budget cap tag team",
    ),
    "daily_token_budget": SettingText(
        section="spend", card="Limits", label="Tokens a day", placeholder="No limit", also="budget cap quota"
    ),
    "spend_alert_percents": SettingText(
        section="spend", card="Limits", label="Tell me at", also="alert warning share threshold notify"
    ),
    "max_tokens_per_request": SettingText(
        section="spend", card="Limits", label="Longest answer", also="max tokens output per request"
    ),
    "context_window_tokens": SettingText(
        section="spend",
        card="Sending less",
        label="Longest conversation",
        placeholder="All of it",
        also="context window trim tokens history pinned",
    ),
    "compress_prompts": SettingText(
        section="spend",
        card="Sending less",
        label="Leave out what repeats",
        also="compress compression whitespace duplicate",
    ),
    "prompt_caching": SettingText(
        section="spend",
        card="Sending less",
        label="Prompt caching",
        choices=PROMPT_CACHING,
        also="cache_control anthropic ttl prefix",
    ),
    "local_dollars_per_hour": SettingText(
        section="spend",
        card="Your own machine",
        label="Rent",
        placeholder="Not known",
        also="cost of the local machine gpu rent hour loaded",
    ),
    "gpu_purchase_dollars": SettingText(
        section="spend",
        card="Your own machine",
        label="Purchase price",
        placeholder="Not known",
        also="gpu buy hardware cost local machine",
    ),
    "gpu_life_months": SettingText(
        section="spend",
        card="Your own machine",
        label="Life of the purchase",
        also="gpu depreciation amortise months",
    ),
    "electricity_dollars_per_kwh": SettingText(
        section="spend",
        card="Your own machine",
        label="Electricity",
        placeholder="Not known",
        also="power kwh energy tariff",
    ),
    "local_watts": SettingText(
        section="spend",
        card="Your own machine",
        label="Power while answering",
        placeholder="Measured",
        also="watts gpu energy draw",
    ),
    "power_usage_effectiveness": SettingText(
        section="spend",
        card="Your own machine",
        label="Cooling and losses (PUE)",
        also="power usage effectiveness data centre",
    ),
    "ops_hours_per_month": SettingText(
        section="spend",
        card="Your own machine",
        label="Hours of care",
        also="ops operations maintenance work",
    ),
    "ops_dollars_per_hour": SettingText(
        section="spend", card="Your own machine", label="Price of an hour of care", also="ops rate wage"
    ),
    "connect_timeout_s": SettingText(
        section="reliability", card="Time-outs", label="Connecting", also="timeout connect seconds"
    ),
    "first_token_timeout_s": SettingText(
        section="reliability", card="Time-outs", label="First token", also="timeout ttft slow prompt seconds"
    ),
    "between_tokens_timeout_s": SettingText(
        section="reliability",
        card="Time-outs",
        label="Between two tokens",
        also="timeout stall silence seconds",
    ),
    "request_deadline_s": SettingText(
        section="reliability",
        card="Time-outs",
        label="The whole request",
        placeholder="No deadline",
        also="deadline timeout seconds",
    ),
    "max_retries": SettingText(
        section="reliability",
        card="Trying again",
        label="Retries on the same side",
        also="retry backoff overloaded 429 529",
    ),
    "max_requests_per_minute": SettingText(
        section="reliability",
        card="Request rates",
        label="Requests a minute",
        placeholder="No limit",
        also="rate limit rpm throttle both sides",
    ),
    "max_api_requests_per_minute": SettingText(
        section="reliability",
        card="Request rates",
        label="API requests a minute",
        placeholder="No limit",
        also="rate limit rpm throttle anthropic",
    ),
    "rate_max_wait_s": SettingText(
        section="reliability", card="Request rates", label="Longest wait", also="rate queue seconds turn"
    ),
    "max_waiting_requests": SettingText(
        section="reliability",
        card="Request rates",
        label="Requests that may wait",
        also="queue line bound full",
    ),
    "runaway_requests_per_minute": SettingText(
        section="reliability",
        card="Runaway brake",
        label="Pause a conversation at",
        also="loop agent runaway paused resume requests minute",
    ),
    "metrics_port": SettingText(
        section="observability",
        card="Metrics",
        label="Prometheus port",
        placeholder="None",
        also="metrics scrape prometheus grafana",
    ),
    "otel_exporter_otlp_endpoint": SettingText(
        section="observability",
        card="Traces",
        label="OpenTelemetry collector",
        placeholder="None",
        also="otlp otel traces datadog jaeger",
    ),
    "log_format": SettingText(
        section="observability",
        card="Log",
        label="Log format",
        choices=LOG_FORMATS,
        also="logs json structured",
    ),
    "ledger_url": SettingText(
        section="data",
        card="Ledger",
        label="Ledger database",
        placeholder="SQLite file",
        also="postgresql url sql",
    ),
    "home": SettingText(
        section="data", card="Ledger", label="Home folder", also="signalbox_home directory path"
    ),
}

OTHER_PLACES: tuple[Place, ...] = (
    Place(section="keys", anchor="keyring", label="Keyring", words="secret service gnome kwallet keychain"),
    Place(
        section="keys", anchor="anthropic", label="Anthropic API key", words="anthropic_api_key claude sk-ant"
    ),
    Place(section="keys", anchor="huggingface", label="Hugging Face token", words="hf_token gated models"),
    Place(section="keys", anchor="vllm", label="vLLM key", words="vllm_api_key bearer"),
    Place(
        section="local",
        anchor="control",
        label="Start or stop the server",
        words="restart state log embedded vllm",
    ),
    Place(section="appearance", anchor="theme", label="Theme", words="dark light system colour color"),
    Place(section="appearance", anchor="zoom", label="Zoom", words="size font scale percent"),
    Place(section="appearance", anchor="motion", label="Reduced motion", words="animation accessibility"),
    Place(section="shortcuts", anchor="table", label="Keyboard shortcuts", words="keys hotkeys accelerators"),
    Place(
        section="data",
        anchor="folders",
        label="Folders",
        words="logs conversations ledger settings path open",
    ),
    Place(
        section="about", anchor="versions", label="Versions", words="about python qt licence license details"
    ),
)


def setting_text(name: str) -> SettingText:
    """How ``name`` is shown. A setting this page has no words for yet still gets its row, under Data."""
    known = SETTINGS.get(name)
    return known or SettingText(
        section="data", card="Other settings", label=name.replace("_", " ").capitalize()
    )


def places(setting_names: Iterable[str]) -> tuple[Place, ...]:
    """All that can be searched for, in the order of the sections."""
    found = [
        Place(section=text.section, anchor=name, label=text.label, words=f"{name} {text.card} {text.also}")
        for name in setting_names
        for text in [setting_text(name)]
    ]
    order = [section.id for section in SECTIONS]
    return tuple(sorted([*found, *OTHER_PLACES], key=lambda place: order.index(place.section)))


def find(everything: Iterable[Place], query: str) -> tuple[Place, ...]:
    """The places in whose words every word of ``query`` occurs, those with it in their name first."""
    wanted = query.lower().split()
    titles = {section.id: section.title for section in SECTIONS}
    hits: list[tuple[int, Place]] = []
    for place in everything:
        text = f"{place.label} {titles[place.section]} {place.words}".lower()
        if all(word in text for word in wanted):
            hits.append((0 if all(word in place.label.lower() for word in wanted) else 1, place))
    return tuple(place for _, place in sorted(hits, key=lambda hit: hit[0]))
