"""An agent that talks at the pace that it is told, and endpoints with every policy of a session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from agents.domain.contract import Criterion, Rubric, agent
from agents.domain.run import Run
from agents.domain.values import Delta, Message, Output, Plan, Request, Role
from invocation.domain.endpoints import Endpoint, Estimate
from invocation.domain.modes import Mode
from invocation.domain.sessions import OnDisconnect, OnDoubleSend

RUBRIC = Rubric(name="talker", version=1, criteria=(Criterion(name="there", question="Is it there?", weight=1.0, measure=lambda _: 1.0),))
NUMBER, WORD = {"type": "number"}, {"type": "string"}
PROPERTIES: Mapping[str, Any] = {
    "words": NUMBER,
    "gap_s": NUMBER,
    "plan_s": NUMBER,
    "progress_s": NUMBER,
    "bytes": NUMBER,
    "model": WORD,
}


@agent("talker", version=1, rubric=RUBRIC)
class Talker:
    """Says `words` numbered words of `bytes` each, one each `gap_s`, after a plan that takes `plan_s`; or lets a model speak."""

    async def plan(self, run: Run, request: Request) -> Plan:
        given = request.input
        every, rest = given.get("progress_s", 0), given.get("plan_s", 0)
        while rest > 0:
            await asyncio.sleep(min(rest, every or rest))
            rest -= every or rest
            if every:
                await run.progress(done=0, of=0, note="planning")
        return Plan(summary="talk", facts={"given": dict(given)})

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        given = plan.facts["given"]
        said = 0
        if "model" in given:
            async for piece in run.model([Message(Role.USER, given["model"])]):
                said += 1
                yield Delta(piece)
        for number in range(int(given.get("words", 0))):
            yield Delta(f"{number:05d} ".ljust(int(given.get("bytes", 6)), "."))
            said += 1
            await asyncio.sleep(given.get("gap_s", 0))
        yield Output({"said": said})


def _endpoint(name: str, **terms: Any) -> Endpoint:
    return Endpoint(
        name=name,
        version=1,
        agent="talker",
        agent_version=1,
        mode=Mode.STREAMING_SYNC,
        summary="For tests.",
        input_schema={"type": "object", "properties": dict(PROPERTIES), "additionalProperties": False},
        output_schema={"type": "object"},
        estimate=lambda _: Estimate(duration=timedelta(seconds=1), tokens=1),
        **terms,
    )


ENDPOINTS: Sequence[Endpoint] = (
    _endpoint("talk"),
    _endpoint("queue", on_double_send=OnDoubleSend.ENQUEUE),
    _endpoint("swap", on_double_send=OnDoubleSend.REPLACE),
    _endpoint("leave", on_disconnect=OnDisconnect.CANCEL),
)
