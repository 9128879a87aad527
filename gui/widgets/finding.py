"""One finding of ``signalbox doctor`` as a line for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core import sentence, sentence_case
from gui.widgets.labels import ResultLine, Tone

if TYPE_CHECKING:
    from core import Finding

WORDS = {"works": "", "missing": "not found", "broken": "doesn’t work", "not_set_up": "not set up"}


def tell_finding(line: ResultLine, finding: Finding) -> None:
    """Show the component with its version, then what is wrong with it and what to do."""
    tones: dict[str, Tone] = {
        "works": "ok",
        "broken": "danger" if finding.needed else "held",
        "missing": "held",
    }
    name = f"{finding.component} {finding.version}".strip()
    facts = (WORDS.get(finding.state, "").capitalize(), finding.detail, finding.hint)
    said = " ".join(ended(fact) for fact in facts if fact)
    line.tell(tones.get(finding.state, "quiet"), name, said)


def ended(fact: str) -> str:
    """``fact`` as a sentence: a full stop unless it ends otherwise, and its first letter up.

    A command and a name such as ``claude-sonnet-4-6`` stay as they must be typed.
    """
    fact = fact.strip()
    first = fact.split(" ", 1)[0]
    if first.strip(",.:;").isalpha() and first != "signalbox":
        fact = sentence_case(fact)
    return sentence(fact)
