"""Images made fit for a model before they are sent: looked at, scaled where they are too large, without metadata.

The API refuses an image whose base64 is over 5 MB or a side over 8,000 px, and where there are more than twenty in
a request, a side over 2,000 px. A camera writes where a picture was taken into it: that is nobody's business.
Everything here blocks; ``QImage`` may be used in a worker thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QSize, Qt
from PySide6.QtGui import QColorSpace, QImage, QImageIOHandler, QImageReader, QPainter

MOST_BASE64_BYTES = 5_000_000
MOST_SIDE_PX = 8_000
SCALED_SIDE_PX = 2_000
MOST_READ_BYTES = 50_000_000
_JPEG_QUALITIES = (90, 75, 50)
_STARTS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
_METADATA = {
    "image/png": (b"eXIf", b"tEXt", b"iTXt", b"zTXt"),
    "image/jpeg": (b"Exif\0\0", b"ns.adobe.com/xap", b"Photoshop 3.0", b"\xff\xfe"),
    "image/gif": (b"!\xfe", b"XMP DataXMP"),
    "image/webp": (b"EXIF", b"XMP "),
}
"""What EXIF, XMP, IPTC and comments begin with. Found by chance in the pixels, it costs a new encoding, no more."""


class ImageRefused(Exception):
    """The image can't be sent; the text is the end of a sentence that begins with its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitImage:
    """An image that a model takes. ``note`` is the end of a sentence on what was changed; empty: nothing to see."""

    content: bytes
    media_type: str
    note: str = ""


def image_type(content: bytes) -> str | None:
    """Return the media type of an image that the API takes, by its first bytes."""
    for start, media_type in _STARTS.items():
        if content.startswith(start):
            return media_type
    return "image/webp" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else None


def fit_file(content: bytes, media_type: str) -> FitImage:
    """Return the image of a file as it can be sent: as it is where it is fit.

    Raises:
        ImageRefused: it is damaged, or larger than can be opened safely.
    """
    buffer = QBuffer()
    buffer.setData(QByteArray(content))
    reader = _reader(buffer, media_type)
    size = reader.size()
    if size.isEmpty():
        raise ImageRefused("is damaged, so it can’t be sent")
    turned = reader.transformation() != QImageIOHandler.Transformation.TransformationNone
    is_large = max(size.width(), size.height()) > MOST_SIDE_PX
    if is_large:
        reader.setScaledSize(_scaled(size))
    image = reader.read()
    if image.isNull():
        if size.width() * size.height() * 4 > QImageReader.allocationLimit() * 2**20:
            raise ImageRefused(f"is {_words(size)}, more than can be opened safely. Scale it down first")
        raise ImageRefused("is damaged, so it can’t be sent")
    is_fit = not is_large and not turned and _base64_bytes(content) <= MOST_BASE64_BYTES
    if is_fit and not any(mark in content for mark in _METADATA[media_type]):
        return FitImage(content=content, media_type=media_type)
    return _encoded(image, size, is_photo=media_type == "image/jpeg")


def _reader(buffer: QBuffer, media_type: str) -> QImageReader:
    """A reader of one format only, that which the first bytes name: others may draw what other files hold."""
    buffer.open(QIODevice.OpenModeFlag.ReadOnly)
    reader = QImageReader(buffer, QByteArray(media_type.removeprefix("image/").encode()))
    reader.setAutoDetectImageFormat(False)
    reader.setAutoTransform(True)
    return reader


def read_fitted(content: bytes, most_side_px: int) -> QImage:
    """Return an attached image to show, no side longer than ``most_side_px``. It comes from the disk: nothing in
    it is believed that was not when it was attached.

    Raises:
        ImageRefused: it is damaged, no image, or larger than can be opened safely.
    """
    media_type = image_type(content)
    if media_type is None:
        raise ImageRefused("is no image")
    buffer = QBuffer()
    buffer.setData(QByteArray(content))
    reader = _reader(buffer, media_type)
    size = reader.size()
    if size.isEmpty():
        raise ImageRefused("is damaged")
    if max(size.width(), size.height()) > most_side_px:
        fitting = size.scaled(most_side_px, most_side_px, Qt.AspectRatioMode.KeepAspectRatio)
        reader.setScaledSize(fitting.expandedTo(QSize(1, 1)))
    image = reader.read()
    if image.isNull():
        raise ImageRefused("is damaged, or more than can be opened safely")
    return image


def fit_image(image: QImage) -> FitImage:
    """Return a pasted image as it can be sent.

    Raises:
        ImageRefused: nothing is in it.
    """
    if image.isNull():
        raise ImageRefused("is empty, so it can’t be sent")
    return _encoded(image, image.size(), is_photo=False)


def _encoded(image: QImage, was: QSize, *, is_photo: bool) -> FitImage:
    """Encode anew, without metadata, as large as it may be: a photo as JPEG, all else as PNG where that fits."""
    image = _pixels_alone(image)
    sizes = [image.size()] if max(image.width(), image.height()) <= MOST_SIDE_PX else []
    if max(image.width(), image.height()) > SCALED_SIDE_PX:
        sizes.append(_scaled(image.size()))
    for size in sizes:
        fitting = (
            image
            if size == image.size()
            else image.scaled(
                size, Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
            )
        )
        forms = [("JPEG", quality) for quality in _JPEG_QUALITIES]
        for form, quality in forms if is_photo else [("PNG", -1), *forms]:
            content = _bytes_of(fitting, form, quality)
            if content and _base64_bytes(content) <= MOST_BASE64_BYTES:
                scaled = max(size.width(), size.height()) < max(was.width(), was.height())
                note = f"was {_words(was)}, more than a model takes, and was scaled to {_words(size)}"
                media_type = f"image/{form.lower()}"
                return FitImage(content=content, media_type=media_type, note=note if scaled else "")
    raise ImageRefused(f"is {_words(was)} and can’t be made small enough to be sent. Scale it down first")


def _pixels_alone(image: QImage) -> QImage:
    """Return the picture in everybody's colours, without the texts that a file brought along."""
    if image.colorSpace().isValid():
        image.convertToColorSpace(QColorSpace(QColorSpace.NamedColorSpace.SRgb))
    plain = QImage(image.constBits(), image.width(), image.height(), image.bytesPerLine(), image.format())
    plain.setColorTable(image.colorTable())
    return plain.copy()


def _bytes_of(image: QImage, form: str, quality: int) -> bytes:
    if form == "JPEG" and image.hasAlphaChannel():
        opaque = QImage(image.size(), QImage.Format.Format_RGB32)
        opaque.fill(Qt.GlobalColor.white)
        painter = QPainter(opaque)
        painter.drawImage(0, 0, image)
        painter.end()
        image = opaque
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, form, quality)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return bytes(buffer.data().data())


def _scaled(size: QSize) -> QSize:
    wanted = size.scaled(SCALED_SIDE_PX, SCALED_SIDE_PX, Qt.AspectRatioMode.KeepAspectRatio)
    return wanted.expandedTo(QSize(1, 1))


def _base64_bytes(content: bytes) -> int:
    return (len(content) + 2) // 3 * 4


def _words(size: QSize) -> str:
    return f"{size.width():,} × {size.height():,} px"
