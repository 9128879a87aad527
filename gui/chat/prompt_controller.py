"""Saved prompts: system prompts with a name, picked, kept, renamed and deleted at the drawer's system prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Protocol

from PySide6.QtCore import QObject, QPoint, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QMenu, QPushButton, QWidget

from core import shortened
from gui.chat.open_conversations import OpenConversations
from gui.chat.route_preview import RoutePreview
from gui.chat.session import Session
from gui.chat.storage.file import StoreTrouble
from gui.chat.storage.models import MOST_PROMPT_NAME_CHARS, ChatOptions, SavedPrompt
from gui.chat.storage.store import ConversationStore
from gui.chat.storage.write_behind import WriteBehindStore
from gui.chat.view import ChatView
from gui.theme.theme import set_property, theme
from gui.widgets.painted_button import settle_after
from gui.widgets.popover import Popover

SHOWN_NAME_CHARS = 40
_WIDTH_PX = 320


class ChatVerbs(Protocol):
    """What saved prompts need of the chat's controller."""

    @property
    def session(self) -> Session: ...

    @property
    def preview(self) -> RoutePreview: ...

    @property
    def conversations(self) -> OpenConversations: ...

    @property
    def store(self) -> WriteBehindStore: ...

    def show_options(self) -> None: ...


class NamePopover(Popover):
    """Asks for a name. Signals: ``named`` with it, not empty."""

    named = Signal(str)

    def __init__(self, title: str, name: str, verb: str, parent: QWidget) -> None:
        super().__init__(title, parent, width_px=_WIDTH_PX)
        self.edit = QLineEdit(name)
        self.edit.setMaxLength(MOST_PROMPT_NAME_CHARS)
        self.edit.setPlaceholderText("Name")
        self.edit.setAccessibleName(title)
        self.edit.selectAll()
        self.button = QPushButton(verb)
        set_property(self.button, primary=True, compact=True)
        self.edit.textChanged.connect(self._on_text)
        self.edit.returnPressed.connect(self._take)
        self.button.clicked.connect(self._take)
        row = QHBoxLayout()
        row.setSpacing(theme().px(6))
        row.addWidget(self.edit, 1)
        row.addWidget(self.button)
        self.column.addLayout(row)
        self._on_text()

    def _on_text(self) -> None:
        self.button.setEnabled(bool(self.edit.text().strip()))

    def _take(self) -> None:
        name = " ".join(self.edit.text().split())
        if name:
            self.close()
            self.named.emit(name)


class PromptController(QObject):
    """A chat keeps the text that it was given: what becomes of a saved prompt later changes no chat."""

    def __init__(self, chat: ChatVerbs, view: ChatView) -> None:
        super().__init__(view)
        self._chat, self._view = chat, view
        self.prompts: tuple[SavedPrompt, ...] = ()
        self._picked: dict[str, str] = {}
        self._gone: set[str] = set()
        self.menu: QMenu | None = None
        self.naming: NamePopover | None = None
        chat.conversations.shapers.append(self.for_new)
        view.drawer.prompts_asked.connect(self.open_menu)

    async def start(self) -> None:
        """Read what is kept; an empty chat that is shown begins with the default one."""
        self._view.drawer.changed.connect(self.show)  # after the chat has taken it
        try:
            self.prompts = await self._chat.store.read(ConversationStore.prompts)
        except StoreTrouble as problem:
            self._view.show_error(f"Your saved prompts can’t be read. {problem.message} {problem.hint}")
            return
        session = self._chat.session
        if session.is_blank:
            session.set_options(self.for_new(session.options))
        self.show()

    async def take_imported(self) -> None:
        """Offer also what an import has put into the file."""
        try:
            kept = await self._chat.store.read(ConversationStore.prompts)
        except StoreTrouble as problem:
            self._view.show_error(f"Your saved prompts can’t be read. {problem.message} {problem.hint}")
            return
        known = {prompt.id for prompt in self.prompts} | self._gone
        has_default = any(prompt.is_default for prompt in self.prompts)
        new = [
            replace(prompt, is_default=prompt.is_default and not has_default)
            for prompt in kept
            if prompt.id not in known
        ]
        self.prompts = _ordered([*self.prompts, *new])
        self.show()

    def for_new(self, options: ChatOptions) -> ChatOptions:
        """Return ``options`` with the prompt that new chats begin with, where they have none."""
        default = next((prompt for prompt in self.prompts if prompt.is_default), None)
        return options if default is None or options.system else replace(options, system=default.text)

    # What the user does

    def open_menu(self) -> None:
        """Offer the saved prompts, and what can be done with them."""
        menu = self.menu = QMenu(self._view)
        menu.setToolTipsVisible(True)
        current, text = self.current, self._chat.session.options.system
        for prompt in self.prompts:
            self._add(menu, prompt.name, lambda prompt=prompt: self.pick(prompt), checked=prompt is current)
        if not self.prompts:
            menu.addAction("No prompt is saved yet").setEnabled(False)
        menu.addSeparator()
        self._add(menu, "Save as…", lambda: self._ask_name(None)).setEnabled(bool(text.strip()))
        if current is not None and current.text != text and text.strip():
            self._add(menu, f"Update “{_short(current)}”", lambda: self.update_text(current))
        for prompt in self.prompts:
            self._add_submenu(menu, prompt)
        anchor = self._view.drawer.prompts_button
        menu.aboutToHide.connect(menu.deleteLater)
        settle_after(menu, anchor)
        menu.popup(anchor.mapToGlobal(QPoint(0, anchor.height() + 2)))

    def pick(self, prompt: SavedPrompt) -> None:
        """Give the chat the text of a saved prompt."""
        before = self._chat.session.options.system
        self._picked[self._chat.session.id] = prompt.id
        self._set_text(prompt.text)
        if before.strip() and not any(saved.text == before for saved in self.prompts):
            session = self._chat.session
            self._view.toasts.show(
                f"“{_short(prompt)}” took the place of what was typed",
                "Undo",
                lambda: self._undo(session, before),
            )

    def save_as(self, name: str) -> None:
        """Keep the chat's system prompt under ``name``; one of that name has its text replaced."""
        text = self._chat.session.options.system
        same = next((prompt for prompt in self.prompts if prompt.name.casefold() == name.casefold()), None)
        if same is not None:
            self.update_text(same)
            return
        prompt = SavedPrompt(name=name, text=text)
        self._picked[self._chat.session.id] = prompt.id
        self._keep(prompt)
        self._view.toasts.show(f"Saved as “{_short(prompt)}”", icon="check-circle-fill")

    def update_text(self, prompt: SavedPrompt) -> None:
        """Give a saved prompt the chat's text."""
        self._picked[self._chat.session.id] = prompt.id
        self._keep(replace(prompt, text=self._chat.session.options.system))
        self._view.toasts.show(f"Updated “{_short(prompt)}”", "Undo", lambda: self._keep(prompt))

    def rename(self, prompt: SavedPrompt, name: str) -> None:
        self._keep(replace(prompt, name=name))

    def set_default(self, prompt: SavedPrompt, is_default: bool) -> None:
        """Let new chats begin with a prompt, or with none."""
        self._keep(replace(prompt, is_default=is_default))

    def delete(self, prompt: SavedPrompt) -> None:
        """Forget a saved prompt; the toast brings it back, and every chat keeps its text."""
        self.prompts = tuple(each for each in self.prompts if each.id != prompt.id)
        self._gone.add(prompt.id)
        self._write()
        self._view.toasts.show(f"Deleted “{_short(prompt)}”", "Undo", lambda: self._keep(prompt), "trash")

    @property
    def current(self) -> SavedPrompt | None:
        """The prompt that the chat's text is, or was picked from."""
        session = self._chat.session
        same = next((prompt for prompt in self.prompts if prompt.text == session.options.system), None)
        picked = self._picked.get(session.id) if session.options.system.strip() else None
        return same or next((prompt for prompt in self.prompts if prompt.id == picked), None)

    # Inside

    def _add_submenu(self, menu: QMenu, prompt: SavedPrompt) -> None:
        if prompt is self.prompts[0]:
            menu.addSeparator()
        own = menu.addMenu(f"Manage “{_short(prompt)}”".replace("&", "&&"))
        self._add(own, "Rename…", lambda: self._ask_name(prompt))
        self._add(
            own,
            "New chats begin with it",
            lambda: self.set_default(prompt, not prompt.is_default),
            checked=prompt.is_default,
        )
        own.addSeparator()
        self._add(own, "Delete", lambda: self.delete(prompt))

    @staticmethod
    def _add(menu: QMenu, words: str, act: Callable[[], object], *, checked: bool | None = None) -> QAction:
        action = menu.addAction(shortened(words, 60).replace("&", "&&"))
        if checked is not None:
            action.setCheckable(True)
            action.setChecked(checked)
        action.triggered.connect(lambda: act())
        return action

    def _ask_name(self, prompt: SavedPrompt | None) -> None:
        title, verb = ("Name of the prompt", "Save") if prompt is None else ("New name", "Rename")
        naming = self.naming = NamePopover(title, "" if prompt is None else prompt.name, verb, self._view)
        naming.named.connect(self.save_as if prompt is None else partial(self.rename, prompt))
        naming.popup_at(self._view.drawer.prompts_button, focus=naming.edit)

    def _keep(self, prompt: SavedPrompt) -> None:
        others = [each for each in self.prompts if each.id != prompt.id]
        if prompt.is_default:
            others = [replace(each, is_default=False) for each in others]
        self.prompts = _ordered([*others, prompt])
        self._gone.discard(prompt.id)
        self._write()

    def _write(self) -> None:
        """All at once: what was deleted and brought back must not be written in another order."""
        kept, gone = self.prompts, tuple(self._gone)
        self._chat.store.put(("prompts", ""), lambda store: store.save_prompts(kept, gone))
        self.show()

    def _set_text(self, text: str) -> None:
        session = self._chat.session
        session.set_options(replace(session.options, system=text))
        self._chat.show_options()
        self._chat.preview.changed()
        self.show()

    def _undo(self, session: Session, text: str) -> None:
        if session is self._chat.session:
            self._set_text(text)

    def show(self) -> None:
        """Show at the drawer which saved prompt the chat has."""
        current = self.current
        changed = current is not None and current.text != self._chat.session.options.system
        self._view.drawer.show_prompt(None if current is None else current.name, is_changed=changed)


def _ordered(prompts: Iterable[SavedPrompt]) -> tuple[SavedPrompt, ...]:
    return tuple(sorted(prompts, key=lambda each: (each.name.casefold(), each.id)))


def _short(prompt: SavedPrompt) -> str:
    return shortened(prompt.name, SHOWN_NAME_CHARS)
