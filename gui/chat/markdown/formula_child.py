"""Draws formulas in a process of its own, where one that takes too long or too much memory ends nothing else.

A line of JSON in (``id``, ``latex``, ``display``), a line of JSON out: ``id`` and either ``svg`` with its
``width``, ``ascent`` and ``depth`` in em, or ``error``. The first line out says that the library is loaded. What is
drawn was written by a model, so the picture is put together anew of outlines and boxes: it can name nothing outside
of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

UNITS_PER_EM = 200
MARGIN = 6
"""In the same units: an outline may pass its box a little."""
MAX_LATEX_CHARS = 2_000
MAX_SVG_CHARS = 200_000
MAX_WIDTH_EM, MAX_HEIGHT_EM = 60, 40
FORMULA_S = 2.0
"""A formula that takes more processor time ends this process; one from a book takes 2 to 30 ms."""
MEMORY_BYTES = 512 * 2**20
INK = "INK"
"""Stands in the picture for the colour of the text around it."""

_SVG = "http://www.w3.org/2000/svg"
_UNKNOWN = re.compile(r">\s*\\[A-Za-z]")
_NUMBERS = re.compile(r"[0-9eE.,+\- ]*")
_PATH = re.compile(r"[MLQCZHVSTAmlqczhvsta0-9eE.,+\- ]*")
_FRACTION = re.compile(r"\.\d+")
_NUMERIC = {"x", "y", "width", "height", "x1", "y1", "x2", "y2", "rx", "ry", "stroke-width"}
_SHAPES = {"path", "rect", "line"}
_PLAINER = (
    (re.compile(r"\\label\s*\{[^{}]*\}|\\(?:nonumber|notag|middle)(?![A-Za-z])"), ""),
    (re.compile(r"\\tag\*?\s*\{([^{}]*)\}"), r"\\qquad\\text{(\1)}"),
    (re.compile(r"(\\begin\{(?:aligned|gathered|array)\})\[[tbc]\]"), r"\1"),
    (re.compile(r"\\begin\{alignat(?:ed)?\*?\}\s*\{\d+\}"), r"\\begin{align*}"),
    (re.compile(r"\\end\{alignat(?:ed)?\*?\}"), r"\\end{align*}"),
    (re.compile(r"\\square(?![A-Za-z])"), "□ "),
    (re.compile(r"\\blacksquare(?![A-Za-z])"), "■ "),
    (re.compile(r"\\qed(?![A-Za-z])"), "∎ "),
    (re.compile(r"<"), "< "),
)
"""What the library does not know, in what it does."""


def draw(latex: str, *, display: bool) -> dict[str, Any]:
    """Return the picture of a formula as described above.

    Raises:
        ValueError: it can't be drawn as it was meant. The library raises whatever it happens upon.
    """
    from ziamath.tex import tex2mml
    from ziamath.zmath import Math

    if len(latex) > MAX_LATEX_CHARS:
        raise ValueError("the formula is too long")
    for pattern, plainer in _PLAINER:
        latex = pattern.sub(plainer, latex)
    mathml = tex2mml(latex, inline=not display)
    if _UNKNOWN.search(mathml):
        raise ValueError("it has a command that isn't known")
    mathml = mathml.replace('rowspacing="3pt"', 'rowspacing="0.6em"')  # a point is nothing in our units
    mathml = re.sub(r"<mtable(?![^>]*rowspacing)", '<mtable rowspacing="0.45em"', mathml)
    mathml = re.sub(r"&(?!#x?[0-9A-Fa-f]+;)", "&amp;", mathml)
    mathml = re.sub(r"<(?![a-z/])", "&lt;", mathml)
    drawing = Math(mathml, size=UNITS_PER_EM, margin=MARGIN)
    drawn = drawing.svgxml()
    left, top, width, height = (float(number) for number in drawn.attrib["viewBox"].split())
    if not (0 < width <= MAX_WIDTH_EM * UNITS_PER_EM and 0 < height <= MAX_HEIGHT_EM * UNITS_PER_EM):
        raise ValueError("it is too large")
    svg = ET.Element("svg", xmlns=_SVG, viewBox=f"{left:g} {top:g} {width:g} {height:g}", fill=INK)
    _copy_shapes(drawn, svg)
    text = ET.tostring(svg, encoding="unicode")
    if not len(svg) or len(text) > MAX_SVG_CHARS:
        raise ValueError("there is nothing to draw, or too much")
    return {
        "svg": text,
        "width": width / UNITS_PER_EM,
        "ascent": -top / UNITS_PER_EM,
        "depth": (height + top) / UNITS_PER_EM,
    }


def _copy_shapes(drawn: ET.Element, into: ET.Element) -> None:
    """Copy outlines and boxes in one colour; an area behind letters (``\\colorbox``) is left out."""
    for element in drawn.iter():
        name = element.tag.rpartition("}")[2]
        if name not in _SHAPES:
            continue
        given = element.attrib
        kept = {key: given[key] for key in _NUMERIC & given.keys() if _NUMBERS.fullmatch(given[key])}
        if "d" in given and _PATH.fullmatch(given["d"]):
            kept["d"] = _FRACTION.sub("", given["d"]).strip()  # 1/200 em is below a pixel
        if given.get("stroke", "none") != "none":
            kept["stroke"] = INK
            kept["fill"] = "none"
        elif name == "rect" and given.get("fill", "").lower() not in _INKS:
            continue
        ET.SubElement(into, name, kept)


_INKS = {"", "black", "currentcolor"}


def main() -> int:
    """Answer on standard output until standard input ends."""
    from ziamath.config import config

    config.svg2 = False  # each letter's outline in its place: Qt draws no symbols
    config.precision = 1  # with 0 it drops zeros at the end of whole numbers, too
    out, sys.stdout = sys.stdout, sys.stderr  # whatever a library says is no answer
    alarm = _limit_this_process()
    _say(out, {"ready": True})
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        alarm(FORMULA_S)
        try:
            answer = draw(str(asked["latex"]), display=bool(asked["display"]))
        except Exception as error:  # noqa: BLE001 - the library has no error of its own
            answer = {"error": f"{type(error).__name__}: {error}"[:200]}
        alarm(0)
        _say(out, {"id": asked["id"], **answer})
    return 0


def _say(out: TextIO, answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


def _limit_this_process() -> Callable[[float], object]:
    """Bound memory and yield to others, where the system can; return what sets the alarm that ends this process."""
    if sys.platform == "win32":
        return lambda seconds: None  # the panel ends it
    import resource
    import signal

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with contextlib.suppress(OSError):
        os.nice(10)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    return lambda seconds: signal.setitimer(signal.ITIMER_PROF, seconds)
