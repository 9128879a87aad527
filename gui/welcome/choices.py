"""The four ways to start. Each tests what it sets up and says what it found, in its row."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from core import is_near
from core.errors import AuthenticationFailed, KeyHeldBack, SignalboxError
from gui.shell.tasks import Tasks
from gui.theme.theme import set_property, theme
from gui.widgets.download_row import DownloadRow
from gui.widgets.finding import tell_finding
from gui.widgets.labels import ORIGIN_PLACES, ResultLine, Tone, label, plain_label
from gui.widgets.model_words import best_offer, disk_problem, offer_words, server_facts, server_question
from gui.widgets.question import Question

if TYPE_CHECKING:
    from core import CoreStatus, CuratedModel, Finding, FoundServer, ModelShelf
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
        self.name_label = label(name, "body", weight=600)
        words.addWidget(self.name_label)
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


DOCKER_COMPONENTS = ("docker", "compose", "nvidia", "gpu")
SMALL_MODEL = (
    "A small model on this computer’s CPU. No key, no GPU, no download; its answers are often wrong."
)
NOT_READY = "Signalbox is still starting; it takes a second."


class TryNow(Choice):
    """The small model at once, and beside it the best one that fits this machine: loaded down, then used.

    Signals: ``open_chat`` when the model answers and the user goes on; ``token_asked`` where a model is gated.
    """

    open_chat = Signal()
    token_asked = Signal()

    def __init__(self, bridge: Bridge) -> None:
        super().__init__("play-circle", "Try it now", SMALL_MODEL)
        self._bridge = bridge
        self._tasks = Tasks(self)
        self._asked = False
        self.ready = False
        self._offer: CuratedModel | None = None
        self._download_id = ""
        self._got = self._better = ""
        self.get = QPushButton()
        self.get.clicked.connect(self._get_pressed)
        self.get.hide()
        self.button = QPushButton("Start the small model")
        set_property(self.button, primary=True)
        self.button.clicked.connect(self._pressed)
        self.controls.addWidget(self.get)
        self.controls.addWidget(self.button)
        self.progress = DownloadRow()
        self.progress.paused.connect(partial(self._on_download, "pause"))
        self.progress.resumed.connect(partial(self._on_download, "resume"))
        self.progress.cancelled.connect(partial(self._on_download, "cancel"))
        self.progress.token_asked.connect(self.token_asked)
        self.add_detail(self.progress)
        bridge.status_changed.connect(self.show_status)
        bridge.models_changed.connect(self.show_shelf)

    # The small model

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
        if self._tasks.runs("get"):
            return  # what becomes of the better model is told until it is there
        if self.ready:
            name = local.model or "The model"
            if self._got:
                self.tell("ok", "Ready.", f"{self._got} answers on this computer.")
            else:
                self.tell(
                    "ok",
                    "Ready.",
                    f"{name} answers on this computer. It is for trying out: often it is wrong.",
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

    # The better one

    def show_shelf(self, shelf: ModelShelf) -> None:
        """Offer the best model that fits, and show how its download is."""
        offer = self._offer = best_offer(shelf)
        download = next((one for one in shelf.downloads if one.id == self._download_id), None)
        if download is None:  # begun before the panel was started again
            download = next(
                (one for one in shelf.downloads if offer is not None and one.file == offer.file), None
            )
        is_going = download is not None and download.phase not in ("done", "cancelled")
        if download is not None:
            self.progress.show_download(download, can_use=False)
            if download.phase == "done" and download.id == self._download_id and not self._got:
                self._download_id = ""
                self._tasks.start(self._use(download.id, download.title), key="get")
        self.progress.setVisible(is_going)
        problem = "" if offer is None or offer.on_disk else disk_problem(offer, shelf)
        self.get.setVisible(offer is not None and not problem and not is_going and not self._got)
        self._better = "" if offer is None or problem or is_going else offer_words(offer, shelf)
        if self.ready and self._bridge.status is not None:
            self.show_status(self._bridge.status)
        if offer is None or problem:
            self.sentence.setText(SMALL_MODEL)
        else:
            verb = "Use" if offer.on_disk else "Get"
            self.get.setText(f"{verb} {offer.name}")
            self.get.setAccessibleName(f"{verb} {offer_words(offer, shelf)}")
            self.get.setToolTip(offer_words(offer, shelf))
            self.sentence.setText(
                f"{offer_words(offer, shelf)}. Or the small model at once, with no download; it is often wrong."
            )
        set_property(self.get, primary=offer is not None)
        set_property(self.button, primary=offer is None or problem != "" or is_going or bool(self._got))

    def _get_pressed(self) -> None:
        offer = self._offer
        if offer is not None and not self._tasks.runs("get"):
            job = self._use(offer.id, offer.name) if offer.on_disk else self._get(offer.id)
            self._tasks.start(job, key="get")

    async def _get(self, model_id: str) -> None:
        self._asked = True
        try:
            models = self._bridge.core.local_models
            self._download_id = await self._bridge.call(models.download(model_id))
        except SignalboxError as failed:
            self.tell("danger", "Not begun.", str(failed))
            return
        self.untell()
        if self._bridge.shelf is not None:
            self.show_shelf(self._bridge.shelf)

    async def _use(self, model_id: str, name: str) -> None:
        self.tell("busy", "Loading.", f"{name} is read into memory.")
        try:
            await self._bridge.call(self._bridge.core.local_models.load(model_id))
        except SignalboxError as failed:
            self.tell("danger", "Not loaded.", f"{failed} It is on disk: Machine, Models.")
            return
        status = await self._bridge.call(self._bridge.core.status())
        if status.local.phase != "ready":
            self.tell("danger", "Not loaded.", f"{status.local.detail} Its log is on the Machine page.")
            return
        self._got = name
        self.get.hide()
        self.ready = True
        self.tell("ok", "Ready.", f"{name} answers on this computer.")
        self.button.setText("Open the chat")
        set_property(self.button, primary=True)
        self.button.setFocus()

    def _on_download(self, verb: str) -> None:
        download = self.progress.download
        if download is not None:
            self._tasks.start(self._do(verb, download.id), key=verb)

    async def _do(self, verb: str, download_id: str) -> None:
        models = self._bridge.core.local_models
        calls = {"pause": models.pause, "resume": models.resume, "cancel": models.cancel}
        if verb == "resume":
            self._download_id = download_id  # one of an earlier run is used too, once it is done
        try:
            await self._bridge.call(calls[verb](download_id))
        except SignalboxError as failed:
            self.tell("danger", "That didn’t work.", str(failed))


class FoundHere(Choice):
    """A server that runs on this machine already, by one click. Signals: ``done_one`` when it is the local side."""

    done_one = Signal()

    def __init__(self, bridge: Bridge) -> None:
        super().__init__("desktop", "", "")
        self._bridge = bridge
        self._tasks = Tasks(self)
        self.server: FoundServer | None = None
        self.button = QPushButton("Use it")
        self.button.clicked.connect(self._pressed)
        self.controls.addWidget(self.button)

    def show_shelf(self, shelf: ModelShelf) -> bool:
        """Show the server with the most models that can chat; return whether there is one."""
        found = [one for one in shelf.servers if one.models and not one.wants_key]
        if found and not self.result.text:
            self.server = max(found, key=lambda one: len(one.models))
            self.name_label.setText(server_question(self.server))
            self.sentence.setText(server_facts(self.server))
            self.button.setAccessibleName(f"Use it: {self.server.name}")
        return bool(found) or bool(self.result.text)

    def _pressed(self) -> None:
        if self.server is not None and not self._tasks.runs("use"):
            self._tasks.start(self._use(self.server), key="use")

    async def _use(self, server: FoundServer) -> None:
        self.tell("busy", "Switching", f"to {server.name}")
        try:
            await self._bridge.call(self._bridge.core.local_models.use_server(server.base_url))
        except SignalboxError as failed:
            self.tell("danger", "Not used.", str(failed))
            return
        self.tell("ok", "Done.", f"{server.name} is the local side.")
        self.button.hide()
        self.done_one.emit()


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
    """Looks, and says what it would take; it never pulls or starts anything.

    Signals: ``machine_asked`` to go on there, at the section that is next: ``preflight`` or ``settings``.
    """

    machine_asked = Signal(str)

    def __init__(self, bridge: Bridge) -> None:
        super().__init__(
            "cube",
            "I have Docker and a GPU",
            "Checks Docker, the driver and the GPU. Nothing is pulled or started.",
        )
        self._bridge = bridge
        self._tasks = Tasks(self)
        self._section = "settings"
        self.open_machine = QPushButton("Set it up and start it")
        self.open_machine.setAccessibleName("Set up and start the vLLM container on the Machine page")
        self.open_machine.clicked.connect(self._open)
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
            self.tell("held", "Not ready.", f"{_listed(missing)} would have to work first.")
        else:
            self.tell("ok", "This machine can run it.", "Choose a model and start it on the Machine page.")
        for finding in findings:
            line = ResultLine()
            tell_finding(line, finding)
            self._lines.addWidget(line)
        self._section = "preflight" if missing else "settings"
        self.open_machine.show()
        self.detail.show()

    def _open(self) -> None:
        self.machine_asked.emit(self._section)


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
