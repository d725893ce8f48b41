"""Schedules: each moment fires once, whatever beats tick, clocks change or machines sleep."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from django.db import IntegrityError, connection, transaction

from invocation.domain.errors import InputInvalid, StaleMove
from invocation.domain.jobs import JobState
from invocation.domain.schedules import FiringMove
from invocation.gateways import declared
from invocation.models import Firing, Job, Schedule
from invocation.services import firings, schedules
from invocation.services.schedules import ScheduleTerms
from tests.integration.invocation.rows import NOW

TENANT = uuid4()
BERLIN = ZoneInfo("Europe/Berlin")


def terms(**changed: Any) -> ScheduleTerms:
    said: dict[str, Any] = {
        "tenant_id": TENANT,
        "name": f"monthly {uuid4()}",
        "cron": "0 * * * *",
        "timezone": "UTC",
        "input": {"reader": "r-001"},
    }
    endpoint = declared.book().find(changed.pop("endpoint", "retention@1"))
    return ScheduleTerms(endpoint=endpoint, **(said | changed))


def kept(*, now: datetime = NOW, **changed: Any) -> Schedule:
    return schedules.create(terms(**changed), now=now)


def fired(schedule: Schedule) -> list[datetime]:
    return list(schedule.firings.order_by("due_at").values_list("due_at", flat=True))


def test_a_schedule_fires_at_its_moment_and_not_before(db: None) -> None:
    schedule = kept()
    assert schedule.next_fire_at == NOW + timedelta(hours=1)

    assert schedules.tick(now=NOW + timedelta(minutes=59, seconds=59)) == 0
    assert schedules.tick(now=NOW + timedelta(hours=1, seconds=3)) == 1
    assert schedules.tick(now=NOW + timedelta(hours=1, seconds=4)) == 0
    schedule.refresh_from_db()
    assert schedule.next_fire_at == NOW + timedelta(hours=2)
    firing = schedule.firings.get()
    assert (firing.due_at, firing.state) == (NOW + timedelta(hours=1), "fired")
    job = Job.objects.get(pk=firing.job_id)
    assert (job.state, job.priority_class, job.mode, job.tenant_id, job.input) == (
        "queued",
        "p2",
        "scheduled-trigger",
        TENANT,
        {"reader": "r-001"},
    )


def test_beats_that_tick_at_once_fire_each_moment_once(transactional_db: None) -> None:
    kept_schedules = [kept() for _ in range(30)]
    start, at = threading.Barrier(4), NOW + timedelta(hours=1, seconds=1)

    def ticking(_: int) -> int:
        try:
            start.wait(10)
            return schedules.tick(now=at) + schedules.tick(now=at)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(ticking, range(4)))

    assert sum(counts) == Firing.objects.count() == Job.objects.count() == len(kept_schedules)


def test_the_database_lets_a_moment_fire_once(db: None) -> None:
    schedule = kept()
    schedules.fire(schedule.pk, now=NOW)
    with pytest.raises(IntegrityError, match="schedule_fires_once_a_moment"), transaction.atomic():
        schedules.fire(schedule.pk, now=NOW)


def through(first: datetime, last: datetime, *, cron: str) -> list[datetime]:
    """Tick every ten minutes in Berlin between two moments and return when it was due there."""
    schedule = kept(cron=cron, timezone="Europe/Berlin", now=first)
    at = first
    while at <= last:
        schedules.tick(now=at)
        at += timedelta(minutes=10)
    return [due.astimezone(BERLIN) for due in fired(schedule)]


def test_a_missing_hour_moves_the_moment_forward_and_fires_once(db: None) -> None:
    found = through(datetime(2026, 3, 28, 12, 0, tzinfo=UTC), datetime(2026, 3, 30, 12, 0, tzinfo=UTC), cron="30 2 * * *")

    assert [due.strftime("%d %H:%M") for due in found] == ["29 03:00", "30 02:30"]


def test_a_doubled_hour_fires_once(db: None) -> None:
    found = through(datetime(2026, 10, 24, 12, 0, tzinfo=UTC), datetime(2026, 10, 26, 12, 0, tzinfo=UTC), cron="30 2 * * *")

    assert [due.strftime("%d %H:%M") for due in found] == ["25 02:30", "26 02:30"]


def test_after_downtime_it_fires_once_for_all_that_it_missed(db: None) -> None:
    schedule = kept()
    back = NOW + timedelta(days=3, minutes=10)

    assert schedules.tick(now=back) == 1
    assert schedules.tick(now=back) == 0
    assert fired(schedule) == [NOW + timedelta(hours=1)]
    schedule.refresh_from_db()
    assert schedule.next_fire_at == NOW + timedelta(days=3, hours=1)


def test_a_paused_schedule_rests_and_what_it_missed_is_not_made_up(db: None) -> None:
    schedule = kept()
    schedules.pause(schedule.pk, now=NOW)
    schedules.pause(schedule.pk, now=NOW)

    assert schedules.tick(now=NOW + timedelta(hours=5)) == 0
    schedules.resume(schedule.pk, now=NOW + timedelta(hours=5, minutes=30))
    assert schedules.tick(now=NOW + timedelta(hours=5, minutes=31)) == 0
    assert schedules.tick(now=NOW + timedelta(hours=6)) == 1


def test_firing_by_hand_leaves_the_clock_alone(db: None) -> None:
    schedule = kept()
    firing = schedules.fire(schedule.pk, now=NOW + timedelta(minutes=5))
    schedule.refresh_from_db()

    assert (firing.due_at, schedule.next_fire_at) == (NOW + timedelta(minutes=5), NOW + timedelta(hours=1))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"cron": "every day"}, "/cron"),
        ({"cron": "0 0 31 2 *"}, "/cron"),
        ({"cron": "61 * * * *"}, "/cron"),
        ({"timezone": "Europe/Nowhere"}, "/timezone"),
        ({"timezone": "Europe"}, "/timezone"),
        ({"timezone": ""}, "/timezone"),
        ({"timezone": "../../etc/passwd"}, "/timezone"),
        ({"timezone": "x" * 5_000}, "/timezone"),
        ({"input": {}}, "/input/reader"),
        ({"input": {"reader": 7}}, "/input/reader"),
    ],
)
def test_a_bad_schedule_is_refused_by_field(db: None, changed: dict[str, Any], field: str) -> None:
    with pytest.raises(InputInvalid) as refused:
        kept(**changed)

    assert refused.value.facts["field"] == field
    assert not Schedule.objects.exists()


def test_a_name_is_used_once_by_a_tenant(db: None) -> None:
    first, second = kept(name="monthly"), kept(name="weekly")
    with pytest.raises(StaleMove, match="monthly"):
        kept(name="monthly")
    with pytest.raises(StaleMove, match="monthly"):
        schedules.change(second.pk, terms(name="monthly"), now=NOW)
    other = kept(name="monthly", tenant_id=uuid4())

    assert set(Schedule.objects.values_list("pk", flat=True)) == {first.pk, second.pk, other.pk}


def test_a_changed_schedule_counts_from_now(db: None) -> None:
    schedule = kept()
    schedules.change(schedule.pk, terms(cron="30 9 * * *", timezone="Europe/Berlin"), now=NOW)
    schedule.refresh_from_db()

    assert schedule.next_fire_at == datetime(2026, 11, 21, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize("broken", [{"endpoint": "gone@1"}, {"input": {"reader": 7}}])
def test_a_schedule_that_cannot_fire_stops_no_other_and_comes_again(db: None, broken: dict[str, Any]) -> None:
    bad, good = kept(), kept()
    Schedule.objects.filter(pk=bad.pk).update(**broken)
    at = NOW + timedelta(hours=1)

    assert schedules.tick(now=at) == 1
    assert (fired(good), fired(bad)) == ([at], [])
    assert schedules.tick(now=at + timedelta(seconds=1)) == 0
    bad.refresh_from_db()
    assert (bad.next_fire_at, bad.is_paused) == (at + timedelta(hours=1), False)


def test_a_schedule_that_has_no_next_moment_fires_its_last_and_rests(db: None) -> None:
    bad, good = kept(), kept()
    Schedule.objects.filter(pk=bad.pk).update(timezone="Europe/Nowhere")

    assert schedules.tick(now=NOW + timedelta(hours=1)) == 2
    assert schedules.tick(now=NOW + timedelta(hours=2)) == 1
    bad.refresh_from_db()
    assert bad.is_paused
    assert len(fired(good)) == 2


def test_a_forgotten_schedule_leaves_its_jobs(db: None) -> None:
    schedule = kept()
    firing = schedules.fire(schedule.pk, now=NOW)
    schedules.delete(schedule.pk)

    assert Job.objects.filter(pk=firing.job_id, state=JobState.QUEUED).exists()
    assert not Firing.objects.exists()


@pytest.mark.parametrize("move", FiringMove)
def test_a_firing_ends_once_with_its_job(db: None, move: FiringMove) -> None:
    firing = schedules.fire(kept().pk, now=NOW)
    firings.follow([firing.job_id], move, now=NOW)
    ended = Firing.objects.get(pk=firing.pk).state
    for later in FiringMove:
        firings.follow([firing.job_id], later, now=NOW + timedelta(hours=1))
    firing.refresh_from_db()

    assert (firing.state, firing.finished_at) == (ended, NOW)
    assert ended != "fired"


def test_a_job_that_no_schedule_made_has_no_firing_to_end(db: None) -> None:
    firings.follow([UUID(int=1)], FiringMove.COMPLETE, now=NOW)

    assert not Firing.objects.exists()
