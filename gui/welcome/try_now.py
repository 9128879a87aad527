"""A model on this machine at once: the small one, the best one that fits, or a server that runs here already."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QPushButton

from core.errors import AuthenticationFailed, SignalboxError
from gui.shell.tasks import Tasks
from gui.theme.theme import set_property
from gui.welcome.choice import NOT_READY, Choice, wins
from gui.widgets.download_row import DownloadRow
from gui.widgets.formatting import time_left
from gui.widgets.model_words import best_offer, disk_problem, offer_words, server_facts, server_question

if TYPE_CHECKING:
    from core import CoreStatus, CuratedModel, FoundServer, ModelShelf
    from gui.shell.bridge import Bridge

SMALL_MODEL = (
    "A small model on this computer’s CPU. No key, no GPU, no download; its answers are often wrong."
)


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
        self._got = self._better = self._no_room = ""
        self.get = QPushButton()
        self.get.clicked.connect(self._get_pressed)
        self.get.hide()
        self.button = QPushButton("Start the small model")
        set_property(self.button, primary=True)
        self.button.clicked.connect(self._pressed)
        self.token = QPushButton("Add a token")
        self.token.setAccessibleName("Add a Hugging Face token")
        self.token.clicked.connect(self.token_asked)
        self.token.hide()
        self.controls.addWidget(self.token)
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
                self.tell("held", "Not started.", wins("LOCAL_SERVER", settings.origin("local_server")))
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
                    f"{name} answers on this computer. It is for trying out: often it is wrong."
                    + (f" Better: {self._better}." if self._better else f" {self._no_room}".rstrip()),
                )
            self.button.setText("Open the chat")
            self.button.setEnabled(True)
            if self._asked and not was_ready:
                self.button.setFocus()
            return
        self.button.setText("Start the small model")
        if local.phase == "starting" and local.kind == "embedded":
            left = "" if local.eta_s is None else f", {time_left(local.eta_s)}"
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
        self._no_room = (
            ""
            if offer is None or not problem
            else f"No room for {offer.name}: {problem[0].lower()}{problem[1:]}"
        )
        self._better = "" if offer is None or problem or is_going else offer_words(offer, shelf)
        if self.ready and self._bridge.status is not None:
            self.show_status(self._bridge.status)
        if offer is None:
            self.sentence.setText(SMALL_MODEL)
        elif problem:
            self.sentence.setText(f"{SMALL_MODEL} {self._no_room}")
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
        self.token.hide()
        try:
            models = self._bridge.core.local_models
            self._download_id = await self._bridge.call(models.download(model_id))
            # By the core: whoever opens the chat meanwhile takes this page, and what it waits for, away.
            await self._bridge.call(models.use_when_done(self._download_id))
        except SignalboxError as failed:
            self.token.setVisible(isinstance(failed, AuthenticationFailed))
            self.tell("danger", "Not started.", str(failed))
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
            if verb == "resume":
                await self._bridge.call(models.use_when_done(download_id))
        except SignalboxError as failed:
            self.tell("danger", "That didn’t work.", str(failed))


class FoundHere(Choice):
    """A server that runs on this machine already, by one click.

    Signals: ``done_one`` when it is the local side; ``keyboard_left`` where its button had the keyboard and goes.
    """

    done_one = Signal()
    keyboard_left = Signal()

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
            others = [one.name for one in found if one is not self.server]
            more = f" · {', '.join(others)} too: Machine, Models" if others else ""
            self.sentence.setText(f"{server_facts(self.server)}{more}")
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
        self.name_label.setText(f"{server.name} is the local side")
        self.tell("ok", "Done.", server_facts(server))
        self.done_one.emit()
        if self.button.hasFocus():  # hidden, it would hand the keyboard to "Get", which loads down gigabytes
            self.keyboard_left.emit()
        self.button.hide()
