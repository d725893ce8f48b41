"""What admission of shards must know: open batches, what is at work or on its way, and what waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import Exists, OuterRef, Q, QuerySet

from invocation.domain.batches import BATCH_ENDED, BatchState, Pause, ShardState
from invocation.domain.gathering import MOST_TRIES
from invocation.domain.waves import Line
from invocation.gateways.database import BATCH
from invocation.models import Batch, Shard
from invocation.models.admission import HoldScope
from quota.domain.classes import PriorityClass
from quota.domain.days import UNLIMITED, DayLimits

MOST_BATCHES = 1_000
NO_LIMIT = Decimal(10**12)
_RUNS = frozenset({BatchState.PLANNED, BatchState.RUNNING})
_UNFINISHED = Q(state=ShardState.QUEUED) | Q(owner__isnull=False)

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
    """A batch that may have shards waiting, and what is left of its tenant's day."""

    id: UUID
    tenant_id: UUID
    endpoint: str
    agent: str
    window: Mapping[str, str] | None = None
    day: DayLimits = field(default=UNLIMITED)

    @property
    def scopes(self) -> frozenset[tuple[HoldScope, str]]:
        """Return what a hold would name that keeps it waiting."""
        return frozenset(
            [
                (HoldScope.ENDPOINT, self.endpoint),
                (HoldScope.AGENT, self.agent),
                (HoldScope.TENANT, str(self.tenant_id)),
                (HoldScope.CLASS, str(PriorityClass.P3)),
            ]
        )


def open_batches() -> list[Waiting]:
    """Return the batches that run or wait to, oldest first."""
    found = Batch.objects.exclude(state__in=BATCH_ENDED).filter(state__in=_RUNS).order_by("id")
    rows = found.values("id", "tenant_id", "endpoint", "agent", "window")[:MOST_BATCHES]
    return [Waiting(**row) for row in rows]


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
    tenants = {batch.id: batch.tenant_id for batch in waiting}
    with connections[BATCH].cursor() as cursor:
        cursor.execute(WAITING, given)
        found = cursor.fetchall()
    return [Line(batch=batch, tenant=tenants[batch], waiting=shards, at_work=busy[batch]) for batch, shards in found]


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
    runs, waits = Q(Exists(unfinished), state__in=_RUNS), Q(state=BatchState.PAUSED, pause__code=str(Pause.WINDOW))
    return list(Batch.objects.exclude(state__in=BATCH_ENDED).filter(runs | waits, window__isnull=False))


def _done() -> QuerySet[Batch]:
    unfinished = Shard.objects.filter(_UNFINISHED, batch=OuterRef("pk"))
    left = Batch.objects.exclude(state__in=BATCH_ENDED).filter(~Exists(unfinished))
    return left.filter(state__in=[BatchState.PLANNED, BatchState.RUNNING, BatchState.GATHERING])


def _ungathered() -> QuerySet[Batch]:
    return Batch.objects.filter(state__in=BATCH_ENDED, gathered_at__isnull=True, gather_tries__lt=MOST_TRIES)
