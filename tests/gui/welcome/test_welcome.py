"""The welcome page: four ways to start, each tested in its row; skipping; and what wins over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QFontMetricsF
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit

from core.doctor.checks import Finding
from core.errors import AuthenticationFailed, Unavailable
from core.local.server import ServerState
from core.providers.base import CheckResult
from core.services.status import ApiStatus
from gui.shell.pages import Target
from gui.theme.theme import theme
from gui.welcome.choices import with_scheme
from gui.welcome.page import WelcomePage, WelcomeView
from gui.welcome.tracks import source_lines
from gui.widgets.finding import ended
from tests.support.fake_core import MemoryKeyring
from tests.support.fake_shell import FakeShell
from tests.support.panel_loop import Panel, panel_on_qt

KEY = "sk-ant-api03-0123456789abcdefq7XA"


@pytest.fixture
def panel(qapp: QApplication, home: Path) -> Iterator[Panel]:
    with panel_on_qt(qapp, home) as running:
        yield running
    theme().set_zoom(1.0)


async def welcome(panel: Panel) -> WelcomeView:
    await panel.start()
    return panel.show(WelcomeView(panel.bridge))


def test_the_small_model_starts_and_then_the_chat_opens(panel: Panel) -> None:
    async def body() -> None:
        page = await welcome(panel)
        opened: list[bool] = []
        page.done.connect(lambda: opened.append(True))
        assert page.focusWidget() is page.try_now.button  # Enter is all a newcomer needs
        page.try_now.button.click()
        await panel.until(lambda: page.try_now.button.text() == "Open the chat")
        assert ("start_local", "auto") in panel.core.calls
        assert "SmolLM2-135M-Instruct answers" in page.try_now.result.text
        assert opened == []
        page.try_now.button.click()
        assert opened == [True]

    panel.run(body())


def test_the_small_model_is_meant_even_when_another_server_is_chosen(panel: Panel) -> None:
    async def body() -> None:
        panel.core.settings.set("vllm_base_url", "http://10.0.0.1:8000/v1")
        panel.core.now = panel.core.now.__class__(
            **{
                **{name: getattr(panel.core.now, name) for name in panel.core.now.__dataclass_fields__},
                "local": ServerState(phase="failed", kind="external", detail="not reachable"),
            }
        )
        page = await welcome(panel)
        page.try_now.button.click()
        await panel.until(lambda: ("start_local", "embedded") in panel.core.calls)

    panel.run(body())


def test_a_small_model_that_fails_says_why(panel: Panel) -> None:
    async def body() -> None:
        panel.core.local_after_start = ServerState(
            phase="failed", kind="embedded", detail="exited with code 1"
        )
        page = await welcome(panel)
        page.try_now.button.click()
        await panel.until(lambda: page.try_now.result.tone == "danger")
        assert "exited with code 1" in page.try_now.result.text
        await panel.until(page.try_now.button.isEnabled)
        assert page.try_now.button.text() == "Start the small model"

    panel.run(body())


def test_a_server_is_tested_first_and_then_kept(panel: Panel) -> None:
    async def body() -> None:
        page = await welcome(panel)
        assert not page.vllm.button.isEnabled()
        QTest.keyClicks(page.vllm.address, "192.168.1.40:8000")
        QTest.keyClick(page.vllm.address, Qt.Key.Key_Return)
        await panel.until(lambda: page.vllm.result.tone == "ok")
        assert page.vllm.result.text == "Found 1 model, qwen2.5-coder-14b, in 41 ms."
        assert panel.core.settings.current.vllm_base_url == "http://192.168.1.40:8000/v1"
        assert panel.core.settings.current.local_server == "external"
        assert page.skip.text() == "Open the chat"  # leaving is no skipping any more

    panel.run(body())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            Unavailable("Nothing answers at that address.", hint="Is the server running?"),
            "Is the server running?",
        ),
        (
            Unavailable("Nothing answers.", hint="Check VLLM_BASE_URL in Preferences, or start it."),
            "Nothing answers. Check the address, or start it.",
        ),
        (AuthenticationFailed("401"), "It asks for a key."),
    ],
)
def test_a_server_that_does_not_answer_changes_nothing(panel: Panel, error: Exception, said: str) -> None:
    async def body() -> None:
        panel.core.vllm_check = error  # type: ignore[assignment]
        page = await welcome(panel)
        page.vllm.address.setText("http://10.9.9.9:8000/v1")
        page.vllm.button.click()
        await panel.until(lambda: said in page.vllm.result.text)
        assert page.vllm.address.text() == "http://10.9.9.9:8000/v1"
        assert panel.core.settings.origin("vllm_base_url") == "default"
        assert page.vllm.button.isEnabled()
        asks_for_key = isinstance(error, AuthenticationFailed)
        assert page.vllm.add_key.isVisible() == asks_for_key
        page.vllm.address.setText("http://10.9.9.8:8000/v1")  # correcting it takes the message away
        assert not page.vllm.add_key.isVisible()
        assert page.vllm.result.text == ""

    panel.run(body())


def test_an_address_of_the_environment_wins_and_that_is_said(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        monkeypatch.setenv("VLLM_BASE_URL", "http://10.0.0.5:8000/v1")
        panel.core.settings.reload()
        page = await welcome(panel)
        page.vllm.address.setText("http://10.0.0.6:8000/v1")
        page.vllm.button.click()
        await panel.until(lambda: page.vllm.result.tone == "held")
        assert "VLLM_BASE_URL is set in the environment" in page.vllm.result.text

    panel.run(body())


def test_many_models_are_counted_and_only_two_named(panel: Panel) -> None:
    async def body() -> None:
        panel.core.vllm_check = CheckResult(models=("a", "b", "c"), latency_ms=9.6)
        page = await welcome(panel)
        page.vllm.address.setText("http://h:1/v1")
        page.vllm.button.click()
        await panel.until(lambda: page.vllm.result.tone == "ok")
        assert page.vllm.result.text == "Found 3 models, a, b and more, in 10 ms."

    panel.run(body())


def test_the_machine_is_checked_and_its_page_goes_on(panel: Panel, home: Path) -> None:
    async def body() -> None:
        panel.core.findings = [
            Finding(component="Python", state="works", version="3.11.7"),
            Finding(component="Docker", state="works", version="27.0"),
            Finding(component="NVIDIA GPU", state="missing", hint="Install the driver.", needed=False),
        ]
        page = await welcome(panel)
        page.docker.button.setFocus()
        page.docker.button.click()
        await panel.until(page.docker.detail.isVisible)
        assert page.focusWidget() is page.docker.button
        assert ("doctor", False) in panel.core.calls  # a look costs no request
        assert page.docker.result.text == "Not ready. NVIDIA GPU would have to work first."
        words = [
            line.accessibleName() for line in page.docker.detail.children() if hasattr(line, "accessibleName")
        ]
        assert any("Install the driver." in word for word in words)
        assert not any("Python" in word for word in words)
        assert page.docker.open_machine.isVisible()
        panel.core.findings = panel.core.findings[:2]
        page.docker.button.click()
        await panel.until(lambda: page.docker.result.tone == "ok")
        shell = FakeShell(panel.bridge, home)
        whole = WelcomePage(shell)
        whole.view.docker.open_machine.click()
        assert shell.opened == [Target("machine", "settings")]
        whole.view.deleteLater()

    panel.run(body())


def test_a_key_is_tested_stored_and_gone_from_the_field(panel: Panel, home: Path) -> None:
    async def body() -> None:
        backend = MemoryKeyring()
        keyring.set_keyring(backend)
        page = await welcome(panel)
        assert page.key.edit.isHidden()
        page.key.button.click()
        assert page.key.edit.isVisible()
        assert page.key.edit.echoMode() == QLineEdit.EchoMode.Password
        page.key.edit.setText(KEY)
        page.key.button.click()
        await panel.until(lambda: page.key.result.tone == "ok")
        assert backend.kept[("signalbox", "anthropic")] == KEY
        assert page.key.edit.text() == ""
        assert "2 models in 312 ms" in page.key.result.text

    panel.run(body())


def test_a_refused_key_is_not_stored(panel: Panel) -> None:
    async def body() -> None:
        backend = MemoryKeyring()
        keyring.set_keyring(backend)
        panel.core.anthropic = AuthenticationFailed("Anthropic doesn't know this key.", hint="Copy it again.")
        page = await welcome(panel)
        page.key.button.click()
        page.key.edit.setText(KEY)
        page.key.button.click()
        await panel.until(lambda: page.key.result.tone == "danger")
        assert backend.kept == {}
        assert page.key.edit.text() == KEY  # to be corrected
        assert "Copy it again." in page.key.result.text

    panel.run(body())


def test_a_key_that_cannot_be_tested_is_kept_and_that_is_said(panel: Panel) -> None:
    async def body() -> None:
        panel.core.anthropic = Unavailable("Anthropic can't be reached.")
        page = await welcome(panel)
        page.key.button.click()
        page.key.edit.setText(KEY)
        page.key.button.click()
        await panel.until(lambda: page.key.result.tone == "held")
        # No keyring in this test, so both facts are told.
        assert page.key.result.text.startswith("Kept for this run only.")
        assert "could not be tested" in page.key.result.text

    panel.run(body())


def test_skip_goes_on(panel: Panel) -> None:
    async def body() -> None:
        page = await welcome(panel)
        opened: list[bool] = []
        page.done.connect(lambda: opened.append(True))
        page.skip.click()
        assert opened == [True]

    panel.run(body())


def test_before_the_core_is_there_buttons_say_so(panel: Panel) -> None:
    async def body() -> None:
        page = panel.show(WelcomeView(panel.bridge))
        page.try_now.button.click()
        assert "still starting" in page.try_now.result.text
        page.vllm.address.setText("http://h:1/v1")
        page.vllm.button.click()
        assert "still starting" in page.vllm.result.text
        page.docker.button.click()
        assert "still starting" in page.docker.result.text

    panel.run(body())


@pytest.mark.parametrize(("width", "height", "zoom"), [(1024, 640, 1.0), (1280, 800, 1.5), (1920, 1080, 0.9)])
def test_nothing_is_cut_off_sideways(panel: Panel, width: int, height: int, zoom: float) -> None:
    async def body() -> None:
        theme().set_zoom(zoom)
        await panel.start()
        page = panel.show(WelcomeView(panel.bridge), width, height)
        for button in (page.try_now.button, page.vllm.button, page.docker.button, page.key.button, page.skip):
            right = button.mapTo(page, button.rect().topRight()).x()
            assert 0 < right < width

    panel.run(body())


@pytest.mark.parametrize(
    ("typed", "used"),
    [
        ("192.168.1.40:8000", "http://192.168.1.40:8000/v1"),
        ("http://h:8000", "http://h:8000/v1"),
        ("https://h/v1", "https://h/v1"),
        ("h:1/custom/v1", "http://h:1/custom/v1"),
        ("", ""),
    ],
)
def test_a_short_address_is_completed(typed: str, used: str) -> None:
    assert with_scheme(typed) == used


def test_opened_again_it_says_what_is_there_already(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        await panel.start()
        panel.core.publish(
            local=panel.core.local_after_start, api=ApiStatus(phase="key_set", model="claude-sonnet-4-6")
        )
        await panel.until(
            lambda: panel.bridge.status is not None and panel.bridge.status.local.phase == "ready"
        )
        page = panel.show(WelcomeView(panel.bridge))  # no status comes from now on
        assert page.try_now.button.text() == "Open the chat"
        assert page.key.sentence.text().startswith("A key is set.")
        assert page.key.button.text() == "Replace it"
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        panel.core.settings.reload()
        page.hide()
        page.show()
        assert "ANTHROPIC_API_KEY in the environment" in page.key.sentence.text()
        assert page.key.button.isHidden()

    panel.run(body())


@pytest.mark.parametrize("typed", ["not a url", "http://h:99999999/v1", "ftp://h/v1", "http:///v1"])
def test_what_is_no_address_is_not_tried(panel: Panel, typed: str) -> None:
    async def body() -> None:
        page = await welcome(panel)
        page.vllm.address.setText(typed)
        page.vllm.button.click()
        assert page.vllm.result.text.startswith("That isn’t an address.")
        await panel.settle()
        assert not [call for call in panel.core.calls if call[0] == "test_vllm"]

    panel.run(body())


@pytest.mark.parametrize(
    ("fact", "sentence"),
    [
        ("no key", "No key."),
        ("signalbox keys set anthropic", "signalbox keys set anthropic."),
        ("claude-sonnet-4-6 is priced", "claude-sonnet-4-6 is priced."),
    ],
)
def test_commands_and_names_in_findings_are_not_capitalised(fact: str, sentence: str) -> None:
    assert ended(fact) == sentence


@pytest.mark.parametrize("room", [226.0, 142.0])
def test_the_pictures_words_stay_clear_of_the_points(qapp: QApplication, room: float) -> None:
    theme().install(qapp)
    font = theme().font("small", 400)
    font.setPixelSize(12)
    lines = source_lines(room)
    assert " ".join(lines) == "from chat, your code, or the CLI"
    assert all(QFontMetricsF(font).horizontalAdvance(line) <= room for line in lines)


def test_a_stored_key_goes_to_a_new_server_only_when_that_was_answered(panel: Panel) -> None:
    async def body() -> None:
        keyring.set_keyring(MemoryKeyring())
        await panel.core.keys.set("vllm", KEY, "http://192.168.1.40:8000/v1")
        page = await welcome(panel)
        page.vllm.address.setText("http://gpu.example:8000/v1")
        page.vllm.button.click()
        await panel.until(lambda: page.vllm.result.text.startswith("Not connected."))
        for address in ("http://192.168.1.40:8000", "http://gpu.example:8000"):
            assert address in page.vllm.result.text
        assert not [call for call in panel.core.calls if call[0] == "test_vllm"]
        assert panel.core.settings.origin("vllm_base_url") == "default"
        assert page.vllm.dialog is not None
        page.vllm.dialog.do.click()
        await panel.until(lambda: page.vllm.result.text.startswith("Found 1 model"))
        assert ("test_vllm", "http://gpu.example:8000/v1", KEY) in panel.core.calls
        assert "not encrypted" in page.vllm.result.text

    panel.run(body())


def test_who_comes_back_by_the_help_menu_goes_back_and_skips_nothing(panel: Panel, home: Path) -> None:
    async def body() -> None:
        await panel.start()
        shell = FakeShell(panel.bridge, home)
        page = WelcomePage(shell)
        first = panel.show(page.view)
        assert first.skip.text() == "Skip"
        first.activateWindow()
        await panel.until(first.isActiveWindow)
        QTest.keyClick(first.try_now.button, Qt.Key.Key_Escape)
        assert shell.opened == [Target("chat")]
        assert panel.show(WelcomePage(shell).view).skip.text() == "Back to the chat"

    panel.run(body())
