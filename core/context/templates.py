"""Prompt templates: the same request, rendered for the family of the model that will read it.

A template has four sections: system prompt, schema, tools and style. The packaged ones say as little as
possible: a request without a system prompt, tools and schema goes out unchanged. A template is text with named
slots and nothing that runs. The user's file lies over the packaged one entry by entry, and is read again
within a second of a change; one that can't be used is named in ``problems`` and the packaged one is used.
"""

from __future__ import annotations

import json
import os
import re
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from core.base.files import FileTooLarge, decode_text, read_regular_file
from core.base.permissions import check_only_ours
from core.base.text import file_size
from core.chat import ChatRequest, Side, Tool
from core.errors import InvalidRequest

FAMILIES = ("claude", "llama", "default")

# Open models whose chat templates and habits are near enough to Llama's for one phrasing.
_LLAMA_STYLE = re.compile(
    r"llama|qwen|qwq|mi[sx]tral|ministral|magistral|codestral|devstral|gemma|smollm|deepseek|vicuna|hermes|olmo"
    r"|granite|falcon|phi-?\d|zephyr|openchat|(?:^|[^a-z])yi-"
)


@lru_cache(maxsize=256)
def family_of(model: str | None, side: Side) -> str:
    """Return ``claude``, ``llama`` or ``default``.

    A name may have a path or an owner before it (``anthropic/claude-opus-5``, ``/models/SmolLM2.gguf``). On the
    API side a Claude model may also carry a region (``us.anthropic.claude-opus-5``); on the local side a name that
    has "claude" somewhere in the middle is an open model trained on Claude's answers.
    """
    name = re.split(r"[/\\]", (model or "").strip().lower())[-1]
    if name.startswith("claude") or (side == "api" and "claude" in name):
        return "claude"
    return "llama" if _LLAMA_STYLE.search(name) else "default"


PACKAGED_FOLDER = Path(__file__).parents[2] / "resources" / "templates"
MAX_TEMPLATE_BYTES = 64 * 1024
"""A larger file in the templates' folder is something else."""
JOIN = "\n\n"
_LOOK_EVERY_S = 1.0

_SLOTS: Mapping[tuple[str, str], str] = {
    ("system", "alone"): "{system}",
    ("system", "framed"): "{system}",
    ("schema", "enforced"): "{schema}",
    ("schema", "asked"): "{schema}",
    ("tools", "introduced"): "{tools}",
    ("tools", "listed"): "{tools}",
    ("style", "text"): "",
}
# An entry without its slot would lose what it stands for; these two may say nothing at all.
_MAY_BE_EMPTY = (("schema", "enforced"), ("tools", "introduced"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A request as its model's family reads it.

    ``template`` is the family's name, with `` (yours)`` after it where the user's own file had a say.
    ``added_bytes`` is by how many UTF-8 bytes the input grew: an upper bound of the tokens that were added.
    """

    request: ChatRequest
    template: str
    added_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateProblem:
    """A file of the user's templates that is not used, and why."""

    path: Path
    what: str


class TemplateInvalid(ValueError):
    """A template file can't be used; the message says why."""


@dataclass(frozen=True, slots=True)
class _Text:
    """One entry, cut at its slot. ``after`` is ``None`` where it has no slot."""

    before: str
    after: str | None

    def fill(self, value: str) -> str:
        return self.before if self.after is None else f"{self.before}{value}{self.after}"

    @property
    def empty(self) -> bool:
        return self.after is None and not self.before


_Template = Mapping[tuple[str, str], _Text]


class Templates:
    """The templates of all families.

    ``user_folder`` holds the user's own, one ``<family>.toml`` each; it need not exist. A file's date is looked at
    once a second at most, so an edit counts within a second. ``clock`` counts seconds.
    """

    def __init__(
        self, user_folder: Path | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = user_folder
        self._clock = clock
        self._paths = (
            {} if user_folder is None else {family: user_folder / f"{family}.toml" for family in FAMILIES}
        )
        self._found: dict[str, tuple[float, _Template | TemplateProblem | None]] = {}
        self._packaged: dict[str, _Template] = {}
        self._own: dict[str, tuple[tuple[int, ...], _Template | TemplateProblem]] = {}

    def render(
        self,
        request: ChatRequest,
        family: str,
        *,
        schema_enforced: bool = True,
        tools_introduced: bool = True,
    ) -> Rendered:
        """Phrase ``request`` for ``family``; an unknown family is read as ``default``.

        ``schema_enforced`` says whether the server holds the answer to a JSON schema by itself;
        ``tools_introduced`` whether it tells the model about the tools.

        Raises:
            InvalidRequest: the schema or a tool's parameters are no JSON.
        """
        family = family if family in FAMILIES else "default"
        template, name = self._template(family)
        system = _phrase(request, template, schema_enforced, tools_introduced)
        if system == request.system:
            return Rendered(request=request, template=name, added_bytes=0)
        added = max(0, _byte_count(system) - _byte_count(request.system or ""))
        return Rendered(request=replace(request, system=system), template=name, added_bytes=added)

    def name_of(self, family: str) -> str:
        """Return the name that ``render`` gives the template of ``family``."""
        return self._template(family if family in FAMILIES else "default")[1]

    def problems(self) -> tuple[TemplateProblem, ...]:
        """Return the files in the user's folder that are not used, by name; looks at the disk."""
        if self._folder is None:
            return ()
        try:
            names = sorted(entry.name for entry in os.scandir(self._folder) if entry.name.endswith(".toml"))
        except FileNotFoundError:
            return ()
        except OSError as error:
            return (TemplateProblem(path=self._folder, what=f"it can't be read: {_cause(error)}"),)
        found: list[TemplateProblem] = []
        for name in names:
            family = name.removesuffix(".toml")
            if family not in FAMILIES:
                what = f"there is no family of this name; the families are {', '.join(FAMILIES)}"
                found.append(TemplateProblem(path=self._folder / name, what=what))
                continue
            own = self._look(family)
            if isinstance(own, TemplateProblem):
                found.append(own)
        return tuple(found)

    def _template(self, family: str) -> tuple[_Template, str]:
        own = self._own_template(family)
        if own is None or isinstance(own, TemplateProblem):
            return self._packaged_template(family), family
        return own, f"{family} (yours)"

    def _packaged_template(self, family: str) -> _Template:
        template = self._packaged.get(family)
        if template is None:
            text = (PACKAGED_FOLDER / f"{family}.toml").read_text(encoding="utf-8")
            template = self._packaged[family] = _parse(text, base=None)
        return template

    def _own_template(self, family: str) -> _Template | TemplateProblem | None:
        if self._folder is None:
            return None
        now = self._clock()
        found = self._found.get(family)
        if found is None or now >= found[0]:
            found = self._found[family] = (now + _LOOK_EVERY_S, self._look(family))
        return found[1]

    def _look(self, family: str) -> _Template | TemplateProblem | None:
        """Look at the user's file, and read it if it has changed."""
        path = self._paths[family]
        try:
            check_only_ours(path.parent, os.stat(path.parent))
            facts = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            self._own.pop(family, None)
            return None
        except OSError as error:
            return TemplateProblem(path=path, what=f"it can't be read: {_cause(error)}")
        version = (facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino)
        known = self._own.get(family)
        if known is not None and known[0] == version:
            return known[1]
        try:
            own: _Template | TemplateProblem = self._read(path, family)
        except TemplateInvalid as error:
            own = TemplateProblem(path=path, what=str(error))
        self._own[family] = (version, own)
        return own

    def _read(self, path: Path, family: str) -> _Template:
        try:
            text = decode_text(read_regular_file(path, MAX_TEMPLATE_BYTES, only_ours=True))
        except FileTooLarge as error:
            raise TemplateInvalid(f"it is larger than {file_size(MAX_TEMPLATE_BYTES)}") from error
        except OSError as error:
            raise TemplateInvalid(f"it can't be read: {_cause(error)}") from error
        except ValueError as error:
            raise TemplateInvalid("it is no UTF-8 text") from error
        return _parse(text, base=self._packaged_template(family))


def _phrase(
    request: ChatRequest, template: _Template, schema_enforced: bool, tools_introduced: bool
) -> str | None:
    """Return the system prompt that goes out; the caller's own where nothing is to be said."""
    style = template["style", "text"]
    wanted = request.response_format
    sections: list[str] = []
    if request.tools:
        entry = template["tools", "introduced" if tools_introduced else "listed"]
        if not entry.empty:
            sections.append(entry.fill("\n".join(_tool_json(tool) for tool in request.tools)))
    if wanted is not None:
        entry = template["schema", "enforced" if schema_enforced else "asked"]
        if not entry.empty:
            sections.append(entry.fill(_json(dict(wanted.schema), "JSON schema")))
    if not style.empty:
        sections.append(style.before)
    if request.system and request.system.strip():
        entry = template["system", "framed" if sections else "alone"]
        sections.insert(0, entry.fill(request.system))
    return JOIN.join(sections) if sections else request.system


def _tool_json(tool: Tool) -> str:
    whole = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return _json(whole, f"tool {tool.name!r}")


def _json(value: Mapping[str, Any], what: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(
            f"The {what} is no JSON: {error}.", hint="Correct it and send again. Nothing was sent."
        ) from error


def _parse(text: str, *, base: _Template | None) -> _Template:
    """Read a template file; entries it leaves out come from ``base``.

    Raises:
        TemplateInvalid: it is no TOML, has an entry nobody knows, or lacks a slot.
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise TemplateInvalid(f"it is no TOML: {error}") from error
    entries: dict[tuple[str, str], _Text] = {} if base is None else dict(base)
    for section, value in document.items():
        if not isinstance(value, dict):
            raise TemplateInvalid(f"{section} is no section; put its entries under [{section}]")
        for name, entry in cast("dict[str, Any]", value).items():
            entries[section, name] = _entry(section, name, entry)
    missing = [f"[{section}] {name}" for section, name in _SLOTS if (section, name) not in entries]
    if missing:
        raise TemplateInvalid(f"{', '.join(missing)} is missing")
    return entries


def _entry(section: str, name: str, value: object) -> _Text:
    where = f"[{section}] {name}"
    slot = _SLOTS.get((section, name))
    if slot is None:
        raise TemplateInvalid(f"there is no entry {where}")
    if not isinstance(value, str):
        raise TemplateInvalid(f"{where} is no text")
    if not slot:
        return _Text(value, None)
    count = value.count(slot)
    if count == 0 and (section, name) in _MAY_BE_EMPTY:
        return _Text(value, None)
    if count != 1:
        raise TemplateInvalid(f"{where} needs {slot} exactly once, and has it {count} times")
    before, _, after = value.partition(slot)
    return _Text(before, after)


def _byte_count(text: str | None) -> int:
    if text is None:
        return 0
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _cause(error: OSError) -> str:
    return error.strerror or type(error).__name__
