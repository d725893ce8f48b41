"""An agent that waits as its input says, under endpoints that may wait for everything; what it did is counted by name."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from agents.domain.contract import Rubric, agent, skill
from agents.domain.errors import AgentError, PlatformError, WaitTimedOut
from agents.domain.run import Run
from agents.domain.values import Delta, Json, Message, Output, Plan, Request, Role
from agents.domain.waits import Outcome, Question
from invocation.domain.endpoints import Endpoint, Estimate, Limits
from invocation.domain.modes import EVERY_WAIT, Mode

DONE: Counter[str] = Counter()
GATES: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
HANDED_OUT: list[str] = []
"""The callback addresses that the skill gave away."""
BEHAVIOUR: dict[str, Any] = {}
"""What the agent's code is now; a test changes it as a deploy does."""


class Declined(AgentError):
    """The agent was told to decline."""

    code = "declined"


def forget() -> None:
    DONE.clear()
    GATES.clear()
    HANDED_OUT.clear()
    BEHAVIOUR.clear()


@skill
async def hand_out(run: Run, *, url: str) -> Json:
    """Tell the outside where to call."""
    HANDED_OUT.append(url)
    return None


async def count(*, what: str) -> int:
    DONE[what] += 1
    return DONE[what]


async def look(*, pages: int) -> Json:
    """Return what a database would keep in another order and in other numbers."""
    DONE["look"] += 1
    volumes: Any = {10: "last", 2: "second"}
    return {
        "title": "Akira",
        "id": 7,
        "volumes": volumes,
        "aa": {"zz": 1, "b": [{"y": 1, "aa": 2}]},
        "sold": 1e16,
        "left": -0.0,
        "pages": "x" * pages,
    }


@agent("family", version=1, rubric=Rubric(name="family", version=1, criteria=()), skills=[hand_out])
class Family:
    """`do` is a list of acts, each an object with one key; what each gave is the output's `gave`."""

    async def plan(self, run: Run, request: Request) -> Plan:
        DONE["runs"] += 1
        gave = []
        for act in request.input.get("do", ()):
            for name, terms in act.items():
                gave.append(await getattr(self, name)(run, terms))
        return Plan(summary="the family", facts={"gave": gave})

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        yield Delta("done")
        yield Output({"text": "done", "gave": plan.facts["gave"]})

    async def step(self, run: Run, name: str) -> Any:
        return await run.step(name, count, what=BEHAVIOUR.get(name, name))

    async def model(self, run: Run, text: str) -> str:
        return (await run.model([Message(Role.USER, text)], max_tokens=64)).text

    async def prompt(self, run: Run, pages: int) -> str:
        """Ask a model of what a step found, as it came."""
        found = await run.step("look", look, pages=pages)
        told = {name: value for name, value in found.items() if name != "pages"}
        return (await run.model([Message(Role.USER, json.dumps(told))], max_tokens=64)).text

    async def ask(self, run: Run, terms: Mapping[str, Any]) -> Any:
        questions = [Question(key=key, sentence=f"{key}?", schema=schema) for key, schema in terms["questions"].items()]
        return await _or_late(run.ask_all(questions, timeout=_length(terms)))

    async def callback(self, run: Run, terms: Mapping[str, Any]) -> Any:
        if not terms.get("by_name"):
            callback = await run.callback(terms["key"])
            await hand_out(run, url=callback.url)
        if "gate" in terms:
            await GATES[terms["gate"]].wait()
        return await _or_late(run.wait_for(terms["key"], timeout=_length(terms)))

    async def sleep(self, run: Run, seconds: float) -> None:
        await run.sleep(timedelta(seconds=seconds))

    async def spawn(self, run: Run, terms: Mapping[str, Any]) -> list[str]:
        self.children = await run.spawn(terms.get("endpoint", "leaf@1"), terms["inputs"], cost_usd=terms.get("cost_usd"))
        DONE["spawned"] += 1
        return [child.id for child in self.children]

    async def hurried(self, run: Run, terms: Mapping[str, Any]) -> None:
        """Spawn, and go on without the answer."""
        try:
            async with asyncio.timeout(terms["within_s"]):
                await self.spawn(run, terms)
        except TimeoutError:
            DONE["hurried"] += 1

    async def refused(self, run: Run, terms: Mapping[str, Any]) -> str:
        try:
            await self.spawn(run, terms)
        except PlatformError as refusal:
            return refusal.code
        return "made"

    async def join(self, run: Run, terms: Mapping[str, Any]) -> Any:
        found = await _or_late(run.join(self.children, timeout=_length(terms)))
        return found if isinstance(found, str) else [_told(outcome) for outcome in found]

    async def left(self, run: Run, _terms: Any) -> float:
        return run.remaining_usd

    async def wait(self, run: Run, gate: str) -> None:
        await GATES[gate].wait()

    async def long(self, run: Run, size: int) -> str:
        return "x" * size

    async def decline(self, run: Run, sentence: str) -> None:
        raise Declined(sentence)


async def _or_late(wait: Any) -> Any:
    try:
        return await wait
    except WaitTimedOut:
        return "late"


def _length(terms: Mapping[str, Any]) -> timedelta | None:
    return timedelta(seconds=terms["timeout_s"]) if "timeout_s" in terms else None


def _told(outcome: Outcome) -> Any:
    return dict(outcome.output) if outcome.output is not None else dict(outcome.error or {})


INPUT: Mapping[str, Any] = MappingProxyType({"type": "object", "properties": {"do": {"type": "array"}}, "additionalProperties": False})
OUTPUT: Mapping[str, Any] = MappingProxyType({"type": "object"})


def family(name: str, mode: Mode = Mode.ASYNC_QUEUE, **terms: Any) -> Endpoint:
    return Endpoint(
        name=name,
        version=1,
        agent="family",
        agent_version=1,
        mode=mode,
        input_schema=dict(INPUT),
        output_schema=dict(OUTPUT),
        estimate=lambda _: Estimate(duration=timedelta(seconds=1), tokens=1),
        limits=Limits(items=1_000, tokens=1_000),
        **terms,
    )


ENDPOINTS = (
    family("family", may_wait=frozenset(EVERY_WAIT)),
    family("leaf", may_wait=frozenset(EVERY_WAIT)),
    family("family-mute"),
    family("family-chat", Mode.STREAMING_SYNC),
    family("family-cycle", Mode.SCHEDULED_TRIGGER, may_wait=frozenset(EVERY_WAIT)),
)
