"""What is deployed next: newer versions of two agents beside the old ones, and endpoints that are bound to the newer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from agents.domain.contract import agent
from agents.domain.run import Run
from agents.domain.values import Delta, Output, Plan, Request
from agents.mangaassist.rubric import ANSWER_RUBRIC
from config.endpoints import ENDPOINTS as OWN
from invocation.domain.endpoints import Endpoint
from tests.acceptance.deploys.before import RUBRIC, Weigher, weigh


@agent("weigher", version=2, rubric=RUBRIC)
class NewerWeigher(Weigher):
    version = 2


@agent("mangaassist", version=2, rubric=ANSWER_RUBRIC)
class NewerAssist:
    """Would never ask: whoever runs it for a job that the old version began gives itself away."""

    async def plan(self, run: Run, request: Request) -> Plan:
        return Plan(summary="Newer.")

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        yield Delta("the newer version")
        yield Output({"text": "the newer version", "titles": [], "task": "answer"})


ENDPOINTS: Sequence[Endpoint] = (*(replace(each, agent_version=2) if each.name == "refund" else each for each in OWN), weigh(2))
