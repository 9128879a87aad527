"""The providers: how the system's keyring is doing, and one card a provider with its key, address and model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QPushButton

from gui.preferences.catalogue import SectionText
from gui.preferences.key_card import KeyCard, KeyText
from gui.preferences.rows import add_setting_row
from gui.preferences.section import Section
from gui.preferences.settings_model import SettingsModel
from gui.shell.tasks import Tasks
from gui.theme.theme import set_property
from gui.widgets.card import Card
from gui.widgets.labels import ORIGIN_PLACES, ResultLine, Tone

if TYPE_CHECKING:
    from core import BackendStatus
    from core.settings import Origin

KEYS: tuple[KeyText, ...] = (
    KeyText(
        name="anthropic",
        setting="anthropic_api_key",
        provider="Anthropic",
        title="Anthropic API key",
        sentence="Sends prompts to the metered API.",
        placeholder="Paste a key that starts with sk-ant-",
        prefix="sk-ant-",
        owner="Anthropic",
    ),
    KeyText(
        name="vllm",
        setting="vllm_api_key",
        provider="vLLM or another local server",
        title="vLLM key",
        sentence="For a local server that asks for one.",
        placeholder="Paste the server’s key",
    ),
    KeyText(
        name="huggingface",
        setting="hf_token",
        provider="Hugging Face",
        title="Hugging Face token",
        kind="Access token",
        sentence="For models whose owner asks for it, downloaded here or by the vLLM container. It goes into the "
        "container’s environment, and into no file.",
        placeholder="Paste a token that starts with hf_",
        prefix="hf_",
        owner="Hugging Face",
        holds_from="the next download or start",
    ),
)
ROWS: dict[str, tuple[str, ...]] = {
    "anthropic": ("anthropic_model", "anthropic_base_url"),
    "vllm": ("vllm_model", "vllm_base_url"),
    "huggingface": (),
}
"""What stands below each key. A provider's settings are in one card, in the order in which they are needed."""


class ProvidersSection(Section):
    """Reads the keyring each time it is shown; the keyring's answer may take seconds, so it never waits."""

    def __init__(self, text: SectionText, model: SettingsModel) -> None:
        super().__init__(text)
        self._model = model
        self._bridge = model.bridge
        self._tasks = Tasks(self)
        self.keyring = Card()
        self.keyring.setAccessibleName("Keyring")
        self.keyring.body.setContentsMargins(12, 4, 8, 4)
        self.backend_line = ResultLine(role="body")
        self.backend_line.setContentsMargins(0, 4, 0, 4)
        self.check_again = QPushButton("Check again")
        self.check_again.setAccessibleName("Check the keyring again")
        set_property(self.check_again, flat=True)
        self.check_again.clicked.connect(self.shown)
        row = QHBoxLayout()
        row.addWidget(self.backend_line, 1, Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(self.check_again)
        self.keyring.body.addLayout(row)
        self.add_card(self.keyring)
        self.anchors["keyring"] = self.check_again
        self.cards: dict[str, KeyCard] = {}
        for key in KEYS:
            card = KeyCard(self._bridge, key)
            card.changed.connect(self._read_backend)
            self.cards[key.name] = card
            self.anchors[key.name] = self.anchors[key.setting] = card.edit
            for setting in ROWS[key.name]:
                add_setting_row(card, self, model, setting)
            self.add_card(card)
        model.changed.connect(self.shown)

    def shown(self) -> None:
        self._tasks.start(self._read_all(), key="read")

    async def _read_all(self) -> None:
        self.backend_line.tell("busy", "", "Asking the keyring")
        backend = await self._bridge.call(self._bridge.core.keys.backend())
        self._show_backend(backend)
        for card in self.cards.values():
            status = await self._bridge.call(self._bridge.core.key_status(card.text.name))
            origin = self._origin(card.text)
            card.show_status(status, locked_by=ORIGIN_PLACES.get(origin), origin=origin)

    def _origin(self, text: KeyText) -> Origin:
        """Where the key that counts comes from. The token is no setting: only where it is given, it has a place."""
        if text.name != "huggingface":
            return self._model.store.origin(text.setting)
        given = self._model.store.other(text.setting.upper())
        return "default" if given is None else given[1]

    def _read_backend(self) -> None:
        self._tasks.start(self._read_backend_only(), key="backend")

    async def _read_backend_only(self) -> None:
        self._show_backend(await self._bridge.call(self._bridge.core.keys.backend()))

    def _show_backend(self, backend: BackendStatus) -> None:
        if backend.state == "unlocked":
            self.backend_line.tell("ok", "", f"Keyring: {backend.name}, unlocked")
            return
        tone: Tone = "danger" if backend.state == "error" else "held"
        self.backend_line.tell(tone, "", " ".join(part for part in (backend.message, backend.hint) if part))
