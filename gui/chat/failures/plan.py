"""A failure's card as data: its words and actions, and the facts that they were made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from core.chat import Side
from gui.chat.storage.models import StoredError

Action = Literal[
    "add_key",
    "add_local_key",
    "choose_model",
    "choose_local_model",
    "open_billing",
    "allow_key",
    "raise_limit",
    "show_spend",
    "lower_max_tokens",
    "send_local",
    "send_api",
    "shorten",
    "summarise",
    "restart_local",
    "look_at_local",
    "show_log",
    "retry",
    "set_ledger_aside",
    "continue",
    "change_rates",
    "change_times",
    "resume",
    "keep_paused",
]
Tone = Literal["held", "danger"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the page found out around a failure; ``None`` where it did not.

    ``api_cost_nanodollars`` is the estimate on the API side; ``lower_to`` the most max tokens that would fit
    under the limit. ``in_box`` says that the prompt went back to the composer.
    ``key_held_back`` says why a stored key was not sent, where that is the cause.
    ``summary_window_tokens`` is what a request that is too long has to fit into, ``None`` without old turns.
    ``local_cause`` is what the local server's failure is about: its ``key``, its ``model``, or something else;
    ``local_elsewhere`` says that it is somebody else's.
    ``side`` is where it failed, ``None`` where it was not sent. ``billing_page`` is where the account of the API
    is topped up, empty where that is not known. ``changed`` says that the prompt in the box is not the one that
    failed any more. ``local_phase`` is what the local server does now, ``api_phase`` what the API's state was.
    ``estimated`` says that an estimate is in what was spent under the limit that the failure is about.
    """

    in_box: bool = False
    local_failed: str | None = None
    local_cause: str = ""
    local_elsewhere: bool = False
    local_phase: str = ""
    key_held_back: str | None = None
    log: tuple[str, ...] = ()
    month: str = "this month"
    lower_to: int | None = None
    can_send_local: bool = False
    can_send_api: bool = False
    api_cost_nanodollars: int | None = None
    summary_window_tokens: int | None = None
    side: Side | None = None
    billing_page: str = ""
    changed: bool = False
    api_phase: str = ""
    estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One card. A ``short`` one has at most one action; amounts are for the budget's bar.

    ``retry_at_ms`` is when sending again makes sense, in milliseconds since the epoch: the ``fix`` waits for it.
    ``conversation`` is the one that is paused, ``setting`` the name of the one that what leads to Preferences is
    about.
    """

    short: bool
    title: str
    sentence: str
    tone: Tone
    icon: str
    fix: tuple[str, Action] | None = None
    actions: tuple[tuple[str, str, Action], ...] = ()
    kept: str = ""
    log: tuple[str, ...] = ()
    amounts: StoredError | None = None
    facts: Facts = field(default_factory=Facts)
    retry_at_ms: int | None = None
    conversation: str | None = None
    setting: str = ""


def elsewhere(facts: Facts) -> list[tuple[str, str, Action]]:
    """Return the sides that would take the prompt now."""
    found: list[tuple[str, str, Action]] = []
    if facts.can_send_api:
        found.append(("Send to API", "cloud", "send_api"))
    if facts.can_send_local:
        found.append(("Send to Local", "cpu", "send_local"))
    return found


SENDING: frozenset[Action] = frozenset(
    {"retry", "send_local", "send_api", "lower_max_tokens", "summarise", "resume"}
)
"""What sends the prompt: of no use while there is none."""
