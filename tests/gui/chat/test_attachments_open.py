"""Attachments: images as thumbnails that open, texts that open to be read, names that hide nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QBuffer, QIODevice, QPoint, Qt
from PySide6.QtGui import QColor, QGuiApplication, QImage
from PySide6.QtTest import QTest

from gui.chat.attachment_chip import AttachmentButton, AttachmentChip
from gui.chat.attachment_viewer import SLICE_CHARS, ImageWindow, TextWindow
from gui.chat.images import ImageRefused, read_fitted
from gui.chat.paste import read_file
from gui.chat.storage.models import Attachment
from gui.chat.user_message import UserMessage
from tests.gui.chat.panel import ChatPanel


def picture(width: int, height: int, colour: str = "#c02040") -> Attachment:
    image = QImage(width, height, QImage.Format.Format_RGB32)
    image.fill(QColor(colour))
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")  # pyright: ignore[reportCallIssue, reportArgumentType]
    return Attachment(
        name="photo.png", kind="image", content=bytes(buffer.data().data()), media_type="image/png"
    )


async def send(panel: ChatPanel, *attachments: Attachment) -> list[AttachmentButton]:
    page = panel.page
    page.view.composer.set_content("Look", attachments)
    page.controller.send()
    await panel.idle()
    return sent(panel)


def sent(panel: ChatPanel) -> list[AttachmentButton]:
    prompt = panel.page.view.thread_view.views()[-2]
    assert isinstance(prompt, UserMessage)
    return prompt.findChildren(AttachmentButton)


def test_a_sent_image_is_a_thumbnail_that_opens_also_after_a_restart(panel: ChatPanel) -> None:
    async def body() -> None:
        await panel.open()
        [button] = await send(panel, picture(2400, 1200))
        for _ in range(2):
            await panel.until(lambda button=button: button.size() == button.sizeHint())
            size = button.size()
            await panel.until(lambda button=button: button.picture is not None)
            assert button.picture is not None
            assert button.size() == size, "nothing moves when the picture is there"
            assert max(button.picture.width(), button.picture.height()) <= 512
            middle = button.grab().toImage().pixelColor(button.width() // 2, button.height() // 3)
            assert middle.name() == "#c02040"
            QTest.keyClick(button, Qt.Key.Key_Return)
            [window] = panel.page.controller.viewer.windows()
            assert isinstance(window, ImageWindow)
            await panel.until(lambda window=window: "2,400 × 1,200 px" in window.facts)
            shot = window.picture.grab().toImage()
            assert shot.pixelColor(shot.width() // 2, shot.height() // 2).name() == "#c02040"
            assert window.picture.width() < 1200
            window.scale_button.click()
            await panel.until(lambda window=window: window.picture.width() >= 2400)
            button.click()
            assert len(panel.page.controller.viewer.windows()) == 1, "it comes to the front"
            QTest.keyClick(window, Qt.Key.Key_Escape)
            assert panel.page.controller.viewer.windows() == []
            page = await panel.again()
            page.controller.open(page.view.list.model.ids()[0])
            await panel.until(lambda: len(panel.page.view.thread_view.views()) == 2)
            [button] = sent(panel)

    panel.run(body)


def test_an_attached_text_opens_and_is_copied_whole(panel: ChatPanel) -> None:
    text = "line \u202e of <b>text</b>\n" * (SLICE_CHARS // 20) + "x" * SLICE_CHARS + "end"

    async def body() -> None:
        await panel.open()
        attachment = Attachment(name="notes.txt", kind="text", content=text.encode())
        panel.page.view.composer.set_content("", (attachment,))
        [chip] = panel.page.view.composer.findChildren(AttachmentChip)
        QTest.mouseClick(chip.button, Qt.MouseButton.LeftButton, pos=QPoint(5, 5))
        [window] = panel.page.controller.viewer.windows()
        assert isinstance(window, TextWindow)
        assert window.pane.toPlainText().startswith("line \ufffd of <b>text</b>\n")
        assert not window.pane.toPlainText().endswith("end")
        presses = 0
        while window.more_button.isVisible():
            window.more_button.click()
            presses += 1
        assert presses == 2
        assert window.pane.toPlainText().endswith("end")
        window.copy_button.click()
        assert QGuiApplication.clipboard().text() == text

    panel.run(body)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\nnothing", b"<svg xmlns='x'/>", b"%PDF-1.4"])
def test_what_is_no_image_any_more_is_not_opened(panel: ChatPanel, content: bytes) -> None:
    with pytest.raises(ImageRefused):
        read_fitted(content, 512)

    async def body() -> None:
        await panel.open()
        damaged = Attachment(name="p.png", kind="image", content=content, media_type="image/png")
        [button] = await send(panel, damaged)
        button.click()
        [window] = panel.page.controller.viewer.windows()
        await panel.until(lambda: "can’t be shown" in window.facts)
        assert button.picture is None

    panel.run(body)


def test_a_name_hides_nothing(panel: ChatPanel, tmp_path: Path) -> None:
    name = "photo\u202egnp.\u2066exe"
    (tmp_path / name).write_bytes(bytes(range(256)) * 9)
    assert read_file(tmp_path / name).note.startswith("photo<U+202E>gnp.<U+2066>exe is neither")

    async def body() -> None:
        await panel.open()
        attachment = Attachment(name=name, kind="text", content=b"text")
        [button] = await send(panel, attachment)
        panel.page.view.composer.set_content("", (attachment,))
        [chip] = panel.page.view.composer.findChildren(AttachmentChip)
        for shown in (button, chip.button):
            assert "photo<U+202E>gnp.<U+2066>exe" in shown.accessibleName()
            assert "photo<U+202E>gnp.<U+2066>exe" in shown.toolTip()
        assert "\u202e" not in panel.page.controller.viewer.open(attachment).windowTitle()

    panel.run(body)
