"""The Chat page as the shell knows it: its view, its controller, and what they say to the window."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PySide6.QtWidgets import QWidget

from gui.chat.controller import ChatController
from gui.chat.failures.cards import paused_title
from gui.chat.failures.plans import paused_sentence
from gui.chat.markdown.formulas import FormulaDrawer
from gui.chat.markdown.highlighter import LexerCache
from gui.chat.view import ChatView
from gui.shell.notices import Notice
from gui.shell.pages import FocusArea, Page, Shell, Target
from gui.shell.tasks import Tasks


class ChatPage(Page):
    """A target's section is the conversation to show; that is its place, too."""

    id = "chat"

    def __init__(self, shell: Shell) -> None:
        self._bridge = shell.bridge
        tasks = Tasks()
        self._formulas = FormulaDrawer()
        self.view = ChatView(LexerCache(shell.bridge.run_blocking, tasks, formulas=self._formulas))
        self.controller = ChatController(shell, tasks, self.view)
        self.view.hint.better_model_asked.connect(partial(shell.open, Target("machine", "models")))

    @property
    def widget(self) -> ChatView:
        return self.view

    @property
    def areas(self) -> Sequence[FocusArea]:
        view = self.view
        return (
            FocusArea(view.list, view.list.view),
            FocusArea(view.hint),
            FocusArea(view.thread_view, view.thread_view),
            FocusArea(view.composer, view.composer.edit),
            FocusArea(view.drawer),
        )

    @property
    def home(self) -> QWidget:
        return self.view.composer.edit

    async def start(self) -> None:
        await self.controller.start()

    async def stop(self) -> None:
        self._formulas.close()
        await self.controller.stop_all()

    def show(self, target: Target) -> None:
        if target.section:
            self.controller.open(target.section)

    @property
    def toasts_above(self) -> QWidget:
        return self.view.composer

    @property
    def place(self) -> str:
        return self.controller.session.id

    def restore(self, place: str) -> None:
        """Only where the conversations' file doesn't know: an earlier version left the place with the window."""
        if self.controller.session.is_blank and not self.controller.knows_place:
            self.controller.open(place)

    def notices(self, *, in_front: bool) -> Sequence[Notice]:
        """Ask about each paused conversation; in front, the page asks with its own card."""
        status = self._bridge.status
        if status is None:
            return ()
        failures = self.controller.failures
        titles = failures.paused_titles()
        return [
            Notice(
                key=f"paused: {paused.conversation}",
                title=paused_title(titles.get(paused.conversation)),
                text=paused_sentence(paused.per_minute),
                actions=(
                    ("Let it go on", partial(failures.resume, paused.conversation)),
                    ("Keep it paused", partial(failures.keep_paused, paused.conversation)),
                ),
                quiet=in_front,
            )
            for paused in status.paused
        ]
