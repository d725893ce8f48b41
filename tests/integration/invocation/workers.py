"""Worker processes as the tests run them: real engines on the test's own loop, and the dispatcher's part beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from config.celery import app
from invocation.domain.jobs import JobState, Move
from invocation.domain.turns import TurnState
from invocation.gateways.announcing import Announcer
from invocation.gateways.database import off_loop
from invocation.models import Job, Turn
from invocation.services import lifecycle
from invocation.services.engine import JobEngine
from invocation.services.turn_engine import TurnEngine
from tests.integration.invocation.conftest import until
from tests.integration.invocation.rows import a_process

ANNOUNCER = Announcer("test")
app.set_default()


def wakes(job_ids: list[UUID]) -> list[tuple[UUID, int]]:
    """Admit queued jobs and return what their message would say."""
    given = [lifecycle.of(job_id) for job_id in job_ids]
    moved = lifecycle.move(Move.ADMIT, given, now=datetime.now(UTC))
    return list(Job.objects.filter(pk__in=moved).values_list("pk", "attempt"))


@asynccontextmanager
async def job_worker() -> AsyncIterator[JobEngine]:
    """A worker of jobs that lives as long as the block, and then drains without patience."""
    process = await off_loop(a_process, now=datetime.now(UTC))
    engine = JobEngine(owner=process.pk, announcer=ANNOUNCER, priority_class="p1")
    try:
        yield engine
    finally:
        await engine.drain(timedelta())


async def run(engine: JobEngine, *job_ids: UUID) -> None:
    """Admit these jobs, hand their message to the engine and return when it holds nothing any more."""
    engine.accept(await off_loop(wakes, list(job_ids)))
    await at_rest(engine)


async def at_rest(engine: JobEngine | TurnEngine) -> None:
    await until(lambda: engine.in_flight == 0)


async def state_of(job_id: UUID) -> JobState:
    return JobState(await off_loop(lambda: Job.objects.values_list("state", flat=True).get(pk=job_id)))


@asynccontextmanager
async def turn_worker(owner: UUID | None = None) -> AsyncIterator[TurnEngine]:
    """A worker of turns that lives as long as the block."""
    engine = TurnEngine(owner=owner or uuid4(), announcer=ANNOUNCER)
    try:
        yield engine
    finally:
        await engine.drain(timedelta(seconds=10))
        await engine._writer.aclose()


async def turn_state(turn_id: UUID) -> TurnState:
    return TurnState(await off_loop(lambda: Turn.objects.values_list("state", flat=True).get(pk=turn_id)))
