"""A small agent, its run and its audience, for tests of the contract and its execution."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from agents.domain.contract import AgentSpec, Finding, Rubric, Skill, Verifier, skill
from agents.domain.errors import WaitTimedOut
from agents.domain.run import Run
from agents.domain.steps import Step, StepKey
from agents.domain.values import Delta, Json, Output, Piece, Plan, Progress, Reply, Request, Terms, Tier, Usage, Verification
from agents.domain.waits import Child, ForAnswers, ForCallback, ForChildren, ForMoment, Outcome, Parked, Question, Spawn, Wait

TERMS = Terms(tenant="tests", latency_budget_ms=1_000, cost_cap_usd=0.5)


class MemoryJournal:
    def __init__(self) -> None:
        self.steps: dict[StepKey, Step] = {}

    def lookup(self, key: StepKey) -> Step | None:
        return self.steps.get(key)

    async def record(self, key: StepKey, step: Step) -> None:
        self.steps[key] = step


class SpokenModels:
    """Says the given words; counts how often it was asked, and tells when a stream is closed."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.asked = 0
        self.closed = asyncio.Event()

    async def stream(self, _ask: Any) -> AsyncGenerator[Piece | Reply, None]:
        self.asked += 1
        try:
            for word in self.words:
                yield Piece(word)
            yield Reply(text="".join(self.words), model="spoken", usage=Usage(3, 5))
        finally:
            self.closed.set()

    async def whole(self, ask: Any) -> Reply:
        parts = [part async for part in self.stream(ask)]
        return next(part for part in parts if isinstance(part, Reply))

    def remaining_usd(self) -> float:
        return TERMS.cost_cap_usd

    def remaining_tokens(self) -> int:
        return 1_000

    def remaining_calls(self) -> int:
        return 10


class Audience:
    """Remembers all that it was shown, in order."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.reached = asyncio.Event()

    async def plan_ready(self, plan: Plan, verification: Verification) -> None:
        self.seen.append(verification)

    def delta(self, text: str) -> None:
        self.seen.append(text)
        self.reached.set()

    async def retracted(self, finding: Finding) -> None:
        self.seen.append(finding)

    async def progress(self, progress: Progress) -> None:
        self.seen.append(progress)


class MemoryWaits:
    """Is told what is there; parks for the rest, as an invocation that can wait does. `time` is its clock."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
        self.told: dict[str, Json] = {}
        self.brought: dict[str, Json] = {}
        self.spawned: dict[str, list[str]] = {}
        self.ended: dict[str, Outcome] = {}

    def now(self) -> datetime:
        return self.time

    async def answers(self, questions: Sequence[Question], *, until: datetime | None) -> Mapping[str, Json]:
        open_ones = tuple(each for each in questions if each.key not in self.told)
        if open_ones:
            raise self._parked(ForAnswers(open_ones, until), until)
        return {each.key: self.told[each.key] for each in questions}

    async def open_callback(self, key: str) -> str:
        return f"https://here.invalid/v1/callbacks/secret-{key}"

    async def called(self, key: str, *, until: datetime | None) -> Json:
        if key not in self.brought:
            raise self._parked(ForCallback(key, until), until)
        return self.brought[key]

    async def reached(self, moment: datetime) -> None:
        if self.time < moment:
            raise Parked(ForMoment(moment))

    async def spawn(self, spawn: Spawn) -> Sequence[str]:
        return self.spawned.setdefault(spawn.place, [f"{spawn.place}/{number}" for number in range(len(spawn.inputs))])

    async def joined(self, children: Sequence[Child], *, until: datetime | None) -> Sequence[Outcome]:
        ids = tuple(child.id for child in children)
        if any(child_id not in self.ended for child_id in ids):
            raise self._parked(ForChildren(ids, until), until)
        return [self.ended[child_id] for child_id in ids]

    def _parked(self, wait: Wait, until: datetime | None) -> BaseException:
        return WaitTimedOut("late") if until is not None and self.time >= until else Parked(wait)


@skill
async def double(run: Run, *, number: int) -> Json:
    """Double a number."""
    return 2 * number


@skill
async def undeclared(run: Run) -> Json:
    """Never declared."""
    return None


class Speaker:
    """Plans once, then says the model's words."""

    verification: Verification | None = None

    async def plan(self, run: Run, request: Request) -> Plan:
        return Plan(summary="Speak.", facts={"twice": await double(run, number=request.input["number"])}, verification=self.verification)

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        async for piece in run.model([]):
            yield Delta(piece)
        yield Output({"twice": plan.facts["twice"]})


def no_secret(text: str, plan: Plan) -> Finding | None:
    return Finding("no_secret", "The answer shows a secret.") if "secret" in text else None


def spec_of(build: Callable[[], Any], *, skills: Sequence[Skill] = (double,), verifiers: Sequence[Verifier] = (no_secret,)) -> AgentSpec:
    return AgentSpec(
        name="speaker",
        version=1,
        build=build,
        skills=tuple(skills),
        rubric=Rubric(name="none", version=1, criteria=()),
        verifiers=tuple(verifiers),
        tiers=(Tier.STANDARD,),
    )


def run_of(
    spec: AgentSpec, *, journal: MemoryJournal | None = None, models: SpokenModels | None = None, waits: MemoryWaits | None = None
) -> Run:
    return Run(
        key="run-1",
        terms=TERMS,
        spec=spec,
        journal=journal or MemoryJournal(),
        models=models or SpokenModels("Good ", "day."),
        watcher=Audience(),
        waits=waits or MemoryWaits(),
    )
