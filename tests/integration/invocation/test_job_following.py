"""A job's history, followed: to its end whatever a crash of the database took back meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from invocation.domain.jobs import JobState, Move
from invocation.gateways.database import off_loop
from invocation.gateways.streams import Event
from invocation.models import Job, JobEvent
from invocation.services import lifecycle, resuming
from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.rows import NOW, a_job

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_end_at_a_place_that_was_told_already_ends_the_stream(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What an admission told is taken back by a crash before it reached the disk; the next move has its seq."""
    monkeypatch.setattr(resuming, "HEARTBEAT_S", 0.2)
    job = a_job()
    lifecycle.take(Move.ADMIT, [lifecycle.of(job.pk)], now=NOW)

    def taken_back_and_cancelled() -> None:
        JobEvent.objects.filter(job=job, type="job.dispatched").delete()
        Job.objects.filter(pk=job.pk).update(state=JobState.QUEUED, event_seq=1, dispatched_at=None)
        lifecycle.take(Move.CANCEL, [lifecycle.of(job.pk, reason="not wanted")], now=NOW)

    told = on_loop(_told(job, then=taken_back_and_cancelled))

    assert [event.type for event in told if event.type != "heartbeat"] == ["job.queued", "job.dispatched"]
    assert Job.objects.get(pk=job.pk).state == "cancelled"


async def _told(job: Job, *, then: Callable[[], None]) -> list[Event]:
    told: list[Event] = []
    async with asyncio.timeout(20), aclosing(resuming.follow_job(job.pk, after=0)) as events:  # type: ignore[type-var]
        async for event in events:
            told.append(event)
            if event.type == "job.dispatched":
                await off_loop(then)
    return told
