"""${class_name}: looks something up, then writes about it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from agents.domain.contract import agent
from agents.domain.errors import AgentError
from agents.domain.run import Run
from agents.domain.values import Delta, Message, Output, Plan, Request, Role
from ${name}.rubric import RUBRIC
from ${name}.skills import look_up


class NothingAsked(AgentError):
    """The input has no text."""

    code = "nothing_asked"
    remedy = "Give `text`."


@agent("${name}", version=1, skills=[look_up], rubric=RUBRIC)
class ${class_name}:
    """Answers `{"text": ...}` with `{"text": ...}`."""

    async def plan(self, run: Run, request: Request) -> Plan:
        """Decide first: skills run here and nowhere else. Raises NothingAsked."""
        text = request.input.get("text")
        if not text:
            raise NothingAsked("The input has no text.")
        known = await look_up(run, text=text)
        return Plan(summary=f"Write about {text}.", facts={"asked": text, "known": known})

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        """Write from the plan alone: pieces as they come, then one Output."""
        facts = "\n".join(json.dumps(fact) for fact in plan.facts["known"])
        pieces: list[str] = []
        async for piece in run.model([Message(Role.USER, f"{plan.facts['asked']}\nTASK: answer\nFACTS:\n{facts}")]):
            pieces.append(piece)
            yield Delta(piece)
        yield Output({"text": "".join(pieces)})
