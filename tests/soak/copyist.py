"""An agent of batches: one model call a row, and some rows that cannot be done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from agents.domain.contract import Criterion, Rubric, agent
from agents.domain.errors import AgentError
from agents.domain.run import Run
from agents.domain.values import Message, Output, Plan, Request, Role
from invocation.domain.endpoints import Endpoint, Estimate, Limits
from invocation.domain.modes import Mode

PAGE = "page@1"
MOST_TOKENS = 4
RUBRIC = Rubric(name="page", version=1, criteria=(Criterion(name="there", question="Is it there?", weight=1.0, measure=lambda _: 1.0),))
INPUT: Mapping[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "is_torn": {"type": "boolean"}},
    "required": ["name", "is_torn"],
    "additionalProperties": False,
}
OUTPUT: Mapping[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "said": {"type": "string"}},
    "required": ["name", "said"],
    "additionalProperties": False,
}


@agent("page", version=1, rubric=RUBRIC)
class Copyist:
    """Asks a model about `name`, once; of a row that `is_torn` nothing comes of the answer."""

    async def plan(self, run: Run, request: Request) -> Plan:
        name = request.input["name"]
        reply = await run.model([Message(Role.USER, str(name))], max_tokens=MOST_TOKENS)
        if request.input["is_torn"]:
            raise AgentError("The page is torn.")
        return Plan(summary="copied", facts={"name": name, "said": reply.text})

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Output]:
        yield Output(plan.facts)


ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        name="page",
        version=1,
        agent="page",
        agent_version=1,
        mode=Mode.BATCH_WINDOW,
        summary="For tests.",
        input_schema=INPUT,
        output_schema=OUTPUT,
        limits=Limits(items=100_000),
        estimate=lambda _: Estimate(duration=timedelta(milliseconds=1), tokens=1),
    ),
)
