"""One execution of an agent, as the agent sees it: steps, model calls, skills, progress; its waits are in waiting.py."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from agents.domain.contract import AgentSpec, Skill
from agents.domain.errors import SkillCalledWhileStreaming, SkillNotDeclared
from agents.domain.steps import Journal, Place, Steps
from agents.domain.values import Json, Message, Piece, Progress, Reply, Terms, Tier, Usage
from agents.domain.waiting import Waiting
from agents.domain.waits import Waits


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAsk:
    """What an agent asks of a model: the tiers it may be answered by, best first."""

    messages: tuple[Message, ...]
    tiers: tuple[Tier, ...]
    max_tokens: int


class Models(Protocol):
    """The way to a model: through quota, budget and ledger."""

    def stream(self, ask: ModelAsk) -> AsyncGenerator[Piece | Reply, None]:
        """Ask for an answer as it comes; it ends with one Reply."""

    async def whole(self, ask: ModelAsk) -> Reply:
        """Ask for an answer that nobody reads before its end."""

    def remaining_usd(self) -> float: ...

    def remaining_tokens(self) -> int: ...

    def remaining_calls(self) -> int: ...


class Watcher(Protocol):
    """Who is told how far a run is."""

    async def progress(self, progress: Progress) -> None: ...


class Run(Waiting):
    """What an agent is handed. It says nothing of how the agent was invoked.

    `key` is stable over all attempts of this run: skills derive idempotency keys from it.
    """

    def __init__(
        self, *, key: str, terms: Terms, spec: AgentSpec, journal: Journal, models: Models, watcher: Watcher, waits: Waits
    ) -> None:
        super().__init__(Steps(journal), waits)
        self.key = key
        self.terms = terms
        self._spec = spec
        self._models = models
        self._watcher = watcher
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
    def remaining_tokens(self) -> int:
        return self._models.remaining_tokens()

    @property
    def remaining_calls(self) -> int:
        """Return how many model calls it may still make."""
        return self._models.remaining_calls()

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.terms.metadata

    async def step(self, name: str, fn: Callable[..., Awaitable[Json]], /, **arguments: Json) -> Any:
        """Run `fn(**arguments)` once for the whole life of the run and return its JSON result.

        On resume the stored result comes back and `fn` does not run. Raises
        ReplayDiverged if the journal holds other arguments for this step.
        """
        return await self._steps.once(name, fn, arguments)

    async def use(self, skill: Skill, arguments: Mapping[str, Json]) -> Any:
        """Call a declared skill as one step."""
        if self._is_composing:
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

    async def _hear_model(self, name: str, ask: ModelAsk) -> AsyncGenerator[str, None]:
        """Yield the text as it streams."""
        place = self._enter_model(name, ask)
        if place.found:
            yield _reply(place.found.result).text
            return
        async with aclosing(self._models.stream(ask)) as parts:
            async for part in parts:
                if isinstance(part, Reply):
                    await self._keep_reply(place, part)
                else:
                    yield part.text

    async def _ask_model(self, name: str, ask: ModelAsk) -> Reply:
        place = self._enter_model(name, ask)
        if place.found:
            return _reply(place.found.result)
        reply = await self._models.whole(ask)
        await self._keep_reply(place, reply)
        return reply

    def _enter_model(self, name: str, ask: ModelAsk) -> Place:
        return self._steps.enter(name, {"messages": [[m.role, m.text] for m in ask.messages], "max_tokens": ask.max_tokens})

    async def _keep_reply(self, place: Place, reply: Reply) -> None:
        self.usage += reply.usage
        self.models_used.append(reply.model)
        await self._steps.keep_plain(place, reply.as_json())


class ModelStep:
    """One model call: awaitable for the whole Reply, or an async iterator over its text."""

    def __init__(self, run: Run, name: str, ask: ModelAsk) -> None:
        self._run = run
        self._name = name
        self._ask = ask

    def __await__(self) -> Generator[Any, None, Reply]:
        return self._run._ask_model(self._name, self._ask).__await__()  # noqa: SLF001  (one object in two halves)

    def __aiter__(self) -> AsyncGenerator[str, None]:  # noqa: PYI058  (whoever stops early may close it)
        return self._run._hear_model(self._name, self._ask)  # noqa: SLF001


def _reply(stored: Mapping[str, Json]) -> Reply:
    return Reply(**{**stored, "usage": Usage(**stored["usage"])})
