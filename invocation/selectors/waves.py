"""What admission of shards must know: open batches, what is at work or on its way, and what waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from django.db import connections
from django.db.models import Exists, OuterRef, Q, QuerySet

from invocation.domain.batches import BATCH_ENDED, BATCH_SENT, BatchState, Pause, ShardState
from invocation.domain.gathering import MOST_TRIES
from invocation.domain.waves import LONG_AGO, Line
from invocation.gateways.database import BATCH
from invocation.models import Batch, Shard
from invocation.models.admission import HoldScope
from quota.domain.days import UNLIMITED, DayLimits

MOST_BATCHES = 1_000
NO_LIMIT = Decimal(10**12)
_UNFINISHED = Q(state=ShardState.QUEUED) | Q(owner__isnull=False)

# One step into an index for each tenant, however many batches it has.
TENANTS = """
WITH RECURSIVE ring AS (
    (SELECT tenant_id FROM invocation_batch WHERE state IN ('planned', 'running') ORDER BY tenant_id LIMIT 1)
  UNION ALL
    SELECT (SELECT batch.tenant_id FROM invocation_batch AS batch
            WHERE batch.state IN ('planned', 'running') AND batch.tenant_id > ring.tenant_id ORDER BY batch.tenant_id LIMIT 1)
    FROM ring WHERE ring.tenant_id IS NOT NULL
)
SELECT tenant_id FROM ring WHERE tenant_id IS NOT NULL
"""
# Each tenant's oldest before anybody's second: who has opened thousands hides nobody else's.
BATCHES = """
SELECT found.id, one.tenant_id, found.endpoint, found.agent, found."window", found.served_at, coalesce(
    (SELECT max(batch.wave_at) FROM invocation_batch AS batch WHERE batch.tenant_id = one.tenant_id), %(long_ago)s) AS tenant_served_at
FROM unnest(%(tenants)s::uuid[]) AS one (tenant_id) CROSS JOIN LATERAL (
    SELECT id, endpoint, agent, "window", coalesce(wave_at, created_at) AS served_at, row_number() OVER (ORDER BY id) AS seat
    FROM invocation_batch AS batch
    WHERE batch.tenant_id = one.tenant_id AND state IN ('planned', 'running')
      AND endpoint <> ALL(%(endpoints)s) AND agent <> ALL(%(agents)s)
    ORDER BY id LIMIT %(most)s) AS found
ORDER BY found.seat, found.id LIMIT %(most)s
"""
# A few steps into an index of what waits, for each batch: what is done, or of other batches, is not looked at.
WAITING = """
SELECT one.batch_id, ARRAY(
    SELECT shard.id FROM invocation_shard AS shard
    WHERE shard.batch_id = one.batch_id AND shard.state = 'queued'
      AND (shard.sent_at IS NULL OR shard.sent_at <= %(since)s)
      AND (shard.due_at IS NULL OR shard.due_at <= %(now)s)
      AND shard.short_usd <= one.usd AND shard.short_tokens <= one.tokens
    ORDER BY shard.index LIMIT %(most)s)
FROM unnest(%(batches)s::uuid[], %(usd)s::numeric[], %(tokens)s::bigint[]) WITH ORDINALITY AS one (batch_id, usd, tokens, place)
ORDER BY one.place
"""
# Two small indexes: what is owned, and what was sent and not claimed yet.
AT_WORK = """
SELECT batch_id, count(*) FROM (
    SELECT batch_id FROM invocation_shard WHERE owner IS NOT NULL
    UNION ALL
    SELECT batch_id FROM invocation_shard WHERE state = 'queued' AND sent_at > %(since)s
) AS busy GROUP BY batch_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A batch that may have shards waiting, when it and its tenant were last given a slot, and what is left of the tenant's day."""

    id: UUID
    tenant_id: UUID
    endpoint: str
    agent: str
    window: Mapping[str, str] | None = None
    served_at: datetime = LONG_AGO
    tenant_served_at: datetime = LONG_AGO
    day: DayLimits = field(default=UNLIMITED)


def tenants() -> list[UUID]:
    """Return the tenants with a batch that runs or waits to."""
    with connections[BATCH].cursor() as cursor:
        cursor.execute(TENANTS)
        return [tenant for (tenant,) in cursor.fetchall()]


def open_batches(of: Sequence[UUID], *, without: Mapping[HoldScope, Sequence[str]]) -> list[Waiting]:
    """Return the batches of these tenants that run or wait to, without the endpoints and agents that are held.

    At most so many: each tenant's oldest comes before anybody's second.
    """
    held = {"endpoints": list(without[HoldScope.ENDPOINT]), "agents": list(without[HoldScope.AGENT])}
    with connections[BATCH].cursor() as cursor:
        cursor.execute(BATCHES, {"tenants": list(of), "most": MOST_BATCHES, "long_ago": LONG_AGO, **held})
        columns = [column.name for column in cursor.description]
        found = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    return [Waiting(**{**each, "window": each["window"] and orjson.loads(each["window"])}) for each in found]


def at_work(*, since: datetime) -> Counter[UUID]:
    """Return how many shards of each batch are at work, or were sent since then and are not claimed yet."""
    with connections[BATCH].cursor() as cursor:
        cursor.execute(AT_WORK, {"since": since})
        return Counter(dict(cursor.fetchall()))


def lines(waiting: Sequence[Waiting], busy: Counter[UUID], *, most: int, since: datetime, now: datetime) -> list[Line]:
    """Return what waits of each batch, in the batches' order: at most so many shards each, without those sent since then."""
    given: dict[str, Any] = {
        "batches": [batch.id for batch in waiting],
        "usd": [NO_LIMIT if batch.day.usd is None else batch.day.usd for batch in waiting],
        "tokens": [int(NO_LIMIT) if batch.day.tokens is None else batch.day.tokens for batch in waiting],
        "most": most,
        "since": since,
        "now": now,
    }
    known = {batch.id: batch for batch in waiting}
    with connections[BATCH].cursor() as cursor:
        cursor.execute(WAITING, given)
        found = cursor.fetchall()
    return [_line(known[batch], shards, busy[batch]) for batch, shards in found]


def _line(batch: Waiting, shards: Sequence[int], at_work: int) -> Line:
    return Line(batch=batch.id, tenant=batch.tenant_id, waiting=shards, at_work=at_work, served_at=batch.served_at)


def is_done(batch_id: UUID) -> bool:
    """Say whether a running batch has no shard left to run, or is being gathered already."""
    return _done().filter(pk=batch_id).exists()


def is_ungathered(batch_id: UUID) -> bool:
    """Say whether a batch ended early and what it has finished is not published yet, or is completed and its staging is there yet."""
    return _ungathered().filter(pk=batch_id).exists()


def left_behind(*, since: datetime, now: datetime) -> list[Batch]:
    """Return the batches that nobody was told to gather since then, though nothing of them is left to run and a try is due."""
    quiet = Q(wave_at__isnull=True) | Q(wave_at__lte=since)
    due = Q(gather_due_at__isnull=True) | Q(gather_due_at__lte=now)
    return [*_done().filter(quiet, due), *_ungathered().filter(quiet, due)]


def in_windows() -> list[Batch]:
    """Return the batches with a window that still have something to run, or wait for it."""
    unfinished = Shard.objects.filter(_UNFINISHED, batch=OuterRef("pk"))
    runs, waits = Q(Exists(unfinished), state__in=BATCH_SENT), Q(state=BatchState.PAUSED, pause__code=str(Pause.WINDOW))
    return list(Batch.objects.exclude(state__in=BATCH_ENDED).filter(runs | waits, window__isnull=False))


def _done() -> QuerySet[Batch]:
    unfinished = Shard.objects.filter(_UNFINISHED, batch=OuterRef("pk"))
    left = Batch.objects.exclude(state__in=BATCH_ENDED).filter(~Exists(unfinished))
    return left.filter(state__in=[BatchState.PLANNED, BatchState.RUNNING, BatchState.GATHERING])


def _ungathered() -> QuerySet[Batch]:
    """Shards at work when their batch ended are waited for: they keep what they have finished."""
    unfinished = Shard.objects.filter(_UNFINISHED, batch=OuterRef("pk"))
    ended = Batch.objects.filter(state__in=BATCH_ENDED, gathered_at__isnull=True, gather_tries__lt=MOST_TRIES)
    return ended.filter(~Exists(unfinished))
