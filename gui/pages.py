"""Every page of the panel, one line each. To add one: write its ``page.py``, and a line here.

A page's module is imported when the page is made, so that the first window is quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gui.shell.local_words import machine_lamp
from gui.shell.pages import Page, PageEntry, PageLamp, PageRegistry, Shell, Target
from gui.theme.appearance import panel_file

if TYPE_CHECKING:
    from gui.shell.bridge import Bridge


def _chat(shell: Shell) -> Page:
    from gui.chat.page import ChatPage

    return ChatPage(shell)


def _machine(shell: Shell) -> Page:
    from gui.machine.page import MachinePage

    return MachinePage(shell)


def _machine_lamp(bridge: Bridge) -> PageLamp | None:
    return machine_lamp(None if bridge.status is None else bridge.status.local, bridge.alerts)


def _preferences(shell: Shell) -> Page:
    from gui.preferences.page import PreferencesPage

    return PreferencesPage(shell)


def _spend(shell: Shell) -> Page:
    from gui.spend.page import SpendPage

    return SpendPage(shell)


def _welcome(shell: Shell) -> Page:
    from gui.welcome.page import WelcomePage

    return WelcomePage(shell)


def _welcome_is_due(home: Path) -> bool:
    return not panel_file(home).value("welcome/seen", False, type=bool)


PAGES = PageRegistry(
    entries=(
        PageEntry(id="chat", title="Chat", icon="chats", make=_chat, eager=True, place_key="conversation"),
        PageEntry(
            id="machine",
            title="Machine",
            icon="hard-drives",
            make=_machine,
            place_key="machine_pane",
            lamp=_machine_lamp,
        ),
        PageEntry(
            id="preferences",
            title="Preferences",
            icon="gear-six",
            make=_preferences,
            at="bottom",
            shortcut="Ctrl+,",
        ),
        PageEntry(id="spend", title="Spend", icon="wallet", make=_spend, at="popover"),
        PageEntry(
            id="welcome", title="Welcome", icon="hand-waving", make=_welcome, at="cover", due=_welcome_is_due
        ),
    ),
    pills={
        "local": Target("machine", "server"),
        "api": Target("preferences", "providers", "anthropic"),
        "requests": Target("preferences", "routing", "routing_threshold"),
        "spend": Target("spend"),
    },
    problems={
        "key": ("Open Providers", Target("preferences", "providers", "anthropic")),
        "local_key_refused": ("Replace the key", Target("preferences", "providers", "vllm")),
        "local_model_unknown": ("Choose a model", Target("preferences", "local", "vllm_model")),
        "local_model": ("Choose a model", Target("machine", "models")),
        "api_key": ("Replace the key", Target("preferences", "providers", "anthropic")),
        "api_model": ("Choose a model", Target("preferences", "providers", "anthropic_model")),
        "setting": ("Open Preferences", Target("preferences")),
        "local_restarted": ("Look at the local server", Target("machine", "server")),
        "limit": ("Open the limits", Target("preferences", "spend")),
        "settings_file": ("Look at it", Target("preferences", "data", "settings_file")),
        "trust": ("Look at it", Target("preferences", "data", "trust")),
        "alert": ("Show the limits", Target("spend")),
        "telemetry": ("Open Observability", Target("preferences", "observability")),
    },
    help=(
        ("Welcome", Target("welcome")),
        ("Keyboard shortcuts", Target("preferences", "shortcuts")),
        ("Where files are kept", Target("preferences", "data")),
    ),
    about=Target("preferences", "about"),
    machine_alerts=Target("machine", "alerts"),
)
