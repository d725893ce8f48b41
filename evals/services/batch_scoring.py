"""Scoring a batch's dataset offline, on p3: accepted from the outbox, woken until it is done, at most three times begun."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F

from agents.services import loading
from evals import selectors
from evals.gateways import dispatch
from evals.models import BatchScoring
from evals.services import verdicts
from evals.services.verdicts import Candidate
from invocation.services import datasets, outbox
from invocation.services.batches import COMPLETED_TOPIC
from invocation.services.outbox import Told

log = structlog.get_logger()
ROWS_AT_ONCE = 500
MOST_TRIES = 3
MOST_WOKEN = 20
PATIENCE = dispatch.MESSAGE_LIFE
"""A batch of which nothing was heard for so long gets another worker."""


@transaction.atomic
def accept(*, now: datetime) -> int:
    """Take the completed batches over from the outbox; return how many there were."""
    taken = outbox.take(COMPLETED_TOPIC, most=ROWS_AT_ONCE)
    rows = [_row(told, now=now) for told in taken]
    BatchScoring.objects.bulk_create([row for row in rows if row], ignore_conflicts=True)
    return len(taken)


def wake(*, now: datetime) -> int:
    """Send a wake-up for each batch that is due, and make it due again later; return how many were sent."""
    with transaction.atomic():
        open_rows = BatchScoring.objects.filter(finished_at__isnull=True, tries__lt=MOST_TRIES, due_at__lte=now)
        due = list(open_rows.select_for_update(skip_locked=True, no_key=True).order_by("due_at").values_list("pk", flat=True)[:MOST_WOKEN])
        BatchScoring.objects.filter(pk__in=due).update(due_at=now + PATIENCE)
    for batch_id in due:
        dispatch.score_batch(batch_id)
    return len(due)


def score_batch(batch_id: UUID, *, now: datetime) -> int:
    """Score a batch's rows and return how many were read; 0 for one that is finished or was given up.

    Rows are stored 500 at a time. Started again after a crash it reads all rows again and stores
    only those without a score. Raises what reading the dataset raises; then it is due again.
    """
    loading.load(settings.AGENT_MODULES)
    if not _begin(batch_id, now=now):
        return 0
    scoring = BatchScoring.objects.get(pk=batch_id)
    read = sum(_flush(scoring, rows, now=now) for rows in _by_pages(datasets.rows(batch_id)))
    BatchScoring.objects.filter(pk=batch_id, finished_at__isnull=True).update(rows=read, finished_at=now)
    return read


def _begin(batch_id: UUID, *, now: datetime) -> bool:
    """Count a try before it is made, so that a batch that kills its worker is given up too."""
    open_rows = BatchScoring.objects.filter(pk=batch_id, finished_at__isnull=True, tries__lt=MOST_TRIES)
    return bool(open_rows.update(tries=F("tries") + 1, due_at=now + PATIENCE))


def _flush(scoring: BatchScoring, rows: list[Mapping[str, Any]], *, now: datetime) -> int:
    verdicts.write([_candidate(scoring, row) for row in rows], shares=selectors.shares(), now=now)
    BatchScoring.objects.filter(pk=scoring.pk).update(due_at=datetime.now(UTC) + PATIENCE)
    return len(rows)


def _by_pages(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    left = iter(rows)
    while page := list(islice(left, ROWS_AT_ONCE)):
        yield page


def _candidate(scoring: BatchScoring, row: Mapping[str, Any]) -> Candidate:
    told = {"agent": scoring.agent, "mode": scoring.mode, **{part: row[part] for part in ("input", "facts", "output")}}
    return Candidate(run_id=UUID(row["run_id"]), tenant_id=scoring.tenant_id, endpoint=scoring.endpoint, told=told)


def _row(told: Told, *, now: datetime) -> BatchScoring | None:
    """Return what is to be scored, or None for an event that does not say it: it is logged and passed over."""
    try:
        named = {part: str(told.data[part]) for part in ("endpoint", "agent", "mode")}
    except (KeyError, TypeError):
        log.exception("batch_not_scored", batch_id=str(told.run_id))
        return None
    return BatchScoring(batch_id=told.run_id, tenant_id=told.tenant_id, asked_at=now, due_at=now, **named)
