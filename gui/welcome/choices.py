"""The four ways to start. Each tests what it sets up and says what it found, in its row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from core import is_near
from core.errors import AuthenticationFailed, KeyHeldBack, SignalboxError
from gui.shell.tasks import Tasks
from gui.theme.theme import set_property, theme
from gui.widgets.finding import tell_finding
from gui.widgets.labels import ORIGIN_PLACES, ResultLine, Tone, label, plain_label
from gui.widgets.question import Question

if TYPE_CHECKING:
    from core import CoreStatus, Finding
    from gui.shell.bridge import Bridge


ROW_PX = 64


class Choice(QWidget):
    """The sentence stands until there is a result; then the result stands in its place."""

    def __init__(self, icon: str, name: str, sentence: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._icon_name = icon
        self._icon = plain_label()
        self.name = name
        self._detail: QWidget | None = None
        self.sentence = label(sentence, "small", level="2", wrap=True)
        self.result = ResultLine()
        words = QVBoxLayout()
        words.setSpacing(1)
        words.addStretch(1)
        words.addWidget(label(name, "body", weight=600))
        words.addWidget(self.sentence)
        words.addWidget(self.result)
        words.addStretch(1)
        self.controls = QHBoxLayout()
        self.controls.setSpacing(16)
        self._top = QWidget()
        top = QHBoxLayout(self._top)
        top.setContentsMargins(16, 6, 16, 6)
        top.setSpacing(16)
        top.addWidget(self._icon)
        top.addLayout(words, 1)
        top.addLayout(self.controls)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(0)
        self._layout.addWidget(self._top)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        theme().changed.connect(self._restyle)
        self._restyle()

    def add_detail(self, detail: QWidget) -> None:
        """Put ``detail`` under the row, in line with its words; hidden until it is needed."""
        self._detail = detail
        self._layout.addWidget(detail)
        detail.hide()
        self._restyle()

    def tell(self, tone: Tone, word: str, text: str = "") -> None:
        self.sentence.hide()
        self.result.tell(tone, word, text)

    def untell(self) -> None:
        self.result.clear()
        self.sentence.show()

    def _restyle(self) -> None:
        size = theme().px(24)
        self._icon.setPixmap(theme().icon(self._icon_name, "text2").pixmap(size, size))
        self._icon.setFixedWidth(size)
        self._top.setMinimumHeight(theme().px(ROW_PX))
        if self._detail is not None:
            self._detail.setContentsMargins(16 + size + 16, 0, 16, 12)


COMPOSE_COMMAND = "VLLM_MODEL=Qwen/Qwen2.5-7B-Instruct docker compose up -d"
DOCKER_COMPONENTS = ("docker", "compose", "nvidia", "gpu")
NOT_READY = "Signalbox is still starting; it takes a second."


class TryNow(Choice):
    """Signals: ``open_chat`` when the model answers and the user goes on."""

    open_chat = Signal()

    def __init__(self, bridge: Bridge) -> None:
        super().__init__(
            "play-circle",
            "Try it now",
            "A small model on this computer’s CPU. No key, no GPU, no download; its answers are often wrong.",
        )
        self._bridge = bridge
        self._tasks = Tasks(self)
        self._asked = False
        self.ready = False
        self.button = QPushButton("Start the small model")
        set_property(self.button, primary=True)
        self.button.clicked.connect(self._pressed)
        self.controls.addWidget(self.button)
        bridge.status_changed.connect(self.show_status)

    def _pressed(self) -> None:
        if self.ready:
            self.open_chat.emit()
        elif self._bridge.status is None:
            self.tell("busy", "", NOT_READY)
        elif not self._tasks.runs("start"):
            self._asked = True
            self._tasks.start(self._start(), key="start")

    async def _start(self) -> None:
        self.tell("busy", "Starting", "the small model")
        settings = self._bridge.core.settings
        try:
            # "auto" may mean a vLLM server whose address is set; this button means the small model.
            if self._kind() != "embedded":
                await self._bridge.run_blocking(settings.set, "local_server", "embedded")
            if settings.current.local_server not in ("auto", "embedded"):
                self.tell("held", "Not started.", _wins("LOCAL_SERVER", settings.origin("local_server")))
                return
            await self._bridge.call(self._bridge.core.start_local())
        except SignalboxError as failed:
            self.tell("danger", "Not started.", str(failed))
        if self._bridge.status is not None:
            self.show_status(self._bridge.status)

    def _kind(self) -> str:
        return self._bridge.status.local.kind if self._bridge.status is not None else "none"

    def show_status(self, status: CoreStatus) -> None:
        local = status.local
        was_ready, self.ready = self.ready, local.phase == "ready" and local.kind == "embedded"
        if self.ready:
            name = local.model or "The model"
            self.tell(
                "ok", "Ready.", f"{name} answers on this computer. It is for trying out: often it is wrong."
            )
            self.button.setText("Open the chat")
            self.button.setEnabled(True)
            if self._asked and not was_ready:
                self.button.setFocus()
            return
        self.button.setText("Start the small model")
        if local.phase == "starting" and local.kind == "embedded":
            left = "" if local.eta_s is None else f", about {max(1, round(local.eta_s))} s left"
            self.tell("busy", "Starting.", f"{(local.detail or 'Loading').capitalize()}{left}")
        elif local.phase == "failed" and self._asked:
            self.tell("danger", "Failed.", f"{local.detail}. Its log is on the Machine page.")
        elif was_ready:
            self.untell()


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
                self.tell("held", "Found, but not used.", _wins(name.upper(), settings.origin(name)))
                return
        count = "1 model" if len(models) == 1 else f"{len(models):,} models"
        names = ", ".join(models[:2]) + (" and more" if len(models) > 2 else "")
        listed = (
            f"Found {count}, {names}, in {latency_ms:,.0f} ms."
            if models
            else "It answers, but lists no model."
        )
        if address.startswith("http://") and not is_near(address):
            self.tell("held", "", f"{listed} It is not encrypted: others on the way can read what is sent.")
        else:
            self.tell("ok" if models else "held", "", listed)
        self.done_one.emit()


class DockerAndGpu(Choice):
    """Looks, and says what it would take; it never pulls or starts anything."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__(
            "cube",
            "I have Docker and a GPU",
            "Checks Docker, the driver and the GPU. Nothing is pulled or started.",
        )
        self._bridge = bridge
        self._tasks = Tasks(self)
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
            self.tell("held", "Not ready.", f"{_listed(missing)} would have to work first.")
        else:
            self.tell("ok", "This machine can run it.", "Start the container with the command below.")
        for finding in findings:
            line = ResultLine()
            tell_finding(line, finding)
            self._lines.addWidget(line)
        self._lines.addSpacing(4)
        self._lines.addWidget(
            label(
                "Starting the container from this window comes in a later version. Until then, in the folder of "
                "docker-compose.yml, run this, then connect to http://127.0.0.1:8000/v1 in the row above:",
                "small",
                level="2",
                wrap=True,
            )
        )
        command = QLineEdit(COMPOSE_COMMAND)
        command.setReadOnly(True)
        command.setAccessibleName("The command that starts the vLLM container")
        set_property(command, role="mono", compact=True)
        self._lines.addWidget(command)
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


def _wins(name: str, origin: str) -> str:
    return f"{name} is set in {ORIGIN_PLACES.get(origin, origin)}, and that wins. Unset it there, then try again."


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
