"""What the user pastes, drops or attaches, made safe to show and to send; large text becomes an attachment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gui.chat.storage.models import Attachment, clean_text

LARGE_CHARS = 20_000
LARGE_LINES = 500
MAX_TEXT_BYTES = 10_000_000
MAX_IMAGE_BYTES = 5_000_000
IMAGE_TYPES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
_CONTROLS = bytes(code for code in (*range(32), 127) if code not in (9, 10, 13))
_BINARY_SHARE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Pasted:
    """Text to insert, or an attachment, or neither; ``note`` tells the user what was changed and why."""

    text: str = ""
    attachment: Attachment | None = None
    note: str = ""


def size_words(size_bytes: int) -> str:
    """Return ``312 B``, ``12 KB`` or ``2.0 MB``."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1000:.0f} KB"
    return f"{size_bytes / 1_000_000:.1f} MB"


def read_paste(text: str, room_chars: int = LARGE_CHARS) -> Pasted:
    """Clean pasted text. More than ``room_chars`` or 500 lines become an attachment, so that typing stays quick."""
    raw = clean_text(text).encode("utf-8")
    cleaned = raw.translate(None, _CONTROLS)
    removed = len(raw) - len(cleaned)
    if removed and removed > len(raw) * _BINARY_SHARE:
        return Pasted(
            note=f"That is binary data ({size_words(len(raw))}), so it wasn’t pasted. Attach the file instead."
        )
    if len(cleaned) > MAX_TEXT_BYTES:
        return Pasted(
            note=f"That is {size_words(len(cleaned))} of text, so it wasn’t pasted. "
            f"The most that can be sent is {size_words(MAX_TEXT_BYTES)}."
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
    """Read a file to attach: an image the API takes, or text. Blocks."""
    name = path.name
    try:
        if path.is_dir():
            return Pasted(note=f"{name} is a folder. Attach the files in it.")
        size = path.stat().st_size
        if size > MAX_TEXT_BYTES:
            return Pasted(
                note=f"{name} is {size_words(size)}, and {size_words(MAX_TEXT_BYTES)} is the most that can be sent."
            )
        content = path.read_bytes()
    except OSError as error:
        return Pasted(note=f"{name} can’t be read: {error.strerror or error}.")
    media_type = image_type(content)
    if media_type is not None:
        return image_attachment(name, content, media_type)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Pasted(note=f"{name} is neither text nor a PNG, JPEG, GIF or WebP image, so it can’t be sent.")
    pasted = read_paste(text, room_chars=0)
    if pasted.attachment is None:
        return Pasted(note=pasted.note or f"{name} is empty.")
    attachment = Attachment(name=name, kind="text", content=pasted.attachment.content)
    return Pasted(attachment=attachment, note=pasted.note.replace("what you pasted", name))


def image_attachment(name: str, content: bytes, media_type: str) -> Pasted:
    if len(content) > MAX_IMAGE_BYTES:
        return Pasted(
            note=f"{name} is {size_words(len(content))}, and an image may have {size_words(MAX_IMAGE_BYTES)}."
        )
    return Pasted(
        attachment=Attachment(name=name, kind="image", content=content, media_type=media_type),
    )


def image_type(content: bytes) -> str | None:
    """Return the media type of an image that the API takes, by its first bytes."""
    for start, media_type in IMAGE_TYPES.items():
        if content.startswith(start):
            return media_type
    return "image/webp" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else None


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun} was" if number == 1 else f"{number:,} {noun}s were"


def _replaced(text: str) -> int:
    """How many lone surrogates ``clean_text`` had to replace."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return clean_text(text).count("\ufffd") - text.count("\ufffd")
    return 0
