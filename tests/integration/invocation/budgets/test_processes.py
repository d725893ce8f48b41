"""The proofs with real processes: two hundred calls of children in several workers, and of one tenant's jobs, against the last cent."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from invocation.domain.jobs import JobState
from invocation.models import Job, Process
from quota.domain.budgets import Spending
from quota.domain.days import day_of
from quota.gateways import day_counts
from quota.gateways.day_counts import Count
from quota.models import LedgerEntry
from tests.integration.invocation.budgets.replaying import booked, output, spending
from tests.integration.invocation.budgets.test_day import a_day_of
from tests.integration.invocation.crew import ROOT, Crew, crew, environment, wait_until
from tests.integration.invocation.rows import a_job
from tests.integration.invocation.waits.playing import children_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wiped")]
CENT = Decimal("0.01")
DECLARED = "config.endpoints,tests.integration.invocation.budgets.spender"
INSTANT = {"ENDPOINT_MODULES": DECLARED, "OFFLINE_FIRST_TOKEN_MS": "1", "OFFLINE_TOKEN_MS": "1"}
PROCESSES, CALLS = 4, 50

HOLDS = """
import asyncio, sys, django
django.setup()
from decimal import Decimal
from invocation.domain.jobs import Fence
from invocation.services.accounts import JobAccount
from quota.domain.budgets import Spending
from quota.domain.errors import BudgetSpent
account = JobAccount(Fence({job!r}, {attempt}, {owner!r}))
async def one():
    try:
        await account.hold(Spending(Decimal("0.003"), 100, 1))
    except BudgetSpent:
        return False
    return True
async def all_at_once():
    return sum(await asyncio.gather(*(one() for _ in range({calls}))))
print("ready", flush=True)
sys.stdin.readline()
print(asyncio.run(all_at_once()))
"""

TAKES = """
import asyncio, sys, django
django.setup()
from decimal import Decimal
from uuid import UUID, uuid4
from quota.domain.budgets import NONE, Spending
from quota.domain.classes import PriorityClass
from quota.domain.errors import QuotaExceeded, QuotaStoreUnavailable
from quota.services import days
async def nothing():
    return NONE
async def one():
    call = Spending(Decimal("0.003"), 100, 1)
    while True:
        try:
            await days.take(UUID({tenant!r}), call, priority_class=PriorityClass.P1, under_way=nothing, hold_id=uuid4())
        except QuotaExceeded:
            return False
        except QuotaStoreUnavailable:
            continue
        return True
async def all_at_once():
    return sum(await asyncio.gather(*(one() for _ in range({calls}))))
print("ready", flush=True)
sys.stdin.readline()
print(asyncio.run(all_at_once()))
"""


def at_once(program: str) -> list[int]:
    """Run the program in several processes that begin when all are there; return what each printed last."""
    words, piped = [sys.executable, "-W", "ignore", "-c", program], subprocess.PIPE
    started = [subprocess.Popen(words, cwd=ROOT, env=environment(), stdin=piped, stdout=piped, text=True) for _ in range(PROCESSES)]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        return [int(process.communicate(timeout=120)[0].split()[-1]) for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_two_hundred_holds_of_four_processes_let_as_many_in_as_the_jobs_cent_pays() -> None:
    job = a_job(JobState.WORKING, cost_cap_usd=CENT)
    let_in = at_once(HOLDS.format(job=str(job.pk), attempt=job.attempt, owner=str(job.owner), calls=CALLS))
    job.refresh_from_db()

    assert sum(let_in) == 3
    assert (job.held_usd, job.held_calls) == (Decimal("0.009"), 3)


def test_two_hundred_calls_of_four_processes_take_at_most_the_last_cent_of_the_day() -> None:
    tenant = a_day_of("0.01")
    let_in = at_once(TAKES.format(tenant=str(tenant), calls=CALLS))
    held = Spending(Decimal("0.009"), 300)

    assert 0 < sum(let_in) <= 3
    assert day_counts.read([(tenant, day_of(datetime.now(UTC)))]) == [Count(held, held)]


def two_workers(staff: Crew) -> None:
    staff.dispatcher()
    staff.worker("one")
    staff.worker("other")
    wait_until(lambda: Process.objects.filter(priority_class="p1").count() == 2)


def ended(job_ids: list[UUID]) -> bool:
    return not Job.objects.filter(pk__in=job_ids).exclude(state__in=["completed", "failed"]).exists()


def test_children_in_several_workers_together_spend_no_more_than_their_root_may(tmp_path: Path) -> None:
    child = {"calls": CALLS, "most": 32}
    with crew(tmp_path, **INSTANT) as staff:
        two_workers(staff)
        root_id = spending({"children": [child] * 4, "calls": 20}, cost_usd=CENT)
        wait_until(lambda: ended([root_id]))
    root = Job.objects.get(pk=root_id)
    below = output(root)["below"]

    assert root.state == "completed"
    assert len({each["pid"] for each in below}) == 2
    assert all(set(each["made"]) == {"standard", "budget_exceeded"} for each in below)
    assert 0 < root.spent_usd == booked().usd <= CENT
    assert root.spent_calls == LedgerEntry.objects.count()
    assert root.lent_usd == root.lent_tokens == root.lent_calls == root.held_usd == 0
    assert all(each.spent_usd <= each.cost_cap_usd for each in children_of(root))


def test_one_tenants_jobs_in_several_workers_together_spend_no_more_than_its_day(tmp_path: Path) -> None:
    tenant = a_day_of("0.01")
    with crew(tmp_path, **INSTANT) as staff:
        two_workers(staff)
        job_ids = [spending({"calls": 25, "copes": True}, tenant_id=tenant) for _ in range(8)]
        wait_until(lambda: ended(job_ids))
    made = [output(job)["made"] for job in Job.objects.filter(pk__in=job_ids)]

    assert len({output(job)["pid"] for job in Job.objects.filter(pk__in=job_ids)}) == 2
    assert sum(sum(each.values()) for each in made) == 200
    assert sum(each.get("standard", 0) for each in made) == booked().calls
    assert 0 < booked().usd <= CENT
