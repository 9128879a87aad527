r"""What of a model's Markdown Qt's parser would lose or misread: formulas, single tildes, definitions of links.

A formula is found as pandoc finds it: the opening ``$`` has no space to its right, the closing one none to its left
and no figure to its right. So prices are none ("$5 and $10"), nor are names ("$HOME/$USER"), nor is code, nor are
brackets that were only escaped ("\[citation needed\]").

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
MAX_FORMULAS = 100
"""Each costs as much as a line to lay out; a block that has more is shown as it was written."""
MAX_DEFINITIONS = 2_000
MAX_COLUMNS = 40
"""Qt needs some 0.15 ms a cell; a wider table can't be read on a screen, and is shown as it was written."""
_MAX_LABELS = 500

_MARKS = "\\`*_[]<>#+-.)|~=&:@\n"
_HELD = {ord(mark): chr(0xFDD2 + place) for place, mark in enumerate(_MARKS)}  # 0xFDD0 and 0xFDD1 are Qt's
_PUT_BACK = {ord(held): chr(mark) for mark, held in _HELD.items()}
FORMULA_BEGINS, FORMULA_ENDS = "\ufdee", "\ufdef"
_FORMULA_MARKS = re.compile(f"[{FORMULA_BEGINS}{FORMULA_ENDS}]")
_ANY_HELD = re.compile(f"[{''.join(_HELD.values())}]")

# Code and addresses are skipped, so that what is inside of them begins nothing.
_FORMULA = re.compile(
    r"(?P<skipped>(?<!`)(?P<ticks>`+)(?!`)(?:(?!`{2}).){0,2000}?(?<!`)(?P=ticks)(?!`)|\b(?:https?://|mailto:)\S+"
    r"|\]\([^()\s]*\))"
    r"|(?<!\\)(?P<shown>\$\$(?:(?!\$\$).)+?\$\$|\\\[(?:\\[^\[\]]|[^\\])+?\\\])"
    r"|(?<!\\)(?P<inline>\\\((?:\\[^()]|[^\\])+?\\\)"
    r"|(?<![$\w])\$(?![\s$])(?:[^$`\\\n]|\\.|\n(?![ \t]*\n))*?(?<![\s\\])\$"
    r"(?!(?!(?:th|st|nd|rd|s|D|d)\b)[\w{]))"
    r"|^[ \t]*(?P<open>(?:\$\$|\\\[)(?:\\[^\[\]]|(?!\$\$)[^\\])*\\?)\Z",
    re.DOTALL | re.MULTILINE,
)
_SINGLE_TILDE = re.compile(r"(?P<skipped>\bhttps?://\S+)|(?<!~)~(?!~)")
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
        if markdown.count(FORMULA_BEGINS) > MAX_FORMULAS:
            markdown = _FORMULA_MARKS.sub("", markdown)
    if "~~" in markdown:  # where there is none, the parser is told to strike nothing through
        markdown = _SINGLE_TILDE.sub(lambda found: found["skipped"] or _HELD[ord("~")], markdown)
    return markdown


def _formula(found: re.Match[str]) -> str:
    if found["skipped"] is not None or not _is_maths(found[0]):
        return found[0]
    if found["open"] is not None:  # its end may still come, or never will
        return found[0].translate(_HELD)
    source = found[0]
    if found["shown"] is None:
        return FORMULA_BEGINS + source.translate(_HELD) + FORMULA_ENDS
    before = found.string[: found.start()].rpartition("\n")[2]
    if before.lstrip().startswith(">"):
        source = _QUOTED_LINE.sub("\n", source)
    source = _BLANK_LINES.sub("\n", source)
    return FORMULA_BEGINS + source.translate(_HELD) + FORMULA_ENDS


_BLANK_LINES = re.compile(r"[ \t]*\n[ \t\n]*")
_SIGN = re.compile(r"[\\^_=+<>{}/]")
_WORD = re.compile(r"[A-Za-z]{3}")
_WORD_BETWEEN = re.compile(r"\s[A-Za-z]{2,}\s")


def _is_maths(source: str) -> bool:
    """Whether what stands between marks is a formula, and not words, a number or what lies between two prices."""
    marks, inside = source[:2], source[2:-2]
    if marks == "\\[":
        return _SIGN.search(inside) is not None
    words = _WORD if marks in ("\\(", "$$") else _WORD_BETWEEN
    return _SIGN.search(inside) is not None or (bool(source.strip("$ \n")) and words.search(inside) is None)


_QUOTED_LINE = re.compile(r"\n[ \t]*(?:>[ \t]?)+")


def put_back(text: str) -> str:
    """Return ``text`` with the marks that were held back, and a formula's ends of lines."""
    return _FORMULA_MARKS.sub("", text).translate(_PUT_BACK)


def parts_put_back(text: str) -> list[tuple[str, bool]]:
    """Return ``text`` with its marks put back, in parts: whether each is a whole formula."""
    parts: list[tuple[str, bool]] = []
    for number, part in enumerate(re.split(f"{FORMULA_BEGINS}([^{FORMULA_ENDS}]*){FORMULA_ENDS}", text)):
        if part:
            parts.append((put_back(part), number % 2 == 1))
    return parts


def has_held(text: str) -> bool:
    return _ANY_HELD.search(text) is not None or FORMULA_BEGINS in text


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
