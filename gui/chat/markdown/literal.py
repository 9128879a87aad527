"""What of a model's Markdown Qt's parser would lose or misread: formulas, single tildes, definitions of links.

Marks that are to be read as letters are exchanged, one for one, for noncharacters that no document can hold
(``drawable`` takes them out of what a model wrote) before the parser sees them, and put back afterwards. So they
come through code, addresses and tables unharmed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

MAX_CHARS = 20_000
"""A longer block is hardly prose; it is parsed as it is, so that no expression here runs long."""
MAX_DEFINITIONS = 2_000
MAX_COLUMNS = 40
"""Qt needs some 0.15 ms a cell; a wider table can't be read on a screen, and is shown as it was written."""
_MAX_LABELS = 500

_MARKS = "\\`*_[]<>#+-.)|~=&:@"
_HELD = {ord(mark): chr(0xFDD2 + place) for place, mark in enumerate(_MARKS)}  # 0xFDD0 and 0xFDD1 are Qt's
_PUT_BACK = {ord(held): chr(mark) for mark, held in _HELD.items()}
_ANY_HELD = re.compile(f"[{''.join(_HELD.values())}]")

# A code span or an address is skipped, so that what is inside of it begins nothing.
_FORMULA = re.compile(
    r"(?P<skipped>(?<!`)(?P<ticks>`+)(?!`)(?:(?!`{2}).){0,2000}?(?<!`)(?P=ticks)(?!`))"
    r"|(?<!\\)(?P<shown>\$\$(?:(?!\$\$).)+?\$\$|\\\[(?:(?!\\\]).)+?\\\])"
    r"|(?<!\\)(?P<inline>\\\((?:(?!\\\)).)+?\\\)|\$(?![\s$])(?:[^$`\\]|\\.)*?(?<![\s\\])\$(?!\d))",
    re.DOTALL,
)
_SINGLE_TILDE = re.compile(r"(?P<skipped>\bhttps?://\S+)|(?<!~)~(?!~)")
_BLANK_LINES = re.compile(r"[ \t]*\n\s*")
_DEFINITION = re.compile(
    r"""^(?P<before>[ ]{0,3}(?:>[ \t]?|[-*+][ \t]+|\d{1,9}[.)][ \t]+)*)
        \[(?P<label>(?:[^\[\]\\\n]|\\.){1,300})\]:[ \t]*
        (?P<target><[^<>\n]*>|[^\s<]\S*)
        (?P<title>[ \t]+(?:"[^"\n]*"|'[^'\n]*'|\([^()\n]*\)))?[ \t]*$""",
    re.VERBOSE,
)
_LABEL = re.compile(r"\[((?:[^\[\]\\\n]|\\.|\n(?![ \t]*\n)){1,300})\]")
_LINKED = re.compile(r"(?:https?://|mailto:)[^\s<>]+", re.IGNORECASE)


def hold_back(markdown: str) -> str:
    """Return ``markdown`` with the marks of formulas and single tildes exchanged; :func:`put_back` undoes it."""
    if max((line.count("|") for line in markdown.split("\n")), default=0) > MAX_COLUMNS + 1:
        markdown = markdown.replace("|", _HELD[ord("|")])
    if len(markdown) > MAX_CHARS:
        return markdown
    if "$" in markdown or "\\(" in markdown or "\\[" in markdown:
        markdown = _FORMULA.sub(_formula, markdown)
    if "~~" in markdown:  # where there is none, the parser is told to strike nothing through
        markdown = _SINGLE_TILDE.sub(lambda found: found["skipped"] or _HELD[ord("~")], markdown)
    return markdown


def _formula(found: re.Match[str]) -> str:
    if found["skipped"] is not None:
        return found["skipped"]
    held = found[0].translate(_HELD)
    return _BLANK_LINES.sub("  \n", held) if found["shown"] else held  # a formula keeps its lines


def put_back(text: str) -> str:
    """Return ``text`` with the marks that were held back."""
    return text.translate(_PUT_BACK)


def has_held(text: str) -> bool:
    return _ANY_HELD.search(text) is not None


def label_key(label: str) -> str:
    """Return what two spellings of a link's label have in common: case and space don't count."""
    return " ".join(label.split()).casefold()


def definitions_in(markdown: str) -> Iterator[tuple[str, str]]:
    """Yield the key and the target of each definition of a link, such as ``[1]: https://example.com``."""
    if "]:" not in markdown:
        return
    for line in markdown.split("\n"):
        found = _DEFINITION.match(line)
        if found is not None:
            yield label_key(found["label"]), found["target"].strip("<>")


def show_definitions(markdown: str) -> str:
    """Return ``markdown`` with its definitions of links as text that is seen; the parser would swallow them."""
    if "]:" not in markdown or "```" in markdown or "~~~" in markdown:  # code in a quotation stays as it is
        return markdown
    lines = markdown.split("\n")
    shown: list[str] = []
    for place, line in enumerate(lines):
        found = _DEFINITION.match(line)
        if found is None:
            shown.append(line)
            continue
        if shown and shown[-1].strip():
            shown[-1] = shown[-1].rstrip() + "  "  # each on a line of its own
        target = found["target"].strip("<>")
        link = f"<{target}>" if _LINKED.fullmatch(target) else target.translate(_HELD)
        words = f"[{found['label']}]: ".translate(_HELD)
        title = (found["title"] or "").translate(_HELD)
        goes_on = place + 1 < len(lines) and lines[place + 1].strip()
        shown.append(found["before"] + words + link + title + ("  " if goes_on else ""))
    return "\n".join(shown)


def labels_in(markdown: str) -> set[str]:
    """Return the keys of what may be the label of a link that is defined elsewhere."""
    if "[" not in markdown:
        return set()
    found: set[str] = set()
    for match in _LABEL.finditer(markdown):
        found.add(label_key(match[1]))
        if len(found) >= _MAX_LABELS:
            break
    return found


def with_definitions(markdown: str, references: Mapping[str, str]) -> str:
    """Return ``markdown`` with the definitions that it needs below it, where the parser looks for them."""
    if not references:
        return markdown
    needed = [key for key in labels_in(markdown) if key in references]
    below = (f"[{key}]: <{quote(references[key], safe=_TARGET_SAFE, errors='replace')}>" for key in needed)
    return "\n".join([markdown, "", *below]) if needed else markdown


_TARGET_SAFE = "%!\"#$&'()*+,/:;=?@[]^_`{|}~-."
