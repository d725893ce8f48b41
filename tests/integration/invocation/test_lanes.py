"""Lanes: one job of an ordering key at a time, whoever ends, cancels, rescues or replaces it, and whoever comes in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Waited
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from invocation.domain.errors import LaneBusy
from invocation.domain.jobs import Fence, JobState, Move, OrderingPolicy
from invocation.models import Job
from invocation.services import attempts, endings, jobs, lanes, lifecycle, redrives, redriving, rescue
from invocation.services.submission import Accepted, submit
from tests.integration.invocation.records import a_dead_letter, a_redrive
from tests.integration.invocation.rows import LEASE, NOW, a_job, a_process, a_submission

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tried")]
LANE = "r-1"


Beside = Callable[[Callable[[], Any]], Future[Any]]


@pytest.fixture
def beside() -> Iterator[Beside]:
    """Return a function that begins something on a connection of its own, of which it is known to wait for this one's locks."""
    pool = ThreadPoolExecutor(1)

    def acting(act: Callable[[], Any]) -> Any:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '10s'")
            return act()
        finally:
            connections.close_all()

    def begin(act: Callable[[], Any]) -> Future[Any]:
        doing = pool.submit(acting, act)
        with pytest.raises(Waited):
            doing.result(0.5)
        return doing

    yield begin
    pool.shutdown()


def state(job: Job | UUID) -> tuple[str, bool]:
    found = Job.objects.get(pk=job.pk if isinstance(job, Job) else job)
    return found.state, found.is_behind


def two_in_a_lane(head: JobState = JobState.WORKING, **columns: Any) -> tuple[Job, Job]:
    first = a_job(head, ordering_key=LANE, **columns)
    return first, a_job(tenant_id=first.tenant_id, ordering_key=LANE)


def submitted(tenant_id: UUID, policy: OrderingPolicy, **terms: Any) -> Accepted:
    return submit(a_submission(tenant_id, ordering_key=LANE, ordering_policy=policy, **terms), now=NOW)


@pytest.mark.parametrize("leaving", ["cancelled", "expired"])
def test_the_end_of_the_first_and_of_the_one_behind_do_not_lock_each_other_out(beside: Beside, leaving: str) -> None:
    """The end of the first has the lane and will touch the second's row: who ends the second must not hold that row by now."""
    first, second = two_in_a_lane()
    Job.objects.filter(pk=second.pk).update(expires_at=NOW if leaving == "expired" else None)

    def leave() -> None:
        if leaving == "expired":
            jobs.expire_due(now=NOW)
        else:
            jobs.cancel(second.pk, reason="not wanted", now=NOW)

    with transaction.atomic():
        lanes.enter(first.tenant_id, LANE)
        leaving_lane = beside(leave)
        endings.end_one(Move.COMPLETE, lifecycle.of(first.pk), now=NOW)
    leaving_lane.result(20)

    assert (state(first)[0], state(second)[0]) == ("completed", "cancelled")


@pytest.mark.parametrize("by", ["rescue", "return"])
def test_who_takes_jobs_back_locks_their_lanes_before_any_of_them(beside: Beside, by: str) -> None:
    """It queues one again and ends the other: a cancellation of both waits for it, or it for the cancellation."""
    owner = a_process().pk if by == "rescue" else uuid4()
    working, _ = two_in_a_lane(owner=owner)
    cancelling, _ = two_in_a_lane(JobState.CANCELLING, owner=owner)
    both = [working, cancelling]
    fences = [Fence(str(job.pk), job.attempt, str(owner)) for job in both]

    def take_back() -> int:
        return rescue.rescue_jobs(now=NOW + 2 * LEASE) if by == "rescue" else attempts.return_broken_off(fences)

    with transaction.atomic():
        endings.lock_around([job.pk for job in both])
        taking = beside(take_back)
        endings.stop([job.pk for job in both], reason="not wanted", now=NOW)

    assert taking.result(20) == 2
    assert [state(job)[0] for job in both] == ["cancelled"] * 2


@pytest.mark.parametrize("by", ["itself", "bulk"])
def test_who_redrives_jobs_locks_their_lanes_before_any_of_them(beside: Beside, by: str) -> None:
    """Its successor enters the lane: whoever has the lane, and comes to the old job's row, must not find that taken."""
    dead = a_dead_letter(ordering_key=LANE)
    if by == "bulk":
        a_redrive(match=None, job_ids=[dead.pk])

    def redrive() -> Any:
        return redrives.sweep(now=NOW + timedelta(seconds=1)) if by == "bulk" else redriving.redrive(dead.pk, now=NOW)

    with transaction.atomic():
        endings.lock_around([dead.pk])
        redriven = beside(redrive)
        endings.stop([dead.pk], reason="not wanted", now=NOW)

    assert redriven.result(20)
    assert Job.objects.filter(redrive_of=dead.pk).count() == 1


def test_one_that_leaves_from_behind_lets_nobody_pass_the_first() -> None:
    """Ids of two processes are not in the order in which they entered: the first of the lane is not always the oldest id."""
    oldest, first = uuid4(), uuid4()
    oldest, first = sorted((oldest, first))
    head = a_job(JobState.WORKING, id=first, ordering_key=LANE)
    behind = a_job(id=oldest, tenant_id=head.tenant_id, ordering_key=LANE)
    last = a_job(tenant_id=head.tenant_id, ordering_key=LANE)
    jobs.cancel(last.pk, reason="not wanted", now=NOW)

    assert state(behind) == ("queued", True)
    with transaction.atomic():
        endings.end_one(Move.COMPLETE, lifecycle.of(head.pk), now=NOW)
    assert state(behind) == ("queued", False)


def test_a_replay_that_waits_for_its_first_call_is_not_refused_because_of_it(beside: Beside) -> None:
    tenant_id = uuid4()
    with transaction.atomic():
        first = submitted(tenant_id, OrderingPolicy.REJECT, idempotency_key="k-1")
        replay = beside(lambda: submitted(tenant_id, OrderingPolicy.REJECT, idempotency_key="k-1"))

    assert replay.result(20) == Accepted(first.job_id, is_replay=True)


def test_a_replacement_replaces_what_entered_the_lane_just_before_it(beside: Beside) -> None:
    tenant_id = uuid4()
    with transaction.atomic():
        first = submitted(tenant_id, OrderingPolicy.ENQUEUE)
        replacing = beside(lambda: submitted(tenant_id, OrderingPolicy.REPLACE))

    second = replacing.result(20)
    assert (state(first.job_id)[0], state(second.job_id)) == ("cancelled", ("queued", False))


def test_by_its_policy_a_submission_waits_is_refused_or_replaces() -> None:
    tenant_id = uuid4()
    first = submitted(tenant_id, OrderingPolicy.ENQUEUE)
    second = submitted(tenant_id, OrderingPolicy.ENQUEUE)
    assert (state(first.job_id), state(second.job_id)) == (("queued", False), ("queued", True))
    with pytest.raises(LaneBusy, match=str(first.job_id)):
        submitted(tenant_id, OrderingPolicy.REJECT)

    third = submitted(tenant_id, OrderingPolicy.REPLACE)
    assert [state(each.job_id)[0] for each in (first, second)] == ["cancelled"] * 2
    assert state(third.job_id) == ("queued", False)


def test_that_a_long_lane_has_no_first_is_known_without_reading_it() -> None:
    tenant_id, length = uuid4(), 2_000
    last = a_job(tenant_id=tenant_id, ordering_key=LANE)
    row = {field.attname: getattr(last, field.attname) for field in Job._meta.concrete_fields}
    Job.objects.bulk_create(Job(**{**row, "id": (new := uuid4()), "root_id": new, "is_behind": True}) for _ in range(length))
    Job.objects.filter(pk=last.pk).update(state="completed", finished_at=NOW)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE invocation_job")
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + lanes.PROMOTE, [[tenant_id], [LANE]])
        [(plan,)] = cursor.fetchall()
    read = [_rows_read(node) for node in _nodes((orjson.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])]

    assert Job.objects.filter(tenant_id=tenant_id, ordering_key=LANE, is_behind=False).exclude(pk=last.pk).count() == 1
    assert max(read) < length


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


def _rows_read(node: dict[str, Any]) -> float:
    return float(node.get("Actual Rows", 0) + node.get("Rows Removed by Filter", 0))


@pytest.mark.parametrize(("policy", "most"), [(OrderingPolicy.ENQUEUE, "LIMIT 1"), (OrderingPolicy.REPLACE, "LIMIT NULL")])
def test_whoever_joins_a_long_lane_reads_no_more_of_it_than_its_policy_needs(policy: OrderingPolicy, most: str) -> None:
    tenant_id = uuid4()
    for _ in range(3):
        submitted(tenant_id, OrderingPolicy.ENQUEUE)
    with CaptureQueriesContext(connection) as asked:
        submitted(tenant_id, policy)

    [first, *_] = [query["sql"] for query in asked if "ORDER BY id\nLIMIT" in query["sql"]]
    assert first.rstrip().endswith(most)
