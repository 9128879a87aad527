"""What the user pastes, drops or attaches, made safe to show and to send; large text becomes an attachment."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtGui import QImage

from core import decode_text, file_size, marked, open_regular_file
from gui.chat.images import MOST_READ_BYTES, FitImage, ImageRefused, fit_file, fit_image, image_type
from gui.chat.storage.models import Attachment, clean_text

LARGE_CHARS = 20_000
LARGE_LINES = 500
MAX_TEXT_BYTES = 10_000_000
_CONTROLS = bytes(code for code in (*range(32), 127) if code not in (9, 10, 13))
_BINARY_SHARE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Pasted:
    """Text to insert, or an attachment, or neither; ``note`` tells the user what was changed and why."""

    text: str = ""
    attachment: Attachment | None = None
    note: str = ""


def read_paste(text: str, room_chars: int = LARGE_CHARS) -> Pasted:
    """Clean pasted text. More than ``room_chars`` or 500 lines become an attachment, so that typing stays quick."""
    raw = clean_text(text).encode("utf-8")
    cleaned = raw.translate(None, _CONTROLS)
    removed = len(raw) - len(cleaned)
    if removed and removed > len(raw) * _BINARY_SHARE:
        return Pasted(
            note=f"That is binary data ({file_size(len(raw))}), so it wasn’t pasted. Attach the file instead."
        )
    if len(cleaned) > MAX_TEXT_BYTES:
        return Pasted(
            note=f"That is {file_size(len(cleaned))} of text, so it wasn’t pasted. "
            f"The most that can be sent is {file_size(MAX_TEXT_BYTES)}."
        )
    cleaned = cleaned.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    notes: list[str] = []
    if removed:
        notes.append(f"{_counted(removed, 'control character')} left out of what you pasted.")
    if (lost := _replaced(text)) > 0:
        notes.append(f"{_counted(lost, 'broken character')} replaced by “\ufffd”.")
    lines = cleaned.count(b"\n")
    if len(cleaned) > room_chars or lines > LARGE_LINES:
        name = f"Pasted text, {lines + 1:,} lines" if lines else "Pasted text"
        attachment = Attachment(name=name, kind="text", content=cleaned)
        return Pasted(attachment=attachment, note=" ".join(notes))
    return Pasted(text=cleaned.decode("utf-8"), note=" ".join(notes))


def read_file(path: Path) -> Pasted:
    """Read a file to attach: an image the API takes, or text. Blocks, but never waits for a FIFO or a device."""
    name = clean_text(path.name)
    told = marked(name)
    try:
        with open_regular_file(path) as file:
            before = os.fstat(file.fileno())
            content = file.read(MOST_READ_BYTES + 1)
            after = os.fstat(file.fileno())
    except IsADirectoryError:
        return Pasted(note=f"{told} is a folder. Attach the files in it.")
    except OSError as error:
        if path.is_dir():
            return Pasted(note=f"{told} is a folder. Attach the files in it.")
        return Pasted(note=f"{told} can’t be read: {error.strerror or error}.")
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        return Pasted(note=f"{told} was being written while it was read. Attach it again.")
    media_type = image_type(content)
    most_bytes = MAX_TEXT_BYTES if media_type is None else MOST_READ_BYTES
    if len(content) > most_bytes:
        size = file_size(max(len(content), after.st_size))
        return Pasted(note=f"{told} is {size}, and {file_size(most_bytes)} is the most that can be attached.")
    if media_type is not None:
        return _image_attachment(name, lambda: fit_file(content, media_type))
    try:
        text = _text_of(content)
    except ValueError:
        return Pasted(note=f"{told} is neither text nor a PNG, JPEG, GIF or WebP image, so it can’t be sent.")
    pasted = read_paste(text, room_chars=0)
    if pasted.attachment is None:
        return Pasted(note=pasted.note or f"{told} is empty.")
    attachment = Attachment(name=name, kind="text", content=pasted.attachment.content)
    return Pasted(attachment=attachment, note=pasted.note.replace("what you pasted", told))


def read_image(image: QImage) -> Pasted:
    """Take a picture from the clipboard. Blocks."""
    return _image_attachment("Pasted image", lambda: fit_image(image))


def _image_attachment(name: str, fit: Callable[[], FitImage]) -> Pasted:
    try:
        image = fit()
    except ImageRefused as refused:
        return Pasted(note=f"{marked(name)} {refused}.")
    return Pasted(
        attachment=Attachment(name=name, kind="image", content=image.content, media_type=image.media_type),
        note=f"{marked(name)} {image.note}." if image.note else "",
    )


def _text_of(content: bytes) -> str:
    """Return the text of a file, whatever editor wrote it; what is left out of it is for ``read_paste`` to say."""
    try:
        return decode_text(content)
    except ValueError:
        return content.decode("utf-8-sig")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun} was" if number == 1 else f"{number:,} {noun}s were"


def _replaced(text: str) -> int:
    """How many lone surrogates ``clean_text`` had to replace."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return clean_text(text).count("\ufffd") - text.count("\ufffd")
    return 0
