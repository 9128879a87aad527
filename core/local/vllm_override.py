"""The override file of the vLLM form: a compose file of JSON, with the form's own values kept beside what they do.

What somebody else wrote there, or wrote into it by hand, is set aside and told of, never lost.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast

from core.base.files import read_regular_file, set_aside, write_whole
from core.base.permissions import make_private_folder
from core.local.vllm_settings import (
    VllmSettings,
    changed_command,
    faults_of,
    override_path,
    settings_of,
    with_tag,
)

log = logging.getLogger(__name__)

BLOCK = "x-signalbox"
_MOST_BYTES = 1_000_000
EDITED = "{name}.edited-{number}"
_OVERRIDE_TAG = "!override "
_HEAD = "# Written by Signalbox (Machine, vLLM settings). Change it there: what is written in here is set aside.\n"

FileState = Literal["none", "ours", "edited", "broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseService:
    """The compose file's own service: its command and image with the environment's values in their places.

    ``gpu_devices`` are its reservations of GPUs, as Compose reads them.
    """

    name: str
    image: str
    command: tuple[str, ...]
    gpu_devices: tuple[Mapping[str, Any], ...] = ()

    @property
    def settings(self) -> VllmSettings:
        return settings_of(self.command, self.image)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideFile:
    """What stands there. ``edited``: the form's values are read, but somebody changed the file by hand.

    ``broken``: no values of the form can be read from it.
    """

    state: FileState
    text: str = ""
    settings: VllmSettings = field(default_factory=VllmSettings)


def read_override(home: Path) -> OverrideFile:
    """Return what is kept; a file that can't be read is ``broken``, never an exception."""
    path = override_path(home)
    try:
        text = read_regular_file(path, _MOST_BYTES).decode("utf-8")
    except FileNotFoundError:
        return OverrideFile(state="none")
    except (OSError, UnicodeDecodeError) as error:
        log.warning("%s can't be read: %s", path, error)
        return OverrideFile(state="broken")
    body = text.removeprefix(_HEAD)
    try:
        found = json.loads(body.replace(f"{_OVERRIDE_TAG}[", "["))
        block = found[BLOCK]
        settings = _settings_from(block["settings"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return OverrideFile(state="broken", text=text)
    if block.get("sha256") == _fingerprint(found.get("services")) and text == render(found):
        return OverrideFile(state="ours", text=text, settings=settings)
    return OverrideFile(state="edited", text=text, settings=settings)


def _settings_from(values: object) -> VllmSettings:
    """Read the kept values.

    Raises:
        TypeError, ValueError: they are not what the form writes.
    """
    if not isinstance(values, dict):
        raise TypeError("no table")
    known = {each.name for each in fields(VllmSettings)}
    taken: dict[str, Any] = {
        name: _plain(value) for name, value in cast("dict[str, Any]", values).items() if name in known
    }
    settings = VllmSettings(**taken)
    if faults_of(settings):
        raise ValueError("a value is not allowed")
    return settings


def new_override(base: BaseService, wanted: VllmSettings) -> str:
    """Return the file's text for ``wanted``, empty where it holds nothing: then there is no file."""
    if wanted == VllmSettings():
        return ""
    service: dict[str, Any] = {}
    if wanted.image_tag is not None:
        service["image"] = _escaped(with_tag(base.image, wanted.image_tag))
    command = changed_command(base.command, wanted)
    if command != list(base.command):
        service["command"] = [_escaped(word) for word in command]
    count = wanted.tensor_parallel_size
    if count is not None and (devices := _reserved(base.gpu_devices, count)) is not None:
        service["deploy"] = {"resources": {"reservations": {"devices": devices}}}
    services = {base.name: service}
    kept = {name: _kept(value) for name, value in asdict(wanted).items() if value not in (None, ())}
    block = {"version": 1, "settings": kept, "sha256": _fingerprint(services)}
    return render(cast("dict[str, Any]", json.loads(json.dumps({BLOCK: block, "services": services}))))


def _reserved(devices: Sequence[Mapping[str, Any]], count: int) -> list[dict[str, Any]] | None:
    """Return the reservation of ``count`` GPUs; ``None`` where the compose file names which ones, or all."""
    if len(devices) != 1 or devices[0].get("device_ids"):
        return None
    device = dict(devices[0])
    reserved = device.get("count")
    if isinstance(reserved, bool) or not isinstance(reserved, int) or reserved in (-1, count):
        return None  # "all" is -1
    device["count"] = count
    return [device]


def render(found: Mapping[str, Any]) -> str:
    """Return the file's text. Compose joins lists of devices, so that one carries the tag that replaces it."""
    text = json.dumps(found, indent=2, ensure_ascii=False)
    listed = '"devices": '
    return _HEAD + text.replace(f"{listed}[", f"{listed}{_OVERRIDE_TAG}[") + "\n"


def difference(before: str, after: str, path: Path) -> str:
    """Return a unified diff, empty where nothing changes."""
    name = path.name
    lines = difflib.unified_diff(
        before.splitlines(keepends=True),
        after.splitlines(keepends=True),
        f"{name} (now)" if before else "/dev/null",
        f"{name} (new)" if after else "/dev/null",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def write_override(home: Path, text: str) -> Path | None:
    """Put ``text`` in force; what was there and was not ours alone is set aside, and that path is returned.

    Raises:
        OSError: it can't be written; what was there is there, or set aside.
    """
    path = override_path(home)
    make_private_folder(path.parent)
    state = read_override(home).state
    aside: Path | None = None
    if state in ("edited", "broken"):
        aside = set_aside(path, name=EDITED) if state == "edited" else set_aside(path)
    if text:
        write_whole(path, text)
    else:
        path.unlink(missing_ok=True)
    return aside


def _fingerprint(services: object) -> str:
    return hashlib.sha256(json.dumps(services, sort_keys=True).encode()).hexdigest()[:16]


def _kept(value: object) -> object:
    if isinstance(value, tuple):
        return [_kept(each) for each in cast("tuple[object, ...]", value)]
    return _escaped(value) if isinstance(value, str) else value


def _plain(value: object) -> object:
    if isinstance(value, list):
        return tuple(_plain(each) for each in cast("list[object]", value))
    return value.replace("$$", "$") if isinstance(value, str) else value


def _escaped(word: str) -> str:
    return word.replace("$", "$$")  # else Compose would look for a variable, even where it ignores the block
