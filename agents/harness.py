"""For an agent's author: run an agent in a test, without a server, by the same execution as in production."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from agents.domain import registry
from agents.domain.contract import Agent, AgentSpec, Finding, Skill, SkillBody
from agents.domain.errors import RunError, WaitTimedOut, WaitUnavailable
from agents.domain.providers import Provider
from agents.domain.run import ModelAsk, Run
from agents.domain.steps import Step, StepKey
from agents.domain.values import (
    NOTHING,
    Exchange,
    Json,
    ModelRequest,
    Piece,
    Plan,
    Progress,
    Reply,
    Request,
    Terms,
    Tier,
    VerdictLimits,
    Verification,
)
from agents.domain.waits import Child, Outcome, Question, Spawn
from agents.gateways.providers import MODELS, build
from agents.gateways.providers.pacing import Pacing
from agents.services.execution import perform

ChildBody = Callable[[Mapping[str, Json]], Awaitable[Mapping[str, Json]]]
MOST_TOKENS, MOST_CALLS = 1_000_000, 1_000
TERMS = Terms(tenant="rehearsal", latency_budget_ms=60_000, cost_cap_usd=1.0)


class UnknownSkill(LookupError):
    """A stand-in was given for a skill that the agent does not declare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What one run gave. `steps` are the journal's, in the order in which they were kept."""

    plan: Plan
    verification: Verification
    deltas: tuple[str, ...]
    output: Mapping[str, Json]
    text: str
    steps: Mapping[StepKey, Step]
    progress: tuple[Progress, ...]


class Harness:
    """Runs one agent again and again; each run starts with an empty journal.

    `skills` replaces skills by name with async functions `(run, *, ...)`; the others are the
    agent's own. `answers` are what people say to `run.ask`, `callbacks` what `run.wait_for` brings,
    both by key; one that is not given times out where a timeout is set, and raises
    WaitUnavailable elsewhere. `children` plays other endpoints, by label: an async function from
    input to output, whose RunError is the child's failure. Sleeping takes no time.
    Without a provider the offline one writes, at once.
    """

    def __init__(
        self,
        agent: type[Agent] | AgentSpec,
        *,
        provider: Provider | None = None,
        skills: Mapping[str, SkillBody] = NOTHING,
        answers: Mapping[str, Json] = NOTHING,
        callbacks: Mapping[str, Json] = NOTHING,
        children: Mapping[str, ChildBody] = NOTHING,
        terms: Terms = TERMS,
    ) -> None:
        spec = agent if isinstance(agent, AgentSpec) else _declared(agent)
        self._cast = {own.name: _stand_in(own, skills) for own in spec.skills}
        _refuse_unknown(spec, skills)
        self._spec = replace(spec, skills=tuple(self._cast.values()))
        self._provider = provider or build("offline", pacing=Pacing.instant())
        self._prepared = (answers, callbacks, children)
        self._terms = terms

    async def run(
        self, given: Mapping[str, Json], *, history: Sequence[Exchange] = (), floor: Verification = Verification.DRAFT
    ) -> Rehearsal:
        """Run once and return all that it gave. Raises what the run raises."""
        journal, audience = _MemoryJournal(), _Audience()
        run = _RehearsedRun(
            key="rehearsal",
            terms=self._terms,
            spec=self._spec,
            journal=journal,
            models=_ProviderModels(self._provider, self._terms),
            watcher=audience,
            waits=_Prepared(*self._prepared),
        )
        run.cast = self._cast
        request = Request(input=given, history=tuple(history))
        performance = await perform(self._spec, run, request, floor=floor, limits=VerdictLimits(), output_check=_accept, sink=audience)
        return Rehearsal(
            plan=performance.plan,
            verification=audience.verification,
            deltas=tuple(audience.deltas),
            output=performance.output.value,
            text=performance.text,
            steps=MappingProxyType(journal.steps),
            progress=tuple(audience.said),
        )


def _declared(agent: type[Agent]) -> AgentSpec:
    found = [spec for spec in registry.every() if spec.build is agent]
    if not found:
        raise registry.UnknownAgent(f"{agent.__qualname__} is not registered: decorate it with @agent(...).")
    return found[-1]


def _stand_in(own: Skill, skills: Mapping[str, SkillBody]) -> Skill:
    return replace(own, body=skills.get(own.name, own.body))


def _refuse_unknown(spec: AgentSpec, skills: Mapping[str, SkillBody]) -> None:
    strange = sorted(set(skills) - {own.name for own in spec.skills})
    if strange:
        raise UnknownSkill(f"{spec.label} declares no skill {strange[0]}.")


def _accept(_value: Json) -> None:
    """Take any Output: schemas belong to endpoints."""


class _RehearsedRun(Run):
    """A run whose skills are played by stand-ins."""

    cast: Mapping[str, Skill] = NOTHING

    async def use(self, skill: Skill, arguments: Mapping[str, Json]) -> Any:
        return await super().use(self.cast.get(skill.name, skill), arguments)


class _MemoryJournal:
    """Steps kept for one run."""

    def __init__(self) -> None:
        self.steps: dict[StepKey, Step] = {}

    def lookup(self, key: StepKey) -> Step | None:
        return self.steps.get(key)

    async def record(self, key: StepKey, step: Step) -> None:
        self.steps[key] = step


class _ProviderModels:
    """Asks the provider's model of the best tier; there is no quota here, and nothing is spent."""

    def __init__(self, provider: Provider, terms: Terms) -> None:
        self._provider = provider
        self._terms = terms

    def stream(self, ask: ModelAsk) -> AsyncGenerator[Piece | Reply, None]:
        request = ModelRequest(model=self._model(ask.tiers[0]), messages=ask.messages, max_tokens=ask.max_tokens)
        return self._provider.stream(request)

    async def whole(self, ask: ModelAsk) -> Reply:
        parts = [part async for part in self.stream(ask)]
        return next(part for part in parts if isinstance(part, Reply))

    def remaining_usd(self) -> float:
        return self._terms.cost_cap_usd

    def remaining_tokens(self) -> int:
        return MOST_TOKENS

    def remaining_calls(self) -> int:
        return MOST_CALLS

    def _model(self, tier: Tier) -> str:
        return MODELS.get(self._provider.name, MODELS["offline"])[tier]


class _Audience:
    """Sees and remembers what is shown, and how far the run is."""

    def __init__(self) -> None:
        self.verification = Verification.DRAFT
        self.deltas: list[str] = []
        self.said: list[Progress] = []

    async def plan_ready(self, plan: Plan, verification: Verification) -> None:
        self.verification = verification

    def delta(self, text: str) -> None:
        self.deltas.append(text)

    async def retracted(self, finding: Finding) -> None:
        self.deltas.clear()

    async def progress(self, progress: Progress) -> None:
        self.said.append(progress)


class _Prepared:
    """Ends every wait at once with what the test says."""

    def __init__(self, answers: Mapping[str, Json], callbacks: Mapping[str, Json], children: Mapping[str, ChildBody]) -> None:
        self._answers = answers
        self._callbacks = callbacks
        self._bodies = children
        self._outcomes: dict[str, Outcome] = {}

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def answers(self, questions: Sequence[Question], *, until: datetime | None) -> Mapping[str, Json]:
        return {each.key: _given(self._answers, each.key, "answers", until) for each in questions}

    async def open_callback(self, key: str) -> str:
        return f"https://rehearsal.invalid/v1/callbacks/{key}"

    async def called(self, key: str, *, until: datetime | None) -> Json:
        return _given(self._callbacks, key, "callbacks", until)

    async def reached(self, moment: datetime) -> None:
        return

    async def spawn(self, spawn: Spawn) -> Sequence[str]:
        body = _given(self._bodies, spawn.endpoint, "children", None)
        ids = [f"{spawn.place}/{number}" for number in range(len(spawn.inputs))]
        for child_id, value in zip(ids, spawn.inputs, strict=True):
            self._outcomes[child_id] = await _played(Child(child_id, spawn.endpoint), body, value)
        return ids

    async def joined(self, children: Sequence[Child], *, until: datetime | None) -> Sequence[Outcome]:
        return [self._outcomes[child.id] for child in children]


async def _played(child: Child, body: ChildBody, value: Mapping[str, Json]) -> Outcome:
    try:
        return Outcome(child=child, output=await body(value))
    except RunError as error:
        return Outcome(child=child, error={"code": error.code, "sentence": error.sentence})


def _given(prepared: Mapping[str, Any], key: str, name: str, until: datetime | None) -> Any:
    if key in prepared:
        return prepared[key]
    if until is not None:
        raise WaitTimedOut(f"The harness was given nothing for {key!r}.")
    raise WaitUnavailable(f"The harness was given nothing for {key!r}: give {name}={{{key!r}: ...}}.")
