"""The lines of a paragraph as the model wrote them: a verse, an address or a signature is no flowing text.

Markdown makes a space of a line's end. Models don't break their lines at a width, so those that they do break are
meant, and chats show them.
"""

from __future__ import annotations

import re

from gui.chat.markdown.literal import FORMULA_BEGINS

LINE_END = "\u2028"
"""Ends a line within a paragraph in Qt's documents. The parser takes it for a letter."""
_PARAGRAPH = re.compile(r"(?:^(?![ \t]*$)[^\n]+(?:\n|\Z)){2,}", re.MULTILINE)
_OTHER_BLOCK = re.compile(
    r"^(?: {4}|\t| {0,3}(?:[-+*](?:\s|$)|[#>|<=]|\d{1,9}[.)]\s|-{2,}\s*$|\*{3,}|\[[^\]\n]*\]:))", re.MULTILINE
)
_NEEDS_ITS_END = re.compile(r"\||://|www\.|\S@\S|_$|^\s*_|\\$|`[^`\n]*$", re.MULTILINE)
"""Tables; addresses and ``_emphasis_``, which end where the parser sees that the line does; code of two lines."""


def keep_lines(markdown: str) -> str:
    """Return ``markdown`` with the line ends of its paragraphs kept; any other block stays as it is."""
    if "\n" not in markdown or "```" in markdown or "~~~" in markdown:
        return markdown
    return _PARAGRAPH.sub(_kept, markdown)


def _kept(found: re.Match[str]) -> str:
    text = found[0]
    if FORMULA_BEGINS in text or _OTHER_BLOCK.search(text) or _NEEDS_ITS_END.search(text):
        return text
    end = "\n" if text.endswith("\n") else ""
    return LINE_END.join(line.strip() for line in text.removesuffix("\n").split("\n")) + end
