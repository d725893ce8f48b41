"""Waves: which shards of all batches go into the free slots of class p3, and what goes on when one has ended."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from django.db import connections, transaction

from invocation.domain import windows
from invocation.domain.waves import LONG_AGO, Share, admitted
from invocation.gateways import dispatch
from invocation.gateways.database import BATCH
from invocation.models import Batch, Shard
from invocation.models.admission import HoldScope
from invocation.selectors import waves as seen
from invocation.selectors.admission import live_slots, open_holds
from invocation.services import batch_pauses, batches, gathering
from quota.domain.budgets import NONE
from quota.domain.callers import PlanTerms
from quota.domain.classes import PriorityClass
from quota.domain.days import DayLimits
from quota.selectors import terms_of
from quota.services import days

log = structlog.get_logger()

P3 = str(PriorityClass.P3)
ADMISSION = 0x54A1
"""The advisory lock under which the free slots are counted and given."""
TRUSTED = timedelta(seconds=10)
"""A shard sent longer ago that nobody claimed has lost its message."""


def admit(*, now: datetime) -> int:
    """Fill the free slots with waiting shards of all batches, and return how many were sent; each batch's go out as a chord.

    Anybody may call it at any time: the free slots are counted and given under one lock, and what was sent counts until it is
    claimed or not trusted any more. What it costs goes with the open batches and the free slots, not with the shards there are.
    """
    free = live_slots(now=now)[P3]
    waiting = _ready(now=now) if free else []
    if not waiting:
        return 0
    sent = 0
    for wave in _given(free, waiting, now=now):
        try:
            dispatch.send_wave(wave.shards, batch_id=wave.batch_id, wave=wave.number)
            sent += len(wave.shards)
        except dispatch.BrokerGone as gone:
            log.warning("broker_gone", error=str(gone), batch_id=str(wave.batch_id))
            Shard.objects.filter(pk__in=wave.shards, sent_at=now).update(sent_at=None)
    return sent


def _ready(*, now: datetime) -> list[seen.Waiting]:
    """Return the open batches in their window that nobody holds and whose tenant's day is not spent, each tenant's oldest first."""
    held: defaultdict[HoldScope, list[str]] = defaultdict(list)
    for scope, value in open_holds():
        held[scope].append(value)
    if P3 in held[HoldScope.CLASS]:
        return []
    left = _unspent([tenant for tenant in seen.tenants() if str(tenant) not in held[HoldScope.TENANT]], now=now)
    found = seen.open_batches(list(left), without=held)
    return [replace(batch, day=left[batch.tenant_id]) for batch in found if windows.is_open(batch.window, now)]


def _unspent(tenants: Iterable[UUID], *, now: datetime) -> Mapping[UUID, DayLimits]:
    """Return what is left of the day of each tenant whose day is not spent."""
    return {tenant: day for tenant, day in days.left_of_many(tenants, now=now).items() if day.is_spent(NONE) is None}


def _given(slots: int, waiting: Sequence[seen.Waiting], *, now: datetime) -> list[batches.Wave]:
    """Give the free slots away, in one transaction that nobody else's crosses."""
    served = {batch.tenant_id: batch.tenant_served_at for batch in waiting}
    terms = terms_of(served)
    with transaction.atomic(using=BATCH):
        with connections[BATCH].cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ADMISSION])
        at_work = seen.at_work(since=now - TRUSTED)
        free = slots - at_work.total()
        if free <= 0:
            return []
        lines = seen.lines(waiting, at_work, most=free, since=now - TRUSTED, now=now)
        chosen = admitted(free, lines, _shares(served, terms, at_work))
        return [batches.begin_wave(batch_id, shards, now=now) for batch_id, shards in chosen.items()]


def _shares(served: Mapping[UUID, datetime], terms: Mapping[UUID, PlanTerms], at_work: Counter[UUID]) -> Mapping[UUID, Share]:
    """Return what each of these tenants has at work and may have."""
    of_tenants = _by_tenant(at_work)
    return {tenant: _share(terms.get(tenant), of_tenants[tenant], served_at) for tenant, served_at in served.items()}


def _share(plan: PlanTerms | None, at_work: int, served_at: datetime) -> Share:
    share = Share(at_work=at_work, served_at=served_at)
    return replace(share, most=plan.in_flight.get(PriorityClass.P3), weight=plan.weight) if plan else share


def _by_tenant(at_work: Counter[UUID]) -> Counter[UUID]:
    tenants: Mapping[UUID, UUID] = dict(Batch.objects.filter(pk__in=at_work).values_list("pk", "tenant_id"))
    counted: Counter[UUID] = Counter()
    for batch_id, count in at_work.items():
        counted[tenants[batch_id]] += count
    return counted


def go_on(batch_id: UUID, *, now: datetime) -> int:
    """Let a batch that was opened, resumed or released go on; what is left or ended early without a shard to run is gathered."""
    if seen.is_done(batch_id) or seen.is_ungathered(batch_id):
        _send_end(Batch.objects.get(pk=batch_id), now=now)
    return admit(now=now)


def after_wave(batch_id: UUID) -> None:
    """The chord's body: gather the batch if nothing of it is left, or publish what it has if it ended early; then admit the next of all.

    Gathering may take minutes: shards are sent, and slots counted, as of its end.
    """
    now = datetime.now(UTC)
    if seen.is_done(batch_id):
        gathering.gather(batch_id, now=now)
    elif seen.is_ungathered(batch_id):
        gathering.gather_rest(batch_id, now=now)
    admit(now=datetime.now(UTC))


def after_shard() -> None:
    """Give a slot that has just become free at once, not only when the whole wave has ended."""
    admit(now=datetime.now(UTC))


def sweep(*, now: datetime) -> int:
    """Make true again what a lost message, worker, broker or callback left behind; return how many were sent.

    Batches whose window closed are paused, and those whose window opened go on.
    Shards of processes that are gone are queued, or cancelled where their batch has ended; slots are filled;
    a batch of which nothing is left is gathered.
    """
    batches.rescue_shards(now=now)
    batches.cancel_left(now=now)
    for batch in seen.in_windows():
        _ = batch_pauses.close_window(batch, now=now) or batch_pauses.open_window(batch, now=now)
    for batch in seen.left_behind(since=now - TRUSTED, now=now):
        _send_end(batch, now=now)
    return admit(now=now)


def _send_end(batch: Batch, *, now: datetime) -> None:
    Batch.objects.filter(pk=batch.pk).update(wave_at=now)
    try:
        dispatch.send_wave_end(batch.pk, wave=batch.wave)
    except dispatch.BrokerGone as gone:
        log.warning("broker_gone", error=str(gone), batch_id=str(batch.pk))


def others_wait(batch: Batch, *, now: datetime) -> bool:
    """Say whether a batch or a tenant with fewer shards at work waits for a slot that this batch has, and would be given it."""
    at_work = seen.at_work(since=now - TRUSTED)
    if live_slots(now=now)[P3] > at_work.total():
        return False
    ready = [each for each in _ready(now=now) if each.id != batch.pk]
    served = {batch.tenant_id: LONG_AGO} | {each.tenant_id: each.tenant_served_at for each in ready}
    shares = _shares(served, terms_of(served), at_work)
    rivals = [each for each in ready if _comes_before(each, batch, at_work, shares)]
    return any(line.waiting for line in seen.lines(rivals, at_work, most=1, since=now - TRUSTED, now=now))


def _comes_before(other: seen.Waiting, batch: Batch, at_work: Counter[UUID], shares: Mapping[UUID, Share]) -> bool:
    """Say whether a slot that the batch gave back would be the other's. A tenant's own makes room for itself under its plan's cap."""
    if other.tenant_id == batch.tenant_id:
        return at_work[other.id] < at_work[batch.pk]
    return shares[other.tenant_id].takes_from(shares[batch.tenant_id])
