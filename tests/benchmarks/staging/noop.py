"""The agents that benchmarks run: one does nothing, one sleeps. Both tell when they began."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from agents.domain.contract import Criterion, Rubric, agent
from agents.domain.run import Run
from agents.domain.values import Output, Plan, Request
from invocation.domain.endpoints import Endpoint, Estimate
from invocation.domain.modes import Mode

NOOP = "noop@1"
SLEEPER = "sleeper@1"
RUBRIC = Rubric(name="noop", version=1, criteria=(Criterion(name="there", question="Is it there?", weight=1.0, measure=lambda _: 1.0),))
OUTPUT: Mapping[str, Any] = {"type": "object", "properties": {"began": {"type": "number"}}, "required": ["began"]}


@agent("noop", version=1, rubric=RUBRIC)
class Noop:
    """Does nothing."""

    async def plan(self, run: Run, request: Request) -> Plan:
        return Plan(summary="nothing", facts={"began": time.time()})

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Output]:
        yield Output(plan.facts)


@agent("sleeper", version=1, rubric=RUBRIC)
class Sleeper:
    """Sleeps for `for_s` seconds."""

    async def plan(self, run: Run, request: Request) -> Plan:
        began = time.time()
        await asyncio.sleep(request.input["for_s"])
        return Plan(summary="slept", facts={"began": began})

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Output]:
        yield Output(plan.facts)


def _endpoint(name: str, **properties: Mapping[str, Any]) -> Endpoint:
    return Endpoint(
        name=name,
        version=1,
        agent=name,
        agent_version=1,
        mode=Mode.ASYNC_QUEUE,
        summary="For benchmarks.",
        input_schema={"type": "object", "properties": properties, "required": sorted(properties), "additionalProperties": False},
        output_schema=OUTPUT,
        estimate=lambda _: Estimate(duration=timedelta(milliseconds=1), tokens=1),
    )


ENDPOINTS: Sequence[Endpoint] = (_endpoint("noop"), _endpoint("sleeper", for_s={"type": "number", "minimum": 0}))
