"""Opening a batch and asking for its first wave."""

from __future__ import annotations

from datetime import datetime

import structlog

from invocation.domain.errors import InvocationError
from invocation.gateways import dispatch
from invocation.models import Batch
from invocation.services import batches
from invocation.services.batches import BatchOpening

log = structlog.get_logger()


def start_batch(opening: BatchOpening, *, now: datetime) -> Batch:
    """Accept a batch and ask for its first wave; without the broker the sweep asks later. Raises what open_batch raises."""
    batch = batches.open_batch(opening, now=now)
    try:
        dispatch.start_wave(batch.pk)
    except dispatch.BrokerGone as gone:
        log.warning("first_wave_waits_for_the_sweep", batch=str(batch.pk), error=str(gone))
    return batch


def start_from_rows(opening: BatchOpening, *, now: datetime) -> Batch:
    """Do the same with a manifest that was staged for this call alone: a refusal takes it away again."""
    try:
        return start_batch(opening, now=now)
    except InvocationError:
        opening.source.unlink(missing_ok=True)
        raise
