"""An agent for these tests, whose answers say themselves what they are worth."""

from __future__ import annotations

from collections.abc import AsyncIterator

from agents.domain.contract import Criterion, Evidence, Rubric, agent
from agents.domain.run import Run
from agents.domain.values import Delta, Output, Plan, Request


def worth(evidence: Evidence) -> float:
    return float(evidence.output["worth"])


def asked(evidence: Evidence) -> float:
    return float(bool(evidence.input) and bool(evidence.facts))


RUBRIC = Rubric(
    name="worth",
    version=2,
    criteria=(
        Criterion(name="worth", question="What does it say it is worth?", weight=3.0, measure=worth),
        Criterion(name="asked", question="Was anything asked and known?", weight=1.0, measure=asked),
    ),
)


@agent("probe", version=3, rubric=RUBRIC)
class Probe:
    async def plan(self, run: Run, request: Request) -> Plan:
        return Plan(summary="nothing")

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        yield Output({"text": "", "worth": 0})
