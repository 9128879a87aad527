"""Posts each alert's begin and end to an address of the user's, as Slack's incoming webhooks take it.

The address is a secret: whoever knows it may post there. It stands in no error and no status, and what the HTTP
library logs of it is hidden there (``SettingsStore`` remembers it).
"""

from __future__ import annotations

import asyncio
import logging
import platform
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from core.base.net import open_client
from core.base.redaction import redact
from core.base.text import shortened
from core.local.alert_engine import Told
from core.local.alerts import one_of_each_kind

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
RETRY_AFTER_S: tuple[float, ...] = (2.0, 10.0)
MAX_WAITING = 20
MAX_TEXT = 2_000


def slack_text(told: Told) -> str:
    """Return a message's text. ``&``, ``<`` and ``>`` would be Slack's own marks: a server's words call nobody."""
    ended = "" if told.turn == "began" else "Ended: "
    text = f"Signalbox on {platform.node()}. {ended}{told.alert.title}\n{told.alert.text}"
    text = shortened(redact(text), MAX_TEXT)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class AlertWebhook:
    """``tell`` returns at once; a task of its own posts, one after the other, and tries a little again.

    ``problem`` says why the last one did not arrive, empty where it did. ``on_change`` is called when it changes.
    """

    def __init__(
        self,
        url: Callable[[], str | None],
        on_change: Callable[[], None] = lambda: None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._url = url
        self._on_change = on_change
        self._sleep = sleep
        self._waiting: deque[str] = deque(maxlen=MAX_WAITING)  # of more, the oldest are left out
        self._task: asyncio.Task[None] | None = None
        self._failed_at: str | None = None
        self._problem = ""

    @property
    def problem(self) -> str:
        return self._problem if self._failed_at == self._url() else ""

    def tell(self, news: Sequence[Told]) -> None:
        """Have ``news`` posted, where an address is set."""
        url = self._url()
        if url is None:
            return
        for turn in ("ended", "began"):
            for alert in one_of_each_kind(told.alert for told in news if told.turn == turn):
                self._waiting.append(slack_text(Told(turn, alert)))
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._post_all(), name="alert webhook")
            self._task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Give what waits a moment to leave, then let it be."""
        task = self._task
        if task is not None:
            await asyncio.wait({task}, timeout=1.0)
            task.cancel()
            await asyncio.wait({task})

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._task is task:
            self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its text may quote the address.
            log.error("posting an alert failed: %s", type(error).__name__)
            self._note(self._url(), f"It could not be posted ({type(error).__name__}).")

    async def _post_all(self) -> None:
        while self._waiting:
            url = self._url()
            if url is None:
                self._waiting.clear()
                return
            text = self._waiting.popleft()
            self._note(url, await self._posted(url, text))

    async def _posted(self, url: str, text: str) -> str:
        """Post ``text``; returns why it did not arrive, empty where it did."""
        import httpx2

        problem = ""
        async with open_client(url, None, TIMEOUT_S) as client:
            for pause_s in (*RETRY_AFTER_S, None):
                try:
                    answer = await client.post(url, json={"text": text})
                except httpx2.TimeoutException:
                    problem = f"The address did not answer within {TIMEOUT_S:g} s."
                except httpx2.HTTPError as error:
                    problem = f"The address could not be reached ({type(error).__name__})."
                else:
                    if answer.is_success:
                        return ""
                    problem = _refused(answer)
                    if answer.status_code != 429 and answer.status_code < 500:
                        break  # asking again changes nothing
                if pause_s is not None:
                    await self._sleep(pause_s)
        log.warning("An alert was not posted. %s", problem)
        return problem

    def _note(self, url: str | None, problem: str) -> None:
        before = self.problem
        self._failed_at, self._problem = url, problem
        if problem != before:
            self._on_change()


def _refused(answer: httpx2.Response) -> str:
    if answer.is_redirect:
        return (
            f"The address answered {answer.status_code}: it leads elsewhere, and redirects are not followed."
        )
    if answer.status_code in (401, 403, 404, 410):
        return f"The address answered {answer.status_code}: it may have been revoked or mistyped."
    return f"The address answered {answer.status_code}."
