"""What is deployed first: the installation's endpoints, and an agent that thinks before it asks, and after."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from agents.domain.contract import Rubric, agent
from agents.domain.run import Run
from agents.domain.values import Delta, Message, Output, Plan, Request, Role
from config.endpoints import ENDPOINTS as OWN
from invocation.domain.endpoints import Endpoint, Estimate
from invocation.domain.modes import EVERY_WAIT, Mode

RUBRIC = Rubric(name="weigher", version=1, criteria=())


@agent("weigher", version=1, rubric=RUBRIC)
class Weigher:
    """Thinks, asks a person and waits for a callback, thinks again."""

    version = 1

    async def plan(self, run: Run, request: Request) -> Plan:
        thought = await run.model([Message(Role.USER, "What speaks for it?")], max_tokens=64)
        answer = await run.ask("weighed", "Is it enough?", schema={"type": "boolean"}, timeout=timedelta(hours=1))
        called = await run.wait_for("confirmed", timeout=timedelta(hours=1))
        return Plan(summary="Weigh.", facts={"thought": thought.text, "answer": answer, "called": called})

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        conclusion = await run.model([Message(Role.USER, "So?")], max_tokens=64)
        yield Delta(conclusion.text)
        yield Output({"text": conclusion.text, "version": self.version, **plan.facts})


def weigh(agent_version: int) -> Endpoint:
    return Endpoint(
        name="weigh",
        version=1,
        agent="weigher",
        agent_version=agent_version,
        mode=Mode.ASYNC_QUEUE,
        input_schema={"type": "object"},
        output_schema={"type": "object"},
        estimate=lambda _: Estimate(duration=timedelta(seconds=1), tokens=1),
        may_wait=frozenset(EVERY_WAIT),
    )


ENDPOINTS: Sequence[Endpoint] = (*OWN, weigh(1))
