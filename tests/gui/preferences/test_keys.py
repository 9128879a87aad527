"""Keys: masked, tested, replaced, deleted after a question, and never left in a field."""

from __future__ import annotations

from pathlib import Path

import keyring
import keyring.errors
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLineEdit

from core.errors import AuthenticationFailed, Unavailable
from core.keys import BackendStatus
from gui.preferences.key_card import KeyCard
from gui.preferences.page import PreferencesView
from gui.preferences.providers_section import ProvidersSection
from tests.support.fake_core import MemoryKeyring
from tests.support.panel_loop import Panel

KEY = "sk-ant-api03-0123456789abcdefq7XA"


async def keys_section(panel: Panel) -> ProvidersSection:
    await panel.start()
    page = panel.show(PreferencesView(panel.bridge))
    page.show_section("providers")
    section = page.section("providers")
    assert isinstance(section, ProvidersSection)
    await panel.until(lambda: all(card.state != "loading" for card in section.cards.values()))
    return section


def count_backend_calls(panel: Panel) -> list[bool]:
    """A list that grows with each look at the keyring from now on."""
    asked: list[bool] = []
    look = panel.core.keys.backend

    async def counted() -> BackendStatus:
        asked.append(True)
        return await look()

    panel.core.keys.backend = counted  # type: ignore[method-assign]
    return asked


def test_a_pasted_key_goes_to_the_keyring_and_leaves_the_field(
    panel: Panel, memory_keyring: MemoryKeyring, home: Path
) -> None:
    async def body() -> None:
        card = (await keys_section(panel)).cards["anthropic"]
        assert card.state == "empty"
        assert card.tag.text == "Not set"
        assert card.edit.echoMode() == QLineEdit.EchoMode.Password
        assert not card.save.isEnabled()
        card.edit.setText(f"  {KEY} ")
        card.save.click()
        await panel.until(lambda: card.state == "stored")
        assert memory_keyring.kept[("signalbox", "anthropic")] == KEY
        assert KEY not in card.edit.text()
        assert card.edit.text().endswith("q7XA")
        assert card.tag.text == "Keyring"
        assert card.result.text.startswith("Saved")
        assert ("set_key", "anthropic") in panel.core.calls  # so that the core uses it from now on
        assert all(KEY not in file.read_text(errors="replace") for file in home.rglob("*") if file.is_file())

    panel.run(body())


def test_a_stored_key_is_tested_with_latency_and_models(panel: Panel, memory_keyring: MemoryKeyring) -> None:
    async def body() -> None:
        memory_keyring.set_password("signalbox", "anthropic", KEY)
        card = (await keys_section(panel)).cards["anthropic"]
        card.test.click()
        await panel.until(lambda: card.result.tone == "ok")
        assert "312 ms, 2 models, nothing was charged" in card.result.text
        assert ("test_anthropic_key", None) in panel.core.calls

    panel.run(body())


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (AuthenticationFailed("Anthropic doesn't know this key.", hint="Replace it."), "Refused"),
        (Unavailable("Anthropic can't be reached.", hint="Check the network."), "Not tested"),
    ],
)
def test_a_failed_test_says_what_was_kept_and_what_to_do(
    panel: Panel, memory_keyring: MemoryKeyring, error: Exception, word: str
) -> None:
    async def body() -> None:
        memory_keyring.set_password("signalbox", "anthropic", KEY)
        panel.core.anthropic = error  # type: ignore[assignment]
        card = (await keys_section(panel)).cards["anthropic"]
        card.test.click()
        await panel.until(lambda: card.result.text.startswith(word))
        assert "changed" in card.result.text
        assert getattr(error, "hint") in card.result.text  # noqa: B009
        assert card.test.isEnabled()

    panel.run(body())


def test_a_typed_key_is_tested_before_it_is_saved(panel: Panel, memory_keyring: MemoryKeyring) -> None:
    async def body() -> None:
        card = (await keys_section(panel)).cards["anthropic"]
        card.edit.setText(KEY)
        card.test.click()
        await panel.until(lambda: card.result.tone == "ok")
        assert ("test_anthropic_key", KEY) in panel.core.calls
        assert memory_keyring.kept == {}
        assert card.edit.text() == KEY  # still there, to be saved

    panel.run(body())


def test_replacing_can_be_given_up(panel: Panel, memory_keyring: MemoryKeyring) -> None:
    async def body() -> None:
        memory_keyring.set_password("signalbox", "anthropic", KEY)
        card = (await keys_section(panel)).cards["anthropic"]
        card.replace.click()
        assert card.state == "replacing"
        assert card.edit.text() == ""
        assert card.edit.echoMode() == QLineEdit.EchoMode.Password
        QTest.keyClicks(card.edit, "half")
        card.cancel.click()
        assert card.state == "stored"
        assert card.edit.text().endswith("q7XA")
        assert memory_keyring.kept[("signalbox", "anthropic")] == KEY

    panel.run(body())


def test_deleting_asks_first_and_keeping_is_the_default(panel: Panel, memory_keyring: MemoryKeyring) -> None:
    async def body() -> None:
        memory_keyring.set_password("signalbox", "anthropic", KEY)
        card = (await keys_section(panel)).cards["anthropic"]
        card.delete.click()
        assert card.dialog is not None
        assert card.dialog.isVisible()
        assert card.dialog.keep.text() == "Keep"
        QTest.keyClick(card.dialog, Qt.Key.Key_Return)  # Enter takes the safe button
        assert card.dialog.isHidden()
        assert memory_keyring.kept
        card.delete.click()
        assert card.dialog.do.text() == "Delete key"
        card.dialog.do.click()
        await panel.until(lambda: card.state == "empty")
        assert memory_keyring.kept == {}
        assert card.tag.text == "Not set"

    panel.run(body())


def test_without_a_keyring_the_key_is_kept_for_this_run_and_that_is_said(panel: Panel) -> None:
    async def body() -> None:
        section = await keys_section(panel)
        assert section.backend_line.tone == "held"
        assert section.backend_line.text
        card = section.cards["anthropic"]
        card.edit.setText(KEY)
        QTest.keyClick(card.edit, Qt.Key.Key_Return)
        await panel.until(lambda: card.state == "stored")
        assert card.tag.text == "This run only"
        assert card.result.text.startswith("Kept for this run only.")
        # A later look at the keyring keeps saying so.
        asked = count_backend_calls(panel)
        section.check_again.click()
        await panel.until(lambda: bool(asked) and section.check_again.isEnabled())
        assert card.result.text.startswith("Kept for this run only.")

    panel.run(body())


class LockedKeyring(MemoryKeyring):
    def get_password(self, service: str, username: str) -> str | None:
        raise keyring.errors.KeyringLocked("locked")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise keyring.errors.KeyringLocked("locked")


def test_a_locked_keyring_is_told_in_the_card(panel: Panel, home: Path) -> None:
    async def body() -> None:
        keyring.set_keyring(LockedKeyring())
        card = (await keys_section(panel)).cards["anthropic"]
        assert card.state == "empty"
        assert "keyring cannot be read" in card.result.text

    panel.run(body())


def test_a_key_in_the_environment_wins_and_is_locked(
    panel: Panel, memory_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        monkeypatch.setenv("VLLM_API_KEY", "token-of-the-environment")
        panel.core.settings.reload()
        card = (await keys_section(panel)).cards["vllm"]
        assert card.state == "locked"
        assert card.tag.text == "Environment"
        assert "token-of-the-environment" not in card.edit.text()
        assert card.result.text == (
            "VLLM_API_KEY is set in the environment, and that wins. Unset it to use a key stored here."
        )
        assert card.save.isHidden()
        assert card.delete.isHidden()
        card.test.click()
        await panel.until(lambda: card.result.tone == "ok")
        asked = ("test_vllm", "http://127.0.0.1:8000/v1", "token-of-the-environment")
        assert asked in panel.core.calls

    panel.run(body())


def test_an_unusual_key_is_remarked_on_but_not_refused(panel: Panel, memory_keyring: MemoryKeyring) -> None:
    async def body() -> None:
        card = (await keys_section(panel)).cards["anthropic"]
        card.edit.setText("not-a-token-at-all")
        assert "start with sk-ant-" in card.result.text
        assert card.save.isEnabled()
        card.edit.setText("sk-ant-abcdefgh")
        assert card.result.text == ""

    panel.run(body())


def test_a_refused_save_keeps_what_was_typed(panel: Panel, memory_keyring: MemoryKeyring) -> None:
    async def body() -> None:
        card = (await keys_section(panel)).cards["anthropic"]
        card.edit.setText("sk-ant- with spaces")
        card.save.click()
        await panel.until(lambda: card.result.text.startswith("Not saved"))
        assert "The Anthropic key holds spaces" in card.result.text
        assert card.edit.text() == "sk-ant- with spaces"
        assert card.save.isEnabled()

    panel.run(body())


def test_a_half_typed_key_survives_other_changes(panel: Panel, memory_keyring: MemoryKeyring) -> None:
    async def body() -> None:
        section = await keys_section(panel)
        card: KeyCard = section.cards["anthropic"]
        card.edit.setText("sk-ant-half")
        asked = count_backend_calls(panel)
        panel.core.settings.set("routing_threshold", 5)  # makes the section read again
        await panel.until(lambda: bool(asked) and section.check_again.isEnabled())
        assert card.edit.text() == "sk-ant-half"

    panel.run(body())


def test_a_masked_key_is_mono_and_a_typed_one_is_not(panel: Panel, memory_keyring: MemoryKeyring) -> None:
    async def body() -> None:
        memory_keyring.set_password("signalbox", "anthropic", KEY)
        card = (await keys_section(panel)).cards["anthropic"]
        mono = card.edit.font().family()
        card.replace.click()
        assert card.edit.font().family() != mono
        card.cancel.click()
        assert card.edit.font().family() == mono

    panel.run(body())


def test_the_focus_stays_in_the_card_while_a_key_is_tested_and_saved(
    panel: Panel, memory_keyring: MemoryKeyring
) -> None:
    async def body() -> None:
        card = (await keys_section(panel)).cards["anthropic"]
        page = card.window()
        card.edit.setFocus()
        card.edit.setText(KEY)
        card.test.setFocus()
        card.test.click()
        assert page.focusWidget() is card.test
        card.test.click()  # one at a time
        await panel.until(lambda: card.result.tone == "ok")
        assert page.focusWidget() is card.test
        assert len([call for call in panel.core.calls if call[0] == "test_anthropic_key"]) == 1
        card.save.setFocus()
        card.save.click()
        await panel.until(lambda: card.state == "stored")
        assert page.focusWidget() is card.edit
        assert card.edit.isReadOnly()

    panel.run(body())


def test_who_comes_to_add_a_key_can_paste_at_once(panel: Panel, memory_keyring: MemoryKeyring) -> None:
    async def body() -> None:
        section = await keys_section(panel)
        page = section.window()
        assert isinstance(page, PreferencesView)
        page.show_section("providers", "anthropic")
        await panel.settle()
        assert page.focusWidget() is section.cards["anthropic"].edit

    panel.run(body())


def test_a_key_that_is_held_back_is_asked_about_with_both_addresses(
    panel: Panel, memory_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        memory_keyring.set_password("signalbox", "anthropic", KEY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://gateway.example:8080")
        panel.core.settings.reload()
        card = (await keys_section(panel)).cards["anthropic"]
        assert card.allow.isVisible()
        assert card.place.text() == "Goes to https://api.anthropic.com only."
        for address in ("https://api.anthropic.com", "http://gateway.example:8080"):
            assert address in card.result.text
        card.allow.click()
        assert card.dialog is not None
        assert "http://gateway.example:8080" in card.dialog.windowTitle()
        assert "not encrypted" in card.dialog.accessibleDescription()
        QTest.keyClick(card.dialog, Qt.Key.Key_Return)  # Enter takes the safe button
        assert not [call for call in panel.core.calls if call[0] == "allow_key"]
        card.allow.click()
        card.dialog.do.click()
        await panel.until(lambda: card.result.text.startswith("Allowed"))
        assert ("allow_key", "anthropic", "http://gateway.example:8080") in panel.core.calls
        assert card.allow.isHidden()
        assert card.place.text() == "Goes to https://api.anthropic.com and http://gateway.example:8080 only."

    panel.run(body())


def test_a_typed_key_is_tested_unencrypted_only_when_that_was_confirmed(
    panel: Panel, memory_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        monkeypatch.setenv("VLLM_BASE_URL", "http://gpu.example:8000/v1")
        panel.core.settings.reload()
        card = (await keys_section(panel)).cards["vllm"]
        assert card.place.text() == "A key typed here belongs to http://gpu.example:8000."
        card.edit.setText("key-of-the-server")
        card.test.click()
        await panel.until(lambda: card.result.text.startswith("Not tested."))
        assert not [call for call in panel.core.calls if call[0] == "test_vllm"]
        assert card.dialog is not None
        assert "http://gpu.example:8000 unencrypted?" in card.dialog.windowTitle()
        card.dialog.do.click()
        await panel.until(lambda: card.result.tone == "ok")
        assert ("test_vllm", "http://gpu.example:8000/v1", "key-of-the-server") in panel.core.calls
        card.save.click()
        await panel.until(lambda: card.state == "stored")
        assert card.result.text.startswith("Held back.")
        assert card.allow.isVisible()

    panel.run(body())


def test_the_hugging_face_token_is_kept_and_tested_like_a_key(
    panel: Panel, memory_keyring: MemoryKeyring
) -> None:
    async def body() -> None:
        card = (await keys_section(panel)).cards["huggingface"]
        assert "huggingface.co" in card.place.text()
        card.edit.setText("hf_abcdefghijklmnopqrstuvw7XA")
        card.test.click()
        await panel.until(lambda: card.result.text.startswith("Works"))
        assert "it is ada's" in card.result.text
        assert "0 models" not in card.result.text
        card.save.click()
        await panel.until(lambda: card.state == "stored")
        assert memory_keyring.kept[("signalbox", "huggingface")] == "hf_abcdefghijklmnopqrstuvw7XA"
        assert "the next download or start" in card.result.text

    panel.run(body())


def test_a_token_of_the_environment_wins_and_that_is_said(
    panel: Panel, memory_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnopqrstuvw7XA")
        panel.core.settings.reload()
        card = (await keys_section(panel)).cards["huggingface"]
        assert card.state == "locked"
        assert card.result.text.startswith("HF_TOKEN is set in the environment, and that wins.")

    panel.run(body())
