"""What can be done at once about what the API said: the buttons of its notices, and asking it again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices

from core.errors import SignalboxError
from gui.shell.notices import Action
from gui.shell.tasks import Tasks
from gui.widgets.toast import ToastHost

if TYPE_CHECKING:
    from core import Problem, Settings
    from gui.shell.bridge import Bridge

BILLING_PAGE = "https://platform.claude.com/settings/billing"
PASSING = frozenset({"api_pause", "api_unreachable"})
"""What passes by itself: it stands in the bell, and no bar interrupts for it."""


LASTING = frozenset({"api_key", "api_credit", "api_model"})
"""What has a button that says what its hint does."""


class ApiNotices:
    """Asks the API again, and says what it said."""

    def __init__(self, bridge: Bridge, tasks: Tasks, toasts: ToastHost) -> None:
        self._bridge, self._tasks, self._toasts = bridge, tasks, toasts

    def actions(self, problem: Problem, leads_to: Action | None) -> tuple[Action, ...]:
        """Return the buttons for ``problem``; ``leads_to`` opens where it is mended, if there is such a place."""
        if not problem.kind.startswith("api_"):
            return () if leads_to is None else (leads_to,)
        found = [] if leads_to is None else [leads_to]
        page = billing_page(self._bridge.core.settings.current)
        if problem.kind == "api_credit" and page is not None:
            found.append(("Open the billing page", partial(browse, page)))
        return (*found, ("Try again", self._start_trying))

    def _start_trying(self) -> None:
        self._tasks.start(self._try_again(), key="try the API again")

    async def _try_again(self) -> None:
        try:
            await self._bridge.call(self._bridge.core.try_api_again())
        except SignalboxError as error:
            # Its notice tells the rest, and stays.
            self._toasts.show(f"Asked again. {error.message}", icon="warning-fill")
        else:
            self._toasts.show("The API answers and takes the key", icon="cloud")


def billing_page(settings: Settings) -> str | None:
    """Return where the API's account is topped up; ``None`` for a gateway, whose account is somewhere else."""
    url = settings.anthropic_base_url
    is_anthropics = url is None or (urlsplit(url).hostname or "").endswith(".anthropic.com")
    return BILLING_PAGE if is_anthropics else None


def browse(url: str) -> None:
    """Open ``url`` in the user's browser."""
    QDesktopServices.openUrl(QUrl(url))
