"""The waiting half of a run: ask, wait for a callback, sleep, spawn and join; each wait is one journaled step."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar, overload

from agents.domain.errors import SkillCalledWhileStreaming, WaitMisused, WaitTimedOut
from agents.domain.steps import Place, StepKey, Steps
from agents.domain.values import Json
from agents.domain.waits import Callback, Child, Outcome, Question, Spawn, Waits

T = TypeVar("T")
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")


class Waiting:
    """What a run waits with. While it waits it holds no slot; it goes on by replay, maybe elsewhere, with all steps kept.

    Every wait raises WaitUnavailable where this invocation cannot wait for that.
    """

    def __init__(self, steps: Steps, waits: Waits) -> None:
        self._steps = steps
        self._waits = waits
        self._keys: set[str] = set()
        self._callbacks: dict[str, Callback] = {}
        self._is_composing = False

    def lock_skills(self) -> None:
        """End the planning phase; from here on a skill or a wait raises SkillCalledWhileStreaming."""
        self._is_composing = True

    async def ask(self, key: str, sentence: str, *, schema: Mapping[str, Json], timeout: timedelta | None = None) -> Any:  # noqa: ASYNC109  (it outlives the process)
        """Ask a person and return the answer, which fits `schema`. Raises WaitTimedOut after `timeout` without one."""
        answers = await self.ask_all([Question(key=key, sentence=sentence, schema=schema)], timeout=timeout)
        return answers[key]

    async def ask_all(self, questions: Sequence[Question], *, timeout: timedelta | None = None) -> dict[str, Any]:  # noqa: ASYNC109
        """Ask several questions at once and return the answers by key, once all are there. Raises WaitTimedOut."""
        self._must_plan()
        if not questions:
            raise WaitMisused("ask_all() was given no question.")
        for question in questions:
            self._take_key(question.key)
        places = {each.key: self._steps.enter(f"ask:{each.key}", {"sentence": each.sentence}) for each in questions}
        found = {key: place.found.result for key, place in places.items() if place.found}
        missing = [each for each in questions if each.key not in found]
        if missing:
            first = places[questions[0].key].key
            answers = await self._by(first, timeout, lambda until: self._waits.answers(missing, until=until))
            found |= {each.key: await self._steps.keep(places[each.key], answers[each.key]) for each in missing}
        return {each.key: found[each.key] for each in questions}

    async def callback(self, key: str) -> Callback:
        """Return a one-time address, to be handed to whoever will call it; the same on every attempt."""
        self._must_plan()
        if key not in self._callbacks:
            self._take_key(key)
            self._callbacks[key] = Callback(key, await self._waits.open_callback(key))
        return self._callbacks[key]

    async def wait_for(self, event: str | Callback, *, timeout: timedelta | None = None) -> Any:  # noqa: ASYNC109
        """Return the JSON that the callback brings; waited for by name, the address is shown with the job. Raises WaitTimedOut."""
        self._must_plan()
        key = event if isinstance(event, str) else event.key
        await self.callback(key)
        place = self._steps.enter(f"wait_for:{key}", {})
        if place.key.occurrence > 1:
            raise WaitMisused(f"The callback {key!r} was waited for before in this run: a callback is called once.")
        if place.found:
            return place.found.result
        value = await self._by(place.key, timeout, lambda until: self._waits.called(key, until=until))
        return await self._steps.keep(place, value)

    async def sleep_until(self, at: datetime) -> None:
        """Return once this moment has come."""
        self._must_plan()
        if at.tzinfo is None:
            raise WaitMisused(f"{at.isoformat()} has no time zone: nobody knows when that is.")
        await self._slept(self._steps.enter("sleep", {"until": at.isoformat()}), at)

    async def sleep(self, length: timedelta) -> None:
        """Return after this length, counted from the first time that the run came here."""
        self._must_plan()
        place = self._steps.enter("sleep", {"seconds": length.total_seconds()})
        if not place.found:
            await self._slept(place, await self._deadline(place.key, length))

    @overload
    async def spawn(
        self,
        endpoint: str,
        inputs: Mapping[str, Json],
        *,
        cost_usd: float | None = None,
        tokens: int | None = None,
        model_calls: int | None = None,
    ) -> Child: ...

    @overload
    async def spawn(
        self,
        endpoint: str,
        inputs: Sequence[Mapping[str, Json]],
        *,
        cost_usd: float | None = None,
        tokens: int | None = None,
        model_calls: int | None = None,
    ) -> list[Child]: ...

    async def spawn(
        self,
        endpoint: str,
        inputs: Mapping[str, Json] | Sequence[Mapping[str, Json]],
        *,
        cost_usd: float | None = None,
        tokens: int | None = None,
        model_calls: int | None = None,
    ) -> Child | list[Child]:
        """Start another endpoint on one input, or on each of several; they run beside this one.

        Each may spend `cost_usd`, `tokens` and `model_calls`, which this run's budget lends it; of what
        is left out, an equal share of half of what is left. What a child does not spend comes back when
        it ends. Raises FanOutExceeded, BudgetExceeded or ChildRefused, and has then started none.
        """
        self._must_plan()
        given = (inputs,) if isinstance(inputs, Mapping) else tuple(inputs)
        if not given:
            raise WaitMisused("spawn() was given no input.")
        place = self._steps.enter(f"spawn:{endpoint}", {"inputs": list(given)})
        label = f"{place.key.name}#{place.key.occurrence}"
        spawn = Spawn(place=label, endpoint=endpoint, inputs=given, cost_usd=cost_usd, tokens=tokens, model_calls=model_calls)
        ids = place.found.result if place.found else await self._spawned(place, spawn)
        children = [Child(each, endpoint) for each in ids]
        return children[0] if isinstance(inputs, Mapping) else children

    async def join(self, children: Sequence[Child], *, timeout: timedelta | None = None) -> list[Outcome]:  # noqa: ASYNC109
        """Return how each child ended, in the order given: values, no exceptions; `Outcome.value()` raises. Raises WaitTimedOut."""
        self._must_plan()
        if not children:
            return []
        place = self._steps.enter("join", {"children": [child.id for child in children]})
        if place.found:
            return list(await self._waits.joined(children, until=None))
        outcomes = await self._by(place.key, timeout, lambda until: self._waits.joined(children, until=until))
        await self._steps.keep(place, {outcome.child.id: "completed" if outcome.is_completed else "failed" for outcome in outcomes})
        return list(outcomes)

    async def _spawned(self, place: Place, spawn: Spawn) -> Any:
        return await self._steps.keep(place, list(await self._waits.spawn(spawn)))

    async def _slept(self, place: Place, until: datetime) -> None:
        if not place.found:
            await self._waits.reached(until)
            await self._steps.keep(place, until.isoformat())

    async def _by(self, key: StepKey, timeout: timedelta | None, look: Callable[[datetime | None], Awaitable[T]]) -> T:  # noqa: ASYNC109
        """Return what is looked for; that it was not there in time is kept, so that every replay misses it, too."""
        late, sentence = StepKey(f"late:{key.name}", key.occurrence), f"Nothing came for {key.name} within {timeout}."
        if self._steps.noted(late):
            raise WaitTimedOut(sentence)
        if timeout is not None and timeout <= timedelta():
            raise WaitMisused(f"A timeout of {timeout} is over before it begins.")
        until = None if timeout is None else await self._deadline(key, timeout)
        try:
            return await look(until)
        except WaitTimedOut:
            await self._steps.note(late, sentence)
            raise WaitTimedOut(sentence) from None

    async def _deadline(self, key: StepKey, length: timedelta) -> datetime:
        """Return when the wait of this step ends, as the first attempt that came here has set it."""
        until = StepKey(f"until:{key.name}", key.occurrence)
        found = self._steps.noted(until)
        if found is None:
            found = (self._waits.now() + length).isoformat()
            await self._steps.note(until, found)
        return datetime.fromisoformat(found)

    def _take_key(self, key: str) -> None:
        if not KEY.fullmatch(key):
            raise WaitMisused(f"{key!r} is no key: take 1 to 60 letters, digits, '_', '.' and '-'.")
        if key in self._keys:
            raise WaitMisused(f"The key {key!r} was used before in this run: each question and each callback has its own.")
        self._keys.add(key)

    def _must_plan(self) -> None:
        if self._is_composing:
            raise SkillCalledWhileStreaming("A run waits in plan() only: the plan is final before the stream starts.")
