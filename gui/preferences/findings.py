"""One finding of ``signalbox doctor`` as a line for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gui.preferences.labels import ResultLine, Tone

if TYPE_CHECKING:
    from core.doctor import Finding

WORDS = {"works": "", "missing": "not found", "broken": "doesn’t work", "not_set_up": "not set up"}


def tell_finding(line: ResultLine, finding: Finding) -> None:
    """Show the component with its version, then what is wrong with it and what to do."""
    tones: dict[str, Tone] = {
        "works": "ok",
        "broken": "danger" if finding.needed else "held",
        "missing": "held",
    }
    name = f"{finding.component} {finding.version}".strip()
    facts = [WORDS.get(finding.state, "").capitalize(), finding.detail.rstrip("."), finding.hint]
    sentence = ". ".join(fact for fact in facts if fact)
    line.tell(tones.get(finding.state, "quiet"), name, sentence)
