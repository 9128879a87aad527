"""A file that is attached: plain files only, within bounds, text of every encoding, images made fit for a model."""

from __future__ import annotations

import os
import struct
import sys
import zlib
from pathlib import Path

import pytest
from PySide6.QtCore import QBuffer, QIODevice, QSize, Qt
from PySide6.QtGui import QImage

from gui.chat.images import MOST_BASE64_BYTES, MOST_SIDE_PX, SCALED_SIDE_PX
from gui.chat.paste import MAX_TEXT_BYTES, read_file, read_image
from tests.support.odd_files import ODD_FILES, make_odd


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")
@pytest.mark.parametrize("kind", ODD_FILES)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    pasted = read_file(make_odd(tmp_path / "odd", kind))
    assert pasted.attachment is None
    assert pasted.note.startswith("odd ")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_a_file_that_does_not_know_its_size_is_read_within_bounds() -> None:
    attachment = read_file(Path("/proc/self/status")).attachment
    assert attachment is not None
    assert "Pid:" in attachment.text


def test_a_dangling_link_and_a_missing_file_are_told(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("link", "missing"):
        assert read_file(tmp_path / name).note == f"{name} can’t be read: No such file or directory."


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.log").open("wb") as file:
        file.truncate(10_000_000_000)
    assert (
        read_file(tmp_path / "huge.log").note
        == "huge.log is 10 GB, and 10 MB is the most that can be attached."
    )


def test_text_has_its_own_bound(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a" * MAX_TEXT_BYTES)
    assert read_file(tmp_path / "a.txt").attachment is not None
    (tmp_path / "a.txt").write_bytes(b"a" * (MAX_TEXT_BYTES + 1))
    assert read_file(tmp_path / "a.txt").attachment is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_of_windows_is_text(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("Größe\r\nzwei".encode(encoding))
    attachment = read_file(tmp_path / "a.txt").attachment
    assert attachment is not None
    assert attachment.text == "Größe\nzwei"


def picture(width: int, height: int, form: str, **texts: str) -> bytes:
    image = QImage(width, height, QImage.Format.Format_RGB32)
    image.fill(Qt.GlobalColor.red)
    for key, text in texts.items():
        image.setText(key, text)
    return encoded(image, form)


def encoded(image: QImage, form: str) -> bytes:
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, form)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return bytes(buffer.data().data())


def attached(tmp_path: Path, content: bytes) -> tuple[bytes, str, str]:
    (tmp_path / "photo").write_bytes(content)
    pasted = read_file(tmp_path / "photo")
    assert pasted.attachment is not None, pasted.note
    return pasted.attachment.content, pasted.attachment.media_type, pasted.note


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_fit_image_is_sent_as_it_is(tmp_path: Path, form: str) -> None:
    content = picture(40, 30, form)
    assert attached(tmp_path, content) == (content, f"image/{form.lower()}", "")


@pytest.mark.parametrize(("form", "size"), [("PNG", (MOST_SIDE_PX + 1, 10)), ("JPEG", (10, 9000))])
def test_a_side_that_is_too_long_is_scaled_and_said(tmp_path: Path, form: str, size: tuple[int, int]) -> None:
    content, media_type, note = attached(tmp_path, picture(*size, form))
    scaled = QImage.fromData(content).size()
    assert max(scaled.width(), scaled.height()) == SCALED_SIDE_PX
    assert media_type == f"image/{form.lower()}"
    assert note.startswith(f"photo was {size[0]:,} × {size[1]:,} px")


def noise(width: int, height: int) -> QImage:
    return QImage(os.urandom(width * height * 4), width, height, QImage.Format.Format_ARGB32)


def test_one_of_too_many_bytes_is_made_smaller(tmp_path: Path) -> None:
    before = encoded(noise(1200, 1100), "PNG")
    assert len(before) * 4 / 3 > MOST_BASE64_BYTES
    content, media_type, _ = attached(tmp_path, before)
    assert len(content) * 4 / 3 <= MOST_BASE64_BYTES
    assert media_type == "image/jpeg"
    assert QImage.fromData(content).size() == QSize(1200, 1100)


def test_a_pasted_picture_is_made_fit_too() -> None:
    attachment = read_image(noise(1200, 1100)).attachment
    assert attachment is not None
    assert attachment.size_bytes * 4 / 3 <= MOST_BASE64_BYTES
    assert "empty" in read_image(QImage()).note


def exif(orientation: int) -> bytes:
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    body = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0) + b"GPS 52.5N 13.4E"
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 30)), (6, (30, 40))])
def test_where_a_photo_was_taken_stays_here_and_it_stands_upright(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    plain = picture(40, 30, "JPEG")
    content, media_type, note = attached(tmp_path, plain[:2] + exif(orientation) + plain[2:])
    assert b"GPS" not in content
    assert (media_type, note) == ("image/jpeg", "")
    assert QImage.fromData(content).size() == QSize(*size)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_comments_stay_here(tmp_path: Path, form: str) -> None:
    before = picture(4, 4, form, Comment="the author's name")
    assert b"author" in before
    assert b"author" not in attached(tmp_path, before)[0]


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    body = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (bomb(60_000, 60_000), "is 60,000 × 60,000 px, more than can be opened safely"),
        (bomb(2**31 - 1, 1), "is damaged"),
        (picture(40, 30, "PNG")[:60], "is damaged"),
        (b"GIF89a", "is damaged"),
        (b"\xff\xd8\xff<svg/>", "is damaged"),
        (b"RIFF\0\0\0\0WEBP<svg xmlns='http://www.w3.org/2000/svg'/>", "is damaged"),
    ],
    ids=["bomb", "endless", "cut", "empty gif", "svg as jpeg", "svg as webp"],
)
def test_a_bomb_or_a_damaged_image_is_refused(tmp_path: Path, content: bytes, note: str) -> None:
    (tmp_path / "photo").write_bytes(content)
    pasted = read_file(tmp_path / "photo")
    assert pasted.attachment is None
    assert pasted.note.startswith(f"photo {note}")
