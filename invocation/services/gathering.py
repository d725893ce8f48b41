"""Gathering a batch: its dataset is written when all is finished, or when it ended early; what fails is tried again, but not for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

import structlog
from django.db import connections, transaction

from agents.domain.errors import Cause
from invocation.domain import gathering
from invocation.domain.batches import BATCH_ENDED, BatchMove, BatchState
from invocation.domain.jobs import Fault
from invocation.gateways.database import BATCH
from invocation.models import Batch, BatchOutbox
from invocation.selectors import waves as seen
from invocation.services import batch_moves, batches, publishing, registering

log = structlog.get_logger()
AGAIN = "Something broke while the dataset was written, or while its staging was taken away. It is tried again by itself."
WAIT = "Wait, or cancel the batch; tell whoever runs this its id if it lasts."
UNWRITTEN = f"The dataset could not be written, in {gathering.MOST_TRIES} tries over hours. It is not the rows' fault."
MEND = "Tell whoever runs this the batch's id: its finished rows stay in staging. Once the store is mended, resume the batch."


def gather(batch_id: UUID, *, now: datetime) -> None:
    """Finish a batch all of whose shards are done, by one process at a time. Again after a crash it writes the same files.

    What goes wrong is put on record, and tried again when it is due; after as many tries as there may be the batch fails.
    """
    with _alone(batch_id) as is_alone:
        batch = _gathering(batch_id, now=now) if is_alone else None
        if batch:
            with _noted(batch):
                _gather(batch, now=now)
            registering.register(batch.pk, now=_later(now))


def gather_rest(batch_id: UUID, *, now: datetime) -> None:
    """Do what is left of an ended batch's gathering. Again after a crash it writes the same files.

    What a batch had finished when it was cancelled or failed is published, marked as a part; a completed one has its staging left.
    Catalogs that list an earlier round of it are told: that round's files are gone.
    After as many tries as there may be nothing is done any more, and staging stays.
    """
    with _alone(batch_id) as is_alone:
        batch = _left(batch_id, now=now) if is_alone else None
        if batch:
            with _noted(batch):
                if batch.state != BatchState.COMPLETED:
                    publishing.publish_part(batch)
                    registering.ask_again(batch, now=_later(now))
                _tidy(batch, now=_later(now))
            registering.register(batch.pk, now=_later(now))


def _gathering(batch_id: UUID, *, now: datetime) -> Batch | None:
    """Begin to gather a batch, or go on with it; None for one that has shards to run. Looked at under its lock: it may run again by now."""
    with transaction.atomic(using=BATCH):
        batch = Batch.objects.select_for_update(no_key=True).get(pk=batch_id)
        is_begun = batch.state == BatchState.GATHERING or (seen.is_done(batch_id) and batch_moves.move(batch, BatchMove.GATHER))
        if is_begun and gathering.is_enough(batch.gather_tries) and _is_due(batch, now=now):
            _give_up(batch, now=now)
            return None
        return batch if is_begun and _tries(batch, now=now) else None


def _left(batch_id: UUID, *, now: datetime) -> Batch | None:
    with transaction.atomic(using=BATCH):
        batch = Batch.objects.select_for_update(no_key=True).get(pk=batch_id)
        is_left = batch.state in BATCH_ENDED and not batch.gathered_at and not gathering.is_enough(batch.gather_tries)
        return batch if is_left and _tries(batch, now=now) else None


def _tries(batch: Batch, *, now: datetime) -> bool:
    """Count a try before its work, so that one counts in which the process is killed; say whether it was due."""
    if not _is_due(batch, now=now):
        return False
    batch.gather_tries += 1
    due_at = now + gathering.wait(batch.gather_tries)
    Batch.objects.filter(pk=batch.pk).update(gather_tries=batch.gather_tries, gather_due_at=due_at)
    return True


def _is_due(batch: Batch, *, now: datetime) -> bool:
    return batch.gather_due_at is None or batch.gather_due_at <= now


def _give_up(batch: Batch, *, now: datetime) -> None:
    broke = str((batch.gathering or {}).get("broke", "No try came to its end: its process vanished each time."))
    fault = Fault(code=gathering.DATASET_UNWRITTEN, sentence=UNWRITTEN, cause=Cause.BAD_CODE, remedy=MEND, broke=broke)
    batches.fail(batch, fault, now=now)


@contextmanager
def _noted(batch: Batch) -> Iterator[None]:
    """Put on record what goes wrong, and when it is tried again. Nothing is raised: whoever gathers has other batches."""
    try:
        yield
    except Exception as error:
        log.exception("gathering_broke", batch_id=str(batch.pk), tries=batch.gather_tries)
        broke = f"{type(error).__name__}: {error}"[:300]
        fault = Fault(code="gathering_broke", sentence=AGAIN, cause=Cause.BAD_CODE, remedy=WAIT, broke=broke)
        due_at = datetime.now(UTC) + gathering.wait(batch.gather_tries)
        Batch.objects.filter(pk=batch.pk).update(gathering=fault.as_json(), gather_due_at=due_at)


@contextmanager
def _alone(batch_id: UUID) -> Iterator[bool]:
    """Hold the batch's session advisory lock, if nobody else does: publishing takes longer than a transaction may."""
    number = batch_id.int >> 65
    with connections[BATCH].cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [number])
        is_ours = bool(cursor.fetchone()[0])
    try:
        yield is_ours
    finally:
        if is_ours:
            with connections[BATCH].cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [number])


def _gather(batch: Batch, *, now: datetime) -> None:
    publishing.publish(batch)
    ended = _later(now)
    if _complete(batch, now=ended):
        _tidy(batch, now=ended)


def _later(now: datetime) -> datetime:
    """Return the moment as it is behind a publishing, which may take minutes: what is done then is done as of its end."""
    return max(now, datetime.now(UTC))


def _complete(batch: Batch, *, now: datetime) -> bool:
    """Put on record that the dataset is whole; False if somebody cancelled the batch meanwhile: then its end is gathered.

    What is published is none of the shards' parts any more: another round reads it from the dataset.
    """
    with transaction.atomic(using=BATCH):
        if not batch_moves.move(batch, BatchMove.COMPLETE, finished_at=now, **batch_moves.TRIED_NEVER):
            return False
        batch_moves.in_order(batch.shards.all()).update(parts=[])
        named = {"agent": batch.agent, "mode": batch.mode, "endpoint": batch.endpoint}
        told = {"batch_id": str(batch.id), "round": batch.round, **named}
        BatchOutbox.objects.create(topic=batches.COMPLETED_TOPIC, run_id=batch.id, data=told, at=now)
        registering.ask(batch, now=now)
    batch.gather_tries = 0
    return True


def _tidy(batch: Batch, *, now: datetime) -> None:
    """Drop the staging of a batch that has ended, and then put on record that it is gathered: killed in between, the sweep comes back."""
    publishing.drop_staging(batch)
    ended = Batch.objects.filter(pk=batch.pk, state__in=BATCH_ENDED, gathered_at=None)
    ended.update(gathered_at=now, **batch_moves.TRIED_NEVER)
