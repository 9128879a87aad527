"""A table of plain text: the first column to the left, figures to the right."""

from __future__ import annotations

from collections.abc import Collection, Sequence

EMPTY = "–"


def table(
    heads: Sequence[str],
    lines: Sequence[Sequence[str]],
    *,
    left: Collection[int] = (0,),
    optional: Collection[int] = (),
) -> str:
    """Return the table, each line ended. Columns in ``left`` are texts; ``optional`` ones that are ``EMPTY`` in
    every line are left out."""
    shown = [
        column
        for column in range(len(heads))
        if column not in optional or any(line[column] != EMPTY for line in lines)
    ]
    widths = {column: max(len(line[column]) for line in (heads, *lines)) for column in shown}
    text = ""
    for line in (heads, *lines):
        cells = [
            line[column].ljust(widths[column]) if column in left else line[column].rjust(widths[column])
            for column in shown
        ]
        text += "  ".join(cells).rstrip() + "\n"
    return text
