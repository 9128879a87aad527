"""A provider's card begins with its key: what is stored (masked), where it may go, Test, Replace, Save and Delete.

A key is typed into a password field and leaves it the moment it is saved; no attribute of this class ever
holds one.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QWidget

from core.errors import AuthenticationFailed, KeyHeldBack, SignalboxError
from gui.shell.tasks import Tasks
from gui.theme.theme import set_button_icon, set_property, theme
from gui.widgets.card import Card
from gui.widgets.fields import read_only_sheet
from gui.widgets.labels import ResultLine, label
from gui.widgets.origin_tag import OriginTag
from gui.widgets.panel_words import without_commands
from gui.widgets.question import Question

if TYPE_CHECKING:
    from core import KeyName, KeyStatus
    from gui.shell.bridge import Bridge

State = Literal["loading", "empty", "stored", "replacing", "locked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyText:
    """The card's words. ``provider`` is its title, ``title`` the key's own, for questions and screen readers.

    ``setting`` is the name the key has in the environment, in lower case; ``kind`` what its owner calls it.
    """

    name: KeyName
    setting: str
    provider: str
    title: str
    sentence: str
    placeholder: str
    prefix: str = ""
    owner: str = ""
    kind: str = "API key"
    holds_from: str = "the next request"


class KeyCard(Card):
    """A stored key that is held back from the address in use has a button that asks whether it may go there.

    Signals: ``changed`` after the stored key was set, allowed somewhere or deleted.
    """

    changed = Signal()

    def __init__(self, bridge: Bridge, text: KeyText, parent: QWidget | None = None) -> None:
        super().__init__(text.provider, parent)
        self._bridge = bridge
        self.text = text
        self._tasks = Tasks(self)
        self._state: State = "loading"
        self._working = False
        self.status: KeyStatus | None = None
        self.dialog: Question | None = None
        self.tag = OriginTag("none")
        head = QHBoxLayout()
        head.addWidget(label(text.kind, "body", weight=600), 1)
        head.addWidget(self.tag)
        self.edit = QLineEdit()
        self.edit.setAccessibleName(text.title)
        self.edit.setAccessibleDescription(text.sentence)
        self.edit.setPlaceholderText(text.placeholder)
        self.edit.textChanged.connect(self._typed)
        self.edit.returnPressed.connect(self._save)
        self.setFocusProxy(self.edit)
        self.test = self._button("Test", "Test the {0}", self._start_test)
        self.save = self._button("Save", "Save the {0}", self._save)
        self.cancel = self._button("Cancel", "Keep the {0} as it is", self._stop_replacing)
        self.replace = self._button("Replace", "Replace the {0}", self._start_replacing)
        self.delete = self._button("Delete", "Delete the {0}", self._ask_to_delete)
        set_property(self.delete, danger=True)
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(self.edit, 1)
        for button in (self.test, self.save, self.cancel, self.replace, self.delete):
            line.addWidget(button)
        self.allow = self._button("Use it there", "Use the {0} at the address in use", self._ask_to_allow)
        self.allow.hide()
        self.place = label("", "small", level="2", wrap=True)
        self.place.hide()
        self.result = ResultLine()
        told = QHBoxLayout()
        told.setSpacing(8)
        told.addWidget(self.result, 1)
        told.addWidget(self.allow, 0, Qt.AlignmentFlag.AlignTop)
        self.body.setSpacing(4)
        self.body.addSpacing(4)
        self.body.addLayout(head)
        self.body.addWidget(label(text.sentence, "small", level="2", wrap=True))
        self.body.addSpacing(6)
        self.body.addLayout(line)
        self.body.addSpacing(2)
        self.body.addWidget(self.place)
        self.body.addLayout(told)
        self.body.addSpacing(6)
        theme().changed.connect(self._restyle)
        self._restyle()
        self._enter("loading")

    # What is stored

    def show_status(self, status: KeyStatus, *, locked_by: str | None, origin: str) -> None:
        """Show ``status``; ``locked_by`` says where the key that wins comes from, ``None`` when ours does."""
        masked_before = self.status.masked if self.status is not None else None
        self.status = status
        self.place.setText("" if locked_by is not None else place_words(status))
        self.place.setVisible(bool(self.place.text()))
        asks = locked_by is None and status.held_back is not None
        if self.allow.hasFocus() and not asks:
            self.edit.setFocus(Qt.FocusReason.OtherFocusReason)  # before it goes, or the next card gets it
        self.allow.setVisible(asks)
        if locked_by is not None:
            self._enter("locked")
            self.tag.set_origin(origin, locked=True)
            self.result.tell(
                "plain",
                "",
                f"{self.text.setting.upper()} is set in {locked_by}, and that wins. "
                "Unset it to use a key stored here.",
            )
            return
        if status.stored_in is None:
            if self._state != "empty":  # a half-typed key stays
                self._enter("empty")
            self.tag.set_origin("none")
        else:
            if self._state != "replacing" and (self._state, masked_before) != ("stored", status.masked):
                self._enter("stored")
            self.tag.set_origin(status.stored_in)
        if status.held_back is not None:
            self.result.tell("held", "Held back.", status.held_back.message)
        elif status.stored_in == "session":
            self.result.tell("held", "Kept for this run only.", status.message)
        elif self._state == "empty" and status.backend.state != "unlocked" and status.message:
            self.result.tell("plain", "", status.message)

    @property
    def state(self) -> State:
        return self._state

    def _enter(self, state: State) -> None:
        buttons = (self.test, self.save, self.cancel, self.replace, self.delete)
        if any(button.hasFocus() for button in buttons):
            # The button may go, and Qt would hand the focus to the next card's field.
            self.edit.setFocus(Qt.FocusReason.OtherFocusReason)
        self._state = state
        typing = state in ("empty", "replacing")
        self.edit.setReadOnly(not typing)
        self.edit.setEchoMode(QLineEdit.EchoMode.Password if typing else QLineEdit.EchoMode.Normal)
        masked = (self.status.masked if self.status is not None else None) or ""
        if state == "stored":
            self.edit.setText(masked)
        elif state == "locked":
            self.edit.setText(16 * "•")
        else:
            self.edit.clear()
        self.edit.setPlaceholderText("Reading the keyring" if state == "loading" else self.text.placeholder)
        mono = state in ("stored", "locked")
        set_property(self.edit, role="mono" if mono else "body", tone="")
        theme().apply_role(self.edit)  # Qt polishes the style below the sheet once only
        self._style_edit()
        self.tag.setVisible(state != "loading")
        self.save.setVisible(typing)
        self.cancel.setVisible(state == "replacing")
        self.replace.setVisible(state == "stored")
        self.delete.setVisible(state == "stored")
        self._enable()

    def _enable(self) -> None:
        # Not by whether a job runs: a disabled button loses the focus to the next card's field.
        typing = self._state in ("empty", "replacing")
        has_key = bool(self.edit.text().strip()) if typing else self._state in ("stored", "locked")
        self.test.setEnabled(has_key)
        self.save.setEnabled(typing and has_key)

    def _typed(self) -> None:
        self._enable()
        if self._state not in ("empty", "replacing"):
            return
        typed = self.edit.text().strip()
        set_property(self.edit, tone="")
        prefix = self.text.prefix
        if len(typed) >= 8 and prefix and not typed.startswith(prefix):
            self.result.tell(
                "held",
                "Looks unusual.",
                f"Keys of {self.text.owner} start with {prefix}. You can still save it.",
            )
        else:
            self.result.clear()

    # Test

    def _start_test(self) -> None:
        if self._working:
            return
        typing = self._state in ("empty", "replacing")
        self._work(self._test(self.edit.text().strip() if typing else None))

    async def _test(self, key: str | None, *, confirmed: bool = False) -> None:
        self.result.tell("busy", "Testing")
        test = self._bridge.core.test_key(self.text.name, key, confirmed=confirmed)
        try:
            found = await self._bridge.call(test)
        except KeyHeldBack as held_back:
            self.result.tell("held", "Not tested.", _sentences(held_back, "Nothing was sent."))
            if key is not None:
                self._ask_to_test_unencrypted(held_back)
        except AuthenticationFailed as refused:
            set_property(self.edit, tone="danger")
            word = "No key" if refused.missing else "Refused"
            self.result.tell("danger", word, _sentences(refused, "Nothing was changed."))
        except SignalboxError as failed:
            self.result.tell("held", "Not tested", _sentences(failed, "The key was not changed."))
        else:
            set_property(self.edit, tone="")
            count = len(found.models)
            models = f"{count} model" if count == 1 else f"{count:,} models"
            about = found.server if self.text.name == "huggingface" and found.server else models
            now = datetime.now().strftime("%H:%M")
            self.result.tell(
                "ok",
                "Works",
                f"Tested today {now} in {found.latency_ms:,.0f} ms, {about}, nothing was charged",
            )
        self._finish()

    def _ask_to_test_unencrypted(self, held_back: KeyHeldBack) -> None:
        self.dialog = Question(
            self,
            title=f"Send this key to {held_back.address} unencrypted?",
            sentence="It is no address of this machine or of a private network, so others on the way can read "
            "the key. With https:// in the address they can’t.",
            do="Send it",
            keep="Don’t send",
            on_do=self._test_anyway,
            danger=True,
        )
        self.dialog.open()

    def _test_anyway(self) -> None:
        key = self.edit.text().strip()
        if self._state in ("empty", "replacing") and key and not self._working:
            self._work(self._test(key, confirmed=True))

    # Where it may go

    def _ask_to_allow(self) -> None:
        held_back = self.status.held_back if self.status is not None else None
        if held_back is None or self._working:
            return
        self.dialog = Question(
            self,
            title=f"Use the {self.text.title} at {held_back.address}?",
            sentence=allow_words(held_back),
            do="Use it there",
            keep="Don’t send",
            on_do=lambda: self._allow(held_back.address),
            danger=True,
        )
        self.dialog.open()

    def _allow(self, address: str) -> None:
        if not self._working:
            self._work(self._let_it_go_to(address))

    async def _let_it_go_to(self, address: str) -> None:
        try:
            status = await self._bridge.call(self._bridge.core.allow_key(self.text.name, address))
        except SignalboxError as failed:
            self.result.tell("danger", "Not changed", str(failed))
        else:
            self.result.clear()
            self.show_status(status, locked_by=None, origin="")
            if status.held_back is None:
                self.result.tell(
                    "ok", "Allowed", f"The key goes to {address} from {self.text.holds_from} on."
                )
            self.changed.emit()
        self._finish()

    # Save, replace, delete

    def _start_replacing(self) -> None:
        if self._working:
            return
        self.result.clear()
        self._enter("replacing")
        self.edit.setFocus(Qt.FocusReason.OtherFocusReason)

    def _stop_replacing(self) -> None:
        if self._working:
            return
        self.result.clear()
        self._enter("stored")
        self.replace.setFocus(Qt.FocusReason.OtherFocusReason)

    def _save(self) -> None:
        key = self.edit.text().strip()
        if self._state in ("empty", "replacing") and key and not self._working:
            self._work(self._store(key))

    async def _store(self, key: str) -> None:
        self.result.tell("busy", "Saving")
        try:
            status = await self._bridge.call(self._bridge.core.set_key(self.text.name, key))
        except SignalboxError as failed:
            # What was typed stays, so that it can be saved again.
            self.result.tell("danger", "Not saved", str(failed))
        else:
            self.status = status
            self._enter("stored" if status.stored_in is not None else "empty")
            self.result.clear()
            self.show_status(status, locked_by=None, origin="")
            if status.stored_in == "keyring" and status.held_back is None:
                self.result.tell(
                    "ok", "Saved", f"in the system keyring. It holds from {self.text.holds_from} on."
                )
            self.changed.emit()
        self._finish()

    def _ask_to_delete(self) -> None:
        """Ask first: a deleted key cannot be brought back. The safe button is the default one."""
        if self._working:
            return
        self.dialog = Question(
            self,
            title=f"Delete the {self.text.title}?",
            sentence="It is removed from where Signalbox keeps it and can’t be brought back from here. "
            "The key itself stays valid until its owner revokes it.",
            do="Delete key",
            keep="Keep",
            on_do=self._delete,
            danger=True,
        )
        self.dialog.open()

    def _delete(self) -> None:
        if not self._working:
            self._work(self._remove())

    async def _remove(self) -> None:
        try:
            status = await self._bridge.call(self._bridge.core.delete_key(self.text.name))
        except SignalboxError as failed:
            self.result.tell("danger", "Not deleted", str(failed))
        else:
            self._state = "loading"
            self.result.clear()
            self.show_status(status, locked_by=None, origin="")
            gone = status.backend.state in ("unlocked", "none")
            self.result.tell("ok" if gone else "held", "", status.message)
            self.changed.emit()
        self._finish()

    # Furniture

    def _work(self, job: Coroutine[Any, Any, None]) -> None:
        self._working = True
        self._tasks.start(job)

    def _finish(self) -> None:
        # Not in a "finally": a job cancelled because the window closed has no widgets left to enable.
        self._working = False
        self._enable()

    def _button(self, text: str, name: str, slot: Callable[[], None]) -> QPushButton:
        button = QPushButton(text)
        button.setAccessibleName(name.format(self.text.title))
        button.clicked.connect(slot)
        return button

    def _style_edit(self) -> None:
        sheet = read_only_sheet(plain=self._state == "stored") if self.edit.isReadOnly() else ""
        if sheet != self.edit.styleSheet():
            self.edit.setStyleSheet(sheet)

    def _restyle(self) -> None:
        self._style_edit()
        set_button_icon(self.delete, "trash", "danger_text")


def place_words(status: KeyStatus) -> str:
    """Where the stored key goes, or where one that is typed will."""
    if status.stored_in is None:
        return f"A key typed here belongs to {status.address}." if status.address else ""
    places = [place for place in (status.belongs_to, *status.allowed) if place]
    return f"Goes to {' and '.join(dict.fromkeys(places))} only." if places else ""


def allow_words(held_back: KeyHeldBack) -> str:
    """What it means to let a key go to the address it is held back from."""
    home = (
        f"It was stored for {held_back.belongs_to}."
        if held_back.belongs_to
        else "It was stored for no address."
    )
    plain = (
        " The connection is not encrypted, so others on the way can read it." if held_back.unencrypted else ""
    )
    return f"{home} Whoever runs {held_back.address} gets the key and every prompt that is sent there.{plain}"


def _sentences(error: SignalboxError, kept: str) -> str:
    return without_commands(" ".join(part for part in (error.message, kept, error.hint) if part))
