"""The execution of one agent on one request: plan, lock the skills, compose, verify, check. Production and harness share it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, cast

from agents.domain.contract import AgentSpec, Finding
from agents.domain.errors import OutputInvalid, PrivateDataShown
from agents.domain.run import Run
from agents.domain.values import Delta, Json, Output, Plan, Request, Usage, Verification

SENTENCE_ENDS = frozenset(".!?\n")


class Sink(Protocol):
    """Who is shown an answer while it comes."""

    async def plan_ready(self, plan: Plan, verification: Verification) -> None: ...

    async def delta(self, text: str) -> None: ...

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
    spec: AgentSpec, run: Run, request: Request, *, floor: Verification, output_check: Callable[[Json], None], sink: Sink
) -> Performance:
    """Run the agent once and return what it gave; `output_check` raises OutputInvalid.

    Raises PrivateDataShown where a verifier objects: what was shown has then been
    retracted, and the generation has ended. Raises OutputInvalid unless compose()
    ends with exactly one Output. Cancelling this cancels the agent's pending call.
    """
    agent = spec.build()
    plan = await agent.plan(run, request)
    run.lock_skills()
    verification = floor.at_least(plan.verification)
    await sink.plan_ready(plan, verification)
    showing = _SHOWINGS[verification](spec, plan, sink)
    async with aclosing(cast("AsyncGenerator[Delta | Output]", agent.compose(run, plan))) as parts:
        output = await _follow(parts, showing)
    await showing.conclude(output, output_check)
    return Performance(plan=plan, output=output, text=showing.text, usage=run.usage, models=tuple(run.models_used))


async def _follow(parts: AsyncGenerator[Delta | Output], showing: _Showing) -> Output:
    output: Output | None = None
    async for part in parts:
        if output is not None:
            raise OutputInvalid(f"compose() went on after its Output, with {type(part).__name__}.")
        if isinstance(part, Output):
            output = part
        elif isinstance(part, Delta):
            await showing.take(part.text)
        else:
            raise OutputInvalid(f"compose() yielded {type(part).__name__}; it yields Delta and at last one Output.")
    if output is None:
        raise OutputInvalid("compose() ended without an Output.")
    return output


class _Showing:
    """One answer on its way: its pieces so far, and when the sink sees them."""

    def __init__(self, spec: AgentSpec, plan: Plan, sink: Sink) -> None:
        self._spec = spec
        self._plan = plan
        self._sink = sink
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    async def take(self, piece: str) -> None:
        self._pieces.append(piece)

    async def conclude(self, output: Output, output_check: Callable[[Json], None]) -> None:
        """Verify all that was said and all that only the Output says, then check the Output."""
        said = self.text
        await self._verify(said)
        for words in _strings(output.value):
            if words not in said:
                await self._verify(words)
        output_check(output.value)

    async def _verify(self, text: str) -> None:
        finding = self._spec.find(text, self._plan)
        if finding:
            await self._refuse(finding)
            raise PrivateDataShown(finding.sentence)

    async def _refuse(self, finding: Finding) -> None:
        """Do what a finding asks for before the run fails."""


class _Draft(_Showing):
    """Shows each piece as it comes, and takes all back on a finding; verifiers read up to each sentence's end."""

    async def take(self, piece: str) -> None:
        await super().take(piece)
        if not SENTENCE_ENDS.isdisjoint(piece):
            await self._verify(self.text)
        await self._sink.delta(piece)

    async def _refuse(self, finding: Finding) -> None:
        await self._sink.retracted(finding)


class _Buffer(_Showing):
    """Shows nothing before the whole answer is verified and its Output checked."""

    async def conclude(self, output: Output, output_check: Callable[[Json], None]) -> None:
        await super().conclude(output, output_check)
        for piece in self._pieces:
            await self._sink.delta(piece)


_SHOWINGS: Mapping[Verification, type[_Showing]] = MappingProxyType({Verification.DRAFT: _Draft, Verification.BUFFER: _Buffer})


def _strings(value: Json) -> Iterator[str]:
    """Yield every text inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _strings(each)
