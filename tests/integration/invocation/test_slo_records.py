"""SLO records: one a class and minute whoever ticks, figures whose cost does not grow with the backlog, and their forgetting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, connections, transaction

from agents.domain.errors import Cause
from invocation.domain.jobs import JobState
from invocation.domain.turns import TurnState
from invocation.gateways.presence import own_connection
from invocation.models import SloRecord
from invocation.models.admission import HoldScope
from invocation.selectors import depth
from invocation.selectors import slo as records
from invocation.services import holds, slo
from invocation.services.dispatching import LEADER
from tests.integration.invocation.records import a_batch, a_dead_letter, a_run
from tests.integration.invocation.rows import NOW, a_job, a_process, a_turn

MINUTE = timedelta(minutes=1)


@pytest.fixture
def led() -> Iterator[None]:
    """Some dispatcher leads."""
    with own_connection() as session:
        session.execute("SELECT pg_advisory_lock(%s)", [LEADER])
        yield


def kept(name: str = "p1", *, now: datetime = NOW) -> SloRecord:
    slo.keep(now=now)
    return SloRecord.objects.filter(priority_class=name).latest("minute")


def test_every_class_is_recorded_once_a_minute(db: None) -> None:
    assert [slo.keep(now=NOW + timedelta(seconds=seconds)) for seconds in (5, 15, 59, 60)] == [4, 0, 0, 4]
    assert sorted(SloRecord.objects.values_list("minute", "priority_class")) == [
        (minute, name) for minute in (NOW, NOW + MINUTE) for name in ("p0", "p1", "p2", "p3")
    ]


@pytest.mark.django_db(transaction=True)
def test_of_two_beats_that_tick_at_once_one_records() -> None:
    done: list[int] = []

    def tick() -> None:
        done.append(slo.keep(now=NOW))
        connections.close_all()

    beats = [threading.Thread(target=tick) for _ in range(6)]
    for beat in beats:
        beat.start()
    for beat in beats:
        beat.join()

    assert sorted(done) == [0, 0, 0, 0, 0, 4]
    assert SloRecord.objects.count() == 4


def test_the_database_refuses_a_second_record_of_a_minute(db: None) -> None:
    row = kept()
    row.pk = None
    with pytest.raises(IntegrityError), transaction.atomic():
        row.save()


def test_a_record_tells_queue_slots_and_what_passed(db: None, led: None) -> None:
    slo.keep(now=NOW - MINUTE)
    a_process(slots=4)
    a_job(queued_at=NOW - timedelta(seconds=30))
    a_job(JobState.WORKING, dispatched_at=NOW - timedelta(seconds=20))
    a_job(JobState.WORKING, dispatched_at=NOW - timedelta(seconds=90))
    a_run(at=NOW - timedelta(seconds=10))
    a_run(at=NOW - timedelta(seconds=10), outcome="failed")
    a_run(at=NOW - timedelta(seconds=10), outcome="declined", started_at=NOW - timedelta(minutes=3))
    a_run(at=NOW - timedelta(seconds=70))
    row = kept()

    assert (row.depth, row.oldest_s, row.slots, row.busy) == (1, 30.0, 4, 2)
    assert (row.admitted, row.finished) == (3, 2)
    assert (row.is_led, row.holds) == (True, 0)


def test_turns_and_shards_have_records_of_their_own(db: None) -> None:
    slo.keep(now=NOW - MINUTE)
    now = datetime.now(UTC)
    a_turn(TurnState.QUEUED, now=now)
    a_turn(TurnState.WORKING, now=now)
    a_run(mode="streaming-sync", source="turn", at=now)
    a_batch(shards=3, started_at=now - timedelta(seconds=5))
    slo.keep(now=now)
    p0, _, _, p3 = SloRecord.objects.filter(at=now).order_by("priority_class")

    assert (p0.depth, p0.busy, p0.admitted, p0.finished) == (1, 1, 2, 1)
    assert (p3.depth, p3.admitted, p3.finished) == (2, 1, 1)


def test_a_batch_that_has_begun_does_not_wait(db: None) -> None:
    a_batch(started_at=NOW - timedelta(hours=5))
    assert kept("p3").oldest_s == 0

    fresh = a_batch(started_at=NOW - timedelta(minutes=7))
    fresh.shards.update(started_at=None)
    assert kept("p3", now=NOW + MINUTE).oldest_s == 8 * 60


def test_nobody_leads_and_something_is_held_is_on_record(db: None) -> None:
    holds.hold(HoldScope.CLASS, "p2", reason="r", by=None, now=NOW)
    row = kept()

    assert (row.is_led, row.holds) == (False, 1)


def test_the_days_volume_is_what_the_records_counted(db: None) -> None:
    for ago, finished in ((25 * 60, 1_000), (23 * 60, 500), (2, 40)):
        at = NOW - MINUTE * ago
        SloRecord.objects.create(**{**_figures(), "minute": at, "at": at, "finished": finished})
    a_run(at=NOW - timedelta(seconds=5))
    a_dead_letter(finished_at=NOW - timedelta(hours=3))
    a_dead_letter(finished_at=NOW - timedelta(hours=3), cause=Cause.BAD_INPUT)
    a_dead_letter(finished_at=NOW - timedelta(hours=25))
    row = kept()

    assert (row.dead, row.volume) == (1, 500 + 40 + row.finished + 1)


def _figures(**figures: Any) -> dict[str, Any]:
    zeros = dict.fromkeys(("depth", "oldest_s", "slots", "busy", "admitted", "finished", "dead", "volume", "holds"), 0)
    return {"priority_class": "p1", "minute": NOW, "at": NOW, "is_led": True, **zeros, **figures}


def test_what_passed_in_minutes_without_a_tick_counts_into_the_next_record(db: None) -> None:
    slo.keep(now=NOW - MINUTE * 10)
    a_run(at=NOW - MINUTE * 8)
    assert kept().finished == 1

    a_run(at=NOW + MINUTE)
    assert kept(now=NOW + timedelta(hours=3)).finished == 0


def test_records_are_forgotten_after_thirty_days(db: None) -> None:
    for days in (29, 31):
        at = NOW - timedelta(days=days)
        SloRecord.objects.create(**_figures(minute=at, at=at))
    slo.keep(now=NOW)

    assert SloRecord.objects.count() == 5


def p1() -> depth.Depth:
    return next(line for line in depth.depths() if line.priority_class == "p1")


def test_the_oldest_is_found_among_tenants_and_among_resumed_jobs(db: None) -> None:
    busy, calm = uuid4(), uuid4()
    a_job(tenant_id=busy, rank=0, queued_at=NOW - MINUTE)
    a_job(tenant_id=busy, queued_at=NOW - MINUTE * 9)
    a_job(tenant_id=calm, rank=0, queued_at=NOW - MINUTE * 2)
    assert p1().oldest_at == NOW - MINUTE * 9

    a_job(tenant_id=calm, queued_at=NOW - MINUTE * 20)
    assert (p1().waiting, p1().oldest_at) == (4, NOW - MINUTE * 20)


def test_a_job_behind_another_of_its_key_waits_for_no_slot(db: None) -> None:
    tenant = uuid4()
    a_job(JobState.WORKING, tenant_id=tenant, ordering_key="k")
    a_job(tenant_id=tenant, ordering_key="k", is_behind=True, queued_at=NOW - timedelta(days=3))

    assert p1() == depth.Depth("p1", "async-queue", 0, None)


def test_a_long_queue_is_estimated_not_counted(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    tenants = [uuid4() for _ in range(5)]
    for number in range(60):
        a_job(tenant_id=tenants[number % 5])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE invocation_job")
    assert p1().waiting == 60

    monkeypatch.setattr(depth, "MOST_COUNTED", 10)
    assert 30 <= p1().waiting <= 90


COLUMNS = """
SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
WHERE attrelid = 'invocation_job'::regclass AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('id', 'tenant_id')
"""


def test_the_cost_of_a_look_does_not_grow_with_the_backlog(db: None) -> None:
    """Of 20,000 queued jobs of 20 tenants a look at the oldest reads a row or two a tenant, and the count stops."""
    job = a_job()
    with connection.cursor() as cursor:
        cursor.execute(COLUMNS)
        (columns,) = cursor.fetchone()
        cursor.execute(
            f"INSERT INTO invocation_job (id, tenant_id, {columns}) SELECT gen_random_uuid(), md5((n %% 20)::text)::uuid, {columns}"
            " FROM invocation_job, generate_series(1, 20000) AS n WHERE id = %s",
            [job.pk],
        )
        cursor.execute("ANALYZE invocation_job")
        for statement, most in ((depth.OLDEST, 200), (depth.COUNTED, 10_000)):
            given: dict[str, str | int] = {"class": "p1", "tenants": depth.MOST_TENANTS, "most": depth.MOST_COUNTED}
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", given)
            [(plan,)] = cursor.fetchall()
            assert rows_read(plan[0]["Plan"]) <= most, plan


def rows_read(plan: dict[str, Any]) -> float:
    """Return how many rows the scans of a plan gave or threw away."""
    below = sum(rows_read(part) for part in plan.get("Plans", ()))
    if plan.get("Relation Name") != "invocation_job":
        return below
    return below + float((plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"])


def test_the_history_is_in_order_and_of_every_class(db: None) -> None:
    for minutes in range(3):
        slo.keep(now=NOW + MINUTE * minutes)
    found = records.history(since=NOW + MINUTE)

    assert {name: [sample.at for sample in samples] for name, samples in found.items()} == {
        name: [NOW + MINUTE, NOW + MINUTE * 2] for name in ("p0", "p1", "p2", "p3")
    }
