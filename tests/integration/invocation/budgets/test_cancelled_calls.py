"""Calls that are cancelled before they are made: what was set aside for them is given back, wherever that was."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from invocation.domain.jobs import JobState
from invocation.gateways.database import off_loop
from invocation.gateways.presence import own_connection
from invocation.models import Job
from invocation.services.accounts import JobAccount
from quota.domain.budgets import Spending
from quota.domain.classes import PriorityClass
from quota.domain.days import day_of
from quota.domain.limits import UNKNOWN_MODEL
from quota.gateways import day_counts, windows
from quota.gateways.day_counts import Count
from tests.integration.invocation.budgets.replaying import spending
from tests.integration.invocation.budgets.test_day import a_day_of
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.finishing import fence_of
from tests.integration.invocation.rows import a_job
from tests.integration.invocation.workers import job_worker, wakes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wiped")]
A_CALL = Spending(Decimal("0.003"), 100, 1)
MODEL = ("offline", "gearbox-offline-standard")
WAITS = "SELECT count(*) FROM pg_locks WHERE NOT granted"

BUSY = """
SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query ~ 'UPDATE invocation_job SET held' AND pid <> pg_backend_pid()
"""


@contextmanager
def locked(job_id: UUID) -> Iterator[Any]:
    """Keep everybody else from the job's row; yields the connection that does."""
    with own_connection() as holder:
        holder.execute("BEGIN")
        holder.execute("SELECT FROM invocation_job WHERE id = %s FOR UPDATE", [job_id])
        yield holder
        holder.execute("ROLLBACK")


def held_by(job_id: UUID) -> Spending:
    job = Job.objects.get(pk=job_id)
    return Spending(job.held_usd, job.held_tokens, job.held_calls)


@pytest.mark.parametrize("times", [1, 3])
def test_what_is_held_on_the_jobs_row_is_given_back_where_the_call_is_cancelled_meanwhile(on_loop: OnLoop[Any], times: int) -> None:
    """The row is locked, so that the hold is on its way, and comes, when the call is cancelled: once, or again while it is undone."""
    job = a_job(JobState.WORKING)

    async def story() -> None:
        with locked(job.pk) as holder:
            holding = asyncio.create_task(JobAccount(fence_of(job)).hold(A_CALL))
            await until(lambda: bool(holder.execute(WAITS).fetchone()[0]))
            for _ in range(times):
                holding.cancel()
                await asyncio.sleep(0.01)
        await asyncio.wait([holding])
        assert holding.cancelled()
        with own_connection() as looking:
            await until(lambda: not looking.execute(BUSY).fetchall())

    on_loop(story())
    assert held_by(job.pk) == Spending()


def test_what_no_call_was_made_for_is_given_back_though_the_run_is_cancelled_meanwhile(on_loop: OnLoop[Any]) -> None:
    job = a_job(JobState.WORKING, held_usd=A_CALL.usd, held_tokens=A_CALL.tokens, held_calls=1)

    async def story() -> None:
        with locked(job.pk) as holder:
            releasing = asyncio.create_task(JobAccount(fence_of(job)).release(A_CALL))
            await until(lambda: bool(holder.execute(WAITS).fetchone()[0]))
            releasing.cancel()
            await asyncio.sleep(0.01)
            assert not releasing.done()
        await asyncio.wait([releasing])

    on_loop(story())
    assert held_by(job.pk) == Spending()


def test_a_call_that_is_cancelled_while_it_waits_for_the_day_leaves_quota_day_and_budget_as_they_were(on_loop: OnLoop[Any]) -> None:
    """All of the day is set aside for others: the call has its model's quota by then, and waits."""
    tenant, day = a_day_of("1.00"), day_of(datetime.now(UTC))
    others = Spending(Decimal("1.00"), 0)
    day_counts.fill_now(tenant, day, used=Spending(), under_way=others)
    job_id = spending({"calls": 1}, tenant_id=tenant)

    def granted() -> int:
        return windows.read({MODEL: UNKNOWN_MODEL})[MODEL].minute[PriorityClass.P1].tokens

    async def story() -> None:
        async with job_worker() as engine:
            engine.accept(await off_loop(wakes, [job_id]))
            await until(lambda: granted() > 0)
            engine.stop([str(job_id)])
            await until(lambda: engine.in_flight == 0)
            await until(lambda: granted() == 0)

    on_loop(story())
    assert day_counts.read([(tenant, day)]) == [Count(others, others)]
    assert held_by(job_id) == Spending()
    assert Job.objects.get(pk=job_id).state == JobState.QUEUED
