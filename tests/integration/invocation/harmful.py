"""An agent that may end its own process or hang, as its input says; declared for worker processes of the tests by the environment."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace

from agents.domain.contract import agent
from agents.domain.run import Run
from agents.domain.values import Delta, Output, Plan, Request
from invocation.domain.modes import Mode
from tests.integration.invocation.trial import RUBRIC, trial


@agent("harmful", version=1, rubric=RUBRIC)
class Harmful:
    """`takes_s` is how long it awaits before; `kills` ends the process at once, as a crash in native code does."""

    async def plan(self, run: Run, request: Request) -> Plan:
        await asyncio.sleep(request.input.get("takes_s", 0))
        if request.input.get("kills"):
            os.kill(os.getpid(), signal.SIGKILL)
        return Plan(summary="survived", facts={})

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        yield Output({"text": str(os.getpid())})


ENDPOINTS = (
    replace(trial("harmful-job", Mode.ASYNC_QUEUE), agent="harmful"),
    replace(trial("harmful-batch", Mode.BATCH_WINDOW), agent="harmful"),
)
