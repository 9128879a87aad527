"""One open conversation: its tree, its options and draft, and the answer that is arriving, shown or not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from PySide6.QtCore import QObject, Signal

from core import Spending, tokens_of_length, utf8_bytes
from core.chat import (
    ChatRequest,
    ChatResult,
    EventStream,
    Failed,
    Finished,
    PromptProgress,
    Started,
    Stopped,
    StreamEvent,
    TextDelta,
    UsageReported,
    Waiting,
)
from core.errors import SignalboxError, Unavailable
from gui.chat.request_builder import LeftOut, build_request
from gui.chat.storage.models import (
    COPIED,
    Attachment,
    ChatOptions,
    Conversation,
    ConversationSummary,
    StoredError,
    StoredMessage,
    Totals,
    new_id,
)
from gui.chat.storage.tree import MessageTree
from gui.chat.waits import FirstToken, Wait

if TYPE_CHECKING:
    from gui.chat.storage.write_behind import WriteBehindStore
    from gui.shell.bridge import Bridge
    from gui.shell.tasks import Tasks


NEW_TITLE = "New chat"
TITLE_CHARS = 60
SAVE_EVERY_S = 1.0
CLOSE_S = 5.0


def new_conversation() -> Conversation:
    now = datetime.now(UTC)
    return Conversation(
        id=new_id(),
        title=NEW_TITLE,
        titled_by_user=False,
        created_at=now,
        updated_at=now,
        head_id=None,
        options=ChatOptions(),
        draft="",
        messages=(),
    )


class Session(QObject):
    """Signals carry message ids; the text itself is read from the tree.

    Signals:
        path_changed: another branch is shown, or messages came or went.
        answer_started: an answer's request left (again, after a fallback).
        answer_waits: it has to wait, as ``waiting`` says.
        text_arrived: a message's id and the text that is new.
        answer_ended: an answer is done, stopped or failed.
        failed_before_text: instead of ``answer_ended``, when there is nothing to show but the failure.
        answer_settled: the ledger learned later what an answer cost.
        summary_changed: title, totals or draft changed.
    """

    path_changed = Signal()
    answer_started = Signal(str)
    answer_waits = Signal(str)
    text_arrived = Signal(str, str)
    answer_ended = Signal(str)
    failed_before_text = Signal(str)
    answer_settled = Signal(str)
    summary_changed = Signal()

    def __init__(
        self,
        bridge: Bridge,
        store: WriteBehindStore,
        tasks: Tasks,
        conversation: Conversation,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._bridge, self._store, self._tasks = bridge, store, tasks
        self._conversation = replace(conversation, messages=())
        self.tree = MessageTree(conversation.messages, conversation.head_id)
        self.running_id: str | None = None
        self._changed_before: datetime | None = None
        self._consumer: asyncio.Task[None] | None = None
        self._stream: EventStream | None = None
        self._runner: asyncio.Task[None] | None = None
        self._stop_asked = False
        self._text: list[str] = []
        self._saved_at_s = 0.0
        self.first_token_at_s: float | None = None
        self.tokens = 0
        self._chars = self._utf8_bytes = 0
        self.waiting: Wait | None = None
        self.first_token: FirstToken | None = None
        self._window_tokens: int | None = None
        self._left_out: LeftOut | None = None
        self._edits: dict[str, str] = {}
        self.deleted = False
        self.removed = False  # for good: nothing of it is written any more

    # What it is

    @property
    def id(self) -> str:
        return self._conversation.id

    @property
    def title(self) -> str:
        return self._conversation.title

    @property
    def options(self) -> ChatOptions:
        return self._conversation.options

    @property
    def draft(self) -> str:
        return self._conversation.draft

    @property
    def draft_attachments(self) -> tuple[Attachment, ...]:
        return self._conversation.draft_attachments

    @property
    def pinned(self) -> bool:
        """Whether it is listed above the others."""
        return self._conversation.pinned

    @property
    def folder(self) -> str:
        return self._conversation.folder

    @property
    def is_streaming(self) -> bool:
        return self.running_id is not None

    @property
    def is_blank(self) -> bool:
        """Nothing in it that would be missed."""
        return not len(self.tree) and not self.draft.strip() and not self.draft_attachments

    @property
    def totals(self) -> Totals:
        """Over all branches: what was answered was paid for, save what a duplicate only copied."""
        asked = [
            item
            for item in self.tree.all()
            if item.role == "assistant" and item.decision and item.origin != COPIED
        ]
        answers = [item for item in asked if item.text or item.id == self.running_id]
        sides = [item.result.side if item.result else item.decision.side for item in answers if item.decision]
        return Totals(
            answers=len(answers),
            local_answers=sides.count("local"),
            api_answers=sides.count("api"),
            spending=Spending.total(item.spending for item in asked),
        )

    @property
    def answers_elsewhere(self) -> int:
        """How many answers were imported from another program."""
        return sum(
            1 for item in self.tree.all() if item.role == "assistant" and item.origin not in ("", COPIED)
        )

    @property
    def summary(self) -> ConversationSummary:
        return ConversationSummary(
            id=self.id,
            title=self.title,
            updated_at=self._conversation.updated_at,
            totals=self.totals,
            has_draft=bool(self.draft or self.draft_attachments),
        )

    def whole(self) -> Conversation:
        """Return everything, for an export."""
        return replace(self._conversation, messages=self.tree.all(), head_id=self.tree.head_id)

    def text_of(self, message_id: str) -> str:
        """Return a message's text, up to the last piece that arrived."""
        if message_id == self.running_id:
            self._join_text()
        return self.tree[message_id].text

    # What the user does

    def set_options(self, options: ChatOptions) -> None:
        self._change(replace(self._conversation, options=options))

    def set_draft(self, text: str, attachments: tuple[Attachment, ...]) -> None:
        if (text, attachments) != (self.draft, self.draft_attachments):
            self._change(replace(self._conversation, draft=text, draft_attachments=attachments))

    def keep_edit(self, message_id: str, text: str | None) -> None:
        """Keep what is typed to change a prompt while its box is open, also where the chat is not shown."""
        if text is None:
            self._edits.pop(message_id, None)
        else:
            self._edits[message_id] = text

    def edit_of(self, message_id: str) -> str | None:
        """What was typed to change a prompt, and neither sent nor given up."""
        return self._edits.get(message_id)

    @property
    def has_edits(self) -> bool:
        """Whether something was typed to change a prompt, and neither sent nor given up."""
        return bool(self._edits)

    def set_order(self, *, pinned: bool | None = None, folder: str | None = None) -> None:
        """Note where the list has it; the store is told by who says so."""
        now = self._conversation
        self._conversation = replace(
            now,
            pinned=now.pinned if pinned is None else pinned,
            folder=now.folder if folder is None else folder,
        )

    def pin(self, message_id: str, *, pinned: bool) -> None:
        """Keep a message when the conversation is trimmed, or no longer."""
        message = replace(self.tree[message_id], pinned=pinned)
        self.tree.replace(message)
        if message.status != "streaming":
            self._keep_message(message)

    def rename(self, title: str) -> None:
        self._change(replace(self._conversation, title=title, titled_by_user=True))

    def request_after(self, text: str, attachments: tuple[Attachment, ...]) -> ChatRequest:
        """Return the request that sending ``text`` now would make. Raises ``MalformedSchema``."""
        return build_request(
            [*self.tree.path(), self._user_message(text, attachments, self.tree.head_id)],
            self.options,
            self.id,
        )

    def send(self, text: str, attachments: tuple[Attachment, ...] = ()) -> str:
        """Add a prompt and begin its answer; returns the answer's id. Raises ``MalformedSchema``."""
        return self._ask(self._user_message(text, attachments, self.tree.head_id))

    def edit(self, message_id: str, text: str) -> str:
        """Ask again with another text, in a branch beside the old one. Raises ``MalformedSchema``."""
        old = self.tree[message_id]
        return self._ask(self._user_message(text, old.attachments, old.parent_id))

    def regenerate(self, answer_id: str, options: ChatOptions | None = None) -> str:
        """Ask for another version of an answer; the old one is kept. Raises ``MalformedSchema``.

        ``options`` are for this one, ``None`` for those of the chat as it is now.
        """
        return self._begin_answer(self.tree[answer_id].parent_id, options)

    def go_on(self, answer_id: str) -> str:
        """Continue an answer that broke off. Raises ``MalformedSchema``."""
        return self._begin_answer(answer_id)

    @contextmanager
    def summarising(self, window_tokens: int) -> Generator[None]:
        """What is asked inside is sent with its oldest turns summed up, to fit ``window_tokens``; all are kept."""
        self._window_tokens = window_tokens
        try:
            yield
        finally:
            self._window_tokens = None

    def stop(self) -> None:
        """End the running answer; what arrived is kept, and the upstream connection is closed."""
        self._stop_asked = True
        if self._stream is not None:
            self._bridge.stop_stream(self._stream)
        elif self._consumer is not None:
            self._consumer.cancel()  # nothing was sent yet

    async def wait_until_ended(self) -> None:
        """Return when no answer runs any more and its end is told, or after five seconds."""
        if self._runner is not None:
            await asyncio.wait({self._runner}, timeout=CLOSE_S)

    def show_version(self, message_id: str, by: int) -> None:
        if self.tree.step(message_id, by):
            self._keep()
            self.path_changed.emit()

    def show_message(self, message_id: str) -> None:
        """Show a branch that a message is on."""
        self.tree.show(message_id)
        self._keep()
        self.path_changed.emit()

    def take_back(self, answer_id: str) -> tuple[str, tuple[Attachment, ...]]:
        """Remove a prompt that was never answered together with its failure, and return it for the box."""
        answer = self.tree[answer_id]
        assert answer.parent_id is not None
        prompt = self.tree[answer.parent_id]
        for message in (answer, prompt):
            self.tree.remove(message.id)
            self._store.forget(("message", message.id))
        ids = (answer.id, prompt.id)
        if self._changed_before is not None:  # nothing was added, so its place in the list stays what it was
            self._conversation = replace(self._conversation, updated_at=self._changed_before)
        self.set_draft(prompt.text, prompt.attachments)
        self._keep()
        self._store.put(("remove", answer.id), lambda store: store.remove_messages(ids))
        self.path_changed.emit()
        return prompt.text, prompt.attachments

    def save(self) -> None:
        """Hand everything that is not written yet to the store."""
        if self.running_id is not None:
            self._join_text()
            self._keep_message(self.tree[self.running_id])
        self._keep()

    # The answer

    def _ask(self, prompt: StoredMessage) -> str:
        build_request(
            [*self.tree.path(prompt.parent_id), prompt], self.options
        )  # refuse before anything moves
        if not self._conversation.titled_by_user and not len(self.tree):
            self._conversation = replace(self._conversation, title=_title(prompt))
        self.tree.add(prompt)
        self._changed_before = self._conversation.updated_at
        self._conversation = replace(self._conversation, updated_at=datetime.now(UTC))
        self._keep()
        self._keep_message(prompt)
        return self._begin_answer(prompt.id)

    def _begin_answer(self, parent_id: str | None, options: ChatOptions | None = None) -> str:
        assert self.running_id is None, "one answer at a time"
        options = options or self.options
        request = build_request(self.tree.path(parent_id) if parent_id else [], options, self.id)
        answer = StoredMessage(
            id=new_id(),
            conversation_id=self.id,
            parent_id=parent_id,
            role="assistant",
            text="",
            created_at=datetime.now(UTC),
            status="streaming",
            correlation_id=request.correlation_id,
            options=options,
        )
        self.tree.add(answer)
        self.running_id = answer.id
        self._stop_asked = False
        self._text = []
        self.first_token_at_s = None
        self.tokens = 0
        self._chars = self._utf8_bytes = 0
        self.waiting = self.first_token = self._left_out = None
        self._saved_at_s = time.monotonic()
        self._keep()
        self._keep_message(answer)
        self.path_changed.emit()
        self._runner = self._tasks.start(self._run(answer.id, request, self._window_tokens))
        return answer.id

    async def _run(self, answer_id: str, request: ChatRequest, window_tokens: int | None) -> None:
        self._consumer = asyncio.get_running_loop().create_task(
            self._consume(answer_id, request, window_tokens)
        )
        if self._stop_asked:  # before the loop came to this job
            self._consumer.cancel()
        await asyncio.wait({self._consumer})
        consumer, self._consumer = self._consumer, None
        self._join_text()
        message = self.tree[answer_id]
        if consumer.cancelled():
            message = replace(message, status="stopped")
        elif (error := consumer.exception()) is not None:
            # A fault of ours must not leave an answer that streams for ever.
            asyncio.get_running_loop().call_exception_handler(
                {"message": "An answer's stream failed", "exception": error}
            )
            fault = StoredError(kind="error", message=f"Signalbox failed: {error}", hint="Try again.")
            message = replace(message, status="failed", error=fault)
        elif message.status == "streaming":
            cut = Unavailable("The stream ended without an answer.", hint="Try again.")
            message = replace(message, status="failed", error=StoredError.from_error(cut))
        self.running_id = self.waiting = None
        self.tree.replace(message)
        self._conversation = replace(self._conversation, updated_at=datetime.now(UTC))
        self._keep_message(message)
        self._keep()
        if message.error is not None and not message.text:
            self.failed_before_text.emit(answer_id)
        else:
            self.answer_ended.emit(answer_id)
        self.summary_changed.emit()

    async def _consume(self, answer_id: str, request: ChatRequest, window_tokens: int | None) -> None:
        if window_tokens is not None:
            try:
                request = await self._summarised(answer_id, request, window_tokens)
            except SignalboxError as error:
                self._fail(answer_id, "", error, None)
                return
        self._stream = self._bridge.core.stream(request)
        try:
            async with aclosing(self._bridge.stream(self._stream)) as batches:
                async for batch in batches:
                    self._take(answer_id, batch)
        finally:
            self._stream = None

    async def _summarised(self, answer_id: str, request: ChatRequest, window_tokens: int) -> ChatRequest:
        """Have a model sum up the oldest turns; the answer waits for that, and a stop ends it."""
        self.waiting = Wait.for_summary()
        self.answer_waits.emit(answer_id)
        shorter = await self._bridge.call(self._bridge.core.summarised(request, window_tokens))
        self._left_out = await self._bridge.run_blocking(LeftOut.between, request, shorter)
        return shorter

    def _take(self, answer_id: str, batch: list[StreamEvent]) -> None:
        pieces: list[str] = []
        for event in batch:
            match event:
                case TextDelta(text=text):
                    pieces.append(text)
                case Waiting():
                    self.waiting = Wait.begun(event, self.waiting)
                    self.answer_waits.emit(answer_id)
                case Started(decision=decision, hold_nanodollars=hold):
                    self.waiting, self.first_token = None, FirstToken()
                    if self._left_out is not None:
                        decision = self._left_out.on_decision(decision)
                    message = replace(self.tree[answer_id], decision=decision, hold_nanodollars=hold)
                    self.tree.replace(message)
                    self._keep_message(message)
                    self.answer_started.emit(answer_id)
                case Finished(result=result):
                    self._end(answer_id, "".join(pieces), result)
                    pieces = []
                case Stopped(result=result):
                    self._end(answer_id, "".join(pieces), result, status="stopped")
                    pieces = []
                case Failed(error=error, partial=partial):
                    self._fail(answer_id, "".join(pieces), error, partial)
                    pieces = []
                case PromptProgress():
                    if self.first_token is not None:
                        self.first_token.progress = event
                case UsageReported(usage=usage) if pieces or self.first_token_at_s is not None:
                    # Before the first text it is what a message begins with: no token has come yet.
                    self.tokens = max(self.tokens, usage.output_tokens)
                case _:
                    pass
        if pieces:
            self._show_text(answer_id, "".join(pieces), len(pieces))
            if time.monotonic() - self._saved_at_s >= SAVE_EVERY_S:
                self._save_progress(answer_id)

    def _show_text(self, answer_id: str, text: str, pieces: int) -> None:
        if self.first_token_at_s is None:
            self.first_token_at_s = time.monotonic()
        self._chars += len(text)
        self._utf8_bytes += utf8_bytes(text)
        decision = self.tree[answer_id].decision
        if decision is not None and decision.side == "api":
            # An API's pieces are several tokens long, so they are estimated; the end corrects it.
            self.tokens = max(self.tokens, tokens_of_length(self._chars, self._utf8_bytes))
        else:
            self.tokens += pieces  # vLLM and llama.cpp send one token a piece
        self._text.append(text)
        self.text_arrived.emit(answer_id, text)

    def _end(
        self,
        answer_id: str,
        rest: str,
        result: ChatResult | None,
        *,
        status: Literal["done", "stopped"] = "done",
    ) -> None:
        if rest:
            self._show_text(answer_id, rest, 1)
        self._join_text()
        if result is not None and self._left_out is not None:
            result = self._left_out.on_result(result)
        message = self.tree[answer_id]
        decision = message.decision if result is None else result.decision
        self.tree.replace(replace(message, status=status, result=result, decision=decision))

    def _fail(self, answer_id: str, rest: str, error: SignalboxError, partial: ChatResult | None) -> None:
        if rest:
            self._show_text(answer_id, rest, 1)
        self._join_text()
        if partial is not None and self._left_out is not None:
            partial = self._left_out.on_result(partial)
        message = self.tree[answer_id]
        self.tree.replace(
            replace(
                message,
                status="failed",
                error=StoredError.from_error(error),
                result=partial,
                decision=partial.decision if partial else message.decision,
            )
        )

    # Keeping

    def settle(self, message_id: str, spending: Spending) -> None:
        """Take what the ledger says of an answer's cost since it ended."""
        message = replace(self.tree[message_id], settled_later=spending)
        self.tree.replace(message)
        self._keep_message(message)
        self.answer_settled.emit(message_id)
        self.summary_changed.emit()

    def _user_message(
        self, text: str, attachments: tuple[Attachment, ...], parent_id: str | None
    ) -> StoredMessage:
        return StoredMessage(
            id=new_id(),
            conversation_id=self.id,
            parent_id=parent_id,
            role="user",
            text=text,
            created_at=datetime.now(UTC),
            attachments=attachments,
        )

    def _join_text(self) -> None:
        if self._text and self.running_id is not None:
            message = self.tree[self.running_id]
            self.tree.replace(replace(message, text=message.text + "".join(self._text)))
            self._text = []

    def _save_progress(self, answer_id: str) -> None:
        self._join_text()
        text = self.tree[answer_id].text
        self._saved_at_s = time.monotonic()
        self._store.put(("progress", answer_id), lambda store: store.save_progress(answer_id, text))

    def _change(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._keep()
        self.summary_changed.emit()

    def _keep(self) -> None:
        """A chat that was never written in leaves no trace."""
        if self.deleted:
            return
        row = replace(self._conversation, head_id=self.tree.head_id)
        self._conversation = row
        if self.is_blank and not row.titled_by_user:
            self._store.put(("conversation", self.id), lambda store: store.forget(row.id))
        else:
            self._store.put(("conversation", self.id), lambda store: store.save_conversation(row))

    def _keep_message(self, message: StoredMessage) -> None:
        if self.removed:
            return
        self._store.forget(("progress", message.id))
        self._store.put(("message", message.id), lambda store: store.save_message(message))


def _title(prompt: StoredMessage) -> str:
    first = next((line.strip() for line in prompt.text.splitlines() if line.strip()), "")
    if not first and prompt.attachments:
        first = prompt.attachments[0].name
    first = first.lstrip("#> ").strip() or NEW_TITLE
    if len(first) <= TITLE_CHARS:
        return first
    cut = first[:TITLE_CHARS].rsplit(" ", 1)[0]
    return (cut if len(cut) > TITLE_CHARS // 2 else first[:TITLE_CHARS]) + "…"
