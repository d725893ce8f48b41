"""An agent that does what its input says, under one endpoint of each mode; what it did is counted by name."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from psycopg.errors import AdminShutdown

from agents.domain.contract import Criterion, Finding, Rubric, agent
from agents.domain.errors import AgentError, ProviderUnavailable
from agents.domain.run import Run
from agents.domain.values import Delta, Message, Output, Plan, Request, Role, Verification
from invocation.domain.endpoints import Endpoint, EscapeHatch, Estimate, Limits
from invocation.domain.modes import Mode, WaitKind

FACTS: dict[str, Any] = {}
"""What a plan's facts hold besides, where the input asks for it: what no JSON of an input can hold."""
DONE: Counter[str] = Counter()
"""How often each step really ran, and each row or run began."""
GATES: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
"""What a run waits for, by name; a test opens it."""
AGREEMENT: Mapping[str, Any] = MappingProxyType({"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]})
RUBRIC = Rubric(name="trial", version=1, criteria=(Criterion(name="there", question="Is it there?", weight=1.0, measure=lambda _: 1.0),))


class Declined(AgentError):
    """The agent was told to decline."""

    code = "declined"


def forget() -> None:
    DONE.clear()
    GATES.clear()


async def count(*, what: str) -> int:
    DONE[what] += 1
    return DONE[what]


def fail(kind: str) -> None:
    match kind:
        case "provider":
            raise ProviderUnavailable("The trial's provider is away.")
        case "decline":
            raise Declined("The trial declines.")
        case "time":
            raise TimeoutError("a call of the trial's own took too long")
        case "nul":
            raise RuntimeError("a\0b")
        case "crash":
            raise RuntimeError("the trial crashed")
        case "database":
            raise AdminShutdown("the trial's database is restarted")


def no_curses(text: str, plan: Plan) -> Finding | None:
    """Object to a curse; `verifier` in the input makes it fail instead."""
    fail(plan.facts["given"].get("verifier", ""))
    return Finding("no_curses", "The answer holds a curse.") if "curse" in text else None


@agent("trial", version=1, rubric=RUBRIC, verifiers=(no_curses,))
class Trial:
    """`steps` are run and counted, `ask` asks, `wait` waits for a gate, `fails` fails, `says` is streamed, `model` is asked."""

    async def plan(self, run: Run, request: Request) -> Plan:
        given = request.input
        DONE["runs"] += 1
        counted = [await run.step(name, count, what=name) for name in given.get("steps", ())]
        if "progress" in given:
            await run.progress(done=1, of=2, note=given["progress"])
        answer = await run.ask("agreed", "Agreed?", schema=AGREEMENT) if given.get("ask") else None
        if "wait" in given:
            await GATES[given["wait"]].wait()
        fail(given.get("fails", ""))
        if given.get("fails_once") and DONE["runs"] == 1:
            fail(given["fails_once"])
        facts = {"counted": counted, "answer": answer, "history": [exchange.answered for exchange in request.history]}
        verification = Verification(given["verification"]) if "verification" in given else None
        facts |= {"given": dict(given), **(FACTS if given.get("facts") else {})}
        return Plan(summary="the trial", facts=facts, verification=verification)

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        given, said = plan.facts["given"], []
        for number, word in enumerate(given.get("says", ["done"])):
            if number and "pause" in given:
                await GATES[given["pause"]].wait()
            said.append(word)
            yield Delta(word)
        if given.get("model"):
            async for piece in run.model([Message(Role.USER, given["model"])]):
                said.append(piece)
                yield Delta(piece)
        fail(given.get("fails_late", ""))
        facts = {name: plan.facts[name] for name in ("counted", "answer", "history")}
        yield Output({"text": "".join(said), **facts, **given.get("adds", {})})


INPUT: Mapping[str, Any] = MappingProxyType(
    {
        "type": "object",
        "properties": {"text": {"type": "string", "maxLength": 4_000}, "items": {"type": "array"}, "seconds": {"type": "number"}},
    }
)
OUTPUT: Mapping[str, Any] = MappingProxyType(
    {
        "type": "object",
        "properties": {"text": {"type": "string"}, "counted": {"type": "array"}, "answer": {}, "history": {"type": "array"}},
        "required": ["text"],
        "additionalProperties": False,
    }
)


def estimate(value: Mapping[str, Any]) -> Estimate:
    text = value.get("text", "")
    return Estimate(duration=timedelta(seconds=value.get("seconds", 1)), tokens=len(text), items=len(value.get("items", "1")))


def trial(name: str, mode: Mode, **terms: Any) -> Endpoint:
    return Endpoint(
        name=name,
        version=1,
        agent="trial",
        agent_version=1,
        mode=mode,
        input_schema=dict(INPUT),
        output_schema=dict(OUTPUT),
        estimate=estimate,
        **{"limits": Limits(items=1_000, tokens=1_000), **terms},
    )


ENDPOINTS = (
    trial("trial-chat", Mode.STREAMING_SYNC, escape=EscapeHatch(text="Later, then.", offer="trial-job@1"), sibling="trial-job@1"),
    trial("trial-brief", Mode.STREAMING_SYNC, whole=timedelta(milliseconds=300), escape=EscapeHatch(text="Later, then.")),
    trial("trial-voice", Mode.STREAMING_SYNC, first_delta=timedelta(milliseconds=700), whole=timedelta(seconds=5)),
    trial("trial-sure", Mode.STREAMING_SYNC, floor=Verification.BUFFER),
    trial("trial-job", Mode.ASYNC_QUEUE, may_wait=frozenset({WaitKind.PERSON})),
    trial("trial-mute", Mode.ASYNC_QUEUE),
    trial("trial-batch", Mode.BATCH_WINDOW),
    trial("trial-cycle", Mode.SCHEDULED_TRIGGER),
)
