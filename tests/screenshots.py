"""``make screenshots``: the panel page by page and the gallery, light and dark, into ``resources/screenshots``.

The panel, the router, the ledger and the small local model are the real ones. The API side is the scripted
server of the tests, since Anthropic's own can't be reached from everywhere.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Qt's own offscreen screen is 800x800, and the window keeps to its screen. On this one it has its size, and what
# opens over it stays inside it.
os.environ.setdefault(
    "QT_QPA_PLATFORM",
    f"offscreen:configfile={Path(__file__).parent / 'data' / 'screenshots_screen.json'}",
)
os.environ["QT_API"] = "pyside6"
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget
from qasync import QEventLoop

from core.router_core import RouterCore
from core.services import local_models
from core.services.status import CoreStatus
from core.settings import SettingsStore
from gui.chat.conversation_model import DELETED
from gui.chat.page import ChatPage
from gui.pages import PAGES
from gui.shell.bridge import Bridge
from gui.shell.pages import Target
from gui.shell.window import Window
from gui.theme.theme import theme
from tests import gallery, screenshots_machine
from tests.support.anthropic_server import AnthropicServer, Says, refusal

FOLDER = Path(__file__).parent.parent / "resources" / "screenshots"
SIZE = (1280, 800)
WAIT_S = 90.0

LOCAL_PROMPT = "Write one sentence about a railway signal."
API_PROMPT = (
    'Our nightly job writes 40,000 rows to SQLite and sometimes fails with "database is locked". Explain why, '
    "and write a typed retry helper with exponential back-off and jitter that gives up after at most 5 tries."
)
API_ANSWER = """SQLite allows **one writer at a time**, so any open write transaction makes yours wait, then fail. \
Turn on WAL, set `busy_timeout` to 5,000 ms, and commit every 1,000 rows. This retries only the lock error:

```python
def with_retry(work: Callable[[], T], *, tries: int = 5, base_s: float = 0.1) -> T:
    for attempt in range(tries):
        try:
            return work()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or attempt == tries - 1:
                raise
            # full jitter: anywhere between 0 and the cap
            time.sleep(random.uniform(0, base_s * 2 ** attempt))
```
"""
MATHS_PROMPT = "Prove the formula for the roots of a quadratic equation, step by step."
MATHS_ANSWER = r"""Divide $ax^2 + bx + c = 0$ by $a \neq 0$ and complete the square:

$$\left(x + \frac{b}{2a}\right)^2 = \frac{b^2 - 4ac}{4a^2}$$

The left side is a square, so with $\Delta = b^2 - 4ac \geq 0$ both roots are real:

$$x_{1,2} = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}$$

For $\Delta < 0$ they are complex: $x = \frac{-b \pm i\sqrt{-\Delta}}{2a}$.
"""
NO_CREDIT = refusal(
    400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."
)
USAGE = {"input_tokens": 118, "cache_read_input_tokens": 1820, "output_tokens": 1}


class Studio:
    """One panel with a home of its own."""

    def __init__(self, window: Window, bridge: Bridge, api: AnthropicServer, folder: Path) -> None:
        self.window, self.bridge, self.api, self.folder = window, bridge, api, folder
        chat = window.page("chat")
        assert isinstance(chat, ChatPage)
        self.chat = chat

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():  # noqa: ASYNC110  widgets have no event to await
                await asyncio.sleep(0.02)

    async def take(self, name: str, widget: QWidget | None = None) -> None:
        """Let the layout come to rest and save the window, with what pops up over it."""
        for _ in range(8):
            await asyncio.sleep(0.05)
        picture = self.window.grab()
        popup = QApplication.activePopupWidget()
        if popup is not None:
            from PySide6.QtGui import QPainter

            painter = QPainter(picture)
            painter.drawPixmap(self.window.mapFromGlobal(popup.pos()), popup.grab())
            painter.end()
        file = self.folder / f"{name}-{'dark' if theme().is_dark else 'light'}.png"
        picture.save(str(file))
        print(file)

    async def ask(self, prompt: str) -> None:
        chat = self.chat.view
        chat.composer.edit.setFocus()
        QTest.keyClicks(chat.composer.edit, prompt)
        await asyncio.sleep(0.4)
        QTest.keyClick(chat.composer.edit, Qt.Key.Key_Return)
        await self.until(lambda: chat.composer.state == "streaming")
        await self.until(lambda: chat.composer.state == "idle")

    async def shoot_every_day(self) -> None:
        """The model picker, maths and the find bar."""
        chat = self.chat.view
        chat.composer.edit.selectAll()
        QTest.keyClick(chat.composer.edit, Qt.Key.Key_Delete)
        chat.header.model_pill.click()
        await asyncio.sleep(0.5)
        await self.take("models")
        self.close_popup()
        self.api.replies.append(
            Says(
                *[word + " " for word in MATHS_ANSWER.split(" ")],
                usage={"input_tokens": 31, "output_tokens": 1},
                final_usage={"output_tokens": 171},
                pace_s=0.02,
            )
        )
        await self.ask(MATHS_PROMPT)
        await asyncio.sleep(5)  # what draws formulas starts with the first one
        await self.take("maths")
        chat.find_asked.emit()
        QTest.keyClicks(chat.find_bar.field, "jitter")
        await asyncio.sleep(0.6)
        await self.take("find")
        chat.find_closed.emit()

    async def shoot_trouble(self) -> None:
        """An API without credit, and the list with what was deleted.

        It comes last: every page tells of the credit from then on.
        """
        chat = self.chat.view
        self.window.open(Target("chat"))
        self.api.replies.append(NO_CREDIT)
        await self.ask("Prove step by step that the square root of 2 is irrational.")
        await asyncio.sleep(0.5)
        await self.take("api-trouble")
        conversations = chat.list
        conversations.new_asked.emit()
        await self.ask("List the days of the week.")
        kept = conversations.model
        gone = self.chat.controller.session.id
        await self.until(lambda: kept.summary(gone) is not None)
        conversations.delete_asked.emit(gone)
        await self.until(lambda: kept.index_of_group(DELETED).isValid())
        group = kept.index_of_group(DELETED)
        conversations.view.clicked.emit(group)
        chat.header.menu_button.click()
        await asyncio.sleep(0.5)
        await self.take("list")
        self.close_popup()

    def close_popup(self) -> None:
        popup = QApplication.activePopupWidget()
        if popup is not None:
            popup.close()


async def _no_servers(**_: object) -> tuple[()]:
    """What else runs on the machine that takes the pictures is not in them."""
    return ()


async def shoot(app: QApplication, scheme: Any, folder: Path) -> None:
    api = AnthropicServer()
    api.default = Says(
        *[word + " " for word in API_ANSWER.split(" ")],
        usage=USAGE,
        final_usage={"output_tokens": 246},
        pace_s=0.004,
    )
    async with api:
        with tempfile.TemporaryDirectory() as home:
            env = {
                "SIGNALBOX_HOME": home,
                "ANTHROPIC_BASE_URL": api.url,
                "ANTHROPIC_API_KEY": "sk-ant-screenshots-0000",
            }
            settings = SettingsStore(env=env, dotenv_path=Path(home) / "none")
            bridge = Bridge(lambda: RouterCore(settings, local_start="eager"))
            theme().set_scheme(scheme)
            window = Window(bridge, Path(home), PAGES)
            window.resize(*SIZE)
            window.show()
            await bridge.start()
            await window.start()
            try:
                await run_through(Studio(window, bridge, api, folder))
            finally:
                window.close()
                await window.stop()
                await bridge.stop()
                window.deleteLater()


def _limit(status: CoreStatus) -> int | None:
    return status.budget.limit_nanodollars if status.budget else None


async def run_through(studio: Studio) -> None:
    window, chat = studio.window, studio.chat.view

    def local_ready() -> bool:
        status = studio.bridge.status
        return status is not None and status.local.phase == "ready"

    await studio.until(local_ready)
    await studio.take("welcome")
    window.open(Target("chat"))
    await studio.take("chat-empty")
    await studio.ask(LOCAL_PROMPT)
    await studio.ask(API_PROMPT)
    QTest.keyClicks(chat.composer.edit, "Now explain the jitter line in one sentence.")
    await asyncio.sleep(0.8)
    await studio.take("chat")
    badges = [view for view in chat.thread_view.views() if hasattr(view, "badge")]
    badges[-1].badge.click()
    await studio.take("decision")
    studio.close_popup()
    await studio.bridge.run_blocking(studio.bridge.core.settings.set, "spend_limit_dollars", "0.01")
    await studio.until(lambda: _limit(studio.bridge.status) == 10_000_000)
    chat.composer.edit.selectAll()
    chat.composer.switch.set_value("api")
    chat.composer.side_chosen.emit("api")
    QTest.keyClicks(
        chat.composer.edit, "Compare both plans, and prove step by step that neither can deadlock."
    )
    await asyncio.sleep(0.4)
    QTest.keyClick(chat.composer.edit, Qt.Key.Key_Return)
    await asyncio.sleep(1.5)
    await studio.take("limit")
    await studio.bridge.run_blocking(studio.bridge.core.settings.reset, "spend_limit_dollars")
    await studio.until(lambda: _limit(studio.bridge.status) != 10_000_000)
    window.open(Target("spend", "held"))
    await asyncio.sleep(0.5)
    await studio.take("spend")
    studio.close_popup()
    await studio.shoot_every_day()
    for section in (
        "providers",
        "routing",
        "local",
        "spend",
        "reliability",
        "observability",
        "appearance",
        "data",
    ):
        window.open(Target("preferences", section))
        await asyncio.sleep(0.3)
        await studio.take(f"preferences-{section}")
    await studio.shoot_trouble()


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    local_models.find_servers = _no_servers
    app = QApplication([])
    app.setQuitOnLastWindowClosed(False)
    theme().install(app)
    loop: Any = QEventLoop(app)
    asyncio.set_event_loop(loop)
    for scheme in ("light", "dark"):
        loop.run_until_complete(shoot(app, scheme, folder))
        loop.run_until_complete(screenshots_machine.shoot(scheme, folder))
    for file in gallery.shoot(app, folder):
        print(file)
    loop.close()  # its worker threads too: Qt aborts where one still runs at the end
    return 0


if __name__ == "__main__":
    sys.exit(main())
