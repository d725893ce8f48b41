"""One execution of an agent, as the agent sees it: steps, model calls, skills, progress and waits."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from agents.domain.contract import AgentSpec, Skill
from agents.domain.errors import ReplayDiverged, SkillCalledWhileStreaming, SkillNotDeclared
from agents.domain.values import Json, Message, Piece, Progress, Reply, Terms, Tier, Usage


@dataclass(frozen=True, slots=True)
class StepKey:
    """A step's place in the journal: its name and which time the name occurs."""

    name: str
    occurrence: int


@dataclass(frozen=True, slots=True)
class Step:
    """A finished step: its result as JSON, and a fingerprint of what it was called with."""

    result: Json
    fingerprint: str


class Journal(Protocol):
    """Finished steps of one run. `record` returns only after the step is kept."""

    def lookup(self, key: StepKey) -> Step | None: ...

    async def record(self, key: StepKey, step: Step) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAsk:
    """What an agent asks of a model: the tiers it may be answered by, best first."""

    messages: tuple[Message, ...]
    tiers: tuple[Tier, ...]
    max_tokens: int


class Models(Protocol):
    """The way to a model: through quota, budget and ledger. Ends with one Reply."""

    def stream(self, ask: ModelAsk) -> AsyncGenerator[Piece | Reply, None]: ...

    def remaining_usd(self) -> float: ...


class Watcher(Protocol):
    """Who is told how far a run is."""

    async def progress(self, progress: Progress) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question to a person: a key that is never used twice in a run, a sentence, and the answer's JSON schema."""

    key: str
    sentence: str
    schema: Mapping[str, Json]


class Waits(Protocol):
    """What a run may wait for. `answer` returns the stored answer, or parks the run by raising Parked."""

    def answer(self, question: Question) -> Json: ...


class Parked(BaseException):
    """The run gives its slot back and resumes by replay when the answer is there. Not an error: agents must not catch it."""

    def __init__(self, question: Question) -> None:
        super().__init__(question.key)
        self.question = question


class Run:
    """What an agent is handed. It says nothing of how the agent was invoked.

    `key` is stable over all attempts of this run: skills derive idempotency keys from it.
    """

    def __init__(
        self, *, key: str, terms: Terms, spec: AgentSpec, journal: Journal, models: Models, watcher: Watcher, waits: Waits
    ) -> None:
        self.key = key
        self.terms = terms
        self._spec = spec
        self._journal = journal
        self._models = models
        self._watcher = watcher
        self._waits = waits
        self._seen: Counter[str] = Counter()
        self._composing = False
        self.usage = Usage()
        self.models_used: list[str] = []

    @property
    def tenant(self) -> str:
        return self.terms.tenant

    @property
    def subject(self) -> str:
        return self.terms.subject

    @property
    def locale(self) -> str:
        return self.terms.locale

    @property
    def latency_budget_ms(self) -> int:
        return self.terms.latency_budget_ms

    @property
    def cost_cap_usd(self) -> float:
        return self.terms.cost_cap_usd

    @property
    def remaining_usd(self) -> float:
        return self._models.remaining_usd()

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.terms.metadata

    def lock_skills(self) -> None:
        """End the planning phase; from here on a skill raises SkillCalledWhileStreaming."""
        self._composing = True

    async def step(self, name: str, fn: Callable[..., Awaitable[Json]], /, **arguments: Json) -> Any:
        """Run `fn(**arguments)` once for the whole life of the run and return its JSON result.

        On resume the stored result comes back and `fn` does not run. Raises
        ReplayDiverged if the journal holds other arguments for this step.
        """
        key, found, fingerprint = self._enter(name, arguments)
        if found:
            return found.result
        result = _as_json(await fn(**arguments))
        await self._journal.record(key, Step(result, fingerprint))
        return result

    async def use(self, skill: Skill, arguments: Mapping[str, Json]) -> Any:
        """Call a declared skill as one step."""
        if self._composing:
            raise SkillCalledWhileStreaming(f"Skill {skill.name} was called in compose(): the plan is final before the stream starts.")
        if skill not in self._spec.skills:
            raise SkillNotDeclared(f"{self._spec.label} was not registered with skill {skill.name}.")

        async def body(**given: Json) -> Json:
            return await skill.body(self, **given)

        return await self.step(skill.name, body, **arguments)

    def effect_key(self, name: str) -> str:
        """Return the idempotency key for an effect of this run: the same on every attempt."""
        return f"{self.key}:{name}"

    def model(self, messages: Sequence[Message], *, name: str = "model", tiers: Sequence[Tier] = (), max_tokens: int = 512) -> ModelStep:
        """Ask a model: await it for the Reply, or iterate it for the text as it streams. One journaled step."""
        ask = ModelAsk(messages=tuple(messages), tiers=tuple(tiers) or self._spec.tiers, max_tokens=max_tokens)
        return ModelStep(self, name, ask)

    async def progress(self, *, done: int, of: int, note: str = "") -> None:
        """Tell whoever watches how far the run is."""
        await self._watcher.progress(Progress(done=done, of=of, note=note))

    async def ask(self, key: str, sentence: str, *, schema: Mapping[str, Json]) -> Any:
        """Ask a person and return the answer, which fits `schema`. The worker's slot is free meanwhile.

        Raises WaitUnavailable where this invocation cannot wait.
        """
        step_key, found, fingerprint = self._enter(f"ask:{key}", {"sentence": sentence})
        if found:
            return found.result
        answer = _as_json(self._waits.answer(Question(key=key, sentence=sentence, schema=schema)))
        await self._journal.record(step_key, Step(answer, fingerprint))
        return answer

    def _enter(self, name: str, arguments: Mapping[str, Json]) -> tuple[StepKey, Step | None, str]:
        self._seen[name] += 1
        key = StepKey(name, self._seen[name])
        fingerprint = _fingerprint(arguments)
        found = self._journal.lookup(key)
        if found and found.fingerprint != fingerprint:
            raise ReplayDiverged(f"Step {name} (occurrence {key.occurrence}) was called with other arguments than before.")
        return key, found, fingerprint

    async def _ask_model(self, name: str, ask: ModelAsk) -> AsyncGenerator[Piece | Reply, None]:
        key, found, fingerprint = self._enter(name, {"messages": [[m.role, m.text] for m in ask.messages], "max_tokens": ask.max_tokens})
        if found:
            reply = _reply(found.result)
            yield Piece(reply.text)
            yield reply
            return
        async with aclosing(self._models.stream(ask)) as parts:
            async for part in parts:
                if isinstance(part, Reply):
                    self.usage += part.usage
                    self.models_used.append(part.model)
                    await self._journal.record(key, Step(asdict(part), fingerprint))
                yield part


class ModelStep:
    """One model call: awaitable for the whole Reply, or an async iterator over its text."""

    def __init__(self, run: Run, name: str, ask: ModelAsk) -> None:
        self._run = run
        self._name = name
        self._ask = ask

    def __await__(self) -> Generator[Any, None, Reply]:
        return self._whole().__await__()

    async def __aiter__(self) -> AsyncGenerator[str, None]:
        async with aclosing(self._parts()) as parts:
            async for part in parts:
                if isinstance(part, Piece):
                    yield part.text

    def _parts(self) -> AsyncGenerator[Piece | Reply, None]:
        return self._run._ask_model(self._name, self._ask)  # noqa: SLF001  (one object in two halves)

    async def _whole(self) -> Reply:
        reply: Reply | None = None
        async with aclosing(self._parts()) as parts:
            async for part in parts:
                if isinstance(part, Reply):
                    reply = part
        if reply is None:
            raise AssertionError("a model stream ends with its Reply")
        return reply


def _reply(stored: Mapping[str, Json]) -> Reply:
    return Reply(**{**stored, "usage": Usage(**stored["usage"])})


def _as_json(value: Json) -> Json:
    """Return the value as it will look after a resume, so that a first run and a replay see the same."""
    return json.loads(json.dumps(value))


def _fingerprint(arguments: Mapping[str, Json]) -> str:
    return hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()[:16]
