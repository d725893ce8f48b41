"""A tenant's spent day: jobs wait for the next, batches pause, chats are refused, and whoever copes finishes with what it has."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from invocation.domain.batches import ShardState
from invocation.domain.budgets import Wish
from invocation.domain.errors import ManifestInvalid, TooManyTurns
from invocation.domain.jobs import JobState
from invocation.domain.manifests import form_of
from invocation.domain.openings import RETRY_SATURATED
from invocation.gateways import declared, objects
from invocation.gateways.database import off_loop
from invocation.models import Batch, BatchRow, Job, Turn
from invocation.selectors import outstanding
from invocation.services import batch_openings, batch_pauses, jobs, shards, waves
from invocation.services.batch_openings import BatchOpening
from invocation.services.manifests import Manifest
from invocation.services.turn_openings import Opening, open_turn
from quota.domain.budgets import Spending
from quota.domain.classes import PriorityClass
from quota.domain.days import day_of, ends_in
from quota.domain.errors import LargerThanDay
from quota.gateways import day_counts, windows
from quota.models import BatchLedgerEntry, LedgerEntry, Plan
from quota.services import days, plans
from quota.services.limits import known_limits
from tests.integration.invocation.batches.planned import Workers, results
from tests.integration.invocation.budgets.replaying import booked, output, spending
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.rows import a_job, a_process, a_session, a_tenant, a_turn, told
from tests.integration.invocation.waits.playing import played
from tests.integration.invocation.workers import at_rest, job_worker, wakes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wiped")]
CENT = Decimal("0.01")
MODEL = ("offline", "gearbox-offline-standard")


def a_day_of(usd: str | None = None, tokens: int | None = None, **terms: Any) -> UUID:
    limits = {"daily_usd": None if usd is None else Decimal(usd), "daily_tokens": tokens}
    return a_tenant(f"daily-{usd}-{tokens}".replace(".", "-"), requests_per_minute=10_000, **limits, **terms)


def a_spent_day(**terms: Any) -> UUID:
    """A tenant whose day had room for its calls and has none left."""
    tenant = a_day_of("1.00", 100_000, **terms)
    day_counts.fill_now(tenant, day_of(datetime.now(UTC)), used=Spending(Decimal(1), 90_000), under_way=Spending())
    return tenant


def test_two_hundred_calls_at_once_spend_at_most_the_last_cent_of_the_day(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, spending({"calls": 200, "copes": True}, tenant_id=a_day_of("0.01")))
    made = output(job)["made"]

    assert set(made) == {"standard", "daily_budget_spent"}
    assert 0 < booked().usd <= CENT
    assert made["standard"] == booked().calls


def test_who_waits_for_what_is_set_aside_of_its_day_holds_none_of_the_models_quota(on_loop: OnLoop[Any]) -> None:
    tenant = a_day_of("0.01")
    job, limits = spending({"calls": 1}, tenant_id=tenant), known_limits(*MODEL)

    def held_of_the_model() -> int:
        return int(windows.read({MODEL: limits})[MODEL].minute[PriorityClass.P1].tokens)

    async def story() -> int:
        first = await days.take(tenant, Spending(CENT), priority_class=PriorityClass.P1, under_way=nothing_under_way, hold_id=uuid4())
        async with job_worker() as engine:
            engine.accept(await off_loop(wakes, [job]))
            await until(lambda: held_of_the_model() > 0)
            await until(lambda: held_of_the_model() == 0)
            waiting = engine.in_flight
            await days.settle(first, Spending())
            await at_rest(engine)
        return waiting

    assert on_loop(story()) == 1
    assert Job.objects.get(pk=job).state == "completed"


async def nothing_under_way() -> Spending:
    return Spending()


def test_a_job_whose_tenants_day_is_spent_waits_for_the_next_charged_to_nobody(on_loop: OnLoop[Any]) -> None:
    tenant = a_spent_day()
    before = datetime.now(UTC)
    job = played(on_loop, spending({"calls": 1, "most": 500}, tenant_id=tenant))

    assert (job.state, job.reason, job.failures, job.losses, job.error) == ("waiting", "daily_budget_spent", 0, 0, None)
    assert job.due_at is not None
    assert before + ends_in(before) <= job.due_at <= before + ends_in(before) + timedelta(minutes=1)
    assert told(job)[-1][1] == "job.waiting"

    Plan.objects.filter(tenants=tenant).update(daily_usd=2)
    plans.forget()
    assert jobs.wake_due(now=job.due_at) == 1
    assert played(on_loop, job.pk).state == "completed"


def test_a_job_that_waits_for_the_next_day_still_expires(on_loop: OnLoop[Any]) -> None:
    until = datetime.now(UTC) + timedelta(seconds=30)
    tenant = a_day_of(tokens=10_000)
    day_counts.fill_now(tenant, day_of(datetime.now(UTC)), used=Spending(tokens=10_000), under_way=Spending())
    job = played(on_loop, spending({"calls": 1, "most": 500}, tenant_id=tenant, expires_at=until))
    assert (job.state, job.reason) == ("waiting", "daily_tokens_spent")

    assert jobs.expire_due(now=until + timedelta(seconds=1)) == 1
    job.refresh_from_db()
    assert (job.state, job.reason) == ("cancelled", "expired")


def test_one_tenants_spent_day_is_nobody_elses(on_loop: OnLoop[Any]) -> None:
    poor, rich = spending({"calls": 1}, tenant_id=a_spent_day()), spending({"calls": 1}, tenant_id=a_day_of("2"))
    played(on_loop, poor, rich)

    assert [Job.objects.get(pk=each).state for each in (poor, rich)] == ["waiting", "completed"]


@pytest.mark.parametrize(("usd", "tokens"), [("0.01", None), (None, 100)])
def test_a_job_whose_call_no_day_has_room_for_ends_at_once_and_says_what_the_plan_allows(
    on_loop: OnLoop[Any], usd: str | None, tokens: int | None
) -> None:
    job = played(on_loop, spending({"calls": 1, "most": 8_000, "raises": True}, tenant_id=a_day_of(usd, tokens)))

    assert (job.state, job.failures, job.cause, job.reason) == ("failed", 1, "budget", "larger_than_day")
    assert job.error is not None
    assert f"allows {usd or tokens} " in job.error["sentence"]
    assert not LedgerEntry.objects.exists()


def test_text_that_is_no_prose_sets_aside_what_it_may_count_for(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, spending({"calls": 1, "text": "0123456789" * 50, "raises": True}, tenant_id=a_day_of(tokens=400)))

    assert (job.state, job.reason) == ("failed", "larger_than_day")
    assert not LedgerEntry.objects.exists()


def test_a_call_that_no_day_has_room_for_gives_way_to_a_cheaper_one(on_loop: OnLoop[Any]) -> None:
    asked = {"calls": 1, "most": 8_000, "tiers": ["standard", "economy"]}
    job = played(on_loop, spending(asked, tenant_id=a_day_of("0.01")))

    assert output(job)["made"] == {"economy cost": 1}


def test_an_input_whose_estimate_no_day_has_room_for_is_refused_and_nothing_is_written() -> None:
    tenant = a_day_of(tokens=99)

    with pytest.raises(LargerThanDay, match="plan allows 99 tokens a day") as refusal:
        spending({"text": "x"}, tenant_id=tenant, endpoint="spender-long@1")
    assert refusal.value.facts == {"limit": 99, "found": 100}
    assert not Job.objects.exists()


def test_a_manifest_names_the_line_that_no_day_has_room_for() -> None:
    with pytest.raises(ManifestInvalid, match=r"Line 1: .* plan allows 0 tokens a day") as refusal:
        a_batch(a_day_of(tokens=0), 2)
    assert refusal.value.facts["reason"] == "larger_than_day"


def test_what_may_be_under_way_is_counted_when_a_day_begins_anew() -> None:
    tenant = a_tenant("house")
    a_job(JobState.WORKING, tenant_id=tenant, held_usd=Decimal("0.02"), held_tokens=200)
    a_job(JobState.QUEUED, tenant_id=tenant, held_usd=Decimal(5))
    a_turn(session=a_session(tenant))
    a_turn(session=a_session())

    assert outstanding.under_way(tenant) == Spending(Decimal("0.07"), 60_200)


def lines_of(count: int) -> list[dict[str, Any]]:
    return [{"row_id": f"row-{number:03d}", "calls": 1, "text": f"Row {number}"} for number in range(count)]


def a_batch(tenant: UUID, count: int, *, shards: int = 1) -> Batch:
    source = Path(objects.store_of(tenant).at("manifests/days.jsonl"))
    objects.write_whole(source, "".join(json.dumps(line) + "\n" for line in lines_of(count)).encode())
    endpoint = declared.book().find("spender-batch@1")
    opening = BatchOpening(
        tenant_id=tenant, endpoint=endpoint, manifest=Manifest(location=str(source), form=form_of(source.name)), shards=shards, wish=Wish()
    )
    return batch_openings.open_batch(opening, now=datetime.now(UTC))


def test_a_batch_pauses_when_the_day_is_spent_and_finishes_each_row_once_the_next_day(on_loop: OnLoop[Any]) -> None:
    """Rows that were finished beside those that the day refused are kept, and not run again."""
    tenant, workers = a_day_of("1.00"), Workers(on_loop)
    day_counts.fill_now(tenant, day_of(datetime.now(UTC)), used=Spending(Decimal("0.998"), 0), under_way=Spending())
    batch = a_batch(tenant, 100)
    [shard] = batch.shards.all()
    assert workers.run(shard.pk) == ["held"]
    shard.refresh_from_db()
    assert shard.state == ShardState.QUEUED
    assert 0 < shard.position + sum(end - first for first, end in shard.ahead) < 100
    assert not BatchRow.objects.exists()
    assert booked().usd <= Decimal("0.002")

    Plan.objects.filter(tenants=tenant).update(daily_usd=5)
    plans.forget()
    finished = workers.finish(batch)
    assert finished.state == "completed"
    assert results(finished) == Counter(line["row_id"] for line in lines_of(100))
    assert BatchLedgerEntry.objects.count() == 100


def test_a_batch_whose_next_row_the_rest_of_the_day_does_not_hold_sends_no_wave_until_the_next(on_loop: OnLoop[Any]) -> None:
    """The day is not spent: a little is left, less than the row could take."""
    tenant, workers, now = a_day_of("1.00"), Workers(on_loop), datetime.now(UTC)
    day_counts.fill_now(tenant, day_of(now), used=Spending(Decimal("0.99999"), 0), under_way=Spending())
    a_process("p3", lease=timedelta(days=3), now=now)
    batch = a_batch(tenant, 4)
    assert waves.go_on(batch.pk, now=now) == 1
    [shard] = batch.shards.all()
    assert workers.run(shard.pk) == ["held"]

    assert not batch_pauses.is_held(batch)
    assert waves.go_on(batch.pk, now=now) == 0
    assert waves.sweep(now=now + timedelta(minutes=5)) == 0
    assert waves.go_on(batch.pk, now=now + timedelta(days=1)) == 1


def test_a_shard_whose_next_row_fits_goes_on_beside_one_whose_does_not(on_loop: OnLoop[Any]) -> None:
    tenant, now = a_day_of("1.00"), datetime.now(UTC)
    day_counts.fill_now(tenant, day_of(now), used=Spending(Decimal("0.99"), 0), under_way=Spending())
    batch = a_batch(tenant, 4, shards=2)
    batch.shards.filter(index=0).update(short_usd=Decimal("0.02"))
    a_process("p3", now=now)

    assert waves.go_on(batch.pk, now=now) == 1
    Plan.objects.filter(tenants=tenant).update(daily_usd=5)
    plans.forget()
    assert waves.go_on(batch.pk, now=now) == 1


def test_a_batch_of_a_tenant_whose_day_is_gone_sends_no_wave_and_claims_no_shard(on_loop: OnLoop[Any]) -> None:
    tenant = a_day_of("0.01")
    batch = a_batch(tenant, 4)
    day = day_of(datetime.now(UTC))
    day_counts.fill_now(tenant, day, used=Spending(CENT, 0), under_way=Spending())

    assert waves.go_on(batch.pk, now=datetime.now(UTC)) == 0
    assert shards.claim(batch.shards.get().pk, owner=a_process("p3").pk) is None


def test_a_plans_cap_holds_shards_however_many_batches_a_tenant_has() -> None:
    tenant = a_tenant("capped-p3", requests_per_minute=1_000, in_flight_p3=3)
    one, other = a_batch(tenant, 8, shards=4), a_batch(tenant, 8, shards=4)
    owner = a_process("p3", slots=16, now=datetime.now(UTC)).pk
    claimed = [shards.claim(shard.pk, owner=owner) for batch in (one, other) for shard in batch.shards.order_by("index")]

    assert [each is not None for each in claimed] == [True] * 3 + [False] * 5
    assert waves.go_on(other.pk, now=datetime.now(UTC)) == 0
    first = claimed[0]
    assert first is not None
    shards.hand_back(first.shard)
    assert waves.go_on(other.pk, now=datetime.now(UTC)) == 1


def opening(tenant: UUID, *, at_once: int | None) -> Opening:
    return Opening(tenant_id=tenant, endpoint=declared.book().find("spender-chat@1"), input={}, at_once=at_once)


def test_a_plans_cap_holds_open_turns_and_the_refusal_says_when_to_come_back() -> None:
    now = datetime.now(UTC)
    a_process("p0", slots=10, now=now)
    tenant = a_tenant("house")
    for _ in range(2):
        open_turn(opening(tenant, at_once=2), now=now)

    with pytest.raises(TooManyTurns) as refusal:
        open_turn(opening(tenant, at_once=2), now=now)
    assert (refusal.value.facts, refusal.value.retry_after) == ({"limit": 2, "used": 2}, RETRY_SATURATED)
    assert Turn.objects.filter(tenant_id=tenant).count() == 2
    open_turn(opening(a_tenant("house"), at_once=2), now=now)


def test_openings_at_once_pass_no_cap(on_loop: OnLoop[Any]) -> None:
    now = datetime.now(UTC)
    a_process("p0", slots=100, now=now)
    tenant = a_tenant("house")

    async def one() -> bool:
        try:
            await off_loop(open_turn, opening(tenant, at_once=3), now=now)
        except TooManyTurns:
            return False
        return True

    async def story() -> int:
        return sum(await asyncio.gather(*(one() for _ in range(30))))

    assert on_loop(story()) == 3
