"""How answers of ${name} are judged, the same in every mode."""

from __future__ import annotations

from agents.domain.contract import Criterion, Evidence, Rubric


def uses_the_facts(evidence: Evidence) -> float:
    """Return the share of the facts' notes that the text repeats."""
    notes = [fact["note"] for fact in evidence.facts["known"]]
    return sum(note in evidence.output["text"] for note in notes) / len(notes) if notes else 1.0


RUBRIC = Rubric(
    name="${name}",
    version=1,
    criteria=(Criterion(name="grounded", question="Does it say what the facts say?", weight=1.0, measure=uses_the_facts),),
)
