"""How an agent, its skills, its verifiers and its rubric are declared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agents.domain import registry
from agents.domain.values import Delta, Json, Output, Plan, Request, Tier

if TYPE_CHECKING:
    from agents.domain.run import Run


class Agent(Protocol):
    """What an author writes: decide first, with skills; then write, with skills locked."""

    async def plan(self, run: Run, request: Request) -> Plan: ...

    def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """What a verifier objects to: its name and a sentence without the private text itself."""

    verifier: str
    sentence: str


class Verifier(Protocol):
    """Reads a growing prefix of an answer and objects, or not; called again with longer prefixes.

    A plain function is pure and quick: it runs between two pieces. One that asks a model or a service
    is `async def`: it reads beside the generation, within its mode's limits, and may be cancelled.
    """

    __name__: str

    def __call__(self, text: str, plan: Plan) -> Finding | Awaitable[Finding | None] | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a rubric judges by: what was asked, what the plan knew, what was answered."""

    input: Mapping[str, Json]
    facts: Mapping[str, Json]
    output: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One question of a rubric; `measure` answers between 0 and 1, deterministically."""

    name: str
    question: str
    weight: float
    measure: Callable[[Evidence], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric:
    """How an agent's answers are judged: one rubric an agent, the same in every mode."""

    name: str
    version: int
    criteria: tuple[Criterion, ...]


SkillBody = Callable[..., Awaitable[Json]]


@dataclass(frozen=True, slots=True)
class Skill:
    """A tool that an agent may call in plan(), as `await search(run, text="...")`.

    Arguments are keywords and JSON, the result is JSON: each call is one journaled step,
    which is not repeated when the run resumes.
    """

    name: str
    body: SkillBody
    summary: str

    async def __call__(self, run: Run, /, **arguments: Json) -> Any:
        return await run.use(self, arguments)


def skill(body: SkillBody) -> Skill:
    """Declare an async function `(run, *, ...)` as a skill, named like the function."""
    name = str(getattr(body, "__name__", "skill"))
    return Skill(name=name, body=body, summary=(body.__doc__ or "").strip().split("\n")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """An agent frozen at a version: the class and all that was declared with it."""

    name: str
    version: int
    build: Callable[[], Agent]
    skills: tuple[Skill, ...]
    rubric: Rubric
    verifiers: tuple[Verifier, ...]
    tiers: tuple[Tier, ...]

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"


A = TypeVar("A", bound=Agent)


def agent(
    name: str,
    *,
    version: int,
    rubric: Rubric,
    skills: Sequence[Skill] = (),
    verifiers: Sequence[Verifier] = (),
    tiers: Sequence[Tier] = (Tier.STANDARD,),
) -> Callable[[type[A]], type[A]]:
    """Register the class below as an agent under a name and a version. Raises AgentAlreadyRegistered."""

    def register(cls: type[A]) -> type[A]:
        registry.add(
            AgentSpec(
                name=name,
                version=version,
                build=cls,
                skills=tuple(skills),
                rubric=rubric,
                verifiers=tuple(verifiers),
                tiers=tuple(tiers),
            )
        )
        return cls

    return register
