"""Rows that ask a model once: the agent and its batch endpoint, and the plain loop that does the same without us."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from agents.domain.contract import Criterion, Rubric, agent
from agents.domain.run import Run
from agents.domain.values import Delta, Message, ModelRequest, Output, Plan, Reply, Request, Role
from agents.gateways.providers.pacing import Pacing
from agents.gateways.providers.simulator import OfflineSimulator
from invocation.domain.endpoints import Endpoint, Estimate, Limits
from invocation.domain.modes import Mode

ENDPOINT = "asking@1"
MODEL = "gearbox-offline-standard"
MOST_TOKENS = 4
ROW_MS = 50
TALLY = "BENCHMARK_TALLY"
"""The variable that names a file; each answer adds a byte to it, which outlives the process that heard it."""
RUBRIC = Rubric(name="asking", version=1, criteria=(Criterion(name="there", question="Is it there?", weight=1.0, measure=lambda _: 1.0),))


_tally = os.open(os.environ[TALLY], os.O_WRONLY | os.O_APPEND | os.O_CREAT) if TALLY in os.environ else None


def _tell() -> None:
    if _tally is not None:
        os.write(_tally, b".")


@agent("asking", version=1, rubric=RUBRIC)
class Asking:
    """Asks a model once about its row."""

    async def plan(self, run: Run, request: Request) -> Plan:
        return Plan(summary="one question", facts={"title": request.input["title"]})

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        reply = await run.model([Message(Role.USER, plan.facts["title"])], max_tokens=MOST_TOKENS)
        _tell()
        yield Delta(reply.text)
        yield Output({"text": reply.text})


ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        name="asking",
        version=1,
        agent="asking",
        agent_version=1,
        mode=Mode.BATCH_WINDOW,
        summary="For benchmarks.",
        input_schema={"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]},
        output_schema={"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        estimate=lambda _: Estimate(duration=timedelta(milliseconds=ROW_MS), tokens=8),
        limits=Limits(items=5_000_000, tokens=1_000),
    ),
)


def lines(count: int) -> list[dict[str, str]]:
    return [{"row_id": f"row-{number:07d}", "title": f"Title {number} of the week"} for number in range(count)]


def written(path: str, rows: int) -> None:
    """Write a manifest of so many rows."""
    Path(path).write_text("".join(json.dumps(line) + "\n" for line in lines(rows)))


def plain(*, manifest: str, output: str, at_once: int) -> dict[str, float]:
    """Ask for every row with plain asyncio, so many at once, and write one Parquet file; return the seconds and the CPU seconds."""
    began, cpu = time.monotonic(), time.process_time()
    asyncio.run(_plain(Path(manifest), Path(output), at_once))
    return {"s": time.monotonic() - began, "cpu_s": time.process_time() - cpu}


async def _plain(manifest: Path, output: Path, at_once: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pacing = Pacing(first_token=timedelta(milliseconds=ROW_MS), per_token=timedelta(milliseconds=1), capacity=100_000)
    simulator, slots = OfflineSimulator(pacing=pacing), asyncio.Semaphore(at_once)

    async def row(line: dict[str, str]) -> dict[str, Any]:
        async with slots:
            request = ModelRequest(model=MODEL, messages=(Message(Role.USER, line["title"]),), max_tokens=MOST_TOKENS)
            reply: Reply | None = None
            async with aclosing(simulator.stream(request)) as parts:
                async for part in parts:
                    reply = part if isinstance(part, Reply) else reply
            assert reply is not None
            tokens = {"input_tokens": reply.usage.input, "output_tokens": reply.usage.output}
            return {"row_id": line["row_id"], "input": json.dumps(line), "text": reply.text, **tokens}

    with manifest.open() as file:
        rows = await asyncio.gather(*(row(json.loads(line)) for line in file))
    pq.write_table(pa.Table.from_pylist(rows), output, compression="zstd")


ACTS: Mapping[str, Callable[..., Any]] = {"written": written, "plain": plain}
