"""The tasks of evals, registered under the names by which dispatch wakes them."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task
from django.utils import timezone

from evals.gateways import dispatch
from evals.services import batch_scoring, forgetting, scoring


@shared_task(name=dispatch.CONSUME, send_events=False)
def consume() -> None:
    """A tick: score what finished, forget what is to be forgotten, and see to it that completed batches are scored."""
    now = timezone.now()
    scoring.consume_all(now=now)
    forgetting.consume()
    batch_scoring.accept(now=now)
    batch_scoring.wake(now=now)


@shared_task(name=dispatch.SCORE_BATCH)
def score_batch(batch_id: str) -> None:
    batch_scoring.score_batch(UUID(batch_id), now=timezone.now())
