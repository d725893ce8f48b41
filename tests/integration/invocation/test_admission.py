"""Admission: as far as live slots allow, round-robin over tenants by weight, inside caps, holds and lanes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import count
from uuid import UUID, uuid4

import pytest

from invocation.domain.errors import StaleMove
from invocation.domain.jobs import JobState
from invocation.domain.rounds import KEPT, START, Place, kept
from invocation.models import Job
from invocation.models.admission import HoldScope
from invocation.selectors.admission import Scene, live_slots
from invocation.services import admission, holds, lanes
from invocation.services.lifecycle import Moved
from quota.domain.classes import PriorityClass
from quota.selectors import terms_of_tenants
from tests.integration.invocation.rows import LEASE, NOW, a_job, a_process, a_tenant

pytestmark = pytest.mark.django_db
P1 = PriorityClass.P1


def admitted(free: int, *, place: Place = START, fresh: Sequence[UUID] = ()) -> admission.Admitted:
    """Admit as if just so many slots were free."""
    scene = admission.look(P1, place=place, now=NOW)
    scene = replace(scene, slots=_slots(free + scene.in_flight.total()))
    return admission.admit(P1, scene, terms=terms_of_tenants(), place=place, now=NOW, fresh=fresh)


def _slots(common: int) -> int:
    """Return how many slots there must be for so many to be everybody's."""
    return next(slots for slots in count(common) if slots - kept(slots) >= common)


def free_slots(priority_class: PriorityClass = P1) -> int:
    return admission.look(priority_class, place=START, now=NOW).free


def leave_the_lane(job: Job) -> None:
    """End a job, wherever it was, and let the next of its lane go first."""
    Job.objects.filter(pk=job.pk).update(state="completed", owner=None, finished_at=NOW, questions=None)
    lanes.promote([Moved(job.pk, job.tenant_id, JobState.COMPLETED, "", "p1", None, job.ordering_key, None, None, has_listeners=False)])


def counted(found: admission.Admitted) -> Mapping[UUID, int]:
    return Counter(Job.objects.filter(pk__in=[job_id for job_id, _ in [*found.first, *found.claims]]).values_list("tenant_id", flat=True))


def one_at_a_time(rounds: int) -> Mapping[UUID, int]:
    """Give one slot a round, each job done before the next, and count who got it."""
    place, got = START, Counter[UUID]()
    for _ in range(rounds):
        found = admitted(1, place=place)
        place = found.place
        got.update(counted(found))
        Job.objects.filter(pk__in=[job_id for job_id, _ in found.claims]).delete()
    return got


def test_a_job_is_admitted_as_it_stands_and_once() -> None:
    job = a_job(tenant_id=a_tenant())

    assert admitted(5).claims == [(job.pk, 0)]
    assert admitted(5).claims == []
    job.refresh_from_db()
    assert (job.state, job.dispatched_at) == ("dispatched", NOW)


def test_the_first_of_each_goes_before_the_second_of_any() -> None:
    crowd, lone = a_tenant("even", weight=1), a_tenant("even")
    for _ in range(10):
        a_job(tenant_id=crowd)
    a_job(tenant_id=lone)

    assert counted(admitted(2)) == {crowd: 1, lone: 1}


def test_a_tenant_that_waits_alone_may_have_every_slot() -> None:
    lone = a_tenant("house")
    for _ in range(10):
        a_job(tenant_id=lone)

    assert counted(admitted(8)) == {lone: 8}


def test_one_slot_at_a_time_goes_round_by_weight() -> None:
    light, heavy = a_tenant("light", weight=1), a_tenant("heavy", weight=3)
    for _ in range(40):
        a_job(tenant_id=light)
        a_job(tenant_id=heavy)

    assert one_at_a_time(40) == {light: 10, heavy: 30}


@pytest.mark.parametrize("free", [1, 3, 7, 64])
def test_no_tenant_of_a_long_ring_starves(free: int) -> None:
    tenants = [a_tenant("even", weight=1) for _ in range(admission.TENANTS_A_ROUND + 30)]
    for tenant in tenants:
        a_job(tenant_id=tenant)
        a_job(tenant_id=tenant)
    place, got = START, Counter[UUID]()
    while sum(got.values()) < len(tenants):
        found = admitted(min(free, len(tenants) - sum(got.values())), place=place)
        place = found.place
        got.update(counted(found))

    assert set(got) == set(tenants)
    assert max(got.values()) == 1


def test_tenants_at_their_cap_do_not_hide_those_behind_them() -> None:
    for _ in range(admission.TENANTS_A_ROUND):
        full = a_tenant("one", in_flight_p1=1, weight=1)
        a_job(JobState.WORKING, tenant_id=full)
        a_job(tenant_id=full)
    last = a_tenant("one")
    Job.objects.filter(tenant_id=last).delete()
    waiting = a_job(tenant_id=last)
    first = admitted(4)
    second = admitted(4, place=first.place)

    assert [job_id for job_id, _ in first.claims + second.claims] == [waiting.pk]


@pytest.mark.parametrize(("plan", "most"), [("free", 2), ("pro", 20), ("house", 30)])
def test_a_plan_bounds_what_its_tenant_has_in_flight(plan: str, most: int) -> None:
    tenant = a_tenant(plan)
    for _ in range(30):
        a_job(tenant_id=tenant)

    assert counted(admitted(100)) == {tenant: most}
    assert admitted(100).claims == []


@pytest.mark.parametrize(
    ("state", "counts"),
    [
        (JobState.DISPATCHED, True),
        (JobState.WORKING, True),
        (JobState.CANCELLING, True),
        (JobState.INPUT_REQUIRED, False),
        (JobState.WAITING, False),
        (JobState.COMPLETED, False),
    ],
)
def test_what_is_at_work_fills_a_cap_and_what_is_parked_does_not(state: JobState, *, counts: bool) -> None:
    tenant = a_tenant("free")
    a_job(state, tenant_id=tenant)
    a_job(state, tenant_id=tenant)
    a_job(tenant_id=tenant)

    assert len(admitted(10).claims) == (0 if counts else 1)


def test_a_lane_is_first_in_first_out_one_at_a_time() -> None:
    tenant = a_tenant("house")
    lane = [a_job(tenant_id=tenant, ordering_key="r-001") for _ in range(3)]
    beside = a_job(tenant_id=tenant, ordering_key="r-002")

    assert {job_id for job_id, _ in admitted(10).claims} == {lane[0].pk, beside.pk}


@pytest.mark.parametrize("state", [state for state in JobState if state not in {JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED}])
def test_an_open_job_keeps_its_lane_also_while_it_is_parked(state: JobState) -> None:
    tenant = a_tenant("house")
    ahead = a_job(state, tenant_id=tenant, ordering_key="r-001")
    behind = a_job(tenant_id=tenant, ordering_key="r-001")

    assert behind.pk not in {job_id for job_id, _ in admitted(10).claims}
    leave_the_lane(ahead)
    assert [job_id for job_id, _ in admitted(10).claims] == [behind.pk]


def test_another_tenants_lane_of_the_same_name_is_another_lane() -> None:
    a_job(JobState.WORKING, tenant_id=a_tenant(), ordering_key="r-001")
    mine = a_job(tenant_id=a_tenant(), ordering_key="r-001")

    assert [job_id for job_id, _ in admitted(10).claims] == [mine.pk]


@pytest.mark.parametrize(("scope", "value"), [(HoldScope.ENDPOINT, "personalize@1"), (HoldScope.AGENT, "mangaassist@1")])
def test_what_is_held_waits_until_its_release(scope: HoldScope, value: str) -> None:
    tenant = a_tenant()
    waiting = a_job(tenant_id=tenant)
    other = a_job(tenant_id=tenant, endpoint="other@1", agent="other@1")
    hold = holds.hold(scope, value, reason="it spends too much", by=None, now=NOW)

    assert [job_id for job_id, _ in admitted(10).claims] == [other.pk]
    holds.release(hold.pk, by=None, now=NOW)
    assert [job_id for job_id, _ in admitted(10).claims] == [waiting.pk]


def test_a_held_tenant_waits_and_the_others_go_on() -> None:
    held, free = a_tenant(), a_tenant()
    a_job(tenant_id=held)
    a_job(tenant_id=free)
    holds.hold(HoldScope.TENANT, str(held), reason="unpaid", by=None, now=NOW)

    assert counted(admitted(10)) == {free: 1}


def test_nothing_of_a_held_class_is_admitted() -> None:
    job = a_job(tenant_id=a_tenant())
    hold = holds.hold(HoldScope.CLASS, "p1", reason="the database is moved", by=None, now=NOW)

    assert admitted(4).claims == []
    holds.release(hold.pk, by=None, now=NOW)
    assert admitted(4).claims == [(job.pk, 0)]


def test_what_is_in_flight_takes_slots_of_its_class() -> None:
    a_process(slots=4)
    a_process("p2", slots=4)
    for state in [JobState.DISPATCHED, JobState.WORKING, JobState.CANCELLING, JobState.WAITING, JobState.QUEUED]:
        a_job(state)
    a_job(JobState.WORKING, priority_class="p2")

    assert (free_slots(), free_slots(PriorityClass.P2)) == (1, 3)
    a_job(JobState.WORKING)
    a_job(JobState.WORKING)
    assert free_slots() == 0


def test_a_newcomer_comes_before_the_ring_with_one_job() -> None:
    crowd = [a_tenant("even", weight=1) for _ in range(5)]
    newcomer = max([*crowd, a_tenant("even")])
    for tenant in {*crowd, newcomer}:
        for _ in range(3):
            a_job(tenant_id=tenant)

    assert counted(admitted(1, fresh=[newcomer])) == {newcomer: 1}
    assert counted(admitted(1, fresh=[newcomer])) != {newcomer: 1}


def test_a_newcomer_whose_plan_lets_nothing_of_the_class_run_waits() -> None:
    newcomer = a_tenant("none of it", in_flight_p1=0)
    a_job(tenant_id=newcomer)
    found = admitted(4, fresh=[newcomer])

    assert (found.first, found.claims, found.passed_by) == ([], [], ())


def test_newcomers_take_at_most_half_of_the_slots() -> None:
    old = a_tenant("house")
    fresh = [a_tenant("even", weight=1) for _ in range(8)]
    for tenant in [old, *fresh]:
        for _ in range(9):
            a_job(tenant_id=tenant)
    a_job(JobState.WORKING, tenant_id=old)
    scene = Scene(8, 1, dict.fromkeys(HoldScope, frozenset()), Counter(), [old])
    found = admission.admit(P1, scene, terms=terms_of_tenants(), place=START, now=NOW, fresh=fresh)

    assert counted(found)[old] == 4
    assert found.passed_by == tuple(fresh[4:])


def test_whoever_comes_while_no_slot_is_free_is_not_forgotten() -> None:
    newcomer = a_tenant("even", weight=1)
    a_job(tenant_id=newcomer)
    found = admitted(0, fresh=[newcomer])

    assert (found.claims, found.passed_by, found.is_short) == ([], (newcomer,), True)


def test_a_job_that_lost_its_worker_is_told_apart() -> None:
    tenant = a_tenant("house")
    plain, lost = a_job(tenant_id=tenant), a_job(tenant_id=tenant, is_alone=True)
    found = admitted(10)

    assert (found.claims, found.alone) == ([(plain.pk, 0)], [(lost.pk, 0)])


def test_what_has_run_before_goes_before_what_has_not() -> None:
    tenant = a_tenant("house")
    a_job(tenant_id=tenant)
    resumed = a_job(tenant_id=tenant, rank=0)

    assert admitted(1).claims == [(resumed.pk, 0)]


def test_only_workers_that_live_and_do_not_drain_have_slots() -> None:
    a_process(slots=4)
    a_process(slots=3)
    a_process(slots=100, is_draining=True)
    a_process(slots=100, now=NOW - 2 * LEASE)
    a_process("p2", slots=7)

    assert live_slots(now=NOW) == {"p1": 7, "p2": 7}


def test_a_tenant_without_an_active_plan_is_passed_by() -> None:
    a_job(tenant_id=uuid4())
    known = a_job(tenant_id=a_tenant())

    assert [job_id for job_id, _ in admitted(10).claims] == [known.pk]


def test_other_classes_jobs_are_not_admitted_here() -> None:
    a_job(tenant_id=a_tenant(), priority_class="p2")

    assert admitted(10).claims == []


def test_a_thing_is_held_once_and_released_once() -> None:
    first = holds.hold(HoldScope.CLASS, "p2", reason="first", by=None, now=NOW)
    with pytest.raises(StaleMove, match="held already"):
        holds.hold(HoldScope.CLASS, "p2", reason="second", by=None, now=NOW)
    holds.release(first.pk, by=None, now=NOW)
    with pytest.raises(StaleMove, match="released already"):
        holds.release(first.pk, by=None, now=NOW)

    assert holds.hold(HoldScope.CLASS, "p2", reason="third", by=None, now=NOW).pk != first.pk


def test_a_hold_names_who_held_and_who_released(django_user_model: type) -> None:
    ann, bob = (django_user_model.objects.create(username=name) for name in ("ann", "bob"))  # type: ignore[attr-defined]
    hold = holds.hold(HoldScope.CLASS, "p2", reason="a test", by=ann, now=NOW)
    holds.release(hold.pk, by=bob, now=NOW + timedelta(minutes=1))
    hold.refresh_from_db()

    assert (hold.held_by, hold.held_at, hold.released_by, hold.released_at) == (ann, NOW, bob, NOW + timedelta(minutes=1))


def test_a_few_slots_are_kept_for_whoever_has_nothing_in_flight() -> None:
    crowd, newcomer = a_tenant("house"), a_tenant("house")
    for _ in range(2 * KEPT):
        a_job(tenant_id=crowd)
    a_process(slots=2 * KEPT)
    scene = admission.look(P1, place=START, now=NOW)
    admission.admit(P1, scene, terms=terms_of_tenants(), place=START, now=NOW)
    assert free_slots() == kept(2 * KEPT) == 2

    mine, theirs = a_job(tenant_id=newcomer), a_job(tenant_id=crowd)
    scene = admission.look(P1, place=START, now=NOW)
    found = admission.admit(P1, scene, terms=terms_of_tenants(), place=START, now=NOW, fresh=[newcomer, crowd])

    assert (found.first, found.claims) == ([(mine.pk, 0)], [])
    assert not found.more
    theirs.refresh_from_db()
    assert theirs.state == "queued"


def test_where_slots_are_few_none_is_kept() -> None:
    assert [kept(slots) for slots in (0, 4, KEPT - 1, KEPT, 256)] == [0, 0, 0, 1, 8]


@pytest.mark.parametrize("is_searched", [False, True])
def test_what_has_expired_is_not_admitted_and_hides_nothing_behind_it(*, is_searched: bool) -> None:
    tenant = a_tenant("house")
    expired = [a_job(tenant_id=tenant, expires_at=NOW) for _ in range(3)]
    wanted = [a_job(tenant_id=tenant, expires_at=NOW + timedelta(seconds=1)), a_job(tenant_id=tenant)]
    if is_searched:
        holds.hold(HoldScope.AGENT, "another@1", reason="it spends too much", by=None, now=NOW)

    assert [job_id for job_id, _ in admitted(2).claims] == [job.pk for job in wanted]
    found = admitted(2)
    assert (found.claims, found.more) == ([], False)
    assert set(Job.objects.filter(pk__in=[job.pk for job in expired]).values_list("state", flat=True)) == {"queued"}
