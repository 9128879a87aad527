"""Three ways to start: a server, Docker, a key. Each tests what it sets up and says what it found, in its row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLineEdit, QPushButton, QVBoxLayout, QWidget

from core import counted, is_near
from core.errors import AuthenticationFailed, KeyHeldBack, SignalboxError
from gui.shell.tasks import Tasks
from gui.theme.theme import set_property, theme
from gui.welcome.choice import NOT_READY, Choice, wins
from gui.widgets.finding import tell_finding
from gui.widgets.formatting import listed
from gui.widgets.labels import ORIGIN_PLACES, ResultLine
from gui.widgets.question import Question

if TYPE_CHECKING:
    from core import CoreStatus, Finding
    from gui.shell.bridge import Bridge


DOCKER_COMPONENTS = ("docker", "compose", "nvidia", "gpu")


class VllmServer(Choice):
    """Tests the address first and keeps it only when a server answers there.

    Signals: ``done_one`` when it is set up; ``key_asked`` to give the server's key where keys are kept.
    """

    done_one = Signal()
    key_asked = Signal()

    def __init__(self, bridge: Bridge) -> None:
        super().__init__(
            "hard-drives",
            "I have a vLLM server",
            "Any OpenAI-compatible server. It is tested at once.",
        )
        self._bridge = bridge
        self._tasks = Tasks(self)
        self.dialog: Question | None = None
        self.address = QLineEdit()
        self.address.setPlaceholderText("http://192.168.1.40:8000/v1")
        self.address.setAccessibleName("Address of the vLLM server")
        self.address.returnPressed.connect(self._pressed)
        self.address.textChanged.connect(self._typed)
        self.button = QPushButton("Connect")
        self.button.setAccessibleName("Connect to the vLLM server")
        self.button.setEnabled(False)
        self.button.clicked.connect(self._pressed)
        self.add_key = QPushButton("Add its key")
        self.add_key.clicked.connect(self.key_asked)
        self.add_key.hide()
        self.controls.addWidget(self.address)
        self.controls.addWidget(self.add_key)
        self.controls.addWidget(self.button)
        theme().changed.connect(self._restyle_address)
        self._restyle_address()

    def _restyle_address(self) -> None:
        self.address.setFixedWidth(theme().px(250))

    def _typed(self, text: str) -> None:
        self.button.setEnabled(bool(text.strip()))
        set_property(self.address, tone="")
        self.add_key.hide()
        self.untell()

    def _pressed(self) -> None:
        address = with_scheme(self.address.text().strip())
        if not address:
            return
        if self._bridge.status is None:
            self.tell("busy", "", NOT_READY)
        elif not is_address(address):
            set_property(self.address, tone="danger")
            self.tell(
                "danger",
                "That isn’t an address.",
                "One looks like http://192.168.1.40:8000/v1. Nothing was tried.",
            )
        elif not self._tasks.runs("connect"):
            self._tasks.start(self._connect(address), key="connect")

    async def _connect(self, address: str, *, allow: bool = False) -> None:
        """With ``allow`` the stored key may go to ``address``: somebody was asked."""
        self.tell("busy", "Connecting", f"to {address}")
        self.add_key.hide()
        core = self._bridge.core
        try:
            if allow:
                await self._bridge.call(core.allow_key("vllm", address))
            key = await self._bridge.call(core.vllm_key_for(address))
            found = await self._bridge.call(core.test_vllm(address, key))
        except KeyHeldBack as held_back:
            self._ask_about_the_key(address, held_back)
        except AuthenticationFailed:
            set_property(self.address, tone="danger")
            self.tell("held", "It asks for a key.", "Add it, come back, and connect again.")
            self.add_key.show()
        except SignalboxError as failed:
            set_property(self.address, tone="danger")
            # The address was typed here and isn't kept, so there is nothing to look at in Preferences.
            why = str(failed).replace("VLLM_BASE_URL in Preferences", "the address")
            self.tell("danger", "Not connected.", why)
        else:
            await self._keep(address, found.models, found.latency_ms)

    def _ask_about_the_key(self, address: str, held_back: KeyHeldBack) -> None:
        self.tell("held", "Not connected.", f"{held_back.message} Nothing was sent.")
        plain = " It is not encrypted, so others on the way can read both." if held_back.unencrypted else ""
        self.dialog = Question(
            self,
            title=f"Use the stored vLLM key at {held_back.address}?",
            sentence=f"Whoever runs that server gets the key and every prompt that is sent there.{plain} "
            "If it needs no key, delete the stored one under Preferences, Providers.",
            do="Use it there",
            keep="Don’t send",
            on_do=lambda: self._connect_anyway(address),
            danger=True,
        )
        self.dialog.open()

    def _connect_anyway(self, address: str) -> None:
        self._tasks.start(self._connect(address, allow=True), key="connect")

    async def _keep(self, address: str, models: tuple[str, ...], latency_ms: float) -> None:
        settings = self._bridge.core.settings
        try:
            for name, value in (("vllm_base_url", address), ("local_server", "external")):
                await self._bridge.run_blocking(settings.set, name, value)
        except SignalboxError as failed:
            self.tell("danger", "Found, but not kept.", str(failed))
            return
        for name, value in (("vllm_base_url", address), ("local_server", "external")):
            if str(getattr(settings.current, name)).rstrip("/") != value.rstrip("/"):
                self.tell("held", "Found, but not used.", wins(name.upper(), settings.origin(name)))
                return
        names = ", ".join(models[:2]) + (" and more" if len(models) > 2 else "")
        found = (
            f"Found {counted(len(models), 'model')}, {names}, in {latency_ms:,.0f} ms."
            if models
            else "It answers, but lists no model."
        )
        if address.startswith("http://") and not is_near(address):
            self.tell("held", "", f"{found} It is not encrypted: others on the way can read what is sent.")
        else:
            self.tell("ok" if models else "held", "", found)
        self.done_one.emit()


class DockerAndGpu(Choice):
    """Looks, and says what it would take; it never pulls or starts anything.

    Signals: ``machine_asked`` to go on there, where what runs is chosen: a container's checks stand beside it then.
    """

    machine_asked = Signal()

    def __init__(self, bridge: Bridge) -> None:
        super().__init__(
            "cube",
            "I have Docker and a GPU",
            "Checks Docker, the driver and the GPU. Nothing is pulled or started.",
        )
        self._bridge = bridge
        self._tasks = Tasks(self)
        self.open_machine = QPushButton("Set it up on the Machine page")
        self.open_machine.setAccessibleName("Set up and start the vLLM container on the Machine page")
        self.open_machine.clicked.connect(self.machine_asked)
        self.open_machine.hide()
        self.controls.addWidget(self.open_machine)
        self.button = QPushButton("Check this machine")
        self.button.clicked.connect(self._pressed)
        self.controls.addWidget(self.button)
        self.detail = QWidget()
        self._lines = QVBoxLayout(self.detail)
        self._lines.setContentsMargins(0, 0, 0, 0)
        self._lines.setSpacing(4)
        self.add_detail(self.detail)

    def _pressed(self) -> None:
        if self._bridge.status is None:
            self.tell("busy", "", NOT_READY)
        elif not self._tasks.runs("check"):
            self._tasks.start(self._check(), key="check")

    async def _check(self) -> None:
        self.tell("busy", "Checking", "Docker, the driver and the GPU")
        try:
            findings = await self._bridge.call(self._bridge.core.doctor(ask_local=False))
        except SignalboxError as failed:
            self.tell("danger", "Not checked.", str(failed))
        else:
            self._show([finding for finding in findings if concerns_docker(finding)])

    def _show(self, findings: list[Finding]) -> None:
        while (item := self._lines.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.deleteLater()
        missing = [finding.component for finding in findings if finding.state != "works"]
        if not findings:
            self.tell("quiet", "Not available.", "This version’s check doesn’t look for Docker or a GPU yet.")
        elif missing:
            self.tell("held", "Not ready.", f"{listed(missing)} would have to work first.")
        else:
            self.tell("ok", "This machine can run it.", "Choose a model and start it on the Machine page.")
        for finding in findings:
            line = ResultLine()
            tell_finding(line, finding)
            self._lines.addWidget(line)
        self.open_machine.show()
        self.detail.show()


class AnthropicKey(Choice):
    """The key is typed here into a password field, tested, and stored; the field is then emptied.

    Signals: ``done_one`` when a key is stored.
    """

    done_one = Signal()

    def __init__(self, bridge: Bridge) -> None:
        super().__init__("key", "I have an Anthropic key", "Stored in your system keyring.")
        self._bridge = bridge
        self._tasks = Tasks(self)
        self.edit = QLineEdit()
        self.edit.setEchoMode(QLineEdit.EchoMode.Password)
        self.edit.setPlaceholderText("Paste a key that starts with sk-ant-")
        self.edit.setAccessibleName("Anthropic API key")
        self.edit.returnPressed.connect(self._pressed)
        self.edit.textChanged.connect(self._typed)
        self.edit.hide()
        self._has_key = False
        self.button = QPushButton()
        self._name_button()
        self.button.clicked.connect(self._pressed)
        self.controls.addWidget(self.edit)
        self.controls.addWidget(self.button)
        bridge.status_changed.connect(self.show_status)
        theme().changed.connect(self._restyle_edit)
        self._restyle_edit()

    def _restyle_edit(self) -> None:
        self.edit.setFixedWidth(theme().px(250))

    def show_status(self, status: CoreStatus) -> None:
        """Say whether a key is there already, and where it comes from."""
        if status.api.phase == "checking":
            return
        settings = self._bridge.core.settings
        had_key, self._has_key = self._has_key, status.api.phase != "no_key"
        place = ORIGIN_PLACES.get(settings.origin("anthropic_api_key"))
        limit = f"A monthly limit of ${settings.current.spend_limit_dollars:,f} is set; change it any time."
        if not self._has_key:
            self.sentence.setText(f"Stored in your system keyring. {limit}")
        elif status.api.phase == "key_held_back":
            self.sentence.setText(
                "A key is set, and held back: it belongs to another address (Preferences, Providers)."
            )
        elif place is not None:
            self.sentence.setText(f"A key is set: ANTHROPIC_API_KEY in {place}. {limit}")
        else:
            self.sentence.setText(f"A key is set. {limit}")
        if had_key and not self._has_key:
            self.untell()  # "Stored." was true once
        # A key typed here would not be used while the environment's wins.
        self.button.setHidden(self._has_key and place is not None and self.edit.isHidden())
        if self.edit.isHidden() and had_key != self._has_key:
            self._name_button()

    def _name_button(self) -> None:
        self.button.setText("Replace it" if self._has_key else "Add a key")
        self.button.setAccessibleName(
            "Replace the Anthropic key" if self._has_key else "Add an Anthropic key"
        )

    def _typed(self, text: str) -> None:
        self.button.setEnabled(bool(text.strip()))
        set_property(self.edit, tone="")
        self.untell()

    def _pressed(self) -> None:
        if self.edit.isHidden():
            self.edit.show()
            self.button.setText("Save")
            self.button.setAccessibleName("Save the Anthropic key")
            self.button.setEnabled(False)
            self.edit.setFocus()
        elif self._bridge.status is None:
            self.tell("busy", "", NOT_READY)
        elif self.edit.text().strip() and not self._tasks.runs("save"):
            self._tasks.start(self._save(self.edit.text().strip()), key="save")

    async def _save(self, key: str) -> None:
        self.tell("busy", "Testing", "the key; nothing is charged")
        core = self._bridge.core
        tested = ""
        try:
            found = await self._bridge.call(core.test_key("anthropic", key))
            tested = f"{len(found.models):,} models in {found.latency_ms:,.0f} ms."
        except KeyHeldBack as held_back:
            tested = f"It was not tested: {held_back.message}"
        except AuthenticationFailed as refused:
            set_property(self.edit, tone="danger")
            self.tell("danger", "Refused.", f"{refused} It was not stored.")
            return
        except SignalboxError as failed:
            # The network may be down while the key is fine, so it is kept and that is said.
            tested = f"It could not be tested: {failed.message}"
        try:
            status = await self._bridge.call(core.set_key("anthropic", key))
        except SignalboxError as failed:
            self.tell("danger", "Not stored.", str(failed))
            return
        self.edit.clear()
        self.edit.hide()
        self._has_key = True
        self._name_button()
        self.button.setEnabled(True)
        self.button.setFocus()
        if status.held_back is not None:
            self.tell(
                "held",
                "Kept, but held back.",
                f"{tested} Preferences, Providers, asks whether it may go there.",
            )
        elif status.stored_in == "keyring":
            self.tell("ok", "Stored.", tested)
        else:
            self.tell("held", "Kept for this run only.", f"{status.message} {tested}")
        self.done_one.emit()


def concerns_docker(finding: Finding) -> bool:
    return any(word in finding.component.lower() for word in DOCKER_COMPONENTS)


def with_scheme(address: str) -> str:
    """Take ``192.168.1.40:8000`` as well: add ``http://`` and, where there is no path, ``/v1``."""
    if not address:
        return ""
    if "://" not in address:
        address = f"http://{address}"
    scheme, _, rest = address.partition("://")
    if "/" not in rest.rstrip("/"):
        address = f"{scheme}://{rest.rstrip('/')}/v1"
    return address


def is_address(address: str) -> bool:
    """Whether ``address`` can be called at all: http or https, a host without blanks, a port that exists."""
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises where it is no port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"\s", address)
