"""Acts on a batch by its caller or an operator: pause, resume, run failed rows again. What waits behind them is asked for at once."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import structlog

from invocation.domain.batches import Pause
from invocation.domain.budgets import NOTHING, Wish
from invocation.gateways import dispatch
from invocation.models import Batch
from invocation.services import batch_pauses, batches, manifests

log = structlog.get_logger()
ASKED = "Somebody asked for it."


def pause(batch_id: UUID, *, now: datetime, sentence: str = ASKED) -> None:
    """Let a batch wait: its shards stop within a second or two, behind the rows that run. Raises StaleMove."""
    batch_pauses.pause(batch_id, Pause.ASKED, sentence, now=now)


def resume(batch_id: UUID, *, now: datetime, wish: Wish = NOTHING) -> None:
    """Let a paused batch go on, under another budget if one is wished for, up to its endpoint's; or have its dataset tried again.

    Raises StaleMove if it is not paused, nor failed for its dataset alone.
    """
    batch_pauses.resume(batch_id, now=now, wish=wish)
    _ask_on(batch_id)


def retry_failed(batch_id: UUID, *, now: datetime) -> int:
    """Run the failed rows of a completed or paused batch once more; return how many.

    Raises ManifestChanged if its manifest is gone or has another length, StoreUnavailable, NothingFailed or StaleMove: nothing changed.
    """
    manifests.must_be_there(Batch.objects.get(pk=batch_id))
    count = batch_pauses.retry_failed(batch_id, now=now)
    _ask_on(batch_id)
    return count


def cancel(batch_id: UUID, *, now: datetime) -> None:
    """End a batch; what it has finished is published as a part of a dataset. Raises StaleMove if it has ended."""
    batches.cancel(batch_id, now=now)
    _ask_on(batch_id)


def _ask_on(batch_id: UUID) -> None:
    """Without the broker the sweep does it."""
    try:
        dispatch.start_wave(batch_id)
    except dispatch.BrokerGone as gone:
        log.warning("batch_waits_for_the_sweep", batch_id=str(batch_id), error=str(gone))
