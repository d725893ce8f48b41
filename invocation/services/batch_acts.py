"""What people do to a batch, from the admin, a terminal or a call: the change of state, and then the next wave is asked for."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import structlog

from invocation.domain.batch_acts import MOST_REASON
from invocation.domain.batches import Pause
from invocation.gateways import dispatch
from invocation.services import batches

log = structlog.get_logger()


def pause(batch_id: UUID, *, by: str, reason: str, now: datetime) -> None:
    """Let a batch wait until somebody resumes it. Raises StaleMove."""
    why = reason.strip()[:MOST_REASON]
    batches.pause(batch_id, Pause.ASKED, f"Paused by {by}{f': {why}' if why else '.'}", now=now)


def resume(batch_id: UUID, *, now: datetime) -> None:
    """Let a paused batch go on; without the broker the sweep sends it. Raises StaleMove."""
    batches.resume(batch_id, now=now)
    _ask_for_wave(batch_id)


def retry_failed(batch_id: UUID, *, now: datetime) -> int:
    """Let the failed rows run once more, and return how many. Raises NothingFailed or StaleMove."""
    count = batches.retry_failed(batch_id, now=now)
    _ask_for_wave(batch_id)
    return count


def cancel(batch_id: UUID, *, now: datetime) -> None:
    """End a batch; what is finished is published as a part. Raises StaleMove."""
    batches.cancel(batch_id, now=now)


def _ask_for_wave(batch_id: UUID) -> None:
    try:
        dispatch.start_wave(batch_id)
    except dispatch.BrokerGone as gone:
        log.warning("wave_waits_for_the_sweep", batch=str(batch_id), error=str(gone))
