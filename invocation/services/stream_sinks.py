"""What an agent streams in a turn, put into the session's events."""

from __future__ import annotations

from dataclasses import dataclass

from agents.domain.contract import Finding
from agents.domain.values import Plan, Progress, Verification
from invocation.domain.turns import EventType
from invocation.services.pens import Pen
from invocation.services.turn_limits import TurnLimits


@dataclass(slots=True)
class StreamSink:
    """What the agent streams, on its way to the session's log."""

    pen: Pen
    limits: TurnLimits
    text: str = ""
    retracted_by: str = ""

    async def plan_ready(self, plan: Plan, verification: Verification) -> None:
        sources = [
            {name: title.get(name) for name in ("slug", "title", "author", "year")}
            for title in plan.facts.get("titles", ())
            if isinstance(title, dict)
        ]
        if verification is Verification.BUFFER:
            self.limits.has_spoken()
        self.pen.write(EventType.PLAN_READY, {"summary": plan.summary, "verification": str(verification), "sources": sources})

    def delta(self, text: str) -> None:
        self.text += text
        self.pen.delta(text)
        self.limits.has_spoken()

    async def retracted(self, finding: Finding) -> None:
        self.retracted_by = finding.verifier
        self.pen.write(EventType.RETRACTED, {"reason": finding.sentence, "verifier": finding.verifier})

    async def progress(self, progress: Progress) -> None:
        self.pen.progress({"done": progress.done, "of": progress.of, "note": progress.note})
