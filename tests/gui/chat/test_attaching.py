"""What is pasted and attached: sent whole, or refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QFileDialog

from gui.chat.composer import Composer
from tests.gui.chat.panel import ChatPanel


def paste(composer: Composer, text: str) -> None:
    data = QMimeData()
    data.setText(text)
    composer.edit.insertFromMimeData(data)


def test_two_megabytes_become_an_attachment_and_are_sent_whole(panel: ChatPanel) -> None:
    async def body() -> None:
        page = await panel.open()
        text = "the quick brown fox\n" * 105_000
        paste(page.view.composer, text)
        assert page.view.composer.text == ""
        [attachment] = page.view.composer.attachments
        assert attachment.size_bytes == len(text)
        page.controller.send()
        await panel.idle()
        assert panel.core.requests[0].messages[0].text == text
        await panel.again()
        await panel.until(lambda: panel.page.view.list.model.ids())
        panel.page.controller.open(panel.page.view.list.model.ids()[0])
        await panel.until(lambda: len(panel.page.view.thread_view.views()) == 2)
        assert panel.page.controller.session.tree.path()[0].attachments[0].text == text

    panel.run(body)


@pytest.mark.parametrize(
    ("pasted", "text", "note"),
    [
        (
            "a\x00b\x07c" + "d" * 200,
            "abc" + "d" * 200,
            "2 control characters were left out of what you pasted.",
        ),
        ("\x00\x01\x02\x03" * 500, "", "binary data"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree", ""),
        ("x\ud800y", "x\ufffdy", "1 broken character was replaced"),
    ],
)
def test_what_can_t_be_sent_is_left_out_and_said(panel: ChatPanel, pasted: str, text: str, note: str) -> None:
    async def body() -> None:
        page = await panel.open()
        page.view.composer.edit.insert_pasted(pasted)
        assert page.view.composer.text == text
        assert note in page.view.composer.note
        if text:
            page.controller.send()
            await panel.idle()
            assert panel.core.requests[0].messages[0].text == text

    panel.run(body)


def test_files_and_pictures_are_attached_or_refused_with_a_reason(panel: ChatPanel, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# Notes\n```\ncode\n```\n")
    (tmp_path / "blob.bin").write_bytes(bytes(range(256)) * 10)
    picture = QImage(4, 4, QImage.Format.Format_RGB32)
    picture.fill(Qt.GlobalColor.red)
    picture.save(str(tmp_path / "p.png"))

    async def body() -> None:
        from PySide6.QtCore import QUrl

        page = await panel.open()
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(tmp_path / name)) for name in ("notes.md", "blob.bin", "p.png")])
        page.view.composer.edit.insertFromMimeData(data)
        await panel.until(lambda: len(page.view.composer.attachments) == 2 and page.view.composer.note)
        assert page.view.composer.note.startswith("blob.bin is neither text nor")
        page.view.composer.edit.set_text("Summarise")
        page.controller.send()
        await panel.idle()
        [message] = panel.core.requests[0].messages
        assert message.text == "Summarise\n\nnotes.md:\n````\n# Notes\n```\ncode\n```\n\n````"
        assert [image.media_type for image in message.images] == ["image/png"]

    panel.run(body)


def test_the_paper_clip_attaches_what_is_chosen(panel: ChatPanel, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("from the dialog")

    async def body() -> None:
        page = await panel.open()
        page.view.composer.attach_asked.emit()
        [dialog] = page.view.findChildren(QFileDialog)
        dialog.setDirectory(str(tmp_path))
        dialog.selectFile(str(tmp_path / "notes.txt"))
        dialog.accept()
        await panel.until(lambda: page.view.composer.attachments)
        assert page.view.composer.attachments[0].text == "from the dialog"

    panel.run(body)
