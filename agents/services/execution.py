"""The execution of one agent on one request: plan, lock the skills, compose, verify, check. Production and harness share it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, cast

from agents.domain.contract import Agent, AgentSpec, Finding
from agents.domain.errors import OutputInvalid
from agents.domain.run import Run
from agents.domain.storable import Whole
from agents.domain.values import Delta, Json, Output, Plan, Request, Usage, VerdictLimits, Verification
from agents.domain.waits import leading
from agents.services.verifying import SHOWINGS, Reader, Showing


class Sink(Protocol):
    """Who is shown an answer while it comes; a model's words never wait for him."""

    async def plan_ready(self, plan: Plan, verification: Verification) -> None: ...

    def delta(self, text: str) -> None: ...

    async def retracted(self, finding: Finding) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """What one execution gave. `text` is the deltas joined."""

    plan: Plan
    output: Output
    text: str
    usage: Usage
    models: tuple[str, ...]


async def perform(
    spec: AgentSpec,
    run: Run,
    request: Request,
    *,
    floor: Verification,
    limits: VerdictLimits,
    output_check: Callable[[Json], None],
    sink: Sink,
) -> Performance:
    """Run the agent once and return what it gave; `output_check` raises OutputInvalid.

    Raises AnswerWithdrawn where a verifier objects (PrivateDataShown), raises or stalls: what was
    shown has then been retracted, and the generation has ended. Raises OutputInvalid unless compose()
    ends with exactly one Output. Cancelling this cancels the agent's pending call.
    """
    agent = spec.build()
    plan = await agent.plan(run, request)
    run.lock_skills()
    verification = floor.at_least(plan.verification)
    await sink.plan_ready(plan, verification)
    reader = Reader(spec.verifiers, plan, limits)
    speech = _Speech(agent, run, plan, output_check)
    if reader.is_prompt:
        showing = SHOWINGS[verification](reader, sink, None)
        output = await speech.shown_by(showing)
    else:
        showing, output = await _with_readings(speech, reader, SHOWINGS[verification], sink)
    return Performance(plan=plan, output=output, text=showing.text, usage=run.usage, models=tuple(run.models_used))


async def _with_readings(speech: _Speech, reader: Reader, kind: type[Showing], sink: Sink) -> tuple[Showing, Output]:
    """Speak while verifiers read beside it: a reading that objects ends the generation, wherever that waits."""
    try:
        async with asyncio.TaskGroup() as beside:
            showing = kind(reader, sink, beside)
            return showing, await speech.shown_by(showing)
    except BaseExceptionGroup as group:
        raise leading(group) from group


@dataclass(frozen=True, slots=True)
class _Speech:
    """What is said after the plan."""

    agent: Agent
    run: Run
    plan: Plan
    output_check: Callable[[Json], None]

    async def shown_by(self, showing: Showing) -> Output:
        async with aclosing(cast("AsyncGenerator[Delta | Output]", self.agent.compose(self.run, self.plan))) as parts:
            output = await _follow(parts, showing)
        await showing.conclude(output, self.output_check)
        return output


async def _follow(parts: AsyncGenerator[Delta | Output], showing: Showing) -> Output:
    output: Output | None = None
    said = Whole()
    async for part in parts:
        if output is not None:
            raise OutputInvalid(f"compose() went on after its Output, with {type(part).__name__}.")
        if isinstance(part, Output):
            output = part
        elif isinstance(part, Delta):
            if text := said.take(part.text):
                await showing.take(text)
        else:
            raise OutputInvalid(f"compose() yielded {type(part).__name__}; it yields Delta and at last one Output.")
    if output is None:
        raise OutputInvalid("compose() ended without an Output.")
    return output
