"""The bar and the bell: what needs the user, with what can be done about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QPushButton, QToolButton, QWidget

from core.ledger.models import PausedConversation
from core.services.status import Problem, ProblemKind
from core.settings import SettingsStore
from gui.pages import PAGES
from gui.shell.notices import Bell, Notice, NoticeBar
from gui.shell.pages import Target
from gui.shell.window import Window
from gui.spend.popover import SpendPopover
from tests.support.panel_loop import Panel, panel_on_qt

ALERT = Problem(
    kind="alert",
    title="80 % of SPEND_LIMIT_DOLLARS is used or held",
    message="$400.00 used and $2.00 held of $500.00.",
    hint="At 100 % the API is closed until the window ends; Local goes on.",
)
PAUSED = PausedConversation(
    conversation="ab12", since=datetime(2026, 6, 18, 14, 32, tzinfo=UTC), per_minute=60
)


@pytest.fixture
def panel(qapp: QApplication, home: Path) -> Iterator[Panel]:
    with panel_on_qt(qapp, home) as running:
        yield running


def popup_words(popup: QWidget) -> list[str]:
    return [item.text() for item in popup.findChildren(QLabel)]


def press(popup: QWidget, words: str) -> None:
    next(button for button in popup.findChildren(QPushButton) if button.text() == words).click()


async def open_window(panel: Panel) -> Window:
    window = panel.show(Window(panel.bridge, panel.core.home, PAGES))
    await panel.start()
    await window.start()
    window.open(Target("chat"))
    return window


def test_the_bar_shows_the_first_and_counts_the_rest(qapp: QApplication) -> None:
    bar, pressed = NoticeBar(), []
    fix = ("Fix", lambda: pressed.append(1))
    bar.set_notices(
        [
            Notice(key="q", title="Quiet", text="In the bell only.", quiet=True),
            Notice(key="a", title="First", text="It broke.", actions=(fix,)),
            Notice(key="b", title="Second", text="It broke too."),
        ]
    )
    assert bar.text == "First. It broke. And 1 more."
    press(bar, "Fix")
    assert pressed == [1]
    bar.findChildren(QToolButton)[0].click()
    assert bar.text == "Second. It broke too."
    bar.findChildren(QToolButton)[0].click()
    assert bar.isHidden()
    bar.set_notices([Notice(key="a", title="First", text="It broke.")])
    assert bar.isHidden()
    bar.set_notices([])
    bar.set_notices([Notice(key="a", title="First", text="It broke.")])
    assert not bar.isHidden()  # it was over, and came again


def test_what_became_of_an_action_has_no_buttons_of_its_own(qapp: QApplication) -> None:
    bar = NoticeBar()
    bar.say("Nothing can go to the API: there is no key for it.")
    assert bar.isVisibleTo(None)
    assert [stop.isVisibleTo(bar) for stop in bar.stops] == [False, False, True]
    bar.set_notices([Notice(key="a", title="A", text="", actions=(("Show", lambda: None),))])
    assert [stop.isVisibleTo(bar) for stop in bar.stops] == [True, False, True]
    bar.set_notices([])
    bar.say("Stopped.")
    assert [stop.isVisibleTo(bar) for stop in bar.stops] == [False, False, True]


def test_a_notice_that_waits_is_put_away_without_the_one_that_is_shown(qapp: QApplication) -> None:
    """Its buttons stand in the bell too, where they are not about what the bar shows."""
    bar = NoticeBar()
    bar.set_notices([Notice(key=key, title=key.upper(), text="It broke.") for key in ("a", "b")])
    bar.close_notice("b")
    assert bar.text == "A. It broke."


def test_the_bell_lists_every_notice_with_its_actions(qapp: QApplication) -> None:
    bell, pressed = Bell(), []
    bell.show()
    actions = (("Yes", lambda: pressed.append("yes")), ("No", lambda: pressed.append("no")))
    bell.set_notices([Notice(key="a", title="Asks", text="What now?", actions=actions, quiet=True)])
    assert bell.accessibleName() == "Notices: 1"
    bell.click()
    popup = QApplication.activePopupWidget()
    assert popup is not None
    assert popup_words(popup) == ["Asks", "What now?"]
    press(popup, "No")
    assert pressed == ["no"]
    bell.close()


def test_an_alert_is_a_toast_once_and_stays_in_the_bell(panel: Panel) -> None:
    async def body() -> None:
        window = await open_window(panel)
        toasts = window._toasts  # pyright: ignore[reportPrivateUsage]
        panel.core.publish(problems=(ALERT,))
        await panel.until(lambda: toasts.current is not None)
        toast = toasts.current
        assert toast is not None
        assert toast.text == "80 % of the monthly limit is used or held"
        assert window.notices.isHidden()
        assert window.bell.accessibleName() == "Notices: 1"
        toast.close_now()
        panel.core.publish(problems=(ALERT,), local_requests_today=5)
        await panel.settle()
        assert toasts.current is None
        await window.stop()

    panel.run(body())


def test_a_paused_conversation_is_in_the_bell_and_off_the_chat_page_in_the_bar(panel: Panel) -> None:
    async def body() -> None:
        window = await open_window(panel)
        panel.core.publish(paused=(PAUSED,))
        await panel.until(lambda: window.bell.accessibleName() == "Notices: 1")
        assert window.notices.isHidden()  # the chat page asks with a card
        window.open(Target("preferences"))
        assert window.notices.text.startswith("A conversation of another program is paused.")
        window.bell.click()
        popup = QApplication.activePopupWidget()
        assert popup is not None
        press(popup, "Let it go on")
        await panel.until(lambda: ("resume", "ab12") in panel.core.calls)
        await panel.until(lambda: window.bell.accessibleName() == "Notices: none")
        await window.stop()

    panel.run(body())


def test_the_month_s_pill_opens_the_spend_popover_and_esc_closes_it(panel: Panel) -> None:
    async def body() -> None:
        window = await open_window(panel)
        QTest.mouseClick(window.header.pills["spend"], Qt.MouseButton.LeftButton)
        popup = QApplication.activePopupWidget()
        assert isinstance(popup, SpendPopover)
        QTest.keyClick(popup, Qt.Key.Key_Escape)
        assert not popup.isVisible()
        await window.stop()

    panel.run(body())


def test_the_bar_asks_for_trust_with_names_and_values_and_not_now_leaves_it_in_the_bell(
    panel: Panel, tmp_path: Path
) -> None:
    path = tmp_path / "cloned" / ".env"
    path.parent.mkdir()
    path.write_text("VLLM_BASE_URL=http://attacker.example\n")
    panel.core.settings = SettingsStore(panel.core.home, dotenv_path=path)

    def question() -> Problem:
        (file,) = panel.core.settings.untrusted
        said = "; ".join(map(str, file.withheld))
        return Problem(kind="trust", title=f"{path} is not trusted", message=said, hint="", file=file)

    async def body() -> None:
        window = await open_window(panel)
        panel.core.publish(problems=(replace(question(), message="VLLM_BASE_URL=http://att…"),))
        await panel.until(window.notices.isVisible)
        assert "Trust it" not in [button.text() for button in window.notices.findChildren(QAbstractButton)]
        panel.core.publish(problems=(question(),))
        await panel.until(window.notices.isVisible)
        assert "VLLM_BASE_URL" in window.notices.text
        press(window.notices, "Not now")
        assert window.notices.isHidden()
        assert panel.core.settings.current.vllm_base_url == "http://127.0.0.1:8000/v1"
        path.write_text("VLLM_BASE_URL=http://10.0.0.5:8000/v1\n")
        panel.core.settings.reload()
        panel.core.publish(problems=(question(),))
        panel.core.publish(problems=(replace(question(), message=f"{question().message}, another"),))
        await panel.until(window.notices.isVisible)
        press(window.notices, "Trust it")
        await panel.until(lambda: panel.core.settings.current.vllm_base_url == "http://10.0.0.5:8000/v1")
        await window.stop()

    panel.run(body())


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("local_key_refused", "Replace the key"),
        ("local_model_unknown", "Choose a model"),
        ("local_model", "Choose a model"),
        ("limit", "Open the limits"),
        ("settings_file", "Look at it"),
        ("trust", "Look at it"),
    ],
)
def test_what_is_to_be_mended_leads_to_where_that_is_done(
    panel: Panel, kind: ProblemKind, words: str
) -> None:
    async def body() -> None:
        window = await open_window(panel)
        panel.core.publish(problems=(Problem(kind=kind, title="It", message="is closed.", hint=""),))
        await panel.until(window.notices.isVisible)
        press(window.notices, words)
        assert window.page_in_front.id == ("machine" if kind == "local_model" else "preferences")
        await window.stop()

    panel.run(body())


def api_problem(kind: ProblemKind) -> Problem:
    return Problem(kind=kind, title="The API said no", message="It said so.", hint="Mend it.")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("api_key", ["Replace the key", "Try again"]),
        ("api_credit", ["Open the billing page", "Try again"]),
        ("api_model", ["Choose a model", "Try again"]),
        ("api_pause", ["Try again"]),
        ("api_unreachable", ["Try again"]),
    ],
)
def test_what_the_api_said_has_its_button_and_what_passes_interrupts_nobody(
    panel: Panel, kind: ProblemKind, words: list[str]
) -> None:
    async def body() -> None:
        window = await open_window(panel)
        panel.core.publish(problems=(api_problem(kind),))
        await panel.until(lambda: window.bell.accessibleName() == "Notices: 1")
        assert window.notices.isHidden() == (kind in ("api_pause", "api_unreachable"))
        window.bell.click()
        popup = QApplication.activePopupWidget()
        assert popup is not None
        assert [button.text() for button in popup.findChildren(QPushButton)] == words
        press(popup, "Try again")
        await panel.until(lambda: ("try_api_again",) in panel.core.calls)
        await window.stop()

    panel.run(body())


def test_a_gateway_s_credit_is_not_bought_at_anthropic(panel: Panel) -> None:
    panel.core.settings.set("anthropic_base_url", "https://gateway.example")

    async def body() -> None:
        window = await open_window(panel)
        panel.core.publish(problems=(api_problem("api_credit"),))
        await panel.until(window.notices.isVisible)
        words = [button.text() for button in window.notices.findChildren(QPushButton) if button.isVisible()]
        assert words == ["Try again"]
        await window.stop()

    panel.run(body())


def test_choose_a_model_opens_preferences_at_the_model(panel: Panel) -> None:
    async def body() -> None:
        window = await open_window(panel)
        panel.core.publish(problems=(api_problem("api_model"),))
        await panel.until(window.notices.isVisible)
        press(window.notices, "Choose a model")
        await panel.settle()
        focus = QApplication.focusWidget()
        assert focus is not None
        assert focus.accessibleName() == "Anthropic model"
        await window.stop()

    panel.run(body())


def test_a_notice_with_a_button_names_no_command_and_a_strangers_file_is_shown_whole(panel: Panel) -> None:
    async def body() -> None:
        window = await open_window(panel)
        broken = Problem(
            kind="settings_file",
            title="The settings could not be read",
            message="It is kept as a.json. Mend that copy, then: signalbox settings restore.",
            hint="",
        )
        checked = Problem(
            kind="ledger_check", title="Sums differ", message="2 are off.", hint="Run signalbox audit verify."
        )
        panel.core.publish(problems=(broken, checked))
        await panel.until(lambda: "Notices: 2" in window.bell.accessibleName())
        assert window.notices.text.startswith("The settings could not be read. It is kept as a.json.")
        assert "signalbox settings" not in window.notices.text
        window.notices.close_shown()
        assert "signalbox audit verify" in window.notices.text, "there is no button that does it"

    panel.run(body())
