"""Opening a batch and asking a worker for what comes first: its plan, or its first wave."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import structlog

from invocation.gateways import dispatch
from invocation.models import Batch
from invocation.services import batch_openings, manifest_files
from invocation.services.batch_openings import BatchOpening

log = structlog.get_logger()


def start_batch(opening: BatchOpening, *, now: datetime) -> Batch:
    """Accept a batch over a file, which a worker is to read first. Raises what open_unread raises."""
    batch = batch_openings.open_unread(opening, now=now)
    ask_for_plan(batch.pk)
    return batch


def start_here(opening: BatchOpening, *, now: datetime) -> Batch:
    """Accept a batch whose manifest was staged for it alone, read here and now: whatever ends that takes the file away again."""
    try:
        batch = batch_openings.open_batch(opening, now=now)
    except BaseException:
        manifest_files.drop(opening.manifest)
        raise
    ask_for_wave(batch.pk)
    return batch


def ask_for_plan(batch_id: UUID) -> None:
    """Ask a worker to read a batch's manifest; without the broker the sweep asks later."""
    _ask(dispatch.plan_batch, batch_id)


def ask_for_wave(batch_id: UUID) -> None:
    """Ask for a batch's first wave; without the broker the sweep asks later."""
    _ask(dispatch.start_wave, batch_id)


def _ask(send: Callable[[UUID], None], batch_id: UUID) -> None:
    try:
        send(batch_id)
    except dispatch.BrokerGone as gone:
        log.warning("batch_waits_for_the_sweep", batch=str(batch_id), error=str(gone))
