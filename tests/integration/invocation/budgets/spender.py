"""An agent that asks models as often as its input says, all at once, and finishes with what it has."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from agents.domain.contract import Rubric, agent
from agents.domain.errors import BudgetExceeded, DayExceeded
from agents.domain.run import Run
from agents.domain.values import Delta, Message, Output, Plan, Reply, Request, Role, Tier
from invocation.domain.endpoints import Endpoint, EscapeHatch, Estimate, Limits
from invocation.domain.modes import EVERY_WAIT, Mode

GATES: dict[str, asyncio.Event] = {}
"""What a run waits for between two calls, by name; a test opens it."""


@agent("spender", version=1, rubric=Rubric(name="spender", version=1, criteria=()), tiers=(Tier.STANDARD,))
class Spender:
    """`calls` at once, each of at most `most` tokens and of `tiers`; `children` inputs are spawned and joined before, one call `first`.

    What the run's budget refuses is counted unless it `raises`; so is what the day refuses, if it `copes`.
    """

    async def plan(self, run: Run, request: Request) -> Plan:
        given = request.input
        below = await self._children(run, given)
        if given.get("first"):
            await self._call(run, -1, given)
        if "gate" in given:
            await GATES[given["gate"]].wait()
        made = await asyncio.gather(*(self._call(run, number, given) for number in range(given.get("calls", 0))))
        left = {"usd": run.remaining_usd, "tokens": run.remaining_tokens, "calls": run.remaining_calls}
        return Plan(summary="spent", facts={"made": Counter(made), "below": below, "left": left})

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        yield Delta("spent")
        yield Output({"pid": os.getpid(), **plan.facts})

    async def _children(self, run: Run, given: Mapping[str, Any]) -> list[Any]:
        if not given.get("children"):
            return []
        children = await run.spawn("spender-job@1", list(given["children"]), **given.get("lends", {}))
        return [dict(outcome.output or outcome.error or {}) for outcome in await run.join(children)]

    async def _call(self, run: Run, number: int, given: Mapping[str, Any]) -> str:
        tiers = [Tier(tier) for tier in given.get("tiers", ["standard"])]
        try:
            reply: Reply = await run.model(
                [Message(Role.USER, f"{given.get('text', 'What is new')} {number}?")],
                name=f"call-{number}",
                tiers=tiers,
                max_tokens=given.get("most", 64),
            )
        except BudgetExceeded as spent:
            if given.get("raises"):
                raise
            return spent.code
        except DayExceeded as spent:
            if not given.get("copes"):
                raise
            return spent.code
        return f"{reply.tier} {reply.downshift}".strip()


INPUT: Mapping[str, Any] = MappingProxyType({"type": "object"})
OUTPUT: Mapping[str, Any] = MappingProxyType({"type": "object"})


def spender(name: str, mode: Mode, **terms: Any) -> Endpoint:
    return Endpoint(
        name=name,
        version=1,
        agent="spender",
        agent_version=1,
        mode=mode,
        input_schema=dict(INPUT),
        output_schema=dict(OUTPUT),
        **{"limits": Limits(items=1_000, tokens=1_000), "estimate": lambda _: Estimate(duration=timedelta(seconds=1), tokens=1), **terms},
    )


ENDPOINTS = (
    spender("spender-job", Mode.ASYNC_QUEUE, may_wait=frozenset(EVERY_WAIT)),
    spender("spender-narrow", Mode.ASYNC_QUEUE, tokens=1_000, model_calls=3),
    spender("spender-hasty", Mode.ASYNC_QUEUE, whole=timedelta(milliseconds=500)),
    spender("spender-long", Mode.ASYNC_QUEUE, estimate=lambda _: Estimate(duration=timedelta(seconds=1), tokens=100)),
    spender("spender-chat", Mode.STREAMING_SYNC, escape=EscapeHatch(text="Later, then.")),
    spender("spender-batch", Mode.BATCH_WINDOW),
)
