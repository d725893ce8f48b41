"""Scoring a batch's dataset offline, on p3: accepted from the outbox, woken until it is done, at most three times begun.

What is scored is published or held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F

from agents.domain import registry
from agents.domain.contract import Rubric
from agents.services import loading
from evals import selectors
from evals.domain.publishing import decide
from evals.gateways import dispatch
from evals.models import BatchScoring
from evals.services import verdicts
from evals.services.verdicts import Candidate
from invocation.services import batches, datasets, outbox
from invocation.services.batches import COMPLETED_TOPIC
from invocation.services.outbox import Told

log = structlog.get_logger()
ROWS_AT_ONCE = 500
MOST_TRIES = 3
MOST_WOKEN = 20
PATIENCE = dispatch.MESSAGE_LIFE
"""A batch of which nothing was heard for so long gets another worker."""
PUT_OFF = timedelta(seconds=4)
"""How soon one whose worker was busy with another gets the next: not at each tick."""


def accept(*, now: datetime) -> int:
    """Take the completed batches over from the outbox; return how many there were."""
    outbox.take_over(now=now)
    return _accept(now=now)


@transaction.atomic
def _accept(*, now: datetime) -> int:
    taken = outbox.take(COMPLETED_TOPIC, most=ROWS_AT_ONCE)
    rows = [row for told in taken if (row := _row(told, now=now))]
    BatchScoring.objects.bulk_create(rows, ignore_conflicts=True)
    for row in rows:
        _begin_anew(row)
    return len(taken)


def _begin_anew(row: BatchScoring) -> None:
    """Score a batch once more whose failed rows have run again since: those that were good keep their scores."""
    anew = {"round": row.round, "asked_at": row.asked_at, "due_at": row.due_at, "tries": 0, "rows": None, "finished_at": None}
    BatchScoring.objects.filter(pk=row.pk, round__lt=row.round).update(**anew)


def wake(*, now: datetime) -> int:
    """Send a wake-up for each batch that is due, and make it due again later; return how many were sent."""
    with transaction.atomic():
        open_rows = BatchScoring.objects.filter(finished_at__isnull=True, tries__lt=MOST_TRIES, due_at__lte=now)
        due = list(open_rows.select_for_update(skip_locked=True, no_key=True).order_by("due_at").values_list("pk", flat=True)[:MOST_WOKEN])
        BatchScoring.objects.filter(pk__in=due).update(due_at=now + PATIENCE)
    for batch_id in due:
        dispatch.score_batch(batch_id)
    return len(due)


def put_off(batch_id: UUID, *, now: datetime) -> None:
    """Let a batch that a busy worker was woken for be due again soon: it was not begun, and no try counts."""
    BatchScoring.objects.filter(pk=batch_id, finished_at__isnull=True).update(due_at=now + PUT_OFF)


def score_batch(batch_id: UUID, *, now: datetime) -> int:
    """Score a batch's rows, publish or hold it by their mean, and return how many were read; 0 for one that is finished or given up.

    Rows are stored 500 at a time. Started again after a crash it reads all rows again and stores
    only those without a score; the batch, told before the scoring counts as finished, may hear the
    same twice. Raises what reading the dataset raises; then it is due again.
    """
    loading.load(settings.AGENT_MODULES)
    if not _begin(batch_id, now=now):
        return 0
    scoring = BatchScoring.objects.get(pk=batch_id)
    sums = _Sums()
    for rows in _by_pages(datasets.rows(batch_id)):
        _flush(scoring, rows, sums, now=now)
    _publish(scoring, sums, now=now)
    open_round = BatchScoring.objects.filter(pk=batch_id, round=scoring.round, finished_at__isnull=True)
    open_round.update(rows=sums.rows, finished_at=now)
    return sums.rows


@dataclass(slots=True)
class _Sums:
    """What was read of a batch so far, and what its agent's rubric made of it."""

    rows: int = 0
    scored: int = 0
    total: float = 0.0

    @property
    def mean(self) -> float | None:
        return self.total / self.scored if self.scored else None


def _publish(scoring: BatchScoring, sums: _Sums, *, now: datetime) -> None:
    name, rubric = _rubric(scoring)
    expected = selectors.expectation(agent=name, rubric=rubric.name, mode=scoring.mode)
    decision = decide(sums.mean, expected)
    told = {
        "sentence": decision.sentence,
        "rows": sums.scored,
        "mean": sums.mean,
        "expected": expected.score if expected.origin.gates else None,
        "at": now.isoformat(),
    }
    batches.publish(scoring.batch_id, decision.publication, round=scoring.round, scores=told)


def _rubric(scoring: BatchScoring) -> tuple[str, Rubric]:
    name, _, version = scoring.agent.partition("@")
    return name, registry.find(name, int(version)).rubric


def _begin(batch_id: UUID, *, now: datetime) -> bool:
    """Count a try before it is made, so that a batch that kills its worker is given up too."""
    open_rows = BatchScoring.objects.filter(pk=batch_id, finished_at__isnull=True, tries__lt=MOST_TRIES)
    return bool(open_rows.update(tries=F("tries") + 1, due_at=now + PATIENCE))


def _flush(scoring: BatchScoring, rows: list[Mapping[str, Any]], sums: _Sums, *, now: datetime) -> None:
    candidates = [_candidate(scoring, row) for row in rows]
    verdicts.write(candidates, shares=selectors.shares(), now=now)
    _, rubric = _rubric(scoring)
    scored, total = selectors.scored_among([each.run_id for each in candidates], rubric=rubric.name, version=rubric.version)
    sums.rows, sums.scored, sums.total = sums.rows + len(rows), sums.scored + scored, sums.total + total
    BatchScoring.objects.filter(pk=scoring.pk).update(due_at=datetime.now(UTC) + PATIENCE)


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
    number = int(told.data.get("round", 0))
    return BatchScoring(batch_id=told.run_id, tenant_id=told.tenant_id, round=number, asked_at=now, due_at=now, **named)
