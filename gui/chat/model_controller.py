"""The model of the chat that is shown: chosen from what the sides list, remembered, and missed before sending."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import shiboken6
from PySide6.QtCore import QObject
from PySide6.QtWidgets import QWidget

from core.chat import Side
from gui.chat.open_conversations import OpenConversations
from gui.chat.route_preview import RoutePreview
from gui.chat.session import Session
from gui.chat.storage.models import ChatOptions
from gui.chat.view import ChatView
from gui.shell.model_lists import SIDES, ModelListReader
from gui.shell.pages import Shell, Target
from gui.shell.tasks import Tasks
from gui.theme.appearance import panel_file
from gui.widgets.formatting import SIDE_WORDS
from gui.widgets.model_picker import ModelChoice, ModelPicker, context_words, price_words

if TYPE_CHECKING:
    from core import CoreStatus

FOR_NEW_KEY = "chat/model_for_new"
FOR_NEW_SIDE_KEY = "chat/side_for_new"
ANTHROPIC_KEY = Target("preferences", "providers", "anthropic")


class ChatVerbs(Protocol):
    """What choosing a model needs of the chat's controller."""

    @property
    def session(self) -> Session: ...

    @property
    def preview(self) -> RoutePreview: ...

    @property
    def conversations(self) -> OpenConversations: ...

    def focus_composer(self) -> None: ...


class ModelController(QObject):
    """A model that one side serves decides the side; so the side's switch and the model never disagree."""

    def __init__(self, chat: ChatVerbs, shell: Shell, tasks: Tasks, view: ChatView) -> None:
        super().__init__(view)
        self._chat, self._bridge, self._home, self._view = chat, shell.bridge, shell.home, view
        self._shell = shell
        self.lists = ModelListReader(shell.bridge, tasks, self)
        self.lists.changed.connect(self._on_list)
        self.picker: ModelPicker | None = None
        self._is_started = False
        self._local: object = None
        self._for_new = self._kept_for_new()
        chat.conversations.shapers.append(self.for_new)
        view.model_asked.connect(self.open_picker)

    def start(self) -> None:
        """The core runs: from now on its lists can be asked for."""
        self._is_started = True
        if self._chat.session.is_blank:
            self._chat.session.set_options(self.for_new(self._chat.session.options))
            self._view.composer.set_side(self._chat.session.options.force)
        self._bridge.status_changed.connect(self._on_status)
        self.show()

    # Choosing

    def open_picker(self, anchor: QWidget) -> None:
        """Open the choice at ``anchor``; what was read before is there at once, and is read again."""
        if not self._is_started:
            return
        options = self._chat.session.options
        is_for_new = options.model is not None and self._for_new.model == options.model
        # Where a side is chosen and no model of it, nothing of the list is: not Auto either.
        current = "" if options.model is None and options.force is not None else options.model
        picker = ModelPicker(current, self._view, for_new=is_for_new, offers_key=True)
        picker.chosen.connect(self.choose)
        picker.refresh_asked.connect(lambda: self.lists.read(*SIDES, refresh=True))
        picker.key_asked.connect(lambda: self._shell.open(ANTHROPIC_KEY))
        picker.for_new_changed.connect(self._on_for_new)
        self.picker = picker
        for side in SIDES:
            picker.show_list(self.lists.latest(side), is_reading=True)
        self.lists.read(*SIDES)
        picker.popup_at(anchor, align="right", focus=picker.search)

    def choose(self, choice: ModelChoice) -> None:
        """Ask this chat's prompts of a model from now on, or let Signalbox decide again."""
        if self.picker is not None and shiboken6.isValid(self.picker) and self.picker.for_new.isChecked():
            self._keep_for_new(choice)
        session = self._chat.session
        options = self._with(session.options, choice)
        session.set_options(replace(options, force=None) if choice.model is None else options)
        self._view.composer.set_side(session.options.force)
        self.show()
        self._chat.preview.changed()
        self._chat.focus_composer()

    def keep_to(self, side: Side | None) -> None:
        """The user chose a side: a model of the other one can't be meant any more."""
        session = self._chat.session
        model = session.options.model
        if model is None or side is None or not self._is_started or self.has(side, model):
            return
        before = session.options
        session.set_options(replace(before, model=None))
        self.show()
        self._view.toasts.show(
            f"{self._name(model)} is not on {SIDE_WORDS[side]}: the model is {SIDE_WORDS[side]}’s own now"
        )

    def on_side(self, options: ChatOptions, side: Side) -> ChatOptions:
        """Return ``options`` for ``side``: with the model they name where the side has it, else with its own."""
        has_model = options.model is not None and self.has(side, options.model)
        return replace(options, force=side, model=options.model if has_model else None)

    def for_new(self, options: ChatOptions) -> ChatOptions:
        """Return ``options`` with the model that new chats begin with."""
        return self._with(options, self._for_new)

    def _with(self, options: ChatOptions, choice: ModelChoice) -> ChatOptions:
        if choice.model is None:
            forced = options.force if options.model is None else None
            return replace(options, model=None, force=forced)
        if not self._is_started or choice.side is None:
            return replace(options, model=choice.model, force=choice.side)
        other: Side = "api" if choice.side == "local" else "local"
        # Named, it is routed to the side that has it. Where both do, the one it was chosen of is meant.
        force = choice.side if self.has(other, choice.model) else None
        return replace(options, model=choice.model, force=force)

    def has(self, side: Side, model: str) -> bool:
        """Whether a side can be asked for a model, as far as its list says."""
        if side == "api" and model.startswith("claude"):
            return True
        return self.lists.latest(side).find(model) is not None

    # What new chats begin with

    def _on_for_new(self, is_on: bool) -> None:
        model = self._chat.session.options.model
        side = None if model is None else self.lists.side_of(model)
        self._keep_for_new(ModelChoice(model=model, side=side) if is_on else ModelChoice(model=None))

    def _keep_for_new(self, choice: ModelChoice) -> None:
        self._for_new = choice
        kept = panel_file(self._home)
        kept.setValue(FOR_NEW_KEY, choice.model or "")
        kept.setValue(FOR_NEW_SIDE_KEY, choice.side or "")

    def _kept_for_new(self) -> ModelChoice:
        kept = panel_file(self._home)
        model, side = (str(kept.value(key, "") or "") for key in (FOR_NEW_KEY, FOR_NEW_SIDE_KEY))
        known: Side | None = next((each for each in SIDES if each == side), None)
        return ModelChoice(model=model or None, side=known if model else None)

    # What is shown

    def show(self) -> None:
        """Show the chat's model in its head and in the drawer, and look whether it is still there."""
        model = self._chat.session.options.model
        if model is not None and self._is_started:
            self.lists.read(self.lists.side_of(model))
        self._show_known()

    def _show_known(self) -> None:
        options = self._chat.session.options
        model = options.model
        if model is None and options.force is not None:
            side = options.force
            default = self.lists.latest(side).default_model if self._is_started else None
            own = f"its own model, {default}" if default else "its own model"
            name, why, note = SIDE_WORDS[side], f"You chose {SIDE_WORDS[side]}, which answers with {own}.", ""
        elif model is None:
            name, side, why, note = "Auto", None, "Signalbox decides where each prompt goes.", ""
        elif not self._is_started:
            name, side, why, note = model, None, "", ""
        else:
            side = self.lists.side_of(model)
            name, why = self._name(model), self._about(side, model)
            note = self._missing(side, model)
        self._view.header.set_model(name, side, note or why, tone="danger" if note else "")
        self._view.drawer.show_model(name, note or why, is_missing=bool(note))
        self._view.composer.set_model_note(note)

    def _name(self, model: str) -> str:
        listed = self.lists.latest(self.lists.side_of(model)).find(model)
        return (listed.name if listed is not None else "") or model

    def _about(self, side: Side, model: str) -> str:
        listed = self.lists.latest(side).find(model)
        if listed is None:
            return f"On {SIDE_WORDS[side]}."
        price = (
            f"{price_words(listed, side)} a million tokens" if side == "api" else price_words(listed, side)
        )
        return f"On {SIDE_WORDS[side]}: {price}, {context_words(listed)}."

    def _missing(self, side: Side, model: str) -> str:
        if not self.lists.latest(side).lacks(model):
            return ""
        server = "Anthropic’s API" if side == "api" else "The local server"
        return f"{server} does not list {model} any more. Choose another model, or Auto, before you send."

    def _on_list(self, side: str) -> None:
        if self.picker is not None and not shiboken6.isValid(self.picker):
            self.picker = None
        for each in SIDES:
            if each == side and self.picker is not None:
                self.picker.show_list(self.lists.latest(each), is_reading=self.lists.is_reading(each))
        self._show_known()

    def _on_status(self, status: CoreStatus) -> None:
        """What the local server serves may be another model now."""
        local = (status.local.phase, status.local.model, status.local.models)
        if local != self._local:
            self._local = local
            if self._chat.session.options.model is not None:
                self.lists.read("local")
