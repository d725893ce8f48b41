"""Who opens much hides nobody else's batches, and a slot that a shard makes way for goes to whom it made way for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from uuid6 import uuid7

from invocation.domain.batches import BatchState
from invocation.domain.waves import LONG_AGO
from invocation.gateways.database import BATCH, off_loop
from invocation.gateways.presence import own_connection
from invocation.models import Batch, Process, Shard
from invocation.models.admission import HoldScope
from invocation.selectors import waves as seen
from invocation.services import holds, manifests, planning, shard_runs, shards, waves
from invocation.services.shard_engine import ShardEngine
from quota.domain.budgets import Spending
from quota.domain.days import day_of
from quota.gateways import day_counts
from quota.models import Plan
from tests.integration.invocation.batches.planned import LINES, is_stopping, manifest, opened, unread
from tests.integration.invocation.batches.test_planning import of
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.rows import NOW, a_process, a_tenant
from tests.integration.invocation.trial import DONE, GATES

pytestmark = [pytest.mark.usefixtures("tried", "wiped"), pytest.mark.django_db(transaction=True)]
LATER = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def worker() -> Process:
    return a_process("p3", slots=16, lease=timedelta(hours=1))


def sent(batch: Batch, *, at: datetime = NOW) -> int:
    return batch.shards.filter(sent_at=at).count()


def one_slot() -> None:
    Process.objects.update(slots=1)


def claimed(batch: Batch, owner: Process) -> Shard:
    """Let a worker take what was sent of a batch."""
    found = shards.claim(batch.shards.exclude(sent_at=None).get(state="queued").pk, owner=owner.pk)
    assert found is not None
    return found.shard


def keep_out(why: str, tenant: UUID, batches: list[Batch], worker: Process) -> None:
    """Let none of a tenant's batches have a slot, for one reason or another."""
    scopes = {"tenant": str(tenant), "endpoint": "other@1", "agent": "other@1"}
    if why in scopes:
        holds.hold(HoldScope(why), scopes[why], reason="a repair", by=None, now=NOW)
        Batch.objects.filter(tenant_id=tenant).update(**({} if why == "tenant" else {why: scopes[why]}))
    elif why == "spent":
        day_counts.fill_now(tenant, day_of(NOW), used=Spending(Decimal(1), 0), under_way=Spending())
    else:
        assert shards.claim(batches[0].shards.get().pk, owner=worker.pk)


@pytest.mark.parametrize("why", ["tenant", "endpoint", "agent", "spent", "capped"])
def test_a_tenant_that_has_opened_thousands_hides_nobody_elses(why: str, worker: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "MOST_BATCHES", 3)
    tenant = a_tenant(f"opens-much-{why}", requests_per_minute=10_000, daily_usd=Decimal(1) if why == "spent" else None, in_flight_p3=1)
    many = [opened(LINES[:2], shards=1, tenant=tenant) for _ in range(4)]
    keep_out(why, tenant, many, worker)
    other = opened(LINES[:2], shards=1)

    assert waves.admit(now=NOW) == 1
    assert sent(other) == 1


def test_each_tenants_oldest_comes_before_anybodys_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "MOST_BATCHES", 3)
    one, other = uuid4(), uuid4()
    first, second, _, theirs = (opened(LINES[:2], shards=1, tenant=tenant) for tenant in (one, one, one, other))

    found = seen.open_batches([one, other], without={HoldScope.ENDPOINT: [], HoldScope.AGENT: []})
    assert [batch.id for batch in found] == [first.pk, theirs.pk, second.pk]


def test_open_batches_are_read_by_their_tenants_however_many_there_are() -> None:
    batch = opened()
    columns = {field.attname: getattr(batch, field.attname) for field in Batch._meta.concrete_fields}
    ended = {**columns, "state": BatchState.COMPLETED, "finished_at": NOW, "gathered_at": NOW, "wave_at": NOW}
    tenants = [uuid4() for _ in range(50)]
    others = [{**columns, "tenant_id": tenants[number % 50]} for number in range(2_500)]
    Batch.objects.bulk_create([Batch(**{**each, "id": uuid7()}) for each in [*others, *2_500 * [ended]]], batch_size=1_000)
    asked = {"tenants": [batch.tenant_id], "endpoints": [], "agents": [], "most": 1_000, "long_ago": LONG_AGO}
    with own_connection(using=BATCH) as session:
        session.execute("ANALYZE invocation_batch")
        plans = [session.execute("EXPLAIN " + statement, given) for statement, given in ((seen.TENANTS, None), (seen.BATCHES, asked))]
        told = ["\n".join(line for (line,) in plan.fetchall()) for plan in plans]

    assert all("Seq Scan on invocation_batch" not in plan and "batch_sent_by_tenant" in plan for plan in told), told
    assert "batch_served" in told[1]


def test_two_who_share_one_slot_have_it_by_turns(worker: Process) -> None:
    one_slot()
    big, small = opened(shards=4), opened(shards=4, tenant=uuid4())
    for turn in range(4):
        now = NOW + turn * LATER
        has, waits = (small, big) if turn % 2 else (big, small)
        assert waves.admit(now=now) == 1
        assert (sent(has, at=now), sent(waits, at=now)) == (1, 0)
        shard = claimed(has, worker)
        assert waves.others_wait(has, now=now)
        shards.hand_back(shard)


def test_two_batches_of_one_tenant_have_its_one_slot_by_turns(worker: Process) -> None:
    one_slot()
    first, second = opened(shards=2), opened(shards=2)
    assert waves.admit(now=NOW + LATER) == 1
    shard = claimed(first, worker)
    assert waves.others_wait(first, now=NOW + LATER)
    shards.hand_back(shard)

    assert waves.admit(now=NOW + 2 * LATER) == 1
    assert sent(second, at=NOW + 2 * LATER) == 1


def test_a_tenant_whose_batch_has_just_ended_is_not_served_next_by_another() -> None:
    one_slot()
    first, second = (opened(LINES[:2], shards=1) for _ in range(2))
    other = opened(LINES[:2], shards=1, tenant=uuid4())
    assert waves.admit(now=NOW) == 1
    first.shards.update(state="completed", finished_at=NOW)
    Batch.objects.filter(pk=first.pk).update(state=BatchState.COMPLETED, finished_at=NOW, gathered_at=NOW)

    assert waves.admit(now=NOW + LATER) == 1
    assert (sent(second, at=NOW + LATER), sent(other, at=NOW + LATER)) == (0, 1)


def test_a_tenant_that_may_have_no_more_does_not_wait(worker: Process) -> None:
    Process.objects.update(slots=4)
    poor = a_tenant("capped-at-one", requests_per_minute=1_000, in_flight_p3=1)
    theirs, rich = opened(shards=4, tenant=poor), opened(shards=8)
    assert shards.claim(theirs.shards.get(index=0).pk, owner=worker.pk)
    for index in range(3):
        assert shards.claim(rich.shards.get(index=index).pk, owner=worker.pk)
    assert not waves.others_wait(rich, now=NOW)

    Plan.objects.filter(tenants=poor).update(in_flight_p3=2)
    assert waves.others_wait(rich, now=NOW)


@pytest.fixture
def sharing(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """A batch that has the only slot, and whose time slice is over at once, while another waits."""
    settings.SHARD_SLICE_S, settings.ROWS_OF_A_SHARD = 0.0, 16
    monkeypatch.setattr(shard_runs, "LOOK_S", 0.01)
    Process.objects.update(slots=1, lease_until=datetime.now(UTC) + timedelta(hours=1))
    batch = opened([{**line, "wait": "slice"} for line in LINES], shards=1)
    opened(LINES[:4], shards=1, tenant=uuid4())
    return batch


def test_a_time_slice_begins_with_the_first_row(
    on_loop: OnLoop[Any], worker: Process, sharing: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifest takes longer to read than a slice lasts: it would be handed back where it was, for ever."""
    real, is_readable = manifests.read, threading.Event()

    def slowly(*given: Any, **terms: Any) -> Iterator[Any]:
        assert is_readable.wait(30)
        yield from real(*given, **terms)

    monkeypatch.setattr(manifests, "read", slowly)

    async def story() -> str:
        engine = ShardEngine(owner=worker.pk)
        running = asyncio.create_task(engine.run((await off_loop(sharing.shards.get)).pk))
        await asyncio.sleep(0.5)
        assert not is_stopping(engine)
        is_readable.set()
        await until(lambda: DONE["runs"] == 16)
        await until(lambda: is_stopping(engine))
        GATES["slice"].set()
        return await running

    assert on_loop(story()) == "sliced"
    assert sharing.shards.get().position == DONE["runs"] == 16


def test_rows_that_take_longer_than_a_slice_and_any_grace_run_once(
    on_loop: OnLoop[Any], worker: Process, sharing: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row ends long before the others: the shard has made progress then, and still none of them is cut off."""
    monkeypatch.setattr(shard_runs, "GRACE_S", 0.0)
    batch = opened([{**line, "wait": line["row_id"]} for line in LINES[:24]], shards=1)
    began = [str(line["row_id"]) for line in LINES[:16]]

    async def story() -> str:
        engine = ShardEngine(owner=worker.pk)
        running = asyncio.create_task(engine.run((await off_loop(batch.shards.get)).pk))
        await until(lambda: DONE["runs"] == 16)
        await until(lambda: is_stopping(engine))
        for row in began:
            GATES[row].set()
            await asyncio.sleep(0.05)
        return await running

    assert on_loop(story()) == "sliced"
    assert batch.shards.get().position == DONE["runs"] == 16


def test_rows_are_cut_off_when_the_process_ends_also_behind_a_slice(
    on_loop: OnLoop[Any], worker: Process, sharing: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_runs, "GRACE_S", 0.0)

    async def story() -> str:
        engine = ShardEngine(owner=worker.pk)
        running = asyncio.create_task(engine.run((await off_loop(sharing.shards.get)).pk))
        await until(lambda: DONE["runs"] == 16)
        await until(lambda: is_stopping(engine))
        await engine.drain(timedelta(seconds=30))
        return await running

    assert on_loop(story()) == "sliced"
    shard = sharing.shards.get()
    assert (shard.state, shard.position, shard.lost_calls) == ("queued", 0, 0)


def test_a_planner_goes_round_the_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = UUID(int=1), UUID(int=2)
    first, second, third = (unread(of(manifest(LINES)), tenant=one) for _ in range(3))
    theirs = unread(of(manifest(LINES)), tenant=other)
    real, planned = planning.plan, []

    def noted(batch_id: UUID, **terms: Any) -> None:
        planned.append(batch_id)
        real(batch_id, **terms)

    monkeypatch.setattr(planning, "plan", noted)
    planning.Planner().take(first.pk)

    assert planned == [first.pk, theirs.pk, second.pk, third.pk]
