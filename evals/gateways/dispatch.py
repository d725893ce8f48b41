"""Celery, by name: which message wakes which task of evals. Nothing else here sends one."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import structlog
from celery import current_app
from kombu.exceptions import OperationalError

CONSUME = "evals.consume"
SCORE_BATCH = "evals.score_batch"
MESSAGE_LIFE = timedelta(minutes=1)
"""After this a wake-up that nobody took is worthless: the next one is due."""

log = structlog.get_logger()


def score_batch(batch_id: UUID) -> None:
    """Wake a p3 worker for a batch. Without a broker nothing is sent, and the batch is due again later."""
    try:
        current_app.send_task(
            SCORE_BATCH, args=[str(batch_id)], queue="p3", expires=MESSAGE_LIFE.total_seconds(), retry=False, ignore_result=True
        )
    except (OperationalError, ConnectionError, OSError) as gone:
        log.warning("batch_scoring_not_sent", batch_id=str(batch_id), cause=str(gone))
