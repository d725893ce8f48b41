"""An agent that plays what a page must be able to show: a question's first word says which."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from agents.domain.contract import Criterion, Rubric, agent
from agents.domain.run import Run
from agents.domain.values import Delta, Output, Plan, Request, Verification
from agents.mangaassist.verifiers import no_private_data
from invocation.domain.endpoints import Endpoint, EscapeHatch, Estimate
from invocation.domain.modes import Mode

SAID: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "slow": ("The first part comes at once. ", "The second part takes its time. ", "The third part was worth it."),
        "leak": ("Of course I can help. ", "Write to ", "ami@example.com ", "for that. ", "She answers at night. ", "Good luck!"),
        "think": ("I have thought about it.",),
    }
)
PAUSES = MappingProxyType({"slow": 2.0, "leak": 0.4, "think": 0.0})
RUBRIC = Rubric(name="staged", version=1, criteria=(Criterion(name="there", question="Is it there?", weight=1.0, measure=lambda _: 1.0),))


@agent("staged", version=1, rubric=RUBRIC, verifiers=[no_private_data])
class Staged:
    async def plan(self, run: Run, request: Request) -> Plan:
        play = request.input["text"].split()[0]
        thinks = play == "think"
        await asyncio.sleep(2.8 if thinks else 0)
        return Plan(summary="Play a part.", facts={"play": play}, verification=Verification.BUFFER if thinks else None)

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        play = plan.facts["play"]
        said = SAID[play]
        for number, part in enumerate(said):
            await run.progress(done=number, of=len(said), note=f"Part {number + 1}")
            yield Delta(part)
            await asyncio.sleep(PAUSES[play])
        yield Output({"text": "".join(said)})


def _staged(name: str, mode: Mode, **terms: Any) -> Endpoint:
    text = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    return Endpoint(
        name=name,
        version=1,
        agent="staged",
        agent_version=1,
        mode=mode,
        input_schema=text,
        output_schema=text,
        estimate=lambda _: Estimate(duration=timedelta(), tokens=1),
        **terms,
    )


ENDPOINTS: Sequence[Endpoint] = (
    _staged(
        "staged-chat",
        Mode.STREAMING_SYNC,
        whole=timedelta(seconds=4.5),
        escape=EscapeHatch(
            text="That takes me longer than you should wait.", offer="staged-job@1", withdrawn="Let me say it in other words."
        ),
    ),
    _staged("staged-job", Mode.ASYNC_QUEUE),
)
