"""The agent that chats are measured with: it passes on what the offline model says, and nothing else; the model's own pace beside it."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from agents.domain.contract import Criterion, Rubric, agent
from agents.domain.run import Run
from agents.domain.values import Delta, Message, ModelRequest, Output, Plan, Request, Role
from agents.gateways.providers.lengths import OFFLINE_STANDARD
from agents.gateways.providers.pacing import Pacing, Tempo
from agents.gateways.providers.simulator import seed_of
from invocation.domain.endpoints import Endpoint, Estimate
from invocation.domain.modes import Mode

TALKER = "talker@1"
TOKENS = 69
"""The offline model says 51 words within these: the first, and fifty after it."""
CAPACITY = 1_024
"""Calls at once up to which the offline model keeps its pace."""
RUBRIC = Rubric(name="talker", version=1, criteria=(Criterion(name="there", question="Is it there?", weight=1.0, measure=lambda _: 1.0),))
FACTS = "\n".join(
    [
        "TASK: answer",
        "FACTS:",
        '{"title":"The Last Lighthouse","author":"A. Benchmark","year":2005,"genres":["drama","mystery"],"volumes":17}',
        '{"title":"House by House","author":"B. Benchmark","year":2011,"genres":["comedy","romance"],"volumes":9}',
        '{"title":"The Sea Takes the Town","author":"C. Benchmark","year":2019,"genres":["fantasy"],"volumes":4}',
    ]
)
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}


def messages(text: str) -> tuple[Message, ...]:
    return (Message(Role.USER, f"{text}\n{FACTS}"),)


def cuts() -> Path:
    """Return the file that says of each turn that was cut when its model call had ended."""
    return Path(os.environ["GEARBOX_HOME"]) / "cuts.txt"


def note_cut(turn_id: str) -> None:
    with cuts().open("a") as file:
        file.write(f"{turn_id} {time.time()}\n")


def own_first_token_s(text: str) -> float:
    """Return after how long the model says its first word to this question, by its pace: about 0.2 s."""
    request = ModelRequest(model=OFFLINE_STANDARD, messages=messages(text), max_tokens=TOKENS)
    return Tempo(Pacing(capacity=CAPACITY), seed=seed_of(request), in_flight=lambda: 1).advance()


@agent("talker", version=1, rubric=RUBRIC)
class Talker:
    """Asks the model what it was asked."""

    async def plan(self, run: Run, request: Request) -> Plan:
        return Plan(summary="talk", facts={"text": request.input["text"]})

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        said: list[str] = []
        try:
            async for piece in run.model(messages(plan.facts["text"]), max_tokens=TOKENS):
                said.append(piece)
                yield Delta(piece)
        except BaseException:
            note_cut(run.key)
            raise
        yield Output({"text": "".join(said)})


ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        name="talker",
        version=1,
        agent="talker",
        agent_version=1,
        mode=Mode.STREAMING_SYNC,
        summary="For benchmarks.",
        input_schema=SCHEMA,
        output_schema=SCHEMA,
        estimate=lambda _: Estimate(duration=timedelta(seconds=1), tokens=200),
    ),
)
