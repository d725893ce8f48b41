"""An agent with an effect outside, which stands still at a point of its first attempt so that a test may kill it there."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import httpx

from agents.domain.contract import Criterion, Rubric, agent
from agents.domain.run import Run
from agents.domain.values import Output, Plan, Request
from invocation.domain.endpoints import Endpoint, Estimate
from invocation.domain.modes import Mode

RUBRIC = Rubric(name="errand", version=1, criteria=(Criterion(name="there", question="Is it there?", weight=1.0, measure=lambda _: 1.0),))
POINTS = ("claimed", "mid_step", "between_effect_and_journal", "after_result")
TRIES = 20


async def post(url: str, body: Mapping[str, Any], **headers: str) -> Any:
    """Ask the service outside until it answers: it is no part of what is hurt."""
    async with httpx.AsyncClient(timeout=5) as client:
        for _ in range(TRIES):
            try:
                return (await client.post(url, json=body, headers=headers)).json()
            except httpx.TransportError:
                await asyncio.sleep(0.1)
    raise RuntimeError("the effects service is gone")


@agent("errand", version=1, rubric=RUBRIC)
class Errand:
    """`at` is the effects service, `point` where the first attempt stands still, `for_s` how long it works."""

    async def plan(self, run: Run, request: Request) -> Plan:
        given = request.input
        await self._stand(run, given, "claimed")

        async def look() -> Any:
            await self._stand(run, given, "mid_step")
            await asyncio.sleep(given.get("for_s", 0))
            return "looked"

        async def charge(*, key: str) -> Any:
            await post(f"{given['at']}/effects", {}, **{"Idempotency-Key": key})
            await self._stand(run, given, "between_effect_and_journal")
            return "charged"

        looked = await run.step("look", look)
        charged = await run.step("charge", charge, key=run.effect_key("charge"))
        return Plan(summary="done", facts={"looked": looked, "charged": charged, "given": dict(given)})

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Output]:
        given = plan.facts["given"]
        if given.get("point") == "after_result" and await self._is_first(run, given, "after_result"):
            _die_in(given.get("die_in_s", 0.0))
        yield Output({"looked": plan.facts["looked"], "charged": plan.facts["charged"]})

    async def _stand(self, run: Run, given: Mapping[str, Any], point: str) -> None:
        if given.get("point") == point and await self._is_first(run, given, point):
            await asyncio.sleep(60)

    @staticmethod
    async def _is_first(run: Run, given: Mapping[str, Any], point: str) -> bool:
        answer = await post(f"{given['at']}/reached", {"point": f"{run.key} {point}", "pid": os.getpid()})
        return bool(answer["first"])


def _die_in(seconds: float) -> None:
    """Kill this process from beside the loop, so that the result is on its way meanwhile."""

    def die() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=die, daemon=True).start()


ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        name="errand",
        version=1,
        agent="errand",
        agent_version=1,
        mode=Mode.ASYNC_QUEUE,
        summary="For tests.",
        input_schema={"type": "object"},
        output_schema={"type": "object"},
        estimate=lambda _: Estimate(duration=timedelta(milliseconds=1), tokens=1),
    ),
)
